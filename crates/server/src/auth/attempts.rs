//! [`Attempts`]: logins that failed make the next ones from the same address wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

/// Failures that cost nothing: people mistype.
const FREE_FAILURES: u32 = 3;
/// The first wait; each further failure doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// One failure is forgotten after this time.
const FORGET_ONE_AFTER: Duration = Duration::from_secs(20);
/// Logins of one address that wait at a time; more are refused at once.
const WAITING_MAX: u32 = 8;
/// Addresses that are remembered; beyond them the one that failed longest ago is forgotten.
const ADDRESSES_MAX: usize = 10_000;

/// Failed logins by address.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_address: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    last: Duration,
    waiting: u32,
}

impl Failures {
    fn now(&self, now: Duration) -> u32 {
        let passed = now.saturating_sub(self.last).as_secs() / FORGET_ONE_AFTER.as_secs();
        self.count.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX))
    }

    fn wait(&self, now: Duration) -> Duration {
        match self.now(now).checked_sub(FREE_FAILURES) {
            None | Some(0) => Duration::ZERO,
            Some(more) => FIRST_WAIT.saturating_mul(1 << (more - 1).min(16)).min(LONGEST_WAIT),
        }
    }
}

/// A login that waits for its turn; counted until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    attempts: &'a Attempts,
    address: IpAddr,
    is_counted: bool,
    /// How long.
    pub(super) wait: Duration,
}

impl Attempts {
    /// How long a login from this address waits; none if too many wait already.
    pub(super) fn wait(&self, address: IpAddr, now: Duration) -> Option<Waiting<'_>> {
        let mut by_address = self.by_address.lock();
        let failures = by_address.get_mut(&address);
        let wait = failures.as_ref().map_or(Duration::ZERO, |failures| failures.wait(now));
        let counted = failures.filter(|_| !wait.is_zero());
        let is_counted = counted.is_some();
        if let Some(failures) = counted {
            if failures.waiting >= WAITING_MAX {
                return None;
            }
            failures.waiting += 1;
        }
        Some(Waiting { attempts: self, address, is_counted, wait })
    }

    /// How long a login from this address would wait now.
    pub(super) fn owed(&self, address: IpAddr, now: Duration) -> Duration {
        let by_address = self.by_address.lock();
        by_address.get(&address).map_or(Duration::ZERO, |failures| failures.wait(now))
    }

    /// Notes that a login from this address failed.
    pub(super) fn failed(&self, address: IpAddr, now: Duration) {
        let mut by_address = self.by_address.lock();
        if by_address.len() >= ADDRESSES_MAX && !by_address.contains_key(&address) {
            by_address.retain(|_, failures| failures.waiting > 0 || failures.now(now) > 0);
            let oldest = by_address.iter().filter(|(_, failures)| failures.waiting == 0);
            let oldest = oldest.min_by_key(|(_, failures)| failures.last).map(|(key, _)| *key);
            if by_address.len() >= ADDRESSES_MAX
                && let Some(oldest) = oldest
            {
                by_address.remove(&oldest);
            }
        }
        let failures = by_address.entry(address).or_default();
        failures.count = failures.now(now).saturating_add(1);
        failures.last = now;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        if let Some(failures) = self.attempts.by_address.lock().get_mut(&self.address) {
            failures.waiting = failures.waiting.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn failures_make_their_own_address_wait_and_are_forgotten() {
        let attempts = Attempts::default();
        let now = Duration::from_secs(1_000);
        let wait = |address, now| attempts.wait(address, now).unwrap().wait;
        let waits: Vec<_> = (0..12)
            .map(|_| {
                let wait = wait(address(1), now).as_millis();
                attempts.failed(address(1), now);
                wait
            })
            .collect();
        assert_eq!(waits, [0, 0, 0, 0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(wait(address(2), now), Duration::ZERO);
        assert_eq!(wait(address(1), now + 8 * FORGET_ONE_AFTER).as_millis(), 100);
        assert_eq!(wait(address(1), now + 9 * FORGET_ONE_AFTER), Duration::ZERO);
    }

    #[test]
    fn so_many_wait_and_no_more_addresses_are_kept() {
        let attempts = Attempts::default();
        let now = Duration::ZERO;
        (0..9).for_each(|_| attempts.failed(address(1), now));
        let mut waiting: Vec<_> = (0..8).map(|_| attempts.wait(address(1), now).unwrap()).collect();
        assert!(attempts.wait(address(1), now).is_none());
        waiting.pop();
        assert!(attempts.wait(address(1), now).is_some());
        (0..20_000).for_each(|number| attempts.failed(address(number), now));
        assert_eq!(attempts.by_address.lock().len(), ADDRESSES_MAX);
        assert!(attempts.by_address.lock().contains_key(&address(1)), "somebody waits there");
    }
}

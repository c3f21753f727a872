//! Backpressure: commits wait before they take the commit lock, never behind it (RULES.md 6).
//!
//! A commit is delayed, by at most [`DELAY_MAX`], in proportion to how far compaction is behind;
//! it stops only where memory or level 0 has reached its limit. If flush or compaction cannot go
//! on, because the disk is full, say, whoever would stop hears that instead of waiting for ever.
//! With [`Options::background`](crate::Options) false nobody waits: nobody else would end it.

use std::sync::Arc;
use std::time::Duration;

use crate::compaction::debt_bytes;
use crate::describe::EngineCounters;
use crate::state::{Context, TreeState, Work};
use crate::{Error, ErrorKind, Options, Result};

/// The longest that a commit is delayed for compaction's debt.
const DELAY_MAX: Duration = Duration::from_millis(10);

/// Who is stopped looks again after this time, whatever happened.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Memtables may take this share of the engine's memory; half of it starts flushes.
const MEMTABLE_SHARE: usize = 4;

/// How much a commit must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pressure {
    None,
    Delay(Duration),
    /// What it waits for, and whose work ends it.
    Stop(&'static str, Work),
}

/// Bytes at which memtables stop commits.
pub(crate) fn memtable_bytes_max(options: &Options) -> usize {
    options.memory_bytes / MEMTABLE_SHARE
}

/// Bytes at which a memtable is frozen: two fit in their share of the memory.
pub(crate) fn memtable_bytes(options: &Options) -> usize {
    options.memtable_bytes.min(memtable_bytes_max(options) / 2).max(1)
}

/// Waits until a commit to `trees` may take the commit lock.
pub(crate) fn wait(context: &Context, trees: &[Arc<TreeState>]) -> Result<()> {
    if !context.options.background {
        return Ok(());
    }
    let mut pressure = pressure(context, trees);
    if pressure == Pressure::None {
        return Ok(());
    }
    let began = context.env.clock.monotonic();
    let waited = loop {
        let seen = context.work.generation();
        match pressure {
            Pressure::None => break Ok(()),
            Pressure::Delay(delay) => {
                context.env.clock.sleep(delay);
                break Ok(());
            }
            Pressure::Stop(reason, work) => {
                let trouble = || context.trouble.check(work);
                if let Err(error) = context.health.check().and_then(|()| trouble()) {
                    break Err(error);
                }
                if context.is_stopping() {
                    break Err(Error::new(ErrorKind::Closed, "the database is closed"));
                }
                context.trouble.set_stalled(Some(reason));
                context.work.wait(seen, Some(LOOK_AGAIN));
            }
        }
        pressure = self::pressure(context, trees);
    };
    context.trouble.set_stalled(None);
    let micros = context.env.clock.monotonic().saturating_sub(began).as_micros();
    EngineCounters::add(&context.counters.stalls, 1);
    let micros = u64::try_from(micros).unwrap_or(u64::MAX);
    EngineCounters::add(&context.counters.stall_micros, micros);
    waited
}

fn pressure(context: &Context, trees: &[Arc<TreeState>]) -> Pressure {
    let options = &context.options;
    let used = context.memtable_bytes();
    if used > memtable_bytes_max(options) {
        return Pressure::Stop(
            "memtables have used up their memory and wait for a flush",
            Work::Flush,
        );
    }
    let mut worst = Pressure::None;
    for tree in trees {
        let view = tree.read_view();
        let runs = view.version.levels[0].len();
        let debt = view.version.debt(|version| debt_bytes(version, options));
        match of_tree(options, runs, debt) {
            stop @ Pressure::Stop(..) => return stop,
            Pressure::Delay(delay) => match worst {
                Pressure::Delay(longest) if longest >= delay => {}
                _ => worst = Pressure::Delay(delay),
            },
            Pressure::None => {}
        }
    }
    worst
}

/// Delays begin at three times the runs that start a compaction, or at a debt of eight full level
/// zeroes; commits stop at six times the runs.
fn of_tree(options: &Options, runs: usize, debt: u64) -> Pressure {
    let trigger = options.level0_runs.max(1);
    if runs >= 6 * trigger {
        return Pressure::Stop(
            "level 0 has reached its limit and waits for a compaction",
            Work::Compact,
        );
    }
    let by_runs = share(runs as u64, 3 * trigger as u64, 6 * trigger as u64);
    let full = (memtable_bytes(options) as u64).saturating_mul(trigger as u64).max(1);
    let by_debt = share(debt, full.saturating_mul(8), full.saturating_mul(32));
    match by_runs.max(by_debt) {
        0 => Pressure::None,
        thousandths => Pressure::Delay(DELAY_MAX * thousandths / 1000),
    }
}

/// Where `is` stands between `from` and `to`, in thousandths.
fn share(is: u64, from: u64, to: u64) -> u32 {
    let above = u128::from(is.saturating_sub(from).min(to - from));
    u32::try_from(above * 1000 / u128::from((to - from).max(1))).unwrap_or(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_grows_with_debt_and_has_no_cliff() {
        let options = Options::default();
        let of = |runs, debt| of_tree(&options, runs, debt);
        assert_eq!(of(12, 0), Pressure::None);
        assert_eq!(of(0, 1 << 30), Pressure::None);
        let mut last = Duration::ZERO;
        for runs in 13..24 {
            let Pressure::Delay(delay) = of(runs, 0) else { panic!("{runs} runs") };
            assert!(delay > last && delay <= DELAY_MAX);
            last = delay;
        }
        assert!(matches!(of(24, 0), Pressure::Stop(..)));
        assert_eq!(of(0, u64::MAX), Pressure::Delay(DELAY_MAX));
    }
}

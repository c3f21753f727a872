//! [`Tokens`]: who has logged in. A token is 256 random bits and says nothing; only its SHA-256 is
//! kept, so that nothing read out of this process's memory logs in elsewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use silt_catalog::UserId;
use subtle::ConstantTimeEq;
use tonic::Status;

use crate::session::ClientSession;

const TOKEN_BYTES: usize = 32;

type Hash = [u8; 32];

/// The tokens that were given out and hold.
#[derive(Debug)]
pub(super) struct Tokens {
    idle: Duration,
    lifetime: Duration,
    /// Of one user; beyond them the one that was used longest ago ends.
    logins_max: usize,
    logins: Mutex<HashMap<Hash, Login>>,
}

/// What a token stands for.
#[derive(Debug)]
struct Login {
    hash: Hash,
    user: UserId,
    /// The user's version when it logged in: a change of the user ends its logins.
    version: u32,
    session: Arc<ClientSession>,
    since: Duration,
    used: Duration,
}

/// Whose token was asked about.
pub(super) struct Bearer {
    pub(super) user: UserId,
    pub(super) version: u32,
    pub(super) session: Arc<ClientSession>,
}

impl Tokens {
    pub(super) fn new(idle: Duration, lifetime: Duration, logins_max: usize) -> Self {
        Self { idle, lifetime, logins_max: logins_max.max(1), logins: Mutex::default() }
    }

    /// Gives out a token.
    pub(super) fn issue(
        &self,
        user: UserId,
        version: u32,
        session: Arc<ClientSession>,
        now: Duration,
    ) -> Result<String, Status> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|_| Status::internal("the system gives no random numbers"))?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let hash = hash(&token);
        self.sweep(now);
        let mut ended = None;
        let mut logins = self.logins.lock();
        let own = || logins.values().filter(|login| login.user == user);
        if own().count() >= self.logins_max {
            let oldest = own().min_by_key(|login| login.used).map(|login| login.hash);
            ended = oldest.and_then(|hash| logins.remove(&hash));
        }
        logins.insert(hash, Login { hash, user, version, session, since: now, used: now });
        drop(logins);
        // What ends here may roll back: not under the lock.
        drop(ended);
        Ok(token)
    }

    /// Who bears this token, which counts as a use of it; none if it was never given out or holds
    /// no more.
    pub(super) fn find(&self, token: &str, now: Duration) -> Option<Bearer> {
        let hash = hash(token);
        let mut logins = self.logins.lock();
        let login = logins.get_mut(&hash)?;
        // The map compares as it likes; who is let in is decided in constant time.
        if !bool::from(login.hash.ct_eq(&hash)) || self.is_over(login, now) {
            return None;
        }
        login.used = now;
        let Login { user, version, ref session, .. } = *login;
        Some(Bearer { user, version, session: Arc::clone(session) })
    }

    /// Ends a login.
    pub(super) fn revoke(&self, token: &str) {
        let ended = self.logins.lock().remove(&hash(token));
        drop(ended);
    }

    /// Forgets what holds no more.
    pub(super) fn sweep(&self, now: Duration) {
        let mut over = Vec::new();
        self.logins.lock().retain(|_, login| {
            let keep = !self.is_over(login, now);
            if !keep {
                over.push(Arc::clone(&login.session));
            }
            keep
        });
        drop(over);
    }

    fn is_over(&self, login: &Login, now: Duration) -> bool {
        now.saturating_sub(login.used) >= self.idle
            || now.saturating_sub(login.since) >= self.lifetime
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.logins.lock().len()
    }
}

fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServerOptions;
    use silt_sql::Role;

    fn session() -> Arc<ClientSession> {
        Arc::new(ClientSession::new(None, Role::Reader, &ServerOptions::default()))
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_token_holds_until_it_idles_or_is_old() {
        let tokens = Tokens::new(seconds(10), seconds(25), 9);
        let token = tokens.issue(1, 1, session(), seconds(0)).unwrap();
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        let holds = |at| tokens.find(&token, seconds(at)).is_some();
        assert!(holds(0) && holds(9) && holds(18) && holds(24));
        assert!(!holds(25), "used all the time, but old");
        let token = tokens.issue(1, 1, session(), seconds(30)).unwrap();
        assert!(tokens.find(&token, seconds(40)).is_none(), "idle");
        assert!(tokens.find(&token, seconds(41)).is_none());
        tokens.sweep(seconds(60));
        assert_eq!(tokens.len(), 0);
    }

    #[test]
    fn only_the_token_itself_is_let_in_and_it_is_not_kept() {
        let tokens = Tokens::new(seconds(10), seconds(10), 9);
        let token = tokens.issue(7, 3, session(), seconds(0)).unwrap();
        let bearer = tokens.find(&token, seconds(1)).unwrap();
        assert_eq!((bearer.user, bearer.version), (7, 3));
        for other in ["", "x", &token[1..], &format!("{token} "), &token.to_uppercase()] {
            // Letters may all be digits.
            assert!(other == token || tokens.find(other, seconds(1)).is_none(), "{other}");
        }
        assert!(!format!("{tokens:?}").contains(&token));
        tokens.revoke(&token);
        assert!(tokens.find(&token, seconds(1)).is_none());
    }

    #[test]
    fn a_user_has_so_many_logins_and_the_least_used_gives_way() {
        let tokens = Tokens::new(seconds(100), seconds(100), 2);
        let issue = |user, at| tokens.issue(user, 1, session(), seconds(at)).unwrap();
        let (first, second, other) = (issue(1, 0), issue(1, 1), issue(2, 0));
        assert!(tokens.find(&first, seconds(2)).is_some());
        let third = issue(1, 3);
        assert!(tokens.find(&second, seconds(4)).is_none());
        for token in [first, third, other] {
            assert!(tokens.find(&token, seconds(4)).is_some());
        }
    }
}

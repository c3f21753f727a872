//! Who a client is.
//!
//! 1. A client logs in by Handshake, with a name and a password in its `authorization` header.
//!    [`Authenticator::login`] makes addresses that failed wait (`attempts.rs`), checks the password
//!    off the threads that talk to clients, some at a time, and gives a token (`tokens.rs`).
//! 2. Every other call carries the token; `interceptor.rs` asks [`Authenticator::session`] before
//!    anything else looks at the call.
//! 3. A user that was altered or dropped since is nobody: its tokens end with its version.
//!
//! Where the database has no users, a client of this machine is let in without a token and may do
//! everything, one session a connection. That way is closed with the first user.

mod attempts;
mod basic;
mod tokens;

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use silt_catalog::UserDef;
use silt_sql::{Role, Shared};
use tokio::sync::Semaphore;
use tonic::Status;

use crate::ServerOptions;
use crate::listen::Peer;
use crate::metrics::{Login, Metrics};
use crate::session::ClientSession;
use attempts::Attempts;
use tokens::Tokens;

/// Logins that wait for their password to be checked; more are refused at once.
const LOGINS_QUEUED_MAX: usize = 256;
/// Said whether it is the name or the password that is wrong.
const WRONG: &str = "wrong user name or password";

/// Knows who has logged in, and lets in who has not.
#[derive(Debug)]
pub(crate) struct Authenticator {
    shared: Arc<Shared>,
    options: Arc<ServerOptions>,
    metrics: Arc<Metrics>,
    tokens: Tokens,
    attempts: Attempts,
    /// Passwords that are checked at a time: each takes 19 MiB and some 20 ms of a core.
    checks: Arc<Semaphore>,
    queue: Semaphore,
    /// Those that may still be in use.
    sessions: Mutex<Vec<Weak<ClientSession>>>,
}

impl Authenticator {
    pub(crate) fn new(
        shared: Arc<Shared>,
        options: Arc<ServerOptions>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            tokens: Tokens::new(options.token_idle, options.token_lifetime, options.logins_max),
            attempts: Attempts::default(),
            checks: Arc::new(Semaphore::new(cores.div_ceil(2))),
            queue: Semaphore::new(LOGINS_QUEUED_MAX),
            sessions: Mutex::default(),
            shared,
            options,
            metrics,
        }
    }

    /// The session of a call, from its `authorization` header.
    ///
    /// # Errors
    /// `Unauthenticated` if there is none.
    pub(crate) fn session(
        &self,
        authorization: Option<&str>,
        peer: &Peer,
    ) -> Result<Arc<ClientSession>, Status> {
        let names = self.shared.catalog().current();
        if !names.has_users() {
            if !self.is_open_to(peer) {
                return Err(Status::unauthenticated("the database has no users"));
            }
            let session = peer.connection().anonymous(|| self.begin(None));
            return Ok(session);
        }
        let token = authorization.and_then(basic::bearer).ok_or_else(|| {
            Status::unauthenticated("log in first: call Handshake with a user name and a password")
        })?;
        let bearer = self.tokens.find(token, self.options.clock.now());
        let over = || Status::unauthenticated("the login is not known or over: log in again");
        let bearer = bearer.ok_or_else(over)?;
        let mut users = names.users();
        if users.any(|user| user.id == bearer.user && user.version == bearer.version) {
            return Ok(bearer.session);
        }
        self.tokens.revoke(token);
        Err(over())
    }

    /// Checks a name and a password and gives a token.
    ///
    /// # Errors
    /// `Unauthenticated`, whatever was wrong; `ResourceExhausted` if too many ask.
    pub(crate) async fn login(
        &self,
        authorization: Option<&str>,
        peer: &Peer,
    ) -> Result<String, Status> {
        let address = peer.address().ip();
        let result = self.check(authorization, address).await;
        self.metrics.login(match &result {
            Ok(_) => Login::Accepted,
            Err(status) if status.code() == tonic::Code::Unauthenticated => Login::Refused,
            Err(_) => Login::TooMany,
        });
        result
    }

    async fn check(&self, authorization: Option<&str>, address: IpAddr) -> Result<String, Status> {
        let given = authorization.and_then(basic::credentials).ok_or_else(|| {
            Status::unauthenticated("a login needs \"authorization: Basic\" with name and password")
        })?;
        if !self.shared.catalog().current().has_users() {
            return Err(Status::unauthenticated(
                "the database has no users: connect from its own machine without a name, and CREATE \
                 USER",
            ));
        }
        let busy = || Status::resource_exhausted("too many logins wait: try again later");
        let now = || self.options.clock.now();
        let mut waited = Duration::ZERO;
        let (place, _queued) = loop {
            let waiting = self.attempts.wait(address, now()).ok_or_else(busy)?;
            tokio::time::sleep(waiting.wait.saturating_sub(waited)).await;
            waited = waited.max(waiting.wait);
            let queued = self.queue.try_acquire().map_err(|_| busy())?;
            let place = Arc::clone(&self.checks).acquire_owned().await.map_err(|_| busy())?;
            // Others from there may have failed while this one stood in the queue: a burst of
            // guesses waits like guesses one after another.
            if self.attempts.owed(address, now()) <= waited {
                break (place, queued);
            }
        };
        let user = self.shared.catalog().current().find_user(&given.user).cloned();
        let basic::Credentials { user: name, password } = given;
        let known = user.clone();
        let check = move || {
            let verifier = known.as_ref().map(|user| user.verifier.as_str());
            let matches = silt_sql::password_matches(&password, verifier);
            drop(place);
            matches
        };
        let matches = tokio::task::spawn_blocking(check).await;
        let matches = matches.map_err(|_| Status::internal("the password was not checked"))?;
        match user {
            Some(user) if matches => {
                tracing::info!(user = %user.name, %address, "logged in");
                let (id, version) = (user.id, user.version);
                self.tokens.issue(id, version, self.begin(Some(&user)), self.options.clock.now())
            }
            _ => {
                tracing::warn!(user = ?shortened(&name), %address, "a login failed");
                self.attempts.failed(address, self.options.clock.now());
                Err(Status::unauthenticated(WRONG))
            }
        }
    }

    /// Whether a client may come without a token while there are no users.
    fn is_open_to(&self, peer: &Peer) -> bool {
        self.options.listen.ip().is_loopback() && peer.address().ip().is_loopback()
    }

    fn begin(&self, user: Option<&UserDef>) -> Arc<ClientSession> {
        let role = user.map_or(Role::Admin, |user| user.role);
        let name = user.map(|user| user.name.clone());
        let session = Arc::new(ClientSession::new(name, role, &self.options));
        self.sessions.lock().push(Arc::downgrade(&session));
        session
    }

    /// Ends logins that are over, and drops what sessions hold and nobody uses. To be called now
    /// and then; gives the number of sessions.
    pub(crate) fn sweep(&self) -> usize {
        self.tokens.sweep(self.options.clock.now());
        let mut alive: Vec<Arc<ClientSession>> = Vec::new();
        self.sessions.lock().retain(|session| match session.upgrade() {
            Some(session) => {
                alive.push(session);
                true
            }
            None => false,
        });
        alive.iter().for_each(|session| session.sweep());
        alive.len()
    }

    /// Sweeps for ever.
    pub(crate) async fn keep_sweeping(self: Arc<Self>, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let this = Arc::clone(&self);
            // What is dropped may roll back.
            if let Ok(sessions) = tokio::task::spawn_blocking(move || this.sweep()).await {
                self.metrics.sessions(sessions);
            }
        }
    }
}

/// A name as it may be logged: a client chose it.
fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

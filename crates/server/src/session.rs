//! [`ClientSession`]: what one authenticated client has, and the handles it holds.
//!
//! The layer that checks the token puts an `Arc<ClientSession>` into the request's extensions; the
//! service takes it from there. Nothing of one session can be reached from another: handles are
//! looked up in the caller's own tables, and are random.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use silt_catalog::Role;
use silt_sql::{Session, Shared};
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::ServerOptions;
use crate::service::{PreparedHandle, QueryHandle, TransactionHandle};

/// What one client has that showed who it is.
#[derive(Debug)]
pub(crate) struct ClientSession {
    user: Option<String>,
    role: Role,
    /// Sessions of statements and transactions are made of this one.
    sql: Mutex<Option<Session>>,
    statements: Handles<PreparedHandle>,
    queries: Handles<QueryHandle>,
    transactions: Handles<TransactionHandle>,
}

impl ClientSession {
    /// A session without handles; no user where none are configured.
    pub(crate) fn new(user: Option<String>, role: Role, options: &ServerOptions) -> Self {
        let ServerOptions { handle_idle, transaction_idle, .. } = *options;
        let (prepared, queries) = (options.prepared_max, options.queries_max);
        let transactions = options.transactions_max;
        Self {
            user,
            role,
            sql: Mutex::default(),
            statements: Handles::new("prepared statement", "--prepared-max", prepared, handle_idle),
            queries: Handles::new("query", "--queries-max", queries, handle_idle),
            transactions: Handles::new(
                "transaction",
                "--transactions-max",
                transactions,
                transaction_idle,
            ),
        }
    }

    /// The session that a request belongs to.
    ///
    /// # Errors
    /// `Unauthenticated` if nobody put one there.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Arc<Self>, Status> {
        let session = request.extensions().get::<Arc<Self>>().cloned();
        session.ok_or_else(|| Status::unauthenticated("there is no session: log in first"))
    }

    /// Who the client is; none where no users are configured.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// A session of the database's, in no transaction, that may do what this one may.
    pub(crate) fn sql(&self, shared: &Arc<Shared>) -> Session {
        let mut sql = self.sql.lock();
        sql.get_or_insert_with(|| Session::with_role(Arc::clone(shared), self.role)).another()
    }

    /// Its prepared statements.
    pub(crate) fn statements(&self) -> &Handles<PreparedHandle> {
        &self.statements
    }

    /// What it asked for without preparing it, until it was fetched.
    pub(crate) fn queries(&self) -> &Handles<QueryHandle> {
        &self.queries
    }

    /// Its open transactions.
    pub(crate) fn transactions(&self) -> &Handles<TransactionHandle> {
        &self.transactions
    }

    /// Drops what nobody used for too long. Cheap; to be called now and then.
    pub(crate) fn sweep(&self) {
        self.statements.sweep();
        self.queries.sweep();
        self.transactions.sweep();
    }
}

/// Things of one session under random names of 128 bits. Their number is capped, and what nobody
/// uses for a while is dropped.
#[derive(Debug)]
pub(crate) struct Handles<T> {
    what: &'static str,
    option: &'static str,
    most: usize,
    idle: Duration,
    open: Mutex<HashMap<Bytes, Open<T>>>,
}

#[derive(Debug)]
struct Open<T> {
    value: Arc<T>,
    used: Instant,
}

impl<T> Handles<T> {
    /// `what` is one thing's name in messages, `option` the one that sets `most`.
    pub(crate) fn new(
        what: &'static str,
        option: &'static str,
        most: usize,
        idle: Duration,
    ) -> Self {
        Self { what, option, most, idle, open: Mutex::default() }
    }

    /// Keeps a thing and gives its handle.
    ///
    /// # Errors
    /// `ResourceExhausted` if there are too many.
    pub(crate) fn insert(&self, value: T) -> Result<Bytes, Status> {
        let handle = random()?;
        self.sweep();
        let mut open = self.open.lock();
        if open.len() >= self.most {
            return Err(Status::resource_exhausted(format!(
                "this session has {} open handles of this kind ({}), and may have no more ({})",
                open.len(),
                self.what,
                self.option
            )));
        }
        open.insert(handle.clone(), Open { value: Arc::new(value), used: Instant::now() });
        Ok(handle)
    }

    /// The thing of that handle.
    ///
    /// # Errors
    /// `NotFound` if there is none, or if it expired.
    pub(crate) fn get(&self, handle: &[u8]) -> Result<Arc<T>, Status> {
        let now = Instant::now();
        let mut open = self.open.lock();
        let found = open.get_mut(handle).filter(|open| !open.is_over(now, self.idle));
        let found = found.ok_or_else(|| {
            Status::not_found(format!("{} handle is not known, was closed or expired", self.what))
        })?;
        found.used = now;
        Ok(Arc::clone(&found.value))
    }

    /// Forgets a handle and gives what it named.
    pub(crate) fn remove(&self, handle: &[u8]) -> Option<Arc<T>> {
        self.open.lock().remove(handle).map(|open| open.value)
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Drops what nobody used for too long.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut over = Vec::new();
        self.open.lock().retain(|_, open| {
            let keep = !open.is_over(now, self.idle);
            if !keep {
                over.push(Arc::clone(&open.value));
            }
            keep
        });
        // What is dropped here may roll back: not under the lock.
        drop(over);
    }
}

impl<T> Open<T> {
    /// What a running call holds is in use.
    fn is_over(&self, now: Instant, idle: Duration) -> bool {
        Arc::strong_count(&self.value) == 1 && now.duration_since(self.used) >= idle
    }
}

fn random() -> Result<Bytes, Status> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| Status::internal("the system gives no random numbers"))?;
    Ok(Bytes::copy_from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_capped_and_say_which_option_caps_them() {
        let handles = Handles::new("thing", "--things-max", 2, Duration::from_secs(60));
        let first = handles.insert(1).unwrap();
        handles.insert(2).unwrap();
        let error = handles.insert(3).unwrap_err();
        assert_eq!(error.code(), tonic::Code::ResourceExhausted);
        assert!(error.message().contains("--things-max"), "{error}");
        assert_eq!(*handles.get(&first).unwrap(), 1);
        assert_eq!(handles.remove(&first).as_deref(), Some(&1));
        assert_eq!(handles.get(&first).unwrap_err().code(), tonic::Code::NotFound);
        handles.insert(3).unwrap();
    }

    #[test]
    fn idle_handles_expire_but_not_those_in_use() {
        let handles = Handles::new("thing", "--things-max", 9, Duration::from_millis(20));
        let (idle, busy) = (handles.insert(1).unwrap(), handles.insert(2).unwrap());
        let held = handles.get(&busy).unwrap();
        std::thread::sleep(Duration::from_millis(40));
        assert_eq!(handles.get(&idle).unwrap_err().code(), tonic::Code::NotFound);
        assert_eq!(*handles.get(&busy).unwrap(), *held);
        handles.sweep();
        assert_eq!(handles.len(), 1);
    }
}

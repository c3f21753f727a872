//! Transactions: one session of `silt-sql` each, kept under a handle of the client's.

use std::sync::Arc;

use arrow_flight::sql::EndTransaction;
use bytes::Bytes;
use parking_lot::Mutex;
use silt_sql::{Prepared, Session};
use tonic::Status;

use super::FlightService;
use crate::session::ClientSession;
use crate::status::status;

/// An open transaction; rolled back when it is dropped.
#[derive(Debug)]
pub(crate) struct TransactionHandle {
    /// None when it is over.
    session: Mutex<Option<Session>>,
}

impl TransactionHandle {
    /// Begins one. Blocks.
    fn begin(mut session: Session) -> Result<Self, Status> {
        session.begin(false).map_err(|error| status(&error))?;
        Ok(Self { session: Mutex::new(Some(session)) })
    }

    /// Whether it is neither committed nor rolled back. Blocks while a load runs in it.
    pub(super) fn is_open(&self) -> bool {
        self.session.lock().is_some()
    }

    /// Prepares a statement that runs within it. Blocks.
    pub(super) fn prepare(&self, sql: &str) -> Result<Prepared, Status> {
        let session = self.session.lock();
        let session = session.as_ref().ok_or_else(over)?;
        session.prepare(sql).map_err(|error| status(&error))
    }

    /// Does something with its session. Blocks.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T, Status>,
    ) -> Result<T, Status> {
        work(self.session.lock().as_mut().ok_or_else(over)?)
    }

    /// Ends it. Blocks.
    fn end(&self, action: EndTransaction) -> Result<(), Status> {
        let session = self.session.lock().take();
        let mut session = session.ok_or_else(over)?;
        let done = match action {
            EndTransaction::Commit => session.commit(),
            EndTransaction::Rollback | EndTransaction::Unspecified => session.rollback(),
        };
        done.map_err(|error| status(&error))
    }
}

impl FlightService {
    /// Opens a transaction and gives its handle.
    pub(super) async fn begin(&self, session: &ClientSession) -> Result<Bytes, Status> {
        let sql = session.sql(&self.shared);
        let transaction = self.workers.run(move || TransactionHandle::begin(sql)).await?;
        session.transactions().insert(transaction)
    }

    /// Ends a transaction. It is over even if its commit fails.
    pub(super) async fn end(
        &self,
        session: &ClientSession,
        handle: &[u8],
        action: EndTransaction,
    ) -> Result<(), Status> {
        if action == EndTransaction::Unspecified {
            return Err(Status::invalid_argument("neither commit nor rollback is said"));
        }
        let transaction = session.transactions().get(handle)?;
        let ended = Arc::clone(&transaction);
        let done = self.workers.run_always(move || ended.end(action)).await;
        session.transactions().remove(handle);
        done
    }
}

fn over() -> Status {
    Status::failed_precondition("the transaction is over")
}

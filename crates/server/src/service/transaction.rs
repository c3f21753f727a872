//! Transactions: one session of `silt-sql` each, kept under a handle of the client's.

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
    /// The transaction that `session` has begun.
    pub(super) fn new(session: Session) -> Self {
        Self { session: Mutex::new(Some(session)) }
    }

    /// Whether it is neither committed nor rolled back.
    pub(super) fn is_open(&self) -> bool {
        self.session.lock().is_some()
    }

    /// Prepares a statement that runs within it.
    pub(super) fn prepare(&self, sql: &str) -> Result<Prepared, Status> {
        let session = self.session.lock();
        let session = session.as_ref().ok_or_else(over)?;
        session.prepare(sql).map_err(|error| status(&error))
    }

    /// Does something with its session.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T, Status>,
    ) -> Result<T, Status> {
        work(self.session.lock().as_mut().ok_or_else(over)?)
    }

    /// Ends it. Blocks.
    pub(super) fn end(&self, action: EndTransaction) -> Result<(), Status> {
        let session = self.session.lock().take();
        let mut session = session.ok_or_else(over)?;
        let _ = (&mut session, action);
        Err(Status::unimplemented("EndTransaction"))
    }
}

impl FlightService {
    /// Opens a transaction and gives its handle.
    pub(super) async fn begin(&self, session: &ClientSession) -> Result<Bytes, Status> {
        let _ = session;
        Err(Status::unimplemented("BeginTransaction"))
    }

    /// Ends a transaction.
    pub(super) async fn end(
        &self,
        session: &ClientSession,
        handle: &[u8],
        action: EndTransaction,
    ) -> Result<(), Status> {
        let transaction = session.transactions().get(handle)?;
        self.workers.run(move || transaction.end(action)).await?;
        session.transactions().remove(handle);
        Ok(())
    }
}

fn over() -> Status {
    Status::failed_precondition("the transaction is over")
}

//! Statements that come with their text: asked for by GetFlightInfo, run by DoGet; or run at once
//! by DoPut.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_flight::sql::TicketStatementQuery;
use arrow_flight::{FlightDescriptor, FlightInfo};
use bytes::Bytes;
use futures::FutureExt;
use silt_sql::InterruptHandle;
use tonic::{Response, Status};

use super::prepared::{Outcome, PreparedHandle};
use super::transaction::TransactionHandle;
use super::{DoGetStream, FlightService, statement_info, ticket};
use crate::limits;
use crate::session::ClientSession;
use crate::status::status;
use crate::stream::{Encoding, FlightStream};
use crate::work::Ends;

/// A statement that was asked for, until its rows are fetched.
pub(crate) struct QueryHandle {
    pub(super) statement: Arc<PreparedHandle>,
    fetched: AtomicBool,
}

impl QueryHandle {
    /// Whether somebody reads its rows, or has read them.
    pub(super) fn is_fetched(&self) -> bool {
        self.fetched.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for QueryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryHandle").field("statement", &self.statement).finish_non_exhaustive()
    }
}

/// Forgets a query when its stream ends.
struct Forget {
    session: Arc<ClientSession>,
    handle: Bytes,
    _query: Arc<QueryHandle>,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.session.queries().remove(&self.handle);
    }
}

impl FlightService {
    /// Parses and describes a statement, which then may be run.
    pub(super) async fn prepare(
        &self,
        session: &ClientSession,
        sql: String,
        transaction: Option<Bytes>,
    ) -> Result<PreparedHandle, Status> {
        limits::note_statement(&sql);
        let transaction = transaction_of(session, transaction)?;
        let session = session.sql(&self.shared);
        let work = move || {
            let prepared = match &transaction {
                Some(transaction) => transaction.prepare(&sql)?,
                None => session.prepare(&sql).map_err(|error| status(&error))?,
            };
            if prepared.is_about_transactions() {
                return Err(Status::unimplemented(
                    "BEGIN, COMMIT and ROLLBACK are calls here and no statements: BeginTransaction \
                     and EndTransaction (in ADBC: autocommit off, then commit() and rollback())",
                ));
            }
            let own = transaction.is_none().then_some(session);
            PreparedHandle::new(prepared, &sql, transaction.as_ref(), own)
        };
        self.workers.run(work).await
    }

    /// Keeps a statement until it is fetched, and says where that is done.
    pub(super) async fn asked(
        &self,
        session: &ClientSession,
        sql: String,
        transaction: Option<Bytes>,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        let statement = Arc::new(self.prepare(session, sql, transaction).await?);
        let query =
            QueryHandle { statement: Arc::clone(&statement), fetched: AtomicBool::new(false) };
        let statement_handle = session.queries().insert(query)?;
        let ticket = ticket(TicketStatementQuery { statement_handle });
        statement_info(&statement, ticket, descriptor)
    }

    /// Runs a statement that was asked for, and sends its rows. A ticket is good for once: what it
    /// names may change rows.
    pub(super) async fn fetch(
        &self,
        session: Arc<ClientSession>,
        handle: Bytes,
        encoding: Encoding,
    ) -> Result<Response<DoGetStream>, Status> {
        let query = session.queries().get(&handle)?;
        if query.fetched.swap(true, Ordering::Relaxed) {
            return Err(Status::failed_precondition("the ticket was used before"));
        }
        let statement = Arc::clone(&query.statement);
        let forget = Forget { session, handle, _query: query };
        self.rows(statement, encoding, Box::new(forget)).await
    }

    /// Runs a statement and sends its rows; a change of rows gives none.
    pub(super) async fn rows(
        &self,
        statement: Arc<PreparedHandle>,
        encoding: Encoding,
        held: Box<dyn Send>,
    ) -> Result<Response<DoGetStream>, Status> {
        limits::note_statement(statement.text());
        let cancelled = statement.cancelled().boxed();
        let (ends, running) = (Ends::default(), Arc::clone(&statement));
        let work = move |handle: &InterruptHandle| running.run(handle);
        let outcome = self.workers.run_until(statement.cancelled(), &ends, work).await?;
        let (schema, rows) = match outcome {
            Outcome::Rows(schema, rows) => (schema, rows),
            Outcome::Done => (statement.announced(), Box::pin(futures::stream::empty()) as _),
        };
        // The statement is in use as long as its rows are read, and ends with them.
        let held = Box::new((ends, statement, held));
        Ok(Response::new(Box::pin(FlightStream::new(schema, rows, encoding, cancelled, held))))
    }

    /// Runs a statement to its end and gives the number of rows it changed.
    pub(super) async fn run_update(
        &self,
        session: &ClientSession,
        sql: String,
        transaction: Option<Bytes>,
    ) -> Result<i64, Status> {
        let statement = Arc::new(self.prepare(session, sql, transaction).await?);
        self.update(statement, None).await
    }
}

/// The transaction that a request names; none if it names none.
pub(super) fn transaction_of(
    session: &ClientSession,
    handle: Option<Bytes>,
) -> Result<Option<Arc<TransactionHandle>>, Status> {
    let handle = handle.filter(|handle| !handle.is_empty());
    handle.map(|handle| session.transactions().get(&handle)).transpose()
}

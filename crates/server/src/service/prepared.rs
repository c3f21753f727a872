//! Prepared statements: made, bound, run and closed.
//!
//! ADBC sends every statement this way, changes of rows as well, and fetches its rows by DoGet. So
//! nothing runs before DoGet (or a DoPut of an update), and then it runs once.

use std::fmt;
use std::sync::{Arc, Weak};

use arrow_flight::sql::{ActionCreatePreparedStatementResult, DoPutPreparedStatementResult};
use arrow_flight::{IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use parking_lot::Mutex;
use silt_sql::{ErrorKind, InterruptHandle, Params, Prepared, Session, StatementResult};
use tokio::sync::watch;
use tonic::{Code, Status};

use super::FlightService;
use super::transaction::TransactionHandle;
use crate::limits;
use crate::status::status;
use crate::stream::{Rows, wire_schema};
use crate::work::Ends;

/// How often rows that lost against another commit are tried.
const ATTEMPTS: usize = 10;

/// A statement that a client prepared.
pub(crate) struct PreparedHandle {
    prepared: Prepared,
    /// The beginning of its text, for the log.
    text: String,
    /// What its parameters are called and, where that is known, what they hold.
    parameters: Vec<(String, Option<DataType>)>,
    /// Its columns as they are sent; none if it gives no rows. They may depend on the parameters.
    columns: Mutex<Option<SchemaRef>>,
    /// Parameters for its next runs, a row for each.
    bound: Mutex<Option<RecordBatch>>,
    /// The transaction it belongs to, which may be over.
    transaction: Option<Weak<TransactionHandle>>,
    /// The session it runs in outside of any transaction; locked while it changes rows.
    own: Option<Mutex<Session>>,
    /// Counts how often somebody asked for the end of what runs.
    cancels: watch::Sender<u64>,
}

/// What came of a run.
pub(super) enum Outcome {
    /// Rows, with the columns that were announced.
    Rows(SchemaRef, Rows),
    /// None: rows were changed.
    Done,
}

impl PreparedHandle {
    /// Parses and describes a statement. Blocks.
    pub(super) fn new(
        prepared: Prepared,
        text: &str,
        transaction: Option<&Arc<TransactionHandle>>,
        own: Option<Session>,
    ) -> Result<Self, Status> {
        let description = prepared.describe(None).map_err(|error| status(&error))?;
        let parameter =
            |parameter: silt_sql::ParameterDescription| (parameter.name, parameter.data_type);
        Ok(Self {
            prepared,
            text: limits::beginning(text).to_owned(),
            parameters: description.parameters.into_iter().map(parameter).collect(),
            columns: Mutex::new(description.columns.map(|schema| wire_schema(&schema))),
            bound: Mutex::default(),
            transaction: transaction.map(Arc::downgrade),
            own: own.map(Mutex::new),
            cancels: watch::Sender::new(0),
        })
    }

    /// The beginning of its text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The columns it gives; none if it gives no rows.
    pub(super) fn columns(&self) -> Option<SchemaRef> {
        self.columns.lock().clone()
    }

    /// The columns as they are announced: a change of rows gives none.
    pub(super) fn announced(&self) -> SchemaRef {
        self.columns().unwrap_or_else(|| Arc::new(Schema::empty()))
    }

    fn parameter_schema(&self) -> Schema {
        let field = |(name, data_type): &(String, Option<DataType>)| {
            // What is not known is written as text, which becomes what it is compared with.
            Field::new(name, data_type.clone().unwrap_or(DataType::Utf8), true)
        };
        let schema = Schema::new(self.parameters.iter().map(field).collect::<Vec<_>>());
        Schema::clone(&wire_schema(&schema))
    }

    /// Binds parameters for the next runs. Blocks: types of columns may depend on them.
    fn bind(&self, rows: Option<RecordBatch>) -> Result<(), Status> {
        if self.columns().is_some()
            && !self.parameters.is_empty()
            && let Some(rows) = rows.as_ref().filter(|rows| rows.num_rows() > 0)
        {
            let params = self.params(rows, 0)?;
            let description = self.prepared.describe(Some(&params));
            let columns = description.map_err(|error| status(&error))?.columns;
            *self.columns.lock() = columns.map(|schema| wire_schema(&schema));
        }
        *self.bound.lock() = rows;
        Ok(())
    }

    /// Ends what runs.
    pub(super) fn cancel(&self) {
        self.cancels.send_modify(|count| *count += 1);
    }

    /// Ready when somebody asks for the end, from now on.
    pub(super) fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut asked = self.cancels.subscribe();
        async move {
            if asked.changed().await.is_err() {
                // The handle is gone, and nobody can ask any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Runs it with the rows of parameters that were bound. Blocks until rows can be read, or until
    /// the change is committed.
    pub(super) fn run(&self, handle: &InterruptHandle) -> Result<Outcome, Status> {
        let bound = self.bound.lock().clone();
        match self.columns() {
            Some(columns) => Ok(Outcome::Rows(columns, self.query(bound.as_ref(), handle)?)),
            None => self.change(bound, handle).map(|_| Outcome::Done),
        }
    }

    /// Runs a change of rows once for each row of parameters, all in one commit.
    fn change(&self, bound: Option<RecordBatch>, handle: &InterruptHandle) -> Result<u64, Status> {
        let _transaction = self.transaction()?;
        let own = self.own.as_ref().map(Mutex::lock);
        let Some(bound) = bound.filter(|_| !self.parameters.is_empty()) else {
            return self.count(&Params::none(), handle);
        };
        match bound.num_rows() {
            1 => self.count(&self.params(&bound, 0)?, handle),
            _ => match self.prepared.execute_batch(&bound) {
                Err(error) if error.kind() == ErrorKind::Unsupported => match own {
                    Some(mut own) => self.together(&mut own, &bound, handle),
                    None => self.one_by_one(&bound, handle),
                },
                done => done.map_err(|error| status(&error)),
            },
        }
    }

    /// Runs it once for each row of parameters, in one transaction of its own.
    fn together(
        &self,
        session: &mut Session,
        bound: &RecordBatch,
        handle: &InterruptHandle,
    ) -> Result<u64, Status> {
        let mut attempt = 1;
        loop {
            session.begin(false).map_err(|error| status(&error))?;
            let done = self
                .one_by_one(bound, handle)
                .and_then(|rows| session.commit().map(|()| rows).map_err(|error| status(&error)));
            if session.is_in_transaction() {
                session.rollback().map_err(|error| status(&error))?;
            }
            match done {
                Err(lost) if lost.code() == Code::Aborted && attempt < ATTEMPTS => attempt += 1,
                done => return done,
            }
        }
    }

    fn one_by_one(&self, bound: &RecordBatch, handle: &InterruptHandle) -> Result<u64, Status> {
        (0..bound.num_rows()).map(|row| self.count(&self.params(bound, row)?, handle)).sum()
    }

    fn count(&self, params: &Params, handle: &InterruptHandle) -> Result<u64, Status> {
        goes_on(handle)?;
        match self.prepared.execute_until(params, handle).map_err(|error| status(&error))? {
            StatementResult::Count { rows, .. } => Ok(rows),
            StatementResult::Rows { mut stream, .. } => stream.try_fold(0, |rows, batch| {
                Ok(rows + batch.map_err(|error| status(&error))?.num_rows() as u64)
            }),
        }
    }

    /// The rows of a query, one run after another for each row of parameters.
    fn query(&self, bound: Option<&RecordBatch>, handle: &InterruptHandle) -> Result<Rows, Status> {
        let transaction = self.transaction()?;
        let bound = bound.filter(|_| !self.parameters.is_empty());
        let runs = match bound {
            None => vec![Params::none()],
            Some(bound) => (0..bound.num_rows())
                .map(|row| self.params(bound, row))
                .collect::<Result<_, _>>()?,
        };
        let mut streams = Vec::with_capacity(runs.len());
        for params in &runs {
            goes_on(handle)?;
            match self.prepared.execute_until(params, handle).map_err(|error| status(&error))? {
                StatementResult::Rows { stream, .. } => streams.push(stream),
                StatementResult::Count { .. } => {
                    return Err(Status::internal("a query gave a number instead of rows"));
                }
            }
        }
        let rows = futures::stream::iter(streams).flatten();
        // What is read from is in use.
        Ok(rows
            .map(move |batch| {
                let _held = &transaction;
                batch
            })
            .boxed())
    }

    /// Keeps the transaction for as long as the statement runs in it.
    fn transaction(&self) -> Result<Option<Arc<TransactionHandle>>, Status> {
        let Some(transaction) = &self.transaction else { return Ok(None) };
        let alive = transaction.upgrade().filter(|transaction| transaction.is_open());
        let over = || Status::failed_precondition("the statement's transaction is over");
        alive.map(Some).ok_or_else(over)
    }

    /// The parameters of one run.
    fn params(&self, rows: &RecordBatch, row: usize) -> Result<Params, Status> {
        let value = |column: &dyn Array| {
            let value = ScalarValue::try_from_array(column, row);
            value.map(plain).map_err(|error| Status::invalid_argument(error.to_string()))
        };
        let numbers = self.parameters.iter().filter_map(|(name, _)| number(name));
        let by_position = numbers.max().unwrap_or(0);
        let named = self.parameters.iter().filter(|(name, _)| number(name).is_none());
        let columns = rows.columns();
        let mut params = Params::none();
        for column in columns.iter().take(by_position) {
            params.push(value(column)?);
        }
        let mut most = by_position;
        for (name, _) in named {
            let column = rows.column_by_name(name).or_else(|| columns.get(most));
            if let Some(column) = column {
                params = params.with_named(name, value(column)?);
            }
            most += 1;
        }
        if columns.len() > most {
            return Err(Status::invalid_argument(format!(
                "the statement has {most} parameters, but {} were bound",
                columns.len()
            )));
        }
        Ok(params)
    }
}

/// What was cancelled before it began, or between two of its runs, ends there.
fn goes_on(handle: &InterruptHandle) -> Result<(), Status> {
    match handle.was_used() {
        true => Err(Status::cancelled("the statement was cancelled")),
        false => Ok(()),
    }
}

/// The place of a parameter by position, from its description's name.
fn number(name: &str) -> Option<usize> {
    name.strip_prefix('$')?.parse().ok()
}

/// Text and blobs as the database holds them; dictionaries are spelled out.
fn plain(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) => ScalarValue::Utf8View(text),
        ScalarValue::Binary(bytes) | ScalarValue::LargeBinary(bytes) => {
            ScalarValue::BinaryView(bytes)
        }
        ScalarValue::Dictionary(_, value) => plain(*value),
        other => other,
    }
}

impl fmt::Debug for PreparedHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedHandle").field("prepared", &self.prepared).finish_non_exhaustive()
    }
}

/// Rows of parameters that came in several batches, as one.
pub(super) fn one_batch(batches: &[RecordBatch]) -> Result<Option<RecordBatch>, Status> {
    match batches {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        [first, ..] => concat_batches(first.schema_ref(), batches)
            .map(Some)
            .map_err(|error| crate::status::of_arrow(&error)),
    }
}

impl FlightService {
    /// What a prepared statement takes and gives, before it has a handle.
    pub(super) fn created(
        &self,
        statement: &PreparedHandle,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let dataset_schema = match statement.columns() {
            Some(columns) => encoded(&columns)?,
            // By this clients tell a change of rows from a query.
            None => Bytes::new(),
        };
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: Bytes::new(),
            dataset_schema,
            parameter_schema: encoded(&statement.parameter_schema())?,
        })
    }

    /// Binds parameters to a prepared statement.
    pub(super) async fn bind(
        &self,
        handle: Bytes,
        statement: Arc<PreparedHandle>,
        rows: Option<RecordBatch>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        self.workers.run(move || statement.bind(rows)).await?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    /// Runs a change of rows with the parameters that came along, or were bound before.
    pub(super) async fn update(
        &self,
        statement: Arc<PreparedHandle>,
        rows: Option<RecordBatch>,
    ) -> Result<i64, Status> {
        limits::note_statement(statement.text());
        let (ends, cancelled) = (Ends::default(), statement.cancelled());
        let work = move |handle: &InterruptHandle| {
            if rows.is_some() {
                statement.bind(rows)?;
            }
            let bound = statement.bound.lock().take();
            statement.change(bound, handle)
        };
        let changed = self.workers.run_until(cancelled, &ends, work).await?;
        Ok(i64::try_from(changed).unwrap_or(i64::MAX))
    }
}

fn encoded(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message = IpcMessage::try_from(SchemaAsIpc::new(schema, &options));
    Ok(message.map_err(|error| crate::status::of_arrow(&error))?.0)
}

//! [`Connection`]: statements one at a time, and what they give back.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use futures::Stream;
use silt_sql::{FoundRow, Prepared, RowStream, Session};

use crate::{
    AppendMode, Appender, Error, ErrorKind, IngestCounts, IngestTarget, InterruptHandle, Params,
    Result, Row, Rows, StatementResult, Table,
};

/// One connection to a database: its settings last as long as it does, and its statements share a
/// transaction while one is open ([`transaction`](Self::transaction), or BEGIN).
#[derive(Debug)]
pub struct Connection {
    session: Mutex<Session>,
    interrupts: InterruptHandle,
}

impl Connection {
    pub(crate) fn new(session: Session) -> Self {
        let interrupts = session.interrupt_handle();
        Self { session: Mutex::new(session), interrupts }
    }

    /// Ends what this connection runs, from another thread: the statement says `Interrupted`, and
    /// its changes are undone unless their commit has begun. Statements that begin later run.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        self.interrupts.clone()
    }

    pub(crate) fn session(&self) -> std::sync::MutexGuard<'_, Session> {
        // A panic within a statement is caught by the session; its settings stay usable.
        self.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Runs one statement to its end and gives the number of rows it changed, or read.
    ///
    /// # Errors
    /// What the statement says.
    pub fn execute(&self, sql: &str, params: Params) -> Result<u64> {
        count(self.session().execute_one(sql, &params)?)
    }

    /// Runs the statements of a text one after another, and stops at the first that fails.
    ///
    /// # Errors
    /// What the first failing statement says.
    pub fn execute_script(&self, sql: &str) -> Result<Vec<StatementResult>> {
        self.session().execute_sql(sql, &Params::none())
    }

    /// Runs one statement; a query's rows are computed while they are read.
    ///
    /// # Errors
    /// What the statement says.
    pub fn run(&self, sql: &str, params: Params) -> Result<StatementResult> {
        self.session().execute_one(sql, &params)
    }

    /// The rows of a query.
    ///
    /// # Errors
    /// What the statement says; `Invalid` if it gives no rows.
    pub fn query(&self, sql: &str, params: Params) -> Result<Rows> {
        self.query_arrow(sql, params).map(Rows::new)
    }

    /// The first row of a query, through `read`.
    ///
    /// # Errors
    /// As [`query`](Self::query); `NotFound` if there is no row.
    pub fn query_row<T>(
        &self,
        sql: &str,
        params: Params,
        read: impl FnOnce(&Row) -> Result<T>,
    ) -> Result<T> {
        first(self.query(sql, params)?, read)
    }

    /// The rows of a query as Arrow.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn query_arrow(&self, sql: &str, params: Params) -> Result<ArrowRows> {
        ArrowRows::of(self.session().execute_one(sql, &params)?)
    }

    /// Parses and checks a statement once, to run it often.
    ///
    /// # Errors
    /// What is wrong with it, as far as that shows before it runs.
    pub fn prepare(&self, sql: &str) -> Result<Statement> {
        self.session().prepare(sql).map(Statement::new)
    }

    /// Opens a table for appending rows without SQL.
    ///
    /// # Errors
    /// `NotFound` if there is no such table.
    pub fn appender(&self, table: &str, mode: AppendMode) -> Result<Appender> {
        self.session().appender(table, mode)
    }

    /// A table's rows by key, without SQL.
    ///
    /// # Errors
    /// `NotFound` if there is no such table, `Invalid` if it has no primary key.
    pub fn table(&self, name: &str) -> Result<Table> {
        self.session().table(name).map(Table::new)
    }

    /// Loads batches into a table in one commit.
    ///
    /// # Errors
    /// `NotFound` if there is no such table and none may be made, `AlreadyExists` for a key that
    /// is there, or what `batches` says; the table is then as it was.
    pub fn ingest(
        &self,
        schema: SchemaRef,
        batches: &mut dyn Iterator<Item = Result<RecordBatch>>,
        target: &IngestTarget,
    ) -> Result<IngestCounts> {
        self.session().ingest(schema, batches, target)
    }
}

/// A statement that was parsed and planned once.
#[derive(Debug)]
pub struct Statement {
    prepared: Prepared,
}

impl Statement {
    pub(crate) fn new(prepared: Prepared) -> Self {
        Self { prepared }
    }

    /// Runs it to its end and gives the number of rows it changed, or read.
    ///
    /// # Errors
    /// What the statement says.
    pub fn execute(&self, params: Params) -> Result<u64> {
        count(self.prepared.execute(&params)?)
    }

    /// Runs an INSERT of one row of VALUES once for each set of parameters, as one statement: all
    /// rows are committed together. Gives the number of rows written.
    ///
    /// # Errors
    /// `Unsupported` for another statement; else what it says of all rows.
    pub fn execute_many(&self, params: &[Params]) -> Result<u64> {
        self.prepared.execute_many(params)
    }

    /// As [`execute_many`](Self::execute_many) with a row of `batch` for each set of parameters:
    /// its columns stand for `?` and `$1` by position, and for `:name` by name.
    ///
    /// # Errors
    /// As there.
    pub fn execute_batch(&self, batch: &RecordBatch) -> Result<u64> {
        self.prepared.execute_batch(batch)
    }

    /// Its rows.
    ///
    /// # Errors
    /// What the statement says; `Invalid` if it gives no rows.
    pub fn query(&self, params: Params) -> Result<Rows> {
        self.query_arrow(params).map(Rows::new)
    }

    /// Its first row, through `read`.
    ///
    /// # Errors
    /// As [`query`](Self::query); `NotFound` if there is no row.
    pub fn query_row<T>(&self, params: Params, read: impl FnOnce(&Row) -> Result<T>) -> Result<T> {
        first(self.query(params)?, read)
    }

    /// Its rows as Arrow.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn query_arrow(&self, params: Params) -> Result<ArrowRows> {
        ArrowRows::of(self.prepared.execute(&params)?)
    }
}

/// The rows of a query as Arrow: an iterator that blocks, and a `Stream`.
#[derive(Debug)]
pub struct ArrowRows {
    schema: SchemaRef,
    stream: RowStream,
}

impl ArrowRows {
    pub(crate) fn new(schema: SchemaRef, stream: RowStream) -> Self {
        Self { schema, stream }
    }

    fn of(result: StatementResult) -> Result<Self> {
        match result {
            StatementResult::Rows { schema, stream } => Ok(Self { schema, stream }),
            StatementResult::Count { tag, .. } => {
                Err(Error::invalid(format!("{tag} gives no rows: use execute")))
            }
        }
    }

    /// Names and types of the columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn take_found(&mut self) -> Option<FoundRow> {
        self.stream.take_found()
    }
}

impl Iterator for ArrowRows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.stream.next()
    }
}

impl Stream for ArrowRows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.stream).poll_next(context)
    }
}

fn count(result: StatementResult) -> Result<u64> {
    match result {
        StatementResult::Count { rows, .. } => Ok(rows),
        StatementResult::Rows { mut stream, .. } => {
            stream.try_fold(0, |rows, batch| Ok(rows + batch?.num_rows() as u64))
        }
    }
}

fn first<T>(mut rows: Rows, read: impl FnOnce(&Row) -> Result<T>) -> Result<T> {
    match rows.next() {
        Some(row) => read(&row?),
        None => Err(Error::new(ErrorKind::NotFound, "the query gave no row")),
    }
}

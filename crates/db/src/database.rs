//! [`Database`]: opens the floors in order, and hands out connections.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use silt_sql::{Session, Shared, SqlOptions};
use silt_storage::vfs::Env;
use silt_storage::{Description, Durability, Options};

use crate::transaction::left_open;
use crate::{
    AppendMode, Appender, ArrowRows, Connection, IngestCounts, IngestTarget, Params, Result, Row,
    Rows, Statement, StatementResult, Table, Transaction,
};

/// An open database. Cheap to clone; may be used from many threads.
///
/// Its statement methods borrow a connection of a small pool for as long as they run. Settings
/// made by `SET` want a [`Connection`] of one's own.
#[derive(Clone, Debug)]
pub struct Database {
    shared: Arc<Shared>,
    idle: Idle,
}

/// Connections that nobody uses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Idle(Arc<Mutex<Vec<Connection>>>);

impl Idle {
    fn take(&self) -> Option<Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(crate) fn give(&self, connection: Connection) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

/// How a database is opened. See [`Database::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    path: PathBuf,
    storage: Options,
    sql: SqlOptions,
}

impl Builder {
    /// Memory in bytes for the engine (memtables, cache, indexes) and as much again for the
    /// sorts, joins and aggregates of statements. Default 512 MiB and 1 GiB.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.storage.memory_bytes = bytes;
        self.storage.memtable_bytes = self.storage.memtable_bytes.min(bytes / 8);
        self.sql.memory_bytes = bytes;
        self
    }

    /// When a commit is acknowledged. Default [`Durability::Full`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.storage.durability = durability;
        self
    }

    /// Whether a missing database is made. Default true.
    #[must_use]
    pub fn create_if_missing(mut self, create: bool) -> Self {
        self.storage.create_if_missing = create;
        self
    }

    /// Threads that run statements. Default: the machine's cores.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.sql.threads = threads;
        self
    }

    /// Whether statements that name keys run without the planner, and plans are kept. Default true;
    /// false is for tests and for measuring what it pays.
    #[must_use]
    pub fn point_statements(mut self, on: bool) -> Self {
        self.sql.point_statements = on;
        self
    }

    /// The engine's options, one by one.
    pub fn storage_options(&mut self) -> &mut Options {
        &mut self.storage
    }

    /// The query layer's options, one by one.
    pub fn sql_options(&mut self) -> &mut SqlOptions {
        &mut self.sql
    }

    /// Opens it.
    ///
    /// # Errors
    /// `Locked` if another process has it open, `NotFound` if there is none and none may be made,
    /// `Invalid` if the directory holds something else, `Corrupt` and `Io` from the engine.
    pub fn open(self) -> Result<Database> {
        Shared::open(Env::os(), &self.path, self.storage, self.sql).map(Database::over)
    }
}

impl Database {
    /// Opens the database in a directory, and makes one if there is none.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path).open()
    }

    /// A database that is gone when its last handle is.
    ///
    /// # Errors
    /// `Io` if there are no threads to be had.
    pub fn in_memory() -> Result<Self> {
        Shared::in_memory(Options::default(), SqlOptions::default()).map(Self::over)
    }

    /// Opens a database with other options than the defaults.
    pub fn builder(path: impl AsRef<Path>) -> Builder {
        Builder {
            path: path.as_ref().to_owned(),
            storage: Options::default(),
            sql: SqlOptions::default(),
        }
    }

    fn over(shared: Arc<Shared>) -> Self {
        Self { shared, idle: Idle::default() }
    }

    /// A connection of one's own.
    pub fn connect(&self) -> Connection {
        Connection::new(Session::new(Arc::clone(&self.shared)))
    }

    #[cfg(feature = "server")]
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    fn with_connection<T>(&self, run: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let connection = self.idle.take().unwrap_or_else(|| self.connect());
        let result = run(&connection);
        // Nobody else may find a transaction that a script left behind.
        let left = connection.is_in_transaction();
        if left {
            drop(connection.session().rollback());
        }
        self.idle.give(connection);
        if left { result.and(Err(left_open())) } else { result }
    }

    /// As [`with_connection`](Self::with_connection) for what lives on: it must not meet the
    /// transactions of who uses the connection next.
    fn with_session<T>(&self, make: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
        self.with_connection(|connection| {
            let session = connection.session().another();
            make(&session)
        })
    }

    /// Opens a transaction on a connection of its own; see [`Connection::transaction`].
    ///
    /// # Errors
    /// As there.
    pub fn transaction(&self) -> Result<Transaction<'static>> {
        let connection = self.idle.take().unwrap_or_else(|| self.connect());
        Transaction::begin_on(connection, self.idle.clone())
    }

    /// See [`Connection::retry`].
    ///
    /// # Errors
    /// As there.
    pub fn retry<T>(&self, work: impl FnMut(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.with_connection(|connection| connection.retry(work))
    }

    /// See [`Connection::execute`].
    ///
    /// # Errors
    /// What the statement says.
    pub fn execute(&self, sql: &str, params: Params) -> Result<u64> {
        self.with_connection(|connection| connection.execute(sql, params))
    }

    /// See [`Connection::execute_script`].
    ///
    /// # Errors
    /// What the first failing statement says.
    pub fn execute_script(&self, sql: &str) -> Result<Vec<StatementResult>> {
        self.with_connection(|connection| connection.execute_script(sql))
    }

    /// See [`Connection::query`].
    ///
    /// # Errors
    /// What the statement says.
    pub fn query(&self, sql: &str, params: Params) -> Result<Rows> {
        self.with_connection(|connection| connection.query(sql, params))
    }

    /// See [`Connection::query_row`].
    ///
    /// # Errors
    /// What the statement says; `NotFound` if there is no row.
    pub fn query_row<T>(
        &self,
        sql: &str,
        params: Params,
        read: impl FnOnce(&Row) -> Result<T>,
    ) -> Result<T> {
        self.with_connection(|connection| connection.query_row(sql, params, read))
    }

    /// See [`Connection::query_arrow`].
    ///
    /// # Errors
    /// What the statement says.
    pub fn query_arrow(&self, sql: &str, params: Params) -> Result<ArrowRows> {
        self.with_connection(|connection| connection.query_arrow(sql, params))
    }

    /// See [`Connection::prepare`].
    ///
    /// # Errors
    /// What is wrong with the statement.
    pub fn prepare(&self, sql: &str) -> Result<Statement> {
        self.with_session(|session| session.prepare(sql).map(Statement::new))
    }

    /// See [`Connection::appender`].
    ///
    /// # Errors
    /// `NotFound` if there is no such table.
    pub fn appender(&self, table: &str, mode: AppendMode) -> Result<Appender> {
        self.with_session(|session| session.appender(table, mode))
    }

    /// See [`Connection::table`].
    ///
    /// # Errors
    /// `NotFound` if there is no such table, `Invalid` if it has no primary key.
    pub fn table(&self, name: &str) -> Result<Table> {
        self.with_session(|session| session.table(name).map(Table::new))
    }

    /// See [`Connection::ingest`].
    ///
    /// # Errors
    /// As there.
    pub fn ingest(
        &self,
        schema: SchemaRef,
        batches: &mut dyn Iterator<Item = Result<RecordBatch>>,
        target: &IngestTarget,
    ) -> Result<IngestCounts> {
        self.with_connection(|connection| connection.ingest(schema, batches, target))
    }

    /// What the database is made of: trees, levels, files, memtables, log segments, counters.
    pub fn describe(&self) -> Description {
        self.shared.engine().describe()
    }

    /// The tables by schema and name, each with the number of the tree that holds its rows.
    pub fn tables(&self) -> Vec<(String, u32)> {
        let catalog = self.shared.catalog().current();
        catalog.tables().map(|table| (table.display_name(), table.tree.0)).collect()
    }

    /// Writes every memtable to files.
    ///
    /// # Errors
    /// `Io` and `DiskFull` from the disk.
    pub fn flush(&self) -> Result<()> {
        Ok(self.shared.engine().flush()?)
    }

    /// Compacts a table into its last level.
    ///
    /// # Errors
    /// `NotFound` if there is no such table; `Io` and `DiskFull` from the disk.
    pub fn compact(&self, table: &str) -> Result<()> {
        let (namespace, name) = table.split_once('.').unwrap_or(("main", table));
        let tree = self.shared.catalog().current().table(namespace, name)?.tree;
        let engine = self.shared.engine();
        engine.flush()?;
        Ok(engine.compact(tree)?)
    }

    /// Closes the database. Handles and connections that live on fail with `Closed`. Dropping
    /// the last handle closes as well, but has nobody to tell of an error.
    ///
    /// # Errors
    /// `Io` if the last sync fails.
    pub fn close(self) -> Result<()> {
        self.shared.close()
    }
}

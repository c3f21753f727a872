//! [`Session`]: one connection, the front of every statement.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::Analyzer;
use datafusion::prelude::SessionConfig;
use datafusion::scalar::ScalarValue;
use silt_catalog::{CATALOG_NAME, MAIN_NAMESPACE};

use crate::control::Control;
use crate::interrupt::Run;
use crate::parse::{self, Source};
use crate::planner::{Binding, Bound};
use crate::point::{Call, StatementCache, Values, lift};
use crate::shared::guarded;
use crate::statement::{self, Setting};
use crate::transaction::{Current, Transaction};
use crate::uuid::UuidRewrite;
use crate::{
    AppendMode, Appender, Error, ErrorKind, IngestCounts, IngestTarget, InterruptHandle, Params,
    Prepared, Result, Role, Shared, SqlOptions, StatementResult, Table, memory, role,
};

/// How often a statement runs again that lost against another commit.
pub(crate) const ATTEMPTS: usize = 10;
/// Rows kept ready behind a sort that was pushed into a scan; DataFusion's default is 1 GiB.
const SORT_BUFFER_BYTES: usize = 8 << 20;
/// A join whose smaller side has at most so many rows, by the number of threads, collects them in
/// one table: to deal the larger side out by hashes costs more than one thread's work on the
/// smaller one. DataFusion's default, 128 Ki rows, is the least.
const COLLECTED_ROWS_MAX: usize = 8 << 20;
const COLLECTED_ROWS_MIN: usize = 128 << 10;
/// Bytes of a row collected so, at most.
const COLLECTED_ROW_BYTES: usize = 16;
/// A join by integers out of a range looks them up in an array of four bytes for each integer of
/// the range, without hashes, if it takes at most this share of the statements' memory.
const JOIN_ARRAY_SHARE: usize = 32;
/// A join's keys are told to the scan of the other side as a list, which may become lookups by key,
/// if they are at most so many.
const LISTED_KEYS_MAX: usize = 4_096;

/// One connection: its settings and its statements, one at a time.
pub struct Session {
    shared: Arc<Shared>,
    state: Arc<SessionState>,
    role: Role,
    current: Arc<Current>,
    texts: StatementCache,
}

impl Session {
    /// A connection to the database that may do everything: of a program that has the database
    /// open itself.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self::with_role(shared, Role::Admin)
    }

    /// A connection that may do what a role may. Prepared statements, appenders and tables that it
    /// gives keep to it.
    pub fn with_role(shared: Arc<Shared>, role: Role) -> Self {
        let state = Arc::new(state(&shared, role));
        let (current, texts) = (Arc::default(), StatementCache::default());
        Self { shared, state, role, current, texts }
    }

    /// Another connection to the same database with the same role, in no transaction. Cheaper than
    /// a [`new`](Self::new) one.
    #[must_use]
    pub fn another(&self) -> Self {
        let (shared, state) = (Arc::clone(&self.shared), Arc::clone(&self.state));
        let (current, texts) = (Arc::default(), StatementCache::default());
        Self { shared, state, role: self.role, current, texts }
    }

    /// What it may do.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Ends what this session and all that was made by it run, from another thread. Lookups and
    /// writes by key, appenders and loads are short, or end with their source, and do not listen.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        self.current.interrupts().clone()
    }

    /// The database.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Runs the statements of a text one after another, and stops at the first that fails; those
    /// before it stay done. Rows of a query are computed while they are read.
    ///
    /// Outside of a transaction each statement commits by itself, and one that loses against
    /// another commit runs again, up to ten times.
    ///
    /// # Errors
    /// What the first failing statement says, with its place in the text where that is known.
    pub fn execute_sql(&mut self, sql: &str, params: &Params) -> Result<Vec<StatementResult>> {
        let sources = self.split(sql)?;
        params.check_used(sources.iter().flat_map(Source::slots))?;
        sources.iter().map(|source| self.execute(source, params)).collect()
    }

    /// Runs the one statement of a text.
    ///
    /// # Errors
    /// `Invalid` if there is none or more than one; else what the statement says.
    pub fn execute_one(&mut self, sql: &str, params: &Params) -> Result<StatementResult> {
        if let Some(result) = self.by_keys(sql, params)? {
            return Ok(result);
        }
        if let Some(prepared) = self.seen_before(sql) {
            return prepared.execute(params);
        }
        let source = self.one(sql)?;
        params.check_used(source.slots().iter())?;
        self.execute(&source, params)
    }

    /// Opens a transaction, as BEGIN does: what the session and all that was made by it do from
    /// now on sees one moment and their own writes, and is committed together or not at all. It is
    /// rolled back when the session is dropped.
    ///
    /// # Errors
    /// `Invalid` if one is open.
    pub fn begin(&mut self, read_only: bool) -> Result<()> {
        self.current.begin(&self.shared, read_only)
    }

    /// Commits the open transaction. It is over even if that fails.
    ///
    /// # Errors
    /// `Invalid` if none is open; `Conflict`, with table and key, if another commit came first: run
    /// the transaction again; the engine's errors.
    pub fn commit(&mut self) -> Result<()> {
        self.current.commit()
    }

    /// Undoes all that the open transaction did.
    ///
    /// # Errors
    /// `Invalid` if none is open.
    pub fn rollback(&mut self) -> Result<()> {
        self.current.rollback()
    }

    /// Whether a transaction is open: begun, and neither committed nor rolled back. True also for
    /// one that a conflict has ended, until ROLLBACK or COMMIT is said.
    pub fn is_in_transaction(&self) -> bool {
        self.current.is_open()
    }

    /// Parses and checks a statement once, to run it often. It belongs to the transaction that the
    /// session is in when it runs.
    ///
    /// # Errors
    /// As running it would, as far as that shows before.
    pub fn prepare(&self, sql: &str) -> Result<Prepared> {
        let (shared, state) = (Arc::clone(&self.shared), Arc::clone(&self.state));
        Prepared::new(shared, state, Arc::clone(&self.current), self.one(sql)?, sql)
    }

    /// Loads rows into a table through the one gate, in one commit.
    ///
    /// # Errors
    /// `NotFound` if there is no such table and none may be made, `AlreadyExists` for a key that
    /// is there; the table is then as it was.
    pub fn ingest(
        &mut self,
        schema: SchemaRef,
        batches: &mut dyn Iterator<Item = Result<RecordBatch>>,
        target: &IngestTarget,
    ) -> Result<IngestCounts> {
        let handle = self.current.interrupts().clone();
        self.ingest_until(schema, batches, target, &handle)
    }

    /// As [`ingest`](Self::ingest), but ended by `handle` alone and not by the session's. It looks
    /// before each group of rows that it writes, or merges, until its commit begins.
    ///
    /// # Errors
    /// As there; `Interrupted` if the handle is used before it is done.
    pub fn ingest_until(
        &mut self,
        schema: SchemaRef,
        batches: &mut dyn Iterator<Item = Result<RecordBatch>>,
        target: &IngestTarget,
        handle: &InterruptHandle,
    ) -> Result<IngestCounts> {
        let (shared, state, current) = (&self.shared, &self.state, &self.current);
        let load =
            || crate::ingest::ingest(shared, state, current, &schema, batches, target, handle);
        current.guarded(load)
    }

    /// Opens a table for appending rows without SQL. An appender opened in a transaction writes
    /// into it, and ends with it.
    ///
    /// # Errors
    /// `NotFound` if there is no such table.
    pub fn appender(&self, table: &str, mode: AppendMode) -> Result<Appender> {
        let (shared, state) = (Arc::clone(&self.shared), Arc::clone(&self.state));
        Appender::new(shared, state, Arc::clone(&self.current), table, mode)
    }

    /// A table's rows by key, without SQL.
    ///
    /// # Errors
    /// `NotFound` if there is no such table, `Invalid` if it has no primary key.
    pub fn table(&self, name: &str) -> Result<Table> {
        let (shared, current) = (Arc::clone(&self.shared), Arc::clone(&self.current));
        Table::new(shared, self.role, current, name)
    }

    fn split(&self, sql: &str) -> Result<Vec<Source>> {
        let most = self.shared.options().text_bytes_max;
        if sql.len() > most {
            return Err(Error::new(
                ErrorKind::ResourcesExhausted,
                format!("the text has {} bytes, and may have {most}", sql.len()),
            ));
        }
        parse::split(sql)
    }

    fn one(&self, sql: &str) -> Result<Source> {
        let mut sources = self.split(sql)?;
        match (sources.pop(), sources.len()) {
            (Some(source), 0) => Ok(source),
            (None, _) => Err(Error::invalid("the text holds no statement")),
            (Some(_), before) => Err(Error::invalid(format!(
                "the text holds {} statements instead of one",
                before + 1
            ))),
        }
    }

    /// The query of a text that came before, with its plan.
    fn seen_before(&mut self, sql: &str) -> Option<Arc<Prepared>> {
        if !self.shared.options().point_statements {
            return None;
        }
        let mut texts = std::mem::take(&mut self.texts);
        let prepared = texts.query(sql, || self.prepare(sql));
        self.texts = texts;
        prepared
    }

    /// Runs a text that came before without the planner, if it is a statement of that kind.
    fn by_keys(&mut self, sql: &str, params: &Params) -> Result<Option<StatementResult>> {
        let options = self.shared.options();
        if !options.point_statements || sql.len() > options.text_bytes_max {
            return Ok(None);
        }
        let Some(lifted) = lift(sql) else { return Ok(None) };
        let Some(kept) = self.texts.find(&lifted.key) else { return Ok(None) };
        // What is wrong with the parameters is said by the planned way.
        if params.check_used(kept.given().iter().chain(lifted.slots())).is_err() {
            return Ok(None);
        }
        let Some(args) = kept.args(&lifted, params) else { return Ok(None) };
        if lifted.rows.is_some() && !args.is_empty() {
            // Their places among those of the rows are lost.
            return Ok(None);
        }
        let values = lifted.rows.as_ref().map(|rows| Values::Rows(rows, params));
        let call = Call { args: &args, values };
        let (shared, state, current) = (&self.shared, &self.state, &self.current);
        let by_keys = || kept.units.run(shared, state, current, &kept.source, call);
        let result = current.guarded(by_keys)?;
        if result.is_some() || values.is_some() || kept.source.writes() {
            return Ok(result);
        }
        let values: Vec<ScalarValue> = args.iter().map(|arg| arg.to_scalar()).collect();
        let small = kept.small(|| {
            let (shared, state) = (Arc::clone(shared), Arc::clone(state));
            Prepared::small(shared, state, Arc::clone(current), kept.source.clone(), &values)
        });
        // What goes wrong is said by the planned way, and the transaction hears of it there.
        match small.map(|small| guarded(|| small.query(values, current.interrupts()))) {
            Some(Err(error)) if error.kind() == ErrorKind::Interrupted => Err(error),
            result => Ok(result.and_then(Result::ok)),
        }
    }

    fn execute(&mut self, source: &Source, params: &Params) -> Result<StatementResult> {
        // The time that now() gives: one for the whole statement.
        Arc::make_mut(&mut self.state).mark_start_execution();
        let handle = self.current.interrupts();
        execute(&self.shared, &self.state, &self.current, source, params, handle)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What was made by it may live on, and is outside of any transaction then.
        self.current.leave();
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// Runs a statement: in the open transaction, or against the newest data, again if it loses
/// against another commit.
pub(crate) fn execute(
    shared: &Arc<Shared>,
    state: &Arc<SessionState>,
    current: &Current,
    source: &Source,
    params: &Params,
    handle: &InterruptHandle,
) -> Result<StatementResult> {
    if let Some(control) = Control::read(source)? {
        return current.control(shared, control);
    }
    let bound = Bound(params.bind(source.slots())?);
    execute_bound(shared, state, current, source, &bound, handle)
}

/// As [`execute`], with the parameters' values in their order.
pub(crate) fn execute_bound(
    shared: &Arc<Shared>,
    state: &Arc<SessionState>,
    current: &Current,
    source: &Source,
    bound: &Bound,
    handle: &InterruptHandle,
) -> Result<StatementResult> {
    let mut run = Run::new(shared.options(), state, handle);
    let writes = source.writes();
    let transaction = current.get();
    let _turn = transaction.as_ref().filter(|_| writes).map(|own| own.turn());
    let mut attempt = 1;
    loop {
        let binding = bind(shared, transaction.as_ref(), writes)?;
        let result = current.guarded(|| attempt_once(shared, state, source, bound, &binding, &run));
        match result {
            Err(error) if binding.may_retry(&error) && attempt < ATTEMPTS => {
                attempt += 1;
                run = run.again(shared.options(), state);
            }
            Err(error) => {
                let place = error.subject().and_then(|name| source.find(name));
                return Err(error.at(place));
            }
            Ok(result) => return Ok(result),
        }
    }
}

/// Names and rows of now, or of the transaction.
///
/// # Errors
/// What the transaction failed with.
pub(crate) fn bind(
    shared: &Shared,
    transaction: Option<&Arc<Transaction>>,
    writes: bool,
) -> Result<Binding> {
    let catalog = shared.catalog();
    let (names, snapshot) = match transaction {
        Some(transaction) => transaction.moment()?,
        None if writes => catalog.read_for_write(),
        None => catalog.read(),
    };
    let (engine, transaction) = (shared.engine().clone(), transaction.cloned());
    Ok(Binding { names, snapshot, engine, transaction })
}

fn attempt_once(
    shared: &Arc<Shared>,
    state: &Arc<SessionState>,
    source: &Source,
    bound: &Bound,
    binding: &Binding,
    run: &Arc<Run>,
) -> Result<StatementResult> {
    run.check()?;
    let (state, binding, bound) = (Arc::clone(state), binding.clone(), bound.clone());
    let setting = Setting { state, binding: binding.clone(), bound, run: Arc::clone(run) };
    let text = source.clone();
    let planned = shared.run(source.len(), async move {
        let statement = text.parse()?;
        statement::plan(&setting, statement).await
    })?;
    planned.run(shared, &binding, run)
}

fn state(shared: &Shared, role: Role) -> SessionState {
    let mut config = role::with_role(SessionConfig::new(), role)
        .with_target_partitions(shared.options().threads.max(1))
        .with_default_catalog_and_schema(CATALOG_NAME, MAIN_NAMESPACE)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false);
    let options = config.options_mut();
    options.execution.time_zone = Some("UTC".to_owned());
    options.execution.sort_pushdown_buffer_capacity = SORT_BUFFER_BYTES;
    joins(options, shared.options());
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = true;
    let (scan, writes) = (shared.options().scan, shared.options().writes);
    let config = config.with_extension(Arc::new(scan)).with_extension(Arc::new(writes));
    let mut analyzer = Analyzer::new();
    analyzer.add_function_rewrite(Arc::new(UuidRewrite));
    let runtime = match shared.options().session_memory_bytes {
        usize::MAX => Arc::clone(shared.memory()),
        most => memory::share(shared.memory(), most, memory::Whose::Session),
    };
    let mut builder = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_optimizer_rules(crate::optimizer::logical_rules(&scan))
        .with_physical_optimizer_rules(crate::optimizer::rules(&scan));
    *builder.analyzer() = Some(analyzer);
    builder.build()
}

/// How joins run; measured on TPC-H, where together they halve the processor's time.
fn joins(config: &mut ConfigOptions, options: &SqlOptions) {
    let rows = (COLLECTED_ROWS_MAX / options.threads.max(1)).max(COLLECTED_ROWS_MIN);
    let optimizer = &mut config.optimizer;
    optimizer.hash_join_single_partition_threshold_rows = rows;
    optimizer.hash_join_single_partition_threshold = rows * COLLECTED_ROW_BYTES;
    optimizer.hash_join_inlist_pushdown_max_distinct_values = LISTED_KEYS_MAX;
    let memory = options.session_memory_bytes.min(options.statement_memory_bytes);
    let memory = options.memory_bytes.min(memory);
    config.execution.perfect_hash_join_small_build_threshold =
        memory / JOIN_ARRAY_SHARE / size_of::<u32>();
}

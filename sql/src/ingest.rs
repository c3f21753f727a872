//! Batches from files into a table, through the same gate as every other row.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use datafusion::execution::SessionState;

use crate::ddl::{Fill, exists, table_of};
use crate::dml::Defaults;
use crate::dml::mutation::{Changed, Gate};
use crate::interrupt::Run;
use crate::planner::{Binding, Bound, Planner};
use crate::role::{self, Deed};
use crate::session::bind;
use crate::transaction::Current;
use crate::{Error, ErrorKind, InterruptHandle, Result, Shared};

/// Where rows go.
#[derive(Clone, Debug, Default)]
pub struct IngestTarget {
    /// The table, `name` or `schema.name`.
    pub table: String,
    /// Columns of the primary key, for a table that is to be made; empty for none.
    pub key: Vec<String>,
    /// Makes the table from the rows' schema if it does not exist.
    pub create_if_missing: bool,
    /// What happens to a table that exists.
    pub if_exists: IfExists,
    /// What happens to a row whose key is there already.
    pub on_conflict: crate::AppendMode,
}

/// What happens to a table that exists when rows are loaded into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfExists {
    /// Rows are added to it.
    #[default]
    Append,
    /// The load fails.
    Fail,
    /// A new table with the rows takes its place, in the same commit.
    Replace,
}

/// What became of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngestCounts {
    /// Rows read.
    pub read: u64,
    /// Rows that are in the table now.
    pub written: u64,
    /// Rows left out because their key was there already (mode ignore).
    pub kept: u64,
}

/// The table that a name without SQL's quotes and folding rules means: quoted parts as they are,
/// others in lower case, as in SQL.
pub(crate) fn reference(table: &str) -> TableReference {
    TableReference::parse_str(table)
}

/// See [`Session::ingest`](crate::Session::ingest).
pub(crate) fn ingest(
    shared: &Arc<Shared>,
    state: &SessionState,
    current: &Current,
    schema: &SchemaRef,
    batches: &mut dyn Iterator<Item = Result<RecordBatch>>,
    target: &IngestTarget,
    handle: &InterruptHandle,
) -> Result<IngestCounts> {
    let run = Run::new(shared.options(), state, handle);
    let deed = if target.create_if_missing { Deed::ChangeTables } else { Deed::ChangeRows };
    role::permit(state, deed)?;
    let transaction = current.get();
    let _turn = transaction.as_ref().map(|own| own.turn());
    let binding = bind(shared, transaction.as_ref(), true)?;
    load(shared, state, &binding, schema, batches, target, &run)
}

fn load(
    shared: &Shared,
    state: &SessionState,
    binding: &Binding,
    schema: &SchemaRef,
    batches: &mut dyn Iterator<Item = Result<RecordBatch>>,
    target: &IngestTarget,
    run: &Arc<Run>,
) -> Result<IngestCounts> {
    binding.check_writable("a load")?;
    let bound = Bound::default();
    let planner = Planner { state, binding, bound: &bound };
    let reference = reference(&target.table);
    let on_conflict = target.on_conflict.on_conflict();
    let mut read = 0;
    let counted = batches.inspect(|batch| {
        let rows = batch.as_ref().map_or(0, RecordBatch::num_rows);
        read += u64::try_from(rows).unwrap_or(u64::MAX);
    });
    let make = |replaces: bool| {
        let table = table_of(&planner, &reference, schema, &target.key)?;
        Ok::<_, Error>((
            table,
            Fill { shared, binding, on_conflict: on_conflict.clone(), run: Some(run), replaces },
        ))
    };
    let changed: Changed = match binding.table(&reference) {
        Ok(table) if target.if_exists == IfExists::Fail => return Err(exists(table)),
        Ok(_) if target.if_exists == IfExists::Replace => {
            let (table, fill) = make(true)?;
            fill.create(table, counted.map(|batch| Ok(batch?.columns().to_vec())))?
        }
        Ok(table) => {
            let defaults = Defaults::new(&planner, table)?;
            let gate = Gate::new(shared, binding, table)?.for_load(run);
            let mut insertion = gate.insert(on_conflict.clone());
            for batch in counted {
                insertion.push(&defaults.arrange(table, &batch?)?)?;
            }
            insertion.finish()?
        }
        Err(error) if error.kind() == ErrorKind::NotFound && target.create_if_missing => {
            let (table, fill) = make(false)?;
            fill.create(table, counted.map(|batch| Ok(batch?.columns().to_vec())))?
        }
        Err(error) => return Err(error),
    };
    Ok(IngestCounts { read, written: changed.rows, kept: changed.kept })
}

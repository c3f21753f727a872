//! Changes of rows. Every one is a query first: DataFusion's own DML drops predicates on the way
//! to a table (`WHERE id IN (SELECT …)`, `WHERE false` and `LIMIT` arrive as "all rows",
//! apache/datafusion#24654), so its hooks are never used.
//!
//! 1. `insert.rs`, `update.rs`, `delete.rs` rewrite the statement's tree into a SELECT of old keys
//!    and new values, planned and optimised like any other.
//! 2. [`Write::apply`] reads it at the statement's snapshot. What the statement writes is not in
//!    that snapshot, so an UPDATE never meets its own rows again.
//! 3. `mutation.rs` casts, checks and commits in one batch.

pub(crate) mod cast;
mod delete;
mod insert;
pub(crate) mod mutation;
mod names;
mod update;
pub(crate) mod upsert;

use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use silt_catalog::TableDef;

pub(crate) use delete::plan_delete;
pub(crate) use insert::{
    DefaultValue, Defaults, Opened, evaluate_default, open_insert, plan_insert,
};
pub(crate) use names::{
    column_name, distinct_output, find_table, fold, parse_expr, table_reference,
};
pub(crate) use update::plan_update;

use crate::interrupt::Run;
use crate::planner::Binding;
use crate::shared::Shared;
use crate::{Result, StatementResult};
use mutation::{Gate, OnConflict};

/// A change of rows, planned and ready to be read.
pub(crate) struct Write {
    pub(crate) table: Arc<TableDef>,
    pub(crate) action: Action,
    /// What the rewritten SELECT gives; its columns depend on the action.
    pub(crate) source: SendableRecordBatchStream,
}

/// What is done with the rows of a [`Write`]'s source.
pub(crate) enum Action {
    /// All columns of the table, in its order: new rows.
    Insert(OnConflict),
    /// The old key's columns, then all columns of the table: changed rows.
    Update {
        /// Whether keys may change.
        moves: bool,
    },
    /// The old key's columns: rows to remove.
    Delete,
}

impl Write {
    /// Reads the source to its end and makes the change.
    pub(crate) fn apply(
        self,
        shared: &Arc<Shared>,
        binding: &Binding,
        run: &Arc<Run>,
    ) -> Result<StatementResult> {
        let tag = match self.action {
            Action::Insert(_) => "INSERT",
            Action::Update { .. } => "UPDATE",
            Action::Delete => "DELETE",
        };
        binding.check_writable(tag)?;
        let gate = Gate::new(shared, binding, &self.table)?.for_run(run, tag);
        let batches = shared.read_here(self.source, run)?;
        let changed = match self.action {
            Action::Insert(on_conflict) => {
                let mut insertion = gate.insert(on_conflict);
                for batch in batches {
                    insertion.push(batch?.columns())?;
                }
                insertion.finish()?
            }
            Action::Update { moves } => gate.update(batches, moves)?,
            Action::Delete => gate.delete(batches)?,
        };
        Ok(StatementResult::Count { tag, rows: changed.rows })
    }
}

//! [`Session`]: one connection, the front of every statement.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use crate::{
    AppendMode, Appender, IngestCounts, IngestTarget, Params, Prepared, Result, Shared,
    StatementResult,
};

/// One connection: its settings and its statements, one at a time.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
}

impl Session {
    /// A connection to the database.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The database.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Runs the statements of a text one after another, and stops at the first that fails; those
    /// before it stay done. Rows of a query are computed while they are read.
    ///
    /// # Errors
    /// What the first failing statement says, with its place in the text where that is known.
    pub fn execute_sql(&mut self, sql: &str, params: &Params) -> Result<Vec<StatementResult>> {
        let _ = (sql, params);
        todo!("statement")
    }

    /// Runs the one statement of a text.
    ///
    /// # Errors
    /// `Invalid` if there is none or more than one; else what the statement says.
    pub fn execute_one(&mut self, sql: &str, params: &Params) -> Result<StatementResult> {
        let _ = (sql, params);
        todo!("statement")
    }

    /// Parses and checks a statement once, to run it often.
    ///
    /// # Errors
    /// As running it would, as far as that shows before.
    pub fn prepare(&self, sql: &str) -> Result<Prepared> {
        let _ = sql;
        todo!("prepare")
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
        let _ = (schema, batches, target);
        todo!("ingest")
    }

    /// Opens a table for appending rows without SQL.
    ///
    /// # Errors
    /// `NotFound` if there is no such table.
    pub fn appender(&self, table: &str, mode: AppendMode) -> Result<Appender> {
        let _ = (table, mode);
        todo!("appender")
    }
}

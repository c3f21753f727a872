//! [`Prepared`]: a statement parsed and planned once.

use datafusion::arrow::datatypes::SchemaRef;

use crate::{Params, Result, StatementResult};

/// A statement that is run often with other parameters, each time against the newest data.
#[derive(Debug)]
pub struct Prepared {
    parameter_count: usize,
}

impl Prepared {
    /// How many parameters it has.
    pub fn parameter_count(&self) -> usize {
        self.parameter_count
    }

    /// The columns it gives, for a query.
    pub fn schema(&self) -> Option<SchemaRef> {
        todo!("prepare")
    }

    /// Runs it.
    ///
    /// # Errors
    /// `Invalid` if a parameter has no value or does not fit; else what the statement says.
    pub fn execute(&self, params: &Params) -> Result<StatementResult> {
        let _ = params;
        todo!("prepare")
    }
}

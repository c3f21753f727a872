//! ON CONFLICT DO UPDATE: what becomes of a row that is there already.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use datafusion::arrow::compute::{filter, take};
use datafusion::arrow::datatypes::{SchemaRef, UInt32Type};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::physical_plan::PhysicalExpr;

use crate::Result;

/// The SET and WHERE of ON CONFLICT DO UPDATE, compiled over the columns of the old row followed
/// by those of the new one (`excluded`).
#[derive(Debug)]
pub(crate) struct Upsert {
    /// Old columns, then new ones.
    pub(crate) schema: SchemaRef,
    /// Columns of the table, and what they become.
    pub(crate) assignments: Vec<(usize, Arc<dyn PhysicalExpr>)>,
    /// Rows for which this is not true stay as they are.
    pub(crate) condition: Option<Arc<dyn PhysicalExpr>>,
    /// Whether every run of the statement means the same by them.
    pub(crate) is_steady: bool,
}

/// Rows after the update.
pub(crate) struct Updated {
    /// All columns of the table, in its order, not cast yet.
    pub(crate) columns: Vec<ArrayRef>,
    /// Which of the new rows each came from.
    pub(crate) positions: Vec<u32>,
}

impl Upsert {
    /// Updates `old` rows, of which the `i`th meets the new row at `positions[i]`; both in the
    /// table's column order.
    pub(crate) fn apply(
        &self,
        mut old: Vec<ArrayRef>,
        new: Vec<ArrayRef>,
        positions: &[u32],
    ) -> Result<Updated> {
        let mut positions: ArrayRef = Arc::new(UInt32Array::from(positions.to_vec()));
        let mut both = old.clone();
        for column in &new {
            both.push(take(column, &positions, None)?);
        }
        let mut batch = self.batch(both, positions.len())?;
        if let Some(condition) = &self.condition {
            let kept = condition.evaluate(&batch)?.into_array(batch.num_rows())?;
            let kept = kept.as_boolean();
            let rows = kept.true_count();
            let columns = batch.columns().iter().map(|column| filter(column, kept));
            batch = self.batch(columns.collect::<Result<_, _>>()?, rows)?;
            positions = filter(&positions, kept)?;
        }
        old = batch.columns()[..old.len()].to_vec();
        for (index, value) in &self.assignments {
            old[*index] = value.evaluate(&batch)?.into_array(batch.num_rows())?;
        }
        let positions = positions.as_primitive::<UInt32Type>();
        Ok(Updated { columns: old, positions: positions.values().to_vec() })
    }

    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

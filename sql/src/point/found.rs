//! [`FoundRow`]: the one row of a lookup, as values, without a batch around it.

use std::cell::Cell;
use std::sync::OnceLock;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::scalar::ScalarValue;
use silt_codec::{RowBuffer, array_of};

use crate::Result;
use crate::value::scalar_of;

thread_local! {
    /// A row's memory, for the next row of this thread.
    static SPARE: Cell<Option<RowBuffer>> = const { Cell::new(None) };
}

/// An empty row, with the memory of one that was dropped on this thread.
pub(super) fn take_buffer() -> RowBuffer {
    SPARE.take().unwrap_or_default()
}

/// The one row of a lookup. It becomes a batch only for who asks for one.
#[derive(Debug)]
pub struct FoundRow {
    schema: SchemaRef,
    values: RowBuffer,
    batch: OnceLock<RecordBatch>,
}

impl FoundRow {
    pub(crate) fn new(schema: SchemaRef, values: RowBuffer) -> Self {
        Self { schema, values, batch: OnceLock::new() }
    }

    /// Names and types of its columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The value at `column`.
    ///
    /// # Errors
    /// `Internal` if it is not of the column's type.
    ///
    /// # Panics
    /// If there is no such column.
    pub fn value(&self, column: usize) -> Result<ScalarValue> {
        scalar_of(self.values.get(column), self.schema.field(column).data_type())
    }

    /// The row as a batch, made once.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn to_batch(&self) -> Result<&RecordBatch> {
        if let Some(batch) = self.batch.get() {
            return Ok(batch);
        }
        let fields = self.schema.fields().iter().zip(self.values.iter());
        let columns = fields
            .map(|(field, value)| Ok(array_of(field.data_type(), &[value.to_value()])?))
            .collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(self.batch.get_or_init(|| batch))
    }
}

impl Drop for FoundRow {
    fn drop(&mut self) {
        SPARE.set(Some(std::mem::take(&mut self.values)));
    }
}

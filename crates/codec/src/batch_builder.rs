//! Entries to Arrow columns: flushes and scans of memtables.
use arrow_array::ArrayRef;

use crate::{Result, Schemas};

/// Gathers entries (key bytes and row bytes) into the columns of the current schema.
#[derive(Debug)]
pub struct BatchBuilder {}

impl BatchBuilder {
    /// A builder of the columns at `projection` (of the current schema), with room for `capacity` rows.
    ///
    /// # Panics
    /// If a position in `projection` is not one of the schema.
    pub fn new(_schemas: &Schemas, _projection: &[usize], _capacity: usize) -> Self {
        todo!()
    }

    /// The number of rows pushed.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends an entry; `row` is `None` for a delete, whose value columns become NULL.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no key or row has; the builder is of no use afterwards.
    pub fn push(&mut self, _key: &[u8], _row: Option<&[u8]>) -> Result<()> {
        todo!()
    }

    /// The columns in the projection's order; the builder is empty and may be used again.
    ///
    /// # Errors
    /// `Corrupt` for nested values that cannot be put together.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        todo!()
    }
}

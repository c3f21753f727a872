//! Row bytes: the value columns of one row, as the WAL and the memtables hold them.
use std::sync::Arc;

use arrow_array::ArrayRef;

use crate::{KeyBuffer, Result, RowBuffer, TreeSchema, ValueRef};

/// The longest row, in bytes.
pub const ROW_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The rows of a batch: one byte string a row.
pub type RowsBuffer = KeyBuffer;

/// Encodes the rows of one schema version, and knows where each column lies in them.
#[derive(Clone, Debug)]
pub struct RowCodec {}

impl RowCodec {
    /// The codec of this schema version.
    ///
    /// # Errors
    /// `Invalid` if a type cannot be stored.
    pub fn new(_schema: Arc<TreeSchema>) -> Result<Self> {
        todo!()
    }

    /// The schema it was made of.
    pub fn schema(&self) -> &Arc<TreeSchema> {
        todo!()
    }

    /// Appends the bytes of one row of `columns`, the value columns in schema order.
    ///
    /// # Errors
    /// `Invalid` for a NULL where none may be, another type, a row over [`ROW_BYTES_MAX`]; `out` is as it was.
    pub fn encode_columns(
        &self,
        _columns: &[ArrayRef],
        _row: usize,
        _out: &mut Vec<u8>,
    ) -> Result<()> {
        todo!()
    }

    /// The bytes of every row of `columns`.
    ///
    /// # Errors
    /// As [`encode_columns`](Self::encode_columns).
    pub fn encode_batch(&self, _columns: &[ArrayRef]) -> Result<RowsBuffer> {
        todo!()
    }

    /// Appends the bytes of one row of values, in schema order behind the key.
    ///
    /// # Errors
    /// As [`encode_columns`](Self::encode_columns).
    pub fn encode_values(&self, _values: &[ValueRef<'_>], _out: &mut Vec<u8>) -> Result<()> {
        todo!()
    }
}

/// What one column of a row holds; nested values stay bytes until someone wants them.
#[derive(Clone, Copy, Debug)]
pub enum RowCell<'a> {
    /// A value of any type that is not nested.
    Value(ValueRef<'a>),
    /// The bytes of a nested value; [`RowView::push_to`] decodes them.
    Nested(&'a [u8]),
}

/// One row, read in place.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    codec: &'a RowCodec,
    bytes: &'a [u8],
}

impl<'a> RowView<'a> {
    /// A view of `bytes`, which were written by `codec`'s schema version.
    ///
    /// # Errors
    /// `Corrupt` for another version or bytes too short for the schema.
    pub fn new(codec: &'a RowCodec, bytes: &'a [u8]) -> Result<Self> {
        Ok(Self { codec, bytes })
    }

    /// The schema version that a row was written by.
    ///
    /// # Errors
    /// `Corrupt` if the bytes end within it.
    pub fn schema_version(_bytes: &[u8]) -> Result<u32> {
        todo!()
    }

    /// The value column at `index`, counted from the first one behind the key. O(1).
    ///
    /// # Errors
    /// `Corrupt` for bytes that no row has.
    pub fn value(&self, _index: usize) -> Result<RowCell<'a>> {
        todo!("{:?}{:?}", self.codec, self.bytes)
    }

    /// Pushes the value column at `index`, nested ones decoded.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no row has.
    pub fn push_to(&self, _index: usize, _row: &mut RowBuffer) -> Result<()> {
        todo!()
    }
}

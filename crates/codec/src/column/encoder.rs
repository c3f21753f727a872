//! Arrays to chunks.

use arrow_array::ArrayRef;
use arrow_schema::DataType;

use super::{Encoding, SymbolTables, ZoneMap};
use crate::Result;

/// What encoding one chunk came to.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedChunk {
    /// How the values are laid out.
    pub encoding: Encoding,
    /// Least and greatest value, and the number of nulls.
    pub zone: ZoneMap,
    /// The names of the symbol tables that it cannot be read without. Whoever copies the chunk
    /// into another file takes them along.
    pub symbol_tables: Vec<u64>,
}

/// Encodes the chunks of one column of one file, carrying what it learned from one to the next.
#[derive(Debug)]
pub struct ColumnEncoder {}

impl ColumnEncoder {
    /// An encoder for a column of this type.
    pub fn new(_data_type: DataType) -> Self {
        todo!()
    }

    /// Appends the chunk's bytes to `out`, a multiple of eight of them.
    ///
    /// `array` is of the column's type, or its `Utf8`/`Binary` sibling of other offsets.
    ///
    /// # Errors
    /// `Invalid` for another type, too many rows or too many bytes.
    pub fn encode(&mut self, _array: &ArrayRef, _out: &mut Vec<u8>) -> Result<EncodedChunk> {
        todo!()
    }

    /// The symbol tables that the chunks encoded so far name; they go into the file.
    pub fn symbol_tables(&self) -> &SymbolTables {
        todo!()
    }
}

//! Order-preserving key bytes.
use std::ops::Range;

use arrow_array::ArrayRef;

use crate::{Result, RowBuffer, TreeSchema, ValueRef};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// Many byte strings in two allocations.
#[derive(Clone, Debug, Default)]
pub struct KeyBuffer {
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl KeyBuffer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer with room for `keys` keys of `bytes` bytes in all.
    pub fn with_capacity(keys: usize, bytes: usize) -> Self {
        Self { ends: Vec::with_capacity(keys), bytes: Vec::with_capacity(bytes) }
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all keys together.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The key at `index`.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.range(index)]
    }

    /// Appends a key.
    pub fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// Forgets the keys, keeps the memory.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.bytes.clear();
    }

    /// The keys in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        start..self.ends[index]
    }
}

/// Encodes and decodes the keys of one tree.
#[derive(Clone, Debug)]
pub struct KeyCodec {}

impl KeyCodec {
    /// The codec of this schema's key.
    ///
    /// # Errors
    /// `Invalid` if a key column's type has no order of its own: intervals and nested types.
    pub fn new(_schema: &TreeSchema) -> Result<Self> {
        todo!()
    }

    /// The number of key columns.
    pub fn key_len(&self) -> usize {
        todo!()
    }

    /// Appends the key bytes of `values`, which may be a prefix of the key columns.
    ///
    /// # Errors
    /// `Invalid` for a NULL where none may be, a value of another type, a key over [`KEY_BYTES_MAX`]; `out` is as it was.
    pub fn encode_values(&self, _values: &[ValueRef<'_>], _out: &mut Vec<u8>) -> Result<()> {
        todo!()
    }

    /// Appends one key a row; `columns` are the key columns or a prefix of them.
    ///
    /// # Errors
    /// As [`encode_values`](Self::encode_values); `out` is as it was.
    pub fn encode_columns(&self, _columns: &[ArrayRef], _out: &mut KeyBuffer) -> Result<()> {
        todo!()
    }

    /// Pushes the values of all key columns.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no key has.
    pub fn decode(&self, _key: &[u8], _row: &mut RowBuffer) -> Result<()> {
        todo!()
    }

    /// Pushes the value of one key column.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no key has.
    pub fn decode_column(&self, _key: &[u8], _column: usize, _row: &mut RowBuffer) -> Result<()> {
        todo!()
    }

    /// How many bytes of `key` its first `columns` columns take.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no key has.
    pub fn prefix_len(&self, _key: &[u8], _columns: usize) -> Result<usize> {
        todo!()
    }

    /// The key columns with -0.0 as 0.0 and every NaN as one; others are passed on as they are.
    ///
    /// # Errors
    /// `Invalid` if a column is not of its type.
    pub fn normalise(&self, _columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        todo!()
    }
}

/// Makes of `prefix` the smallest byte string above every string that starts with it; false if
/// there is none.
pub fn successor(_prefix: &mut Vec<u8>) -> bool {
    todo!()
}

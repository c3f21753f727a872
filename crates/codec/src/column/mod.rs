//! One column of one row group as bytes: encoded once, then read in place.
//!
//! On the write path a [`ColumnEncoder`] turns the arrays of one column, chunk after chunk, into
//! bytes and a [`ZoneMap`] each. On the read path a [`ColumnChunk`] is opened over those bytes and
//! answers single values, ranges, selections, comparisons and filters without decoding the rest.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, Buffer};
use arrow_schema::DataType;

use crate::{Error, Result, RowBuffer, Value, ValueRef};

mod alp;
mod bits;
mod chunk;
mod codes;
mod constant;
mod cursor;
mod dictionary;
mod encoder;
mod filter;
mod front;
mod kind;
mod nested;
mod numbers;
mod packed;
mod plain;
mod strings;
mod sums;
mod symbols;
mod views;
mod zone;

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "random values are cut to the types under test"
)]
mod tests;

pub use codes::ColumnCodes;
pub use encoder::{ColumnEncoder, EncodedChunk};
pub use front::ColumnFront;
pub use numbers::{ColumnNumbers, NUMBERS_TOGETHER};
pub use symbols::{SYMBOL_TABLES_MAX, SymbolTables};
pub use zone::{ZONE_BYTES_MAX, ZoneMap};

/// The rows that a chunk may have.
pub const CHUNK_ROWS_MAX: usize = 65_536;

/// The bytes that a chunk's values may take in memory; checked when writing and before reading.
pub const CHUNK_RAW_BYTES_MAX: usize = 64 << 20;

/// What chunks are aligned to in files and in memory.
const ALIGNMENT: usize = 8;

/// How the values of a chunk are laid out. The numbers are stored: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// One value for all rows that are not null.
    Constant = 0,
    /// Integers over a base, bit-packed in vectors of 1,024, outliers patched.
    Packed = 1,
    /// Sorted distinct strings and packed codes.
    Dictionary = 2,
    /// Strings compressed with a symbol table (FSST).
    Symbols = 3,
    /// Floats as packed decimals (ALP), exceptions patched.
    Alp = 4,
    /// The values as they are.
    Plain = 5,
    /// Children of a list, struct or map, each a chunk of its own.
    Nested = 6,
}

/// A comparison of a column with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `=`
    Eq,
    /// `<>`
    NotEq,
    /// `<`
    Lt,
    /// `<=`
    LtEq,
    /// `>`
    Gt,
    /// `>=`
    GtEq,
}

impl Encoding {
    fn from_number(number: u8) -> Result<Self> {
        Ok(match number {
            0 => Self::Constant,
            1 => Self::Packed,
            2 => Self::Dictionary,
            3 => Self::Symbols,
            4 => Self::Alp,
            5 => Self::Plain,
            6 => Self::Nested,
            other => {
                return Err(Error::corrupt(format!("unknown encoding {other} of a column chunk")));
            }
        })
    }
}

impl CompareOp {
    /// Whether a value that compares so with another one passes.
    pub fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Eq => ordering.is_eq(),
            Self::NotEq => ordering.is_ne(),
            Self::Lt => ordering.is_lt(),
            Self::LtEq => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::GtEq => ordering.is_ge(),
        }
    }
}

/// An encoded chunk, checked once on opening, cheap to clone; it reads the buffer it was opened on.
#[derive(Clone, Debug)]
pub struct ColumnChunk(Arc<chunk::Chunk>);

impl ColumnChunk {
    /// Opens `rows` values of `data_type`; `tables` are those of the column's file.
    ///
    /// `bytes` are the chunk's own, in memory aligned to eight bytes; else they are copied.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no encoder wrote.
    pub fn open(
        bytes: Buffer,
        data_type: &DataType,
        rows: usize,
        tables: &SymbolTables,
    ) -> Result<Self> {
        if rows > CHUNK_ROWS_MAX {
            return Err(Error::corrupt(format!(
                "column chunk of {rows} rows; it holds {CHUNK_ROWS_MAX}"
            )));
        }
        let aligned = bytes.as_ptr().align_offset(ALIGNMENT) == 0;
        let bytes = if aligned { bytes } else { Buffer::from_slice_ref(&bytes) };
        Ok(Self(Arc::new(chunk::Chunk::open(bytes, data_type, rows, tables)?)))
    }

    /// The number of rows.
    #[expect(clippy::len_without_is_empty, reason = "a chunk has rows")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How the values are laid out.
    pub fn encoding(&self) -> Encoding {
        self.0.encoding()
    }

    /// The number of null rows.
    pub fn null_count(&self) -> usize {
        self.0.null_count()
    }

    /// The type that [`decode`](Self::decode) answers with.
    pub fn data_type(&self) -> &DataType {
        self.0.data_type()
    }

    /// The names of the symbol tables that it was opened with and needs, ascending.
    pub fn symbol_tables(&self) -> Vec<u64> {
        let mut names = Vec::new();
        self.0.table_names(&mut names);
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether the value at `row` is null.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn is_null(&self, row: usize) -> bool {
        self.0.is_null(row)
    }

    /// Appends the value at `row` to `out`, decoding nothing else.
    ///
    /// # Errors
    /// `Invalid` for a row past the end; `Corrupt` if its bytes are not a value.
    pub fn value(&self, row: usize, out: &mut RowBuffer) -> Result<()> {
        self.0.value(row, out)
    }

    /// Reads the memory in which [`value`](Self::value) will find the value at `row`, and makes
    /// some number of it. Whoever wants a row of many columns touches all of them first: memory is
    /// then waited for once, and not once a column.
    pub fn touch(&self, row: usize) -> u64 {
        self.0.touch(row)
    }

    /// The values of `range` as an array. Text and binary leave as views into this chunk.
    ///
    /// # Errors
    /// `Invalid` for a range past the end; `Corrupt` if their bytes are not values.
    pub fn decode(&self, range: Range<usize>) -> Result<ArrayRef> {
        self.0.decode(range)
    }

    /// The values at `indices`, in their order.
    ///
    /// # Errors
    /// `Corrupt` if their bytes are not values; `Invalid` for an index past the end.
    pub fn take(&self, indices: &[u32]) -> Result<ArrayRef> {
        self.0.take(indices)
    }

    /// How the value at `row` compares with `value` in key order, nulls first.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn compare_at(&self, row: usize, value: &ValueRef<'_>) -> Ordering {
        self.0.compare(row, value)
    }

    /// The first row of `range`, which ascends, whose value is not below `value`; its end if none.
    ///
    /// # Panics
    /// If the range goes past the end.
    pub fn lower_bound(&self, range: Range<usize>, value: &ValueRef<'_>) -> usize {
        self.0.lower_bound(range, value)
    }

    /// The rows of `range`, which ascends, whose value is `value`; if there is none, an empty range
    /// where they would be.
    ///
    /// # Panics
    /// If the range goes past the end.
    pub fn equal_range(&self, range: Range<usize>, value: &ValueRef<'_>) -> Range<usize> {
        self.0.equal_range(range, value)
    }

    /// Which rows of `range` compare so with `value`; a null never does. One bit a row of `range`.
    ///
    /// Floats pass if they do in the order of keys or in IEEE 754's total order, which differ over
    /// -0.0 and NaN: a reader that compares again in either misses nothing.
    ///
    /// # Errors
    /// `Invalid` if `value` is not of the column's type or the range goes past the end; `Corrupt`
    /// if the bytes are not values.
    pub fn filter(
        &self,
        op: CompareOp,
        value: &Value,
        range: Range<usize>,
    ) -> Result<BooleanBuffer> {
        self.0.filter(op, value, range)
    }

    /// The rows that pass several comparisons, as [`filter`](Self::filter) says of each.
    ///
    /// # Errors
    /// As there.
    pub fn filter_all(
        &self,
        comparisons: &[(CompareOp, &Value)],
        range: Range<usize>,
    ) -> Result<BooleanBuffer> {
        self.0.filter_all(comparisons, range)
    }
}

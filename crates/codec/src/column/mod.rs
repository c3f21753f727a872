//! One column of one row group as bytes: encoded once, then read in place.
//!
//! On the write path a [`ColumnEncoder`] turns the arrays of one column, chunk after chunk, into
//! bytes and a [`ZoneMap`] each. On the read path a [`ColumnChunk`] is opened over those bytes and
//! answers single values, ranges, selections, comparisons and filters without decoding the rest.

use std::cmp::Ordering;
use std::ops::Range;

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, Buffer};
use arrow_schema::DataType;

use crate::{Result, RowBuffer, Value, ValueRef};

mod encoder;
mod symbols;
mod zone;

pub use encoder::{ColumnEncoder, EncodedChunk};
pub use symbols::SymbolTables;
pub use zone::ZoneMap;

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

/// An encoded chunk, checked once on opening, cheap to clone; it reads the buffer it was opened on.
#[derive(Clone, Debug)]
pub struct ColumnChunk {}

impl ColumnChunk {
    /// Opens `rows` values of `data_type`; `tables` are those of the column's file.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no encoder wrote.
    pub fn open(
        _bytes: Buffer,
        _data_type: &DataType,
        _rows: usize,
        _tables: &SymbolTables,
    ) -> Result<Self> {
        todo!()
    }

    /// The number of rows.
    #[expect(clippy::len_without_is_empty, reason = "a chunk has rows")]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// How the values are laid out.
    pub fn encoding(&self) -> Encoding {
        todo!()
    }

    /// The number of null rows.
    pub fn null_count(&self) -> usize {
        todo!()
    }

    /// The type that [`decode`](Self::decode) answers with.
    pub fn data_type(&self) -> &DataType {
        todo!()
    }

    /// Whether the value at `row` is null.
    pub fn is_null(&self, _row: usize) -> bool {
        todo!()
    }

    /// Appends the value at `row` to `out`, decoding nothing else.
    ///
    /// # Errors
    /// `Corrupt` if its bytes are not a value.
    pub fn value(&self, _row: usize, _out: &mut RowBuffer) -> Result<()> {
        todo!()
    }

    /// The values of `range` as an array.
    ///
    /// # Errors
    /// `Corrupt` if their bytes are not values.
    pub fn decode(&self, _range: Range<usize>) -> Result<ArrayRef> {
        todo!()
    }

    /// The values at `indices`, in their order.
    ///
    /// # Errors
    /// `Corrupt` if their bytes are not values; `Invalid` for an index past the end.
    pub fn take(&self, _indices: &[u32]) -> Result<ArrayRef> {
        todo!()
    }

    /// How the value at `row` compares with `value` in key order, nulls first.
    pub fn compare_at(&self, _row: usize, _value: &ValueRef<'_>) -> Ordering {
        todo!()
    }

    /// The first row of `range`, which ascends, whose value is not below `value`; its end if none.
    pub fn lower_bound(&self, _range: Range<usize>, _value: &ValueRef<'_>) -> usize {
        todo!()
    }

    /// The first row of `range`, which ascends, whose value is above `value`; its end if none.
    pub fn upper_bound(&self, _range: Range<usize>, _value: &ValueRef<'_>) -> usize {
        todo!()
    }

    /// Which rows of `range` compare so with `value`; a null never does. One bit a row of `range`.
    ///
    /// # Errors
    /// `Invalid` if `value` is not of the column's type; `Corrupt` if the bytes are not values.
    pub fn filter(
        &self,
        _op: CompareOp,
        _value: &Value,
        _range: Range<usize>,
    ) -> Result<BooleanBuffer> {
        todo!()
    }
}

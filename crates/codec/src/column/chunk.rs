//! An opened chunk: every question a reader asks, answered by the encoding that holds the values.
//!
//! ```text
//! u8 encoding | u8 1 if nulls follow | u16 0 | u32 rows | u32 nulls | u32 0
//! validity, one bit a row, padded to 8 (only if some rows are null and some are not)
//! body of the encoding (none if all rows are null)
//! ```
//!
//! Opening checks lengths, widths, offsets and positions, in time proportional to the number of
//! vectors. What would take a look at every value (codes within the dictionary, ends in order,
//! text in UTF-8) is checked where the value is read.

use std::cmp::Ordering;
use std::ops::Range;

use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::{
    ArrowNativeType, BooleanBuffer, BooleanBufferBuilder, Buffer, IntervalMonthDayNano, NullBuffer,
};
use arrow_schema::DataType;

use super::alp::Alp;
use super::constant::Constant;
use super::cursor::Cursor;
use super::dictionary::{Dictionary, near_partition_point, partition_point};
use super::kind::{IntFill, Kind, Place, bytes_array, fixed_array, ints_array, slice_nulls};
use super::nested::Nested;
use super::packed::{IntBlock, Unpacked};
use super::strings::{STORE_PLAIN, STORE_SYMBOLS, Strings};
use super::symbols::SymbolTables;
use super::{CHUNK_RAW_BYTES_MAX, Encoding};
use crate::{Error, Result, RowBuffer, ValueRef};

/// The bytes in front of validity and body.
pub(super) const HEADER_BYTES: usize = 16;

/// A chunk and the means to read it.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) data_type: DataType,
    pub(super) kind: Kind,
    pub(super) rows: usize,
    encoding: Encoding,
    pub(super) nulls: Option<NullBuffer>,
    null_count: usize,
    pub(super) body: Body,
}

/// The values, in the form their encoding is read in.
#[derive(Debug)]
pub(super) enum Body {
    /// All rows are null.
    Empty,
    Constant(Constant),
    Ints(IntBlock),
    Bits(BooleanBuffer),
    Fixed(Buffer),
    Alp(Alp),
    Strings(Strings),
    Dictionary(Dictionary),
    Nested(Nested),
}

impl Chunk {
    /// Opens `rows` values of `data_type` over `bytes`, which are aligned to eight.
    pub(super) fn open(
        bytes: Buffer,
        data_type: &DataType,
        rows: usize,
        tables: &SymbolTables,
    ) -> Result<Self> {
        Self::read(&mut Cursor::new(bytes), data_type, rows, tables)
    }

    /// Reads all that `cursor` has.
    pub(super) fn read(
        cursor: &mut Cursor,
        data_type: &DataType,
        rows: usize,
        tables: &SymbolTables,
    ) -> Result<Self> {
        let kind = Kind::of(data_type)?;
        if rows.checked_mul(kind.value_bytes()).is_none_or(|raw| raw > CHUNK_RAW_BYTES_MAX) {
            return Err(Error::corrupt(format!("column chunk of {rows} rows of type {data_type}")));
        }
        let header = cursor.take(HEADER_BYTES)?;
        let (encoding, flag, stored_rows, null_count) = match header.as_slice() {
            &[encoding, flag @ (0 | 1), 0, 0, r0, r1, r2, r3, n0, n1, n2, n3, 0, 0, 0, 0] => (
                Encoding::from_number(encoding)?,
                flag,
                u32::from_le_bytes([r0, r1, r2, r3]),
                u32::from_le_bytes([n0, n1, n2, n3]),
            ),
            other => return Err(Error::corrupt(format!("head of a column chunk: {other:?}"))),
        };
        let null_count = null_count as usize;
        if stored_rows as usize != rows {
            return Err(Error::corrupt(format!(
                "column chunk of {stored_rows} rows where {rows} are expected"
            )));
        }
        if null_count > rows || (flag == 1) != (0 < null_count && null_count < rows) {
            return Err(Error::corrupt(format!(
                "column chunk of {rows} rows with {null_count} nulls and flag {flag}"
            )));
        }
        let nulls = match flag {
            1 => {
                let bits = cursor.take_array::<u64>(rows.div_ceil(64))?;
                let nulls = NullBuffer::new(BooleanBuffer::new(bits, 0, rows));
                if nulls.null_count() != null_count {
                    return Err(Error::corrupt(format!(
                        "{} null bits in a chunk of {null_count} nulls",
                        nulls.null_count()
                    )));
                }
                Some(nulls)
            }
            _ => None,
        };
        let body = match encoding {
            Encoding::Constant if null_count == rows => Body::Empty,
            _ if null_count == rows => {
                return Err(Error::corrupt(format!("{encoding:?} chunk of nulls only")));
            }
            _ => Body::open(encoding, kind, data_type, rows, cursor, tables)?,
        };
        cursor.finish()?;
        Ok(Self { data_type: data_type.clone(), kind, rows, encoding, nulls, null_count, body })
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(super) fn null_count(&self) -> usize {
        self.null_count
    }

    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    #[inline]
    pub(super) fn is_null(&self, row: usize) -> bool {
        match &self.nulls {
            Some(nulls) => nulls.is_null(row),
            None => self.null_count > 0,
        }
    }

    pub(super) fn table_names(&self, names: &mut Vec<u64>) {
        match &self.body {
            Body::Strings(strings) => names.extend(strings.table_name()),
            Body::Dictionary(dictionary) => names.extend(dictionary.table_name()),
            Body::Nested(nested) => nested.table_names(names),
            _ => {}
        }
    }

    pub(super) fn touch(&self, row: usize) -> u64 {
        if row >= self.rows {
            return 0;
        }
        let nulls = self.nulls.as_ref().map_or(0, |nulls| u64::from(nulls.is_null(row)));
        nulls
            ^ match &self.body {
                Body::Ints(ints) => ints.touch(row),
                Body::Alp(alp) => alp.touch(row),
                Body::Strings(strings) => strings.touch(row),
                Body::Dictionary(dictionary) => dictionary.touch(row),
                Body::Fixed(values) => u64::from(values[row * self.kind.value_bytes()]),
                Body::Bits(bits) => u64::from(bits.value(row)),
                Body::Empty | Body::Constant(_) | Body::Nested(_) => 0,
            }
    }

    pub(super) fn value(&self, row: usize, out: &mut RowBuffer) -> Result<()> {
        if row >= self.rows {
            return Err(self.past_end(row));
        }
        if self.is_null(row) {
            out.push(ValueRef::Null);
            return Ok(());
        }
        match &self.body {
            Body::Ints(ints) => out.push(self.kind.int_value(ints.get(row))),
            Body::Dictionary(dictionary) => {
                return dictionary.with(row, |bytes| push_bytes(self.kind, bytes, out))?;
            }
            Body::Strings(strings) => {
                return strings.with(row, |bytes| push_bytes(self.kind, bytes, out))?;
            }
            Body::Nested(nested) => {
                let one = nested.decode(&self.data_type, row..row + 1, None)?;
                out.push(ValueRef::Nested(&one));
            }
            _ => out.push(self.simple_value(row)),
        }
        Ok(())
    }

    /// The value of a row that is not null, where it needs no checking and no memory.
    fn simple_value(&self, row: usize) -> ValueRef<'_> {
        match &self.body {
            Body::Constant(constant) => constant.value(),
            Body::Ints(ints) => self.kind.int_value(ints.get(row)),
            Body::Bits(bits) => ValueRef::Boolean(bits.value(row)),
            Body::Alp(alp) => ValueRef::Float(match self.kind {
                Kind::Float32 => alp.get::<f32>(row).into(),
                _ => alp.get::<f64>(row),
            }),
            Body::Fixed(values) => fixed_value(self.kind, values, row),
            Body::Empty | Body::Strings(_) | Body::Dictionary(_) | Body::Nested(_) => {
                ValueRef::Null
            }
        }
    }

    pub(super) fn decode(&self, range: Range<usize>) -> Result<ArrayRef> {
        if range.start > range.end || range.end > self.rows {
            return Err(Error::invalid(format!(
                "rows {range:?} of a column chunk of {}",
                self.rows
            )));
        }
        let len = range.len();
        let nulls = slice_nulls(self.nulls.as_ref(), range.start, len);
        match &self.body {
            Body::Empty => Ok(arrow_array::new_null_array(&self.data_type, len)),
            Body::Constant(constant) => constant.decode(&self.data_type, len, nulls),
            Body::Ints(ints) => {
                ints_array(self.kind, &self.data_type, len, nulls, Extend { ints, range })
            }
            Body::Bits(bits) => {
                fixed_array(&self.data_type, len, bits.slice(range.start, len).sliced(), nulls)
            }
            Body::Alp(alp) => {
                let values = match self.kind {
                    Kind::Float32 => Buffer::from_vec(alp.decode::<f32>(range)),
                    _ => Buffer::from_vec(alp.decode::<f64>(range)),
                };
                fixed_array(&self.data_type, len, values, nulls)
            }
            Body::Fixed(values) => {
                let width = self.kind.value_bytes();
                fixed_array(
                    &self.data_type,
                    len,
                    values.slice_with_length(range.start * width, len * width),
                    nulls,
                )
            }
            Body::Strings(strings) => {
                let (offsets, bytes) = strings.contiguous(range)?;
                bytes_array(self.kind, offsets, bytes, nulls)
            }
            Body::Dictionary(dictionary) => dictionary.decode(self.kind, range, nulls),
            Body::Nested(nested) => nested.decode(&self.data_type, range, nulls),
        }
    }

    pub(super) fn take(&self, indices: &[u32]) -> Result<ArrayRef> {
        if let Some(&index) = indices.iter().find(|&&index| index as usize >= self.rows) {
            return Err(self.past_end(index as usize));
        }
        let len = indices.len();
        let nulls = self.nulls.as_ref().map(|nulls| {
            let mut bits = BooleanBufferBuilder::new(len);
            indices.iter().for_each(|&index| bits.append(nulls.is_valid(index as usize)));
            NullBuffer::new(bits.finish())
        });
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        match &self.body {
            Body::Empty => Ok(arrow_array::new_null_array(&self.data_type, len)),
            Body::Constant(constant) => constant.decode(&self.data_type, len, nulls),
            Body::Ints(ints) => {
                ints_array(self.kind, &self.data_type, len, nulls, Gather { ints, indices })
            }
            Body::Alp(alp) => {
                let values = match self.kind {
                    Kind::Float32 => Buffer::from_vec(alp.take::<f32>(indices)),
                    _ => Buffer::from_vec(alp.take::<f64>(indices)),
                };
                fixed_array(&self.data_type, len, values, nulls)
            }
            // Each string once: else copies might be longer than the chunk.
            Body::Strings(strings) if len < self.rows / 4 && indices.is_sorted_by(|a, b| a < b) => {
                let (offsets, bytes) = strings.gather(indices)?;
                bytes_array(self.kind, offsets, bytes, nulls)
            }
            Body::Dictionary(dictionary) => dictionary.take(self.kind, indices, nulls),
            Body::Bits(_) | Body::Fixed(_) | Body::Strings(_) | Body::Nested(_) => {
                // Plain values are decoded by looking at them; of nested ones only the span is.
                let (Some(first), Some(last)) = (indices.iter().min(), indices.iter().max()) else {
                    return self.decode(0..0);
                };
                let span = self.decode(*first as usize..*last as usize + 1)?;
                let indices: UInt32Array =
                    indices.iter().map(|index| index - first).collect::<Vec<_>>().into();
                Ok(arrow_select::take::take(&span, &indices, None)?)
            }
        }
    }

    pub(super) fn compare(&self, row: usize, value: &ValueRef<'_>) -> Ordering {
        match (self.is_null(row), value.is_null()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        match (&self.body, bytes_of(self.kind, value)) {
            (Body::Ints(ints), _) => match self.kind.place(value) {
                Some(Place::At(number)) => ints.get(row).cmp(&number),
                Some(Place::BelowAll) => Ordering::Greater,
                Some(Place::AboveAll) => Ordering::Less,
                None => self.simple_value(row).compare(value),
            },
            (Body::Dictionary(dictionary), Some(bytes)) => dictionary.compare(row, bytes),
            (Body::Strings(strings), Some(bytes)) => strings.compare(row, bytes),
            // A value of another type: its kind decides.
            (Body::Dictionary(_) | Body::Strings(_), None) => match self.kind {
                Kind::Text(_) => ValueRef::Text("").compare(value),
                _ => ValueRef::Binary(&[]).compare(value),
            },
            (Body::Nested(nested), _) => match nested.decode(&self.data_type, row..row + 1, None) {
                Ok(one) => ValueRef::Nested(&one).compare(value),
                Err(_) => Ordering::Less,
            },
            _ => self.simple_value(row).compare(value),
        }
    }

    pub(super) fn lower_bound(&self, range: Range<usize>, value: &ValueRef<'_>) -> usize {
        match self.target(value, range.len()) {
            Some(Target::Ints(ints, Place::At(number))) => ints.lower_bound(range, number),
            Some(Target::Ints(_, Place::BelowAll)) => range.start,
            Some(Target::Ints(_, Place::AboveAll)) => range.end,
            Some(Target::Codes(dictionary, bytes)) => {
                let (below, _) = dictionary.bounds(bytes);
                dictionary.code_block().lower_bound(range, below)
            }
            None => partition_point(range, |row| self.compare(row, value).is_lt()),
        }
    }

    pub(super) fn equal_range(&self, range: Range<usize>, value: &ValueRef<'_>) -> Range<usize> {
        match self.target(value, range.len()) {
            Some(Target::Ints(ints, Place::At(number))) => match number.checked_add(1) {
                Some(behind) => ints.between(range, number, behind),
                None => ints.lower_bound(range.clone(), number)..range.end,
            },
            Some(Target::Ints(_, Place::BelowAll)) => range.start..range.start,
            Some(Target::Ints(_, Place::AboveAll)) => range.end..range.end,
            Some(Target::Codes(dictionary, bytes)) => {
                let (below, through) = dictionary.bounds(bytes);
                if below == through {
                    let row = dictionary.code_block().lower_bound(range, below);
                    return row..row;
                }
                dictionary.code_block().between(range, below, through)
            }
            None => {
                let start = partition_point(range.clone(), |row| self.compare(row, value).is_lt());
                let is_above = |row| self.compare(row, value).is_gt();
                start..near_partition_point(start..range.end, |row| !is_above(row))
            }
        }
    }

    /// What to search `rows` rows for where searching is a matter of integers.
    fn target<'a>(&'a self, value: &'a ValueRef<'_>, rows: usize) -> Option<Target<'a>> {
        match &self.body {
            _ if self.null_count > 0 => None,
            Body::Ints(ints) => Some(Target::Ints(ints, self.kind.place(value)?)),
            // Few rows are compared sooner than the value is sought among the distinct ones.
            Body::Dictionary(dictionary) if rows > dictionary.len() / 4 => {
                Some(Target::Codes(dictionary, bytes_of(self.kind, value)?))
            }
            _ => None,
        }
    }

    pub(super) fn past_end(&self, row: usize) -> Error {
        Error::invalid(format!("row {row} of a column chunk of {}", self.rows))
    }
}

enum Target<'a> {
    Ints(&'a IntBlock, Place),
    Codes(&'a Dictionary, &'a [u8]),
}

impl Body {
    fn open(
        encoding: Encoding,
        kind: Kind,
        data_type: &DataType,
        rows: usize,
        cursor: &mut Cursor,
        tables: &SymbolTables,
    ) -> Result<Self> {
        Ok(match (encoding, kind) {
            (Encoding::Constant, _) => Self::Constant(Constant::open(cursor, kind)?),
            (Encoding::Packed, Kind::Int(_) | Kind::Decimal) => {
                Self::Ints(IntBlock::open(cursor, rows)?)
            }
            (Encoding::Dictionary, Kind::Text(_) | Kind::Binary(_) | Kind::Fixed(_)) => {
                Self::Dictionary(Dictionary::open(cursor, rows, tables)?)
            }
            (Encoding::Symbols, Kind::Text(_) | Kind::Binary(_)) => {
                Self::Strings(Strings::open(STORE_SYMBOLS, cursor, rows, tables)?)
            }
            (Encoding::Alp, Kind::Float32 | Kind::Float64) => Self::Alp(Alp::open(cursor, rows)?),
            (Encoding::Plain, Kind::Boolean) => Self::Bits(BooleanBuffer::new(
                cursor.take_array::<u64>(rows.div_ceil(64))?,
                0,
                rows,
            )),
            (Encoding::Plain, Kind::Text(_) | Kind::Binary(_)) => {
                Self::Strings(Strings::open(STORE_PLAIN, cursor, rows, tables)?)
            }
            (
                Encoding::Plain,
                Kind::Int(_)
                | Kind::Float32
                | Kind::Float64
                | Kind::Decimal
                | Kind::Interval
                | Kind::Fixed(_),
            ) => Self::Fixed(cursor.take(rows * kind.value_bytes())?),
            (Encoding::Nested, Kind::Nested) => {
                Self::Nested(Nested::open(cursor, data_type, rows, tables)?)
            }
            (encoding, _) => {
                return Err(Error::corrupt(format!(
                    "column of type {data_type} in encoding {encoding:?}"
                )));
            }
        })
    }
}

/// The plain value of `row`.
pub(super) fn fixed_value(kind: Kind, values: &Buffer, row: usize) -> ValueRef<'_> {
    match kind {
        Kind::Int(int) => kind.int_value(int.read(values, row)),
        Kind::Float32 => ValueRef::Float(values.typed_data::<f32>()[row].into()),
        Kind::Float64 => ValueRef::Float(values.typed_data::<f64>()[row]),
        Kind::Decimal => ValueRef::Decimal(decimal(values, row)),
        Kind::Interval => ValueRef::Interval(values.typed_data::<IntervalMonthDayNano>()[row]),
        Kind::Fixed(size) => ValueRef::Binary(&values[row * size..(row + 1) * size]),
        Kind::Boolean | Kind::Text(_) | Kind::Binary(_) | Kind::Nested => ValueRef::Null,
    }
}

/// Read in halves, since chunks are aligned to eight bytes only.
pub(super) fn decimal(values: &Buffer, row: usize) -> i128 {
    let halves = &values.typed_data::<u64>()[2 * row..2 * row + 2];
    i128::from(halves[0]) | i128::from(halves[1].cast_signed()) << 64
}

/// The bytes that a column of this kind compares; `None` if the value is not of its type.
pub(super) fn bytes_of<'a>(kind: Kind, value: &ValueRef<'a>) -> Option<&'a [u8]> {
    match (kind, value) {
        (Kind::Text(_), ValueRef::Text(text)) => Some(text.as_bytes()),
        (Kind::Binary(_) | Kind::Fixed(_), ValueRef::Binary(bytes)) => Some(bytes),
        _ => None,
    }
}

pub(super) fn push_bytes(kind: Kind, bytes: &[u8], out: &mut RowBuffer) -> Result<()> {
    match kind {
        Kind::Text(_) => {
            let text = std::str::from_utf8(bytes)
                .map_err(|error| Error::corrupt(format!("text of a column: {error}")))?;
            out.push(ValueRef::Text(text));
        }
        _ => out.push(ValueRef::Binary(bytes)),
    }
    Ok(())
}

struct Extend<'a> {
    ints: &'a IntBlock,
    range: Range<usize>,
}

impl IntFill for Extend<'_> {
    fn fill<T: Unpacked + ArrowNativeType>(self, bias: i64) -> Vec<T> {
        let mut values = Vec::new();
        self.ints.extend(self.range, bias, &mut values);
        values
    }
}

struct Gather<'a> {
    ints: &'a IntBlock,
    indices: &'a [u32],
}

impl IntFill for Gather<'_> {
    fn fill<T: Unpacked + ArrowNativeType>(self, bias: i64) -> Vec<T> {
        let mut values = Vec::new();
        self.ints.gather(self.indices, bias, &mut values);
        values
    }
}

//! Row bytes: the value columns of one row, as the WAL and the memtables hold them.
//!
//! Written once, where a row enters the engine; the WAL's bytes are the memtable's. Key columns are
//! not in them: they come back from the key.
//!
//! ```text
//! head | null bits | fixed part | ends | variable part
//!
//! head      LEB128 of schema version x 2 + wide
//! null bits one a nullable value column, low bit first, rounded up to bytes; set: NULL
//! fixed     booleans (a byte), numbers, intervals and fixed-size binary, low byte first, each at an
//!           offset that the schema gives, zeroes for NULL
//! ends      where each text, binary or nested value ends in the variable part: u16, or u32 if wide
//! variable  their bytes; nested values as in `nested.rs`
//! ```
//! Where a column lies follows from the schema version alone, so any of them is read in O(1). What
//! is fixed width here is what Arrow holds in the same bytes, so building columns copies them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, Buffer};

use crate::bytes::put_varint;
use crate::key_buffer::KeyBuffer;
use crate::physical::{ArrayCell, Physical, array_cell, each_bytes, fits, fixed_values};
use crate::{Error, Result, TreeColumn, TreeSchema, ValueRef, nested};

/// The longest row, in bytes.
pub const ROW_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The rows of a batch: one byte string a row.
pub type RowsBuffer = KeyBuffer;

/// Rows are read as Arrow lays values out in memory.
const _: () = assert!(cfg!(target_endian = "little"), "stored rows are little-endian");

/// Encodes the rows of one schema version, and knows where each column lies in them.
#[derive(Clone, Debug)]
pub struct RowCodec {
    pub(crate) schema: Arc<TreeSchema>,
    pub(crate) slots: Vec<Slot>,
    /// The head of a row whose ends are narrow; that of a wide one differs in its lowest bit.
    pub(crate) head: Vec<u8>,
    pub(crate) null_bytes: usize,
    fixed_bytes: usize,
    pub(crate) variable_count: usize,
}

/// Where a value column lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) physical: Physical,
    pub(crate) place: Place,
    /// Which of the null bits is the column's.
    pub(crate) null_bit: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// Offset in the fixed part, and width.
    Fixed(usize, usize),
    /// Which of the ends.
    Variable(usize),
}

impl RowCodec {
    /// The codec of this schema version.
    ///
    /// # Errors
    /// `Invalid` if the schema is not sound, or its fixed part alone is over [`ROW_BYTES_MAX`].
    pub fn new(schema: Arc<TreeSchema>) -> Result<Self> {
        schema.validate()?;
        let (mut slots, mut null_count, mut fixed_bytes, mut variable_count) =
            (Vec::new(), 0, 0, 0);
        for column in schema.value_columns() {
            let physical =
                Physical::of(&column.data_type).expect("a sound schema has types that are stored");
            let place = match physical.width() {
                Some(width) => Place::Fixed(fixed_bytes, width),
                None => Place::Variable(variable_count),
            };
            match place {
                Place::Fixed(_, width) => fixed_bytes += width,
                Place::Variable(_) => variable_count += 1,
            }
            let null_bit = column.nullable.then_some(null_count);
            null_count += usize::from(column.nullable);
            slots.push(Slot { physical, place, null_bit });
        }
        let mut head = Vec::new();
        put_varint(&mut head, u64::from(schema.version) << 1);
        let codec = Self {
            schema,
            slots,
            head,
            null_bytes: null_count.div_ceil(8),
            fixed_bytes,
            variable_count,
        };
        check_size(codec.head.len() + codec.ends_at() + 4 * variable_count)?;
        Ok(codec)
    }

    /// The schema it was made of.
    pub fn schema(&self) -> &Arc<TreeSchema> {
        &self.schema
    }

    /// Appends the bytes of row `row` of `columns`, the value columns in schema order.
    ///
    /// # Errors
    /// `Invalid` for a NULL where none may be, another type, a row over [`ROW_BYTES_MAX`]; `out` is as it was.
    pub fn encode_columns(
        &self,
        columns: &[ArrayRef],
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        self.check_count(columns.len())?;
        self.encode(out, |index| {
            let (column, array) = (&self.schema.value_columns()[index], &columns[index]);
            match array_cell(array, row)? {
                null @ ArrayCell::Value(ValueRef::Null) => Ok(null),
                cell => column.check_array_type(array).map(|()| cell),
            }
        })
    }

    /// Appends the bytes of one row of values, in schema order behind the key.
    ///
    /// # Errors
    /// As [`encode_columns`](Self::encode_columns).
    pub fn encode_values(&self, values: &[ValueRef<'_>], out: &mut Vec<u8>) -> Result<()> {
        self.check_count(values.len())?;
        self.encode(out, |index| match values[index] {
            ValueRef::Nested(array) => {
                let column = &self.schema.value_columns()[index];
                match fits(&column.data_type, values[index]) {
                    true => Ok(ArrayCell::Nested(array, 0)),
                    false => Err(column.mismatch(values[index])),
                }
            }
            value => Ok(ArrayCell::Value(value)),
        })
    }

    /// The bytes of every row of `columns`, each of `rows` rows: a tree may have no value columns,
    /// and its rows have bytes all the same. Runs column by column, so that types are looked at once
    /// a batch.
    ///
    /// # Errors
    /// As [`encode_columns`](Self::encode_columns).
    pub fn encode_batch(&self, columns: &[ArrayRef], rows: usize) -> Result<RowsBuffer> {
        self.check_count(columns.len())?;
        let columns = self.schema.value_columns().iter().zip(columns);
        let columns = columns.map(|(column, array)| Cells::new(column, array, rows));
        let columns = columns.collect::<Result<Vec<_>>>()?;

        let mut variable = vec![0usize; rows];
        columns.iter().for_each(|column| column.add_lengths(&mut variable));
        let (mut ends, mut end) = (Vec::with_capacity(rows), 0);
        for &length in &variable {
            let size = self.size(length);
            check_size(size)?;
            end += size;
            ends.push(end);
        }
        let mut out = RowsBuffer { ends, bytes: vec![0; end] };

        // Where each row's body, behind its head, starts; and how much of its variable part is written.
        let mut bodies = Vec::with_capacity(rows);
        for (row, &length) in variable.iter().enumerate() {
            let start = if row == 0 { 0 } else { out.ends[row - 1] };
            let head = &mut out.bytes[start..start + self.head.len()];
            head.copy_from_slice(&self.head);
            head[0] |= u8::from(is_wide(length));
            bodies.push(Body { start: start + self.head.len(), wide: is_wide(length), written: 0 });
        }
        for (slot, column) in self.slots.iter().zip(&columns) {
            self.write_column(*slot, column, &mut bodies, &mut out.bytes);
        }
        Ok(out)
    }

    fn write_column(&self, slot: Slot, column: &Cells<'_>, bodies: &mut [Body], out: &mut [u8]) {
        if let (Some(nulls), Some(bit)) = (column.array.nulls(), slot.null_bit) {
            for (row, body) in bodies.iter().enumerate() {
                out[body.start + bit / 8] |= u8::from(nulls.is_null(row)) << (bit % 8);
            }
        }
        let nulls = column.array.nulls().filter(|nulls| nulls.null_count() > 0);
        let is_null = |row| nulls.is_some_and(|nulls| nulls.is_null(row));
        match (slot.place, &column.values) {
            (Place::Fixed(offset, width), CellValues::Fixed(values)) => {
                let at = self.null_bytes + offset;
                match width {
                    1 => copy_fixed::<1>(values, at, bodies, out, is_null),
                    2 => copy_fixed::<2>(values, at, bodies, out, is_null),
                    4 => copy_fixed::<4>(values, at, bodies, out, is_null),
                    8 => copy_fixed::<8>(values, at, bodies, out, is_null),
                    16 => copy_fixed::<16>(values, at, bodies, out, is_null),
                    _ => {
                        for (row, (body, value)) in
                            bodies.iter().zip(values.chunks_exact(width)).enumerate()
                        {
                            if !is_null(row) {
                                out[body.start + at..body.start + at + width]
                                    .copy_from_slice(value);
                            }
                        }
                    }
                }
            }
            (Place::Fixed(offset, _), CellValues::Bits(values)) => {
                for (row, body) in bodies.iter().enumerate() {
                    out[body.start + self.null_bytes + offset] =
                        u8::from(values.value(row) && !is_null(row));
                }
            }
            (Place::Variable(index), CellValues::Bytes) => {
                each_bytes(column.array, 0..bodies.len(), |row, bytes| {
                    self.write_variable(
                        index,
                        if is_null(row) { &[] } else { bytes },
                        &mut bodies[row],
                        out,
                    );
                })
            }
            (Place::Variable(index), CellValues::Nested(values)) => {
                for (body, bytes) in bodies.iter_mut().zip(values.iter()) {
                    self.write_variable(index, bytes, body, out);
                }
            }
            (place, _) => {
                unreachable!("{place:?} for an array of type {}", column.array.data_type())
            }
        }
    }

    #[inline]
    fn write_variable(&self, index: usize, bytes: &[u8], body: &mut Body, out: &mut [u8]) {
        let width = end_width(body.wide);
        let ends = body.start + self.ends_at();
        let at = ends + width * self.variable_count + body.written;
        out[at..at + bytes.len()].copy_from_slice(bytes);
        body.written += bytes.len();
        put_end(&mut out[ends + width * index..], body.wide, body.written);
    }

    fn encode<'a>(
        &self,
        out: &mut Vec<u8>,
        cell: impl Fn(usize) -> Result<ArrayCell<'a>>,
    ) -> Result<()> {
        let start = out.len();
        // Most rows are narrow; that one is not shows when it is written.
        let written = self.encode_as(false, out, &cell).and_then(|variable| {
            if is_wide(variable) {
                out.truncate(start);
                self.encode_as(true, out, &cell)?;
            }
            check_size(out.len() - start)
        });
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    /// The length of the variable part.
    fn encode_as<'a>(
        &self,
        wide: bool,
        out: &mut Vec<u8>,
        cell: impl Fn(usize) -> Result<ArrayCell<'a>>,
    ) -> Result<usize> {
        let start = out.len();
        out.extend_from_slice(&self.head);
        out[start] |= u8::from(wide);
        let body = out.len();
        let ends = body + self.ends_at();
        let variable = ends + end_width(wide) * self.variable_count;
        out.resize(variable, 0);
        for (index, slot) in self.slots.iter().enumerate() {
            let (value, is_nested) = match cell(index)? {
                ArrayCell::Value(value) => (value, false),
                ArrayCell::Nested(array, row) => {
                    nested::put_row(array, row, out);
                    (ValueRef::Binary(&[]), true)
                }
            };
            if value.is_null() {
                self.put_null(index, &mut out[body..])?;
            }
            let end = match slot.place {
                Place::Fixed(offset, width) => {
                    let at = body + self.null_bytes + offset;
                    if value.is_null() || slot.physical.write(value, &mut out[at..at + width]) {
                        continue;
                    }
                    return Err(self.schema.value_columns()[index].mismatch(value));
                }
                Place::Variable(end) => end,
            };
            let bytes = match (slot.physical, value) {
                (_, ValueRef::Null) => &[],
                (Physical::Text, ValueRef::Text(v)) => v.as_bytes(),
                (Physical::Binary, ValueRef::Binary(v)) => v,
                // Its bytes are there already.
                (Physical::Nested, ValueRef::Binary(v)) if is_nested => v,
                _ => return Err(self.schema.value_columns()[index].mismatch(value)),
            };
            // Before the bytes are copied: no value makes us ask for more memory than a row may have.
            check_size(out.len() - start + bytes.len())?;
            out.extend_from_slice(bytes);
            let length = out.len() - variable;
            put_end(&mut out[ends + end_width(wide) * end..], wide, length);
        }
        Ok(out.len() - variable)
    }

    fn put_null(&self, index: usize, body: &mut [u8]) -> Result<()> {
        match self.slots[index].null_bit {
            Some(bit) => {
                body[bit / 8] |= 1 << (bit % 8);
                Ok(())
            }
            None => Err(self.schema.value_columns()[index].null_refused()),
        }
    }

    fn check_count(&self, count: usize) -> Result<()> {
        if count == self.slots.len() {
            return Ok(());
        }
        Err(Error::invalid(format!("{count} values for {} value columns", self.slots.len())))
    }

    fn size(&self, variable: usize) -> usize {
        self.head.len()
            + self.ends_at()
            + end_width(is_wide(variable)) * self.variable_count
            + variable
    }

    /// Where the ends start behind the head.
    #[inline]
    pub(crate) fn ends_at(&self) -> usize {
        self.null_bytes + self.fixed_bytes
    }
}

/// Where a row of a batch is being written.
struct Body {
    start: usize,
    wide: bool,
    written: usize,
}

/// One value column of a batch.
struct Cells<'a> {
    array: &'a ArrayRef,
    values: CellValues,
}

enum CellValues {
    Fixed(Buffer),
    Bits(BooleanBuffer),
    /// Text and binary are read where they are.
    Bytes,
    /// Nested values, encoded ahead: their lengths are needed first.
    Nested(KeyBuffer),
}

impl<'a> Cells<'a> {
    fn new(column: &TreeColumn, array: &'a ArrayRef, rows: usize) -> Result<Self> {
        column.check_array(array)?;
        if array.len() != rows {
            let (id, len) = (column.id, array.len());
            return Err(Error::invalid(format!("column {id} of {len} rows in a batch of {rows}")));
        }
        let physical = Physical::of(array.data_type()).expect("the type was checked");
        let values = match (physical, physical.width()) {
            (Physical::Boolean, _) => CellValues::Bits(array.as_boolean().values().clone()),
            (_, Some(width)) => CellValues::Fixed(fixed_values(array, width)),
            (Physical::Nested, _) => CellValues::Nested(nested_rows(array)),
            _ => CellValues::Bytes,
        };
        Ok(Self { array, values })
    }

    fn add_lengths(&self, lengths: &mut [usize]) {
        match &self.values {
            CellValues::Fixed(_) | CellValues::Bits(_) => {}
            CellValues::Bytes => {
                let nulls = self.array.nulls();
                each_bytes(self.array, 0..lengths.len(), |row, bytes| {
                    if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                        lengths[row] += bytes.len();
                    }
                });
            }
            CellValues::Nested(rows) => {
                lengths
                    .iter_mut()
                    .zip(rows.iter())
                    .for_each(|(length, bytes)| *length += bytes.len());
            }
        }
    }
}

fn nested_rows(array: &ArrayRef) -> KeyBuffer {
    let mut rows = KeyBuffer::new();
    for row in 0..array.len() {
        if array.is_valid(row) {
            nested::put_row(array, row, &mut rows.bytes);
        }
        rows.ends.push(rows.bytes.len());
    }
    rows
}

#[inline]
fn copy_fixed<const W: usize>(
    values: &[u8],
    at: usize,
    bodies: &[Body],
    out: &mut [u8],
    is_null: impl Fn(usize) -> bool,
) {
    let (values, _) = values.as_chunks::<W>();
    for (row, (body, value)) in bodies.iter().zip(values).enumerate() {
        if !is_null(row) {
            out[body.start + at..body.start + at + W].copy_from_slice(value);
        }
    }
}

#[inline]
fn is_wide(variable: usize) -> bool {
    variable > usize::from(u16::MAX)
}

#[inline]
pub(crate) fn end_width(wide: bool) -> usize {
    if wide { 4 } else { 2 }
}

/// Writes an end. One that is too long for its width belongs to a row that is written again, wide.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a row's size is limited, and checked")]
fn put_end(out: &mut [u8], wide: bool, end: usize) {
    let bytes = (end as u32).to_le_bytes();
    out[..end_width(wide)].copy_from_slice(&bytes[..end_width(wide)]);
}

fn check_size(size: usize) -> Result<()> {
    if size <= ROW_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!("a row of {size} bytes, at most {ROW_BYTES_MAX} are possible")))
}

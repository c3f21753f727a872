//! Key bytes of a whole batch, column by column, so that types are looked at once a column and not
//! once a cell. The format is [`key.rs`](crate::key)'s.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use memchr::{memchr, memchr_iter};

use crate::key::{
    ESCAPED, KeyField, NOT_NULL, NULL, TERMINATOR, check_size, invert, ordered_f32, ordered_f64,
};
use crate::physical::{Physical, each_bytes, fixed_values};
use crate::{Error, KeyBuffer, Result};

/// How many rows are written column by column at a time: their keys stay in the first cache.
const BLOCK_ROWS: usize = 128;

/// Appends one key a row; `fields` are those of `columns`. On an error `out` is as it was.
pub(crate) fn encode(fields: &[KeyField], columns: &[ArrayRef], out: &mut KeyBuffer) -> Result<()> {
    let Some(rows) = columns.first().map(|column| column.len()) else { return Ok(()) };
    let fields = fields.iter().zip(columns);
    let fields = fields.map(|(field, array)| FieldColumn::new(field, array, rows));
    let mut fields = fields.collect::<Result<Vec<_>>>()?;

    let fixed: usize = fields.iter().filter_map(FieldColumn::width).sum();
    let (keys, start) = (out.ends.len(), out.bytes.len());
    if fields.iter().all(|field| field.width().is_some()) {
        check_size(fixed)?;
        out.bytes.resize(start + rows * fixed, 0);
        out.ends.extend((1..=rows).map(|row| start + row * fixed));
        let mut offset = 0;
        for field in fields {
            let places = Stride { next: offset, stride: fixed };
            field.write(0..rows, &mut out.bytes[start..], places);
            offset += field.width().unwrap_or(0);
        }
        return Ok(());
    }
    out.ends.reserve(rows);
    for from in (0..rows).step_by(BLOCK_ROWS) {
        let block = from..rows.min(from + BLOCK_ROWS);
        if let Err(error) = encode_block(&mut fields, fixed, block, out) {
            out.ends.truncate(keys);
            out.bytes.truncate(start);
            return Err(error);
        }
    }
    Ok(())
}

/// Appends the keys of some rows. `fixed` is the width of all fields that are as wide in every row.
fn encode_block(
    fields: &mut [FieldColumn<'_>],
    fixed: usize,
    rows: Range<usize>,
    out: &mut KeyBuffer,
) -> Result<()> {
    let mut lengths = [fixed; BLOCK_ROWS];
    let lengths = &mut lengths[..rows.len()];
    for field in &mut *fields {
        field.add_lengths(rows.clone(), lengths);
    }
    check_size(lengths.iter().copied().max().unwrap_or(0))?;
    // From here on the lengths become where each row's next field starts.
    let start = out.bytes.len();
    let mut end = start;
    for length in &mut *lengths {
        let from = end - start;
        end += *length;
        *length = from;
        out.ends.push(end);
    }
    out.bytes.resize(end, 0);
    for field in fields {
        field.write(rows.clone(), &mut out.bytes[start..], Cursors(lengths));
    }
    Ok(())
}

/// One key column of a batch.
struct FieldColumn<'a> {
    array: &'a dyn Array,
    /// The values where all have one width, booleans apart.
    fixed: Option<Buffer>,
    nulls: Option<&'a NullBuffer>,
    physical: Physical,
    nullable: bool,
    mask: u8,
    /// Whether text of the block whose lengths were asked for last has a 00.
    escapes: bool,
}

impl<'a> FieldColumn<'a> {
    fn new(field: &'a KeyField, array: &'a ArrayRef, rows: usize) -> Result<Self> {
        field.column.check_array(array)?;
        if array.len() != rows {
            let (id, len) = (field.column.id, array.len());
            return Err(Error::invalid(format!("column {id} of {len} rows in a batch of {rows}")));
        }
        let KeyField { physical, mask, .. } = *field;
        let fixed = physical.width().filter(|_| physical != Physical::Boolean);
        Ok(Self {
            array,
            fixed: fixed.map(|width| fixed_values(array, width)),
            nulls: array.nulls().filter(|nulls| nulls.null_count() > 0),
            physical,
            nullable: field.column.nullable,
            mask,
            escapes: false,
        })
    }

    /// The field's width, if every row of the batch has the same.
    fn width(&self) -> Option<usize> {
        let width = self.physical.width()? + usize::from(self.nullable);
        self.nulls.is_none().then_some(width)
    }

    /// Adds the field's length in each of these rows; only where they differ within the batch.
    fn add_lengths(&mut self, rows: Range<usize>, lengths: &mut [usize]) {
        if self.width().is_some() {
            return;
        }
        let base = usize::from(self.nullable);
        let nulls = self.nulls;
        let is_null = |row| nulls.is_some_and(|nulls| nulls.is_null(row));
        let first = rows.start;
        if let Some(width) = self.physical.width() {
            for row in rows {
                lengths[row - first] += if is_null(row) { base } else { base + width };
            }
            return;
        }
        let mut block_escapes = 0;
        each_bytes(self.array, rows, |row, bytes| {
            let length = &mut lengths[row - first];
            *length += base;
            if !is_null(row) {
                let escapes = count_escapes(bytes);
                block_escapes += escapes;
                *length += bytes.len() + escapes + 2;
            }
        });
        self.escapes = block_escapes > 0;
    }

    /// Writes the field of these rows; `places` counts from the first of them.
    fn write(&self, rows: Range<usize>, bytes: &mut [u8], places: impl Places) {
        macro_rules! integers {
            ($word:ty, $sign:expr) => {{
                let flip = <$word>::from_ne_bytes([self.mask; size_of::<$word>()]) ^ $sign;
                let order = |v| (<$word>::from_le_bytes(v) ^ flip).to_be_bytes();
                self.write_fixed(rows, bytes, places, order)
            }};
        }
        match self.physical {
            Physical::Boolean => {
                let values = self.array.as_boolean().values();
                self.write_booleans(values, rows, bytes, places);
            }
            Physical::Int(1) => integers!(u8, 1 << 7),
            Physical::Int(2) => integers!(u16, 1 << 15),
            Physical::Int(4) => integers!(u32, 1 << 31),
            Physical::Int(_) => integers!(u64, 1 << 63),
            Physical::UInt(1) => integers!(u8, 0),
            Physical::UInt(2) => integers!(u16, 0),
            Physical::UInt(4) => integers!(u32, 0),
            Physical::UInt(_) => integers!(u64, 0),
            Physical::Decimal => integers!(u128, 1 << 127),
            Physical::Float32 => {
                let flip = u32::from_ne_bytes([self.mask; 4]);
                let order = |v| (ordered_f32(f32::from_le_bytes(v)) ^ flip).to_be_bytes();
                self.write_fixed(rows, bytes, places, order);
            }
            Physical::Float64 => {
                let flip = u64::from_ne_bytes([self.mask; 8]);
                let order = |v| (ordered_f64(f64::from_le_bytes(v)) ^ flip).to_be_bytes();
                self.write_fixed(rows, bytes, places, order);
            }
            Physical::FixedBinary(width) => self.write_slices(width, rows, bytes, places),
            Physical::Text | Physical::Binary => self.write_bytes(rows, bytes, places),
            Physical::Interval | Physical::Nested => unreachable!("refused by the codec"),
        }
    }

    /// Writes numbers; `order` gives the bytes of one, the mask applied.
    fn write_fixed<const W: usize>(
        &self,
        rows: Range<usize>,
        bytes: &mut [u8],
        mut places: impl Places,
        order: impl Fn([u8; W]) -> [u8; W],
    ) {
        let (values, _) = self.fixed_bytes().as_chunks::<W>();
        let values = &values[rows.clone()];
        let mask = self.mask;
        let base = usize::from(self.nullable);
        if let Some((offset, stride)) = places.stride() {
            // The bounds of a field are the same in every row, so they are looked at once.
            for (key, value) in bytes.chunks_exact_mut(stride).zip(values) {
                let field = &mut key[offset..offset + base + W];
                if base == 1 {
                    field[0] = NOT_NULL ^ mask;
                }
                field[base..].copy_from_slice(&order(*value));
            }
            return;
        }
        for (row, (value, index)) in values.iter().zip(rows).enumerate() {
            if self.nulls.is_some_and(|nulls| nulls.is_null(index)) {
                bytes[places.take(row, 1)] = NULL ^ mask;
                continue;
            }
            let at = places.take(row, base + W);
            if base == 1 {
                bytes[at] = NOT_NULL ^ mask;
            }
            bytes[at + base..at + base + W].copy_from_slice(&order(*value));
        }
    }

    fn fixed_bytes(&self) -> &[u8] {
        self.fixed.as_deref().unwrap_or(&[])
    }

    fn write_booleans(
        &self,
        values: &BooleanBuffer,
        rows: Range<usize>,
        bytes: &mut [u8],
        mut places: impl Places,
    ) {
        let first = rows.start;
        for row in rows {
            let value = [u8::from(values.value(row))];
            self.write_cell(row, row - first, &value, bytes, &mut places);
        }
    }

    fn write_slices(
        &self,
        width: usize,
        rows: Range<usize>,
        bytes: &mut [u8],
        mut places: impl Places,
    ) {
        let first = rows.start;
        let values = &self.fixed_bytes()[rows.start * width..rows.end * width];
        for (row, value) in rows.zip(values.chunks_exact(width)) {
            self.write_cell(row, row - first, value, bytes, &mut places);
        }
    }

    /// Writes a field whose value's bytes need neither order nor escapes.
    fn write_cell(
        &self,
        row: usize,
        place: usize,
        value: &[u8],
        bytes: &mut [u8],
        places: &mut impl Places,
    ) {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            bytes[places.take(place, 1)] = NULL ^ self.mask;
            return;
        }
        let base = usize::from(self.nullable);
        let at = places.take(place, base + value.len());
        let field = &mut bytes[at..at + base + value.len()];
        if self.nullable {
            field[0] = NOT_NULL;
        }
        field[base..].copy_from_slice(value);
        if self.mask != 0 {
            invert(field);
        }
    }

    fn write_bytes(&self, rows: Range<usize>, bytes: &mut [u8], mut places: impl Places) {
        let base = usize::from(self.nullable);
        let first = rows.start;
        each_bytes(self.array, rows, |row, value| {
            if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
                bytes[places.take(row - first, 1)] = NULL ^ self.mask;
                return;
            }
            let escapes = if self.escapes { count_escapes(value) } else { 0 };
            let length = base + value.len() + escapes + 2;
            let at = places.take(row - first, length);
            let field = &mut bytes[at..at + length];
            if self.nullable {
                field[0] = NOT_NULL;
            }
            let (text, end) = field[base..].split_at_mut(value.len() + escapes);
            if escapes == 0 {
                text.copy_from_slice(value);
            } else {
                escape_into(value, text);
            }
            end.copy_from_slice(&[0, TERMINATOR]);
            if self.mask != 0 {
                invert(field);
            }
        });
    }
}

/// How many 00s there are. Most text has none, and a search says so faster than a count.
#[inline]
fn count_escapes(bytes: &[u8]) -> usize {
    match memchr(0, bytes) {
        None => 0,
        Some(first) => memchr_iter(0, &bytes[first..]).count(),
    }
}

/// Where the next field of a row goes.
trait Places {
    fn take(&mut self, row: usize, width: usize) -> usize;

    /// Offset and stride, if every row is as long as the others.
    fn stride(&self) -> Option<(usize, usize)> {
        None
    }
}

/// Every row is as long as the others. Asked for row after row.
struct Stride {
    next: usize,
    stride: usize,
}

impl Places for Stride {
    #[inline]
    fn take(&mut self, _row: usize, _width: usize) -> usize {
        let at = self.next;
        self.next += self.stride;
        at
    }

    #[inline]
    fn stride(&self) -> Option<(usize, usize)> {
        Some((self.next, self.stride))
    }
}

/// Rows of different lengths, each with its place.
struct Cursors<'a>(&'a mut [usize]);

impl Places for Cursors<'_> {
    #[inline]
    fn take(&mut self, row: usize, width: usize) -> usize {
        let at = self.0[row];
        self.0[row] += width;
        at
    }
}

fn escape_into(value: &[u8], out: &mut [u8]) {
    let mut at = 0;
    for &byte in value {
        out[at] = byte;
        at += 1;
        if byte == 0 {
            out[at] = ESCAPED;
            at += 1;
        }
    }
}

//! Order-preserving key bytes: comparing two keys as bytes compares their values.
//!
//! Keys are made where rows enter the engine (WAL, memtable, filter hashes, merges) and read back
//! where entries leave a memtable; SSTables hold the same columns typed. One field a key column:
//!
//! ```text
//! field    := value | 00 (NULL) | 01 value      the first byte only where the column is nullable
//! boolean  := 00 | 01
//! integer  := big-endian, at the column's width, sign bit flipped if signed; decimals so too
//! float    := big-endian; sign bit flipped, or all bits if negative; -0.0 as 0.0, one NaN, the greatest
//! text     := bytes with 00 written 00 FF, then 00 01; binary so too
//! fixed    := the bytes of a fixed-size binary
//! ```
//! A descending column has every byte of its field inverted, so NULL comes last there. A field's
//! bytes are never the beginning of another's, so keys compare column by column, and the bytes of
//! the first columns are a prefix of the key's.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use memchr::{memchr, memchr_iter};
use std::sync::Arc;

use crate::bytes::{as_text, take, take_byte};
use crate::physical::{Physical, each_bytes, fixed_values};
use crate::value::{normal_f32, normal_f64};
use crate::{Error, KeyBuffer, Result, RowBuffer, TreeColumn, TreeSchema, ValueRef};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// What follows a 00 that belongs to the text, and what follows the 00 that ends it.
const ESCAPED: u8 = 0xff;
const TERMINATOR: u8 = 0x01;

/// The first byte of a field of a nullable column.
const NULL: u8 = 0x00;
const NOT_NULL: u8 = 0x01;

/// Encodes and decodes the keys of one tree.
#[derive(Clone, Debug)]
pub struct KeyCodec {
    fields: Vec<KeyField>,
}

impl KeyCodec {
    /// The codec of this schema's key.
    ///
    /// # Errors
    /// `Invalid` if a key column's type has no order of its own: intervals (is a month 30 days?)
    /// and nested types.
    pub fn new(schema: &TreeSchema) -> Result<Self> {
        let fields = schema.key_columns().iter().zip(&schema.key);
        let fields = fields.map(|(column, order)| KeyField::new(column, order.descending));
        Ok(Self { fields: fields.collect::<Result<_>>()? })
    }

    /// The number of key columns.
    pub fn key_len(&self) -> usize {
        self.fields.len()
    }

    /// Appends the key bytes of `values`, which may be a prefix of the key columns.
    ///
    /// # Errors
    /// `Invalid` for a NULL where none may be, a value of another type, a key over
    /// [`KEY_BYTES_MAX`]; `out` is as it was.
    pub fn encode_values(&self, values: &[ValueRef<'_>], out: &mut Vec<u8>) -> Result<()> {
        let fields = self.prefix(values.len())?;
        let start = out.len();
        let put = fields.iter().zip(values).try_for_each(|(field, value)| field.put(*value, out));
        let put = put.and_then(|()| check_size(out.len() - start));
        if put.is_err() {
            out.truncate(start);
        }
        put
    }

    /// Appends one key a row; `columns` are the key columns or a prefix of them, all of one length.
    ///
    /// Runs column by column, so that types are looked at once a batch.
    ///
    /// # Errors
    /// As [`encode_values`](Self::encode_values); `out` is as it was.
    pub fn encode_columns(&self, columns: &[ArrayRef], out: &mut KeyBuffer) -> Result<()> {
        let fields = self.prefix(columns.len())?;
        let Some(rows) = columns.first().map(|column| column.len()) else { return Ok(()) };
        let fields = fields.iter().zip(columns);
        let fields = fields.map(|(field, array)| FieldColumn::new(field, array, rows));
        let fields = fields.collect::<Result<Vec<_>>>()?;

        let fixed: usize = fields.iter().filter_map(FieldColumn::width).sum();
        let start = out.bytes.len();
        if fields.iter().all(|field| field.width().is_some()) {
            check_size(fixed)?;
            out.bytes.resize(start + rows * fixed, 0);
            out.ends.extend((1..=rows).map(|row| start + row * fixed));
            let bytes = &mut out.bytes[start..];
            let mut offset = 0;
            for field in fields {
                let width = field.width().unwrap_or(0);
                field.write(bytes, Stride { next: offset, stride: fixed });
                offset += width;
            }
            return Ok(());
        }

        let mut lengths = vec![fixed; rows];
        for field in &fields {
            field.add_lengths(&mut lengths);
        }
        check_size(lengths.iter().copied().max().unwrap_or(0))?;
        // From here on the lengths become where each row's next field starts.
        let mut end = start;
        out.ends.reserve(rows);
        for length in &mut lengths {
            let from = end - start;
            end += *length;
            *length = from;
            out.ends.push(end);
        }
        out.bytes.resize(end, 0);
        for field in fields {
            field.write(&mut out.bytes[start..], Cursors(&mut lengths));
        }
        Ok(())
    }

    /// Pushes the values of all key columns.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no key has.
    pub fn decode(&self, key: &[u8], row: &mut RowBuffer) -> Result<()> {
        let mut rest = key;
        let mut scratch = row.take_scratch();
        let decoded = self.fields.iter().try_for_each(|field| {
            let bytes = field.take(&mut rest)?;
            row.push(field.value(bytes, &mut scratch)?);
            Ok(())
        });
        row.keep_scratch(scratch);
        decoded.and_then(|()| no_more(rest))
    }

    /// Pushes the value of the key column at `column`.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no key has.
    ///
    /// # Panics
    /// If `column` is not below [`key_len`](Self::key_len).
    pub fn decode_column(&self, key: &[u8], column: usize, row: &mut RowBuffer) -> Result<()> {
        let mut rest = &key[self.prefix_len(key, column)?..];
        let field = &self.fields[column];
        let bytes = field.take(&mut rest)?;
        let mut scratch = row.take_scratch();
        let pushed = field.value(bytes, &mut scratch).map(|value| row.push(value));
        row.keep_scratch(scratch);
        pushed
    }

    /// How many bytes of `key` its first `columns` columns take.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no key has.
    ///
    /// # Panics
    /// If `columns` is above [`key_len`](Self::key_len).
    pub fn prefix_len(&self, key: &[u8], columns: usize) -> Result<usize> {
        let mut rest = key;
        for field in &self.fields[..columns] {
            field.take(&mut rest)?;
        }
        Ok(key.len() - rest.len())
    }

    /// The key columns (or a prefix of them) with -0.0 as 0.0 and every NaN as one, so that what is
    /// stored typed equals what the key bytes say; other columns are passed on as they are.
    ///
    /// # Errors
    /// `Invalid` if a column is not of its type.
    pub fn normalise(&self, columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let fields = self.prefix(columns.len())?.iter().zip(columns);
        let normal = fields.map(|(field, array)| {
            field.column.check_array(array)?;
            Ok(normal_floats(array))
        });
        normal.collect()
    }

    pub(crate) fn fields(&self) -> &[KeyField] {
        &self.fields
    }

    fn prefix(&self, len: usize) -> Result<&[KeyField]> {
        self.fields.get(..len).ok_or_else(|| {
            Error::invalid(format!("{len} values for a key of {} columns", self.fields.len()))
        })
    }
}

/// Makes of `prefix` the smallest byte string above every string that starts with it; false, and
/// `prefix` empty, if there is none: it holds nothing but FF.
pub fn successor(prefix: &mut Vec<u8>) -> bool {
    while let Some(last) = prefix.pop() {
        if last < 0xff {
            prefix.push(last + 1);
            return true;
        }
    }
    false
}

/// One column of a key.
#[derive(Clone, Debug)]
pub(crate) struct KeyField {
    column: TreeColumn,
    physical: Physical,
    /// FF where descending: what every byte of the field is combined with by exclusive or.
    mask: u8,
}

impl KeyField {
    fn new(column: &TreeColumn, descending: bool) -> Result<Self> {
        let TreeColumn { id, data_type, .. } = column;
        match Physical::of(data_type) {
            None | Some(Physical::Interval | Physical::Nested) => Err(Error::invalid(format!(
                "column {id} of type {data_type} cannot be part of a key"
            ))),
            Some(physical) => Ok(Self {
                column: column.clone(),
                physical,
                mask: if descending { 0xff } else { 0 },
            }),
        }
    }

    fn put(&self, value: ValueRef<'_>, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        if value.is_null() {
            if !self.column.nullable {
                return Err(self.column.null_refused());
            }
            out.push(NULL ^ self.mask);
            return Ok(());
        }
        if self.column.nullable {
            out.push(NOT_NULL);
        }
        match (self.physical, value) {
            (Physical::Text, ValueRef::Text(text)) => put_escaped(text.as_bytes(), out),
            (Physical::Binary, ValueRef::Binary(bytes)) => put_escaped(bytes, out),
            (Physical::FixedBinary(width), ValueRef::Binary(bytes)) if bytes.len() == width => {
                out.extend_from_slice(bytes);
            }
            (Physical::Decimal, ValueRef::Decimal(v)) => {
                out.extend_from_slice(&(v.cast_unsigned() ^ 1 << 127).to_be_bytes());
            }
            (physical, value) => {
                let word = physical.word(value).ok_or_else(|| self.column.mismatch(value))?;
                let width = physical.width().unwrap_or(8);
                out.extend_from_slice(&self.ordered_word(word).to_be_bytes()[8 - width..]);
            }
        }
        if self.mask != 0 {
            invert(&mut out[start..]);
        }
        Ok(())
    }

    /// A word of the column's width whose unsigned order is the values' order.
    #[inline]
    fn ordered_word(&self, word: u64) -> u64 {
        match self.physical {
            Physical::Int(width) => word ^ 1 << (8 * width - 1),
            Physical::Float32 => {
                let [_, _, _, _, low @ ..] = word.to_be_bytes();
                u64::from(ordered_f32(f32::from_bits(u32::from_be_bytes(low))))
            }
            Physical::Float64 => ordered_f64(f64::from_bits(word)),
            _ => word,
        }
    }

    /// Takes the column's field off the front of `key`.
    #[inline]
    pub(crate) fn take<'a>(&self, key: &mut &'a [u8]) -> Result<FieldBytes<'a>> {
        if self.column.nullable {
            match take_byte(key)? ^ self.mask {
                NULL => return Ok(FieldBytes::Null),
                NOT_NULL => {}
                other => return Err(self.damaged(format!("starts with {other:02x}"))),
            }
        }
        match self.physical.width() {
            Some(width) => Ok(FieldBytes::Plain(take(key, width)?)),
            None => self.take_escaped(key),
        }
    }

    fn take_escaped<'a>(&self, key: &mut &'a [u8]) -> Result<FieldBytes<'a>> {
        let whole = *key;
        let mut escapes = false;
        let mut from = 0;
        loop {
            let Some(found) = memchr(self.mask, &whole[from..]) else {
                return Err(self.damaged("has no end"));
            };
            let at = from + found;
            match whole.get(at + 1).map(|byte| byte ^ self.mask) {
                Some(TERMINATOR) => {
                    *key = &whole[at + 2..];
                    let bytes = &whole[..at];
                    return Ok(if escapes {
                        FieldBytes::Escaped(bytes)
                    } else {
                        FieldBytes::Plain(bytes)
                    });
                }
                Some(ESCAPED) => {
                    escapes = true;
                    from = at + 2;
                }
                Some(other) => return Err(self.damaged(format!("has {other:02x} after 00"))),
                None => return Err(self.damaged("has no end")),
            }
        }
    }

    /// The value of bytes that [`take`](Self::take) gave.
    #[inline]
    pub(crate) fn value<'a>(
        &self,
        field: FieldBytes<'a>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<ValueRef<'a>> {
        let bytes = match field {
            FieldBytes::Null => return Ok(ValueRef::Null),
            FieldBytes::Plain(bytes) | FieldBytes::Escaped(bytes) => bytes,
        };
        if let Some(width @ ..=8) =
            self.physical.width().filter(|_| !matches!(self.physical, Physical::FixedBinary(_)))
        {
            let mut word = [0; 8];
            word[8 - width..].copy_from_slice(bytes);
            let mask = u64::from_be_bytes([self.mask; 8]) >> (64 - 8 * width);
            let word = self.word_of_ordered(u64::from_be_bytes(word) ^ mask);
            return self
                .physical
                .value_of_word(word)
                .map_err(|error| self.damaged(error.message()));
        }
        if self.physical == Physical::Decimal {
            let mut word = [self.mask; 16];
            word.iter_mut().zip(bytes).for_each(|(word, byte)| *word ^= byte);
            return Ok(ValueRef::Decimal((u128::from_be_bytes(word) ^ 1 << 127).cast_signed()));
        }
        let bytes = match field {
            FieldBytes::Plain(bytes) if self.mask == 0 => bytes,
            _ => {
                scratch.clear();
                match field {
                    FieldBytes::Escaped(bytes) => unescape(bytes, self.mask, scratch),
                    _ => scratch.extend_from_slice(bytes),
                }
                if self.mask != 0 {
                    invert(scratch);
                }
                scratch.as_slice()
            }
        };
        Ok(match self.physical {
            Physical::Text => {
                ValueRef::Text(as_text(bytes).map_err(|error| self.damaged(error.message()))?)
            }
            _ => ValueRef::Binary(bytes),
        })
    }

    #[inline]
    fn word_of_ordered(&self, word: u64) -> u64 {
        match self.physical {
            Physical::Int(width) => word ^ 1 << (8 * width - 1),
            Physical::Float32 if word >> 31 == 1 => word ^ 1 << 31,
            Physical::Float32 => word ^ u64::from(u32::MAX),
            Physical::Float64 if word >> 63 == 1 => word ^ 1 << 63,
            Physical::Float64 => !word,
            _ => word,
        }
    }

    #[cold]
    fn damaged(&self, what: impl std::fmt::Display) -> Error {
        let TreeColumn { id, data_type, .. } = &self.column;
        Error::corrupt(format!("key column {id} of type {data_type} {what}"))
    }
}

/// The bytes of one field, its first byte (of nullable columns) and its terminator taken off.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FieldBytes<'a> {
    Null,
    Plain(&'a [u8]),
    /// Text or binary with escaped 00s; still inverted where descending.
    Escaped(&'a [u8]),
}

/// One key column of a batch.
struct FieldColumn<'a> {
    array: &'a dyn Array,
    nulls: Option<&'a NullBuffer>,
    physical: Physical,
    nullable: bool,
    mask: u8,
}

impl<'a> FieldColumn<'a> {
    fn new(field: &'a KeyField, array: &'a ArrayRef, rows: usize) -> Result<Self> {
        field.column.check_array(array)?;
        if array.len() != rows {
            let (id, len) = (field.column.id, array.len());
            return Err(Error::invalid(format!("column {id} of {len} rows in a batch of {rows}")));
        }
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        let nullable = field.column.nullable;
        Ok(Self { array, nulls, physical: field.physical, nullable, mask: field.mask })
    }

    /// The field's width, if every row of the batch has the same.
    fn width(&self) -> Option<usize> {
        let width = self.physical.width()? + usize::from(self.nullable);
        self.nulls.is_none().then_some(width)
    }

    /// Adds the field's length in each row; only where they differ.
    fn add_lengths(&self, lengths: &mut [usize]) {
        if self.width().is_some() {
            return;
        }
        let base = usize::from(self.nullable);
        match self.physical.width() {
            Some(width) => lengths.iter_mut().for_each(|length| *length += base + width),
            None => each_bytes(self.array, |row, bytes| {
                // Most text has no 00, and the search says so faster than a count would.
                let escapes = match memchr(0, bytes) {
                    None => 0,
                    Some(first) => memchr_iter(0, &bytes[first..]).count(),
                };
                lengths[row] += base + bytes.len() + escapes + 2;
            }),
        }
        let Some(nulls) = self.nulls else { return };
        match self.physical.width() {
            Some(width) => each_null(nulls, |row| lengths[row] -= width),
            None => each_bytes(self.array, |row, bytes| {
                if nulls.is_null(row) {
                    lengths[row] -= bytes.len() + memchr_iter(0, bytes).count() + 2;
                }
            }),
        }
    }

    fn write(&self, bytes: &mut [u8], places: impl Places) {
        match self.physical {
            Physical::Boolean => {
                self.write_booleans(self.array.as_boolean().values(), bytes, places)
            }
            Physical::Int(1) => self.write_fixed(bytes, places, signed::<1>),
            Physical::Int(2) => self.write_fixed(bytes, places, signed::<2>),
            Physical::Int(4) => self.write_fixed(bytes, places, signed::<4>),
            Physical::Int(_) => self.write_fixed(bytes, places, signed::<8>),
            Physical::UInt(1) => self.write_fixed(bytes, places, reversed::<1>),
            Physical::UInt(2) => self.write_fixed(bytes, places, reversed::<2>),
            Physical::UInt(4) => self.write_fixed(bytes, places, reversed::<4>),
            Physical::UInt(_) => self.write_fixed(bytes, places, reversed::<8>),
            Physical::Float32 => {
                self.write_fixed(bytes, places, |v| {
                    ordered_f32(f32::from_le_bytes(v)).to_be_bytes()
                });
            }
            Physical::Float64 => {
                self.write_fixed(bytes, places, |v| {
                    ordered_f64(f64::from_le_bytes(v)).to_be_bytes()
                });
            }
            Physical::Decimal => self.write_fixed(bytes, places, signed::<16>),
            Physical::FixedBinary(16) => self.write_fixed(bytes, places, |v: [u8; 16]| v),
            Physical::FixedBinary(width) => self.write_slices(width, bytes, places),
            Physical::Text | Physical::Binary => self.write_bytes(bytes, places),
            Physical::Interval | Physical::Nested => unreachable!("refused by the codec"),
        }
    }

    fn write_fixed<const W: usize>(
        &self,
        bytes: &mut [u8],
        mut places: impl Places,
        order: impl Fn([u8; W]) -> [u8; W],
    ) {
        let values = fixed_values(self.array, W);
        let (values, _) = values.as_chunks::<W>();
        let mask = self.mask;
        let masked = |value: [u8; W]| order(value).map(|byte| byte ^ mask);
        match (self.nullable, self.nulls) {
            (false, _) => {
                for (row, value) in values.iter().enumerate() {
                    let at = places.take(row, W);
                    bytes[at..at + W].copy_from_slice(&masked(*value));
                }
            }
            (true, None) => {
                for (row, value) in values.iter().enumerate() {
                    let at = places.take(row, W + 1);
                    bytes[at] = NOT_NULL ^ mask;
                    bytes[at + 1..at + 1 + W].copy_from_slice(&masked(*value));
                }
            }
            (true, Some(nulls)) => {
                for (row, value) in values.iter().enumerate() {
                    if nulls.is_null(row) {
                        bytes[places.take(row, 1)] = NULL ^ mask;
                    } else {
                        let at = places.take(row, W + 1);
                        bytes[at] = NOT_NULL ^ mask;
                        bytes[at + 1..at + 1 + W].copy_from_slice(&masked(*value));
                    }
                }
            }
        }
    }

    fn write_booleans(&self, values: &BooleanBuffer, bytes: &mut [u8], mut places: impl Places) {
        for (row, value) in values.iter().enumerate() {
            self.write_cell(row, &[u8::from(value)], bytes, &mut places);
        }
    }

    fn write_slices(&self, width: usize, bytes: &mut [u8], mut places: impl Places) {
        let values = fixed_values(self.array, width);
        for (row, value) in values.chunks_exact(width).enumerate() {
            self.write_cell(row, value, bytes, &mut places);
        }
    }

    /// Writes a field whose value's bytes need neither order nor escapes.
    fn write_cell(&self, row: usize, value: &[u8], bytes: &mut [u8], places: &mut impl Places) {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            bytes[places.take(row, 1)] = NULL ^ self.mask;
            return;
        }
        let base = usize::from(self.nullable);
        let at = places.take(row, base + value.len());
        let field = &mut bytes[at..at + base + value.len()];
        if self.nullable {
            field[0] = NOT_NULL;
        }
        field[base..].copy_from_slice(value);
        if self.mask != 0 {
            invert(field);
        }
    }

    fn write_bytes(&self, bytes: &mut [u8], mut places: impl Places) {
        let base = usize::from(self.nullable);
        each_bytes(self.array, |row, value| {
            if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
                bytes[places.take(row, 1)] = NULL ^ self.mask;
                return;
            }
            let escapes = match memchr(0, value) {
                None => 0,
                Some(first) => memchr_iter(0, &value[first..]).count(),
            };
            let length = base + value.len() + escapes + 2;
            let at = places.take(row, length);
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

/// Where the next field of a row goes.
trait Places {
    fn take(&mut self, row: usize, width: usize) -> usize;
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

#[inline]
fn reversed<const W: usize>(mut value: [u8; W]) -> [u8; W] {
    value.reverse();
    value
}

#[inline]
fn signed<const W: usize>(value: [u8; W]) -> [u8; W] {
    let mut value = reversed(value);
    value[0] ^= 0x80;
    value
}

#[inline]
fn ordered_f64(value: f64) -> u64 {
    let bits = normal_f64(value).to_bits();
    bits ^ ((bits.cast_signed() >> 63).cast_unsigned() | 1 << 63)
}

#[inline]
fn ordered_f32(value: f32) -> u32 {
    let bits = normal_f32(value).to_bits();
    bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | 1 << 31)
}

fn put_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let mut from = 0;
    for at in memchr_iter(0, bytes) {
        out.extend_from_slice(&bytes[from..=at]);
        out.push(ESCAPED);
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
    out.extend_from_slice(&[0, TERMINATOR]);
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

/// Undoes escapes, and leaves the inversion of descending columns as it is.
fn unescape(bytes: &[u8], mask: u8, out: &mut Vec<u8>) {
    let mut from = 0;
    while let Some(found) = memchr(mask, &bytes[from..]) {
        let at = from + found;
        out.extend_from_slice(&bytes[from..=at]);
        from = at + 2;
    }
    out.extend_from_slice(&bytes[from..]);
}

fn invert(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

fn each_null(nulls: &NullBuffer, mut each: impl FnMut(usize)) {
    (0..nulls.len()).filter(|&row| nulls.is_null(row)).for_each(&mut each);
}

fn check_size(size: usize) -> Result<()> {
    if size <= KEY_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!("a key of {size} bytes, at most {KEY_BYTES_MAX} are possible")))
}

pub(crate) fn no_more(rest: &[u8]) -> Result<()> {
    match rest {
        [] => Ok(()),
        rest => Err(Error::corrupt(format!("{} bytes after the last key column", rest.len()))),
    }
}

fn normal_floats(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => {
            let floats = array.as_primitive::<Float32Type>();
            let normal = |v: &f32| normal_f32(*v).to_bits() == v.to_bits();
            if floats.values().iter().all(normal) {
                return array.clone();
            }
            Arc::new(floats.unary::<_, Float32Type>(normal_f32))
        }
        DataType::Float64 => {
            let floats = array.as_primitive::<Float64Type>();
            let normal = |v: &f64| normal_f64(*v).to_bits() == v.to_bits();
            if floats.values().iter().all(normal) {
                return array.clone();
            }
            Arc::new(floats.unary::<_, Float64Type>(normal_f64))
        }
        _ => array.clone(),
    }
}

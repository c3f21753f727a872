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

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use memchr::{memchr, memchr_iter};

use crate::bytes::{as_text, take, take_byte};
use crate::physical::Physical;
use crate::value::{normal_f32, normal_f64};
use crate::{Error, KeyBuffer, Result, RowBuffer, TreeColumn, TreeSchema, ValueRef, key_columns};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// What follows a 00 that belongs to the text, and what follows the 00 that ends it.
pub(crate) const ESCAPED: u8 = 0xff;
pub(crate) const TERMINATOR: u8 = 0x01;

/// The first byte of a field of a nullable column.
pub(crate) const NULL: u8 = 0x00;
pub(crate) const NOT_NULL: u8 = 0x01;

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
        self.encode(values.len(), values.iter().copied(), out)
    }

    /// As [`encode_values`](Self::encode_values), of all values of a row.
    ///
    /// # Errors
    /// As there.
    pub fn encode_row(&self, row: &RowBuffer, out: &mut Vec<u8>) -> Result<()> {
        self.encode(row.len(), row.iter(), out)
    }

    fn encode<'v>(
        &self,
        len: usize,
        values: impl Iterator<Item = ValueRef<'v>>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let fields = self.prefix(len)?;
        let start = out.len();
        let put = fields.iter().zip(values).try_for_each(|(field, value)| field.put(value, out));
        let put = put.and_then(|()| check_size(out.len() - start));
        if put.is_err() {
            out.truncate(start);
        }
        put
    }

    /// Appends one key a row; `columns` are the key columns or a prefix of them, all of one length.
    ///
    /// # Errors
    /// As [`encode_values`](Self::encode_values); `out` is as it was.
    pub fn encode_columns(&self, columns: &[ArrayRef], out: &mut KeyBuffer) -> Result<()> {
        let fields = self.prefix(columns.len())?;
        key_columns::encode(fields, columns, out)
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
            field.push(bytes, &mut scratch, row)
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
        let pushed = field.push(bytes, &mut scratch, row);
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
    pub(crate) column: TreeColumn,
    pub(crate) physical: Physical,
    /// FF where descending: what every byte of the field is combined with by exclusive or.
    pub(crate) mask: u8,
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
                let [a, b, c, d, low @ ..] = self.ordered_word(word).to_be_bytes();
                let [e, f, g, h] = low;
                // By width, so that each is one store and not a call.
                match physical.width() {
                    Some(1) => out.push(h),
                    Some(2) => out.extend_from_slice(&[g, h]),
                    Some(4) => out.extend_from_slice(&low),
                    _ => out.extend_from_slice(&[a, b, c, d, e, f, g, h]),
                }
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
        if self.is_word() {
            let value = self.physical.value_of_word(self.word(bytes));
            return value.map_err(|error| self.damaged(error.message()));
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

    /// Pushes the value of bytes that [`take`](Self::take) gave.
    #[inline]
    fn push(
        &self,
        field: FieldBytes<'_>,
        scratch: &mut Vec<u8>,
        row: &mut RowBuffer,
    ) -> Result<()> {
        match field {
            FieldBytes::Plain(bytes) if self.is_word() => {
                let pushed = self.physical.push_word(self.word(bytes), row);
                pushed.map_err(|error| self.damaged(error.message()))
            }
            _ => {
                row.push(self.value(field, scratch)?);
                Ok(())
            }
        }
    }

    /// The bits of a value of at most eight bytes.
    #[inline]
    fn word(&self, bytes: &[u8]) -> u64 {
        let (word, ones) = match *bytes {
            [a] => (u64::from(a), u64::from(u8::MAX)),
            [a, b] => (u64::from(u16::from_be_bytes([a, b])), u64::from(u16::MAX)),
            [a, b, c, d] => (u64::from(u32::from_be_bytes([a, b, c, d])), u64::from(u32::MAX)),
            [a, b, c, d, e, f, g, h] => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::MAX),
            _ => unreachable!("no word of {} bytes", bytes.len()),
        };
        self.word_of_ordered(if self.mask == 0 { word } else { word ^ ones })
    }

    /// Whether values are a word of at most eight bytes.
    #[inline]
    fn is_word(&self) -> bool {
        !matches!(
            self.physical,
            Physical::Decimal | Physical::FixedBinary(_) | Physical::Text | Physical::Binary
        )
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

#[inline]
pub(crate) fn ordered_f64(value: f64) -> u64 {
    let bits = normal_f64(value).to_bits();
    bits ^ ((bits.cast_signed() >> 63).cast_unsigned() | 1 << 63)
}

#[inline]
pub(crate) fn ordered_f32(value: f32) -> u32 {
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

pub(crate) fn invert(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

pub(crate) fn check_size(size: usize) -> Result<()> {
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

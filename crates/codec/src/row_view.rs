//! One row read in place: memtable lookups, and columns built of entries. The format is
//! [`row.rs`](crate::row)'s.

use crate::bytes::{as_text, take_varint};
use crate::column_builder::RawCell;
use crate::physical::Physical;
use crate::row::{Place, ROW_BYTES_MAX, RowCodec, end_width};
use crate::{Error, Result, RowBuffer, ValueRef, nested};

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
    /// All behind the head.
    body: &'a [u8],
    wide: bool,
}

impl<'a> RowView<'a> {
    /// A view of `bytes`, which were written by `codec`'s schema version.
    ///
    /// # Errors
    /// `Corrupt` for another version or bytes too short for the schema.
    #[inline]
    pub fn new(codec: &'a RowCodec, bytes: &'a [u8]) -> Result<Self> {
        let Some((head, body)) = bytes.split_at_checked(codec.head.len()) else {
            return Err(ends_early(codec, bytes));
        };
        let wide = head[0] & 1 == 1;
        if head[0] & !1 != codec.head[0] || head[1..] != codec.head[1..] {
            return Err(other_version(codec, bytes));
        }
        let view = Self { codec, body, wide };
        if bytes.len() > ROW_BYTES_MAX {
            return Err(Error::corrupt(format!(
                "a row of {} bytes, at most {ROW_BYTES_MAX} are possible",
                bytes.len()
            )));
        }
        let variable_at = view.variable_at();
        let end = match codec.variable_count {
            _ if body.len() < variable_at => return Err(ends_early(codec, bytes)),
            0 => 0,
            count => view.end(count - 1),
        };
        if body.len() - variable_at != end {
            let stored = body.len() - variable_at;
            return Err(Error::corrupt(format!(
                "a row's variable part of {stored} bytes ends at {end}"
            )));
        }
        Ok(view)
    }

    /// The schema version that a row was written by.
    ///
    /// # Errors
    /// `Corrupt` if the bytes end within it.
    pub fn schema_version(mut bytes: &[u8]) -> Result<u32> {
        version_of_head(take_varint(&mut bytes)?)
    }

    /// The value column at `index`, counted from the first one behind the key. O(1).
    ///
    /// # Errors
    /// `Corrupt` for bytes that no row has.
    ///
    /// # Panics
    /// If the schema has no value column at `index`.
    #[inline]
    pub fn value(&self, index: usize) -> Result<RowCell<'a>> {
        let physical = self.codec.slots[index].physical;
        Ok(RowCell::Value(match (self.raw(index)?, physical) {
            (RawCell::Null, _) => ValueRef::Null,
            (RawCell::Fixed(bytes), _) => physical.value_of_bytes(bytes)?,
            (RawCell::Bytes(bytes), Physical::Text) => ValueRef::Text(as_text(bytes)?),
            (RawCell::Bytes(bytes), Physical::Nested) => return Ok(RowCell::Nested(bytes)),
            (RawCell::Bytes(bytes), _) => ValueRef::Binary(bytes),
        }))
    }

    /// Pushes the value column at `index`, nested ones decoded.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no row has.
    ///
    /// # Panics
    /// If the schema has no value column at `index`.
    #[inline]
    pub fn push_to(&self, index: usize, row: &mut RowBuffer) -> Result<()> {
        let physical = self.codec.slots[index].physical;
        match (self.raw(index)?, physical) {
            (RawCell::Null, _) => row.push(ValueRef::Null),
            (RawCell::Fixed(bytes), _) => physical.push_bytes(bytes, row)?,
            (RawCell::Bytes(bytes), Physical::Text) => row.push(ValueRef::Text(as_text(bytes)?)),
            (RawCell::Bytes(bytes), Physical::Nested) => {
                let data_type = &self.codec.schema.value_columns()[index].data_type;
                row.push_nested(nested::decode_row(data_type, bytes)?);
            }
            (RawCell::Bytes(bytes), _) => row.push(ValueRef::Binary(bytes)),
        }
        Ok(())
    }

    /// The bytes of the value column at `index`.
    #[inline]
    pub(crate) fn raw(&self, index: usize) -> Result<RawCell<'a>> {
        let slot = &self.codec.slots[index];
        if let Some(bit) = slot.null_bit
            && self.body[bit / 8] >> (bit % 8) & 1 == 1
        {
            return Ok(RawCell::Null);
        }
        match slot.place {
            Place::Fixed(offset, width) => {
                let at = self.codec.null_bytes + offset;
                Ok(RawCell::Fixed(&self.body[at..at + width]))
            }
            Place::Variable(index) => {
                let start = if index == 0 { 0 } else { self.end(index - 1) };
                let end = self.end(index);
                let bytes = self.body[self.variable_at()..].get(start..end);
                bytes.map(RawCell::Bytes).ok_or_else(|| {
                    Error::corrupt(format!(
                        "a row's value from {start} to {end} of its variable part"
                    ))
                })
            }
        }
    }

    #[inline]
    fn variable_at(&self) -> usize {
        self.codec.ends_at() + end_width(self.wide) * self.codec.variable_count
    }

    #[inline]
    fn end(&self, index: usize) -> usize {
        let ends = &self.body[self.codec.ends_at() + end_width(self.wide) * index..];
        match (self.wide, ends) {
            (false, [a, b, ..]) => usize::from(u16::from_le_bytes([*a, *b])),
            (true, [a, b, c, d, ..]) => u32::from_le_bytes([*a, *b, *c, *d]) as usize,
            _ => unreachable!("the row's length was checked"),
        }
    }
}

/// The version in a row's head.
#[inline]
pub(crate) fn version_of_head(head: u64) -> Result<u32> {
    u32::try_from(head >> 1)
        .map_err(|_| Error::corrupt(format!("a row of schema version {}", head >> 1)))
}

#[cold]
fn ends_early(codec: &RowCodec, bytes: &[u8]) -> Error {
    let version = codec.schema.version;
    Error::corrupt(format!("a row of {} bytes, too few for schema version {version}", bytes.len()))
}

#[cold]
fn other_version(codec: &RowCodec, bytes: &[u8]) -> Error {
    let version = codec.schema.version;
    match RowView::schema_version(bytes) {
        Ok(other) => {
            Error::corrupt(format!("a row of schema version {other} read as version {version}"))
        }
        Err(error) => error,
    }
}

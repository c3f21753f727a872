//! Values as they are: fixed widths side by side, strings behind their packed ends.
//!
//! ```text
//! fixed width   the values, little-endian; booleans one bit each
//! strings       block of the ends (see packed.rs) | u64 length | the bytes
//! ```

use std::ops::Range;

use arrow_buffer::Buffer;

use super::cursor::{Cursor, put_array, put_len};
use super::packed::{self, IntBlock};
use crate::{Error, Result};

/// Strings side by side.
#[derive(Debug)]
pub(super) struct PlainStrings {
    ends: IntBlock,
    bytes: Buffer,
}

impl PlainStrings {
    /// Reads `len` strings.
    pub(super) fn open(cursor: &mut Cursor, len: usize) -> Result<Self> {
        let ends = IntBlock::open(cursor, len)?;
        let bytes = cursor.len()?;
        Ok(Self { ends, bytes: cursor.take_last(bytes)? })
    }

    /// The number of strings.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Reads what [`get`](Self::get) will read: where the string ends, and its last byte.
    pub(super) fn touch(&self, index: usize) -> u64 {
        let end = usize::try_from(self.ends.get(index)).unwrap_or_default();
        self.bytes.get(end.saturating_sub(1)).map_or(0, |&byte| byte.into())
    }

    /// The string at `index`.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Result<&[u8]> {
        let (start, end) = bounds(&self.ends, index..index + 1)?;
        self.bytes.get(start..end).ok_or_else(|| out_of_range(start, end, self.bytes.len()))
    }

    /// Where the string at `index` lies among the bytes, which may not be here.
    pub(super) fn place(&self, index: usize) -> Result<Range<usize>> {
        let (start, end) = bounds(&self.ends, index..index + 1)?;
        Ok(start..end)
    }

    /// The strings of `range` as offsets into one piece of memory, this chunk's own.
    pub(super) fn contiguous(&self, range: Range<usize>) -> Result<(Vec<i32>, Buffer)> {
        let (start, end) = bounds(&self.ends, range.clone())?;
        if end > self.bytes.len() {
            return Err(out_of_range(start, end, self.bytes.len()));
        }
        let mut offsets = Vec::with_capacity(range.len() + 1);
        offsets.push(0);
        self.ends.extend(range, -signed(start), &mut offsets);
        Ok((offsets, self.bytes.slice_with_length(start, end - start)))
    }
}

/// Where the strings of `range` begin and end, given the ends of all; `start <= end`.
#[inline]
pub(super) fn bounds(ends: &IntBlock, range: Range<usize>) -> Result<(usize, usize)> {
    let end_of = |count: usize| if count == 0 { 0 } else { ends.get(count - 1) };
    let (start, end) = (end_of(range.start), end_of(range.end));
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) if start <= end => Ok((start, end)),
        _ => {
            Err(Error::corrupt(format!("strings {range:?} of a column lie from {start} to {end}")))
        }
    }
}

pub(super) fn out_of_range(start: usize, end: usize, len: usize) -> Error {
    Error::corrupt(format!("strings of a column lie from {start} to {end} in {len} bytes"))
}

/// A length as a signed number: memory is never longer than that.
pub(super) fn signed(len: usize) -> i64 {
    i64::try_from(len).expect("memory is shorter than 2^63 bytes")
}

/// Appends `values` as plain strings.
pub(super) fn write_strings(values: &[&[u8]], out: &mut Vec<u8>) {
    let mut end = 0;
    let ends: Vec<i64> = values
        .iter()
        .map(|value| {
            end += value.len();
            signed(end)
        })
        .collect();
    packed::write(&ends, out);
    put_len(end, out);
    out.reserve(end + 8);
    values.iter().for_each(|value| out.extend_from_slice(value));
    super::cursor::pad(end, out);
}

/// Appends whole numbers at the width of their column's type.
pub(super) fn write_ints(values: &[i64], kind: super::kind::Kind, out: &mut Vec<u8>) {
    use super::packed::Unpacked;
    match kind {
        super::kind::Kind::Int(int) => super::kind::with_native!(int, Native => {
            let bias = kind.bias();
            let values: Vec<Native> = values.iter().map(|&value| Native::of(value.wrapping_add(bias), 0)).collect();
            put_array(&values, out);
        }),
        _ => put_array(&values.iter().map(|&value| i128::from(value)).collect::<Vec<_>>(), out),
    }
}

//! Reading and writing the parts of a chunk: little-endian, each part padded to eight bytes.

use std::ops::Range;

use arrow_buffer::{ArrowNativeType, Buffer, ToByteSlice};

use crate::{Error, Result};

/// What remains to be read of a chunk.
#[derive(Debug)]
pub(super) struct Cursor {
    bytes: Buffer,
    at: usize,
    /// Bytes of the chunk that stand behind these and were not read.
    missing: usize,
    /// Where the bytes asked of [`take_last`](Self::take_last) lie, if some of them are missing.
    stored: Option<Range<usize>>,
}

impl Cursor {
    /// Begins at the front of `bytes`, whose memory is aligned to eight bytes.
    pub(super) fn new(bytes: Buffer) -> Self {
        Self { bytes, at: 0, missing: 0, stored: None }
    }

    /// The same over the first bytes of a chunk of `len`.
    pub(super) fn of_front(bytes: Buffer, len: usize) -> Self {
        let missing = len.saturating_sub(bytes.len());
        Self { bytes, at: 0, missing, stored: None }
    }

    /// Where in the chunk the bytes lie that [`take_last`](Self::take_last) did not find whole.
    pub(super) fn stored(&self) -> Option<Range<usize>> {
        self.stored.clone()
    }

    /// The next `len` bytes and the padding behind them.
    pub(super) fn take(&mut self, len: usize) -> Result<Buffer> {
        let rest = self.bytes.len() - self.at;
        if padded(len).is_none_or(|padded| padded > rest) {
            return Err(Error::corrupt(format!(
                "column chunk cut short: {rest} bytes left of {len} needed"
            )));
        }
        let part = self.bytes.slice_with_length(self.at, len);
        self.at += padded(len).expect("checked above");
        Ok(part)
    }

    /// The last `len` bytes of the chunk, or as many of them as were read, and the padding.
    pub(super) fn take_last(&mut self, len: usize) -> Result<Buffer> {
        let rest = self.bytes.len() - self.at;
        if self.missing == 0 {
            return self.take(len);
        }
        if padded(len) != rest.checked_add(self.missing) {
            return Err(Error::corrupt(format!(
                "column chunk: {rest} and {} bytes left where {len} should be the last",
                self.missing
            )));
        }
        let part = self.bytes.slice_with_length(self.at, rest.min(len));
        self.stored = Some(self.at..self.at + len);
        self.at = self.bytes.len();
        Ok(part)
    }

    /// The next `count` numbers and the padding behind them.
    pub(super) fn take_array<T: ArrowNativeType>(&mut self, count: usize) -> Result<Buffer> {
        let len = count
            .checked_mul(size_of::<T>())
            .ok_or_else(|| Error::corrupt("column chunk: a length overflows"))?;
        self.take(len)
    }

    /// The next eight bytes as a number.
    pub(super) fn u64(&mut self) -> Result<u64> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.as_slice().try_into().expect("eight bytes were taken")))
    }

    /// The next eight bytes as a length.
    pub(super) fn len(&mut self) -> Result<usize> {
        let len = self.u64()?;
        usize::try_from(len)
            .map_err(|_| Error::corrupt(format!("column chunk: length {len} is no length")))
    }

    /// Checks that nothing is left over.
    pub(super) fn finish(&self) -> Result<()> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            rest => Err(Error::corrupt(format!(
                "column chunk: {rest} bytes left over of {}",
                self.bytes.len()
            ))),
        }
    }
}

fn padded(len: usize) -> Option<usize> {
    len.checked_next_multiple_of(8)
}

/// Appends `values` and pads to a multiple of eight bytes.
pub(super) fn put_array<T>(values: &[T], out: &mut Vec<u8>)
where
    [T]: ToByteSlice,
{
    let bytes = values.to_byte_slice();
    out.extend_from_slice(bytes);
    pad(bytes.len(), out);
}

/// Appends a number in eight bytes.
pub(super) fn put_u64(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a length in eight bytes.
pub(super) fn put_len(len: usize, out: &mut Vec<u8>) {
    put_u64(len as u64, out);
}

/// Appends what pads a part of `len` bytes.
pub(super) fn pad(len: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + len.next_multiple_of(8) - len, 0);
}

//! Reading and writing the parts of a chunk: little-endian, each part padded to eight bytes.

use arrow_buffer::{ArrowNativeType, Buffer, ToByteSlice};

use crate::{Error, Result};

/// What remains to be read of a chunk.
#[derive(Debug)]
pub(super) struct Cursor {
    bytes: Buffer,
    at: usize,
}

impl Cursor {
    /// Begins at the front of `bytes`, whose memory is aligned to eight bytes.
    pub(super) fn new(bytes: Buffer) -> Self {
        Self { bytes, at: 0 }
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

//! [`Input`]: numbers and bytes taken off the front of a block, never past its end.

use silt_codec::{Error, Result};

/// What is left of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The bytes not yet taken.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whatever takes from a slice by moving its start.
    pub(super) fn rest_mut(&mut self) -> &mut &'a [u8] {
        &mut self.bytes
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or_else(|| {
            Error::corrupt(format!("{len} bytes wanted where {} are left", self.bytes.len()))
        })?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or_else(|| {
            Error::corrupt(format!("{N} bytes wanted where {} are left", self.bytes.len()))
        })?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn u128(&mut self) -> Result<u128> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// A number of items, each of which takes at least `item_bytes`: never more than fit.
    pub(super) fn count(&mut self, item_bytes: usize) -> Result<usize> {
        let count = self.u32()? as usize;
        if count > self.bytes.len() / item_bytes {
            return Err(Error::corrupt(format!(
                "{count} items of {item_bytes} bytes where {} bytes are left",
                self.bytes.len()
            )));
        }
        Ok(count)
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        Err(Error::corrupt(format!("{} bytes too many", self.bytes.len())))
    }
}

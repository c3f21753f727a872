//! Small readers and writers that every format of this crate is made of.
//!
//! Readers take from the front of a slice and answer `Corrupt` when it ends too early; none panics.

use crate::{Error, Result};

/// Appends `value` as LEB128: seven bits a byte, low bits first.
#[expect(clippy::cast_possible_truncation, reason = "seven bits are taken at a time")]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes a LEB128 number of at most 64 bits.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(bytes)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Error::corrupt("a number of more than 64 bits"))
}

/// Takes a number that fits 32 bits.
pub(crate) fn take_u32(bytes: &mut &[u8], what: &str) -> Result<u32> {
    let value = take_varint(bytes)?;
    u32::try_from(value)
        .map_err(|_| Error::corrupt(format!("{what} {value} is above {}", u32::MAX)))
}

/// Takes a count of things of which each takes at least one byte of what follows.
pub(crate) fn take_count(bytes: &mut &[u8], what: &str) -> Result<usize> {
    let value = take_varint(bytes)?;
    match usize::try_from(value) {
        Ok(count) if count <= bytes.len() => Ok(count),
        _ => Err(Error::corrupt(format!("{value} {what} announced, {} bytes left", bytes.len()))),
    }
}

/// Takes one byte.
pub(crate) fn take_byte(bytes: &mut &[u8]) -> Result<u8> {
    let (&byte, rest) = bytes.split_first().ok_or_else(|| ends_early(1, 0))?;
    *bytes = rest;
    Ok(byte)
}

/// Takes `count` bytes.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8]> {
    let (taken, rest) =
        bytes.split_at_checked(count).ok_or_else(|| ends_early(count, bytes.len()))?;
    *bytes = rest;
    Ok(taken)
}

/// Takes `N` bytes.
pub(crate) fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>().ok_or_else(|| ends_early(N, bytes.len()))?;
    *bytes = rest;
    Ok(*taken)
}

/// Takes a length and that many bytes.
pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let count = take_count(bytes, "bytes")?;
    take(bytes, count)
}

/// Takes a length and that many bytes of UTF-8.
pub(crate) fn take_str<'a>(bytes: &mut &'a [u8]) -> Result<&'a str> {
    as_text(take_bytes(bytes)?)
}

/// The text of stored bytes.
pub(crate) fn as_text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| Error::corrupt(format!("stored text: {error}")))
}

#[cold]
fn ends_early(wanted: usize, left: usize) -> Error {
    Error::corrupt(format!("bytes end early: {wanted} wanted, {left} left"))
}

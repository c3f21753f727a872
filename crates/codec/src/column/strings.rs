//! Strings of a chunk or a dictionary, plain or compressed, behind one face.

use std::cmp::Ordering;
use std::ops::Range;

use arrow_buffer::Buffer;

use super::bits::VECTOR;
use super::cursor::Cursor;
use super::packed::Interval;
use super::plain::{PlainStrings, signed};
use super::symbols::{SymbolStrings, SymbolTables};
use super::{CHUNK_RAW_BYTES_MAX, CompareOp};
use crate::{Error, Result};

/// Strings that can be read one by one.
#[derive(Debug)]
pub(super) enum Strings {
    Plain(PlainStrings),
    Symbols(SymbolStrings),
}

/// How strings are stored, as a number. Stored: never change one.
pub(super) const STORE_PLAIN: u64 = 0;
pub(super) const STORE_SYMBOLS: u64 = 1;

impl Strings {
    /// Reads `len` strings of this store.
    pub(super) fn open(
        store: u64,
        cursor: &mut Cursor,
        len: usize,
        tables: &SymbolTables,
    ) -> Result<Self> {
        match store {
            STORE_PLAIN => Ok(Self::Plain(PlainStrings::open(cursor, len)?)),
            STORE_SYMBOLS => Ok(Self::Symbols(SymbolStrings::open(cursor, len, tables)?)),
            other => Err(Error::corrupt(format!("strings are stored in an unknown way: {other}"))),
        }
    }

    /// The number of strings.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Plain(strings) => strings.len(),
            Self::Symbols(strings) => strings.len(),
        }
    }

    /// The name of the symbol table they need.
    pub(super) fn table_name(&self) -> Option<u64> {
        match self {
            Self::Plain(_) => None,
            Self::Symbols(strings) => Some(strings.table_name()),
        }
    }

    /// Reads what [`with`](Self::with) will read.
    pub(super) fn touch(&self, index: usize) -> u64 {
        match self {
            Self::Plain(strings) => strings.touch(index),
            Self::Symbols(strings) => strings.touch(index),
        }
    }

    /// Calls `f` with the string at `index`; `f` must not read another one meanwhile.
    #[inline]
    pub(super) fn with<R>(&self, index: usize, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        match self {
            Self::Plain(strings) => strings.get(index).map(f),
            Self::Symbols(strings) => strings.with(index, f),
        }
    }

    /// Where the string at `index` is stored among the bytes of all, which may not be here.
    pub(super) fn place(&self, index: usize) -> Result<Range<usize>> {
        match self {
            Self::Plain(strings) => strings.place(index),
            Self::Symbols(strings) => strings.place(index),
        }
    }

    /// Calls `f` with the string that is stored as `bytes`; `f` must not read another meanwhile.
    pub(super) fn with_stored<R>(&self, bytes: &[u8], f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        match self {
            Self::Plain(_) => Ok(f(bytes)),
            Self::Symbols(strings) => strings.with_codes(bytes, f),
        }
    }

    /// The length of the string at `index`.
    pub(super) fn length(&self, index: usize) -> Result<usize> {
        match self {
            Self::Plain(strings) => strings.get(index).map(<[u8]>::len),
            Self::Symbols(strings) => strings.length(index),
        }
    }

    /// How the string at `index` compares with `value`; one that cannot be read counts as empty.
    pub(super) fn compare(&self, index: usize, value: &[u8]) -> Ordering {
        let order = match self {
            Self::Plain(strings) => strings.get(index).map(|string| string.cmp(value)),
            Self::Symbols(strings) => strings.compare(index, value),
        };
        order.unwrap_or_else(|_| [].as_slice().cmp(value))
    }

    /// The strings of `range` as offsets, from 0, into one piece of memory.
    pub(super) fn contiguous(&self, range: Range<usize>) -> Result<(Vec<i32>, Buffer)> {
        match self {
            Self::Plain(strings) => strings.contiguous(range),
            Self::Symbols(strings) => strings.contiguous(range),
        }
    }

    /// The strings at `indices`, likewise.
    pub(super) fn gather(&self, indices: &[u32]) -> Result<(Vec<i32>, Buffer)> {
        let plain = match self {
            Self::Plain(strings) => strings,
            Self::Symbols(strings) => return strings.gather(indices),
        };
        let (mut offsets, mut bytes) = (Vec::with_capacity(indices.len() + 1), Vec::new());
        offsets.push(0);
        for &index in indices {
            bytes.extend_from_slice(plain.get(index as usize)?);
            let end = i32::try_from(bytes.len())
                .map_err(|_| Error::invalid("more than 2 GiB of strings are selected"))?;
            offsets.push(end);
        }
        Ok((offsets, Buffer::from_vec(bytes)))
    }

    /// One bit for each string of these vectors, the last cut at the strings' end: whether it
    /// compares so with `value`.
    pub(super) fn test(
        &self,
        vectors: Range<usize>,
        op: CompareOp,
        value: &[u8],
    ) -> Result<Vec<u64>> {
        let range = vectors.start * VECTOR..self.len().min(vectors.end * VECTOR);
        if let (Self::Symbols(strings), CompareOp::Eq | CompareOp::NotEq) = (self, op) {
            // Few strings have the value's length, so few are decoded.
            let length = signed(value.len());
            let mut words = strings.test_lengths(vectors, Interval::new(length, length));
            for index in range.clone() {
                let (word, bit) = ((index - range.start) / 64, 1 << ((index - range.start) % 64));
                if words[word] & bit != 0 && !strings.with(index, |string| string == value)? {
                    words[word] &= !bit;
                }
            }
            if op == CompareOp::NotEq {
                words.iter_mut().for_each(|word| *word = !*word);
            }
            return Ok(words);
        }
        let (offsets, bytes) = self.contiguous(range.clone())?;
        let mut words = vec![0; vectors.len() * VECTOR / 64];
        for (index, pair) in offsets.windows(2).enumerate() {
            let (Ok(start), Ok(end)) = (usize::try_from(pair[0]), usize::try_from(pair[1])) else {
                return Err(Error::corrupt("the ends of a column's strings are out of order"));
            };
            let string = bytes
                .get(start..end)
                .ok_or_else(|| Error::corrupt("the ends of a column's strings are out of order"))?;
            let holds = match op {
                CompareOp::Eq => string == value,
                CompareOp::NotEq => string != value,
                _ => op.holds(string.cmp(value)),
            };
            words[index / 64] |= u64::from(holds) << (index % 64);
        }
        Ok(words)
    }
}

/// Checks that strings of these lengths are no more than a chunk's.
pub(super) fn check_raw(mut lengths: impl Iterator<Item = Result<usize>>) -> Result<()> {
    let raw =
        lengths.try_fold(0_usize, |sum, length| Ok::<_, Error>(sum.saturating_add(length?)))?;
    match raw > CHUNK_RAW_BYTES_MAX {
        true => Err(Error::corrupt(format!(
            "{raw} bytes of strings; a column chunk holds {CHUNK_RAW_BYTES_MAX}"
        ))),
        false => Ok(()),
    }
}

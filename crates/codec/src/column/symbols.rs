//! Strings compressed with a table of symbols (FSST: Boncz, Neumann, Leis, VLDB 2020).
//!
//! A table has up to 255 symbols of one to eight bytes; a string is a run of codes, and code 255
//! says that the next byte stands for itself. So any string is decoded by itself. One table serves
//! many chunks: it lives in the file, named by the hash of its bytes, and is trained anew only
//! when strings change their nature.
//!
//! ```text
//! table         u8 symbols | u8 length of each | their bytes, one after the other
//! chunk body    u64 table | block of the codes' ends | block of the strings' lengths
//!               u64 length of the codes | codes
//! ```
//!
//! Training is the `fsst` crate's; decoding is here, because its own writes through raw pointers.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow_buffer::Buffer;
use fsst::Compressor;
use twox_hash::XxHash3_64;

use super::CHUNK_RAW_BYTES_MAX;
use super::cursor::{Cursor, pad, put_len, put_u64};
use super::packed::{self, IntBlock, Interval};
use super::plain::{bounds, out_of_range, signed};
use crate::{Error, Result};

/// The tables that the chunks of one column may have in one file before strings stay plain.
pub const SYMBOL_TABLES_MAX: usize = 16;

/// The code that says that a byte stands for itself.
const ESCAPE: u8 = 255;
const SYMBOL_BYTES_MAX: usize = 8;
/// Scratch memory above this is given back.
const SCRATCH_BYTES_KEPT: usize = 1 << 20;
/// So many strings are decoded one by one rather than as one run of codes.
const FEW: usize = 64;

/// The symbol tables of one column of one file, by content hash.
#[derive(Clone, Debug, Default)]
pub struct SymbolTables {
    tables: BTreeMap<u64, Arc<SymbolTable>>,
}

impl SymbolTables {
    /// Adds a table's bytes and answers with their hash, the table's name.
    ///
    /// # Errors
    /// `Corrupt` for bytes that are not a table.
    pub fn insert(&mut self, bytes: &[u8]) -> Result<u64> {
        let (table, rest) = SymbolTable::parse(bytes)?;
        if !rest.is_empty() {
            return Err(Error::corrupt(format!("symbol table has {} bytes too many", rest.len())));
        }
        let name = XxHash3_64::oneshot(bytes);
        self.tables.entry(name).or_insert_with(|| Arc::new(table));
        Ok(name)
    }

    /// The bytes of the table of that name.
    pub fn get(&self, name: u64) -> Option<&[u8]> {
        self.tables.get(&name).map(|table| &*table.bytes)
    }

    /// The names of the tables, ascending.
    pub fn names(&self) -> impl Iterator<Item = u64> + '_ {
        self.tables.keys().copied()
    }

    /// The number of tables.
    pub fn len(&self) -> usize {
        self.tables.len()
    }

    /// Whether there is no table.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Appends all tables' bytes: their number in four bytes, then one after the other.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let count = u32::try_from(self.len()).expect("tables are a few");
        out.extend_from_slice(&count.to_le_bytes());
        self.tables.values().for_each(|table| out.extend_from_slice(&table.bytes));
    }

    /// Takes what [`encode`](Self::encode) appended off the front of `bytes`.
    ///
    /// # Errors
    /// `Corrupt` for other bytes.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self> {
        let Some((count, mut rest)) = bytes.split_first_chunk() else {
            return Err(Error::corrupt("symbol tables cut short"));
        };
        let mut tables = Self::default();
        for _ in 0..u32::from_le_bytes(*count) {
            let (_, after) = SymbolTable::parse(rest)?;
            tables.insert(&rest[..rest.len() - after.len()])?;
            rest = after;
        }
        *bytes = rest;
        Ok(tables)
    }

    fn table(&self, name: u64) -> Result<Arc<SymbolTable>> {
        self.tables
            .get(&name)
            .cloned()
            .ok_or_else(|| Error::corrupt(format!("symbol table {name:016x} is missing")))
    }
}

/// One table, ready for decoding.
struct SymbolTable {
    symbols: [u64; 256],
    lengths: [u8; 256],
    bytes: Box<[u8]>,
}

impl fmt::Debug for SymbolTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SymbolTable").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl SymbolTable {
    /// Reads one table and answers with what follows it.
    fn parse(bytes: &[u8]) -> Result<(Self, &[u8])> {
        let short = || Error::corrupt("symbol table cut short");
        let (&count, rest) = bytes.split_first().ok_or_else(short)?;
        let (given, mut rest) = rest.split_at_checked(count.into()).ok_or_else(short)?;
        let (mut symbols, mut lengths) = ([0; 256], [0; 256]);
        for (code, &length) in given.iter().enumerate() {
            if !(1..=SYMBOL_BYTES_MAX).contains(&length.into()) {
                return Err(Error::corrupt(format!("symbol of {length} bytes in a symbol table")));
            }
            let (symbol, after) = rest.split_at_checked(length.into()).ok_or_else(short)?;
            let mut word = [0; SYMBOL_BYTES_MAX];
            word[..symbol.len()].copy_from_slice(symbol);
            symbols[code] = u64::from_le_bytes(word);
            lengths[code] = length;
            rest = after;
        }
        let bytes = bytes[..bytes.len() - rest.len()].into();
        Ok((Self { symbols, lengths, bytes }, rest))
    }

    /// Decodes `codes` to the front of `out` and answers with the length; `None` if `out` is too
    /// short or an escape has no byte. Bytes of `out` behind the length may be overwritten.
    fn decode(&self, codes: &[u8], out: &mut [u8]) -> Option<usize> {
        // Eight codes make at most 64 bytes; each is stored as a whole word.
        const STEP: usize = 8;
        const ROOM: usize = STEP * SYMBOL_BYTES_MAX;
        let (mut at, mut end) = (0, 0);
        while let Some(eight) = codes.get(at..).and_then(<[u8]>::first_chunk::<STEP>) {
            let Some(room) = out.get_mut(end..).and_then(<[u8]>::first_chunk_mut::<{ ROOM + 8 }>)
            else {
                break;
            };
            let word = u64::from_le_bytes(*eight);
            // A byte of all ones is an escape: its complement is the lowest zero byte.
            let zeroes = (!word).wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080;
            let plain = (zeroes.trailing_zeros() / 8) as usize;
            let mut length = 0;
            if plain == STEP {
                for &code in eight {
                    // The mask says what is known: eight symbols end within the room.
                    let to = length % ROOM;
                    room[to..to + 8]
                        .copy_from_slice(&self.symbols[usize::from(code)].to_le_bytes());
                    length += usize::from(self.lengths[usize::from(code)]);
                }
                at += STEP;
            } else {
                for &code in &eight[..plain] {
                    let to = length % ROOM;
                    room[to..to + 8]
                        .copy_from_slice(&self.symbols[usize::from(code)].to_le_bytes());
                    length += usize::from(self.lengths[usize::from(code)]);
                }
                room[length % ROOM] = *codes.get(at + plain + 1)?;
                length += 1;
                at += plain + 2;
            }
            end += length;
        }
        while let Some(&code) = codes.get(at) {
            if code == ESCAPE {
                *out.get_mut(end)? = *codes.get(at + 1)?;
                (at, end) = (at + 2, end + 1);
                continue;
            }
            let length = usize::from(self.lengths[usize::from(code)]);
            let symbol = self.symbols[usize::from(code)].to_le_bytes();
            match out.get_mut(end..).and_then(<[u8]>::first_chunk_mut::<8>) {
                Some(room) => *room = symbol,
                None => out.get_mut(end..end + length)?.copy_from_slice(&symbol[..length]),
            }
            (at, end) = (at + 1, end + length);
        }
        Some(end)
    }

    /// How the string of `codes` compares with `value`; no more is decoded than that takes. An
    /// escape without a byte ends the string.
    fn compare(&self, codes: &[u8], value: &[u8]) -> Ordering {
        let mut rest = value;
        let mut codes = codes.iter();
        while let Some(&code) = codes.next() {
            let (symbol, length) = if code == ESCAPE {
                let Some(&byte) = codes.next() else { break };
                (u64::from(byte), 1)
            } else {
                (self.symbols[usize::from(code)], usize::from(self.lengths[usize::from(code)]))
            };
            match rest.first_chunk::<SYMBOL_BYTES_MAX>() {
                Some(first) => {
                    let first = u64::from_le_bytes(*first);
                    let differ = (symbol ^ first) & low_bytes(length);
                    if differ != 0 {
                        // The first byte that differs decides, and memory's first is lowest.
                        let shift = differ.trailing_zeros() / 8 * 8;
                        return (symbol >> shift & 0xff).cmp(&(first >> shift & 0xff));
                    }
                    rest = &rest[length..];
                }
                None => {
                    let bytes = &symbol.to_le_bytes()[..length];
                    let (first, behind) = rest.split_at(length.min(rest.len()));
                    let order = bytes.cmp(first);
                    if order.is_ne() {
                        return order;
                    }
                    rest = behind;
                }
            }
        }
        if rest.is_empty() { Ordering::Equal } else { Ordering::Less }
    }
}

/// Compressed strings.
#[derive(Debug)]
pub(super) struct SymbolStrings {
    table: Arc<SymbolTable>,
    name: u64,
    ends: IntBlock,
    lengths: IntBlock,
    codes: Buffer,
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl SymbolStrings {
    /// Reads `len` strings.
    pub(super) fn open(cursor: &mut Cursor, len: usize, tables: &SymbolTables) -> Result<Self> {
        let name = cursor.u64()?;
        let table = tables.table(name)?;
        let ends = IntBlock::open(cursor, len)?;
        let lengths = IntBlock::open(cursor, len)?;
        let codes = cursor.len()?;
        Ok(Self { table, name, ends, lengths, codes: cursor.take_last(codes)? })
    }

    /// The number of strings.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The table's name.
    pub(super) fn table_name(&self) -> u64 {
        self.name
    }

    /// Reads what [`with`](Self::with) will read: where the string ends, and about there its codes.
    pub(super) fn touch(&self, index: usize) -> u64 {
        let end = usize::try_from(self.ends.get(index)).unwrap_or_default();
        self.codes.get(end.saturating_sub(1)).map_or(0, |&code| code.into())
    }

    /// Calls `f` with the string at `index`, decoded into memory that is used again. `f` must not
    /// read another one meanwhile.
    pub(super) fn with<R>(&self, index: usize, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        self.with_codes(self.codes_of(index..index + 1)?, f)
    }

    /// Where the codes of the string at `index` lie among all, which may not be here.
    pub(super) fn place(&self, index: usize) -> Result<Range<usize>> {
        let (start, end) = bounds(&self.ends, index..index + 1)?;
        Ok(start..end)
    }

    /// Calls `f` with the string of `codes`, as [`with`](Self::with) does.
    pub(super) fn with_codes<R>(&self, codes: &[u8], f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        // The length is not looked up, which would be one more place in memory to wait for.
        let room = codes.len() * SYMBOL_BYTES_MAX + SLACK;
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.len() < room {
                scratch.resize(room, 0);
            }
            let length = self.table.decode(codes, scratch).ok_or_else(ends_in_an_escape)?;
            let answer = f(&scratch[..length]);
            if scratch.len() > SCRATCH_BYTES_KEPT {
                *scratch = Vec::new();
            }
            Ok(answer)
        })
    }

    /// How the string at `index` compares with `value`.
    pub(super) fn compare(&self, index: usize, value: &[u8]) -> Result<Ordering> {
        Ok(self.table.compare(self.codes_of(index..index + 1)?, value))
    }

    /// The strings of `range` as offsets into one piece of memory.
    pub(super) fn contiguous(&self, range: Range<usize>) -> Result<(Vec<i32>, Buffer)> {
        if range.len() <= FEW {
            return self.one_by_one(range);
        }
        let codes = self.codes_of(range.clone())?;
        let mut offsets = Vec::with_capacity(range.len() + 1);
        offsets.push(0);
        self.lengths.extend(range, 0, &mut offsets);
        let total = ends_of(&mut offsets, codes.len())?;
        let mut bytes = vec![0; total + SLACK];
        self.decode_exactly(codes, total, &mut bytes)?;
        bytes.truncate(total);
        Ok((offsets, Buffer::from_vec(bytes)))
    }

    /// The strings at `indices`, likewise.
    pub(super) fn gather(&self, indices: &[u32]) -> Result<(Vec<i32>, Buffer)> {
        if indices.len() <= FEW {
            return self.one_by_one(indices.iter().map(|&index| index as usize));
        }
        let mut offsets = Vec::with_capacity(indices.len() + 1);
        offsets.push(0);
        self.lengths.gather(indices, 0, &mut offsets);
        // The same string may be asked for often, so its codes are no bound.
        let total = ends_of(&mut offsets, CHUNK_RAW_BYTES_MAX)?;
        let mut bytes = vec![0; total + SLACK];
        for (&index, pair) in indices.iter().zip(offsets.windows(2)) {
            let index = index as usize;
            let (start, end) = (position(pair[0]), position(pair[1]));
            self.decode_exactly(
                self.codes_of(index..index + 1)?,
                end - start,
                &mut bytes[start..],
            )?;
        }
        bytes.truncate(total);
        Ok((offsets, Buffer::from_vec(bytes)))
    }

    /// A few strings, likewise. Their lengths are not looked up, which would be one more place in
    /// memory to wait for.
    fn one_by_one(
        &self,
        indices: impl ExactSizeIterator<Item = usize>,
    ) -> Result<(Vec<i32>, Buffer)> {
        let mut offsets = Vec::with_capacity(indices.len() + 1);
        offsets.push(0);
        SCRATCH.with_borrow_mut(|scratch| {
            let mut end = 0;
            for index in indices {
                let codes = self.codes_of(index..index + 1)?;
                let room = end + codes.len() * SYMBOL_BYTES_MAX + SLACK;
                if scratch.len() < room {
                    scratch.resize(room.next_power_of_two(), 0);
                }
                let length = self.table.decode(codes, &mut scratch[end..]);
                end += length.ok_or_else(ends_in_an_escape)?;
                let offset = i32::try_from(end).ok().filter(|_| end <= CHUNK_RAW_BYTES_MAX);
                offsets.push(offset.ok_or_else(|| {
                    Error::corrupt(format!("strings of {end} bytes and more are a chunk's"))
                })?);
            }
            let bytes = Buffer::from_vec(scratch[..end].to_vec());
            if scratch.len() > SCRATCH_BYTES_KEPT {
                *scratch = Vec::new();
            }
            Ok((offsets, bytes))
        })
    }

    /// One bit for each string of these vectors: whether its length lies in `interval`.
    pub(super) fn test_lengths(&self, vectors: Range<usize>, interval: Interval) -> Vec<u64> {
        self.lengths.test(vectors, interval)
    }

    /// The length of the string at `index`.
    pub(super) fn length(&self, index: usize) -> Result<usize> {
        let length = self.lengths.get(index);
        usize::try_from(length).map_err(|_| Error::corrupt(format!("a string of {length} bytes")))
    }

    fn codes_of(&self, range: Range<usize>) -> Result<&[u8]> {
        let (start, end) = bounds(&self.ends, range)?;
        self.codes.get(start..end).ok_or_else(|| out_of_range(start, end, self.codes.len()))
    }

    fn decode_exactly(&self, codes: &[u8], length: usize, out: &mut [u8]) -> Result<()> {
        match self.table.decode(codes, out) {
            Some(decoded) if decoded == length => Ok(()),
            decoded => Err(Error::corrupt(format!(
                "codes of strings: {length} bytes expected, {decoded:?} decoded"
            ))),
        }
    }
}

fn ends_in_an_escape() -> Error {
    Error::corrupt("codes of a string end in an escape")
}

/// The lowest `length` bytes of a word, at most eight; damaged codes have none.
fn low_bytes(length: usize) -> u64 {
    if length == 0 { 0 } else { u64::MAX >> (64 - 8 * length.min(8)) }
}

/// Room behind decoded bytes, so that whole words can be stored to the end.
const SLACK: usize = 72;

/// Turns lengths, behind a leading 0, into ends; at most eight bytes a code.
fn ends_of(offsets: &mut [i32], codes: usize) -> Result<usize> {
    let mut end = 0_i64;
    let mut least = 0;
    for offset in offsets.iter_mut() {
        least = least.min(*offset);
        end += i64::from(*offset);
        #[expect(clippy::cast_possible_truncation, reason = "the sum is checked below")]
        {
            *offset = end as i32;
        }
    }
    let most = codes.saturating_mul(SYMBOL_BYTES_MAX).min(CHUNK_RAW_BYTES_MAX);
    match usize::try_from(end) {
        Ok(total) if least == 0 && total <= most => Ok(total),
        _ => Err(Error::corrupt(format!("strings of {end} bytes in {codes} codes"))),
    }
}

fn position(offset: i32) -> usize {
    usize::try_from(offset).expect("ends were checked to ascend from 0")
}

/// What a column's encoder knows about symbols: the table in use, and when to try another.
pub(super) struct SymbolTrainer {
    current: Option<(u64, Compressor)>,
    /// Compressed over raw size when the current table was new.
    ratio: f64,
    /// Chunks to let pass before strings that did not compress are tried again.
    pause: usize,
    /// Memory for codes, kept from one chunk to the next.
    spare: Vec<u8>,
}

impl fmt::Debug for SymbolTrainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.current.as_ref().map(|(name, _)| name);
        f.debug_struct("SymbolTrainer")
            .field("current", &name)
            .field("ratio", &self.ratio)
            .finish_non_exhaustive()
    }
}

/// Codes for strings, not yet written.
#[derive(Debug)]
pub(super) struct Compressed {
    table: u64,
    codes: Vec<u8>,
    ends: Vec<i64>,
    lengths: Vec<i64>,
}

/// Fewer bytes than this do not pay for a table of their own.
const RAW_BYTES_MIN: usize = 8 << 10;
/// What codes and lengths may take of the strings' bytes to be worth decoding.
const WORTH: f64 = 0.8;
/// A table is replaced when it compresses this much worse than when it was new.
const WORN: f64 = 1.25;
const CHUNKS_PAUSED: usize = 8;

impl Default for SymbolTrainer {
    fn default() -> Self {
        Self { current: None, ratio: 1.0, pause: 0, spare: Vec::new() }
    }
}

impl SymbolTrainer {
    /// Compresses `values` if that saves a fifth.
    pub(super) fn compress(
        &mut self,
        values: &[&[u8]],
        raw: usize,
        tables: &mut SymbolTables,
    ) -> Result<Option<Compressed>> {
        if self.pause > 0 {
            self.pause -= 1;
            return Ok(None);
        }
        if let Some(compressed) = self.try_current(values) {
            let ratio = compressed.ratio(raw);
            if ratio <= WORTH && (ratio <= self.ratio * WORN || tables.len() >= SYMBOL_TABLES_MAX) {
                return Ok(Some(compressed));
            }
        }
        if raw < RAW_BYTES_MIN || tables.len() >= SYMBOL_TABLES_MAX {
            return Ok(None);
        }
        // Train beside the tables: what is not worth it leaves no table behind.
        let compressor = Compressor::train(&values.to_vec());
        let bytes = table_bytes(&compressor);
        self.current = Some((XxHash3_64::oneshot(&bytes), compressor));
        match self.try_current(values) {
            Some(compressed) if compressed.ratio(raw) <= WORTH => {
                self.ratio = compressed.ratio(raw);
                tables.insert(&bytes)?;
                Ok(Some(compressed))
            }
            _ => {
                self.current = None;
                self.pause = CHUNKS_PAUSED;
                Ok(None)
            }
        }
    }

    fn try_current(&mut self, values: &[&[u8]]) -> Option<Compressed> {
        const LANES: usize = Compressor::DEFAULT_BULK_LANES;
        let (table, compressor) = self.current.as_ref()?;
        let mut codes = std::mem::take(&mut self.spare);
        codes.clear();
        let mut ends = Vec::with_capacity(values.len());
        compressor.compress_bulk_into::<LANES>(values, &mut codes, &mut ends);
        let ends = ends.into_iter().map(u64::cast_signed).collect();
        let lengths = values.iter().map(|value| signed(value.len())).collect();
        Some(Compressed { table: *table, codes, ends, lengths })
    }
}

impl Compressed {
    /// The name of the table.
    pub(super) fn table(&self) -> u64 {
        self.table
    }

    /// The bytes of the codes.
    pub(super) fn stored_bytes(&self) -> usize {
        self.codes.len()
    }

    /// Appends the body of a chunk and gives the memory back to the one it came from.
    pub(super) fn write(self, trainer: &mut SymbolTrainer, out: &mut Vec<u8>) {
        put_u64(self.table, out);
        packed::write(&self.ends, out);
        packed::write(&self.lengths, out);
        put_len(self.codes.len(), out);
        out.extend_from_slice(&self.codes);
        pad(self.codes.len(), out);
        trainer.spare = self.codes;
    }

    /// Compressed over raw size; lengths count a byte each.
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    fn ratio(&self, raw: usize) -> f64 {
        (self.codes.len() + self.lengths.len()) as f64 / raw.max(1) as f64
    }
}

fn table_bytes(compressor: &Compressor) -> Vec<u8> {
    let (symbols, lengths) = (compressor.symbol_table(), compressor.symbol_lengths());
    let mut bytes = vec![u8::try_from(lengths.len()).expect("at most 255 symbols")];
    bytes.extend_from_slice(lengths);
    for (symbol, &length) in symbols.iter().zip(lengths) {
        bytes.extend_from_slice(&symbol.to_u64().to_le_bytes()[..length.into()]);
    }
    bytes
}

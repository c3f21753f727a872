//! Few distinct strings, sorted, and a packed code a row.
//!
//! Codes keep the order of the strings, so comparing with a value is one search among the
//! distinct strings and then a comparison of packed integers.
//!
//! ```text
//! u64 distinct strings | u64 how they are stored | the strings (plain.rs or symbols.rs)
//! block of the codes, one a row
//! ```

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::NullBuffer;

use super::CompareOp;
use super::bits::{BYTES_PER_BIT, VECTOR, width_of};
use super::cursor::{Cursor, put_len, put_u64};
use super::kind::{Kind, bytes_array, bytes_array_at};
use super::packed::{self, IntBlock, Interval};
use super::plain::{signed, write_strings};
use super::strings::{STORE_PLAIN, STORE_SYMBOLS, Strings, check_raw};
use super::symbols::{SymbolTables, SymbolTrainer};
use crate::{Error, Result};

/// A dictionary is tried where rows are at least this many times the distinct strings.
pub(super) const ROWS_PER_ENTRY_MIN: usize = 3;

/// Larger dictionaries are decoded again each time, rather than kept beside the encoded bytes: a
/// cache counts those alone.
const ENTRIES_KEPT_MAX: usize = 64;

/// Codes of so few rows are compared one with the other.
const LOOKED_THROUGH_MAX: usize = 32;

/// Of so many entries one is a fence.
const FENCE_ENTRIES: usize = 16;

/// An opened dictionary and its codes.
#[derive(Debug)]
pub(super) struct Dictionary {
    entries: Strings,
    codes: IntBlock,
    /// The entries as an array, if they are few: made when first decoded; rows are views of it.
    /// While it is there, every code was seen to have an entry.
    array: OnceLock<ArrayRef>,
    /// Made when a value is first searched for.
    fences: OnceLock<Fences>,
}

/// What is searched before the entries: as those are compressed and spread, each that is looked at
/// is several places in memory to wait for, and these are side by side.
#[derive(Debug, Default)]
struct Fences {
    /// What the first and the last entry begin with in common, and so all do.
    common: Box<[u8]>,
    /// Of every sixteenth entry the eight bytes behind, filled up with zeroes, as a number.
    heads: Box<[u64]>,
}

impl Dictionary {
    /// Reads a dictionary and `rows` codes.
    pub(super) fn open(cursor: &mut Cursor, rows: usize, tables: &SymbolTables) -> Result<Self> {
        let count = cursor.len()?;
        if count == 0 || count > rows {
            return Err(Error::corrupt(format!("dictionary of {count} strings for {rows} rows")));
        }
        let store = cursor.u64()?;
        let entries = Strings::open(store, cursor, count, tables)?;
        let codes = IntBlock::open(cursor, rows)?;
        Ok(Self { entries, codes, array: OnceLock::new(), fences: OnceLock::new() })
    }

    /// The number of distinct strings.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The name of the symbol table it needs.
    pub(super) fn table_name(&self) -> Option<u64> {
        self.entries.table_name()
    }

    /// Calls `f` with the string of `row`.
    #[inline]
    pub(super) fn with<R>(&self, row: usize, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let code = self.codes.get(row);
        match usize::try_from(code) {
            Ok(index) if index < self.entries.len() => self.entries.with(index, f),
            _ => Err(self.no_entry(code)),
        }
    }

    /// The strings of `range`.
    pub(super) fn decode(
        &self,
        kind: Kind,
        range: Range<usize>,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let mut codes = Vec::new();
        self.codes.extend::<u32>(range, 0, &mut codes);
        if self.are_few(&codes) {
            return self.select_few(kind, &codes, nulls);
        }
        self.select(kind, codes, nulls)
    }

    /// The strings of the rows at `indices`.
    pub(super) fn take(
        &self,
        kind: Kind,
        indices: &[u32],
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let mut codes = Vec::new();
        self.codes.gather::<u32>(indices, 0, &mut codes);
        if self.are_few(&codes) {
            return self.select_few(kind, &codes, nulls);
        }
        self.select(kind, codes, nulls)
    }

    /// Whether decoding the entries of these codes alone is cheaper than decoding all.
    fn are_few(&self, codes: &[u32]) -> bool {
        self.array.get().is_none() && codes.len() < self.entries.len() / 4
    }

    /// The strings of a few rows: each that occurs is decoded once, and no other.
    fn select_few(&self, kind: Kind, codes: &[u32], nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        self.check(codes)?;
        let (distinct, places) = distinct_codes(codes);
        let (offsets, bytes) = self.entries.gather(&distinct)?;
        if distinct.len() == codes.len() && distinct == codes {
            return bytes_array(kind, offsets, bytes, nulls);
        }
        if kind.is_view() {
            return bytes_array_at(kind, offsets, bytes, &places, nulls);
        }
        check_raw(codes.iter().map(|&code| self.entries.length(code as usize)))?;
        let entries = bytes_array(kind, offsets, bytes, None)?;
        Ok(arrow_select::take::take(&entries, &UInt32Array::new(places.into(), nulls), None)?)
    }

    fn select(&self, kind: Kind, codes: Vec<u32>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let decoded;
        let entries = match self.array.get() {
            Some(entries) => entries,
            None => {
                let (offsets, bytes) = self.entries.contiguous(0..self.entries.len())?;
                decoded = bytes_array(kind, offsets, bytes, None)?;
                if self.entries.len() <= ENTRIES_KEPT_MAX {
                    let mut all = Vec::new();
                    self.codes.extend::<u32>(0..self.codes.len(), 0, &mut all);
                    self.check(&all)?;
                    self.array.get_or_init(|| decoded)
                } else {
                    self.check(&codes)?;
                    &decoded
                }
            }
        };
        if !kind.is_view() {
            // Other layouts copy the string of every row.
            check_raw(codes.iter().map(|&code| self.entries.length(code as usize)))?;
        }
        Ok(arrow_select::take::take(entries, &UInt32Array::new(codes.into(), nulls), None)?)
    }

    /// The entries, and the code of each row of `range`.
    pub(super) fn codes(&self, kind: Kind, range: Range<usize>) -> Result<(ArrayRef, Vec<u32>)> {
        let mut codes = Vec::new();
        self.codes.extend::<u32>(range, 0, &mut codes);
        if let Some(entries) = self.array.get() {
            return Ok((Arc::clone(entries), codes));
        }
        let (offsets, bytes) = self.entries.contiguous(0..self.entries.len())?;
        let decoded = bytes_array(kind, offsets, bytes, None)?;
        if self.entries.len() > ENTRIES_KEPT_MAX {
            self.check(&codes)?;
            return Ok((decoded, codes));
        }
        let mut all = Vec::new();
        self.codes.extend::<u32>(0..self.codes.len(), 0, &mut all);
        self.check(&all)?;
        Ok((Arc::clone(self.array.get_or_init(|| decoded)), codes))
    }

    fn check(&self, codes: &[u32]) -> Result<()> {
        match codes.iter().copied().max() {
            Some(code) if code as usize >= self.entries.len() => Err(self.no_entry(code.into())),
            _ => Ok(()),
        }
    }

    fn no_entry(&self, code: i64) -> Error {
        Error::corrupt(format!("code {code} in a dictionary of {} strings", self.entries.len()))
    }

    /// How the string of `row` compares with `value`.
    pub(super) fn compare(&self, row: usize, value: &[u8]) -> Ordering {
        let last = self.entries.len() - 1;
        let code = usize::try_from(self.codes.get(row)).unwrap_or(0).min(last);
        self.entries.compare(code, value)
    }

    /// The number of entries below `value`, and the number not above it.
    pub(super) fn bounds(&self, value: &[u8]) -> (i64, i64) {
        let below =
            partition_point(self.near(value), |entry| self.entries.compare(entry, value).is_lt());
        let equal = below < self.entries.len() && self.entries.compare(below, value).is_eq();
        (signed(below), signed(below + usize::from(equal)))
    }

    /// Entries among which the first that is not below `value` is, or the one behind them.
    fn near(&self, value: &[u8]) -> Range<usize> {
        let len = self.entries.len();
        if len <= FENCE_ENTRIES * 2 {
            return 0..len;
        }
        let Fences { common, heads } =
            self.fences.get_or_init(|| Fences::of(&self.entries).unwrap_or_default());
        // Entries that cannot be read say so where they are.
        if heads.is_empty() {
            return 0..len;
        }
        let behind = match value.get(..common.len()) {
            Some(start) if *start == **common => &value[common.len()..],
            _ if *value < **common => return 0..0,
            _ => return len..len,
        };
        let head = head(behind);
        // Entries of equal heads may lie on either side of the value.
        let first = heads.partition_point(|&other| other < head);
        let last = first + heads[first..].partition_point(|&other| other == head);
        let start = first.checked_sub(1).map_or(0, |fence| fence * FENCE_ENTRIES + 1);
        start..(last * FENCE_ENTRIES).min(len)
    }

    /// Reads what [`with`](Self::with) will read.
    pub(super) fn touch(&self, row: usize) -> u64 {
        match usize::try_from(self.codes.get(row)) {
            Ok(index) if index < self.entries.len() => self.entries.touch(index),
            _ => 0,
        }
    }

    /// The codes, whatever they are.
    pub(super) fn code_block(&self) -> &IntBlock {
        &self.codes
    }

    /// One bit for each row of these vectors: whether its string compares so with `value`.
    pub(super) fn test(&self, vectors: Range<usize>, op: CompareOp, value: &[u8]) -> Vec<u64> {
        let (below, through) = self.bounds(value);
        let interval = match op {
            CompareOp::Eq => Interval::new(below, through - 1),
            CompareOp::NotEq => Interval { low: below, high: through - 1, negated: true },
            CompareOp::Lt => Interval::new(0, below - 1),
            CompareOp::LtEq => Interval::new(0, through - 1),
            CompareOp::Gt => Interval::new(through, i64::MAX),
            CompareOp::GtEq => Interval::new(below, i64::MAX),
        };
        self.codes.test(vectors, interval)
    }
}

impl Fences {
    fn of(entries: &Strings) -> Result<Self> {
        let first = entries.with(0, <[u8]>::to_vec)?;
        let common = entries.with(entries.len() - 1, |last| common_prefix(&first, last))?;
        let heads = (0..entries.len()).step_by(FENCE_ENTRIES).map(|entry| {
            entries.with(entry, |string| head(string.get(common..).unwrap_or_default()))
        });
        let heads = heads.collect::<Result<_>>()?;
        Ok(Self { common: first[..common].into(), heads })
    }
}

/// The first eight bytes, filled up with zeroes, as a number of their order.
fn head(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    let len = bytes.len().min(8);
    word[..len].copy_from_slice(&bytes[..len]);
    u64::from_be_bytes(word)
}

/// The codes that occur, and the place of each row's among them.
fn distinct_codes(codes: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut distinct: Vec<u32> = Vec::with_capacity(codes.len());
    let mut places = Vec::with_capacity(codes.len());
    if codes.len() > LOOKED_THROUGH_MAX {
        distinct.extend_from_slice(codes);
        distinct.sort_unstable();
        distinct.dedup();
        let place = |code: &u32| distinct.partition_point(|other| other < code);
        places.extend(codes.iter().map(|code| u32::try_from(place(code)).unwrap_or(u32::MAX)));
        return (distinct, places);
    }
    for code in codes {
        // Often that of the row before.
        let place = distinct.iter().rposition(|other| other == code).unwrap_or_else(|| {
            distinct.push(*code);
            distinct.len() - 1
        });
        places.push(u32::try_from(place).unwrap_or(u32::MAX));
    }
    (distinct, places)
}

/// The first of `range` for which `before` is false, given that it is true only in front.
pub(super) fn partition_point(range: Range<usize>, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (range.start, range.end.max(range.start));
    while low < high {
        let middle = low + (high - low) / 2;
        match before(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}

/// As [`partition_point`], quick where the answer is near the start: steps that double find a
/// stretch to halve.
pub(super) fn near_partition_point(range: Range<usize>, before: impl Fn(usize) -> bool) -> usize {
    let (mut rest, mut step) = (range, 1);
    while rest.len() >= step {
        let probe = rest.start + step - 1;
        if !before(probe) {
            rest.end = probe;
            break;
        }
        rest.start = probe + 1;
        step *= 2;
    }
    partition_point(rest, before)
}

/// The distinct strings of a chunk, sorted, and each row's place among them.
#[derive(Debug)]
pub(super) struct Distinct<'a> {
    entries: Vec<&'a [u8]>,
    codes: Vec<i64>,
}

impl<'a> Distinct<'a> {
    /// Collects the distinct `values` of rows that are not null, if they are at most a third of
    /// the rows. A null row has the code of a neighbour.
    pub(super) fn of(values: &[&'a [u8]], nulls: Option<&NullBuffer>) -> Option<Self> {
        let limit = values.len() / ROWS_PER_ENTRY_MIN;
        let sample = Sample::of(values);
        if sample.mostly_distinct() || limit == 0 {
            return None;
        }
        let mut table = Table::new(limit);
        let (mut codes, mut code, mut last) = (Vec::with_capacity(values.len()), 0_u32, None);
        for (row, &value) in values.iter().enumerate() {
            let repeated = sample.has_runs && last == Some(value);
            if !repeated && nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                code = table.code(value)?;
                last = Some(value);
            }
            codes.push(code);
        }
        let rank = table.sort();
        let codes = codes
            .into_iter()
            .map(|code| rank.get(code as usize).map_or(0, |&rank| rank.into()))
            .collect();
        Some(Self { entries: table.entries, codes })
    }

    /// About the bytes that it takes before symbols.
    pub(super) fn bytes(&self) -> usize {
        let width = width_of(self.entries.len() as u64 - 1);
        self.raw()
            + self.entries.len() * 2
            + self.codes.len().div_ceil(VECTOR) * width * BYTES_PER_BIT
    }

    /// The least string.
    pub(super) fn first(&self) -> &'a [u8] {
        self.entries.first().copied().unwrap_or_default()
    }

    /// The greatest string.
    pub(super) fn last(&self) -> &'a [u8] {
        self.entries.last().copied().unwrap_or_default()
    }

    /// The bytes of the distinct strings.
    fn raw(&self) -> usize {
        self.entries.iter().map(|entry| entry.len()).sum()
    }

    /// Appends the body of a chunk; answers with the symbol table it needs.
    pub(super) fn write(
        &self,
        trainer: &mut SymbolTrainer,
        tables: &mut SymbolTables,
        out: &mut Vec<u8>,
    ) -> Result<Option<u64>> {
        put_len(self.entries.len(), out);
        let table = match trainer.compress(&self.entries, self.raw(), tables)? {
            Some(compressed) => {
                put_u64(STORE_SYMBOLS, out);
                let table = compressed.table();
                compressed.write(trainer, out);
                Some(table)
            }
            None => {
                put_u64(STORE_PLAIN, out);
                write_strings(&self.entries, out);
                None
            }
        };
        packed::write(&self.codes, out);
        Ok(table)
    }
}

/// What a look at some of the rows says about all.
struct Sample {
    rows: usize,
    distinct: usize,
    has_runs: bool,
}

impl Sample {
    /// Rows looked at: half of them neighbours, which show runs, half spread over the chunk.
    const ROWS: usize = 512;

    fn of(values: &[&[u8]]) -> Self {
        if values.len() < Self::ROWS * 4 {
            let has_runs =
                values.windows(2).filter(|pair| pair[0] == pair[1]).count() * 4 > values.len();
            return Self { rows: 0, distinct: 0, has_runs };
        }
        let half = Self::ROWS / 2;
        let middle = values.len() / 2;
        let near = &values[middle..middle + half];
        let repeats = near.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let mut table = Table::new(Self::ROWS);
        for &value in near.iter().chain(values.iter().step_by(values.len() / half)) {
            table.code(value);
        }
        Self { rows: Self::ROWS, distinct: table.entries.len(), has_runs: repeats * 4 > half }
    }

    /// A sample with hardly a value twice comes from a chunk with too many distinct ones.
    fn mostly_distinct(&self) -> bool {
        self.distinct * 20 > self.rows * 19
    }
}

/// A hash table from strings to the order of their first appearance.
struct Table<'a> {
    /// The upper half of the hash, and the code plus one; 0 is free.
    slots: Vec<u64>,
    entries: Vec<&'a [u8]>,
    limit: usize,
}

impl<'a> Table<'a> {
    fn new(limit: usize) -> Self {
        Self { slots: vec![0; (limit * 2).next_power_of_two().max(16)], entries: Vec::new(), limit }
    }

    /// The code of `value`, a new one if need be; `None` if there are too many.
    #[inline]
    fn code(&mut self, value: &'a [u8]) -> Option<u32> {
        const CODE: u64 = 0xffff_ffff;
        let hash = hash(value);
        let mask = self.slots.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            if (slot ^ hash) & !CODE == 0 {
                let code = (slot & CODE) - 1;
                #[expect(clippy::cast_possible_truncation, reason = "codes have 32 bits")]
                if self.entries[code as usize] == value {
                    return Some(code as u32);
                }
            }
            at = (at + 1) & mask;
        }
        if self.entries.len() >= self.limit {
            return None;
        }
        self.entries.push(value);
        self.slots[at] = hash & !CODE | self.entries.len() as u64;
        u32::try_from(self.entries.len() - 1).ok()
    }

    /// Sorts the entries and answers with the rank of each former code.
    fn sort(&mut self) -> Vec<u32> {
        let first = self.entries.first().copied().unwrap_or_default();
        // Strings of one column often begin alike, so what they share is left out of comparisons.
        let shared =
            self.entries.iter().map(|entry| common_prefix(first, entry)).min().unwrap_or(0);
        let head = |entry: &[u8]| head(&entry[shared..]);
        let mut order: Vec<(u64, u32)> =
            self.entries.iter().zip(0..).map(|(entry, code)| (head(entry), code)).collect();
        let entries = &self.entries;
        order.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0)
                .then_with(|| entries[a.1 as usize][shared..].cmp(&entries[b.1 as usize][shared..]))
        });
        let mut ranks = vec![0; order.len()];
        for (&(_, code), rank) in order.iter().zip(0..) {
            ranks[code as usize] = rank;
        }
        self.entries = order.iter().map(|&(_, code)| entries[code as usize]).collect();
        ranks
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A hash that never leaves this process: words folded by wide multiplications (as in wyhash).
#[inline]
fn hash(bytes: &[u8]) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
        {
            product as u64 ^ (product >> 64) as u64
        }
    };
    let len = bytes.len();
    let mut hash = MIX ^ len as u64;
    let last = if let Some(last) = bytes.last_chunk::<8>() {
        for word in bytes.as_chunks::<8>().0 {
            hash = fold(hash ^ u64::from_le_bytes(*word), 0xa076_1d64_78bd_642f);
        }
        u64::from_le_bytes(*last)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
    } else if let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) {
        u64::from(first) | u64::from(bytes[len / 2]) << 8 | u64::from(last) << 16
    } else {
        0
    };
    fold(hash ^ last, 0xe703_7ed1_a0b4_28db)
}

//! Local groups: the rows of one chunk as numbers of its distinct keys.
//!
//! A dictionary brings such numbers along; integers of a narrow range are numbers already; other
//! integers and strings get them from a small table. Keys of several columns are numbered by their
//! columns' numbers. So the table of all groups is asked once a distinct key of a chunk, not once
//! a row.

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::types::{
    ArrowPrimitiveType, Date32Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::array::{Array, ArrayRef, PrimitiveArray, UInt32Array, new_null_array};
use datafusion::arrow::buffer::{BooleanBuffer, NullBuffer};
use datafusion::arrow::compute::{concat, partition, take};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Result;
use silt_codec::ColumnCodes;

/// Keys of several columns may have this many combinations in a chunk.
const COMBINATIONS_MAX: usize = 1 << 16;

/// Integers of a range below this are numbered by what they are above the least.
const RANGE_MAX: u64 = 1 << 14;

/// One key column of a chunk.
#[derive(Debug)]
pub(super) struct LocalKey {
    /// Distinct values; some may stand in no row.
    values: ArrayRef,
    /// For each row its value's position; none if all rows have the first.
    codes: Option<Vec<u32>>,
}

/// The keys of a chunk's rows.
#[derive(Debug)]
pub(super) struct LocalGroups {
    keys: Vec<LocalKey>,
    /// For each row its group's number, below `count`; none if all rows are of group 0.
    pub(super) codes: Option<Vec<u32>>,
    pub(super) count: usize,
    /// A group's number is the position of its value in every column.
    joint: bool,
}

impl LocalKey {
    /// A column that is stored as codes.
    pub(super) fn of_codes(codes: ColumnCodes) -> Result<Self> {
        let ColumnCodes { values, codes, nulls } = codes;
        let Some(nulls) = nulls else { return Ok(Self { values, codes }) };
        let mut rows = codes.unwrap_or_else(|| vec![0; nulls.len()]);
        let null = u32::try_from(values.len()).unwrap_or(u32::MAX);
        set_null(&mut rows, &nulls, null);
        Ok(Self { values: with_null(&values)?, codes: Some(rows) })
    }

    /// A column that is decoded; none if its type is not numbered here.
    pub(super) fn of_array(array: &ArrayRef) -> Result<Option<Self>> {
        let found = match array.data_type() {
            DataType::Int8 => integers::<Int8Type>(array)?,
            DataType::Int16 => integers::<Int16Type>(array)?,
            DataType::Int32 => integers::<Int32Type>(array)?,
            DataType::Int64 => integers::<Int64Type>(array)?,
            DataType::UInt8 => integers::<UInt8Type>(array)?,
            DataType::UInt16 => integers::<UInt16Type>(array)?,
            DataType::UInt32 => integers::<UInt32Type>(array)?,
            DataType::UInt64 => integers::<UInt64Type>(array)?,
            DataType::Date32 => integers::<Date32Type>(array)?,
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                integers::<TimestampMicrosecondType>(array)?
            }
            DataType::Boolean => {
                let values = array.as_boolean().values();
                numbered(array, (0..array.len()).map(|row| u64::from(values.value(row))))?
            }
            DataType::Utf8View => strings(array)?,
            _ => return Ok(None),
        };
        Ok(Some(found))
    }

    /// Rows by the places of their values; without `codes` all have the first.
    pub(super) fn new(values: ArrayRef, codes: Option<Vec<u32>>) -> Self {
        Self { values, codes }
    }

    fn code(&self, row: usize) -> u32 {
        self.codes.as_ref().map_or(0, |codes| codes[row])
    }

    /// Only the rows whose bit is set.
    pub(super) fn filter(mut self, selected: &BooleanBuffer) -> Self {
        if let Some(codes) = &mut self.codes {
            let mut kept = Vec::with_capacity(selected.count_set_bits());
            kept.extend(selected.set_indices().map(|row| codes[row]));
            *codes = kept;
        }
        self
    }
}

impl LocalGroups {
    /// Keys of one chunk together; the keys themselves if there are too many combinations.
    pub(super) fn new(mut keys: Vec<LocalKey>, rows: usize) -> Result<Self, Vec<LocalKey>> {
        let count = keys.iter().fold(1_usize, |count, key| count.saturating_mul(key.values.len()));
        if let [key] = keys.as_mut_slice() {
            let codes = key.codes.take();
            return Ok(Self { keys, codes, count, joint: true });
        }
        if count > COMBINATIONS_MAX {
            return Err(keys);
        }
        let mut codes: Option<Vec<u32>> = None;
        for key in &keys {
            let times = u32::try_from(key.values.len()).unwrap_or(u32::MAX);
            codes = match (codes, &key.codes) {
                (None, None) => None,
                (None, Some(own)) => Some(own.clone()),
                (Some(mut codes), None) => {
                    codes.iter_mut().for_each(|code| *code *= times);
                    Some(codes)
                }
                (Some(mut codes), Some(own)) => {
                    codes.iter_mut().zip(own).for_each(|(code, own)| *code = *code * times + own);
                    Some(codes)
                }
            };
        }
        debug_assert!(codes.as_ref().is_none_or(|codes| codes.len() == rows));
        Ok(Self { keys, codes, count, joint: false })
    }

    /// Keys that stand next to each other where they are equal: each run of them is a group.
    pub(super) fn of_runs(columns: &[ArrayRef]) -> Result<Self> {
        let runs = partition(columns)?.ranges();
        let mut codes = Vec::with_capacity(columns.first().map_or(0, |column| column.len()));
        let mut firsts = Vec::with_capacity(runs.len());
        for (code, run) in (0..).zip(&runs) {
            firsts.push(u32::try_from(run.start).unwrap_or(u32::MAX));
            codes.resize(run.end, code);
        }
        let firsts = UInt32Array::from(firsts);
        let key =
            |column: &ArrayRef| Ok(LocalKey { values: take(column, &firsts, None)?, codes: None });
        let keys = columns.iter().map(key).collect::<Result<_>>()?;
        Ok(Self { keys, codes: Some(codes), count: runs.len(), joint: true })
    }

    /// The key columns of these groups.
    pub(super) fn keys(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        if self.joint {
            let groups = UInt32Array::from(groups.to_vec());
            return self.keys.iter().map(|key| Ok(take(&key.values, &groups, None)?)).collect();
        }
        let mut below: u32 = 1;
        let mut columns = Vec::with_capacity(self.keys.len());
        for key in self.keys.iter().rev() {
            let len = u32::try_from(key.values.len()).unwrap_or(u32::MAX);
            let places = groups.iter().map(|group| group / below % len);
            columns.push(take(&key.values, &UInt32Array::from_iter_values(places), None)?);
            below = below.saturating_mul(len);
        }
        columns.reverse();
        Ok(columns)
    }

    /// How many of the rows stand in each group; of those whose bit is set.
    pub(super) fn counts(&self, rows: usize, selected: Option<&BooleanBuffer>) -> Vec<i64> {
        let total = |rows: usize| i64::try_from(rows).unwrap_or(i64::MAX);
        let Some(codes) = &self.codes else {
            let mut counts = vec![0; self.count.max(1)];
            counts[0] = total(selected.map_or(rows, BooleanBuffer::count_set_bits));
            return counts;
        };
        if self.count <= LANED_MAX {
            return laned_counts(codes, self.count, selected);
        }
        let mut counts = vec![0; self.count];
        match selected {
            None => codes.iter().for_each(|&code| counts[code as usize] += 1),
            Some(selected) => {
                selected.set_indices().for_each(|row| counts[codes[row] as usize] += 1);
            }
        }
        counts
    }
}

/// Up to this many groups are counted in several tables at once, so that a row need not wait for
/// the count of the row before.
const LANED_MAX: usize = 1 << 10;

fn laned_counts(codes: &[u32], count: usize, selected: Option<&BooleanBuffer>) -> Vec<i64> {
    let mut lanes = vec![[0_u32; 4]; count];
    match selected {
        None => {
            let (fours, rest) = codes.as_chunks::<4>();
            for four in fours {
                for (lane, &code) in four.iter().enumerate() {
                    lanes[code as usize][lane] += 1;
                }
            }
            rest.iter().for_each(|&code| lanes[code as usize][0] += 1);
        }
        Some(selected) => {
            let chunks = selected.bit_chunks();
            let words = chunks.iter().chain([chunks.remainder_bits()]);
            for (word, codes) in words.zip(codes.chunks(64)) {
                for (bit, &code) in codes.iter().enumerate() {
                    lanes[code as usize][bit % 4] += u32::from(word >> bit & 1 == 1);
                }
            }
        }
    }
    lanes.iter().map(|lanes| lanes.iter().map(|&count| i64::from(count)).sum()).collect()
}

/// A row's number of a whole number that is not null.
trait Widen {
    fn widen(self) -> u64;
}

macro_rules! widen {
    ($($native:ty),+) => {$(
        impl Widen for $native {
            #[expect(clippy::allow_attributes, reason = "not every type needs the cast's leave")]
            #[allow(clippy::cast_lossless, clippy::cast_sign_loss, reason = "any bits will do, alike for alike")]
            #[inline]
            fn widen(self) -> u64 {
                self as u64
            }
        }
    )+};
}

widen!(i8, i16, i32, i64, u8, u16, u32, u64);

fn integers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<LocalKey>
where
    T::Native: Widen,
{
    let numbers: &PrimitiveArray<T> = array.as_primitive();
    numbered(array, numbers.values().iter().map(|number| number.widen()))
}

/// Numbers rows by a number that equal values share, wherever they are null.
fn numbered(
    array: &ArrayRef,
    numbers: impl ExactSizeIterator<Item = u64> + Clone,
) -> Result<LocalKey> {
    let rows = numbers.len();
    let (low, high) = numbers
        .clone()
        .fold((u64::MAX, 0), |(low, high), number| (low.min(number), high.max(number)));
    if rows > 0 && high - low < RANGE_MAX {
        return dense(array, numbers, low, high);
    }
    // Open addressing over a power of two, at most half full.
    let mut slots: Vec<(u64, u32)> = vec![(0, u32::MAX); 64];
    let mut first: Vec<u32> = Vec::new();
    let mut codes = Vec::with_capacity(rows);
    let mut last = (u64::MAX, u32::MAX);
    for (row, number) in (0_u32..).zip(numbers) {
        if last.0 == number && last.1 != u32::MAX {
            codes.push(last.1);
            continue;
        }
        let mut at = slot_of(number, slots.len());
        let code = loop {
            let (held, code) = slots[at];
            if code == u32::MAX {
                let code = u32::try_from(first.len()).unwrap_or(u32::MAX);
                slots[at] = (number, code);
                first.push(row);
                break code;
            }
            if held == number {
                break code;
            }
            at = (at + 1) & (slots.len() - 1);
        };
        if first.len() * 2 > slots.len() {
            let mut larger = vec![(0, u32::MAX); slots.len() * 4];
            for &(number, code) in slots.iter().filter(|(_, code)| *code != u32::MAX) {
                let mut at = slot_of(number, larger.len());
                while larger[at].1 != u32::MAX {
                    at = (at + 1) & (larger.len() - 1);
                }
                larger[at] = (number, code);
            }
            slots = larger;
        }
        last = (number, code);
        codes.push(code);
    }
    finish(array, first, codes)
}

#[inline]
fn slot_of(number: u64, slots: usize) -> usize {
    let product = u128::from(number ^ 0x9e37_79b9_7f4a_7c15) * 0xa076_1d64_78bd_642f;
    #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
    {
        ((product >> 64) as usize ^ product as usize) & (slots - 1)
    }
}

/// Numbers strings. Short ones lie in their views whole, and are compared so.
fn strings(array: &ArrayRef) -> Result<LocalKey> {
    let strings = array.as_string_view();
    let views = strings.views();
    let is_short = |view: u128| view & 0xffff_ffff <= 12;
    let same = |a: usize, b: usize| {
        let (left, right) = (views[a], views[b]);
        match is_short(left) || is_short(right) {
            true => left == right,
            // Length and first bytes stand in the view's lower half.
            false => left << 64 == right << 64 && strings.value(a) == strings.value(b),
        }
    };
    #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
    let hash_of = |row: usize| {
        let view = views[row];
        match is_short(view) {
            true => view as u64 ^ (view >> 64) as u64,
            false => {
                let bytes = strings.value(row).as_bytes();
                let words = bytes.as_chunks::<8>().0.iter();
                let last = bytes.last_chunk::<8>().map_or(0, |last| u64::from_le_bytes(*last));
                words.fold(last, |hash, word| {
                    (hash ^ u64::from_le_bytes(*word))
                        .wrapping_mul(0xa076_1d64_78bd_642f)
                        .rotate_left(29)
                })
            }
        }
    };
    let mut slots: Vec<u32> = vec![u32::MAX; 64];
    let mut first: Vec<u32> = Vec::new();
    let mut codes: Vec<u32> = Vec::with_capacity(views.len());
    for row in 0..views.len() {
        if row > 0 && is_short(views[row]) && views[row] == views[row - 1] {
            codes.push(codes[row - 1]);
            continue;
        }
        let mut at = slot_of(hash_of(row), slots.len());
        let code = loop {
            match slots[at] {
                u32::MAX => {
                    let code = u32::try_from(first.len()).unwrap_or(u32::MAX);
                    slots[at] = code;
                    first.push(u32::try_from(row).unwrap_or(u32::MAX));
                    break code;
                }
                code if same(first[code as usize] as usize, row) => break code,
                _ => at = (at + 1) & (slots.len() - 1),
            }
        };
        if first.len() * 2 > slots.len() {
            let mut larger = vec![u32::MAX; slots.len() * 4];
            for (code, &row) in (0_u32..).zip(&first) {
                let mut at = slot_of(hash_of(row as usize), larger.len());
                while larger[at] != u32::MAX {
                    at = (at + 1) & (larger.len() - 1);
                }
                larger[at] = code;
            }
            slots = larger;
        }
        codes.push(code);
    }
    finish(array, first, codes)
}

/// Numbers a narrow range by what each number is above the least; a table says which occur.
fn dense(
    array: &ArrayRef,
    numbers: impl Iterator<Item = u64>,
    low: u64,
    high: u64,
) -> Result<LocalKey> {
    let width = usize::try_from(high - low).unwrap_or(usize::MAX) + 1;
    let mut table = vec![u32::MAX; width];
    let mut first = Vec::new();
    let mut codes = Vec::with_capacity(array.len());
    for (row, number) in (0_u32..).zip(numbers) {
        let slot = &mut table[usize::try_from(number - low).unwrap_or(0)];
        if *slot == u32::MAX {
            *slot = u32::try_from(first.len()).unwrap_or(u32::MAX);
            first.push(row);
        }
        codes.push(*slot);
    }
    finish(array, first, codes)
}

/// `first` is where each code stands first; nulls get a code of their own.
fn finish(array: &ArrayRef, first: Vec<u32>, mut codes: Vec<u32>) -> Result<LocalKey> {
    let null = u32::try_from(first.len()).unwrap_or(u32::MAX);
    let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) else {
        let values = take(array, &UInt32Array::from(first), None)?;
        return Ok(LocalKey { values, codes: Some(codes) });
    };
    // The first row of a code may be null, and then what stands beneath means nothing: of each code
    // a row that is not null is looked for.
    let mut first: Vec<Option<u32>> = first.into_iter().map(|_| None).collect();
    for (row, &code) in (0_u32..).zip(&codes) {
        if nulls.is_valid(row as usize) {
            first[code as usize].get_or_insert(row);
        }
    }
    let values = take(array, &UInt32Array::from(first), None)?;
    set_null(&mut codes, nulls, null);
    Ok(LocalKey { values: with_null(&values)?, codes: Some(codes) })
}

fn set_null(codes: &mut [u32], nulls: &NullBuffer, null: u32) {
    for (row, code) in codes.iter_mut().enumerate() {
        if nulls.is_null(row) {
            *code = null;
        }
    }
}

fn with_null(values: &ArrayRef) -> Result<ArrayRef> {
    Ok(concat(&[values, &new_null_array(values.data_type(), 1)])?)
}

/// The rows' keys one by one, for those that have too many combinations.
pub(super) fn expand(keys: &[LocalKey], rows: usize) -> Result<Vec<ArrayRef>> {
    let column = |key: &LocalKey| {
        let codes = UInt32Array::from_iter_values((0..rows).map(|row| key.code(row)));
        Ok(take(&key.values, &codes, None)?)
    };
    keys.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{BooleanArray, Int64Array, StringViewArray};

    use super::*;

    fn check(arrays: &[ArrayRef]) {
        let rows = arrays[0].len();
        let keys: Vec<LocalKey> =
            arrays.iter().map(|array| LocalKey::of_array(array).unwrap().unwrap()).collect();
        let expanded = expand(&keys, rows).unwrap();
        assert_eq!(expanded, arrays);
        let groups = LocalGroups::new(keys, rows).unwrap();
        let all: Vec<u32> = (0..u32::try_from(groups.count).unwrap()).collect();
        let columns = groups.keys(&all).unwrap();
        let codes = groups.codes.clone().unwrap_or_else(|| vec![0; rows]);
        for (column, array) in columns.iter().zip(arrays) {
            let rows = take(column, &UInt32Array::from(codes.clone()), None).unwrap();
            assert_eq!(&rows, array);
        }
        let selected: BooleanBuffer = (0..rows).map(|row| row % 3 != 0).collect();
        for selected in [None, Some(&selected)] {
            let mut wanted = vec![0; groups.count];
            for (row, &code) in codes.iter().enumerate() {
                let is_in = selected.is_none_or(|selected| selected.value(row));
                wanted[code as usize] += i64::from(is_in);
            }
            assert_eq!(groups.counts(rows, selected), wanted);
        }
    }

    fn array<A: Array + 'static>(array: A) -> ArrayRef {
        Arc::new(array)
    }

    #[test]
    fn rows_have_the_key_of_their_group() {
        let narrow = array(Int64Array::from_iter_values((0..200).map(|row| row % 7 - 3)));
        let wide = (0..200).map(|row| (row % 5 != 0).then_some(row % 90 * (i64::MAX / 91)));
        let wide = array(Int64Array::from_iter(wide));
        let words = (0..200).map(|row| (row % 4 != 1).then(|| format!("word {}", row % 11)));
        let words = array(StringViewArray::from_iter(words));
        let flags = (0..200).map(|row| (row % 6 != 0).then_some(row % 2 == 0));
        let flags = array(BooleanArray::from_iter(flags));
        let long = (0..200).map(|row| format!("a word that is longer than a view {}", row % 13));
        let long = array(StringViewArray::from_iter_values(long));
        let mixed = (0..200).map(|row| "x".repeat(row % 29));
        let mixed = array(StringViewArray::from_iter_values(mixed));
        for one in [&narrow, &wide, &words, &flags, &long, &mixed] {
            check(std::slice::from_ref(one));
        }
        check(&[narrow, words.clone()]);
        check(&[words, flags, wide]);
    }

    #[test]
    fn runs_of_equal_keys_are_groups() {
        let subjects = array(StringViewArray::from_iter_values(
            (0..300).map(|row| format!("entity/{:07}", row / 7)),
        ));
        let numbers = array(Int64Array::from_iter_values((0..300).map(|row| row / 3)));
        for columns in [vec![subjects.clone()], vec![subjects, numbers]] {
            let groups = LocalGroups::of_runs(&columns).unwrap();
            let codes = groups.codes.clone().unwrap();
            assert!(codes.is_sorted() && codes[0] == 0);
            assert_eq!(codes[299] as usize + 1, groups.count);
            let keys = groups.keys(&codes).unwrap();
            assert_eq!(keys, columns);
        }
        let one = LocalGroups::of_runs(&[array(Int64Array::from_value(3, 1))]).unwrap();
        assert_eq!((one.count, one.codes), (1, Some(vec![0])));
    }

    #[test]
    fn columns_of_nulls_alone_and_of_one_value_are_one_group() {
        check(&[new_null_array(&DataType::Int64, 9)]);
        check(&[new_null_array(&DataType::Utf8View, 9)]);
        check(&[array(Int64Array::from_value(i64::MIN, 70))]);
    }
}

//! Floats as the decimals they were written as (ALP: Afroozeh, Kuffó, Boncz, SIGMOD 2024).
//!
//! A float `v` with few decimals is `n * 10^f * 10^-e` for a whole number `n`; if that product
//! gives back its very bits, `n` is packed in its place. Others (NaN, infinities, -0.0, random
//! bits) are exceptions and stored as they are. `Float32` is widened for the product and rounded
//! back, which is exact for all of its values.
//!
//! ```text
//! u64 e + 256 * f | block of the integers | u64 exceptions
//! u32 rows of the exceptions, ascending, padded to 8 | u64 bits of each as Float64
//! ```
//!
//! For one `e` and `f` greater integers never decode to smaller floats. So a comparison with a
//! float becomes one with integers, found by bisection.

use std::ops::Range;

use arrow_buffer::Buffer;

use super::CompareOp;
use super::bits::VECTOR;
use super::cursor::{Cursor, put_array, put_len, put_u64};
use super::dictionary::partition_point;
use super::packed::{self, IntBlock, Interval};
use crate::{Error, Result};

/// The powers of ten that a float can be multiplied by without rounding are up to 22.
const EXPONENT_MAX: u8 = 18;
const TEN: [f64; EXPONENT_MAX as usize + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18,
];
const TENTH: [f64; EXPONENT_MAX as usize + 1] = [
    1e-0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14,
    1e-15, 1e-16, 1e-17, 1e-18,
];

/// So many floats are decoded one by one.
const FEW: usize = 32;

/// Adding this to a float of less than 2^51 leaves the nearest whole number in its lowest bits.
/// Both directions vectorise, where the conversion instructions do not.
const MAGIC: f64 = 6_755_399_441_055_744.0;
const WHOLE_MAX: i64 = 1 << 51;

/// How integers become floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exponents {
    e: u8,
    f: u8,
}

impl Exponents {
    #[inline]
    fn encode(self, value: f64) -> i64 {
        let scaled = value * TEN[usize::from(self.e)] * TENTH[usize::from(self.f)];
        (scaled + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()).cast_signed()
    }

    #[inline]
    fn decode(self, whole: i64) -> f64 {
        let whole = f64::from_bits(MAGIC.to_bits().wrapping_add_signed(whole)) - MAGIC;
        whole * TEN[usize::from(self.f)] * TENTH[usize::from(self.e)]
    }
}

/// A float of 32 or 64 bits.
pub(super) trait Float: Copy {
    /// The float nearest to `wide`.
    fn narrow(wide: f64) -> Self;
    /// The same number.
    fn widen(self) -> f64;
    /// Whether both have the same bits.
    fn same(self, other: Self) -> bool;
    /// Its bits in a word.
    fn to_word(self) -> u64;
    /// The float of these bits.
    fn from_word(word: u64) -> Self;
}

impl Float for f64 {
    #[inline]
    fn narrow(wide: f64) -> Self {
        wide
    }

    #[inline]
    fn widen(self) -> f64 {
        self
    }

    #[inline]
    fn same(self, other: Self) -> bool {
        self.to_bits() == other.to_bits()
    }

    fn to_word(self) -> u64 {
        self.to_bits()
    }

    fn from_word(word: u64) -> Self {
        Self::from_bits(word)
    }
}

impl Float for f32 {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest")]
    fn narrow(wide: f64) -> Self {
        wide as Self
    }

    #[inline]
    fn widen(self) -> f64 {
        self.into()
    }

    #[inline]
    fn same(self, other: Self) -> bool {
        self.to_bits() == other.to_bits()
    }

    fn to_word(self) -> u64 {
        self.to_bits().into()
    }

    #[expect(clippy::cast_possible_truncation, reason = "the upper half is 0")]
    fn from_word(word: u64) -> Self {
        Self::from_bits(word as u32)
    }
}

/// Packed floats.
#[derive(Debug)]
pub(super) struct Alp {
    exponents: Exponents,
    integers: IntBlock,
    /// Rows of the exceptions, and their bits.
    rows: Buffer,
    words: Buffer,
}

impl Alp {
    /// Reads `len` floats.
    pub(super) fn open(cursor: &mut Cursor, len: usize) -> Result<Self> {
        let exponents = match cursor.u64()?.to_le_bytes() {
            [e, f, 0, 0, 0, 0, 0, 0] if e <= EXPONENT_MAX && f <= e => Exponents { e, f },
            other => return Err(Error::corrupt(format!("exponents of packed floats: {other:?}"))),
        };
        let integers = IntBlock::open(cursor, len)?;
        let count = cursor.len()?;
        let rows = cursor.take_array::<u32>(count)?;
        let words = cursor.take_array::<u64>(count)?;
        let ascending = rows.typed_data::<u32>();
        if !ascending.is_sorted_by(|a, b| a < b)
            || ascending.last().is_some_and(|&last| last as usize >= len)
        {
            return Err(Error::corrupt(
                "exceptions of packed floats are out of order or past the end",
            ));
        }
        Ok(Self { exponents, integers, rows, words })
    }

    fn exceptions(&self) -> (&[u32], &[u64]) {
        (self.rows.typed_data(), self.words.typed_data())
    }

    /// Reads what [`get`](Self::get) will read.
    pub(super) fn touch(&self, row: usize) -> u64 {
        self.integers.touch(row)
    }

    /// The float of `row`.
    #[inline]
    pub(super) fn get<F: Float>(&self, row: usize) -> F {
        let (rows, words) = self.exceptions();
        if !rows.is_empty()
            && let Ok(index) = rows.binary_search_by(|&exception| (exception as usize).cmp(&row))
        {
            return F::from_word(words[index]);
        }
        F::narrow(self.exponents.decode(self.integers.get(row)))
    }

    /// The floats of `range`.
    pub(super) fn decode<F: Float>(&self, range: Range<usize>) -> Vec<F> {
        if range.len() <= FEW {
            return range.map(|row| self.get(row)).collect();
        }
        let mut integers = Vec::<i64>::new();
        self.integers.extend(range.clone(), 0, &mut integers);
        let mut floats = self.floats(&integers);
        let (rows, words) = self.exceptions();
        let first = rows.partition_point(|&row| (row as usize) < range.start);
        for (&row, &word) in rows[first..].iter().zip(&words[first..]) {
            match floats.get_mut(row as usize - range.start) {
                Some(float) => *float = F::from_word(word),
                None => break,
            }
        }
        floats
    }

    /// The floats of the rows at `indices`.
    pub(super) fn take<F: Float>(&self, indices: &[u32]) -> Vec<F> {
        if !self.rows.is_empty() {
            return indices.iter().map(|&row| self.get(row as usize)).collect();
        }
        let mut integers = Vec::<i64>::new();
        self.integers.gather(indices, 0, &mut integers);
        self.floats(&integers)
    }

    fn floats<F: Float>(&self, integers: &[i64]) -> Vec<F> {
        // Copied out, so that the loop sees two constants.
        let (up, down) = (TEN[usize::from(self.exponents.f)], TENTH[usize::from(self.exponents.e)]);
        let float = |&whole: &i64| {
            (f64::from_bits(MAGIC.to_bits().wrapping_add_signed(whole)) - MAGIC) * up * down
        };
        integers.iter().map(|whole| F::narrow(float(whole))).collect()
    }

    /// One bit for each row of these vectors: whether its float lies in `wanted`.
    pub(super) fn test<F: Float>(&self, vectors: Range<usize>, wanted: FloatInterval) -> Vec<u64> {
        let mut words = self.integers.test(vectors.clone(), self.integers_in::<F>(wanted));
        let (start, end) = (vectors.start * VECTOR, vectors.end * VECTOR);
        let (rows, exceptions) = self.exceptions();
        let first = rows.partition_point(|&row| (row as usize) < start);
        for (&row, &word) in rows[first..].iter().zip(&exceptions[first..]) {
            let row = row as usize;
            if row >= end {
                break;
            }
            let bit = 1 << (row % 64);
            match wanted.holds(F::from_word(word).widen()) {
                true => words[(row - start) / 64] |= bit,
                false => words[(row - start) / 64] &= !bit,
            }
        }
        words
    }

    /// The integers whose floats lie in `wanted`.
    fn integers_in<F: Float>(&self, wanted: FloatInterval) -> Interval {
        let key_of = |whole: i64| key(F::narrow(self.exponents.decode(whole)).widen());
        // No integer decodes to NaN or -0.0, so an interval that wraps around them is the rest of
        // one that does not.
        let (low, high, negated) = match wanted.low <= wanted.high {
            true => (wanted.low, wanted.high, wanted.negated),
            false => (wanted.high.saturating_add(1), wanted.low.saturating_sub(1), !wanted.negated),
        };
        if low > high {
            return Interval { negated, ..Interval::NONE };
        }
        let first = bisect(|whole| key_of(whole) < low);
        let end = bisect(|whole| key_of(whole) <= high);
        Interval { low: first, high: end - 1, negated }
    }
}

/// The first integer that floats are made of for which `before` is false.
fn bisect(before: impl Fn(i64) -> bool) -> i64 {
    let width = usize::try_from(2 * WHOLE_MAX).expect("a few petabytes");
    let whole = |index: usize| index as i64 - WHOLE_MAX;
    whole(partition_point(0..width, |index| before(whole(index))))
}

/// Maps floats to integers in IEEE 754's total order: -NaN, -inf, ..., -0.0, 0.0, ..., inf, NaN.
#[inline]
pub(super) fn key(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// An interval of [`key`]s, which wraps around if `low > high`; or all other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FloatInterval {
    low: i64,
    high: i64,
    negated: bool,
}

impl FloatInterval {
    /// The floats that compare so with `value` in the order of keys, or in IEEE's total order.
    ///
    /// The two differ over -0.0 (equal to 0.0 or below it) and NaN with its sign set (above all
    /// numbers or below them). Whoever compares again, in either order, finds no row missing.
    pub(super) fn new(op: CompareOp, value: f64) -> Self {
        let (first_nan, last_nan) = (key(f64::INFINITY) + 1, key(f64::NEG_INFINITY) - 1);
        let plain = |low, high| Self { low, high, negated: false };
        if value.is_nan() {
            let nan = key(f64::NAN);
            return match op {
                CompareOp::Eq | CompareOp::GtEq => plain(first_nan, last_nan),
                CompareOp::NotEq => Self { low: nan, high: nan, negated: true },
                CompareOp::Lt => plain(i64::MIN, nan - 1),
                CompareOp::LtEq => plain(i64::MIN, i64::MAX),
                CompareOp::Gt => plain(nan + 1, i64::MAX),
            };
        }
        let at = key(value);
        let (least, greatest) = if value == 0.0 { (key(-0.0), key(0.0)) } else { (at, at) };
        match op {
            CompareOp::Eq => plain(least, greatest),
            CompareOp::NotEq => Self { low: at, high: at, negated: true },
            CompareOp::Lt => plain(i64::MIN, at - 1),
            CompareOp::LtEq => plain(i64::MIN, greatest),
            // NaN with its sign set is greater, too: the interval goes round.
            CompareOp::Gt => plain(at + 1, last_nan),
            CompareOp::GtEq => plain(least, last_nan),
        }
    }

    /// Whether `value` is one of them.
    #[inline]
    pub(super) fn holds(self, value: f64) -> bool {
        let offset = key(value).wrapping_sub(self.low).cast_unsigned();
        (offset <= self.high.wrapping_sub(self.low).cast_unsigned()) != self.negated
    }
}

/// A chunk's floats as integers and exceptions, not yet written.
#[derive(Debug)]
pub(super) struct Planned {
    exponents: Exponents,
    integers: Vec<i64>,
    rows: Vec<u32>,
    words: Vec<u64>,
}

/// Values that exponents are chosen by.
const SAMPLE: usize = 48;

impl Planned {
    /// Finds exponents for `values`, `hint` first; `None` if most would be exceptions.
    pub(super) fn of<F: Float>(values: &[F], hint: Option<Exponents>) -> Option<Self> {
        let step = (values.len() / SAMPLE).max(1);
        let sample: Vec<F> = values.iter().step_by(step).copied().collect();
        let exponents = match hint {
            Some(hint) if cost(&sample, hint).0 * 16 <= sample.len() => hint,
            _ => {
                let all = (0..=EXPONENT_MAX).flat_map(|e| (0..=e).map(move |f| Exponents { e, f }));
                all.min_by_key(|&exponents| cost(&sample, exponents).1)?
            }
        };
        if cost(&sample, exponents).0 * 2 > sample.len() {
            return None;
        }
        let mut integers: Vec<i64> =
            values.iter().map(|value| exponents.encode(value.widen())).collect();
        let (mut rows, mut words) = (Vec::new(), Vec::new());
        for ((row, value), &whole) in (0..).zip(values).zip(&integers) {
            if !fits(*value, whole, exponents) {
                rows.push(row);
                words.push(value.to_word());
            }
        }
        // An exception takes the integer of the row before it, so that it costs nothing; in front
        // of all others, that of the first row that is none.
        let mut neighbour = (0..)
            .zip(&integers)
            .find(|(row, _)| rows.binary_search(row).is_err())
            .map_or(0, |(_, &whole)| whole);
        for &row in &rows {
            let row = row as usize;
            if row > 0 {
                neighbour = integers[row - 1];
            }
            integers[row] = neighbour;
        }
        Some(Self { exponents, integers, rows, words })
    }

    /// What to try first on the next chunk.
    pub(super) fn exponents(&self) -> Exponents {
        self.exponents
    }

    /// Appends the body of a chunk.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_u64(u64::from(self.exponents.e) | u64::from(self.exponents.f) << 8, out);
        packed::write(&self.integers, out);
        put_len(self.rows.len(), out);
        put_array(&self.rows, out);
        put_array(&self.words, out);
    }
}

#[inline]
fn fits<F: Float>(value: F, whole: i64, exponents: Exponents) -> bool {
    -WHOLE_MAX < whole && whole < WHOLE_MAX && F::narrow(exponents.decode(whole)).same(value)
}

/// The exceptions among `sample`, and about how many bits all of it takes.
fn cost<F: Float>(sample: &[F], exponents: Exponents) -> (usize, usize) {
    let (mut exceptions, mut min, mut max) = (0, i64::MAX, i64::MIN);
    for &value in sample {
        let whole = exponents.encode(value.widen());
        if fits(value, whole, exponents) {
            (min, max) = (min.min(whole), max.max(whole));
        } else {
            exceptions += 1;
        }
    }
    let range = max.wrapping_sub(min).cast_unsigned();
    let width = if min > max { 0 } else { super::bits::width_of(range) };
    (exceptions, exceptions * 96 + (sample.len() - exceptions) * width)
}

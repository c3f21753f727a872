//! Integers over a base, bit-packed; outliers patched.
//!
//! Every whole number of a chunk passes here: the values of integer columns, dates, times,
//! decimals of up to 18 digits, the codes of dictionaries, the ends of strings, the integers that
//! ALP makes of floats. All are mapped to `i64` so that the order is kept; see [`Kind`](super::kind::Kind).
//!
//! ```text
//! u64 length of the data
//! per vector of 1,024: i64 base | u32 offset into the data, in units of 8 | u16 patches | u8 width | u8 0
//! data, per vector: 128 * width bytes of packed (value - base)
//!                   u16 positions of the patches, ascending, padded to 8; u64 (value - base) of each
//! ```
//!
//! A value that needs more than `width` bits is a patch: its packed bits are 0 and mean nothing.
//! A patch may lie below the base, since differences wrap.

use std::cell::RefCell;
use std::ops::Range;

use arrow_buffer::Buffer;

use super::bits::{BYTES_PER_BIT, VECTOR, Word, mask, test_all, unpack_single, width_of};
use super::cursor::{Cursor, put_array, put_u64};
use crate::{Error, Result};

mod coarse;
mod search;

/// The bytes that a patch costs: its position and its value.
const PATCH_BYTES: usize = 10;
const HEADER_BYTES: usize = 16;
const WORDS_PER_VECTOR: usize = VECTOR / 64;

/// A block of packed integers.
#[derive(Debug)]
pub(super) struct IntBlock {
    vectors: Box<[Vector]>,
    data: Buffer,
    len: usize,
    coarse: Coarse,
}

#[derive(Clone, Copy, Debug)]
struct Vector {
    base: i64,
    /// In bytes from the start of the data.
    offset: usize,
    width: u8,
    patches: u16,
}

/// What a packed difference becomes on its way out.
pub(super) trait Unpacked: Copy {
    /// The value `base + difference`, which fits unless the bytes are damaged.
    fn of(base: i64, difference: u64) -> Self;
}

macro_rules! unpacked {
    ($($native:ty),+) => {$(
        impl Unpacked for $native {
            #[inline]
            #[allow(clippy::cast_possible_truncation, reason = "it was this narrow before it was packed")]
            fn of(base: i64, difference: u64) -> Self {
                base.wrapping_add_unsigned(difference) as Self
            }
        }
    )+};
}

unpacked!(u8, u16, u32, u64, i32, i64, i128);

/// The values from `low` to `high`, both included, or all others; none (or all) if `low > high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) low: i64,
    pub(super) high: i64,
    pub(super) negated: bool,
}

impl Interval {
    /// No value at all.
    pub(super) const NONE: Self = Self { low: 1, high: 0, negated: false };
    /// Every value.
    pub(super) const ALL: Self = Self { low: i64::MIN, high: i64::MAX, negated: false };

    /// The values from `low` to `high`.
    pub(super) fn new(low: i64, high: i64) -> Self {
        Self { low, high, negated: false }
    }

    /// The values of both, unless they are no interval.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        let (low, high) = (self.low.max(other.low), self.high.min(other.high));
        (!self.negated && !other.negated).then_some(Self { low, high, negated: false })
    }

    /// Whether `value` is one of them.
    #[inline]
    pub(super) fn holds(&self, value: i64) -> bool {
        (self.low <= value && value <= self.high) != self.negated
    }
}

thread_local! {
    // Vectors are unpacked here when only a part of one is wanted, or in another width. Zeroing
    // such arrays anew for each call would cost as much as unpacking does.
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { u8: [0; VECTOR], u16: [0; VECTOR], u32: [0; VECTOR], u64: [0; VECTOR] }) };
}

struct Scratch {
    u8: [u8; VECTOR],
    u16: [u16; VECTOR],
    u32: [u32; VECTOR],
    u64: [u64; VECTOR],
}

/// Runs `$body` with `$unpacked` bound to the vector's differences in the word of its width.
macro_rules! with_unpacked {
    ($block:expr, $vector:expr, $unpacked:ident => $body:expr) => {
        SCRATCH.with_borrow_mut(|scratch| match $vector.width {
            1..=8 => {
                $block.unpack($vector, &mut scratch.u8);
                let $unpacked = &scratch.u8;
                $body
            }
            9..=16 => {
                $block.unpack($vector, &mut scratch.u16);
                let $unpacked = &scratch.u16;
                $body
            }
            17..=32 => {
                $block.unpack($vector, &mut scratch.u32);
                let $unpacked = &scratch.u32;
                $body
            }
            _ => {
                $block.unpack($vector, &mut scratch.u64);
                let $unpacked = &scratch.u64;
                $body
            }
        })
    };
}

mod sums;

use coarse::Coarse;
pub(super) use sums::Sums;

impl IntBlock {
    /// Reads a block of `len` integers and checks everything that reading a value relies on.
    pub(super) fn open(cursor: &mut Cursor, len: usize) -> Result<Self> {
        let data_len = cursor.len()?;
        let count = len.div_ceil(VECTOR);
        let headers = cursor.take_array::<u128>(count)?;
        let data = cursor.take(data_len)?;
        if data_len % 8 != 0 {
            return Err(Error::corrupt(format!(
                "packed data of {data_len} bytes is not a multiple of 8"
            )));
        }
        let mut vectors = Vec::with_capacity(count);
        for (index, header) in headers.chunks_exact(HEADER_BYTES).enumerate() {
            let vector = Vector::parse(header);
            vector.check(&data, VECTOR.min(len - index * VECTOR))?;
            vectors.push(vector);
        }
        Ok(Self { vectors: vectors.into(), data, len, coarse: Coarse::default() })
    }

    /// The number of integers.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The integer at `index`.
    #[inline]
    pub(super) fn get(&self, index: usize) -> i64 {
        debug_assert!(index < self.len);
        let vector = &self.vectors[index / VECTOR];
        vector.base.wrapping_add_unsigned(self.difference(vector, index % VECTOR))
    }

    /// Reads what [`get`](Self::get) will read.
    #[inline]
    pub(super) fn touch(&self, index: usize) -> u64 {
        let vector = &self.vectors[index / VECTOR];
        self.packed(vector, index % VECTOR)
    }

    #[inline]
    fn difference(&self, vector: &Vector, index: usize) -> u64 {
        if vector.patches > 0 {
            let (positions, values) = self.patches(vector);
            #[expect(clippy::cast_possible_truncation, reason = "an index within a vector")]
            if let Ok(patch) = positions.binary_search(&(index as u16)) {
                return values[patch];
            }
        }
        self.packed(vector, index)
    }

    #[inline]
    fn packed(&self, vector: &Vector, index: usize) -> u64 {
        let width = usize::from(vector.width);
        match width {
            0 => 0,
            1..=8 => unpack_single::<u8>(width, self.words(vector), index),
            9..=16 => unpack_single::<u16>(width, self.words(vector), index),
            17..=32 => unpack_single::<u32>(width, self.words(vector), index),
            _ => unpack_single::<u64>(width, self.words(vector), index),
        }
    }

    /// What no integer of `range` is below, and above; 0 if it is empty. Of values as vectors tell
    /// them, so a few rows' are those of all beside them.
    pub(super) fn bounds(&self, range: Range<usize>) -> (i64, i64) {
        let vectors = range.start / VECTOR..range.end.div_ceil(VECTOR);
        let bounds = self.vectors[vectors].iter().flat_map(|vector| {
            let (_, patches) = self.patches(vector);
            let patches = patches.iter().map(|&patch| vector.base.wrapping_add_unsigned(patch));
            let packed = vector.base.saturating_add_unsigned(mask(vector.width.into()));
            patches.chain([vector.base, packed])
        });
        let (low, high) = bounds
            .fold((i64::MAX, i64::MIN), |(low, high), bound| (low.min(bound), high.max(bound)));
        if low > high { (0, 0) } else { (low, high) }
    }

    /// Appends the integers of `range`, each plus `bias`.
    pub(super) fn extend<T: Unpacked>(&self, range: Range<usize>, bias: i64, out: &mut Vec<T>) {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "range {range:?} of {} integers",
            self.len
        );
        out.reserve(range.len());
        let mut at = range.start;
        while at < range.end {
            let index = at / VECTOR;
            let start = at - index * VECTOR;
            let end = VECTOR.min(range.end - index * VECTOR);
            self.extend_vector(&self.vectors[index], start..end, bias, out);
            at += end - start;
        }
    }

    fn extend_vector<T: Unpacked>(
        &self,
        vector: &Vector,
        part: Range<usize>,
        bias: i64,
        out: &mut Vec<T>,
    ) {
        let base = vector.base.wrapping_add(bias);
        if part.len() < vector.unpack_worth() {
            out.extend(part.map(|index| T::of(base, self.difference(vector, index))));
            return;
        }
        let first = out.len();
        match vector.width {
            0 => out.resize(first + part.len(), T::of(base, 0)),
            _ => with_unpacked!(self, vector, unpacked => {
                out.extend(unpacked[part.clone()].iter().map(|&difference| T::of(base, difference.widen())));
            }),
        }
        if vector.patches > 0 {
            let (positions, values) = self.patches(vector);
            for (&position, &value) in positions.iter().zip(values) {
                let position = usize::from(position);
                if part.contains(&position) {
                    out[first + position - part.start] = T::of(base, value);
                }
            }
        }
    }

    /// Appends the integers at `indices`, each plus `bias`. Indices must be below the length.
    pub(super) fn gather<T: Unpacked>(&self, indices: &[u32], bias: i64, out: &mut Vec<T>) {
        out.reserve(indices.len());
        let vector_of = |index: u32| index as usize / VECTOR;
        for run in indices.chunk_by(|&a, &b| vector_of(a) == vector_of(b)) {
            let vector = &self.vectors[vector_of(run[0])];
            let base = vector.base.wrapping_add(bias);
            if run.len() < vector.unpack_worth() || vector.width == 0 {
                out.extend(
                    run.iter().map(|&index| {
                        T::of(base, self.difference(vector, index as usize % VECTOR))
                    }),
                );
                continue;
            }
            let first = out.len();
            with_unpacked!(self, vector, unpacked => {
                out.extend(run.iter().map(|&index| T::of(base, unpacked[index as usize % VECTOR].widen())));
            });
            if vector.patches > 0 {
                let (positions, values) = self.patches(vector);
                let mut patched = [0_u64; WORDS_PER_VECTOR];
                positions.iter().for_each(|at| patched[usize::from(*at) / 64] |= 1 << (at % 64));
                for (out, &index) in out[first..].iter_mut().zip(run) {
                    let at = index as usize % VECTOR;
                    if patched[at / 64] >> (at % 64) & 1 == 1 {
                        let place = positions.partition_point(|other| usize::from(*other) < at);
                        *out = T::of(base, values[place]);
                    }
                }
            }
        }
    }

    /// One bit for each integer of the vectors `vectors`: whether it lies in `interval`.
    ///
    /// A vector whose base and width say so is answered without looking at its values. Of wide
    /// numbers that are compared again their highest bits are ([`Coarse`]), and in others the
    /// differences as they are packed, in their own narrow word.
    pub(super) fn test(&self, vectors: Range<usize>, interval: Interval) -> Vec<u64> {
        let mut words = vec![0; vectors.len() * WORDS_PER_VECTOR];
        let parts = words.as_chunks_mut::<WORDS_PER_VECTOR>().0;
        let mut is_cut = false;
        for (index, words) in vectors.zip(parts) {
            is_cut |= self.test_vector(index, interval, words);
        }
        if is_cut {
            self.coarse.cut();
        }
        words
    }

    /// The bits of one vector; whether its values were compared for it.
    fn test_vector(
        &self,
        index: usize,
        interval: Interval,
        words: &mut [u64; WORDS_PER_VECTOR],
    ) -> bool {
        let vector = &self.vectors[index];
        let greatest = mask(vector.width.into());
        let mut is_cut = false;
        match interval.above(vector.base) {
            Some((low, high)) if low <= greatest => {
                let high = high.min(greatest);
                if low == 0 && high == greatest {
                    words.fill(u64::MAX);
                } else if !self.test_coarse(index, (low, high), words) {
                    is_cut = true;
                    with_unpacked!(self, vector, unpacked => test_words(unpacked, low, high, words));
                }
            }
            _ => words.fill(0),
        }
        if interval.negated {
            words.iter_mut().for_each(|word| *word = !*word);
        }
        if vector.patches > 0 {
            let (positions, values) = self.patches(vector);
            for (&position, &value) in positions.iter().zip(values) {
                let bit = 1 << (position % 64);
                let word = &mut words[usize::from(position) / 64];
                match interval.holds(vector.base.wrapping_add_unsigned(value)) {
                    true => *word |= bit,
                    false => *word &= !bit,
                }
            }
        }
        is_cut
    }

    fn unpack<W: Word>(&self, vector: &Vector, out: &mut [W; VECTOR]) {
        W::unpack(vector.width.into(), self.words(vector), out);
    }

    #[inline]
    fn words<W: Word>(&self, vector: &Vector) -> &[W] {
        let start = vector.offset / size_of::<W>();
        &self.data.typed_data::<W>()[start..start + VECTOR * usize::from(vector.width) / W::BITS]
    }

    #[inline]
    fn patches(&self, vector: &Vector) -> (&[u16], &[u64]) {
        vector.patches(&self.data)
    }
}

impl Interval {
    /// The interval as differences from `base`, cut at it; `None` if it lies below.
    fn above(&self, base: i64) -> Option<(u64, u64)> {
        if self.low > self.high || self.high < base {
            return None;
        }
        // Both differences are at least 0 and below 2^64, so the wrapped bits are the number.
        let low = self.low.max(base).wrapping_sub(base).cast_unsigned();
        Some((low, self.high.wrapping_sub(base).cast_unsigned()))
    }
}

fn test_words<W: Word>(
    unpacked: &[W; VECTOR],
    low: u64,
    high: u64,
    words: &mut [u64; WORDS_PER_VECTOR],
) {
    // One comparison: what lies below wraps to above.
    let (low, reach) = (W::truncate(low), W::truncate(high - low));
    test_all(unpacked, words, |difference| difference.minus(low) <= reach);
}

impl Vector {
    /// To unpack all costs about as much as so many by themselves: the narrower they are, the more
    /// come out of one step.
    fn unpack_worth(&self) -> usize {
        match self.width {
            0..=8 => 8,
            9..=16 => 12,
            17..=32 => 24,
            _ => 48,
        }
    }

    fn parse(header: &[u8]) -> Self {
        let field =
            |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("half a header"));
        let [offset @ .., p0, p1, width, _] = field(8).to_le_bytes();
        Self {
            base: field(0).cast_signed(),
            offset: u32::from_le_bytes(offset) as usize * 8,
            width,
            patches: u16::from_le_bytes([p0, p1]),
        }
    }

    /// Checks the width, that packed words and patches lie in the data, and where the patches stand.
    fn check(&self, data: &Buffer, rows: usize) -> Result<()> {
        if self.width > 64 {
            return Err(Error::corrupt(format!("packed width {} is above 64", self.width)));
        }
        if usize::from(self.patches) > rows {
            return Err(Error::corrupt(format!("{} patches for {rows} values", self.patches)));
        }
        let end = self.patch_values() + usize::from(self.patches) * 8;
        if end > data.len() {
            return Err(Error::corrupt(format!(
                "packed vector ends at {end} of {} bytes",
                data.len()
            )));
        }
        let (positions, _) = self.patches(data);
        if !positions.is_sorted_by(|a, b| a < b)
            || positions.last().is_some_and(|&last| usize::from(last) >= rows)
        {
            return Err(Error::corrupt(
                "patches of a packed vector are out of order or past its end",
            ));
        }
        Ok(())
    }

    fn patch_positions(&self) -> usize {
        self.offset + BYTES_PER_BIT * usize::from(self.width)
    }

    fn patch_values(&self) -> usize {
        self.patch_positions() + (usize::from(self.patches) * 2).next_multiple_of(8)
    }

    #[inline]
    fn patches<'a>(&self, data: &'a Buffer) -> (&'a [u16], &'a [u64]) {
        let count = usize::from(self.patches);
        let (positions, values) = (self.patch_positions() / 2, self.patch_values() / 8);
        (
            &data.typed_data::<u16>()[positions..positions + count],
            &data.typed_data::<u64>()[values..values + count],
        )
    }
}

/// Appends `values` as a block.
pub(super) fn write(values: &[i64], out: &mut Vec<u8>) {
    let at = out.len();
    put_u64(0, out);
    out.resize(out.len() + values.len().div_ceil(VECTOR) * HEADER_BYTES, 0);
    let data = out.len();
    for (index, values) in values.chunks(VECTOR).enumerate() {
        let offset = u32::try_from((out.len() - data) / 8).expect("a chunk is below 32 GiB");
        let plan = Plan::of(values);
        let patches = plan.write(values, out);
        let header = &mut out[at + 8 + index * HEADER_BYTES..][..HEADER_BYTES];
        header[..8].copy_from_slice(&plan.base.to_le_bytes());
        header[8..12].copy_from_slice(&offset.to_le_bytes());
        header[12..14].copy_from_slice(&patches.to_le_bytes());
        header[14] = u8::try_from(plan.width).expect("at most 64");
    }
    let len = (out.len() - data) as u64;
    out[at..at + 8].copy_from_slice(&len.to_le_bytes());
}

/// The base and width that store one vector's values in the fewest bytes.
#[derive(Clone, Copy, Debug)]
struct Plan {
    base: i64,
    width: usize,
    patched: bool,
}

impl Plan {
    fn of(values: &[i64]) -> Self {
        let (min, max) = min_max(values);
        let range = max.wrapping_sub(min).cast_unsigned();
        let full = Self { base: min, width: width_of(range), patched: false };
        let (low, high) = fences(values);
        if full.width < 2 || (low <= min && max <= high) {
            return full;
        }
        let inside = values
            .iter()
            .map(|&value| if low <= value && value <= high { value } else { i64::MAX });
        let base = inside.min().unwrap_or(min);
        let (width, bytes) = Self::best(values, base);
        if bytes < full.width * BYTES_PER_BIT { Self { base, width, patched: true } } else { full }
    }

    /// The cheapest width for the differences from `base`, and its bytes.
    fn best(values: &[i64], base: i64) -> (usize, usize) {
        let mut needing = [0usize; 65];
        values.iter().for_each(|&value| needing[width_of(difference(value, base))] += 1);
        let (mut best, mut patches) = ((64, usize::MAX), 0);
        for width in (0..=64).rev() {
            let bytes = BYTES_PER_BIT * width + patches * PATCH_BYTES;
            if bytes < best.1 {
                best = (width, bytes);
            }
            patches += needing[width];
        }
        best
    }

    /// Appends packed words and patches; answers with the number of patches.
    fn write(&self, values: &[i64], out: &mut Vec<u8>) -> u16 {
        match self.width {
            0 => {}
            1..=8 => self.pack::<u8>(values, out),
            9..=16 => self.pack::<u16>(values, out),
            17..=32 => self.pack::<u32>(values, out),
            _ => self.pack::<u64>(values, out),
        }
        if !self.patched {
            return 0;
        }
        let (mut positions, mut patches) = (Vec::new(), Vec::new());
        for (position, value) in (0u16..).zip(values) {
            if difference(*value, self.base) > mask(self.width) {
                positions.push(position);
                patches.push(value.wrapping_sub(self.base).cast_unsigned());
            }
        }
        put_array(&positions, out);
        put_array(&patches, out);
        u16::try_from(positions.len()).expect("at most one a value")
    }

    fn pack<W: Word>(&self, values: &[i64], out: &mut Vec<u8>) {
        let greatest = mask(self.width);
        let mut differences = [W::truncate(0); VECTOR];
        for (packed, &value) in differences.iter_mut().zip(values) {
            let wide = difference(value, self.base);
            *packed = W::truncate(if wide > greatest { 0 } else { wide });
        }
        let mut packed = [W::truncate(0); VECTOR];
        let packed = &mut packed[..VECTOR * self.width / W::BITS];
        W::pack(self.width, &differences, packed);
        put_array(packed, out);
    }
}

/// How far `value` lies above `base`; what lies below is as far as can be, so that it is patched.
#[inline]
fn difference(value: i64, base: i64) -> u64 {
    if value < base { u64::MAX } else { value.wrapping_sub(base).cast_unsigned() }
}

/// Bounds that outliers lie beyond: the middle half of a sample, and two and a half times its
/// length on either side. Most vectors have none and are not looked at further.
fn fences(values: &[i64]) -> (i64, i64) {
    const SAMPLE: usize = 32;
    let step = values.len().div_ceil(SAMPLE).max(1);
    let mut sample = [0; SAMPLE];
    let mut len = 0;
    for (place, &value) in sample.iter_mut().zip(values.iter().step_by(step)) {
        *place = value;
        len += 1;
    }
    let sample = &mut sample[..len];
    sample.sort_unstable();
    let (first, third) = (sample[len / 4], sample[len * 3 / 4]);
    let reach = third.saturating_sub(first).saturating_mul(5) / 2;
    (first.saturating_sub(reach), third.saturating_add(reach))
}

/// The least and greatest of `values`, which are not empty.
pub(super) fn min_max(values: &[i64]) -> (i64, i64) {
    values.iter().fold((i64::MAX, i64::MIN), |(min, max), &value| (min.min(value), max.max(value)))
}

//! [`FixedKeys`]: keys of one width as numbers; [`NarrowKeys`]: the same for those that are searched
//! again and again, without the bits that are alike in all of them.
//!
//! Keys of a row group lie close together. Of two integers of eight bytes each a few bits of the
//! first differ, and some more of the second: four bytes a key hold what tells them apart, in their
//! order, and a reader who looks 50,000 keys up in two million passes over 8 MB instead of 32. Of
//! each half of the sixteen bytes the bits from the highest to the lowest that differ are kept.

use std::ops::Range;

use silt_codec::KeyBuffer;

use crate::batch::prefix_of;

/// Rows among which a key is looked for without a branch.
const WINDOW: usize = 16;
/// So many windows are looked through one after another before steps double.
const NEAR: usize = 6;
/// Where the newer side has fewer than one key for this many rows, each is looked for by itself;
/// else both sides are walked.
const SEARCH_BELOW: usize = 8;

/// Keys of one width, each as the number that its bytes are; ascending.
#[derive(Debug)]
pub(crate) struct FixedKeys {
    width: usize,
    keys: Vec<u128>,
}

/// Keys of one width, each as the bits in which it may differ from the first; ascending.
#[derive(Debug)]
pub(crate) struct NarrowKeys {
    width: usize,
    first: u128,
    kept: Kept,
    keys: Narrow,
}

/// The bits kept of each half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    high: Bits,
    low: Bits,
}

/// Bits that follow one another: where they begin, and as many ones as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bits {
    start: u32,
    ones: u64,
}

#[derive(Debug)]
enum Narrow {
    Four(Vec<u32>),
    Eight(Vec<u64>),
    Sixteen(Vec<u128>),
}

impl FixedKeys {
    /// The keys of `range`, if they are of one width that a number holds.
    pub(crate) fn of(keys: &KeyBuffer, range: Range<usize>) -> Option<Self> {
        let width = keys.get(range.clone().next()?).len();
        let fits = |index: usize| keys.get(index).len() == width;
        if width > size_of::<u128>() || !range.clone().all(fits) {
            return None;
        }
        Some(Self { width, keys: range.map(|index| prefix_of(keys.get(index))).collect() })
    }

    /// Those that have these numbers, ascending, and are of this width.
    pub(crate) fn of_numbers(width: usize, keys: Vec<u128>) -> Self {
        debug_assert!(width <= size_of::<u128>() && keys.is_sorted());
        Self { width, keys }
    }

    /// Memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.len() * size_of::<u128>()
    }
}

impl NarrowKeys {
    /// The same keys, of which there is at least one.
    pub(crate) fn of(FixedKeys { width, keys }: &FixedKeys) -> Self {
        let (width, first) = (*width, keys.first().copied().unwrap_or_default());
        let differing = keys.iter().fold(0, |differing, key| differing | (key ^ first));
        let kept = Kept::of(differing);
        let each = keys.iter().map(|&key| kept.narrow(key));
        #[expect(clippy::cast_possible_truncation, reason = "there are no more bits")]
        let keys = match kept.count() {
            0..=32 => Narrow::Four(each.map(|key| key as u32).collect()),
            33..=64 => Narrow::Eight(each.collect()),
            _ => Narrow::Sixteen(keys.clone()),
        };
        Self { width, first, kept, keys }
    }

    /// Memory held.
    pub(crate) fn bytes(&self) -> usize {
        match &self.keys {
            Narrow::Four(keys) => size_of_val(keys.as_slice()),
            Narrow::Eight(keys) => size_of_val(keys.as_slice()),
            Narrow::Sixteen(keys) => size_of_val(keys.as_slice()),
        }
    }

    /// Sets the bits of the rows whose keys are among `newer` at `within`.
    pub(crate) fn mark(&self, newer: &FixedKeys, within: Range<usize>, rows: &mut [u64]) {
        if newer.width != self.width {
            return;
        }
        let newer = &newer.keys[within];
        let mask = self.kept.mask();
        let alike = newer.iter().filter(|key| (**key ^ self.first) & !mask == 0);
        let narrow = alike.map(|&key| self.kept.narrow(key));
        #[expect(clippy::cast_possible_truncation, reason = "there are no more bits")]
        match &self.keys {
            Narrow::Four(keys) => {
                mark(keys, &narrow.map(|key| key as u32).collect::<Vec<_>>(), rows)
            }
            Narrow::Eight(keys) => mark(keys, &narrow.collect::<Vec<_>>(), rows),
            Narrow::Sixteen(keys) => mark(keys, newer, rows),
        }
    }
}

impl Kept {
    fn of(differing: u128) -> Self {
        let (high, low) = halves(differing);
        Self { high: Bits::of(high), low: Bits::of(low) }
    }

    fn count(self) -> u32 {
        self.high.ones.count_ones() + self.low.ones.count_ones()
    }

    fn mask(self) -> u128 {
        u128::from(self.high.ones << self.high.start) << 64
            | u128::from(self.low.ones << self.low.start)
    }

    /// The bits kept, where they are 64 at most.
    #[inline]
    fn narrow(self, key: u128) -> u64 {
        let (high, low) = halves(key);
        // Where all of the low half is kept nothing is of the high one.
        let high = self.high.take(high).wrapping_shl(self.low.ones.count_ones());
        high | self.low.take(low)
    }
}

impl Bits {
    /// From the lowest that is set to the highest.
    fn of(set: u64) -> Self {
        if set == 0 {
            return Self { start: 0, ones: 0 };
        }
        let start = set.trailing_zeros();
        Self { start, ones: u64::MAX >> (set.leading_zeros() + start) }
    }

    #[inline]
    fn take(self, half: u64) -> u64 {
        half >> self.start & self.ones
    }
}

#[expect(clippy::cast_possible_truncation, reason = "that is what halves are")]
fn halves(key: u128) -> (u64, u64) {
    ((key >> 64) as u64, key as u64)
}

/// Sets the bit of each place of `older` whose number is among `newer`; both ascend.
fn mark<T: Copy + Ord>(older: &[T], newer: &[T], rows: &mut [u64]) {
    let mut row = 0;
    if newer.len() * SEARCH_BELOW >= older.len() {
        // Which side goes on cannot be foretold, so nothing here depends on it but sums.
        let mut at = 0;
        while row < older.len() && at < newer.len() {
            let (old, new) = (older[row], newer[at]);
            rows[row / 64] |= u64::from(old == new) << (row % 64);
            row += usize::from(old <= new);
            at += usize::from(new < old);
        }
        return;
    }
    for &key in newer {
        let (mut step, mut near) = (WINDOW, NEAR);
        while row + step <= older.len() && older[row + step - 1] < key {
            row += step;
            match near.checked_sub(1) {
                Some(left) => near = left,
                None => step *= 2,
            }
        }
        let mut end = older.len().min(row + step);
        while end - row > WINDOW {
            let middle = usize::midpoint(row, end);
            if older[middle] < key {
                row = middle;
            } else {
                end = middle;
            }
        }
        row += older[row..end].iter().filter(|other| **other < key).count();
        // A key may have several versions.
        while row < older.len() && older[row] == key {
            rows[row / 64] |= 1 << (row % 64);
            row += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::SeededRandom;

    fn buffer(mut keys: Vec<Vec<u8>>, is_unique: bool) -> KeyBuffer {
        keys.sort();
        if is_unique {
            keys.dedup();
        }
        let mut buffer = KeyBuffer::new();
        keys.iter().for_each(|key| buffer.push(key));
        buffer
    }

    #[test]
    fn numbers_are_found_where_their_keys_are() {
        let random = SeededRandom::new(3);
        let below = |most: u64| usize::try_from(random.below(most)).unwrap();
        let mut widths = [0; 3];
        for width in [1, 4, 8, 12, 16] {
            // Which bits differ: a few places, or all.
            for differing in [0_u128, 0xff, 0x1003, 0xff_0000_0101, u128::MAX >> 40, u128::MAX] {
                for (space, newer) in [(300, 10), (300, 280), (5_000, 20), (40, 400)] {
                    let base = random.below(u64::MAX);
                    let spread = |number: usize, mask: u128| {
                        let mixed = (number as u128).wrapping_mul(0x0123_4567_89ab_cdef_1357_9bdf);
                        let bits = u128::from(base) ^ (mixed & mask);
                        bits.to_be_bytes()[16 - width..].to_vec()
                    };
                    let draw = |count: usize, mask: u128| {
                        (0..count).map(|_| spread(below(space), mask)).collect::<Vec<_>>()
                    };
                    // Older keys may stand there in several versions; newer ones may differ from
                    // them in bits in which those do not differ from one another.
                    let older = buffer(draw(350, differing), false);
                    let mut others = draw(newer / 2, differing);
                    others.extend(draw(newer / 2, differing | 1 << 77 | 1 << 40 | 1 << 3));
                    let newer = buffer(others, true);
                    let within = below(newer.len() as u64 / 2 + 1)..newer.len();
                    let narrow = NarrowKeys::of(&FixedKeys::of(&older, 0..older.len()).unwrap());
                    widths[match &narrow.keys {
                        Narrow::Four(_) => 0,
                        Narrow::Eight(_) => 1,
                        Narrow::Sixteen(_) => 2,
                    }] += 1;
                    let mut marked = vec![0_u64; older.len().div_ceil(64)];
                    let numbers = FixedKeys::of(&newer, 0..newer.len()).unwrap();
                    narrow.mark(&numbers, within.clone(), &mut marked);
                    let found = (0..marked.len() * 64)
                        .filter(|row| marked[row / 64] >> (row % 64) & 1 == 1);
                    let found: Vec<_> = found.collect();
                    let is_newer =
                        |row: &usize| within.clone().any(|at| newer.get(at) == older.get(*row));
                    assert_eq!(found, (0..older.len()).filter(is_newer).collect::<Vec<_>>());
                }
            }
        }
        assert!(widths.iter().all(|count| *count > 0), "{widths:?}");
    }

    #[test]
    fn keys_of_several_widths_are_no_numbers() {
        let keys = buffer([&b"a"[..], b"a\0", b"bb"].map(<[u8]>::to_vec).to_vec(), true);
        assert!(FixedKeys::of(&keys, 0..3).is_none());
        assert!(FixedKeys::of(&keys, 1..1).is_none());
        let two = FixedKeys::of(&keys, 1..3).unwrap();
        let one = FixedKeys::of(&buffer(vec![b"a".to_vec()], true), 0..1).unwrap();
        let mut marked = [0];
        NarrowKeys::of(&one).mark(&two, 0..2, &mut marked);
        assert_eq!(marked, [0]);
        assert!(FixedKeys::of(&buffer(vec![vec![0; 17]], true), 0..1).is_none());
    }

    #[test]
    fn bits_kept_reach_from_the_lowest_that_differs_to_the_highest() {
        let bits = |start, ones| Bits { start, ones };
        assert_eq!(Bits::of(0), bits(0, 0));
        assert_eq!(Bits::of(0b1001 << 5), bits(5, 0b1111));
        assert_eq!(Bits::of(u64::MAX), bits(0, u64::MAX));
        let kept = Kept::of(0b101 << 90 | 1 << 63 | 1);
        assert_eq!((kept.count(), kept.mask()), (67, 0b111 << 90 | u128::from(u64::MAX)));
        let kept = Kept::of(0b101 << 90 | 0b11 << 3);
        assert_eq!(kept.narrow(0b110 << 90 | 0b10_111), 0b11010);
        assert_eq!(Kept::of(u128::from(u64::MAX)).narrow(5), 5);
    }
}

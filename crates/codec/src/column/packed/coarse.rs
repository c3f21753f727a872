//! The highest sixteen bits of each difference, of integers that are packed in words of 64 bits.
//!
//! A comparison of wide integers (times, identifiers) is decided by them for nearly all rows, in
//! whatever order they lie: only those whose sixteen bits are a bound's are looked at as they are
//! packed. Eight are compared at a time, where differences must be unpacked into words of 64, which
//! processors compare one by one. Made in memory when vectors of a block are compared for the second
//! time: 2 bytes a row.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::bits::{VECTOR, test_all};
use super::{IntBlock, Vector, WORDS_PER_VECTOR};

/// Integers of fewer bits are compared about as quickly as they are packed.
const WIDTH_MIN: u8 = 33;
/// The bits that are kept.
const BITS: u8 = 16;
/// Rows of one vector that are compared one by one; where more must be it is unpacked.
const EDGES_MAX: usize = 64;

/// What a block holds of it, once it is worth having: those of a vector each.
#[derive(Debug, Default)]
pub(super) struct Coarse {
    was_cut: AtomicBool,
    made: OnceLock<Box<[[u16; VECTOR]]>>,
}

impl Coarse {
    /// Says that an interval cut through a vector, so that its values were looked at.
    pub(super) fn cut(&self) {
        self.was_cut.store(true, Ordering::Relaxed);
    }
}

impl IntBlock {
    /// One bit a row of the vector at `index`, whether its difference lies from `low` to `high`, if
    /// its high bits say so at little cost. Of rows that are patched the bits mean nothing.
    pub(super) fn test_coarse(
        &self,
        index: usize,
        (low, high): (u64, u64),
        words: &mut [u64; WORDS_PER_VECTOR],
    ) -> bool {
        let vector = &self.vectors[index];
        if vector.width < WIDTH_MIN || !self.coarse.was_cut.load(Ordering::Relaxed) {
            return false;
        }
        let coarse = &self.coarse.made.get_or_init(|| self.make_coarse())[index];
        let (first, last) = (vector.coarse(low), vector.coarse(high));
        test_all(coarse, words, |bits| bits.wrapping_sub(first) <= last.wrapping_sub(first));
        let mut edges = 0;
        let chunks = coarse.as_chunks::<64>().0;
        for (place, (chunk, word)) in chunks.iter().zip(words.iter_mut()).enumerate() {
            let is_edge = |bits: u16| bits == first || bits == last;
            if *word == 0 || !chunk.iter().fold(false, |any, &bits| any | is_edge(bits)) {
                continue;
            }
            for (row, _) in chunk.iter().enumerate().filter(|(_, bits)| is_edge(**bits)) {
                edges += 1;
                if !(low..=high).contains(&self.packed(vector, place * 64 + row)) {
                    *word &= !(1 << row);
                }
            }
            if edges > EDGES_MAX {
                return false;
            }
        }
        true
    }

    fn make_coarse(&self) -> Box<[[u16; VECTOR]]> {
        let mut values: Vec<i64> = Vec::with_capacity(VECTOR);
        let mut of_vector = |(index, vector): (usize, &Vector)| {
            let mut coarse = [0; VECTOR];
            if vector.width >= WIDTH_MIN {
                let start = index * VECTOR;
                values.clear();
                self.extend(start..self.len.min(start + VECTOR), 0, &mut values);
                for (bits, value) in coarse.iter_mut().zip(&values) {
                    *bits = vector.coarse(value.wrapping_sub(vector.base).cast_unsigned());
                }
            }
            coarse
        };
        self.vectors.iter().enumerate().map(&mut of_vector).collect()
    }
}

impl Vector {
    /// The highest bits of a difference, as far as it is packed.
    #[expect(clippy::cast_possible_truncation, reason = "those above are a patch's")]
    fn coarse(&self, difference: u64) -> u16 {
        (difference >> (self.width - BITS)) as u16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::cursor::Cursor;
    use super::super::{Interval, write};
    use super::*;

    /// Makes numbers of 20 bits some of 36.
    const STEP: i64 = 1 << 16;

    fn block(values: &[i64]) -> IntBlock {
        let mut bytes = Vec::new();
        write(values, &mut bytes);
        IntBlock::open(&mut Cursor::new(bytes.into()), values.len()).unwrap()
    }

    /// Times of entities one after another, `rows` each, with an outlier here and there.
    fn times(len: usize, rows: usize, outliers: usize) -> Vec<i64> {
        let time = |row: usize| match outliers {
            1.. if row % outliers == outliers - 1 => STEP * (row as i64 - 1_000_000_000),
            _ => 1_700_000_000 + STEP * (row % rows * 10_000 + row / rows) as i64,
        };
        (0..len).map(time).collect()
    }

    fn holding(values: &[i64], interval: Interval) -> Vec<bool> {
        values.iter().map(|&value| interval.holds(value)).collect()
    }

    fn tested(block: &IntBlock, interval: Interval) -> Vec<bool> {
        let words = block.test(0..block.vectors.len(), interval);
        (0..block.len).map(|row| words[row / 64] >> (row % 64) & 1 == 1).collect()
    }

    #[test]
    fn wide_numbers_have_high_bits_once_they_are_compared_again() {
        let window = Interval::new(STEP * 300_000, STEP * 400_000);
        let scattered = (0..5_000).map(|row| STEP * (row * 7_919 % 1_000_000) + row % 7).collect();
        for values in [times(5_000, 1_000, 0), scattered] {
            let block = block(&values);
            assert_eq!(tested(&block, window), holding(&values, window));
            let part = Interval::new(values[7] - 1_000 * STEP, values[7] + 1);
            assert_eq!(tested(&block, part), holding(&values, part));
            assert_eq!(tested(&block, part), holding(&values, part));
            let Some(made) = block.coarse.made.get() else { panic!("it was compared again") };
            assert_eq!(made.len(), 5);
        }
    }

    #[test]
    fn nothing_is_made_of_what_no_interval_cuts_or_one_alone() {
        let values = times(5_000, 1_000, 0);
        let block = block(&values);
        for _ in 0..3 {
            assert_eq!(tested(&block, Interval::ALL), vec![true; 5_000]);
            assert_eq!(tested(&block, Interval::new(0, 5)), vec![false; 5_000]);
        }
        tested(&block, Interval::new(STEP * 300_000, STEP * 400_000));
        assert!(block.coarse.made.get().is_none());
    }

    #[test]
    fn rows_whose_high_bits_are_a_bounds_are_looked_at_more_closely() {
        // Of 36 bits the highest 16 are kept; four rows have the same.
        let values: Vec<i64> =
            (0..VECTOR as i64).map(|row| ((row / 4) << 28) + ((row % 4) << 18)).collect();
        let block = block(&values);
        assert_eq!(block.vectors[0].width, 36);
        let far = [0, 1 << 20, 5 << 28, 100 << 28, 255 << 28];
        let near = [-1, 0, 1, (1 << 18) - 1, 1 << 18, (2 << 18) + 1, (1 << 20) - 1];
        let bounds: Vec<i64> = far.iter().flat_map(|far| near.map(|near| far + near)).collect();
        tested(&block, Interval::new(5, 500));
        for &low in &bounds {
            for &high in &bounds {
                let interval = Interval { negated: low % 3 == 0, ..Interval::new(low, high) };
                assert_eq!(tested(&block, interval), holding(&values, interval), "{interval:?}");
            }
        }
        assert!(block.coarse.made.get().is_some());
    }

    proptest! {
        #[test]
        fn high_bits_say_what_the_values_do(
            len in 1_usize..3_000,
            rows in 1_usize..1_500,
            outliers in prop_oneof![Just(0_usize), 2_usize..900],
            cuts in proptest::collection::vec((any::<u16>(), any::<u16>(), any::<bool>()), 1..8),
        ) {
            let values = times(len, rows, outliers);
            let block = block(&values);
            for (low, reach, negated) in cuts {
                let low = values[usize::from(low) % len];
                let high = low + i64::from(reach) * 20 * STEP - 5;
                let interval = Interval { negated, ..Interval::new(low, high) };
                for _ in 0..2 {
                    prop_assert_eq!(tested(&block, interval), holding(&values, interval));
                }
            }
        }
    }
}

//! Searching ascending integers without unpacking them.
//!
//! A vector's base is the least of its values, so the bases of a block say which vector to look
//! in, and they lie side by side. Within a vector, values are read one at a time from places that
//! are far apart in memory: what counts is how few of them are read. Keys are often spread evenly,
//! so each place is guessed from the values at both ends; after a few guesses, as for values that
//! are spread unevenly, halving takes over.
//!
//! Bases and guesses are hints. The answer is checked against its two neighbours, and where a
//! vector has patches, or holds rows before or behind the range that are out of order with it,
//! the plain binary search answers.

use std::ops::Range;

use super::super::bits::{VECTOR, Word, unpack_single};
use super::super::dictionary::{near_partition_point, partition_point};
use super::{IntBlock, Vector};

/// Places are guessed this many times before halving takes over.
const GUESSES: usize = 4;

/// A stretch this short is halved.
const SHORT: usize = 4;

impl IntBlock {
    /// The first row of `range`, which ascends, whose integer is not below `target`; its end if
    /// none.
    pub(in super::super) fn lower_bound(&self, range: Range<usize>, target: i64) -> usize {
        if range.len() <= SHORT {
            return self.halve(range, target);
        }
        let (first, last) = (range.start / VECTOR, (range.end - 1) / VECTOR);
        let later = &self.vectors[first + 1..=last];
        let index = first + later.iter().take_while(|vector| vector.base < target).count();
        let start = index * VECTOR;
        let part = range.start.max(start)..range.end.min(start + VECTOR);
        let vector = &self.vectors[index];
        if vector.patches > 0 {
            return self.halve(range, target);
        }
        let within = part.start - start..part.end - start;
        // Where the vector and the next one's start lie in the range, their bases are the values
        // at both ends, known already.
        let known = (part.len() == VECTOR && index < last).then(|| self.vectors[index + 1].base);
        let row = start + self.search_vector(vector, within, target, known);
        let is_first = row > part.start || row == range.start || self.get(row - 1) < target;
        let is_last = row < part.end || row == range.end || self.get(row) >= target;
        if is_first && is_last { row } else { self.halve(range, target) }
    }

    /// The rows of `range`, which ascends, from the first that is not below `low` to the first
    /// that is not below `high`. Quick where they are few.
    pub(in super::super) fn between(
        &self,
        range: Range<usize>,
        low: i64,
        high: i64,
    ) -> Range<usize> {
        let start = self.lower_bound(range.clone(), low);
        start..near_partition_point(start..range.end, |row| self.get(row) < high)
    }

    fn halve(&self, range: Range<usize>, target: i64) -> usize {
        partition_point(range, |row| self.get(row) < target)
    }

    /// As [`lower_bound`](Self::lower_bound), within a vector that has no patches; `next` is
    /// about the value behind `part`, if that is known.
    fn search_vector(
        &self,
        vector: &Vector,
        part: Range<usize>,
        target: i64,
        next: Option<i64>,
    ) -> usize {
        let width = usize::from(vector.width);
        if target <= vector.base {
            return part.start;
        }
        let from_base = |value: i64| value.wrapping_sub(vector.base).cast_unsigned();
        let (target, next) = (from_base(target), next.map(from_base));
        match width {
            0 => part.end,
            1..=8 => search::<u8>(self.words(vector), width, part, target, next),
            9..=16 => search::<u16>(self.words(vector), width, part, target, next),
            17..=32 => search::<u32>(self.words(vector), width, part, target, next),
            _ => search::<u64>(self.words(vector), width, part, target, next),
        }
    }
}

/// The first place of `part` whose difference is not below `target`; its end if none.
///
/// `next` is the difference behind `part`; with it the first is taken to be 0, and a place is only
/// right if its neighbours say so.
fn search<W: Word>(
    packed: &[W],
    width: usize,
    part: Range<usize>,
    target: u64,
    next: Option<u64>,
) -> usize {
    let get = |index: usize| unpack_single(width, packed, index);
    let (mut low, mut high, mut below, mut above) = match next {
        Some(next) if next < target => return part.end,
        Some(next) => (part.start, part.end, 0, next),
        // Both at once: neither waits for the other.
        None => (part.start, part.end - 1, get(part.start), get(part.end - 1)),
    };
    if below >= target {
        return part.start;
    }
    if above < target {
        return part.end;
    }
    // From here on `get(low) < target <= get(high)`.
    let mut guesses = GUESSES;
    while high - low > SHORT && guesses > 0 {
        guesses -= 1;
        let place = low + share(target - below, above - below, high - low).clamp(1, high - low - 1);
        let found = get(place);
        if found < target {
            (low, below) = (place, found);
        } else {
            // What the guess hit may be the answer; its neighbour is close by.
            let before = get(place - 1);
            if before < target {
                return place;
            }
            (high, above) = (place - 1, before);
        }
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if get(middle) < target { low = middle } else { high = middle }
    }
    high
}

/// About `part / whole` of `of`, which is at most a vector.
fn share(part: u64, whole: u64, of: usize) -> usize {
    // What is cut off leaves room for the product, and is too little to count.
    let cut = (u64::BITS - whole.leading_zeros()).saturating_sub(48);
    let share = (part >> cut) * of as u64 / (whole >> cut).max(1);
    usize::try_from(share).unwrap_or(of)
}

#[cfg(test)]
mod tests {
    use arrow_buffer::Buffer;

    use super::super::super::cursor::Cursor;
    use super::*;

    fn block(values: &[i64]) -> IntBlock {
        let mut bytes = Vec::new();
        super::super::write(values, &mut bytes);
        IntBlock::open(&mut Cursor::new(Buffer::from_slice_ref(&bytes)), values.len()).unwrap()
    }

    /// Searches every kind of range for values there, between, below and above.
    fn check(values: &[i64], stretches: &[Range<usize>]) {
        let block = block(values);
        for stretch in stretches {
            let part = &values[stretch.clone()];
            assert!(part.is_sorted());
            let mut targets = vec![i64::MIN, i64::MAX, 0];
            for value in part.iter().step_by(part.len() / 60 + 1) {
                targets.extend([value.saturating_sub(1), *value, value.saturating_add(1)]);
            }
            for target in targets {
                let plain = stretch.start + part.partition_point(|value| *value < target);
                assert_eq!(
                    block.lower_bound(stretch.clone(), target),
                    plain,
                    "{target} in {stretch:?}"
                );
                let end = stretch.start + part.partition_point(|value| *value <= target);
                if let Some(behind) = target.checked_add(1) {
                    assert_eq!(block.between(stretch.clone(), target, behind), plain..end);
                }
            }
        }
    }

    fn cuts(len: usize) -> Vec<Range<usize>> {
        let at = [0, 1, 3, 500, 1_023, 1_024, 1_025, 1_500, 2_048, 3_000, 8_191, 8_192];
        let at: Vec<usize> = at.into_iter().filter(|at| *at <= len).chain([len]).collect();
        at.iter()
            .flat_map(|&from| at.iter().filter(move |to| from <= **to).map(move |to| from..*to))
            .collect()
    }

    #[test]
    fn search_in_even_and_uneven_and_repeated_integers_equals_a_binary_search() {
        let even: Vec<i64> = (0..8_192).map(|at| 1_000_000 + at * 4).collect();
        let uneven: Vec<i64> = (0..5_000).map(|at: i64| at * at * at / 7).collect();
        let steps: Vec<i64> = (0..8_192).map(|at: i64| at / 900 * 1_000_000_007).collect();
        let repeated: Vec<i64> = (0..3_000).map(|at: i64| -500 + at / 7).collect();
        let wide: Vec<i64> = (-1_250..1_250).map(|at: i64| at * (i64::MAX / 1_250)).collect();
        let same = vec![42; 2_000];
        for values in [even, uneven, steps, repeated, wide, same] {
            check(&values, &cuts(values.len()));
        }
    }

    #[test]
    fn search_among_patches_equals_a_binary_search() {
        // Mostly close together, with a few at either end that become patches.
        let mut values: Vec<i64> = (0..3_000).collect();
        values[..3].copy_from_slice(&[i64::MIN, -1 << 40, -1 << 39]);
        values[2_040..2_048].fill(2_039);
        for (value, at) in values[2_990..].iter_mut().zip(1..) {
            *value = at << 50;
        }
        check(&values, &cuts(values.len()));
    }

    #[test]
    fn search_within_a_stretch_takes_no_notice_of_what_lies_around_it() {
        // Runs of ascending numbers that begin anew, as a key's second column has them.
        let values: Vec<i64> = (0..8_192).map(|at| at % 1_000 * 3).collect();
        let runs: Vec<_> = (0..8)
            .flat_map(|run| {
                let (start, end) = (run * 1_000, run * 1_000 + 1_000);
                [start..end, start + 1..end - 1, start + 500..end]
            })
            .collect();
        check(&values, &runs);
    }
}

//! Sums of packed integers, without making the integers: of a vector's differences in their own
//! narrow word, and its base as often as there are rows.

use std::ops::Range;

use arrow_buffer::BooleanBuffer;

use super::super::CHUNK_ROWS_MAX;
use super::super::bits::{VECTOR, Word, mask};
use super::{IntBlock, SCRATCH, Vector};

/// Bases and differences are this long: then 64 bits hold the sum of as many as a chunk may have.
const NUMBER_BITS: u32 = 45;
const _: () = assert!(CHUNK_ROWS_MAX as u64 <= 1 << (63 - NUMBER_BITS - 1));
/// Sums of a group are kept in so many places, so that a row need not wait for the row before.
const LANES: usize = 4;

/// Which sum each row belongs to.
#[derive(Clone, Copy, Debug)]
pub(in crate::column) enum Sums<'a> {
    /// The rows are of one group.
    One,
    /// The number of each row's group.
    Many(&'a [u32]),
}

impl IntBlock {
    /// Adds the integers of `range`, of those whose bit is set, to the sums of their groups; whether
    /// that can be done here. If not, nothing is added.
    pub(in crate::column) fn add_up(
        &self,
        range: Range<usize>,
        groups: Sums<'_>,
        selected: Option<&BooleanBuffer>,
        sums: &mut [i128],
    ) -> bool {
        assert!(range.start <= range.end && range.end <= self.len, "rows of the block");
        assert!(selected.is_none_or(|selected| selected.len() == range.len()), "one bit a row");
        let parts = || {
            let vectors = range.start / VECTOR..range.end.div_ceil(VECTOR);
            vectors.map(|index| {
                let start = range.start.max(index * VECTOR) - index * VECTOR;
                let end = range.end.min((index + 1) * VECTOR) - index * VECTOR;
                (&self.vectors[index], start..end, index * VECTOR + start - range.start)
            })
        };
        if !parts().all(|(vector, ..)| self.is_short(vector)) {
            return false;
        }
        let mut lanes = vec![[0_i64; LANES]; sums.len()];
        for (vector, part, first) in parts() {
            let rows = Rows { first, len: part.len(), groups, selected };
            match vector.width {
                0 => rows.add::<u8>(vector.base, None, &mut lanes),
                _ => with_unpacked!(self, vector, unpacked => {
                    rows.add(vector.base, Some(&unpacked[part.clone()]), &mut lanes);
                }),
            }
            if vector.patches == 0 {
                continue;
            }
            let (positions, values) = self.patches(vector);
            for (&position, &difference) in positions.iter().zip(values) {
                let position = usize::from(position);
                if part.contains(&position) && rows.counts(position - part.start) {
                    // What was packed in its place was added, and means nothing.
                    let packed = self.packed(vector, position).cast_signed();
                    let group = rows.group(position - part.start);
                    lanes[group][0] += difference.cast_signed() - packed;
                }
            }
        }
        for (sum, lanes) in sums.iter_mut().zip(&lanes) {
            *sum += lanes.iter().map(|&lane| i128::from(lane)).sum::<i128>();
        }
        true
    }

    /// Whether all numbers of a vector have few enough bits.
    fn is_short(&self, vector: &Vector) -> bool {
        let short = |number: i64| number.unsigned_abs() >> NUMBER_BITS == 0;
        let (_, patches) = self.patches(vector);
        short(vector.base)
            && mask(vector.width.into()) >> NUMBER_BITS == 0
            && patches.iter().all(|patch| short(patch.cast_signed()))
    }
}

/// Rows of one vector.
#[derive(Clone, Copy)]
struct Rows<'a> {
    /// Where they begin among all that are looked at.
    first: usize,
    len: usize,
    groups: Sums<'a>,
    selected: Option<&'a BooleanBuffer>,
}

impl Rows<'_> {
    fn counts(&self, row: usize) -> bool {
        self.selected.is_none_or(|selected| selected.value(self.first + row))
    }

    fn group(&self, row: usize) -> usize {
        match self.groups {
            Sums::One => 0,
            Sums::Many(groups) => groups[self.first + row] as usize,
        }
    }

    /// Adds base and difference of each row; the differences are all 0 if there are none.
    fn add<W: Word>(&self, base: i64, differences: Option<&[W]>, lanes: &mut [[i64; LANES]]) {
        let number = |row: usize| {
            let difference = differences.map_or(0, |differences| differences[row].widen());
            base + difference.cast_signed()
        };
        match (self.groups, self.selected) {
            (Sums::One, None) => {
                let rows = i64::try_from(self.len).expect("a vector's rows");
                lanes[0][0] += base * rows + differences.map_or(0, W::sum).cast_signed();
            }
            (Sums::One, Some(selected)) => {
                let selected = selected.slice(self.first, self.len);
                let rows = i64::try_from(selected.count_set_bits()).expect("a vector's rows");
                let differences = differences.map_or(0, |all| sum_of_set(all, &selected));
                lanes[0][0] += base * rows + differences.cast_signed();
            }
            (Sums::Many(groups), None) => {
                let groups = &groups[self.first..self.first + self.len];
                for (row, &group) in groups.iter().enumerate() {
                    lanes[group as usize][row % LANES] += number(row);
                }
            }
            (Sums::Many(groups), Some(selected)) => {
                let selected = selected.slice(self.first, self.len);
                let chunks = selected.bit_chunks();
                let words = chunks.iter().chain([chunks.remainder_bits()]);
                for (start, word) in (0..self.len).step_by(64).zip(words) {
                    let rows = start..self.len.min(start + 64);
                    for row in rows {
                        // All bits or none: taken or not, a row costs the same.
                        let taken = -i64::from(word >> (row - start) & 1 == 1);
                        let group = groups[self.first + row] as usize;
                        lanes[group][row % LANES] += number(row) & taken;
                    }
                }
            }
        }
    }
}

/// The sum of the differences whose bit is set: there is one a row.
fn sum_of_set<W: Word>(differences: &[W], selected: &BooleanBuffer) -> u64 {
    let (whole, rest) = differences.as_chunks::<64>();
    let chunks = selected.bit_chunks();
    let sums = whole.iter().zip(chunks.iter()).map(|(values, bits)| W::sum_of_set(values, bits));
    let bits = chunks.remainder_bits();
    let set = rest.iter().enumerate().filter(|(row, _)| bits >> row & 1 == 1);
    sums.sum::<u64>() + set.map(|(_, difference)| difference.widen()).sum::<u64>()
}

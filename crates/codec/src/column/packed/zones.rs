//! Zone maps of 64 rows: the least and the greatest integer of each, and where the rows turn back.
//!
//! Rows that lie by entity and time (an agent's events, a sensor's readings) make no narrow zone map
//! of a vector's 1,024 rows, and yet their times ascend almost everywhere. So a comparison is decided
//! for 64 rows at once, and where only some of them pass they are two ascending pieces at most, in
//! which the first and the last are searched for. Made in memory when vectors of a block are
//! compared for the second time, of numbers of more than 8 bits, and kept where zones are narrow: 5
//! bits a row.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::bits::VECTOR;
use super::super::dictionary::{near_partition_point, partition_point};
use super::{IntBlock, Interval, WORDS_PER_VECTOR, min_max};

/// The rows of a zone: those of one word of bits.
const ZONE: usize = 64;
/// Integers of fewer bits are compared as they are packed as quickly.
const WIDTH_MIN: u8 = 9;
/// A zone map pays if zones are at most this share of their vectors' extent.
const SHARE: f64 = 0.25;
/// Zones of one vector whose rows are compared one by one; of more it is unpacked.
const LOOSE_MAX: usize = 3;

/// The zone map of a block, once it is worth having.
#[derive(Debug, Default)]
pub(super) struct Zones {
    was_cut: AtomicBool,
    made: OnceLock<Option<Box<[Zone]>>>,
}

#[derive(Clone, Copy, Debug)]
enum Zone {
    /// So many rows ascend, and then the others do.
    Ascending(u8, [Piece; 2]),
    Loose(Piece),
}

/// The least and the greatest of some rows; none has them the other way round.
#[derive(Clone, Copy, Debug)]
struct Piece {
    low: i64,
    high: i64,
}

impl Zones {
    /// Says that an interval cut through a vector, so that its values were looked at.
    pub(super) fn cut(&self) {
        self.was_cut.store(true, Ordering::Relaxed);
    }
}

impl IntBlock {
    /// One bit a row of the vector at `index`, if a zone map says so at little cost.
    pub(super) fn test_zones(
        &self,
        index: usize,
        interval: Interval,
        words: &mut [u64; WORDS_PER_VECTOR],
    ) -> bool {
        let is_wide = self.vectors[index].width >= WIDTH_MIN;
        if !is_wide || !self.zones.was_cut.load(Ordering::Relaxed) {
            return false;
        }
        let Some(zones) = self.zones.made.get_or_init(|| self.make_zones()) else { return false };
        let first = index * WORDS_PER_VECTOR;
        let zones = &zones[first..zones.len().min(first + WORDS_PER_VECTOR)];
        if zones.iter().filter(|zone| zone.is_loose(interval)).count() > LOOSE_MAX {
            return false;
        }
        words.fill(0);
        for (place, (zone, word)) in zones.iter().zip(words.iter_mut()).enumerate() {
            let start = (first + place) * ZONE;
            *word = self.test_zone(start..self.len.min(start + ZONE), zone, interval);
            if interval.negated {
                *word = !*word;
            }
        }
        true
    }

    fn make_zones(&self) -> Option<Box<[Zone]>> {
        let extent = |low: i64, high: i64| high.abs_diff(low) as f64;
        let (mut zones, mut values) = (Vec::with_capacity(self.len.div_ceil(ZONE)), Vec::new());
        let (mut of_vectors, mut of_zones) = (0.0, 0.0);
        for start in (0..self.len).step_by(VECTOR) {
            values.clear();
            self.extend(start..self.len.min(start + VECTOR), 0, &mut values);
            let (low, high) = min_max(&values);
            let parts = values.chunks(ZONE).map(Zone::of);
            of_vectors += extent(low, high) * parts.len() as f64;
            for zone in parts {
                of_zones += zone.pieces().map(|piece| extent(piece.low, piece.high)).sum::<f64>();
                zones.push(zone);
            }
        }
        (of_zones <= of_vectors * SHARE).then(|| zones.into())
    }

    /// The bits of one zone's rows that lie between the bounds of `interval`.
    fn test_zone(&self, rows: Range<usize>, zone: &Zone, interval: Interval) -> u64 {
        let Interval { low, high, .. } = interval;
        let bits = |part: Range<usize>| match part.len() {
            0 => 0,
            len => (u64::MAX >> (ZONE - len)) << (part.start - rows.start),
        };
        match zone {
            Zone::Ascending(turn, pieces) => {
                let turn = rows.start + usize::from(*turn);
                let parts = [rows.start..turn, turn..rows.end];
                let part = |(piece, part): (&Piece, Range<usize>)| match piece.reach(interval) {
                    Reach::None => 0,
                    Reach::All => bits(part),
                    Reach::Some => {
                        let mut passing = part.clone();
                        if piece.low < low {
                            passing.start = self.search(part.clone(), piece, low);
                        }
                        if high < piece.high {
                            passing.end = self.search(part, piece, high + 1);
                        }
                        bits(passing)
                    }
                };
                pieces.iter().zip(parts).map(part).sum()
            }
            Zone::Loose(piece) => match piece.reach(interval) {
                Reach::None => 0,
                Reach::All => bits(rows.clone()),
                Reach::Some => {
                    let holds = |row: usize| (low..=high).contains(&self.get(row));
                    rows.clone().filter(|&row| holds(row)).map(|row| bits(row..row + 1)).sum()
                }
            },
        }
    }

    /// The first row of an ascending piece that is not below `target`, which lies within its bounds.
    /// Looked for from where it would be if the numbers were spread evenly: each one that is read may
    /// be far from the processor.
    fn search(&self, rows: Range<usize>, piece: &Piece, target: i64) -> usize {
        let share = target.abs_diff(piece.low) as f64 / piece.high.abs_diff(piece.low) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a zone's rows"
        )]
        let guess = rows.start + (share * (rows.len() - 1) as f64) as usize;
        let is_before = |row: usize| self.get(row) < target;
        let guess = guess.min(rows.end - 1);
        if is_before(guess) {
            return near_partition_point(guess + 1..rows.end, is_before);
        }
        let (mut at, mut step) = (guess, 1);
        while at > rows.start {
            let probe = at.saturating_sub(step).max(rows.start);
            if is_before(probe) {
                return partition_point(probe + 1..at, is_before);
            }
            (at, step) = (probe, step * 2);
        }
        at
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    None,
    Some,
    All,
}

impl Zone {
    fn of(values: &[i64]) -> Self {
        let mut turns = values.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]);
        let turn = match (turns.next(), turns.next()) {
            (None, _) => Some(values.len()),
            (Some((before, _)), None) => Some(before + 1),
            _ => None,
        };
        match turn.and_then(|turn| Some((turn, u8::try_from(turn).ok()?))) {
            Some((turn, short)) => {
                let (before, behind) = values.split_at(turn);
                Self::Ascending(short, [before, behind].map(Piece::of))
            }
            None => Self::Loose(Piece::of(values)),
        }
    }

    /// Whether its rows must be compared one by one.
    fn is_loose(&self, interval: Interval) -> bool {
        matches!(self, Self::Loose(piece) if piece.reach(interval) == Reach::Some)
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        let pieces = match self {
            Self::Ascending(_, pieces) => pieces.as_slice(),
            Self::Loose(piece) => std::slice::from_ref(piece),
        };
        pieces.iter().filter(|piece| piece.low <= piece.high)
    }
}

impl Piece {
    fn of(values: &[i64]) -> Self {
        let (low, high) = min_max(values);
        Self { low, high }
    }

    /// How many of its rows lie between the bounds of `interval`, whether it is negated or not.
    fn reach(&self, interval: Interval) -> Reach {
        let Interval { low, high, .. } = interval;
        if low > high || self.high < low || high < self.low {
            Reach::None
        } else if low <= self.low && self.high <= high {
            Reach::All
        } else {
            Reach::Some
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::cursor::Cursor;
    use super::super::write;
    use super::*;

    fn block(values: &[i64]) -> IntBlock {
        let mut bytes = Vec::new();
        write(values, &mut bytes);
        IntBlock::open(&mut Cursor::new(bytes.into()), values.len()).unwrap()
    }

    /// Times of entities one after another, `rows` each, with an outlier here and there.
    fn times(len: usize, rows: usize, outliers: usize) -> Vec<i64> {
        let time = |row: usize| match outliers {
            1.. if row % outliers == outliers - 1 => -1_000_000_000 + row as i64,
            _ => 1_700_000_000 + (row % rows * 10_000 + row / rows) as i64,
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
    fn times_by_entity_have_a_zone_map_once_they_are_compared_again_and_scattered_numbers_none() {
        let window = Interval::new(1_700_300_000, 1_700_400_000);
        for (values, is_kept) in [
            (times(5_000, 1_000, 0), true),
            ((0..5_000).map(|row| 1_700_000_000 + row * 7_919 % 1_000_000).collect(), false),
        ] {
            let block = block(&values);
            assert_eq!(tested(&block, window), holding(&values, window));
            assert!(block.zones.made.get().is_none(), "nothing is made for one pass");
            assert_eq!(tested(&block, window), holding(&values, window));
            assert_eq!(block.zones.made.get().map(Option::is_some), Some(is_kept));
        }
    }

    #[test]
    fn blocks_that_no_interval_cuts_have_no_zone_map() {
        let values = times(5_000, 1_000, 0);
        let block = block(&values);
        for _ in 0..3 {
            assert_eq!(tested(&block, Interval::ALL), vec![true; 5_000]);
            assert_eq!(tested(&block, Interval::new(0, 5)), vec![false; 5_000]);
        }
        assert!(block.zones.made.get().is_none());
    }

    proptest! {
        #[test]
        fn zone_maps_say_what_the_values_do(
            len in 1_usize..3_000,
            rows in 1_usize..1_500,
            outliers in prop_oneof![Just(0_usize), 40_usize..900],
            cuts in proptest::collection::vec((any::<u16>(), any::<u16>(), any::<bool>()), 1..8),
        ) {
            let values = times(len, rows, outliers);
            let block = block(&values);
            for (low, reach, negated) in cuts {
                let low = values[usize::from(low) % len];
                let high = low + i64::from(reach) * 20 - 5;
                let interval = Interval { negated, ..Interval::new(low, high) };
                for _ in 0..2 {
                    prop_assert_eq!(tested(&block, interval), holding(&values, interval));
                }
            }
        }
    }
}

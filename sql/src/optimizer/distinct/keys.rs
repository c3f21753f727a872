//! [`ShortKeys`]: a set of strings that are short enough to stand where they are looked up.
//!
//! DataFusion's table of strings holds views; to compare with a string that is there costs a look
//! elsewhere, and of hundreds of thousands none is in the processor's cache. A string of up to 15
//! bytes is one number here, and equal if that is. Once keys are many they are dealt out to small
//! tables, each of which is filled some hundred keys at a time while it is in the cache.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, StringViewArray, StringViewBuilder};
use datafusion::common::{Result, internal_datafusion_err};

/// The longest string that is held, in bytes.
const BYTES_MAX: usize = 15;
/// Where a key's length stands, plus one: no key is 0.
const LENGTH_SHIFT: u32 = 120;
/// Keys are dealt out to so many tables, by the first bits of their hash.
const PARTS_BITS: u32 = 6;
/// From so many keys on.
const DEALT_FROM: usize = 1 << 14;
/// Keys that wait for their table.
const WAITING_MAX: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct ShortKeys {
    /// One, or one for each of the first bits.
    parts: Vec<Part>,
    has_null: bool,
}

#[derive(Debug, Default)]
struct Part {
    waiting: Vec<u128>,
    /// Open addressing over a power of two, at most half full; 0 is none.
    slots: Vec<u128>,
    len: usize,
}

impl ShortKeys {
    pub(super) fn new() -> Self {
        Self { parts: vec![Part::default()], has_null: false }
    }

    /// Takes in strings; whether none was too long. Some may have been taken in if one was.
    pub(super) fn add(&mut self, strings: &StringViewArray) -> bool {
        for row in 0..strings.len() {
            if strings.is_null(row) {
                self.has_null = true;
                continue;
            }
            let Some(key) = key_of(strings, row) else { return false };
            if self.parts.len() == 1 {
                self.parts[0].insert(key);
                if self.parts[0].len >= DEALT_FROM {
                    self.deal();
                }
                continue;
            }
            let part = &mut self.parts[part_of(hash_of(key))];
            part.waiting.push(key);
            if part.waiting.len() == WAITING_MAX {
                part.settle();
            }
        }
        true
    }

    fn deal(&mut self) {
        let keys = self.parts.pop().map(|part| part.slots).unwrap_or_default();
        self.parts.resize_with(1 << PARTS_BITS, Part::default);
        for part in &mut self.parts {
            part.waiting.reserve_exact(WAITING_MAX);
        }
        for key in keys.into_iter().filter(|key| *key != 0) {
            self.parts[part_of(hash_of(key))].insert(key);
        }
    }

    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let of_part = |part: &Part| part.slots.capacity() + part.waiting.capacity();
        self.parts.iter().map(of_part).sum::<usize>() * size_of::<u128>()
    }

    /// The strings of one table, and none of it any more; none if all were given.
    pub(super) fn take_some(&mut self) -> Result<Option<ArrayRef>> {
        let Some(mut part) = self.parts.pop() else { return Ok(None) };
        part.settle();
        let mut strings = StringViewBuilder::with_capacity(part.len + 1);
        if std::mem::take(&mut self.has_null) {
            strings.append_null();
        }
        for key in part.slots.into_iter().filter(|key| *key != 0) {
            let bytes = key.to_le_bytes();
            let len = usize::from(bytes[BYTES_MAX]) - 1;
            let text = str::from_utf8(&bytes[..len])
                .map_err(|_| internal_datafusion_err!("a string is not one any more"))?;
            strings.append_value(text);
        }
        Ok(Some(Arc::new(strings.finish())))
    }
}

/// The string as a number that no other string has; none if it is too long.
fn key_of(strings: &StringViewArray, row: usize) -> Option<u128> {
    let view = strings.views()[row];
    let len = view & 0xffff_ffff;
    // What a view holds itself ends in zeroes.
    if len <= 12 {
        return Some(view >> 32 | (len + 1) << LENGTH_SHIFT);
    }
    let text = strings.value(row).as_bytes();
    let mut bytes = [0; BYTES_MAX + 1];
    bytes.get_mut(..text.len()).filter(|_| text.len() <= BYTES_MAX)?.copy_from_slice(text);
    Some(u128::from_le_bytes(bytes) | (len + 1) << LENGTH_SHIFT)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
fn hash_of(key: u128) -> u64 {
    let (low, high) = (key as u64, (key >> 64) as u64);
    let product =
        u128::from(low ^ 0x9e37_79b9_7f4a_7c15) * u128::from(high ^ 0xa076_1d64_78bd_642f);
    (product >> 64) as u64 ^ product as u64
}

#[inline]
fn part_of(hash: u64) -> usize {
    usize::try_from(hash >> (u64::BITS - PARTS_BITS)).unwrap_or(0)
}

impl Part {
    /// Takes in what waits.
    fn settle(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.drain(..).for_each(|key| self.insert(key));
        self.waiting = waiting;
    }

    #[inline]
    fn insert(&mut self, key: u128) {
        if self.len * 2 >= self.slots.len() {
            self.grow();
        }
        let at = place_of(&self.slots, key);
        if self.slots[at] == 0 {
            self.slots[at] = key;
            self.len += 1;
        }
    }

    fn grow(&mut self) {
        let larger = vec![0; (self.slots.len() * 4).max(256)];
        let keys = std::mem::replace(&mut self.slots, larger);
        for key in keys.into_iter().filter(|key| *key != 0) {
            let at = place_of(&self.slots, key);
            self.slots[at] = key;
        }
    }
}

/// Where the key stands, or would.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
fn place_of(slots: &[u128], key: u128) -> usize {
    let mask = slots.len() - 1;
    let mut at = hash_of(key) as usize & mask;
    while slots[at] != 0 && slots[at] != key {
        at = (at + 1) & mask;
    }
    at
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use datafusion::arrow::array::cast::AsArray;

    use super::*;

    fn all(mut keys: ShortKeys) -> BTreeSet<Option<String>> {
        let mut found = BTreeSet::new();
        while let Some(strings) = keys.take_some().expect("they are strings") {
            for text in strings.as_string_view().iter() {
                assert!(found.insert(text.map(str::to_owned)), "{text:?} twice");
            }
        }
        found
    }

    #[test]
    fn every_string_is_there_once() {
        let mut wanted = BTreeSet::new();
        let mut keys = ShortKeys::new();
        let mut state = 3_u64;
        for batch in 0..60_u64 {
            let text = |row: u64| match row % 9 {
                0 => None,
                1 => Some(format!("entity/{:07}", row % 40_000)),
                2 => Some(format!("{}\0", row % 500)),
                3 => Some("\0".repeat(usize::try_from(row % 16).expect("it is small"))),
                4 => Some(format!("{:>15}", row % 30_000)),
                _ => Some(format!("é{}", row % 20_000)),
            };
            let rows: Vec<Option<String>> = (0..3_000)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(batch | 1);
                    text(state >> 20)
                })
                .collect();
            assert!(keys.add(&StringViewArray::from_iter(rows.iter())));
            wanted.extend(rows);
        }
        assert!(keys.parts.len() > 1);
        assert_eq!(all(keys), wanted);
    }

    #[test]
    fn long_string_is_refused() {
        let mut keys = ShortKeys::new();
        assert!(keys.add(&StringViewArray::from_iter_values(["123456789012345"])));
        assert!(!keys.add(&StringViewArray::from_iter_values(["", "1234567890123456"])));
        let wanted = ["123456789012345", ""].map(|text| Some(text.to_owned()));
        assert_eq!(all(keys), wanted.into());
    }
}

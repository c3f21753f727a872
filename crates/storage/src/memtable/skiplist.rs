//! The memtable that many threads insert into at once: crossbeam's lock-free skip list.
//!
//! The batch's own allocations become the nodes' keys and rows. Comparing looks at the first
//! eight bytes of a key inside the node before it follows the pointer to the rest.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};

use crossbeam_skiplist::SkipMap;
use crossbeam_skiplist::map::Entry;

use super::{KeyBounds, MemEntry, Memtable};
use crate::{OpKind, SeqNo};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SkipListMemtable {
    entries: SkipMap<StoredKey, Box<[u8]>>,
}

impl Memtable for SkipListMemtable {
    fn insert(&self, key: Box<[u8]>, seq: SeqNo, kind: OpKind, row: Box<[u8]>) {
        let stored = StoredKey { prefix: prefix_of(&key), key, rank: rank_of(seq, kind) };
        // `get_or_insert` never replaces: the crate loses concurrent reads where a key is replaced.
        self.entries.get_or_insert(stored, row);
    }

    fn get(&self, key: &[u8], snapshot: SeqNo, found: &mut dyn FnMut(MemEntry<'_>)) -> bool {
        let probe = KeyParts { prefix: prefix_of(key), key, rank: first_rank(snapshot) };
        match self.entries.lower_bound(Bound::Included(&probe as &dyn Parts)) {
            Some(entry) if *entry.key().key == *key => {
                found(mem_entry(&entry));
                true
            }
            _ => false,
        }
    }

    fn visit(
        &self,
        (start, end): KeyBounds<'_>,
        reverse: bool,
        visitor: &mut dyn FnMut(MemEntry<'_>) -> ControlFlow<()>,
    ) {
        let mut next = if reverse { self.last(end) } else { self.first(start) };
        while let Some(entry) = next {
            let key = &*entry.key().key;
            let past_end = if reverse { is_below(key, start) } else { is_above(key, end) };
            if past_end || visitor(mem_entry(&entry)).is_break() {
                return;
            }
            next = if reverse { entry.prev() } else { entry.next() };
        }
    }
}

impl SkipListMemtable {
    fn first(&self, start: Bound<&[u8]>) -> Option<Entry<'_, StoredKey, Box<[u8]>>> {
        match start {
            Bound::Unbounded => self.entries.front(),
            Bound::Included(key) => {
                self.entries.lower_bound(Bound::Included(&at(key, 0) as &dyn Parts))
            }
            Bound::Excluded(key) => {
                self.entries.lower_bound(Bound::Excluded(&at(key, u128::MAX) as &dyn Parts))
            }
        }
    }

    fn last(&self, end: Bound<&[u8]>) -> Option<Entry<'_, StoredKey, Box<[u8]>>> {
        match end {
            Bound::Unbounded => self.entries.back(),
            Bound::Included(key) => {
                self.entries.upper_bound(Bound::Included(&at(key, u128::MAX) as &dyn Parts))
            }
            Bound::Excluded(key) => {
                self.entries.upper_bound(Bound::Excluded(&at(key, 0) as &dyn Parts))
            }
        }
    }
}

fn is_above(key: &[u8], end: Bound<&[u8]>) -> bool {
    match end {
        Bound::Unbounded => false,
        Bound::Included(end) => key > end,
        Bound::Excluded(end) => key >= end,
    }
}

fn is_below(key: &[u8], start: Bound<&[u8]>) -> bool {
    match start {
        Bound::Unbounded => false,
        Bound::Included(start) => key < start,
        Bound::Excluded(start) => key <= start,
    }
}

/// Where an entry stands among those of its key: newer first, then by kind.
fn rank_of(seq: SeqNo, kind: OpKind) -> u128 {
    (u128::from(!seq) << 8) | u128::from(kind as u8)
}

/// The rank of the newest entry that `snapshot` may see.
fn first_rank(snapshot: SeqNo) -> u128 {
    u128::from(!snapshot) << 8
}

fn seq_of(rank: u128) -> SeqNo {
    // The upper bits are zero by construction.
    #[expect(clippy::cast_possible_truncation, reason = "a rank is 72 bits: number and kind")]
    let inverted = (rank >> 8) as u64;
    !inverted
}

fn kind_of(rank: u128) -> OpKind {
    if rank & 0xff == 0 { OpKind::Put } else { OpKind::Delete }
}

/// The first eight bytes, big-endian, short keys padded with zeroes: orders as the keys do, but
/// for ties.
fn prefix_of(key: &[u8]) -> u64 {
    match key.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut padded = [0; 8];
            padded[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(padded)
        }
    }
}

fn at(key: &[u8], rank: u128) -> KeyParts<'_> {
    KeyParts { prefix: prefix_of(key), key, rank }
}

fn mem_entry<'a>(entry: &'a Entry<'_, StoredKey, Box<[u8]>>) -> MemEntry<'a> {
    let stored = entry.key();
    MemEntry {
        key: &stored.key,
        seq: seq_of(stored.rank),
        kind: kind_of(stored.rank),
        row: entry.value(),
    }
}

#[derive(Debug)]
struct StoredKey {
    prefix: u64,
    key: Box<[u8]>,
    rank: u128,
}

/// A key as it is compared, borrowed: the skip list's own lookups want `StoredKey: Borrow<Q>`,
/// and a trait object is the one `Q` that both a stored key and a borrowed probe can be.
#[derive(Clone, Copy)]
struct KeyParts<'a> {
    prefix: u64,
    key: &'a [u8],
    rank: u128,
}

impl KeyParts<'_> {
    fn compare(&self, other: &KeyParts<'_>) -> Ordering {
        match self.prefix.cmp(&other.prefix) {
            Ordering::Equal => self.key.cmp(other.key).then(self.rank.cmp(&other.rank)),
            order => order,
        }
    }
}

trait Parts {
    fn parts(&self) -> KeyParts<'_>;
}

impl Parts for StoredKey {
    fn parts(&self) -> KeyParts<'_> {
        KeyParts { prefix: self.prefix, key: &self.key, rank: self.rank }
    }
}

impl Parts for KeyParts<'_> {
    fn parts(&self) -> KeyParts<'_> {
        *self
    }
}

impl<'a> Borrow<dyn Parts + 'a> for StoredKey {
    fn borrow(&self) -> &(dyn Parts + 'a) {
        self
    }
}

impl Ord for StoredKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().compare(&other.parts())
    }
}

impl PartialOrd for StoredKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for StoredKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for StoredKey {}

impl Ord for dyn Parts + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().compare(&other.parts())
    }
}

impl PartialOrd for dyn Parts + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Parts + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for dyn Parts + '_ {}

//! The memtable that many threads insert into at once: crossbeam's lock-free skip list.
//!
//! Nodes hold views of the batches' own memory. The first sixteen bytes of a key, which are all of
//! many keys, stand in the node as well: comparing seldom follows the pointer to the rest.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};

use crossbeam_skiplist::SkipMap;
use crossbeam_skiplist::map::Entry;

use super::{KeyBounds, MemEntry, Memtable};
use crate::batch::{EntryBytes, prefix_of};
use crate::{OpKind, SeqNo};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SkipListMemtable {
    entries: SkipMap<StoredKey, ()>,
}

impl Memtable for SkipListMemtable {
    fn insert(&self, entry: EntryBytes, seq: SeqNo, kind: OpKind) {
        let prefix = words(prefix_of(entry.key()));
        // `get_or_insert` never replaces: the crate loses concurrent reads where a key is replaced.
        self.entries.get_or_insert(StoredKey { prefix, rank: rank_of(seq, kind), entry }, ());
    }

    fn get(&self, key: &[u8], snapshot: SeqNo, found: &mut dyn FnMut(MemEntry<'_>)) -> bool {
        let probe = at(key, first_rank(snapshot));
        match self.entries.lower_bound(Bound::Included(&probe as &dyn Parts)) {
            Some(entry) if *entry.key().entry.key() == *key => {
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
            let key = entry.key().entry.key();
            let past_end = if reverse { is_below(key, start) } else { is_above(key, end) };
            if past_end || visitor(mem_entry(&entry)).is_break() {
                return;
            }
            next = if reverse { entry.prev() } else { entry.next() };
        }
    }
}

impl SkipListMemtable {
    fn first(&self, start: Bound<&[u8]>) -> Option<Entry<'_, StoredKey, ()>> {
        match start {
            Bound::Unbounded => self.entries.front(),
            Bound::Included(key) => {
                self.entries.lower_bound(Bound::Included(&at(key, RANK_MIN) as &dyn Parts))
            }
            Bound::Excluded(key) => {
                self.entries.lower_bound(Bound::Excluded(&at(key, RANK_MAX) as &dyn Parts))
            }
        }
    }

    fn last(&self, end: Bound<&[u8]>) -> Option<Entry<'_, StoredKey, ()>> {
        match end {
            Bound::Unbounded => self.entries.back(),
            Bound::Included(key) => {
                self.entries.upper_bound(Bound::Included(&at(key, RANK_MAX) as &dyn Parts))
            }
            Bound::Excluded(key) => {
                self.entries.upper_bound(Bound::Excluded(&at(key, RANK_MIN) as &dyn Parts))
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
type Rank = (u64, u8);

const RANK_MIN: Rank = (0, 0);
const RANK_MAX: Rank = (u64::MAX, u8::MAX);

fn rank_of(seq: SeqNo, kind: OpKind) -> Rank {
    (!seq, kind as u8)
}

/// The rank of the newest entry that `snapshot` may see.
fn first_rank(snapshot: SeqNo) -> Rank {
    (!snapshot, 0)
}

/// Two words need less alignment than one of sixteen bytes, and compare alike.
#[expect(clippy::cast_possible_truncation, reason = "both halves are kept")]
fn words(prefix: u128) -> [u64; 2] {
    [(prefix >> 64) as u64, prefix as u64]
}

fn at(key: &[u8], rank: Rank) -> KeyParts<'_> {
    let key_len = u32::try_from(key.len()).unwrap_or(u32::MAX);
    KeyParts { prefix: words(prefix_of(key)), key_len, rank, key: Bytes::Plain(key) }
}

fn mem_entry<'a>(entry: &'a Entry<'_, StoredKey, ()>) -> MemEntry<'a> {
    let StoredKey { rank: (inverted, kind), entry, .. } = entry.key();
    let kind = if *kind == OpKind::Put as u8 { OpKind::Put } else { OpKind::Delete };
    MemEntry { key: entry.key(), seq: !inverted, kind, row: entry.row() }
}

#[derive(Debug)]
struct StoredKey {
    prefix: [u64; 2],
    rank: Rank,
    entry: EntryBytes,
}

/// A key as it is compared, borrowed: the skip list's own lookups want `StoredKey: Borrow<Q>`,
/// and a trait object is the one `Q` that both a stored key and a borrowed probe can be.
#[derive(Clone, Copy)]
struct KeyParts<'a> {
    prefix: [u64; 2],
    key_len: u32,
    rank: Rank,
    key: Bytes<'a>,
}

/// The key's bytes, not looked for before they are needed.
#[derive(Clone, Copy)]
enum Bytes<'a> {
    Plain(&'a [u8]),
    Stored(&'a EntryBytes),
}

impl<'a> Bytes<'a> {
    fn behind_prefix(self) -> &'a [u8] {
        let key = match self {
            Self::Plain(key) => key,
            Self::Stored(entry) => entry.key(),
        };
        key.get(PREFIX_BYTES..).unwrap_or_default()
    }
}

const PREFIX_BYTES: usize = 16;

impl KeyParts<'_> {
    #[inline]
    fn compare(&self, other: &KeyParts<'_>) -> Ordering {
        let order = self.prefix.cmp(&other.prefix);
        if order.is_ne() {
            return order;
        }
        // Where one key ends within the prefix, the other begins with it.
        let order = if self.key_len.min(other.key_len) as usize > PREFIX_BYTES {
            self.key.behind_prefix().cmp(other.key.behind_prefix())
        } else {
            self.key_len.cmp(&other.key_len)
        };
        order.then_with(|| self.rank.cmp(&other.rank))
    }
}

trait Parts {
    fn parts(&self) -> KeyParts<'_>;
}

impl Parts for StoredKey {
    fn parts(&self) -> KeyParts<'_> {
        let Self { prefix, rank, entry } = self;
        KeyParts {
            prefix: *prefix,
            key_len: entry.key_len(),
            rank: *rank,
            key: Bytes::Stored(entry),
        }
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

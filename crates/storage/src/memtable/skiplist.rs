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
        if reverse {
            self.visit_back(start, end, visitor);
            return;
        }
        let mut next = self.first(start);
        while let Some(entry) = next {
            if is_above(entry.key().entry.key(), end) || visitor(mem_entry(&entry)).is_break() {
                return;
            }
            next = entry.next();
        }
    }

    fn is_private(&self) -> bool {
        false
    }
}

/// Entries that are walked forward to be shown from behind, at most.
const STRETCH_MAX: usize = 64;

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

    /// A step back is a search of its own where a step forward is a pointer. So this guesses where
    /// a stretch of some entries begins that ends with what was shown last, taking keys for
    /// numbers, and walks it forward; only where keys lie too close for that it steps back.
    fn visit_back(
        &self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        visitor: &mut dyn FnMut(MemEntry<'_>) -> ControlFlow<()>,
    ) {
        let Some(last) = self.last(end).filter(|last| !is_below(last.key().entry.key(), start))
        else {
            return;
        };
        // Where keys begin, not where the range does: most of it may be empty.
        let lowest = self.first(start).map_or(0, |first| first.key().number());
        // Shown next is what lies below `high`; at first, that number itself up to `end`.
        let (mut high, mut is_begun) = (last.key().number(), false);
        let mut width = high.saturating_sub(lowest) / 4;
        let mut stretch = Vec::with_capacity(STRETCH_MAX);
        loop {
            let from = high.saturating_sub(width).max(lowest);
            let is_rest = from <= lowest;
            let mut next = match is_rest {
                true => self.first(start),
                false => self.entries.lower_bound(Bound::Included(&below(from) as &dyn Parts)),
            };
            stretch.clear();
            while let Some(entry) = next {
                let is_past = match is_begun {
                    true => entry.key().number() >= high,
                    false => is_above(entry.key().entry.key(), end),
                };
                if is_past || stretch.len() > STRETCH_MAX {
                    break;
                }
                next = entry.next();
                stretch.push(entry);
            }
            let narrowest = u128::from(is_begun);
            if stretch.len() > STRETCH_MAX {
                if width > narrowest {
                    // As dense as here it may be there.
                    let [first, last] = [0, STRETCH_MAX].map(|at| stretch[at].key().number());
                    let walked = last.saturating_sub(first);
                    width = (walked / 4).min(width / 8).max(narrowest);
                    continue;
                }
                let next = match is_begun {
                    true => self.entries.upper_bound(Bound::Excluded(&below(high) as &dyn Parts)),
                    false => Some(last),
                };
                return step_back(next, start, visitor);
            }
            for entry in stretch.iter().rev() {
                if visitor(mem_entry(entry)).is_break() {
                    return;
                }
            }
            if is_rest {
                return;
            }
            if stretch.len() < STRETCH_MAX / 4 {
                width = width.saturating_mul(4);
            }
            (high, is_begun, width) = (from, true, width.max(1));
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

/// Shows `next` and what lies before it down to `start`, search by search.
fn step_back(
    mut next: Option<Entry<'_, StoredKey, ()>>,
    start: Bound<&[u8]>,
    visitor: &mut dyn FnMut(MemEntry<'_>) -> ControlFlow<()>,
) {
    while let Some(entry) = next {
        if is_below(entry.key().entry.key(), start) || visitor(mem_entry(&entry)).is_break() {
            return;
        }
        next = entry.prev();
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

/// Before every key whose first sixteen bytes are this number, and behind those below.
fn below(number: u128) -> KeyParts<'static> {
    KeyParts { prefix: words(number), key_len: 0, rank: RANK_MIN, key: Bytes::Plain(&[]) }
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

impl StoredKey {
    /// Its first sixteen bytes.
    fn number(&self) -> u128 {
        u128::from(self.prefix[0]) << 64 | u128::from(self.prefix[1])
    }
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

//! The memtable of small sorted leaves, each under a lock of its own.
//!
//! Leaves cut the keys into ranges, in order; an entry is searched among the leaves' first keys,
//! which lie side by side, and then within one leaf. That is two short searches in memory that
//! follows on itself, where a skip list or a tree of nodes follows a pointer for each step. A
//! commit's entries come by key, so that those of one leaf enter it together.
//!
//! What a leaf holds as well as its order is in three parts: the first sixteen bytes of each key,
//! by key, which are all of many keys; beside each a place; and the entries in those places, in the
//! order in which they came, so that making room for one moves some bytes and no entries.
//!
//! 1. `top` is locked before a leaf, and a leaf is locked while `top` is: so the leaf that was found
//!    still holds what it was found for. A split holds both for writing.
//! 2. Who shows a leaf's entries holds that leaf alone, for reading: others insert elsewhere.
//! 3. Leaves are never put together, and the first entry that a leaf may hold never changes.

use std::cmp::Ordering;
use std::hint::black_box;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use parking_lot::RwLock;

use super::{KeyBounds, MemEntry, Memtable};
use crate::batch::{EntryBytes, PREFIX_BYTES, prefix_of};
use crate::{OpKind, SeqNo};

/// Entries of a full leaf: places in it are bytes.
const LEAF_ENTRIES: usize = 128;

/// What an entry takes in a leaf, of which a quarter or so stands empty.
pub(super) const ENTRY_BYTES: usize = (size_of::<u128>() + 1 + size_of::<Stored>()) * 4 / 3;

/// See the module.
#[derive(Debug)]
pub(super) struct LeafMemtable {
    top: RwLock<Top>,
}

/// All leaves by key, and the first bytes of the first key of each.
#[derive(Debug)]
struct Top {
    prefixes: Vec<u128>,
    leaves: Vec<Arc<Leaf>>,
}

#[derive(Debug)]
struct Leaf {
    /// The first entry that belongs here, itself here or about to come; none in the first leaf.
    low: Option<Stored>,
    entries: RwLock<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    prefixes: Vec<u128>,
    places: Vec<u8>,
    stored: Vec<Stored>,
}

#[derive(Clone, Debug)]
struct Stored {
    entry: EntryBytes,
    seq: SeqNo,
    kind: OpKind,
}

/// Where an entry stands, or would stand: key, then newer first, then by kind.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    prefix: u128,
    key: &'a [u8],
    rank: (u64, u8),
}

impl Default for LeafMemtable {
    fn default() -> Self {
        let first = Arc::new(Leaf { low: None, entries: RwLock::default() });
        Self { top: RwLock::new(Top { prefixes: vec![0], leaves: vec![first] }) }
    }
}

impl Memtable for LeafMemtable {
    fn insert_all(&self, seq: SeqNo, entries: &[(EntryBytes, OpKind)]) {
        let mut left = entries;
        while let Some((entry, kind)) = left.first() {
            let first = Place::of(entry, seq, *kind);
            match self.insert_some(&first, seq, left) {
                0 => self.split(&first, entry, seq, *kind),
                count => left = &left[count..],
            }
        }
    }

    fn get(&self, key: &[u8], snapshot: SeqNo, found: &mut dyn FnMut(MemEntry<'_>)) -> bool {
        let place = Place { prefix: prefix_of(key), key, rank: (!snapshot, 0) };
        let top = self.top.read();
        for (ahead, leaf) in top.leaves[top.find(&place)..].iter().enumerate() {
            // Older entries of the key may be the first of the next leaf.
            if ahead > 0 && leaf.low.as_ref().is_none_or(|low| low.entry.key() != key) {
                return false;
            }
            let entries = leaf.entries.read();
            let at = entries.position(&place);
            if at < entries.len() {
                let stored = entries.get(at);
                let is_it = stored.entry.key() == key;
                if is_it {
                    found(stored.shown());
                }
                return is_it;
            }
        }
        false
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
        let start = match start {
            Bound::Unbounded => Place::FIRST,
            Bound::Included(key) => Place::before(key),
            Bound::Excluded(key) => Place::behind(key),
        };
        // The last entry of the leaf that was shown before.
        let mut shown: Option<Stored> = None;
        loop {
            let top = self.top.read();
            let at = match &shown {
                None => top.find(&start),
                Some(last) => top.find(&last.place()) + 1,
            };
            let Some(leaf) = top.leaves.get(at).map(Arc::clone) else { return };
            let entries = leaf.entries.read();
            drop(top);
            if shown.is_some() {
                entries.touch();
            }
            for at in entries.position(&start)..entries.len() {
                let stored = entries.get(at);
                if is_above(stored.entry.key(), end) || visitor(stored.shown()).is_break() {
                    return;
                }
            }
            // A leaf without entries is the first, or one that waits for its first entry.
            let last = entries.len().checked_sub(1).map(|last| entries.get(last));
            match last.or(leaf.low.as_ref()) {
                Some(last) => shown = Some(last.clone()),
                None => return,
            }
        }
    }

    fn is_private(&self) -> bool {
        false
    }
}

impl LeafMemtable {
    /// Inserts those entries from the front that belong in one leaf and find room; how many.
    fn insert_some(
        &self,
        first: &Place<'_>,
        seq: SeqNo,
        entries: &[(EntryBytes, OpKind)],
    ) -> usize {
        let top = self.top.read();
        let at = top.find(first);
        let (leaf, next) = (&top.leaves[at], top.leaves.get(at + 1));
        let next_prefix = top.prefixes.get(at + 1);
        let mut held = leaf.entries.write();
        let mut count = 0;
        for (entry, kind) in entries {
            let place = Place::of(entry, seq, *kind);
            let belongs = || {
                !leaf.begins_behind(&place)
                    && (next_prefix.is_none_or(|next| place.prefix < *next)
                        || next.is_some_and(|next| next.begins_behind(&place)))
            };
            if held.len() == LEAF_ENTRIES || count > 0 && !belongs() {
                break;
            }
            held.insert(&place, Stored { entry: entry.clone(), seq, kind: *kind });
            count += 1;
        }
        count
    }

    /// Makes room where an entry belongs, unless another has.
    fn split(&self, place: &Place<'_>, entry: &EntryBytes, seq: SeqNo, kind: OpKind) {
        let mut top = self.top.write();
        let at = top.find(place);
        let leaf = Arc::clone(&top.leaves[at]);
        let mut entries = leaf.entries.write();
        if entries.len() < LEAF_ENTRIES {
            return;
        }
        // What comes in order leaves full leaves behind.
        let (low, upper) = if entries.position(place) == LEAF_ENTRIES {
            (Stored { entry: entry.clone(), seq, kind }, Entries::default())
        } else {
            let upper = entries.split();
            (upper.get(0).clone(), upper)
        };
        let prefix = prefix_of(low.entry.key());
        let next = Arc::new(Leaf { low: Some(low), entries: RwLock::new(upper) });
        top.prefixes.insert(at + 1, prefix);
        top.leaves.insert(at + 1, next);
    }

    fn visit_back(
        &self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        visitor: &mut dyn FnMut(MemEntry<'_>) -> ControlFlow<()>,
    ) {
        let end = match end {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(Place::behind(key)),
            Bound::Excluded(key) => Some(Place::before(key)),
        };
        // The leaf that was shown before.
        let mut shown: Option<Arc<Leaf>> = None;
        loop {
            let top = self.top.read();
            let at = match (&shown, &end) {
                (None, None) => Some(top.leaves.len() - 1),
                (None, Some(end)) => Some(top.find(end)),
                (Some(leaf), _) => {
                    leaf.low.as_ref().and_then(|low| top.find(&low.place()).checked_sub(1))
                }
            };
            let Some(leaf) = at.map(|at| Arc::clone(&top.leaves[at])) else { return };
            let entries = leaf.entries.read();
            drop(top);
            let behind = end.as_ref().map_or(entries.len(), |end| entries.position(end));
            for at in (0..behind).rev() {
                let stored = entries.get(at);
                if is_below(stored.entry.key(), start) || visitor(stored.shown()).is_break() {
                    return;
                }
            }
            drop(entries);
            shown = Some(leaf);
        }
    }
}

impl Top {
    /// The leaf in which an entry at `place` belongs: the last that does not begin behind it.
    fn find(&self, place: &Place<'_>) -> usize {
        let alike = self.prefixes.partition_point(|prefix| *prefix < place.prefix);
        let mut end = alike;
        if self.prefixes.get(alike) == Some(&place.prefix) {
            let count = self.prefixes[alike..].partition_point(|prefix| *prefix == place.prefix);
            let leaves = &self.leaves[alike..alike + count];
            end += leaves.partition_point(|leaf| !leaf.begins_behind(place));
        }
        // The first leaf begins behind nothing.
        end.max(1) - 1
    }
}

impl Leaf {
    /// Whether an entry at `place` belongs in an earlier leaf.
    fn begins_behind(&self, place: &Place<'_>) -> bool {
        self.low.as_ref().is_some_and(|low| low.place().compare(place).is_gt())
    }
}

impl Entries {
    fn len(&self) -> usize {
        self.places.len()
    }

    /// The entry at `at`, by order.
    fn get(&self, at: usize) -> &Stored {
        &self.stored[usize::from(self.places[at])]
    }

    /// Reads from each entry. In key order they lie all over the log's buffers: asked for together,
    /// they are waited for together.
    fn touch(&self) {
        let ends = |stored: &Stored| {
            let bytes = stored.entry.bytes();
            bytes.first().zip(bytes.last()).map_or(0, |(first, last)| first ^ last)
        };
        black_box(self.stored.iter().map(ends).fold(0, |all, byte| all ^ byte));
    }

    /// How many entries stand before `place`.
    fn position(&self, place: &Place<'_>) -> usize {
        let alike = self.prefixes.partition_point(|prefix| *prefix < place.prefix);
        if self.prefixes.get(alike) != Some(&place.prefix) {
            return alike;
        }
        let count = self.prefixes[alike..].partition_point(|prefix| *prefix == place.prefix);
        let is_before =
            |place_of: &u8| self.stored[usize::from(*place_of)].place().compare(place).is_lt();
        alike + self.places[alike..alike + count].partition_point(is_before)
    }

    /// Adds an entry, if it is not here yet; there is room.
    fn insert(&mut self, place: &Place<'_>, stored: Stored) {
        let at = self.position(place);
        if self.prefixes.get(at) == Some(&place.prefix)
            && self.get(at).place().compare(place).is_eq()
        {
            return;
        }
        let new = u8::try_from(self.stored.len()).expect("a leaf holds fewer entries");
        self.prefixes.insert(at, place.prefix);
        self.places.insert(at, new);
        self.stored.push(stored);
    }

    /// Keeps the lower half and answers the upper.
    fn split(&mut self) -> Self {
        let all = std::mem::take(self);
        let mut stored: Vec<Option<Stored>> = all.stored.into_iter().map(Some).collect();
        let mut half = |from: usize, to: usize| {
            let mut entries = Self {
                prefixes: Vec::with_capacity(LEAF_ENTRIES),
                places: Vec::with_capacity(LEAF_ENTRIES),
                stored: Vec::with_capacity(LEAF_ENTRIES),
            };
            entries.prefixes.extend_from_slice(&all.prefixes[from..to]);
            entries.places.extend((0..u8::MAX).take(to - from));
            let places = &all.places[from..to];
            entries.stored.extend(places.iter().filter_map(|at| stored[usize::from(*at)].take()));
            entries
        };
        let middle = all.places.len() / 2;
        *self = half(0, middle);
        half(middle, all.places.len())
    }
}

impl Stored {
    fn place(&self) -> Place<'_> {
        Place::of(&self.entry, self.seq, self.kind)
    }

    fn shown(&self) -> MemEntry<'_> {
        let Self { entry, seq, kind } = self;
        MemEntry { key: entry.key(), seq: *seq, kind: *kind, row: entry.row(), bytes: entry }
    }
}

impl<'a> Place<'a> {
    /// Before everything.
    const FIRST: Place<'static> = Place { prefix: 0, key: &[], rank: (0, 0) };

    fn of(entry: &'a EntryBytes, seq: SeqNo, kind: OpKind) -> Self {
        let key = entry.key();
        Self { prefix: prefix_of(key), key, rank: (!seq, kind as u8) }
    }

    /// Before all entries of `key`.
    fn before(key: &'a [u8]) -> Self {
        Self { prefix: prefix_of(key), key, rank: (0, 0) }
    }

    /// Behind all entries of `key`.
    fn behind(key: &'a [u8]) -> Self {
        Self { prefix: prefix_of(key), key, rank: (u64::MAX, u8::MAX) }
    }

    #[inline]
    fn compare(&self, other: &Place<'_>) -> Ordering {
        let by_key = self.prefix.cmp(&other.prefix).then_with(|| {
            // Where one key ends within the prefix, the other begins with it.
            match (self.key.get(PREFIX_BYTES..), other.key.get(PREFIX_BYTES..)) {
                (Some(own), Some(others)) => own.cmp(others),
                _ => self.key.len().cmp(&other.key.len()),
            }
        });
        by_key.then_with(|| self.rank.cmp(&other.rank))
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

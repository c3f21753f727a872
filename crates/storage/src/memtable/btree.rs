//! The leaves' simple twin, for comparison in tests and benches.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use parking_lot::RwLock;

use super::{KeyBounds, MemEntry, Memtable};
use crate::batch::EntryBytes;
use crate::{OpKind, SeqNo};

/// Key, inverted number, kind: in the memtable's order.
type StoredKey = (Box<[u8]>, u64, u8);

/// A `BTreeMap` under a lock.
#[derive(Debug, Default)]
pub(super) struct BTreeMemtable {
    entries: RwLock<BTreeMap<StoredKey, EntryBytes>>,
}

impl Memtable for BTreeMemtable {
    fn insert_all(&self, seq: SeqNo, entries: &[(EntryBytes, OpKind)]) {
        for (entry, kind) in entries {
            let stored = (entry.key().into(), !seq, *kind as u8);
            self.entries.write().entry(stored).or_insert_with(|| entry.clone());
        }
    }

    fn get(&self, key: &[u8], snapshot: SeqNo, found: &mut dyn FnMut(MemEntry<'_>)) -> bool {
        let entries = self.entries.read();
        match entries.range((key.into(), !snapshot, 0)..).next() {
            Some((stored, entry)) if *stored.0 == *key => {
                found(mem_entry(stored, entry));
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
        let start = match start {
            Bound::Unbounded => Bound::Unbounded,
            Bound::Included(key) => Bound::Included((key.into(), 0, 0)),
            Bound::Excluded(key) => Bound::Excluded((key.into(), u64::MAX, u8::MAX)),
        };
        let end = match end {
            Bound::Unbounded => Bound::Unbounded,
            Bound::Included(key) => Bound::Included((key.into(), u64::MAX, u8::MAX)),
            Bound::Excluded(key) => Bound::Excluded((key.into(), 0, 0)),
        };
        if is_empty(&start, &end) {
            return;
        }
        let entries = self.entries.read();
        let mut range = entries.range((start, end));
        while let Some((stored, entry)) = if reverse { range.next_back() } else { range.next() } {
            if visitor(mem_entry(stored, entry)).is_break() {
                return;
            }
        }
    }

    fn is_private(&self) -> bool {
        false
    }
}

/// `BTreeMap::range` panics on a range that ends before it starts.
fn is_empty(start: &Bound<StoredKey>, end: &Bound<StoredKey>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => start >= end,
    }
}

fn mem_entry<'a>(stored: &'a StoredKey, entry: &'a EntryBytes) -> MemEntry<'a> {
    let kind = if stored.2 == 0 { OpKind::Put } else { OpKind::Delete };
    MemEntry { key: &stored.0, seq: !stored.1, kind, row: entry.row(), bytes: entry }
}

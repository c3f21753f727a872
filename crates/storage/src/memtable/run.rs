//! [`MemRun`]: a memtable's entries of a window of numbers as columns, for scans that come again.
//!
//! A memtable only grows, so what it holds up to a published number never changes: a reader turns
//! what came since the last reader's number ([`Arrivals`](super::arrivals::Arrivals)) into a run of
//! its own and finds the rest as it was. Runs are immutable, stand in key order with one entry a
//! key, and hide one another as files do (RULES.md 24).
//!
//! A handful of runs costs a reader next to nothing. From then on older ones of like size are put
//! together two by two, so that their number stays within the logarithm of the memtable's size
//! and an entry is moved as often at most. The newest stays by itself: all that a reader has to look
//! up in older sources is in it.

use std::hint::black_box;
use std::ops::{Bound, ControlFlow, Range};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_select::interleave::interleave;
use parking_lot::Mutex;
use silt_codec::{BatchBuilder, ColumnId, KeyBuffer, Schemas};

use super::TreeMemtable;
use super::arrivals::ENTRY_BYTES;
use crate::batch::{EntryBytes, PREFIX_BYTES, prefix_of};
use crate::fixed_keys::{FixedKeys, NarrowKeys};
use crate::{OpKind, Result, SeqNo};

/// So many rows are read from memory together.
const TOUCHED: usize = 64;

/// So many runs are left as they are.
const RUNS_FREE: usize = 4;

/// Entries of one memtable above one number and up to another: of each key the newest.
#[derive(Debug)]
pub(crate) struct MemRun {
    /// Unlike that of any other run of this process.
    id: u64,
    /// The lowest number of an entry in its window, kept or not.
    min_seq: SeqNo,
    /// The highest number of an entry in it.
    max_seq: SeqNo,
    keys: KeyBuffer,
    /// The same as numbers, where they are of one width.
    fixed: Option<FixedKeys>,
    narrow: OnceLock<NarrowKeys>,
    /// By key.
    entries: Vec<(EntryBytes, OpKind)>,
    /// The entries that are deletes; none if there are none.
    deletes: Option<BooleanBuffer>,
    columns: Mutex<Vec<(ColumnId, ArrayRef)>>,
    bytes: AtomicUsize,
}

/// The runs of one memtable, oldest first.
#[derive(Debug, Default)]
pub(crate) struct MemRuns(Mutex<Vec<Arc<MemRun>>>);

static NEXT_RUN: AtomicU64 = AtomicU64::new(1);

impl MemRun {
    /// Its number.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The highest number of its entries.
    pub(crate) fn max_seq(&self) -> SeqNo {
        self.max_seq
    }

    /// Its keys, ascending.
    pub(crate) fn keys(&self) -> &KeyBuffer {
        &self.keys
    }

    /// The same as numbers, where they are of one width.
    pub(crate) fn fixed_keys(&self) -> Option<&FixedKeys> {
        self.fixed.as_ref()
    }

    /// The same to be searched; made when they are first.
    pub(crate) fn narrow_keys(&self) -> Option<&NarrowKeys> {
        let fixed = self.fixed.as_ref()?;
        Some(self.narrow.get_or_init(|| {
            let narrow = NarrowKeys::of(fixed);
            self.bytes.fetch_add(narrow.bytes(), Ordering::Relaxed);
            narrow
        }))
    }

    /// The entries that are deletes; none if there are none.
    pub(crate) fn deletes(&self) -> Option<&BooleanBuffer> {
        self.deletes.as_ref()
    }

    /// The entries whose keys lie from `first` to `last`.
    pub(crate) fn within(&self, first: &[u8], last: &[u8]) -> Range<usize> {
        let start = self.first_at(|key| key < first);
        start..self.first_at(|key| key <= last).max(start)
    }

    /// The number of keys for which `before` holds; it holds for none behind those.
    pub(crate) fn first_at(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.keys.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if before(self.keys.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The columns at `projection` of the current schema, all rows of them; those of deletes are
    /// NULL. What was not asked for before is read now, and kept if `keeps`.
    pub(crate) fn columns(
        &self,
        schemas: &Schemas,
        projection: &[usize],
        keeps: bool,
    ) -> Result<Vec<ArrayRef>> {
        let schema = schemas.current();
        let id = |column: usize| schema.columns[column].id;
        let mut known = self.columns.lock();
        let mut missing = Vec::new();
        for &column in projection {
            let is_known = known.iter().any(|(known, _)| *known == id(column));
            if !is_known && !missing.contains(&column) {
                missing.push(column);
            }
        }
        let mut found = Vec::new();
        if !missing.is_empty() {
            let mut builder = BatchBuilder::new(schemas, &missing, self.entries.len());
            for entries in self.entries.chunks(TOUCHED) {
                // In key order they lie all over the log's buffers: asked for together, they are
                // waited for together.
                let first = |(entry, _): &(EntryBytes, OpKind)| entry.row().first().copied();
                black_box(entries.iter().filter_map(first).fold(0, |all, byte| all ^ byte));
                for (entry, kind) in entries {
                    builder.push(entry.key(), (*kind == OpKind::Put).then(|| entry.row()))?;
                }
            }
            let columns = builder.finish()?;
            found = missing.iter().map(|&column| id(column)).zip(columns).collect();
        }
        let column = |&column: &usize| {
            let mut all = known.iter().chain(&found);
            let (_, array) = all.find(|(known, _)| *known == id(column)).expect("read above");
            Arc::clone(array)
        };
        let columns = projection.iter().map(column).collect();
        if keeps {
            let bytes = found.iter().map(|(_, array)| array.get_array_memory_size()).sum();
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            known.extend(found);
        }
        Ok(columns)
    }

    /// Of `entries`, those of equal keys newest first, the newest of each key. Whole stretches of
    /// them are in order already; the sort finds those and merges them.
    fn build(entries: Vec<(EntryBytes, OpKind)>, window: (SeqNo, SeqNo)) -> Self {
        Self::ordered(entries, window).0
    }

    /// The same, and the places among `entries` of those that stayed.
    fn ordered(
        entries: Vec<(EntryBytes, OpKind)>,
        (min_seq, max_seq): (SeqNo, SeqNo),
    ) -> (Self, Vec<u32>) {
        let place = |(index, (entry, _)): (usize, &(EntryBytes, OpKind))| {
            let index = u32::try_from(index).expect("a memtable has fewer entries");
            (prefix_of(entry.key()), index)
        };
        let mut order: Vec<(u128, u32)> = entries.iter().enumerate().map(place).collect();
        let key = |index: u32| entries[index as usize].0.key();
        order.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| key(*left).cmp(key(*right))));
        order.dedup_by(|(a, right), (b, left)| a == b && key(*left) == key(*right));

        // Numbers that are whole keys need no look at the keys, which lie all over the log's buffers.
        let width = entries.first().map(|(entry, _)| entry.key_len());
        let width = width.filter(|width| {
            *width <= PREFIX_BYTES && entries.iter().all(|(entry, _)| entry.key_len() == *width)
        });
        let bytes = order.iter().map(|(_, index)| entries[*index as usize].0.key_len()).sum();
        let mut keys = KeyBuffer::with_capacity(order.len(), bytes);
        let mut kinds = BooleanBufferBuilder::new(order.len());
        let mut any_delete = false;
        let mut entries: Vec<Option<_>> = entries.into_iter().map(Some).collect();
        let take = |&(prefix, index): &(u128, u32)| {
            let (entry, kind) = entries[index as usize].take().expect("each index comes once");
            match width {
                Some(width) => keys.push(&prefix.to_be_bytes()[..width]),
                None => keys.push(entry.key()),
            }
            kinds.append(kind == OpKind::Delete);
            any_delete |= kind == OpKind::Delete;
            (entry, kind)
        };
        let entries: Vec<_> = order.iter().map(take).collect();
        let each = size_of::<usize>() + ENTRY_BYTES;
        let numbers = || order.iter().map(|(prefix, _)| *prefix).collect();
        let fixed = width.map(|width| FixedKeys::of_numbers(width, numbers()));
        let fixed_bytes = fixed.as_ref().map_or(0, FixedKeys::bytes);
        let run = Self {
            id: NEXT_RUN.fetch_add(1, Ordering::Relaxed),
            min_seq,
            max_seq,
            bytes: AtomicUsize::new(bytes + fixed_bytes + keys.len() * each + keys.len() / 8),
            keys,
            fixed,
            narrow: OnceLock::new(),
            entries,
            deletes: any_delete.then(|| kinds.finish()),
            columns: Mutex::default(),
        };
        (run, order.into_iter().map(|(_, index)| index).collect())
    }

    /// What both hold, and the columns that both know.
    fn merged(older: &Self, newer: &Self) -> Self {
        let entries = newer.entries.iter().chain(&older.entries).cloned().collect();
        let (run, order) = Self::ordered(entries, (older.min_seq, newer.max_seq));
        let first = newer.entries.len();
        let place = |&index: &u32| match (index as usize).checked_sub(first) {
            Some(index) => (1, index),
            None => (0, index as usize),
        };
        let places: Vec<(usize, usize)> = order.iter().map(place).collect();
        let (known, others) = (newer.columns.lock(), older.columns.lock());
        for (id, column) in &*known {
            let other = others.iter().find(|(other, _)| other == id);
            // Columns of another type are read again when they are asked for.
            if let Some((_, other)) = other
                && let Ok(both) = interleave(&[column, other], &places)
            {
                run.bytes.fetch_add(both.get_array_memory_size(), Ordering::Relaxed);
                run.columns.lock().push((*id, both));
            }
        }
        drop((known, others));
        run
    }
}

impl MemRuns {
    /// The runs that together hold what `snapshot` sees of `memtable`, newest first; none if runs
    /// were made for later readers and cannot be told apart any more.
    ///
    /// Everything up to the snapshot's number was inserted before it was published.
    pub(crate) fn at(&self, memtable: &TreeMemtable, snapshot: SeqNo) -> Option<Vec<Arc<MemRun>>> {
        let mut runs = self.0.lock();
        if memtable.is_private() {
            if runs.is_empty() {
                runs.push(Arc::new(Self::visited(memtable, snapshot)));
            }
            return Some(runs.clone());
        }
        let seen = runs.iter().take_while(|run| run.max_seq <= snapshot).count();
        if seen < runs.len() {
            // A run of which the snapshot sees nothing was made for later readers alone.
            let is_apart = runs[seen].min_seq > snapshot;
            return is_apart.then(|| runs[..seen].iter().rev().cloned().collect());
        }
        let arrived = memtable.arrivals.take(snapshot);
        if let (Some(newest), Some(oldest)) = (arrived.first(), arrived.last()) {
            Self::tidy(&mut runs);
            let window = (oldest.seq, newest.seq);
            let entries = arrived.into_iter().flat_map(|arrival| arrival.entries).collect();
            runs.push(Arc::new(MemRun::build(entries, window)));
        }
        Some(runs.iter().rev().cloned().collect())
    }

    /// Puts runs of like size together, where there are more than a few.
    fn tidy(runs: &mut Vec<Arc<MemRun>>) {
        while runs.len() >= RUNS_FREE
            && let [.., older, newer] = &runs[..]
            && older.keys.len() <= newer.keys.len()
        {
            let merged = MemRun::merged(older, newer);
            runs.truncate(runs.len() - 2);
            runs.push(Arc::new(merged));
        }
    }

    /// All that `snapshot` sees of a memtable whose entries did not arrive here.
    fn visited(memtable: &TreeMemtable, snapshot: SeqNo) -> MemRun {
        let mut entries = Vec::with_capacity(memtable.len());
        let mut window = (SeqNo::MAX, 0);
        memtable.visit((Bound::Unbounded, Bound::Unbounded), false, |entry| {
            if entry.seq <= snapshot {
                window = (window.0.min(entry.seq), window.1.max(entry.seq));
                entries.push((entry.bytes.clone(), entry.kind));
            }
            ControlFlow::Continue(())
        });
        MemRun::build(entries, window)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.0.lock().iter().map(|run| run.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::MemtableKind;
    use crate::vfs::SeededRandom;

    fn memtable(entries: &[(&str, SeqNo, OpKind)]) -> TreeMemtable {
        let memtable = TreeMemtable::new(MemtableKind::Leaves, Arc::default());
        insert(&memtable, entries);
        memtable
    }

    fn insert(memtable: &TreeMemtable, entries: &[(&str, SeqNo, OpKind)]) {
        for (key, seq, kind) in entries {
            memtable.insert(EntryBytes::copy_of(key.as_bytes(), &[]), *seq, *kind);
        }
    }

    fn keys(runs: &[Arc<MemRun>]) -> Vec<Vec<String>> {
        let text = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
        runs.iter().map(|run| run.keys().iter().map(text).collect()).collect()
    }

    #[test]
    fn run_holds_each_key_once_and_knows_its_deletes() {
        let all = [("a", 1, OpKind::Put), ("a", 3, OpKind::Delete), ("b", 2, OpKind::Put)];
        let memtable = memtable(&all);
        let runs = memtable.runs_at(9).unwrap();
        assert_eq!(keys(&runs), [["a", "b"]]);
        assert!(runs[0].deletes().unwrap().value(0) && !runs[0].deletes().unwrap().value(1));
        assert_eq!(runs[0].within(b"a\0", b"z"), 1..2);
    }

    #[test]
    fn what_came_since_the_last_reader_becomes_a_run_of_its_own() {
        let memtable = memtable(&[("a", 1, OpKind::Put), ("b", 1, OpKind::Put)]);
        let first = memtable.runs_at(1).unwrap();
        insert(&memtable, &[("a", 2, OpKind::Put), ("z", 4, OpKind::Put)]);
        let second = memtable.runs_at(3).unwrap();
        assert_eq!(keys(&second), [vec!["a"], vec!["a", "b"]], "4 is not published");
        assert_eq!(second[1].id(), first[0].id());
        let third = memtable.runs_at(4).unwrap();
        assert_eq!(keys(&third), [vec!["z"], vec!["a"], vec!["a", "b"]]);
        assert_eq!(third[1].id(), second[0].id());
        // Nothing came since.
        assert_eq!(memtable.runs_at(7).unwrap()[0].id(), third[0].id());
    }

    #[test]
    fn reader_below_a_run_has_none_but_one_between_two_has_the_older() {
        let memtable = memtable(&[("10", 4, OpKind::Put), ("99", 2, OpKind::Put)]);
        memtable.runs_at(5).unwrap();
        insert(&memtable, &[("10", 8, OpKind::Put)]);
        assert_eq!(memtable.runs_at(9).unwrap().len(), 2);
        assert!(memtable.runs_at(3).is_none(), "2 and 4 stand in one run");
        assert_eq!(memtable.runs_at(6).unwrap().len(), 1);
        assert_eq!(memtable.runs_at(4).unwrap().len(), 1);
        assert_eq!(memtable.runs_at(1).unwrap().len(), 0);
    }

    #[test]
    fn runs_read_at_any_number_are_the_newest_entries_up_to_it_and_stay_few() {
        let random = SeededRandom::new(5);
        for kind in [MemtableKind::Leaves, MemtableKind::BTree] {
            let memtable = TreeMemtable::new(kind, Arc::default());
            let mut newest = std::collections::BTreeMap::new();
            for seq in 1..=600 {
                for _ in 0..1 + random.below(4) {
                    let key = format!("a key of more than sixteen bytes {}", random.below(300));
                    let op = if random.chance(30) { OpKind::Delete } else { OpKind::Put };
                    if newest.get(&key).is_none_or(|(last, _)| *last < seq) {
                        let row = seq.to_string();
                        let entry = EntryBytes::copy_of(key.as_bytes(), row.as_bytes());
                        memtable.insert(entry, seq, op);
                        newest.insert(key, (seq, op));
                    }
                }
                if !random.chance(40) {
                    continue;
                }
                let runs = memtable.runs_at(seq).unwrap();
                assert!(runs.len() <= RUNS_FREE + 9, "{} runs", runs.len());
                let mut seen = std::collections::BTreeMap::new();
                for run in &runs {
                    let mut last: Option<&[u8]> = None;
                    for (at, (entry, op)) in run.entries.iter().enumerate() {
                        assert!(last.replace(entry.key()).is_none_or(|last| last < entry.key()));
                        assert_eq!(run.keys().get(at), entry.key());
                        let is_delete = run.deletes().is_some_and(|deletes| deletes.value(at));
                        assert_eq!(is_delete, *op == OpKind::Delete);
                        let row: SeqNo = String::from_utf8_lossy(entry.row()).parse().unwrap();
                        let key = String::from_utf8(entry.key().to_vec()).unwrap();
                        seen.entry(key).or_insert((row, *op));
                    }
                }
                assert_eq!(seen, newest);
            }
        }
    }
}

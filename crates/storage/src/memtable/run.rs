//! [`MemRun`]: a memtable's entries of a window of numbers as columns, for scans that come again.
//!
//! A memtable only grows, so what it holds up to a published number never changes: a reader turns
//! the entries since the last reader's number into a run of their own and finds those before as
//! they were. Runs are immutable, stand in key order with one entry a key, and hide one another as
//! files do (RULES.md 24). Small ones are made anew together with what is added, so that their
//! number stays within the logarithm of the memtable's size.

use std::ops::{Bound, ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use parking_lot::Mutex;
use silt_codec::{BatchBuilder, ColumnId, KeyBuffer, Schemas};

use super::{MemEntry, TreeMemtable};
use crate::{OpKind, Result, SeqNo};

/// Newer entries are put together with the run before them if that is not this many times larger.
const GROWTH: usize = 4;

/// Entries of one memtable above one number and up to another: of each key the newest.
#[derive(Debug)]
pub(crate) struct MemRun {
    /// Unlike that of any other run of this process.
    id: u64,
    /// Entries at or below this number are in runs before.
    after: SeqNo,
    /// The lowest number of an entry in its window, kept or not.
    min_seq: SeqNo,
    /// The highest number of an entry in it.
    max_seq: SeqNo,
    keys: KeyBuffer,
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

    /// Its keys, ascending.
    pub(crate) fn keys(&self) -> &KeyBuffer {
        &self.keys
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
    /// NULL. What was not asked for before is read from `memtable` now, and kept if `keeps`.
    pub(crate) fn columns(
        &self,
        memtable: &TreeMemtable,
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
            let mut builder = BatchBuilder::new(schemas, &missing, self.keys.len());
            let mut failed: Result<()> = Ok(());
            each_within(memtable, self.after, self.max_seq, |is_newest, entry| {
                if !is_newest {
                    return ControlFlow::Continue(());
                }
                let row = (entry.kind == OpKind::Put).then_some(entry.row);
                match builder.push(entry.key, row) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Err(error.into());
                        ControlFlow::Break(())
                    }
                }
            });
            failed?;
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

    fn build(memtable: &TreeMemtable, after: SeqNo, through: SeqNo) -> Self {
        let mut keys = KeyBuffer::new();
        let mut kinds = BooleanBufferBuilder::new(0);
        let (mut min_seq, mut max_seq, mut any_delete) = (SeqNo::MAX, 0, false);
        each_within(memtable, after, through, |is_newest, entry| {
            min_seq = min_seq.min(entry.seq);
            max_seq = max_seq.max(entry.seq);
            if is_newest {
                keys.push(entry.key);
                kinds.append(entry.kind == OpKind::Delete);
                any_delete |= entry.kind == OpKind::Delete;
            }
            ControlFlow::Continue(())
        });
        let bytes = keys.byte_len() + keys.len() * size_of::<usize>() + keys.len() / 8;
        Self {
            id: NEXT_RUN.fetch_add(1, Ordering::Relaxed),
            after,
            min_seq,
            max_seq,
            keys,
            deletes: any_delete.then(|| kinds.finish()),
            columns: Mutex::default(),
            bytes: AtomicUsize::new(bytes),
        }
    }
}

impl MemRuns {
    /// The runs that together hold what `snapshot` sees of `memtable`, newest first; none if runs
    /// were made for later readers and cannot be told apart any more.
    ///
    /// Everything up to the snapshot's number was inserted before it was published.
    pub(crate) fn at(&self, memtable: &TreeMemtable, snapshot: SeqNo) -> Option<Vec<Arc<MemRun>>> {
        let mut runs = self.0.lock();
        let seen = runs.iter().take_while(|run| run.max_seq <= snapshot).count();
        if seen < runs.len() {
            // A run of which the snapshot sees nothing was made for later readers alone.
            let is_apart = runs[seen].min_seq > snapshot;
            return is_apart.then(|| runs[..seen].iter().rev().cloned().collect());
        }
        let newest = runs.last().map_or(0, |run| run.max_seq);
        if memtable.max_seq().min(snapshot) > newest {
            Self::extend(&mut runs, memtable, snapshot);
        }
        Some(runs.iter().rev().cloned().collect())
    }

    fn extend(runs: &mut Vec<Arc<MemRun>>, memtable: &TreeMemtable, snapshot: SeqNo) {
        let held: usize = runs.iter().map(|run| run.keys.len()).sum();
        let mut fresh = memtable.len().saturating_sub(held);
        while let Some(last) = runs.last()
            && last.keys.len() < fresh.saturating_mul(GROWTH)
        {
            fresh += last.keys.len();
            runs.pop();
        }
        let after = runs.last().map_or(0, |run| run.max_seq);
        let run = MemRun::build(memtable, after, snapshot);
        if !run.keys.is_empty() {
            runs.push(Arc::new(run));
        }
    }

    /// Memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.0.lock().iter().map(|run| run.bytes()).sum()
    }
}

/// Shows `found` the entries above `after` and up to `through`, by key, and whether each is its
/// key's newest of them.
fn each_within(
    memtable: &TreeMemtable,
    after: SeqNo,
    through: SeqNo,
    mut found: impl FnMut(bool, MemEntry<'_>) -> ControlFlow<()>,
) {
    let mut last: Vec<u8> = Vec::new();
    let mut has_last = false;
    memtable.visit((Bound::Unbounded, Bound::Unbounded), false, |entry| {
        if entry.seq <= after || entry.seq > through {
            return ControlFlow::Continue(());
        }
        let is_newest = !has_last || last != entry.key;
        if is_newest {
            last.clear();
            last.extend_from_slice(entry.key);
            has_last = true;
        }
        found(is_newest, entry)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::EntryBytes;
    use crate::options::MemtableKind;

    fn memtable(entries: &[(&str, SeqNo, OpKind)]) -> TreeMemtable {
        let memtable = TreeMemtable::new(MemtableKind::SkipList, Arc::default());
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
    fn what_is_added_later_becomes_a_run_of_its_own_unless_the_one_before_is_small() {
        let names: Vec<String> = (10..50).map(|number| number.to_string()).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), 1, OpKind::Put)).collect();
        let memtable = memtable(&many);
        let first = memtable.runs_at(1).unwrap();
        insert(&memtable, &[("10", 2, OpKind::Put)]);
        let second = memtable.runs_at(2).unwrap();
        assert_eq!(second.len(), 2);
        assert_eq!(keys(&second[..1]), [["10"]]);
        assert_eq!(second[1].id(), first[0].id());
        insert(&memtable, &[("11", 3, OpKind::Put)]);
        let third = memtable.runs_at(3).unwrap();
        assert_eq!(keys(&third[..1]), [["10", "11"]]);
        assert_eq!(third[1].id(), first[0].id());
        // Nothing came since.
        assert_eq!(memtable.runs_at(7).unwrap()[0].id(), third[0].id());
    }

    #[test]
    fn reader_below_a_run_has_none_but_one_between_two_has_the_older() {
        let names: Vec<String> = (10..50).map(|number| number.to_string()).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), 4, OpKind::Put)).collect();
        let memtable = memtable(&many);
        insert(&memtable, &[("99", 2, OpKind::Put)]);
        memtable.runs_at(5).unwrap();
        insert(&memtable, &[("10", 8, OpKind::Put)]);
        assert_eq!(memtable.runs_at(9).unwrap().len(), 2);
        assert!(memtable.runs_at(3).is_none(), "2 and 4 stand in one run");
        assert_eq!(memtable.runs_at(6).unwrap().len(), 1);
        assert_eq!(memtable.runs_at(4).unwrap().len(), 1);
        assert_eq!(memtable.runs_at(1).unwrap().len(), 0);
    }
}

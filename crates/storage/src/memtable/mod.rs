//! Memtables: a tree's newest entries, in memory, in key order.
//!
//! On the write path a commit inserts here after its log record was placed; on the read path a
//! memtable is the newest source. A memtable is *active* until it is frozen under the commit lock,
//! and dropped whole once its flush has entered the manifest.
//!
//! Entries are `(user key, sequence number, kind)`, ordered by key ascending and number
//! descending, and unique: nothing is ever replaced or removed.

mod arrivals;
mod as_of;
mod btree;
mod filter;
mod leaves;
mod run;
mod summary;

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use crate::batch::EntryBytes;
use crate::key::key_hash;
use crate::options::MemtableKind;
use crate::{OpKind, SeqNo};

use arrivals::{Arrivals, ENTRY_BYTES};
use as_of::AsOf;
use filter::KeyFilter;
pub(crate) use run::MemRun;
use run::MemRuns;
use summary::Slot;
pub(crate) use summary::{ColumnSummary, MemSummary, Sample};

/// One entry, borrowed for the length of a visit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemEntry<'a> {
    /// The user key.
    pub(crate) key: &'a [u8],
    /// The commit that wrote it.
    pub(crate) seq: SeqNo,
    /// What it does.
    pub(crate) kind: OpKind,
    /// The row's bytes; empty for a delete.
    pub(crate) row: &'a [u8],
    /// Key and row, to be kept beyond the visit.
    pub(crate) bytes: &'a EntryBytes,
}

/// A range of user keys; all versions of a key are in or out together.
pub(crate) type KeyBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// An ordered set of entries that many threads read while many insert.
pub(crate) trait Memtable: Send + Sync + std::fmt::Debug {
    /// Adds entries of commit `seq`, quickest if they come by key. (key, seq, kind) must be new.
    fn insert_all(&self, seq: SeqNo, entries: &[(EntryBytes, OpKind)]);

    /// Shows `found` the newest entry of `key` at or below `snapshot`; whether there is one. Who is
    /// shown an entry asks nothing of the memtable meanwhile: it may be locked.
    fn get(&self, key: &[u8], snapshot: SeqNo, found: &mut dyn FnMut(MemEntry<'_>)) -> bool;

    /// Shows `visitor` the entries of `range` in order (key ascending, number descending), all
    /// versions of each, until it breaks. `reverse` turns the whole order round (key descending,
    /// number ascending). Entries inserted meanwhile may or may not be seen. The visitor is bound as
    /// that of [`get`](Self::get).
    fn visit(
        &self,
        range: KeyBounds<'_>,
        reverse: bool,
        visitor: &mut dyn FnMut(MemEntry<'_>) -> ControlFlow<()>,
    );

    /// Whether its entries are no commit's, but stand under numbers that other readers know
    /// commits by, as those of an open transaction do: what scans find out with them is kept for
    /// nobody else. They are not inserted through [`TreeMemtable::insert_all`] either.
    fn is_private(&self) -> bool;
}

/// Bytes an entry takes beside its key and row: its share of a leaf, and its place among the
/// arrivals.
const ENTRY_OVERHEAD_BYTES: usize = leaves::ENTRY_BYTES + ENTRY_BYTES;

/// One tree's active or frozen memtable: the entries, and what flush and the log need to know.
#[derive(Debug)]
pub(crate) struct TreeMemtable {
    table: Box<dyn Memtable>,
    /// None if every key may be here.
    filter: Option<Arc<KeyFilter>>,
    bytes: AtomicUsize,
    /// Bytes of all memtables of the engine.
    gauge: Arc<AtomicUsize>,
    entries: AtomicUsize,
    deletes: AtomicUsize,
    max_seq: AtomicU64,
    pins: AtomicUsize,
    /// The log segment that holds its first entry; `u64::MAX` while it is empty.
    first_segment: AtomicU64,
    /// Every entry is at or below this number; `u64::MAX` while it is active.
    frozen_at: AtomicU64,
    /// The commit times of its entries.
    min_micros: AtomicI64,
    max_micros: AtomicI64,
    /// What came and was not scanned yet.
    arrivals: Arrivals,
    /// What scans made of it.
    runs: MemRuns,
    /// What is known of its columns.
    summary: Arc<Slot>,
}

impl TreeMemtable {
    /// An empty active memtable. Its bytes are added to `gauge` as long as it lives.
    pub(crate) fn new(kind: MemtableKind, gauge: Arc<AtomicUsize>) -> Self {
        let table: Box<dyn Memtable> = match kind {
            MemtableKind::Leaves => Box::new(leaves::LeafMemtable::default()),
            MemtableKind::BTree => Box::new(btree::BTreeMemtable::default()),
        };
        Self::of(table, gauge)
    }

    /// The same, empty, with a filter or without ([`FastPaths`](crate::FastPaths)).
    pub(crate) fn filtered(mut self, is_filtered: bool) -> Self {
        self.filter = is_filtered.then(Arc::default);
        self
    }

    fn of(table: Box<dyn Memtable>, gauge: Arc<AtomicUsize>) -> Self {
        Self {
            table,
            filter: Some(Arc::default()),
            bytes: AtomicUsize::new(0),
            gauge,
            entries: AtomicUsize::new(0),
            deletes: AtomicUsize::new(0),
            max_seq: AtomicU64::new(0),
            pins: AtomicUsize::new(0),
            first_segment: AtomicU64::new(u64::MAX),
            frozen_at: AtomicU64::new(u64::MAX),
            min_micros: AtomicI64::new(i64::MAX),
            max_micros: AtomicI64::new(i64::MIN),
            arrivals: Arrivals::default(),
            runs: MemRuns::default(),
            summary: Arc::default(),
        }
    }

    /// The entries of this one at or below `through`, to be read only, all under the number
    /// `shown`; of a key's entries the newest comes first as here. What is inserted later above
    /// `through` is not among them.
    pub(crate) fn as_of(self: &Arc<Self>, through: SeqNo, shown: SeqNo) -> Self {
        let table = Box::new(AsOf::new(Arc::clone(self), through, shown));
        let mut view = Self::of(table, Arc::default());
        view.filter.clone_from(&self.filter);
        view.summary = Arc::clone(&self.summary);
        view.entries.store(self.len(), Ordering::Relaxed);
        view.deletes.store(self.deletes(), Ordering::Relaxed);
        view.max_seq.store(shown, Ordering::Relaxed);
        view.freeze(shown);
        view
    }

    /// Adds an entry. (key, seq, kind) must be new.
    pub(crate) fn insert(&self, entry: EntryBytes, seq: SeqNo, kind: OpKind) {
        self.insert_all(seq, std::iter::once((entry, kind)));
    }

    /// Adds the entries of commit `seq`, counting them once for all.
    pub(crate) fn insert_all(
        &self,
        seq: SeqNo,
        entries: impl Iterator<Item = (EntryBytes, OpKind)>,
    ) {
        let (mut count, mut deletes, mut bytes) = (0, 0, 0);
        let before = self.len();
        let mut arrived = Vec::with_capacity(entries.size_hint().0);
        for (entry, kind) in entries {
            if let Some(filter) = &self.filter {
                filter.insert(before + count, key_hash(entry.key()));
            }
            count += 1;
            deletes += usize::from(kind == OpKind::Delete);
            bytes += entry.len() + ENTRY_OVERHEAD_BYTES;
            arrived.push((entry, kind));
        }
        self.table.insert_all(seq, &arrived);
        self.arrivals.push(seq, arrived);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.gauge.fetch_add(bytes, Ordering::Relaxed);
        self.entries.fetch_add(count, Ordering::Relaxed);
        self.deletes.fetch_add(deletes, Ordering::Relaxed);
        self.max_seq.fetch_max(seq, Ordering::Relaxed);
    }

    /// See [`Memtable::get`].
    pub(crate) fn get(
        &self,
        key: &[u8],
        snapshot: SeqNo,
        mut found: impl FnMut(MemEntry<'_>),
    ) -> bool {
        self.table.get(key, snapshot, &mut found)
    }

    /// Whether the key of this hash ([`key_hash`]) may have an entry. False is certain, up to every
    /// number that is published.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_contain(hash))
    }

    /// See [`Memtable::visit`].
    pub(crate) fn visit(
        &self,
        range: KeyBounds<'_>,
        reverse: bool,
        mut visitor: impl FnMut(MemEntry<'_>) -> ControlFlow<()>,
    ) {
        self.table.visit(range, reverse, &mut visitor);
    }

    /// Shows `visitor` each key's newest entry, by key, until it breaks.
    pub(crate) fn visit_newest(&self, mut visitor: impl FnMut(MemEntry<'_>) -> ControlFlow<()>) {
        let mut last: Option<Vec<u8>> = None;
        self.visit((Bound::Unbounded, Bound::Unbounded), false, |entry| {
            if last.as_deref() == Some(entry.key) {
                return ControlFlow::Continue(());
            }
            let last = last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(entry.key);
            visitor(entry)
        });
    }

    /// Whether any entry, whatever its number, lies in `range`.
    pub(crate) fn overlaps(&self, range: KeyBounds<'_>) -> bool {
        let mut any = false;
        self.visit(range, false, |_| {
            any = true;
            ControlFlow::Break(())
        });
        any
    }

    /// What `snapshot` sees as columns, newest first; none if that cannot be said any more.
    pub(crate) fn runs_at(&self, snapshot: SeqNo) -> Option<Vec<Arc<MemRun>>> {
        self.runs.at(self, snapshot)
    }

    /// The lowest number of an entry that is in no run. What is inserted later is not counted.
    pub(crate) fn first_without_run(&self) -> Option<SeqNo> {
        self.arrivals.first()
    }

    /// Whether a scan made a run of it.
    pub(crate) fn was_scanned(&self) -> bool {
        !self.runs.is_empty()
    }

    /// See [`Memtable::is_private`].
    pub(crate) fn is_private(&self) -> bool {
        self.table.is_private()
    }

    /// Memory of its runs.
    pub(crate) fn run_bytes(&self) -> usize {
        self.runs.bytes()
    }

    /// Memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Whether there is no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of entries that are deletes.
    pub(crate) fn deletes(&self) -> usize {
        self.deletes.load(Ordering::Relaxed)
    }

    /// The highest number; 0 while it is empty.
    pub(crate) fn max_seq(&self) -> SeqNo {
        self.max_seq.load(Ordering::Relaxed)
    }

    /// A batch that was numbered will insert here; under the commit lock. `segment` holds its
    /// record, `micros` is its time.
    pub(crate) fn pin(&self, segment: u64, micros: i64) {
        debug_assert!(!self.is_frozen(), "a frozen memtable takes no batch");
        self.min_micros.fetch_min(micros, Ordering::Relaxed);
        self.max_micros.fetch_max(micros, Ordering::Relaxed);
        self.first_segment.fetch_min(segment, Ordering::Relaxed);
        self.pins.fetch_add(1, Ordering::AcqRel);
    }

    /// The batch's inserts have ended; whether it was the last pin.
    ///
    /// Who unpins last looks whether the memtable is frozen, and who freezes it has others look
    /// whether it is pinned: all four are in one order, so that not both can look in vain.
    pub(crate) fn unpin(&self) -> bool {
        self.pins.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Whether a numbered batch may still insert.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pins.load(Ordering::SeqCst) > 0
    }

    /// The log segment that holds its first entry; `u64::MAX` while nothing was put here.
    pub(crate) fn first_segment(&self) -> u64 {
        self.first_segment.load(Ordering::Relaxed)
    }

    /// The least and greatest commit time of its entries.
    pub(crate) fn commit_micros(&self) -> (i64, i64) {
        (self.min_micros.load(Ordering::Relaxed), self.max_micros.load(Ordering::Relaxed))
    }

    /// No batch above `seq` will pin it; under the commit lock.
    pub(crate) fn freeze(&self, seq: SeqNo) {
        self.frozen_at.store(seq, Ordering::SeqCst);
    }

    /// Whether it is frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen_at() != u64::MAX
    }

    /// Every entry is at or below this number; `u64::MAX` while it is active.
    pub(crate) fn frozen_at(&self) -> SeqNo {
        self.frozen_at.load(Ordering::SeqCst)
    }
}

impl Drop for TreeMemtable {
    fn drop(&mut self) {
        self.gauge.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;

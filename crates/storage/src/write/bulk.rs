//! Bulk loads: rows that become SSTables without passing log and memtable.
//!
//! 1. Rows are sorted and written as files, duplicates dealt with ([`Runs`]), while others commit.
//! 2. The tree's memtables that overlap the files are flushed.
//! 3. Under the commit lock: the keys that others committed meanwhile are looked up in the files,
//!    one log record names the files beside the transaction's other changes, number N is drawn, and
//!    the tree's active memtable is frozen at N, so that no memtable spans N.
//! 4. Once every commit below N is published and what is left of the older memtables is flushed,
//!    one manifest edit places each file at the lowest level where nothing hides it wrongly.
//!    Memtables above N wait for that: the files are older than they.
//! 5. N is published.
//!
//! Should the edit fail, the record stands: the database is poisoned, and replay places the files
//! (RULES.md 11 to 13).

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use arrow_array::ArrayRef;
use silt_codec::RowBuffer;

use super::commit::Placed;
use super::commit_index::{BulkKeys, CommitKeys};
use super::common_key::common_key;
use super::runs::{Runs, open_unlisted};
use super::throttle;
use crate::describe::EngineCounters;
use crate::engine::Core;
use crate::key::key_hash;
use crate::memtable::TreeMemtable;
use crate::sstable::{BlockCache, SsTableReader};
use crate::state::TreeState;
use crate::transaction::Shared;
use crate::version::{AddedFile, FileMeta, LiveFile, VersionEdit};
use crate::wal::{BulkFile, CommitRecord};
use crate::{Durability, Error, ErrorKind, Result, ScanWatch, SeqNo, Snapshot, WriteBatch};

/// What a bulk load does about a key that is there already, in the tree or earlier in the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The load fails with [`Error::duplicate`](crate::Error::duplicate).
    Error,
    /// The new row takes its place; within the load the last one wins.
    Replace,
    /// The row that is there stays; within the load the first one wins.
    Keep,
}

/// What a bulk load did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkOutcome {
    /// The number of its commit.
    pub seq: SeqNo,
    /// Rows it wrote.
    pub rows: u64,
    /// Rows it left out under [`OnDuplicate::Keep`].
    pub kept: u64,
}

/// A bulk load under way. Dropping it leaves no trace.
pub struct BulkLoad {
    core: Arc<Core>,
    tree: Arc<TreeState>,
    duplicates: OnDuplicate,
    /// Rows exist if they do here; what was committed since is looked up in the files.
    snapshot: Snapshot,
    /// The transaction that the load is part of, and what it had written to the tree.
    within: Option<(Arc<Shared>, u64)>,
    runs: Runs,
}

impl fmt::Debug for BulkLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BulkLoad(tree {}, {:?})", self.tree.id(), self.duplicates)
    }
}

impl Drop for BulkLoad {
    fn drop(&mut self) {
        self.runs.remove_files();
    }
}

impl BulkLoad {
    pub(crate) fn new(core: Arc<Core>, tree: Arc<TreeState>, duplicates: OnDuplicate) -> Self {
        let snapshot = core.pipeline.write_snapshot();
        Self::at(core, tree, duplicates, snapshot, None)
    }

    /// A load that becomes part of a transaction's writes.
    pub(crate) fn within(
        transaction: Arc<Shared>,
        tree: Arc<TreeState>,
        duplicates: OnDuplicate,
    ) -> Result<Self> {
        let mark = transaction.mark(tree.id())?;
        let (core, snapshot) = (Arc::clone(transaction.core()), transaction.snapshot());
        Ok(Self::at(core, tree, duplicates, snapshot, Some((transaction, mark))))
    }

    fn at(
        core: Arc<Core>,
        tree: Arc<TreeState>,
        duplicates: OnDuplicate,
        snapshot: Snapshot,
        within: Option<(Arc<Shared>, u64)>,
    ) -> Self {
        let context = Arc::clone(&core.context);
        let runs = Runs::new(context, Arc::clone(&tree), duplicates, snapshot.clone());
        Self { core, tree, duplicates, snapshot, within, runs }
    }

    /// The same load, which asks `watch` before each row group that it writes, or merges, until its
    /// commit begins.
    pub fn watched(mut self, watch: Arc<dyn ScanWatch>) -> Self {
        self.runs.watch(watch);
        self
    }

    /// Adds rows: all columns of the tree's current schema, in its order, of equal length.
    ///
    /// # Errors
    /// `AlreadyExists` under [`OnDuplicate::Error`] for a key that is there already, now or at
    /// [`finish`](Self::finish); `Invalid` for columns that do not fit.
    pub fn push(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        self.core.context.health.check()?;
        self.runs.push(columns, &self.core.versions)
    }

    /// Writes and syncs what is left, and commits the rows together with the changes of `with`,
    /// which must not touch the loaded tree. Always durable; or all of it joins the writes of the
    /// transaction that the load was begun in.
    ///
    /// # Errors
    /// `AlreadyExists` under [`OnDuplicate::Error`]; `Conflict` if a key of the load was committed
    /// by another since it began, unless it replaces rows and `with` has no base, or as for
    /// [`Engine::commit`](crate::Engine::commit), whose errors it has too.
    pub fn finish(mut self, with: WriteBatch) -> Result<BulkOutcome> {
        let core = Arc::clone(&self.core);
        if with.trees().any(|tree| tree == self.tree.id()) {
            let tree = self.tree.id();
            return Err(Error::invalid(format!(
                "the batch beside a load writes to its tree {tree}"
            )));
        }
        let files = self.runs.finish(&core.versions)?;
        let kept = self.runs.kept();
        let rows = files.iter().map(|file| file.rows).sum();
        if let Some((transaction, mark)) = &self.within {
            let mark = (self.duplicates != OnDuplicate::Replace).then_some(*mark);
            transaction.join(&self.tree, &files, with, mark)?;
            self.runs.give_away();
            return Ok(BulkOutcome { seq: self.snapshot.seq(), rows, kept });
        }
        if files.is_empty() {
            let seq = core.commit(with, Durability::Full)?;
            return Ok(BulkOutcome { seq, rows, kept });
        }
        // A load that replaces rows blindly asks nothing of others' commits.
        let base = match (self.duplicates, with.base()) {
            (OnDuplicate::Replace, base) => base,
            _ => Some(self.snapshot.seq()),
        };
        let loads = vec![(Arc::clone(&self.tree), files)];
        let seq = core.commit_files(loads, with, base, || self.runs.give_away())?;
        Ok(BulkOutcome { seq, rows, kept })
    }
}

/// Files on their way into one tree: sorted, disjoint, and opened, since the commit index probes
/// them as long as a transaction may ask.
struct Load {
    tree: Arc<TreeState>,
    files: Vec<FileMeta>,
    open: Vec<Arc<LiveFile>>,
}

impl Load {
    fn open(core: &Core, tree: Arc<TreeState>, files: Vec<FileMeta>) -> Result<Self> {
        let (schemas, cache) = (tree.schemas(), Arc::new(BlockCache::new(0)));
        let open = |meta| open_unlisted(&core.context, &schemas, meta, &cache);
        let open = files.iter().map(open).collect::<Result<_>>()?;
        Ok(Self { tree, files, open })
    }

    fn named(&self) -> impl Iterator<Item = BulkFile> + '_ {
        self.files.iter().map(|meta| BulkFile {
            tree: self.tree.id(),
            file_id: meta.id,
            size: meta.size,
            footer_checksum: meta.footer_checksum,
            rows: meta.rows,
        })
    }
}

/// Compares `loads` with those committed after `base`, before the commit lock is taken: what is long
/// about it is done then. The files that were looked at and share no key with these.
fn compare(core: &Core, loads: &[Load], base: SeqNo) -> Result<BTreeSet<u64>> {
    let mut compared = BTreeSet::new();
    for Load { tree, open, .. } in loads {
        for other in core.pipeline.bulk_since(tree.id(), base)? {
            for file in open {
                if let Some(key) = common_key(tree, file, &other)? {
                    return Err(Error::conflict(tree.id(), &key));
                }
            }
            compared.insert(other.id);
        }
    }
    Ok(compared)
}

/// Under the commit lock: checks, the record, number N, the memtables frozen at N.
fn place_record(
    core: &Core,
    loads: &[Load],
    with: &WriteBatch,
    base: Option<SeqNo>,
) -> Result<Placed> {
    let compared = base.map_or_else(|| Ok(BTreeSet::new()), |base| compare(core, loads, base))?;
    let trees = core.states(with.trees())?;
    let keys = CommitKeys::of(with);
    let mut record = CommitRecord::new();
    record.encode(with, &loads.iter().flat_map(Load::named).collect::<Vec<_>>())?;
    let pipeline = &core.pipeline;
    let mut state = pipeline.lock()?;
    state.check(with, &keys, loads.iter().map(|load| load.tree.id()))?;
    if let Some(base) = base {
        for load in loads {
            state.check_bulk(&load.tree, &load.open, base, &compared)?;
        }
    }
    let bulk_keys =
        |load: &Load| BulkKeys { tree: Arc::clone(&load.tree), files: load.open.clone() };
    let bulk = loads.iter().map(bulk_keys).collect();
    let placed =
        pipeline.append(&mut state, &trees, with, keys, bulk, &mut record, Durability::Full)?;
    for Load { tree, .. } in loads {
        state.begin_bulk(placed.seq, placed.position.segment, tree);
        let active = tree.active();
        if !active.is_empty() || active.is_pinned() {
            pipeline.freeze(tree, &active, placed.seq);
        }
    }
    Ok(placed)
}

impl Core {
    /// Commits files, sorted and disjoint within each tree, together with the changes of `with`,
    /// which touch other trees: one record, one number. `base` is that of the files. `named` is
    /// called once the record says that the files are the trees'.
    pub(crate) fn commit_files(
        &self,
        loads: Vec<(Arc<TreeState>, Vec<FileMeta>)>,
        with: WriteBatch,
        base: Option<SeqNo>,
        named: impl FnOnce(),
    ) -> Result<SeqNo> {
        let sst = self.context.dir.join("sst");
        let synced = self.context.env.vfs.sync_dir(&sst);
        synced.map_err(|error| Error::io(&sst, "sync", error))?;
        let trees: Vec<_> = loads.iter().map(|(tree, _)| Arc::clone(tree)).collect();
        let open = |(tree, files)| Load::open(self, tree, files);
        let loads = loads.into_iter().map(open).collect::<Result<Vec<_>>>()?;
        throttle::wait(&self.context, &trees)?;
        for load in &loads {
            self.flush_overlapping(&load.tree, &load.files, SeqNo::MAX)?;
        }
        let placed = place_record(self, &loads, &with, base);
        let placed = placed.map_err(|error| self.pipeline.lost(error))?;
        let _panics = self.pipeline.poisoning_panics();
        named();
        let seq = placed.seq;
        let finished = self.publish_files(&loads, placed, with);
        finished.inspect_err(|error| self.pipeline.poison(error))?;
        let counters = &self.context.counters;
        EngineCounters::add(&counters.bulk_loads, 1);
        let bytes = loads.iter().flat_map(|load| &load.files).map(|file| file.size).sum();
        EngineCounters::add(&counters.bulk_bytes, bytes);
        self.shade_scanned(trees.iter(), seq);
        Ok(seq)
    }

    /// Everything behind the number. An error here leaves the record without its edit.
    fn publish_files(&self, loads: &[Load], placed: Placed, with: WriteBatch) -> Result<()> {
        let (seq, segment) = (placed.seq, placed.position.segment);
        let micros = placed.micros;
        placed.insert(with);
        self.pipeline.sync()?;
        self.pipeline.wait_published(seq - 1)?;
        let files: Vec<_> =
            loads.iter().map(|load| (Arc::clone(&load.tree), load.files.clone())).collect();
        self.place_bulk(&files, seq, segment, micros)?;
        self.pipeline.end_bulk(seq, loads.iter().map(|load| &*load.tree));
        self.pipeline.finish(seq)
    }

    /// Flushes all that `tree`'s memtables hold now.
    pub(crate) fn flush_tree(&self, tree: &TreeState) -> Result<()> {
        let is_used = |table: &Arc<TreeMemtable>| !table.is_empty() || table.is_pinned();
        if !tree.read_view().memtables.iter().any(is_used) {
            return Ok(());
        }
        let through = self.pipeline.freeze_all([tree])?;
        self.flush_frozen(tree, through)
    }

    /// Flushes what `tree`'s memtables frozen at or below `seq` hold, all of them if `seq` is
    /// `SeqNo::MAX`, if any of it lies among the keys of `files`.
    fn flush_overlapping(&self, tree: &TreeState, files: &[FileMeta], seq: SeqNo) -> Result<()> {
        let view = tree.read_view();
        let mut older = view.memtables.iter().filter(|table| table.frozen_at() <= seq);
        let overlaps = older.any(|table| {
            files.iter().any(|file| {
                table.overlaps((Bound::Included(&file.smallest), Bound::Included(&file.largest)))
            })
        });
        if !overlaps {
            return Ok(());
        }
        let through = match seq {
            SeqNo::MAX => self.pipeline.freeze_all([tree])?,
            seq => seq,
        };
        self.flush_frozen(tree, through)
    }

    /// Places the files of bulk commit `seq`. Every commit below it is published or replayed, and
    /// the log is synced past it.
    fn place_bulk(
        &self,
        loads: &[(Arc<TreeState>, Vec<FileMeta>)],
        seq: SeqNo,
        segment: u64,
        micros: i64,
    ) -> Result<()> {
        for (tree, files) in loads {
            self.flush_overlapping(tree, files, seq)?;
        }
        let all = loads.iter().flat_map(|(tree, files)| files.iter().map(|meta| (tree.id(), meta)));
        let placed = self.apply_placing(|placement| {
            let added = all.map(|(tree, meta)| AddedFile {
                tree,
                level: placement(tree, &meta.smallest, &meta.largest),
                meta: FileMeta {
                    file_seq: Some(seq),
                    min_seq: seq,
                    max_seq: seq,
                    commit_micros: (micros, micros),
                    ..meta.clone()
                },
            });
            VersionEdit {
                added: added.collect(),
                applied_bulk: vec![(seq, segment)],
                ..VersionEdit::default()
            }
        });
        match placed {
            // The tree was dropped meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            placed => placed,
        }
    }

    /// Places the files of a bulk commit whose edit a crash has cut off.
    pub(crate) fn redo_bulk(
        &self,
        seq: SeqNo,
        segment: u64,
        micros: i64,
        files: &[BulkFile],
    ) -> Result<()> {
        let mut loads: Vec<(Arc<TreeState>, Vec<FileMeta>)> = Vec::new();
        for file in files {
            // A tree dropped since is not missed.
            let Ok(tree) = self.state(file.tree) else { continue };
            let path = self.context.sst_path(file.file_id);
            let meta = SsTableReader::read_meta(
                &self.context.env,
                &path,
                file.file_id,
                file.size,
                file.footer_checksum,
                self.context.uuid,
            )?;
            if meta.rows != file.rows {
                let (found, named) = (meta.rows, file.rows);
                let what = format!("{found} rows, in the log's record {named}");
                return Err(Error::corrupt(&path, 0, what));
            }
            match loads.iter_mut().find(|(of, _)| of.id() == file.tree) {
                Some((_, metas)) => metas.push(meta),
                None => loads.push((tree, vec![meta])),
            }
        }
        self.place_bulk(&loads, seq, segment, micros)
    }
}

/// Whether an open file holds `key`.
pub(super) fn holds_key(file: &LiveFile, tree: &TreeState, key: &[u8]) -> Result<bool> {
    if key < &*file.smallest || key > &*file.largest {
        return Ok(false);
    }
    let reader = file.reader(|_| Err(Error::internal("a bulk file that is not open")))?;
    if !reader.may_contain(key_hash(key))? {
        return Ok(false);
    }
    let Some(group) = reader.find_group(key) else { return Ok(false) };
    let mut values = RowBuffer::new();
    tree.key_codec().decode(key, &mut values)?;
    let group = reader.group(group, &tree.schema(), &[])?;
    Ok(!group.find(&values)?.is_empty())
}

#[cfg(test)]
#[path = "bulk_tests.rs"]
mod tests;

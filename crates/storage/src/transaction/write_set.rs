//! [`WriteSet`]: what a transaction wrote, in memory and in files of its own.
//!
//! A tree's rows stand in a memtable under the numbers of the statements that wrote them, counted
//! from 1. They are numbers of this transaction alone: readers see its rows under the base's
//! number, through an [`Overlay`], and the commit draws one for all of them.
//!
//! What is too much for the memory, and what bulk loads bring, are *runs* of files in no version:
//! sorted, disjoint, one entry a key, the newer run hiding the older one. Their numbers are 0 on
//! disk; readers get the base's number instead, as bulk files get that of their commit. Runs are
//! merged as they grow in number, and to one where they overlap before the commit, since files
//! that share a number must not share a key. A tree with runs has its last rows spilled as well
//! then. Files go with their last reader, or at the next opening, unless a record names them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::overlay::{Overlay, OwnRows};
use crate::engine::Core;
use crate::memtable::TreeMemtable;
use crate::sstable::{BlockCache, SsTableReader};
use crate::state::TreeState;
use crate::version::{FileMeta, LiveFile};
use crate::write::{flush, runs};
use crate::{Durability, OpKind, Options, Result, SeqNo, Snapshot, TreeId, WriteBatch};

/// All transactions together may take this share of the engine's memory until each has to do with
/// less.
const TOGETHER_SHARE: usize = 4;

/// So much less.
const LESS: usize = 8;

/// Row groups of its files are kept within this share of the memory.
const CACHE_SHARE: usize = 32;

/// A run is merged with the one before it unless that one is so many times larger.
const GROWTH: u64 = 4;

/// More runs of a tree are merged.
const RUNS_MAX: usize = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct WriteSet {
    base: Snapshot,
    trees: BTreeMap<TreeId, TreeWrites>,
    /// Statements so far: the number of the last one's rows.
    statements: SeqNo,
    catalog_seq: Option<SeqNo>,
    schema_changes: Vec<TreeId>,
    trees_read: Vec<TreeId>,
    /// Bytes of memtables, those included that only readers hold.
    gauge: Arc<AtomicUsize>,
    /// Row groups of the files. What the engine's cache holds of a file stays in it when the file
    /// is committed; here they stand under the base's number.
    cache: Arc<BlockCache>,
    /// The first statement's changes as they came, as long as nothing reads them and no other
    /// statement follows: a transaction of one statement commits its batch as it is.
    only: Option<(Vec<Arc<TreeState>>, WriteBatch)>,
    /// What was written so far, for readers; none if more was written since.
    overlay: Option<Arc<Overlay>>,
}

/// What was written to one tree.
#[derive(Debug)]
struct TreeWrites {
    tree: Arc<TreeState>,
    memtable: Arc<TreeMemtable>,
    /// See [`WriteSet::gauge`].
    gauge: Arc<AtomicUsize>,
    /// See [`WriteSet::cache`].
    cache: Arc<BlockCache>,
    /// The memtable as of the last statement, for readers; none if it was written to since.
    seen: Option<Arc<TreeMemtable>>,
    /// Newest first; the files of each by key.
    runs: Vec<Vec<Arc<LiveFile>>>,
    /// The last statement that wrote here.
    last_statement: SeqNo,
    /// The tree's own memtables hold nothing at or below the base.
    is_settled: bool,
}

impl WriteSet {
    pub(super) fn new(base: Snapshot, options: &Options) -> Self {
        let cache_bytes = options.memory_bytes / CACHE_SHARE;
        Self {
            base,
            trees: BTreeMap::new(),
            statements: 0,
            catalog_seq: None,
            schema_changes: Vec::new(),
            trees_read: Vec::new(),
            gauge: Arc::default(),
            cache: Arc::new(BlockCache::new(cache_bytes as u64)),
            only: None,
            overlay: None,
        }
    }

    pub(super) fn gauge(&self) -> &Arc<AtomicUsize> {
        &self.gauge
    }

    pub(super) fn set_catalog_seq(&mut self, seq: SeqNo) {
        self.catalog_seq = Some(seq);
    }

    pub(super) fn is_empty(&self) -> bool {
        let is_empty = |batch: &WriteBatch| batch.is_empty() && batch.schema_changes().is_empty();
        self.only.as_ref().is_none_or(|(_, batch)| is_empty(batch))
            && self.trees.is_empty()
            && self.schema_changes.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        let only = self.only.as_ref().map_or(0, |(_, batch)| batch.bytes());
        only + self.memory_bytes() + self.trees.values().map(TreeWrites::file_bytes).sum::<usize>()
    }

    fn memory_bytes(&self) -> usize {
        self.trees.values().map(|writes| writes.memtable.bytes()).sum()
    }

    pub(super) fn mark(&mut self, core: &Core, tree: TreeId) -> u64 {
        self.unfold(core);
        self.trees.get(&tree).map_or(0, |writes| writes.last_statement)
    }

    /// The base under what was written so far.
    pub(super) fn snapshot(&mut self, core: &Core) -> Snapshot {
        self.unfold(core);
        if self.trees.is_empty() {
            return self.base.clone();
        }
        let Self { base, trees, overlay, .. } = self;
        let overlay = overlay.get_or_insert_with(|| {
            let own = trees.iter_mut().map(|(tree, writes)| (*tree, writes.own_rows(base.seq())));
            Arc::new(Overlay::new(own))
        });
        base.under(Arc::clone(overlay))
    }

    /// Adds a statement's changes. What can fail comes first.
    pub(super) fn apply(&mut self, core: &Core, batch: WriteBatch) -> Result<()> {
        let trees = core.states(batch.trees())?;
        self.unfold(core);
        self.make_room(core, batch.bytes())?;
        self.statements += 1;
        if self.statements == 1 && batch.bytes() <= bytes_max(&core.context.options) / LESS {
            self.only = Some((trees, batch));
        } else {
            self.insert(core, &trees, batch);
        }
        Ok(())
    }

    /// Puts the only statement so far where it can be read.
    fn unfold(&mut self, core: &Core) {
        if let Some((trees, batch)) = self.only.take() {
            self.insert(core, &trees, batch);
        }
    }

    /// Adds the files of a bulk load as the newest rows of `tree`, and the changes of `with`, which
    /// touch other trees. What can fail comes first.
    pub(super) fn join(
        &mut self,
        core: &Core,
        tree: &Arc<TreeState>,
        files: &[FileMeta],
        with: WriteBatch,
    ) -> Result<()> {
        let trees = core.states(with.trees())?;
        self.unfold(core);
        self.make_room(core, with.bytes())?;
        if !files.is_empty() {
            let base = self.base.seq();
            self.overlay = None;
            let writes = self.writes_to(core, tree);
            // Rows in memory count as newer than files.
            writes.spill(core, base)?;
            writes.add_run(core, files, base)?;
        }
        self.statements += 1;
        self.insert(core, &trees, with);
        if let Some(writes) = self.trees.get_mut(&tree.id()) {
            writes.last_statement = self.statements;
        }
        Ok(())
    }

    fn insert(&mut self, core: &Core, trees: &[Arc<TreeState>], mut batch: WriteBatch) {
        self.overlay = None;
        self.schema_changes.extend_from_slice(batch.schema_changes());
        self.trees_read.extend_from_slice(batch.trees_read());
        batch.seal();
        let statement = self.statements;
        for (tree, (_, operations)) in trees.iter().zip(batch.into_operations()) {
            let writes = self.writes_to(core, tree);
            writes.memtable.insert_all(statement, operations);
            writes.last_statement = statement;
            writes.seen = None;
        }
    }

    fn writes_to(&mut self, core: &Core, tree: &Arc<TreeState>) -> &mut TreeWrites {
        let Self { gauge, cache, .. } = self;
        self.trees.entry(tree.id()).or_insert_with(|| TreeWrites {
            tree: Arc::clone(tree),
            memtable: new_memtable(core, gauge),
            gauge: Arc::clone(gauge),
            cache: Arc::clone(cache),
            seen: None,
            runs: Vec::new(),
            last_statement: 0,
            is_settled: false,
        })
    }

    /// Spills the largest memtables if `bytes` more would be too much.
    fn make_room(&mut self, core: &Core, bytes: usize) -> Result<()> {
        let options = &core.context.options;
        let together = core.context.transactions.memory_bytes();
        let is_much = together.saturating_add(bytes) > options.memory_bytes / TOGETHER_SHARE;
        let bytes_max = bytes_max(options) / if is_much { LESS } else { 1 };
        if self.memory_bytes().saturating_add(bytes) <= bytes_max {
            return Ok(());
        }
        while self.memory_bytes() > bytes_max / 2 {
            let filled = self.trees.values_mut().filter(|writes| !writes.memtable.is_empty());
            let Some(largest) = filled.max_by_key(|writes| writes.memtable.bytes()) else { break };
            largest.spill(core, self.base.seq())?;
            self.overlay = None;
        }
        Ok(())
    }

    /// Commits all of it at once.
    pub(super) fn commit(mut self, core: &Core, durability: Durability) -> Result<SeqNo> {
        let base = self.base.seq();
        if let Some((_, mut batch)) = self.only.take() {
            batch.set_moment(base, self.catalog_seq);
            return core.commit(batch, durability);
        }
        let mut loads = Vec::new();
        for writes in self.trees.values_mut().filter(|writes| !writes.runs.is_empty()) {
            writes.spill(core, base)?;
            writes.merge(core, base, writes.runs.len())?;
            let files = writes.runs.iter().flatten().map(|file| as_written(file.meta())).collect();
            loads.push((Arc::clone(&writes.tree), files));
        }
        let batch = self.batch();
        if loads.is_empty() {
            return core.commit(batch, durability);
        }
        core.commit_files(loads, batch, Some(base), || {
            let files = self.trees.values().flat_map(|writes| writes.runs.iter().flatten());
            files.for_each(|file| file.keep());
        })
    }

    /// The rows of trees without files, the last of each key.
    fn batch(&self) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.set_moment(self.base.seq(), self.catalog_seq);
        self.schema_changes.iter().for_each(|tree| batch.change_schema(*tree));
        self.trees_read.iter().for_each(|tree| batch.read_tree(*tree));
        for (tree, writes) in self.trees.iter().filter(|(_, writes)| writes.runs.is_empty()) {
            writes.memtable.visit_newest(|entry| {
                match entry.kind {
                    OpKind::Put => batch.put(*tree, entry.key, entry.row),
                    OpKind::Delete => batch.delete(*tree, entry.key),
                }
                ControlFlow::Continue(())
            });
        }
        batch
    }
}

impl TreeWrites {
    fn file_bytes(&self) -> usize {
        let bytes: u64 = self.runs.iter().flatten().map(|file| file.size).sum();
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    fn own_rows(&mut self, base: SeqNo) -> OwnRows {
        let Self { memtable, seen, runs, last_statement, .. } = self;
        let seen = seen.get_or_insert_with(|| Arc::new(memtable.as_of(*last_statement, base)));
        let seen = (!seen.is_empty()).then(|| Arc::clone(seen));
        OwnRows::new(seen, runs.iter().flatten().cloned().collect())
    }

    /// Makes a run of the rows in memory.
    fn spill(&mut self, core: &Core, base: SeqNo) -> Result<()> {
        if self.memtable.is_empty() {
            return Ok(());
        }
        let files = runs::write_newest(&core.context, &self.tree, &self.memtable, &core.versions)?;
        if let Err(error) = self.add_run(core, &files, base) {
            files.iter().for_each(|meta| flush::remove_file(&core.context, meta.id));
            return Err(error);
        }
        self.memtable = new_memtable(core, &self.gauge);
        self.seen = None;
        Ok(())
    }

    /// Puts the newest run in front. The files are this one's if it succeeds.
    fn add_run(&mut self, core: &Core, files: &[FileMeta], base: SeqNo) -> Result<()> {
        if !self.is_settled {
            core.flush_tree(&self.tree)?;
            self.is_settled = true;
        }
        let run = self.open_run(core, files, base)?;
        self.runs.insert(0, run);
        if self.runs.len() <= RUNS_MAX {
            return Ok(());
        }
        let bytes = |run: &Vec<Arc<LiveFile>>| run.iter().map(|file| file.size).sum::<u64>();
        let (mut count, mut all) = (1, bytes(&self.runs[0]));
        while let Some(older) = self.runs.get(count)
            && (count < 2 || bytes(older) < all.saturating_mul(GROWTH))
        {
            all += bytes(older);
            count += 1;
        }
        // The files are in already: that there are many of them is no harm yet.
        self.merge(core, base, count).or(Ok(()))
    }

    fn open_run(&self, core: &Core, files: &[FileMeta], base: SeqNo) -> Result<Vec<Arc<LiveFile>>> {
        let schemas = self.tree.schemas();
        let open = |meta: &FileMeta| {
            let numbered =
                FileMeta { file_seq: Some(base), min_seq: base, max_seq: base, ..meta.clone() };
            let file = LiveFile::private(numbered, Arc::clone(&core.context.sweep));
            file.reader(|meta| {
                let (context, cache) = (&core.context, Arc::clone(&self.cache));
                let path = context.sst_path(meta.id);
                SsTableReader::open(&context.env, &path, meta, context.uuid, &schemas, cache)
            })?;
            Ok(Arc::new(file))
        };
        let run = files.iter().map(open).collect::<Result<Vec<_>>>()?;
        // In no version: it goes with its last reader.
        run.iter().for_each(|file| file.retire());
        Ok(run)
    }

    /// Makes one run of the newest `count`.
    fn merge(&mut self, core: &Core, base: SeqNo, count: usize) -> Result<()> {
        if count < 2 {
            return Ok(());
        }
        let mut by_key: Vec<Arc<LiveFile>> = self.runs[..count].iter().flatten().cloned().collect();
        by_key.sort_by(|a, b| a.smallest.cmp(&b.smallest));
        if by_key.windows(2).any(|pair| pair[0].largest >= pair[1].smallest) {
            let written = |file: &Arc<LiveFile>| as_written(file.meta());
            let metas = |run: &Vec<Arc<LiveFile>>| run.iter().map(written).collect();
            let runs: Vec<Vec<FileMeta>> = self.runs[..count].iter().map(metas).collect();
            let merged = runs::merge_newest(&core.context, &self.tree, &runs, &core.versions)?;
            by_key = self.open_run(core, &merged, base).inspect_err(|_| {
                merged.iter().for_each(|meta| flush::remove_file(&core.context, meta.id));
            })?;
        }
        self.runs.splice(..count, [by_key]);
        Ok(())
    }
}

/// A transaction's own share of the memory.
fn bytes_max(options: &Options) -> usize {
    options.transaction_bytes.min(options.memory_bytes / TOGETHER_SHARE)
}

fn new_memtable(core: &Core, gauge: &Arc<AtomicUsize>) -> Arc<TreeMemtable> {
    let options = &core.context.options;
    let memtable = TreeMemtable::new(options.memtable_kind, Arc::clone(gauge));
    Arc::new(memtable.filtered(options.paths.memtable_filter))
}

/// What is known of a file by its own numbers, which are 0.
fn as_written(meta: &FileMeta) -> FileMeta {
    FileMeta { file_seq: None, min_seq: 0, max_seq: 0, ..meta.clone() }
}

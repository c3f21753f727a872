//! [`Engine`]: the parts put together, and the doors to them.
//!
//! Locks, in the order in which they are taken; whoever holds one takes only later ones:
//!
//! 1. A transaction's write set.
//! 2. `Trees.by_id`: which trees there are.
//! 3. `Pipeline.commit`: number, place in the log, commit index, epochs, active memtables.
//! 4. `Pipeline.publication`: which numbers are inserted and synced.
//! 5. `TreeState.schemas`, `TreeState.view`: what a tree's readers see, replaced whole.
//! 6. `SnapshotRegistry.live`: snapshots in use; compaction's floor is taken under it.
//! 7. `WorkSignal.generation`, `SweepQueue.files`, `OpenTransactions`: held for a moment, nothing is taken under them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Mutex, RwLock};
use silt_codec::{Schemas, TreeSchema};

use crate::describe::{Description, describe};
use crate::jobs::Workers;
use crate::snapshot::Snapshot;
use crate::state::{Context, TreeState};
use crate::version::{TreeVersion, VersionEdit, VersionSet};
use crate::vfs::{Env, VfsLock};
use crate::write::bulk::{BulkLoad, OnDuplicate};
use crate::write::commit::Pipeline;
use crate::write::throttle;
use crate::{
    Durability, Error, ErrorKind, Options, Result, SeqNo, Transaction, Tree, TreeId, WriteBatch,
    recovery,
};

/// If opening would have to read more log than this, closing flushes and begins a segment.
const REPLAYED_BYTES_MAX: u64 = 1 << 20;

/// A commit of so many rows in a tree that is scanned says itself which rows it hides.
const SHADED_ROWS: usize = 1 << 17;

/// An open database: trees, one log, one sequence of commits. Cheap to clone; the last clone
/// dropped closes it.
#[derive(Clone)]
pub struct Engine {
    core: Arc<Core>,
    /// Closes the engine with the last clone; the engine's threads hold the core, not this.
    _closer: Arc<Closer>,
}

struct Closer(Arc<Core>);

impl Drop for Closer {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; what was acknowledged is safe without the seal.
        let _ = self.0.close();
    }
}

/// A background step that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// A frozen memtable to level 0.
    Flush(TreeId),
    /// Files of one level into the next.
    Compact(TreeId),
    /// A sync of commits that were not durable at once, or the promise of a log gone quiet.
    Log,
    /// Removing files and log segments that nobody needs.
    Sweep,
}

/// What all clones and the engine's own threads share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) context: Arc<Context>,
    trees: RwLock<BTreeMap<TreeId, Arc<TreeState>>>,
    /// One registration of a tree or schema at a time.
    registering: Mutex<()>,
    /// Trees that go once no snapshot is older than this number.
    retired: Mutex<BTreeMap<TreeId, SeqNo>>,
    pub(crate) pipeline: Pipeline,
    pub(crate) versions: VersionSet,
    pub(crate) workers: Workers,
    lock: Mutex<Option<Box<dyn VfsLock>>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.core.context.dir.display())
    }
}

impl Engine {
    /// Opens the database in `dir`, recovering what its log holds, or creates one there.
    ///
    /// # Errors
    /// `Locked` with the other process's id; `Invalid` if `dir` holds something else;
    /// `Unsupported` if a newer release wrote it; `Corrupt` with file and offset; `Io`.
    pub fn open(env: Env, dir: &Path, options: Options) -> Result<Engine> {
        let core = Arc::new(recovery::open(env, dir, options)?);
        let engine = Self { _closer: Arc::new(Closer(Arc::clone(&core))), core };
        if engine.options().background {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            engine.core.start((cores / 4).max(1))?;
        }
        Ok(engine)
    }

    /// A new empty tree, durable on return. Its first schema has version 1.
    pub fn create_tree(&self, schema: TreeSchema) -> Result<TreeId> {
        self.core.create_tree(schema)
    }

    /// Adds the next version of a tree's schema, durable on return; rows may use it from now on.
    pub fn register_schema(&self, tree: TreeId, schema: TreeSchema) -> Result<()> {
        self.core.register_schema(tree, schema)
    }

    /// The tree with this number.
    pub fn tree(&self, id: TreeId) -> Result<Tree> {
        Ok(Tree::new(self.core.state(id)?))
    }

    /// All trees, ascending.
    pub fn trees(&self) -> Vec<TreeId> {
        self.core.trees.read().keys().copied().collect()
    }

    /// The tree is not needed by any snapshot taken from now on: it goes, files and all, with the
    /// last snapshot that is older.
    pub fn retire_tree(&self, tree: TreeId) -> Result<()> {
        self.core.retire_tree(tree)
    }

    /// Removes every tree that is not in `named`: on opening, once the catalog was read whole.
    pub fn sweep_trees(&self, named: &BTreeSet<TreeId>) -> Result<()> {
        let mut unnamed = self.trees();
        unnamed.retain(|tree| !named.contains(tree));
        self.core.drop_trees(&unnamed)
    }

    /// A snapshot of now.
    pub fn snapshot(&self) -> Snapshot {
        self.core.context.snapshots.snapshot()
    }

    /// A snapshot of now that a batch can name as its base: conflicts back to it are found.
    pub fn write_snapshot(&self) -> Snapshot {
        self.core.pipeline.write_snapshot()
    }

    /// Commits `batch` at the durability of the options and returns its number, once readers see
    /// it. An empty batch commits nothing and returns the number published last.
    ///
    /// # Errors
    /// `Conflict` if a key was written since the batch's base, or a schema changed since its
    /// catalog number; `DiskFull` (try again later); `Closed` once a sync failed.
    pub fn commit(&self, batch: WriteBatch) -> Result<SeqNo> {
        self.commit_with(batch, self.core.context.options.durability)
    }

    /// [`commit`](Self::commit) at another durability.
    pub fn commit_with(&self, batch: WriteBatch, durability: Durability) -> Result<SeqNo> {
        self.core.commit(batch, durability)
    }

    /// Begins a transaction: reads at a snapshot of now, and writes that are its own until it
    /// commits.
    pub fn begin(&self) -> Transaction {
        Transaction::begin(Arc::clone(&self.core))
    }

    /// Begins a bulk load into `tree`.
    pub fn bulk_load(&self, tree: TreeId, duplicates: OnDuplicate) -> Result<BulkLoad> {
        self.core.check_open()?;
        let state = self.core.state(tree)?;
        Ok(BulkLoad::new(Arc::clone(&self.core), state, duplicates))
    }

    /// Moves all memtables to level 0.
    pub fn flush(&self) -> Result<()> {
        self.core.flush_all()
    }

    /// Merges all of a tree's files into its last level.
    pub fn compact(&self, tree: TreeId) -> Result<()> {
        let tree = self.core.state(tree)?;
        self.core.compact_all(&tree)
    }

    /// The background step that is due next.
    pub fn next_job(&self) -> Option<JobKind> {
        self.core.next_job()
    }

    /// Does one background step; false if none is due.
    pub fn run_job(&self) -> Result<bool> {
        self.core.run_job()
    }

    /// Does background steps until none is due.
    pub fn run_until_idle(&self) -> Result<()> {
        while self.run_job()? {}
        Ok(())
    }

    /// Makes every commit returned so far durable, whatever its durability was.
    pub fn sync(&self) -> Result<()> {
        self.core.pipeline.sync().map(drop)
    }

    /// Ends background work, syncs and seals the log, and gives the lock back. Every call on any
    /// clone fails with `Closed` afterwards.
    pub fn close(&self) -> Result<()> {
        self.core.close()
    }

    /// Shape and counters.
    pub fn describe(&self) -> Description {
        describe(&self.core.context, &self.core.tree_states())
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.core.context.options
    }
}

#[cfg(test)]
impl Engine {
    /// What is behind the doors.
    pub(crate) fn core_of_test(&self) -> &Core {
        &self.core
    }
}

impl Core {
    /// A core without trees.
    pub(crate) fn new(
        context: Arc<Context>,
        pipeline: Pipeline,
        versions: VersionSet,
        lock: Box<dyn VfsLock>,
    ) -> Self {
        Self {
            context,
            trees: RwLock::default(),
            registering: Mutex::default(),
            retired: Mutex::default(),
            pipeline,
            versions,
            workers: Workers::default(),
            lock: Mutex::new(Some(lock)),
        }
    }

    /// A tree that the manifest knows already.
    pub(crate) fn add_tree(&self, state: Arc<TreeState>) {
        self.versions.attach(Arc::clone(&state));
        self.trees.write().insert(state.id(), state);
    }

    pub(crate) fn state(&self, tree: TreeId) -> Result<Arc<TreeState>> {
        let unknown = || Error::new(ErrorKind::NotFound, format!("there is no tree {tree}"));
        self.trees.read().get(&tree).cloned().ok_or_else(unknown)
    }

    pub(crate) fn states(
        &self,
        trees: impl Iterator<Item = TreeId>,
    ) -> Result<Vec<Arc<TreeState>>> {
        trees.map(|tree| self.state(tree)).collect()
    }

    /// All trees, ascending.
    pub(crate) fn tree_states(&self) -> Vec<Arc<TreeState>> {
        self.trees.read().values().cloned().collect()
    }

    /// See [`Engine::commit_with`].
    pub(crate) fn commit(&self, batch: WriteBatch, durability: Durability) -> Result<SeqNo> {
        if batch.is_empty() && batch.schema_changes().is_empty() {
            return Ok(self.context.snapshots.published());
        }
        let trees = self.states(batch.trees())?;
        throttle::wait(&self.context, &trees)?;
        let is_large = batch.len() >= SHADED_ROWS;
        let seq = self.pipeline.commit(&trees, batch, durability)?;
        if is_large {
            self.shade_scanned(trees.iter(), seq);
        }
        Ok(seq)
    }

    fn create_tree(&self, schema: TreeSchema) -> Result<TreeId> {
        let _one_at_a_time = self.registering.lock();
        self.check_open()?;
        schema.validate()?;
        let schema = Arc::new(schema);
        let schemas = Schemas::new(Arc::clone(&schema))?;
        let id = TreeId(self.versions.read(|files| files.next_tree));
        self.versions
            .apply(VersionEdit { schemas: vec![(id, schema)], ..VersionEdit::default() })?;
        let memtables = vec![Arc::new(self.pipeline.new_memtable())];
        let version = Arc::new(TreeVersion::default());
        let context = Arc::clone(&self.context);
        self.add_tree(Arc::new(TreeState::new(id, context, schemas, memtables, version)));
        Ok(id)
    }

    fn register_schema(&self, tree: TreeId, schema: TreeSchema) -> Result<()> {
        let _one_at_a_time = self.registering.lock();
        self.check_open()?;
        schema.validate()?;
        let schema = Arc::new(schema);
        let state = self.state(tree)?;
        // What cannot follow the tree's schemas must not reach the manifest.
        state.schemas().with(Arc::clone(&schema))?;
        let schemas = vec![(tree, Arc::clone(&schema))];
        self.versions.apply(VersionEdit { schemas, ..VersionEdit::default() })?;
        state.add_schema(schema)
    }

    fn retire_tree(&self, tree: TreeId) -> Result<()> {
        self.state(tree)?;
        self.retired.lock().insert(tree, self.context.snapshots.published());
        self.context.work.notify();
        Ok(())
    }

    /// Whether a retired tree waits for a snapshot to go.
    pub(crate) fn has_retired(&self) -> bool {
        !self.retired.lock().is_empty()
    }

    /// The retired trees that no snapshot can see any more.
    pub(crate) fn retired_now(&self) -> Vec<TreeId> {
        let oldest = self.context.snapshots.oldest().unwrap_or(SeqNo::MAX);
        let retired = self.retired.lock();
        retired.iter().filter(|(_, seq)| oldest >= **seq).map(|(tree, _)| *tree).collect()
    }

    /// Takes the trees out of the manifest; their files go with their last readers.
    pub(crate) fn drop_trees(&self, dropped: &[TreeId]) -> Result<()> {
        if dropped.is_empty() {
            return Ok(());
        }
        let edit = VersionEdit { dropped_trees: dropped.to_vec(), ..VersionEdit::default() };
        self.versions.apply(edit)?;
        let (mut trees, mut retired) = (self.trees.write(), self.retired.lock());
        for tree in dropped {
            trees.remove(tree);
            retired.remove(tree);
        }
        Ok(())
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        self.context.health.check()?;
        if self.is_stopping() {
            return Err(Error::new(ErrorKind::Closed, "the database is closed"));
        }
        Ok(())
    }

    /// Whether the engine's threads must end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.context.is_stopping()
    }

    fn close(&self) -> Result<()> {
        if self.context.stopping.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.context.work.notify();
        self.pipeline.end_early_syncs();
        self.join();
        let end = self.pipeline.log_end();
        let segments = end.segment - self.versions.read(|files| files.first_segment);
        let replayed = segments.saturating_mul(self.context.options.wal_segment_bytes);
        if replayed.saturating_add(end.offset) > REPLAYED_BYTES_MAX {
            // For the next opening's sake; what a full disk forbids stays in the log.
            let _ = self.shorten_log();
        }
        let sealed = self.pipeline.close().and_then(|seal| match seal {
            Some(seal) => self.versions.seal(seal),
            None => Ok(()),
        });
        self.lock.lock().take();
        sealed
    }
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
pub(crate) mod tests;

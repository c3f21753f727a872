//! [`Engine`]: the parts put together, and the doors to them.
//!
//! Locks, in the order in which they are taken; whoever holds one takes only later ones:
//!
//! 1. `Trees.by_id`: which trees there are.
//! 2. `Pipeline.commit`: number, place in the log, commit index, epochs, active memtables.
//! 3. `Pipeline.publication`: which numbers are inserted and synced.
//! 4. `TreeState.schemas`, `TreeState.view`: what a tree's readers see, replaced whole.
//! 5. `SnapshotRegistry.live`: snapshots in use; compaction's floor is taken under it.
//! 6. `WorkSignal.generation`, `SweepQueue.files`: held for a moment, nothing is taken under them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use silt_codec::{Schemas, TreeSchema};

use crate::describe::{
    Description, EngineCounters, FileDescription, LevelDescription, MemtableDescription,
    TreeDescription,
};
use crate::snapshot::{Snapshot, SnapshotRegistry};
use crate::sstable::BlockCache;
use crate::state::{Context, TreeState, WorkSignal};
use crate::version::{SweepQueue, TreeVersion};
use crate::vfs::Env;
use crate::write::bulk::{BulkLoad, OnDuplicate};
use crate::write::commit::Pipeline;
use crate::{Durability, Error, ErrorKind, Options, Result, SeqNo, Tree, TreeId, WriteBatch};

/// An open database: trees, one log, one sequence of commits. Cheap to clone; the last clone
/// dropped closes it.
#[derive(Clone)]
pub struct Engine {
    core: Arc<Core>,
}

/// A background step that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// A frozen memtable to level 0.
    Flush(TreeId),
    /// Files of one level into the next.
    Compact(TreeId),
    /// Removing files and log segments that nobody needs.
    Sweep,
}

/// What all clones and the engine's own threads share.
#[derive(Debug)]
pub(crate) struct Core {
    context: Arc<Context>,
    trees: RwLock<BTreeMap<TreeId, Arc<TreeState>>>,
    pipeline: Pipeline,
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
        let context = Arc::new(Context {
            uuid: u128::from(env.random.next_u64()) << 64 | u128::from(env.random.next_u64()),
            env,
            dir: dir.to_owned(),
            options,
            snapshots: Arc::new(SnapshotRegistry::new(0)),
            sweep: Arc::new(SweepQueue::default()),
            cache: Arc::new(BlockCache::new(0)),
            counters: EngineCounters::default(),
            work: WorkSignal::default(),
        });
        let pipeline = Pipeline::new(Arc::clone(&context), None, 0, i64::MIN);
        let core = Core { context, trees: RwLock::default(), pipeline };
        Ok(Self { core: Arc::new(core) })
    }

    /// A new empty tree, durable on return. Its first schema has version 1.
    pub fn create_tree(&self, schema: TreeSchema) -> Result<TreeId> {
        let core = &self.core;
        schema.validate()?;
        let schemas = Schemas::new(Arc::new(schema))?;
        let mut trees = core.trees.write();
        let id = TreeId(trees.last_key_value().map_or(1, |(last, _)| last.0 + 1));
        let active = core.pipeline.new_memtable();
        let version = Arc::new(TreeVersion::default());
        let state = TreeState::new(id, Arc::clone(&core.context), schemas, active, version);
        trees.insert(id, Arc::new(state));
        Ok(id)
    }

    /// Adds the next version of a tree's schema, durable on return; rows may use it from now on.
    pub fn register_schema(&self, tree: TreeId, schema: TreeSchema) -> Result<()> {
        schema.validate()?;
        self.core.state(tree)?.add_schema(Arc::new(schema))
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
        self.core.state(tree).map(drop)
    }

    /// Removes every tree that is not in `named`: on opening, once the catalog was read whole.
    pub fn sweep_trees(&self, named: &BTreeSet<TreeId>) -> Result<()> {
        self.core.trees.write().retain(|tree, _| named.contains(tree));
        Ok(())
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
        let core = &self.core;
        if batch.is_empty() && batch.schema_changes().is_empty() {
            return Ok(core.context.snapshots.published());
        }
        let trees = core.states(batch.trees())?;
        core.pipeline.commit(&trees, batch, durability)
    }

    /// Begins a bulk load into `tree`.
    pub fn bulk_load(&self, tree: TreeId, duplicates: OnDuplicate) -> Result<BulkLoad> {
        let _ = (tree, duplicates);
        Err(Error::new(ErrorKind::Unsupported, "bulk loads are not built yet"))
    }

    /// Moves all memtables to level 0.
    pub fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Merges all of a tree's files into its last level.
    pub fn compact(&self, tree: TreeId) -> Result<()> {
        self.core.state(tree).map(drop)
    }

    /// The background step that is due next.
    pub fn next_job(&self) -> Option<JobKind> {
        None
    }

    /// Does one background step; false if none is due.
    pub fn run_job(&self) -> Result<bool> {
        Ok(false)
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
        self.core.pipeline.close();
        Ok(())
    }

    /// Shape and counters.
    pub fn describe(&self) -> Description {
        let context = &self.core.context;
        let trees = self.core.trees.read().values().map(|tree| describe_tree(tree)).collect();
        let mut description = Description {
            published: context.snapshots.published(),
            snapshots: context.snapshots.len(),
            oldest_snapshot: context.snapshots.oldest(),
            trees,
            counters: context.counters.read(),
            ..Description::default()
        };
        let memtables = description.trees.iter().flat_map(|tree| &tree.memtables);
        description.memtable_bytes = memtables.map(|memtable| memtable.bytes).sum();
        description
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.core.context.options
    }
}

impl Core {
    fn state(&self, tree: TreeId) -> Result<Arc<TreeState>> {
        let unknown = || Error::new(ErrorKind::NotFound, format!("there is no tree {tree}"));
        self.trees.read().get(&tree).cloned().ok_or_else(unknown)
    }

    fn states(&self, trees: impl Iterator<Item = TreeId>) -> Result<Vec<Arc<TreeState>>> {
        trees.map(|tree| self.state(tree)).collect()
    }
}

fn describe_tree(tree: &TreeState) -> TreeDescription {
    let view = tree.read_view();
    let memtable = |memtable: &Arc<crate::memtable::TreeMemtable>| MemtableDescription {
        entries: memtable.len() as u64,
        bytes: memtable.bytes() as u64,
        frozen: memtable.is_frozen(),
    };
    let file = |file: &Arc<crate::version::LiveFile>| FileDescription {
        id: file.id,
        bytes: file.size,
        rows: file.rows,
        deletes: file.deletes,
        groups: u64::from(file.groups),
        min_seq: file.min_seq,
        max_seq: file.max_seq,
        smallest: file.smallest.to_vec(),
        largest: file.largest.to_vec(),
    };
    let level = |files: &Vec<Arc<crate::version::LiveFile>>| LevelDescription {
        bytes: files.iter().map(|file| file.size).sum(),
        files: files.iter().map(file).collect(),
    };
    TreeDescription {
        id: tree.id(),
        schema_version: tree.schema().version,
        memtables: view.memtables.iter().map(memtable).collect(),
        levels: view.version.levels.iter().map(level).collect(),
    }
}

#[cfg(test)]
mod tests;

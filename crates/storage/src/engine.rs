//! [`Engine`]: the parts put together, and the doors to them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use silt_codec::TreeSchema;

use crate::describe::Description;
use crate::snapshot::Snapshot;
use crate::state::{Context, TreeState};
use crate::vfs::Env;
use crate::write::bulk::{BulkLoad, OnDuplicate};
use crate::{Durability, Options, Result, SeqNo, Tree, TreeId, WriteBatch};

/// An open database: trees, one log, one sequence of commits. Cheap to clone; the last clone
/// dropped closes it.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
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

#[derive(Debug)]
struct Inner {
    context: Arc<Context>,
}

impl Engine {
    /// Opens the database in `dir`, recovering what its log holds, or creates one there.
    ///
    /// # Errors
    /// `Locked` with the other process's id; `Invalid` if `dir` holds something else;
    /// `Unsupported` if a newer release wrote it; `Corrupt` with file and offset; `Io`.
    pub fn open(env: Env, dir: &Path, options: Options) -> Result<Engine> {
        let _ = (env, dir, options);
        todo!()
    }

    /// A new empty tree, durable on return. Its first schema has version 1.
    pub fn create_tree(&self, schema: TreeSchema) -> Result<TreeId> {
        let _ = schema;
        todo!()
    }

    /// Adds the next version of a tree's schema, durable on return; rows may use it from now on.
    pub fn register_schema(&self, tree: TreeId, schema: TreeSchema) -> Result<()> {
        let _ = (tree, schema);
        todo!()
    }

    /// The tree with this number.
    pub fn tree(&self, id: TreeId) -> Result<Tree> {
        let _ = id;
        todo!()
    }

    /// All trees, ascending.
    pub fn trees(&self) -> Vec<TreeId> {
        todo!()
    }

    /// The tree is not needed by any snapshot taken from now on: it goes, files and all, with the
    /// last snapshot that is older.
    pub fn retire_tree(&self, tree: TreeId) -> Result<()> {
        let _ = tree;
        todo!()
    }

    /// Removes every tree that is not in `named`: on opening, once the catalog was read whole.
    pub fn sweep_trees(&self, named: &BTreeSet<TreeId>) -> Result<()> {
        let _ = named;
        todo!()
    }

    /// A snapshot of now.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.context.snapshots.snapshot()
    }

    /// A snapshot of now that a batch can name as its base: conflicts back to it are found.
    pub fn write_snapshot(&self) -> Snapshot {
        todo!()
    }

    /// Commits `batch` at the durability of the options and returns its number, once readers see
    /// it. An empty batch commits nothing and returns the number published last.
    ///
    /// # Errors
    /// `Conflict` if a key was written since the batch's base, or a schema changed since its
    /// catalog number; `DiskFull` (try again later); `Closed` once a sync failed.
    pub fn commit(&self, batch: WriteBatch) -> Result<SeqNo> {
        self.commit_with(batch, self.inner.context.options.durability)
    }

    /// [`commit`](Self::commit) at another durability.
    pub fn commit_with(&self, batch: WriteBatch, durability: Durability) -> Result<SeqNo> {
        let _ = (batch, durability);
        todo!()
    }

    /// Begins a bulk load into `tree`.
    pub fn bulk_load(&self, tree: TreeId, duplicates: OnDuplicate) -> Result<BulkLoad> {
        let _ = (tree, duplicates);
        todo!()
    }

    /// Moves all memtables to level 0.
    pub fn flush(&self) -> Result<()> {
        todo!()
    }

    /// Merges all of a tree's files into its last level.
    pub fn compact(&self, tree: TreeId) -> Result<()> {
        let _ = tree;
        todo!()
    }

    /// The background step that is due next.
    pub fn next_job(&self) -> Option<JobKind> {
        todo!()
    }

    /// Does one background step; false if none is due.
    pub fn run_job(&self) -> Result<bool> {
        todo!()
    }

    /// Does background steps until none is due.
    pub fn run_until_idle(&self) -> Result<()> {
        while self.run_job()? {}
        Ok(())
    }

    /// Makes every commit returned so far durable, whatever its durability was.
    pub fn sync(&self) -> Result<()> {
        todo!()
    }

    /// Ends background work, syncs and seals the log, and gives the lock back. Every call on any
    /// clone fails with `Closed` afterwards.
    pub fn close(&self) -> Result<()> {
        todo!()
    }

    /// Shape and counters.
    pub fn describe(&self) -> Description {
        todo!()
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.inner.context.options
    }

    #[expect(dead_code, reason = "skeleton")]
    fn state(&self, tree: TreeId) -> Result<Arc<TreeState>> {
        let _ = tree;
        todo!()
    }
}

//! [`Transaction`]: a base snapshot, and writes that nobody else sees until they are committed.
//!
//! 1. [`Engine::begin`](crate::Engine::begin) takes a write snapshot, so that the commit index
//!    reaches back to it.
//! 2. Each [`apply`](Transaction::apply) adds a statement's changes to the write set
//!    ([`WriteSet`]), each [`BulkLoad`] its files.
//! 3. [`snapshot`](Transaction::snapshot) gives what later statements read at: the base under an
//!    [`Overlay`] of what was written before. A statement reads at one snapshot from beginning to
//!    end, and so never meets its own rows.
//! 4. [`commit`](Transaction::commit) makes one batch of the write set, or one record that names
//!    its files beside the batch, which is checked and numbered like any other. The first of two
//!    transactions that wrote a key commits, the other one hears of a conflict.

mod open;
mod overlay;
mod write_set;

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

pub(crate) use self::open::OpenTransactions;
use self::open::Registration;
pub(crate) use self::overlay::Overlay;
use self::write_set::WriteSet;
use crate::engine::Core;
use crate::state::TreeState;
use crate::version::FileMeta;
use crate::{
    BulkLoad, Durability, Error, OnDuplicate, Result, SeqNo, Snapshot, TreeId, WriteBatch,
};

/// A base snapshot and a private write set. Dropping it rolls back and leaves no trace.
pub struct Transaction {
    shared: Arc<Shared>,
}

/// What a transaction and its bulk loads share.
pub(crate) struct Shared {
    core: Arc<Core>,
    base: Snapshot,
    /// None once the transaction is over.
    writes: Mutex<Option<WriteSet>>,
    _open: Registration,
}

impl Transaction {
    pub(crate) fn begin(core: Arc<Core>) -> Self {
        let base = core.pipeline.write_snapshot();
        let writes = WriteSet::new(base.clone(), &core.context.options);
        let open = Registration::new(&core.context, base.seq(), Arc::clone(writes.gauge()));
        let writes = Mutex::new(Some(writes));
        Self { shared: Arc::new(Shared { core, base, writes, _open: open }) }
    }

    /// What it began with: none of its own writes.
    pub fn base(&self) -> &Snapshot {
        &self.shared.base
    }

    /// The base and, on top of it, everything written so far; nothing of what is written later.
    /// Conflicts are found back to the base, whose number this snapshot has.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// Adds a statement's changes: all or none. They are visible to snapshots taken later. The
    /// batch's base and catalog number do not count, those of the transaction do.
    ///
    /// # Errors
    /// `NotFound` for a tree that is not there; `Closed`; `DiskFull` or `Io` if what was written
    /// before is too much for the memory and cannot be spilled.
    pub fn apply(&self, batch: WriteBatch) -> Result<()> {
        let Shared { core, .. } = &*self.shared;
        self.shared.with(|writes| writes.apply(core, batch))
    }

    /// Begins a bulk load into `tree` that sees the write set, and joins it when it is finished:
    /// [`BulkOutcome::seq`](crate::BulkOutcome) is then the base's number. In between nothing else
    /// may be written to the tree, unless rows are replaced.
    pub fn bulk_load(&self, tree: TreeId, duplicates: OnDuplicate) -> Result<BulkLoad> {
        self.shared.core.check_open()?;
        let state = self.shared.core.state(tree)?;
        BulkLoad::within(Arc::clone(&self.shared), state, duplicates)
    }

    /// The number at which the catalog was read: the commit fails with `Conflict` if the schema of
    /// a tree that is written to was changed after it.
    pub fn set_catalog_seq(&self, seq: SeqNo) {
        if let Some(writes) = &mut *self.shared.writes.lock() {
            writes.set_catalog_seq(seq);
        }
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.shared.writes.lock().as_ref().is_none_or(WriteSet::is_empty)
    }

    /// Bytes of what was written, in memory and in files.
    pub fn bytes(&self) -> usize {
        self.shared.writes.lock().as_ref().map_or(0, WriteSet::bytes)
    }

    /// Commits at the durability of the options and returns the commit's number, once readers see
    /// it; the number published last if nothing was written.
    ///
    /// # Errors
    /// `Conflict` if another committed a key since the base that was written here, naming tree and
    /// key; else as [`Engine::commit`](crate::Engine::commit). The transaction is rolled back.
    pub fn commit(self) -> Result<SeqNo> {
        let durability = self.shared.core.context.options.durability;
        self.commit_with(durability)
    }

    /// [`commit`](Self::commit) at another durability. Where files were written it is always full.
    pub fn commit_with(self, durability: Durability) -> Result<SeqNo> {
        let writes = self.shared.writes.lock().take();
        match writes {
            Some(writes) => writes.commit(&self.shared.core, durability),
            None => Err(is_over()),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        drop(self.shared.writes.lock().take());
        self.shared.core.context.work.notify();
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction(base {}, {} B)", self.base().seq(), self.bytes())
    }
}

impl Shared {
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// See [`Transaction::snapshot`].
    pub(crate) fn snapshot(&self) -> Snapshot {
        match &mut *self.writes.lock() {
            Some(writes) => writes.snapshot(&self.core),
            None => self.base.clone(),
        }
    }

    /// The statements that wrote to `tree` so far, as a mark.
    pub(crate) fn mark(&self, tree: TreeId) -> Result<u64> {
        self.with(|writes| Ok(writes.mark(&self.core, tree)))
    }

    /// Adds the files of a load, sorted and disjoint, and the changes of `with`: all or none. They
    /// are `tree`'s newest rows; `mark` is that of the load's beginning if its rows depend on what
    /// was there.
    pub(crate) fn join(
        &self,
        tree: &Arc<TreeState>,
        files: &[FileMeta],
        with: WriteBatch,
        mark: Option<u64>,
    ) -> Result<()> {
        self.with(|writes| {
            if mark.is_some_and(|mark| mark != writes.mark(&self.core, tree.id())) {
                let tree = tree.id();
                return Err(Error::invalid(format!(
                    "tree {tree} was written to by its transaction while a load into it ran"
                )));
            }
            writes.join(&self.core, tree, files, with)
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut WriteSet) -> Result<T>) -> Result<T> {
        self.core.check_open()?;
        let mut writes: MutexGuard<'_, Option<WriteSet>> = self.writes.lock();
        change(writes.as_mut().ok_or_else(is_over)?)
    }
}

fn is_over() -> Error {
    Error::invalid("the transaction is over")
}

//! [`TreeState`]: one tree in memory, and [`ReadView`]: what a read of it needs, taken at once.
//!
//! A view is immutable and replaced whole, under one lock, by whatever changes it: a freeze puts
//! a new memtable in front, a flush takes one away and puts its file into level 0 in the same
//! step. So a reader finds every entry in exactly one place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use silt_codec::{KeyCodec, RowCodec, Schemas, TreeSchema};

use crate::describe::EngineCounters;
use crate::memtable::TreeMemtable;
use crate::read::ShadowCache;
use crate::snapshot::SnapshotRegistry;
use crate::sstable::BlockCache;
use crate::transaction::OpenTransactions;
use crate::version::{SweepQueue, TreeVersion};
use crate::vfs::Env;
use crate::wal::Promise;
use crate::{Error, ErrorKind, Options, Result, SeqNo, TreeId};

/// What every part of a running engine shares, and no part changes.
#[derive(Debug)]
pub(crate) struct Context {
    /// Disk, time, dice.
    pub(crate) env: Env,
    /// The database's directory.
    pub(crate) dir: PathBuf,
    /// The database's own number, mixed into every checksum.
    pub(crate) uuid: u128,
    /// As given on opening.
    pub(crate) options: Options,
    /// Published number and snapshots in use.
    pub(crate) snapshots: Arc<SnapshotRegistry>,
    /// Files to be removed.
    pub(crate) sweep: Arc<SweepQueue>,
    /// Row groups read, of all trees.
    pub(crate) cache: Arc<BlockCache>,
    /// Which rows newer sources hide, as far as scans worked it out.
    pub(crate) shadows: Arc<ShadowCache>,
    /// What was done since opening.
    pub(crate) counters: EngineCounters,
    /// Bytes of all memtables.
    pub(crate) memtable_bytes: Arc<AtomicUsize>,
    /// Wakes the engine's threads.
    pub(crate) work: WorkSignal,
    /// Whether writing goes on.
    pub(crate) health: Health,
    /// Up to where the log is synced: what a manifest edit promises.
    pub(crate) synced: Mutex<Promise>,
    /// Transactions that are open.
    pub(crate) transactions: OpenTransactions,
    /// What keeps background work from going on.
    pub(crate) trouble: Trouble,
    /// Whether the engine's threads must end.
    pub(crate) stopping: AtomicBool,
}

/// What keeps background work from going on, for those who wait for it and those who ask.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// The last flush's error, then the last compaction's.
    failed: Mutex<[Option<Error>; 2]>,
    /// What commits wait for.
    stalled: Mutex<Option<&'static str>>,
}

/// Whose error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Flushes and removals.
    Flush = 0,
    /// Compactions.
    Compact = 1,
}

impl Trouble {
    /// How the last job of its kind ended.
    pub(crate) fn note(&self, work: Work, error: Option<Error>) {
        self.failed.lock()[work as usize] = error;
    }

    /// Fails with the error of `work` if it cannot go on.
    pub(crate) fn check(&self, work: Work) -> Result<()> {
        self.failed.lock()[work as usize].as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Whether a job met a full disk.
    pub(crate) fn is_full(&self) -> bool {
        let failed = self.failed.lock();
        failed.iter().flatten().any(|error| error.kind() == ErrorKind::DiskFull)
    }

    /// What commits wait for now.
    pub(crate) fn set_stalled(&self, reason: Option<&'static str>) {
        *self.stalled.lock() = reason;
    }

    /// Why writing stands still, if it does.
    pub(crate) fn describe(&self) -> Option<String> {
        let failed = self.failed.lock().iter().flatten().next().map(Error::to_string);
        failed.or_else(|| self.stalled.lock().map(str::to_owned))
    }
}

/// Whether the engine may write. Once poisoned it stays so until it is opened again.
#[derive(Debug, Default)]
pub(crate) struct Health {
    poison: OnceLock<Error>,
}

impl Health {
    /// Nothing is acknowledged, flushed or removed any more: what is on disk is not known. Whether
    /// this is the first cause.
    pub(crate) fn poison(&self, cause: &Error) -> bool {
        let message = format!("writing ended with an earlier error, open again: {cause}");
        self.poison.set(Error::new(ErrorKind::Closed, message)).is_ok()
    }

    /// Fails if the database is poisoned.
    pub(crate) fn check(&self) -> Result<()> {
        self.poison.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}

/// Tells the engine's threads that there may be something to do.
#[derive(Debug, Default)]
pub(crate) struct WorkSignal {
    generation: Mutex<u64>,
    changed: Condvar,
}

impl WorkSignal {
    /// Something changed.
    pub(crate) fn notify(&self) {
        *self.generation.lock() += 1;
        self.changed.notify_all();
    }

    /// A mark of now, for [`wait`](Self::wait).
    pub(crate) fn generation(&self) -> u64 {
        *self.generation.lock()
    }

    /// Waits until something changed since `seen`, or for `timeout`.
    pub(crate) fn wait(&self, seen: u64, timeout: Option<Duration>) {
        let mut generation = self.generation.lock();
        while *generation == seen {
            match timeout {
                Some(timeout) => {
                    self.changed.wait_for(&mut generation, timeout);
                    return;
                }
                None => self.changed.wait(&mut generation),
            }
        }
    }
}

impl Context {
    /// Whether the engine's threads must end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Bytes of all memtables.
    pub(crate) fn memtable_bytes(&self) -> usize {
        self.memtable_bytes.load(Ordering::Relaxed)
    }

    /// Up to where the log is synced.
    pub(crate) fn promise(&self) -> Promise {
        *self.synced.lock()
    }

    /// The path of an SSTable.
    pub(crate) fn sst_path(&self, id: u64) -> PathBuf {
        sst_path(&self.dir, id)
    }
}

/// The path of SSTable `id` in the database at `dir`.
pub(crate) fn sst_path(dir: &Path, id: u64) -> PathBuf {
    dir.join("sst").join(format!("{id:010}.sst"))
}

/// One tree's memtables and files, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ReadView {
    /// The active memtable, then the frozen ones, newest first.
    pub(crate) memtables: Vec<Arc<TreeMemtable>>,
    /// The files.
    pub(crate) version: Arc<TreeVersion>,
}

/// One tree of a running engine.
#[derive(Debug)]
pub(crate) struct TreeState {
    id: TreeId,
    context: Arc<Context>,
    schemas: RwLock<Schemas>,
    view: RwLock<Arc<ReadView>>,
    /// Bulk commits whose files are not placed yet: no memtable above the first is flushed.
    pending_bulk: Mutex<BTreeSet<SeqNo>>,
}

impl TreeState {
    pub(crate) fn new(
        id: TreeId,
        context: Arc<Context>,
        schemas: Schemas,
        memtables: Vec<Arc<TreeMemtable>>,
        version: Arc<TreeVersion>,
    ) -> Self {
        debug_assert!(memtables.first().is_some_and(|active| !active.is_frozen()));
        let view = ReadView { memtables, version };
        Self {
            id,
            context,
            schemas: RwLock::new(schemas),
            view: RwLock::new(Arc::new(view)),
            pending_bulk: Mutex::default(),
        }
    }

    /// The tree's number.
    pub(crate) fn id(&self) -> TreeId {
        self.id
    }

    /// What the engine's parts share.
    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Memtables and version together. Everything published when this is called is in it.
    pub(crate) fn read_view(&self) -> Arc<ReadView> {
        Arc::clone(&self.view.read())
    }

    /// The memtable that takes commits.
    pub(crate) fn active(&self) -> Arc<TreeMemtable> {
        Arc::clone(&self.view.read().memtables[0])
    }

    /// Replaces the view by what `change` makes of it, in one step.
    pub(crate) fn change_view(&self, change: impl FnOnce(&mut ReadView)) {
        let mut view = self.view.write();
        let mut next = ReadView::clone(&view);
        change(&mut next);
        *view = Arc::new(next);
    }

    /// Bulk commit `seq` has its number.
    pub(crate) fn begin_bulk(&self, seq: SeqNo) {
        self.pending_bulk.lock().insert(seq);
    }

    /// The files of bulk commit `seq` are placed.
    pub(crate) fn end_bulk(&self, seq: SeqNo) {
        self.pending_bulk.lock().remove(&seq);
    }

    /// The number up to which memtables may be flushed.
    pub(crate) fn flushable_through(&self) -> SeqNo {
        self.pending_bulk.lock().first().copied().unwrap_or(SeqNo::MAX)
    }

    /// All versions of the schema, the current one last.
    pub(crate) fn schemas(&self) -> Schemas {
        self.schemas.read().clone()
    }

    /// The current schema.
    pub(crate) fn schema(&self) -> Arc<TreeSchema> {
        Arc::clone(self.schemas.read().current())
    }

    /// The codec of its keys, the same for every version of the schema.
    pub(crate) fn key_codec(&self) -> Arc<KeyCodec> {
        Arc::clone(self.schemas.read().key_codec())
    }

    /// The codec of rows of the current schema.
    pub(crate) fn row_codec(&self) -> Arc<RowCodec> {
        Arc::clone(self.schemas.read().row_codec())
    }

    /// Adds a version of the schema, registered in the manifest already.
    pub(crate) fn add_schema(&self, schema: Arc<TreeSchema>) -> Result<()> {
        let mut schemas = self.schemas.write();
        *schemas = schemas.with(schema)?;
        Ok(())
    }
}

//! [`Description`]: the engine's shape and counters at a moment, for people and tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::memtable::TreeMemtable;
use crate::state::{Context, TreeState};
use crate::version::LiveFile;
use crate::vfs::OpenMode;
use crate::wal::{list_segments, segment_path};
use crate::{SeqNo, TreeId};

/// What [`Engine::describe`](crate::Engine::describe) shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// The number of the last published commit.
    pub published: SeqNo,
    /// Snapshots in use.
    pub snapshots: usize,
    /// The number of the oldest of them.
    pub oldest_snapshot: Option<SeqNo>,
    /// Transactions that are open, oldest first.
    pub transactions: Vec<TransactionDescription>,
    /// The trees, by number.
    pub trees: Vec<TreeDescription>,
    /// Bytes of all memtables.
    pub memtable_bytes: u64,
    /// The log's segments on disk.
    pub wal_segments: Vec<WalSegmentDescription>,
    /// What was done since opening.
    pub counters: Counters,
    /// Why writing stands still, if it does.
    pub stalled: Option<String>,
}

/// One open transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionDescription {
    /// The number of the last commit it sees: compaction keeps what was current then.
    pub base: SeqNo,
    /// How long ago it began.
    pub age: Duration,
    /// Memory that holds what it wrote.
    pub memory_bytes: u64,
}

/// One tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TreeDescription {
    /// Its number.
    pub id: TreeId,
    /// The version of its current schema.
    pub schema_version: u32,
    /// Active and frozen memtables, newest first.
    pub memtables: Vec<MemtableDescription>,
    /// Files by level, level 0 first.
    pub levels: Vec<LevelDescription>,
}

/// One memtable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemtableDescription {
    /// Entries, deletes included.
    pub entries: u64,
    /// Memory held.
    pub bytes: u64,
    /// Whether it takes no more commits.
    pub frozen: bool,
}

/// One level of a tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LevelDescription {
    /// Bytes of its files.
    pub bytes: u64,
    /// Its files.
    pub files: Vec<FileDescription>,
}

/// One SSTable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileDescription {
    /// Its number.
    pub id: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Entries, deletes included.
    pub rows: u64,
    /// Entries that are deletes.
    pub deletes: u64,
    /// Row groups.
    pub groups: u64,
    /// The lowest number of its entries.
    pub min_seq: SeqNo,
    /// The highest number of its entries.
    pub max_seq: SeqNo,
    /// The first key.
    pub smallest: Vec<u8>,
    /// The last key.
    pub largest: Vec<u8>,
}

/// One segment of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalSegmentDescription {
    /// Its number.
    pub id: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What the engine did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commits published.
    pub commits: u64,
    /// Syncs of the log for commits: fewer than commits where they shared one.
    pub wal_syncs: u64,
    /// Bytes of log records.
    pub wal_bytes: u64,
    /// Memtables flushed.
    pub flushes: u64,
    /// Bytes of files that flushes wrote.
    pub flush_bytes: u64,
    /// Compactions run, moves not counted.
    pub compactions: u64,
    /// Files moved between levels by an edit alone.
    pub files_moved: u64,
    /// Row groups that compaction copied as bytes.
    pub groups_copied: u64,
    /// Row groups that compaction decoded and wrote anew.
    pub groups_decoded: u64,
    /// Bytes of files that compactions wrote.
    pub compaction_bytes: u64,
    /// Bulk loads committed.
    pub bulk_loads: u64,
    /// Bytes of files that bulk loads wrote.
    pub bulk_bytes: u64,
    /// Files removed.
    pub files_removed: u64,
    /// Commits that waited for flush or compaction.
    pub stalls: u64,
    /// Microseconds they waited in all.
    pub stall_micros: u64,
}

/// The running form of [`Counters`].
#[derive(Debug, Default)]
pub(crate) struct EngineCounters {
    pub(crate) commits: AtomicU64,
    pub(crate) wal_syncs: AtomicU64,
    pub(crate) wal_bytes: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_bytes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) files_moved: AtomicU64,
    pub(crate) groups_copied: AtomicU64,
    pub(crate) groups_decoded: AtomicU64,
    pub(crate) compaction_bytes: AtomicU64,
    pub(crate) bulk_loads: AtomicU64,
    pub(crate) bulk_bytes: AtomicU64,
    pub(crate) files_removed: AtomicU64,
    pub(crate) stalls: AtomicU64,
    pub(crate) stall_micros: AtomicU64,
}

impl EngineCounters {
    /// Adds `by` to a counter.
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    /// All counters as they stand.
    pub(crate) fn read(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            commits: read(&self.commits),
            wal_syncs: read(&self.wal_syncs),
            wal_bytes: read(&self.wal_bytes),
            flushes: read(&self.flushes),
            flush_bytes: read(&self.flush_bytes),
            compactions: read(&self.compactions),
            files_moved: read(&self.files_moved),
            groups_copied: read(&self.groups_copied),
            groups_decoded: read(&self.groups_decoded),
            compaction_bytes: read(&self.compaction_bytes),
            bulk_loads: read(&self.bulk_loads),
            bulk_bytes: read(&self.bulk_bytes),
            files_removed: read(&self.files_removed),
            stalls: read(&self.stalls),
            stall_micros: read(&self.stall_micros),
        }
    }
}

/// The engine as it stands, whose trees are `trees`.
pub(crate) fn describe(context: &Context, trees: &[Arc<TreeState>]) -> Description {
    let trees: Vec<_> = trees.iter().map(|tree| describe_tree(tree)).collect();
    let memtables = trees.iter().flat_map(|tree| &tree.memtables);
    Description {
        published: context.snapshots.published(),
        snapshots: context.snapshots.len(),
        oldest_snapshot: context.snapshots.oldest(),
        transactions: context.transactions.describe(context.env.clock.monotonic()),
        memtable_bytes: memtables.map(|memtable| memtable.bytes).sum(),
        trees,
        wal_segments: describe_log(context),
        counters: context.counters.read(),
        stalled: match context.health.check() {
            Err(error) => Some(error.to_string()),
            Ok(()) => context.trouble.describe(),
        },
    }
}

fn describe_tree(tree: &TreeState) -> TreeDescription {
    let view = tree.read_view();
    let memtable = |memtable: &Arc<TreeMemtable>| MemtableDescription {
        entries: memtable.len() as u64,
        bytes: memtable.bytes() as u64,
        frozen: memtable.is_frozen(),
    };
    let file = |file: &Arc<LiveFile>| FileDescription {
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
    let level = |files: &Vec<Arc<LiveFile>>| LevelDescription {
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

/// The segments that can be listed and measured now; one may go meanwhile.
fn describe_log(context: &Context) -> Vec<WalSegmentDescription> {
    let (vfs, dir) = (&context.env.vfs, context.dir.join("wal"));
    let numbers = list_segments(&**vfs, &dir).unwrap_or_default();
    let describe = |id| {
        let file = vfs.open(&segment_path(&dir, id), OpenMode::Read).ok()?;
        Some(WalSegmentDescription { id, bytes: file.len().ok()? })
    };
    numbers.into_iter().filter_map(describe).collect()
}

//! The log-structured merge engine.

mod batch;
mod compaction;
mod describe;
mod engine;
mod error;
pub mod inspect;
mod jobs;
mod key;
mod memtable;
mod options;
mod read;
mod recovery;
mod snapshot;
#[allow(dead_code, reason = "verification, readahead and memory accounting have no caller yet")]
mod sstable;
mod state;
mod tree;
mod version;
pub mod vfs;
#[allow(dead_code, unused_imports, reason = "commit and recovery are being built upon it")]
mod wal;
mod write;

pub use batch::WriteBatch;
pub use describe::{
    Counters, Description, FileDescription, LevelDescription, MemtableDescription, TreeDescription,
    WalSegmentDescription,
};
pub use engine::{Engine, JobKind};
pub use error::{Error, ErrorKind, Result};
pub use key::{OpKind, SEQ_MAX, SeqNo, TreeId};
pub use options::{Durability, MemtableKind, Options};
pub use read::{
    Counter, KeyRange, MultiGet, Predicate, ReadCounters, Scan, ScanOrder, ScanRequest,
    TreeStatistics,
};
pub use snapshot::Snapshot;
pub use tree::Tree;
pub use write::bulk::{BulkLoad, BulkOutcome, OnDuplicate};

//! Appends to the log. The caller holds the commit lock; [`WalSync`] is used outside it.

use std::path::Path;
use std::sync::Arc;

use crate::vfs::{Env, VfsFile};
use crate::wal::{CommitRecord, Promise, WalPosition};
use crate::{Result, SeqNo};

/// Where a new writer begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalStart {
    /// The new segment's number; above every segment that exists or existed.
    pub(crate) segment: u64,
    /// The segment before and where its valid bytes end; `None` in a new database.
    pub(crate) predecessor: Option<WalPosition>,
    /// The last number before the new segment.
    pub(crate) last_seq: SeqNo,
}

/// The log's end, where commits append.
#[derive(Debug)]
pub(crate) struct WalWriter {
    segment: u64,
}

impl WalWriter {
    /// Begins a segment in `dir` (which exists) and syncs it and its predecessor, so that the
    /// manifest may name it at once. A segment ends at `segment_bytes`
    /// ([`Options::wal_segment_bytes`](crate::Options)).
    pub(crate) fn create(
        env: &Env,
        dir: &Path,
        uuid: u128,
        segment_bytes: u64,
        start: WalStart,
    ) -> Result<Self> {
        let _ = (env, dir, uuid, segment_bytes, start);
        todo!()
    }

    /// Appends a commit, in one write. `seq` must be [`last_seq`](Self::last_seq) plus one.
    /// Answers the position after the record: synced up to there, the commit is durable.
    ///
    /// # Errors
    /// `DiskFull`: nothing was written, the log ends, durably, where it ended before, and all
    /// before it is synced; withdraw the number, later appends may succeed (RULES.md 5).
    /// `Io`: the log is poisoned, whether the record is there is not known. `Closed`: it was
    /// poisoned before.
    pub(crate) fn append(
        &mut self,
        seq: SeqNo,
        commit_micros: i64,
        record: &mut CommitRecord,
    ) -> Result<WalPosition> {
        let _ = (seq, commit_micros, record);
        todo!()
    }

    /// Appends the commits of a group in one write, all or none; numbers ascend by one.
    /// Errors as for [`append`](Self::append).
    pub(crate) fn append_group(
        &mut self,
        group: &mut [(SeqNo, i64, &mut CommitRecord)],
    ) -> Result<WalPosition> {
        let _ = group;
        todo!()
    }

    /// What syncs the log up to the present end without the commit lock.
    pub(crate) fn sync_handle(&self) -> WalSync {
        todo!()
    }

    /// Writes a promise if commits were synced that no record promises yet: called when the log
    /// falls quiet, after its last sync (RULES.md 3). Needs no sync of its own.
    pub(crate) fn write_promise(&mut self) -> Result<()> {
        todo!()
    }

    /// Ends the segment and begins the next; also done by `append` at `segment_bytes`.
    pub(crate) fn rotate(&mut self) -> Result<()> {
        todo!()
    }

    /// Syncs, promises, syncs: the seal of a clean close, for the manifest.
    pub(crate) fn seal(&mut self) -> Result<Promise> {
        todo!()
    }

    /// The end of the log.
    pub(crate) fn position(&self) -> WalPosition {
        todo!()
    }

    /// Up to where the log is synced. The manifest may name `promise().position.segment`, but no
    /// later one, as the first it needs.
    pub(crate) fn promise(&self) -> Promise {
        todo!()
    }

    /// The number of the last good record.
    pub(crate) fn last_seq(&self) -> SeqNo {
        todo!()
    }

    /// The segment that is written to.
    pub(crate) fn segment(&self) -> u64 {
        self.segment
    }

    /// Whether an error closed the log for writing.
    pub(crate) fn is_poisoned(&self) -> bool {
        todo!()
    }
}

/// Syncs the log up to the position it had when the handle was taken. Any thread may; one at a
/// time does, and those that waited for it are often served by it.
#[derive(Clone, Debug)]
pub(crate) struct WalSync {
    file: Arc<dyn VfsFile>,
    position: WalPosition,
    last_seq: SeqNo,
}

impl WalSync {
    /// Makes the log durable up to [`position`](Self::position); at once if it is already.
    ///
    /// # Errors
    /// Any failure poisons the log: nothing later is acknowledged (PROMISES.md, Failures).
    pub(crate) fn sync(&self) -> Result<Promise> {
        let _ = (&self.file, self.last_seq);
        todo!()
    }

    /// Where the log ended when the handle was taken.
    pub(crate) fn position(&self) -> WalPosition {
        self.position
    }
}

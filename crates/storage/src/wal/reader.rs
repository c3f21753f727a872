//! Replay.

use std::path::Path;

use crate::vfs::Env;
use crate::wal::{Promise, Record, WalPosition};
use crate::{Result, SeqNo};

/// What the manifest knows of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplayStart {
    /// The first segment needed.
    pub(crate) first_segment: u64,
    /// The greatest promise of any manifest edit.
    pub(crate) promise: Promise,
    /// The seal of a clean close, if the last close was one: the log must end exactly there
    /// (segments begun later apart), and any damage before it is corruption.
    pub(crate) seal: Option<Promise>,
}

/// Where replay ended and how the log goes on.
#[derive(Clone, Debug)]
pub(crate) struct ReplayEnd {
    /// The end of the last valid record: the next segment's predecessor.
    pub(crate) position: WalPosition,
    /// The last number replayed or promised; the next commit's is one more.
    pub(crate) last_seq: SeqNo,
    /// The time of the last commit, `i64::MIN` if none was replayed.
    pub(crate) last_commit_micros: i64,
    /// Where a torn tail was dropped.
    pub(crate) torn: Option<WalPosition>,
    /// The number for the segment to begin, above every file in the folder.
    pub(crate) next_segment: u64,
    /// Segments at the end that were never used (zeroes only): remove them once the new segment
    /// is synced.
    pub(crate) unused: Vec<u64>,
}

/// Hands every commit record from the first segment on to `apply`, in order.
///
/// # Errors
/// `Corrupt` with path and offset if a segment is missing, numbers are not dense, or damage
/// stands before the greatest promise; `Io` if reading fails, which is never taken for damage;
/// and what `apply` answers.
pub(crate) fn replay(
    env: &Env,
    dir: &Path,
    uuid: u128,
    start: ReplayStart,
    apply: impl FnMut(&Record<'_>) -> Result<()>,
) -> Result<ReplayEnd> {
    let _ = (env, dir, uuid, start, apply);
    todo!()
}

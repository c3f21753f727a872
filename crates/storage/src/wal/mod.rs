//! The write-ahead log: one per database, the only commit there is.
//!
//! A commit is one record in one *segment*, a file of the folder `wal`. [`record`] draws the
//! bytes, [`writer`] appends under the commit lock and syncs outside it, [`reader`] replays what
//! was written and tells a torn tail from corruption.
//!
//! Rules that hold for the whole log (RULES.md 1 to 5):
//!
//! 1. Commit records carry dense numbers: each is its predecessor's plus one.
//! 2. A record is valid when its header and payload checksums hold, both mixed with (database,
//!    segment, offset), and its number fits. Zeroes are damage like any other.
//! 3. Records, segment headers and manifest edits carry *promises*: positions up to which the log
//!    was synced when they were written. Damage before the greatest promise is corruption; damage
//!    after it is a torn tail, which nobody was told of.
//! 4. A segment's header names its predecessor and where that ended, and is written only after
//!    the predecessor was synced. After every opening a new segment begins; nothing is ever
//!    appended to a segment that another process began, and none is recycled.

pub(crate) mod dump;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::vfs::Vfs;
use crate::{Error, Result, SeqNo};

pub(crate) use dump::{DumpEntry, DumpItem, dump};
pub(crate) use reader::{ReplayEnd, ReplayStart, replay};
pub(crate) use record::{
    BulkFile, CommitPayload, CommitRecord, Record, RecordHeader, RecordKind, SegmentHeader,
};
pub(crate) use writer::{WalStart, WalSync, WalWriter};

/// A place in the log: everything before it, in this segment and in those before, is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WalPosition {
    /// The segment's number.
    pub(crate) segment: u64,
    /// Bytes from the segment's start.
    pub(crate) offset: u64,
}

impl WalPosition {
    pub(crate) const fn new(segment: u64, offset: u64) -> Self {
        Self { segment, offset }
    }
}

impl fmt::Display for WalPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {}", self.segment, self.offset)
    }
}

/// Up to where the log was synced, and the last number before that place. Manifest edits carry
/// one (RULES.md 3); the seal of a clean close is one too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promise {
    /// Every byte before this was synced.
    pub(crate) position: WalPosition,
    /// The last number before `position`, 0 for none.
    pub(crate) last_seq: SeqNo,
}

/// The path of a segment: ten digits, so that names sort as numbers.
pub(crate) fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:010}.wal"))
}

/// The number of a segment's file name, if it is one.
pub(crate) fn segment_number(name: &Path) -> Option<u64> {
    let digits = name.to_str()?.strip_suffix(".wal")?;
    let plain = digits.len() >= 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// The numbers of the segments in `dir`, ascending; other names are passed over.
pub(crate) fn list_segments(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<u64>> {
    let names = vfs.list(dir).map_err(|error| Error::io(dir, "list", error))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

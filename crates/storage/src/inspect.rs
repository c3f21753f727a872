//! What the files of a database hold, read without an engine and without changing anything.
//!
//! For people who look into a directory: `silt inspect`, tests, and whoever finds damage. The
//! answers are structures whose `Display` writes lines; `docs/format.md` says what the bytes mean.
//!
//! - [`files`] lists what the manifest names, tree by tree and level by level.
//! - [`file`] and [`SsTableFile::open`] read one SSTable by its own word, [`SsTableFile::groups`]
//!   its row groups and their chunks, every checksum verified.
//! - [`wal`] walks the log record by record, [`manifest`] the manifest edit by edit.
//!
//! Damage is an error of kind `Corrupt` that names file and offset. In the log, where the end of
//! what was written is damage by nature, it is an entry among the others ([`WalItem::Damage`]).
//!
//! **The lock is neither taken nor looked at**, so a database that is open may be inspected. Its
//! files never change once they are named, and its logs only grow: what is seen beside a writer is
//! what stood there a moment ago, but for a last record that may be half written, and for files
//! that the writer removes before they are read (`Io`: look again).

mod listing;
mod log;
#[cfg(test)]
mod tests;
mod text;

pub use listing::{
    FileListing, Listing, ManifestDescription, ManifestEntry, TreeListing, files, manifest,
};
pub use log::{TreeOperations, WalBulkFile, WalEntries, WalEntry, WalItem, wal};

pub use crate::sstable::inspect::{
    BlockDescription, ChunkColumn, ChunkDescription, GroupDescription, SsTableFile,
};

use std::path::Path;

use crate::state::sst_path;
use crate::vfs::Env;
use crate::{Error, Result};

/// Where the number stands in a file's header.
const FILE_NUMBER_AT: u64 = 32;

/// SSTable `id` of the database in `dir`, whether or not the manifest names it.
///
/// # Errors
/// As [`SsTableFile::open`]; `Corrupt` if the file was written under another number.
pub fn file(env: &Env, dir: &Path, id: u64) -> Result<SsTableFile> {
    let path = sst_path(dir, id);
    let file = SsTableFile::open(env, &path)?;
    if file.id() == id {
        return Ok(file);
    }
    let what = format!("file {} stands where {id} is expected", file.id());
    Err(Error::corrupt(&path, FILE_NUMBER_AT, what))
}

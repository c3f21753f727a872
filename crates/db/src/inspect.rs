//! What the files of a database hold, read without opening it and without changing anything.
//!
//! The database may be closed, damaged, or open in this process or another: the lock is not looked
//! at. `Display` of what is answered writes lines of text; `docs/format.md` says what they are
//! about. See `silt inspect`.
//!
//! Errors of kind `Corrupt` name file and offset of the damage.

use std::path::Path;

use silt_storage::inspect as storage;
pub use silt_storage::inspect::{
    BlockDescription, ChunkColumn, ChunkDescription, FileListing, GroupDescription, Listing,
    ManifestDescription, ManifestEntry, SsTableFile, TreeListing, TreeOperations, WalBulkFile,
    WalEntry, WalItem,
};
use silt_storage::vfs::Env;

use crate::Result;

/// The trees and files that the manifest of the database in `dir` names.
///
/// # Errors
/// `NotFound` if there is no database, `Corrupt`, `Unsupported` for a later format, `Io`.
pub fn files(dir: impl AsRef<Path>) -> Result<Listing> {
    Ok(storage::files(&Env::os(), dir.as_ref())?)
}

/// File `id` of the database in `dir`, whether or not the manifest names it.
///
/// # Errors
/// `Corrupt`, `Unsupported` for a later format, `Io` if there is no such file.
pub fn file(dir: impl AsRef<Path>, id: u64) -> Result<SsTableFile> {
    Ok(storage::file(&Env::os(), dir.as_ref(), id)?)
}

/// Everything in the log of the database in `dir`, oldest first. Damage is an entry, not an error.
///
/// # Errors
/// `Io` if there is no log or it cannot be read.
pub fn wal(dir: impl AsRef<Path>) -> Result<impl Iterator<Item = Result<WalEntry>>> {
    let entries = storage::wal(&Env::os(), dir.as_ref())?;
    Ok(entries.map(|entry| Ok(entry?)))
}

/// The manifest of the database in `dir`, edit by edit.
///
/// # Errors
/// As [`files`].
pub fn manifest(dir: impl AsRef<Path>) -> Result<ManifestDescription> {
    Ok(storage::manifest(&Env::os(), dir.as_ref())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Database, ErrorKind, params};

    #[test]
    fn open_database_is_inspected_without_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let db = Database::open(folder.path()).unwrap();
        db.execute("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)", params![]).unwrap();
        db.execute("INSERT INTO t VALUES (1, 'one'), (2, 'two')", params![]).unwrap();

        let (_, tree) = db.tables().into_iter().find(|(name, _)| name.ends_with('t')).unwrap();
        let listing = files(folder.path()).unwrap();
        assert!(listing.trees.iter().any(|listed| listed.id.0 == tree));
        let rows = wal(folder.path()).unwrap().map(Result::unwrap).find_map(|entry| {
            let WalItem::Commit { trees, .. } = entry.item else { return None };
            trees.iter().find(|of| of.tree.0 == tree).map(|of| of.puts)
        });
        assert_eq!(rows, Some(2));
        assert!(!manifest(folder.path()).unwrap().entries.is_empty());
        assert_eq!(file(folder.path(), 99).unwrap_err().kind(), ErrorKind::Io);
        db.close().unwrap();

        let empty = tempfile::tempdir().unwrap();
        assert_eq!(files(empty.path()).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

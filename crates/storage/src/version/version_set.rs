//! [`VersionSet`]: the current version of every tree, and the manifest behind it.

use super::VersionEdit;
use crate::Result;

/// See the module.
#[derive(Debug)]
pub(crate) struct VersionSet {}

impl VersionSet {
    /// Syncs `edit` in the manifest, then shows it to readers. Files removed go when the last
    /// reader of theirs is gone. If this fails nothing changed, or the database is poisoned.
    pub(crate) fn apply(&self, edit: VersionEdit) -> Result<()> {
        let _ = edit;
        todo!()
    }

    /// A number for a new file, above every one in the manifest and on disk.
    pub(crate) fn next_file_id(&self) -> u64 {
        todo!()
    }
}

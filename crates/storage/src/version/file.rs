//! [`FileMeta`]: what the manifest knows of an SSTable; [`LiveFile`]: such a file in use.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use silt_codec::{ColumnId, ZoneMap};

use crate::sstable::SsTableReader;
use crate::{Result, SeqNo};

/// What is known of an SSTable without reading it. Stored in the manifest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FileMeta {
    /// The file's number and name.
    pub(crate) id: u64,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// The checksum of its footer.
    pub(crate) footer_checksum: u64,
    /// The first user key.
    pub(crate) smallest: Box<[u8]>,
    /// The last user key.
    pub(crate) largest: Box<[u8]>,
    /// The lowest number of its entries.
    pub(crate) min_seq: SeqNo,
    /// The highest number of its entries; equal to `file_seq` where that is set.
    pub(crate) max_seq: SeqNo,
    /// All entries, deletes included.
    pub(crate) rows: u64,
    /// Entries that are deletes.
    pub(crate) deletes: u64,
    /// Row groups.
    pub(crate) groups: u32,
    /// The tree's schema version it was written under.
    pub(crate) schema_version: u32,
    /// No key has two entries here.
    pub(crate) one_version: bool,
    /// The number of every entry, for a bulk file: its own `_seq` columns say 0.
    pub(crate) file_seq: Option<SeqNo>,
    /// What each column holds, by column id; a column the file lacks is absent.
    pub(crate) columns: Vec<(ColumnId, ZoneMap)>,
    /// The commit times of its entries, in microseconds since 1970: least and greatest.
    pub(crate) commit_micros: (i64, i64),
}

/// An SSTable of some version. When the last version and reader that know it are gone and it was
/// taken out of the tree, its file is handed to the sweeper.
pub(crate) struct LiveFile {
    meta: FileMeta,
    reader: OnceLock<Arc<SsTableReader>>,
    obsolete: AtomicBool,
    /// See [`LiveFile::is_private`].
    private: bool,
    sweep: Arc<SweepQueue>,
}

/// Files that nobody reads any more, to be removed by a job.
#[derive(Debug, Default)]
pub(crate) struct SweepQueue {
    files: Mutex<Vec<u64>>,
}

impl SweepQueue {
    /// Takes what is to be removed.
    pub(crate) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.files.lock())
    }

    /// Some of what was taken could not be removed yet.
    pub(crate) fn put_back(&self, files: Vec<u64>) {
        self.files.lock().extend(files);
    }

    /// Whether there is nothing to remove.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.lock().is_empty()
    }
}

impl LiveFile {
    pub(crate) fn new(meta: FileMeta, sweep: Arc<SweepQueue>) -> Self {
        Self::of(meta, false, sweep)
    }

    fn of(meta: FileMeta, private: bool, sweep: Arc<SweepQueue>) -> Self {
        let obsolete = AtomicBool::new(false);
        Self { meta, reader: OnceLock::new(), obsolete, private, sweep }
    }

    /// A file of an open transaction: in no version. It goes with its last user, unless
    /// [`retire`](Self::retire) was not called yet or it is [kept](Self::keep).
    pub(crate) fn private(meta: FileMeta, sweep: Arc<SweepQueue>) -> Self {
        Self::of(meta, true, sweep)
    }

    /// Whether only the readers of one transaction see it. Its entries stand under the number of
    /// that transaction's base, which others know commits by: what is found out with it at that
    /// number is for nobody else.
    pub(crate) fn is_private(&self) -> bool {
        self.private
    }

    /// What the manifest knows.
    pub(crate) fn meta(&self) -> &FileMeta {
        &self.meta
    }

    /// The file, opened at the first call by `open`; two that come first may both open it.
    pub(crate) fn reader(
        &self,
        open: impl FnOnce(&FileMeta) -> Result<SsTableReader>,
    ) -> Result<&Arc<SsTableReader>> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        let reader = Arc::new(open(&self.meta)?);
        Ok(self.reader.get_or_init(|| reader))
    }

    /// The file goes with its last user: the edit that removes it is durable, or it is in no
    /// version.
    pub(crate) fn retire(&self) {
        self.obsolete.store(true, Ordering::Release);
    }

    /// The file stays: a log record names it from now on.
    pub(crate) fn keep(&self) {
        self.obsolete.store(false, Ordering::Release);
    }
}

impl Deref for LiveFile {
    type Target = FileMeta;

    fn deref(&self) -> &FileMeta {
        &self.meta
    }
}

impl Drop for LiveFile {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Acquire) {
            self.sweep.files.lock().push(self.meta.id);
        }
    }
}

impl fmt::Debug for LiveFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}.sst[{} rows, {} B]", self.id, self.rows, self.size)
    }
}

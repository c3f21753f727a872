//! [`TableFile`]: an SSTable's bytes, read and checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_buffer::{Buffer, MutableBuffer};

use super::checksum::Mixer;
use super::footer::Handle;
use crate::vfs::VfsFile;
use crate::{Error, ErrorKind, Result};

/// How often files were read, and how many bytes came of it.
#[derive(Debug, Default)]
pub(super) struct IoCounters {
    pub(super) reads: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// An open SSTable.
#[derive(Debug)]
pub(super) struct TableFile {
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    mixer: Mixer,
    counters: Arc<IoCounters>,
}

impl TableFile {
    pub(super) fn new(
        file: Arc<dyn VfsFile>,
        path: &Path,
        mixer: Mixer,
        counters: Arc<IoCounters>,
    ) -> Self {
        Self { file, path: path.to_owned(), mixer, counters }
    }

    pub(super) fn mixer(&self) -> &Mixer {
        &self.mixer
    }

    /// Damage at `offset`.
    pub(super) fn corrupt(&self, offset: u64, what: impl std::fmt::Display) -> Error {
        Error::corrupt(&self.path, offset, what)
    }

    /// What the codec said about bytes at `offset`; its other errors pass.
    pub(super) fn locate(&self, offset: u64, error: silt_codec::Error) -> Error {
        match error.kind() {
            ErrorKind::Corrupt => self.corrupt(offset, error.message()),
            kind => Error::new(kind, format!("{}: {}", self.path.display(), error.message())),
        }
    }

    pub(super) fn len(&self) -> Result<u64> {
        self.file.len().map_err(|error| Error::io(&self.path, "measure", error))
    }

    /// Reads `length` bytes, which the caller has found to lie within the file.
    pub(super) fn read(&self, offset: u64, length: usize) -> Result<Buffer> {
        let mut bytes = MutableBuffer::from_len_zeroed(length);
        self.read_into(offset, bytes.as_slice_mut())?;
        Ok(bytes.into())
    }

    /// Fills `bytes` from `offset` on; the caller has found them to lie within the file.
    pub(super) fn read_into(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let length = bytes.len();
        self.file.read_exact_at(offset, bytes).map_err(|error| {
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                self.corrupt(offset, format_args!("the file ends within {length} bytes"))
            } else {
                Error::io(&self.path, "read", error)
            }
        })?;
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Reads and checks a block; an absent one is empty.
    pub(super) fn read_block(&self, handle: Handle, what: &str) -> Result<Buffer> {
        if handle.length == 0 {
            return Ok(Buffer::default());
        }
        let length = usize::try_from(handle.length)
            .map_err(|_| self.corrupt(handle.offset, "a block past all memory"))?;
        let bytes = self.read(handle.offset, length)?;
        let computed = self.mixer.seal(handle.offset, &bytes);
        if computed != handle.checksum {
            return Err(self.corrupt(
                handle.offset,
                format_args!(
                    "checksum of the {what}: stored {:016x}, computed {computed:016x}",
                    handle.checksum
                ),
            ));
        }
        Ok(bytes)
    }
}

//! The disk: every file operation of the engine goes through [`Vfs`] and [`VfsFile`].
//!
//! [`OsVfs`] is the real one. Tests stand [`StrictVfs`] in its place, which forgets at a power cut
//! what was not synced, and put [`FaultVfs`] (calls that fail) or [`TraceVfs`] (calls in the wrong
//! order) around either. Clock and dice are handed in the same way, as [`Env`].

mod fault;
mod manual;
mod os;
mod strict;
mod trace;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use fault::{Call, Fault, FaultKind, FaultVfs, OpClass};
pub use manual::{ManualClock, SeededRandom};
pub use os::{OsClock, OsRandom, OsVfs};
pub use strict::{CrashMode, StrictVfs};
pub use trace::TraceVfs;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    ReadWrite,
    /// For reading and writing; it must not exist.
    CreateNew,
}

/// A file system as the engine uses one.
pub trait Vfs: Debug + Send + Sync + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>>;
    /// Renames, replacing what stands at `to`. Durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// A second name for a file.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Readers that have it open keep reading.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// The names (not paths) in a directory, in ascending order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Creates a directory and the missing ones above it; it may exist.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether a file or directory stands there.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Makes the directory's entries durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Locks a file (created if missing) until the guard is dropped; `WouldBlock` if another holds
    /// it. An exclusive lock writes the process id into the file ([`lock_holder`]).
    fn lock(&self, path: &Path, exclusive: bool) -> io::Result<Box<dyn VfsLock>>;
    /// Bytes free for this user where `path` lies.
    fn free_space(&self, path: &Path) -> io::Result<u64>;
}

/// An open file. All calls are positional and may come from many threads.
pub trait VfsFile: Debug + Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`; 0 at the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Fills `buf` from `offset`, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(offset, buf) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    offset += n as u64;
                    buf = &mut buf[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
    /// Writes all of `bytes` at `offset`, growing the file as needed.
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes bytes and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes bytes, length and the rest of the inode durable.
    fn sync_all(&self) -> io::Result<()>;
    /// Cuts or grows the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves room for bytes to come, so that they meet no full disk; may do nothing.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Holds a lock until dropped.
pub trait VfsLock: Debug + Send + Sync {}

/// Wall and monotonic time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Microseconds since 1970, UTC.
    fn now_micros(&self) -> i64;
    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
    /// Waits.
    fn sleep(&self, duration: Duration);
}

/// Where random numbers come from: database ids and jitter, nothing that needs secrecy.
pub trait Random: Debug + Send + Sync + 'static {
    /// The next number.
    fn next_u64(&self) -> u64;
}

/// Everything the engine asks of the world outside.
#[derive(Clone, Debug)]
pub struct Env {
    /// The disk.
    pub vfs: Arc<dyn Vfs>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The dice.
    pub random: Arc<dyn Random>,
}

/// The process that holds, or last held, the exclusive lock on `path`, as far as it can be read.
pub fn lock_holder(vfs: &dyn Vfs, path: &Path) -> Option<u32> {
    let file = vfs.open(path, OpenMode::Read).ok()?;
    let mut text = [0; 16];
    let read = file.read_at(0, &mut text).ok()?;
    std::str::from_utf8(&text[..read]).ok()?.trim().parse().ok()
}

//! Room on the disk: the reserve file, and what a full disk does to background work.
//!
//! A flush frees log segments and a compaction frees files, but both write first. So once the
//! database is larger than the reserve, a file of 64 MiB stands by, to be given up when the disk
//! is full; it comes back when there is room again. Jobs that failed are tried again every second,
//! so writing resumes by itself.

use std::io;
use std::path::PathBuf;

use crate::state::Context;
use crate::vfs::OpenMode;
use crate::write::throttle::memtable_bytes;
use crate::{Error, ErrorKind, Result};

/// The reserve is not larger, nor larger than two memtables.
const RESERVE_BYTES_MAX: u64 = 64 << 20;

fn reserve_bytes(context: &Context) -> u64 {
    RESERVE_BYTES_MAX.min(2 * memtable_bytes(&context.options) as u64)
}

fn path(context: &Context) -> PathBuf {
    context.dir.join("reserve")
}

/// Whether the reserve is missing though a database of `database_bytes` ought to have one.
pub(crate) fn is_reserve_due(context: &Context, database_bytes: u64) -> bool {
    let bytes = reserve_bytes(context);
    database_bytes >= bytes
        && !context.trouble.is_full()
        && !context.env.vfs.exists(&path(context)).unwrap_or(true)
        && free_space(context).is_ok_and(|free| free >= 4 * bytes)
}

/// Puts the reserve aside.
pub(crate) fn create_reserve(context: &Context) -> Result<()> {
    let path = path(context);
    let created = context.env.vfs.open(&path, OpenMode::CreateNew).and_then(|file| {
        file.allocate(0, reserve_bytes(context))?;
        file.sync_all()
    });
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created.map_err(|error| Error::io(&path, "reserve room in", error)),
    }
}

/// Gives the reserve up: the next job finds that much room.
pub(crate) fn release_reserve(context: &Context) {
    // Without it there is nothing to give up.
    let _ = context.env.vfs.remove_file(&path(context));
}

/// Fails with `DiskFull` unless `bytes` more would leave room for a flush.
pub(crate) fn check_room(context: &Context, bytes: u64) -> Result<()> {
    let free = free_space(context)?;
    if free >= bytes.saturating_add(reserve_bytes(context)) {
        return Ok(());
    }
    let dir = context.dir.display();
    Err(Error::new(
        ErrorKind::DiskFull,
        format!("a compaction of {bytes} bytes in {dir}, where {free} are free"),
    ))
}

fn free_space(context: &Context) -> Result<u64> {
    let free = context.env.vfs.free_space(&context.dir);
    free.map_err(|error| Error::io(&context.dir, "look for room in", error))
}

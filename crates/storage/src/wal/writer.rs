//! Appends to the log. The caller holds the commit lock; [`WalSync`] is used outside it.
//!
//! 1. [`WalWriter::append`] places one record, or a group, at the end of the segment with one
//!    write, and lets the record promise what was synced so far.
//! 2. The leader of a group takes a [`WalSync`], leaves the lock, and syncs. One sync runs at a
//!    time and covers all that was appended when it began, so that most who waited need none.
//! 3. A full segment is synced, then its successor begins with a header that says where it ended.
//! 4. Before small records the file is laid out with zeroes for some way: a sync of bytes that the
//!    file has already need not write its metadata, which is most of what syncing a small append
//!    costs. Replay takes the zeroes for a torn tail without promises; who ends a segment cuts them off.
//!
//! Two errors matter. A full disk takes back what was written of the record, durably, and the
//! log goes on where it was (RULES.md 5). Anything else, above all a failed sync, poisons the
//! log: the kernel may have dropped the dirty pages and says so once only, so nothing later may
//! be acknowledged. Syncs are serialised for the same reason: of two at once, the second could
//! be told that all is well.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::vfs::{Env, OpenMode, Vfs, VfsFile};
use crate::wal::record::{SEGMENT_HEADER_BYTES, SegmentHeader, encode_promise};
use crate::wal::{CommitRecord, Promise, WalPosition, segment_path};
use crate::{Error, ErrorKind, Result, SeqNo};

/// What the file is laid out with, a piece at a time.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// Records larger than this share of what would be laid out are appended: the zeroes would be
/// most of the log's traffic.
const LAID_OUT_SHARE: u64 = 16;

/// A group's buffer that held more than this gives it back.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// Where a new writer begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalStart {
    /// The new segment's number, from 1; above every segment that exists or existed.
    pub(crate) segment: u64,
    /// The segment before and where its valid bytes end; `None` in a new database.
    pub(crate) predecessor: Option<WalPosition>,
    /// The last number before the new segment.
    pub(crate) last_seq: SeqNo,
}

/// The log's end, where commits append.
#[derive(Debug)]
pub(crate) struct WalWriter {
    env: Env,
    dir: PathBuf,
    uuid: u128,
    segment_bytes: u64,
    segment: Arc<Segment>,
    /// Where the next record goes.
    end: u64,
    /// Where the file ends, if it was laid out beyond `end`.
    laid_out: u64,
    /// How far ahead it is laid out, in bytes; 0 for not at all.
    ahead_bytes: u64,
    last_seq: SeqNo,
    last_micros: i64,
    next_segment: u64,
    /// The greatest position that bytes in the log promise.
    promised: WalPosition,
    /// Where the last commit's record ends.
    commit_end: WalPosition,
    shared: Arc<Shared>,
    buffer: Vec<u8>,
}

/// A segment's file, as writer and syncs share it.
#[derive(Debug)]
struct Segment {
    number: u64,
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    /// Whether file and directory were synced whole once, so that `sync_data` is enough.
    established: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    /// Held during a sync. Taken after the commit lock or without it, never before it.
    syncing: Mutex<()>,
    /// The end of the log, and the segment it is in. All before that segment is synced.
    appended: Mutex<(Arc<Segment>, Promise)>,
    synced: Mutex<Promise>,
    /// The error that closed the log for writing.
    poison: Mutex<Option<Error>>,
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
        if let Some(predecessor) = start.predecessor {
            // What replay read may stand in the page cache only: the process before us died
            // between append and sync. From here on it is promised, so it must be on the disk.
            let path = segment_path(dir, predecessor.segment);
            let file = env
                .vfs
                .open(&path, OpenMode::ReadWrite)
                .map_err(|error| Error::io(&path, "open", error))?;
            file.sync_all().map_err(|error| Error::io(&path, "sync", error))?;
            env.vfs.sync_dir(dir).map_err(|error| Error::io(dir, "sync", error))?;
        }
        let segment = Segment::create(env, dir, uuid, start)?;
        segment.sync(&*env.vfs, dir)?;
        let end = SEGMENT_HEADER_BYTES as u64;
        let position = WalPosition::new(start.segment, end);
        let promise = Promise { position, last_seq: start.last_seq };
        Ok(Self {
            env: env.clone(),
            dir: dir.to_path_buf(),
            uuid,
            segment_bytes,
            segment: Arc::clone(&segment),
            end,
            laid_out: end,
            ahead_bytes: 0,
            last_seq: start.last_seq,
            last_micros: 0,
            next_segment: start.segment + 1,
            promised: position,
            commit_end: position,
            shared: Arc::new(Shared {
                vfs: Arc::clone(&env.vfs),
                dir: dir.to_path_buf(),
                syncing: Mutex::new(()),
                appended: Mutex::new((segment, promise)),
                synced: Mutex::new(promise),
                poison: Mutex::new(None),
            }),
            buffer: Vec::new(),
        })
    }

    /// Lays segments out so many bytes ahead ([`Options::wal_ahead_bytes`](crate::Options)).
    pub(crate) fn laid_out_ahead(mut self, bytes: u64) -> Self {
        self.ahead_bytes = bytes;
        self
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
        self.append_group(&mut [(seq, commit_micros, record)])
    }

    /// Appends the commits of a group in one write, all or none; numbers ascend by one.
    /// Errors as for [`append`](Self::append).
    pub(crate) fn append_group(
        &mut self,
        group: &mut [(SeqNo, i64, &mut CommitRecord)],
    ) -> Result<WalPosition> {
        self.check_open()?;
        self.check_group(group)?;
        let Some((last_seq, last_micros, _)) = group.last() else { return Ok(self.position()) };
        let (last_seq, last_micros) = (*last_seq, *last_micros);
        let bytes: u64 = group.iter().map(|(_, _, record)| record.len() as u64).sum();
        let is_fresh = self.end == SEGMENT_HEADER_BYTES as u64;
        if self.end.saturating_add(bytes) > self.segment_bytes && !is_fresh {
            self.rotate()?;
        }

        self.lay_out(bytes)?;

        let synced = self.promise().position;
        let synced_to = if synced.segment == self.segment.number { synced.offset } else { 0 };
        let written = match group {
            [(seq, micros, record)] => {
                let bytes = record.place(self.uuid, self.position(), *seq, *micros, synced_to);
                self.segment.file.write_all_at(self.end, bytes)
            }
            group => {
                let mut at = self.position();
                self.buffer.clear();
                for (seq, micros, record) in group {
                    let bytes = record.place(self.uuid, at, *seq, *micros, synced_to);
                    self.buffer.extend_from_slice(bytes);
                    at.offset += bytes.len() as u64;
                }
                let written = self.segment.file.write_all_at(self.end, &self.buffer);
                if self.buffer.capacity() > BUFFER_BYTES_KEPT {
                    self.buffer = Vec::new();
                }
                written
            }
        };
        written.map_err(|error| self.append_failed(error))?;

        self.end += bytes;
        self.last_seq = last_seq;
        self.last_micros = last_micros;
        self.commit_end = self.position();
        self.promised = self.promised.max(WalPosition::new(self.segment.number, synced_to));
        self.announce();
        Ok(self.position())
    }

    fn check_group(&self, group: &[(SeqNo, i64, &mut CommitRecord)]) -> Result<()> {
        let mut last = self.last_seq;
        for (seq, _, record) in group {
            if *seq != last + 1 {
                return Err(Error::internal(format!(
                    "commit number {seq} does not follow {last} in the log"
                )));
            }
            if record.len() == 0 {
                return Err(Error::internal(format!("commit {seq} was never encoded")));
            }
            last = *seq;
        }
        Ok(())
    }

    /// What syncs the log up to the present end without the commit lock.
    pub(crate) fn sync_handle(&self) -> WalSync {
        WalSync { shared: Arc::clone(&self.shared), position: self.position() }
    }

    /// Writes a promise if commits were synced that no bytes in the log promise yet: called when
    /// the log falls quiet, after its last sync (RULES.md 3). Needs no sync of its own. Answers
    /// whether one was written.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub(crate) fn write_promise(&mut self) -> Result<bool> {
        self.check_open()?;
        let synced = self.promise().position;
        if self.commit_end <= self.promised || synced < self.commit_end {
            return Ok(false);
        }
        let at = self.position();
        let bytes = encode_promise(self.uuid, at, self.last_seq, self.last_micros, synced.offset);
        let written = self.segment.file.write_all_at(self.end, &bytes);
        written.map_err(|error| self.append_failed(error))?;
        self.end += bytes.len() as u64;
        self.promised = synced;
        self.announce();
        Ok(true)
    }

    /// Ends the segment and begins the next; also done by `append` at `segment_bytes`. The new
    /// segment is synced with its first records.
    ///
    /// # Errors
    /// `DiskFull`: the log goes on in the old segment. `Io`: it is poisoned.
    pub(crate) fn rotate(&mut self) -> Result<()> {
        self.check_open()?;
        self.cut()?;
        self.sync_handle().sync()?;
        let start = WalStart {
            segment: self.next_segment,
            predecessor: Some(self.position()),
            last_seq: self.last_seq,
        };
        self.next_segment += 1;
        let segment = match Segment::create(&self.env, &self.dir, self.uuid, start) {
            Ok(segment) => segment,
            Err(error) if error.kind() == ErrorKind::DiskFull => return Err(error),
            Err(error) => return Err(self.shared.poison(error)),
        };
        self.promised = self.position();
        self.segment = segment;
        self.end = SEGMENT_HEADER_BYTES as u64;
        self.laid_out = self.end;
        self.announce();
        Ok(())
    }

    /// Makes the file so long that `bytes` more fit, and some. Where the disk is full the record
    /// may fit nevertheless.
    fn lay_out(&mut self, bytes: u64) -> Result<()> {
        let end = self.end.saturating_add(bytes);
        if end <= self.laid_out || bytes > self.ahead_bytes / LAID_OUT_SHARE {
            return Ok(());
        }
        let from = self.laid_out.max(self.end);
        let to = (from + self.ahead_bytes).min(self.segment_bytes).max(end);
        let mut at = from;
        while at < to {
            let piece =
                usize::try_from(to - at).map_or(ZEROES.len(), |left| left.min(ZEROES.len()));
            if let Err(error) = self.segment.file.write_all_at(at, &ZEROES[..piece]) {
                if !is_full(&error) {
                    return Err(self.append_failed(error));
                }
                self.laid_out = u64::MAX;
                return self.cut();
            }
            at += piece as u64;
        }
        self.laid_out = to;
        Ok(())
    }

    /// Ends the file, if it was laid out ahead, where the log ends, durably.
    fn cut(&mut self) -> Result<()> {
        if self.laid_out <= self.end {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let _one_at_a_time = shared.syncing.lock();
        shared.check_open()?;
        self.cut_alone()
    }

    /// The same while no sync runs, however long the file is.
    fn cut_alone(&mut self) -> Result<()> {
        if let Err(error) = self.segment.file.set_len(self.end) {
            let path = &self.segment.path;
            return Err(self.shared.poison(Error::io(path, "cut", never_full(error))));
        }
        self.laid_out = self.end;
        self.segment.established.store(false, Ordering::Release);
        let synced = self.segment.sync(&*self.env.vfs, &self.dir);
        synced.map_err(|error| self.shared.poison(error))?;
        *self.shared.synced.lock() = Promise { position: self.position(), last_seq: self.last_seq };
        Ok(())
    }

    /// Syncs, promises, syncs: the seal of a clean close, for the manifest.
    pub(crate) fn seal(&mut self) -> Result<Promise> {
        self.check_open()?;
        self.sync_handle().sync()?;
        self.write_promise()?;
        self.cut()?;
        self.sync_handle().sync()
    }

    /// The end of the log.
    pub(crate) fn position(&self) -> WalPosition {
        WalPosition::new(self.segment.number, self.end)
    }

    /// Up to where the log is synced, for the next manifest edit. The manifest may name
    /// `promise().position.segment`, but no later one, as the first it needs.
    pub(crate) fn promise(&self) -> Promise {
        *self.shared.synced.lock()
    }

    /// The number of the last good record.
    pub(crate) fn last_seq(&self) -> SeqNo {
        self.last_seq
    }

    /// The segment that is written to.
    pub(crate) fn segment(&self) -> u64 {
        self.segment.number
    }

    /// Whether an error closed the log for writing.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.shared.poison.lock().is_some()
    }

    fn check_open(&self) -> Result<()> {
        self.shared.check_open()
    }

    /// Lets syncs know the new end.
    fn announce(&self) {
        let promise = Promise { position: self.position(), last_seq: self.last_seq };
        *self.shared.appended.lock() = (Arc::clone(&self.segment), promise);
    }

    /// Takes back what a failed write may have left.
    fn append_failed(&mut self, error: io::Error) -> Error {
        let path = self.segment.path.clone();
        if !is_full(&error) {
            return self.shared.poison(Error::io(&path, "append to", error));
        }
        // The cut is synced before anyone hears of it. Otherwise a commit of the group that was
        // whole on disk could come back after a power cut, though its writer was told it failed.
        let shared = Arc::clone(&self.shared);
        let _one_at_a_time = shared.syncing.lock();
        match shared.check_open().and_then(|()| self.cut_alone()) {
            Ok(()) => Error::io(&path, "append to", error),
            Err(error) => error,
        }
    }
}

impl Segment {
    /// Creates the file and writes its header, without syncing either.
    fn create(env: &Env, dir: &Path, uuid: u128, start: WalStart) -> Result<Arc<Self>> {
        let path = segment_path(dir, start.segment);
        let file = env
            .vfs
            .open(&path, OpenMode::CreateNew)
            .map_err(|error| Error::io(&path, "create", error))?;
        let header = SegmentHeader {
            uuid,
            segment: start.segment,
            predecessor: start.predecessor,
            last_seq: start.last_seq,
        };
        if let Err(error) = file.write_all_at(0, &header.encode()) {
            // Replay would pass over what is left of it; it only must not be in the way.
            let error = match env.vfs.remove_file(&path) {
                Ok(()) => error,
                Err(_) => never_full(error),
            };
            return Err(Error::io(&path, "write the header of", error));
        }
        let established = AtomicBool::new(false);
        Ok(Arc::new(Self { number: start.segment, path, file, established }))
    }

    fn sync(&self, vfs: &dyn Vfs, dir: &Path) -> Result<()> {
        let failed = |error| Error::io(&self.path, "sync", never_full(error));
        if self.established.load(Ordering::Acquire) {
            return self.file.sync_data().map_err(failed);
        }
        self.file.sync_all().map_err(failed)?;
        vfs.sync_dir(dir).map_err(|error| Error::io(dir, "sync", never_full(error)))?;
        self.established.store(true, Ordering::Release);
        Ok(())
    }
}

impl Shared {
    fn check_open(&self) -> Result<()> {
        match &*self.poison.lock() {
            None => Ok(()),
            Some(first) => Err(Error::new(
                ErrorKind::Closed,
                format!("the log is closed for writing until the database is reopened: {first}"),
            )),
        }
    }

    /// Closes the log for writing and answers the error.
    fn poison(&self, error: Error) -> Error {
        self.poison.lock().get_or_insert_with(|| error.clone());
        error
    }
}

/// Syncs the log up to the position it had when the handle was taken. Any thread may; one at a
/// time does, and those that waited for it are often served by it.
#[derive(Clone, Debug)]
pub(crate) struct WalSync {
    shared: Arc<Shared>,
    position: WalPosition,
}

impl WalSync {
    /// Makes the log durable up to [`position`](Self::position), at once if it is already, and
    /// often further. Answers how far.
    ///
    /// # Errors
    /// Any failure poisons the log: nothing later is acknowledged (PROMISES.md, Failures).
    pub(crate) fn sync(&self) -> Result<Promise> {
        if let Some(synced) = self.synced() {
            return Ok(synced);
        }
        let _one_at_a_time = self.shared.syncing.lock();
        if let Some(synced) = self.synced() {
            return Ok(synced);
        }
        self.shared.check_open()?;
        let (segment, appended) = self.shared.appended.lock().clone();
        segment
            .sync(&*self.shared.vfs, &self.shared.dir)
            .map_err(|error| self.shared.poison(error))?;
        *self.shared.synced.lock() = appended;
        Ok(appended)
    }

    /// How far the log is synced, if that is far enough.
    fn synced(&self) -> Option<Promise> {
        let synced = *self.shared.synced.lock();
        (synced.position >= self.position).then_some(synced)
    }

    /// Where the log ended when the handle was taken.
    pub(crate) fn position(&self) -> WalPosition {
        self.position
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A full disk met where it cannot be waited out, in a sync, is an I/O error like any other.
fn never_full(error: io::Error) -> io::Error {
    if is_full(&error) { io::Error::other(error) } else { error }
}

//! Replay: reads the log from the first segment that the manifest needs, in order.
//!
//! Segments are chained by their headers: each names its predecessor and where that ended. The
//! chain is found backwards from the last good header. What stands after the chain's end, a
//! segment whose header was never synced, belongs to the tail; what stands beside it was such a
//! tail in an earlier life and is passed over.
//!
//! Every segment but the last must read whole up to the end that its successor names. In the
//! last one the first damage is either a torn tail (nobody was told of what it held) or
//! corruption. The promises decide: those of the manifest, and those of every valid record that
//! is found by searching on behind the damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::vfs::{Env, OpenMode, Vfs, VfsFile};
use crate::wal::record::{
    Damage, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, padded,
};
use crate::wal::{Promise, Record, RecordKind, WalPosition, list_segments, segment_path};
use crate::{Error, ErrorKind, Result, SeqNo};

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;
/// Searching behind damage hashes at most so many times the segment's length: only forged
/// headers could ask for more.
const SEARCH_FACTOR: u64 = 4;

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
    mut apply: impl FnMut(&Record<'_>) -> Result<()>,
) -> Result<ReplayEnd> {
    let vfs = &*env.vfs;
    let numbers = list_segments(vfs, dir)?;
    let highest = numbers.last().copied().unwrap_or(0);
    let segments = Segments::find(vfs, dir, uuid, start.first_segment, &numbers)?;

    let mut replay = Replay {
        uuid,
        dir,
        promise: start.promise,
        seal: start.seal,
        last_seq: segments.chain[0].1.last_seq,
        last_commit_micros: i64::MIN,
        end: WalPosition::default(),
        damage: None,
    };
    if let Some(seal) = start.seal {
        replay.promised(seal);
    }
    for (at, (number, _)) in segments.chain.iter().enumerate() {
        let successor = segments.chain.get(at + 1).map(|(_, header)| header);
        replay.segment(vfs, *number, successor, &mut apply)?;
    }
    let mut unused = Vec::new();
    for tail in &segments.tail {
        if tail.is_zeroes {
            unused.push(tail.number);
        } else {
            replay.tail(vfs, tail)?;
        }
    }
    replay.finish()?;

    let named = start.first_segment.max(start.promise.position.segment).max(highest);
    Ok(ReplayEnd {
        position: replay.end,
        last_seq: replay.last_seq,
        last_commit_micros: replay.last_commit_micros,
        torn: replay.damage.map(|(position, _)| position),
        next_segment: named.max(start.seal.map_or(0, |seal| seal.position.segment)) + 1,
        unused,
    })
}

/// The segments of the folder, sorted out by their headers.
struct Segments {
    /// From the first needed to the last with a good header.
    chain: Vec<(u64, SegmentHeader)>,
    /// Those after it, none with a good header.
    tail: Vec<Tail>,
}

struct Tail {
    number: u64,
    damage: Damage,
    is_zeroes: bool,
}

impl Segments {
    fn find(vfs: &dyn Vfs, dir: &Path, uuid: u128, first: u64, numbers: &[u64]) -> Result<Self> {
        let missing = |number, why: String| {
            Error::corrupt(&segment_path(dir, number), 0, format_args!("segment is missing{why}"))
        };
        let needed: Vec<u64> = numbers.iter().copied().filter(|number| *number >= first).collect();
        if needed.first() != Some(&first) {
            return Err(missing(first, ", the first that the manifest needs".into()));
        }
        let mut headers = Vec::with_capacity(needed.len());
        for number in needed {
            headers.push((number, SegmentFile::open(vfs, dir, number)?.header(uuid)?));
        }

        // The manifest names no segment before it was synced, so the first has a header.
        let good = headers.iter().rposition(|(_, header)| header.is_ok());
        let (Some(good), Ok(_)) = (good, &headers[0].1) else {
            let damage = headers[0].1.as_ref().err().map_or(String::new(), ToString::to_string);
            return Err(Error::corrupt(&segment_path(dir, first), 0, damage));
        };
        let mut tail = Vec::new();
        for (number, header) in &headers[good + 1..] {
            if let Err(damage) = header {
                let is_zeroes = SegmentFile::open(vfs, dir, *number)?.is_zeroes()?;
                tail.push(Tail { number: *number, damage: *damage, is_zeroes });
            }
        }

        let mut chain = Vec::new();
        let mut at = good;
        loop {
            let (number, header) = &headers[at];
            let header = match header {
                Ok(header) => *header,
                // Its successor was written after it was synced whole.
                Err(damage) => return Err(Error::corrupt(&segment_path(dir, *number), 0, damage)),
            };
            chain.push((*number, header));
            if at == 0 {
                break;
            }
            let before = header.predecessor.map_or(0, |predecessor| predecessor.segment);
            let named = headers[..at].binary_search_by_key(&before, |(number, _)| *number);
            at = named.map_err(|_| missing(before, format!(", the predecessor of {number}")))?;
        }
        chain.reverse();
        // Beside the chain only tails of an earlier life may stand, whose headers were damaged.
        for (number, header) in &headers[..good] {
            if header.is_ok() && chain.binary_search_by_key(number, |(number, _)| *number).is_err()
            {
                let path = segment_path(dir, *number);
                return Err(Error::corrupt(&path, 0, "no later segment follows this one"));
            }
        }
        Ok(Self { chain, tail })
    }
}

struct Replay<'a> {
    uuid: u128,
    dir: &'a Path,
    /// The greatest found so far.
    promise: Promise,
    seal: Option<Promise>,
    last_seq: SeqNo,
    last_commit_micros: i64,
    /// After the last valid record.
    end: WalPosition,
    /// The first damage.
    damage: Option<(WalPosition, Damage)>,
}

impl Replay<'_> {
    fn promised(&mut self, promise: Promise) {
        self.promise.position = self.promise.position.max(promise.position);
        self.promise.last_seq = self.promise.last_seq.max(promise.last_seq);
    }

    fn segment(
        &mut self,
        vfs: &dyn Vfs,
        number: u64,
        successor: Option<&SegmentHeader>,
        apply: &mut impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut file = SegmentFile::open(vfs, self.dir, number)?;
        let named = successor.and_then(|header| header.predecessor);
        let limit = named.map_or(file.len, |end| end.offset);
        if limit > file.len {
            let what = format!("the file ends here, but its successor says at {limit}");
            return Err(Error::corrupt(&file.path, file.len, what));
        }
        let mut at = WalPosition::new(number, SEGMENT_HEADER_BYTES as u64);
        while at.offset < limit {
            let header = match file.check_record(self.uuid, at, limit)? {
                Ok(header) => header,
                Err(damage) if successor.is_some() => {
                    return Err(Error::corrupt(&file.path, at.offset, damage));
                }
                Err(damage) => {
                    self.damage = Some((at, damage));
                    self.search(&mut file, at)?;
                    break;
                }
            };
            self.record(&mut file, at, header, apply)?;
            at.offset += header.record_len();
        }
        self.end = at;
        if let Some(header) = successor
            && header.last_seq != self.last_seq
        {
            let what = format!(
                "number {} ends the segment, but its successor says {}",
                self.last_seq, header.last_seq
            );
            return Err(Error::corrupt(&file.path, at.offset, what));
        }
        self.check_seal(&file)
    }

    fn record(
        &mut self,
        file: &mut SegmentFile,
        position: WalPosition,
        header: RecordHeader,
        apply: &mut impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<()> {
        // The checksums say that this record was written here, so a number that does not fit
        // is no torn tail.
        let expected = match header.kind {
            RecordKind::Commit => self.last_seq + 1,
            RecordKind::Promise => self.last_seq,
        };
        if header.seq != expected {
            let what = format!("record has number {}, expected {expected}", header.seq);
            return Err(Error::corrupt(&file.path, position.offset, what));
        }
        if header.kind == RecordKind::Commit {
            let path = file.path.clone();
            let payload = file.payload(position, &header)?;
            apply(&Record { position, header, payload }).map_err(|error| {
                if error.kind() == ErrorKind::Corrupt && error.key().is_none() {
                    Error::corrupt(&path, position.offset, error)
                } else {
                    error
                }
            })?;
            self.last_seq = header.seq;
            self.last_commit_micros = header.commit_micros;
        }
        Ok(())
    }

    /// Looks for promises behind damage.
    fn search(&mut self, file: &mut SegmentFile, damage: WalPosition) -> Result<()> {
        let last_seq = self.last_seq;
        let (uuid, mut found) = (self.uuid, Vec::new());
        file.search(uuid, damage, |header| {
            let fits = match header.kind {
                RecordKind::Commit => header.seq > last_seq,
                RecordKind::Promise => header.seq >= last_seq,
            };
            if fits {
                found.push(WalPosition::new(damage.segment, header.synced_to));
            }
        })?;
        for position in found {
            self.promised(Promise { position, last_seq: 0 });
        }
        Ok(())
    }

    /// A segment whose header is damaged, at the log's end.
    fn tail(&mut self, vfs: &dyn Vfs, tail: &Tail) -> Result<()> {
        let start = WalPosition::new(tail.number, 0);
        // If the chain ended without damage, the log is whole up to here.
        self.damage.get_or_insert((start, tail.damage));
        self.search(&mut SegmentFile::open(vfs, self.dir, tail.number)?, start)
    }

    fn check_seal(&self, file: &SegmentFile) -> Result<()> {
        let Some(seal) = self.seal.filter(|seal| seal.position.segment == self.end.segment) else {
            return Ok(());
        };
        if let Some((at, damage)) = self.damage {
            return Err(Error::corrupt(&file.path, at.offset, damage));
        }
        if (self.end, self.last_seq) != (seal.position, seal.last_seq) {
            let what = format!(
                "the log ends here with number {}, but was closed at offset {} with number {}",
                self.last_seq, seal.position.offset, seal.last_seq
            );
            return Err(Error::corrupt(&file.path, self.end.offset, what));
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let reached = self.damage.map_or(self.end, |(position, _)| position);
        if self.promise.position > reached {
            let (path, promised) = (segment_path(self.dir, reached.segment), self.promise.position);
            return Err(match self.damage {
                Some((_, damage)) => Error::corrupt(
                    &path,
                    reached.offset,
                    format_args!("{damage}, and the log was synced up to {promised}"),
                ),
                // Its header was synced before anything in it was promised.
                None if promised.segment > reached.segment => Error::corrupt(
                    &segment_path(self.dir, promised.segment),
                    0,
                    format_args!(
                        "segment is missing or empty, the log was synced up to {promised}"
                    ),
                ),
                None => Error::corrupt(
                    &path,
                    reached.offset,
                    format_args!("the log ends here, but was synced up to {promised}"),
                ),
            });
        }
        if self.promise.last_seq > self.last_seq {
            let path = segment_path(self.dir, self.end.segment);
            let what = format!(
                "the log ends with number {}, but {} was promised",
                self.last_seq, self.promise.last_seq
            );
            return Err(Error::corrupt(&path, self.end.offset, what));
        }
        Ok(())
    }
}

/// A segment being read, through a window that is reused.
pub(super) struct SegmentFile {
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    pub(super) len: u64,
    window: Vec<u8>,
    /// Where the window begins.
    base: u64,
}

impl SegmentFile {
    fn open(vfs: &dyn Vfs, dir: &Path, number: u64) -> Result<Self> {
        Self::open_path(vfs, segment_path(dir, number))
    }

    pub(super) fn open_path(vfs: &dyn Vfs, path: PathBuf) -> Result<Self> {
        let file =
            vfs.open(&path, OpenMode::Read).map_err(|error| Error::io(&path, "open", error))?;
        let len = file.len().map_err(|error| Error::io(&path, "measure", error))?;
        Ok(Self { path, file, len, window: Vec::new(), base: 0 })
    }

    /// `count` bytes from `offset`, all within the file.
    pub(super) fn bytes(&mut self, offset: u64, count: usize) -> Result<&[u8]> {
        debug_assert!(offset + count as u64 <= self.len, "bounded by the caller");
        let within = offset.checked_sub(self.base).map(to_usize);
        let hit = within.is_some_and(|start| start + count <= self.window.len());
        if !hit {
            let left = to_usize(self.len - offset);
            self.window.resize(count.max(READ_BYTES).min(left), 0);
            self.base = offset;
            self.file
                .read_exact_at(offset, &mut self.window)
                .map_err(|error| Error::io(&self.path, "read", error))?;
        }
        let start = to_usize(offset - self.base);
        Ok(&self.window[start..start + count])
    }

    /// The header, if it is good and belongs here; a newer format is an error.
    fn header(&mut self, uuid: u128) -> Result<Result<SegmentHeader, Damage>> {
        if self.len < SEGMENT_HEADER_BYTES as u64 {
            let (needed, left) = (SEGMENT_HEADER_BYTES as u64, self.len);
            return Ok(Err(Damage::Cut { needed, left }));
        }
        let number = self.path.file_name().and_then(|name| super::segment_number(name.as_ref()));
        let bytes = self.bytes(0, SEGMENT_HEADER_BYTES)?;
        let bytes = bytes.try_into().expect("that many were asked for");
        match SegmentHeader::decode(bytes) {
            Err(damage @ (Damage::Version(_) | Damage::Checksums(_))) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("{}: {damage}", self.path.display()),
            )),
            Err(damage) => Ok(Err(damage)),
            Ok(header) => Ok(header.check(uuid, number.unwrap_or(header.segment))),
        }
    }

    fn is_zeroes(&mut self) -> Result<bool> {
        self.is_zeroes_from(0)
    }

    /// Whether there is nothing but zeroes from `at` to the file's end: what is laid out ahead.
    pub(super) fn is_zeroes_from(&mut self, mut at: u64) -> Result<bool> {
        while at < self.len {
            let count = to_usize(self.len - at).min(READ_BYTES);
            if self.bytes(at, count)?.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += count as u64;
        }
        Ok(true)
    }

    /// The header of the record at `at` if that and its payload are valid and end by `limit`.
    pub(super) fn check_record(
        &mut self,
        uuid: u128,
        at: WalPosition,
        limit: u64,
    ) -> Result<Result<RecordHeader, Damage>> {
        let left = limit - at.offset;
        if left < RECORD_HEADER_BYTES as u64 {
            return Ok(Err(Damage::Cut { needed: RECORD_HEADER_BYTES as u64, left }));
        }
        let bytes = self.bytes(at.offset, RECORD_HEADER_BYTES)?;
        let bytes = bytes.try_into().expect("that many were asked for");
        let header = match RecordHeader::decode(bytes, uuid, at) {
            Ok(header) => header,
            Err(damage) => return Ok(Err(damage)),
        };
        if header.record_len() > left {
            let left = left - RECORD_HEADER_BYTES as u64;
            return Ok(Err(Damage::Length { length: header.payload_len.into(), left }));
        }
        let payload_at = at.offset + RECORD_HEADER_BYTES as u64;
        let payload = self.bytes(payload_at, to_usize(padded(header.payload_len)))?;
        Ok(header.check_payload(payload).map(|()| header))
    }

    pub(super) fn payload(&mut self, at: WalPosition, header: &RecordHeader) -> Result<&[u8]> {
        self.bytes(at.offset + RECORD_HEADER_BYTES as u64, header.payload_len as usize)
    }

    /// Shows `found` every valid record that begins after `damage`.
    fn search(
        &mut self,
        uuid: u128,
        damage: WalPosition,
        mut found: impl FnMut(&RecordHeader),
    ) -> Result<()> {
        let mut at = damage;
        let mut budget = self.len.saturating_mul(SEARCH_FACTOR);
        at.offset += 8;
        while at.offset + RECORD_HEADER_BYTES as u64 <= self.len {
            let bytes = self.bytes(at.offset, RECORD_HEADER_BYTES)?;
            let bytes: &[u8; RECORD_HEADER_BYTES] =
                bytes.try_into().expect("that many were asked for");
            let mut step = 8;
            if RecordHeader::is_plausible(bytes)
                && let Ok(header) = RecordHeader::decode(bytes, uuid, at)
            {
                budget = budget.checked_sub(header.record_len()).ok_or_else(|| {
                    Error::corrupt(&self.path, damage.offset, "too many headers without a record")
                })?;
                if let Ok(header) = self.check_record(uuid, at, self.len)? {
                    found(&header);
                    step = header.record_len();
                }
            }
            at.offset += step;
        }
        Ok(())
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

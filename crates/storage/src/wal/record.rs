//! The bytes of the log. Everything is little-endian; records begin at multiples of eight.
//!
//! ```text
//! segment    header (72 bytes), records
//!
//! header     0  8  magic "SILTWAL\0"
//!            8  4  format version, 1
//!           12  4  checksum algorithms, 1: crc32 for headers, xxh3-64 for payloads
//!           16 16  database uuid
//!           32  8  this segment's number, from 1
//!           40  8  predecessor's number, 0 for none
//!           48  8  where the predecessor's valid bytes end; it was synced whole up to there
//!           56  8  the last number before this segment
//!           64  4  zero
//!           68  4  crc32 of bytes 0..68
//!
//! record     0  4  crc32 of bytes 4..48, begun with the low half of mix(uuid, segment, offset)
//!            4  1  kind
//!            5  3  zero
//!            8  4  payload length, without padding
//!           12  4  zero
//!           16  8  number
//!           24  8  commit time, microseconds since 1970
//!           32  8  this segment was synced up to here when the record was written
//!           40  8  xxh3 of payload and padding, xor mix(uuid, segment, offset)
//!           48     payload, zeroes up to a multiple of eight
//!
//! payload of a commit: sections, each
//!            0  1  what: 1 operations, 2 schema change, 3 bulk file, 4 range deletes
//!            1  4  length of the body
//!            5     body
//! operations       tree u32, count u32, then for each, keys ascending:
//!                  kind u8, key length varint, row length varint (puts only), key, row
//! schema change    tree u32
//! bulk file        tree u32, file u64, size u64, footer checksum u64, rows u64
//! range deletes    tree u32, count u32, then for each: start length varint, end length varint,
//!                  start, end (exclusive). The place is kept; nothing writes them yet.
//! ```
//!
//! Sections of operations stand by tree ascending. The rows are the memtable's bytes.

use std::fmt;

use twox_hash::XxHash3_64;

use crate::wal::WalPosition;
use crate::{Error, ErrorKind, OpKind, Result, SeqNo, TreeId, WriteBatch};

/// The greatest payload of one record, in bytes, checked when writing and when reading.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// Bytes of a segment's header, and where its first record begins.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 72;
/// Bytes of a record's header.
pub(crate) const RECORD_HEADER_BYTES: usize = 48;
/// The newest format that this version reads, and the one it writes.
pub(crate) const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"SILTWAL\0";
const CHECKSUMS: u32 = 1;
/// A buffer that held more than this gives it back before its next use.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

const SECTION_OPERATIONS: u8 = 1;
const SECTION_SCHEMA: u8 = 2;
const SECTION_BULK: u8 = 3;
const SECTION_RANGE_DELETES: u8 = 4;
const SECTION_HEADER_BYTES: usize = 5;

/// What a record says. Stored on disk: the numbers never change. 3 is kept for entries copied
/// forward out of an old segment (RULES.md 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// A commit; its number is the last commit's plus one.
    Commit = 1,
    /// No commit, only a promise, written when the log falls quiet.
    Promise = 2,
}

/// What precedes a record's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: RecordKind,
    /// The commit's number; of a promise, the number of the last commit before it.
    pub(crate) seq: SeqNo,
    /// Microseconds since 1970, UTC.
    pub(crate) commit_micros: i64,
    /// Up to where this segment was synced when the record was written; all segments before it
    /// were synced whole.
    pub(crate) synced_to: u64,
    /// Bytes of the payload, without its padding.
    pub(crate) payload_len: u32,
    /// The checksum of payload and padding before it is mixed with the record's place.
    pub(crate) payload_checksum: u64,
}

/// A record as replay hands it out; the payload is borrowed from the read buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// Where the record begins.
    pub(crate) position: WalPosition,
    pub(crate) header: RecordHeader,
    pub(crate) payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// What a commit record says.
    pub(crate) fn commit(&self) -> Result<CommitPayload<'a>> {
        CommitPayload::parse(self.payload)
    }
}

/// What begins a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) uuid: u128,
    pub(crate) segment: u64,
    /// The segment before and where its valid bytes end.
    pub(crate) predecessor: Option<WalPosition>,
    pub(crate) last_seq: SeqNo,
}

/// Why bytes are not what the writer wrote there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The file ends within a header.
    Cut {
        needed: u64,
        left: u64,
    },
    Magic,
    Checksum {
        what: &'static str,
        stored: u64,
        computed: u64,
    },
    Kind(u8),
    Reserved,
    Length {
        length: u64,
        left: u64,
    },
    Segment {
        stored: u64,
        expected: u64,
    },
    Database {
        stored: u128,
        expected: u128,
    },
    Version(u32),
    Checksums(u32),
    SyncedTo {
        synced: u64,
        offset: u64,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Cut { needed, left } => {
                write!(f, "header of {needed} bytes, but {left} are left")
            }
            Self::Magic => write!(f, "no log segment begins here"),
            Self::Checksum { what, stored, computed } => {
                write!(f, "checksum of {what}: stored {stored:x}, computed {computed:x}")
            }
            Self::Kind(kind) => write!(f, "record kind {kind} is not known"),
            Self::Reserved => write!(f, "reserved bytes are not zero"),
            Self::Length { length, left } => {
                write!(f, "payload of {length} bytes, but at most {left} can follow")
            }
            Self::Segment { stored, expected } => {
                write!(f, "segment {stored} stands where {expected} is expected")
            }
            Self::Database { stored, expected } => {
                write!(f, "it belongs to database {stored:032x}, not to {expected:032x}")
            }
            Self::Version(version) => {
                write!(f, "log format {version} is newer than {FORMAT_VERSION}")
            }
            Self::Checksums(algorithm) => write!(f, "checksum algorithm {algorithm} is not known"),
            Self::SyncedTo { synced, offset } => {
                write!(f, "record claims a sync up to {synced}, beyond its own offset {offset}")
            }
        }
    }
}

/// Binds checksums to a place, so that bytes from elsewhere are damage.
fn mix(uuid: u128, position: WalPosition) -> u64 {
    let mut place = [0; 32];
    place[..16].copy_from_slice(&uuid.to_le_bytes());
    place[16..24].copy_from_slice(&position.segment.to_le_bytes());
    place[24..].copy_from_slice(&position.offset.to_le_bytes());
    XxHash3_64::oneshot(&place)
}

fn header_crc(bytes: &[u8; RECORD_HEADER_BYTES], mix: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(low_half(mix));
    crc.update(&bytes[4..]);
    crc.finalize()
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
fn low_half(mix: u64) -> u32 {
    mix as u32
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the range has N bytes")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

/// Bytes that payload and padding take.
pub(crate) fn padded(payload_len: u32) -> u64 {
    u64::from(payload_len).next_multiple_of(8)
}

impl RecordHeader {
    /// Bytes of the whole record.
    pub(crate) fn record_len(&self) -> u64 {
        RECORD_HEADER_BYTES as u64 + padded(self.payload_len)
    }

    /// The header as it stands at `position`.
    pub(crate) fn encode(&self, uuid: u128, position: WalPosition) -> [u8; RECORD_HEADER_BYTES] {
        let mix = mix(uuid, position);
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[4] = self.kind as u8;
        bytes[8..12].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.seq.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.commit_micros.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.synced_to.to_le_bytes());
        bytes[40..].copy_from_slice(&(self.payload_checksum ^ mix).to_le_bytes());
        let crc = header_crc(&bytes, mix);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header that was written at `position`, or why none was.
    pub(crate) fn decode(
        bytes: &[u8; RECORD_HEADER_BYTES],
        uuid: u128,
        position: WalPosition,
    ) -> Result<Self, Damage> {
        let mix = mix(uuid, position);
        let (stored, computed) = (u32_at(bytes, 0), header_crc(bytes, mix));
        if stored != computed {
            let (stored, computed) = (stored.into(), computed.into());
            return Err(Damage::Checksum { what: "record header", stored, computed });
        }
        let kind = match bytes[4] {
            1 => RecordKind::Commit,
            2 => RecordKind::Promise,
            other => return Err(Damage::Kind(other)),
        };
        if bytes[5..8] != [0; 3] || bytes[12..16] != [0; 4] {
            return Err(Damage::Reserved);
        }
        let header = Self {
            kind,
            seq: u64_at(bytes, 16),
            commit_micros: i64::from_le_bytes(field(bytes, 24)),
            synced_to: u64_at(bytes, 32),
            payload_len: u32_at(bytes, 8),
            payload_checksum: u64_at(bytes, 40) ^ mix,
        };
        if header.payload_len as usize > PAYLOAD_BYTES_MAX {
            let length = header.payload_len.into();
            return Err(Damage::Length { length, left: PAYLOAD_BYTES_MAX as u64 });
        }
        if header.synced_to > position.offset {
            let (synced, offset) = (header.synced_to, position.offset);
            return Err(Damage::SyncedTo { synced, offset });
        }
        Ok(header)
    }

    /// Whether a header may stand in these bytes: what is cheap to see before checksums.
    pub(crate) fn is_plausible(bytes: &[u8; RECORD_HEADER_BYTES]) -> bool {
        u32_at(bytes, 4).wrapping_sub(1) < 2
            && u32_at(bytes, 12) == 0
            && u32_at(bytes, 8) as usize <= PAYLOAD_BYTES_MAX
    }

    /// Checks payload and padding.
    pub(crate) fn check_payload(&self, padded: &[u8]) -> Result<(), Damage> {
        let computed = XxHash3_64::oneshot(padded);
        if computed != self.payload_checksum {
            let stored = self.payload_checksum;
            return Err(Damage::Checksum { what: "record payload", stored, computed });
        }
        Ok(())
    }
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&CHECKSUMS.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.uuid.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.segment.to_le_bytes());
        let predecessor = self.predecessor.unwrap_or_default();
        bytes[40..48].copy_from_slice(&predecessor.segment.to_le_bytes());
        bytes[48..56].copy_from_slice(&predecessor.offset.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.last_seq.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..68]);
        bytes[68..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header, of whichever database and segment.
    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, Damage> {
        if bytes[..8] != MAGIC {
            return Err(Damage::Magic);
        }
        let (stored, computed) = (u32_at(bytes, 68), crc32fast::hash(&bytes[..68]));
        if stored != computed {
            let (stored, computed) = (stored.into(), computed.into());
            return Err(Damage::Checksum { what: "segment header", stored, computed });
        }
        match (u32_at(bytes, 8), u32_at(bytes, 12)) {
            (FORMAT_VERSION, CHECKSUMS) => {}
            (FORMAT_VERSION, other) => return Err(Damage::Checksums(other)),
            (version, _) => return Err(Damage::Version(version)),
        }
        let predecessor = WalPosition::new(u64_at(bytes, 40), u64_at(bytes, 48));
        Ok(Self {
            uuid: u128::from_le_bytes(field(bytes, 16)),
            segment: u64_at(bytes, 32),
            predecessor: (predecessor.segment != 0).then_some(predecessor),
            last_seq: u64_at(bytes, 56),
        })
    }

    /// Checks that the header belongs where it was found.
    pub(crate) fn check(self, uuid: u128, segment: u64) -> Result<Self, Damage> {
        if self.uuid != uuid {
            return Err(Damage::Database { stored: self.uuid, expected: uuid });
        }
        if self.segment != segment {
            return Err(Damage::Segment { stored: self.segment, expected: segment });
        }
        Ok(self)
    }
}

/// A file written in bulk, which a commit record makes part of a tree (RULES.md 11 to 13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BulkFile {
    pub(crate) tree: TreeId,
    pub(crate) file_id: u64,
    pub(crate) size: u64,
    pub(crate) footer_checksum: u64,
    pub(crate) rows: u64,
}

const BULK_BYTES: usize = 36;

/// A commit's record, encoded outside the commit lock and placed under it; the buffer is reused.
#[derive(Debug, Default)]
pub(crate) struct CommitRecord {
    /// Room for the header, then the payload, then zeroes up to a multiple of eight.
    bytes: Vec<u8>,
    payload_len: u32,
    payload_checksum: u64,
}

impl CommitRecord {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Replaces what the buffer holds by the payload of `batch` and `files`.
    ///
    /// # Errors
    /// `Invalid` if it exceeds [`PAYLOAD_BYTES_MAX`].
    pub(crate) fn encode(&mut self, batch: &WriteBatch, files: &[BulkFile]) -> Result<()> {
        if batch.bytes() > PAYLOAD_BYTES_MAX {
            return Err(too_large(batch.bytes()));
        }
        if self.bytes.capacity() > BUFFER_BYTES_KEPT {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        // A guess that is right for keys and rows below 128 bytes and seldom far off.
        self.bytes.reserve(RECORD_HEADER_BYTES + 64 + batch.bytes() + 4 * batch.len());
        self.bytes.resize(RECORD_HEADER_BYTES, 0);
        self.operations(batch);
        for tree in batch.schema_changes() {
            self.section(SECTION_SCHEMA, 4);
            self.bytes.extend_from_slice(&tree.0.to_le_bytes());
        }
        for file in files {
            self.section(SECTION_BULK, BULK_BYTES);
            self.bytes.extend_from_slice(&file.tree.0.to_le_bytes());
            for number in [file.file_id, file.size, file.footer_checksum, file.rows] {
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        self.finish()
    }

    fn operations(&mut self, batch: &WriteBatch) {
        // The tree of the section that is open, where its header stands, and its operations.
        let mut open: Option<(TreeId, usize, u32)> = None;
        for (tree, key, kind, row) in batch.iter() {
            match &mut open {
                Some((current, _, count)) if *current == tree => *count += 1,
                _ => {
                    self.close_operations(open);
                    open = Some((tree, self.bytes.len(), 1));
                    self.section(SECTION_OPERATIONS, 0);
                    self.bytes.extend_from_slice(&tree.0.to_le_bytes());
                    self.bytes.extend_from_slice(&[0; 4]);
                }
            }
            self.bytes.push(kind as u8);
            put_varint(&mut self.bytes, key.len());
            if kind == OpKind::Put {
                put_varint(&mut self.bytes, row.len());
            }
            self.bytes.extend_from_slice(key);
            self.bytes.extend_from_slice(row);
        }
        self.close_operations(open);
    }

    fn close_operations(&mut self, open: Option<(TreeId, usize, u32)>) {
        let Some((_, start, count)) = open else { return };
        let body = start + SECTION_HEADER_BYTES;
        // A length that does not fit belongs to a payload that `finish` refuses.
        let length = u32::try_from(self.bytes.len() - body).unwrap_or(u32::MAX);
        self.bytes[start + 1..body].copy_from_slice(&length.to_le_bytes());
        self.bytes[body + 4..body + 8].copy_from_slice(&count.to_le_bytes());
    }

    fn section(&mut self, what: u8, length: usize) {
        self.bytes.push(what);
        let length = u32::try_from(length).expect("fixed sections are small");
        self.bytes.extend_from_slice(&length.to_le_bytes());
    }

    fn finish(&mut self) -> Result<()> {
        let payload_len = self.bytes.len() - RECORD_HEADER_BYTES;
        if payload_len > PAYLOAD_BYTES_MAX {
            self.bytes.clear();
            return Err(too_large(payload_len));
        }
        self.payload_len = u32::try_from(payload_len).expect("it is below 64 MiB");
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.payload_checksum = XxHash3_64::oneshot(&self.bytes[RECORD_HEADER_BYTES..]);
        Ok(())
    }

    /// Bytes the record takes in the log; 0 before [`encode`](Self::encode).
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Fills in the header for a place in the log and answers the record's bytes.
    pub(crate) fn place(
        &mut self,
        uuid: u128,
        position: WalPosition,
        seq: SeqNo,
        commit_micros: i64,
        synced_to: u64,
    ) -> &[u8] {
        let header = RecordHeader {
            kind: RecordKind::Commit,
            seq,
            commit_micros,
            synced_to,
            payload_len: self.payload_len,
            payload_checksum: self.payload_checksum,
        };
        self.bytes[..RECORD_HEADER_BYTES].copy_from_slice(&header.encode(uuid, position));
        &self.bytes
    }

    /// The encoded payload.
    #[cfg(test)]
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[RECORD_HEADER_BYTES..][..self.payload_len as usize]
    }
}

fn too_large(bytes: usize) -> Error {
    Error::invalid(format!(
        "a commit of {bytes} bytes does not fit a log record of at most {PAYLOAD_BYTES_MAX} bytes"
    ))
}

/// A promise record at `position`.
pub(crate) fn encode_promise(
    uuid: u128,
    position: WalPosition,
    last_seq: SeqNo,
    micros: i64,
    synced_to: u64,
) -> [u8; RECORD_HEADER_BYTES] {
    RecordHeader {
        kind: RecordKind::Promise,
        seq: last_seq,
        commit_micros: micros,
        synced_to,
        payload_len: 0,
        payload_checksum: XxHash3_64::oneshot(&[]),
    }
    .encode(uuid, position)
}

/// A commit record's payload, checked once, then read without errors.
#[derive(Clone, Debug)]
pub(crate) struct CommitPayload<'a> {
    bytes: &'a [u8],
    len: usize,
    schema_changes: Vec<TreeId>,
    files: Vec<BulkFile>,
}

impl<'a> CommitPayload<'a> {
    /// Checks the whole structure: lengths, kinds, trees and keys ascending.
    ///
    /// # Errors
    /// `Corrupt` without a path (the caller knows it); `Unsupported` for sections of the future.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut payload = Self { bytes, len: 0, schema_changes: Vec::new(), files: Vec::new() };
        let mut last_tree = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (what, mut body) = take_section(&mut rest).ok_or_else(cut)?;
            match what {
                SECTION_OPERATIONS => {
                    let (tree, count) = payload.check_operations(body)?;
                    if last_tree.is_some_and(|last| last >= tree) {
                        return Err(malformed(format!("tree {tree} out of order")));
                    }
                    last_tree = Some(tree);
                    payload.len += count;
                }
                SECTION_SCHEMA if body.len() == 4 => {
                    payload.schema_changes.push(TreeId(u32_at(body, 0)));
                }
                SECTION_BULK if body.len() == BULK_BYTES => {
                    let tree = TreeId(take_u32(&mut body).ok_or_else(cut)?);
                    payload.files.push(BulkFile {
                        tree,
                        file_id: u64_at(body, 0),
                        size: u64_at(body, 8),
                        footer_checksum: u64_at(body, 16),
                        rows: u64_at(body, 24),
                    });
                }
                SECTION_SCHEMA | SECTION_BULK => {
                    return Err(malformed(format!("section {what} of {} bytes", body.len())));
                }
                SECTION_RANGE_DELETES => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "the log holds range deletes, which this version does not know",
                    ));
                }
                other => return Err(malformed(format!("section {other} is not known"))),
            }
        }
        Ok(payload)
    }

    fn check_operations(&self, mut body: &[u8]) -> Result<(TreeId, usize)> {
        let tree = TreeId(take_u32(&mut body).ok_or_else(cut)?);
        let count = take_u32(&mut body).ok_or_else(cut)? as usize;
        let mut last: Option<&[u8]> = None;
        for _ in 0..count {
            let (key, _, _) = take_operation(&mut body).ok_or_else(cut)?;
            if last.is_some_and(|last| last >= key) {
                return Err(malformed(format!("keys of tree {tree} out of order")));
            }
            last = Some(key);
        }
        if count == 0 || !body.is_empty() {
            let left = body.len();
            return Err(malformed(format!("{left} bytes after {count} operations")));
        }
        Ok((tree, count))
    }

    /// The number of operations.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The operations, by tree and key ascending; the row of a delete is empty.
    pub(crate) fn operations(&self) -> Operations<'a> {
        Operations { sections: self.bytes, body: &[], tree: TreeId(0) }
    }

    /// The trees whose schema the commit changes.
    pub(crate) fn schema_changes(&self) -> &[TreeId] {
        &self.schema_changes
    }

    /// The bulk files that the commit makes visible.
    pub(crate) fn files(&self) -> &[BulkFile] {
        &self.files
    }
}

/// See [`CommitPayload::operations`].
#[derive(Clone, Debug)]
pub(crate) struct Operations<'a> {
    sections: &'a [u8],
    /// What is left of the open section.
    body: &'a [u8],
    tree: TreeId,
}

impl<'a> Iterator for Operations<'a> {
    type Item = (TreeId, &'a [u8], OpKind, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // `parse` walked the same steps, so that `None` means the end and nothing else.
        while self.body.is_empty() {
            let (what, mut body) = take_section(&mut self.sections)?;
            if what == SECTION_OPERATIONS {
                self.tree = TreeId(take_u32(&mut body)?);
                take_u32(&mut body)?;
                self.body = body;
            }
        }
        let (key, kind, row) = take_operation(&mut self.body)?;
        Some((self.tree, key, kind, row))
    }
}

fn malformed(what: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("commit record: {what}"))
}

fn cut() -> Error {
    malformed("a length reaches beyond the end")
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn take_u8(bytes: &mut &[u8]) -> Option<u8> {
    Some(take(bytes, 1)?[0])
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    Some(u32_at(take(bytes, 4)?, 0))
}

fn take_section<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let what = take_u8(bytes)?;
    let len = take_u32(bytes)?;
    Some((what, take(bytes, len as usize)?))
}

fn take_operation<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], OpKind, &'a [u8])> {
    let kind = OpKind::from_u8(take_u8(bytes)?)?;
    let key_len = take_varint(bytes)?;
    let row_len = if kind == OpKind::Put { take_varint(bytes)? } else { 0 };
    let key = take(bytes, key_len)?;
    let row = take(bytes, row_len)?;
    Some((key, kind, row))
}

/// Seven bits a byte, low ones first, the top bit says that more follow.
#[expect(clippy::cast_possible_truncation, reason = "masked to seven bits")]
fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A varint of at most 32 bits.
fn take_varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let byte = take_u8(bytes)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return u32::try_from(value).ok().map(|value| value as usize);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch() -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put(TreeId(7), b"b", b"row of b");
        batch.put(TreeId(7), b"a", &[1; 200]);
        batch.delete(TreeId(7), b"c");
        batch.put(TreeId(2), b"", b"");
        batch.change_schema(TreeId(9));
        batch
    }

    fn bulk() -> BulkFile {
        BulkFile { tree: TreeId(3), file_id: 4, size: 5, footer_checksum: 6, rows: 7 }
    }

    #[test]
    fn a_commit_reads_back_as_it_was_written() {
        let (batch, files) = (batch(), [bulk()]);
        let mut record = CommitRecord::new();
        record.encode(&batch, &files).unwrap();
        assert_eq!(record.len() % 8, 0);
        let payload = CommitPayload::parse(record.payload()).unwrap();
        assert!(payload.operations().eq(batch.iter()));
        assert_eq!(payload.len(), batch.len());
        assert_eq!(payload.schema_changes(), [TreeId(9)]);
        assert_eq!(payload.files(), files);

        record.encode(&WriteBatch::new(), &files).unwrap();
        let payload = CommitPayload::parse(record.payload()).unwrap();
        assert_eq!(payload.operations().count(), 0, "the buffer forgets what it held");
    }

    #[test]
    fn a_commit_beyond_the_limit_is_refused_before_it_is_written() {
        let mut batch = WriteBatch::new();
        for key in 0..3u8 {
            batch.put(TreeId(1), &[key], &vec![0; 24 << 20]);
        }
        let mut record = CommitRecord::new();
        let error = record.encode(&batch, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("67108864"), "{error}");
        batch.delete(TreeId(1), &[2]);
        record.encode(&batch, &[]).unwrap();
    }

    #[test]
    fn keys_and_trees_out_of_order_are_refused() {
        let mut record = CommitRecord::new();
        record.encode(&batch(), &[]).unwrap();
        let mut bytes = record.payload().to_vec();
        let at = bytes.windows(8).position(|window| window == b"row of b").unwrap() - 1;
        bytes[at] = b'a';
        assert!(CommitPayload::parse(&bytes).unwrap_err().to_string().contains("out of order"));
        let twice = [record.payload(), record.payload()].concat();
        assert!(CommitPayload::parse(&twice).unwrap_err().to_string().contains("tree 2"));
    }

    #[test]
    fn a_header_holds_only_at_its_own_place() {
        let header = RecordHeader {
            kind: RecordKind::Commit,
            seq: 1,
            commit_micros: -2,
            synced_to: 72,
            payload_len: 4,
            payload_checksum: 5,
        };
        let at = WalPosition::new(3, 96);
        let bytes = header.encode(6, at);
        assert!(RecordHeader::is_plausible(&bytes));
        assert_eq!(RecordHeader::decode(&bytes, 6, at), Ok(header));
        for (uuid, segment, offset) in [(7, 3, 96), (6, 4, 96), (6, 3, 104)] {
            let elsewhere = WalPosition::new(segment, offset);
            assert!(RecordHeader::decode(&bytes, uuid, elsewhere).is_err());
        }
        for at_bit in 0..RECORD_HEADER_BYTES * 8 {
            let mut bytes = bytes;
            bytes[at_bit / 8] ^= 1 << (at_bit % 8);
            assert!(RecordHeader::decode(&bytes, 6, at).is_err(), "bit {at_bit}");
        }
        assert!(RecordHeader::decode(&[0; RECORD_HEADER_BYTES], 6, at).is_err());
    }

    #[test]
    fn a_segment_header_reads_back_and_no_bit_of_it_can_change() {
        let header = SegmentHeader {
            uuid: 0xfeed << 64,
            segment: 5,
            predecessor: Some(WalPosition::new(4, 1000)),
            last_seq: 12,
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        assert!(header.check(0xfeed << 64, 5).is_ok());
        assert!(header.check(1, 5).is_err());
        assert!(header.check(0xfeed << 64, 6).is_err());
        for at in 0..SEGMENT_HEADER_BYTES * 8 {
            let mut bytes = bytes;
            bytes[at / 8] ^= 1 << (at % 8);
            assert!(SegmentHeader::decode(&bytes).is_err(), "bit {at}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(payload) = CommitPayload::parse(&bytes) {
                prop_assert_eq!(payload.operations().count(), payload.len());
            }
        }

        #[test]
        fn a_changed_payload_parses_to_an_error_or_to_as_many_operations_as_it_says(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut record = CommitRecord::new();
            record.encode(&batch(), &[bulk()]).unwrap();
            let mut bytes = record.payload().to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(payload) = CommitPayload::parse(&bytes) {
                prop_assert_eq!(payload.operations().count(), payload.len());
            }
        }
    }
}

//! The bytes of the log.

use crate::wal::WalPosition;
use crate::{OpKind, Result, SeqNo, TreeId, WriteBatch};

/// The greatest payload of one record, in bytes, checked when writing and when reading.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// What a record says. Stored on disk: the numbers never change.
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
    /// The payload's checksum as stored.
    pub(crate) payload_checksum: u64,
}

/// A record as replay and `dump` hand it out; the payload is borrowed from the read buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// Where the record begins.
    pub(crate) position: WalPosition,
    pub(crate) header: RecordHeader,
    pub(crate) payload: &'a [u8],
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

/// A commit's record, encoded outside the commit lock and placed under it; the buffer is reused.
#[derive(Debug, Default)]
pub(crate) struct CommitRecord {
    /// Room for the header, then the payload, then zeroes up to a multiple of eight.
    bytes: Vec<u8>,
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
        let _ = (&mut self.bytes, batch, files);
        todo!()
    }

    /// Bytes the record takes in the log.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// A commit record's payload, checked once, then read without errors.
#[derive(Clone, Debug)]
pub(crate) struct CommitPayload<'a> {
    bytes: &'a [u8],
    schema_changes: Vec<TreeId>,
    files: Vec<BulkFile>,
}

impl<'a> CommitPayload<'a> {
    /// Checks the whole structure: lengths, kinds, trees and keys ascending.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let _ = bytes;
        todo!()
    }

    /// The operations, by tree and key ascending; the row of a delete is empty.
    pub(crate) fn operations(&self) -> Operations<'a> {
        Operations { bytes: self.bytes }
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
    bytes: &'a [u8],
}

impl<'a> Iterator for Operations<'a> {
    type Item = (TreeId, &'a [u8], OpKind, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.bytes;
        todo!()
    }
}

//! [`wal`]: the log's records, oldest first.

use std::path::{Path, PathBuf};

use crate::vfs::Env;
use crate::wal::dump::Dump;
use crate::wal::{
    CommitPayload, DumpEntry, DumpItem, RecordHeader, RecordKind, dump, list_segments, segment_path,
};
use crate::{Error, OpKind, Result, SeqNo, TreeId};

/// What stands at a place of the log.
#[derive(Clone, Debug)]
pub struct WalEntry {
    /// The segment's number.
    pub segment: u64,
    /// Where it begins in the segment.
    pub offset: u64,
    /// What it is.
    pub item: WalItem,
}

/// See [`WalEntry`].
#[derive(Clone, Debug)]
pub enum WalItem {
    /// The head of a segment.
    Segment {
        /// The database.
        uuid: u128,
        /// The segment before and where its valid bytes end.
        predecessor: Option<(u64, u64)>,
        /// The last number before this segment.
        last_seq: SeqNo,
    },
    /// A commit.
    Commit {
        /// Its number.
        seq: SeqNo,
        /// When, in microseconds since 1970.
        commit_micros: i64,
        /// Up to where this segment was synced when it was written.
        synced_to: u64,
        /// Bytes of the record, header and padding included.
        bytes: u64,
        /// What it does to rows, tree by tree.
        trees: Vec<TreeOperations>,
        /// Trees whose schema it changes.
        schema_changes: Vec<TreeId>,
        /// Files that it makes part of a tree.
        files: Vec<WalBulkFile>,
    },
    /// A record that only says up to where the log was synced.
    Promise {
        /// The last number before it.
        seq: SeqNo,
        /// Up to where this segment was synced when it was written.
        synced_to: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// Bytes that are no record, up to the next one or the segment's end. At the end of the last
    /// segment this is what a crash, or a writer at work, leaves.
    Damage {
        /// Why, with file and offset.
        error: Error,
        /// How many.
        bytes: u64,
    },
}

/// What a commit does to the rows of one tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeOperations {
    /// The tree.
    pub tree: TreeId,
    /// Rows put.
    pub puts: u64,
    /// Keys deleted.
    pub deletes: u64,
    /// Bytes of keys and rows.
    pub bytes: u64,
}

/// A bulk file that a commit names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalBulkFile {
    /// The tree that it becomes part of.
    pub tree: TreeId,
    /// Its number.
    pub id: u64,
    /// Its length in bytes.
    pub size: u64,
    /// The checksum of its footer.
    pub footer_checksum: u64,
    /// Its rows.
    pub rows: u64,
}

/// Everything in the log of the database in `dir`, segment by segment, damage included. Needs
/// neither `CURRENT` nor a manifest; holds one record in memory.
///
/// # Errors
/// `Io` if the folder `wal` cannot be listed. While walking: `Io` if a segment cannot be read,
/// after which the next one follows.
pub fn wal(env: &Env, dir: &Path) -> Result<WalEntries> {
    let dir = dir.join("wal");
    let segments = list_segments(&*env.vfs, &dir)?.into_iter();
    Ok(WalEntries { env: env.clone(), dir, segments, open: None })
}

/// See [`wal`].
pub struct WalEntries {
    env: Env,
    dir: PathBuf,
    segments: std::vec::IntoIter<u64>,
    open: Option<(u64, Dump)>,
}

impl Iterator for WalEntries {
    type Item = Result<WalEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((segment, dump)) = &mut self.open {
                if let Some(entry) = dump.next() {
                    let path = segment_path(&self.dir, *segment);
                    return Some(entry.map(|entry| describe(&path, *segment, &entry)));
                }
                self.open = None;
            }
            let segment = self.segments.next()?;
            match dump(&self.env, &segment_path(&self.dir, segment)) {
                Ok(dump) => self.open = Some((segment, dump)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn describe(path: &Path, segment: u64, entry: &DumpEntry) -> WalEntry {
    let offset = entry.offset;
    let damage = |what: &dyn std::fmt::Display, bytes| WalItem::Damage {
        error: Error::corrupt(path, offset, what),
        bytes,
    };
    let item = match &entry.what {
        DumpItem::Segment(header) if header.segment != segment => damage(
            &format_args!("segment {} stands where {segment} is expected", header.segment),
            crate::wal::record::SEGMENT_HEADER_BYTES as u64,
        ),
        DumpItem::Segment(header) => WalItem::Segment {
            uuid: header.uuid,
            predecessor: header.predecessor.map(|before| (before.segment, before.offset)),
            last_seq: header.last_seq,
        },
        DumpItem::Record { header, payload } => match header.kind {
            RecordKind::Promise => WalItem::Promise {
                seq: header.seq,
                synced_to: header.synced_to,
                bytes: header.record_len(),
            },
            RecordKind::Commit => match CommitPayload::parse(payload) {
                Ok(payload) => commit(header, &payload),
                Err(error) => damage(&error, header.record_len()),
            },
        },
        DumpItem::Damage { why, bytes } => damage(why, *bytes),
    };
    WalEntry { segment, offset, item }
}

fn commit(header: &RecordHeader, payload: &CommitPayload<'_>) -> WalItem {
    let mut trees: Vec<TreeOperations> = Vec::new();
    for (tree, key, kind, row) in payload.operations() {
        // The operations of a tree stand together.
        if trees.last().is_none_or(|last| last.tree != tree) {
            trees.push(TreeOperations { tree, ..TreeOperations::default() });
        }
        let Some(last) = trees.last_mut() else { continue };
        match kind {
            OpKind::Put => last.puts += 1,
            OpKind::Delete => last.deletes += 1,
        }
        last.bytes += (key.len() + row.len()) as u64;
    }
    let files = payload.files().iter().map(|file| WalBulkFile {
        tree: file.tree,
        id: file.file_id,
        size: file.size,
        footer_checksum: file.footer_checksum,
        rows: file.rows,
    });
    WalItem::Commit {
        seq: header.seq,
        commit_micros: header.commit_micros,
        synced_to: header.synced_to,
        bytes: header.record_len(),
        trees,
        schema_changes: payload.schema_changes().to_vec(),
        files: files.collect(),
    }
}

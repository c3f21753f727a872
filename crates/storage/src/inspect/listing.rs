//! [`files`] and [`manifest`]: what the manifest names now, and how it came to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use silt_codec::{KeyCodec, RowBuffer, TreeSchema, Value};

use super::text;
use crate::version::manifest::{Current, manifest_path, read_records};
use crate::version::{FileMeta, SweepQueue, TreeFiles, VersionEdit, read_files};
use crate::vfs::Env;
use crate::wal::Promise;
use crate::{Error, ErrorKind, Result, SeqNo, TreeId};

/// What the manifest names.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The manifest's number.
    pub manifest: u64,
    /// The database.
    pub uuid: u128,
    /// The first log segment that replay needs.
    pub first_segment: u64,
    /// Whether the log was closed, so that replay has nothing to find behind it.
    pub sealed: bool,
    /// The trees, by number.
    pub trees: Vec<TreeListing>,
}

/// One tree of a [`Listing`].
#[derive(Clone, Debug)]
pub struct TreeListing {
    /// Its number.
    pub id: TreeId,
    /// Its current schema.
    pub schema: Arc<TreeSchema>,
    /// Every entry at or below this number is in the files.
    pub flushed: SeqNo,
    /// No read below this number any more.
    pub floor: SeqNo,
    /// Its files by level, level 0 newest first, the others by key.
    pub files: Vec<FileListing>,
}

/// One file of a [`TreeListing`].
#[derive(Clone, Debug, PartialEq)]
pub struct FileListing {
    /// The level that it is in.
    pub level: usize,
    /// Its number.
    pub id: u64,
    /// Its length in bytes.
    pub size: u64,
    /// The checksum of its footer.
    pub footer_checksum: u64,
    /// Entries, deletes included.
    pub rows: u64,
    /// Entries that are deletes.
    pub deletes: u64,
    /// Row groups.
    pub groups: u32,
    /// The lowest number of its entries.
    pub min_seq: SeqNo,
    /// The highest.
    pub max_seq: SeqNo,
    /// The number of all its entries, if a bulk load wrote it: in the file they say 0.
    pub file_seq: Option<SeqNo>,
    /// The schema version that it was written under.
    pub schema_version: u32,
    /// No key has two entries in it.
    pub one_version: bool,
    /// The commit times of its entries, in microseconds since 1970: least and greatest.
    pub commit_micros: (i64, i64),
    /// The first key.
    pub first_key: Vec<Value>,
    /// The last key.
    pub last_key: Vec<Value>,
}

/// What the manifest of the database in `dir` names.
///
/// # Errors
/// `NotFound` if there is no database; `Corrupt` with file and offset; `Unsupported` for a later
/// format; `Io`.
pub fn files(env: &Env, dir: &Path) -> Result<Listing> {
    with_current(env, dir, |current| {
        let files = read_files(env, dir, current, &Arc::<SweepQueue>::default())?;
        let path = manifest_path(dir, current.manifest);
        let trees = files.trees.iter().map(|(id, tree)| tree_listing(&path, *id, tree));
        Ok(Listing {
            manifest: current.manifest,
            uuid: current.uuid,
            first_segment: files.first_segment,
            sealed: files.seal.is_some(),
            trees: trees.collect::<Result<_>>()?,
        })
    })
}

/// Reads by what `CURRENT` says; again if a writer put another manifest in place meanwhile and
/// took away the one that was being read.
fn with_current<T>(env: &Env, dir: &Path, read: impl Fn(Current) -> Result<T>) -> Result<T> {
    let current = || {
        Current::read(env, dir)?.ok_or_else(|| {
            let message = format!("there is no database in {}", dir.display());
            Error::new(ErrorKind::NotFound, message)
        })
    };
    loop {
        let before = current()?;
        match read(before) {
            Err(_) if current()?.manifest != before.manifest => {}
            answer => return answer,
        }
    }
}

fn tree_listing(path: &Path, id: TreeId, tree: &TreeFiles) -> Result<TreeListing> {
    let schema = tree.schemas.last().cloned().ok_or_else(|| {
        Error::corrupt(path, 0, format_args!("tree {id} has files and no schema"))
    })?;
    let codec = KeyCodec::new(&schema)?;
    let file = |(level, file): (usize, &Arc<crate::version::LiveFile>)| {
        file_listing(&codec, level, file.meta()).map_err(|error| {
            let what = format!("a key of file {} of tree {id}: {error}", file.id);
            Error::corrupt(path, 0, what)
        })
    };
    let files = tree.version.files().map(file).collect::<Result<_>>()?;
    Ok(TreeListing { id, schema, flushed: tree.flushed, floor: tree.floor, files })
}

fn file_listing(codec: &KeyCodec, level: usize, meta: &FileMeta) -> Result<FileListing> {
    Ok(FileListing {
        level,
        id: meta.id,
        size: meta.size,
        footer_checksum: meta.footer_checksum,
        rows: meta.rows,
        deletes: meta.deletes,
        groups: meta.groups,
        min_seq: meta.min_seq,
        max_seq: meta.max_seq,
        file_seq: meta.file_seq,
        schema_version: meta.schema_version,
        one_version: meta.one_version,
        commit_micros: meta.commit_micros,
        first_key: decode_key(codec, &meta.smallest)?,
        last_key: decode_key(codec, &meta.largest)?,
    })
}

fn decode_key(codec: &KeyCodec, key: &[u8]) -> Result<Vec<Value>> {
    let mut row = RowBuffer::new();
    codec.decode(key, &mut row)?;
    Ok(row.iter().map(|value| value.to_value()).collect())
}

/// The current manifest, edit by edit.
#[derive(Clone, Debug)]
pub struct ManifestDescription {
    /// Where it stands.
    pub path: PathBuf,
    /// Its number.
    pub number: u64,
    /// The database.
    pub uuid: u128,
    /// Its length when it became current, or when the database was closed: damage before this is
    /// corruption.
    pub synced_len: u64,
    /// Its records in order.
    pub entries: Vec<ManifestEntry>,
    /// Where its last whole record ends.
    pub end: u64,
    /// Its length: what stands behind `end` is an edit that a crash cut short.
    pub len: u64,
}

/// One edit of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Where its record begins.
    pub offset: u64,
    /// The record's bytes, header and padding included.
    pub bytes: u64,
    /// What it says, a line each.
    pub changes: Vec<String>,
}

/// The manifest of the database in `dir`, edit by edit, those of its opening snapshot first.
///
/// # Errors
/// As [`files`].
pub fn manifest(env: &Env, dir: &Path) -> Result<ManifestDescription> {
    with_current(env, dir, |current| {
        let mut entries = Vec::new();
        let mut codecs = BTreeMap::new();
        let (end, len) = read_records(env, dir, current, |record| {
            for (tree, schema) in &record.edit.schemas {
                let codec = KeyCodec::new(schema).map_err(|error| error.to_string())?;
                codecs.insert(*tree, codec);
            }
            let changes = changes(&record.edit, &codecs);
            entries.push(ManifestEntry { offset: record.offset, bytes: record.bytes, changes });
            Ok(())
        })?;
        Ok(ManifestDescription {
            path: manifest_path(dir, current.manifest),
            number: current.manifest,
            uuid: current.uuid,
            synced_len: current.synced_len,
            entries,
            end,
            len,
        })
    })
}

/// What an edit says, in the order of its fields.
fn changes(edit: &VersionEdit, codecs: &BTreeMap<TreeId, KeyCodec>) -> Vec<String> {
    let mut lines = Vec::new();
    let promised = |what: &str, promise: &Promise| {
        format!("{what} {}, number {}", promise.position, promise.last_seq)
    };
    lines.extend(edit.promise.as_ref().map(|promise| promised("log synced to", promise)));
    lines.extend(edit.next_file.map(|next| format!("next file {next}")));
    lines.extend(edit.next_tree.map(|next| format!("next tree {next}")));
    lines.extend(edit.first_segment.map(|first| format!("first segment {first}")));
    for (tree, schema) in &edit.schemas {
        lines.push(format!("tree {tree}: {}", text::schema(schema)));
    }
    for tree in &edit.dropped_trees {
        lines.push(format!("tree {tree} dropped"));
    }
    for file in &edit.removed {
        lines.push(format!("tree {} level {} loses file {}", file.tree, file.level, file.id));
    }
    for file in &edit.added {
        let listed = codecs
            .get(&file.tree)
            .and_then(|codec| file_listing(codec, file.level, &file.meta).ok());
        let (tree, level) = (file.tree, file.level);
        lines.push(match listed {
            Some(listed) => format!("tree {tree} level {level} gains {listed}"),
            None => format!("tree {tree} level {level} gains file {}", file.meta.id),
        });
    }
    for (tree, seq) in &edit.flushed {
        lines.push(format!("tree {tree} flushed through {seq}"));
    }
    for (tree, seq) in &edit.floors {
        lines.push(format!("tree {tree} floor {seq}"));
    }
    for (seq, segment) in &edit.applied_bulk {
        lines.push(format!("bulk commit {seq} of segment {segment} placed"));
    }
    lines.extend(edit.seal.as_ref().map(|seal| promised("closed at", seal)));
    lines
}

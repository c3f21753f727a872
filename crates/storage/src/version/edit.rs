//! [`VersionEdit`]: one step from a version to the next, as the manifest records it.
//!
//! A record is a list of tagged fields, lists as one field an element:
//!
//! ```text
//!  tag  field             contents (numbers are varints; len-bytes: length, then bytes)
//!   1   promise           segment, offset, last number
//!   2   next file         number
//!   3   next tree         number
//!   4   first segment     number
//!   5   schema            tree, len-bytes (TreeSchema)
//!   6   dropped tree      tree
//!   7   removed file      tree, level, file
//!   8   added file        tree, level, then the fields of FileMeta
//!   9   flushed           tree, number
//!  10   floor             tree, number
//!  11   applied bulk      number, segment of its record
//!  12   seal              segment, offset, last number
//! ```
//!
//! A reader that meets a tag it does not know refuses the manifest: tags come with a format version.

use std::sync::Arc;

use silt_codec::{TreeSchema, ZoneMap};

use super::fields::{FieldResult, Fields, put_bytes, put_position, put_signed, put_varint};
use super::{FileMeta, LEVELS};
use crate::wal::Promise;
use crate::{SeqNo, TreeId};

/// A file that enters a level.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AddedFile {
    /// The tree.
    pub(crate) tree: TreeId,
    /// The level.
    pub(crate) level: usize,
    /// The file, written and synced, its directory too.
    pub(crate) meta: FileMeta,
}

/// A file that leaves a level. A file moved between levels is removed here and added there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RemovedFile {
    /// The tree.
    pub(crate) tree: TreeId,
    /// The level.
    pub(crate) level: usize,
    /// The file's number.
    pub(crate) id: u64,
}

/// One change of the set of files and of what else the manifest holds; whole or absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct VersionEdit {
    /// Files that leave.
    pub(crate) removed: Vec<RemovedFile>,
    /// Files that enter.
    pub(crate) added: Vec<AddedFile>,
    /// Trees whose entries at or below a number are all in files now.
    pub(crate) flushed: Vec<(TreeId, SeqNo)>,
    /// The compaction's floor by tree: no read below it any more (RULES.md 25).
    pub(crate) floors: Vec<(TreeId, SeqNo)>,
    /// Bulk commits whose files this edit places, with the segment of their record (RULES.md 12).
    pub(crate) applied_bulk: Vec<(SeqNo, u64)>,
    /// Schemas registered: the first of a tree registers the tree.
    pub(crate) schemas: Vec<(TreeId, Arc<TreeSchema>)>,
    /// Trees that are gone, with their files.
    pub(crate) dropped_trees: Vec<TreeId>,
    /// The first log segment that replay needs.
    pub(crate) first_segment: Option<u64>,
    /// Up to where the log was synced. [`VersionSet::apply`](super::VersionSet::apply) sets it.
    pub(crate) promise: Option<Promise>,
    /// Every file id given out so far is below it. Set by `apply`.
    pub(crate) next_file: Option<u64>,
    /// Every tree registered so far has a number below it. Set by `apply`.
    pub(crate) next_tree: Option<u32>,
    /// The log was closed here.
    pub(crate) seal: Option<Promise>,
}

impl VersionEdit {
    /// The record's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(promise) = self.promise {
            out.push(1);
            put_promise(&mut out, promise);
        }
        if let Some(next) = self.next_file {
            out.push(2);
            put_varint(&mut out, next);
        }
        if let Some(next) = self.next_tree {
            out.push(3);
            put_varint(&mut out, u64::from(next));
        }
        if let Some(segment) = self.first_segment {
            out.push(4);
            put_varint(&mut out, segment);
        }
        for (tree, schema) in &self.schemas {
            out.push(5);
            put_tree(&mut out, *tree);
            put_bytes(&mut out, &schema.encode());
        }
        for tree in &self.dropped_trees {
            out.push(6);
            put_tree(&mut out, *tree);
        }
        for file in &self.removed {
            out.push(7);
            put_tree(&mut out, file.tree);
            put_varint(&mut out, file.level as u64);
            put_varint(&mut out, file.id);
        }
        for file in &self.added {
            out.push(8);
            put_tree(&mut out, file.tree);
            put_varint(&mut out, file.level as u64);
            put_meta(&mut out, &file.meta);
        }
        for (tag, numbers) in [(9, &self.flushed), (10, &self.floors)] {
            for (tree, seq) in numbers {
                out.push(tag);
                put_tree(&mut out, *tree);
                put_varint(&mut out, *seq);
            }
        }
        for (seq, segment) in &self.applied_bulk {
            out.push(11);
            put_varint(&mut out, *seq);
            put_varint(&mut out, *segment);
        }
        if let Some(seal) = self.seal {
            out.push(12);
            put_promise(&mut out, seal);
        }
        out
    }

    /// The edit of a record, or what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> FieldResult<Self> {
        let mut edit = Self::default();
        let mut fields = Fields::new(bytes);
        while !fields.is_empty() {
            match fields.byte()? {
                1 => edit.promise = Some(take_promise(&mut fields)?),
                2 => edit.next_file = Some(fields.varint()?),
                3 => edit.next_tree = Some(fields.number("a tree's number")?),
                4 => edit.first_segment = Some(fields.varint()?),
                5 => {
                    let tree = take_tree(&mut fields)?;
                    let schema = TreeSchema::decode(fields.bytes()?);
                    let schema = schema.map_err(|error| error.to_string())?;
                    edit.schemas.push((tree, Arc::new(schema)));
                }
                6 => edit.dropped_trees.push(take_tree(&mut fields)?),
                7 => edit.removed.push(RemovedFile {
                    tree: take_tree(&mut fields)?,
                    level: take_level(&mut fields)?,
                    id: fields.varint()?,
                }),
                8 => edit.added.push(AddedFile {
                    tree: take_tree(&mut fields)?,
                    level: take_level(&mut fields)?,
                    meta: take_meta(&mut fields)?,
                }),
                9 => edit.flushed.push((take_tree(&mut fields)?, fields.varint()?)),
                10 => edit.floors.push((take_tree(&mut fields)?, fields.varint()?)),
                11 => edit.applied_bulk.push((fields.varint()?, fields.varint()?)),
                12 => edit.seal = Some(take_promise(&mut fields)?),
                tag => return Err(format!("unknown field {tag}")),
            }
        }
        Ok(edit)
    }
}

fn put_tree(out: &mut Vec<u8>, tree: TreeId) {
    put_varint(out, u64::from(tree.0));
}

fn take_tree(fields: &mut Fields<'_>) -> FieldResult<TreeId> {
    fields.number("a tree's number").map(TreeId)
}

fn take_level(fields: &mut Fields<'_>) -> FieldResult<usize> {
    let level = fields.number("a level")?;
    if level < LEVELS { Ok(level) } else { Err(format!("level {level} of {LEVELS}")) }
}

fn put_promise(out: &mut Vec<u8>, promise: Promise) {
    put_position(out, promise.position);
    put_varint(out, promise.last_seq);
}

fn take_promise(fields: &mut Fields<'_>) -> FieldResult<Promise> {
    Ok(Promise { position: fields.position()?, last_seq: fields.varint()? })
}

/// Bit 0: one version per key; bit 1: a file number follows.
fn put_meta(out: &mut Vec<u8>, meta: &FileMeta) {
    put_varint(out, meta.id);
    put_varint(out, meta.size);
    out.extend_from_slice(&meta.footer_checksum.to_le_bytes());
    put_bytes(out, &meta.smallest);
    put_bytes(out, &meta.largest);
    put_varint(out, meta.min_seq);
    put_varint(out, meta.max_seq);
    put_varint(out, meta.rows);
    put_varint(out, meta.deletes);
    put_varint(out, u64::from(meta.groups));
    put_varint(out, u64::from(meta.schema_version));
    out.push(u8::from(meta.one_version) | (u8::from(meta.file_seq.is_some()) << 1));
    if let Some(seq) = meta.file_seq {
        put_varint(out, seq);
    }
    put_signed(out, meta.commit_micros.0);
    put_signed(out, meta.commit_micros.1);
    put_varint(out, meta.columns.len() as u64);
    for (column, zone) in &meta.columns {
        put_varint(out, u64::from(*column));
        zone.encode(out);
    }
}

fn take_meta(fields: &mut Fields<'_>) -> FieldResult<FileMeta> {
    let id = fields.varint()?;
    let size = fields.varint()?;
    let footer_checksum = u64::from_le_bytes(fields.fixed()?);
    let smallest: Box<[u8]> = fields.bytes()?.into();
    let largest: Box<[u8]> = fields.bytes()?.into();
    if smallest > largest {
        return Err(format!("the keys of file {id} end before they begin"));
    }
    let (min_seq, max_seq) = (fields.varint()?, fields.varint()?);
    let (rows, deletes) = (fields.varint()?, fields.varint()?);
    let groups = fields.number("a count of row groups")?;
    let schema_version = fields.number("a schema version")?;
    let flags = fields.byte()?;
    if flags > 3 {
        return Err(format!("unknown flags {flags:#x} of file {id}"));
    }
    let file_seq = if flags & 2 == 0 { None } else { Some(fields.varint()?) };
    let commit_micros = (fields.signed()?, fields.signed()?);
    let mut columns = Vec::new();
    for _ in 0..fields.varint()? {
        let column = fields.number("a column's number")?;
        let mut rest = fields.rest();
        let zone = ZoneMap::decode(&mut rest).map_err(|error| error.to_string())?;
        fields.advance_to(rest);
        columns.push((column, zone));
    }
    Ok(FileMeta {
        id,
        size,
        footer_checksum,
        smallest,
        largest,
        min_seq,
        max_seq,
        rows,
        deletes,
        groups,
        schema_version,
        one_version: flags & 1 != 0,
        file_seq,
        columns,
        commit_micros,
    })
}

#[cfg(test)]
mod tests {
    use arrow_schema::DataType;
    use silt_codec::{KeyOrder, TreeColumn, Value};

    use super::*;
    use crate::wal::WalPosition;

    fn meta(id: u64, file_seq: Option<SeqNo>) -> FileMeta {
        let zone = ZoneMap {
            min: Value::Int(-5),
            max: Value::Text("z".into()),
            min_exact: true,
            max_exact: false,
            null_count: 3,
            value_count: 9,
        };
        FileMeta {
            id,
            size: 1 << 40,
            footer_checksum: u64::MAX - id,
            smallest: Box::from(&b""[..]),
            largest: Box::from(&b"\0\xff"[..]),
            min_seq: 1,
            max_seq: u64::MAX >> 1,
            rows: 8192,
            deletes: 7,
            groups: 3,
            schema_version: 2,
            one_version: id.is_multiple_of(2),
            file_seq,
            columns: vec![(4, zone)],
            commit_micros: (i64::MIN, i64::MAX),
        }
    }

    fn full() -> VersionEdit {
        let column = TreeColumn {
            id: 1,
            data_type: DataType::Int64,
            nullable: false,
            frozen: Value::Int(-1),
        };
        let schema =
            TreeSchema { version: 1, columns: vec![column], key: vec![KeyOrder::default()] };
        let promise = |segment| Promise { position: WalPosition::new(segment, 999), last_seq: 77 };
        let tree = TreeId(3);
        VersionEdit {
            removed: vec![RemovedFile { tree, level: 6, id: 12 }],
            added: vec![
                AddedFile { tree, level: 0, meta: meta(13, None) },
                AddedFile { tree, level: 6, meta: meta(14, Some(70)) },
            ],
            flushed: vec![(tree, 70), (TreeId(u32::MAX), 0)],
            floors: vec![(tree, 69)],
            applied_bulk: vec![(70, 4)],
            schemas: vec![(tree, Arc::new(schema))],
            dropped_trees: vec![TreeId(1)],
            first_segment: Some(4),
            promise: Some(promise(5)),
            next_file: Some(15),
            next_tree: Some(4),
            seal: Some(promise(6)),
        }
    }

    #[test]
    fn every_field_comes_back() {
        for edit in [VersionEdit::default(), full()] {
            assert_eq!(VersionEdit::decode(&edit.encode()).unwrap(), edit);
        }
    }

    #[test]
    fn cut_or_changed_records_are_refused_or_mean_something_but_never_panic() {
        let bytes = full().encode();
        for len in 0..bytes.len() {
            let _ = VersionEdit::decode(&bytes[..len]);
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let _ = VersionEdit::decode(&changed);
            }
        }
        assert!(VersionEdit::decode(&[13]).unwrap_err().contains("unknown field 13"));
    }
}

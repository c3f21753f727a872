//! Flush: the oldest frozen memtable of a tree becomes a file of level 0.
//!
//! A tree's memtables enter the manifest oldest first, each once no batch inserts into it any more
//! and the log is synced past its numbers (RULES.md 7). Of the versions of a key that no snapshot
//! tells apart only the newest is written.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use silt_codec::{BatchBuilder, KeyBuffer, Schemas};

use super::commit::Pipeline;
use crate::describe::EngineCounters;
use crate::memtable::{MemEntry, TreeMemtable};
use crate::sstable::{EntryBatch, SsTableWriter};
use crate::state::{Context, TreeState};
use crate::version::{AddedFile, FileMeta, VersionEdit, VersionSet};
use crate::{Error, ErrorKind, OpKind, Result, SeqNo};

/// The memtable that must be flushed next, if one is frozen and its inserts have ended.
pub(crate) fn next_memtable(tree: &TreeState) -> Option<Arc<TreeMemtable>> {
    let view = tree.read_view();
    let oldest = view.memtables.last()?;
    // Bulk files that are being placed are older than the memtables above them (RULES.md 11).
    let is_due = oldest.is_frozen() && oldest.frozen_at() <= tree.flushable_through();
    (is_due && !oldest.is_pinned()).then(|| Arc::clone(oldest))
}

/// Writes `memtable`, the oldest of `tree`, to level 0, and says which file it became, if it held
/// anything. One flush of a tree runs at a time.
pub(crate) fn flush(
    context: &Context,
    pipeline: &Pipeline,
    versions: &VersionSet,
    tree: &TreeState,
    memtable: &TreeMemtable,
) -> Result<Option<u64>> {
    debug_assert!(memtable.is_frozen() && !memtable.is_pinned());
    context.health.check()?;
    let frozen_at = memtable.frozen_at();
    let id = versions.next_file_id();
    let written = write_file(context, &tree.schemas(), memtable, id)?;
    let mut edit = VersionEdit { flushed: vec![(tree.id(), frozen_at)], ..VersionEdit::default() };
    let bytes = written.as_ref().map_or(0, |meta| meta.size);
    let file = written.as_ref().map(|meta| meta.id);
    if let Some(meta) = written {
        edit.added.push(AddedFile { tree: tree.id(), level: 0, meta });
    }
    let applied = enter(context, pipeline, versions, memtable.max_seq(), edit);
    if applied.is_err() && context.health.check().is_ok() {
        remove_file(context, id);
    }
    match applied {
        // The tree was dropped meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        applied => applied?,
    }
    EngineCounters::add(&context.counters.flushes, 1);
    EngineCounters::add(&context.counters.flush_bytes, bytes);
    Ok(file)
}

/// Files, their directory, the log, then the manifest: the order of PROMISES.md section 2.
pub(crate) fn enter(
    context: &Context,
    pipeline: &Pipeline,
    versions: &VersionSet,
    max_seq: SeqNo,
    edit: VersionEdit,
) -> Result<()> {
    let dir = context.dir.join("sst");
    context.env.vfs.sync_dir(&dir).map_err(|error| Error::io(&dir, "sync", error))?;
    if context.promise().last_seq < max_seq {
        pipeline.sync()?;
    }
    versions.apply(edit)
}

/// Removes a file that never entered a version. What is left behind is swept on opening.
pub(crate) fn remove_file(context: &Context, id: u64) {
    let _ = context.env.vfs.remove_file(&context.sst_path(id));
}

/// Writes and syncs the file; none if the memtable holds nothing.
fn write_file(
    context: &Context,
    schemas: &Schemas,
    memtable: &TreeMemtable,
    id: u64,
) -> Result<Option<FileMeta>> {
    if memtable.is_empty() {
        return Ok(None);
    }
    let path = context.sst_path(id);
    let schema = Arc::clone(schemas.current());
    let writer =
        SsTableWriter::create(&context.env, &path, id, context.uuid, schema, &context.options)?;
    let rows = context.options.group_rows.max(1);
    let mut columns = Columns::new(schemas, writer, rows, context.snapshots.floor());
    let mut failed = None;
    memtable.visit((Bound::Unbounded, Bound::Unbounded), false, |entry| {
        match columns.push(entry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let mut meta = columns.finish()?;
    meta.commit_micros = memtable.commit_micros();
    Ok(Some(meta))
}

/// Turns entries into batches of columns on their way into a file.
struct Columns {
    writer: SsTableWriter,
    builder: BatchBuilder,
    keys: KeyBuffer,
    seqs: Vec<SeqNo>,
    kinds: Vec<OpKind>,
    rows: usize,
    floor: SeqNo,
    last_key: Vec<u8>,
    /// The number of the entry of `last_key` that was seen last; none before the first.
    last_seq: Option<SeqNo>,
}

impl Columns {
    fn new(schemas: &Schemas, writer: SsTableWriter, rows: usize, floor: SeqNo) -> Self {
        let all: Vec<usize> = (0..schemas.current().columns.len()).collect();
        Self {
            writer,
            builder: BatchBuilder::new(schemas, &all, rows),
            keys: KeyBuffer::new(),
            seqs: Vec::with_capacity(rows),
            kinds: Vec::with_capacity(rows),
            rows,
            floor,
            last_key: Vec::new(),
            last_seq: None,
        }
    }

    fn push(&mut self, entry: MemEntry<'_>) -> Result<()> {
        let is_older = self.last_seq.is_some() && self.last_key == entry.key;
        let newer = self.last_seq.replace(entry.seq);
        if is_older && newer.is_some_and(|newer| newer <= self.floor) {
            return Ok(());
        }
        if !is_older {
            self.last_key.clear();
            self.last_key.extend_from_slice(entry.key);
        }
        let row = (entry.kind == OpKind::Put).then_some(entry.row);
        self.builder.push(entry.key, row)?;
        self.keys.push(entry.key);
        self.seqs.push(entry.seq);
        self.kinds.push(entry.kind);
        if self.keys.len() >= self.rows { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        let entries = EntryBatch {
            keys: std::mem::take(&mut self.keys),
            columns: self.builder.finish()?,
            seqs: std::mem::take(&mut self.seqs),
            kinds: std::mem::take(&mut self.kinds),
        };
        self.writer.append(&entries)
    }

    fn finish(mut self) -> Result<FileMeta> {
        if !self.keys.is_empty() {
            self.write()?;
        }
        self.writer.finish()
    }
}

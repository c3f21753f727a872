//! [`run`]: one compaction, from its inputs' row groups to its outputs' files.
//!
//! The inputs' row groups are cut into sections that share no key. A group that is alone in its
//! section, is large enough and holds nothing to drop is copied as bytes; everything else is
//! merged, column by column. Both stream: a merge holds one row group a source, cut smaller where
//! groups are wide, and the writer one group more.
//!
//! A failed job removes what it wrote; its inputs are untouched until the edit is applied.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use silt_codec::{KeyBuffer, Schemas};

use super::Compaction;
use crate::read::merge::{AboveFloor, Entries, EntrySource, Merge};
use crate::read::section::{Section, Span, cut};
use crate::read::source::{Groups, open_file};
use crate::sstable::{CopyOutcome, CopySeq, EntryBatch, RowGroup, SsTableWriter};
use crate::state::Context;
use crate::version::{AddedFile, FileMeta, RemovedFile, VersionEdit};
use crate::{Error, Result, SeqNo, TreeId};

/// A group with fewer rows is merged with its neighbours rather than copied; half a group where
/// groups are made smaller than 8,192 rows.
const COPIED_ROWS_MIN: usize = 4_096;

/// A group with more bytes is read in slices, so that a job stays within 64 MiB however many
/// sources it merges and however wide their rows are.
const WHOLE_GROUP_BYTES_MAX: u32 = 1 << 20;

/// What a job needs beside the compaction.
pub(crate) struct Job<'a> {
    /// Disk, options, cache.
    pub(crate) context: &'a Context,
    /// The tree.
    pub(crate) tree: TreeId,
    /// Its schemas: outputs are written under the current one.
    pub(crate) schemas: &'a Schemas,
    /// Of a key's entries at or below this number only the newest is kept.
    pub(crate) floor: SeqNo,
    /// A number for a new file.
    pub(crate) next_file_id: &'a dyn Fn() -> u64,
    /// Asked between batches: an error ends the job.
    pub(crate) go_on: &'a dyn Fn() -> Result<()>,
}

/// What a job did. Nothing of it holds until the edit is applied.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    /// Removes the inputs, adds the outputs, moves what moves.
    pub(crate) edit: VersionEdit,
    /// Row groups copied as bytes.
    pub(crate) groups_copied: u64,
    /// Row groups decoded and merged.
    pub(crate) groups_decoded: u64,
    /// Files moved.
    pub(crate) files_moved: u64,
    /// Bytes of the files written.
    pub(crate) bytes_written: u64,
}

/// Runs `compaction`. Its files are synced and so is their directory; the edit is the caller's to
/// apply.
///
/// # Errors
/// `Corrupt` if an input is damaged; `Io` or `DiskFull`; what `go_on` returns. Nothing is left of
/// the job then.
pub(crate) fn run(job: &Job<'_>, compaction: &Compaction) -> Result<Finished> {
    let mut finished = Finished::default();
    let mut outputs = Outputs::new(job, compaction);
    if let Err(error) = write_outputs(job, compaction, &mut outputs, &mut finished) {
        outputs.abandon();
        return Err(error);
    }
    let level = compaction.output_level;
    let edit = &mut finished.edit;
    for (from, file) in compaction.files() {
        edit.removed.push(RemovedFile { tree: job.tree, level: *from, id: file.id });
    }
    for (_, file) in &compaction.moves {
        edit.added.push(AddedFile { tree: job.tree, level, meta: file.meta().clone() });
    }
    for meta in outputs.finished {
        finished.bytes_written += meta.size;
        edit.added.push(AddedFile { tree: job.tree, level, meta });
    }
    if !compaction.inputs.is_empty() {
        edit.floors.push((job.tree, job.floor));
    }
    finished.files_moved = compaction.moves.len() as u64;
    Ok(finished)
}

fn write_outputs(
    job: &Job<'_>,
    compaction: &Compaction,
    outputs: &mut Outputs<'_>,
    finished: &mut Finished,
) -> Result<()> {
    let mut merged: Vec<Section<'_, Groups>> = Vec::new();
    for section in sections(job, compaction)? {
        (job.go_on)()?;
        if let [Span { what: groups, .. }] = section.spans.as_slice()
            && is_copied(job, compaction, groups)
        {
            merge(job, compaction, std::mem::take(&mut merged), outputs, finished)?;
            match outputs.copy(groups)? {
                CopyOutcome::Copied => {
                    finished.groups_copied += groups.groups.len() as u64;
                    continue;
                }
                CopyOutcome::OtherSchema | CopyOutcome::SymbolTablesFull => {}
            }
        }
        merged.push(section);
    }
    merge(job, compaction, merged, outputs, finished)?;
    outputs.finish()
}

/// The row groups of all inputs, cut where none reaches across.
fn sections<'c>(job: &Job<'_>, compaction: &'c Compaction) -> Result<Vec<Section<'c, Groups>>> {
    let mut spans = Vec::new();
    for (position, (level, file)) in compaction.inputs.iter().enumerate() {
        // Each file of level 0 is a source, and each level below: newer ones come first.
        let source = if *level == 0 { position } else { compaction.inputs.len() + level };
        let reader = open_file(job.context, job.schemas, file)?;
        let mut at = 0;
        while at < reader.groups().len() {
            let chain = reader.chain(at);
            at = chain.end;
            let entries = &reader.groups()[chain.clone()];
            let (first, last) = (&entries[0].first_key, &entries[entries.len() - 1].last_key);
            let groups =
                Groups { file: Arc::clone(file), reader: Arc::clone(reader), groups: chain };
            spans.push(Span { first, last, source, what: groups });
        }
    }
    Ok(cut(spans))
}

/// Whether groups that no other input overlaps go into the output as they are.
fn is_copied(job: &Job<'_>, compaction: &Compaction, groups: &Groups) -> bool {
    let entries = groups.entries();
    let version = job.schemas.current().version;
    let rows_min = COPIED_ROWS_MIN.min(job.context.options.group_rows / 2);
    let rows: usize = entries.iter().map(|entry| entry.rows as usize).sum();
    let is_current = entries.iter().all(|entry| entry.schema_version == version);
    let is_below_floor = entries.iter().any(|entry| entry.min_seq <= job.floor);
    let has_deletes = entries.iter().any(|entry| entry.deletes > 0);
    let may_drop =
        is_below_floor && (!groups.is_one_version() || (compaction.is_bottom && has_deletes));
    is_current && !may_drop && rows >= rows_min
}

/// Merges sections that follow one another and appends what stays.
fn merge(
    job: &Job<'_>,
    compaction: &Compaction,
    sections: Vec<Section<'_, Groups>>,
    outputs: &mut Outputs<'_>,
    finished: &mut Finished,
) -> Result<()> {
    if sections.is_empty() {
        return Ok(());
    }
    let mut sources: Vec<(usize, VecDeque<Groups>)> = Vec::new();
    for span in sections.into_iter().flat_map(|section| section.spans) {
        finished.groups_decoded += span.what.groups.len() as u64;
        match sources.binary_search_by_key(&span.source, |(source, _)| *source) {
            Ok(at) => sources[at].1.push_back(span.what),
            Err(at) => sources.insert(at, (span.source, VecDeque::from([span.what]))),
        }
    }
    let projection: Arc<[usize]> = (0..job.schemas.current().columns.len()).collect();
    let slices = sources.len().div_ceil(2);
    let sources = sources.into_iter().map(|(_, pieces)| AllEntries {
        schemas: job.schemas.clone(),
        projection: Arc::clone(&projection),
        slices,
        pieces,
        open: None,
    });
    let rule = AboveFloor::new(job.floor, compaction.is_bottom);
    let mut merge = Merge::new(sources.collect(), rule, false, job.context.options.group_rows);
    while let Some(merged) = merge.next_merged()? {
        (job.go_on)()?;
        let mut entries = merged.entries;
        if compaction.is_last_level {
            // Below the floor a key has one entry left, so that its number tells nothing.
            for seq in entries.seqs.iter_mut().filter(|seq| **seq <= job.floor) {
                *seq = 0;
            }
        }
        outputs.append(&entries)?;
    }
    Ok(())
}

/// Every entry of one source's row groups.
struct AllEntries {
    schemas: Schemas,
    projection: Arc<[usize]>,
    /// Wide groups are read in this many slices.
    slices: usize,
    pieces: VecDeque<Groups>,
    open: Option<Open>,
}

/// Groups that stand as one, as far as they are still to be read.
struct Open {
    groups: Groups,
    group: RowGroup,
    rows: Range<usize>,
    slice_rows: usize,
}

impl AllEntries {
    /// Opens the next group if there is one.
    fn open(&mut self) -> Result<Option<Open>> {
        let Some(mut groups) = self.pieces.pop_front() else { return Ok(None) };
        let index = groups.groups.start;
        let group = groups.reader.group(index, self.schemas.current(), &self.projection)?;
        let rows = group.rows();
        let is_wide = groups.reader.groups()[index].length > WHOLE_GROUP_BYTES_MAX;
        let slice_rows = if is_wide { rows.div_ceil(self.slices) } else { rows };
        groups.groups.start += 1;
        Ok(Some(Open { groups, group, rows: 0..rows, slice_rows: slice_rows.max(1) }))
    }
}

impl EntrySource for AllEntries {
    fn next_entries(&mut self) -> Result<Option<Entries>> {
        loop {
            let Some(open) = &mut self.open else {
                self.open = self.open()?;
                if self.open.is_none() {
                    return Ok(None);
                }
                continue;
            };
            if open.rows.is_empty() {
                let Some(Open { groups, .. }) = self.open.take() else { continue };
                if !groups.groups.is_empty() {
                    self.pieces.push_front(groups);
                }
                continue;
            }
            let end = open.rows.end.min(open.rows.start + open.slice_rows);
            let rows = open.rows.start..end;
            open.rows.start = end;
            let codec = self.schemas.key_codec();
            let entries = open.group.entries(codec, rows, &self.projection)?;
            return Ok(Some(entries.into()));
        }
    }
}

/// The files being written, one after the other.
struct Outputs<'a> {
    job: &'a Job<'a>,
    compaction: &'a Compaction,
    writer: Option<SsTableWriter>,
    finished: Vec<FileMeta>,
    /// The last key written.
    last_key: Vec<u8>,
    /// Commit times of all inputs.
    commit_micros: (i64, i64),
}

impl<'a> Outputs<'a> {
    fn new(job: &'a Job<'a>, compaction: &'a Compaction) -> Self {
        let times = || compaction.inputs.iter().map(|(_, file)| file.commit_micros);
        let first = times().map(|(first, _)| first).min().unwrap_or_default();
        let last = times().map(|(_, last)| last).max().unwrap_or_default();
        Self {
            job,
            compaction,
            writer: None,
            finished: Vec::new(),
            last_key: Vec::new(),
            commit_micros: (first, last),
        }
    }

    fn copy(&mut self, groups: &Groups) -> Result<CopyOutcome> {
        self.end_file_before(groups.first_key())?;
        let floor = self.job.floor;
        let is_zeroed = self.compaction.is_last_level
            && groups.is_one_version()
            && groups.entries().iter().all(|entry| entry.max_seq <= floor);
        let seq = if is_zeroed { CopySeq::Zero } else { CopySeq::Keep };
        for index in groups.groups.clone() {
            let outcome = self.writer()?.copy_group(&groups.reader, index, seq)?;
            if outcome != CopyOutcome::Copied {
                if index != groups.groups.start {
                    return Err(Error::internal(format!(
                        "row group {index} of {:010}.sst is not like the one it continues",
                        groups.file.id
                    )));
                }
                return Ok(outcome);
            }
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(groups.last_key());
        Ok(CopyOutcome::Copied)
    }

    /// Appends entries, ending files between keys where they are due to end.
    fn append(&mut self, entries: &EntryBatch) -> Result<()> {
        let mut start = 0;
        while start < entries.len() {
            let key = entries.keys.get(start);
            let mut end = self.next_end(&entries.keys, start);
            if self.writer.is_some() && key == self.last_key {
                // The versions of a key stay together (RULES.md 18): look again behind them.
                let others = |row: usize| entries.keys.get(row) != key;
                end = (start..end).find(|row| others(*row)).unwrap_or(end);
            } else {
                self.end_file_before(key)?;
            }
            let part = slice(entries, start..end);
            self.writer()?.append(&part)?;
            self.last_key.clear();
            self.last_key.extend_from_slice(entries.keys.get(end - 1));
            start = end;
        }
        Ok(())
    }

    /// The row behind `start` before which a file may have to end, or the end of the entries.
    fn next_end(&self, keys: &KeyBuffer, start: usize) -> usize {
        let key = keys.get(start);
        let mut end = keys.len();
        for ends in [&self.compaction.barriers, &self.compaction.borders] {
            let at = ends.partition_point(|end| **end <= *key);
            if let Some(next) = ends.get(at) {
                end = end.min(partition_point(start..end, |row| keys.get(row) < &**next));
            }
        }
        end
    }

    /// Ends the open file if it should not hold `key`, which is none of its keys yet.
    fn end_file_before(&mut self, key: &[u8]) -> Result<()> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let crosses = |ends: &[Box<[u8]>]| {
            let at = ends.partition_point(|end| **end <= *self.last_key);
            ends.get(at).is_some_and(|end| **end <= *key)
        };
        let bytes = writer.bytes_written();
        let target = self.job.context.options.file_bytes;
        let is_due = crosses(&self.compaction.barriers)
            || bytes >= target
            || (bytes >= target / 2 && crosses(&self.compaction.borders));
        if is_due { self.finish_file() } else { Ok(()) }
    }

    fn writer(&mut self) -> Result<&mut SsTableWriter> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let Job { context, schemas, next_file_id, .. } = self.job;
                let id = next_file_id();
                SsTableWriter::create(
                    &context.env,
                    &context.sst_path(id),
                    id,
                    context.uuid,
                    Arc::clone(schemas.current()),
                    &context.options,
                )?
            }
        };
        Ok(self.writer.insert(writer))
    }

    fn finish_file(&mut self) -> Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        if writer.rows() == 0 {
            // The group that was to be copied into it was decoded instead, and nothing stayed.
            writer.abandon();
            return Ok(());
        }
        let mut meta = writer.finish()?;
        meta.commit_micros = self.commit_micros;
        self.finished.push(meta);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.finish_file()?;
        if self.finished.is_empty() {
            return Ok(());
        }
        let dir: PathBuf = self.job.context.dir.join("sst");
        let synced = self.job.context.env.vfs.sync_dir(&dir);
        synced.map_err(|error| Error::io(&dir, "sync", error))
    }

    /// Removes all that was written, as far as the disk lets it: what stays is swept on opening.
    fn abandon(self) {
        drop(self.writer);
        for meta in self.finished {
            let path = self.job.context.sst_path(meta.id);
            let _ = self.job.context.env.vfs.remove_file(&path);
        }
    }
}

/// The first of `rows` for which `before` is false; it is true for none behind that one.
fn partition_point(rows: Range<usize>, before: impl Fn(usize) -> bool) -> usize {
    let Range { mut start, mut end } = rows;
    while start < end {
        let middle = usize::midpoint(start, end);
        if before(middle) {
            start = middle + 1;
        } else {
            end = middle;
        }
    }
    start
}

fn slice(entries: &EntryBatch, rows: Range<usize>) -> EntryBatch {
    if rows == (0..entries.len()) {
        return entries.clone();
    }
    let mut keys = KeyBuffer::new();
    rows.clone().for_each(|row| keys.push(entries.keys.get(row)));
    EntryBatch {
        keys,
        columns: entries.columns.iter().map(|c| c.slice(rows.start, rows.len())).collect(),
        seqs: entries.seqs[rows.clone()].to_vec(),
        kinds: entries.kinds[rows].to_vec(),
    }
}

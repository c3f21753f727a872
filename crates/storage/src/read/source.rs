//! Where a merge's entries come from: [`MemtableSource`] and [`FileSource`]. Each gives at most
//! one entry a key: the newest that the snapshot sees of *this* source, a delete included, since it
//! hides what older sources hold.
//!
//! [`Groups`], a stretch of one file's row groups that stand as one, is what scans and compaction
//! read files by.

use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow, Range};
use std::sync::Arc;

use arrow_array::UInt32Array;
use arrow_select::take::take;
use silt_codec::{BatchBuilder, KeyBuffer, Schemas};

use super::merge::EntrySource;
use super::visible::Visibility;
use super::{KeyRange, ReadCounters};
use crate::memtable::TreeMemtable;
use crate::sstable::{EntryBatch, GroupEntry, RowGroup, SsTableReader};
use crate::state::Context;
use crate::version::LiveFile;
use crate::{OpKind, Result, SeqNo};

/// The file, opened if it was not yet.
pub(crate) fn open_file<'f>(
    context: &Context,
    schemas: &Schemas,
    file: &'f LiveFile,
) -> Result<&'f Arc<SsTableReader>> {
    file.reader(|meta| {
        let path = context.sst_path(meta.id);
        let cache = Arc::clone(&context.cache);
        SsTableReader::open(&context.env, &path, meta, context.uuid, schemas, cache)
    })
}

/// Row groups of one file that stand as one: a single one, or one and those that go on with the
/// versions of its last key (RULES.md 18).
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    /// The file's version: holds the file.
    pub(crate) file: Arc<LiveFile>,
    /// Its reader.
    pub(crate) reader: Arc<SsTableReader>,
    /// The groups.
    pub(crate) groups: Range<usize>,
}

impl Groups {
    /// What the index says of them.
    pub(crate) fn entries(&self) -> &[GroupEntry] {
        &self.reader.groups()[self.groups.clone()]
    }

    /// The first key.
    pub(crate) fn first_key(&self) -> &[u8] {
        &self.entries()[0].first_key
    }

    /// The last key.
    pub(crate) fn last_key(&self) -> &[u8] {
        let entries = self.entries();
        &entries[entries.len() - 1].last_key
    }

    /// Whether each key has one entry here.
    pub(crate) fn is_one_version(&self) -> bool {
        matches!(self.entries(), [entry] if entry.one_version)
    }

    /// Whether what is here is what `snapshot` sees: one version a key, no delete, no number above
    /// the snapshot (RULES.md 23).
    pub(crate) fn is_raw(&self, snapshot: SeqNo) -> bool {
        self.is_one_version()
            && self.entries().iter().all(|entry| entry.deletes == 0 && entry.max_seq <= snapshot)
    }
}

/// What the sources of one scan have in common.
#[derive(Clone, Debug)]
pub(crate) struct SourceContext {
    pub(crate) schemas: Schemas,
    pub(crate) projection: Arc<[usize]>,
    pub(crate) range: Arc<KeyRange>,
    pub(crate) snapshot: SeqNo,
    pub(crate) reverse: bool,
    pub(crate) rows_max: usize,
    pub(crate) counters: Arc<ReadCounters>,
}

impl SourceContext {
    /// Opens a group and finds which of its rows lie in the scan's range.
    pub(crate) fn open_group(
        &self,
        groups: &Groups,
        index: usize,
    ) -> Result<(RowGroup, Range<usize>)> {
        let group = groups.reader.group(index, self.schemas.current(), &self.projection)?;
        self.counters.groups_read.add(1);
        self.counters.bytes_read.add(group.encoded_bytes(&self.projection));
        let rows = self.rows_in_range(&group, &groups.reader.groups()[index])?;
        Ok((group, rows))
    }

    fn rows_in_range(&self, group: &RowGroup, entry: &GroupEntry) -> Result<Range<usize>> {
        let codec = self.schemas.key_codec();
        if let (Bound::Included(start), Bound::Excluded(end)) = (&self.range.start, &self.range.end)
            && is_successor(start, end)
            && let Some(rows) = group.rows_of_prefix(codec, start)?
        {
            return Ok(rows);
        }
        // The first row behind `key`, or at it if `at`.
        let row_of = |key: &[u8], at: bool| {
            if at {
                return group.lower_bound_bytes(codec, key);
            }
            let mut behind = key.to_vec();
            behind.push(0);
            group.lower_bound_bytes(codec, &behind)
        };
        let start = match &self.range.start {
            _ if self.range.contains(&entry.first_key) => 0,
            Bound::Included(key) => row_of(key, true)?,
            Bound::Excluded(key) => row_of(key, false)?,
            Bound::Unbounded => 0,
        };
        let end = match &self.range.end {
            _ if self.range.contains(&entry.last_key) => group.rows(),
            Bound::Included(key) => row_of(key, false)?,
            Bound::Excluded(key) => row_of(key, true)?,
            Bound::Unbounded => group.rows(),
        };
        Ok(start..end.max(start))
    }
}

/// Whether the keys from `start` to below `end` are those that begin with `start`.
fn is_successor(start: &[u8], end: &[u8]) -> bool {
    let Some((last, common)) = end.split_last() else { return false };
    let (head, tail) = start.split_at(common.len().min(start.len()));
    // What `successor` cut off were bytes of all ones.
    head == common
        && tail.split_first().is_some_and(|(first, rest)| {
            first.checked_add(1) == Some(*last) && rest.iter().all(|byte| *byte == u8::MAX)
        })
}

/// Row groups of one source, in the scan's direction.
pub(crate) struct FileSource {
    context: SourceContext,
    /// In the scan's direction.
    pieces: VecDeque<Groups>,
    /// Read already, of the groups that stand as one: given out from the front.
    ready: VecDeque<EntryBatch>,
}

impl FileSource {
    pub(crate) fn new(context: SourceContext, pieces: VecDeque<Groups>) -> Self {
        Self { context, pieces, ready: VecDeque::new() }
    }
}

impl EntrySource for FileSource {
    fn next_entries(&mut self) -> Result<Option<EntryBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            let Some(groups) = self.pieces.pop_front() else { return Ok(None) };
            let mut visibility = Visibility::new(self.context.snapshot, true);
            for index in groups.groups.clone() {
                // In this order whatever the direction: a key's newest version comes first.
                let Some(batch) = visible_entries(&self.context, &groups, index, &mut visibility)?
                else {
                    continue;
                };
                if self.context.reverse {
                    self.ready.push_front(batch);
                } else {
                    self.ready.push_back(batch);
                }
            }
        }
    }
}

/// The entries of one group that the snapshot sees, deletes included, in the scan's direction.
fn visible_entries(
    context: &SourceContext,
    groups: &Groups,
    index: usize,
    visibility: &mut Visibility,
) -> Result<Option<EntryBatch>> {
    let entry = &groups.reader.groups()[index];
    let (group, rows) = context.open_group(groups, index)?;
    let entries = group.entries(context.schemas.key_codec(), rows, &context.projection)?;
    let mut selected = Vec::with_capacity(entries.len());
    if groups.is_one_version() {
        if entry.max_seq <= context.snapshot && !context.reverse {
            return Ok((!entries.is_empty()).then_some(entries));
        }
        visibility.select_unique(&entries.seqs, &entries.kinds, &mut selected);
    } else {
        visibility.select(&entries.keys, &entries.seqs, &entries.kinds, &mut selected);
    }
    if selected.is_empty() {
        return Ok(None);
    }
    if context.reverse {
        selected.reverse();
    } else if selected.len() == entries.len() {
        return Ok(Some(entries));
    }
    take_entries(&entries, selected).map(Some)
}

fn take_entries(entries: &EntryBatch, rows: Vec<u32>) -> Result<EntryBatch> {
    let mut keys = KeyBuffer::with_capacity(rows.len(), entries.keys.byte_len());
    rows.iter().for_each(|row| keys.push(entries.keys.get(*row as usize)));
    let seqs = rows.iter().map(|row| entries.seqs[*row as usize]).collect();
    let kinds = rows.iter().map(|row| entries.kinds[*row as usize]).collect();
    let rows = UInt32Array::from(rows);
    let take_rows = |column| Ok(take(column, &rows, None)?);
    let columns =
        entries.columns.iter().map(|column| take_rows(column.as_ref())).collect::<Result<_>>()?;
    Ok(EntryBatch { keys, columns, seqs, kinds })
}

/// A stretch of a memtable.
pub(crate) struct MemtableSource {
    memtable: Arc<TreeMemtable>,
    /// What is left to read.
    range: KeyRange,
    reverse: bool,
    snapshot: SeqNo,
    rows_max: usize,
    builder: BatchBuilder,
    is_done: bool,
}

impl MemtableSource {
    /// The entries of `memtable` in `range`.
    pub(crate) fn new(
        context: &SourceContext,
        memtable: Arc<TreeMemtable>,
        range: KeyRange,
    ) -> Self {
        let SourceContext { schemas, projection, snapshot, reverse, rows_max, .. } = context;
        let builder = BatchBuilder::new(schemas, projection, (*rows_max).min(1_024));
        Self {
            memtable,
            range,
            reverse: *reverse,
            snapshot: *snapshot,
            rows_max: *rows_max,
            builder,
            is_done: false,
        }
    }
}

/// Entries on their way from a memtable to a batch.
struct Gathered<'a> {
    builder: &'a mut BatchBuilder,
    keys: KeyBuffer,
    seqs: Vec<SeqNo>,
    kinds: Vec<OpKind>,
    failed: Result<()>,
}

impl Gathered<'_> {
    fn push(&mut self, key: &[u8], seq: SeqNo, kind: OpKind, row: &[u8]) {
        let row = (kind == OpKind::Put).then_some(row);
        if let Err(error) = self.builder.push(key, row) {
            self.failed = Err(error.into());
        }
        self.keys.push(key);
        self.seqs.push(seq);
        self.kinds.push(kind);
    }
}

impl EntrySource for MemtableSource {
    fn next_entries(&mut self) -> Result<Option<EntryBatch>> {
        if self.is_done {
            return Ok(None);
        }
        let Self { memtable, range, builder, snapshot, rows_max, .. } = self;
        let mut gathered = Gathered {
            builder,
            keys: KeyBuffer::new(),
            seqs: Vec::new(),
            kinds: Vec::new(),
            failed: Ok(()),
        };
        let is_done = if self.reverse {
            visit_reverse(memtable, range, *snapshot, *rows_max, &mut gathered)
        } else {
            visit_forward(memtable, range, *snapshot, *rows_max, &mut gathered)
        };
        self.is_done = is_done;
        let Gathered { keys, seqs, kinds, failed, .. } = gathered;
        failed?;
        let Some(last) = keys.len().checked_sub(1) else { return Ok(None) };
        let resume = Bound::Excluded(keys.get(last).to_vec());
        if self.reverse {
            self.range.end = resume;
        } else {
            self.range.start = resume;
        }
        let columns = self.builder.finish()?;
        Ok(Some(EntryBatch { keys, columns, seqs, kinds }))
    }
}

/// Gathers up to `rows_max` entries; whether these were the last.
fn visit_forward(
    memtable: &TreeMemtable,
    range: &KeyRange,
    snapshot: SeqNo,
    rows_max: usize,
    gathered: &mut Gathered<'_>,
) -> bool {
    let mut is_done = true;
    memtable.visit(range.bounds(), false, |entry| {
        if entry.seq > snapshot {
            return ControlFlow::Continue(());
        }
        let count = gathered.keys.len();
        if count > 0 && gathered.keys.get(count - 1) == entry.key {
            return ControlFlow::Continue(());
        }
        if count == rows_max || gathered.failed.is_err() {
            is_done = false;
            return ControlFlow::Break(());
        }
        gathered.push(entry.key, entry.seq, entry.kind, entry.row);
        ControlFlow::Continue(())
    });
    is_done
}

/// The same from the end: a key's newest visible version is the last one met, so it is held
/// until the next key comes.
fn visit_reverse(
    memtable: &TreeMemtable,
    range: &KeyRange,
    snapshot: SeqNo,
    rows_max: usize,
    gathered: &mut Gathered<'_>,
) -> bool {
    let mut is_done = true;
    let mut held: Option<(SeqNo, OpKind)> = None;
    let mut key = Vec::new();
    let mut row = Vec::new();
    memtable.visit(range.bounds(), true, |entry| {
        if entry.seq > snapshot {
            return ControlFlow::Continue(());
        }
        if held.is_some() && key != entry.key {
            if let Some((seq, kind)) = held.take() {
                gathered.push(&key, seq, kind, &row);
            }
            if gathered.keys.len() == rows_max || gathered.failed.is_err() {
                is_done = false;
                return ControlFlow::Break(());
            }
        }
        key.clear();
        key.extend_from_slice(entry.key);
        row.clear();
        row.extend_from_slice(entry.row);
        held = Some((entry.seq, entry.kind));
        ControlFlow::Continue(())
    });
    if let Some((seq, kind)) = held {
        gathered.push(&key, seq, kind, &row);
    }
    is_done
}

#[cfg(test)]
mod tests {
    use silt_codec::successor;

    use super::*;

    #[test]
    fn end_of_a_prefix_is_known_by_its_bytes_alone() {
        let starts: [&[u8]; 8] =
            [b"a", b"ab", b"a\xff", b"a\xff\xff", b"\x00", b"\xfe", b"\xff", b"ab\x00\x01"];
        for start in starts {
            for other in starts {
                let mut end = other.to_vec();
                let has_end = successor(&mut end);
                let is_its = has_end
                    && end == {
                        let mut own = start.to_vec();
                        successor(&mut own);
                        own
                    };
                assert_eq!(is_successor(start, &end), is_its, "{start:?} to {end:?}");
            }
            assert!(!is_successor(start, start));
            assert!(!is_successor(start, &[]));
        }
    }
}

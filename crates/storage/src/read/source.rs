//! Where a merge's entries come from: [`MemtableSource`] and [`FileSource`]. Each gives at most
//! one entry a key: the newest that the snapshot sees of *this* source, a delete included, since it
//! hides what older sources hold.
//!
//! [`Groups`], a stretch of one file's row groups that stand as one, is what scans and compaction
//! read files by.

use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow, Range};
use std::sync::Arc;

use silt_codec::{KeyBuffer, Schemas};

use super::late::{GroupRows, Late, LateGroup, LateRows};
use super::merge::{Entries, EntrySource};
use super::visible::Visibility;
use super::{KeyRange, ReadCounters, ScanWatch};
use crate::batch::EntryBytes;
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
    /// Rows that sources read at first.
    pub(crate) part_rows: usize,
    pub(crate) counters: Arc<ReadCounters>,
    pub(crate) watch: Option<Arc<dyn ScanWatch>>,
}

impl SourceContext {
    /// Opens a group and finds which of its rows lie in the scan's range.
    pub(crate) fn open_group(
        &self,
        groups: &Groups,
        index: usize,
    ) -> Result<(RowGroup, Range<usize>)> {
        self.watch.as_ref().map_or(Ok(()), |watch| watch.go_on())?;
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
pub(super) fn is_successor(start: &[u8], end: &[u8]) -> bool {
    let Some((last, common)) = end.split_last() else { return false };
    let (head, tail) = start.split_at(common.len().min(start.len()));
    // What `successor` cut off were bytes of all ones.
    head == common
        && tail.split_first().is_some_and(|(first, rest)| {
            first.checked_add(1) == Some(*last) && rest.iter().all(|byte| *byte == u8::MAX)
        })
}

/// Rows that a source reads at once: few at first, since a short range ends soon where sources
/// overlap, then more.
#[derive(Clone, Copy, Debug)]
struct PartRows {
    next: usize,
    most: usize,
}

/// Of so few rows decoding is mostly waiting for memory.
pub(super) const TOUCHED_ROWS_MAX: usize = 128;

/// How many times larger each part is than the one before.
const PART_GROWTH: usize = 4;

impl PartRows {
    fn new(context: &SourceContext) -> Self {
        let most = context.rows_max.max(1);
        Self { next: context.part_rows.clamp(1, most), most }
    }

    fn next(&mut self) -> usize {
        let now = self.next;
        self.next = now.saturating_mul(PART_GROWTH).min(self.most);
        now
    }
}

/// Row groups of one source, in the scan's direction, read in parts.
pub(crate) struct FileSource {
    context: SourceContext,
    /// In the scan's direction.
    pieces: VecDeque<Groups>,
    parts: PartRows,
    /// A group that stands alone, and what is left of it.
    open: Option<OpenGroup>,
    /// Read already, of several groups that stand as one: given out from the front.
    ready: VecDeque<Entries>,
}

/// A group's rows, or what is left of them.
struct OpenGroup {
    group: RowGroup,
    rows: Range<usize>,
    /// No key has two entries in it, or in those that it stands as one with.
    is_one_version: bool,
    /// No entry is above the snapshot.
    is_seen: bool,
}

impl FileSource {
    pub(crate) fn new(context: SourceContext, pieces: VecDeque<Groups>) -> Self {
        let parts = PartRows::new(&context);
        Self { context, pieces, parts, open: None, ready: VecDeque::new() }
    }

    /// Reads groups that stand as one, whole.
    fn read_together(&mut self, groups: &Groups) -> Result<()> {
        let mut visibility = Visibility::new(self.context.snapshot, true);
        for index in groups.groups.clone() {
            // In this order whatever the direction: a key's newest version comes first.
            let open = OpenGroup::new(&self.context, groups, index)?;
            let Some(entries) = open.entries(&self.context, open.rows.clone(), &mut visibility)?
            else {
                continue;
            };
            if self.context.reverse {
                self.ready.push_front(entries);
            } else {
                self.ready.push_back(entries);
            }
        }
        Ok(())
    }
}

impl EntrySource for FileSource {
    fn next_entries(&mut self) -> Result<Option<Entries>> {
        loop {
            if let Some(entries) = self.ready.pop_front() {
                return Ok(Some(entries));
            }
            if let Some(open) = &mut self.open {
                match open.next_part(&self.context, &mut self.parts)? {
                    Some(entries) => return Ok(Some(entries)),
                    None => self.open = None,
                }
            }
            let Some(groups) = self.pieces.pop_front() else { return Ok(None) };
            if groups.groups.len() == 1 {
                self.open = Some(OpenGroup::new(&self.context, &groups, groups.groups.start)?);
            } else {
                self.read_together(&groups)?;
            }
        }
    }
}

impl OpenGroup {
    fn new(context: &SourceContext, groups: &Groups, index: usize) -> Result<Self> {
        let (group, rows) = context.open_group(groups, index)?;
        let is_seen = groups.reader.groups()[index].max_seq <= context.snapshot;
        Ok(Self { group, rows, is_one_version: groups.is_one_version(), is_seen })
    }

    /// The next of the entries that the snapshot sees; none if there are no more.
    fn next_part(
        &mut self,
        context: &SourceContext,
        parts: &mut PartRows,
    ) -> Result<Option<Entries>> {
        while !self.rows.is_empty() {
            let rows = self.cut(parts.next(), context.reverse)?;
            // Each part holds all versions of its keys.
            let mut visibility = Visibility::new(context.snapshot, true);
            let entries = self.entries(context, rows, &mut visibility)?;
            if entries.is_some() {
                return Ok(entries);
            }
        }
        Ok(None)
    }

    /// Cuts off the next `count` rows, or as many more as the versions of a key need to stay
    /// together.
    fn cut(&mut self, count: usize, reverse: bool) -> Result<Range<usize>> {
        let Range { start, end } = self.rows;
        if count >= end - start {
            self.rows.start = end;
            return Ok(start..end);
        }
        let at = if reverse { end - count } else { start + count };
        if reverse {
            let at = match self.is_one_version {
                true => at,
                false => self.group.versions_of(at)?.start.max(start),
            };
            self.rows.end = at;
            return Ok(at..end);
        }
        let at = match self.is_one_version {
            true => at,
            false => self.group.versions_of(at - 1)?.end.min(end),
        };
        self.rows.start = at;
        Ok(start..at)
    }

    /// The entries at `rows` that the snapshot sees, deletes included, in the scan's direction;
    /// none if there is none.
    fn entries(
        &self,
        context: &SourceContext,
        rows: Range<usize>,
        visibility: &mut Visibility,
    ) -> Result<Option<Entries>> {
        let Self { group, is_one_version, is_seen, .. } = self;
        if rows.len() <= TOUCHED_ROWS_MAX {
            group.touch(&context.projection, rows.start)?;
        }
        let key_columns = group.decode_keys(rows.clone())?;
        let mut keys = KeyBuffer::new();
        context.schemas.key_codec().encode_columns(&key_columns, &mut keys)?;
        let key_columns = (rows.start, key_columns);
        let (seqs, kinds) = (group.seqs(rows.clone())?, group.kinds(rows.clone())?);
        let all = EntryBatch { keys, columns: Vec::new(), seqs, kinds };
        let (batch, rows) = if *is_one_version && *is_seen {
            match context.reverse {
                false => (all, GroupRows::Forward(rows.start)),
                true => (pick(&all, (0..all.len()).rev()), GroupRows::Backward(rows.end - 1)),
            }
        } else {
            let mut selected = Vec::with_capacity(rows.len());
            if *is_one_version {
                visibility.select_unique(&all.seqs, &all.kinds, &mut selected);
            } else {
                visibility.select(&all.keys, &all.seqs, &all.kinds, &mut selected);
            }
            if context.reverse {
                selected.reverse();
            }
            let batch = pick(&all, selected.iter().map(|row| *row as usize));
            let first = u32::try_from(rows.start).expect("a row group has fewer rows");
            selected.iter_mut().for_each(|row| *row += first);
            (batch, GroupRows::Listed(selected))
        };
        let projection = Arc::clone(&context.projection);
        let late =
            Late::Group(LateGroup { group: group.clone(), projection, rows, keys: key_columns });
        Ok((!batch.is_empty()).then_some(Entries { batch, late: Some(late) }))
    }
}

/// Some of the entries, without columns.
fn pick(entries: &EntryBatch, rows: impl ExactSizeIterator<Item = usize>) -> EntryBatch {
    let mut keys = KeyBuffer::with_capacity(rows.len(), entries.keys.byte_len());
    let (mut seqs, mut kinds) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in rows {
        keys.push(entries.keys.get(row));
        seqs.push(entries.seqs[row]);
        kinds.push(entries.kinds[row]);
    }
    EntryBatch { keys, columns: Vec::new(), seqs, kinds }
}

/// A stretch of a memtable.
pub(crate) struct MemtableSource {
    schemas: Schemas,
    projection: Arc<[usize]>,
    memtable: Arc<TreeMemtable>,
    /// What is left to read.
    range: KeyRange,
    reverse: bool,
    snapshot: SeqNo,
    parts: PartRows,
    is_done: bool,
}

impl MemtableSource {
    /// The entries of `memtable` in `range`.
    pub(crate) fn new(
        context: &SourceContext,
        memtable: Arc<TreeMemtable>,
        range: KeyRange,
    ) -> Self {
        let SourceContext { schemas, projection, snapshot, reverse, .. } = context;
        Self {
            schemas: schemas.clone(),
            projection: Arc::clone(projection),
            memtable,
            range,
            reverse: *reverse,
            snapshot: *snapshot,
            parts: PartRows::new(context),
            is_done: false,
        }
    }
}

/// Entries on their way from a memtable to a merge.
#[derive(Default)]
struct Gathered {
    keys: KeyBuffer,
    seqs: Vec<SeqNo>,
    entries: Vec<(EntryBytes, OpKind)>,
}

impl Gathered {
    fn push(&mut self, entry: EntryBytes, seq: SeqNo, kind: OpKind) {
        self.keys.push(entry.key());
        self.seqs.push(seq);
        self.entries.push((entry, kind));
    }
}

impl EntrySource for MemtableSource {
    fn next_entries(&mut self) -> Result<Option<Entries>> {
        if self.is_done {
            return Ok(None);
        }
        let rows_max = self.parts.next();
        let Self { memtable, range, snapshot, .. } = self;
        let mut gathered = Gathered::default();
        self.is_done = if self.reverse {
            visit_reverse(memtable, range, *snapshot, rows_max, &mut gathered)
        } else {
            visit_forward(memtable, range, *snapshot, rows_max, &mut gathered)
        };
        let Gathered { keys, seqs, entries } = gathered;
        let Some(last) = keys.len().checked_sub(1) else { return Ok(None) };
        let resume = Bound::Excluded(keys.get(last).to_vec());
        if self.reverse {
            self.range.end = resume;
        } else {
            self.range.start = resume;
        }
        let kinds = entries.iter().map(|(_, kind)| *kind).collect();
        let batch = EntryBatch { keys, columns: Vec::new(), seqs, kinds };
        let (schemas, projection) = (self.schemas.clone(), Arc::clone(&self.projection));
        let late = Late::Rows(LateRows { schemas, projection, entries });
        Ok(Some(Entries { batch, late: Some(late) }))
    }
}

/// Gathers up to `rows_max` entries; whether these were the last.
fn visit_forward(
    memtable: &TreeMemtable,
    range: &KeyRange,
    snapshot: SeqNo,
    rows_max: usize,
    gathered: &mut Gathered,
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
        if count == rows_max {
            is_done = false;
            return ControlFlow::Break(());
        }
        gathered.push(entry.bytes.clone(), entry.seq, entry.kind);
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
    gathered: &mut Gathered,
) -> bool {
    let mut is_done = true;
    let mut held: Option<(EntryBytes, SeqNo, OpKind)> = None;
    memtable.visit(range.bounds(), true, |entry| {
        if entry.seq > snapshot {
            return ControlFlow::Continue(());
        }
        if let Some((bytes, seq, kind)) = held.take_if(|(bytes, ..)| bytes.key() != entry.key) {
            gathered.push(bytes, seq, kind);
            if gathered.keys.len() == rows_max {
                is_done = false;
                return ControlFlow::Break(());
            }
        }
        held = Some((entry.bytes.clone(), entry.seq, entry.kind));
        ControlFlow::Continue(())
    });
    if let Some((bytes, seq, kind)) = held {
        gathered.push(bytes, seq, kind);
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

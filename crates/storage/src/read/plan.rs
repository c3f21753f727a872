//! Planning a scan: which files and row groups it needs, and how each stretch of keys is read.
//!
//! Files are pruned by key range, prefix filter and zone maps, then the row groups of those that
//! are left; these are cut into sections that share no key ([`cut`]). Each memtable is sought once a
//! section, so that a section in which it holds no key stays as cheap as it was. Zone maps prune
//! only the oldest source of a section: a row of any other that fails the filter may still hide
//! one that passes (RULES.md 22).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use silt_codec::Schemas;

use super::section::{Section, Span, cut};
use super::source::{Groups, is_successor, open_file};
use super::{KeyRange, Predicate, ReadCounters};
use crate::key::key_hash;
use crate::memtable::TreeMemtable;
use crate::sstable::SsTableReader;
use crate::state::{ReadView, TreeState};
use crate::version::LiveFile;
use crate::{Result, SeqNo};

/// How a stretch of keys is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// One source whose rows are what the snapshot sees: a straight decode (RULES.md 23).
    Raw,
    /// One source that holds old versions, deletes, or entries above the snapshot: decoded under
    /// the bitmap of what is seen of it (RULES.md 24). Shadow bitmaps of newer sources belong
    /// here too: a stretch of several sources can become one `Masked` stretch a source once the
    /// rows that newer ones hide are known.
    Masked,
    /// Several sources, or a memtable.
    Merged,
}

/// Sections next to one another that are read in the same way.
#[derive(Debug)]
pub(crate) struct Stretch {
    pub(crate) reading: Reading,
    /// Row groups by key, with the number of their source: lower is newer.
    pub(crate) groups: Vec<(usize, Groups)>,
    /// What is looked at of memtables, by their number in the view.
    pub(crate) memtables: BTreeMap<usize, KeyRange>,
}

/// What a plan is made of.
pub(crate) struct Planner<'a> {
    pub(crate) tree: &'a TreeState,
    pub(crate) schemas: &'a Schemas,
    pub(crate) view: &'a ReadView,
    pub(crate) range: &'a KeyRange,
    pub(crate) snapshot: SeqNo,
    pub(crate) filter: Option<&'a Predicate>,
    pub(crate) counters: &'a ReadCounters,
}

/// A section of row groups, and the memtables that hold keys of it.
struct Cell {
    range: KeyRange,
    groups: Vec<(usize, Groups)>,
    memtables: Vec<usize>,
}

impl Planner<'_> {
    /// The stretches of the range, ascending by key.
    pub(crate) fn plan(&self) -> Result<Vec<Stretch>> {
        if self.range.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(narrow) = self.plan_narrow()? {
            return Ok(narrow.into_iter().collect());
        }
        let mut cells = self.cells()?;
        let gaps = self.place_memtables(&mut cells);
        let mut stretches: Vec<Stretch> = Vec::new();
        for (at, cell) in cells.into_iter().map(Some).chain([None]).enumerate() {
            if let Some(gap) = gaps.get(&at) {
                self.push(&mut stretches, Vec::new(), &gap.memtables, &gap.range);
            }
            if let Some(cell) = cell {
                self.push(&mut stretches, cell.groups, &cell.memtables, &cell.range);
            }
        }
        Ok(stretches)
    }

    /// The stretch of a short range, if there is anything: one that lies in one row group of each
    /// file that may hold some of it, and these groups share keys. None if it is not so short.
    ///
    /// What [`cells`](Self::cells) and [`place_memtables`](Self::place_memtables) come to, without
    /// their lists: making these takes as long as reading ten rows does.
    fn plan_narrow(&self) -> Result<Option<Option<Stretch>>> {
        if self.filter.is_some() || !self.tree.context().options.paths.narrow_plans {
            return Ok(None);
        }
        let prefix_hash = self.prefix()?.map(key_hash);
        let (mut files_read, mut groups_pruned) = (0, 0);
        let mut groups: Vec<(usize, Groups)> = Vec::new();
        // From the greatest first key to the least last key.
        let mut shared: Option<(&[u8], &[u8])> = None;
        for (source, file) in self.files_met() {
            let reader = open_file(self.tree.context(), self.schemas, file)?;
            if let Some(hash) = prefix_hash
                && !reader.may_contain_prefix(hash)?
            {
                continue;
            }
            files_read += 1;
            let entries = reader.groups();
            groups_pruned += entries.len();
            let at = self.first_group(reader);
            if at == entries.len() || self.range.is_before(&entries[at].first_key) {
                continue;
            }
            let chain = reader.chain(at);
            if entries.get(chain.end).is_some_and(|next| !self.range.is_before(&next.first_key)) {
                return Ok(None);
            }
            if entries[chain.clone()].iter().all(|entry| entry.min_seq > self.snapshot) {
                continue;
            }
            groups_pruned -= chain.len();
            let (first, last) =
                (&*entries[chain.start].first_key, &*entries[chain.end - 1].last_key);
            let (first, last) = shared
                .map_or((first, last), |(greatest, least)| (greatest.max(first), least.min(last)));
            if first > last {
                return Ok(None);
            }
            shared = Some((first, last));
            let groups_of =
                Groups { file: Arc::clone(file), reader: Arc::clone(reader), groups: chain };
            groups.push((source, groups_of));
        }
        // Several groups are merged whatever memtables hold.
        let holds = |memtable: &TreeMemtable| {
            !memtable.is_empty()
                && (groups.len() > 1 || has_key(memtable, self.range, self.snapshot))
        };
        let memtables = self.view.memtables.iter().enumerate();
        let memtables = memtables.filter(|(_, memtable)| holds(memtable));
        let memtables = memtables.map(|(number, _)| (number, self.range.clone()));
        let memtables: BTreeMap<usize, KeyRange> = memtables.collect();
        let files = self.view.version.levels.iter().map(Vec::len).sum::<usize>();
        self.counters.files_read.add(files_read as u64);
        self.counters.files_pruned.add((files - files_read) as u64);
        self.counters.groups_pruned.add(groups_pruned as u64);
        if groups.is_empty() && memtables.is_empty() {
            return Ok(Some(None));
        }
        let reading = self.reading(&groups, memtables.is_empty());
        Ok(Some(Some(Stretch { reading, groups, memtables })))
    }

    /// The files that may hold keys of the range, each with the number of its source: lower is
    /// newer.
    fn files_met(&self) -> impl Iterator<Item = (usize, &Arc<LiveFile>)> {
        let level_0 = &self.view.version.levels[0];
        let below = self.view.version.levels[1..].iter().enumerate();
        let below = below.flat_map(move |(level, files)| {
            // They ascend and share no key.
            let first = files.partition_point(|file| self.range.is_after(&file.largest));
            let of_level = files[first..].iter();
            let of_level = of_level.take_while(|file| !self.range.is_before(&file.smallest));
            of_level.map(move |file| (level_0.len() + level, file))
        });
        level_0.iter().enumerate().chain(below).filter(|(_, file)| {
            !self.range.is_after(&file.largest)
                && !self.range.is_before(&file.smallest)
                && file.min_seq <= self.snapshot
        })
    }

    /// The sections of the row groups needed, ascending by key.
    fn cells(&self) -> Result<Vec<Cell>> {
        let mut spans = Vec::new();
        let version = &self.view.version;
        let level_0 = version.levels[0].iter().enumerate();
        let below = version.levels[1..].iter().enumerate().flat_map(|(level, files)| {
            files.iter().map(move |file| (version.levels[0].len() + level, file))
        });
        for (source, file) in level_0.chain(below) {
            let meets =
                !self.range.is_after(&file.largest) && !self.range.is_before(&file.smallest);
            if !meets || file.min_seq > self.snapshot {
                self.counters.files_pruned.add(1);
                continue;
            }
            spans.push(Span { first: &file.smallest, last: &file.largest, source, what: file });
        }
        let prefix_hash = self.prefix()?.map(key_hash);
        let mut cells = Vec::new();
        for section in cut(spans) {
            let oldest = section.oldest_source();
            let mut groups = Vec::new();
            for span in section.spans {
                if span.source == oldest && !self.may_match_file(span.what)? {
                    self.counters.files_pruned.add(1);
                    continue;
                }
                self.add_groups(span.source, span.what, prefix_hash, &mut groups)?;
            }
            for section in cut(groups) {
                let spans = self.prune_by_zones(section)?;
                cells.extend(cut(spans).into_iter().map(|section| self.cell(section)));
            }
        }
        Ok(cells)
    }

    fn cell(&self, section: Section<'_, Groups>) -> Cell {
        Cell {
            range: self.range.within(section.first(), section.last),
            groups: section.spans.into_iter().map(|span| (span.source, span.what)).collect(),
            memtables: Vec::new(),
        }
    }

    /// The section without those row groups of its oldest source in which no row passes the
    /// filter: they hide nothing but versions of their own. Groups that stand as one are kept,
    /// since a version of one that fails may hide a version of the other.
    fn prune_by_zones<'k>(&self, section: Section<'k, Groups>) -> Result<Vec<Span<'k, Groups>>> {
        let Some(filter) = self.filter else { return Ok(section.spans) };
        let oldest = section.oldest_source();
        let schema = self.schemas.current();
        let mut kept = Vec::with_capacity(section.spans.len());
        for span in section.spans {
            let Groups { reader, groups, .. } = &span.what;
            let may_match = span.source != oldest
                || groups.len() != 1
                || filter.may_match(&mut |column| reader.zone_map(groups.start, schema, column))?;
            if may_match {
                kept.push(span);
            } else {
                self.counters.groups_pruned.add(1);
            }
        }
        Ok(kept)
    }

    /// Whether a row of the file may pass the filter.
    pub(super) fn may_match_file(&self, file: &LiveFile) -> Result<bool> {
        let Some(filter) = self.filter else { return Ok(true) };
        let schema = self.schemas.current();
        filter.may_match(&mut |column| {
            let id = schema.columns[column].id;
            let zone = file.columns.iter().find(|(known, _)| *known == id);
            Ok(zone.map(|(_, zone)| Cow::Borrowed(zone)))
        })
    }

    /// The bytes of the first key column, if all keys of the range have the same there.
    pub(super) fn prefix(&self) -> Result<Option<&[u8]>> {
        let codec = self.schemas.key_codec();
        let Bound::Included(start) = &self.range.start else { return Ok(None) };
        if codec.key_len() < 2 {
            return Ok(None);
        }
        // A start that is no key and no prefix of columns is allowed, and has no filter.
        let Ok(length) = codec.prefix_len(start, 1) else { return Ok(None) };
        let prefix = &start[..length];
        let ends_within = match &self.range.end {
            Bound::Included(end) => end.starts_with(prefix),
            Bound::Excluded(end) => end.starts_with(prefix) || is_successor(prefix, end),
            // Nothing lies behind bytes of all ones that does not begin with them.
            Bound::Unbounded => prefix.iter().all(|byte| *byte == u8::MAX),
        };
        Ok(ends_within.then_some(prefix))
    }

    /// Adds the row groups of `file` that meet the range and hold something the snapshot sees.
    pub(super) fn add_groups<'f>(
        &self,
        source: usize,
        file: &'f Arc<LiveFile>,
        prefix_hash: Option<u64>,
        spans: &mut Vec<Span<'f, Groups>>,
    ) -> Result<()> {
        let reader = open_file(self.tree.context(), self.schemas, file)?;
        if let Some(hash) = prefix_hash
            && !reader.may_contain_prefix(hash)?
        {
            self.counters.files_pruned.add(1);
            return Ok(());
        }
        self.counters.files_read.add(1);
        let entries = reader.groups();
        let mut at = self.first_group(reader);
        let mut pruned = at;
        while at < entries.len() && !self.range.is_before(&entries[at].first_key) {
            let chain = reader.chain(at);
            at = chain.end;
            if entries[chain.clone()].iter().all(|entry| entry.min_seq > self.snapshot) {
                pruned += chain.len();
                continue;
            }
            let (first, last) = (&entries[chain.start].first_key, &entries[chain.end - 1].last_key);
            let groups =
                Groups { file: Arc::clone(file), reader: Arc::clone(reader), groups: chain };
            spans.push(Span { first, last, source, what: groups });
        }
        pruned += entries.len() - at;
        self.counters.groups_pruned.add(pruned as u64);
        Ok(())
    }

    /// The first group of a file that does not end before the range; their number if there is none.
    fn first_group(&self, reader: &SsTableReader) -> usize {
        let entries = reader.groups();
        let mut at = match &self.range.start {
            Bound::Included(key) | Bound::Excluded(key) => reader.find_group(key).unwrap_or(0),
            Bound::Unbounded => 0,
        };
        while at < entries.len() && self.range.is_after(&entries[at].last_key) {
            at += 1;
        }
        // A key's versions may begin before the group that the range starts in.
        if at < entries.len() { reader.chain(at).start } else { at }
    }

    /// Notes in each cell the memtables that hold keys of it, and returns what lies between cells:
    /// for a cell's number the stretch before it, for their count the one behind the last.
    fn place_memtables(&self, cells: &mut [Cell]) -> BTreeMap<usize, Cell> {
        let mut gaps: BTreeMap<usize, Cell> = BTreeMap::new();
        let filled = || {
            let memtables = self.view.memtables.iter().enumerate();
            memtables.filter(|(_, memtable)| !memtable.is_empty())
        };
        if let [cell] = cells
            && cell.groups.len() > 1
            && cell.range == *self.range
        {
            // It is merged whatever memtables hold, and nothing lies beside it.
            cell.memtables.extend(filled().map(|(number, _)| number));
            return gaps;
        }
        for (number, memtable) in filled() {
            let mut at = 0;
            let mut start = self.range.start.clone();
            while let Some(key) = first_key(memtable, &start, &self.range.end, self.snapshot) {
                at += cells[at..].partition_point(|cell| cell.range.is_before(&key));
                match cells.get_mut(at) {
                    Some(cell) if cell.range.contains(&key) => {
                        cell.memtables.push(number);
                        start = behind(&cell.range);
                        at += 1;
                    }
                    next => {
                        let end = match next {
                            Some(cell) => before(&cell.range),
                            None => self.range.end.clone(),
                        };
                        let is_last = at == cells.len();
                        let before = match at.checked_sub(1) {
                            Some(last) => behind(&cells[last].range),
                            None => self.range.start.clone(),
                        };
                        let gap = gaps.entry(at).or_insert_with(|| Cell {
                            range: KeyRange { start: before, end },
                            groups: Vec::new(),
                            memtables: Vec::new(),
                        });
                        gap.memtables.push(number);
                        if is_last {
                            break;
                        }
                        start = cells[at].range.start.clone();
                    }
                }
            }
        }
        gaps
    }

    /// How these groups are read where memtables hold keys among theirs, or none do.
    fn reading(&self, groups: &[(usize, Groups)], is_alone: bool) -> Reading {
        match groups {
            [(_, groups)] if is_alone && groups.is_raw(self.snapshot) => Reading::Raw,
            [_] if is_alone => Reading::Masked,
            _ => Reading::Merged,
        }
    }

    /// Adds a section to the stretch before if both are read in the same way.
    fn push(
        &self,
        stretches: &mut Vec<Stretch>,
        groups: Vec<(usize, Groups)>,
        memtables: &[usize],
        range: &KeyRange,
    ) {
        let reading = self.reading(&groups, memtables.is_empty());
        let memtables: BTreeMap<usize, KeyRange> =
            memtables.iter().map(|number| (*number, range.clone())).collect();
        match stretches.last_mut() {
            Some(last) if last.reading == reading && goes_on(last, &groups) => {
                last.groups.extend(groups);
                for (number, range) in memtables {
                    let whole = last.memtables.entry(number).or_insert_with(|| range.clone());
                    whole.end = range.end;
                }
            }
            _ => stretches.push(Stretch { reading, groups, memtables }),
        }
    }
}

/// Whether one source's rows go on in `groups`; merges always do.
fn goes_on(stretch: &Stretch, groups: &[(usize, Groups)]) -> bool {
    match (stretch.reading, stretch.groups.last(), groups.first()) {
        (Reading::Merged, ..) => true,
        (_, Some((last, _)), Some((next, _))) => last == next,
        _ => false,
    }
}

/// The first key of a memtable between two bounds that has an entry at or below `snapshot`.
fn first_key(
    memtable: &TreeMemtable,
    start: &Bound<Vec<u8>>,
    end: &Bound<Vec<u8>>,
    snapshot: SeqNo,
) -> Option<Vec<u8>> {
    let range = KeyRange { start: start.clone(), end: end.clone() };
    let mut first = None;
    visit_first(memtable, &range, snapshot, &mut |key| first = Some(key.to_vec()));
    first
}

/// Whether a memtable has an entry in the range at or below `snapshot`.
fn has_key(memtable: &TreeMemtable, range: &KeyRange, snapshot: SeqNo) -> bool {
    let mut has_key = false;
    visit_first(memtable, range, snapshot, &mut |_| has_key = true);
    has_key
}

fn visit_first(
    memtable: &TreeMemtable,
    range: &KeyRange,
    snapshot: SeqNo,
    found: &mut dyn FnMut(&[u8]),
) {
    if range.is_empty() {
        return;
    }
    memtable.visit(range.bounds(), false, |entry| {
        if entry.seq > snapshot {
            return ControlFlow::Continue(());
        }
        found(entry.key);
        ControlFlow::Break(())
    });
}

/// Where the keys behind a range start.
fn behind(range: &KeyRange) -> Bound<Vec<u8>> {
    match &range.end {
        Bound::Included(key) => Bound::Excluded(key.clone()),
        Bound::Excluded(key) => Bound::Included(key.clone()),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Where the keys before a range end.
fn before(range: &KeyRange) -> Bound<Vec<u8>> {
    match &range.start {
        Bound::Included(key) => Bound::Excluded(key.clone()),
        Bound::Excluded(key) => Bound::Included(key.clone()),
        Bound::Unbounded => Bound::Unbounded,
    }
}

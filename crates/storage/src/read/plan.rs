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
use super::source::{Groups, open_file};
use super::{KeyRange, Predicate, ReadCounters};
use crate::key::key_hash;
use crate::memtable::TreeMemtable;
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
        let of_prefix = KeyRange::prefix(prefix.to_vec());
        let ends_within = match (&self.range.end, &of_prefix.end) {
            (Bound::Included(end), _) => end.starts_with(prefix),
            (Bound::Excluded(end), Bound::Excluded(behind)) => end <= behind,
            (Bound::Excluded(_), _) => true,
            (Bound::Unbounded, behind) => *behind == Bound::Unbounded,
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
        let mut at = match &self.range.start {
            Bound::Included(key) | Bound::Excluded(key) => reader.find_group(key).unwrap_or(0),
            Bound::Unbounded => 0,
        };
        while at < entries.len() && self.range.is_after(&entries[at].last_key) {
            at += 1;
        }
        // A key's versions may begin before the group that the range starts in.
        if at < entries.len() {
            at = reader.chain(at).start;
        }
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

    /// Adds a section to the stretch before if both are read in the same way.
    fn push(
        &self,
        stretches: &mut Vec<Stretch>,
        groups: Vec<(usize, Groups)>,
        memtables: &[usize],
        range: &KeyRange,
    ) {
        let reading = match groups.as_slice() {
            [(_, groups)] if memtables.is_empty() => {
                if groups.is_raw(self.snapshot) {
                    Reading::Raw
                } else {
                    Reading::Masked
                }
            }
            _ => Reading::Merged,
        };
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
    if range.is_empty() {
        return None;
    }
    let mut first = None;
    memtable.visit(range.bounds(), false, |entry| {
        if entry.seq > snapshot {
            return ControlFlow::Continue(());
        }
        first = Some(entry.key.to_vec());
        ControlFlow::Break(())
    });
    first
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

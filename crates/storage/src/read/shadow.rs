//! Shadows: the rows of an immutable source that newer sources hide, as bitmaps that are kept.
//!
//! A newer source hides every row of an older one whose key it holds, whatever it says of the key
//! and whether or not it is itself hidden. Both never change, so what one hides of the other is
//! worked out once a row group, by searching the keys of the smaller side in the larger one, and
//! kept by (older, newer) within a budget of bytes. What a scan needs is the union over all newer
//! sources; that is kept as well, by the list of them. What a source hides of itself (old versions
//! and deletes) is one more such bitmap, named by the source twice (RULES.md 24).
//!
//! All of it is for readers that see the whole of every source; the plan asks for nothing else.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use parking_lot::Mutex;
use silt_codec::{KeyBuffer, KeyCodec, RowBuffer, Schemas};

use super::ReadCounters;
use super::source::Groups;
use super::visible::Visibility;
use crate::memtable::MemRun;
use crate::sstable::{RowGroup, SsTableReader};
use crate::{Result, SeqNo};

/// Where the newer side has fewer than one key for this many rows, its keys are searched for on
/// the encoded columns; else the group's keys are encoded and both sides are walked.
const SEARCH_BELOW: usize = 48;

/// The bytes of a kept shadow beside its bitmaps.
const SLOT_BYTES: usize = size_of::<OnceLock<Hidden>>();

/// A source that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SourceId {
    /// An SSTable.
    File(u64),
    /// A run of a memtable.
    Run(u64),
}

/// A source as something that hides and is hidden.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    File(Arc<SsTableReader>),
    Run(Arc<MemRun>),
}

/// Which rows of a group, or of a run, are hidden: one bit a row, and their number.
#[derive(Clone, Debug)]
pub(crate) struct Hidden(Option<(BooleanBuffer, usize)>);

/// What a list of sources hides of one older source, group by group.
#[derive(Debug)]
pub(crate) struct Shadow {
    groups: Box<[OnceLock<Hidden>]>,
    bytes: AtomicUsize,
    used: AtomicU64,
}

/// The older source, and the newer ones that hide it.
type ShadowKey = (SourceId, Box<[SourceId]>);

/// Shadows of all trees, within a byte budget.
pub(crate) struct ShadowCache {
    shadows: Mutex<HashMap<ShadowKey, Arc<Shadow>>>,
    bytes_max: usize,
    clock: AtomicU64,
}

impl Source {
    pub(crate) fn id(&self) -> SourceId {
        match self {
            Self::File(reader) => SourceId::File(reader.id()),
            Self::Run(run) => SourceId::Run(run.id()),
        }
    }
}

impl Hidden {
    /// The rows whose bit is set.
    pub(crate) fn new(rows: BooleanBuffer) -> Self {
        match rows.count_set_bits() {
            0 => Self(None),
            count => Self(Some((rows, count))),
        }
    }

    /// The bits, if any row is hidden.
    pub(crate) fn rows(&self) -> Option<&BooleanBuffer> {
        self.0.as_ref().map(|(rows, _)| rows)
    }

    /// How many rows are hidden.
    pub(crate) fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |(_, count)| *count)
    }

    fn or(&mut self, other: &Self) {
        match (&self.0, &other.0) {
            (_, None) => {}
            (None, Some(_)) => self.clone_from(other),
            (Some((mine, _)), Some((others, _))) => *self = Self::new(mine | others),
        }
    }

    fn bytes(&self) -> usize {
        self.rows().map_or(0, |rows| rows.len().div_ceil(8))
    }
}

impl ShadowCache {
    /// A cache that holds about `bytes_max` bytes at most.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { shadows: Mutex::default(), bytes_max, clock: AtomicU64::new(0) }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.shadows.lock().values().map(|shadow| shadow.held()).sum()
    }

    /// The shadow of `newer` on `older`, which has so many groups.
    fn shadow(&self, older: SourceId, newer: &[SourceId], groups: usize) -> Arc<Shadow> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut shadows = self.shadows.lock();
        let key = (older, Box::from(newer));
        if let Some(shadow) = shadows.get(&key) {
            shadow.used.store(now, Ordering::Relaxed);
            return Arc::clone(shadow);
        }
        let shadow = Arc::new(Shadow {
            groups: (0..groups).map(|_| OnceLock::new()).collect(),
            bytes: AtomicUsize::new(0),
            used: AtomicU64::new(now),
        });
        shadows.insert(key, Arc::clone(&shadow));
        let mut held: usize = shadows.values().map(|shadow| shadow.held()).sum();
        while held > self.bytes_max && shadows.len() > 1 {
            let oldest =
                shadows.iter().min_by_key(|(_, shadow)| shadow.used.load(Ordering::Relaxed));
            let Some((key, gone)) = oldest.map(|(key, gone)| (key.clone(), Arc::clone(gone)))
            else {
                break;
            };
            held -= gone.held().min(held);
            shadows.remove(&key);
        }
        shadow
    }
}

impl fmt::Debug for ShadowCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} B of shadows", self.bytes(), self.bytes_max)
    }
}

impl Shadow {
    fn held(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) + self.groups.len() * SLOT_BYTES
    }

    fn set(&self, group: usize, hidden: Hidden) -> &Hidden {
        let bytes = hidden.bytes();
        // Another thread may have been as quick; its bitmap is the same.
        if self.groups[group].set(hidden).is_ok() {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        self.groups[group].get().expect("set above")
    }
}

/// One source under all that is newer.
#[derive(Clone, Debug)]
pub(crate) struct Shadows {
    /// Newest first.
    newer: Arc<[Source]>,
    /// What each of `newer` hides, in their order.
    pairs: Arc<[Arc<Shadow>]>,
    /// What the source hides of itself.
    own: Arc<Shadow>,
    /// All of that together.
    all: Arc<Shadow>,
}

impl Shadows {
    /// What `newer` hide of `older`, as far as it is known, and room for the rest.
    pub(crate) fn new(cache: &ShadowCache, older: &Source, newer: Arc<[Source]>) -> Self {
        let id = older.id();
        let groups = match older {
            Source::File(reader) => reader.groups().len(),
            Source::Run(_) => 1,
        };
        let ids: Vec<SourceId> = newer.iter().map(Source::id).collect();
        let own = cache.shadow(id, &[id], groups);
        let pairs: Arc<[_]> = ids.iter().map(|&other| cache.shadow(id, &[other], groups)).collect();
        let all = match pairs.len() {
            0 => Arc::clone(&own),
            _ => {
                let with_itself: Vec<SourceId> = [id].into_iter().chain(ids).collect();
                cache.shadow(id, &with_itself, groups)
            }
        };
        Self { newer, pairs, own, all }
    }
}

/// What works shadows out: it remembers the keys read last of each newer file, since older groups
/// come by key.
pub(crate) struct Shade<'a> {
    pub(crate) schemas: &'a Schemas,
    pub(crate) counters: &'a ReadCounters,
    pub(crate) read: &'a mut KeysRead,
}

/// The keys of one group a file, the last that was looked at.
#[derive(Debug, Default)]
pub(crate) struct KeysRead(Vec<(u64, usize, Arc<KeyBuffer>)>);

impl KeysRead {
    fn keys(
        &mut self,
        reader: &SsTableReader,
        group: usize,
        schemas: &Schemas,
    ) -> Result<Arc<KeyBuffer>> {
        let place = self.0.iter().position(|(file, ..)| *file == reader.id());
        if let Some(place) = place
            && self.0[place].1 == group
        {
            return Ok(Arc::clone(&self.0[place].2));
        }
        let row_group = reader.group(group, schemas.current(), &[])?;
        let keys = Arc::new(row_group.keys(schemas.key_codec(), 0..row_group.rows())?);
        let entry = (reader.id(), group, Arc::clone(&keys));
        match place {
            Some(place) => self.0[place] = entry,
            None => self.0.push(entry),
        }
        Ok(keys)
    }
}

/// The older side: rows whose keys ascend.
enum Older<'a> {
    Group(&'a RowGroup, OnceLock<KeyBuffer>),
    Run(&'a MemRun),
}

impl Shade<'_> {
    /// What is hidden of a group of the source that `shadows` lie on; `group` is one of those that stand as one.
    pub(crate) fn group<'s>(
        &mut self,
        shadows: &'s Shadows,
        groups: &Groups,
        index: usize,
    ) -> Result<&'s Hidden> {
        if let Some(hidden) = shadows.all.groups[index].get() {
            self.counters.shadows_cached.add(1);
            return Ok(hidden);
        }
        self.counters.shadows_built.add(1);
        let entry = &groups.reader.groups()[index];
        let mut all = match shadows.own.groups[index].get() {
            Some(hidden) => hidden.clone(),
            None => {
                self.hide_of_itself(&shadows.own, groups)?;
                shadows.own.groups[index].get().map_or(Hidden(None), Hidden::clone)
            }
        };
        let mut row_group = None;
        for (newer, shadow) in shadows.newer.iter().zip(&*shadows.pairs) {
            if let Some(hidden) = shadow.groups[index].get() {
                all.or(hidden);
                continue;
            }
            let hidden = if self.may_hide(newer, &entry.first_key, &entry.last_key) {
                let (group, keys) = match row_group.take() {
                    Some(opened) => opened,
                    None => {
                        let schema = self.schemas.current();
                        (groups.reader.group(index, schema, &[])?, OnceLock::new())
                    }
                };
                let older = Older::Group(&group, keys);
                let hidden = self.hidden_by(
                    newer,
                    &older,
                    entry.rows as usize,
                    &entry.first_key,
                    &entry.last_key,
                )?;
                if let Older::Group(_, keys) = older {
                    row_group = Some((group, keys));
                }
                hidden
            } else {
                Hidden(None)
            };
            all.or(shadow.set(index, hidden));
        }
        Ok(shadows.all.set(index, all))
    }

    /// What is hidden of a run.
    pub(crate) fn run<'s>(&mut self, shadows: &'s Shadows, run: &MemRun) -> Result<&'s Hidden> {
        if let Some(hidden) = shadows.all.groups[0].get() {
            self.counters.shadows_cached.add(1);
            return Ok(hidden);
        }
        self.counters.shadows_built.add(1);
        let deletes = || Hidden(None);
        let mut all = run.deletes().map_or_else(deletes, |deletes| Hidden::new(deletes.clone()));
        let rows = run.keys().len();
        if rows > 0 {
            let (first, last) = (run.keys().get(0), run.keys().get(rows - 1));
            for (newer, shadow) in shadows.newer.iter().zip(&*shadows.pairs) {
                let hidden = match shadow.groups[0].get() {
                    Some(hidden) => hidden,
                    None => {
                        let hidden = self.hidden_by(newer, &Older::Run(run), rows, first, last)?;
                        shadow.set(0, hidden)
                    }
                };
                all.or(hidden);
            }
        }
        Ok(shadows.all.set(0, all))
    }

    /// Old versions and deletes of groups that stand as one, for one who sees all of them.
    fn hide_of_itself(&self, own: &Shadow, groups: &Groups) -> Result<()> {
        let mut visibility = Visibility::new(SeqNo::MAX, false);
        for index in groups.groups.clone() {
            let entry = &groups.reader.groups()[index];
            if groups.is_one_version() && entry.deletes == 0 {
                own.set(index, Hidden(None));
                continue;
            }
            let group = groups.reader.group(index, self.schemas.current(), &[])?;
            let rows = 0..group.rows();
            let mut seen = Vec::new();
            if groups.is_one_version() {
                let (seqs, kinds) = (group.seqs(rows.clone())?, group.kinds(rows.clone())?);
                visibility.select_unique(&seqs, &kinds, &mut seen);
            } else {
                let entries = group.entries(self.schemas.key_codec(), rows.clone(), &[])?;
                visibility.select(&entries.keys, &entries.seqs, &entries.kinds, &mut seen);
            }
            let mut hidden = BooleanBufferBuilder::new(rows.len());
            hidden.append_n(rows.len(), true);
            seen.iter().for_each(|&row| hidden.set_bit(row as usize, false));
            own.set(index, Hidden::new(hidden.finish()));
        }
        Ok(())
    }

    /// Whether `newer` has a key from `first` to `last`, as far as that shows without reading it.
    fn may_hide(&self, newer: &Source, first: &[u8], last: &[u8]) -> bool {
        match newer {
            Source::Run(run) => !run.within(first, last).is_empty(),
            Source::File(reader) => {
                let entries = reader.groups();
                let at = entries.partition_point(|entry| *entry.last_key < *first);
                entries.get(at).is_some_and(|entry| *entry.first_key <= *last)
            }
        }
    }

    /// The rows of `older`, whose keys lie from `first` to `last`, that stand in `newer` as well.
    fn hidden_by(
        &mut self,
        newer: &Source,
        older: &Older<'_>,
        rows: usize,
        first: &[u8],
        last: &[u8],
    ) -> Result<Hidden> {
        let mut hidden = BooleanBufferBuilder::new(0);
        let marks = |hidden: &mut BooleanBufferBuilder| hidden.append_n(rows, false);
        match newer {
            Source::Run(run) => {
                let within = run.within(first, last);
                if !within.is_empty() {
                    marks(&mut hidden);
                    self.mark(older, rows, run.keys(), within, &mut hidden)?;
                }
            }
            Source::File(reader) => {
                let entries = reader.groups();
                let at = entries.partition_point(|entry| *entry.last_key < *first);
                for (index, entry) in entries.iter().enumerate().skip(at) {
                    if *entry.first_key > *last {
                        break;
                    }
                    let keys = self.read.keys(reader, index, self.schemas)?;
                    let from = lower_bound(&keys, 0..keys.len(), |key| key < first);
                    let to = lower_bound(&keys, from..keys.len(), |key| key <= last);
                    if from < to {
                        if hidden.is_empty() {
                            marks(&mut hidden);
                        }
                        self.mark(older, rows, &keys, from..to, &mut hidden)?;
                    }
                }
            }
        }
        Ok(if hidden.is_empty() { Hidden(None) } else { Hidden::new(hidden.finish()) })
    }

    /// Marks the rows of `older` whose keys are among `newer` at `within`.
    fn mark(
        &self,
        older: &Older<'_>,
        rows: usize,
        newer: &KeyBuffer,
        within: Range<usize>,
        hidden: &mut BooleanBufferBuilder,
    ) -> Result<()> {
        match older {
            Older::Run(run) => walk(run.keys(), newer, within, hidden),
            Older::Group(group, keys) => {
                let codec = self.schemas.key_codec();
                if keys.get().is_none() && within.len() * SEARCH_BELOW < rows {
                    return search(group, codec, newer, within, hidden);
                }
                if keys.get().is_none() {
                    let _ = keys.set(group.keys(codec, 0..rows)?);
                }
                walk(keys.get().expect("set above"), newer, within, hidden);
            }
        }
        Ok(())
    }
}

/// Searches a group for each key.
fn search(
    group: &RowGroup,
    codec: &KeyCodec,
    newer: &KeyBuffer,
    within: Range<usize>,
    hidden: &mut BooleanBufferBuilder,
) -> Result<()> {
    let mut values = RowBuffer::new();
    for index in within {
        values.clear();
        codec.decode(newer.get(index), &mut values)?;
        for row in group.find(&values)? {
            hidden.set_bit(row, true);
        }
    }
    Ok(())
}

/// Walks both sides, the longer one in steps that double.
fn walk(
    older: &KeyBuffer,
    newer: &KeyBuffer,
    within: Range<usize>,
    hidden: &mut BooleanBufferBuilder,
) {
    let mut row = 0;
    for index in within {
        let key = newer.get(index);
        let mut step = 1;
        let mut from = row;
        while row + step <= older.len() && older.get(row + step - 1) < key {
            from = row + step;
            step *= 2;
        }
        row = lower_bound(older, from..older.len().min(row + step), |other| other < key);
        // All versions of the key.
        let mut same = row;
        while same < older.len() && older.get(same) == key {
            hidden.set_bit(same, true);
            same += 1;
        }
        row = same;
        if row == older.len() {
            return;
        }
    }
}

/// The first of `range` for which `before` does not hold; it holds for none behind it.
fn lower_bound(keys: &KeyBuffer, range: Range<usize>, before: impl Fn(&[u8]) -> bool) -> usize {
    let (mut low, mut high) = (range.start, range.end.max(range.start));
    while low < high {
        let middle = usize::midpoint(low, high);
        if before(keys.get(middle)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

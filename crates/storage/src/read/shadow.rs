//! Shadows: the rows of an immutable source that newer sources hide, as bitmaps that are kept.
//!
//! A newer source hides every row of an older one whose key it holds, whatever it says of the key
//! and whether or not it is itself hidden. What is hidden stays so: flushes and compactions move
//! entries and keep what is newer above what is older, for as long as the older source lives. So
//! the bitmap of a row group covers *a number*: all that entries up to it hide, wherever they stand
//! now, and what the group hides of itself (old versions and deletes). A reader at that number or
//! above takes the bitmap of the greatest number that it may, and adds what only entries above
//! that number hide, out of sources that hold some; that makes a new bitmap, of the reader's number
//! (RULES.md 24). Keys of the smaller side are searched in the larger one.
//!
//! Where keys are of one width of sixteen bytes at most, those of a group whose bitmap is extended
//! again are kept beside it as narrow numbers ([`fixed_keys`](crate::fixed_keys)), within half of
//! the budget: decoding them would be most of the work.
//!
//! So a reader pays for what was written since the last one, once for each older source that
//! overlaps it, and it is all the same whether that was flushed or merged meanwhile.
//!
//! All of it is for readers that see the whole of every source; the plan asks for nothing else.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, Buffer};
use parking_lot::Mutex;
use silt_codec::{KeyBuffer, KeyCodec, RowBuffer, Schemas};

use super::source::Groups;
use super::visible::Visibility;
use super::{KeyRange, ReadCounters};
use crate::fixed_keys::{FixedKeys, NarrowKeys};
use crate::memtable::MemRun;
use crate::sstable::{RowGroup, SsTableReader};
use crate::{Result, SeqNo};

/// Where the newer side has fewer than one key for this many rows, its keys are searched for on
/// the encoded columns; else the group's keys are encoded and both sides are walked.
const SEARCH_BELOW: usize = 48;

/// Bitmaps that are kept of one row group: readers at several numbers take turns.
const KEPT: usize = 4;

/// Sources of which bitmaps are kept at most.
const SOURCES_MAX: usize = 1024;

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
    /// An SSTable and the highest number of its entries.
    File(Arc<SsTableReader>, SeqNo),
    Run(Arc<MemRun>),
}

/// The sources newer than one, as a reader sees them.
#[derive(Debug)]
pub(crate) struct Newer {
    snapshot: SeqNo,
    /// Newest first.
    published: Vec<Source>,
    /// Those of this reader alone.
    private: Vec<Source>,
    /// A source beside the scan's range is missing.
    is_partial: bool,
    /// What is found out is for this reader alone.
    is_private: bool,
}

/// Which rows of a group, or of a run, are hidden: one bit a row, and their number.
#[derive(Clone, Debug)]
pub(crate) struct Hidden(Option<(BooleanBuffer, usize)>);

/// What newer sources hide of one source, group by group.
#[derive(Debug)]
pub(crate) struct Shadow {
    groups: Box<[GroupShadow]>,
    bytes: AtomicUsize,
    budget: Arc<Budget>,
    used: AtomicU64,
}

#[derive(Debug, Default)]
struct GroupShadow {
    /// What the group hides of itself.
    own: OnceLock<Hidden>,
    /// Its keys.
    keys: OnceLock<Arc<NarrowKeys>>,
    /// Held by who works out a bitmap: others of the same number would do the same meanwhile.
    making: Mutex<()>,
    /// What all entries up to a number hide of it, and what it hides of itself. Used last first.
    through: Mutex<Vec<(SeqNo, Hidden)>>,
}

/// Shadows of all trees, within a byte budget.
pub(crate) struct ShadowCache {
    shadows: Mutex<HashMap<SourceId, Arc<Shadow>>>,
    budget: Arc<Budget>,
    clock: AtomicU64,
}

#[derive(Debug)]
struct Budget {
    held: AtomicUsize,
    bytes_max: usize,
}

impl Source {
    fn id(&self) -> SourceId {
        match self {
            Self::File(reader, _) => SourceId::File(reader.id()),
            Self::Run(run) => SourceId::Run(run.id()),
        }
    }

    /// The highest number of its entries.
    fn max_seq(&self) -> SeqNo {
        match self {
            Self::File(_, max_seq) => *max_seq,
            Self::Run(run) => run.max_seq(),
        }
    }

    /// Whether it has a key from `first` to `last`, as far as that shows without reading it.
    fn may_hide(&self, first: &[u8], last: &[u8]) -> bool {
        match self {
            Self::Run(run) => !run.within(first, last).is_empty(),
            Self::File(reader, _) => {
                let entries = reader.groups();
                let at = entries.partition_point(|entry| *entry.last_key < *first);
                entries.get(at).is_some_and(|entry| *entry.first_key <= *last)
            }
        }
    }
}

impl Newer {
    /// No source yet, for a reader at `snapshot`.
    pub(crate) fn new(snapshot: SeqNo) -> Self {
        let (published, private) = (Vec::new(), Vec::new());
        Self { snapshot, published, private, is_partial: false, is_private: false }
    }

    /// Adds one that is older than those before it, and wholly seen.
    pub(crate) fn push(&mut self, source: Source, is_private: bool) {
        if is_private { self.private.push(source) } else { self.published.push(source) }
    }

    /// The older source is this reader's alone as well.
    pub(crate) fn than_private(mut self) -> Self {
        self.is_private = true;
        self
    }

    /// One that lies beside the scan's range is not added.
    pub(crate) fn leave_out(&mut self) {
        self.is_partial = true;
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

    fn bytes(&self) -> usize {
        self.rows().map_or(0, |rows| rows.len().div_ceil(8)) + size_of::<(SeqNo, Self)>()
    }
}

impl ShadowCache {
    /// A cache that holds about `bytes_max` bytes at most.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let budget = Arc::new(Budget { held: AtomicUsize::new(0), bytes_max });
        Self { shadows: Mutex::default(), budget, clock: AtomicU64::new(0) }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.budget.held.load(Ordering::Relaxed)
    }

    /// Whether a scan looked at what is hidden of the file, and that is still kept.
    pub(crate) fn knows_file(&self, file: u64) -> bool {
        self.shadows.lock().contains_key(&SourceId::File(file))
    }

    /// Forgets what is known of a file that nobody reads any more: it would take up room until
    /// other sources want it.
    pub(crate) fn forget_file(&self, file: u64) {
        self.shadows.lock().remove(&SourceId::File(file));
    }

    /// The shadow on a source of so many groups.
    fn shadow(&self, id: SourceId, groups: usize) -> Arc<Shadow> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut shadows = self.shadows.lock();
        if let Some(shadow) = shadows.get(&id) {
            shadow.used.store(now, Ordering::Relaxed);
            return Arc::clone(shadow);
        }
        let shadow = Arc::new(Shadow {
            groups: (0..groups).map(|_| GroupShadow::default()).collect(),
            bytes: AtomicUsize::new(0),
            budget: Arc::clone(&self.budget),
            used: AtomicU64::new(now),
        });
        shadow.add(groups * size_of::<GroupShadow>());
        // Down to three quarters at once, so that this does not come again soon.
        let (bytes_max, sources_max) = (self.budget.bytes_max / 4 * 3, SOURCES_MAX / 4 * 3);
        if self.bytes() > self.budget.bytes_max || shadows.len() >= SOURCES_MAX {
            let used = |shadow: &Shadow| shadow.used.load(Ordering::Relaxed);
            let mut by_use: Vec<_> = shadows.iter().map(|(id, s)| (used(s), *id)).collect();
            by_use.sort_unstable();
            for (_, id) in by_use {
                if self.bytes() <= bytes_max && shadows.len() < sources_max {
                    break;
                }
                shadows.remove(&id);
            }
        }
        shadows.insert(id, Arc::clone(&shadow));
        shadow
    }
}

impl fmt::Debug for ShadowCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} B of shadows", self.bytes(), self.budget.bytes_max)
    }
}

impl Shadow {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.budget.held.fetch_add(bytes, Ordering::Relaxed);
    }

    fn subtract(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether there is room for keys of so many rows, as wide as most are.
    fn has_room(&self, rows: usize) -> bool {
        let held = self.budget.held.load(Ordering::Relaxed);
        held + rows * size_of::<u64>() <= self.budget.bytes_max / 2
    }

    fn keep_keys(&self, group: usize, keys: &Arc<NarrowKeys>) {
        if self.groups[group].keys.set(Arc::clone(keys)).is_ok() {
            self.add(keys.bytes());
        }
    }

    /// The bitmap of the greatest number that a reader at `snapshot` may take.
    fn through(&self, group: usize, snapshot: SeqNo) -> Option<(SeqNo, Hidden)> {
        let mut through = self.groups[group].through.lock();
        let usable = through.iter().enumerate().filter(|(_, (seq, _))| *seq <= snapshot);
        let (at, _) = usable.max_by_key(|(_, (seq, _))| *seq)?;
        through[..=at].rotate_right(1);
        Some(through[0].clone())
    }

    fn keep(&self, group: usize, snapshot: SeqNo, hidden: &Hidden) {
        let mut through = self.groups[group].through.lock();
        if through.iter().any(|(seq, _)| *seq == snapshot) {
            return;
        }
        self.add(hidden.bytes());
        through.insert(0, (snapshot, hidden.clone()));
        if through.len() > KEPT
            && let Some((_, gone)) = through.pop()
        {
            self.subtract(gone.bytes());
        }
    }

    fn set_own(&self, group: usize, hidden: Hidden) {
        let bytes = hidden.bytes();
        // Another thread may have been as quick; its bitmap is the same.
        if self.groups[group].own.set(hidden).is_ok() {
            self.add(bytes);
        }
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        self.subtract(self.bytes.load(Ordering::Relaxed));
    }
}

/// One source under all that is newer.
#[derive(Clone, Debug)]
pub(crate) struct Shadows {
    newer: Arc<Newer>,
    kept: Arc<Shadow>,
}

impl Shadows {
    /// What `newer` hide of `older`, as far as it is known, and room for the rest.
    pub(crate) fn new(cache: &ShadowCache, older: &Source, newer: Newer) -> Self {
        let groups = match older {
            Source::File(reader, _) => reader.groups().len(),
            Source::Run(_) => 1,
        };
        Self { newer: Arc::new(newer), kept: cache.shadow(older.id(), groups) }
    }
}

/// What works shadows out: it remembers the keys read last of each newer file, since older groups
/// come by key.
pub(crate) struct Shade<'a> {
    pub(crate) schemas: &'a Schemas,
    pub(crate) counters: &'a ReadCounters,
    pub(crate) read: &'a mut KeysRead,
    /// It is not a reader's, but readers who come again are expected.
    pub(crate) is_ahead: bool,
}

/// The keys of one group a file, those of the entries above a number: the last that was looked at.
#[derive(Debug, Default)]
pub(crate) struct KeysRead(Vec<(u64, usize, SeqNo, Arc<GroupKeys>)>);

/// Keys, and the same as numbers where they are of one width.
#[derive(Debug)]
struct GroupKeys(KeyBuffer, Option<FixedKeys>);

impl KeysRead {
    fn keys(
        &mut self,
        reader: &SsTableReader,
        group: usize,
        above: SeqNo,
        schemas: &Schemas,
    ) -> Result<Arc<GroupKeys>> {
        let place = self.0.iter().position(|(file, ..)| *file == reader.id());
        if let Some(place) = place
            && (self.0[place].1, self.0[place].2) == (group, above)
        {
            return Ok(Arc::clone(&self.0[place].3));
        }
        let row_group = reader.group(group, schemas.current(), &[])?;
        let rows = 0..row_group.rows();
        let mut keys = row_group.keys(schemas.key_codec(), rows.clone())?;
        if reader.groups()[group].min_seq <= above {
            let mut fresh = KeyBuffer::new();
            for (index, seq) in row_group.seqs(rows)?.into_iter().enumerate() {
                if seq > above {
                    fresh.push(keys.get(index));
                }
            }
            keys = fresh;
        }
        let fixed = FixedKeys::of(&keys, 0..keys.len());
        let keys = Arc::new(GroupKeys(keys, fixed));
        let entry = (reader.id(), group, above, Arc::clone(&keys));
        match place {
            Some(place) => self.0[place] = entry,
            None => self.0.push(entry),
        }
        Ok(keys)
    }
}

/// The older side: rows whose keys ascend.
enum Older<'a> {
    Group {
        groups: &'a Groups,
        index: usize,
        kept: &'a Shadow,
        opened: OnceLock<RowGroup>,
        keys: OnceLock<(KeyBuffer, Option<Arc<NarrowKeys>>)>,
    },
    Run(&'a MemRun),
}

/// Some keys of the newer side.
#[derive(Clone)]
struct NewerKeys<'a> {
    keys: &'a KeyBuffer,
    fixed: Option<&'a FixedKeys>,
    within: Range<usize>,
}

impl NewerKeys<'_> {
    /// Marks the rows of `older` that are among these, if both are numbers.
    fn mark(&self, older: Option<&NarrowKeys>, marks: &mut Marks<'_>) -> bool {
        let (Some(older), Some(newer)) = (older, self.fixed) else { return false };
        older.mark(newer, self.within.clone(), marks.words());
        true
    }
}

/// Rows that are found to be hidden, beside those known before: one bit a row.
struct Marks<'a> {
    rows: usize,
    known: Option<&'a BooleanBuffer>,
    /// Whether it was extended before.
    is_known: bool,
    marked: Option<Vec<u64>>,
}

impl Marks<'_> {
    fn words(&mut self) -> &mut [u64] {
        self.marked.get_or_insert_with(|| match self.known {
            Some(known) => known.bit_chunks().iter_padded().collect(),
            None => vec![0; self.rows.div_ceil(64)],
        })
    }

    fn set(&mut self, row: usize) {
        self.words()[row / 64] |= 1 << (row % 64);
    }

    fn finish(self) -> Option<Hidden> {
        let marked = Buffer::from_vec(self.marked?);
        Some(Hidden::new(BooleanBuffer::new(marked, 0, self.rows)))
    }
}

impl Shade<'_> {
    /// What is hidden of a group of the source that `shadows` lie on; `index` is one of those that
    /// stand as one, `range` the scan's.
    pub(crate) fn group(
        &mut self,
        shadows: &Shadows,
        groups: &Groups,
        index: usize,
        range: &KeyRange,
    ) -> Result<Hidden> {
        let entry = &groups.reader.groups()[index];
        let (opened, keys) = (OnceLock::new(), OnceLock::new());
        let older = Older::Group { groups, index, kept: &shadows.kept, opened, keys };
        let span = (entry.rows as usize, &*entry.first_key, &*entry.last_key);
        let is_kept = !shadows.newer.is_partial
            || (range.contains(&entry.first_key) && range.contains(&entry.last_key));
        self.hidden(shadows, index, &older, span, is_kept)
    }

    /// What is hidden of a run.
    pub(crate) fn run(&mut self, shadows: &Shadows, run: &MemRun) -> Result<Hidden> {
        let Some(last) = run.keys().len().checked_sub(1) else { return Ok(Hidden(None)) };
        let span = (last + 1, run.keys().get(0), run.keys().get(last));
        self.hidden(shadows, 0, &Older::Run(run), span, true)
    }

    /// What is hidden of so many rows, whose keys lie from one to another.
    fn hidden(
        &mut self,
        Shadows { newer, kept }: &Shadows,
        index: usize,
        older: &Older<'_>,
        span: (usize, &[u8], &[u8]),
        is_kept: bool,
    ) -> Result<Hidden> {
        let (_, first, last) = span;
        let mut known = kept.through(index, newer.snapshot);
        let mut making = None;
        if known.as_ref().is_none_or(|(seq, _)| *seq < newer.snapshot) {
            making = Some(kept.groups[index].making.lock());
            known = kept.through(index, newer.snapshot);
        }
        let above = known.as_ref().map_or(0, |(seq, _)| *seq);
        let is_fresh = |source: &&Source| {
            known.is_none() || (source.max_seq() > above && source.may_hide(first, last))
        };
        let fresh: Vec<&Source> = newer.published.iter().filter(is_fresh).collect();
        let mut hidden = match &known {
            Some((_, hidden)) => hidden.clone(),
            None => self.hidden_of_itself(kept, index, older)?,
        };
        if known.is_some() && fresh.is_empty() {
            self.counters.shadows_cached.add(1);
        } else {
            self.counters.shadows_built.add(1);
            hidden = self.hidden_by(
                &fresh,
                above,
                older,
                span,
                (hidden, known.is_some() || self.is_ahead),
            )?;
            if is_kept && !newer.is_private {
                kept.keep(index, newer.snapshot, &hidden);
            }
        }
        drop(making);
        if newer.private.is_empty() {
            return Ok(hidden);
        }
        let private: Vec<&Source> = newer.private.iter().collect();
        self.hidden_by(&private, 0, older, span, (hidden, false))
    }

    fn hidden_of_itself(&self, kept: &Shadow, index: usize, older: &Older<'_>) -> Result<Hidden> {
        let own = &kept.groups[index].own;
        match older {
            Older::Run(run) => {
                Ok(run.deletes().map_or(Hidden(None), |rows| Hidden::new(rows.clone())))
            }
            Older::Group { groups, .. } => {
                if own.get().is_none() {
                    self.hide_of_itself(kept, groups)?;
                }
                Ok(own.get().map_or(Hidden(None), Hidden::clone))
            }
        }
    }

    /// Old versions and deletes of groups that stand as one, for one who sees all of them.
    fn hide_of_itself(&self, kept: &Shadow, groups: &Groups) -> Result<()> {
        let mut visibility = Visibility::new(SeqNo::MAX, false);
        for index in groups.groups.clone() {
            let entry = &groups.reader.groups()[index];
            if groups.is_one_version() && entry.deletes == 0 {
                kept.set_own(index, Hidden(None));
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
            kept.set_own(index, Hidden::new(hidden.finish()));
        }
        Ok(())
    }

    /// The rows of `older`, whose keys lie from `first` to `last`, that entries of `newer` above a
    /// number hide, beside those that are known to be hidden.
    fn hidden_by(
        &mut self,
        newer: &[&Source],
        above: SeqNo,
        older: &Older<'_>,
        (rows, first, last): (usize, &[u8], &[u8]),
        (known, is_known): (Hidden, bool),
    ) -> Result<Hidden> {
        let mut marks = Marks { rows, known: known.rows(), is_known, marked: None };
        for source in newer {
            match source {
                Source::Run(run) => {
                    let within = run.within(first, last);
                    let newer = NewerKeys { keys: run.keys(), fixed: run.fixed_keys(), within };
                    self.mark(older, rows, &newer, &mut marks)?;
                }
                Source::File(reader, _) => {
                    let entries = reader.groups();
                    let at = entries.partition_point(|entry| *entry.last_key < *first);
                    for (index, entry) in entries.iter().enumerate().skip(at) {
                        if *entry.first_key > *last {
                            break;
                        }
                        if entry.max_seq <= above && above > 0 {
                            continue;
                        }
                        let read = self.read.keys(reader, index, above, self.schemas)?;
                        let GroupKeys(keys, fixed) = &*read;
                        let from = lower_bound(keys, 0..keys.len(), |key| key < first);
                        let to = lower_bound(keys, from..keys.len(), |key| key <= last);
                        let newer = NewerKeys { keys, fixed: fixed.as_ref(), within: from..to };
                        self.mark(older, rows, &newer, &mut marks)?;
                    }
                }
            }
        }
        let marked = marks.finish();
        Ok(marked.unwrap_or(known))
    }

    /// Marks the rows of `older` whose keys are among `newer`.
    fn mark(
        &self,
        older: &Older<'_>,
        rows: usize,
        newer: &NewerKeys<'_>,
        marks: &mut Marks<'_>,
    ) -> Result<()> {
        if newer.within.is_empty() {
            return Ok(());
        }
        match older {
            Older::Run(run) => {
                if !newer.mark(run.narrow_keys(), marks) {
                    walk(run.keys(), newer, marks);
                }
            }
            Older::Group { groups, index, kept, opened, keys } => {
                let narrow = kept.groups[*index].keys.get();
                if newer.mark(narrow.map(|narrow| &**narrow), marks) {
                    return Ok(());
                }
                let codec = self.schemas.key_codec();
                if opened.get().is_none() {
                    let group = groups.reader.group(*index, self.schemas.current(), &[])?;
                    let _ = opened.set(group);
                }
                let group = opened.get().expect("set above");
                let is_kept = marks.is_known && narrow.is_none() && kept.has_room(rows);
                if keys.get().is_none() && !is_kept && newer.within.len() * SEARCH_BELOW < rows {
                    return search(group, codec, newer, marks);
                }
                if keys.get().is_none() {
                    let read = group.keys(codec, 0..rows)?;
                    let narrow = FixedKeys::of(&read, 0..rows);
                    let narrow = narrow.map(|fixed| Arc::new(NarrowKeys::of(&fixed)));
                    if let Some(narrow) = narrow.as_ref().filter(|_| is_kept) {
                        kept.keep_keys(*index, narrow);
                    }
                    let _ = keys.set((read, narrow));
                }
                let (keys, narrow) = keys.get().expect("set above");
                if !newer.mark(narrow.as_deref(), marks) {
                    walk(keys, newer, marks);
                }
            }
        }
        Ok(())
    }
}

/// Searches a group for each key.
fn search(
    group: &RowGroup,
    codec: &KeyCodec,
    newer: &NewerKeys<'_>,
    marks: &mut Marks<'_>,
) -> Result<()> {
    let mut values = RowBuffer::new();
    for index in newer.within.clone() {
        values.clear();
        codec.decode(newer.keys.get(index), &mut values)?;
        for row in group.find(&values)? {
            marks.set(row);
        }
    }
    Ok(())
}

/// Walks both sides, the longer one in steps that double.
fn walk(older: &KeyBuffer, newer: &NewerKeys<'_>, marks: &mut Marks<'_>) {
    let mut row = 0;
    for index in newer.within.clone() {
        let key = newer.keys.get(index);
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
            marks.set(same);
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

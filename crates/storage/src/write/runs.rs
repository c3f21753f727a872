//! [`Runs`]: the rows of a bulk load, on their way from any order into sorted files.
//!
//! Rows are collected until the budget is used up, sorted, freed of equal keys, checked against the
//! rows that exist, and written as a *run*: files of level 0's format whose numbers are all 0, which
//! get to the disk while the next run is collected. If the load came in key order the runs follow
//! one another and are the result. If not, they are merged into it, in as many passes as the memory
//! asks for.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::JoinHandle;

use arrow_array::{Array, ArrayRef};
use arrow_select::interleave::interleave;
use silt_codec::{BatchBuilder, KeyBuffer, Schemas};

use super::bulk::OnDuplicate;
use super::flush::remove_file;
use crate::batch::prefix_of;
use crate::memtable::TreeMemtable;
use crate::read::merge::{Merge, MergeRule};
use crate::read::source::{FileSource, Groups, SourceContext};
use crate::read::{KeyRange, ReadCounters, multi_get};
use crate::sstable::{BlockCache, EntryBatch, SsTableReader, SsTableWriter, Unsynced};
use crate::state::{Context, TreeState};
use crate::version::{FileMeta, LiveFile, SweepQueue, VersionSet};
use crate::{Error, OpKind, Result, ScanWatch, SeqNo, Snapshot};

/// Encoded data that reading the runs back holds in memory, at most.
const MERGE_CACHE_BYTES_MAX: u64 = 32 << 20;

/// See the module.
pub(super) struct Runs {
    context: Arc<Context>,
    tree: Arc<TreeState>,
    schemas: Schemas,
    duplicates: OnDuplicate,
    /// Rows exist if they do here.
    snapshot: Snapshot,
    chunks: Vec<Chunk>,
    bytes: usize,
    bytes_max: usize,
    /// In the order in which they came.
    runs: Vec<Vec<FileMeta>>,
    /// Files on their way to the disk while the next run is collected.
    syncs: VecDeque<JoinHandle<Result<()>>>,
    kept: u64,
    /// Who may end it.
    watch: Option<Arc<dyn ScanWatch>>,
}

/// Rows as they were pushed.
struct Chunk {
    keys: KeyBuffer,
    columns: Vec<ArrayRef>,
}

/// A part of a run.
#[derive(Default)]
struct Written {
    files: Vec<FileMeta>,
    unsynced: Vec<Unsynced>,
    /// Rows left out because their keys are there already.
    existing: u64,
}

/// More threads than this would hold more row groups in memory than they are worth.
const THREADS_MAX: usize = 8;

/// Runs whose files are on their way to the disk at once.
const SYNCS_MAX: usize = 2;

/// Fewer places than this are sorted by one thread.
const SORTED_TOGETHER_MIN: usize = 1 << 16;

/// What a thread that panicked leaves: the panic goes on here.
fn panicked<T>(panic: Box<dyn std::any::Any + Send>) -> T {
    std::panic::resume_unwind(panic)
}

/// Merging fewer runs at once would read everything too often, whatever the memory.
const FAN_IN_MIN: usize = 4;

/// Merging more at once spares no pass that counts.
const FAN_IN_MAX: usize = 256;

fn merge_cache_bytes(context: &Context) -> u64 {
    MERGE_CACHE_BYTES_MAX.min(context.options.memory_bytes as u64 / 4)
}

/// Where a row stands among the chunks, with the beginning of its key.
#[derive(Clone, Copy)]
struct Place {
    /// Two words, which need less alignment than one of sixteen bytes.
    prefix: [u64; 2],
    chunk: u32,
    row: u32,
}

impl Runs {
    pub(super) fn new(
        context: Arc<Context>,
        tree: Arc<TreeState>,
        duplicates: OnDuplicate,
        snapshot: Snapshot,
    ) -> Self {
        let schemas = tree.schemas();
        let bytes_max = context.options.memory_bytes / 8;
        Self {
            context,
            tree,
            schemas,
            duplicates,
            snapshot,
            chunks: Vec::new(),
            bytes: 0,
            bytes_max,
            runs: Vec::new(),
            syncs: VecDeque::new(),
            kept: 0,
            watch: None,
        }
    }

    /// Asks `watch` before each row group that it writes, merges included.
    pub(super) fn watch(&mut self, watch: Arc<dyn ScanWatch>) {
        self.watch = Some(watch);
    }

    fn go_on(&self) -> Result<()> {
        self.watch.as_ref().map_or(Ok(()), |watch| watch.go_on())
    }

    /// Rows left out because others keep their place.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// Adds rows.
    pub(super) fn push(&mut self, mut columns: Vec<ArrayRef>, versions: &VersionSet) -> Result<()> {
        let schema = self.schemas.current();
        let expected = schema.columns.len();
        if columns.len() != expected {
            let count = columns.len();
            return Err(Error::invalid(format!("{count} columns for a tree of {expected}")));
        }
        let rows = columns.first().map_or(0, |column| column.len());
        if let Some(column) = columns.iter().find(|column| column.len() != rows) {
            let count = column.len();
            return Err(Error::invalid(format!("columns of {rows} and of {count} rows")));
        }
        if rows == 0 {
            return Ok(());
        }
        let key_codec = self.schemas.key_codec();
        let mut keys = KeyBuffer::with_capacity(rows, rows * 16);
        key_codec.encode_columns(&columns[..schema.key_len()], &mut keys)?;
        let normal = key_codec.normalise(&columns[..schema.key_len()])?;
        columns.splice(..schema.key_len(), normal);
        let fits = |chunk: &Chunk| {
            chunk.columns.iter().zip(&columns).all(|(a, b)| a.data_type() == b.data_type())
        };
        // Text may come as views or not: a run gathers one kind only.
        if !self.chunks.last().is_none_or(fits) {
            self.write_run(versions)?;
        }
        self.bytes += keys.byte_len() + 24 * rows;
        self.bytes += columns.iter().map(array_bytes).sum::<usize>();
        self.chunks.push(Chunk { keys, columns });
        if self.bytes > self.bytes_max { self.write_run(versions) } else { Ok(()) }
    }

    /// All rows as files, ascending and disjoint, their keys new where they must be.
    pub(super) fn finish(&mut self, versions: &VersionSet) -> Result<Vec<FileMeta>> {
        self.write_run(versions)?;
        self.wait_for_syncs(0)?;
        self.go_on()?;
        let mut in_order: Vec<&FileMeta> = self.runs.iter().flatten().collect();
        in_order.sort_by(|a, b| a.smallest.cmp(&b.smallest));
        if in_order.windows(2).any(|pair| pair[0].largest >= pair[1].smallest) {
            self.merge_all(versions)?;
            return Ok(self.runs.iter().flatten().cloned().collect());
        }
        Ok(in_order.into_iter().cloned().collect())
    }

    /// Removes everything written.
    pub(super) fn remove_files(&mut self) {
        // Nobody works on the files once they are gone.
        self.syncs.drain(..).for_each(|sync| drop(sync.join()));
        for meta in self.runs.drain(..).flatten() {
            remove_file(&self.context, meta.id);
        }
    }

    /// The files are somebody else's now.
    pub(super) fn give_away(&mut self) {
        self.runs.clear();
    }

    /// Sorts what was collected and writes it.
    fn write_run(&mut self, versions: &VersionSet) -> Result<()> {
        let chunks = std::mem::take(&mut self.chunks);
        self.bytes = 0;
        if chunks.is_empty() {
            return Ok(());
        }
        let parts = self.parts();
        let places = self.unique(&chunks, sorted(&chunks, parts))?;
        let groups = places.len().div_ceil(self.context.options.group_rows.max(1));
        let part_rows = groups.div_ceil(parts).max(1) * self.context.options.group_rows.max(1);
        let mut run = Written::default();
        if places.len() <= part_rows {
            run = self.write_sorted(&chunks, &places, versions)?;
        } else {
            let this = &*self;
            let chunks = &chunks;
            let written: Vec<Result<Written>> = std::thread::scope(|scope| {
                let write = |part| scope.spawn(move || this.write_sorted(chunks, part, versions));
                let threads: Vec<_> = places.chunks(part_rows).map(write).collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
            });
            let mut failed = None;
            for part in written {
                match part {
                    Ok(part) => {
                        run.files.extend(part.files);
                        run.unsynced.extend(part.unsynced);
                        run.existing += part.existing;
                    }
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            if let Some(error) = failed {
                run.files.iter().for_each(|meta| remove_file(&self.context, meta.id));
                return Err(error);
            }
        }
        self.kept += run.existing;
        if !run.files.is_empty() {
            self.runs.push(run.files);
        }
        self.sync(run.unsynced)
    }

    /// Sees that files get to the disk, which takes long and no processor: the next run is collected
    /// meanwhile. Where the engine has no threads of its own it is done at once.
    fn sync(&mut self, files: Vec<Unsynced>) -> Result<()> {
        let sync = move || files.into_iter().try_for_each(Unsynced::sync);
        if !self.context.options.background {
            return sync();
        }
        self.wait_for_syncs(SYNCS_MAX - 1)?;
        #[expect(clippy::disallowed_methods, reason = "the load waits for it before it ends")]
        let thread = std::thread::Builder::new().name("silt-bulk-sync".to_owned()).spawn(sync);
        let thread =
            thread.map_err(|error| Error::io(&self.context.dir, "start a thread for", error))?;
        self.syncs.push_back(thread);
        Ok(())
    }

    /// Waits until no more than `most` runs are on their way to the disk.
    fn wait_for_syncs(&mut self, most: usize) -> Result<()> {
        while self.syncs.len() > most
            && let Some(sync) = self.syncs.pop_front()
        {
            sync.join().unwrap_or_else(panicked)?;
        }
        Ok(())
    }

    /// How many threads sort and write at once: one where the engine has none of its own, so that
    /// every step of a test is known.
    fn parts(&self) -> usize {
        if !self.context.options.background {
            return 1;
        }
        std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
    }

    /// Writes rows in the order of `places` as files.
    fn write_sorted(
        &self,
        chunks: &[Chunk],
        places: &[Place],
        versions: &VersionSet,
    ) -> Result<Written> {
        let mut files = Files::new(&self.context, &self.schemas, versions);
        files.stay_unsynced = true;
        let mut existing = 0;
        for all in places.chunks(self.context.options.group_rows.max(1)) {
            self.go_on()?;
            let places = self.new_keys(chunks, all)?;
            existing += (all.len() - places.len()) as u64;
            if !places.is_empty() {
                files.append(&gather(chunks, &places)?)?;
            }
        }
        let (files, unsynced) = files.finish_unsynced()?;
        Ok(Written { files, unsynced, existing })
    }

    /// One place a key: the first or the last that came.
    fn unique(&mut self, chunks: &[Chunk], mut places: Vec<Place>) -> Result<Vec<Place>> {
        let before = places.len();
        let duplicates = self.duplicates;
        let mut duplicate = None;
        places.dedup_by(|later, kept| {
            if later.prefix != kept.prefix || key_of(chunks, later) != key_of(chunks, kept) {
                return false;
            }
            match duplicates {
                OnDuplicate::Error => duplicate = Some(*later),
                OnDuplicate::Replace => *kept = *later,
                OnDuplicate::Keep => {}
            }
            true
        });
        if let Some(place) = duplicate {
            return Err(Error::duplicate(self.tree.id(), key_of(chunks, &place)));
        }
        if duplicates == OnDuplicate::Keep {
            self.kept += (before - places.len()) as u64;
        }
        Ok(places)
    }

    /// Those of `places` whose keys no row has yet, where that matters.
    fn new_keys(&self, chunks: &[Chunk], places: &[Place]) -> Result<Vec<Place>> {
        let (Some(first), Some(last)) = (places.first(), places.last()) else {
            return Ok(Vec::new());
        };
        let range = (key_of(chunks, first), key_of(chunks, last));
        if self.duplicates == OnDuplicate::Replace
            || !has_rows_between(&self.tree, range, &self.snapshot)
        {
            return Ok(places.to_vec());
        }
        let keys: Vec<Vec<u8>> = places.iter().map(|at| key_of(chunks, at).to_vec()).collect();
        let counters = ReadCounters::default();
        let found = multi_get(&self.tree, &keys, &[], &self.snapshot, &counters)?.positions;
        if self.duplicates == OnDuplicate::Error
            && let Some(position) = found.first()
        {
            return Err(Error::duplicate(self.tree.id(), &keys[*position as usize]));
        }
        let mut exists = vec![false; places.len()];
        found.iter().for_each(|position| exists[*position as usize] = true);
        Ok(places.iter().zip(exists).filter(|(_, exists)| !exists).map(|(at, _)| *at).collect())
    }

    /// Makes one run of all, in passes over no more at once than there is memory for.
    fn merge_all(&mut self, versions: &VersionSet) -> Result<()> {
        let mut at = 0;
        while self.runs.len() > 1 {
            if at + 1 >= self.runs.len() {
                at = 0;
            }
            // Neighbours only: which of equal keys came first stays known.
            let end = self.runs.len().min(at + self.fan_in());
            let (merged, dropped) = self.merge(&self.runs[at..end], versions)?;
            if self.duplicates == OnDuplicate::Keep {
                self.kept += dropped;
            }
            let inputs: Vec<_> = self.runs.splice(at..end, [merged]).collect();
            for meta in inputs.iter().flatten() {
                remove_file(&self.context, meta.id);
            }
            at += 1;
        }
        Ok(())
    }

    /// Runs that are merged at once: a row group of each is in memory, encoded and decoded.
    fn fan_in(&self) -> usize {
        let group_bytes = |meta: &FileMeta| meta.size / u64::from(meta.groups.max(1));
        let group_bytes = self.runs.iter().flatten().map(group_bytes).max().unwrap_or(0);
        let fits = self.context.options.memory_bytes as u64 / 2 / (2 * group_bytes).max(1);
        usize::try_from(fits).unwrap_or(FAN_IN_MAX).clamp(FAN_IN_MIN, FAN_IN_MAX)
    }

    /// `runs` as one, and how many rows were dropped because an equal key stays.
    fn merge(&self, runs: &[Vec<FileMeta>], versions: &VersionSet) -> Result<(Vec<FileMeta>, u64)> {
        let rows_max = self.context.options.group_rows.max(1);
        let mut sources = sources(&self.context, &self.schemas, runs)?;
        // Of equal keys the merge gives that of the first source first.
        if self.duplicates == OnDuplicate::Replace {
            sources.reverse();
        }
        let is_error = self.duplicates == OnDuplicate::Error;
        let rows_in: u64 = runs.iter().flatten().map(|meta| meta.rows).sum();
        let mut merge = Merge::new(sources, FirstOfKey { keeps_all: is_error }, false, rows_max);
        let mut files = Files::new(&self.context, &self.schemas, versions);
        let (mut last_key, mut rows_out) = (None::<Vec<u8>>, 0);
        while let Some(merged) = merge.next_merged()? {
            self.go_on()?;
            let keys = &merged.entries.keys;
            if is_error {
                let mut last = last_key.as_deref();
                for key in keys.iter() {
                    if last == Some(key) {
                        return Err(Error::duplicate(self.tree.id(), key));
                    }
                    last = Some(key);
                }
                last_key = last.map(<[u8]>::to_vec);
            }
            rows_out += merged.rows as u64;
            files.append(&merged.entries)?;
        }
        Ok((files.finish()?, rows_in - rows_out))
    }
}

/// Runs to be merged, in their order.
fn sources(
    context: &Context,
    schemas: &Schemas,
    runs: &[Vec<FileMeta>],
) -> Result<Vec<FileSource>> {
    let cache = Arc::new(BlockCache::new(merge_cache_bytes(context)));
    let rows_max = context.options.group_rows.max(1);
    let source_context = SourceContext {
        schemas: schemas.clone(),
        projection: (0..schemas.current().columns.len()).collect(),
        range: Arc::new(KeyRange::all()),
        snapshot: 0,
        reverse: false,
        rows_max,
        part_rows: rows_max,
        counters: Arc::default(),
        watch: None,
    };
    let mut sources = Vec::new();
    for run in runs {
        let mut pieces = VecDeque::new();
        for meta in run {
            pieces.extend(open_groups(context, schemas, meta, &cache)?);
        }
        sources.push(FileSource::new(source_context.clone(), pieces));
    }
    Ok(sources)
}

/// Makes one run of `runs`, newest first: of equal keys the newest entry stays, be it a delete.
pub(crate) fn merge_newest(
    context: &Context,
    tree: &TreeState,
    runs: &[Vec<FileMeta>],
    versions: &VersionSet,
) -> Result<Vec<FileMeta>> {
    let schemas = tree.schemas();
    let rule = FirstOfKey { keeps_all: false };
    let rows_max = context.options.group_rows.max(1);
    let mut merge = Merge::new(sources(context, &schemas, runs)?, rule, false, rows_max);
    let mut files = Files::new(context, &schemas, versions);
    while let Some(merged) = merge.next_merged()? {
        files.append(&merged.entries)?;
    }
    files.finish()
}

/// Writes each key's newest entry in `memtable` as a run.
pub(crate) fn write_newest(
    context: &Context,
    tree: &TreeState,
    memtable: &TreeMemtable,
    versions: &VersionSet,
) -> Result<Vec<FileMeta>> {
    let schemas = tree.schemas();
    let rows_max = context.options.group_rows.max(1);
    let all: Vec<usize> = (0..schemas.current().columns.len()).collect();
    let mut builder = BatchBuilder::new(&schemas, &all, rows_max);
    let mut files = Files::new(context, &schemas, versions);
    let (mut keys, mut kinds) = (KeyBuffer::new(), Vec::new());
    let mut append = |builder: &mut BatchBuilder, keys: &mut KeyBuffer, kinds: &mut Vec<OpKind>| {
        files.append(&EntryBatch {
            columns: builder.finish()?,
            seqs: vec![0; keys.len()],
            keys: std::mem::take(keys),
            kinds: std::mem::take(kinds),
        })
    };
    let mut failed: Result<()> = Ok(());
    memtable.visit_newest(|entry| {
        let row = (entry.kind == OpKind::Put).then_some(entry.row);
        let pushed = builder.push(entry.key, row).map_err(Error::from);
        keys.push(entry.key);
        kinds.push(entry.kind);
        failed = pushed.and_then(|()| match keys.len() < rows_max {
            true => Ok(()),
            false => append(&mut builder, &mut keys, &mut kinds),
        });
        if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    failed?;
    if !keys.is_empty() {
        append(&mut builder, &mut keys, &mut kinds)?;
    }
    files.finish()
}

/// Gives a key's first entry, or all where a second one is an error that names the key.
struct FirstOfKey {
    keeps_all: bool,
}

impl MergeRule for FirstOfKey {
    const UNIQUE: bool = true;
    const ENTRIES: bool = true;
    const PLAIN_STAYS: bool = false;

    fn keeps(&mut self, same_key: bool, _seq: SeqNo, _kind: OpKind) -> bool {
        self.keeps_all || !same_key
    }
}

/// Sorted rows on their way into files of [`Options::file_bytes`](crate::Options).
struct Files<'a> {
    context: &'a Context,
    schemas: &'a Schemas,
    versions: &'a VersionSet,
    writer: Option<SsTableWriter>,
    finished: Vec<FileMeta>,
    /// Whether the sync of files that are finished is somebody else's.
    stay_unsynced: bool,
    unsynced: Vec<Unsynced>,
}

impl<'a> Files<'a> {
    fn new(context: &'a Context, schemas: &'a Schemas, versions: &'a VersionSet) -> Self {
        let (finished, unsynced) = Default::default();
        Self { context, schemas, versions, writer: None, finished, stay_unsynced: false, unsynced }
    }

    fn append(&mut self, entries: &EntryBatch) -> Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(self.create()?),
        };
        writer.append(entries)?;
        if writer.bytes_written() >= self.context.options.file_bytes {
            self.end_file()?;
        }
        Ok(())
    }

    fn create(&self) -> Result<SsTableWriter> {
        let id = self.versions.next_file_id();
        SsTableWriter::create(
            &self.context.env,
            &self.context.sst_path(id),
            id,
            self.context.uuid,
            Arc::clone(self.schemas.current()),
            &self.context.options,
        )
    }

    fn end_file(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            let (meta, written) = writer.finish_unsynced()?;
            match self.stay_unsynced {
                true => self.unsynced.push(written),
                false => written.sync()?,
            }
            self.finished.push(meta);
        }
        Ok(())
    }

    /// The files, all of them synced.
    fn finish(self) -> Result<Vec<FileMeta>> {
        let (files, unsynced) = self.finish_unsynced()?;
        unsynced.into_iter().try_for_each(Unsynced::sync)?;
        Ok(files)
    }

    fn finish_unsynced(mut self) -> Result<(Vec<FileMeta>, Vec<Unsynced>)> {
        self.end_file()?;
        Ok((std::mem::take(&mut self.finished), std::mem::take(&mut self.unsynced)))
    }
}

impl Drop for Files<'_> {
    fn drop(&mut self) {
        for meta in &self.finished {
            remove_file(self.context, meta.id);
        }
    }
}

/// Opens a file that is in no version, for reading it through or looking keys up in it.
pub(super) fn open_unlisted(
    context: &Context,
    schemas: &Schemas,
    meta: &FileMeta,
    cache: &Arc<BlockCache>,
) -> Result<Arc<LiveFile>> {
    let file = LiveFile::new(meta.clone(), Arc::new(SweepQueue::default()));
    file.reader(|meta| {
        let path = context.sst_path(meta.id);
        SsTableReader::open(&context.env, &path, meta, context.uuid, schemas, Arc::clone(cache))
    })?;
    Ok(Arc::new(file))
}

fn open_groups(
    context: &Context,
    schemas: &Schemas,
    meta: &FileMeta,
    cache: &Arc<BlockCache>,
) -> Result<Vec<Groups>> {
    let file = open_unlisted(context, schemas, meta, cache)?;
    let reader = Arc::clone(file.reader(|_| Err(Error::internal("the file was opened above")))?);
    let count = reader.groups().len();
    let groups = (0..count).map(|group| Groups {
        file: Arc::clone(&file),
        reader: Arc::clone(&reader),
        groups: group..group + 1,
    });
    Ok(groups.collect())
}

/// Whether any memtable or file of `tree` reaches into the keys from `first` to `last`.
fn has_rows_between(tree: &TreeState, (first, last): (&[u8], &[u8]), snapshot: &Snapshot) -> bool {
    use std::ops::Bound::Included;
    let view = snapshot.view_of(tree);
    let in_files =
        (0..view.version.levels.len()).any(|level| view.version.overlaps(level, first, last));
    in_files || view.memtables.iter().any(|table| table.overlaps((Included(first), Included(last))))
}

/// The places of all rows, by key; of equal keys in the order in which they came. At most `parts`
/// threads sort.
fn sorted(chunks: &[Chunk], parts: usize) -> Vec<Place> {
    let mut places = Vec::with_capacity(chunks.iter().map(|chunk| chunk.keys.len()).sum());
    for (chunk, of) in (0..).zip(chunks) {
        places.extend((0..).zip(of.keys.iter()).map(|(row, key)| Place {
            prefix: words(prefix_of(key)),
            chunk,
            row,
        }));
    }
    let compare = |a: &Place, b: &Place| -> Ordering {
        let by_key = a.prefix.cmp(&b.prefix);
        let by_key = by_key.then_with(|| key_of(chunks, a).cmp(key_of(chunks, b)));
        by_key.then((a.chunk, a.row).cmp(&(b.chunk, b.row)))
    };
    if places.is_sorted_by(|a, b| compare(a, b).is_le()) {
        return places;
    }
    sort_in_parts(&mut places, parts, &compare);
    places
}

/// Sorts around a middle, and each side on a thread of its own.
fn sort_in_parts<F>(places: &mut [Place], parts: usize, compare: &F)
where
    F: Fn(&Place, &Place) -> Ordering + Sync,
{
    if parts < 2 || places.len() < SORTED_TOGETHER_MIN {
        places.sort_unstable_by(compare);
        return;
    }
    let middle = places.len() / 2;
    let (below, _, above) = places.select_nth_unstable_by(middle, compare);
    std::thread::scope(|scope| {
        scope.spawn(|| sort_in_parts(below, parts / 2, compare));
        sort_in_parts(above, parts - parts / 2, compare);
    });
}

fn words(prefix: u128) -> [u64; 2] {
    let [high, low] = [prefix >> 64, prefix & u128::from(u64::MAX)];
    [high, low].map(|half| u64::try_from(half).unwrap_or(u64::MAX))
}

fn key_of<'c>(chunks: &'c [Chunk], place: &Place) -> &'c [u8] {
    chunks[place.chunk as usize].keys.get(place.row as usize)
}

/// The rows at `places`, which are not empty, as entries.
fn gather(chunks: &[Chunk], places: &[Place]) -> Result<EntryBatch> {
    let mut keys = KeyBuffer::with_capacity(places.len(), places.len() * 16);
    places.iter().for_each(|place| keys.push(key_of(chunks, place)));
    let first = &places[0];
    let follows = |pair: &[Place]| {
        pair[0].chunk == pair[1].chunk && pair[0].row.checked_add(1) == Some(pair[1].row)
    };
    let columns = if places.windows(2).all(follows) {
        let chunk = &chunks[first.chunk as usize];
        let slice = |column: &ArrayRef| column.slice(first.row as usize, places.len());
        chunk.columns.iter().map(slice).collect()
    } else {
        interleave_rows(chunks, places)?
    };
    Ok(EntryBatch {
        columns,
        keys,
        seqs: vec![0; places.len()],
        kinds: vec![OpKind::Put; places.len()],
    })
}

fn interleave_rows(chunks: &[Chunk], places: &[Place]) -> Result<Vec<ArrayRef>> {
    // Only the chunks that are needed: `interleave` looks at all it is given.
    let mut slots = vec![usize::MAX; chunks.len()];
    let mut needed = Vec::new();
    let mut rows = Vec::with_capacity(places.len());
    for place in places {
        let slot = &mut slots[place.chunk as usize];
        if *slot == usize::MAX {
            *slot = needed.len();
            needed.push(&chunks[place.chunk as usize]);
        }
        rows.push((*slot, place.row as usize));
    }
    let columns = (0..chunks[0].columns.len()).map(|column| {
        let arrays: Vec<&dyn Array> = needed.iter().map(|chunk| &*chunk.columns[column]).collect();
        Ok(interleave(&arrays, &rows)?)
    });
    columns.collect()
}

/// Memory of an array's rows; of a slice, not of all that it is a slice of.
fn array_bytes(array: &ArrayRef) -> usize {
    let whole = array.get_array_memory_size();
    array.to_data().get_slice_memory_size().map_or(whole, |slice| slice.min(whole))
}

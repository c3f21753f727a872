//! Opening: from a directory to a running engine, through whatever the last one left.
//!
//! 1. `CURRENT` is read before anything is written, so that a newer release's database, or a
//!    directory that is none, is left as it is.
//! 2. The lock.
//! 3. `CURRENT` again, the manifest, presence and size of every file it lists.
//! 4. The log is replayed into fresh memtables. What the manifest says is flushed, or placed in
//!    bulk, is skipped (RULES.md 12, 14).
//! 5. A new log segment, then a new manifest, each synced: from here on this is our database.
//! 6. Bulk commits whose edit is missing are done again, in order.
//! 7. Last, and only because nothing before it failed: what nobody names is removed.
//!
//! Every step may be cut short and all of them done again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use parking_lot::Mutex;
use silt_codec::Schemas;

use crate::batch::EntryBytes;
use crate::describe::EngineCounters;
use crate::engine::Core;
use crate::memtable::TreeMemtable;
use crate::read::ShadowCache;
use crate::snapshot::SnapshotRegistry;
use crate::sstable::BlockCache;
use crate::state::{Context, Health, TreeState, Trouble, WorkSignal, sst_path};
use crate::transaction::OpenTransactions;
use crate::version::manifest::{Current, manifest_number, manifest_path};
use crate::version::{FileSet, SweepQueue, TreeVersion, VersionSet, manifests, read_files};
use crate::vfs::{Env, OpenMode, VfsLock, lock_holder};
use crate::wal::{
    BulkFile, CommitPayload, Record, ReplayEnd, ReplayStart, WalStart, WalWriter, list_segments,
    replay, segment_path,
};
use crate::write::commit::Pipeline;
use crate::write::throttle::memtable_bytes;
use crate::{Error, ErrorKind, OpKind, Options, Result, SeqNo, TreeId};

/// Bitmaps of hidden rows take at most this share of the memory: a bit a row and newer source.
const SHADOWS_SHARE: usize = 16;

/// What stands in a database's directory, and may stand in one that was never finished.
const NAMES: [&str; 8] =
    ["LOCK", "CURRENT", "wal", "sst", "tmp", "readers", "reserve", "lost+found"];

/// Opens or creates the database in `dir`.
pub(crate) fn open(env: Env, dir: &Path, options: Options) -> Result<Core> {
    let is_begun = inspect(&env, dir, &options)?;
    create_dirs(&env, dir, is_begun)?;
    let lock = take_lock(&env, dir)?;
    let current = Current::read(&env, dir)?;
    let sweep = Arc::new(SweepQueue::default());
    let (uuid, mut files) = match current {
        Some(current) => (current.uuid, read_files(&env, dir, current, &sweep)?),
        None => (new_uuid(&env), new_database(&env, dir)?),
    };
    check_files(&env, dir, &files)?;

    let mut replayed = Replayed::new(&files, &options);
    let end = match current {
        None => None,
        Some(_) => {
            let start = ReplayStart {
                first_segment: files.first_segment,
                promise: files.promise,
                seal: files.seal,
            };
            let wal_dir = dir.join("wal");
            Some(replay(&env, &wal_dir, uuid, start, |record| replayed.record(record, &wal_dir))?)
        }
    };
    check_numbers(dir, &files, end.as_ref())?;

    let wal_start = match &end {
        None => WalStart { segment: 1, predecessor: None, last_seq: 0 },
        Some(end) => WalStart {
            segment: end.next_segment,
            predecessor: Some(end.position),
            last_seq: end.last_seq,
        },
    };
    let wal_dir = dir.join("wal");
    let wal = WalWriter::create(&env, &wal_dir, uuid, options.wal_segment_bytes, wal_start)?
        .laid_out_ahead(options.wal_ahead_bytes);
    let last_micros = last_micros(&files, end.as_ref());
    let last_seq = wal.last_seq();

    files.promise = wal.promise();
    files.seal = None;
    files.next_file = files.next_file.max(highest_file(&env, dir)? + 1);
    let context = Arc::new(Context {
        uuid,
        dir: dir.to_owned(),
        snapshots: Arc::new(SnapshotRegistry::new(last_seq)),
        sweep,
        cache: Arc::new(BlockCache::new((options.memory_bytes / 2) as u64)),
        shadows: Arc::new(ShadowCache::new(options.memory_bytes / SHADOWS_SHARE)),
        counters: EngineCounters::default(),
        memtable_bytes: Arc::clone(&replayed.memtable_bytes),
        work: WorkSignal::default(),
        health: Health::default(),
        synced: Mutex::new(wal.promise()),
        transactions: OpenTransactions::default(),
        trouble: Trouble::default(),
        stopping: AtomicBool::new(false),
        env,
        options,
    });
    let number = highest_manifest(&context)? + 1;
    let trees = files.trees.clone();
    let versions = VersionSet::create(Arc::clone(&context), files, number)?;
    let pipeline = Pipeline::new(Arc::clone(&context), wal, last_micros);
    let core = Core::new(Arc::clone(&context), pipeline, versions, lock);
    for (id, files) in trees {
        let schemas = schemas_of(&files.schemas)?;
        let memtables = replayed.take(id, &core.pipeline);
        let version = Arc::clone(&files.version);
        core.add_tree(Arc::new(TreeState::new(
            id,
            Arc::clone(&context),
            schemas,
            memtables,
            version,
        )));
    }
    for bulk in std::mem::take(&mut replayed.bulk) {
        core.redo_bulk(bulk.seq, bulk.segment, bulk.micros, &bulk.files)?;
    }
    sweep_strangers(&core, end.as_ref())?;
    Ok(core)
}

/// A bulk commit whose files are in no version yet.
#[derive(Clone, Debug)]
struct PendingBulk {
    seq: SeqNo,
    segment: u64,
    micros: i64,
    files: Vec<BulkFile>,
}

/// What replay makes of the log.
struct Replayed {
    options: Options,
    flushed: BTreeMap<TreeId, SeqNo>,
    next_tree: u32,
    applied_bulk: BTreeSet<SeqNo>,
    /// Oldest first; the last one takes what comes.
    memtables: BTreeMap<TreeId, Vec<TreeMemtable>>,
    bulk: Vec<PendingBulk>,
    memtable_bytes: Arc<AtomicUsize>,
}

impl Replayed {
    fn new(files: &FileSet, options: &Options) -> Self {
        Self {
            options: options.clone(),
            flushed: files.trees.iter().map(|(tree, files)| (*tree, files.flushed)).collect(),
            next_tree: files.next_tree,
            applied_bulk: files.applied_bulk.keys().copied().collect(),
            memtables: BTreeMap::new(),
            bulk: Vec::new(),
            memtable_bytes: Arc::default(),
        }
    }

    fn new_memtable(&self) -> TreeMemtable {
        TreeMemtable::new(self.options.memtable_kind, Arc::clone(&self.memtable_bytes))
            .filtered(self.options.paths.memtable_filter)
    }

    /// Puts one commit where it was.
    fn record(&mut self, record: &Record<'_>, wal_dir: &Path) -> Result<()> {
        let (seq, segment) = (record.header.seq, record.position.segment);
        let located = |error: Error| {
            let path = segment_path(wal_dir, segment);
            Error::corrupt(&path, record.position.offset, format!("commit {seq}: {error}"))
        };
        let payload = CommitPayload::parse(record.payload).map_err(located)?;
        for (tree, key, kind, row) in payload.operations() {
            let Some(flushed) = self.flushed.get(&tree) else {
                if tree.0 < self.next_tree {
                    continue; // The tree was dropped since.
                }
                let unknown = format!("tree {tree}, which was never registered");
                return Err(located(Error::invalid(unknown)));
            };
            if seq > *flushed {
                self.insert(tree, key, seq, kind, row, segment, record.header.commit_micros);
            }
        }
        if payload.files().is_empty() {
            return Ok(());
        }
        for file in payload.files() {
            self.freeze(file.tree, seq);
        }
        if !self.applied_bulk.contains(&seq) {
            let (micros, files) = (record.header.commit_micros, payload.files().to_vec());
            self.bulk.push(PendingBulk { seq, segment, micros, files });
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "an entry and where its record stands")]
    fn insert(
        &mut self,
        tree: TreeId,
        key: &[u8],
        seq: SeqNo,
        kind: OpKind,
        row: &[u8],
        segment: u64,
        micros: i64,
    ) {
        let fresh = match self.memtables.get(&tree).and_then(|memtables| memtables.last()) {
            None => true,
            Some(last) if last.is_frozen() => true,
            // A commit's entries stay together, so that the memtable ends at a whole number.
            Some(last) => last.bytes() >= memtable_bytes(&self.options) && last.max_seq() < seq,
        };
        if fresh {
            self.freeze(tree, seq - 1);
            let memtable = self.new_memtable();
            self.memtables.entry(tree).or_default().push(memtable);
        }
        if let Some(memtable) = self.memtables.get(&tree).and_then(|memtables| memtables.last()) {
            memtable.pin(segment, micros);
            memtable.insert(EntryBytes::copy_of(key, row), seq, kind);
            memtable.unpin();
        }
    }

    fn freeze(&mut self, tree: TreeId, seq: SeqNo) {
        let last = self.memtables.get(&tree).and_then(|memtables| memtables.last());
        if let Some(last) = last.filter(|last| !last.is_frozen()) {
            last.freeze(seq);
        }
    }

    /// The memtables of a tree, newest first, an active one in front.
    fn take(&mut self, tree: TreeId, pipeline: &Pipeline) -> Vec<Arc<TreeMemtable>> {
        let mut memtables = self.memtables.remove(&tree).unwrap_or_default();
        if memtables.last().is_none_or(TreeMemtable::is_frozen) {
            memtables.push(pipeline.new_memtable());
        }
        memtables.into_iter().rev().map(Arc::new).collect()
    }
}

/// Refuses what is not ours, before anything is written. Whether a database is there already.
fn inspect(env: &Env, dir: &Path, options: &Options) -> Result<bool> {
    if Current::read(env, dir)?.is_some() {
        return Ok(true);
    }
    let names = match env.vfs.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io(dir, "list", error)),
    };
    let is_ours = |name: &&PathBuf| {
        manifest_number(name).is_some() || NAMES.iter().any(|known| Path::new(known) == **name)
    };
    if let Some(stranger) = names.iter().find(|name| !is_ours(name)) {
        return Err(Error::invalid(format!(
            "{} is not a database: it holds {}",
            dir.display(),
            stranger.display()
        )));
    }
    if !options.create_if_missing {
        let message = format!("there is no database in {}", dir.display());
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    Ok(false)
}

/// Creates what is missing. As long as there is no `CURRENT`, an earlier beginning may have died
/// before its syncs, so all are done again.
fn create_dirs(env: &Env, dir: &Path, is_begun: bool) -> Result<()> {
    let mut created = !is_begun;
    for path in ["wal", "sst", "tmp", "readers"].map(|name| dir.join(name)) {
        let exists = env.vfs.exists(&path).map_err(|error| Error::io(&path, "look for", error))?;
        if !exists {
            env.vfs.create_dir(&path).map_err(|error| Error::io(&path, "create", error))?;
            created = true;
        }
    }
    if created {
        env.vfs.sync_dir(dir).map_err(|error| Error::io(dir, "sync", error))?;
    }
    match dir.parent().filter(|parent| !is_begun && !parent.as_os_str().is_empty()) {
        Some(parent) => env.vfs.sync_dir(parent).map_err(|error| Error::io(parent, "sync", error)),
        None => Ok(()),
    }
}

fn take_lock(env: &Env, dir: &Path) -> Result<Box<dyn VfsLock>> {
    let path = dir.join("LOCK");
    env.vfs.lock(&path, true).map_err(|error| {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Error::io(&path, "lock", error);
        }
        let holder = lock_holder(&*env.vfs, &path);
        let holder = holder.map_or("another process".to_owned(), |pid| format!("process {pid}"));
        Error::new(ErrorKind::Locked, format!("{} is open in {holder}", dir.display()))
    })
}

fn new_uuid(env: &Env) -> u128 {
    u128::from(env.random.next_u64()) << 64 | u128::from(env.random.next_u64())
}

/// What a new database begins with, once the leftovers of an earlier beginning are gone. A
/// database that lost its `CURRENT` is not mistaken for one.
fn new_database(env: &Env, dir: &Path) -> Result<FileSet> {
    let wal_dir = dir.join("wal");
    let segments = list_segments(&*env.vfs, &wal_dir)?;
    let sst = dir.join("sst");
    let tables = env.vfs.list(&sst).map_err(|error| Error::io(&sst, "list", error))?;
    let manifests = manifests(env, dir).map_err(|error| Error::io(dir, "list", error))?;
    let unfinished = tables.is_empty()
        && segments.iter().all(|segment| *segment == 1)
        && manifests.iter().all(|manifest| *manifest == 1);
    if !unfinished {
        let path = crate::version::manifest::current_path(dir);
        return Err(Error::corrupt(&path, 0, "the file is missing, the database is not new"));
    }
    let left = segments.iter().map(|number| segment_path(&wal_dir, *number));
    let left = left.chain(manifests.iter().map(|number| manifest_path(dir, *number)));
    for path in left {
        env.vfs.remove_file(&path).map_err(|error| Error::io(&path, "remove", error))?;
    }
    Ok(FileSet { first_segment: 1, next_tree: 1, next_file: 1, ..FileSet::default() })
}

/// Every listed file is there, as long as the manifest says.
fn check_files(env: &Env, dir: &Path, files: &FileSet) -> Result<()> {
    for file in files.trees.values().flat_map(|tree| tree.version.files().map(|(_, file)| file)) {
        let path = sst_path(dir, file.id);
        let len = env.vfs.open(&path, OpenMode::Read).and_then(|file| file.len());
        match len {
            Ok(len) if len == file.size => {}
            Ok(len) => {
                let size = file.size;
                let what = format!("the file has {len} bytes, in the manifest {size}");
                return Err(Error::corrupt(&path, len.min(size), what));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::corrupt(&path, 0, "the file is missing, the manifest names it"));
            }
            Err(error) => return Err(Error::io(&path, "open", error)),
        }
    }
    Ok(())
}

/// The log was synced past every number in a file before the manifest named it.
fn check_numbers(dir: &Path, files: &FileSet, end: Option<&ReplayEnd>) -> Result<()> {
    let last_seq = end.map_or(0, |end| end.last_seq);
    let all = files.trees.values().flat_map(|tree| tree.version.files());
    match all.map(|(_, file)| file).find(|file| file.max_seq > last_seq) {
        None => Ok(()),
        Some(file) => {
            let what = format!("holds number {}, the log ends at {last_seq}", file.max_seq);
            Err(Error::corrupt(&sst_path(dir, file.id), 0, what))
        }
    }
}

fn last_micros(files: &FileSet, end: Option<&ReplayEnd>) -> i64 {
    let all = files.trees.values().flat_map(|tree| tree.version.files());
    let in_files = all.map(|(_, file)| file.commit_micros.1).max();
    in_files.unwrap_or(i64::MIN).max(end.map_or(i64::MIN, |end| end.last_commit_micros))
}

fn schemas_of(versions: &[Arc<silt_codec::TreeSchema>]) -> Result<Schemas> {
    let mut versions = versions.iter();
    let first = versions.next().ok_or_else(|| Error::internal("a tree without a schema"))?;
    let mut schemas = Schemas::new(Arc::clone(first))?;
    for version in versions {
        schemas = schemas.with(Arc::clone(version))?;
    }
    Ok(schemas)
}

/// The number of an SSTable's file name, if it is one.
pub(crate) fn sst_number(name: &Path) -> Option<u64> {
    let digits = name.to_str()?.strip_suffix(".sst")?;
    let is_number = digits.len() >= 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

fn highest_file(env: &Env, dir: &Path) -> Result<u64> {
    let sst = dir.join("sst");
    let names = env.vfs.list(&sst).map_err(|error| Error::io(&sst, "list", error))?;
    Ok(names.iter().filter_map(|name| sst_number(name)).max().unwrap_or(0))
}

fn highest_manifest(context: &Context) -> Result<u64> {
    let numbers = manifests(&context.env, &context.dir);
    let numbers = numbers.map_err(|error| Error::io(&context.dir, "list", error))?;
    Ok(numbers.into_iter().max().unwrap_or(0))
}

/// Removes what a crash left: files in no version, older manifests, segments nobody needs.
fn sweep_strangers(core: &Core, end: Option<&ReplayEnd>) -> Result<()> {
    let context = &core.context;
    let vfs = &context.env.vfs;
    let (live, first_segment): (BTreeSet<u64>, u64) = core.versions.read(|files| {
        let files_of = |tree: &crate::version::TreeFiles| Arc::clone(&tree.version);
        let versions: Vec<Arc<TreeVersion>> = files.trees.values().map(files_of).collect();
        let ids = versions.iter().flat_map(|version| version.files().map(|(_, file)| file.id));
        (ids.collect(), files.first_segment)
    });
    let mut strangers = Vec::new();
    let list = |dir: &Path| vfs.list(dir).map_err(|error| Error::io(dir, "list", error));
    let (sst, tmp, wal) =
        (context.dir.join("sst"), context.dir.join("tmp"), context.dir.join("wal"));
    for name in list(&sst)? {
        if !sst_number(&name).is_some_and(|id| live.contains(&id)) {
            strangers.push(sst.join(name));
        }
    }
    for path in list(&tmp)?.into_iter().map(|name| tmp.join(name)) {
        match vfs.list(&path) {
            // What a statement spilled that was never ended: no row of any tree, so that what
            // cannot be removed now is left for the next time.
            Ok(spilled) => {
                spilled.into_iter().for_each(|name| drop(vfs.remove_file(&path.join(name))));
                drop(vfs.remove_dir(&path));
            }
            Err(_) => strangers.push(path),
        }
    }
    let manifest = core.versions.manifest_number();
    for number in manifests(&context.env, &context.dir).unwrap_or_default() {
        if number != manifest {
            strangers.push(manifest_path(&context.dir, number));
        }
    }
    let unused = end.map_or(&[][..], |end| &end.unused);
    for number in list_segments(&**vfs, &wal)? {
        if number < first_segment || unused.contains(&number) {
            strangers.push(segment_path(&wal, number));
        }
    }
    for path in strangers {
        vfs.remove_file(&path).map_err(|error| Error::io(&path, "remove", error))?;
    }
    Ok(())
}

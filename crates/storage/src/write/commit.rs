//! Commits: a number, a place in the log, inserts, a sync, publication.
//!
//! 1. Before the lock: the record is encoded, the keys are hashed, backpressure is waited for.
//! 2. Under the commit lock, briefly: schema epochs and conflicts are checked, the record is
//!    appended (that is what makes log order and number order one), the trees' active memtables
//!    are pinned, the keys enter the commit index, and a slot is queued for publication.
//! 3. After the lock: the rows are inserted, many commits at once, and the pins released.
//!    Of a large commit that is alone the record is synced meanwhile, by a thread of its own.
//! 4. A commit that wants durability waits for a sync that covers its record. Whoever finds
//!    nobody syncing leads: one sync covers all that was appended before it began.
//! 5. Commits are published in order. The number that readers see moves over every slot at the
//!    front that is inserted and as durable as it asked to be.
//!
//! A commit that has its number waits only for the log, for earlier commits, or for the flush of
//! memtables that hold lower numbers alone (RULES.md 6). Waiting for numbers instead of storing
//! one's own was chosen over a lock held through the inserts: that would serialise them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::bulk::holds_key;
use super::commit_index::{BulkKeys, CommitIndex, CommitKeys};
use super::common_key::common_key;
use super::early::EarlySyncs;
use super::throttle::{memtable_bytes, memtable_bytes_max};
use super::waiter::{Freed, Sleepers};
use crate::describe::EngineCounters;
use crate::memtable::TreeMemtable;
use crate::snapshot::Snapshot;
use crate::state::{Context, TreeState};
use crate::version::LiveFile;
use crate::wal::{CommitRecord, Promise, WalPosition, WalWriter};
use crate::{Durability, Error, ErrorKind, Result, SeqNo, TreeId, WriteBatch};

/// A commit that is not durable at once is synced after this time.
pub(crate) const NORMAL_SYNC_INTERVAL: Duration = Duration::from_millis(50);

/// The encoding buffer of a thread is not kept beyond this size.
const RECORD_BYTES_KEPT: usize = 1 << 20;

/// A leader waits no longer for company.
const GATHER_MAX: Duration = Duration::from_millis(3);

/// A commit of so many rows is inserted for longer than it takes to wake a thread.
const EARLY_SYNC_ROWS: usize = 128;

thread_local! {
    static RECORD: RefCell<CommitRecord> = RefCell::new(CommitRecord::new());
}

/// The way of a commit from batch to published number. See the module.
#[derive(Debug)]
pub(crate) struct Pipeline {
    context: Arc<Context>,
    commit: Mutex<CommitState>,
    publication: Mutex<Publication>,
    /// Told when the published number moved, a sync ended, or the database was poisoned; commits
    /// wait in `Publication.sleepers` instead.
    progress: Condvar,
    /// Told when as many commits wait as the leader of the next sync hopes for.
    gathered: Condvar,
    asked_for_flush: AtomicBool,
    early: EarlySyncs,
    /// An append met a full disk, and no flush was done for it yet.
    is_log_full: AtomicBool,
}

/// What the commit lock protects.
#[derive(Debug)]
pub(crate) struct CommitState {
    wal: WalWriter,
    last_micros: i64,
    index: CommitIndex,
    /// The last commit that changed a tree's schema.
    epochs: HashMap<TreeId, SeqNo>,
    /// The last commit that wrote to a tree.
    last_writes: HashMap<TreeId, SeqNo>,
    /// Bulk commits whose files are not placed yet, with the segment of their record.
    pending_bulk: BTreeMap<SeqNo, u64>,
    is_closed: bool,
}

#[derive(Debug)]
struct Publication {
    /// One for each number behind the published one.
    slots: VecDeque<Slot>,
    /// The number of the first slot.
    first: SeqNo,
    synced: WalPosition,
    is_syncing: bool,
    /// Commits not yet synced, and the monotonic time at which the first was placed.
    unsynced_since: Option<Duration>,
    /// The log fell quiet if no commit follows this one, placed at this monotonic time, for a
    /// while: then a promise is due (RULES.md 3). None once it was written.
    quiet: Option<(SeqNo, Duration)>,
    waiters: usize,
    /// Commits that wait to be published.
    sleepers: Sleepers,
    gathering: Gathering,
}

/// How the next sync's leader finds company. Commits that a sync has set free come back while the
/// next one runs, so that two halves of the writers would take turns, each waiting for the other's
/// sync. A leader therefore gives as many as the last sync served a moment to arrive: a quarter
/// of what that sync took. A writer alone never waits.
#[derive(Debug, Default)]
struct Gathering {
    /// Commits that the last sync served.
    last_group: usize,
    /// What the last sync took.
    last_sync: Duration,
    /// The leader waits for this many unpublished commits; 0 if none waits.
    wanted: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    is_inserted: bool,
    /// Published once the log is synced up to here.
    durable_at: Option<WalPosition>,
}

/// A commit that has its number: what it must do next.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) seq: SeqNo,
    pub(crate) position: WalPosition,
    /// The commit's time.
    pub(crate) micros: i64,
    /// One memtable a tree of the batch, in its order.
    pins: Pins,
}

impl Placed {
    /// Inserts the batch that was placed, and ends its pins.
    pub(crate) fn insert(self, batch: WriteBatch) {
        for (memtable, (_, ops)) in self.pins.memtables.iter().zip(batch.into_operations()) {
            memtable.insert_all(self.seq, ops);
        }
    }
}

/// Memtables that wait for a batch's inserts; dropped when they ended.
#[derive(Debug)]
struct Pins {
    memtables: Vec<Arc<TreeMemtable>>,
    context: Arc<Context>,
}

impl Drop for Pins {
    fn drop(&mut self) {
        for memtable in &self.memtables {
            if memtable.unpin() && memtable.is_frozen() {
                self.context.work.notify();
            }
        }
    }
}

impl Pipeline {
    /// A pipeline whose last commit, published, is that of `wal`.
    pub(crate) fn new(context: Arc<Context>, wal: WalWriter, last_micros: i64) -> Self {
        let last_seq = wal.last_seq();
        let index_bytes = context.options.memory_bytes / 8;
        let publication = Publication {
            slots: VecDeque::new(),
            first: last_seq + 1,
            synced: wal.promise().position,
            is_syncing: false,
            unsynced_since: None,
            quiet: None,
            waiters: 0,
            sleepers: Sleepers::default(),
            gathering: Gathering::default(),
        };
        let state = CommitState {
            wal,
            last_micros,
            index: CommitIndex::new(last_seq, index_bytes),
            epochs: HashMap::new(),
            last_writes: HashMap::new(),
            pending_bulk: BTreeMap::new(),
            is_closed: false,
        };
        Self {
            context,
            commit: Mutex::new(state),
            publication: Mutex::new(publication),
            progress: Condvar::new(),
            gathered: Condvar::new(),
            asked_for_flush: AtomicBool::new(false),
            early: EarlySyncs::default(),
            is_log_full: AtomicBool::new(false),
        }
    }

    /// Commits `batch`, whose trees are `trees`, ascending. See [`Engine::commit_with`](crate::Engine::commit_with).
    pub(crate) fn commit(
        &self,
        trees: &[Arc<TreeState>],
        mut batch: WriteBatch,
        durability: Durability,
    ) -> Result<SeqNo> {
        batch.seal();
        let keys = CommitKeys::of(&batch);
        let placed = RECORD.with_borrow_mut(|record| {
            record.encode(&batch, &[])?;
            let placed = self.place(trees, &batch, keys, record, durability);
            let placed = placed.map_err(|error| self.lost(error));
            if record.len() > RECORD_BYTES_KEPT {
                *record = CommitRecord::new();
            }
            placed
        })?;
        let _panics = self.poisoning_panics();
        let seq = placed.seq;
        if durability == Durability::Full && batch.len() >= EARLY_SYNC_ROWS {
            self.ask_for_sync();
        }
        placed.insert(batch);
        self.ask_for_flush();
        self.finish(seq)?;
        Ok(seq)
    }

    /// Has the record of a commit alone synced by another thread while this one inserts its rows.
    /// Several commits find company instead: what one inserts another's sync waits for.
    fn ask_for_sync(&self) {
        if !self.context.options.paths.early_sync {
            return;
        }
        let publication = self.publication.lock();
        let is_alone = publication.slots.len() == 1 && !publication.is_syncing;
        drop(publication);
        if is_alone {
            self.early.ask();
        }
    }

    /// Makes the syncs that commits ask for, until [`end_early_syncs`](Self::end_early_syncs).
    /// Whoever asked syncs by himself if this comes too late.
    pub(crate) fn make_early_syncs(&self) {
        while self.early.wait() {
            let mut publication = self.publication.lock();
            let is_due = !publication.is_syncing && publication.waits_for_sync();
            if is_due && self.check_poison().is_ok() {
                // A failure has poisoned the database, which the commit will find.
                let _ = self.lead_sync(&mut publication);
            }
        }
    }

    /// No sync is asked for any more.
    pub(crate) fn end_early_syncs(&self) {
        self.early.end();
    }

    fn place(
        &self,
        trees: &[Arc<TreeState>],
        batch: &WriteBatch,
        keys: CommitKeys,
        record: &mut CommitRecord,
        durability: Durability,
    ) -> Result<Placed> {
        let mut state = self.lock()?;
        state.check(batch, &keys, std::iter::empty())?;
        self.append(&mut state, trees, batch, keys, vec![], record, durability)
    }

    /// Wakes the flush when memtables use half of their share of the memory, once.
    fn ask_for_flush(&self) {
        let is_much = self.is_memory_short();
        if is_much != self.asked_for_flush.load(Ordering::Relaxed)
            && self.asked_for_flush.swap(is_much, Ordering::Relaxed) != is_much
            && is_much
        {
            self.context.work.notify();
        }
    }

    /// Whether memtables use more than half of their share of the memory.
    pub(crate) fn is_memory_short(&self) -> bool {
        self.context.memtable_bytes() > memtable_bytes_max(&self.context.options) / 2
    }

    /// Under the commit lock, all checks passed: number, record, pins, index, slot. Nothing has
    /// changed if it fails (RULES.md 5): the append comes first, and nothing behind it can fail.
    #[expect(clippy::too_many_arguments, reason = "a commit's parts, for commit and bulk load")]
    pub(crate) fn append(
        &self,
        state: &mut CommitState,
        trees: &[Arc<TreeState>],
        batch: &WriteBatch,
        keys: CommitKeys,
        bulk: Vec<BulkKeys>,
        record: &mut CommitRecord,
        durability: Durability,
    ) -> Result<Placed> {
        let seq = state.wal.last_seq() + 1;
        // Commit times ascend strictly, so that a moment names one number (RULES.md 25).
        let micros = self.context.env.clock.now_micros().max(state.last_micros.saturating_add(1));
        let segment = state.wal.segment();
        let position = state.wal.append(seq, micros, record).inspect_err(|error| {
            if error.kind() == ErrorKind::DiskFull {
                // A flush would free segments; the next commit tries again.
                self.is_log_full.store(true, Ordering::Relaxed);
                self.context.work.notify();
            } else {
                self.poison(error);
            }
        })?;
        if position.segment != segment {
            self.context.work.notify();
        }
        state.last_micros = micros;
        EngineCounters::add(&self.context.counters.wal_bytes, record.len() as u64);
        let pin = |tree: &Arc<TreeState>| self.pin(tree, position.segment, seq, micros);
        let memtables = trees.iter().map(pin).collect();
        let snapshots = &self.context.snapshots;
        state.index.insert(seq, keys, bulk);
        state.index.prune(snapshots.oldest_write(), snapshots.published());
        for tree in trees {
            state.last_writes.insert(tree.id(), seq);
        }
        for tree in batch.schema_changes() {
            state.epochs.insert(*tree, seq);
        }
        self.queue(seq, position, durability);
        Ok(Placed {
            seq,
            position,
            micros,
            pins: Pins { memtables, context: Arc::clone(&self.context) },
        })
    }

    /// The tree's active memtable, a fresh one if the last was full; it waits for the inserts of
    /// commit `seq`.
    fn pin(&self, tree: &TreeState, segment: u64, seq: SeqNo, micros: i64) -> Arc<TreeMemtable> {
        let mut active = tree.active();
        if active.bytes() >= memtable_bytes(&self.context.options) {
            self.freeze(tree, &active, seq - 1);
            active = tree.active();
        }
        active.pin(segment, micros);
        active
    }

    /// Ends `active` at `seq` and puts an empty memtable before it. Under the commit lock.
    pub(crate) fn freeze(&self, tree: &TreeState, active: &TreeMemtable, seq: SeqNo) {
        active.freeze(seq);
        let fresh = Arc::new(self.new_memtable());
        tree.change_view(|view| view.memtables.insert(0, fresh));
        self.context.work.notify();
    }

    /// An empty memtable.
    pub(crate) fn new_memtable(&self) -> TreeMemtable {
        let gauge = Arc::clone(&self.context.memtable_bytes);
        let options = &self.context.options;
        TreeMemtable::new(options.memtable_kind, gauge).filtered(options.paths.memtable_filter)
    }

    fn queue(&self, seq: SeqNo, position: WalPosition, durability: Durability) {
        let mut publication = self.publication.lock();
        let is_full = durability == Durability::Full;
        debug_assert_eq!(publication.first + publication.slots.len() as u64, seq);
        let slot = Slot { is_inserted: false, durable_at: is_full.then_some(position) };
        publication.slots.push_back(slot);
        if publication.slots.len() == publication.gathering.wanted {
            self.gathered.notify_all();
        }
        let is_unsynced = durability == Durability::Normal && publication.unsynced_since.is_none();
        if is_unsynced || publication.quiet.is_none() {
            let now = self.context.env.clock.monotonic();
            publication.quiet.get_or_insert((seq, now));
            if is_unsynced {
                publication.unsynced_since = Some(now);
            }
            drop(publication);
            self.context.work.notify();
        }
    }

    /// How long until the log's next step is due; none if none will be without another commit.
    pub(crate) fn time_to_step(&self) -> Option<Duration> {
        let publication = self.publication.lock();
        let quiet = publication.quiet.map(|(_, since)| since);
        let since = [publication.unsynced_since, quiet].into_iter().flatten().min()?;
        let now = self.context.env.clock.monotonic();
        Some((since + NORMAL_SYNC_INTERVAL).saturating_sub(now))
    }

    /// One step of the log's upkeep: syncs what has waited long enough, or writes a promise if no
    /// commit has come for a while.
    pub(crate) fn step_log(&self) -> Result<()> {
        let now = self.context.env.clock.monotonic();
        let is_old = |since: Duration| now.saturating_sub(since) >= NORMAL_SYNC_INTERVAL;
        let mut publication = self.publication.lock();
        if publication.unsynced_since.is_some_and(is_old) {
            drop(publication);
            return self.sync().map(drop);
        }
        let Some((seq, _)) = publication.quiet.filter(|(_, since)| is_old(*since)) else {
            return Ok(());
        };
        let last_seq = publication.first + publication.slots.len() as u64 - 1;
        publication.quiet = (last_seq > seq).then_some((last_seq, now));
        let is_quiet = publication.quiet.is_none();
        drop(publication);
        if !is_quiet {
            return Ok(());
        }
        let mut state = self.lock()?;
        match state.wal.write_promise() {
            Ok(_) => Ok(()),
            // The next commit will meet the full disk, and say so to somebody.
            Err(error) if error.kind() == ErrorKind::DiskFull => Ok(()),
            Err(error) => {
                self.poison(&error);
                Err(error)
            }
        }
    }

    /// The inserts of `seq` have ended: waits until it is published, and leads the syncs that
    /// this takes.
    pub(crate) fn finish(&self, seq: SeqNo) -> Result<()> {
        let mut publication = self.publication.lock();
        let index = usize::try_from(seq - publication.first).unwrap_or(usize::MAX);
        if let Some(slot) = publication.slots.get_mut(index) {
            slot.is_inserted = true;
        }
        let freed = self.advance(&mut publication);
        wake(&mut publication, freed);
        loop {
            if publication.first > seq {
                return Ok(());
            }
            if let Err(error) = self.check_poison() {
                // The manifest poisons too, and wakes nobody: who is woken to lead, or has inserted
                // what others wait for, does so instead of what they slept for.
                self.wake_all(&mut publication);
                return Err(error);
            }
            if !publication.is_syncing && publication.waits_for_sync() {
                self.lead_sync(&mut publication)?;
                continue;
            }
            let waiter = publication.sleepers.add(seq);
            drop(publication);
            if waiter.sleep() {
                return Ok(());
            }
            publication = self.publication.lock();
        }
    }

    /// The error of a commit that was not placed. Who lost sees what won: the other commit may be
    /// numbered and not yet published, and a snapshot taken in between would only lose again.
    pub(crate) fn lost(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::Conflict {
            let publication = self.publication.lock();
            let numbered = publication.first + publication.slots.len() as u64;
            drop(publication);
            // A poisoned log is met by the next attempt.
            let _ = self.wait_published(numbered - 1);
        }
        error
    }

    /// Waits until every commit up to `seq` is published.
    pub(crate) fn wait_published(&self, seq: SeqNo) -> Result<()> {
        let mut publication = self.publication.lock();
        while publication.first <= seq {
            self.check_poison()?;
            publication.waiters += 1;
            self.progress.wait(&mut publication);
            publication.waiters -= 1;
        }
        Ok(())
    }

    /// Makes the log durable up to its present end.
    pub(crate) fn sync(&self) -> Result<Promise> {
        let mut publication = self.publication.lock();
        loop {
            self.check_poison()?;
            if !publication.is_syncing {
                return self.lead_sync(&mut publication);
            }
            publication.waiters += 1;
            self.progress.wait(&mut publication);
            publication.waiters -= 1;
        }
    }

    /// One sync, outside both locks, for everything appended before it begins.
    fn lead_sync(&self, publication: &mut MutexGuard<'_, Publication>) -> Result<Promise> {
        publication.is_syncing = true;
        self.gather(publication);
        publication.unsynced_since = None;
        let clock = &self.context.env.clock;
        let (synced, took) = MutexGuard::unlocked(publication, || {
            let handle = self.commit.lock().wal.sync_handle();
            let began = clock.monotonic();
            (handle.sync(), clock.monotonic().saturating_sub(began))
        });
        publication.is_syncing = false;
        publication.gathering.last_sync = took;
        let (synced, mut freed) = match synced {
            Ok(promise) => {
                EngineCounters::add(&self.context.counters.wal_syncs, 1);
                publication.synced = publication.synced.max(promise.position);
                let mut synced = self.context.synced.lock();
                if promise.position > synced.position {
                    *synced = promise;
                }
                drop(synced);
                let first = publication.first;
                let freed = self.advance(publication);
                let served = publication.first - first;
                publication.gathering.last_group = usize::try_from(served).unwrap_or(0);
                (Ok(promise), freed)
            }
            Err(error) => {
                self.poison_holding(publication, &error);
                (Err(self.check_poison().err().unwrap_or(error)), Freed::default())
            }
        };
        publication.free_leader(&mut freed);
        if publication.waiters > 0 {
            self.progress.notify_all();
        }
        wake(publication, freed);
        synced
    }

    /// Gives other commits a moment to join; see [`Gathering`].
    fn gather(&self, publication: &mut MutexGuard<'_, Publication>) {
        let Gathering { last_group, last_sync, .. } = publication.gathering;
        if last_group < 2 || publication.slots.len() >= last_group {
            return;
        }
        publication.gathering.wanted = last_group;
        let patience = (last_sync / 4).min(GATHER_MAX);
        self.gathered.wait_for(publication, patience);
        publication.gathering.wanted = 0;
    }

    /// Publishes every commit at the front that is ready; who calls this wakes those it frees.
    fn advance(&self, publication: &mut Publication) -> Freed {
        let before = publication.first;
        while let Some(slot) = publication.slots.front() {
            let is_durable = slot.durable_at.is_none_or(|position| position <= publication.synced);
            if !slot.is_inserted || !is_durable {
                break;
            }
            publication.slots.pop_front();
            publication.first += 1;
        }
        if publication.first == before {
            return Freed::default();
        }
        self.context.snapshots.publish(publication.first - 1);
        EngineCounters::add(&self.context.counters.commits, publication.first - before);
        if publication.waiters > 0 {
            self.progress.notify_all();
        }
        publication.sleepers.free(publication.first)
    }

    /// A snapshot back to which conflicts are found.
    pub(crate) fn write_snapshot(&self) -> Snapshot {
        let mut state = self.commit.lock();
        state.index.begin_indexing();
        self.context.snapshots.write_snapshot()
    }

    /// No commit is taken any more. Waits for those under way, then syncs and seals the log; none
    /// if it was closed before.
    pub(crate) fn close(&self) -> Result<Option<Promise>> {
        let mut state = self.commit.lock();
        if std::mem::replace(&mut state.is_closed, true) {
            return Ok(None);
        }
        let last_seq = state.wal.last_seq();
        drop(state);
        self.check_poison()?;
        self.wait_published(last_seq)?;
        let sealed = self.commit.lock().wal.seal();
        sealed.map(Some).inspect_err(|error| self.poison(error))
    }

    /// Freezes the active memtable of each of `trees` that holds anything, and answers the number
    /// at which.
    pub(crate) fn freeze_all<'a>(
        &self,
        trees: impl IntoIterator<Item = &'a TreeState>,
    ) -> Result<SeqNo> {
        let state = self.lock()?;
        let last_seq = state.wal.last_seq();
        for tree in trees {
            let active = tree.active();
            if !active.is_empty() || active.is_pinned() {
                self.freeze(tree, &active, last_seq);
            }
        }
        Ok(last_seq)
    }

    /// Begins a segment, synced, so that those before it can go once nothing in them is needed.
    pub(crate) fn begin_segment(&self) -> Result<()> {
        let begun = self.lock()?.wal.rotate();
        match begun {
            Err(error) if error.kind() != ErrorKind::DiskFull => {
                self.poison(&error);
                Err(error)
            }
            begun => begun,
        }?;
        self.sync().map(drop)
    }

    /// Where the log ends.
    pub(crate) fn log_end(&self) -> WalPosition {
        self.commit.lock().wal.position()
    }

    /// The tree whose active memtable ought to be frozen and flushed: because it holds back more
    /// log than the options allow, or because memory or the disk is short.
    pub(crate) fn tree_to_flush(&self, trees: &[Arc<TreeState>]) -> Option<TreeId> {
        let options = &self.context.options;
        let actives: Vec<_> = trees.iter().map(|tree| (tree.id(), tree.active())).collect();
        let filled = || actives.iter().filter(|(_, active)| !active.is_empty());
        let (tree, oldest) = filled().min_by_key(|(_, active)| active.first_segment())?;
        let segments = options.wal_bytes_max / options.wal_segment_bytes.max(1);
        let segment = self.commit.lock().wal.segment();
        let holds_much = segment.saturating_sub(oldest.first_segment()) > segments;
        if holds_much || self.is_log_full.load(Ordering::Relaxed) {
            return Some(*tree);
        }
        let largest = filled().max_by_key(|(_, active)| active.bytes());
        largest.filter(|_| self.is_memory_short()).map(|(tree, _)| *tree)
    }

    /// A flush was done: it may have made room for the log.
    pub(crate) fn note_flush(&self) {
        self.is_log_full.store(false, Ordering::Relaxed);
    }

    /// The first segment that replay would need, given that no memtable but those of `trees`
    /// holds entries that are in no file.
    pub(crate) fn first_segment_needed(&self, trees: &[Arc<TreeState>]) -> u64 {
        let state = self.commit.lock();
        let views = trees.iter().map(|tree| tree.read_view());
        let held = views.flat_map(|view| view.memtables.clone()).map(|m| m.first_segment()).min();
        let held = state.pending_bulk.values().copied().chain(held).min();
        state.wal.promise().position.segment.min(held.unwrap_or(u64::MAX))
    }

    /// The files of bulk commit `seq` are placed.
    pub(crate) fn end_bulk<'a>(&self, seq: SeqNo, trees: impl Iterator<Item = &'a TreeState>) {
        self.commit.lock().pending_bulk.remove(&seq);
        trees.for_each(|tree| tree.end_bulk(seq));
        self.context.work.notify();
    }

    /// The files that bulk commits after `base` brought into `tree` so far.
    pub(crate) fn bulk_since(&self, tree: TreeId, base: SeqNo) -> Result<Vec<Arc<LiveFile>>> {
        self.lock()?.index.bulk_since(tree, base)
    }

    /// The commit lock, unless nothing can be written any more.
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, CommitState>> {
        self.check_poison()?;
        let state = self.commit.lock();
        if state.is_closed {
            return Err(Error::new(ErrorKind::Closed, "the database is closed"));
        }
        Ok(state)
    }

    /// Nothing is acknowledged, flushed or removed any more: what is on disk is not known.
    pub(crate) fn poison(&self, cause: &Error) {
        self.poison_holding(&mut self.publication.lock(), cause);
    }

    /// Who waits has looked for poison under the lock of `publication` before falling asleep.
    fn poison_holding(&self, publication: &mut Publication, cause: &Error) {
        if self.context.health.poison(cause) {
            self.context.work.notify();
        }
        self.wake_all(publication);
    }

    /// Lets all who wait for a commit look what happened.
    fn wake_all(&self, publication: &mut Publication) {
        self.progress.notify_all();
        publication.sleepers.free_all().wake();
    }

    /// While this lives, a panic poisons the database: a commit that has its number and will never
    /// be inserted would keep every later one waiting.
    pub(crate) fn poisoning_panics(&self) -> PoisoningPanics<'_> {
        PoisoningPanics(self)
    }

    /// Fails if the database is poisoned.
    pub(crate) fn check_poison(&self) -> Result<()> {
        self.context.health.check()
    }
}

/// See [`Pipeline::poisoning_panics`].
pub(crate) struct PoisoningPanics<'a>(&'a Pipeline);

impl Drop for PoisoningPanics<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison(&Error::internal("a commit panicked behind its number"));
        }
    }
}

/// Wakes outside the lock: who wakes takes no part in it any more.
fn wake(publication: &mut MutexGuard<'_, Publication>, freed: Freed) {
    if !freed.is_empty() {
        MutexGuard::unlocked(publication, || freed.wake());
    }
}

impl Publication {
    /// Whether the published number stands still for want of a sync.
    fn waits_for_sync(&self) -> bool {
        self.slots.iter().any(|slot| slot.lacks_sync(self.synced))
    }

    /// Somebody who sleeps for want of a sync is to lead the next. If nobody is asleep, whoever
    /// still inserts leads.
    fn free_leader(&mut self, freed: &mut Freed) {
        let Self { slots, first, synced, sleepers, .. } = self;
        sleepers.free_leader(freed, |seq| {
            let index = usize::try_from(seq - *first).unwrap_or(usize::MAX);
            slots.get(index).is_some_and(|slot| slot.lacks_sync(*synced))
        });
    }
}

impl Slot {
    /// Whether it is not published before the log is synced further than up to `synced`.
    fn lacks_sync(&self, synced: WalPosition) -> bool {
        self.durable_at.is_some_and(|position| position > synced)
    }
}

impl CommitState {
    /// Fails with `Conflict` if another commit came first. `loaded` are trees that the commit
    /// writes to beside those of `batch`.
    pub(crate) fn check(
        &self,
        batch: &WriteBatch,
        keys: &CommitKeys,
        loaded: impl Iterator<Item = TreeId>,
    ) -> Result<()> {
        if let Some(catalog_seq) = batch.catalog_seq() {
            self.check_epochs(batch.trees().chain(loaded), catalog_seq)?;
        }
        let Some(base) = batch.base() else { return Ok(()) };
        self.check_read(batch.trees_read(), base)?;
        self.index.check(keys, base)
    }

    /// A statement bound to an older schema must not write rows of it (RULES.md 9).
    fn check_epochs(&self, trees: impl Iterator<Item = TreeId>, catalog_seq: SeqNo) -> Result<()> {
        let is_changed = |tree: &TreeId| self.epochs.get(tree).is_some_and(|at| *at > catalog_seq);
        let Some(tree) = { trees }.find(is_changed) else { return Ok(()) };
        Err(Error::new(
            ErrorKind::Conflict,
            format!("the schema of tree {tree} was changed after number {catalog_seq}"),
        ))
    }

    /// What was concluded from all rows of a tree holds only if none was written since.
    fn check_read(&self, trees: &[TreeId], base: SeqNo) -> Result<()> {
        let is_written = |tree: &&TreeId| self.last_writes.get(tree).is_some_and(|at| *at > base);
        let Some(tree) = trees.iter().find(is_written) else { return Ok(()) };
        Err(Error::new(
            ErrorKind::Conflict,
            format!("tree {tree}, read whole at number {base}, was written to since"),
        ))
    }

    /// Fails with `Conflict` if a key in `files`, about to be loaded into `tree`, was committed
    /// after `base`, by another load too. Files that were `compared` before have no key in common.
    pub(crate) fn check_bulk(
        &self,
        tree: &TreeState,
        files: &[Arc<LiveFile>],
        base: SeqNo,
        compared: &BTreeSet<u64>,
    ) -> Result<()> {
        let id = tree.id();
        for file in files {
            self.index.keys_since(id, &*file.smallest..=&*file.largest, base, |key| {
                if holds_key(file, tree, key)? { Err(Error::conflict(id, key)) } else { Ok(()) }
            })?;
        }
        for other in self.index.bulk_since(id, base)? {
            if compared.contains(&other.id) {
                continue;
            }
            for file in files {
                if let Some(key) = common_key(tree, file, &other)? {
                    return Err(Error::conflict(id, &key));
                }
            }
        }
        Ok(())
    }

    /// The record of bulk commit `seq` is needed until its files are placed, and the memtables of
    /// `tree` above it wait for that.
    pub(crate) fn begin_bulk(&mut self, seq: SeqNo, segment: u64, tree: &TreeState) {
        self.pending_bulk.insert(seq, segment);
        self.last_writes.insert(tree.id(), seq);
        tree.begin_bulk(seq);
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;

//! Background work: what is due, one step of it, and the threads that take the steps.
//!
//! A job is one flush, one compaction, one sync of the log, or one round of removing what nobody
//! needs. With [`Options::background`](crate::Options) false nobody but
//! [`Engine::run_job`](crate::Engine::run_job) takes a step, so that a test decides when.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::compaction::{self, Compaction};
use crate::describe::EngineCounters;
use crate::engine::{Core, JobKind};
use crate::read::{self, Shaded};
use crate::state::{TreeState, Work};
use crate::version::{LEVELS, TreeVersion, VersionEdit};
use crate::wal::{list_segments, segment_path};
use crate::write::{flush, space};
use crate::{Error, ErrorKind, Result, SeqNo, TreeId};

/// After a failed job its thread rests for this long, or until something changes.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The engine's threads, and which kinds of work are under way.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// One flush at a time: memtables enter the manifest oldest first.
    flushing: Mutex<()>,
    /// One sweep at a time: two would drop the same trees and remove the same files.
    sweeping: Mutex<()>,
    /// Compactions under way.
    running: Mutex<Vec<Running>>,
    /// Trees whose last compaction failed, and the monotonic time from which it may be tried
    /// again: a damaged file of one tree must not keep the others waiting.
    resting: Mutex<BTreeMap<TreeId, Duration>>,
}

/// A compaction under way.
#[derive(Debug)]
struct Running {
    tree: TreeId,
    compaction: Arc<Compaction>,
}

/// A compaction that is noted as running.
struct Begun<'a> {
    core: &'a Core,
    compaction: Arc<Compaction>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut running = self.core.workers.running.lock();
        running.retain(|running| !Arc::ptr_eq(&running.compaction, &self.compaction));
        drop(running);
        self.core.context.work.notify();
    }
}

/// Which jobs a thread takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    /// Flushes and removals: never behind a compaction.
    Flush,
    /// The log's syncs and promises.
    Log,
    /// The syncs of commits that insert meanwhile.
    Sync,
    /// Compactions.
    Compact,
}

impl Core {
    /// The step that is due next, the most urgent first.
    pub(crate) fn next_job(&self) -> Option<JobKind> {
        self.context.health.check().ok()?;
        [Duty::Log, Duty::Flush, Duty::Compact].into_iter().find_map(|duty| self.next_job_of(duty))
    }

    fn next_job_of(&self, duty: Duty) -> Option<JobKind> {
        match duty {
            Duty::Sync => None,
            Duty::Log => self.pipeline.time_to_step()?.is_zero().then_some(JobKind::Log),
            Duty::Flush => {
                let trees = self.tree_states();
                // The tree whose memtable holds back the most log comes first.
                let flushes = trees.iter().filter_map(|tree| {
                    flush::next_memtable(tree).map(|memtable| (memtable.first_segment(), tree.id()))
                });
                let flush = flushes.min().map(|(_, tree)| tree);
                // One that is frozen and waits for its inserts is flushed before another freezes.
                let is_waiting = trees.iter().any(|tree| tree.read_view().memtables.len() > 1);
                let flush = flush.or_else(|| match is_waiting {
                    true => None,
                    false => self.pipeline.tree_to_flush(&trees),
                });
                flush.map(JobKind::Flush).or_else(|| self.is_sweep_due().then_some(JobKind::Sweep))
            }
            Duty::Compact => {
                let running = self.workers.running.lock();
                let trees = self.tree_states();
                trees
                    .iter()
                    .find(|tree| self.pick(tree, &running).is_some())
                    .map(|tree| JobKind::Compact(tree.id()))
            }
        }
    }

    /// The compaction that `tree` needs most and that no running one is in the way of.
    fn pick(&self, tree: &TreeState, running: &[Running]) -> Option<Compaction> {
        if self.is_resting(tree.id()) {
            return None;
        }
        let busy: BTreeSet<u64> = running
            .iter()
            .filter(|running| running.tree == tree.id())
            .flat_map(|running| running.compaction.files().map(|(_, file)| file.id))
            .collect();
        let view = tree.read_view();
        let floor = self.context.snapshots.floor();
        compaction::pick(&view.version, &self.context.options, floor, &busy)
    }

    fn is_resting(&self, tree: TreeId) -> bool {
        let mut resting = self.workers.resting.lock();
        let Some(until) = resting.get(&tree) else { return false };
        if self.context.env.clock.monotonic() < *until {
            return true;
        }
        resting.remove(&tree);
        false
    }

    /// Takes the next step; false if none is due.
    pub(crate) fn run_job(&self) -> Result<bool> {
        match self.next_job() {
            Some(job) => self.run(job).map(|()| true),
            None => Ok(false),
        }
    }

    fn run(&self, job: JobKind) -> Result<()> {
        let done = self.run_once(job);
        let work = match job {
            JobKind::Flush(_) | JobKind::Sweep => Work::Flush,
            JobKind::Compact(_) => Work::Compact,
            // Whoever waits for the log hears of it from the log.
            JobKind::Log => return done,
        };
        if done.as_ref().is_err_and(|error| error.kind() == ErrorKind::DiskFull) {
            space::release_reserve(&self.context);
        }
        if let (JobKind::Compact(tree), Err(_), true) =
            (job, &done, self.context.options.background)
        {
            let until = self.context.env.clock.monotonic() + RETRY_INTERVAL;
            self.workers.resting.lock().insert(tree, until);
        }
        self.context.trouble.note(work, done.as_ref().err().cloned());
        done
    }

    fn run_once(&self, job: JobKind) -> Result<()> {
        match job {
            JobKind::Flush(tree) => match self.state(tree) {
                Ok(tree) => self.flush_step(&tree),
                Err(_) => Ok(()),
            },
            JobKind::Log => self.pipeline.step_log(),
            JobKind::Sweep => self.sweep(),
            JobKind::Compact(tree) => match self.state(tree) {
                Ok(tree) => self.compact_step(&tree),
                Err(_) => Ok(()),
            },
        }
    }

    /// Flushes the oldest frozen memtable of `tree`, or its active one where none is frozen.
    fn flush_step(&self, tree: &TreeState) -> Result<()> {
        if flush::next_memtable(tree).is_none() && tree.read_view().memtables.len() == 1 {
            self.pipeline.freeze_all([tree])?;
        }
        if self.flush_oldest(tree)? {
            self.pipeline.note_flush();
        }
        Ok(())
    }

    /// One compaction of `tree`, if one is due.
    fn compact_step(&self, tree: &TreeState) -> Result<()> {
        let mut running = self.workers.running.lock();
        let Some(compaction) = self.pick(tree, &running) else { return Ok(()) };
        let begun = self.begin(tree, compaction, &mut running);
        drop(running);
        self.compact_now(tree, &begun)
    }

    /// Merges all files of `tree`, those of its memtables included, into the last level.
    pub(crate) fn compact_all(&self, tree: &TreeState) -> Result<()> {
        self.context.health.check()?;
        let last_seq = self.pipeline.freeze_all([tree])?;
        self.flush_frozen(tree, last_seq)?;
        let begun = loop {
            self.go_on()?;
            let seen = self.context.work.generation();
            let mut running = self.workers.running.lock();
            if running.iter().all(|running| running.tree != tree.id()) {
                let version = Arc::clone(&tree.read_view().version);
                let Some(compaction) = compaction::pick_all(&version) else { return Ok(()) };
                break self.begin(tree, compaction, &mut running);
            }
            drop(running);
            self.context.work.wait(seen, Some(RETRY_INTERVAL));
        };
        self.compact_now(tree, &begun)
    }

    /// Notes a compaction as running until what is answered is dropped.
    fn begin<'a>(
        &'a self,
        tree: &TreeState,
        compaction: Compaction,
        running: &mut Vec<Running>,
    ) -> Begun<'a> {
        let compaction = Arc::new(compaction);
        running.push(Running { tree: tree.id(), compaction: Arc::clone(&compaction) });
        Begun { core: self, compaction }
    }

    fn compact_now(&self, tree: &TreeState, begun: &Begun<'_>) -> Result<()> {
        let job = compaction::Job {
            context: &self.context,
            tree: tree.id(),
            schemas: &tree.schemas(),
            floor: self.context.snapshots.floor(),
            next_file_id: &|| self.versions.next_file_id(),
            go_on: &|| self.go_on(),
        };
        let inputs = begun.compaction.inputs.iter().map(|(_, file)| file.size).sum();
        space::check_room(&self.context, inputs)?;
        let finished = compaction::run(&job, &begun.compaction)?;
        let moved: BTreeSet<u64> = begun.compaction.files().map(|(_, file)| file.id).collect();
        let added = finished.edit.added.iter().map(|file| file.meta.id);
        let written: Vec<u64> = added.filter(|id| !moved.contains(id)).collect();
        let is_scanned = begun.compaction.inputs.iter().any(|(_, file)| self.is_scanned(file.id));
        if let Err(error) = self.versions.apply(finished.edit) {
            if self.context.health.check().is_ok() {
                written.into_iter().for_each(|id| flush::remove_file(&self.context, id));
            }
            return match error.kind() {
                // The tree was dropped meanwhile.
                ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            };
        }
        let counters = &self.context.counters;
        EngineCounters::add(&counters.compactions, u64::from(!written.is_empty()));
        EngineCounters::add(&counters.groups_copied, finished.groups_copied);
        EngineCounters::add(&counters.groups_decoded, finished.groups_decoded);
        EngineCounters::add(&counters.files_moved, finished.files_moved);
        EngineCounters::add(&counters.compaction_bytes, finished.bytes_written);
        if is_scanned {
            self.shade_ahead(tree, Shaded::Files(&written));
        }
        Ok(())
    }

    /// Whether scans look at what is hidden of a file.
    fn is_scanned(&self, file: u64) -> bool {
        self.context.options.paths.shadows_ahead && self.context.shadows.knows_file(file)
    }

    /// Works out for readers to come what is hidden of the tree's rows.
    fn shade_ahead(&self, tree: &TreeState, shaded: Shaded<'_>) {
        // Should that fail, readers will tell, and nobody waits for it.
        let _ = read::shade(tree, shaded);
    }

    /// The same for those of the trees that were scanned before; many rows of theirs were committed
    /// as `seq`.
    pub(crate) fn shade_scanned<'a>(
        &self,
        trees: impl Iterator<Item = &'a Arc<TreeState>>,
        seq: SeqNo,
    ) {
        for tree in trees {
            let view = tree.read_view();
            if view.version.files().any(|(_, file)| self.is_scanned(file.id)) {
                self.shade_ahead(tree, Shaded::All(seq));
            }
        }
    }

    /// Fails once background work has to end.
    fn go_on(&self) -> Result<()> {
        self.context.health.check()?;
        if self.is_stopping() {
            return Err(Error::new(ErrorKind::Closed, "the database is being closed"));
        }
        Ok(())
    }

    /// Applies an edit that places new files: `make` asks for the level of each, and nothing
    /// changes between the answer and the edit.
    pub(crate) fn apply_placing(
        &self,
        make: impl FnOnce(&dyn Fn(TreeId, &[u8], &[u8]) -> usize) -> VersionEdit,
    ) -> Result<()> {
        // Held until the edit is applied: no compaction begins meanwhile.
        let mut held = None;
        self.versions.apply_with(|files| {
            let running = held.insert(self.workers.running.lock());
            let level_of = |tree: TreeId, smallest: &[u8], largest: &[u8]| {
                let version = files.trees.get(&tree).map(|files| &files.version);
                version.map_or(0, |version| placement(running, tree, version, smallest, largest))
            };
            Ok(make(&level_of))
        })
    }

    /// Flushes the tree's oldest frozen memtable; false if there is none whose inserts have ended.
    pub(crate) fn flush_oldest(&self, tree: &TreeState) -> Result<bool> {
        let one_at_a_time = self.workers.flushing.lock();
        let Some(memtable) = flush::next_memtable(tree) else { return Ok(false) };
        let file = flush::flush(&self.context, &self.pipeline, &self.versions, tree, &memtable)?;
        drop(one_at_a_time);
        if self.context.options.paths.shadows_ahead && memtable.was_scanned() {
            self.shade_ahead(tree, Shaded::Files(file.as_slice()));
        }
        Ok(true)
    }

    /// Freezes all memtables and flushes them.
    pub(crate) fn flush_all(&self) -> Result<()> {
        self.context.health.check()?;
        let trees = self.tree_states();
        let last_seq = self.pipeline.freeze_all(trees.iter().map(|tree| &**tree))?;
        trees.iter().try_for_each(|tree| self.flush_frozen(tree, last_seq))
    }

    /// Flushes all memtables, so that replay needs no segment but a new one.
    pub(crate) fn shorten_log(&self) -> Result<()> {
        self.flush_all()?;
        self.pipeline.begin_segment()?;
        self.sweep()
    }

    /// Flushes the memtables of `tree` frozen at or below `seq`, waiting for their inserts.
    pub(crate) fn flush_frozen(&self, tree: &TreeState, seq: u64) -> Result<()> {
        loop {
            let seen = self.context.work.generation();
            let view = tree.read_view();
            match view.memtables.last() {
                Some(oldest) if oldest.frozen_at() <= seq => {}
                _ => return Ok(()),
            }
            if !self.flush_oldest(tree)? {
                // Its last pin's release wakes us; poison too, then the flush says so.
                self.context.health.check()?;
                self.context.work.wait(seen, Some(RETRY_INTERVAL));
            }
        }
    }

    fn is_sweep_due(&self) -> bool {
        !self.context.sweep.is_empty()
            || !self.retired_now().is_empty()
            || space::is_reserve_due(&self.context, self.database_bytes())
            || self.first_segment_needed() > self.versions.read(|files| files.first_segment)
    }

    fn database_bytes(&self) -> u64 {
        let views = self.tree_states().into_iter().map(|tree| tree.read_view());
        views.map(|view| view.version.files().map(|(_, file)| file.size).sum::<u64>()).sum()
    }

    fn first_segment_needed(&self) -> u64 {
        self.pipeline.first_segment_needed(&self.tree_states())
    }

    /// Drops retired trees that no snapshot can see; removes files that left every version and log
    /// segments that no memtable needs.
    fn sweep(&self) -> Result<()> {
        let _one_at_a_time = self.workers.sweeping.lock();
        let vfs = &self.context.env.vfs;
        self.drop_trees(&self.retired_now())?;
        if space::is_reserve_due(&self.context, self.database_bytes()) {
            space::create_reserve(&self.context)?;
        }
        let mut obsolete = self.context.sweep.take();
        while let Some(id) = obsolete.pop() {
            let path = self.context.sst_path(id);
            if let Err(error) = vfs.remove_file(&path) {
                obsolete.push(id);
                self.context.sweep.put_back(obsolete);
                return Err(Error::io(&path, "remove", error));
            }
            self.context.shadows.forget_file(id);
            EngineCounters::add(&self.context.counters.files_removed, 1);
        }
        let needed = self.first_segment_needed();
        if needed > self.versions.read(|files| files.first_segment) {
            let edit = VersionEdit { first_segment: Some(needed), ..VersionEdit::default() };
            self.versions.apply(edit)?;
            let dir = self.context.dir.join("wal");
            let segments = list_segments(&**vfs, &dir)?;
            for number in segments.into_iter().filter(|number| *number < needed) {
                let path = segment_path(&dir, number);
                vfs.remove_file(&path).map_err(|error| Error::io(&path, "remove", error))?;
            }
        }
        Ok(())
    }

    /// Starts the engine's threads.
    pub(crate) fn start(self: &Arc<Self>, compactions: usize) -> Result<()> {
        let mut threads = self.workers.threads.lock();
        let compact = std::iter::repeat_n(Duty::Compact, compactions);
        let sync = self.context.options.paths.early_sync.then_some(Duty::Sync);
        for duty in [Duty::Flush, Duty::Log].into_iter().chain(sync).chain(compact) {
            let core = Arc::clone(self);
            #[expect(clippy::disallowed_methods, reason = "these are the engine's own threads")]
            let thread = std::thread::Builder::new()
                .name(format!("silt-{duty:?}").to_lowercase())
                .spawn(move || core.work(duty));
            let thread = thread
                .map_err(|error| Error::io(&self.context.dir, "start a thread for", error))?;
            threads.push(thread);
        }
        Ok(())
    }

    fn work(&self, duty: Duty) {
        if duty == Duty::Sync {
            return self.pipeline.make_early_syncs();
        }
        loop {
            let seen = self.context.work.generation();
            if self.is_stopping() {
                return;
            }
            let job = match self.context.health.check() {
                Ok(()) => self.next_job_of(duty),
                Err(_) => None,
            };
            let done = job.map(|job| catch_unwind(AssertUnwindSafe(|| self.run(job))));
            let done = done.map(|done| {
                // What it left half done nobody knows; the process goes on, and readers with it.
                done.unwrap_or_else(|_| {
                    let error = Error::internal(format!("a background job panicked: {job:?}"));
                    self.pipeline.poison(&error);
                    Err(error)
                })
            });
            match done {
                Some(Ok(())) => {}
                Some(Err(error)) if error.kind() == ErrorKind::Closed => {
                    self.context.work.wait(seen, None);
                }
                Some(Err(_)) => self.context.work.wait(seen, Some(RETRY_INTERVAL)),
                None if duty == Duty::Log => {
                    self.context.work.wait(seen, self.pipeline.time_to_step());
                }
                // Time alone makes these due.
                None if duty == Duty::Flush && self.has_retired() => {
                    self.context.work.wait(seen, Some(RETRY_INTERVAL));
                }
                None if duty == Duty::Compact && !self.workers.resting.lock().is_empty() => {
                    self.context.work.wait(seen, Some(RETRY_INTERVAL));
                }
                None => self.context.work.wait(seen, None),
            }
        }
    }

    /// Waits for the engine's threads, which were told to stop.
    pub(crate) fn join(&self) {
        let threads = std::mem::take(&mut *self.workers.threads.lock());
        for thread in threads {
            // A thread that panicked has said so; there is nothing to add.
            let _ = thread.join();
        }
    }
}

/// The lowest level in which a file of the keys `smallest..=largest`, newer than all that is in
/// `version`, hides nothing newer and meets no running compaction (RULES.md 11).
fn placement(
    running: &[Running],
    tree: TreeId,
    version: &TreeVersion,
    smallest: &[u8],
    largest: &[u8],
) -> usize {
    let meets = |running: &&Running| {
        let range = running.compaction.range();
        running.tree == tree
            && range.is_some_and(|(first, last)| first <= largest && smallest <= last)
    };
    let compacted = running.iter().filter(meets).flat_map(|running| running.compaction.files());
    let top = compacted.map(|(level, _)| *level).min().unwrap_or(LEVELS);
    let is_free = |level: &usize| *level < top && !version.overlaps(*level, smallest, largest);
    (0..LEVELS).take_while(is_free).last().unwrap_or(0)
}

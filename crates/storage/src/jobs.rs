//! Background work: what is due, one step of it, and the threads that take the steps.
//!
//! A job is one flush, one compaction, one sync of the log, or one round of removing what nobody
//! needs. With [`Options::background`](crate::Options) false nobody but
//! [`Engine::run_job`](crate::Engine::run_job) takes a step, so that a test decides when.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::describe::EngineCounters;
use crate::engine::{Core, JobKind};
use crate::state::TreeState;
use crate::version::VersionEdit;
use crate::wal::{list_segments, segment_path};
use crate::write::flush;
use crate::{Error, ErrorKind, Result};

/// After a failed job its thread rests for this long, or until something changes.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The engine's threads, and which kinds of work are under way.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// One flush at a time: memtables enter the manifest oldest first.
    pub(crate) flushing: Mutex<()>,
}

/// Which jobs a thread takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    /// Flushes and removals: never behind a compaction.
    Flush,
    /// The log's syncs and promises.
    Log,
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
            Duty::Log => self.pipeline.time_to_step()?.is_zero().then_some(JobKind::Log),
            Duty::Flush => {
                let trees = self.tree_states();
                // The tree whose memtable holds back the most log comes first.
                let flushes = trees.iter().filter_map(|tree| {
                    flush::next_memtable(tree).map(|memtable| (memtable.first_segment(), tree.id()))
                });
                let flush = flushes.min().map(|(_, tree)| JobKind::Flush(tree));
                flush.or_else(|| self.is_sweep_due().then_some(JobKind::Sweep))
            }
            Duty::Compact => None,
        }
    }

    /// Takes the next step; false if none is due.
    pub(crate) fn run_job(&self) -> Result<bool> {
        match self.next_job() {
            Some(job) => self.run(job).map(|()| true),
            None => Ok(false),
        }
    }

    fn run(&self, job: JobKind) -> Result<()> {
        match job {
            JobKind::Flush(tree) => match self.state(tree) {
                Ok(tree) => self.flush_oldest(&tree).map(drop),
                Err(_) => Ok(()),
            },
            JobKind::Log => self.pipeline.step_log(),
            JobKind::Sweep => self.sweep(),
            JobKind::Compact(_) => Ok(()),
        }
    }

    /// Flushes the tree's oldest frozen memtable; false if there is none whose inserts have ended.
    pub(crate) fn flush_oldest(&self, tree: &TreeState) -> Result<bool> {
        let _one_at_a_time = self.workers.flushing.lock();
        let Some(memtable) = flush::next_memtable(tree) else { return Ok(false) };
        flush::flush(&self.context, &self.pipeline, &self.versions, tree, &memtable)?;
        Ok(true)
    }

    /// Freezes all memtables and flushes them.
    pub(crate) fn flush_all(&self) -> Result<()> {
        self.context.health.check()?;
        let trees = self.tree_states();
        self.pipeline.freeze_all(&trees)?;
        for tree in &trees {
            self.flush_frozen(tree, self.pipeline.last_seq())?;
        }
        Ok(())
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
            || self.first_segment_needed() > self.versions.read(|files| files.first_segment)
    }

    fn first_segment_needed(&self) -> u64 {
        self.pipeline.first_segment_needed(&self.tree_states())
    }

    /// Drops retired trees that no snapshot can see; removes files that left every version and log
    /// segments that no memtable needs.
    fn sweep(&self) -> Result<()> {
        let vfs = &self.context.env.vfs;
        self.drop_trees(&self.retired_now())?;
        for id in self.context.sweep.take() {
            let path = self.context.sst_path(id);
            vfs.remove_file(&path).map_err(|error| Error::io(&path, "remove", error))?;
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
        for duty in [Duty::Flush, Duty::Log].into_iter().chain(compact) {
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
        loop {
            let seen = self.context.work.generation();
            if self.is_stopping() {
                return;
            }
            let job = match self.context.health.check() {
                Ok(()) => self.next_job_of(duty),
                Err(_) => None,
            };
            let done = job.map(|job| self.run(job));
            match done {
                Some(Ok(())) => {}
                Some(Err(error)) if error.kind() == ErrorKind::Closed => {
                    self.context.work.wait(seen, None);
                }
                Some(Err(_)) => self.context.work.wait(seen, Some(RETRY_INTERVAL)),
                None if duty == Duty::Log => {
                    self.context.work.wait(seen, self.pipeline.time_to_step());
                }
                None if duty == Duty::Flush && self.has_retired() => {
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

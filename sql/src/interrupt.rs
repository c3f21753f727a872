//! [`InterruptHandle`]: ends what a session runs, from another thread; and [`Run`], what one run of
//! a statement has to itself: the sense of being interrupted, and its share of memory.
//!
//! A run notes at its beginning how often the handle was used, and ends with `Interrupted` once it
//! was used again: statements that begin later are left alone. It looks between batches, in each
//! scan, and wherever much can happen between two batches (`watch.rs`, `dml/mutation.rs`). What a
//! commit has begun comes to its end, so an interrupted statement is done or not, never half.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use silt_storage::ScanWatch;

use crate::{Error, ErrorKind, Result, SqlOptions, memory};

/// Ends statements from another thread, as SQLite's `sqlite3_interrupt` does. Clones end the same.
#[derive(Clone, Debug, Default)]
pub struct InterruptHandle {
    used: Arc<AtomicU64>,
}

impl InterruptHandle {
    /// One that nothing listens to yet; see [`Prepared::execute_until`](crate::Prepared::execute_until).
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends what runs now, soon and with `Interrupted`: its changes are undone, unless their commit
    /// has begun. Nothing happens where nothing runs.
    pub fn interrupt(&self) {
        self.used.fetch_add(1, Ordering::Release);
    }

    /// Whether it was ever used.
    pub fn was_used(&self) -> bool {
        self.used.load(Ordering::Acquire) > 0
    }
}

/// What one run of a statement has to itself.
#[derive(Debug)]
pub(crate) struct Run {
    handle: InterruptHandle,
    /// How often the handle was used when the statement began.
    before: u64,
    /// Nobody reads its rows any more.
    is_left: AtomicBool,
    memory: Arc<RuntimeEnv>,
    /// Whether its share is less than all.
    is_bounded: bool,
}

impl Run {
    /// A run that begins now.
    pub(crate) fn new(
        options: &SqlOptions,
        state: &SessionState,
        handle: &InterruptHandle,
    ) -> Arc<Self> {
        let before = handle.used.load(Ordering::Acquire);
        Self::since(options, state, handle, before)
    }

    /// The same statement's next attempt.
    pub(crate) fn again(&self, options: &SqlOptions, state: &SessionState) -> Arc<Self> {
        Self::since(options, state, &self.handle, self.before)
    }

    fn since(
        options: &SqlOptions,
        state: &SessionState,
        handle: &InterruptHandle,
        before: u64,
    ) -> Arc<Self> {
        let most = options.statement_memory_bytes.min(options.session_memory_bytes);
        let memory = match options.statement_memory_bytes {
            usize::MAX => Arc::clone(state.runtime_env()),
            most => memory::share(state.runtime_env(), most, memory::Whose::Statement),
        };
        let is_left = AtomicBool::new(false);
        let is_bounded = most != usize::MAX;
        Arc::new(Self { handle: handle.clone(), before, is_left, memory, is_bounded })
    }

    /// # Errors
    /// `Interrupted` if somebody asked for its end.
    pub(crate) fn check(&self) -> Result<()> {
        match self.handle.used.load(Ordering::Relaxed) == self.before {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Interrupted, "the statement was interrupted")),
        }
    }

    /// As [`check`](Self::check), for what makes rows.
    ///
    /// # Errors
    /// `Interrupted` also if nobody reads its rows any more.
    pub(crate) fn check_read(&self) -> Result<()> {
        match self.is_left.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Interrupted, "nobody reads the statement's rows")),
            false => self.check(),
        }
    }

    /// What its operators take memory from.
    pub(crate) fn memory(&self) -> Arc<RuntimeEnv> {
        Arc::clone(&self.memory)
    }

    /// A claim on its share for what a change of rows holds until it commits; none where the share
    /// is all there is, since such a change may be as large as memory.
    pub(crate) fn claim(&self, what: &str) -> Claim {
        let claim = || MemoryConsumer::new(what).register(&self.memory.memory_pool);
        Claim(self.is_bounded.then(claim))
    }
}

impl ScanWatch for Run {
    fn go_on(&self) -> silt_storage::Result<()> {
        self.check_read().map_err(ended)
    }
}

/// A run that writes rows, all of which it may have read.
#[derive(Debug)]
pub(crate) struct Writing(pub(crate) Arc<Run>);

impl ScanWatch for Writing {
    fn go_on(&self) -> silt_storage::Result<()> {
        self.0.check().map_err(ended)
    }
}

/// What storage stops with.
fn ended(error: Error) -> silt_storage::Error {
    silt_storage::Error::new(error.kind(), error.message())
}

/// Memory that a change of rows holds.
#[derive(Debug, Default)]
pub(crate) struct Claim(Option<MemoryReservation>);

impl Claim {
    /// Claims so many bytes in all.
    ///
    /// # Errors
    /// `ResourcesExhausted` if the statement may not have them.
    pub(crate) fn resize(&self, bytes: usize) -> Result<()> {
        Ok(self.0.as_ref().map_or(Ok(()), |claim| claim.try_resize(bytes))?)
    }
}

/// Tells a run that nobody reads its rows, when it is dropped.
#[derive(Debug)]
pub(crate) struct Reading(Arc<Run>);

impl Reading {
    pub(crate) fn new(run: &Arc<Run>) -> Self {
        Self(Arc::clone(run))
    }

    /// # Errors
    /// `Interrupted` if somebody asked for the statement's end.
    pub(crate) fn check(&self) -> Result<()> {
        self.0.check()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.is_left.store(true, Ordering::Relaxed);
    }
}

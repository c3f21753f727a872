//! [`Shared`]: what all sessions of one open database have in common.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use silt_catalog::Catalog;
use silt_storage::Engine;
use silt_storage::vfs::{Env, OsClock, OsRandom, StrictVfs};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use datafusion::execution::SendableRecordBatchStream;

use crate::guard::{BIG_STACK_BYTES, LONG_STATEMENT_TOKENS, SHORT_STATEMENT_TOKENS};
use crate::interrupt::{Reading, Run};
use crate::result::{RowStream, wait};
use crate::rowid::RowIds;
use crate::{Error, ErrorKind, Result, SqlOptions};

/// Stack of the threads that plan and run statements: address space, not memory.
const WORKER_STACK_BYTES: usize = 16 << 20;
/// Batches that a statement computes ahead of its reader.
const BATCHES_AHEAD: usize = 4;
/// The folder of spilled rows, within the database's; opening empties it.
const SPILL_FOLDER: &str = "tmp";
/// Consumers named when memory runs out.
const CONSUMERS_NAMED: usize = 3;

/// One open database: engine, catalog, threads and memory of its statements.
pub struct Shared {
    engine: Engine,
    catalog: Catalog,
    options: SqlOptions,
    memory: Arc<RuntimeEnv>,
    row_ids: RowIds,
    point_runs: AtomicU64,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Shared {
    /// Opens the database in `dir`, or makes one if the options allow it.
    ///
    /// # Errors
    /// `Locked` if another process has it open, `NotFound` if there is none and none may be made,
    /// `Corrupt` and `Io` from the engine.
    pub fn open(
        env: Env,
        dir: &Path,
        storage: silt_storage::Options,
        options: SqlOptions,
    ) -> Result<Arc<Self>> {
        let engine = Engine::open(env, dir, storage)?;
        let spill = dir.join(SPILL_FOLDER);
        // A folder that the operating system knows; a vfs of the tests' has none.
        let spill = spill.is_dir().then_some(spill);
        Self::over(engine, spill, options)
    }

    /// A database that is gone when it is closed. Its sorts and joins cannot spill.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn in_memory(storage: silt_storage::Options, options: SqlOptions) -> Result<Arc<Self>> {
        let env = Env {
            vfs: Arc::new(StrictVfs::new()),
            clock: Arc::new(OsClock::new()),
            random: Arc::new(OsRandom::new()),
        };
        let engine = Engine::open(env, Path::new("/memory"), storage)?;
        Self::over(engine, None, options)
    }

    fn over(engine: Engine, spill: Option<PathBuf>, options: SqlOptions) -> Result<Arc<Self>> {
        let catalog = Catalog::open(engine.clone())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads.max(1))
            .thread_name("silt-sql")
            .thread_stack_size(WORKER_STACK_BYTES)
            .enable_time()
            .build()
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot start threads: {error}")))?;
        let memory = memory(spill, &options)?;
        let runtime = Some(runtime);
        let (row_ids, point_runs) = (RowIds::default(), AtomicU64::new(0));
        Ok(Arc::new(Self { engine, catalog, options, memory, row_ids, point_runs, runtime }))
    }

    /// The options it was opened with.
    pub fn options(&self) -> &SqlOptions {
        &self.options
    }

    /// The engine, for inspection and maintenance.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Writes out what is in memory and closes the files. Sessions that live on fail with
    /// `Closed`.
    ///
    /// # Errors
    /// `Io` if the last sync fails.
    pub fn close(&self) -> Result<()> {
        Ok(self.engine.close()?)
    }

    /// How many statements ran by their keys, without the planner.
    pub fn point_runs(&self) -> u64 {
        self.point_runs.load(Ordering::Relaxed)
    }

    pub(crate) fn count_point_run(&self) {
        self.point_runs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn memory(&self) -> &Arc<RuntimeEnv> {
        &self.memory
    }

    pub(crate) fn row_ids(&self) -> &RowIds {
        &self.row_ids
    }

    /// Runs planning on the runtime's threads and waits for it here, inside or outside of any
    /// async runtime. A panic becomes an error.
    ///
    /// What plans a short statement runs on this thread: handing it over takes longer. A long statement gets a thread of its own with a big stack: trees are walked, and dropped,
    /// by recursion.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        tokens: usize,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let runtime = self.runtime()?;
        if tokens <= SHORT_STATEMENT_TOKENS && self.options.point_statements {
            return self.here(work)?;
        }
        if tokens <= LONG_STATEMENT_TOKENS {
            return wait(runtime.spawn(work)).unwrap_or_else(|error| {
                match error.try_into_panic() {
                    Ok(panic) => Err(panicked(&*panic)),
                    Err(_) => {
                        Err(Error::new(ErrorKind::Interrupted, "the statement was cancelled"))
                    }
                }
            });
        }
        let handle = runtime.handle().clone();
        #[expect(clippy::disallowed_methods, reason = "a thread for its stack, joined at once")]
        let thread = std::thread::Builder::new()
            .name("silt-sql-long".to_owned())
            .stack_size(BIG_STACK_BYTES)
            .spawn(move || handle.block_on(work))
            .map_err(|error| {
                Error::new(ErrorKind::Io, format!("cannot start a thread: {error}"))
            })?;
        thread.join().unwrap_or_else(|panic| Err(panicked(&*panic)))
    }

    /// Runs a future on this thread, inside or outside of any async runtime; what it spawns runs
    /// on the database's. A panic becomes an error.
    pub(crate) fn here<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let _entered = self.runtime()?.enter();
        // Unconstrained: the budget of a task that calls from another runtime is not ours to use up.
        guarded(|| Ok(wait(tokio::task::unconstrained(work))))
    }

    /// Rows of a stream that is polled by who reads them, or sent by a task to who must not wait.
    pub(crate) fn read_here(
        self: &Arc<Self>,
        stream: SendableRecordBatchStream,
        run: &Arc<Run>,
    ) -> Result<RowStream> {
        let reading = Reading::new(run);
        match self.options.point_statements {
            true => Ok(RowStream::here(Arc::clone(self), stream, reading)),
            false => self.read(stream, reading),
        }
    }

    /// Reads a stream on the runtime's threads. A panic while it runs ends it with an error, never
    /// with what looks like its end.
    pub(crate) fn read(
        self: &Arc<Self>,
        stream: SendableRecordBatchStream,
        reading: Reading,
    ) -> Result<RowStream> {
        self.send(stream.map_err(Error::from), Some(reading))
    }

    /// As [`read`](Self::read), of any rows.
    pub(crate) fn send(
        self: &Arc<Self>,
        mut stream: impl Stream<Item = Result<RecordBatch>> + Send + Unpin + 'static,
        reading: Option<Reading>,
    ) -> Result<RowStream> {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let task = async move {
            loop {
                let next = match AssertUnwindSafe(stream.next()).catch_unwind().await {
                    Ok(batch) => batch.transpose(),
                    Err(panic) => Err(panicked(&*panic)),
                };
                let last = !matches!(next, Ok(Some(_)));
                if sender.send(next).await.is_err() || last {
                    return;
                }
            }
        };
        let task = self.runtime()?.spawn(task);
        Ok(RowStream::new(Arc::clone(self), receiver, task.abort_handle(), reading))
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().ok_or_else(|| Error::new(ErrorKind::Closed, "the database is closed"))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, and panics on those of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs a step of a statement on this thread; a panic becomes an error.
pub(crate) fn guarded<T>(step: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::internal(format!("the statement panicked: {text}"))
}

fn memory(spill: Option<PathBuf>, options: &SqlOptions) -> Result<Arc<RuntimeEnv>> {
    let consumers = CONSUMERS_NAMED.try_into().unwrap_or(std::num::NonZeroUsize::MIN);
    let pool = TrackConsumersPool::new(FairSpillPool::new(options.memory_bytes), consumers);
    let mode = match spill {
        Some(folder) => DiskManagerMode::Directories(vec![folder]),
        None => DiskManagerMode::Disabled,
    };
    let disk = DiskManagerBuilder::default()
        .with_mode(mode)
        .with_max_temp_directory_size(options.spill_bytes_max);
    Ok(RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk)
        .build_arc()?)
}

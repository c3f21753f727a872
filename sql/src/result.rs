//! What a statement gives back: rows as they come, or a count.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::interrupt::Reading;
use crate::point::{FoundRow, PointScan};
use crate::shared::guarded;
use crate::{Error, ErrorKind, Result, Shared};

/// The outcome of one statement.
#[derive(Debug)]
pub enum StatementResult {
    /// Rows, possibly none.
    Rows {
        /// Names and types of the columns.
        schema: SchemaRef,
        /// The rows; the statement runs while they are read and stops when this is dropped.
        stream: RowStream,
    },
    /// No rows, but a number of them changed.
    Count {
        /// What was done: `INSERT`, `CREATE TABLE`, ...
        tag: &'static str,
        /// The rows changed; 0 for statements that change none.
        rows: u64,
    },
}

/// Rows of a running statement. An iterator that blocks, inside and outside of an async runtime,
/// and a `Stream`.
pub struct RowStream {
    rows: Rows,
}

/// Where rows come from.
enum Rows {
    /// They are there already.
    Ready(std::vec::IntoIter<RecordBatch>),
    /// The one row of a lookup.
    Found(Box<FoundRow>),
    /// Read on the thread that asks for them.
    Scan(Arc<Shared>, Box<PointScan>),
    /// Computed on the thread that asks for them.
    Here(Arc<Shared>, SendableRecordBatchStream, Reading),
    /// Computed on the runtime's threads.
    Running(Running),
    Ended,
}

/// Rows that a task sends.
struct Running {
    /// `Ok(None)` is the end: a channel that closes without it was cut off.
    batches: mpsc::Receiver<Result<Option<RecordBatch>>>,
    task: AbortHandle,
    /// Ends also what the task cannot be aborted in.
    _reading: Option<Reading>,
    /// Keeps the threads that compute the rows.
    _shared: Arc<Shared>,
}

impl RowStream {
    pub(crate) fn new(
        shared: Arc<Shared>,
        batches: mpsc::Receiver<Result<Option<RecordBatch>>>,
        task: AbortHandle,
        reading: Option<Reading>,
    ) -> Self {
        let running = Running { batches, task, _reading: reading, _shared: shared };
        Self { rows: Rows::Running(running) }
    }

    /// Rows that are there already.
    pub(crate) fn ready(batches: Vec<RecordBatch>) -> Self {
        Self { rows: Rows::Ready(batches.into_iter()) }
    }

    /// The one row of a lookup.
    pub(crate) fn found(row: FoundRow) -> Self {
        Self { rows: Rows::Found(Box::new(row)) }
    }

    /// Rows of key ranges.
    pub(crate) fn scan(shared: Arc<Shared>, scan: Box<PointScan>) -> Self {
        Self { rows: Rows::Scan(shared, scan) }
    }

    /// Rows of a statement that runs where they are read.
    pub(crate) fn here(
        shared: Arc<Shared>,
        stream: SendableRecordBatchStream,
        reading: Reading,
    ) -> Self {
        Self { rows: Rows::Here(shared, stream, reading) }
    }

    /// Takes out the one row of a lookup, which is then not given again; none if the rows come
    /// another way.
    pub fn take_found(&mut self) -> Option<FoundRow> {
        match std::mem::replace(&mut self.rows, Rows::Ended) {
            Rows::Found(row) => Some(*row),
            other => {
                self.rows = other;
                None
            }
        }
    }

    /// The next batch of rows that come without waiting for another thread; `None` if they do not.
    fn next_here(&mut self) -> Option<Option<Result<RecordBatch>>> {
        let next = match &mut self.rows {
            Rows::Ready(batches) => batches.next().map(Ok),
            Rows::Scan(_, scan) => guarded(|| scan.next().transpose()).transpose(),
            Rows::Here(shared, stream, reading) => {
                let mut next = || reading.check().and_then(|()| shared.here(stream.next()));
                match next() {
                    Ok(next) => next.map(|batch| batch.map_err(Error::from)),
                    Err(error) => Some(Err(error)),
                }
            }
            Rows::Found(row) => {
                let batch = row.to_batch().cloned();
                self.rows = Rows::Ended;
                return Some(Some(batch));
            }
            Rows::Ended => None,
            Rows::Running(_) => return None,
        };
        if !matches!(next, Some(Ok(_))) {
            self.rows = Rows::Ended;
        }
        Some(next)
    }
}

impl Iterator for RowStream {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_here() {
            Some(next) => next,
            None => wait(StreamExt::next(self)),
        }
    }
}

impl Stream for RowStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        // Who polls must not be held up by the disk.
        let sent = match std::mem::replace(&mut this.rows, Rows::Ended) {
            Rows::Scan(shared, scan) => shared.send(futures::stream::iter(scan), None),
            Rows::Here(shared, stream, reading) => shared.read(stream, reading),
            rows => Ok(Self { rows }),
        };
        match sent {
            Ok(rows) => *this = rows,
            Err(error) => return Poll::Ready(Some(Err(error))),
        }
        if let Some(next) = this.next_here() {
            return Poll::Ready(next);
        }
        let Rows::Running(running) = &mut this.rows else { return Poll::Ready(None) };
        let Poll::Ready(next) = running.batches.poll_recv(context) else { return Poll::Pending };
        let next = match next {
            Some(Ok(Some(batch))) => return Poll::Ready(Some(Ok(batch))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(Error::new(ErrorKind::Interrupted, "the statement was cancelled"))),
        };
        this.rows = Rows::Ended;
        Poll::Ready(next)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for RowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").finish_non_exhaustive()
    }
}

/// Waits for a future on this thread, whatever runtime the thread may belong to: Tokio's own
/// waiting panics on its threads. The future must be driven by other threads.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

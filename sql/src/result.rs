//! What a statement gives back: rows as they come, or a count.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use futures::Stream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

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
#[derive(Debug)]
pub struct RowStream {
    /// `Ok(None)` is the end: a channel that closes without it was cut off.
    batches: mpsc::Receiver<Result<Option<RecordBatch>>>,
    ended: bool,
    task: Option<AbortHandle>,
    /// Keeps the threads that compute the rows.
    _shared: Option<Arc<Shared>>,
}

impl RowStream {
    pub(crate) fn new(
        shared: Arc<Shared>,
        batches: mpsc::Receiver<Result<Option<RecordBatch>>>,
        task: AbortHandle,
    ) -> Self {
        Self { batches, ended: false, task: Some(task), _shared: Some(shared) }
    }

    /// Rows that are there already.
    pub(crate) fn ready(batches: Vec<RecordBatch>) -> Self {
        let (sender, receiver) = mpsc::channel(batches.len() + 1);
        for batch in batches.into_iter().map(Some).chain([None]) {
            // The channel has room for all of them and its receiver lives: this cannot fail.
            drop(sender.try_send(Ok(batch)));
        }
        Self { batches: receiver, ended: false, task: None, _shared: None }
    }
}

impl Iterator for RowStream {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        wait(futures::StreamExt::next(self))
    }
}

impl Stream for RowStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(next) = self.batches.poll_recv(context) else { return Poll::Pending };
        let next = match next {
            Some(Ok(Some(batch))) => return Poll::Ready(Some(Ok(batch))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(Error::new(ErrorKind::Interrupted, "the statement was cancelled"))),
        };
        self.ended = true;
        Poll::Ready(next)
    }
}

impl Drop for RowStream {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
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

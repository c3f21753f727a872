//! Where statements are planned and change rows: on threads of their own, a bounded number at a
//! time, so that the threads that talk to clients never wait for a disk. A bounded number waits.

use std::pin::pin;
use std::sync::Arc;

use silt_sql::InterruptHandle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// Runs blocking work, some at a time; some more waits in line.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    places: Arc<Semaphore>,
    line: Arc<Semaphore>,
    full: Arc<str>,
}

impl Workers {
    /// At most `most` at a time, while at most `waiting` wait; `what` they are, and the option that
    /// says how many may wait, stand in the error of the next one.
    pub(crate) fn new(most: usize, waiting: usize, what: &str, option: &str) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let full = format!("{waiting} {what} wait already ({option}): try again later").into();
        Self { places: places(most.max(1)), line: places(waiting), full }
    }

    /// Runs `work`. Where the caller goes away first, work that waits is dropped, and work that runs
    /// comes to its end.
    ///
    /// # Errors
    /// `ResourceExhausted` if too many wait.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        on_thread(self.place().await?, work).await
    }

    /// As [`run`](Self::run), until `cancelled` is ready or the caller goes away: work that waits is
    /// then dropped, and what runs hears of it by the handle that it is given.
    pub(crate) async fn run_until<T: Send + 'static>(
        &self,
        cancelled: impl Future<Output = ()>,
        ends: &Ends,
        work: impl FnOnce(&InterruptHandle) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let mut cancelled = pin!(cancelled);
        let place = tokio::select! {
            biased;
            () = &mut cancelled => return Err(Status::cancelled("the statement was cancelled")),
            place = self.place() => place?,
        };
        let handle = ends.0.clone();
        let mut running = pin!(on_thread(place, move || work(&handle)));
        tokio::select! {
            biased;
            done = &mut running => return done,
            () = cancelled => ends.0.interrupt(),
        }
        // Only what runs knows whether it was ended before its commit.
        running.await
    }

    /// Runs what gives back what others wait for, such as the end of a transaction: it stands in
    /// line however long that is.
    ///
    /// # Errors
    /// What `work` says.
    pub(crate) async fn run_always<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        on_thread(self.next_place().await?, work).await
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let in_line = self.line.try_acquire();
        let _in_line = in_line.map_err(|_| Status::resource_exhausted(&*self.full))?;
        self.next_place().await
    }

    async fn next_place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|_| Status::unavailable("the server is shutting down"))
    }
}

async fn on_thread<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let work = move || {
        let done = work();
        drop(place);
        done
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a statement ended its thread");
        Err(Status::internal("the server made a mistake: see its log"))
    })
}

/// Ends what a call runs when the call is dropped: its client went away, its time is over, or the
/// server stops.
#[derive(Debug, Default)]
pub(crate) struct Ends(InterruptHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn so_many_wait_and_the_next_is_refused_by_name() {
        let workers = Workers::new(1, 2, "statements", "--statements-queued-max");
        let (go, wait) = mpsc::channel::<()>();
        let run = |work: Box<dyn FnOnce() + Send>| {
            let workers = workers.clone();
            tokio::spawn(async move {
                workers
                    .run(move || {
                        work();
                        Ok(())
                    })
                    .await
            })
        };
        let first = run(Box::new(move || wait.recv().unwrap()));
        while workers.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let waiting = [run(Box::new(|| ())), run(Box::new(|| ()))];
        while workers.line.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = workers.run(|| Ok(())).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(refused.message().contains("--statements-queued-max"), "{refused}");
        let always = workers.clone();
        let always = tokio::spawn(async move { always.run_always(|| Ok(())).await });
        go.send(()).unwrap();
        for done in [first, always].into_iter().chain(waiting) {
            done.await.unwrap().unwrap();
        }
        assert_eq!((workers.places.available_permits(), workers.line.available_permits()), (1, 2));
    }

    #[tokio::test]
    async fn what_waits_and_is_cancelled_never_runs() {
        let workers = Workers::new(1, 1, "statements", "--statements-queued-max");
        let place = workers.place().await.unwrap();
        let ends = Ends::default();
        let cancelled = tokio::task::yield_now();
        let done =
            workers.run_until(cancelled, &ends, |_| -> Result<(), Status> { panic!() }).await;
        assert_eq!(done.unwrap_err().code(), tonic::Code::Cancelled);
        drop(place);
        workers.run(|| Ok(())).await.unwrap();
    }
}

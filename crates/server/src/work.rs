//! Where statements are planned and change rows: on threads of their own, a bounded number at a
//! time, so that the threads that talk to clients never wait for a disk.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::Status;

/// Runs blocking work, some at a time; the rest waits in line.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    places: Arc<Semaphore>,
}

impl Workers {
    /// At most `most` at a time.
    pub(crate) fn new(most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// Runs `work` when there is a place. Where the caller goes away first, work that waits is
    /// dropped, and work that runs comes to its end.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| Status::unavailable("the server is shutting down"))?;
        let work = move || {
            let done = work();
            drop(place);
            done
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "a statement ended its thread");
                Err(Status::internal("the server made a mistake: see its log"))
            }
        }
    }
}

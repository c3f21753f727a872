//! How a server stops.
//!
//! 1. It is told to: [`Stopping::begin`], or a signal. The sockets are closed, and clients hear that
//!    their connections take no further call.
//! 2. Calls that run may come to their end, for so long. A second signal ends the wait.
//! 3. What still runs is cancelled: its clients hear `Unavailable`, its transaction is rolled back.
//! 4. Commits that have begun come to their end, and the log is synced. Nothing that was
//!    acknowledged is lost, whatever the database's durability.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// What cancelled calls may take to tell their clients.
const FAREWELL: Duration = Duration::from_secs(1);

/// How far a server has come with stopping.
#[derive(Clone, Debug)]
pub(crate) struct Stopping {
    stop: Arc<watch::Sender<bool>>,
    cancel: Arc<watch::Sender<bool>>,
}

impl Default for Stopping {
    fn default() -> Self {
        let told = || Arc::new(watch::Sender::new(false));
        Self { stop: told(), cancel: told() }
    }
}

impl Stopping {
    /// Takes no further connections and calls.
    pub(crate) fn begin(&self) {
        self.stop.send_replace(true);
    }

    /// Ends what runs.
    fn cancel(&self) {
        self.cancel.send_replace(true);
    }

    /// True from [`begin`](Self::begin) on.
    pub(crate) fn stop(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// True when running calls are to end.
    pub(crate) fn cancelled(&self) -> watch::Receiver<bool> {
        self.cancel.subscribe()
    }

    /// Ready when it was told to stop.
    pub(crate) async fn begun(&self) {
        drop(self.stop.subscribe().wait_for(|stop| *stop).await);
    }

    /// Once it was told to stop, cancels what runs after `timeout`; ready when that had its time,
    /// too.
    pub(crate) async fn overdue(&self, timeout: Duration) {
        self.begun().await;
        let mut cancel = self.cancel.subscribe();
        drop(tokio::time::timeout(timeout, cancel.wait_for(|cancel| *cancel)).await);
        if !*self.cancel.borrow() {
            tracing::warn!("calls run still, and are cancelled");
        }
        self.cancel();
        tokio::time::sleep(FAREWELL).await;
    }

    /// Stops at the first signal, and waits for nothing at the second.
    pub(crate) async fn on_signals(self) {
        let Some(mut signals) = Signals::new() else {
            return tracing::warn!("signals are not heard");
        };
        while let Some(signal) = signals.next().await {
            if *self.stop.borrow() {
                tracing::warn!(signal, "told again to stop: what runs is cancelled");
                return self.cancel();
            }
            tracing::info!(signal, "told to stop");
            self.begin();
        }
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Option<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let terminate = signal(SignalKind::terminate()).ok()?;
        let interrupt = signal(SignalKind::interrupt()).ok()?;
        Some(Self { terminate, interrupt })
    }

    async fn next(&mut self) -> Option<&'static str> {
        tokio::select! {
            told = self.terminate.recv() => told.map(|()| "SIGTERM"),
            told = self.interrupt.recv() => told.map(|()| "SIGINT"),
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Option<Self> {
        Some(Self)
    }

    async fn next(&mut self) -> Option<&'static str> {
        tokio::signal::ctrl_c().await.ok().map(|()| "Ctrl-C")
    }
}

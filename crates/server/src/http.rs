//! `/healthz` and `/metrics`, on a port of their own.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use silt_sql::Shared;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::listen::{self, Bounds, Io};
use crate::metrics::Metrics;

/// For a scraper and a few who look whether the server is well. Nobody is ever known here, so each
/// connection ends after its time, answered or not.
const BOUNDS: Bounds = Bounds {
    connections_max: 32,
    connections_per_address_max: 32,
    connections_rate_max: 32,
    strikes_max: u32::MAX,
    tls_handshake_timeout: Duration::ZERO,
    first_call_timeout: Duration::from_secs(30),
};
/// How long an answer about the database's health is given again.
const HEALTH_HOLDS: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Asked {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
    health: Arc<Mutex<Option<(Instant, bool)>>>,
}

/// Answers until the server is told to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
) {
    let Ok(address) = listener.local_addr() else { return };
    let asked = Asked { shared, metrics, stop: stop.clone(), health: Arc::default() };
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics_text))
        .with_state(asked);
    // Its connections are not those that the metrics are about.
    let incoming = listen::accept(listener, None, BOUNDS, &Arc::default(), stop.clone());
    let incoming = Incoming { incoming: Box::pin(incoming), address };
    let mut stop = stop;
    let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
    // Ends with the signal, and never with an error.
    drop(axum::serve(incoming, router).with_graceful_shutdown(stopped).await);
}

/// Whether calls are taken and commits reach the disk.
async fn health(State(asked): State<Asked>) -> impl IntoResponse {
    if *asked.stop.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    let known = *asked.health.lock();
    let well = match known {
        Some((since, well)) if since.elapsed() < HEALTH_HOLDS => well,
        _ => {
            let shared = Arc::clone(&asked.shared);
            let synced = tokio::task::spawn_blocking(move || shared.engine().sync().is_ok());
            let well = synced.await.unwrap_or(false);
            *asked.health.lock() = Some((Instant::now(), well));
            well
        }
    };
    match well {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the database cannot be written: see the log\n"),
    }
}

async fn metrics_text(State(asked): State<Asked>) -> impl IntoResponse {
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, format)], asked.metrics.text())
}

struct Incoming {
    incoming: Pin<Box<dyn Stream<Item = io::Result<Io>> + Send>>,
    address: SocketAddr,
}

impl axum::serve::Listener for Incoming {
    type Io = Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Io, SocketAddr) {
        loop {
            match self.incoming.next().await {
                Some(Ok(io)) => {
                    let address = io.peer().address();
                    return (io, address);
                }
                Some(Err(_)) => {}
                // The socket is closed; the server is about to stop.
                None => std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

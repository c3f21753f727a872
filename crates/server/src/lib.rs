//! SiltDB over the network: a database served by Arrow Flight SQL.
//!
//! 1. A connection passes the doorkeeper and TLS (`listen.rs`, `tls.rs`).
//! 2. Each call is let in by the one layer before the router (`interceptor.rs`, `auth/`), which gives
//!    it its [`session::ClientSession`].
//! 3. It runs within bounds (`limits.rs`), and is counted (`metrics.rs`, `http.rs`).
//! 4. The service (`service/`) turns it into calls of `silt-sql`: what may block runs on threads of
//!    its own (`work.rs`), rows flow back as Flight messages (`stream.rs`), errors as statuses
//!    (`status.rs`).
//!
//! What a session may do is not decided here but where its statements are planned.

mod auth;
mod body;
mod clock;
mod http;
mod interceptor;
mod limits;
mod listen;
mod log;
mod metrics;
mod options;
mod service;
mod session;
mod shutdown;
mod status;
mod stream;
mod tls;
mod work;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use parking_lot::Mutex;
use silt_sql::{Error, ErrorKind, Result, Shared};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tonic::transport::Server as Transport;

pub use clock::Clock;
pub use log::{LOG_VARIABLE, log_to_stderr};
pub use options::ServerOptions;
pub use tls::TlsOptions;

use auth::Authenticator;
use interceptor::CheckLayer;
use limits::{Calls, Limited};
use listen::Bounds;
use metrics::Metrics;
use service::FlightService;
use shutdown::Stopping;

/// Bytes a client may send on one stream before they are read: a few messages.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// And on all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// The longest headers of a call, in bytes.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// What a message may hold beside its command: names, handles, and the fields around them.
const COMMAND_EXTRA_BYTES: usize = 16 << 10;
/// Streams that a client reset and that were not looked at yet; with more the connection ends.
const RESETS_PENDING_MAX: usize = 20;
/// A connection that is silent for so long is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(60);
/// And closed without an answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How often what expired is dropped.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// What commits that have begun may take when the server stops.
const LAST_COMMITS: Duration = Duration::from_secs(30);

/// A database that is being served.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    http_address: Option<SocketAddr>,
    shared: Arc<Shared>,
    stopping: Stopping,
    serving: Mutex<Option<JoinHandle<Result<()>>>>,
    runtime: Mutex<Option<Runtime>>,
}

/// Serves a database until it is told to stop.
///
/// # Errors
/// `Invalid` if it would be open to others than this machine without TLS and users; `Io` if it
/// cannot listen there or read the certificates.
pub fn serve(shared: Arc<Shared>, options: ServerOptions) -> Result<Server> {
    refuse_if_open(&shared, &options)?;
    let tls = options.tls.as_ref().map(tls::acceptor).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("silt-server")
        .enable_all()
        .build()
        .map_err(|error| io("start threads", &error))?;
    let _entered = runtime.enter();
    let (listener, address) = bind(options.listen)?;
    let http = options.http.map(bind).transpose()?;
    let http_address = http.as_ref().map(|(_, address)| *address);

    let (options, metrics) = (Arc::new(options), Arc::new(Metrics::default()));
    let stopping = Stopping::default();
    let authenticator =
        Authenticator::new(Arc::clone(&shared), Arc::clone(&options), Arc::clone(&metrics));
    let authenticator = Arc::new(authenticator);
    let calls = Calls::new(&options, &authenticator, &metrics, stopping.cancelled());
    let flight = FlightService::new(Arc::clone(&shared), Arc::clone(&options));
    let flight = FlightServiceServer::new(Limited::new(flight, calls))
        .max_decoding_message_size(options.message_bytes_max);
    let bounds = Bounds {
        connections_max: options.connections_max,
        connections_per_address_max: options.connections_per_address_max,
        connections_rate_max: options.connections_rate_max,
        strikes_max: options.strikes_max,
        tls_handshake_timeout: options.tls_handshake_timeout,
        first_call_timeout: options.first_call_timeout,
    };
    let command_bytes = options.command_bytes_max.saturating_add(COMMAND_EXTRA_BYTES);
    let incoming = listen::accept(listener, tls, bounds, &metrics, stopping.stop());
    let transport = Transport::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(options.streams_max)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_PENDING_MAX))
        .http2_keepalive_interval(Some(PING_AFTER))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .layer(CheckLayer(Arc::clone(&authenticator)))
        .layer(tower::util::MapRequestLayer::new(move |request| {
            body::whole(request, command_bytes)
        }))
        .add_service(flight);

    // The first check of a password makes what unknown users are checked against.
    runtime.spawn_blocking(|| silt_sql::password_matches("", None));
    runtime.spawn(authenticator.keep_sweeping(SWEEP_EVERY));
    if let Some((listener, _)) = http {
        let (shared, stop) = (Arc::clone(&shared), stopping.stop());
        runtime.spawn(http::serve(listener, shared, Arc::clone(&metrics), stop));
    }
    if options.signals {
        runtime.spawn(stopping.clone().on_signals());
    }
    tracing::info!(%address, tls = options.tls.is_some(), "serving");
    let (stops, timeout) = (stopping.clone(), options.shutdown_timeout);
    let serving = runtime.spawn(async move {
        let told = stops.clone();
        let serving =
            transport.serve_with_incoming_shutdown(incoming, async move { told.begun().await });
        tokio::select! {
            served = serving => served.map_err(|error| io("serve", &error)),
            () = stops.overdue(timeout) => Ok(()),
        }
    });
    drop(_entered);
    Ok(Server {
        address,
        http_address,
        shared,
        stopping,
        serving: Mutex::new(Some(serving)),
        runtime: Mutex::new(Some(runtime)),
    })
}

/// Only who has TLS and users is open to other machines.
fn refuse_if_open(shared: &Shared, options: &ServerOptions) -> Result<()> {
    let addresses = [Some(options.listen), options.http];
    let open = addresses.into_iter().flatten().find(|address| !address.ip().is_loopback());
    let Some(address) = open else { return Ok(()) };
    let mut missing = Vec::new();
    if options.tls.is_none() {
        missing.push("TLS: --tls-cert FILE --tls-key FILE");
    }
    if !shared.catalog().current().has_users() {
        missing.push("a user: silt user add NAME --role admin --db DB");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let message =
        format!("{address} is open to other machines, which needs {}", missing.join("; and "));
    Err(Error::invalid(message).with_hint(Some("listen on 127.0.0.1 instead".to_owned())))
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listen = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    listen().map_err(|error: std::io::Error| io(&format!("listen on {address}"), &error))
}

fn io(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what}: {error}"))
}

impl Server {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where `/healthz` and `/metrics` are answered.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// Tells it to stop: no new connections and calls; those that run have a while to end.
    pub fn shutdown(&self) {
        self.stopping.begin();
    }

    /// Waits until it was told to stop and has stopped; then every commit is on the disk. The
    /// database is still open.
    ///
    /// # Errors
    /// `Io` if serving or the last sync failed.
    pub fn wait(&self) -> Result<()> {
        let Some(serving) = self.serving.lock().take() else { return Ok(()) };
        let Some(runtime) = self.runtime.lock().take() else { return Ok(()) };
        let served = futures::executor::block_on(serving).unwrap_or_else(|error| {
            Err(Error::internal(format!("the server's task ended: {error}")))
        });
        // Connections that did not close are dropped here, and with them what their calls read.
        runtime.shutdown_timeout(LAST_COMMITS);
        let synced = self.shared.engine().sync();
        tracing::info!("stopped");
        served.and(Ok(synced?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown();
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

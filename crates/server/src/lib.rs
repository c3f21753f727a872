//! SiltDB over the network: a database served by Arrow Flight SQL.
//!
//! A request passes TLS, the limits and the check of its token (`lib.rs` and what it names), then
//! reaches the service (`service/`) with its [`session::ClientSession`]. The service turns it into
//! calls of `silt-sql`: what may block runs on threads of its own (`work.rs`), rows flow back as
//! Flight messages (`stream.rs`), errors as statuses (`status.rs`).

mod options;
mod service;
mod session;
mod status;
mod stream;
mod work;

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use silt_catalog::Role;
use silt_sql::{Error, ErrorKind, Result, Shared};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Request;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server as Transport;
use tonic::transport::server::TcpIncoming;

pub use options::ServerOptions;

use session::ClientSession;

/// A database that is being served.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: Mutex<Option<JoinHandle<Result<()>>>>,
    runtime: Option<Runtime>,
}

/// Serves a database until it is told to stop.
///
/// # Errors
/// `Io` if it cannot listen there.
pub fn serve(shared: Arc<Shared>, options: ServerOptions) -> Result<Server> {
    let io = |what: &str, error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Io, format!("cannot {what}: {error}"))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("silt-server")
        .enable_all()
        .build()
        .map_err(|error| io("start threads", &error))?;
    let listen = options.listen;
    let listener = runtime.block_on(tokio::net::TcpListener::bind(listen));
    let listener = listener.map_err(|error| io(&format!("listen on {listen}"), &error))?;
    let address = listener.local_addr().map_err(|error| io("read the address", &error))?;
    let (stop, mut stopped) = watch::channel(false);
    let options = Arc::new(options);
    let anonymous = Arc::new(ClientSession::new(None, Role::Admin, &options));
    let flight = service::FlightService::server(shared, options);
    let flight = InterceptedService::new(flight, move |mut request: Request<()>| {
        anonymous.sweep();
        request.extensions_mut().insert(Arc::clone(&anonymous));
        Ok(request)
    });
    let serving = runtime.spawn(async move {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let stopped = async move { drop(stopped.wait_for(|stop| *stop).await) };
        Transport::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .add_service(flight)
            .serve_with_incoming_shutdown(incoming, stopped)
            .await
            .map_err(|error| Error::new(ErrorKind::Io, format!("the server failed: {error}")))
    });
    Ok(Server { address, stop, serving: Mutex::new(Some(serving)), runtime: Some(runtime) })
}

/// Bytes a client may send on one stream before they are read: a few messages.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// And on all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

impl Server {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Tells it to stop: no new connections, running calls end.
    pub fn shutdown(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until it has stopped.
    ///
    /// # Errors
    /// `Io` if it failed.
    pub fn wait(&self) -> Result<()> {
        let (Some(serving), Some(runtime)) = (self.serving.lock().take(), &self.runtime) else {
            return Ok(());
        };
        runtime.block_on(serving).unwrap_or_else(|error| {
            Err(Error::internal(format!("the server's task ended: {error}")))
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

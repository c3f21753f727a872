//! From a listening socket to connections that may call.
//!
//! 1. [`Doorkeeper::enter`] counts connections, in all and by address; too many are closed at once.
//! 2. TLS has so much time for its handshake.
//! 3. A connection that nobody is known on is closed after so much time: one that sends nothing,
//!    or its first headers byte by byte, or only wrong passwords ([`Connection::welcome`]).
//!
//! The accepting task never waits for a client: each of these happens on a task of its own.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::metrics::{Metrics, Turned};
use crate::session::ClientSession;

/// Connections that are ready and not yet taken over.
const READY_MAX: usize = 16;
/// After an error of accepting, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end: every call has it among its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    address: SocketAddr,
    connection: Arc<Connection>,
}

impl Peer {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// What is known of one connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    welcome: AtomicBool,
    anonymous: OnceLock<Arc<ClientSession>>,
}

impl Connection {
    /// Notes that a call came that was let in.
    pub(crate) fn welcome(&self) {
        self.welcome.store(true, Ordering::Relaxed);
    }

    /// The session of all calls on this connection, where nobody logs in.
    pub(crate) fn anonymous(
        &self,
        begin: impl FnOnce() -> Arc<ClientSession>,
    ) -> Arc<ClientSession> {
        Arc::clone(self.anonymous.get_or_init(begin))
    }
}

/// What bounds connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) connections_max: usize,
    pub(crate) connections_per_address_max: usize,
    pub(crate) tls_handshake_timeout: Duration,
    /// How long a connection may stay that nobody is known on.
    pub(crate) first_call_timeout: Duration,
}

/// Counts connections.
#[derive(Debug)]
struct Doorkeeper {
    bounds: Bounds,
    inside: Mutex<HashMap<IpAddr, usize>>,
    metrics: Arc<Metrics>,
}

/// A connection's place; free again when it is dropped.
#[derive(Debug)]
struct Place {
    doorkeeper: Arc<Doorkeeper>,
    block: IpAddr,
}

impl Doorkeeper {
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let block = block(address);
        let mut inside = self.inside.lock();
        let all: usize = inside.values().sum();
        let own = inside.entry(block).or_default();
        let Bounds { connections_max, connections_per_address_max, .. } = self.bounds;
        if all >= connections_max || *own >= connections_per_address_max {
            if *own == 0 {
                inside.remove(&block);
            }
            return None;
        }
        *own += 1;
        self.metrics.connections(all + 1);
        Some(Place { doorkeeper: Arc::clone(self), block })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.doorkeeper.inside.lock();
        if let Some(own) = inside.get_mut(&self.block) {
            *own -= 1;
            if *own == 0 {
                inside.remove(&self.block);
            }
        }
        self.doorkeeper.metrics.connections(inside.values().sum());
    }
}

/// What counts as one address: of IPv6 the network, whose owner has all addresses in it.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

/// Accepts connections until it is told to stop; then the socket is closed.
pub(crate) fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    bounds: Bounds,
    metrics: &Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) -> impl Stream<Item = io::Result<Io>> + Send + 'static + use<> {
    let (inside, kept) = (Mutex::default(), Arc::clone(metrics));
    let doorkeeper = Arc::new(Doorkeeper { bounds, inside, metrics: kept });
    let Bounds { first_call_timeout: first_call, tls_handshake_timeout: handshake, .. } = bounds;
    let (ready, accepted) = mpsc::channel(READY_MAX);
    let metrics = Arc::clone(metrics);
    tokio::spawn(async move {
        loop {
            let connection = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = ready.closed() => return,
                connection = listener.accept() => connection,
            };
            let (stream, address) = match connection {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(place) = doorkeeper.enter(address.ip()) else {
                metrics.turned(Turned::TooMany);
                tracing::debug!(%address, "too many connections");
                continue;
            };
            // Small answers leave at once; a socket that refuses is about to close.
            drop(stream.set_nodelay(true));
            let deadline = Box::pin(tokio::time::sleep(first_call));
            let (tls, ready, metrics) = (tls.clone(), ready.clone(), Arc::clone(&metrics));
            tokio::spawn(async move {
                let stream = match tls {
                    None => Wire::Plain(stream),
                    Some(tls) => match tokio::time::timeout(handshake, tls.accept(stream)).await {
                        Ok(Ok(stream)) => Wire::Tls(Box::new(stream)),
                        Ok(Err(error)) => {
                            metrics.turned(Turned::Tls);
                            tracing::debug!(%address, %error, "a TLS handshake failed");
                            return;
                        }
                        Err(_) => {
                            metrics.turned(Turned::Late);
                            tracing::debug!(%address, "a TLS handshake took too long");
                            return;
                        }
                    },
                };
                let peer = Peer { address, connection: Arc::default() };
                let io = Io { stream, peer, deadline: Some(deadline), metrics, _place: place };
                drop(ready.send(io).await);
            });
        }
    });
    futures::stream::unfold(accepted, |mut accepted| async move {
        accepted.recv().await.map(|io| (Ok(io), accepted))
    })
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One accepted connection.
pub(crate) struct Io {
    stream: Wire,
    peer: Peer,
    /// When it is closed unless a call was let in; none once one was.
    deadline: Option<Pin<Box<Sleep>>>,
    metrics: Arc<Metrics>,
    _place: Place,
}

impl Io {
    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(deadline) = &mut self.deadline else { return Ok(()) };
        if self.peer.connection.welcome.load(Ordering::Relaxed) {
            self.deadline = None;
            return Ok(());
        }
        if deadline.as_mut().poll(context).is_pending() {
            return Ok(());
        }
        self.metrics.turned(Turned::Late);
        tracing::debug!(address = %self.peer.address, "no call was let in for too long");
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl Connected for Io {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Does the same with either kind of stream.
macro_rules! on {
    ($io:expr, $stream:ident => $call:expr) => {
        match &mut $io.stream {
            Wire::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Wire::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        on!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on!(self, stream => stream.poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, stream => stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_in_all_and_by_network() {
        let doorkeeper = Arc::new(Doorkeeper {
            bounds: Bounds {
                connections_max: 3,
                connections_per_address_max: 2,
                tls_handshake_timeout: Duration::ZERO,
                first_call_timeout: Duration::ZERO,
            },
            inside: Mutex::default(),
            metrics: Arc::default(),
        });
        let enter = |address: &str| doorkeeper.enter(address.parse().unwrap());
        let first = enter("2001:db8::1").unwrap();
        let _second = enter("2001:db8::2:3").unwrap();
        assert!(enter("2001:db8::9").is_none(), "the network has its two");
        let _third = enter("::ffff:10.0.0.1").unwrap();
        assert!(enter("10.0.0.2").is_none(), "three in all");
        drop(first);
        let _fourth = enter("10.0.0.1").unwrap();
        assert_eq!(doorkeeper.inside.lock().values().sum::<usize>(), 3);
        assert_eq!(doorkeeper.inside.lock().len(), 2);
    }
}

//! From a listening socket to connections that may call.
//!
//! 1. [`Doorkeeper::enter`] counts connections, in all and by address; too many are closed at once,
//!    and those that come too fast from one address wait before anything is read from them.
//! 2. TLS has so much time for its handshake.
//! 3. A connection that nobody is known on is closed after so much time: one that sends nothing,
//!    or its first headers byte by byte, or only wrong passwords ([`Connection::welcome`]).
//! 4. So is one whose calls are refused, or given up before their answer, again and again
//!    ([`Connection::strike`]): who means it has to connect again, and waits as in 1.
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
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::metrics::{Metrics, Turned};
use crate::session::ClientSession;

/// Connections that are ready and not yet taken over.
const READY_MAX: usize = 16;
/// After an error of accepting, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);
/// Calls that come to nothing are forgotten at the rate of as many as a connection may make of them
/// in this time.
const STRIKES_FORGOTTEN: Duration = Duration::from_secs(10);
/// Addresses that are remembered before those that may be forgotten are.
const ADDRESSES_MIN: usize = 1_024;

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
#[derive(Debug)]
pub(crate) struct Connection {
    welcome: AtomicBool,
    anonymous: OnceLock<Arc<ClientSession>>,
    strikes: Mutex<Bucket>,
    /// Whether there were too many strikes.
    is_out: AtomicBool,
}

impl Connection {
    fn new(strikes_max: u32) -> Self {
        let strikes = Mutex::new(Bucket::new(strikes_max, STRIKES_FORGOTTEN));
        let (welcome, anonymous, is_out) = Default::default();
        Self { welcome, anonymous, strikes, is_out }
    }

    /// Notes a call that came to nothing by its client's doing: with a login that is not known, too
    /// long, or given up before it was answered. After too many the connection is closed.
    pub(crate) fn strike(&self) {
        if self.strikes.lock().put(Instant::now()) > Duration::ZERO {
            self.is_out.store(true, Ordering::Relaxed);
        }
    }

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

/// What may happen so often at once, and then at the rate at which what happened is forgotten: the
/// generic cell rate algorithm of ITU-T I.371.
#[derive(Debug)]
struct Bucket {
    /// The time in which one is forgotten.
    each: Duration,
    most: u32,
    /// When all are forgotten.
    empty: Option<Instant>,
}

impl Bucket {
    /// `most` at once, which are forgotten in `all`.
    fn new(most: u32, all: Duration) -> Self {
        Self { each: all / most.max(1), most, empty: None }
    }

    /// Puts one in, and gives the time until it fits.
    fn put(&mut self, now: Instant) -> Duration {
        let empty = self.empty.map_or(now, |empty| empty.max(now)) + self.each;
        self.empty = Some(empty);
        (empty - now).saturating_sub(self.each * self.most)
    }

    fn is_empty(&self, now: Instant) -> bool {
        self.empty.is_none_or(|empty| empty <= now)
    }
}

/// What bounds connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) connections_max: usize,
    pub(crate) connections_per_address_max: usize,
    /// New ones from one address, in a second; as many as may be open at once come without waiting.
    pub(crate) connections_rate_max: u32,
    pub(crate) strikes_max: u32,
    pub(crate) tls_handshake_timeout: Duration,
    /// How long a connection may stay that nobody is known on.
    pub(crate) first_call_timeout: Duration,
}

/// Counts connections.
#[derive(Debug)]
struct Doorkeeper {
    bounds: Bounds,
    inside: Mutex<Inside>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    /// Those that have connections, or had some lately.
    blocks: HashMap<IpAddr, Block>,
    /// How many blocks there may be before some are forgotten.
    blocks_max: usize,
}

/// One address.
#[derive(Debug)]
struct Block {
    open: usize,
    lately: Bucket,
}

/// A connection's place; free again when it is dropped.
#[derive(Debug)]
struct Place {
    doorkeeper: Arc<Doorkeeper>,
    block: IpAddr,
}

impl Doorkeeper {
    fn new(bounds: Bounds, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { bounds, inside: Mutex::default(), metrics })
    }

    /// A place, and the time that it has to wait.
    fn enter(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<(Place, Duration)> {
        let block = block(address);
        let mut inside = self.inside.lock();
        let Bounds { connections_max, connections_per_address_max, .. } = self.bounds;
        let own = inside.blocks.get(&block).map_or(0, |block| block.open);
        if inside.all >= connections_max || own >= connections_per_address_max {
            return None;
        }
        inside.make_room(now);
        inside.all += 1;
        let bounds = self.bounds;
        let own = inside.blocks.entry(block).or_insert_with(|| Block::new(bounds));
        own.open += 1;
        let wait = own.lately.put(now);
        self.metrics.connections(inside.all);
        Some((Place { doorkeeper: Arc::clone(self), block }, wait))
    }
}

impl Block {
    fn new(bounds: Bounds) -> Self {
        let Bounds { connections_per_address_max, connections_rate_max, .. } = bounds;
        let at_once = u32::try_from(connections_per_address_max).unwrap_or(u32::MAX).max(1);
        let all = Duration::from_secs(1).saturating_mul(at_once) / connections_rate_max.max(1);
        Self { open: 0, lately: Bucket::new(at_once, all) }
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        self.open == 0 && self.lately.is_empty(now)
    }
}

impl Inside {
    /// Forgets addresses that were not here lately, once there are twice as many as last time.
    fn make_room(&mut self, now: Instant) {
        if self.blocks.len() < self.blocks_max.max(ADDRESSES_MIN) {
            return;
        }
        self.blocks.retain(|_, block| !block.is_forgotten(now));
        self.blocks_max = self.blocks.len() * 2;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.doorkeeper.inside.lock();
        inside.all -= 1;
        if let Some(block) = inside.blocks.get_mut(&self.block) {
            block.open -= 1;
            if block.is_forgotten(Instant::now()) {
                inside.blocks.remove(&self.block);
            }
        }
        self.doorkeeper.metrics.connections(inside.all);
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
    let doorkeeper = Doorkeeper::new(bounds, Arc::clone(metrics));
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
            let Some((place, wait)) = doorkeeper.enter(address.ip(), Instant::now()) else {
                metrics.turned(Turned::TooMany);
                tracing::debug!(%address, "too many connections");
                continue;
            };
            // Small answers leave at once; a socket that refuses is about to close.
            drop(stream.set_nodelay(true));
            let (tls, ready, metrics) = (tls.clone(), ready.clone(), Arc::clone(&metrics));
            tokio::spawn(async move {
                if wait > Duration::ZERO {
                    metrics.connection_waited();
                    tracing::debug!(%address, ?wait, "connections come too fast");
                    tokio::time::sleep(wait).await;
                }
                let deadline = Box::pin(tokio::time::sleep(first_call));
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
                let connection = Arc::new(Connection::new(bounds.strikes_max));
                let peer = Peer { address, connection };
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
        if self.peer.connection.is_out.load(Ordering::Relaxed) {
            self.metrics.turned(Turned::Strikes);
            tracing::debug!(address = %self.peer.address, "too many calls came to nothing");
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
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

    fn doorkeeper(connections_max: usize, per_address: usize, rate: u32) -> Arc<Doorkeeper> {
        let bounds = Bounds {
            connections_max,
            connections_per_address_max: per_address,
            connections_rate_max: rate,
            strikes_max: 1,
            tls_handshake_timeout: Duration::ZERO,
            first_call_timeout: Duration::ZERO,
        };
        Doorkeeper::new(bounds, Arc::default())
    }

    #[test]
    fn connections_are_counted_in_all_and_by_network() {
        let doorkeeper = doorkeeper(3, 2, 1_000_000);
        let enter = |address: &str| doorkeeper.enter(address.parse().unwrap(), Instant::now());
        let first = enter("2001:db8::1").unwrap();
        let _second = enter("2001:db8::2:3").unwrap();
        assert!(enter("2001:db8::9").is_none(), "the network has its two");
        let _third = enter("::ffff:10.0.0.1").unwrap();
        assert!(enter("10.0.0.2").is_none(), "three in all");
        drop(first);
        let _fourth = enter("10.0.0.1").unwrap();
        assert_eq!(doorkeeper.inside.lock().all, 3);
        let open = |inside: &Inside| inside.blocks.values().map(|block| block.open).sum::<usize>();
        assert_eq!(open(&doorkeeper.inside.lock()), 3);
    }

    #[test]
    fn connections_that_come_too_fast_wait_and_addresses_are_forgotten() {
        let doorkeeper = doorkeeper(10_000, 4, 10);
        // Later than anything that the system's clock says meanwhile.
        let now = Instant::now() + Duration::from_secs(3_600);
        let enter = |address: &str, at: u64| {
            let at = now + Duration::from_millis(at);
            doorkeeper.enter(address.parse().unwrap(), at).map(|(_, wait)| wait.as_millis())
        };
        // Four at once, then one each tenth of a second; whether they stay or not.
        assert_eq!([0, 0, 0, 0].map(|at| enter("10.0.0.1", at)), [Some(0); 4]);
        assert_eq!(enter("10.0.0.1", 0), Some(100));
        assert_eq!(enter("10.0.0.1", 100), Some(100));
        assert_eq!(enter("10.0.0.2", 100), Some(0), "another address");
        assert_eq!(enter("10.0.0.1", 10_000), Some(0));
        // Only those of lately are remembered.
        for (count, at) in [(ADDRESSES_MIN, 20_000), (2 * ADDRESSES_MIN, 40_000)] {
            for number in 0..u32::try_from(count).unwrap() {
                let first = if at == 20_000 { 0x0b00_0000 } else { 0x0c00_0000 };
                let address = std::net::Ipv4Addr::from(first + number).to_string();
                assert_eq!(enter(&address, at), Some(0));
            }
            assert_eq!(doorkeeper.inside.lock().blocks.len(), count);
        }
    }

    #[test]
    fn connection_is_out_after_too_many_strikes_at_once_and_not_of_those_of_long_ago() {
        let (now, mut few) = (Instant::now(), Bucket::new(10, Duration::from_secs(10)));
        for second in 0..100 {
            assert_eq!(few.put(now + Duration::from_secs(second)), Duration::ZERO);
        }
        let connection = Connection::new(10);
        (0..10).for_each(|_| connection.strike());
        assert!(!connection.is_out.load(Ordering::Relaxed));
        (0..5).for_each(|_| connection.strike());
        assert!(connection.is_out.load(Ordering::Relaxed));
    }
}

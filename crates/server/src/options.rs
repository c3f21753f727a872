//! What may be set when a database is served.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::{Clock, TlsOptions};

/// Options of the server; those of engine and statements are set when the database is opened.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where it listens; port 0 takes a free one. Beyond this machine only with TLS and users.
    /// Default 127.0.0.1:50051.
    pub listen: SocketAddr,
    /// Encrypts connections. Default: none.
    pub tls: Option<TlsOptions>,
    /// Where `/healthz` and `/metrics` are answered over plain HTTP; under the same condition as
    /// `listen`. Default: nowhere.
    pub http: Option<SocketAddr>,
    /// Open connections. Default 1,000.
    pub connections_max: usize,
    /// Open connections from one address; of IPv6, from one /64. Default 200.
    pub connections_per_address_max: usize,
    /// New connections from one address a second; beyond as many as may be open at once, more wait.
    /// Default 50.
    pub connections_rate_max: u32,
    /// Calls of one connection in ten seconds that come to nothing by its client's doing: with a
    /// login that is not known, longer than allowed, or given up before they were answered. With
    /// more the connection is closed. Default 100.
    pub strikes_max: u32,
    /// How long a TLS handshake may take. Default 10 s.
    pub tls_handshake_timeout: Duration,
    /// How long a connection may stay on which no call was let in. Default 30 s.
    pub first_call_timeout: Duration,
    /// Calls that one connection may have running. Default 100.
    pub streams_max: u32,
    /// Calls that may be running in all; more are refused. Default 1,000.
    pub calls_max: usize,
    /// How long a call may take, its stream of rows included. Default one hour.
    pub statement_timeout: Duration,
    /// Longest accepted command, and with it the longest statement, in bytes. Default 1 MiB.
    pub command_bytes_max: usize,
    /// Longest accepted message, in bytes. Default 64 MiB.
    pub message_bytes_max: usize,
    /// Rows are sent in messages of about this many bytes, which stays below what clients accept
    /// by default. Default 2 MiB.
    pub batch_bytes: usize,
    /// Statements that are planned, or change something, at the same time; more wait. Default: four
    /// for each of the machine's cores.
    pub statements_max: usize,
    /// Statements, and loads, that wait for their turn; more are refused. Default 256.
    pub statements_queued_max: usize,
    /// Loads of rows that run at the same time; more wait. They wait for their clients and so do not
    /// take the places of statements. Default: two for each of the machine's cores.
    pub ingests_max: usize,
    /// How long a load waits for its client's next rows; then it fails. Default one minute.
    pub ingest_idle: Duration,
    /// Prepared statements a client may keep open. Default 1,000.
    pub prepared_max: usize,
    /// Queries a client may have asked for and not fetched to their end. Default 1,000.
    pub queries_max: usize,
    /// Transactions a client may have open. Default 16.
    pub transactions_max: usize,
    /// How long a prepared statement or query is kept that nobody uses. Default one hour.
    pub handle_idle: Duration,
    /// How long a transaction is kept that nobody uses; then it is rolled back. Default five minutes.
    pub transaction_idle: Duration,
    /// How long a login holds that nobody uses. Default one hour.
    pub token_idle: Duration,
    /// How long a login holds at most. Default 12 hours.
    pub token_lifetime: Duration,
    /// Logins of one user; with one more the least recently used ends. Default 1,000.
    pub logins_max: usize,
    /// Calls that take longer are logged, with their statement but without its literals. Default
    /// one second; none logs none.
    pub slow_statement: Option<Duration>,
    /// How long running calls may go on when the server is told to stop. Default 10 s.
    pub shutdown_timeout: Duration,
    /// Whether SIGTERM and Ctrl-C stop the server. Default false.
    pub signals: bool,
    /// By which logins expire. Default: the system's.
    pub clock: Clock,
}

impl Default for ServerOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_051)),
            tls: None,
            http: None,
            connections_max: 1_000,
            connections_per_address_max: 200,
            connections_rate_max: 50,
            strikes_max: 100,
            tls_handshake_timeout: Duration::from_secs(10),
            first_call_timeout: Duration::from_secs(30),
            streams_max: 100,
            calls_max: 1_000,
            statement_timeout: Duration::from_secs(3_600),
            command_bytes_max: 1 << 20,
            message_bytes_max: 64 << 20,
            batch_bytes: 2 << 20,
            statements_max: 4 * cores,
            statements_queued_max: 256,
            ingests_max: 2 * cores,
            ingest_idle: Duration::from_secs(60),
            prepared_max: 1_000,
            queries_max: 1_000,
            transactions_max: 16,
            handle_idle: Duration::from_secs(3_600),
            transaction_idle: Duration::from_secs(300),
            token_idle: Duration::from_secs(3_600),
            token_lifetime: Duration::from_secs(12 * 3_600),
            logins_max: 1_000,
            slow_statement: Some(Duration::from_secs(1)),
            shutdown_timeout: Duration::from_secs(10),
            signals: false,
            clock: Clock::default(),
        }
    }
}

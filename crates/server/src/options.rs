//! What may be set when a database is served.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Options of the server; those of engine and statements are set when the database is opened.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where it listens; port 0 takes a free one. Default 127.0.0.1:50051.
    pub listen: SocketAddr,
    /// Longest accepted message, in bytes. Default 64 MiB.
    pub message_bytes_max: usize,
    /// Rows are sent in messages of about this many bytes, which stays below what clients accept
    /// by default. Default 2 MiB.
    pub batch_bytes: usize,
    /// Statements that are planned, or change something, at the same time; more wait. Default: four
    /// for each of the machine's cores.
    pub statements_max: usize,
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
}

impl Default for ServerOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_051)),
            message_bytes_max: 64 << 20,
            batch_bytes: 2 << 20,
            statements_max: 4 * cores,
            prepared_max: 1_000,
            queries_max: 1_000,
            transactions_max: 16,
            handle_idle: Duration::from_secs(3_600),
            transaction_idle: Duration::from_secs(300),
        }
    }
}

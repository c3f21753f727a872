//! The server through Arrow's own client, and through Python's.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub, reason = "tests")]

#[path = "server/abuse.rs"]
mod abuse;
#[path = "server/apart.rs"]
mod apart;
#[path = "server/auth.rs"]
mod auth;
#[path = "server/cancel.rs"]
mod cancel;
#[path = "server/flood.rs"]
mod flood;
#[path = "server/guarded.rs"]
mod guarded;
#[path = "server/harness.rs"]
mod harness;
#[path = "server/ingest.rs"]
mod ingest;
#[path = "server/killed.rs"]
mod killed;
#[path = "server/load.rs"]
mod load;
#[path = "server/metadata.rs"]
mod metadata;
#[path = "server/python.rs"]
mod python;
#[path = "server/shutdown.rs"]
mod shutdown;
#[path = "server/statements.rs"]
mod statements;
#[path = "server/tls.rs"]
mod tls;
#[path = "server/transactions.rs"]
mod transactions;
#[path = "server/vanished.rs"]
mod vanished;

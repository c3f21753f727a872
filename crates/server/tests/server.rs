//! The server through Arrow's own client, and through Python's.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub, reason = "tests")]

#[path = "server/harness.rs"]
mod harness;
#[path = "server/ingest.rs"]
mod ingest;
#[path = "server/metadata.rs"]
mod metadata;
#[path = "server/python.rs"]
mod python;
#[path = "server/statements.rs"]
mod statements;
#[path = "server/transactions.rs"]
mod transactions;

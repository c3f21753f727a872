//! The server through Arrow's own client, and through Python's.

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

//! The whole product through its public doors, in one binary: each links all of DataFusion.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests stand outside the engine")]

mod bank;
mod ingest;
mod layers;
mod tpch;

//! The whole product through its public doors, in one binary: each links all of DataFusion.

#![expect(missing_docs, reason = "a test binary")]
#![allow(clippy::disallowed_methods, reason = "tests stand outside the engine")]

mod ingest;
mod layers;
mod tpch;

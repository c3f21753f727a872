//! Statements from text to rows, over the real engine on a disk in memory.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub, reason = "tests")]

mod sql {
    pub mod harness;

    mod anomalies;
    mod buckets;
    mod chains;
    mod ddl;
    mod delete;
    mod distinct;
    mod durable;
    mod errors;
    mod insert;
    mod interrupt;
    mod joins;
    mod keyed;
    mod many;
    mod memory;
    mod point;
    mod query;
    mod refused;
    mod scan;
    mod sums;
    mod transaction_reads;
    mod transactions;
    mod types;
    mod update;
    mod users;
}

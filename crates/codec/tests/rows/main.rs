//! Keys, rows, schemas and single values: what goes in comes out, in order, and no bytes make a
//! decoder panic. Proptest prints the seed and the smallest case of what fails.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod batches;
mod hostile;
mod keys;
mod rows;
mod schemas;
mod support;

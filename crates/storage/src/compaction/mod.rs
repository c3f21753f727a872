//! Compaction: files of one level merged into the next, so that a key stays in few places and what
//! nobody can see any more goes.
//!
//! [`pick`] decides and touches no disk; [`run`] does and decides nothing. What comes out is an
//! edit for the manifest: until it is applied, nothing has changed.

mod job;
mod picker;

#[cfg(test)]
pub(crate) use job::Finished;
pub(crate) use job::{Job, run};
pub(crate) use picker::{Compaction, debt_bytes, pick, pick_all};

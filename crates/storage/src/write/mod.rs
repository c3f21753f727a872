//! The write path: commits, the index of recent ones, flushes, bulk loads, backpressure.

pub(crate) mod bulk;
pub(crate) mod commit;
pub(crate) mod commit_index;
mod common_key;
mod early;
pub(crate) mod flush;
pub(crate) mod runs;
pub(crate) mod space;
pub(crate) mod throttle;
mod waiter;

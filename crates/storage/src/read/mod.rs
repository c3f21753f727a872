//! The read path: what leaves a tree, and how little is touched for it.
//!
//! A get asks the memtables, then level 0 newest first, then one file a level. A scan prunes files
//! and row groups, cuts what is left into sections that share no key, decodes those of one source
//! straight, and merges the others.

mod ahead;
mod counters;
mod encoded;
mod get;
mod late;
mod layers;
pub(crate) mod merge;
mod multi_get;
mod plan;
mod predicate;
mod request;
mod scan;
pub(crate) mod section;
mod shadow;
pub(crate) mod source;
mod statistics;
mod summary;
mod visible;

#[cfg(test)]
pub(crate) mod harness;
#[cfg(test)]
mod tests;

pub use counters::{Counter, ReadCounters};
pub use encoded::EncodedRows;
pub use multi_get::MultiGet;
pub use request::{KeyRange, Predicate, ScanOrder, ScanRequest, ScanWatch};
pub use scan::Scan;
pub use statistics::TreeStatistics;

pub(crate) use ahead::{Shaded, shade};
pub(crate) use get::get;
pub(crate) use multi_get::multi_get;
pub(crate) use scan::scan;
pub(crate) use shadow::ShadowCache;
pub(crate) use statistics::{estimate_rows, is_settled, rows_above, split, statistics};

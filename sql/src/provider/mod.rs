//! Tables as DataFusion sees them: bound to one snapshot, reached by key where the filters allow.

pub(crate) mod absorb;
mod dynamic;
pub(crate) mod pushdown;
pub(crate) mod scan;
pub(crate) mod seek;
pub(crate) mod table;
mod tabulated;

pub(crate) use table::SiltTable;

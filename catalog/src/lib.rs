//! Names, schemas and types: what SQL calls a table, and which tree holds its rows.
//!
//! The catalog is itself a tree ([`CATALOG_TREE`]) with one row per namespace, table, column and user.
//! It is changed by the same [`WriteBatch`](silt_storage::WriteBatch) as the data it describes, so
//! that after a crash either both are there or neither. In memory it is an immutable
//! [`CatalogSnapshot`] that a statement holds for as long as it runs.

mod catalog;
mod change;
mod error;
mod snapshot;
mod store;
mod suggest;
mod table;
mod types;
mod user;

pub use catalog::{CATALOG_TREE, Catalog};
pub use change::{CatalogChange, CatalogDraft};
pub use error::{Error, ErrorKind, Result};
pub use snapshot::{CATALOG_NAME, CatalogSnapshot, MAIN_NAMESPACE, NamespaceId};
pub use suggest::{did_you_mean, nearest};
pub use table::{ColumnDef, KeyColumn, ROWID_COLUMN, ROWID_NAME, TableDef, TableId};
pub use types::SqlType;
pub use user::{Role, USER_NAME_BYTES_MAX, UserDef, UserId};

//! [`CatalogSnapshot`]: all names as they stood at one commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use silt_storage::{SeqNo, TreeId};

use crate::{Error, ErrorKind, Result, TableDef, TableId, UserDef, did_you_mean};

/// A namespace's number, never used again.
pub type NamespaceId = u32;

/// The name of the one catalog.
pub const CATALOG_NAME: &str = "silt";
/// The namespace that every database has and that unqualified names mean.
pub const MAIN_NAMESPACE: &str = "main";

/// All namespaces, tables and users at one commit. Immutable: a change makes a new one.
#[derive(Clone, Debug, Default)]
pub struct CatalogSnapshot {
    pub(crate) seq: SeqNo,
    pub(crate) version: u64,
    pub(crate) namespaces: BTreeMap<String, NamespaceId>,
    pub(crate) tables: BTreeMap<(String, String), Arc<TableDef>>,
    pub(crate) users: BTreeMap<String, Arc<UserDef>>,
    pub(crate) next_id: u32,
}

impl CatalogSnapshot {
    /// The commit that made this catalog what it is; a batch written under it carries the number
    /// ([`WriteBatch::set_catalog_seq`](silt_storage::WriteBatch::set_catalog_seq)).
    pub fn seq(&self) -> SeqNo {
        self.seq
    }

    /// Tells this catalog from every other one of this process, committed or not: what was
    /// compiled under it may be kept for as long as a statement meets the same version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The namespaces' names, ascending.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.keys().map(String::as_str)
    }

    /// Whether there is such a namespace.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains_key(name)
    }

    /// All tables, by namespace and name.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableDef>> {
        self.tables.values()
    }

    /// The tables of one namespace, by name.
    pub fn tables_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<TableDef>> {
        self.tables
            .range((namespace.to_owned(), String::new())..)
            .take_while(move |((space, _), _)| space == namespace)
            .map(|(_, table)| table)
    }

    /// The table of that name, if there is one.
    pub fn find(&self, namespace: &str, name: &str) -> Option<&Arc<TableDef>> {
        self.tables.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// The table of that name.
    ///
    /// # Errors
    /// `NotFound`, with the nearest name as a hint.
    pub fn table(&self, namespace: &str, name: &str) -> Result<&Arc<TableDef>> {
        if let Some(table) = self.find(namespace, name) {
            return Ok(table);
        }
        if !self.has_namespace(namespace) {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("schema \"{namespace}\" does not exist"),
            )
            .with_hint(did_you_mean(namespace, self.namespaces())));
        }
        let hint = did_you_mean(name, self.tables_in(namespace).map(|table| table.name.as_str()));
        let shown = if namespace == MAIN_NAMESPACE {
            format!("table \"{name}\" does not exist")
        } else {
            format!("table \"{namespace}.{name}\" does not exist")
        };
        Err(Error::new(ErrorKind::NotFound, shown).with_hint(hint))
    }

    /// The table with this number.
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<TableDef>> {
        self.tables.values().find(|table| table.id == id)
    }

    /// The table whose rows this tree holds.
    pub fn table_of_tree(&self, tree: TreeId) -> Option<&Arc<TableDef>> {
        self.tables.values().find(|table| table.tree == tree)
    }

    /// All users, by name. None at all means that whoever opens the database may do everything.
    pub fn users(&self) -> impl Iterator<Item = &Arc<UserDef>> {
        self.users.values()
    }

    /// Whether the database has users.
    pub fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// The user of that name, if there is one.
    pub fn find_user(&self, name: &str) -> Option<&Arc<UserDef>> {
        self.users.get(name)
    }

    /// The trees that tables name.
    pub fn trees(&self) -> BTreeSet<TreeId> {
        self.tables.values().map(|table| table.tree).collect()
    }
}

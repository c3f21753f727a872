//! [`CatalogChange`]: what one DDL statement does to the catalog, in memory and in rows.
//! [`CatalogDraft`]: what those of one transaction did together.

use std::sync::Arc;

use silt_storage::{TreeId, WriteBatch};

use crate::store::RowWriter;
use crate::{
    CatalogSnapshot, Error, ErrorKind, MAIN_NAMESPACE, NamespaceId, Result, Role, TableDef,
    UserDef, did_you_mean,
};

/// A change being made under the catalog's lock; see [`Catalog::change`](crate::Catalog::change).
#[derive(Debug)]
pub struct CatalogChange<'a> {
    pub(crate) snapshot: CatalogSnapshot,
    pub(crate) batch: WriteBatch,
    pub(crate) retired: Vec<TreeId>,
    writer: &'a RowWriter,
    /// Whether the commit comes later than the rows that the change was decided on.
    is_draft: bool,
}

/// The catalog as one transaction sees it: its own until it commits.
#[derive(Clone, Debug)]
pub struct CatalogDraft {
    pub(crate) names: Arc<CatalogSnapshot>,
    pub(crate) retired: Vec<TreeId>,
    pub(crate) is_changed: bool,
}

impl CatalogDraft {
    pub(crate) fn new(names: Arc<CatalogSnapshot>) -> Self {
        Self { names, retired: Vec::new(), is_changed: false }
    }

    /// The names that the transaction sees now.
    pub fn names(&self) -> &Arc<CatalogSnapshot> {
        &self.names
    }

    /// The trees that go when it commits.
    pub fn retired(&self) -> &[TreeId] {
        &self.retired
    }
}

impl<'a> CatalogChange<'a> {
    pub(crate) fn new(snapshot: CatalogSnapshot, writer: &'a RowWriter) -> Self {
        let (batch, retired) = (WriteBatch::new(), Vec::new());
        Self { snapshot, batch, retired, writer, is_draft: false }
    }

    /// A change that is committed later, with the transaction it belongs to.
    pub(crate) fn draft(snapshot: CatalogSnapshot, writer: &'a RowWriter) -> Self {
        Self { is_draft: true, ..Self::new(snapshot, writer) }
    }

    /// The catalog with what was changed so far.
    pub fn snapshot(&self) -> &CatalogSnapshot {
        &self.snapshot
    }

    /// Makes a namespace.
    ///
    /// # Errors
    /// `AlreadyExists`.
    pub fn create_namespace(&mut self, name: &str) -> Result<()> {
        if self.snapshot.has_namespace(name) {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("schema \"{name}\" already exists"),
            ));
        }
        let id = self.take_id()?;
        self.writer.put_namespace(&mut self.batch, id, name)?;
        self.snapshot.namespaces.insert(name.to_owned(), id);
        Ok(())
    }

    /// Drops an empty namespace.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it holds tables, or is `main`.
    pub fn drop_namespace(&mut self, name: &str) -> Result<()> {
        let id = self.namespace(name)?;
        if name == MAIN_NAMESPACE {
            return Err(Error::invalid(format!("schema \"{MAIN_NAMESPACE}\" cannot be dropped")));
        }
        let count = self.snapshot.tables_in(name).count();
        if count > 0 {
            let tables = if count == 1 { "1 table".to_owned() } else { format!("{count} tables") };
            return Err(Error::invalid(format!("schema \"{name}\" still holds {tables}"))
                .with_hint(Some("drop them first, or say CASCADE".to_owned())));
        }
        self.writer.delete_namespace(&mut self.batch, id)?;
        self.snapshot.namespaces.remove(name);
        Ok(())
    }

    /// Makes a table whose tree exists; its id is given here.
    ///
    /// # Errors
    /// `AlreadyExists`; `NotFound` if the namespace is missing; `Invalid` if it cannot be.
    pub fn create_table(&mut self, mut table: TableDef) -> Result<Arc<TableDef>> {
        let namespace = self.namespace(&table.namespace)?;
        if self.snapshot.find(&table.namespace, &table.name).is_some() {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("table \"{}\" already exists", table.display_name()),
            ));
        }
        table.validate()?;
        table.id = self.take_id()?;
        self.writer.put_table(&mut self.batch, namespace, &table)?;
        self.writer.put_columns(&mut self.batch, &table)?;
        Ok(self.insert(table))
    }

    /// Drops a table; its tree goes with the last snapshot that may read it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn drop_table(&mut self, namespace: &str, name: &str) -> Result<Arc<TableDef>> {
        let table = Arc::clone(self.snapshot.table(namespace, name)?);
        self.writer.delete_table(&mut self.batch, &table)?;
        self.retire(table.tree);
        self.snapshot.tables.remove(&(namespace.to_owned(), name.to_owned()));
        Ok(table)
    }

    /// Gives a table another tree of the same schema, empty or filled by the same commit.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn replace_tree(
        &mut self,
        namespace: &str,
        name: &str,
        tree: TreeId,
    ) -> Result<Arc<TableDef>> {
        let mut table = TableDef::clone(self.snapshot.table(namespace, name)?);
        self.retire(table.tree);
        table.tree = tree;
        table.schema_version = 1;
        let namespace = self.namespace(namespace)?;
        self.writer.put_table(&mut self.batch, namespace, &table)?;
        Ok(self.insert(table))
    }

    /// Makes a user; the verifier tells the password without holding it.
    ///
    /// # Errors
    /// `AlreadyExists`; `Invalid` if the name cannot be, or if the first user is no admin: nobody
    /// could make another.
    pub fn create_user(&mut self, name: &str, role: Role, verifier: &str) -> Result<()> {
        if self.snapshot.users.contains_key(name) {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("user \"{name}\" already exists"),
            ));
        }
        if role != Role::Admin && !self.snapshot.has_users() {
            return Err(Error::invalid("the first user must be an admin"));
        }
        let user = UserDef {
            id: self.take_id()?,
            name: name.to_owned(),
            role,
            verifier: verifier.to_owned(),
            version: 1,
        };
        user.validate()?;
        self.put_user(user)
    }

    /// Gives a user another role, another password, or both.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if no admin would be left.
    pub fn alter_user(
        &mut self,
        name: &str,
        role: Option<Role>,
        verifier: Option<&str>,
    ) -> Result<()> {
        let mut user = UserDef::clone(self.user(name)?);
        if role.is_some_and(|role| role != Role::Admin) {
            self.keep_an_admin(&user)?;
        }
        user.role = role.unwrap_or(user.role);
        if let Some(verifier) = verifier {
            verifier.clone_into(&mut user.verifier);
        }
        user.version = user.version.wrapping_add(1).max(1);
        self.put_user(user)
    }

    /// Drops a user.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if others are left without an admin.
    pub fn drop_user(&mut self, name: &str) -> Result<()> {
        let user = Arc::clone(self.user(name)?);
        if self.snapshot.users.len() > 1 {
            self.keep_an_admin(&user)?;
        }
        self.writer.delete_user(&mut self.batch, user.id)?;
        self.snapshot.users.remove(name);
        Ok(())
    }

    fn put_user(&mut self, user: UserDef) -> Result<()> {
        self.writer.put_user(&mut self.batch, &user)?;
        self.snapshot.users.insert(user.name.clone(), Arc::new(user));
        Ok(())
    }

    fn user(&self, name: &str) -> Result<&Arc<UserDef>> {
        self.snapshot.users.get(name).ok_or_else(|| {
            let names = self.snapshot.users.keys().map(String::as_str);
            Error::new(ErrorKind::NotFound, format!("user \"{name}\" does not exist"))
                .with_hint(did_you_mean(name, names))
        })
    }

    /// An admin goes only while another stays.
    fn keep_an_admin(&self, going: &UserDef) -> Result<()> {
        let mut others = self.snapshot.users().filter(|user| user.id != going.id);
        if going.role == Role::Admin && !others.any(|user| user.role == Role::Admin) {
            return Err(Error::invalid(format!("user \"{}\" is the last admin", going.name)));
        }
        Ok(())
    }

    fn insert(&mut self, table: TableDef) -> Arc<TableDef> {
        let name = (table.namespace.clone(), table.name.clone());
        let table = Arc::new(table);
        self.snapshot.tables.insert(name, Arc::clone(&table));
        table
    }

    fn retire(&mut self, tree: TreeId) {
        self.batch.change_schema(tree);
        if self.is_draft {
            // Rows that others add until the commit would go unseen.
            self.batch.read_tree(tree);
        }
        self.retired.push(tree);
    }

    fn namespace(&self, name: &str) -> Result<NamespaceId> {
        self.snapshot.namespaces.get(name).copied().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("schema \"{name}\" does not exist"))
                .with_hint(did_you_mean(name, self.snapshot.namespaces()))
        })
    }

    fn take_id(&mut self) -> Result<u32> {
        let id = self.snapshot.next_id;
        self.snapshot.next_id = id.checked_add(1).ok_or_else(|| {
            Error::new(ErrorKind::ResourcesExhausted, "the catalog has no numbers left")
        })?;
        self.writer.put_counter(&mut self.batch, self.snapshot.next_id)?;
        Ok(id)
    }
}

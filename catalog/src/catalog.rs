//! [`Catalog`]: the current names, who may change them, and how they reach the disk.
//!
//! A change runs under one lock from reading the names to publishing the new ones, so changes
//! never meet. Readers take no lock: they hold a [`CatalogSnapshot`]. A statement needs names and
//! rows of one moment, which [`Catalog::read`] gives it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use silt_storage::{Engine, SeqNo, Snapshot, Transaction, TreeId, WriteBatch};

use crate::store::{self, RowWriter};
use crate::{
    CatalogChange, CatalogDraft, CatalogSnapshot, Error, ErrorKind, MAIN_NAMESPACE, Result,
};

/// The tree that holds the catalog: the first one made in every database.
pub const CATALOG_TREE: TreeId = TreeId(1);

/// Set in the versions of catalogs that no commit made.
const DRAFT: u64 = 1 << 63;

/// The catalog of one open database.
#[derive(Debug)]
pub struct Catalog {
    engine: Engine,
    writer: RowWriter,
    current: RwLock<Arc<CatalogSnapshot>>,
    /// Held from reading the names until the changed ones are published.
    changing: Mutex<()>,
    /// Versions given to drafts so far.
    drafts: AtomicU64,
}

impl Catalog {
    /// Reads the catalog of an open engine, or makes it in an empty one, and sweeps trees that no
    /// table names: left over by statements that failed.
    ///
    /// # Errors
    /// `Corrupt` if the catalog is missing or does not fit together; nothing is swept then.
    pub fn open(engine: Engine) -> Result<Self> {
        let trees = engine.trees();
        if trees.is_empty() {
            let made = engine.create_tree(store::tree_schema())?;
            if made != CATALOG_TREE {
                return Err(Error::corrupt(format!(
                    "the first tree has number {made} instead of {CATALOG_TREE}"
                )));
            }
        } else if !trees.contains(&CATALOG_TREE) {
            return Err(Error::corrupt(format!(
                "the catalog is missing: no tree {CATALOG_TREE} among {}",
                trees.len()
            )));
        }
        let tree = engine.tree(CATALOG_TREE)?;
        let writer = RowWriter::new(&tree);
        let mut loaded = store::load(&tree, &engine.snapshot())?;
        if !loaded.has_namespace(MAIN_NAMESPACE) {
            loaded = first_commit(&engine, &writer, loaded)?;
        }
        let mut named: BTreeSet<TreeId> = loaded.trees();
        if let Some(missing) = named.iter().find(|tree| !trees.contains(tree)) {
            return Err(Error::corrupt(format!(
                "table \"{}\" names tree {missing}, which does not exist",
                loaded.table_of_tree(*missing).map_or("?", |table| &table.name)
            )));
        }
        named.insert(CATALOG_TREE);
        engine.sweep_trees(&named)?;
        let current = RwLock::new(Arc::new(loaded));
        Ok(Self { engine, writer, current, changing: Mutex::new(()), drafts: AtomicU64::new(0) })
    }

    /// The catalog as it is now.
    pub fn current(&self) -> Arc<CatalogSnapshot> {
        Arc::clone(&self.current.read())
    }

    /// Names and rows for a statement that reads.
    pub fn read(&self) -> (Arc<CatalogSnapshot>, Snapshot) {
        self.together(|| self.engine.snapshot())
    }

    /// Names and rows for a statement that writes: its batch carries both numbers.
    pub fn read_for_write(&self) -> (Arc<CatalogSnapshot>, Snapshot) {
        self.together(|| self.engine.write_snapshot())
    }

    /// Names and rows for a transaction that writes.
    pub fn begin(&self) -> (CatalogDraft, Transaction) {
        let (names, transaction) = self.together(|| self.engine.begin());
        transaction.set_catalog_seq(names.seq);
        (CatalogDraft::new(names), transaction)
    }

    /// Names and rows for a transaction that only reads.
    pub fn begin_reading(&self) -> (CatalogDraft, Snapshot) {
        let (names, snapshot) = self.read();
        (CatalogDraft::new(names), snapshot)
    }

    /// A tree is retired only after the catalog without it was published. So names that are still
    /// current *after* the snapshot was registered name trees that live as long as the snapshot.
    fn together<T>(&self, take: impl Fn() -> T) -> (Arc<CatalogSnapshot>, T) {
        loop {
            let names = self.current();
            let taken = take();
            if Arc::ptr_eq(&names, &self.current.read()) {
                return (names, taken);
            }
        }
    }

    /// Changes the catalog: `plan` says how, and `commit` commits the rows that describe it, alone
    /// or together with data, and gives the commit's number. Trees that are no longer named go
    /// with the last snapshot that may read them.
    ///
    /// A plan that changes nothing commits nothing.
    ///
    /// # Errors
    /// Those of `plan` and `commit`; the catalog is then as it was.
    pub fn change<T, E: From<Error>>(
        &self,
        plan: impl FnOnce(&mut CatalogChange<'_>) -> Result<T, E>,
        commit: impl FnOnce(WriteBatch) -> Result<SeqNo, E>,
    ) -> Result<T, E> {
        let _changing = self.changing.lock();
        let mut change = CatalogChange::new(CatalogSnapshot::clone(&self.current()), &self.writer);
        let output = plan(&mut change)?;
        let CatalogChange { mut snapshot, batch, retired, .. } = change;
        if batch.is_empty() {
            return Ok(output);
        }
        snapshot.seq = commit(batch)?;
        self.publish(snapshot, retired);
        Ok(output)
    }

    /// Changes the catalog as a transaction sees it: `plan` says how, and `write` puts the rows
    /// that describe it into the transaction, alone or together with data.
    ///
    /// # Errors
    /// Those of `plan` and `write`; the draft is then as it was.
    pub fn change_draft<T, E: From<Error>>(
        &self,
        draft: &mut CatalogDraft,
        plan: impl FnOnce(&mut CatalogChange<'_>) -> Result<T, E>,
        write: impl FnOnce(WriteBatch) -> Result<(), E>,
    ) -> Result<T, E> {
        let mut change = CatalogChange::draft(CatalogSnapshot::clone(&draft.names), &self.writer);
        let output = plan(&mut change)?;
        let CatalogChange { mut snapshot, batch, retired, .. } = change;
        if batch.is_empty() {
            return Ok(output);
        }
        write(batch)?;
        snapshot.version = DRAFT | self.drafts.fetch_add(1, Ordering::Relaxed);
        draft.names = Arc::new(snapshot);
        draft.retired.extend(retired);
        draft.is_changed = true;
        Ok(output)
    }

    /// Commits the transaction that `draft` belongs to by `commit`, and publishes its names.
    ///
    /// # Errors
    /// `Conflict` if the draft was changed, and another commit has changed the catalog since it
    /// was begun; those of `commit`.
    pub fn commit_draft<E: From<Error>>(
        &self,
        draft: CatalogDraft,
        commit: impl FnOnce() -> Result<SeqNo, E>,
    ) -> Result<SeqNo, E> {
        if !draft.is_changed {
            return commit();
        }
        let _changing = self.changing.lock();
        if self.current.read().seq != draft.names.seq {
            return Err(Error::new(
                ErrorKind::Conflict,
                "another commit changed the catalog since the transaction began",
            )
            .into());
        }
        let mut snapshot = CatalogSnapshot::clone(&draft.names);
        snapshot.seq = commit()?;
        let seq = snapshot.seq;
        self.publish(snapshot, draft.retired);
        Ok(seq)
    }

    /// Shows a catalog that was committed. Under the lock of changes.
    fn publish(&self, mut snapshot: CatalogSnapshot, retired: Vec<TreeId>) {
        snapshot.version = snapshot.seq;
        *self.current.write() = Arc::new(snapshot);
        for tree in retired {
            // The table is gone already; what fails here is swept when the database is opened.
            drop(self.engine.retire_tree(tree));
        }
    }

    /// The engine below.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

fn first_commit(
    engine: &Engine,
    writer: &RowWriter,
    loaded: CatalogSnapshot,
) -> Result<CatalogSnapshot> {
    let mut change = CatalogChange::new(loaded, writer);
    change.create_namespace(MAIN_NAMESPACE)?;
    let CatalogChange { mut snapshot, batch, .. } = change;
    snapshot.seq = engine.commit(batch)?;
    snapshot.version = snapshot.seq;
    Ok(snapshot)
}

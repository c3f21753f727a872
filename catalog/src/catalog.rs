//! [`Catalog`]: the current names, who may change them, and how they reach the disk.
//!
//! A change runs under one lock from reading the names to publishing the new ones, so changes
//! never meet. Readers take no lock: they hold a [`CatalogSnapshot`]. A statement needs names and
//! rows of one moment, which [`Catalog::read`] gives it.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use silt_storage::{Engine, SeqNo, Snapshot, TreeId, WriteBatch};

use crate::store::{self, RowWriter};
use crate::{CatalogChange, CatalogSnapshot, Error, MAIN_NAMESPACE, Result};

/// The tree that holds the catalog: the first one made in every database.
pub const CATALOG_TREE: TreeId = TreeId(1);

/// The catalog of one open database.
#[derive(Debug)]
pub struct Catalog {
    engine: Engine,
    writer: RowWriter,
    current: RwLock<Arc<CatalogSnapshot>>,
    /// Held from reading the names until the changed ones are published.
    changing: Mutex<()>,
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
        Ok(Self { engine, writer, current, changing: Mutex::new(()) })
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

    /// A tree is retired only after the catalog without it was published. So names that are still
    /// current *after* the snapshot was registered name trees that live as long as the snapshot.
    fn together(&self, take: impl Fn() -> Snapshot) -> (Arc<CatalogSnapshot>, Snapshot) {
        loop {
            let names = self.current();
            let snapshot = take();
            if Arc::ptr_eq(&names, &self.current.read()) {
                return (names, snapshot);
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
        *self.current.write() = Arc::new(snapshot);
        for tree in retired {
            // The table is gone already; what fails here is swept when the database is opened.
            drop(self.engine.retire_tree(tree));
        }
        Ok(output)
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
    Ok(snapshot)
}

//! [`WriteBatch`]: the rows that one commit changes, in any number of trees.

use std::collections::BTreeMap;

use crate::{OpKind, SeqNo, TreeId};

/// Per key the new row, or none where it is deleted.
type Operations = BTreeMap<Box<[u8]>, Option<Box<[u8]>>>;

/// One operation with its allocations: key, kind, row.
pub(crate) type Operation = (Box<[u8]>, OpKind, Box<[u8]>);

/// A set of puts and deletes that become visible together or not at all.
///
/// At most one operation per (tree, key): a later one replaces an earlier one.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    ops: BTreeMap<TreeId, Operations>,
    base: Option<SeqNo>,
    catalog_seq: Option<SeqNo>,
    ddl: Vec<TreeId>,
    read: Vec<TreeId>,
    len: usize,
    bytes: usize,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `row`, whatever it held.
    pub fn put(&mut self, tree: TreeId, key: &[u8], row: &[u8]) {
        self.set(tree, key, Some(row.into()));
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, tree: TreeId, key: &[u8]) {
        self.set(tree, key, None);
    }

    fn set(&mut self, tree: TreeId, key: &[u8], row: Option<Box<[u8]>>) {
        self.bytes += key.len() + row.as_ref().map_or(0, |row| row.len());
        match self.ops.entry(tree).or_default().insert(key.into(), row) {
            Some(old) => self.bytes -= key.len() + old.map_or(0, |row| row.len()),
            None => self.len += 1,
        }
    }

    /// The commit fails with `Conflict` if any key of the batch was written after this number.
    /// Without a base the batch is blind. The number must be held by a write snapshot
    /// ([`Engine::write_snapshot`](crate::Engine::write_snapshot)) until the commit returns.
    pub fn set_base(&mut self, base: SeqNo) {
        self.base = Some(base);
    }

    /// See [`set_base`](Self::set_base).
    pub fn base(&self) -> Option<SeqNo> {
        self.base
    }

    /// The number at which the writer read the catalog: the commit fails with `Conflict` if a
    /// tree of the batch had its schema changed after it (RULES.md 9).
    pub fn set_catalog_seq(&mut self, seq: SeqNo) {
        self.catalog_seq = Some(seq);
    }

    /// See [`set_catalog_seq`](Self::set_catalog_seq).
    pub fn catalog_seq(&self) -> Option<SeqNo> {
        self.catalog_seq
    }

    /// Marks this commit as one that changes, replaces or drops `tree`'s schema.
    pub fn change_schema(&mut self, tree: TreeId) {
        self.ddl.push(tree);
    }

    /// The trees whose schema this commit changes.
    pub fn schema_changes(&self) -> &[TreeId] {
        &self.ddl
    }

    /// Says that this commit follows from all rows of `tree` at the batch's base, as adding a
    /// NOT NULL or an index does: it fails with `Conflict` if any was written since.
    pub fn read_tree(&mut self, tree: TreeId) {
        self.read.push(tree);
    }

    /// The trees that this commit read whole.
    pub fn trees_read(&self) -> &[TreeId] {
        &self.read
    }

    /// Whether `key` is put (`Some(Some(row))`), deleted (`Some(None)`) or untouched.
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Option<Option<&[u8]>> {
        self.ops.get(&tree)?.get(key).map(|row| row.as_deref())
    }

    /// The number of operations.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no operation.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of keys and rows.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The operations by tree and key ascending, handed over with their allocations.
    pub(crate) fn into_operations(
        self,
    ) -> impl Iterator<Item = (TreeId, impl Iterator<Item = Operation>)> {
        self.ops.into_iter().map(|(tree, ops)| {
            let ops = ops.into_iter().map(|(key, row)| match row {
                Some(row) => (key, OpKind::Put, row),
                None => (key, OpKind::Delete, Box::default()),
            });
            (tree, ops)
        })
    }

    /// The trees written to, ascending.
    pub fn trees(&self) -> impl Iterator<Item = TreeId> + '_ {
        self.ops.keys().copied()
    }

    /// The operations, by tree and key ascending.
    pub fn iter(&self) -> impl Iterator<Item = (TreeId, &[u8], OpKind, &[u8])> + '_ {
        self.ops.iter().flat_map(|(tree, ops)| {
            ops.iter().map(|(key, row)| match row {
                Some(row) => (*tree, &**key, OpKind::Put, &**row),
                None => (*tree, &**key, OpKind::Delete, &[][..]),
            })
        })
    }
}

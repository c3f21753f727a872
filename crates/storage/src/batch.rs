//! [`WriteBatch`]: the rows that one commit changes, in any number of trees.
//!
//! A tree's keys and rows stand one behind the other in one piece of memory, which the commit hands
//! to the memtable as it is. A table of hashes finds a key that is there already; the keys are
//! sorted once, when the batch is committed. The hashes are those of the commit index.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use arrow_buffer::Buffer;
use twox_hash::XxHash3_64;

use crate::{OpKind, SeqNo, TreeId};

/// Fewer operations than this are looked through; more get a table.
const INDEXED_MIN: usize = 16;

/// No operation follows in the chain.
const NONE: u32 = u32::MAX;

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

/// The operations on one tree.
#[derive(Clone, Debug)]
struct Operations {
    /// Key and row of each operation, and what replaced ones left behind.
    bytes: Vec<u8>,
    /// In the order in which their keys came, or by key where `is_sorted`.
    ops: Vec<Op>,
    /// The operation whose key came last, by hash; empty while there are few.
    by_hash: HashMap<u64, u32, BuildHasherDefault<HashIsKey>>,
    /// Bytes of replaced operations.
    waste: usize,
    is_sorted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Op {
    hash: u64,
    /// Where the key starts; the row follows it.
    start: usize,
    key_len: u32,
    row_len: u32,
    /// The one before among those of the same hash.
    next: u32,
    kind: OpKind,
}

/// Key and row of one operation, as the memtable keeps them: a view of the memory of its batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntryBytes {
    bytes: Buffer,
    key_len: u32,
}

impl EntryBytes {
    /// A copy of `key` and `row`.
    pub(crate) fn copy_of(key: &[u8], row: &[u8]) -> Self {
        let bytes = Buffer::from_vec([key, row].concat());
        Self { bytes, key_len: length(key) }
    }

    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len as usize]
    }

    #[inline]
    pub(crate) fn row(&self) -> &[u8] {
        &self.bytes[self.key_len as usize..]
    }

    /// Bytes of the key.
    #[inline]
    pub(crate) fn key_len(&self) -> usize {
        self.key_len as usize
    }

    /// The key, and the row behind it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of both.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `row`, whatever it held.
    pub fn put(&mut self, tree: TreeId, key: &[u8], row: &[u8]) {
        self.set(tree, key, OpKind::Put, row);
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, tree: TreeId, key: &[u8]) {
        self.set(tree, key, OpKind::Delete, &[]);
    }

    fn set(&mut self, tree: TreeId, key: &[u8], kind: OpKind, row: &[u8]) {
        self.bytes += key.len() + row.len();
        match self.ops.entry(tree).or_default().set(hash_of(tree, key), key, kind, row) {
            Some(replaced) => self.bytes -= replaced,
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

    /// Sets base and catalog number, whatever they were.
    pub(crate) fn set_moment(&mut self, base: SeqNo, catalog_seq: Option<SeqNo>) {
        (self.base, self.catalog_seq) = (Some(base), catalog_seq);
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
        let ops = self.ops.get(&tree)?;
        let op = &ops.ops[ops.find(hash_of(tree, key), key)?];
        Some((op.kind == OpKind::Put).then(|| ops.row(op)))
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

    /// The trees written to, ascending.
    pub fn trees(&self) -> impl Iterator<Item = TreeId> + '_ {
        self.ops.keys().copied()
    }

    /// The operations, by tree and key ascending.
    pub fn iter(&self) -> impl Iterator<Item = (TreeId, &[u8], OpKind, &[u8])> + '_ {
        self.ops.iter().flat_map(|(tree, ops)| {
            ops.order().into_iter().map(|index| {
                let op = &ops.ops[index as usize];
                (*tree, ops.key(op), op.kind, ops.row(op))
            })
        })
    }

    /// The keys with their hashes ([`hash_of`]), in the same order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (TreeId, u64, &[u8])> + '_ {
        self.ops.iter().flat_map(|(tree, ops)| {
            ops.order().into_iter().map(|index| {
                let op = &ops.ops[index as usize];
                (*tree, op.hash, ops.key(op))
            })
        })
    }

    /// Sorts the keys, once for all that go through them from now on; nothing is set any more.
    pub(crate) fn seal(&mut self) {
        self.ops.values_mut().for_each(Operations::seal);
    }

    /// The operations by tree and key ascending, handed over with their memory.
    pub(crate) fn into_operations(
        self,
    ) -> impl Iterator<Item = (TreeId, impl Iterator<Item = (EntryBytes, OpKind)>)> {
        self.ops.into_iter().map(|(tree, ops)| {
            let order = ops.order();
            let Operations { bytes, ops, .. } = ops;
            let bytes = Buffer::from_vec(bytes);
            let entries = order.into_iter().map(move |index| {
                let op = &ops[index as usize];
                let bytes = bytes.slice_with_length(op.start, op.len());
                (EntryBytes { bytes, key_len: op.key_len }, op.kind)
            });
            (tree, entries)
        })
    }
}

impl Default for Operations {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            ops: Vec::new(),
            by_hash: HashMap::default(),
            waste: 0,
            is_sorted: true,
        }
    }
}

impl Op {
    fn len(&self) -> usize {
        self.key_len as usize + self.row_len as usize
    }
}

impl Operations {
    fn key(&self, op: &Op) -> &[u8] {
        &self.bytes[op.start..][..op.key_len as usize]
    }

    fn row(&self, op: &Op) -> &[u8] {
        &self.bytes[op.start + op.key_len as usize..][..op.row_len as usize]
    }

    /// Answers the bytes of the operation that this one replaced, if any.
    fn set(&mut self, hash: u64, key: &[u8], kind: OpKind, row: &[u8]) -> Option<usize> {
        let start = self.bytes.len();
        let (key_len, row_len) = (length(key), length(row));
        let found = self.find(hash, key);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(row);
        if let Some(index) = found {
            let op = &mut self.ops[index];
            let replaced = op.len();
            *op = Op { start, row_len, kind, ..*op };
            self.waste += replaced;
            return Some(replaced);
        }
        if self.is_sorted {
            self.is_sorted = self.ops.last().is_none_or(|last| self.key(last) < key);
        }
        self.ops.push(Op { hash, start, key_len, row_len, next: NONE, kind });
        match self.ops.len() {
            ..INDEXED_MIN => {}
            INDEXED_MIN => (0..INDEXED_MIN).for_each(|index| self.index(index)),
            count => self.index(count - 1),
        }
        None
    }

    fn index(&mut self, index: usize) {
        let op = &mut self.ops[index];
        let number = u32::try_from(index).expect("a batch has fewer operations");
        op.next = self.by_hash.insert(op.hash, number).unwrap_or(NONE);
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let is_it = |op: &Op| op.hash == hash && self.key(op) == key;
        if self.by_hash.is_empty() {
            return self.ops.iter().position(is_it);
        }
        let mut next = *self.by_hash.get(&hash)?;
        while let Some(op) = self.ops.get(next as usize) {
            if is_it(op) {
                return Some(next as usize);
            }
            next = op.next;
        }
        None
    }

    /// The numbers of the operations by key ascending.
    fn order(&self) -> Vec<u32> {
        let count = u32::try_from(self.ops.len()).expect("a batch has fewer operations");
        if self.is_sorted {
            return (0..count).collect();
        }
        let mut order: Vec<(u128, u32)> = (0..count)
            .map(|index| (prefix_of(self.key(&self.ops[index as usize])), index))
            .collect();
        order.sort_unstable_by(|(a, left), (b, right)| {
            let key = |index: &u32| self.key(&self.ops[*index as usize]);
            a.cmp(b).then_with(|| key(left).cmp(key(right)))
        });
        order.into_iter().map(|(_, index)| index).collect()
    }

    fn seal(&mut self) {
        if !self.is_sorted {
            self.ops = self.order().into_iter().map(|index| self.ops[index as usize]).collect();
            self.is_sorted = true;
        }
        // The table names places from before.
        self.by_hash = HashMap::default();
        if self.waste > self.bytes.len() / 8 {
            let mut bytes = Vec::with_capacity(self.bytes.len() - self.waste);
            for op in &mut self.ops {
                let start = bytes.len();
                bytes.extend_from_slice(&self.bytes[op.start..][..op.len()]);
                op.start = start;
            }
            (self.bytes, self.waste) = (bytes, 0);
        } else if self.bytes.capacity() - self.bytes.len() > self.bytes.len() / 8 {
            // Memtables count what they hold by its length.
            self.bytes.shrink_to_fit();
        }
    }
}

/// By what the commit index and batches know a key of a tree.
pub(crate) fn hash_of(tree: TreeId, key: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(u64::from(tree.0), key)
}

/// Bytes of a key that [`prefix_of`] takes in.
pub(crate) const PREFIX_BYTES: usize = size_of::<u128>();

/// The first sixteen bytes, big-endian, short keys padded with zeroes: orders as the keys do, but
/// for ties.
#[inline]
pub(crate) fn prefix_of(key: &[u8]) -> u128 {
    match key.first_chunk() {
        Some(first) => u128::from_be_bytes(*first),
        None => {
            let mut padded = [0; 16];
            padded[..key.len()].copy_from_slice(key);
            u128::from_be_bytes(padded)
        }
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("keys and rows are limited to 32 MiB")
}

/// For tables whose keys are hashes already.
#[derive(Debug, Default)]
pub(crate) struct HashIsKey(u64);

impl Hasher for HashIsKey {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.is_empty(), "only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::vfs::SeededRandom;

    type Model = BTreeMap<(u32, Vec<u8>), Option<Vec<u8>>>;

    fn check(batch: &WriteBatch, model: &Model) {
        assert_eq!((batch.len(), batch.is_empty()), (model.len(), model.is_empty()));
        let row_len = |row: &Option<Vec<u8>>| row.as_ref().map_or(0, Vec::len);
        let bytes: usize = model.iter().map(|((_, key), row)| key.len() + row_len(row)).sum();
        assert_eq!(batch.bytes(), bytes);
        let seen = batch.iter().map(|(tree, key, kind, row)| {
            ((tree.0, key.to_vec()), (kind == OpKind::Put).then(|| row.to_vec()))
        });
        assert_eq!(seen.collect::<Vec<_>>(), model.clone().into_iter().collect::<Vec<_>>());
        for (tree, hash, key) in batch.keys() {
            assert_eq!(hash, hash_of(tree, key));
        }
    }

    #[test]
    fn batch_is_a_map_in_which_later_operations_replace_earlier_ones() {
        let random = SeededRandom::new(7);
        for keys in [3, 40, 1_000] {
            let (mut batch, mut model) = (WriteBatch::new(), Model::new());
            for step in 0..600 {
                let tree = 1 + u32::try_from(random.below(2)).unwrap();
                let key = format!("{:0width$}", random.below(keys), width = 1 + step % 2 * 20);
                let row = vec![7; usize::try_from(random.below(50)).unwrap()];
                let id = TreeId(tree);
                if random.chance(20) {
                    batch.delete(id, key.as_bytes());
                    model.insert((tree, key.clone().into_bytes()), None);
                } else {
                    batch.put(id, key.as_bytes(), &row);
                    model.insert((tree, key.clone().into_bytes()), Some(row));
                }
                let held = &model[&(tree, key.clone().into_bytes())];
                assert_eq!(batch.get(id, key.as_bytes()), Some(held.as_deref()));
                assert_eq!(batch.get(TreeId(9), key.as_bytes()), None);
            }
            check(&batch, &model);
            batch.seal();
            check(&batch, &model);
            let mut handed = Vec::new();
            for (tree, ops) in batch.into_operations() {
                handed.extend(ops.map(|(entry, kind)| {
                    let row = (kind == OpKind::Put).then(|| entry.row().to_vec());
                    assert_eq!(entry.len(), entry.key().len() + entry.row().len());
                    ((tree.0, entry.key().to_vec()), row)
                }));
            }
            assert_eq!(handed, model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let mut ops = Operations::default();
        for number in 0..40_u8 {
            assert_eq!(ops.set(u64::from(number % 2), &[number], OpKind::Put, &[number]), None);
        }
        for number in 0..40_u8 {
            let found = ops.find(u64::from(number % 2), &[number]).unwrap();
            assert_eq!(ops.row(&ops.ops[found]), [number]);
        }
        assert_eq!(ops.find(0, &[41]), None);
        assert_eq!(ops.find(5, &[1]), None);
    }
}

//! [`CommitIndex`]: the keys of recent commits, to find out whether a batch comes too late.
//!
//! Part of the commit lock's state. It reaches back to the oldest write snapshot, and always over
//! every commit that is numbered but not yet published: such a commit's number is above any
//! snapshot that can be taken, though its rows stand in no memtable yet. Without write snapshots
//! a commit pays one push; the table of hashes is filled when the first is taken.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::ops::RangeInclusive;
use std::sync::Arc;

use silt_codec::KeyBuffer;

use super::bulk::holds_key;
use crate::batch::HashIsKey;
use crate::state::TreeState;
use crate::version::LiveFile;
use crate::{Error, ErrorKind, Result, SeqNo, TreeId, WriteBatch};

/// The keys of one commit, collected before the lock is taken.
#[derive(Debug, Default)]
pub(crate) struct CommitKeys {
    trees: Vec<(TreeId, KeyBuffer)>,
    hashes: Vec<u64>,
}

impl CommitKeys {
    /// The keys of `batch`, ascending within each tree.
    pub(crate) fn of(batch: &WriteBatch) -> Self {
        let mut keys = Self { trees: Vec::new(), hashes: Vec::with_capacity(batch.len()) };
        for (tree, hash, key) in batch.keys() {
            if keys.trees.last().is_none_or(|(last, _)| *last != tree) {
                keys.trees.push((tree, KeyBuffer::new()));
            }
            if let Some((_, buffer)) = keys.trees.last_mut() {
                buffer.push(key);
            }
            keys.hashes.push(hash);
        }
        keys
    }

    fn iter(&self) -> impl Iterator<Item = (TreeId, &[u8])> {
        self.trees.iter().flat_map(|(tree, keys)| keys.iter().map(|key| (*tree, key)))
    }

    fn bytes(&self) -> usize {
        let keys = self.trees.iter().map(|(_, keys)| keys.byte_len() + 4 * keys.len());
        keys.sum::<usize>() + self.hashes.len() * INDEXED_KEY_BYTES + COMMIT_BYTES
    }
}

/// Bytes of a hash, its place in the table and the number there.
const INDEXED_KEY_BYTES: usize = 32;

/// Bytes of a commit beside its keys.
const COMMIT_BYTES: usize = 128;

/// The files of one bulk commit in one tree: later batches probe them for their keys.
#[derive(Clone, Debug)]
pub(crate) struct BulkKeys {
    /// Whose they are.
    pub(crate) tree: Arc<TreeState>,
    /// Open already: they may be removed while they are asked.
    pub(crate) files: Vec<Arc<LiveFile>>,
}

impl BulkKeys {
    fn holds(&self, key: &[u8]) -> Result<bool> {
        for file in &self.files {
            if holds_key(file, &self.tree, key)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[derive(Debug)]
struct RecentCommit {
    seq: SeqNo,
    keys: CommitKeys,
    bulk: Vec<BulkKeys>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct CommitIndex {
    /// Oldest first.
    recent: VecDeque<RecentCommit>,
    /// The last number of each key of `recent`, by hash; empty unless `is_indexed`.
    last: HashMap<u64, SeqNo, BuildHasherDefault<HashIsKey>>,
    is_indexed: bool,
    /// Bulk commits in `recent`.
    bulk_commits: usize,
    bytes: usize,
    bytes_max: usize,
    /// Commits at or below this were forgotten.
    forgotten: SeqNo,
}

impl CommitIndex {
    /// An empty index that knows nothing of commits at or below `seq`, and forgets the oldest
    /// when it would take more than `bytes_max`.
    pub(crate) fn new(seq: SeqNo, bytes_max: usize) -> Self {
        Self {
            recent: VecDeque::new(),
            last: HashMap::default(),
            is_indexed: false,
            bulk_commits: 0,
            bytes: 0,
            bytes_max,
            forgotten: seq,
        }
    }

    /// A write snapshot is about to be taken.
    pub(crate) fn begin_indexing(&mut self) {
        if !self.is_indexed {
            self.is_indexed = true;
            for commit in &self.recent {
                self.last.extend(commit.keys.hashes.iter().map(|hash| (*hash, commit.seq)));
            }
        }
    }

    /// Fails with `Conflict` if a key of `keys` was committed after `base`.
    pub(crate) fn check(&self, keys: &CommitKeys, base: SeqNo) -> Result<()> {
        self.check_reaches(base)?;
        if self.recent.back().is_none_or(|newest| newest.seq <= base) {
            return Ok(());
        }
        debug_assert!(self.is_indexed, "a base is held by a write snapshot");
        for ((tree, key), hash) in keys.iter().zip(&keys.hashes) {
            if self.last.get(hash).is_some_and(|last| *last > base) {
                return Err(Error::conflict(tree, key));
            }
        }
        if self.bulk_commits == 0 {
            return Ok(());
        }
        for bulk in self.newer_than(base).flat_map(|commit| &commit.bulk) {
            let ours = keys.trees.iter().filter(|(tree, _)| *tree == bulk.tree.id());
            for key in ours.flat_map(|(_, keys)| keys.iter()) {
                if bulk.holds(key)? {
                    return Err(Error::conflict(bulk.tree.id(), key));
                }
            }
        }
        Ok(())
    }

    /// Shows `found` each key of `tree` in `range` committed after `base`, bulk commits apart,
    /// until it errs.
    pub(crate) fn keys_since(
        &self,
        tree: TreeId,
        range: RangeInclusive<&[u8]>,
        base: SeqNo,
        mut found: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.check_reaches(base)?;
        for commit in self.newer_than(base) {
            for (_, keys) in commit.keys.trees.iter().filter(|(of, _)| *of == tree) {
                let from = partition_point(keys, |key| key < *range.start());
                for key in (from..keys.len()).map(|index| keys.get(index)) {
                    if key > *range.end() {
                        break;
                    }
                    found(key)?;
                }
            }
        }
        Ok(())
    }

    /// The files that bulk commits after `base` brought into `tree`.
    pub(crate) fn bulk_since(&self, tree: TreeId, base: SeqNo) -> Result<Vec<Arc<LiveFile>>> {
        self.check_reaches(base)?;
        let bulk = self.newer_than(base).flat_map(|commit| &commit.bulk);
        Ok(bulk.filter(|bulk| bulk.tree.id() == tree).flat_map(|bulk| bulk.files.clone()).collect())
    }

    /// A commit got its number.
    pub(crate) fn insert(&mut self, seq: SeqNo, keys: CommitKeys, bulk: Vec<BulkKeys>) {
        if self.is_indexed {
            self.last.extend(keys.hashes.iter().map(|hash| (*hash, seq)));
        }
        self.bytes += keys.bytes();
        self.bulk_commits += usize::from(!bulk.is_empty());
        self.recent.push_back(RecentCommit { seq, keys, bulk });
    }

    /// Forgets what no batch can ask for: commits at or below both the oldest write snapshot
    /// (`u64::MAX` for none) and the last published number; more if the memory is used up.
    pub(crate) fn prune(&mut self, oldest_write: SeqNo, published: SeqNo) {
        let needless = oldest_write.min(published);
        while let Some(oldest) = self.recent.front() {
            let over_budget = self.bytes > self.bytes_max && oldest.seq <= published;
            if oldest.seq > needless && !over_budget {
                break;
            }
            self.forget_oldest();
        }
        if oldest_write == u64::MAX && self.is_indexed {
            self.is_indexed = false;
            self.last = HashMap::default();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(commit) = self.recent.pop_front() else { return };
        self.forgotten = commit.seq;
        self.bytes -= commit.keys.bytes();
        self.bulk_commits -= usize::from(!commit.bulk.is_empty());
        if self.is_indexed {
            for hash in &commit.keys.hashes {
                if self.last.get(hash) == Some(&commit.seq) {
                    self.last.remove(hash);
                }
            }
        }
    }

    fn newer_than(&self, base: SeqNo) -> impl Iterator<Item = &RecentCommit> {
        let from = self.recent.partition_point(|commit| commit.seq <= base);
        self.recent.range(from..)
    }

    fn check_reaches(&self, base: SeqNo) -> Result<()> {
        if base >= self.forgotten {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the transaction began at number {base}, but the keys of commits up to {} are \
                 not kept any more",
                self.forgotten
            ),
        ))
    }
}

fn partition_point(keys: &KeyBuffer, below: impl Fn(&[u8]) -> bool) -> usize {
    let (mut low, mut high) = (0, keys.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if below(keys.get(middle)) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: TreeId = TreeId(7);

    fn keys(of: &[&str]) -> CommitKeys {
        let mut batch = WriteBatch::new();
        for key in of {
            batch.put(TREE, key.as_bytes(), b"row");
        }
        CommitKeys::of(&batch)
    }

    fn check(index: &CommitIndex, of: &[&str], base: SeqNo) -> Result<()> {
        index.check(&keys(of), base)
    }

    #[test]
    fn later_write_of_a_key_is_a_conflict_and_names_it() {
        let mut index = CommitIndex::new(0, 1 << 20);
        index.begin_indexing();
        index.insert(1, keys(&["a", "b"]), vec![]);
        index.insert(2, keys(&["b", "c"]), vec![]);
        check(&index, &["a"], 1).unwrap();
        check(&index, &["d"], 0).unwrap();
        let error = check(&index, &["a", "c"], 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(error.key(), Some((TREE, &b"c"[..])));
    }

    #[test]
    fn commits_numbered_before_the_first_write_snapshot_are_indexed_when_it_comes() {
        let mut index = CommitIndex::new(0, 1 << 20);
        index.insert(1, keys(&["a"]), vec![]);
        index.insert(2, keys(&["b"]), vec![]);
        // Number 1 is published, 2 is not: the snapshot's number is 1.
        index.prune(u64::MAX, 1);
        index.begin_indexing();
        assert!(check(&index, &["b"], 1).is_err());
        check(&index, &["a"], 1).unwrap();
    }

    #[test]
    fn index_forgets_below_the_oldest_write_snapshot_only() {
        let mut index = CommitIndex::new(0, 1 << 20);
        index.begin_indexing();
        for seq in 1..=9 {
            index.insert(seq, keys(&[&format!("k{seq}"), "same"]), vec![]);
        }
        index.prune(4, 9);
        assert!(check(&index, &["k5"], 4).is_err());
        assert!(check(&index, &["same"], 8).is_err());
        check(&index, &["k5"], 5).unwrap();
        assert!(check(&index, &["unseen"], 3).is_err(), "what was forgotten cannot be vouched for");
        index.prune(u64::MAX, 9);
        assert_eq!((index.bytes, index.last.len()), (0, 0));
        check(&index, &["k5"], 9).unwrap();
    }

    #[test]
    fn index_over_its_budget_fails_old_transactions_instead_of_growing() {
        let mut index = CommitIndex::new(0, 4096);
        index.begin_indexing();
        for seq in 1..=100 {
            index.insert(seq, keys(&[&format!("k{seq}")]), vec![]);
            index.prune(1, seq);
        }
        assert!(index.bytes <= 4096);
        assert_eq!(check(&index, &["other"], 1).unwrap_err().kind(), ErrorKind::Conflict);
        check(&index, &["other"], 99).unwrap();
    }

    #[test]
    fn keys_of_recent_commits_are_found_by_range() {
        let mut index = CommitIndex::new(0, 1 << 20);
        index.insert(1, keys(&["a", "c", "e"]), vec![]);
        index.insert(2, keys(&["b", "d", "f"]), vec![]);
        let mut found = Vec::new();
        let range = &b"b"[..]..=&b"e"[..];
        index
            .keys_since(TREE, range, 0, |key| {
                found.push(key.to_vec());
                Ok(())
            })
            .unwrap();
        assert_eq!(found, [b"c", b"e", b"b", b"d"]);
        assert_eq!(
            index.keys_since(TREE, &b"a"[..]..=&b"a"[..], 2, |_| unreachable!()).ok(),
            Some(())
        );
    }
}

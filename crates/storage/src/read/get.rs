//! [`get`]: one row by its key.
//!
//! The newest entry at or below the snapshot decides, so sources are asked newest first and the
//! first that has one ends the search: memtables, level 0 by number, then one file a level. A
//! filter spares most files; in the file that holds the key the search runs on encoded columns
//! and only the wanted values are decoded.

use std::cell::RefCell;
use std::sync::Arc;

use silt_codec::{RowBuffer, Schemas};

use super::ReadCounters;
use super::source::open_file;
use crate::key::key_hash;
use crate::sstable::RowGroup;
use crate::state::{ReadView, TreeState};
use crate::version::{LiveFile, TreeVersion};
use crate::{OpKind, Result, SeqNo, Snapshot};

thread_local! {
    /// A key's values, for the search in row groups.
    static KEY_VALUES: RefCell<RowBuffer> = RefCell::default();
}

/// See [`Tree::get`](crate::Tree::get).
pub(crate) fn get(
    tree: &TreeState,
    key: &[u8],
    projection: &[usize],
    snapshot: &Snapshot,
    counters: &ReadCounters,
    row: &mut RowBuffer,
) -> Result<bool> {
    counters.gets.add(1);
    let view = snapshot.view_of(tree);
    let reading = Reading { tree, view: &view, schemas: &tree.schemas(), projection, counters };
    reading.get(key, snapshot.seq(), row)
}

/// What the gets of one call have in common.
pub(super) struct Reading<'a> {
    pub(super) tree: &'a TreeState,
    pub(super) view: &'a ReadView,
    pub(super) schemas: &'a Schemas,
    pub(super) projection: &'a [usize],
    pub(super) counters: &'a ReadCounters,
}

impl Reading<'_> {
    /// Whether there is a row at `key`, and its columns into `row`.
    pub(super) fn get(&self, key: &[u8], snapshot: SeqNo, row: &mut RowBuffer) -> Result<bool> {
        let Self { tree, view, schemas, projection, counters } = *self;
        row.clear();
        let hash = key_hash(key);
        for memtable in &view.memtables {
            if !memtable.may_contain(hash) {
                continue;
            }
            let mut found = Ok(false);
            let decided = memtable.get(key, snapshot, |entry| {
                if entry.kind == OpKind::Put {
                    found = schemas.read(entry.key, entry.row, projection, row).map(|()| true);
                }
            });
            if decided {
                counters.rows.add(u64::from(matches!(found, Ok(true))));
                return Ok(found?);
            }
        }
        KEY_VALUES.with_borrow_mut(|values| {
            let mut search = FileSearch { tree, schemas, snapshot, counters, values, key, hash };
            let Some(entry) = search.newest(&view.version, projection)? else { return Ok(false) };
            if entry.kind == OpKind::Delete {
                return Ok(false);
            }
            entry.group.row(projection, entry.row, row)?;
            counters.rows.add(1);
            Ok(true)
        })
    }
}

/// The files of `version` that may hold `key`, newest first: level 0 by number, then one a level.
fn files_of_key<'v>(
    version: &'v TreeVersion,
    key: &'v [u8],
) -> impl Iterator<Item = &'v Arc<LiveFile>> {
    let covers = move |file: &&Arc<LiveFile>| *file.smallest <= *key && key <= &*file.largest;
    let below = version.levels[1..].iter().filter_map(move |files| {
        let at = files.partition_point(|file| *file.largest < *key);
        files.get(at)
    });
    version.levels[0].iter().chain(below).filter(covers)
}

/// A key's entry in a file.
struct FoundEntry {
    group: RowGroup,
    row: usize,
    kind: OpKind,
}

struct FileSearch<'a> {
    tree: &'a TreeState,
    schemas: &'a Schemas,
    snapshot: SeqNo,
    counters: &'a ReadCounters,
    /// The key's values, once a filter let it pass.
    values: &'a mut RowBuffer,
    key: &'a [u8],
    hash: u64,
}

impl FileSearch<'_> {
    fn newest(
        &mut self,
        version: &TreeVersion,
        projection: &[usize],
    ) -> Result<Option<FoundEntry>> {
        self.values.clear();
        for file in files_of_key(version, self.key) {
            if file.min_seq > self.snapshot {
                continue;
            }
            if let Some(entry) = self.in_file(file, projection)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn in_file(&mut self, file: &LiveFile, projection: &[usize]) -> Result<Option<FoundEntry>> {
        let key = self.key;
        let reader = open_file(self.tree.context(), self.schemas, file)?;
        if !reader.may_contain(self.hash)? {
            self.counters.filter_misses.add(1);
            return Ok(None);
        }
        if self.values.is_empty() {
            self.schemas.key_codec().decode(key, self.values)?;
        }
        self.counters.files_read.add(1);
        let Some(group) = reader.find_group(key) else { return Ok(None) };
        for group in reader.chain(group) {
            let entry = &reader.groups()[group];
            if *entry.last_key < *key || entry.min_seq > self.snapshot {
                continue;
            }
            self.counters.groups_read.add(1);
            let group = reader.group_for_row(group, self.schemas.current(), projection)?;
            let rows = group.find(self.values)?;
            if let Some(row) = group.visible(rows, self.snapshot)? {
                let kind = group.kind(row)?;
                return Ok(Some(FoundEntry { group, row, kind }));
            }
        }
        Ok(None)
    }
}

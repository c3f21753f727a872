//! [`Overlay`]: what a transaction wrote, on top of what its base sees.
//!
//! An overlay is taken at a moment and shows what was written before it, however much is written
//! later. It puts a tree's own rows in front of the tree's memtables and files, shown as if they
//! had been committed at the base: every read path takes the newest source first and so finds them
//! without knowing of them.
//!
//! Own files stand in front of level 0, behind all memtables. That is their place since a tree's
//! memtables were flushed before it got its first own file: whatever memtables hold from then on is
//! above the base, and nobody who sees the overlay sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::TreeId;
use crate::memtable::TreeMemtable;
use crate::state::{ReadView, TreeState};
use crate::version::{LiveFile, TreeVersion};

/// What a transaction wrote, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    trees: BTreeMap<TreeId, OwnRows>,
}

/// What it wrote to one tree.
#[derive(Debug, Default)]
pub(crate) struct OwnRows {
    /// Entries in memory, under the base's number.
    pub(crate) memtable: Option<Arc<TreeMemtable>>,
    /// Entries in files, older than those in memory; newest first, under the base's number.
    pub(crate) files: Vec<Arc<LiveFile>>,
    /// The view made last and what it was made of: with many files that is worth keeping.
    last: Mutex<Option<[Arc<ReadView>; 2]>>,
}

impl Overlay {
    pub(crate) fn new(trees: impl Iterator<Item = (TreeId, OwnRows)>) -> Self {
        Self { trees: trees.collect() }
    }

    /// The tree's memtables and files with those of the transaction in front.
    pub(crate) fn view_of(&self, tree: &TreeState) -> Arc<ReadView> {
        let view = tree.read_view();
        match self.trees.get(&tree.id()) {
            None => view,
            Some(own) => own.before(view),
        }
    }
}

impl OwnRows {
    pub(crate) fn new(memtable: Option<Arc<TreeMemtable>>, files: Vec<Arc<LiveFile>>) -> Self {
        debug_assert!(files.iter().all(|file| file.is_private()));
        Self { memtable, files, last: Mutex::default() }
    }

    fn before(&self, view: Arc<ReadView>) -> Arc<ReadView> {
        let memtables = self.memtable.iter().chain(&view.memtables).cloned().collect();
        if self.files.is_empty() {
            return Arc::new(ReadView { memtables, version: Arc::clone(&view.version) });
        }
        let mut last = self.last.lock();
        if let Some([of, made]) = &*last
            && Arc::ptr_eq(of, &view)
        {
            return Arc::clone(made);
        }
        let mut version = TreeVersion::clone(&view.version);
        version.levels[0].splice(0..0, self.files.iter().cloned());
        let made = Arc::new(ReadView { memtables, version: Arc::new(version) });
        *last = Some([view, Arc::clone(&made)]);
        made
    }
}

//! [`AsOf`]: a memtable's entries up to a number, shown under another.
//!
//! A transaction's rows carry the numbers of its statements, which mean nothing to anybody else.
//! Its readers see them through this, as if they had been committed at the transaction's base: so
//! that no such number leaves the transaction, and whatever reads memtables reads its rows too.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{KeyBounds, MemEntry, Memtable, TreeMemtable};
use crate::batch::EntryBytes;
use crate::{OpKind, SeqNo};

/// See the module.
#[derive(Debug)]
pub(super) struct AsOf {
    memtable: Arc<TreeMemtable>,
    through: SeqNo,
    shown: SeqNo,
}

impl AsOf {
    pub(super) fn new(memtable: Arc<TreeMemtable>, through: SeqNo, shown: SeqNo) -> Self {
        Self { memtable, through, shown }
    }
}

impl Memtable for AsOf {
    fn insert_all(&self, _seq: SeqNo, _entries: &[(EntryBytes, OpKind)]) {
        unreachable!("what is shown under another number takes no entries");
    }

    fn get(&self, key: &[u8], snapshot: SeqNo, found: &mut dyn FnMut(MemEntry<'_>)) -> bool {
        let shown = self.shown;
        snapshot >= shown
            && self.memtable.get(key, self.through, |entry| found(MemEntry { seq: shown, ..entry }))
    }

    fn visit(
        &self,
        range: KeyBounds<'_>,
        reverse: bool,
        visitor: &mut dyn FnMut(MemEntry<'_>) -> ControlFlow<()>,
    ) {
        self.memtable.visit(range, reverse, |entry| match entry.seq <= self.through {
            true => visitor(MemEntry { seq: self.shown, ..entry }),
            false => ControlFlow::Continue(()),
        });
    }

    fn is_private(&self) -> bool {
        true
    }
}

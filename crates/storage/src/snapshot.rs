//! [`Snapshot`]: a moment at which reads stand still, and the register of those in use.
//!
//! A snapshot is a published number (RULES.md 10). It is read and registered in one step under
//! the register's lock, and compaction takes its floor under the same lock: so no floor passes a
//! number that somebody is about to read at.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::SeqNo;
use crate::state::{ReadView, TreeState};
use crate::transaction::Overlay;

/// A moment of the database: all commits up to a number, and no later one. Cheap to clone; the
/// last clone dropped releases it. That of a transaction sees what the transaction wrote besides.
#[derive(Clone)]
pub struct Snapshot {
    registered: Arc<Registered>,
    overlay: Option<Arc<Overlay>>,
}

impl Snapshot {
    /// The number of the last commit it sees.
    pub fn seq(&self) -> SeqNo {
        self.registered.seq
    }

    /// Whether the other one is a clone of it: sees the same of everything.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.registered, &other.registered)
            && match (&self.overlay, &other.overlay) {
                (None, None) => true,
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                _ => false,
            }
    }

    /// The same moment, and what `overlay` holds on top of it.
    pub(crate) fn under(&self, overlay: Arc<Overlay>) -> Self {
        Self { registered: Arc::clone(&self.registered), overlay: Some(overlay) }
    }

    /// What a read of `tree` at this snapshot needs, taken at once.
    pub(crate) fn view_of(&self, tree: &TreeState) -> Arc<ReadView> {
        match &self.overlay {
            None => tree.read_view(),
            Some(overlay) => overlay.view_of(tree),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({})", self.seq())
    }
}

struct Registered {
    seq: SeqNo,
    write: bool,
    registry: Arc<SnapshotRegistry>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut live = self.registry.live.lock();
        release(&mut live.readers, self.seq);
        if self.write {
            release(&mut live.writers, self.seq);
            self.registry.note_oldest_write(&live);
        }
    }
}

/// All snapshots in use, and the number of the last published commit.
#[derive(Debug)]
pub(crate) struct SnapshotRegistry {
    published: AtomicU64,
    live: Mutex<Live>,
    /// The oldest write snapshot, `u64::MAX` if there is none: read by every commit without the
    /// lock. It is lowered before the snapshot is handed out, and a commit reads it under the
    /// commit lock; see [`SnapshotRegistry::write_snapshot`].
    oldest_write: AtomicU64,
}

#[derive(Debug, Default)]
struct Live {
    /// Snapshots by number.
    readers: BTreeMap<SeqNo, usize>,
    /// Those of them that hold the commit index.
    writers: BTreeMap<SeqNo, usize>,
}

impl SnapshotRegistry {
    /// A register whose last published commit is `published`.
    pub(crate) fn new(published: SeqNo) -> Self {
        Self {
            published: AtomicU64::new(published),
            live: Mutex::default(),
            oldest_write: AtomicU64::new(u64::MAX),
        }
    }

    /// The number of the last commit that readers see.
    pub(crate) fn published(&self) -> SeqNo {
        self.published.load(Ordering::Acquire)
    }

    /// Shows readers all commits up to `seq`; every entry of theirs is in place.
    pub(crate) fn publish(&self, seq: SeqNo) {
        self.published.store(seq, Ordering::Release);
    }

    /// A snapshot of now.
    pub(crate) fn snapshot(self: &Arc<Self>) -> Snapshot {
        let mut live = self.live.lock();
        let seq = self.published();
        *live.readers.entry(seq).or_default() += 1;
        self.registered(seq, false)
    }

    /// A snapshot of now back to which the commit index is kept. Call it under the commit lock:
    /// then every commit numbered later sees it, and those numbered earlier but not yet published
    /// are still in the index, which keeps all that is not published.
    pub(crate) fn write_snapshot(self: &Arc<Self>) -> Snapshot {
        let mut live = self.live.lock();
        let seq = self.published();
        *live.readers.entry(seq).or_default() += 1;
        *live.writers.entry(seq).or_default() += 1;
        self.note_oldest_write(&live);
        self.registered(seq, true)
    }

    fn registered(self: &Arc<Self>, seq: SeqNo, write: bool) -> Snapshot {
        let registered = Registered { seq, write, registry: Arc::clone(self) };
        Snapshot { registered: Arc::new(registered), overlay: None }
    }

    /// The number below which no reader, now or later, tells versions apart: of the entries of a
    /// key at or below it, only the newest is ever seen.
    pub(crate) fn floor(&self) -> SeqNo {
        let live = self.live.lock();
        let published = self.published();
        live.readers.first_key_value().map_or(published, |(seq, _)| (*seq).min(published))
    }

    /// The oldest write snapshot, `u64::MAX` if there is none.
    pub(crate) fn oldest_write(&self) -> SeqNo {
        self.oldest_write.load(Ordering::Acquire)
    }

    /// The oldest snapshot in use.
    pub(crate) fn oldest(&self) -> Option<SeqNo> {
        self.live.lock().readers.first_key_value().map(|(seq, _)| *seq)
    }

    /// The number of snapshots in use.
    pub(crate) fn len(&self) -> usize {
        self.live.lock().readers.values().sum()
    }

    fn note_oldest_write(&self, live: &Live) {
        let oldest = live.writers.first_key_value().map_or(u64::MAX, |(seq, _)| *seq);
        self.oldest_write.store(oldest, Ordering::Release);
    }
}

fn release(count: &mut BTreeMap<SeqNo, usize>, seq: SeqNo) {
    if let Some(users) = count.get_mut(&seq) {
        *users -= 1;
        if *users == 0 {
            count.remove(&seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_never_passes_a_snapshot_in_use() {
        let registry = Arc::new(SnapshotRegistry::new(5));
        let old = registry.snapshot();
        registry.publish(9);
        let new = registry.snapshot();
        assert_eq!((old.seq(), new.seq()), (5, 9));
        assert_eq!(registry.floor(), 5);
        let copy = old.clone();
        drop(old);
        assert_eq!(registry.floor(), 5);
        drop(copy);
        assert_eq!(registry.floor(), 9);
        assert_eq!(registry.len(), 1);
        drop(new);
        registry.publish(12);
        assert_eq!(registry.floor(), 12);
    }

    #[test]
    fn oldest_write_snapshot_is_known_until_its_last_clone_goes() {
        let registry = Arc::new(SnapshotRegistry::new(3));
        let reader = registry.snapshot();
        assert_eq!(registry.oldest_write(), u64::MAX);
        let writer = registry.write_snapshot();
        registry.publish(4);
        let second = registry.write_snapshot();
        assert_eq!(registry.oldest_write(), 3);
        drop(writer);
        assert_eq!(registry.oldest_write(), 4);
        drop((second, reader));
        assert_eq!(registry.oldest_write(), u64::MAX);
        assert_eq!(registry.oldest(), None);
    }
}

//! [`Arrivals`]: entries as they came, commit by commit, until a reader wants them as a run.
//!
//! The memtable knows entries by key. What came since a number is known here, so that a reader
//! who was here before pays for what is new and not for all that the memtable holds.

use parking_lot::Mutex;

use crate::batch::EntryBytes;
use crate::{OpKind, SeqNo};

/// One commit's entries.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) seq: SeqNo,
    pub(super) entries: Vec<(EntryBytes, OpKind)>,
}

/// What came and is in no run yet, nearly in the order of numbers.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Mutex<Vec<Arrival>>);

/// Bytes of an entry here or in a run.
pub(super) const ENTRY_BYTES: usize = size_of::<(EntryBytes, OpKind)>();

impl Arrivals {
    /// Adds entries of commit `seq`, before it is published.
    pub(super) fn push(&self, seq: SeqNo, mut entries: Vec<(EntryBytes, OpKind)>) {
        let mut arrived = self.0.lock();
        match arrived.last_mut() {
            Some(last) if last.seq == seq => last.entries.append(&mut entries),
            _ => arrived.push(Arrival { seq, entries }),
        }
    }

    /// The lowest number of what was not taken.
    pub(super) fn first(&self) -> Option<SeqNo> {
        self.0.lock().iter().map(|arrival| arrival.seq).min()
    }

    /// Takes what came of commits up to `snapshot`, a published number: nothing of theirs will
    /// come any more. Newest first.
    pub(super) fn take(&self, snapshot: SeqNo) -> Vec<Arrival> {
        let mut arrived = self.0.lock();
        let (mut taken, left) =
            std::mem::take(&mut *arrived).into_iter().partition::<Vec<_>, _>(|a| a.seq <= snapshot);
        *arrived = left;
        drop(arrived);
        taken.sort_by_key(|arrival| std::cmp::Reverse(arrival.seq));
        taken
    }
}

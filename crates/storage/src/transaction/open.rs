//! [`OpenTransactions`]: who keeps old versions alive, and how much memory they hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::SeqNo;
use crate::describe::TransactionDescription;
use crate::state::Context;

/// The transactions that are open.
#[derive(Debug, Default)]
pub(crate) struct OpenTransactions {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_number: BTreeMap<u64, OpenTransaction>,
}

#[derive(Debug)]
struct OpenTransaction {
    base: SeqNo,
    /// Monotonic.
    began: Duration,
    memory: Arc<AtomicUsize>,
}

impl OpenTransactions {
    /// Memory that holds what they wrote.
    pub(crate) fn memory_bytes(&self) -> usize {
        let open = self.open.lock();
        open.by_number.values().map(|open| open.memory.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn describe(&self, now: Duration) -> Vec<TransactionDescription> {
        let describe = |open: &OpenTransaction| TransactionDescription {
            base: open.base,
            age: now.saturating_sub(open.began),
            memory_bytes: open.memory.load(Ordering::Relaxed) as u64,
        };
        self.open.lock().by_number.values().map(describe).collect()
    }
}

/// A transaction's place among those open; dropped when it is over.
pub(super) struct Registration {
    context: Arc<Context>,
    number: u64,
}

impl Registration {
    /// `memory` holds what the transaction wrote.
    pub(super) fn new(context: &Arc<Context>, base: SeqNo, memory: Arc<AtomicUsize>) -> Self {
        let began = context.env.clock.monotonic();
        let mut open = context.transactions.open.lock();
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, OpenTransaction { base, began, memory });
        Self { context: Arc::clone(context), number }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.context.transactions.open.lock().by_number.remove(&self.number);
    }
}

//! [`Waiter`]: how a commit sleeps until it is published.
//!
//! Each sleeps on its own, and who publishes wakes those it freed, outside every lock: woken
//! together on one condition variable they would take the lock in turn, each a switch of threads,
//! before any of them could begin its next commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, Thread};

use crate::SeqNo;

const ASLEEP: u8 = 0;
const PUBLISHED: u8 = 1;
const LOOK: u8 = 2;

thread_local! {
    static WAITER: Arc<Waiter> =
        Arc::new(Waiter { thread: thread::current(), told: AtomicU8::new(ASLEEP) });
}

/// One thread that may sleep.
#[derive(Debug)]
pub(super) struct Waiter {
    thread: Thread,
    told: AtomicU8,
}

impl Waiter {
    /// Sleeps until told something; whether that was that its commit is published.
    pub(super) fn sleep(&self) -> bool {
        loop {
            match self.told.load(Ordering::Acquire) {
                ASLEEP => thread::park(),
                told => return told == PUBLISHED,
            }
        }
    }

    fn tell(&self, what: u8) {
        self.told.store(what, Ordering::Release);
        self.thread.unpark();
    }
}

/// Commits that sleep, under the lock of publication.
#[derive(Debug, Default)]
pub(super) struct Sleepers(Vec<(SeqNo, Arc<Waiter>)>);

/// Those that are about to be woken.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Freed {
    published: Vec<Arc<Waiter>>,
    looking: Vec<Arc<Waiter>>,
}

impl Sleepers {
    /// The calling thread is about to sleep until `seq` is published.
    pub(super) fn add(&mut self, seq: SeqNo) -> Arc<Waiter> {
        let waiter = WAITER.with(Arc::clone);
        waiter.told.store(ASLEEP, Ordering::Relaxed);
        self.0.push((seq, Arc::clone(&waiter)));
        waiter
    }

    /// Takes those whose commits are below `first`, the first that is not published.
    pub(super) fn free(&mut self, first: SeqNo) -> Freed {
        let mut freed = Freed::default();
        self.0.retain(|(seq, waiter)| {
            let is_published = *seq < first;
            if is_published {
                freed.published.push(Arc::clone(waiter));
            }
            !is_published
        });
        freed
    }

    /// Takes the oldest commit of those that `lack` a sync as well: it is to lead the next one.
    /// Another might be published before it wakes, and go home without having led.
    pub(super) fn free_leader(&mut self, freed: &mut Freed, lack: impl Fn(SeqNo) -> bool) {
        let lacking = self.0.iter().enumerate().filter(|(_, (seq, _))| lack(*seq));
        if let Some((at, _)) = lacking.min_by_key(|(_, (seq, _))| *seq) {
            freed.looking.push(self.0.swap_remove(at).1);
        }
    }

    /// How many sleep.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes all, to look what happened.
    pub(super) fn free_all(&mut self) -> Freed {
        let looking = self.0.drain(..).map(|(_, waiter)| waiter).collect();
        Freed { published: Vec::new(), looking }
    }
}

impl Freed {
    pub(super) fn is_empty(&self) -> bool {
        self.published.is_empty() && self.looking.is_empty()
    }

    /// Wakes them, who leads first.
    pub(super) fn wake(self) {
        self.looking.iter().for_each(|waiter| waiter.tell(LOOK));
        self.published.iter().for_each(|waiter| waiter.tell(PUBLISHED));
    }
}

use std::sync::atomic::AtomicUsize;
use std::thread;

use super::*;
use crate::engine::Engine;
use crate::engine::tests::{dir, env, options, put, schema};
use crate::vfs::{Clock, Env};

/// Who asks for the monotonic time as the `held`-th waits until he `may_go`; nobody does at zero.
#[derive(Debug)]
struct Held {
    inner: Arc<dyn Clock>,
    held: AtomicUsize,
    holds: AtomicBool,
    may_go: AtomicBool,
}

impl Clock for Held {
    fn now_micros(&self) -> i64 {
        self.inner.now_micros()
    }

    fn monotonic(&self) -> Duration {
        let countdown = |held: usize| held.checked_sub(1);
        let held = self.held.fetch_update(Ordering::SeqCst, Ordering::SeqCst, countdown);
        if held == Ok(1) {
            self.holds.store(true, Ordering::SeqCst);
            until("the clock goes on", || self.may_go.load(Ordering::SeqCst));
        }
        self.inner.monotonic()
    }

    fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration);
    }
}

/// Waits, and fails where a lost wakeup would have waited for ever.
fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("waited in vain until {what}");
}

/// A thread that a failed test leaves behind.
#[expect(clippy::disallowed_methods, reason = "a scope would wait for one that sleeps for ever")]
fn detached<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::spawn(act)
}

/// Numbers and logs a commit of one row, and leaves it there.
fn place(engine: &Engine, tree: TreeId, number: i64) -> (Placed, WriteBatch) {
    let mut batch = WriteBatch::new();
    put(engine, &mut batch, tree, number, "row");
    batch.seal();
    let keys = CommitKeys::of(&batch);
    let mut record = CommitRecord::new();
    record.encode(&batch, &[]).unwrap();
    let core = engine.core_of_test();
    let trees = [core.state(tree).unwrap()];
    let durability = Durability::Full;
    let placed = core.pipeline.place(&trees, &batch, keys, &mut record, durability).unwrap();
    (placed, batch)
}

/// Inserts a commit that was placed.
fn insert((placed, batch): (Placed, WriteBatch)) -> SeqNo {
    let seq = placed.seq;
    placed.insert(batch);
    seq
}

/// An empty database whose clock can be held.
fn held_database() -> (Arc<Engine>, TreeId, Arc<Held>) {
    let env = env();
    let clock = Arc::new(Held {
        inner: Arc::clone(&env.clock),
        held: AtomicUsize::new(0),
        holds: AtomicBool::new(false),
        may_go: AtomicBool::new(false),
    });
    let env = Env { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..env };
    let engine = Arc::new(Engine::open(env, &dir(), options()).unwrap());
    let tree = engine.create_tree(schema()).unwrap();
    (engine, tree, clock)
}

/// A thread whose sync was made, and that does not know it before the clock may go.
fn sync_held(engine: &Arc<Engine>, clock: &Held) -> thread::JoinHandle<Result<()>> {
    // A sync looks at the clock before and after.
    clock.held.store(2, Ordering::SeqCst);
    let engine = Arc::clone(engine);
    let syncing = detached(move || engine.core_of_test().pipeline.sync().map(drop));
    until("a sync was made", || clock.holds.load(Ordering::SeqCst));
    syncing
}

/// A thread that waits until `seq`, inserted, is published.
fn finish(engine: &Arc<Engine>, seq: SeqNo) -> thread::JoinHandle<Result<()>> {
    let engine = Arc::clone(engine);
    detached(move || engine.core_of_test().pipeline.finish(seq))
}

fn sleepers(engine: &Engine) -> usize {
    engine.core_of_test().pipeline.publication.lock().sleepers.len()
}

/// A sync covers the second of three commits, not the third, while the first still inserts. The
/// second is slow to wake, and published by then: the third must not be left to it.
#[test]
fn commit_that_is_published_before_it_wakes_leaves_nobody_waiting_for_its_sync() {
    let (engine, tree, clock) = held_database();
    let first = place(&engine, tree, 1);
    let second = insert(place(&engine, tree, 2));
    let syncing = sync_held(&engine, &clock);

    let third = insert(place(&engine, tree, 3));
    {
        // This thread stands for the second commit's, asleep.
        let mut publication = engine.core_of_test().pipeline.publication.lock();
        publication.slots[1].is_inserted = true;
        publication.sleepers.add(second);
    }
    let finishing = finish(&engine, third);
    until("the third sleeps as well", || sleepers(&engine) == 2);
    clock.may_go.store(true, Ordering::SeqCst);
    syncing.join().unwrap().unwrap();

    let seq = insert(first);
    engine.core_of_test().pipeline.finish(seq).unwrap();
    until("the third is published", || engine.snapshot().seq() == third);
    finishing.join().unwrap().unwrap();
}

/// The manifest poisons by itself, while a sync runs: who is woken to lead the next one does not,
/// and nobody comes after him.
#[test]
fn commits_that_sleep_while_the_manifest_fails_are_all_told() {
    let (engine, tree, clock) = held_database();
    let syncing = sync_held(&engine, &clock);
    let finishing: Vec<_> =
        (1..=3).map(|number| finish(&engine, insert(place(&engine, tree, number)))).collect();
    until("all three sleep", || sleepers(&engine) == 3);
    let waiting = detached({
        let engine = Arc::clone(&engine);
        move || engine.core_of_test().pipeline.wait_published(3)
    });
    let waiters = || engine.core_of_test().pipeline.publication.lock().waiters;
    until("another waits for them", || waiters() == 1);
    engine.core_of_test().context.health.poison(&Error::internal("the disk said no"));
    clock.may_go.store(true, Ordering::SeqCst);
    syncing.join().unwrap().unwrap();
    for thread in finishing.into_iter().chain([waiting]) {
        until("all are told", || thread.is_finished());
        assert_eq!(thread.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn commit_that_panics_behind_its_number_keeps_nobody_waiting() {
    let (engine, tree, _) = held_database();
    let first = place(&engine, tree, 1);
    let second = finish(&engine, insert(place(&engine, tree, 2)));
    until("the second sleeps", || sleepers(&engine) == 1);
    let panicking = detached({
        let engine = Arc::clone(&engine);
        move || {
            let _panics = engine.core_of_test().pipeline.poisoning_panics();
            let _first = first;
            panic!("as a commit might");
        }
    });
    assert!(panicking.join().is_err());
    until("the second is told", || second.is_finished());
    assert_eq!(second.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

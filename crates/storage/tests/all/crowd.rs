//! Large commits from many threads at once: every row that was acknowledged is found, by itself, in
//! company and by scans, in the memtable that took it, and in the files it was flushed to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use silt_codec::RowBuffer;
use silt_storage::vfs::{Clock, CrashMode, Env, OsClock, StrictVfs};
use silt_storage::{
    Engine, FastPaths, JobKind, KeyRange, Options, ReadCounters, ScanRequest, Snapshot, Tree,
    WriteBatch,
};

use crate::support::{Key, Row, contents, dir, key_bytes, row_bytes, schema};

const THREADS: u64 = 16;

/// A commit asks for the time under the commit lock. While the gate is shut it gets no answer, and
/// all others queue up behind it: then they go on at once, each before the ones ahead of it have
/// counted what they inserted.
#[derive(Debug)]
struct Gate {
    clock: OsClock,
    is_shut: AtomicBool,
}

impl Clock for Gate {
    fn now_micros(&self) -> i64 {
        while self.is_shut.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.clock.now_micros()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration);
    }
}

/// The rows of a thread's `commit`-th commit, in keys of its own.
fn rows(thread: u64, commit: u64, count: u64) -> Vec<(Key, Row)> {
    let row = |number: u64| {
        let number = (number * THREADS + thread) as i64;
        ((number, format!("c{commit}")), (Some(number), "row".to_owned()))
    };
    (0..count).map(row).collect()
}

fn batch(tree: &Tree, rows: &[(Key, Row)]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (key, row) in rows {
        batch.put(tree.id(), &key_bytes(tree, key), &row_bytes(tree, row));
    }
    batch
}

/// Each of `rows` is found by a get of its own.
fn found_one_by_one(tree: &Tree, snapshot: &Snapshot, rows: &[(Key, Row)], what: &str) {
    let counters = ReadCounters::new();
    let mut values = RowBuffer::new();
    for (key, _) in rows {
        let bytes = key_bytes(tree, key);
        let found = tree.get(&bytes, &[2], snapshot, &counters, &mut values).unwrap();
        assert!(found, "{what}: {key:?} was acknowledged and is not there");
    }
}

/// All of `model`, and nothing else, is found in every way.
fn found(tree: &Tree, snapshot: &Snapshot, model: &BTreeMap<Key, Row>, what: &str) {
    let all: Vec<(Key, Row)> = model.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
    found_one_by_one(tree, snapshot, &all, what);
    let counters = ReadCounters::new();
    for some in all.chunks(1_000) {
        let keys: Vec<Vec<u8>> = some.iter().map(|(key, _)| key_bytes(tree, key)).collect();
        let found = tree.multi_get(&keys, &[2], snapshot, &counters).unwrap();
        assert_eq!(found.positions.len(), some.len(), "{what}: many gets together");
    }
    let scanned: BTreeMap<Key, Row> = contents(tree, snapshot).unwrap().into_iter().collect();
    assert!(scanned == *model, "{what}: a scan in order");
    let request = ScanRequest::new(KeyRange::all(), vec![0]);
    let scan = tree.scan(&request, snapshot).unwrap();
    let scanned: usize = scan.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(scanned, model.len(), "{what}: a scan in any order");
}

fn crowd(options: Options, large: u64) {
    let folder = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate { clock: OsClock::new(), is_shut: AtomicBool::new(false) });
    let env = Env { clock: Arc::clone(&gate) as Arc<dyn Clock>, ..Env::os() };
    let engine = Engine::open(env, folder.path(), options).unwrap();
    let tree = engine.tree(engine.create_tree(schema()).unwrap()).unwrap();
    // Threads meet only as they begin: one that fails must not leave others waiting for it.
    let together = |commits: &[(u64, u64)], open_gate: &dyn Fn()| -> Vec<(Key, Row)> {
        let barrier = Barrier::new(THREADS as usize + 1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (engine, tree, barrier) = (&engine, &tree, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        let mut written = Vec::new();
                        for (commit, count) in commits {
                            let rows = rows(thread, *commit, *count);
                            engine.commit(batch(tree, &rows)).unwrap();
                            let what = format!("thread {thread} after its commit {commit}");
                            found_one_by_one(tree, &engine.snapshot(), &rows, &what);
                            written.extend(rows);
                        }
                        written
                    })
                })
                .collect();
            barrier.wait();
            open_gate();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    };
    gate.is_shut.store(true, Ordering::Relaxed);
    let mut written = together(&[(0, large)], &|| {
        std::thread::sleep(Duration::from_secs(1));
        gate.is_shut.store(false, Ordering::Relaxed);
    });
    written.extend(together(&[(1, large / 20), (2, large / 4)], &|| ()));
    let model: BTreeMap<Key, Row> = written.into_iter().collect();
    found(&tree, &engine.snapshot(), &model, "as it was written");
    engine.flush().unwrap();
    while let Some(JobKind::Flush(_)) = engine.next_job() {
        engine.run_job().unwrap();
    }
    found(&tree, &engine.snapshot(), &model, "flushed");
    drop((tree, engine));
    let engine = Engine::open(Env::os(), folder.path(), Options::default()).unwrap();
    let tree = engine.tree(engine.trees()[0]).unwrap();
    found(&tree, &engine.snapshot(), &model, "reopened");
}

#[test]
fn every_row_of_many_large_commits_at_once_is_found_in_one_memtable() {
    crowd(Options { background: false, ..Options::default() }, 8_000);
}

#[test]
fn one_writer_of_large_commits_is_acknowledged_what_a_crash_keeps() {
    for early_sync in [true, false] {
        let vfs = StrictVfs::new();
        let paths = FastPaths { early_sync, ..FastPaths::default() };
        let env = || Env { vfs: Arc::new(vfs.clone()), ..Env::os() };
        let options = Options { memtable_bytes: 1 << 20, paths, ..Options::default() };
        let engine = Engine::open(env(), dir(), options).unwrap();
        let tree = engine.tree(engine.create_tree(schema()).unwrap()).unwrap();
        let mut model = BTreeMap::new();
        for commit in 0..60 {
            let rows = rows(0, commit, 100 + commit * 20);
            engine.commit(batch(&tree, &rows)).unwrap();
            found_one_by_one(&tree, &engine.snapshot(), &rows, "acknowledged");
            model.extend(rows);
            if commit % 10 == 9 {
                // What was not synced when the commit returned is gone from this copy.
                let crashed = vfs.crash_image(commit, CrashMode::DropUnsynced);
                let env = Env { vfs: Arc::new(crashed), ..Env::os() };
                let options = Options { background: false, ..Options::default() };
                let engine = Engine::open(env, dir(), options).unwrap();
                let tree = engine.tree(engine.trees()[0]).unwrap();
                found(&tree, &engine.snapshot(), &model, "after a crash");
            }
        }
    }
}

#[test]
fn every_row_of_many_large_commits_at_once_is_found_while_memtables_are_flushed() {
    let options = Options {
        memory_bytes: 16 << 20,
        memtable_bytes: 512 << 10,
        file_bytes: 1 << 20,
        level0_runs: 2,
        ..Options::default()
    };
    crowd(options, 3_000);
}

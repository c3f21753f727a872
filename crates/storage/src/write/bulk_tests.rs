#![allow(clippy::cast_possible_truncation, reason = "small numbers")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{Int64Array, StringViewArray};

use super::*;
use crate::engine::tests::{commit, dir, env, env_on, get, open, options, put, schema};
use crate::vfs::{
    CrashMode, Env, Fault, FaultKind, FaultVfs, OpClass, Random, SeededRandom, StrictVfs, Vfs,
};
use crate::{Engine, KeyRange, Options, ScanOrder, ScanRequest, TreeId};

fn columns(rows: impl IntoIterator<Item = (i64, String)>) -> Vec<ArrayRef> {
    let (keys, texts): (Vec<i64>, Vec<String>) = rows.into_iter().unzip();
    vec![Arc::new(Int64Array::from(keys)), Arc::new(StringViewArray::from_iter_values(texts))]
}

fn rows(keys: impl IntoIterator<Item = i64>, text: &str) -> Vec<ArrayRef> {
    columns(keys.into_iter().map(|key| (key, text.to_owned())))
}

fn load(
    engine: &Engine,
    tree: TreeId,
    duplicates: OnDuplicate,
    batches: impl IntoIterator<Item = Vec<ArrayRef>>,
) -> Result<BulkOutcome> {
    let mut load = engine.bulk_load(tree, duplicates)?;
    batches.into_iter().try_for_each(|batch| load.push(batch))?;
    load.finish(WriteBatch::new())
}

fn shuffled(count: i64, seed: u64) -> Vec<i64> {
    let random = SeededRandom::new(seed);
    let mut keys: Vec<(u64, i64)> = (0..count).map(|key| (random.next_u64(), key)).collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, key)| key).collect()
}

fn files_of(engine: &Engine, tree: TreeId) -> Vec<(usize, u64)> {
    let description = engine.describe();
    let tree = description.trees.iter().find(|of| of.id == tree).unwrap();
    let levels = tree.levels.iter().enumerate();
    levels.flat_map(|(level, of)| of.files.iter().map(move |file| (level, file.rows))).collect()
}

#[test]
fn rows_of_any_order_become_sorted_files_of_the_last_level() {
    for (memory_bytes, seed) in [(512 << 20, 1), (200_000, 2)] {
        let env = env();
        let options = Options { memory_bytes, file_bytes: 20_000, group_rows: 500, ..options() };
        let engine = Engine::open(env.clone(), &dir(), options.clone()).unwrap();
        let tree = engine.create_tree(schema()).unwrap();
        let keys = shuffled(20_000, seed);
        let batches = keys
            .chunks(700)
            .map(|keys| columns(keys.iter().map(|key| (*key, format!("text {}", key * 7919)))));
        let outcome = load(&engine, tree, OnDuplicate::Error, batches).unwrap();
        assert_eq!(outcome, BulkOutcome { seq: 1, rows: 20_000, kept: 0 });
        let files = files_of(&engine, tree);
        assert!(files.len() > 2 && files.iter().all(|(level, _)| *level == 6), "{files:?}");
        assert_eq!(files.iter().map(|(_, rows)| rows).sum::<u64>(), 20_000);
        for key in [0, 1, 777, 19_999] {
            assert_eq!(get(&engine, tree, key), Some(format!("text {}", key * 7919)));
        }
        assert_eq!(get(&engine, tree, 20_000), None);
        drop(engine);
        let engine = Engine::open(env, &dir(), options).unwrap();
        assert_eq!(get(&engine, tree, 777), Some(format!("text {}", 777 * 7919)));
        assert_eq!(files_of(&engine, tree), files);
    }
}

/// Lets a load go on so often.
#[derive(Debug)]
struct GoesOn(AtomicUsize);

impl ScanWatch for GoesOn {
    fn go_on(&self) -> Result<()> {
        let less = |left: usize| left.checked_sub(1);
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        left.map(drop).map_err(|_| Error::new(ErrorKind::Interrupted, "enough"))
    }
}

#[test]
fn load_that_is_ended_wherever_it_looks_leaves_nothing() {
    let options = Options { memory_bytes: 200_000, group_rows: 500, ..options() };
    let strict = StrictVfs::new();
    let engine = Engine::open(env_on(&strict), &dir(), options).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    let keys = shuffled(8_000, 5);
    let load = |looks: usize| {
        let watch = Arc::new(GoesOn(AtomicUsize::new(looks)));
        let mut load = engine.bulk_load(tree, OnDuplicate::Error)?.watched(watch);
        for keys in keys.chunks(700) {
            load.push(rows(keys.iter().copied(), "text of some length"))?;
        }
        load.finish(WriteBatch::new())
    };
    let sst = || strict.list(&dir().join("sst")).unwrap().len();
    let before = sst();
    let mut looks = 0;
    let outcome = loop {
        match load(looks) {
            Ok(outcome) => break outcome,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted),
        }
        assert_eq!((files_of(&engine, tree), sst()), (Vec::new(), before), "after {looks}");
        looks += 1;
    };
    // Each group twice: when its run is written, and when the runs are merged.
    assert!(looks >= 2 * 8_000 / 500, "{looks}");
    assert_eq!(outcome.rows, 8_000);
    assert_eq!(get(&engine, tree, 7_999), Some("text of some length".to_owned()));
}

#[test]
fn load_on_many_threads_equals_one_on_a_single_thread() {
    for duplicates in [OnDuplicate::Replace, OnDuplicate::Keep] {
        let loaded = [false, true].map(|background| {
            let options = Options { background, memory_bytes: 512 << 20, ..Options::default() };
            let engine = Engine::open(env(), &dir(), options).unwrap();
            let tree = engine.create_tree(schema()).unwrap();
            let existing = columns((0..500).map(|key| (key * 300, format!("there {key}"))));
            load(&engine, tree, OnDuplicate::Error, [existing]).unwrap();
            let keys = shuffled(150_000, 3);
            let batches = keys.chunks(9_000).map(|keys| {
                columns(keys.iter().map(|key| (*key % 140_000, format!("text {key}"))))
            });
            let outcome = load(&engine, tree, duplicates, batches).unwrap();
            let request = ScanRequest {
                order: ScanOrder::Forward,
                ..ScanRequest::new(KeyRange::all(), vec![0, 1])
            };
            let scan = engine.tree(tree).unwrap().scan(&request, &engine.snapshot()).unwrap();
            let batches: Vec<_> = scan.map(Result::unwrap).collect();
            let whole = arrow_select::concat::concat_batches(&batches[0].schema(), &batches);
            (outcome, whole.unwrap())
        });
        assert!(loaded[0].1.num_rows() >= 140_000);
        assert_eq!(loaded[0], loaded[1]);
    }
}

#[test]
fn sequential_load_is_written_once() {
    let options = Options { memory_bytes: 200_000, group_rows: 500, ..options() };
    let engine = Engine::open(env(), &dir(), options).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    let batches = (0..20).map(|batch| rows(batch * 1000..(batch + 1) * 1000, "text"));
    load(&engine, tree, OnDuplicate::Error, batches).unwrap();
    let next = engine.core_of_test().versions.next_file_id();
    assert_eq!(files_of(&engine, tree).len() as u64, next - 1, "every file written is in the tree");
}

#[test]
fn equal_keys_are_dealt_with_as_asked_wherever_they_meet() {
    // In one run, and across runs.
    for memory_bytes in [512 << 20, 100_000] {
        let batches = || {
            let first = columns((0..3000).map(|key| (key, format!("first {key}"))));
            let other = rows(10_000..14_000, "other");
            let last = columns([(5, "last 5".to_owned()), (20_000, "last".to_owned())]);
            [first, other, last]
        };
        let options = Options { memory_bytes, group_rows: 100, ..options() };
        let engine = Engine::open(env(), &dir(), options).unwrap();
        let trees: Vec<_> = (0..3).map(|_| engine.create_tree(schema()).unwrap()).collect();
        let error = load(&engine, trees[0], OnDuplicate::Error, batches()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(error.key().unwrap().1, crate::engine::tests::key(&engine, trees[0], 5));
        assert_eq!(files_of(&engine, trees[0]), []);

        let outcome = load(&engine, trees[1], OnDuplicate::Replace, batches()).unwrap();
        assert_eq!((outcome.rows, outcome.kept), (7001, 0));
        assert_eq!(get(&engine, trees[1], 5).as_deref(), Some("last 5"));

        let outcome = load(&engine, trees[2], OnDuplicate::Keep, batches()).unwrap();
        assert_eq!((outcome.rows, outcome.kept), (7001, 1));
        assert_eq!(get(&engine, trees[2], 5).as_deref(), Some("first 5"));
        assert_eq!(get(&engine, trees[2], 20_000).as_deref(), Some("last"));
    }
}

#[test]
fn existing_rows_refuse_keep_or_yield_their_place() {
    let engine = open(&env());
    let tree = engine.create_tree(schema()).unwrap();
    commit(&engine, tree, 1, "flushed");
    engine.flush().unwrap();
    commit(&engine, tree, 2, "in the memtable");
    commit(&engine, tree, 3, "deleted");
    let mut delete = WriteBatch::new();
    delete.delete(tree, &crate::engine::tests::key(&engine, tree, 3));
    engine.commit(delete).unwrap();

    for key in [1, 2] {
        let error = load(&engine, tree, OnDuplicate::Error, [rows([key, 9], "x")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(error.key().unwrap().1, crate::engine::tests::key(&engine, tree, key));
    }
    let outcome = load(&engine, tree, OnDuplicate::Keep, [rows(0..5, "kept out")]).unwrap();
    assert_eq!((outcome.rows, outcome.kept), (3, 2));
    assert_eq!(get(&engine, tree, 1).as_deref(), Some("flushed"));
    assert_eq!(get(&engine, tree, 2).as_deref(), Some("in the memtable"));
    assert_eq!(get(&engine, tree, 3).as_deref(), Some("kept out"));
    load(&engine, tree, OnDuplicate::Replace, [rows(0..5, "replaced")]).unwrap();
    for key in 0..5 {
        assert_eq!(get(&engine, tree, key).as_deref(), Some("replaced"), "{key}");
    }
    assert_eq!(engine.describe().trees[0].memtables[0].entries, 0);
    load(&engine, tree, OnDuplicate::Error, [rows(5..7, "new")]).unwrap();
}

#[test]
fn bulk_file_lies_between_what_was_committed_before_and_after_it() {
    let env = env();
    let engine = open(&env);
    let tree = engine.create_tree(schema()).unwrap();
    commit(&engine, tree, 1, "before");
    let old = engine.snapshot();
    load(&engine, tree, OnDuplicate::Replace, [rows(0..4, "bulk")]).unwrap();
    commit(&engine, tree, 2, "after");
    let check = |engine: &Engine| {
        assert_eq!(get(engine, tree, 1).as_deref(), Some("bulk"));
        assert_eq!(get(engine, tree, 2).as_deref(), Some("after"));
        assert_eq!(get(engine, tree, 3).as_deref(), Some("bulk"));
    };
    check(&engine);
    let mut row = RowBuffer::new();
    let handle = engine.tree(tree).unwrap();
    let key = crate::engine::tests::key(&engine, tree, 1);
    assert!(handle.get(&key, &[1], &old, &crate::ReadCounters::default(), &mut row).unwrap());
    assert_eq!(row.get(0), silt_codec::ValueRef::Text("before"));
    engine.flush().unwrap();
    check(&engine);
    drop(old);
    engine.compact(tree).unwrap();
    check(&engine);
    drop((engine, handle));
    check(&open(&env));
}

#[test]
fn key_committed_while_a_load_runs_is_a_conflict_unless_it_is_replaced_blindly() {
    let engine = open(&env());
    let tree = engine.create_tree(schema()).unwrap();
    for duplicates in [OnDuplicate::Error, OnDuplicate::Keep, OnDuplicate::Replace] {
        let mut load = engine.bulk_load(tree, duplicates).unwrap();
        load.push(rows((0..100).map(|key| key * 2), "load")).unwrap();
        commit(&engine, tree, 51, "beside");
        if duplicates != OnDuplicate::Replace {
            commit(&engine, tree, 50, "meanwhile");
            let error = load.finish(WriteBatch::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert_eq!(error.key().unwrap().1, crate::engine::tests::key(&engine, tree, 50));
            let mut undo = WriteBatch::new();
            undo.delete(tree, &crate::engine::tests::key(&engine, tree, 50));
            engine.commit(undo).unwrap();
        } else {
            load.finish(WriteBatch::new()).unwrap();
        }
    }
    // A load that follows from what its transaction read is not blind.
    let snapshot = engine.write_snapshot();
    let mut load = engine.bulk_load(tree, OnDuplicate::Replace).unwrap();
    load.push(rows([50], "computed from the old row")).unwrap();
    commit(&engine, tree, 50, "meanwhile");
    let mut with = WriteBatch::new();
    with.set_base(snapshot.seq());
    assert_eq!(load.finish(with).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(get(&engine, tree, 50).as_deref(), Some("meanwhile"));
}

#[test]
fn transaction_that_began_before_a_bulk_load_conflicts_with_its_keys_only() {
    let engine = open(&env());
    let tree = engine.create_tree(schema()).unwrap();
    let snapshot = engine.write_snapshot();
    load(&engine, tree, OnDuplicate::Error, [rows((0..100).map(|key| key * 2), "load")]).unwrap();
    engine.compact(tree).unwrap();
    engine.run_until_idle().unwrap();
    for (key, wins) in [(51, true), (50, false), (500, true)] {
        let mut batch = WriteBatch::new();
        put(&engine, &mut batch, tree, key, "transaction");
        batch.set_base(snapshot.seq());
        let result = engine.commit(batch);
        assert_eq!(result.is_ok(), wins, "{key}");
        assert!(wins || result.unwrap_err().kind() == ErrorKind::Conflict);
    }
}

#[test]
fn load_and_the_batch_beside_it_are_one_commit() {
    let engine = open(&env());
    let tree = engine.create_tree(schema()).unwrap();
    let catalog = engine.create_tree(schema()).unwrap();
    let mut load = engine.bulk_load(tree, OnDuplicate::Error).unwrap();
    load.push(rows(0..10, "row")).unwrap();
    let mut with = WriteBatch::new();
    put(&engine, &mut with, catalog, 1, "ten rows");
    let outcome = load.finish(with).unwrap();
    assert_eq!((outcome.seq, engine.snapshot().seq()), (1, 1));
    assert_eq!(get(&engine, catalog, 1).as_deref(), Some("ten rows"));

    let mut load = engine.bulk_load(tree, OnDuplicate::Replace).unwrap();
    load.push(rows(0..10, "row")).unwrap();
    let mut with = WriteBatch::new();
    put(&engine, &mut with, tree, 1, "both ways");
    assert_eq!(load.finish(with).unwrap_err().kind(), ErrorKind::Invalid);

    // A load of nothing is what comes with it.
    let load = engine.bulk_load(tree, OnDuplicate::Replace).unwrap();
    let mut with = WriteBatch::new();
    put(&engine, &mut with, catalog, 2, "no row");
    assert_eq!(load.finish(with).unwrap(), BulkOutcome { seq: 2, rows: 0, kept: 0 });
}

#[test]
fn abandoned_load_leaves_no_file() {
    let vfs = StrictVfs::new();
    let options = Options { memory_bytes: 50_000, ..options() };
    let engine = Engine::open(env_on(&vfs), &dir(), options).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    let files = || vfs.files().keys().filter(|path| path.starts_with("/db/sst")).count();
    let mut load = engine.bulk_load(tree, OnDuplicate::Error).unwrap();
    for batch in 0..10 {
        load.push(rows(batch * 1000..(batch + 1) * 1000, "text")).unwrap();
    }
    assert!(files() > 0);
    drop(load);
    assert_eq!(files(), 0);
}

/// The files of a run are synced while the next one is collected, on a thread where there are any.
#[test]
fn load_whose_files_do_not_all_get_to_the_disk_fails_and_leaves_nothing() {
    for background in [false, true] {
        let strict = StrictVfs::new();
        let vfs = FaultVfs::new(Arc::new(strict.clone()));
        let env = Env { vfs: Arc::new(vfs.clone()), ..env_on(&strict) };
        let options = Options { background, memory_bytes: 200_000, group_rows: 500, ..options() };
        let engine = Engine::open(env, &dir(), options.clone()).unwrap();
        let tree = engine.create_tree(schema()).unwrap();
        let files = || strict.files().keys().filter(|path| path.starts_with("/db/sst")).count();
        let mut fails = 0;
        let outcome = loop {
            let fault = Fault::new(FaultKind::Eio).on(OpClass::Sync).path("/sst/").nth(fails);
            vfs.inject(fault);
            let batches = (0..10).map(|batch| rows(batch * 1000..(batch + 1) * 1000, "text"));
            let loaded = load(&engine, tree, OnDuplicate::Error, batches);
            vfs.clear();
            match loaded {
                Ok(outcome) => break outcome,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{error}"),
            }
            assert_eq!((files(), files_of(&engine, tree)), (0, Vec::new()), "after {fails}");
            fails += 1;
        };
        assert_eq!(outcome.rows, 10_000);
        assert!(fails > 2, "{fails} syncs of several runs");
        // Whatever was not synced is gone now.
        for mode in CrashMode::ALL {
            let image = strict.crash_image(fails, mode);
            let again = Engine::open(env_on(&image), &dir(), options.clone()).unwrap();
            assert_eq!(get(&again, tree, 9_999), Some("text".to_owned()), "{mode:?}");
        }
    }
}

#[test]
fn columns_that_do_not_fit_are_refused() {
    let engine = open(&env());
    let tree = engine.create_tree(schema()).unwrap();
    let mut load = engine.bulk_load(tree, OnDuplicate::Error).unwrap();
    let good = rows(0..3, "text");
    assert!(load.push(vec![Arc::clone(&good[0])]).is_err());
    assert!(load.push(vec![Arc::clone(&good[1]), Arc::clone(&good[1])]).is_err());
    assert!(load.push(vec![Arc::clone(&good[0]), good[1].slice(0, 2)]).is_err());
}

/// Every I/O operation of a load is a place where the machine may die.
#[test]
fn load_is_whole_or_absent_after_a_crash_anywhere_and_replay_places_its_files() {
    let options =
        Options { file_bytes: 3000, group_rows: 50, wal_segment_bytes: 4096, ..options() };
    for seed in 0..3 {
        let vfs = StrictVfs::new();
        let engine = Engine::open(env_on(&vfs), &dir(), options.clone()).unwrap();
        let tree = engine.create_tree(schema()).unwrap();
        let other = engine.create_tree(schema()).unwrap();
        commit(&engine, tree, 5, "before");
        commit(&engine, other, 5, "before");
        let mut load = engine.bulk_load(tree, OnDuplicate::Replace).unwrap();
        load.push(columns((0..300).map(|key| (key, format!("load {}", key * 7919))))).unwrap();
        let images = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&images);
        vfs.observe(move |vfs, op| {
            let mode = CrashMode::ALL[usize::try_from(op + seed).unwrap() % CrashMode::ALL.len()];
            seen.lock().unwrap().push((op, mode, vfs.crash_image(seed * 1000 + op, mode)));
        });
        let mut with = WriteBatch::new();
        put(&engine, &mut with, other, 6, "with");
        load.finish(with).unwrap();
        commit(&engine, tree, 7, "after");
        vfs.stop_observing();
        let mut whole = 0;
        let images = std::mem::take(&mut *images.lock().unwrap());
        assert!(images.len() > 10, "{}", images.len());
        let count = images.len();
        for (op, mode, image) in images {
            let at = format!("seed {seed}, operation {op}, {mode:?}");
            for _ in 0..2 {
                let engine = Engine::open(env_on(&image), &dir(), options.clone()).unwrap();
                let is_there = get(&engine, other, 6).is_some();
                whole += usize::from(is_there);
                for key in 0..300 {
                    let expected = match (is_there, key) {
                        (true, 7) if engine.snapshot().seq() == 4 => Some("after".to_owned()),
                        (true, key) => Some(format!("load {}", key * 7919)),
                        (false, 5) => Some("before".to_owned()),
                        (false, _) => None,
                    };
                    assert_eq!(get(&engine, tree, key), expected, "{at}, key {key}");
                }
                let sst = image.files().keys().filter(|path| path.starts_with("/db/sst")).count();
                let live: usize =
                    [tree, other].map(|tree| files_of(&engine, tree).len()).iter().sum();
                assert_eq!(sst, live, "{at}: files in no version are swept");
            }
        }
        assert!(whole > 0 && whole < 2 * count, "{whole} of {count}");
    }
}

#[test]
fn memtable_above_a_bulk_commit_waits_until_its_files_are_placed() {
    let engine = open(&env());
    let tree = engine.create_tree(schema()).unwrap();
    let state = engine.core_of_test().state(tree).unwrap();
    commit(&engine, tree, 1, "row");
    state.begin_bulk(1);
    engine.core_of_test().pipeline.freeze_all([&*state]).unwrap();
    assert!(super::super::flush::next_memtable(&state).is_some(), "it is not above the load");
    commit(&engine, tree, 2, "row");
    engine.run_until_idle().unwrap();
    engine.core_of_test().pipeline.freeze_all([&*state]).unwrap();
    assert!(super::super::flush::next_memtable(&state).is_none());
    state.end_bulk(1);
    assert!(super::super::flush::next_memtable(&state).is_some());
}

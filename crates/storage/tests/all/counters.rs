//! What reads and compactions touch, by their own counters: the promise of an index is kept in row
//! groups, not in seconds.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use silt_codec::{CompareOp, RowBuffer, Value};
use silt_storage::vfs::StrictVfs;
use silt_storage::{
    Engine, KeyRange, Options, Predicate, ReadCounters, ScanOrder, ScanRequest, Tree, TreeId,
    WriteBatch,
};

use crate::support::{
    Change, Dice, Key, Model, Row, batch, contents, dir, env, key_bytes, load, numbered, rows,
    schema, shape, small_options,
};

/// Rows of a row group.
const GROUP_ROWS: i64 = 64;

fn options() -> Options {
    Options {
        memory_bytes: 64 << 20,
        memtable_bytes: 8 << 20,
        group_rows: GROUP_ROWS as usize,
        group_bytes: 1 << 20,
        file_bytes: 32 << 10,
        background: false,
        ..Options::default()
    }
}

fn open(options: Options) -> (Engine, u32) {
    let engine = Engine::open(env(Arc::new(StrictVfs::new()), 1), dir(), options).unwrap();
    let tree = engine.create_tree(schema()).unwrap();
    (engine, tree.0)
}

/// Reads one key and says whether it is there and what that took.
fn get(engine: &Engine, tree: &Tree, key: &Key) -> (bool, ReadCounters) {
    let counters = ReadCounters::new();
    let mut row = RowBuffer::new();
    let bytes = key_bytes(tree, key);
    let found = tree.get(&bytes, &[2, 3], &engine.snapshot(), &counters, &mut row).unwrap();
    (found, counters)
}

fn scan(engine: &Engine, tree: &Tree, request: &ScanRequest) -> Vec<(Key, Row)> {
    let batches = tree.scan(request, &engine.snapshot()).unwrap();
    batches.flat_map(|batch| rows(&batch.unwrap())).collect()
}

fn fresh(range: KeyRange) -> ScanRequest {
    ScanRequest { counters: Arc::default(), ..ScanRequest::new(range, vec![0, 1, 2, 3]) }
}

/// A tree of several levels, and what it holds.
fn layered() -> (Engine, u32, Vec<(Key, Row)>) {
    let (engine, id) = open(small_options());
    let (dice, mut model) = (Dice::new(3), Model::default());
    for _ in 0..1_500 {
        let puts: BTreeMap<Key, Row> = (0..20).map(|_| (dice.key(30_000), dice.row())).collect();
        let changes: Vec<Change> =
            puts.into_iter().map(|(key, row)| (id, key, Some(row))).collect();
        model.apply(engine.commit(batch(&engine, &changes)).unwrap(), &changes);
        if dice.chance(30) {
            engine.run_job().unwrap();
        }
    }
    engine.run_until_idle().unwrap();
    engine.flush().unwrap();
    let held = model.contents(id, engine.snapshot().seq());
    (engine, id, held)
}

#[test]
fn get_touches_one_row_group_a_level_at_most() {
    let (engine, id, held) = layered();
    let levels = shape(&engine, id).levels;
    let runs = levels[0].files.len() + levels[1..].iter().filter(|l| !l.files.is_empty()).count();
    assert!(runs >= 3, "{runs} runs are too few to tell");
    let tree = engine.tree(TreeId(id)).unwrap();
    let mut groups_of_hits = 0;
    for (key, _) in held.iter().step_by(3) {
        let (found, counters) = get(&engine, &tree, key);
        assert!(found, "{key:?}");
        let (files, groups) = (counters.files_read.get(), counters.groups_read.get());
        assert!(groups <= files, "{key:?}: {groups} row groups of {files} files");
        assert!(files <= runs as u64, "{key:?}: {files} files in {runs} runs");
        assert_eq!((counters.gets.get(), counters.rows.get()), (1, 1));
        groups_of_hits += groups;
    }
    let hits = held.len().div_ceil(3) as u64;
    assert!(
        groups_of_hits * 100 <= hits * 105,
        "{groups_of_hits} row groups for {hits} keys in {runs} runs: the filters spare too little"
    );
}

#[test]
fn miss_is_stopped_by_the_filter() {
    // The same keys under a filter worth its bits, and under one worth nothing.
    let misses = |filter_bits: u32| {
        let (engine, id) = open(Options { filter_bits, ..options() });
        load(&engine, id, &numbered((0..8_000).map(|n| 2 * n)), WriteBatch::new()).unwrap();
        let tree = engine.tree(TreeId(id)).unwrap();
        let mut groups = 0;
        for n in (1..16_000).step_by(4) {
            let (found, counters) = get(&engine, &tree, &(n, "k".to_owned()));
            assert!(!found);
            let read = counters.files_read.get();
            assert!(counters.filter_misses.get() + read <= 1, "one level, one file");
            assert!(counters.groups_read.get() <= read);
            groups += counters.groups_read.get();
        }
        groups
    };
    let (with, without) = (misses(12), misses(1));
    assert!(with <= 80, "{with} of 4,000 misses read a row group");
    assert!(without > 400, "only {without} of 4,000 misses pass a filter of one bit a key");
}

#[test]
fn key_range_reads_only_its_row_groups() {
    let (engine, id) = open(options());
    let rows = 20_000;
    load(&engine, id, &numbered(0..rows), WriteBatch::new()).unwrap();
    let tree = engine.tree(TreeId(id)).unwrap();
    let key = |n: i64| key_bytes(&tree, &(n, "k".to_owned()));
    let dice = Dice::new(11);
    for round in 0..300 {
        let len = 1 + dice.below(300) as i64;
        let first = dice.below((rows - len) as u64) as i64;
        let range =
            KeyRange { start: Bound::Included(key(first)), end: Bound::Excluded(key(first + len)) };
        let order = [ScanOrder::Unordered, ScanOrder::Forward, ScanOrder::Reverse][round % 3];
        let request = ScanRequest { order, ..fresh(range) };
        let mut got = scan(&engine, &tree, &request);
        if order == ScanOrder::Reverse {
            got.reverse();
        }
        assert_eq!(got, numbered(first..first + len));
        let touched = (first + len - 1) / GROUP_ROWS - first / GROUP_ROWS + 1;
        let read = request.counters.groups_read.get();
        assert!(
            read <= touched as u64,
            "{read} row groups read for rows {first}..{}, which lie in {touched}",
            first + len
        );
    }
}

#[test]
fn zone_maps_prune_row_groups_of_a_filtered_scan() {
    let (engine, id) = open(options());
    load(&engine, id, &numbered(0..20_000), WriteBatch::new()).unwrap();
    let groups: u64 =
        shape(&engine, id).levels.iter().flat_map(|l| &l.files).map(|f| f.groups).sum();
    let tree = engine.tree(TreeId(id)).unwrap();
    let compare = |op, n: i64| Predicate::Compare { column: 2, op, value: Value::Int(n) };
    let cases = [
        (Predicate::And(vec![compare(CompareOp::GtEq, 64_000), compare(CompareOp::Lt, 64_640)]), 1),
        (compare(CompareOp::Eq, 123_450), 1),
        (Predicate::In { column: 2, values: vec![Value::Int(10), Value::Int(199_990)] }, 2),
        (Predicate::StartsWith { column: 3, prefix: "row 00128".to_owned() }, 3),
        (Predicate::IsNull(2), 0),
        (compare(CompareOp::Gt, 1_000_000), 0),
        (Predicate::Or(vec![compare(CompareOp::Lt, 0), compare(CompareOp::Eq, 5_000)]), 1),
    ];
    for (filter, groups_max) in cases {
        let request = ScanRequest { filter: Some(filter.clone()), ..fresh(KeyRange::all()) };
        let got = scan(&engine, &tree, &request);
        let read = request.counters.groups_read.get();
        assert!(read <= groups_max, "{read} of {groups} row groups read for {filter:?}");
        assert!(
            request.counters.groups_pruned.get() + request.counters.files_pruned.get() > 0,
            "nothing says that {filter:?} pruned"
        );
        assert!(got.len() as i64 <= groups_max as i64 * GROUP_ROWS);
        assert_eq!(got.is_empty(), groups_max == 0, "{filter:?}");
    }
    let request = fresh(KeyRange::all());
    assert_eq!(scan(&engine, &tree, &request).len(), 20_000);
    assert_eq!(request.counters.groups_read.get(), groups);
}

#[test]
fn sections_are_merged_before_compaction_and_raw_after_it() {
    let (engine, id) = open(options());
    load(&engine, id, &numbered((0..4_000).map(|n| 2 * n)), WriteBatch::new()).unwrap();
    let tree = engine.tree(TreeId(id)).unwrap();
    assert!(tree.is_settled(&KeyRange::all(), &engine.snapshot()).unwrap());
    load(&engine, id, &numbered((0..4_000).map(|n| 2 * n + 1)), WriteBatch::new()).unwrap();

    let look = || {
        let request = ScanRequest { order: ScanOrder::Forward, ..fresh(KeyRange::all()) };
        assert_eq!(scan(&engine, &tree, &request), numbered(0..8_000));
        (request.counters.sections_raw.get(), request.counters.sections_merged.get())
    };
    let (_, merged) = look();
    assert!(merged > 0, "two files hold every other row, and nothing is merged");
    assert!(!tree.is_settled(&KeyRange::all(), &engine.snapshot()).unwrap());

    engine.compact(TreeId(id)).unwrap();
    let (raw, merged) = look();
    assert_eq!(merged, 0, "{merged} merged sections after a full compaction, {raw} raw ones");
    assert!(raw > 0);
    assert!(tree.is_settled(&KeyRange::all(), &engine.snapshot()).unwrap());
}

#[test]
fn sequential_load_moves_or_copies_and_never_decodes() {
    // In bulk: one load after the other, each behind the last.
    let (engine, id) = open(options());
    let block = 16 * GROUP_ROWS;
    for part in 0..8 {
        let rows = numbered(part * block..(part + 1) * block);
        load(&engine, id, &rows, WriteBatch::new()).unwrap();
        engine.run_until_idle().unwrap();
    }
    engine.compact(TreeId(id)).unwrap();
    let counters = engine.describe().counters;
    assert_eq!(counters.groups_decoded, 0, "{counters:?}");
    assert_eq!(counters.compaction_bytes, 0, "a sequential load is written once: {counters:?}");

    // Through log and memtable, in key order.
    let (engine, id) = open(Options { memtable_bytes: 64 << 10, ..options() });
    for part in 0..200 {
        let rows = numbered(part * 50..(part + 1) * 50);
        let changes: Vec<Change> =
            rows.into_iter().map(|(key, row)| (id, key, Some(row))).collect();
        engine.commit(batch(&engine, &changes)).unwrap();
        engine.run_until_idle().unwrap();
    }
    engine.flush().unwrap();
    engine.compact(TreeId(id)).unwrap();
    let counters = engine.describe().counters;
    assert!(counters.flushes > 4 && counters.files_moved > 0, "{counters:?}");
    assert_eq!(counters.groups_decoded, 0, "{counters:?}");
    let tree = engine.tree(TreeId(id)).unwrap();
    assert_eq!(contents(&tree, &engine.snapshot()).unwrap(), numbered(0..10_000));
}

#[test]
fn row_groups_that_nothing_overlaps_are_copied_and_others_are_decoded() {
    // Blocks of whole row groups that lie between one another: the files overlap, no group does.
    let (engine, id) = open(options());
    let block = 16 * GROUP_ROWS;
    let blocks = |odd: i64| {
        numbered((0..8).flat_map(move |n| {
            let first = (2 * n + odd) * block;
            first..first + block
        }))
    };
    load(&engine, id, &blocks(0), WriteBatch::new()).unwrap();
    load(&engine, id, &blocks(1), WriteBatch::new()).unwrap();
    engine.compact(TreeId(id)).unwrap();
    let copied = engine.describe().counters;
    assert_eq!(copied.groups_decoded, 0, "{copied:?}");
    assert!(copied.groups_copied > 0, "{copied:?}");

    // One row in the middle of one group: that group alone is decoded.
    let change = vec![(id, (block + 7, "k".to_owned()), Some((None, "new".to_owned())))];
    engine.commit(batch(&engine, &change)).unwrap();
    engine.compact(TreeId(id)).unwrap();
    let decoded = engine.describe().counters;
    let by_one_row = decoded.groups_decoded - copied.groups_decoded;
    assert_eq!(by_one_row, 2, "the group and the row's own: {decoded:?}");
    let tree = engine.tree(TreeId(id)).unwrap();
    let held = contents(&tree, &engine.snapshot()).unwrap();
    assert_eq!(held.len() as i64, 16 * block);
    assert_eq!(held[(block + 7) as usize].1, (None, "new".to_owned()));
}

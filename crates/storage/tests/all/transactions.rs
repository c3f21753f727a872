//! What a transaction sees, what others see of it, and what is left of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use silt_codec::{RowBuffer, Value, ValueRef};
use silt_storage::vfs::{CrashMode, FaultVfs, StrictVfs};
use silt_storage::{
    Engine, ErrorKind, KeyRange, OnDuplicate, Options, Predicate, ReadCounters, ScanOrder,
    ScanRequest, Snapshot, Transaction, Tree, TreeId, WriteBatch,
};

use crate::support::{
    Change, Key, Row, batch, columns, contents, dir, env, key_bytes, load, numbered, row_bytes,
    rows, schema, small_options,
};

/// All in memory, all in files as soon as it may be.
fn both() -> [Options; 2] {
    [
        Options { transaction_bytes: 1 << 20, ..small_options() },
        Options { transaction_bytes: 1, ..small_options() },
    ]
}

fn open(vfs: &StrictVfs, options: &Options) -> (Engine, u32) {
    let engine = Engine::open(env(Arc::new(vfs.clone()), 1), dir(), options.clone()).unwrap();
    let id = match engine.trees().first() {
        Some(id) => id.0,
        None => engine.create_tree(schema()).unwrap().0,
    };
    (engine, id)
}

fn tree(engine: &Engine, id: u32) -> Tree {
    engine.tree(TreeId(id)).unwrap()
}

fn puts(id: u32, rows: &[(Key, Row)]) -> Vec<Change> {
    rows.iter().map(|(key, row)| (id, key.clone(), Some(row.clone()))).collect()
}

fn put(engine: &Engine, id: u32, numbers: impl IntoIterator<Item = i64>) -> WriteBatch {
    batch(engine, &puts(id, &numbered(numbers)))
}

fn delete(engine: &Engine, id: u32, numbers: impl IntoIterator<Item = i64>) -> WriteBatch {
    let keys = numbered(numbers).into_iter().map(|(key, _)| (id, key, None));
    batch(engine, &keys.collect::<Vec<_>>())
}

fn tables(vfs: &StrictVfs) -> usize {
    vfs.files().into_keys().filter(|path| path.starts_with("/db/sst")).count()
}

/// Rows that differ from those of [`numbered`].
fn changed(numbers: impl IntoIterator<Item = i64>) -> Vec<(Key, Row)> {
    let row = |n| ((n, "k".to_owned()), (None, format!("changed {n}")));
    numbers.into_iter().map(row).collect()
}

type Rows = BTreeMap<i64, (Key, Row)>;

fn set(wanted: &mut Rows, rows: &[(Key, Row)]) {
    wanted.extend(rows.iter().map(|row| (row.0.0, row.clone())));
}

/// Every way in which rows are read gives `wanted`.
fn check_reads(tree: &Tree, snapshot: &Snapshot, wanted: &Rows, note: &str) {
    let all: Vec<(Key, Row)> = wanted.values().cloned().collect();
    let counters = ReadCounters::new();
    let asked: Vec<(Key, Row)> = numbered(-5..400);
    let keys: Vec<Vec<u8>> = asked.iter().map(|(key, _)| key_bytes(tree, key)).collect();
    let mut row = RowBuffer::new();
    for ((key, _), bytes) in asked.iter().zip(&keys) {
        let found = tree.get(bytes, &[3], snapshot, &counters, &mut row).unwrap();
        let held = wanted.get(&key.0);
        assert_eq!(found, held.is_some(), "{note}: get of {key:?}");
        if let Some((_, (_, text))) = held {
            assert_eq!(row.iter().next(), Some(ValueRef::Text(text)), "{note}: get of {key:?}");
        }
    }
    let found = tree.multi_get(&keys, &[0, 1, 2, 3], snapshot, &counters).unwrap();
    assert_eq!(rows(&found.batch), all, "{note}: multi_get");

    for order in [ScanOrder::Unordered, ScanOrder::Forward, ScanOrder::Reverse] {
        for shadows in [true, false] {
            for filter in [None, Some(Predicate::IsNull(2))] {
                for range in [KeyRange::all(), narrow(tree)] {
                    let request = ScanRequest {
                        order,
                        shadows,
                        exact: filter.is_some(),
                        filter: filter.clone(),
                        batch_rows: 7,
                        ..ScanRequest::new(range.clone(), vec![0, 1, 2, 3])
                    };
                    let note = format!("{note}: {request:?}");
                    let mut wanted: Vec<(Key, Row)> = all.clone();
                    wanted.retain(|(key, row)| {
                        range.contains(&key_bytes(tree, key))
                            && (filter.is_none() || row.0.is_none())
                    });
                    check_scan(tree, &request, snapshot, wanted, &note);
                }
            }
        }
    }
    let statistics = tree.statistics(snapshot);
    if statistics.rows_exact {
        assert_eq!(statistics.rows, wanted.len() as u64, "{note}: statistics");
    }
    if statistics.columns_cover
        && let Some(zone) = &statistics.columns[0]
        && let (Some((low, _)), Some((high, _))) =
            (wanted.first_key_value(), wanted.last_key_value())
    {
        let (Value::Int(min), Value::Int(max)) = (&zone.min, &zone.max) else {
            panic!("{note}: {zone:?}");
        };
        assert!(min <= low && max >= high, "{note}: {zone:?}");
    }
}

fn narrow(tree: &Tree) -> KeyRange {
    let key = |n: i64| key_bytes(tree, &numbered([n])[0].0);
    KeyRange { start: std::ops::Bound::Included(key(40)), end: std::ops::Bound::Excluded(key(97)) }
}

fn check_scan(
    tree: &Tree,
    request: &ScanRequest,
    snapshot: &Snapshot,
    mut wanted: Vec<(Key, Row)>,
    note: &str,
) {
    let in_order = |mut got: Vec<(Key, Row)>| {
        if request.order == ScanOrder::Unordered {
            got.sort();
        }
        got
    };
    if request.order == ScanOrder::Reverse {
        wanted.reverse();
    }
    let scan = tree.scan(request, snapshot).unwrap();
    let got: Vec<_> = scan.flat_map(|batch| rows(&batch.unwrap())).collect();
    assert_eq!(in_order(got), wanted, "{note}");

    let mut encoded = 0;
    let mut scan = tree.scan(request, snapshot).unwrap();
    while let Some(rows) = scan.next_encoded().unwrap() {
        encoded += rows.len();
    }
    assert_eq!(encoded, wanted.len(), "{note}: encoded");

    let none = ScanRequest { projection: vec![], ..request.clone() };
    let counted = tree.scan(&none, snapshot).unwrap().map(|batch| batch.unwrap().num_rows());
    assert_eq!(counted.sum::<usize>(), wanted.len(), "{note}: counted");

    let parts = tree.split(&request.range, 3, snapshot).unwrap();
    let mut in_parts = Vec::new();
    for range in parts {
        let part = ScanRequest { range, ..request.clone() };
        let got: Vec<_> =
            tree.scan(&part, snapshot).unwrap().flat_map(|batch| rows(&batch.unwrap())).collect();
        match request.order {
            ScanOrder::Reverse => drop(in_parts.splice(0..0, got)),
            _ => in_parts.extend(got),
        }
    }
    assert_eq!(in_order(in_parts), wanted, "{note}: in parts");
}

/// A tree with rows in several files and a memtable, and what it holds.
fn grown(engine: &Engine, id: u32) -> Rows {
    let mut wanted = Rows::new();
    let first = numbered(0..300);
    load(engine, id, &first, WriteBatch::new()).unwrap();
    set(&mut wanted, &first);
    engine.commit(batch(engine, &puts(id, &changed((0..300).step_by(7))))).unwrap();
    set(&mut wanted, &changed((0..300).step_by(7)));
    engine.flush().unwrap();
    engine.commit(delete(engine, id, (0..300).step_by(11))).unwrap();
    wanted.retain(|n, _| n % 11 != 0);
    wanted
}

#[test]
fn own_writes_are_seen_by_every_read_and_by_nobody_else() {
    for options in both() {
        let vfs = StrictVfs::new();
        let (engine, id) = open(&vfs, &options);
        let tree = tree(&engine, id);
        let committed = grown(&engine, id);
        let transaction = engine.begin();
        let mut wanted = committed.clone();
        check_reads(&tree, &transaction.snapshot(), &wanted, "nothing yet");

        let statements: [(&str, WriteBatch); 4] = [
            ("rows replaced", batch(&engine, &puts(id, &changed((0..300).step_by(5))))),
            ("rows added", put(&engine, id, 300..350)),
            ("rows deleted", delete(&engine, id, 40..60)),
            ("rows put again", put(&engine, id, 50..55)),
        ];
        for (note, statement) in statements {
            transaction.apply(statement).unwrap();
            match note {
                "rows replaced" => set(&mut wanted, &changed((0..300).step_by(5))),
                "rows added" => set(&mut wanted, &numbered(300..350)),
                "rows deleted" => wanted.retain(|n, _| !(40..60).contains(n)),
                _ => set(&mut wanted, &numbered(50..55)),
            }
            check_reads(&tree, &transaction.snapshot(), &wanted, note);
            check_reads(&tree, &engine.snapshot(), &committed, "from outside");
            check_reads(&tree, transaction.base(), &committed, "at the base");
        }
        // A load on top, and a row on top of that.
        let mut load = transaction.bulk_load(TreeId(id), OnDuplicate::Replace).unwrap();
        load.push(columns(&changed(90..110))).unwrap();
        assert_eq!(load.finish(WriteBatch::new()).unwrap().rows, 20);
        set(&mut wanted, &changed(90..110));
        check_reads(&tree, &transaction.snapshot(), &wanted, "loaded");
        transaction.apply(delete(&engine, id, 95..97)).unwrap();
        wanted.retain(|n, _| !(95..97).contains(n));
        check_reads(&tree, &transaction.snapshot(), &wanted, "deleted from what was loaded");

        // Others commit, flush and compact; the transaction stands still.
        engine.commit(put(&engine, id, 360..380)).unwrap();
        engine.commit(delete(&engine, id, 200..220)).unwrap();
        check_reads(&tree, &transaction.snapshot(), &wanted, "others committed");
        engine.compact(TreeId(id)).unwrap();
        check_reads(&tree, &transaction.snapshot(), &wanted, "others compacted");

        let error = transaction.commit().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "200 was replaced and deleted: {error}");
        engine.run_until_idle().unwrap();
        let levels = engine.describe().trees[0].levels.clone();
        let listed: usize = levels.iter().map(|level| level.files.len()).sum();
        assert_eq!(tables(&vfs), listed, "the files of the one who lost are gone");
    }
}

#[test]
fn committed_transaction_is_one_commit_and_survives_a_crash() {
    for options in both() {
        let vfs = StrictVfs::new();
        let (engine, id) = open(&vfs, &options);
        let other = engine.create_tree(schema()).unwrap().0;
        let mut wanted = grown(&engine, id);
        let transaction = engine.begin();
        transaction.apply(batch(&engine, &puts(id, &changed(10..90)))).unwrap();
        transaction.apply(put(&engine, other, 0..50)).unwrap();
        transaction.apply(delete(&engine, id, 20..30)).unwrap();
        let mut load = transaction.bulk_load(TreeId(id), OnDuplicate::Keep).unwrap();
        load.push(columns(&numbered(0..320))).unwrap();
        let loaded = load.finish(delete(&engine, other, 3..5)).unwrap();
        set(&mut wanted, &changed(10..90));
        wanted.retain(|n, _| !(20..30).contains(n));
        assert_eq!(loaded.kept, wanted.len() as u64);
        for row in numbered(0..320) {
            wanted.entry(row.0.0).or_insert(row);
        }
        check_reads(&tree(&engine, id), &transaction.snapshot(), &wanted, "before");
        let base = transaction.base().seq();
        assert_eq!(transaction.commit().unwrap(), base + 1);
        check_reads(&tree(&engine, id), &engine.snapshot(), &wanted, "committed");

        let image = vfs.crash_image(3, CrashMode::DropUnsynced);
        let (again, _) = open(&image, &options);
        check_reads(&tree(&again, id), &again.snapshot(), &wanted, "after the crash");
        let others = contents(&tree(&again, other), &again.snapshot()).unwrap();
        assert_eq!(others, numbered((0..50).filter(|n| !(3..5).contains(n))));
    }
}

#[test]
fn what_was_read_before_the_commit_has_its_number_after_it() {
    for options in both() {
        let (engine, id) = open(&StrictVfs::new(), &options);
        let tree = tree(&engine, id);
        load(&engine, id, &numbered(0..50), WriteBatch::new()).unwrap();
        engine.commit(put(&engine, id, 20..30)).unwrap();
        let transaction = engine.begin();
        let statements =
            [changed((0..50).step_by(2)), changed((25..75).step_by(2)), numbered([99])];
        for rows in &statements {
            transaction.apply(batch(&engine, &puts(id, rows))).unwrap();
            contents(&tree, &transaction.snapshot()).unwrap();
        }
        // A reader between the base and the commit.
        engine.commit(put(&engine, id, [200])).unwrap();
        let between = engine.snapshot();
        let mut before = Rows::new();
        set(&mut before, &numbered((0..50).chain([200])));
        let mut after = before.clone();
        statements.iter().for_each(|rows| set(&mut after, rows));
        transaction.commit().unwrap();
        check_reads(&tree, &between, &before, "before the commit");
        check_reads(&tree, &engine.snapshot(), &after, "after the commit");
        engine.compact(TreeId(id)).unwrap();
        check_reads(&tree, &between, &before, "before the commit, compacted");
        check_reads(&tree, &engine.snapshot(), &after, "after the commit, compacted");
    }
}

#[test]
fn statement_never_meets_its_own_rows() {
    for options in both() {
        let (engine, id) = open(&StrictVfs::new(), &options);
        let tree = tree(&engine, id);
        engine.commit(put(&engine, id, 0..20)).unwrap();
        for order in [ScanOrder::Unordered, ScanOrder::Forward, ScanOrder::Reverse] {
            let transaction = engine.begin();
            transaction.apply(put(&engine, id, 20..100)).unwrap();
            let request = ScanRequest {
                order,
                batch_rows: 3,
                ..ScanRequest::new(KeyRange::all(), vec![0, 1, 2, 3])
            };
            // Each row that comes puts another one behind and one before all others.
            let mut seen = Vec::new();
            for batch in tree.scan(&request, &transaction.snapshot()).unwrap() {
                for (key, _) in rows(&batch.unwrap()) {
                    transaction.apply(put(&engine, id, [key.0 + 100, key.0 - 100])).unwrap();
                    seen.push(key.0);
                }
            }
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..100), "{order:?}");
            let all = contents(&tree, &transaction.snapshot()).unwrap();
            assert!(all.iter().map(|(key, _)| key.0).eq(-100..200), "{order:?}");
        }
        assert_eq!(engine.describe().published, 1);
    }
}

#[test]
fn snapshot_of_a_transaction_stays_as_it_was_taken() {
    for options in both() {
        let (engine, id) = open(&StrictVfs::new(), &options);
        let tree = tree(&engine, id);
        let transaction = engine.begin();
        let mut moments = Vec::new();
        for n in 0..30 {
            moments.push((n, transaction.snapshot()));
            transaction.apply(put(&engine, id, [n])).unwrap();
        }
        let check = |when: &str| {
            for (n, snapshot) in &moments {
                let held = contents(&tree, snapshot).unwrap();
                assert_eq!(held, numbered(0..*n), "{when}");
            }
        };
        check("while it is open");
        transaction.commit().unwrap();
        check("after it committed");
        assert_eq!(contents(&tree, &engine.snapshot()).unwrap(), numbered(0..30));
    }
}

#[test]
fn rollback_leaves_nothing() {
    for options in both() {
        let vfs = StrictVfs::new();
        let (engine, id) = open(&vfs, &options);
        let committed = grown(&engine, id);
        engine.flush().unwrap();
        engine.run_until_idle().unwrap();
        let (before, published) = (tables(&vfs), engine.describe().published);
        let transaction = engine.begin();
        for round in 0..12 {
            transaction.apply(put(&engine, id, round * 10..round * 20)).unwrap();
        }
        let mut load = transaction.bulk_load(TreeId(id), OnDuplicate::Replace).unwrap();
        load.push(columns(&numbered(0..200))).unwrap();
        load.finish(WriteBatch::new()).unwrap();
        let held = transaction.snapshot();
        let with_files = tables(&vfs);
        assert!(with_files > before);
        assert_eq!(engine.describe().transactions.len(), 1);
        let mut unfinished = transaction.bulk_load(TreeId(id), OnDuplicate::Replace).unwrap();
        drop(transaction);
        assert_eq!(contents(&tree(&engine, id), &held).unwrap().len(), 300 - 8);
        drop(held);
        unfinished.push(columns(&numbered(0..10))).unwrap();
        let error = unfinished.finish(WriteBatch::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        engine.run_until_idle().unwrap();
        assert_eq!(tables(&vfs), before);
        let description = engine.describe();
        assert_eq!((description.published, description.snapshots), (published, 0));
        assert_eq!(description.transactions, []);
        check_reads(&tree(&engine, id), &engine.snapshot(), &committed, "rolled back");
    }
}

#[test]
fn open_transaction_is_gone_after_a_crash_and_its_files_with_it() {
    let options = &both()[1];
    let vfs = StrictVfs::new();
    let (engine, id) = open(&vfs, options);
    engine.commit(put(&engine, id, 0..50)).unwrap();
    let transaction = engine.begin();
    transaction.apply(put(&engine, id, 50..90)).unwrap();
    transaction.apply(put(&engine, id, 90..120)).unwrap();
    transaction.apply(put(&engine, id, 120..130)).unwrap();
    assert!(tables(&vfs) > 1, "spilled");
    for mode in CrashMode::ALL {
        let image = vfs.crash_image(9, mode);
        let (again, id) = open(&image, options);
        assert_eq!(contents(&tree(&again, id), &again.snapshot()).unwrap(), numbered(0..50));
        let levels = &again.describe().trees[0].levels;
        assert_eq!(tables(&image), levels.iter().map(|level| level.files.len()).sum::<usize>());
    }
}

#[test]
fn first_committer_wins_and_the_other_one_hears_which_key() {
    for options in both() {
        let (engine, id) = open(&StrictVfs::new(), &options);
        engine.commit(put(&engine, id, 0..10)).unwrap();
        let write = |numbers: &[i64]| {
            let transaction = engine.begin();
            transaction.apply(put(&engine, id, numbers.iter().copied())).unwrap();
            transaction
        };
        let (first, second, third) = (write(&[1, 2, 3]), write(&[3, 4]), write(&[5]));
        first.commit().unwrap();
        let error = second.commit().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let key = key_bytes(&tree(&engine, id), &numbered([3])[0].0);
        assert_eq!(error.key(), Some((TreeId(id), key.as_slice())));
        third.commit().unwrap();
        // A delete conflicts like a put, and so does a commit without a transaction.
        let late = write(&[7]);
        engine.commit(delete(&engine, id, [7])).unwrap();
        assert_eq!(late.commit().unwrap_err().kind(), ErrorKind::Conflict);
    }
}

#[test]
fn loads_whose_ranges_meet_conflict_only_over_a_key_that_both_wrote() {
    let (engine, id) = open(&StrictVfs::new(), &both()[0]);
    let load = |numbers: Vec<i64>| {
        let transaction = engine.begin();
        let mut load = transaction.bulk_load(TreeId(id), OnDuplicate::Error).unwrap();
        load.push(columns(&numbered(numbers))).unwrap();
        load.finish(WriteBatch::new()).unwrap();
        transaction
    };
    let even = load((0..1_000).step_by(2).collect());
    let odd = load((1..1_000).step_by(2).collect());
    let both = load((601..1_400).step_by(3).collect());
    even.commit().unwrap();
    odd.commit().unwrap();
    let error = both.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let key = key_bytes(&tree(&engine, id), &numbered([604])[0].0);
    assert_eq!(error.key(), Some((TreeId(id), key.as_slice())), "604 is even, 601 odd");
    assert_eq!(contents(&tree(&engine, id), &engine.snapshot()).unwrap(), numbered(0..1_000));
}

#[test]
fn schema_that_changed_since_the_catalog_was_read_refuses_the_commit() {
    let (engine, id) = open(&StrictVfs::new(), &both()[0]);
    for stale in [true, false] {
        let transaction = engine.begin();
        let read_at = engine.snapshot().seq();
        let mut change = WriteBatch::new();
        change.change_schema(TreeId(id));
        change.put(TreeId(id), &key_bytes(&tree(&engine, id), &numbered([99])[0].0), &{
            row_bytes(&tree(&engine, id), &numbered([99])[0].1)
        });
        let changed = engine.commit(change).unwrap();
        transaction.set_catalog_seq(if stale { read_at } else { changed });
        transaction.apply(put(&engine, id, [1])).unwrap();
        assert_eq!(transaction.commit().is_err(), stale);
    }
    // One's own change is no obstacle.
    let transaction = engine.begin();
    transaction.set_catalog_seq(transaction.base().seq());
    let mut change = put(&engine, id, [5]);
    change.change_schema(TreeId(id));
    transaction.apply(change).unwrap();
    transaction.apply(put(&engine, id, [6])).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn load_that_depends_on_what_is_there_refuses_writes_beneath_it() {
    let (engine, id) = open(&StrictVfs::new(), &both()[0]);
    let transaction = engine.begin();
    let begin = |duplicates| {
        let mut load = transaction.bulk_load(TreeId(id), duplicates).unwrap();
        load.push(columns(&numbered([1]))).unwrap();
        load
    };
    let (kept, replacing) = (begin(OnDuplicate::Keep), begin(OnDuplicate::Replace));
    transaction.apply(batch(&engine, &puts(id, &changed([1])))).unwrap();
    assert_eq!(kept.finish(WriteBatch::new()).unwrap_err().kind(), ErrorKind::Invalid);
    replacing.finish(WriteBatch::new()).unwrap();
    transaction.commit().unwrap();
    assert_eq!(contents(&tree(&engine, id), &engine.snapshot()).unwrap(), numbered([1]));
}

#[test]
fn transaction_that_began_before_the_first_commit_sees_its_rows() {
    for options in both() {
        let (engine, id) = open(&StrictVfs::new(), &options);
        let transaction = engine.begin();
        assert_eq!(transaction.base().seq(), 0);
        transaction.apply(put(&engine, id, 0..80)).unwrap();
        transaction.apply(delete(&engine, id, 3..5)).unwrap();
        let mut wanted = Rows::new();
        set(&mut wanted, &numbered((0..80).filter(|n| !(3..5).contains(n))));
        check_reads(&tree(&engine, id), &transaction.snapshot(), &wanted, "at 0");
        assert_eq!(transaction.commit().unwrap(), 1);
        check_reads(&tree(&engine, id), &engine.snapshot(), &wanted, "at 1");
    }
}

#[test]
fn empty_transaction_commits_nothing() {
    let (engine, id) = open(&StrictVfs::new(), &both()[0]);
    let seq = engine.commit(put(&engine, id, [1])).unwrap();
    let transaction = engine.begin();
    transaction.apply(WriteBatch::new()).unwrap();
    assert!(transaction.is_empty() && transaction.bytes() == 0);
    assert_eq!(transaction.commit().unwrap(), seq);
}

#[test]
fn statement_that_cannot_be_spilled_leaves_the_transaction_as_it_was() {
    let strict = StrictVfs::new();
    let vfs = FaultVfs::new(Arc::new(strict.clone()));
    let engine = Engine::open(env(Arc::new(vfs.clone()), 1), dir(), both()[1].clone()).unwrap();
    let id = engine.create_tree(schema()).unwrap().0;
    let transaction = engine.begin();
    transaction.apply(put(&engine, id, 0..50)).unwrap();
    vfs.set_quota(Some(vfs.used()));
    let error = transaction.apply(put(&engine, id, 50..60)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    let held = contents(&tree(&engine, id), &transaction.snapshot()).unwrap();
    assert_eq!(held, numbered(0..50));
    vfs.set_quota(None);
    transaction.apply(put(&engine, id, 60..70)).unwrap();
    transaction.commit().unwrap();
    let held = contents(&tree(&engine, id), &engine.snapshot()).unwrap();
    assert_eq!(held, numbered((0..50).chain(60..70)));
}

#[test]
fn transactions_move_between_threads() {
    fn needs<T: Send + Sync>() {}
    needs::<Transaction>();
    needs::<Snapshot>();
}

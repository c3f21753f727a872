use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use silt_codec::{CompareOp, Value, ValueRef};

use super::harness::{A, ALL, B, Harness, Row, T, V, small_options};
use super::{KeyRange, Predicate, ReadCounters, ScanOrder, ScanRequest, ScanWatch, Shaded, shade};
use crate::vfs::{Random, SeededRandom};
use crate::{Error, ErrorKind, FastPaths, Options, Result, Snapshot};

fn below(random: &SeededRandom, bound: u64) -> u64 {
    random.next_u64() % bound
}

fn pick_i64(random: &SeededRandom, bound: u64) -> i64 {
    i64::try_from(below(random, bound)).unwrap()
}

fn ordered(order: ScanOrder) -> ScanRequest {
    Harness::request(KeyRange::all(), order)
}

fn counted(request: &mut ScanRequest) -> Arc<ReadCounters> {
    let counters = Arc::<ReadCounters>::default();
    request.counters = Arc::clone(&counters);
    counters
}

#[test]
fn row_in_a_memtable_is_read_back() {
    let mut tree = Harness::new(small_options());
    let before = tree.engine.snapshot();
    tree.commit(&[(7, 1, Some((70, Some("seven")))), (8, 1, Some((80, None)))]);
    let now = tree.engine.snapshot();
    assert_eq!(tree.get(7, 1, &now), Some((7, 1, 70, Some("seven".to_owned()))));
    assert_eq!(tree.get(8, 1, &now), Some((8, 1, 80, None)));
    assert_eq!(tree.get(7, 2, &now), None);
    assert_eq!(tree.get(7, 1, &before), None);
    tree.check(&now, "now");
    assert!(tree.scan_all(&before).is_empty());
}

#[test]
fn snapshots_see_old_versions_across_flush_and_compaction() {
    let mut tree = Harness::new(small_options());
    let mut snapshots = Vec::new();
    for round in 0..6 {
        tree.put_all((0..300).filter(|key| key % (round + 1) == 0), round);
        tree.delete_all((0..300).filter(|key| key % 7 == round));
        snapshots.push(tree.engine.snapshot());
        tree.flush();
    }
    let check_all = |tree: &Harness, note: &str| {
        snapshots.iter().for_each(|snapshot| tree.check(snapshot, note));
    };
    check_all(&tree, "flushed");
    while tree.compact_once() {}
    check_all(&tree, "compacted");
    tree.compact_all();
    check_all(&tree, "compacted whole");
    assert_eq!(tree.files()[..6], [0; 6]);
}

#[test]
fn versions_below_the_floor_go_and_numbers_become_zero_in_the_last_level() {
    let mut tree = Harness::new(small_options());
    for round in 0..5 {
        tree.put_all(0..500, round);
        tree.flush();
    }
    tree.delete_all(0..100);
    tree.flush();
    tree.compact_all();
    let view = tree.state().read_view();
    let files = &view.version.levels[6];
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 400);
    assert!(files.iter().all(|file| file.deletes == 0 && file.one_version));
    assert!(files.iter().all(|file| (file.min_seq, file.max_seq) == (0, 0)));
    tree.check(&tree.engine.snapshot(), "compacted");
}

#[test]
fn number_stays_in_the_last_level_while_a_snapshot_is_older() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..200, 1);
    let old = tree.engine.snapshot();
    tree.put_all(0..200, 2);
    tree.flush();
    tree.compact_all();
    tree.check(&old, "old");
    tree.check(&tree.engine.snapshot(), "new");
    let rows = |tree: &Harness| -> u64 {
        tree.state().read_view().version.files().map(|(_, file)| file.rows).sum()
    };
    assert_eq!(rows(&tree), 400);
    drop(old);
    tree.compact_all();
    assert_eq!(rows(&tree), 200);
    tree.check(&tree.engine.snapshot(), "after");
}

#[test]
fn delete_hides_older_row_in_lower_level() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..200, 1);
    tree.flush_to(6);
    let before = tree.engine.snapshot();
    tree.delete_all([3, 77, 199]);
    let check = |tree: &Harness, note: &str| {
        let now = tree.engine.snapshot();
        assert_eq!(tree.get(77, 0, &now), None, "{note}");
        assert!(tree.get(77, 0, &before).is_some(), "{note}");
        assert_eq!(tree.scan_all(&now).len(), 197, "{note}");
        tree.check(&now, note);
        tree.check(&before, note);
    };
    check(&tree, "in the memtable");
    tree.flush();
    check(&tree, "in level 0");
    tree.compact_all();
    check(&tree, "compacted");
}

#[test]
fn delete_above_the_last_level_is_kept_while_older_rows_lie_below() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..200, 1);
    tree.flush_to(6);
    tree.delete_all(50..60);
    tree.flush_to(0);
    let view = tree.state().read_view();
    let mut picked = crate::compaction::pick_all(&view.version).unwrap();
    // The same inputs, but into a level above the older rows.
    picked.inputs.retain(|(level, _)| *level == 0);
    picked.output_level = 4;
    picked.is_last_level = false;
    picked.is_bottom = false;
    picked.barriers.clear();
    tree.run(&picked).unwrap();
    assert_eq!(tree.files(), [0, 0, 0, 0, 1, 0, 1]);
    tree.check(&tree.engine.snapshot(), "deletes in level 4");
}

#[test]
fn value_filter_never_revives_an_older_row() {
    let mut tree = Harness::new(small_options());
    // The old rows pass the filter, the new ones do not: neither values nor zone maps of the new
    // ones may keep them from hiding the old.
    tree.put_all(0..300, 5);
    tree.flush_to(6);
    tree.put_all(100..200, 50);
    let filter = Predicate::Compare { column: V, op: CompareOp::Lt, value: Value::Int(10) };
    let check = |tree: &Harness, note: &str| {
        let now = tree.engine.snapshot();
        for order in [ScanOrder::Unordered, ScanOrder::Forward, ScanOrder::Reverse] {
            let mut request = ordered(order);
            request.filter = Some(filter.clone());
            let mut found = tree.scan(&request, &now);
            found.retain(|row| row.2 < 10);
            assert_eq!(found.len(), 200, "{note}, {order:?}");
            assert!(found.iter().all(|row| !(100..200).contains(&row.0)), "{note}, {order:?}");
        }
    };
    check(&tree, "in the memtable");
    tree.flush();
    check(&tree, "in level 0");
    tree.compact_all();
    check(&tree, "compacted");
}

#[test]
fn value_filter_never_revives_an_older_version_in_the_same_file() {
    let mut tree = Harness::new(small_options());
    let old = tree.engine.snapshot();
    tree.put_all(0..300, 5);
    let middle = tree.engine.snapshot();
    tree.put_all(0..300, 50);
    tree.delete_all(0..10);
    tree.flush_to(6);
    let mut request = ordered(ScanOrder::Forward);
    request.filter =
        Some(Predicate::Compare { column: V, op: CompareOp::Lt, value: Value::Int(10) });
    let passing = |snapshot: &Snapshot| {
        tree.scan(&request, snapshot).into_iter().filter(|row| row.2 < 10).count()
    };
    assert_eq!(passing(&tree.engine.snapshot()), 0);
    assert_eq!(passing(&middle), 300);
    assert_eq!(passing(&old), 0);
}

#[test]
fn section_with_future_seq_is_not_raw() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..100, 1);
    let old = tree.engine.snapshot();
    tree.put_all(100..200, 2);
    tree.flush_to(6);
    let now = tree.engine.snapshot();
    assert!(tree.tree.is_settled(&KeyRange::all(), &now).unwrap());
    assert!(!tree.tree.is_settled(&KeyRange::all(), &old).unwrap());
    let count = |snapshot: &Snapshot| -> usize {
        let request = ScanRequest::new(KeyRange::all(), Vec::new());
        tree.tree.scan(&request, snapshot).unwrap().map(|batch| batch.unwrap().num_rows()).sum()
    };
    assert_eq!((count(&now), count(&old)), (200, 100));
    tree.check(&old, "old");
}

#[test]
fn section_with_deletes_or_old_versions_is_not_raw() {
    for is_delete in [true, false] {
        let mut tree = Harness::new(small_options());
        tree.put_all(0..100, 1);
        let old = tree.engine.snapshot();
        if is_delete {
            tree.delete_all([50]);
        } else {
            tree.put_all([50], 2);
        }
        tree.flush_to(6);
        let now = tree.engine.snapshot();
        assert!(!tree.tree.is_settled(&KeyRange::all(), &now).unwrap());
        tree.check(&now, "now");
        tree.check(&old, "old");
        drop(old);
        tree.compact_all();
        assert!(tree.tree.is_settled(&KeyRange::all(), &now).unwrap());
    }
}

#[test]
fn settled_range_stays_raw_beside_a_memtable_that_touches_another() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..1_000, 1);
    tree.flush_to(6);
    tree.put_all([500], 2);
    let now = tree.engine.snapshot();
    let mut request = ordered(ScanOrder::Forward);
    let counters = counted(&mut request);
    tree.scan(&request, &now);
    assert_eq!((counters.sections_raw.get(), counters.sections_merged.get()), (2, 1));
    let to = KeyRange::all().within(&tree.key(0, 0), &tree.key(400, 0));
    assert!(tree.tree.is_settled(&to, &now).unwrap());
    assert!(!tree.tree.is_settled(&KeyRange::all(), &now).unwrap());
}

#[test]
fn get_touches_one_row_group_a_level_at_most() {
    let mut tree = Harness::new(small_options());
    for (level, keys) in [(6, 0..1_000), (5, 100..900), (4, 200..800)] {
        tree.put_all(keys, i64::try_from(level).unwrap());
        tree.flush_to(level);
    }
    let now = tree.engine.snapshot();
    for key in [0, 150, 499, 750, 899, 999] {
        let counters = ReadCounters::new();
        assert!(tree.get_counted(key, 0, &now, &counters).is_some());
        assert_eq!(counters.groups_read.get(), 1, "key {key}");
        assert_eq!(counters.gets.get(), 1);
    }
    // No file holds it: filters spare nearly every file, and none is read in two groups.
    let counters = ReadCounters::new();
    (0..200).for_each(|key| assert_eq!(tree.get_counted(key, 1, &now, &counters), None));
    assert!(counters.filter_misses.get() > 0);
    assert!(counters.groups_read.get() < 10, "{counters:?}");
}

#[test]
fn key_range_reads_only_its_groups() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..6_400, 1);
    tree.flush_to(6);
    let now = tree.engine.snapshot();
    let range = KeyRange::all().within(&tree.key(1_000, 0), &tree.key(1_099, 0));
    let mut request = Harness::request(range, ScanOrder::Forward);
    let counters = counted(&mut request);
    assert_eq!(tree.scan(&request, &now).len(), 100);
    assert!((2..=3).contains(&counters.groups_read.get()), "{counters:?}");
    assert_eq!(counters.groups_read.get() + counters.groups_pruned.get(), 100);
}

#[test]
fn zone_maps_prune_files_and_groups_that_stand_alone() {
    let mut tree = Harness::new(small_options());
    for part in 0..4 {
        (0..10).for_each(|step| {
            let first = part * 1_000 + step * 100;
            tree.put_all(first..first + 100, first);
        });
        tree.flush_to(6);
    }
    let now = tree.engine.snapshot();
    let mut request = ordered(ScanOrder::Forward);
    request.filter =
        Some(Predicate::Compare { column: V, op: CompareOp::Eq, value: Value::Int(2_300) });
    let counters = counted(&mut request);
    let found = tree.scan(&request, &now);
    assert_eq!(found.iter().filter(|row| row.2 == 2_300).count(), 100);
    assert_eq!(found.len(), 100, "the filter runs on encoded columns");
    assert_eq!((counters.files_read.get(), counters.files_pruned.get()), (1, 3));
    assert!(counters.groups_read.get() <= 3, "{counters:?}");
}

#[test]
fn zone_maps_prune_the_oldest_source_beneath_newer_rows() {
    let mut tree = Harness::new(small_options());
    for part in 0..64 {
        tree.put_all(part * 100..(part + 1) * 100, part);
    }
    tree.flush_to(6);
    tree.put_all((0..6_400).step_by(640), 1_000);
    tree.flush();
    tree.delete_all([110]);
    let now = tree.engine.snapshot();
    let mut request = ordered(ScanOrder::Forward);
    request.filter =
        Some(Predicate::Compare { column: V, op: CompareOp::Eq, value: Value::Int(1) });
    let counters = counted(&mut request);
    let found: Vec<Row> = tree.scan(&request, &now).into_iter().filter(|row| row.2 == 1).collect();
    assert_eq!(found.len(), 99);
    assert!(counters.groups_read.get() <= 4, "{counters:?}");
}

#[test]
fn prefix_filter_spares_files_without_the_prefix() {
    let mut tree = Harness::new(small_options());
    tree.put_all((0..1_000).step_by(2), 1);
    tree.flush();
    tree.put_all((1..1_000).step_by(2), 2);
    tree.flush();
    let now = tree.engine.snapshot();
    let mut files = 0;
    for key in 400..420 {
        let mut request = Harness::request(KeyRange::prefix(tree.prefix(key)), ScanOrder::Forward);
        let counters = counted(&mut request);
        assert_eq!(tree.scan(&request, &now).len(), 1);
        files += counters.files_read.get();
    }
    assert!(files <= 22, "{files} files read for 20 prefixes");
}

#[test]
fn count_without_columns_decodes_nothing() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..1_000, 1);
    tree.flush_to(6);
    let now = tree.engine.snapshot();
    let request = ScanRequest { batch_rows: 50, ..ScanRequest::new(KeyRange::all(), Vec::new()) };
    let batches: Vec<usize> =
        tree.tree.scan(&request, &now).unwrap().map(|batch| batch.unwrap().num_rows()).collect();
    assert_eq!(batches.iter().sum::<usize>(), 1_000);
    assert!(batches.iter().all(|rows| *rows <= 50));
}

/// Lets so many row groups be read.
#[derive(Debug)]
struct Allowance(AtomicUsize);

impl ScanWatch for Allowance {
    fn go_on(&self) -> Result<()> {
        let left =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| Error::new(ErrorKind::Interrupted, "enough"))
    }
}

#[test]
fn scan_that_finds_nothing_ends_where_its_watch_says_so() {
    let mut tree = Harness::new(small_options());
    tree.put_all((0..2_000).map(|key| key * 2), 1);
    tree.flush_to(6);
    let now = tree.engine.snapshot();
    // Within the range of every group's values, and in none.
    let nothing = Predicate::Compare { column: V, op: CompareOp::Eq, value: Value::Int(-1) };
    let or = Predicate::Or(vec![nothing.clone(), nothing]);
    for order in [ScanOrder::Unordered, ScanOrder::Forward, ScanOrder::Reverse] {
        for filter in [None, Some(or.clone())] {
            let mut request = ordered(order);
            (request.filter, request.exact) = (filter, true);
            let counters = counted(&mut request);
            tree.tree.scan(&request, &now).unwrap().for_each(|batch| drop(batch.unwrap()));
            let groups = usize::try_from(counters.groups_read.get()).unwrap();
            for allowed in 0..=groups {
                request.watch = Some(Arc::new(Allowance(AtomicUsize::new(allowed))));
                let ended =
                    tree.tree.scan(&request, &now).unwrap().find_map(std::result::Result::err);
                assert_eq!(
                    ended.map(|error| error.kind()),
                    (allowed < groups).then_some(ErrorKind::Interrupted)
                );
            }
        }
    }
}

#[test]
fn limit_ends_a_scan_in_either_direction() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..500, 1);
    tree.flush_to(6);
    tree.put_all(250..260, 2);
    let now = tree.engine.snapshot();
    let expected = tree.expected(&KeyRange::all(), now.seq());
    for limit in [0, 1, 63, 64, 65, 255, 500, 1_000] {
        let mut request = ordered(ScanOrder::Forward);
        request.limit = Some(limit);
        let found = tree.scan(&request, &now);
        assert_eq!(found, expected[..limit.min(500)], "first {limit}");
        request.order = ScanOrder::Reverse;
        let mut found = tree.scan(&request, &now);
        found.reverse();
        assert_eq!(found, expected[500 - limit.min(500)..], "last {limit}");
    }
}

#[test]
fn sequential_load_is_moved_or_copied_and_never_decoded() {
    let mut tree = Harness::new(Options { group_rows: 256, ..small_options() });
    for part in 0..40 {
        tree.put_all(part * 1_000..(part + 1) * 1_000, part);
        tree.flush();
        while tree.compact_once() {}
    }
    tree.compact_all();
    assert_eq!(tree.decoded, 0);
    assert!(tree.moved >= 40);
    tree.check(&tree.engine.snapshot(), "moved");
}

#[test]
fn group_that_nothing_overlaps_is_copied() {
    let mut tree = Harness::new(Options { file_bytes: 1 << 20, ..small_options() });
    tree.put_all(0..6_400, 1);
    tree.flush_to(6);
    tree.put_all(3_000..3_010, 2);
    tree.flush();
    tree.compact_all();
    // The groups that hold the new keys, and those of the new file.
    assert!((2..=4).contains(&tree.decoded), "{} decoded", tree.decoded);
    assert_eq!(tree.copied, 101 - tree.decoded);
    let now = tree.engine.snapshot();
    tree.check(&now, "copied");
    assert!(tree.tree.is_settled(&KeyRange::all(), &now).unwrap());
    assert!(tree.state().read_view().version.files().all(|(_, file)| file.max_seq == 0));
}

#[test]
fn failed_compaction_removes_its_outputs_and_keeps_its_inputs() {
    let mut tree = Harness::new(small_options());
    for round in 0..4 {
        tree.put_all(0..2_000, round);
        tree.flush();
    }
    let view = tree.state().read_view();
    let picked = crate::compaction::pick_all(&view.version).unwrap();
    let names = |tree: &Harness| {
        let dir = tree.state().context().dir.join("sst");
        tree.state().context().env.vfs.list(&dir).unwrap()
    };
    let before = names(&tree);
    let context = tree.state().context();
    let steps = std::cell::Cell::new(0);
    let job = crate::compaction::Job {
        context,
        tree: tree.id,
        schemas: &tree.tree.schemas(),
        floor: context.snapshots.floor(),
        next_file_id: &|| 90_000 + steps.get(),
        go_on: &|| {
            steps.set(steps.get() + 1);
            if steps.get() > 20 { Err(Error::internal("enough")) } else { Ok(()) }
        },
    };
    assert_eq!(crate::compaction::run(&job, &picked).unwrap_err().to_string(), "enough");
    assert!(steps.get() > 20);
    assert_eq!(names(&tree), before);
    tree.check(&tree.engine.snapshot(), "untouched");
}

#[test]
fn versions_of_a_key_stay_in_one_file_however_many() {
    let mut tree = Harness::new(Options { file_bytes: 4 << 10, ..small_options() });
    let mut snapshots = Vec::new();
    tree.put_all(0..100, -1);
    for round in 0..300 {
        tree.put_all([50], round);
        if round % 10 == 0 {
            snapshots.push(tree.engine.snapshot());
        }
        if round % 100 == 99 {
            tree.flush();
        }
    }
    let check_all = |tree: &Harness, note: &str| {
        for snapshot in &snapshots {
            tree.check(snapshot, note);
            let expected = tree.expected(&KeyRange::all(), snapshot.seq());
            let mut reverse = tree.scan(&ordered(ScanOrder::Reverse), snapshot);
            reverse.reverse();
            assert_eq!(reverse, expected, "{note}");
        }
    };
    check_all(&tree, "in level 0");
    tree.compact_all();
    check_all(&tree, "compacted");
    // Half of the snapshots go, the rest of the versions stays readable.
    let kept: Vec<Snapshot> = snapshots.into_iter().step_by(2).collect();
    tree.compact_all();
    kept.iter().for_each(|snapshot| tree.check(snapshot, "half of them"));
}

#[test]
fn split_cuts_a_range_into_even_parts_that_lose_nothing() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..6_400, 1);
    tree.flush_to(6);
    tree.put_all((0..6_400).step_by(64), 2);
    tree.flush();
    let now = tree.engine.snapshot();
    let expected = tree.expected(&KeyRange::all(), now.seq());
    for max in [1, 2, 3, 8, 1_000] {
        let parts = tree.tree.split(&KeyRange::all(), max, &now).unwrap();
        assert!(parts.len() <= max);
        let rows: Vec<Vec<Row>> = parts
            .iter()
            .map(|part| tree.scan(&Harness::request(part.clone(), ScanOrder::Forward), &now))
            .collect();
        assert_eq!(rows.concat(), expected, "{max} parts");
        if max <= 8 {
            assert_eq!(parts.len(), max);
            let even = 6_400 / max;
            assert!(rows.iter().all(|rows| rows.len() > even / 2 && rows.len() < even * 2));
        }
    }
}

#[test]
fn statistics_are_exact_once_everything_is_settled() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..500, 7);
    let now = tree.engine.snapshot();
    let in_memory = tree.tree.statistics(&now);
    assert_eq!((in_memory.rows, in_memory.columns_cover), (500, false));
    assert!(in_memory.bytes > 0);
    tree.flush();
    let flushed = tree.tree.statistics(&now);
    assert_eq!((flushed.rows, flushed.rows_exact, flushed.columns_cover), (500, true, true));
    let zone = flushed.columns[A].as_ref().unwrap();
    assert_eq!((&zone.min, &zone.max), (&Value::Int(0), &Value::Int(499)));
    assert_eq!((in_memory.distinct[A], in_memory.rows_exact), (Some(500), false));
    let values = flushed.distinct[A].unwrap();
    assert!((460..540).contains(&values), "{values} of 500");
    tree.put_all(0..10, 8);
    tree.flush();
    assert!(!tree.tree.statistics(&now).rows_exact);
}

#[test]
fn rows_of_a_range_are_estimated() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..640, 1);
    tree.flush_to(6);
    tree.put_all(1_000..1_010, 2);
    let now = tree.engine.snapshot();
    let rows = |from: i64, to: i64| {
        let key = |key: i64| {
            let mut bytes = Vec::new();
            tree.tree.key_codec().encode_values(&[ValueRef::Int(key)], &mut bytes).unwrap();
            bytes
        };
        let range = KeyRange { start: Bound::Included(key(from)), end: Bound::Excluded(key(to)) };
        tree.tree.estimate_rows(&range, &now).unwrap()
    };
    assert_eq!(tree.tree.estimate_rows(&KeyRange::all(), &now).unwrap(), 650);
    assert_eq!(rows(1_000, 1_004), 4);
    assert_eq!(rows(700, 800), 0);
    let some = rows(100, 420);
    assert!((220..420).contains(&some), "{some} of 320");
    assert!(rows(7, 8) > 0);
}

#[test]
fn multi_get_answers_in_key_order_and_visits_each_group_once() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..640, 1);
    tree.flush_to(6);
    tree.put_all(100..110, 2);
    tree.delete_all([101]);
    tree.flush();
    tree.put_all([105], 3);
    let now = tree.engine.snapshot();
    let asked = [639, 101, 105, 100, 5, 5, 4_000, 0, 63, 62];
    let keys: Vec<Vec<u8>> = asked.iter().map(|a| tree.key(*a, 0)).collect();
    let counters = ReadCounters::new();
    let found = tree.tree.multi_get(&keys, &ALL, &now, &counters).unwrap();
    let rows = super::harness::rows(&found.batch);
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [0, 5, 5, 62, 63, 100, 105, 639]);
    let answered: Vec<i64> = found.positions.iter().map(|at| asked[*at as usize]).collect();
    assert_eq!(answered, [0, 5, 5, 62, 63, 100, 105, 639]);
    assert_eq!(rows[5].2, 2);
    assert_eq!(rows[6].2, 3);
    assert_eq!(counters.gets.get(), 10);
    assert!(counters.groups_read.get() <= 4, "{counters:?}");
    let none = tree.tree.multi_get(&[], &[V], &now, &counters).unwrap();
    assert_eq!((none.batch.num_rows(), none.batch.num_columns()), (0, 1));
}

fn random_range(tree: &Harness, random: &SeededRandom, keys: u64) -> KeyRange {
    use std::ops::Bound;
    let bound = |random: &SeededRandom| {
        let key = tree.key(pick_i64(random, keys), 0);
        match below(random, 3) {
            0 => Bound::Unbounded,
            1 => Bound::Included(key),
            _ => Bound::Excluded(key),
        }
    };
    if below(random, 4) == 0 {
        return KeyRange::prefix(tree.prefix(pick_i64(random, keys)));
    }
    KeyRange { start: bound(random), end: bound(random) }
}

/// A predicate, and what it means.
type Filter = (Predicate, Box<dyn Fn(&Row) -> bool>);

fn random_filter(random: &SeededRandom, depth: usize) -> Filter {
    let value = pick_i64(random, 2_000);
    match below(random, if depth > 0 { 8 } else { 6 }) {
        0 => (
            Predicate::Compare { column: V, op: CompareOp::Lt, value: Value::Int(value) },
            Box::new(move |row| row.2 < value),
        ),
        1 => (
            Predicate::Compare { column: A, op: CompareOp::GtEq, value: Value::Int(value / 10) },
            Box::new(move |row| row.0 >= value / 10),
        ),
        2 => (
            Predicate::In { column: B, values: vec![Value::Int(1), Value::Int(2)] },
            Box::new(|row| row.1 == 1 || row.1 == 2),
        ),
        3 => (Predicate::IsNull(T), Box::new(|row| row.3.is_none())),
        4 => (Predicate::IsNotNull(T), Box::new(|row| row.3.is_some())),
        5 => {
            let prefix = format!("t{}", value % 10);
            let passes = prefix.clone();
            (
                Predicate::StartsWith { column: T, prefix },
                Box::new(move |row| row.3.as_ref().is_some_and(|t| t.starts_with(&passes))),
            )
        }
        6 => {
            let (a, a_passes) = random_filter(random, depth - 1);
            let (b, b_passes) = random_filter(random, depth - 1);
            (Predicate::And(vec![a, b]), Box::new(move |row| a_passes(row) && b_passes(row)))
        }
        _ => {
            let (a, a_passes) = random_filter(random, depth - 1);
            let (b, b_passes) = random_filter(random, depth - 1);
            (Predicate::Or(vec![a, b]), Box::new(move |row| a_passes(row) || b_passes(row)))
        }
    }
}

fn check_random(tree: &Harness, random: &SeededRandom, snapshot: &Snapshot, note: &str) {
    let range = random_range(tree, random, 200);
    let expected = tree.expected(&range, snapshot.seq());
    let mut request = Harness::request(range, ScanOrder::Forward);
    request.batch_rows = 1 + usize::try_from(below(random, 100)).unwrap();
    request.part_rows = 1 + usize::try_from(below(random, 20)).unwrap();
    assert_eq!(tree.scan(&request, snapshot), expected, "{note}: forward");
    request.order = ScanOrder::Unordered;
    let mut found = tree.scan(&request, snapshot);
    found.sort_by_key(|row| (row.0, -row.1));
    assert_eq!(found, expected, "{note}: unordered");
    request.order = ScanOrder::Reverse;
    let mut found = tree.scan(&request, snapshot);
    found.reverse();
    assert_eq!(found, expected, "{note}: reverse is forward turned round");

    let (filter, passes) = random_filter(random, 2);
    request.filter = Some(filter.clone());
    let found = tree.scan(&request, snapshot);
    assert!(found.iter().all(|row| expected.contains(row)), "{note}: {filter:?}");
    let mut passing: Vec<Row> = found.into_iter().filter(|row| passes(row)).collect();
    passing.reverse();
    let all: Vec<Row> = expected.iter().filter(|row| passes(row)).cloned().collect();
    assert_eq!(passing, all, "{note}: {filter:?}");
    check_unordered(tree, &request, snapshot, [&expected, &all], note);
}

#[test]
fn short_range_is_read_raw_where_its_other_sources_hold_none_of_it() {
    for narrow_plans in [true, false] {
        let paths = FastPaths { narrow_plans, ..FastPaths::default() };
        let mut tree = Harness::new(Options { paths, ..small_options() });
        tree.put_all(0..1_000, 1);
        tree.flush_to(3);
        tree.put_all((0..1_000).filter(|key| !(500..600).contains(key)), 2);
        tree.flush();
        tree.put_all(550..560, 3);
        let now = tree.engine.snapshot();
        let read = |a: i64, counters: &ReadCounters| {
            let note = format!("{a}, narrow plans {narrow_plans}");
            let range = KeyRange::prefix(tree.prefix(a));
            let mut request = Harness::request(range.clone(), ScanOrder::Forward);
            let own = counted(&mut request);
            assert_eq!(tree.scan(&request, &now), tree.expected(&range, now.seq()), "{note}");
            counters.sections_raw.add(own.sections_raw.get());
            counters.sections_merged.add(own.sections_merged.get());
            counters.files_pruned.add(own.files_pruned.get());
        };
        let counters = ReadCounters::new();
        // The filter of prefixes says that the newer file has none of these.
        (520..530).for_each(|a| read(a, &counters));
        assert_eq!((counters.sections_raw.get(), counters.sections_merged.get()), (10, 0));
        assert_eq!(counters.files_pruned.get(), 10);
        let counters = ReadCounters::new();
        (550..560).chain(700..710).for_each(|a| read(a, &counters));
        assert_eq!((counters.sections_raw.get(), counters.sections_merged.get()), (0, 20));
    }
}

/// Short ranges, most of them within one row group of each file, read as the model does.
fn check_short(tree: &Harness, random: &SeededRandom, snapshot: &Snapshot, note: &str) {
    for _ in 0..3 {
        let (from, len) = (pick_i64(random, 200), pick_i64(random, 4));
        let range = match below(random, 3) {
            0 => KeyRange::prefix(tree.prefix(from)),
            1 => KeyRange {
                start: Bound::Included(tree.key(from, 1)),
                end: Bound::Excluded(tree.key(from + len, 1)),
            },
            _ => KeyRange {
                start: Bound::Excluded(tree.key(from, 2)),
                end: Bound::Included(tree.key(from + len, 0)),
            },
        };
        let expected = tree.expected(&range, snapshot.seq());
        let mut request = Harness::request(range, ScanOrder::Forward);
        request.part_rows = 1 + usize::try_from(below(random, 40)).unwrap();
        assert_eq!(tree.scan(&request, snapshot), expected, "{note}: short, forward");
        request.limit = Some(1 + usize::try_from(below(random, 4)).unwrap());
        let first: Vec<Row> = expected.iter().take(request.limit.unwrap()).cloned().collect();
        assert_eq!(tree.scan(&request, snapshot), first, "{note}: short, the first");
        request.order = ScanOrder::Reverse;
        let last: Vec<Row> = expected.iter().rev().take(request.limit.unwrap()).cloned().collect();
        assert_eq!(tree.scan(&request, snapshot), last, "{note}: short, the last");
    }
}

/// Unordered scans answer alike with bitmaps and with a merge, as batches and undecoded, and leave
/// out what fails where they must; `expected` are all rows and those that pass.
fn check_unordered(
    tree: &Harness,
    request: &ScanRequest,
    snapshot: &Snapshot,
    expected: [&Vec<Row>; 2],
    note: &str,
) {
    let [all, passing] = expected;
    for shadows in [true, false] {
        let unfiltered =
            ScanRequest { order: ScanOrder::Unordered, filter: None, shadows, ..request.clone() };
        let exact =
            ScanRequest { filter: request.filter.clone(), exact: true, ..unfiltered.clone() };
        for (request, expected) in [(unfiltered, all), (exact, passing)] {
            let in_order = |mut rows: Vec<Row>| {
                rows.sort_by_key(|row| (row.0, -row.1));
                rows
            };
            let note = format!("{note}: shadows {shadows}, {:?}", request.filter);
            assert_eq!(in_order(tree.scan(&request, snapshot)), *expected, "{note}");
            let mut scan = tree.tree.scan(&request, snapshot).unwrap();
            let mut found = Vec::new();
            while let Some(rows) = scan.next_encoded().unwrap() {
                let schema = Arc::clone(scan.schema());
                let batch = RecordBatch::try_new(schema, rows.decode().unwrap()).unwrap();
                assert_eq!(batch.num_rows(), rows.len(), "{note}");
                found.extend(super::harness::rows(&batch));
            }
            assert_eq!(in_order(found), *expected, "{note}: undecoded");
            let none = ScanRequest { projection: Vec::new(), ..request.clone() };
            let batches = tree.tree.scan(&none, snapshot).unwrap();
            let count: usize = batches.map(|batch| batch.unwrap().num_rows()).sum();
            assert_eq!(count, expected.len(), "{note}: counted");
            let limit = expected.len() / 2;
            let some = ScanRequest { limit: Some(limit), ..request.clone() };
            assert_eq!(tree.scan(&some, snapshot).len(), limit, "{note}: limited");
        }
    }
}

#[test]
fn rows_that_newer_sources_hide_are_found_once_and_remembered() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..1_000, 1);
    tree.flush_to(3);
    tree.put_all((0..1_000).step_by(10), 2);
    tree.flush();
    tree.delete_all(500..600);
    let mut request = ordered(ScanOrder::Unordered);
    for built in [true, false] {
        let counters = counted(&mut request);
        let now = tree.engine.snapshot();
        assert_eq!(tree.scan(&request, &now).len(), 900);
        assert_eq!(counters.sections_merged.get(), 0);
        // 100 by the file and 90 more by the memtable; 10 of the file; the deletes themselves.
        assert_eq!(counters.rows_hidden.get(), 190 + 10 + 100);
        assert_eq!(counters.shadows_built.get() > 0, built);
        assert_eq!(counters.shadows_cached.get() > 0, !built);
    }
    // What is added to the memtable makes new bitmaps, and the old snapshot keeps its own.
    let before = tree.engine.snapshot();
    tree.delete_all(600..610);
    let counters = counted(&mut request);
    assert_eq!(tree.scan(&request, &tree.engine.snapshot()).len(), 890);
    assert!(counters.shadows_built.get() > 0);
    assert_eq!(tree.scan(&request, &before).len(), 900);
}

#[test]
fn bitmaps_made_ahead_are_what_readers_would_find() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..1_000, 1);
    tree.flush_to(3);
    tree.put_all((0..1_000).step_by(3), 2);
    tree.delete_all((0..1_000).step_by(7));
    let before = tree.engine.snapshot();
    tree.flush();
    let version = Arc::clone(&tree.state().read_view().version);
    let files: Vec<u64> = version.files().map(|(_, file)| file.id).collect();
    let ask = |tree: &Harness, note: &str| {
        let mut request = ordered(ScanOrder::Unordered);
        let counters = counted(&mut request);
        let now = tree.engine.snapshot();
        let mut found = tree.scan(&request, &now);
        found.sort_by_key(|row| (row.0, -row.1));
        assert_eq!(found, tree.expected(&KeyRange::all(), now.seq()), "{note}");
        assert!(counters.sections_shadowed.get() > 0, "{note}");
        counters.shadows_built.get()
    };
    shade(tree.state(), Shaded::Files(&files)).unwrap();
    assert_eq!(ask(&tree, "all is in files"), 0);
    // What is in no run yet is looked at by the next reader, and then by those who come after.
    tree.delete_all(0..100);
    shade(tree.state(), Shaded::Files(&files)).unwrap();
    assert!(ask(&tree, "some is in a memtable") > 0);
    tree.put_all((50..1_000).step_by(5), 3);
    tree.flush();
    tree.put_all((0..1_000).step_by(11), 4);
    let version = Arc::clone(&tree.state().read_view().version);
    let files: Vec<u64> = version.files().map(|(_, file)| file.id).collect();
    shade(tree.state(), Shaded::Files(&files)).unwrap();
    assert!(ask(&tree, "files above files") > 0);
    // A large commit makes runs of its own.
    let seq = tree.delete_all(200..400);
    shade(tree.state(), Shaded::All(seq)).unwrap();
    assert_eq!(ask(&tree, "after a large commit"), 0);
    tree.check(&before, "the snapshot from before");
    tree.check(&tree.engine.snapshot(), "now");
}

#[test]
fn flushes_and_compactions_leave_bitmaps_for_readers_to_come() {
    for shadows_ahead in [true, false] {
        let paths = FastPaths { shadows_ahead, ..FastPaths::default() };
        let mut tree = Harness::new(Options { paths, ..small_options() });
        let built = |tree: &Harness| {
            let mut request = ordered(ScanOrder::Unordered);
            let counters = counted(&mut request);
            assert_eq!(tree.scan(&request, &tree.engine.snapshot()).len(), 1_000);
            counters.shadows_built.get()
        };
        tree.put_all(0..1_000, 1);
        tree.engine.flush().unwrap();
        tree.engine.compact(tree.id).unwrap();
        tree.put_all((0..1_000).step_by(3), 2);
        assert!(built(&tree) > 0);
        tree.engine.flush().unwrap();
        assert_eq!(built(&tree) == 0, shadows_ahead);
        assert_eq!(built(&tree), 0);
        tree.put_all((0..1_000).step_by(7), 2);
        tree.engine.flush().unwrap();
        tree.engine.compact(tree.id).unwrap();
        assert_eq!(built(&tree) == 0, shadows_ahead);
        tree.check(&tree.engine.snapshot(), "compacted");
    }
}

#[test]
fn what_is_known_of_files_goes_with_them() {
    let mut tree = Harness::new(small_options());
    let files = |tree: &Harness| {
        let view = tree.state().read_view();
        view.version.files().map(|(_, file)| file.id).collect::<Vec<_>>()
    };
    let mut gone = Vec::new();
    for round in 1..=3 {
        tree.put_all(0..1_000, round);
        tree.engine.flush().unwrap();
        tree.engine.compact(tree.id).unwrap();
        while tree.engine.run_job().unwrap() {}
        let rows = tree.scan(&ordered(ScanOrder::Unordered), &tree.engine.snapshot());
        assert_eq!(rows.len(), 1_000);
        let (live, shadows) = (files(&tree), &tree.state().context().shadows);
        assert!(live.iter().all(|id| shadows.knows_file(*id)), "the scan asked for them");
        let left: Vec<_> = gone.iter().filter(|id| shadows.knows_file(**id)).collect();
        assert!(left.is_empty(), "{left:?} of {gone:?}, live {live:?}");
        gone.extend(live);
    }
}

#[test]
fn runs_put_together_keep_the_columns_that_readers_asked_for() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..500, 0);
    tree.flush_to(3);
    for round in 1..30_usize {
        let value = i64::try_from(round).unwrap();
        let first = value * 37 % 450;
        tree.put_all((first..first + 40).step_by(1 + round % 3), value);
        tree.delete_all(first + 3..first + 6);
        let projections: [&[usize]; 3] = [&[A, B, V, T], &[V], &[T, A]];
        for projection in &projections[..1 + round % 3] {
            let now = tree.engine.snapshot();
            let columns = |shadows: bool| {
                let request = ScanRequest {
                    order: ScanOrder::Unordered,
                    shadows,
                    ..ScanRequest::new(KeyRange::all(), projection.to_vec())
                };
                let batches = tree.tree.scan(&request, &now).unwrap();
                let mut rows: Vec<String> = Vec::new();
                for batch in batches {
                    let batch = batch.unwrap();
                    rows.extend((0..batch.num_rows()).map(|row| {
                        let values = batch.columns().iter();
                        let values = values.map(|column| Value::from_array(column, row).unwrap());
                        format!("{:?}", values.collect::<Vec<_>>())
                    }));
                }
                rows.sort();
                rows
            };
            assert_eq!(columns(true), columns(false), "round {round}, {projection:?}");
        }
    }
}

#[test]
fn reader_that_sees_a_file_in_part_merges() {
    let mut tree = Harness::new(small_options());
    tree.put_all(0..300, 1);
    tree.flush_to(3);
    tree.put_all(0..100, 2);
    let before = tree.engine.snapshot();
    tree.delete_all(0..50);
    tree.flush();
    let mut request = ordered(ScanOrder::Unordered);
    let counters = counted(&mut request);
    tree.check(&before, "before");
    let mut found = tree.scan(&request, &before);
    found.sort_by_key(|row| row.0);
    assert_eq!(found, tree.expected(&KeyRange::all(), before.seq()));
    assert!(counters.sections_merged.get() > 0);
    assert_eq!(counters.sections_shadowed.get(), 0);
}

#[test]
fn narrow_range_is_merged_and_makes_no_bitmap() {
    let mut tree = Harness::new(Options { group_rows: 16, ..small_options() });
    tree.put_all(0..5_000, 1);
    tree.flush_to(3);
    tree.put_all(0..5_000, 2);
    let mut request = ordered(ScanOrder::Unordered);
    request.range = KeyRange::prefix(tree.prefix(700));
    let counters = counted(&mut request);
    assert_eq!(tree.scan(&request, &tree.engine.snapshot()).len(), 1);
    assert_eq!((counters.shadows_built.get(), counters.sections_merged.get()), (0, 1));
}

#[test]
fn parts_of_a_group_lose_no_version_wherever_they_are_cut() {
    let mut tree = Harness::new(small_options());
    let mut snapshots = Vec::new();
    for round in 0..6 {
        // Key after key has another number of versions, some of them deletes, some beyond a group.
        tree.put_all((0..40).filter(|key| key % (round + 1) == 0), round);
        tree.delete_all((0..40).filter(|key| (key + round) % 7 == 0));
        if round % 3 == 2 {
            for value in 0..30 {
                tree.put_all([17], value);
            }
        }
        snapshots.push(tree.engine.snapshot());
        if round % 2 == 1 {
            tree.flush();
        }
    }
    for snapshot in &snapshots {
        for order in [ScanOrder::Forward, ScanOrder::Reverse] {
            for range in [KeyRange::all(), KeyRange::prefix(tree.prefix(17))] {
                let mut expected = tree.expected(&range, snapshot.seq());
                if order == ScanOrder::Reverse {
                    expected.reverse();
                }
                for part_rows in [1, 2, 3, 5, 8, 13, 21, usize::MAX] {
                    for limit in [None, Some(1), Some(4)] {
                        let request = Harness::request(range.clone(), order);
                        let found =
                            tree.scan(&ScanRequest { part_rows, limit, ..request }, snapshot);
                        let wanted = limit.unwrap_or(expected.len()).min(expected.len());
                        assert_eq!(
                            found,
                            expected[..wanted],
                            "{order:?} at {} in parts of {part_rows}, limit {limit:?}",
                            snapshot.seq()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn random_histories_read_as_the_model_does() {
    for seed in 0..40 {
        let random = SeededRandom::new(seed);
        let mut tree = Harness::new(Options {
            group_rows: 16,
            file_bytes: 2 << 10,
            memtable_bytes: 1 << 10,
            paths: FastPaths { narrow_plans: seed % 4 > 0, ..FastPaths::default() },
            ..small_options()
        });
        let mut snapshots: Vec<Snapshot> = Vec::new();
        let mut value = 0;
        for step in 0..120 {
            let note = format!("seed {seed}, step {step}");
            match below(&random, 12) {
                0..=5 => {
                    let mut texts = Vec::new();
                    for _ in 0..1 + below(&random, 30) {
                        value += 1;
                        let (a, b) = (pick_i64(&random, 200), pick_i64(&random, 3));
                        let text = (value % 5 != 0).then(|| format!("t{}", value % 17));
                        let is_delete = below(&random, 4) == 0;
                        texts.push((a, i32::try_from(b).unwrap(), is_delete, value, text));
                    }
                    let ops: Vec<_> = texts
                        .iter()
                        .map(|(a, b, is_delete, value, text)| {
                            (*a, *b, (!is_delete).then_some((*value, text.as_deref())))
                        })
                        .collect();
                    tree.commit(&ops);
                }
                6 | 7 => tree.flush(),
                8 => {
                    tree.compact_once();
                }
                9 if below(&random, 4) == 0 => tree.compact_all(),
                10 => snapshots.push(tree.engine.snapshot()),
                11 if !snapshots.is_empty() => {
                    let at = usize::try_from(below(&random, snapshots.len() as u64)).unwrap();
                    snapshots.swap_remove(at);
                }
                _ => {}
            }
            let now = tree.engine.snapshot();
            check_random(&tree, &random, &now, &note);
            check_short(&tree, &random, &now, &note);
            if !snapshots.is_empty() {
                let at = usize::try_from(below(&random, snapshots.len() as u64)).unwrap();
                check_random(&tree, &random, &snapshots[at], &format!("{note}, snapshot"));
                check_short(&tree, &random, &snapshots[at], &format!("{note}, snapshot"));
            }
            for _ in 0..3 {
                let (a, b) = (pick_i64(&random, 200), i32::try_from(below(&random, 3)).unwrap());
                let range = KeyRange::point(tree.key(a, b));
                let expected = tree.expected(&range, now.seq()).pop();
                assert_eq!(tree.get(a, b, &now), expected, "{note}: get {a} {b}");
            }
        }
        let now = tree.engine.snapshot();
        let keys: Vec<Vec<u8>> = tree.model.keys().cloned().collect();
        let found = tree.tree.multi_get(&keys, &ALL, &now, &ReadCounters::new()).unwrap();
        let expected = tree.expected(&KeyRange::all(), now.seq());
        assert_eq!(super::harness::rows(&found.batch), expected, "seed {seed}");
        // Few keys are looked up in another way.
        for few in keys.chunks(7) {
            let mut twice = [few, &few[..1]].concat();
            twice.reverse();
            let found = tree.tree.multi_get(&twice, &ALL, &now, &ReadCounters::new()).unwrap();
            let answered = found.positions.iter().map(|at| twice[*at as usize].clone());
            let expected: Vec<Row> =
                answered.flat_map(|key| tree.expected(&KeyRange::point(key), now.seq())).collect();
            assert!(found.positions.iter().map(|at| &twice[*at as usize]).is_sorted());
            assert_eq!(super::harness::rows(&found.batch), expected, "seed {seed}");
            let there = |key: &&Vec<u8>| {
                !tree.expected(&KeyRange::point((*key).clone()), now.seq()).is_empty()
            };
            assert_eq!(found.positions.len(), twice.iter().filter(there).count());
        }
    }
}

//! Much data, many writers: bulk loads, retries, spilling.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use silt_sql::{AppendMode, ErrorKind, IngestTarget};

use super::harness::{Db, db, db_with};

/// A memtable so small that a few thousand rows go around it.
fn small() -> Db {
    db_with(silt_storage::Options { memtable_bytes: 64 << 10, ..Default::default() })
}

#[test]
fn large_inserts_go_around_the_memtable() {
    let mut db = small();
    db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT)");
    let source = "SELECT value, 'value ' || value FROM generate_series(1, 20000)";
    assert_eq!(db.run(&format!("INSERT INTO t {source}")), 20_000);
    assert_eq!(
        db.rows("SELECT count(*), min(id), max(id), min(v) FROM t"),
        "20000 1 20000 value 1"
    );
    let error = db.error(&format!("INSERT INTO t {source} UNION ALL SELECT 30000, 'x'"));
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.message().starts_with("duplicate key (id) = ("), "{error}");
    assert_eq!(db.rows("SELECT count(*) FROM t WHERE id = 30000"), "0");
    let shifted = "SELECT value + 10000, 'new' FROM generate_series(1, 20000)";
    assert_eq!(db.run(&format!("INSERT OR IGNORE INTO t {shifted}")), 10_000);
    assert_eq!(db.rows("SELECT count(*), count(*) FILTER (WHERE v = 'new') FROM t"), "30000 10000");
    assert_eq!(db.run(&format!("INSERT OR REPLACE INTO t {shifted}")), 20_000);
    assert_eq!(db.rows("SELECT count(*), count(*) FILTER (WHERE v = 'new') FROM t"), "30000 20000");
    assert_eq!(db.run("DELETE FROM t WHERE id % 2 = 0"), 15_000);
    assert_eq!(db.run("UPDATE t SET v = v || '!' WHERE id <= 10"), 5);
    assert_eq!(db.rows("SELECT v FROM t WHERE id IN (1, 2, 3)"), "value 1!\nvalue 3!");
}

#[test]
fn create_table_as_takes_many_rows_with_and_without_key() {
    let mut db = small();
    assert_eq!(db.run("CREATE TABLE t AS SELECT value AS n, repeat('x', 20) AS s FROM generate_series(1, 20000)"), 20_000);
    assert_eq!(db.rows("SELECT count(*), sum(n) FROM t"), "20000 200010000");
    assert_eq!(db.run("INSERT INTO t SELECT * FROM t"), 20_000);
    assert_eq!(db.rows("SELECT count(*), count(DISTINCT n) FROM t"), "40000 20000");
    let twice = "SELECT value / 2, repeat('x', 20) FROM generate_series(1, 20000)";
    let error = db.error(&format!("CREATE TABLE k (id BIGINT PRIMARY KEY, s TEXT) AS {twice}"));
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert!(error.message().starts_with("duplicate key (id) = ("), "{error}");
    assert_eq!(db.rows("SHOW TABLES"), "main t");
}

#[test]
fn ingest_makes_tables_and_fills_them_in_one_commit() {
    let mut db = small();
    let batch = |from: i64, count: i64| {
        let ids: Int64Array = (from..from + count).collect::<Vec<_>>().into();
        let names: StringArray =
            (from..from + count).map(|id| Some(format!("name {id}"))).collect();
        RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("name", Arc::new(names) as _)])
            .unwrap()
    };
    let schema = batch(0, 1).schema();
    let mut target = IngestTarget {
        table: "people".to_owned(),
        key: vec!["id".to_owned()],
        create_if_missing: true,
        ..IngestTarget::default()
    };
    let load = |db: &mut Db, target: &IngestTarget, batches: Vec<RecordBatch>| {
        db.session.ingest(Arc::clone(&schema), &mut batches.into_iter().map(Ok), target)
    };
    let counts = load(&mut db, &target, vec![batch(0, 5000), batch(5000, 5000)]).unwrap();
    assert_eq!((counts.read, counts.written, counts.kept), (10_000, 10_000, 0));
    assert_eq!(db.rows("DESCRIBE people"), "id BIGINT false 1 NULL\nname TEXT true NULL NULL");
    let error = load(&mut db, &target, vec![batch(20_000, 10), batch(5, 1)]).unwrap_err();
    assert_eq!(error.message(), "duplicate key (id) = (5) in table people");
    assert_eq!(db.rows("SELECT count(*) FROM people"), "10000");
    target.on_conflict = AppendMode::Ignore;
    let counts = load(&mut db, &target, vec![batch(9_990, 20)]).unwrap();
    assert_eq!((counts.read, counts.written, counts.kept), (20, 10, 10));
    target.table = "nobody".to_owned();
    target.create_if_missing = false;
    assert_eq!(load(&mut db, &target, vec![]).unwrap_err().kind(), ErrorKind::NotFound);
    target.create_if_missing = true;
    target.key = vec!["idd".to_owned()];
    let error = load(&mut db, &target, vec![]).unwrap_err();
    assert_eq!(error.hint(), Some("did you mean \"id\"?"));
}

#[test]
fn no_increment_is_lost_between_sessions() {
    const THREADS: i64 = 4;
    const TIMES: i64 = 25;
    let mut db = db();
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n BIGINT); INSERT INTO t VALUES (1, 0)");
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let mut other = db.other();
            std::thread::spawn(move || {
                for _ in 0..TIMES {
                    // Ten attempts may all be lost; the error says to try again.
                    while let Err(error) = other.try_run("UPDATE t SET n = n + 1 WHERE id = 1") {
                        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(db.rows("SELECT n FROM t"), (THREADS * TIMES).to_string());
}

#[test]
fn one_of_two_equal_keys_gets_in() {
    let db = db();
    let mut first = db.other();
    first.run("CREATE TABLE t (id INT PRIMARY KEY, who INT)");
    let threads: Vec<_> = (0..4)
        .map(|who| {
            let mut other = db.other();
            std::thread::spawn(move || {
                let insert = |id: i32| format!("INSERT INTO t VALUES ({id}, {who})");
                (0..50)
                    .filter(|id| match other.try_run(&insert(*id)) {
                        Ok(_) => true,
                        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
                        Err(error) => panic!("{error}"),
                    })
                    .count()
            })
        })
        .collect();
    let in_all: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(in_all, 50);
    assert_eq!(first.rows("SELECT count(*) FROM t"), "50");
}

#[test]
fn rows_without_a_key_get_numbers_of_their_own_from_many_sessions() {
    let mut db = db();
    db.run("CREATE TABLE log (line INT)");
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let mut other = db.other();
            std::thread::spawn(move || {
                (0..50).for_each(|line| {
                    other.run(&format!("INSERT INTO log VALUES ({line}), ({line})"));
                });
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(db.rows("SELECT count(*) FROM log"), "400");
}

#[test]
fn texts_with_offsets_and_texts_in_views_are_the_same_rows() {
    let storage = silt_storage::Options {
        memtable_bytes: 64 << 10,
        memory_bytes: 1 << 20,
        ..silt_storage::Options::default()
    };
    let text = |row: i64| match row % 5 {
        0 => None,
        1 => Some(String::new()),
        2 => Some(format!("kind {}", row % 7)),
        _ => Some(format!("a text that is too long for a view, number {}", row * 7_919)),
    };
    // Few stay in the memtable, many go around it; in order and not, so that runs are merged.
    for (rows, step) in [(100, 1), (20_000, 1), (20_000, 7_919)] {
        let mut seen = Vec::new();
        for views in [false, true] {
            let mut db = db_with(storage.clone());
            db.run("CREATE TABLE t (k TEXT PRIMARY KEY, a TEXT, b VARCHAR(60), c TEXT NOT NULL)");
            let batches: Vec<_> = (0..10)
                .map(|part| {
                    let ids =
                        || (part * rows / 10..(part + 1) * rows / 10).map(|n| n * step % rows);
                    let columns = [
                        ids().map(|id| Some(format!("key {id:06}"))).collect::<StringArray>(),
                        ids().map(text).collect(),
                        ids().map(text).collect(),
                        ids().map(|id| Some(format!("c{id}"))).collect(),
                    ];
                    let columns = columns.map(|column| match views {
                        true => cast(&column, &DataType::Utf8View).unwrap(),
                        false => Arc::new(column) as ArrayRef,
                    });
                    RecordBatch::try_from_iter(["k", "a", "b", "c"].into_iter().zip(columns))
                })
                .collect::<Result<_, _>>()
                .unwrap();
            let schema = batches[0].schema();
            let target = IngestTarget { table: "t".to_owned(), ..IngestTarget::default() };
            let mut batches = batches.into_iter().map(Ok);
            let counts = db.session.ingest(schema, &mut batches, &target).unwrap();
            assert_eq!(i64::try_from(counts.written).unwrap(), rows);
            let by_text = "SELECT count(*), min(k), max(c) FROM t WHERE a = 'kind 3' OR b = ''";
            seen.push(["SELECT * FROM t ORDER BY k", by_text].map(|sql| db.rows(sql)));
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!(i64::try_from(seen[0][0].lines().count()).unwrap(), rows);
    }
}

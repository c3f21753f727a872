//! Statements without an end, ended from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use datafusion::arrow::array::{Int64Array, RecordBatch};
use silt_sql::{
    Error, ErrorKind, IngestTarget, InterruptHandle, Params, Session, Shared, SqlOptions,
};

use super::harness::{Db, db_with, lines};

const ROWS: u64 = 100_000;

/// A table to change and to join, with or without the ways that avoid threads of their own.
fn open(point_statements: bool) -> Db {
    let options = SqlOptions { threads: 2, point_statements, ..SqlOptions::default() };
    let shared = Shared::in_memory(silt_storage::Options::default(), options).unwrap();
    let mut db = Db { session: Session::new(shared) };
    db.run("CREATE TABLE n (id BIGINT PRIMARY KEY, k BIGINT, v BIGINT)");
    db.run(&format!("INSERT INTO n SELECT value, 7, value FROM generate_series(1, {ROWS})"));
    db
}

/// Runs a statement to its end while its session is interrupted again and again: the first time
/// may come before it has begun.
fn interrupted(db: &mut Db, sql: &str) -> Error {
    let (handle, done) = (db.session.interrupt_handle(), Arc::new(AtomicBool::new(false)));
    let ended = Arc::clone(&done);
    let interrupting = std::thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            handle.interrupt();
        }
    });
    let error = db.error(sql);
    done.store(true, Ordering::Relaxed);
    interrupting.join().unwrap();
    error
}

const ENDLESS: [&str; 12] = [
    "SELECT count(*) FROM generate_series(1, 1000000000000)",
    "SELECT max(a.v) FROM n a JOIN n b ON a.v * b.v = -1 JOIN n c ON b.v * c.v = -1",
    "SELECT count(*) FROM n a LEFT JOIN n b ON a.v + b.v < a.k - 100",
    "SELECT sum(a.v + b.v + c.v) FROM n a, n b, n c",
    "SELECT count(*) FROM n a JOIN n b ON a.k = b.k AND a.v + b.v < 0 JOIN n c ON c.k = b.k",
    "EXPLAIN ANALYZE SELECT sum(a.v) FROM n a JOIN n b ON a.v * b.v = -1 JOIN n c ON b.v < c.v",
    "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r",
    "INSERT INTO n SELECT value + 1000000, 1, 1 FROM generate_series(1, 1000000000000)",
    "INSERT INTO n SELECT -a.v * b.v, 1, 1 FROM n a JOIN n b ON a.v * b.v = -1 JOIN n c ON a.v < c.v",
    "UPDATE n SET v = v + 1 WHERE v IN (SELECT a.v + b.v + c.v FROM n a, n b, n c)",
    "DELETE FROM n WHERE v IN (SELECT a.v + b.v + c.v FROM n a, n b, n c)",
    "CREATE TABLE c AS SELECT value FROM generate_series(1, 1000000000000)",
];

#[test]
fn endless_statement_ends_when_it_is_interrupted_and_has_changed_nothing() {
    for point_statements in [true, false] {
        let mut db = open(point_statements);
        for sql in ENDLESS {
            let error = interrupted(&mut db, sql);
            assert_eq!(error.kind(), ErrorKind::Interrupted, "{sql}: {error}");
            assert_eq!(error.sqlstate(), "57014");
            let sums = db.rows("SELECT count(*), sum(v) FROM n");
            assert_eq!(sums, format!("{ROWS} {}", ROWS * (ROWS + 1) / 2), "{sql}");
        }
        assert_eq!(db.rows("SHOW TABLES"), "main n");
    }
}

#[test]
fn interrupt_ends_its_statement_and_not_its_transaction() {
    let mut db = open(true);
    db.run("BEGIN");
    db.run("UPDATE n SET v = 0 WHERE id = 1");
    assert_eq!(interrupted(&mut db, ENDLESS[9]).kind(), ErrorKind::Interrupted);
    db.run("UPDATE n SET v = 0 WHERE id = 2");
    db.run("COMMIT");
    assert_eq!(db.rows("SELECT count(*) FROM n WHERE v = 0"), "2");
}

#[test]
fn interrupt_where_nothing_runs_is_forgotten() {
    let mut db = open(true);
    db.session.interrupt_handle().interrupt();
    assert_eq!(db.rows("SELECT count(*) FROM n"), ROWS.to_string());
    db.run("DELETE FROM n WHERE k = 7");
    assert_eq!(db.rows("SELECT count(*) FROM n"), "0");
}

#[test]
fn interrupt_ends_a_query_between_the_batches_that_are_read() {
    let mut db = open(true);
    let result = db.session.execute_one("SELECT v FROM n ORDER BY v + 1", &Params::none()).unwrap();
    db.session.interrupt_handle().interrupt();
    assert_eq!(lines(result).unwrap_err().kind(), ErrorKind::Interrupted);
}

#[test]
fn run_with_a_handle_of_its_own_is_ended_by_that_alone() {
    let db = open(true);
    let prepared = db.session.prepare("SELECT sum(v) FROM n WHERE v > ?").unwrap();
    let params = || Params::positional(vec![0_i64.into()]);
    let own = InterruptHandle::new();
    let result = prepared.execute_until(&params(), &own).unwrap();
    db.session.interrupt_handle().interrupt();
    assert_eq!(lines(result).unwrap().len(), 1);
    let result = prepared.execute_until(&params(), &own).unwrap();
    own.interrupt();
    assert_eq!(lines(result).unwrap_err().kind(), ErrorKind::Interrupted);
}

#[test]
fn statement_that_nobody_reads_any_more_does_not_go_on() {
    let mut db = open(false);
    for sql in [ENDLESS[0], ENDLESS[1], ENDLESS[3]] {
        let result = db.session.execute_one(sql, &Params::none()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        drop(result);
    }
    // Its tasks gave their threads back: else this would wait for ever.
    assert_eq!(db.rows("SELECT count(*) FROM n a JOIN n b USING (id)"), ROWS.to_string());
}

#[test]
fn load_whose_rows_have_all_come_is_ended_while_it_writes_them() {
    // Half of a memtable is much enough for files.
    let storage = silt_storage::Options {
        memtable_bytes: 64 << 10,
        memory_bytes: 1 << 20,
        ..silt_storage::Options::default()
    };
    // Each part reaches over all keys, so that runs are merged.
    let ids = |part: i64| -> RecordBatch {
        let ids: Int64Array = (0..10_000).map(|row| 1_000 + 10 * row + part).collect();
        RecordBatch::try_from_iter([("id", Arc::new(ids) as _)]).unwrap()
    };
    let schema = ids(0).schema();
    for (in_transaction, makes) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut db = db_with(storage.clone());
        db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT)");
        db.run("INSERT INTO t VALUES (1, 'one')");
        if in_transaction {
            db.run("BEGIN");
        }
        let handle = InterruptHandle::new();
        let mut batches = (0..10).map(|part| Ok(ids(part))).chain(std::iter::from_fn(|| {
            handle.interrupt();
            None
        }));
        let table = if makes { "made" } else { "t" }.to_owned();
        let key = vec!["id".to_owned()];
        let target = IngestTarget { table, key, create_if_missing: makes, ..Default::default() };
        let load = db.session.ingest_until(Arc::clone(&schema), &mut batches, &target, &handle);
        assert_eq!(load.unwrap_err().kind(), ErrorKind::Interrupted);
        if in_transaction {
            db.run("ROLLBACK");
        }
        assert_eq!(db.rows("SELECT count(*), max(v) FROM t"), "1 one");
        assert_eq!(db.error("SELECT * FROM made").kind(), ErrorKind::NotFound);
        // It ended that load and no other.
        let target = IngestTarget { table: "t".to_owned(), ..IngestTarget::default() };
        let mut batches = (0..10).map(|part| Ok(ids(part)));
        let load = db.session.ingest_until(Arc::clone(&schema), &mut batches, &target, &handle);
        assert_eq!(load.unwrap().written, 100_000);
        assert_eq!(db.rows("SELECT count(*), min(id), max(id) FROM t"), "100001 1 100999");
    }
}

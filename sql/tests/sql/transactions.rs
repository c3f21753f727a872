//! BEGIN, COMMIT, ROLLBACK: what is seen, what stays, what is refused.

use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
use datafusion::scalar::ScalarValue;
use silt_sql::{AppendMode, ErrorKind, IngestTarget, Params};

use super::harness::{Db, db, db_with, lines};

fn with_table() -> Db {
    let mut db = db();
    db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT)");
    db.run("INSERT INTO t VALUES (1, 'one'), (2, 'two')");
    db
}

const ALL: &str = "SELECT * FROM t ORDER BY id";

#[track_caller]
fn refused(db: &mut Db, sql: &str, message: &str, sqlstate: &str) {
    let error = db.error(sql);
    assert_eq!((error.message(), error.sqlstate()), (message, sqlstate), "{sql}");
}

#[test]
fn a_transaction_is_committed_together_or_not_at_all() {
    let mut db = with_table();
    let mut other = db.other();
    for (end, left) in [("ROLLBACK", "1 one\n2 two"), ("COMMIT", "1 uno\n3 three")] {
        db.run("BEGIN; INSERT INTO t VALUES (3, 'three'); UPDATE t SET v = 'uno' WHERE id = 1");
        db.run("DELETE FROM t WHERE id = 2");
        assert!(db.session.is_in_transaction());
        assert_eq!(db.rows(ALL), "1 uno\n3 three");
        assert_eq!(other.rows(ALL), "1 one\n2 two");
        db.run(end);
        assert!(!db.session.is_in_transaction());
        assert_eq!((db.rows(ALL).as_str(), other.rows(ALL).as_str()), (left, left));
    }
}

#[test]
fn transactions_are_begun_and_ended_once() {
    let mut db = with_table();
    refused(&mut db, "COMMIT", "no transaction is open", "25P01");
    refused(&mut db, "ROLLBACK", "no transaction is open", "25P01");
    db.run("START TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    refused(&mut db, "BEGIN", "a transaction is open already", "25001");
    assert_eq!(db.error("SAVEPOINT a").message(), "SAVEPOINT is not supported yet");
    assert_eq!(db.error("ROLLBACK TO a").message(), "ROLLBACK TO SAVEPOINT is not supported yet");
    assert_eq!(db.error("BEGIN SERIALIZABLE").kind(), ErrorKind::Invalid);
    db.run("INSERT INTO t VALUES (3, 'three')");
    db.run("END");
    assert_eq!(db.rows("SELECT count(*) FROM t"), "3");
    db.run("BEGIN WORK; DELETE FROM t; ABORT");
    assert_eq!(db.rows("SELECT count(*) FROM t"), "3");
}

#[test]
fn a_failed_statement_is_undone_alone() {
    let mut db = with_table();
    db.run("BEGIN; INSERT INTO t VALUES (3, 'three')");
    for (sql, kind) in [
        ("INSERT INTO t VALUES (4, 'four'), (3, 'again')", ErrorKind::AlreadyExists),
        ("INSERT INTO t VALUES (4, 'four'), (1, 'again')", ErrorKind::AlreadyExists),
        ("UPDATE t SET id = 3 WHERE id = 1", ErrorKind::AlreadyExists),
        ("INSERT INTO t SELECT id + 10, CAST(v AS INT) FROM t", ErrorKind::Invalid),
        ("SELECT nothing FROM t", ErrorKind::NotFound),
        ("INSERT INTO nobody VALUES (1)", ErrorKind::NotFound),
        ("CREATE TABLE t (a INT)", ErrorKind::AlreadyExists),
        ("SELEC", ErrorKind::Invalid),
    ] {
        assert_eq!(db.error(sql).kind(), kind, "{sql}");
        assert_eq!(db.rows(ALL), "1 one\n2 two\n3 three", "{sql}");
    }
    db.run("INSERT INTO t VALUES (4, 'four'); COMMIT");
    assert_eq!(db.rows(ALL), "1 one\n2 two\n3 three\n4 four");
}

#[test]
fn own_rows_are_met_by_every_change() {
    let mut db = with_table();
    db.run("BEGIN; INSERT INTO t VALUES (3, 'three'), (4, 'four')");
    assert_eq!(
        db.error("INSERT INTO t VALUES (4, 'x')").message(),
        "duplicate key (id) = (4) in table t"
    );
    assert_eq!(db.run("INSERT OR IGNORE INTO t VALUES (4, 'x'), (5, 'five')"), 1);
    let upsert = "INSERT INTO t VALUES (1, 'a'), (4, 'b'), (6, 'c')
                  ON CONFLICT (id) DO UPDATE SET v = t.v || excluded.v";
    assert_eq!(db.run(upsert), 3);
    assert_eq!(db.run("UPDATE t SET v = v || '!' WHERE id >= 3"), 4);
    assert_eq!(db.run("UPDATE t SET id = id + 10 WHERE id IN (2, 6)"), 2);
    assert_eq!(db.run("DELETE FROM t WHERE v = 'five!'"), 1);
    assert_eq!(db.run("DELETE FROM t WHERE id = 5"), 0);
    assert_eq!(db.run("INSERT INTO t VALUES (5, 'new')"), 1);
    let rows = "1 onea\n3 three!\n4 fourb!\n5 new\n12 two\n16 c!";
    assert_eq!(db.rows(ALL), rows);
    db.run("COMMIT");
    assert_eq!(db.other().rows(ALL), rows);
}

#[test]
fn a_statement_never_meets_its_own_rows() {
    let mut db = with_table();
    db.run("BEGIN");
    for rows in [2, 4, 8, 16] {
        assert_eq!(db.run("INSERT INTO t SELECT id + (SELECT max(id) FROM t), v FROM t"), rows);
    }
    assert_eq!(db.rows("SELECT count(*), max(id) FROM t"), "32 32");
    assert_eq!(db.run("UPDATE t SET id = id + 1"), 32);
    assert_eq!(db.rows("SELECT count(*), min(id), max(id) FROM t"), "32 2 33");
    db.run("ROLLBACK");
    assert_eq!(db.rows("SELECT count(*), max(id) FROM t"), "2 2");
}

#[test]
fn rows_being_read_stay_while_the_transaction_writes_and_ends() {
    let mut db = with_table();
    db.run("BEGIN; INSERT INTO t SELECT value, 'x' FROM generate_series(3, 20000)");
    let open = |db: &mut Db| db.session.execute_one("SELECT id FROM t", &Params::none()).unwrap();
    let (first, second) = (open(&mut db), open(&mut db));
    db.run("DELETE FROM t WHERE id > 10");
    assert_eq!(lines(first).unwrap().len(), 20_000);
    assert_eq!(db.rows("SELECT count(*) FROM t"), "10");
    db.run("ROLLBACK");
    assert_eq!(lines(second).unwrap().len(), 20_000);
    assert_eq!(db.rows("SELECT count(*) FROM t"), "2");
}

#[test]
fn a_transaction_that_only_reads_refuses_writes_by_name() {
    let mut db = with_table();
    let mut other = db.other();
    db.run("BEGIN READ ONLY");
    other.run("INSERT INTO t VALUES (3, 'three')");
    for (sql, name) in [
        ("INSERT INTO t VALUES (9, 'x')", "INSERT"),
        ("INSERT INTO t SELECT id + 10, v FROM t", "INSERT"),
        ("UPDATE t SET v = 'x' WHERE id = 1", "UPDATE"),
        ("DELETE FROM t", "DELETE"),
        ("CREATE TABLE u (a INT)", "CREATE TABLE"),
        ("CREATE TABLE u AS SELECT * FROM t", "CREATE TABLE"),
        ("DROP TABLE t", "DROP TABLE"),
        ("TRUNCATE t", "TRUNCATE"),
        ("CREATE SCHEMA s", "CREATE SCHEMA"),
    ] {
        for _ in 0..3 {
            let message = format!("{name} is refused: the transaction is read only");
            refused(&mut db, sql, &message, "25006");
        }
    }
    let table = db.session.table("t").unwrap();
    let key = [ScalarValue::Int64(Some(1))];
    assert!(table.delete(&key).unwrap_err().message().ends_with("the transaction is read only"));
    assert!(table.get(&key).unwrap().is_some());
    assert_eq!(db.rows(ALL), "1 one\n2 two");
    db.run("COMMIT");
    assert_eq!(db.rows(ALL), "1 one\n2 two\n3 three");
}

#[test]
fn a_lost_transaction_is_over_and_may_be_run_again() {
    let mut db = with_table();
    let mut other = db.other();
    let increment = "UPDATE t SET v = v || '+' WHERE id = 1";
    db.run("BEGIN; INSERT INTO t VALUES (7, 'seven')");
    db.run(increment);
    other.run(increment);
    let error = db.session.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        error.message(),
        "the row with key (id) = (1) in table t was written by another commit"
    );
    assert_eq!(db.rows(ALL), "1 one+\n2 two");
    db.session.begin(false).unwrap();
    db.run("INSERT INTO t VALUES (7, 'seven')");
    db.run(increment);
    db.session.commit().unwrap();
    assert_eq!(other.rows(ALL), "1 one++\n2 two\n7 seven");
}

#[test]
fn a_key_that_another_inserted_meanwhile_is_a_conflict() {
    let mut db = with_table();
    let mut other = db.other();
    db.run("BEGIN; INSERT INTO t VALUES (3, 'ours')");
    other.run("INSERT INTO t VALUES (3, 'theirs')");
    assert_eq!(db.error("COMMIT").kind(), ErrorKind::Conflict);
    // Blind writes are no exception.
    db.run("BEGIN; INSERT OR REPLACE INTO t VALUES (3, 'ours')");
    other.run("INSERT OR REPLACE INTO t VALUES (3, 'theirs again')");
    assert_eq!(db.error("COMMIT").kind(), ErrorKind::Conflict);
    assert_eq!(db.rows("SELECT v FROM t WHERE id = 3"), "theirs again");
}

#[test]
fn tables_made_and_dropped_inside_are_seen_inside_alone() {
    let mut db = with_table();
    let mut other = db.other();
    for end in ["ROLLBACK", "COMMIT"] {
        db.run("BEGIN; CREATE SCHEMA s; CREATE TABLE s.u (a INT PRIMARY KEY, b TEXT)");
        db.run("INSERT INTO s.u VALUES (1, 'x'), (2, 'y')");
        db.run("CREATE TABLE c AS SELECT id, v FROM t WHERE id = 2");
        db.run("CREATE TABLE log (line TEXT); INSERT INTO log VALUES ('a'), ('b')");
        db.run("DROP TABLE t; CREATE TABLE t (z TEXT PRIMARY KEY); INSERT INTO t VALUES ('new')");
        assert_eq!(db.rows("SHOW TABLES"), "main c\nmain log\nmain t\ns u");
        let one_and_all = "SELECT * FROM s.u WHERE a = 1";
        assert_eq!((db.rows(one_and_all), db.rows(one_and_all)), ("1 x".into(), "1 x".into()));
        assert_eq!(db.rows("SELECT * FROM s.u JOIN c ON a = id - 1"), "1 x 2 two");
        assert_eq!(db.rows("SELECT * FROM t"), "new");
        assert_eq!(db.rows("SELECT count(*) FROM log"), "2");
        assert_eq!(
            db.rows("SELECT count(*) FROM information_schema.tables WHERE table_schema = 's'"),
            "1"
        );
        assert_eq!(other.rows("SHOW TABLES"), "main t");
        assert_eq!(other.rows("SELECT * FROM t"), "1 one\n2 two");
        db.run(end);
        assert_eq!(db.rows("SHOW TABLES"), other.rows("SHOW TABLES"), "{end}");
        assert_eq!(db.rows("SELECT * FROM t"), other.rows("SELECT * FROM t"), "{end}");
    }
    assert_eq!(other.rows("SHOW TABLES"), "main c\nmain log\nmain t\ns u");
    assert_eq!(other.rows("SELECT * FROM t"), "new");
    assert_eq!(other.rows("SELECT * FROM s.u"), "1 x\n2 y");
    db.run("INSERT INTO log VALUES ('c'); BEGIN; TRUNCATE log; INSERT INTO log VALUES ('d')");
    assert_eq!(
        (db.rows("SELECT * FROM log"), other.rows("SELECT count(*) FROM log")),
        ("d".into(), "3".into())
    );
    db.run("COMMIT; INSERT INTO log VALUES ('e')");
    assert_eq!(other.rows("SELECT * FROM log"), "d\ne");
}

#[test]
fn trees_of_a_transaction_that_is_rolled_back_go() {
    let mut db = with_table();
    let trees = |db: &Db| db.session.shared().engine().trees().len();
    let before = trees(&db);
    let idle = |db: &Db| db.session.shared().engine().run_until_idle().unwrap();
    db.run("BEGIN; CREATE TABLE u AS SELECT value FROM generate_series(1, 1000); TRUNCATE t");
    db.run("CREATE TABLE v (a INT); DROP TABLE v");
    assert_eq!(trees(&db), before + 3);
    db.run("ROLLBACK");
    idle(&db);
    assert_eq!(trees(&db), before);
    // Those that a commit leaves without a table go as well.
    db.run("BEGIN; CREATE TABLE v (a INT); DROP TABLE v; TRUNCATE t; COMMIT");
    idle(&db);
    assert_eq!(trees(&db), before);
    // A statement that fails leaves none behind at the transaction's end.
    db.run("BEGIN");
    db.error("CREATE TABLE k (id BIGINT PRIMARY KEY) AS SELECT 1 UNION ALL SELECT 1");
    db.run("COMMIT");
    idle(&db);
    assert_eq!(trees(&db), before);
    assert_eq!(db.rows("SHOW TABLES"), "main t");
}

#[test]
fn two_transactions_that_change_the_catalog_conflict() {
    let mut db = with_table();
    let mut other = db.other();
    db.run("BEGIN; CREATE TABLE a (x INT)");
    other.run("CREATE TABLE b (x INT)");
    assert_eq!(db.rows("SHOW TABLES"), "main a\nmain t");
    let error = db.error("COMMIT");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.message(), "another commit changed the catalog since the transaction began");
    assert_eq!(db.rows("SHOW TABLES"), "main b\nmain t");
    // Also where the other one was a transaction, and where no name is the same.
    db.run("BEGIN; CREATE TABLE a (x INT)");
    other.run("BEGIN; DROP TABLE b; COMMIT");
    assert_eq!(db.error("COMMIT").kind(), ErrorKind::Conflict);
    db.run("BEGIN; CREATE TABLE a (x INT); COMMIT");
    assert_eq!(db.rows("SHOW TABLES"), "main a\nmain t");
}

#[test]
fn a_table_dropped_meanwhile_is_a_conflict_for_who_wrote_to_it() {
    let mut db = with_table();
    let mut other = db.other();
    db.run("BEGIN; INSERT INTO t VALUES (3, 'three')");
    other.run("DROP TABLE t");
    assert_eq!(db.rows(ALL), "1 one\n2 two\n3 three");
    assert_eq!(db.error("COMMIT").kind(), ErrorKind::Conflict);
    assert_eq!(db.rows("SHOW TABLES"), "");
    // Who read it alone commits.
    other.run("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'x')");
    db.run("BEGIN");
    assert_eq!(db.rows(ALL), "1 x");
    other.run("TRUNCATE t");
    assert_eq!(db.rows(ALL), "1 x");
    db.run("COMMIT");
    assert_eq!(db.rows(ALL), "");
}

#[test]
fn rows_added_meanwhile_are_not_dropped_unseen() {
    let mut db = with_table();
    let mut other = db.other();
    for drop in ["TRUNCATE t", "DROP TABLE t"] {
        db.run("BEGIN");
        db.run(drop);
        other.run("INSERT OR REPLACE INTO t VALUES (3, 'three')");
        assert_eq!(db.error("COMMIT").kind(), ErrorKind::Conflict, "{drop}");
        assert_eq!(db.rows("SELECT count(*) FROM t"), "3");
    }
}

#[test]
fn loads_of_many_rows_commit_with_single_ones() {
    let mut db = db_with(silt_storage::Options { memtable_bytes: 64 << 10, ..Default::default() });
    db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT); INSERT INTO t VALUES (0, 'zero')");
    let mut other = db.other();
    let many = "SELECT value, 'value ' || value FROM generate_series(1, 20000)";
    for (end, rows) in [("ROLLBACK", "1"), ("COMMIT", "25001")] {
        db.run("BEGIN; UPDATE t SET v = 'nought' WHERE id = 0; INSERT INTO t VALUES (10, 'mine')");
        let error = db.error(&format!("INSERT INTO t {many}"));
        assert_eq!(error.message(), "duplicate key (id) = (10) in table t");
        assert_eq!(db.rows("SELECT count(*) FROM t"), "2");
        assert_eq!(db.run("DELETE FROM t WHERE id = 10"), 1);
        assert_eq!(db.run(&format!("INSERT INTO t {many}")), 20_000);
        assert_eq!(db.run("DELETE FROM t WHERE id = 7"), 1);
        assert_eq!(db.run("INSERT INTO t VALUES (7, 'seven')"), 1);
        let ids: Int64Array = (20_001..=25_000).collect::<Vec<_>>().into();
        let texts: StringArray = (0..5_000).map(|_| Some("loaded")).collect();
        let batch =
            RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("v", Arc::new(texts) as _)]);
        let batch = batch.unwrap();
        let target = IngestTarget { table: "t".to_owned(), ..IngestTarget::default() };
        let loaded =
            db.session.ingest(batch.schema(), &mut [Ok(batch)].into_iter(), &target).unwrap();
        assert_eq!(loaded.written, 5_000);
        assert_eq!(db.run("CREATE TABLE u AS SELECT * FROM t"), 25_001);
        assert_eq!(db.rows("SELECT count(*), min(id), max(id) FROM t"), "25001 0 25000");
        assert_eq!(
            db.rows("SELECT v FROM t WHERE id IN (0, 7, 8, 25000)"),
            "loaded\nnought\nseven\nvalue 8"
        );
        assert_eq!(other.rows("SELECT count(*) FROM t"), "1");
        db.run(end);
        assert_eq!(other.rows("SELECT count(*) FROM t"), rows);
    }
    assert_eq!(
        other.rows("SELECT v FROM t WHERE id IN (0, 7, 8, 25000)"),
        "loaded\nnought\nseven\nvalue 8"
    );
    assert_eq!(other.rows("SELECT count(*) FROM u"), "25001");
}

#[test]
fn appenders_and_tables_belong_to_the_transaction() {
    let mut db = with_table();
    let mut other = db.other();
    let row = |id: i64, v: &str| vec![ScalarValue::from(id), ScalarValue::from(v)];
    let table = db.session.table("t").unwrap();
    let mut before = db.session.appender("t", AppendMode::Upsert).unwrap();
    db.run("BEGIN");
    let mut inside = db.session.appender("t", AppendMode::Insert).unwrap();
    inside.append_row(row(3, "three")).unwrap();
    assert_eq!(inside.flush().unwrap(), 1);
    before.append_row(row(1, "uno")).unwrap();
    assert_eq!(before.flush().unwrap(), 1);
    table.upsert(&row(4, "four")).unwrap();
    table.delete(&row(2, "")[..1]).unwrap();
    let key = |id: i64| [ScalarValue::from(id)];
    assert!(table.get(&key(2)).unwrap().is_none());
    let found = table.get(&key(3)).unwrap().unwrap();
    assert_eq!(found.value(1).unwrap().to_string(), "three");
    let keys = [key(1), key(2), key(4)];
    let (_, places) = table.get_many(keys.iter().map(|key| &key[..])).unwrap();
    assert_eq!(places, [Some(0), None, Some(1)]);
    let scanned: usize = table.scan(&[]).unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(scanned, 3);
    assert_eq!(other.rows(ALL), "1 one\n2 two");
    inside.append_row(row(5, "five")).unwrap();
    db.run("COMMIT");
    assert_eq!(other.rows(ALL), "1 uno\n3 three\n4 four");
    // What was not flushed belonged to the transaction.
    assert_eq!(
        inside.flush().unwrap_err().message(),
        "the transaction that this appender to table t was opened in is over"
    );
    table.upsert(&row(6, "six")).unwrap();
    before.append_row(row(7, "seven")).unwrap();
    before.flush().unwrap();
    assert_eq!(other.rows(ALL), "1 uno\n3 three\n4 four\n6 six\n7 seven");
}

#[test]
fn prepared_statements_join_the_transaction_and_may_open_it() {
    let mut db = with_table();
    let none = Params::none();
    let count = db.session.prepare("SELECT count(*), max(v) FROM t").unwrap();
    let insert = db.session.prepare("INSERT INTO t VALUES (?, ?)").unwrap();
    let ends = ["BEGIN", "ROLLBACK", "COMMIT"].map(|sql| db.session.prepare(sql).unwrap());
    let shown = |prepared: &silt_sql::Prepared| lines(prepared.execute(&none).unwrap()).unwrap();
    let row = |id: i64| Params::positional(vec![id.into(), "x".into()]);
    for (end, rows) in [(1, "2 two"), (2, "5 x")] {
        assert_eq!(shown(&count), ["2 two"]);
        drop(ends[0].execute(&none).unwrap());
        assert!(db.session.is_in_transaction());
        drop(insert.execute(&row(3)).unwrap());
        assert_eq!(insert.execute_many(&[row(4), row(5)]).unwrap(), 2);
        assert_eq!(insert.execute(&row(4)).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(shown(&count), ["5 x"]);
        drop(ends[end].execute(&none).unwrap());
        assert_eq!(shown(&count), [rows]);
        assert_eq!(db.other().rows("SELECT count(*), max(v) FROM t"), rows);
    }
    // Without their session they are outside of any transaction, and open none.
    db.run("BEGIN; DELETE FROM t");
    drop(db);
    assert_eq!(shown(&count), ["5 x"]);
    assert!(ends[0].execute(&none).unwrap_err().message().contains("closed"));
}

#[test]
fn statements_by_key_take_turns_within_a_transaction() {
    const THREADS: i64 = 4;
    const TIMES: i64 = 50;
    let mut db = with_table();
    db.run("CREATE TABLE n (id INT PRIMARY KEY, n BIGINT); INSERT INTO n VALUES (1, 0); BEGIN");
    let add = db.session.prepare("UPDATE n SET n = n + 1 WHERE id = 1").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..TIMES {
                    drop(add.execute(&Params::none()).unwrap());
                }
            });
        }
    });
    assert_eq!(db.rows("SELECT n FROM n"), (THREADS * TIMES).to_string());
    db.run("COMMIT");
    assert_eq!(db.other().rows("SELECT n FROM n"), (THREADS * TIMES).to_string());
}

#[test]
fn kept_plans_and_ended_transactions_hold_no_moment() {
    let mut db = with_table();
    let described = |db: &Db| db.session.shared().engine().describe();
    let select = db.session.prepare("SELECT v, count(*) FROM t GROUP BY v").unwrap();
    let names = db
        .session
        .prepare("SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'")
        .unwrap();
    let run = |prepared: &silt_sql::Prepared| {
        lines(prepared.execute(&Params::none()).unwrap()).unwrap().len()
    };
    assert_eq!((run(&select), run(&names)), (2, 1));
    assert_eq!(described(&db).snapshots, 0);
    db.run("BEGIN; INSERT INTO t VALUES (3, 'three'); CREATE TABLE u (a INT)");
    let inside = db.session.prepare("SELECT max(v) FROM t WHERE id > 1").unwrap();
    assert_eq!((run(&select), run(&names), run(&inside)), (3, 2, 1));
    let during = described(&db);
    assert_eq!(during.transactions.len(), 1);
    for sql in [ALL, "SELECT count(*) FROM t", "SELECT v FROM t WHERE id = 3"] {
        for _ in 0..3 {
            db.rows(sql);
        }
    }
    db.run("ROLLBACK");
    let after = described(&db);
    assert_eq!((after.snapshots, after.transactions.len()), (0, 0));
    assert_eq!((run(&select), run(&names), run(&inside)), (2, 1, 1));
    db.run("BEGIN");
    drop(db.session.prepare("DELETE FROM t").unwrap().execute(&Params::none()).unwrap());
    let shared = Arc::clone(db.session.shared());
    drop(db);
    assert_eq!(shared.engine().describe().transactions.len(), 0);
    assert_eq!((run(&select), run(&names)), (2, 1));
}

#[test]
fn a_transaction_with_a_fault_takes_no_statement_but_its_end() {
    let mut db = with_table();
    let lose = |db: &mut Db| {
        db.run("BEGIN; INSERT INTO t VALUES (8, 'eight')");
        let ids: Int64Array = vec![9].into();
        let batch = RecordBatch::try_from_iter([("id", Arc::new(ids) as _)]).unwrap();
        let mut batches = (0..2).map(|number| {
            assert_eq!(number, 0, "a fault of its own");
            Ok(batch.clone())
        });
        let target = IngestTarget { table: "t".to_owned(), ..IngestTarget::default() };
        let error = db.session.ingest(batch.schema(), &mut batches, &target).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    };
    for end in ["ROLLBACK", "ABORT", "ROLLBACK", "ROLLBACK"] {
        lose(&mut db);
        for sql in [ALL, "INSERT INTO t VALUES (9, 'x')", "CREATE TABLE u (a INT)"] {
            let error = db.error(sql);
            assert_eq!(error.kind(), ErrorKind::Internal, "{sql}: {error}");
            assert!(error.message().starts_with("the transaction is rolled back: "), "{error}");
        }
        assert!(db.session.is_in_transaction());
        db.run(end);
        assert_eq!(db.rows(ALL), "1 one\n2 two");
    }
    for _ in 0..3 {
        lose(&mut db);
        assert_eq!(db.error("COMMIT").kind(), ErrorKind::Internal);
        assert!(!db.session.is_in_transaction());
    }
}

#[test]
fn tables_of_a_transaction_that_is_rolled_back_lend_their_handles_to_no_other() {
    let mut db = db();
    let row = [ScalarValue::from(1_i64)];
    db.run("BEGIN; CREATE TABLE a (id BIGINT PRIMARY KEY)");
    let table = db.session.table("a").unwrap();
    table.upsert(&row).unwrap();
    db.run("ROLLBACK; CREATE TABLE b (id BIGINT PRIMARY KEY)");
    assert_eq!(table.upsert(&row).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(db.rows("SELECT count(*) FROM b"), "0");
}

#[test]
fn users_are_changed_within_transactions_too() {
    let mut db = db();
    db.run("BEGIN; CREATE USER ann PASSWORD 'correct horse' ROLE admin");
    assert_eq!(db.session.shared().catalog().current().users().count(), 0);
    db.run("ROLLBACK");
    assert_eq!(db.session.shared().catalog().current().users().count(), 0);
}

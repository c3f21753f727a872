//! INSERT in all its forms.

use silt_sql::{AppendMode, ErrorKind, Params, Session, Shared, SqlOptions, WriteOptions};

use super::harness::{Db, db};

#[test]
fn values_come_back_as_they_went_in() {
    let mut db = db();
    db.run(
        "CREATE TABLE t (a BOOLEAN, b TINYINT, c SMALLINT, d INTEGER, e BIGINT, f REAL, g DOUBLE,
         h DECIMAL(20,4), i TEXT, j BLOB, k DATE, l TIME, m TIMESTAMP, n TIMESTAMPTZ, o UBIGINT,
         PRIMARY KEY (e, i))",
    );
    let insert =
        "INSERT INTO t VALUES (true, -128, 32767, -2147483648, 9223372036854775807, 1.5, 0.1,
         12345678901234.5678, 'a''b', X'00ff', DATE '2026-11-20', TIME '12:34:56.789',
         TIMESTAMP '2026-11-20 12:34:56.789', TIMESTAMPTZ '2026-11-20 12:34:56+02:00',
         18446744073709551615)";
    assert_eq!(db.run(insert), 1);
    assert_eq!(
        db.rows("SELECT * FROM t"),
        "true -128 32767 -2147483648 9223372036854775807 1.5 0.1 12345678901234.5678 a'b 00ff \
         2026-11-20 12:34:56.789 2026-11-20T12:34:56.789 2026-11-20T10:34:56Z 18446744073709551615"
    );
}

#[test]
fn numbers_of_every_spelling_stand_in_one_values() {
    for point_statements in [true, false] {
        let options = SqlOptions { point_statements, ..SqlOptions::default() };
        let storage = silt_storage::Options::default();
        let mut db = Db { session: Session::new(Shared::in_memory(storage, options).unwrap()) };
        db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, p DECIMAL(20,2), d DOUBLE)");
        for (first, rows) in [
            (10, "(10, 5.5, 1), (11, 1, 2.5), (12, NULL, NULL), (13, -7, -0.5)"),
            (20, "(20, 1, 2.5), (21, 5.5, 1), (22, '3.25', '4'), (23, 1 + 1, 2)"),
            (30, "(30, 123456789012345678, 1), (31, 2, 1), (32, 0.01, 1e2), (33, 4, 3)"),
        ] {
            assert_eq!(db.run(&format!("INSERT INTO t VALUES {rows}")), 4, "from {first}");
        }
        assert_eq!(
            db.rows("SELECT * FROM t"),
            "10 5.50 1.0\n11 1.00 2.5\n12 NULL NULL\n13 -7.00 -0.5\n\
             20 1.00 2.5\n21 5.50 1.0\n22 3.25 4.0\n23 2.00 2.0\n\
             30 123456789012345678.00 1.0\n31 2.00 1.0\n32 0.01 100.0\n33 4.00 3.0"
        );
    }
}

#[test]
fn columns_that_are_not_named_take_their_default_or_null() {
    let mut db = db();
    db.run("CREATE TABLE t (a INT PRIMARY KEY, b TEXT DEFAULT 'x' || 'y', c INT, d DOUBLE DEFAULT 1.5)");
    assert_eq!(db.run("INSERT INTO t (c, a) VALUES (7, 1), (DEFAULT, 2)"), 2);
    assert_eq!(db.run("INSERT INTO t VALUES (3, DEFAULT, 1, DEFAULT)"), 1);
    assert_eq!(db.rows("SELECT * FROM t"), "1 xy 7 1.5\n2 xy NULL 1.5\n3 xy 1 1.5");
    db.run("CREATE TABLE d (a INT DEFAULT 5, b TEXT)");
    assert_eq!(db.run("INSERT INTO d DEFAULT VALUES"), 1);
    assert_eq!(db.rows("SELECT * FROM d"), "5 NULL");
}

#[test]
fn a_query_may_be_the_source_even_of_its_own_table() {
    let mut db = db();
    db.run("CREATE TABLE t (a INT PRIMARY KEY, b INT)");
    db.run("INSERT INTO t SELECT value, value * 10 FROM generate_series(1, 3)");
    assert_eq!(db.run("INSERT INTO t SELECT a + 3, b FROM t"), 3);
    assert_eq!(db.run("WITH x AS (SELECT 100 AS n) INSERT INTO t SELECT n, n FROM x"), 1);
    assert_eq!(db.run("INSERT INTO t (b, a) SELECT 1, 1000"), 1);
    assert_eq!(db.rows("SELECT sum(a), sum(b), count(*) FROM t"), "1121 221 8");
    assert_eq!(db.run("INSERT INTO t SELECT 5000, 5000"), 1);
    assert_eq!(db.run("INSERT INTO t SELECT a, a FROM t WHERE false"), 0);
}

#[test]
fn a_duplicate_key_is_named_with_its_table_and_nothing_is_kept() {
    let mut db = db();
    db.run(
        "CREATE TABLE events (agent_id BIGINT, seq INT, note TEXT, PRIMARY KEY (agent_id, seq))",
    );
    db.run("INSERT INTO events VALUES (7, 12, 'first')");
    for sql in [
        "INSERT INTO events VALUES (1, 1, 'x'), (7, 12, 'again')",
        "INSERT INTO events VALUES (7, 12, NULL)",
        "INSERT INTO events SELECT agent_id, seq, 'copy' FROM events",
    ] {
        let error = db.error(sql);
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(error.message(), "duplicate key (agent_id, seq) = (7, 12) in table events");
        assert_eq!(error.sqlstate(), "23505");
    }
    let error = db.error("INSERT INTO events VALUES (9, 9, 'a'), (9, 9, 'b')");
    assert_eq!(error.message(), "duplicate key (agent_id, seq) = (9, 9) in table events");
    assert_eq!(db.rows("SELECT * FROM events"), "7 12 first");
}

#[test]
fn or_ignore_keeps_old_rows_and_or_replace_takes_new_ones() {
    let mut db = db();
    db.run("CREATE TABLE t (k TEXT PRIMARY KEY, v INT)");
    db.run("INSERT INTO t VALUES ('a', 1), ('b', 2)");
    assert_eq!(db.run("INSERT OR IGNORE INTO t VALUES ('a', 10), ('c', 3), ('c', 4)"), 1);
    assert_eq!(db.run("INSERT INTO t VALUES ('a', 10), ('d', 5) ON CONFLICT DO NOTHING"), 1);
    assert_eq!(db.run("INSERT INTO t VALUES ('a', 11) ON CONFLICT (k) DO NOTHING"), 0);
    assert_eq!(db.rows("SELECT * FROM t"), "a 1\nb 2\nc 3\nd 5");
    assert_eq!(db.run("INSERT OR REPLACE INTO t VALUES ('a', 20), ('e', 6), ('e', 7)"), 3);
    assert_eq!(db.run("REPLACE INTO t VALUES ('b', 21)"), 1);
    assert_eq!(db.rows("SELECT * FROM t"), "a 20\nb 21\nc 3\nd 5\ne 7");
}

#[test]
fn do_update_sees_the_old_row_and_the_new_one() {
    let mut db = db();
    db.run("CREATE TABLE t (k INT PRIMARY KEY, v INT, note TEXT DEFAULT 'none')");
    db.run("INSERT INTO t VALUES (1, 10, 'old'), (2, 20, 'old')");
    let upsert = "INSERT INTO t (k, v) VALUES (1, 5), (3, 7)
                  ON CONFLICT (k) DO UPDATE SET v = t.v + excluded.v, note = excluded.note || '!'";
    assert_eq!(db.run(upsert), 2);
    assert_eq!(db.rows("SELECT * FROM t"), "1 15 none!\n2 20 old\n3 7 none");
    let conditional = "INSERT INTO t (k, v) VALUES (1, 100), (2, 1)
                       ON CONFLICT (k) DO UPDATE SET v = excluded.v WHERE excluded.v > t.v";
    assert_eq!(db.run(conditional), 1);
    assert_eq!(db.rows("SELECT * FROM t"), "1 100 none!\n2 20 old\n3 7 none");
    // A bare column is the old row's.
    db.run("INSERT INTO t (k, v) VALUES (2, 0) ON CONFLICT (k) DO UPDATE SET v = v * 2");
    assert_eq!(db.rows("SELECT v FROM t WHERE k = 2"), "40");
}

#[test]
fn do_update_of_the_whole_row_is_a_replacement() {
    let mut db = db();
    db.run("CREATE TABLE t (k INT PRIMARY KEY, v INT, w INT)");
    db.run("INSERT INTO t VALUES (1, 1, 1)");
    let upsert = "INSERT INTO t VALUES (1, 2, 3), (2, 2, 2)
                  ON CONFLICT (k) DO UPDATE SET v = excluded.v, w = excluded.w";
    assert_eq!(db.run(upsert), 2);
    assert_eq!(db.rows("SELECT * FROM t"), "1 2 3\n2 2 2");
}

#[test]
fn do_update_meets_a_row_once() {
    let mut db = db();
    db.run("CREATE TABLE t (k INT PRIMARY KEY, v INT, w INT)");
    let error = db.error(
        "INSERT INTO t VALUES (1, 1, 1), (1, 2, 2) ON CONFLICT (k) DO UPDATE SET v = excluded.v",
    );
    assert_eq!(
        error.message(),
        "ON CONFLICT DO UPDATE meets the row with key (k) = (1) in table t twice"
    );
    let error = db.error("INSERT INTO t VALUES (1, 1, 1) ON CONFLICT (v) DO NOTHING");
    assert_eq!(error.message(), "ON CONFLICT (v) is not the primary key of table t");
    let error = db.error("INSERT INTO t VALUES (1, 1, 1) ON CONFLICT (k) DO UPDATE SET k = 2");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn null_and_misfits_are_refused_by_name() {
    let mut db = db();
    db.run("CREATE TABLE t (k INT PRIMARY KEY, small TINYINT, word VARCHAR(3) NOT NULL)");
    for (sql, message) in [
        ("INSERT INTO t VALUES (NULL, 1, 'a')", "column \"k\" of table t may not be NULL"),
        ("INSERT INTO t (k) VALUES (1)", "column \"word\" of table t may not be NULL"),
        (
            "INSERT INTO t VALUES (1, 300, 'a')",
            "value 300 does not fit column \"small\" of type TINYINT in table t",
        ),
        (
            "INSERT INTO t VALUES (1, 1, 'abcd')",
            "value 'abcd' does not fit column \"word\" of type VARCHAR(3) in table t",
        ),
        (
            "INSERT INTO t VALUES (99999999999, 1, 'a')",
            "value 99999999999 does not fit column \"k\" of type INTEGER in table t",
        ),
        (
            "INSERT INTO t VALUES (1, 1, 'a'), (2, 'x', 'b')",
            "value 'x' does not fit column \"small\" of type TINYINT in table t",
        ),
        ("INSERT INTO t VALUES (1, 1)", "INSERT names 3 columns but gives 2 values"),
        ("INSERT INTO t (k, k) VALUES (1, 1)", "column \"k\" is named twice"),
    ] {
        let error = db.error(sql);
        assert_eq!((error.message(), error.kind()), (message, ErrorKind::Invalid), "{sql}");
    }
    assert_eq!(db.rows("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_table_without_a_key_takes_equal_rows() {
    let mut db = db();
    db.run("CREATE TABLE log (line TEXT)");
    db.run("INSERT INTO log VALUES ('a'), ('a'); INSERT INTO log SELECT line FROM log");
    assert_eq!(db.rows("SELECT * FROM log"), "a\na\na\na");
    assert_eq!(db.rows("SELECT count(*) FROM log"), "4");
    assert_eq!(db.run("DELETE FROM log WHERE line = 'b'"), 0);
    assert_eq!(db.run("UPDATE log SET line = 'b'"), 4);
    assert_eq!(db.rows("SELECT DISTINCT line FROM log"), "b");
    assert_eq!(db.run("DELETE FROM log"), 4);
    assert_eq!(db.rows("SELECT * FROM log"), "");
}

#[test]
fn parameters_of_every_spelling_are_values() {
    let mut db = db();
    db.run("CREATE TABLE t (a INT PRIMARY KEY, b TEXT)");
    let params = Params::positional(vec![1_i64.into(), "x".into()]);
    let session = &mut db.session;
    session.execute_sql("INSERT INTO t VALUES (?, ?)", &params).unwrap();
    session.execute_sql("INSERT INTO t VALUES ($1 + 1, $2 || 'y')", &params).unwrap();
    let named = Params::none().with_named("a", 3_i64.into()).with_named(":b", "z".into());
    session.execute_sql("INSERT INTO t VALUES (:a, :b)", &named).unwrap();
    assert_eq!(db.rows("SELECT * FROM t"), "1 x\n2 xy\n3 z");
    assert_eq!(db.rows_with("SELECT a FROM t WHERE b = $2 OR a = $1 + 1", &params), "1\n2");
    let missing = db.session.execute_sql("SELECT ?, ?, ?", &params).unwrap_err();
    assert_eq!(missing.message(), "parameter $3 has no value: 2 were given");
    let extra = db.session.execute_sql("SELECT ?", &params).unwrap_err();
    assert_eq!(
        extra.message(),
        "the statement has 1 parameters by position, but 2 values were given"
    );
}

#[test]
fn an_appender_writes_rows_and_batches() {
    let mut db = db();
    db.run("CREATE TABLE t (a INT PRIMARY KEY, b TEXT DEFAULT 'none')");
    let mut appender = db.session.appender("t", AppendMode::Insert).unwrap();
    appender.append_row(vec![1_i32.into(), "x".into()]).unwrap();
    appender.append_row(vec![2_i64.into(), datafusion::scalar::ScalarValue::Null]).unwrap();
    assert_eq!(appender.flush().unwrap(), 2);
    appender.append_row(vec![1_i32.into(), "again".into()]).unwrap();
    assert_eq!(appender.flush().unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(appender.finish().unwrap(), 0);
    let mut upserts = db.session.appender("main.t", AppendMode::Upsert).unwrap();
    upserts.append_row(vec![1_i32.into(), "new".into()]).unwrap();
    assert_eq!(upserts.finish().unwrap(), 1);
    assert_eq!(db.rows("SELECT * FROM t"), "1 new\n2 NULL");
}

#[test]
fn rows_are_the_same_whichever_way_they_are_written() {
    let written = |writes: WriteOptions| {
        let storage = silt_storage::Options { memtable_bytes: 64 << 10, ..Default::default() };
        let options = SqlOptions { writes, ..SqlOptions::default() };
        let mut db = Db { session: Session::new(Shared::in_memory(storage, options).unwrap()) };
        db.run("CREATE TABLE t (a BIGINT, b BIGINT, c TEXT, PRIMARY KEY (a, b))");
        let rows = "SELECT value % 50, value, 'text ' || value FROM generate_series(1, 8000)";
        assert_eq!(db.run(&format!("INSERT INTO t {rows}")), 8_000);
        let again = db.error(&format!("INSERT INTO t {rows}")).kind();
        let upserted = "SELECT value % 50, value, 'new ' || value FROM generate_series(7900, 8100)";
        let set = "ON CONFLICT (a, b) DO UPDATE SET c = excluded.c";
        assert_eq!(db.run(&format!("INSERT INTO t {upserted} {set}")), 201);
        let values = format!("INSERT INTO t VALUES (1, 1, 'x'), (1, -1, 'y') {set}");
        assert_eq!(db.run(&values), 2);
        let added = "ON CONFLICT (a, b) DO UPDATE SET c = t.c || excluded.c";
        assert_eq!(db.run(&format!("INSERT INTO t VALUES (1, 1, 'z'), (1, 0, 'z') {added}")), 2);
        (again, db.rows("SELECT * FROM t ORDER BY a, b"))
    };
    let every_way = written(WriteOptions::default());
    assert_eq!(every_way.0, ErrorKind::AlreadyExists);
    assert!(every_way.1.contains("1 -1 y\n1 0 z\n1 1 xz\n"), "{}", &every_way.1[..200]);
    for (bulk_loads, blind_upserts) in [(true, false), (false, true), (false, false)] {
        assert_eq!(written(WriteOptions { bulk_loads, blind_upserts }), every_way);
    }
}

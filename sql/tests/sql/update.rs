//! UPDATE: rewritten into a query, so that every predicate holds and no row is met twice.

use silt_sql::ErrorKind;

use super::harness::{Db, db};

fn table() -> Db {
    let mut db = db();
    db.run(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT); CREATE TABLE s (id INT PRIMARY KEY, w INT)",
    );
    db.run("INSERT INTO t VALUES (1, 10), (2, 20), (3, NULL), (4, 40)");
    db.run("INSERT INTO s VALUES (2, 200), (3, 300)");
    db
}

#[test]
fn predicates_choose_the_rows() {
    for (predicate, changed) in [
        ("WHERE id IN (SELECT id FROM s)", "2 3"),
        ("WHERE id NOT IN (SELECT id FROM s)", "1 4"),
        ("WHERE id IN (1, 3)", "1 3"),
        ("WHERE EXISTS (SELECT 1 FROM s WHERE s.id = t.id)", "2 3"),
        ("WHERE NOT EXISTS (SELECT 1 FROM s WHERE s.id = t.id)", "1 4"),
        ("WHERE false", ""),
        ("WHERE 1 = 0", ""),
        ("WHERE NULL", ""),
        ("WHERE v = NULL", ""),
        ("WHERE v IS NULL", "3"),
        ("WHERE v = (SELECT max(v) FROM t)", "4"),
        ("WHERE id = (SELECT id FROM s WHERE id = 99)", ""),
        ("", "1 2 3 4"),
    ] {
        let mut db = table();
        let count = db.run(&format!("UPDATE t SET v = -1 {predicate}"));
        let rows = db.rows("SELECT id FROM t WHERE v = -1 ORDER BY id").replace('\n', " ");
        assert_eq!(rows, changed, "UPDATE {predicate}");
        let expected = if changed.is_empty() { 0 } else { changed.split(' ').count() };
        assert_eq!(count, expected as u64, "count of UPDATE {predicate}");
        assert_eq!(db.rows("SELECT count(*) FROM t"), "4");
    }
}

#[test]
fn values_see_the_row_as_it_was() {
    let mut db = db();
    db.run("CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT DEFAULT 9)");
    db.run("INSERT INTO t VALUES (1, 1, 2)");
    db.run("UPDATE t SET a = b, b = a");
    assert_eq!(db.rows("SELECT * FROM t"), "1 2 1");
    db.run("UPDATE t SET (a, b) = (a + 10, DEFAULT) WHERE id = 1");
    assert_eq!(db.rows("SELECT * FROM t"), "1 12 9");
    db.run("UPDATE t AS x SET a = (SELECT count(*) FROM t) + x.b");
    assert_eq!(db.rows("SELECT * FROM t"), "1 10 9");
}

#[test]
fn from_joins_other_tables() {
    let mut db = table();
    assert_eq!(db.run("UPDATE t SET v = s.w FROM s WHERE s.id = t.id"), 2);
    assert_eq!(db.rows("SELECT * FROM t"), "1 10\n2 200\n3 300\n4 40");
    let error = db.error("UPDATE t SET v = s.w FROM s WHERE t.id = 1");
    assert_eq!(error.message(), "UPDATE matches the row with key (id) = (1) more than once");
}

#[test]
fn keys_move_and_swap() {
    let mut db = table();
    assert_eq!(db.run("UPDATE t SET id = id + 1"), 4);
    assert_eq!(db.rows("SELECT * FROM t"), "2 10\n3 20\n4 NULL\n5 40");
    assert_eq!(db.run("UPDATE t SET id = CASE id WHEN 2 THEN 3 ELSE 2 END WHERE id IN (2, 3)"), 2);
    assert_eq!(db.rows("SELECT * FROM t"), "2 20\n3 10\n4 NULL\n5 40");
    assert_eq!(db.run("UPDATE t SET id = id"), 4);
    assert_eq!(db.rows("SELECT count(*) FROM t"), "4");
}

#[test]
fn keys_never_meet() {
    let mut db = table();
    for (sql, message) in [
        ("UPDATE t SET id = 4 WHERE id = 1", "duplicate key (id) = (4) in table t"),
        ("UPDATE t SET id = 7", "duplicate key (id) = (7) in table t"),
    ] {
        let error = db.error(sql);
        assert_eq!((error.kind(), error.message()), (ErrorKind::AlreadyExists, message));
    }
    let error = db.error("UPDATE t SET id = NULL WHERE id = 1");
    assert_eq!(error.message(), "column \"id\" of table t may not be NULL");
    assert_eq!(db.rows("SELECT * FROM t"), "1 10\n2 20\n3 NULL\n4 40");
}

#[test]
fn what_is_not_built_is_refused_and_changes_nothing() {
    let mut db = table();
    for (sql, message) in [
        ("UPDATE t SET v = 0 LIMIT 1", "UPDATE with LIMIT is not supported yet"),
        ("UPDATE t SET v = 0 ORDER BY id LIMIT 1", "UPDATE with ORDER BY is not supported yet"),
        ("UPDATE t SET v = 0 RETURNING v", "UPDATE with RETURNING is not supported yet"),
        ("UPDATE t JOIN s ON t.id = s.id SET v = 0", "UPDATE with JOIN is not supported yet"),
    ] {
        let error = db.error(sql);
        assert_eq!((error.kind(), error.message()), (ErrorKind::Unsupported, message));
    }
    let error = db.error("UPDATE t SET v = 1, v = 2");
    assert_eq!(error.message(), "column \"v\" is set more than once");
    let error = db.error("UPDATE t SET w = 1");
    assert_eq!(error.message(), "column \"w\" does not exist in table \"t\"");
    assert_eq!(error.hint(), Some("did you mean \"v\"?"));
    assert_eq!(db.rows("SELECT * FROM t"), "1 10\n2 20\n3 NULL\n4 40");
}

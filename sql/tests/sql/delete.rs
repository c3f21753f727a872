//! DELETE: DataFusion may lose its predicate (apache/datafusion#24654), ours never does.

use silt_sql::ErrorKind;

use super::harness::{Db, db};

fn table() -> Db {
    let mut db = db();
    db.run("CREATE TABLE t (id INT PRIMARY KEY, v INT); CREATE TABLE s (id INT PRIMARY KEY)");
    db.run("INSERT INTO t VALUES (1, 10), (2, 20), (3, NULL), (4, 40)");
    db.run("INSERT INTO s VALUES (2), (3)");
    db
}

#[test]
fn predicates_choose_the_rows() {
    for (predicate, left) in [
        ("WHERE id IN (SELECT id FROM s)", "1 4"),
        ("WHERE id NOT IN (SELECT id FROM s)", "2 3"),
        ("WHERE id IN (1, 3)", "2 4"),
        ("WHERE id NOT IN (1, 3)", "1 3"),
        ("WHERE EXISTS (SELECT 1 FROM s WHERE s.id = t.id)", "1 4"),
        ("WHERE NOT EXISTS (SELECT 1 FROM s WHERE s.id = t.id)", "2 3"),
        ("WHERE false", "1 2 3 4"),
        ("WHERE 1 = 0", "1 2 3 4"),
        ("WHERE NULL", "1 2 3 4"),
        ("WHERE v = NULL", "1 2 3 4"),
        ("WHERE v > 15", "1 3"),
        ("WHERE v IS NULL", "1 2 4"),
        ("WHERE v = (SELECT max(v) FROM t)", "1 2 3"),
        ("WHERE id = (SELECT id FROM s WHERE id = 99)", "1 2 3 4"),
        ("WHERE id IN (SELECT id FROM s WHERE false)", "1 2 3 4"),
        ("WHERE id NOT IN (SELECT id FROM s WHERE false)", ""),
        ("WHERE v NOT IN (SELECT v FROM t WHERE v IS NULL)", "1 2 3 4"),
        ("WHERE id BETWEEN 2 AND 3", "1 4"),
        ("WHERE true", ""),
        ("", ""),
        ("USING s WHERE t.id = s.id", "1 4"),
        ("USING s", ""),
    ] {
        let mut db = table();
        let gone = db.run(&format!("DELETE FROM t {predicate}"));
        let rows = db.rows("SELECT id FROM t ORDER BY id").replace('\n', " ");
        assert_eq!(rows, left, "DELETE {predicate}");
        let kept = if left.is_empty() { 0 } else { left.split(' ').count() };
        assert_eq!(gone + kept as u64, 4, "count of DELETE {predicate}");
    }
}

#[test]
fn aliases_and_with_are_known() {
    let mut db = table();
    assert_eq!(db.run("DELETE FROM t AS x WHERE x.id = 1"), 1);
    assert_eq!(
        db.run("WITH w AS (SELECT 2 AS id) DELETE FROM main.t WHERE id IN (SELECT id FROM w)"),
        1
    );
    assert_eq!(db.rows("SELECT id FROM t"), "3\n4");
}

#[test]
fn limit_order_and_returning_are_refused_and_nothing_goes() {
    let mut db = table();
    for (sql, message) in [
        ("DELETE FROM t LIMIT 2", "DELETE with LIMIT is not supported yet"),
        ("DELETE FROM t ORDER BY id LIMIT 2", "DELETE with ORDER BY is not supported yet"),
        ("DELETE FROM t RETURNING id", "DELETE with RETURNING is not supported yet"),
    ] {
        let error = db.error(sql);
        assert_eq!((error.kind(), error.message()), (ErrorKind::Unsupported, message));
    }
    assert_eq!(db.rows("SELECT count(*) FROM t"), "4");
}

#[test]
fn truncate_empties_tables_and_keeps_their_definition() {
    let mut db = table();
    db.run("TRUNCATE TABLE t, s");
    assert_eq!(db.rows("SELECT count(*) FROM t"), "0");
    db.run("INSERT INTO t VALUES (1, 1)");
    assert_eq!(db.rows("SELECT * FROM t"), "1 1");
    db.run("TRUNCATE t");
    assert_eq!(db.rows("SELECT * FROM t"), "");
}

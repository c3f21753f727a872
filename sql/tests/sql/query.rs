//! Queries, EXPLAIN, prepared statements.

use datafusion::scalar::ScalarValue;
use silt_sql::{Params, StatementResult};

use super::harness::{Db, db, lines, shown};

fn table() -> Db {
    let mut db = db();
    db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT, v DOUBLE)");
    db.run("INSERT INTO t SELECT value, 'n' || (value % 10), value / 4.0 FROM generate_series(1, 1000)");
    db
}

#[test]
fn joins_aggregates_windows_and_recursion_run() {
    let mut db = table();
    assert_eq!(db.rows("SELECT count(*), min(id), max(id), sum(v) FROM t"), "1000 1 1000 125125.0");
    assert_eq!(
        db.rows("SELECT name, count(*) AS n FROM t GROUP BY name HAVING min(id) < 3 ORDER BY name"),
        "n1 100\nn2 100"
    );
    assert_eq!(db.rows("SELECT a.id FROM t a JOIN t b ON a.id = b.id + 1 WHERE b.name = 'n0' AND a.id < 30 ORDER BY 1 DESC"), "21\n11");
    assert_eq!(
        db.rows("SELECT id, row_number() OVER (ORDER BY id DESC) AS r FROM t ORDER BY r LIMIT 2"),
        "1000 1\n999 2"
    );
    assert_eq!(
        db.rows("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n * 2 FROM r WHERE n < 100) SELECT max(n) FROM r"),
        "128"
    );
    assert_eq!(db.rows("SELECT 1, 1, id, id FROM t WHERE id = 5"), "1 1 5 5");
    assert_eq!(
        db.rows("SELECT id, CAST(id AS INTEGER), (id)::TEXT, id + 1, id + 1 FROM t WHERE id = 5"),
        "5 5 5 6 6"
    );
    db.run("CREATE TABLE casts (id BIGINT PRIMARY KEY, small INTEGER, same BIGINT)");
    db.run("INSERT INTO casts SELECT id, CAST(id AS INTEGER), id FROM t WHERE id < 3");
    assert_eq!(db.rows("SELECT * FROM casts"), "1 1 1\n2 2 2");
}

#[test]
fn keys_are_pushed_into_the_scan() {
    let mut db = table();
    let plan = db.rows("EXPLAIN SELECT v FROM t WHERE id = 5");
    assert!(!plan.contains("FilterExec"), "{plan}");
    assert_eq!(db.rows("SELECT v FROM t WHERE id = 5"), "1.25");
    assert_eq!(db.rows("SELECT id FROM t WHERE id > 3 AND id <= 5"), "4\n5");
    assert_eq!(db.rows("SELECT id FROM t WHERE id IN (7, 1, 5000)"), "1\n7");
    let analyzed = db.rows("EXPLAIN ANALYZE SELECT v FROM t WHERE id = 5");
    assert!(analyzed.contains("gets=1"), "{analyzed}");
    assert!(db.rows("EXPLAIN DELETE FROM t WHERE id = 5").contains("TableScan"));
    assert!(db.rows("EXPLAIN UPDATE t SET v = 0 WHERE id = 5").contains("TableScan"));
    assert_eq!(db.rows("SELECT count(*) FROM t"), "1000");
}

#[test]
fn a_prepared_query_sees_the_newest_rows_and_definition() {
    let mut db = table();
    let find = db.session.prepare("SELECT name FROM t WHERE id = ?").unwrap();
    assert_eq!(find.parameter_count(), 1);
    let ask = |params: Vec<ScalarValue>| {
        shown(lines(find.execute(&Params::positional(params)).unwrap()).unwrap(), "")
    };
    assert_eq!(ask(vec![5_i64.into()]), "n5");
    assert_eq!(ask(vec![5000_i64.into()]), "");
    assert_eq!(ask(vec!["6".into()]), "n6");
    assert_eq!(ask(vec![ScalarValue::Null]), "");
    db.run("UPDATE t SET name = 'new' WHERE id = 5");
    assert_eq!(ask(vec![5_i64.into()]), "new");
    db.run("DROP TABLE t; CREATE TABLE t (id TEXT PRIMARY KEY, name INT); INSERT INTO t VALUES ('5', 55)");
    assert_eq!(ask(vec!["5".into()]), "55");
    let add = db.session.prepare("INSERT INTO t VALUES (:k, :v)").unwrap();
    for (k, v) in [("a", 1_i64), ("b", 2)] {
        let params = Params::none().with_named("k", k.into()).with_named("v", v.into());
        let StatementResult::Count { rows, .. } = add.execute(&params).unwrap() else { panic!() };
        assert_eq!(rows, 1);
    }
    assert_eq!(db.rows("SELECT * FROM t"), "5 55\na 1\nb 2");
}

#[test]
fn a_running_query_keeps_its_rows_when_they_are_deleted() {
    let mut db = table();
    let mut results = db.try_run("SELECT id FROM t").unwrap();
    let mut other = db.other();
    other.run("DELETE FROM t");
    other.run("DROP TABLE t");
    assert_eq!(lines(results.remove(0)).unwrap().len(), 1000);
}

#[test]
fn statements_work_inside_an_async_runtime() {
    let mut db = table();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert_eq!(db.rows("SELECT count(*) FROM t"), "1000");
        db.run("DELETE FROM t WHERE id > 10");
        assert_eq!(db.rows("SELECT count(*) FROM t"), "10");
    });
    drop(runtime);
}

#[test]
fn one_statement_has_one_time() {
    let mut db = db();
    db.run("CREATE TABLE t (a INT PRIMARY KEY, at TIMESTAMPTZ DEFAULT now())");
    db.run("INSERT INTO t (a) SELECT value FROM generate_series(1, 100)");
    assert_eq!(db.rows("SELECT count(DISTINCT at) FROM t"), "1");
    assert_eq!(
        db.rows("SELECT count(*) FROM t WHERE at <= now() AND at > now() - INTERVAL '1 hour'"),
        "100"
    );
    db.run("INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET at = now()");
    assert_eq!(db.rows("SELECT count(DISTINCT at) FROM t"), "2");
}

#[test]
fn long_statements_run() {
    let mut db = table();
    let ids: Vec<String> = (1..=3000).map(|id| format!("id = {id}")).collect();
    assert_eq!(db.rows(&format!("SELECT count(*) FROM t WHERE {}", ids.join(" OR "))), "1000");
    let values: Vec<String> = (2001..=6000).map(|id| format!("({id}, 'x', 0)")).collect();
    assert_eq!(db.run(&format!("INSERT INTO t VALUES {}", values.join(","))), 4000);
}

//! Groups by the first columns of a key are complete in each partition of a scan in the key's order:
//! what comes of them is what hashing them gives.

use silt_sql::{ScanOptions, Session, Shared, SqlOptions};

use super::harness::Db;

fn db(aggregates: bool) -> Db {
    let storage = silt_storage::Options { group_rows: 1_000, ..silt_storage::Options::default() };
    let scan = ScanOptions { aggregates, ..ScanOptions::default() };
    let options = SqlOptions { threads: 2, scan, ..SqlOptions::default() };
    Db { session: Session::new(Shared::in_memory(storage, options).unwrap()) }
}

const TABLES: &str = "
    CREATE TABLE t (a BIGINT, b TEXT, c INTEGER, price DECIMAL(15,2) NOT NULL, fee DECIMAL(9,2),
        n BIGINT, note TEXT, PRIMARY KEY (a, b, c));
    CREATE TABLE k (id BIGINT PRIMARY KEY, name TEXT);
    CREATE TABLE falling (d BIGINT, at TEXT, n BIGINT, PRIMARY KEY (d DESC, at));
    CREATE TABLE few (a BIGINT, b BIGINT, n BIGINT, PRIMARY KEY (a, b));
    CREATE TABLE words (w TEXT, at INTEGER, n BIGINT, PRIMARY KEY (w, at))";

/// 701 rows of each value of the key's first column: borders of row groups lie within.
fn fill(db: &mut Db) {
    db.try_run(TABLES).unwrap();
    db.run(
        "INSERT INTO t SELECT value / 701, 'b' || (value % 701 / 9), value % 9,
         CAST(value % 9973 AS DECIMAL(15,2)) / 7,
         CASE WHEN value % 11 = 0 THEN NULL ELSE CAST(value % 500 AS DECIMAL(9,2)) END,
         value * 7 % 10007, 'note ' || (value % 31) FROM generate_series(0, 99999) AS s(value)",
    );
    db.run("INSERT INTO k SELECT value * 3, 'name ' || (value % 13) FROM generate_series(0, 60) AS s(value)");
    db.run("INSERT INTO few SELECT value / 40000, value, value % 77 FROM generate_series(0, 99999) AS s(value)");
    db.run(
        "INSERT INTO words SELECT 'word ' || (value / 13), value % 13, value % 77
         FROM generate_series(0, 69999) AS s(value)",
    );
    db.run(
        "INSERT INTO falling SELECT value / 5, 'at ' || (value % 5), value % 77
         FROM generate_series(0, 29999) AS s(value)",
    );
    db.session.shared().engine().flush().unwrap();
}

const QUERIES: [&str; 20] = [
    "SELECT count(*), a, count(1), min(price), max(b), avg(n) FROM t GROUP BY a",
    "SELECT DISTINCT b, a FROM t WHERE n % 3 = 1",
    "SELECT d, sum(n), count(*) FROM falling GROUP BY d",
    "SELECT at, d, avg(n), max(n) FROM falling GROUP BY at, d HAVING count(*) > 0",
    "SELECT a, count(*), sum(price), avg(price), sum(fee), min(note), max(n) FROM t GROUP BY a",
    "SELECT a, sum(price * (1 - fee)), sum(n * 2 - c), count(fee) FROM t GROUP BY a",
    "SELECT b, a, count(*), sum(n) FROM t GROUP BY b, a",
    "SELECT a, b, c, sum(n) FROM t GROUP BY c, b, a",
    "SELECT b, c, count(*) FROM t GROUP BY b, c",
    "SELECT a, sum(n) FROM t GROUP BY a HAVING sum(n) > 3500000",
    "SELECT a, sum(n) FROM t WHERE n > 5000 AND c <> 3 GROUP BY a",
    "SELECT a, count(*) FROM t WHERE note LIKE '%7' AND a > 20 GROUP BY a",
    "SELECT a, sum(n) AS s FROM t GROUP BY a ORDER BY a",
    "SELECT a, sum(n) AS s FROM t GROUP BY a ORDER BY s DESC, a LIMIT 5",
    "SELECT k.name, g.s FROM k JOIN (SELECT a, sum(n) AS s FROM t GROUP BY a) g ON g.a = k.id",
    "SELECT count(*), sum(s) FROM (SELECT a, sum(n) AS s FROM t GROUP BY a HAVING count(*) > 5) g",
    "SELECT t.a, t.b, t.n FROM t WHERE t.n > 10000 AND t.a IN
        (SELECT a FROM t GROUP BY a HAVING sum(n) > 3500000)",
    "SELECT x.a, x.s, y.s FROM (SELECT a, sum(n) AS s FROM t GROUP BY a) x
        JOIN (SELECT a, b, sum(n) AS s FROM t GROUP BY a, b) y ON x.a = y.a AND y.s > 50000",
    "SELECT a, sum(n) FROM few GROUP BY a",
    "SELECT w, sum(n), count(*), max(at) FROM words GROUP BY w HAVING sum(n) % 5 = 0",
];

#[test]
fn groups_by_the_first_columns_of_a_key_are_those_of_hashing() {
    let (mut plain, mut keyed) = (db(false), db(true));
    fill(&mut plain);
    fill(&mut keyed);
    for sql in QUERIES {
        assert_eq!(keyed.rows(sql), plain.rows(sql), "{sql}");
    }
    // Rows hidden by others are of no group, and a memtable's rows are.
    for db in [&mut plain, &mut keyed] {
        db.run("DELETE FROM t WHERE a = 70 OR n % 13 = 5");
        db.run(
            "INSERT INTO t VALUES (7, 'zz', 1, 5.5, 3, 8, 'new'), (999, 'b', 1, 1.25, 1, 1, 'x')",
        );
    }
    for sql in QUERIES {
        assert_eq!(keyed.rows(sql), plain.rows(sql), "changed: {sql}");
    }
    for db in [&mut plain, &mut keyed] {
        db.session.shared().engine().flush().unwrap();
    }
    for sql in QUERIES {
        assert_eq!(keyed.rows(sql), plain.rows(sql), "flushed: {sql}");
    }
}

/// Rows that replace others, rows of groups that are there, and rows of new groups before, between
/// and behind them.
fn change(db: &mut Db, round: u64) {
    let step = 37 + round * 11;
    db.run(&format!(
        "INSERT INTO t SELECT value * {step} % 160 - 5, 'b' || (value % 90), value % 9,
         CAST(value AS DECIMAL(15,2)) / 3, NULL, value + {round}, 'new ' || value
         FROM generate_series(0, {}) AS s(value)
         ON CONFLICT (a, b, c) DO UPDATE SET price = excluded.price, fee = excluded.fee,
             n = excluded.n, note = excluded.note",
        400 + round * 200
    ));
    db.run(&format!("DELETE FROM t WHERE n % 1000 = {round} OR a = {}", round * 9));
    db.run(&format!(
        "INSERT INTO falling SELECT value * {step} % 7000 - 500, 'at ' || (value % 6), value
         FROM generate_series(0, 300) AS s(value)
         ON CONFLICT (d, at) DO UPDATE SET n = excluded.n"
    ));
    db.run(&format!("UPDATE words SET n = n + 1 WHERE at = {round} AND n = 7"));
    db.run(&format!("DELETE FROM falling WHERE d = {}", 5_999 - round));
}

#[test]
fn groups_of_several_sources_are_put_together_by_their_key() {
    let (mut plain, mut keyed) = (db(false), db(true));
    fill(&mut plain);
    fill(&mut keyed);
    for round in 0..6 {
        for db in [&mut plain, &mut keyed] {
            change(db, round);
            // Runs of one memtable, and files of level 0, beside one another.
            if round % 2 == 1 {
                db.session.shared().engine().flush().unwrap();
            }
        }
        for sql in QUERIES {
            assert_eq!(keyed.rows(sql), plain.rows(sql), "round {round}: {sql}");
        }
        if round % 2 == 0 {
            let plan = keyed.rows("EXPLAIN ANALYZE SELECT a, sum(n) FROM t GROUP BY a");
            assert!(plan.contains("order=key, partitions=2"), "{plan}");
            assert!(!plan.contains("sections_shadowed=0"), "{plan}");
        }
    }
}

#[test]
fn groups_are_hashed_where_most_rows_are_new() {
    let mut db = db(true);
    fill(&mut db);
    for part in 0..24 {
        db.run(&format!("UPDATE t SET n = n + 1 WHERE a % 12 = {}", part % 12));
    }
    let plan = db.rows("EXPLAIN SELECT a, sum(n) FROM t GROUP BY a");
    assert!(!plan.contains("order=key, partitions=2"), "{plan}");
}

#[test]
fn explain_shows_groups_that_are_complete_where_they_are_read() {
    let mut db = db(true);
    fill(&mut db);
    let plan = db.rows("EXPLAIN SELECT a, sum(n) FROM t GROUP BY a");
    assert!(plan.contains("order=key, partitions=2"), "{plan}");
    assert!(!plan.contains("Repartition") && !plan.contains("AggregateExec"), "{plan}");
    // What is left of them is dealt out for a join.
    let plan = db.rows(
        "EXPLAIN SELECT x.a, y.w FROM (SELECT a, sum(n) AS s FROM t GROUP BY a HAVING sum(n) > 7) x
         JOIN words y ON x.s = y.n",
    );
    assert!(plan.contains("order=key, partitions=2"), "{plan}");
    // Three values cannot be dealt out evenly.
    let plan = db.rows("EXPLAIN SELECT a, sum(n) FROM few GROUP BY a");
    assert!(!plan.contains("order=key, partitions=2"), "{plan}");
    let plan = db.rows("EXPLAIN SELECT b, sum(n) FROM t GROUP BY b");
    assert!(!plan.contains("order=key, partitions=2"), "{plan}");
}

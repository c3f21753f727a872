//! Distinct strings are those that DataFusion finds, short or long.

use silt_sql::{ScanOptions, Session, Shared, SqlOptions};

use super::harness::Db;

fn db(aggregates: bool) -> Db {
    let scan = ScanOptions { aggregates, ..ScanOptions::default() };
    let options = SqlOptions { threads: 2, scan, ..SqlOptions::default() };
    let shared = Shared::in_memory(silt_storage::Options::default(), options).unwrap();
    Db { session: Session::new(shared) }
}

/// Strings of up to 15 bytes in `short`; some that are longer in `mixed`, late and early in the
/// key's order; NULLs in both.
fn fill(db: &mut Db) {
    db.try_run(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, short TEXT, mixed TEXT, late TEXT, n BIGINT)",
    )
    .unwrap();
    db.run(
        "INSERT INTO t SELECT value,
         CASE WHEN value % 997 = 5 THEN NULL WHEN value % 3 = 0 THEN 'entity/' || (value % 70000)
             ELSE substr('ünïcödé', 1, value % 8) || (value % 40000) END,
         CASE WHEN value % 991 = 5 THEN NULL WHEN value % 7 = 0 THEN repeat('long', 4) || (value % 900)
             ELSE 'm' || (value % 50000) END,
         CASE WHEN value > 149000 THEN 'what comes late is long ' || value ELSE 'k' || (value / 2) END,
         value % 10 FROM generate_series(0, 149999) AS s(value)",
    );
    db.session.shared().engine().flush().unwrap();
}

const QUERIES: [&str; 9] = [
    "SELECT count(DISTINCT short) FROM t",
    "SELECT count(DISTINCT short) FROM t WHERE n < 7",
    "SELECT count(DISTINCT mixed) FROM t",
    "SELECT count(DISTINCT late) FROM t WHERE id % 2 = 1",
    "SELECT count(DISTINCT short) FROM t WHERE id < 0",
    "SELECT count(*), max(short), min(short) FROM (SELECT DISTINCT short FROM t) AS d",
    "SELECT DISTINCT short FROM t WHERE id % 29 = 3",
    "SELECT DISTINCT mixed FROM t WHERE id < 3000",
    "SELECT short FROM t WHERE n = 1 UNION SELECT mixed FROM t WHERE n = 2 AND id < 5000",
];

#[test]
fn distinct_strings_are_those_of_a_table_of_views() {
    let (mut plain, mut ours) = (db(false), db(true));
    fill(&mut plain);
    fill(&mut ours);
    for sql in QUERIES {
        assert_eq!(ours.rows(sql), plain.rows(sql), "{sql}");
    }
}

#[test]
fn explain_shows_who_holds_distinct_strings() {
    for (aggregates, is_ours) in [(true, true), (false, false)] {
        let mut db = db(aggregates);
        fill(&mut db);
        for sql in ["SELECT count(DISTINCT short) FROM t", "SELECT DISTINCT mixed FROM t"] {
            let plan = db.rows(&format!("EXPLAIN {sql}"));
            assert_eq!(plan.contains("SiltDistinct"), is_ours, "{plan}");
        }
        let plan = db.rows("EXPLAIN SELECT short, count(*) FROM t GROUP BY short");
        assert!(!plan.contains("SiltDistinct"), "{plan}");
    }
}

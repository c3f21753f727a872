//! Groups by truncated times are those that DataFusion makes.

use silt_sql::{ScanOptions, Session, Shared, SqlOptions};

use super::harness::Db;

fn db(aggregates: bool) -> Db {
    let storage = silt_storage::Options { group_rows: 500, ..silt_storage::Options::default() };
    let scan = ScanOptions { aggregates, ..ScanOptions::default() };
    let options = SqlOptions { threads: 2, scan, ..SqlOptions::default() };
    Db { session: Session::new(Shared::in_memory(storage, options).unwrap()) }
}

/// Times before and after 1970, close together and years apart, some of them NULL.
fn fill(db: &mut Db) {
    db.try_run(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, at TIMESTAMP, sure TIMESTAMP NOT NULL, n BIGINT,
             kind TEXT)",
    )
    .unwrap();
    for (first, step) in [(0, 1), (5_000, 7), (10_000, 911)] {
        db.run(&format!(
            "INSERT INTO t SELECT {first} + value,
             CASE WHEN value % 501 = 7 THEN NULL
                 ELSE TIMESTAMP '1969-12-31 20:00:00.000001'
                     + CAST(value * {step} || ' seconds' AS INTERVAL)
             END,
             TIMESTAMP '1969-12-30 23:59:59.999999'
                 + CAST(value * {step} * 3001 || ' milliseconds' AS INTERVAL),
             value % 97, 'kind ' || (value % 5)
             FROM generate_series(0, 4999) AS s(value)"
        ));
    }
    db.session.shared().engine().flush().unwrap();
}

fn queries() -> Vec<String> {
    let units = ["microsecond", "millisecond", "second", "MINUTE", "hour", "day", "week", "month"];
    let mut queries = Vec::new();
    for unit in units {
        for time in ["at", "sure"] {
            let key = format!("date_trunc('{unit}', {time})");
            queries.extend([
                format!("SELECT {key}, count(*), max(n), sum(n) FROM t GROUP BY {key}"),
                format!("SELECT {key}, kind, avg(n) FROM t WHERE n > 50 GROUP BY {key}, kind"),
                format!("SELECT {key} AS k, min(n) FROM t WHERE id % 3 = 1 GROUP BY k ORDER BY k"),
                format!(
                    "SELECT k, count(*) FROM (SELECT {key} AS k, n FROM t WHERE n <> 3) GROUP BY k"
                ),
            ]);
        }
    }
    queries
}

#[test]
fn groups_by_truncated_times_are_those_of_truncating_each() {
    let (mut plain, mut ours) = (db(false), db(true));
    fill(&mut plain);
    fill(&mut ours);
    let compare = |plain: &mut Db, ours: &mut Db, when: &str| {
        for sql in queries() {
            assert_eq!(ours.rows(&sql), plain.rows(&sql), "{when}: {sql}");
        }
    };
    compare(&mut plain, &mut ours, "in files");
    for db in [&mut plain, &mut ours] {
        db.run("DELETE FROM t WHERE n % 11 = 3");
        db.run("UPDATE t SET sure = sure + INTERVAL '90 minutes', at = sure WHERE n % 7 = 1");
    }
    compare(&mut plain, &mut ours, "changed");
}

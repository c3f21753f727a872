//! How much memory a session's statements may have, and one of them.

use std::sync::Arc;

use silt_sql::{ErrorKind, Params, Session, Shared, SqlOptions, StatementResult};

use super::harness::{Db, lines};

fn open(session_memory_bytes: usize, statement_memory_bytes: usize) -> Arc<Shared> {
    let options = SqlOptions {
        threads: 2,
        session_memory_bytes,
        statement_memory_bytes,
        ..SqlOptions::default()
    };
    Shared::in_memory(silt_storage::Options::default(), options).unwrap()
}

const DISTINCT: &str = "SELECT count(*) FROM (SELECT DISTINCT repeat(CAST(value AS TEXT), 20) FROM
                        generate_series(1, 200000))";

#[test]
fn a_statement_has_its_share_and_gives_it_back() {
    let mut whole = Db { session: Session::new(open(usize::MAX, usize::MAX)) };
    assert_eq!(whole.rows(DISTINCT), "200000");
    for (session, statement) in [(4 << 20, usize::MAX), (usize::MAX, 4 << 20), (64 << 20, 4 << 20)]
    {
        let shared = open(session, statement);
        for _ in 0..3 {
            let mut part = Db { session: Session::new(Arc::clone(&shared)) };
            let error = part.error(DISTINCT);
            assert_eq!(error.kind(), ErrorKind::ResourcesExhausted, "{error}");
            let whose = if statement == usize::MAX { "session" } else { "statement" };
            assert!(error.message().contains(whose), "{error}");
            // Nothing is left of it.
            for _ in 0..3 {
                let small = DISTINCT.replace("200000", "2000");
                assert_eq!(part.rows(&small), "2000");
            }
        }
    }
}

#[test]
fn a_statement_that_has_all_its_memory_takes_none_of_another_s() {
    let sorted = "SELECT repeat(CAST(value AS TEXT), 20) AS t FROM generate_series(1, 50000)
                  ORDER BY t";
    let alone = |most: usize| {
        let mut db = Db { session: Session::new(open(usize::MAX, most)) };
        let result = db.session.execute_one(sorted, &Params::none());
        result.and_then(lines).is_ok().then_some(db)
    };
    // As much as one needs, and not twice as much.
    let mut db = (20..30).find_map(|bits| alone(1 << bits)).unwrap();
    let mut other = Db { session: db.session.another() };
    let mut first = match db.session.execute_one(sorted, &Params::none()).unwrap() {
        StatementResult::Rows { stream, .. } => stream,
        other => panic!("{other:?}"),
    };
    // Sorted, and not yet read: it holds its rows.
    assert!(first.next().unwrap().unwrap().num_rows() > 0);
    assert_eq!(other.rows(sorted).lines().count(), 50_000);
    assert!(first.all(|batch| batch.is_ok()));
}

#[test]
fn rows_that_a_statement_changes_count_until_they_are_committed() {
    let fill = |db: &mut Db| {
        db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT)");
        for first in (1..100_000).step_by(10_000) {
            let last = first + 9_999;
            db.run(&format!(
                "INSERT INTO t SELECT value, repeat('x', 100) FROM generate_series({first}, {last})"
            ));
        }
    };
    let changes = [
        ("UPDATE t SET v = v || 'y'", "UPDATE"),
        ("UPDATE t SET id = id + 1000000", "UPDATE"),
        ("DELETE FROM t", "DELETE"),
        (
            "INSERT INTO t SELECT id, 'z' FROM t ON CONFLICT (id) DO UPDATE SET v = t.v || excluded.v",
            "INSERT",
        ),
    ];
    let mut all = Db { session: Session::new(open(usize::MAX, usize::MAX)) };
    fill(&mut all);
    let mut part = Db { session: Session::new(open(usize::MAX, 5 << 20)) };
    fill(&mut part);
    let before = part.rows("SELECT count(*), min(id), max(v) FROM t");
    for (sql, tag) in changes {
        let error = part.error(sql);
        assert_eq!(error.kind(), ErrorKind::ResourcesExhausted, "{sql}: {error}");
        assert!(error.message().contains(tag), "{sql}: {error}");
        assert_eq!(part.rows("SELECT count(*), min(id), max(v) FROM t"), before, "{sql}");
        // Fewer rows at a time fit.
        let few = match sql.contains("ON CONFLICT") {
            true => sql.replace("FROM t ON", "FROM t WHERE id < 500 ON"),
            false => format!("{sql} WHERE id < 500"),
        };
        part.run("BEGIN");
        assert_eq!(part.run(&few), 499, "{few}");
        part.run("ROLLBACK");
    }
    for (sql, _) in [changes[0], changes[3], changes[1], changes[2]] {
        assert_eq!(all.run(sql), 100_000, "{sql}");
    }
}

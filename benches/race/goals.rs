//! What SiltDB is to reach: of each case the bound, absolute or beside a peer.

use crate::record::Record;

/// What a case is held against.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// At most so many of its unit; for rows a second, at least.
    Value(f64),
    /// So many times as good as that peer's best way.
    Times(f64, &'static str),
}

/// A goal of a case, by one way in or by any (empty).
struct Goal {
    work: &'static str,
    /// How the case begins.
    case: &'static str,
    door: &'static str,
    bound: Bound,
}

const fn goal(work: &'static str, case: &'static str, door: &'static str, bound: Bound) -> Goal {
    Goal { work, case, door, bound }
}

const GOALS: [Goal; 35] = [
    goal("W1", "events, size", "", Bound::Times(1.0, "duckdb")),
    goal("W1", "triples, size", "", Bound::Times(1.0 / 0.6, "duckdb")),
    goal("W1", "lineitem, size", "", Bound::Times(1.0 / 0.6, "duckdb")),
    goal("W1", "events", "", Bound::Times(1.5, "duckdb")),
    goal("W1", "triples", "", Bound::Times(1.5, "duckdb")),
    goal("W1", "lineitem", "", Bound::Times(1.5, "duckdb")),
    goal("W2", "1 writer, 1 row", "", Bound::Times(0.9, "limit")),
    goal("W2", "8 writers", "", Bound::Value(29_700.0)),
    goal("W3", "upserts", "prepared SQL", Bound::Value(400_000.0)),
    goal("W3", "upserts", "SQL as text", Bound::Value(400_000.0)),
    goal("W3", "upserts", "appender", Bound::Value(600_000.0)),
    goal("W4", "events, miss", "get", Bound::Value(0.6)),
    goal("W4", "events, key and two columns", "get", Bound::Value(1.5)),
    goal("W4", "events, all columns", "get", Bound::Value(3.0)),
    goal("W4", "triples, miss", "get", Bound::Value(0.6)),
    goal("W4", "triples, all columns", "get", Bound::Value(3.5)),
    goal("W4", "", "prepared SQL", Bound::Times(1.0, "sqlite")),
    goal("W4", "", "SQL as text", Bound::Times(1.0 / 1.5, "sqlite")),
    goal("W5", "", "prepared SQL", Bound::Times(1.0, "sqlite")),
    goal("W5", "", "scan", Bound::Times(1.0, "redb")),
    goal("W6", "TPC-H", "", Bound::Times(1.0, "duckdb")),
    goal("W6", "triples", "", Bound::Times(1.0, "duckdb")),
    goal("W6", "OPTIMIZE", "", Bound::Value(f64::INFINITY)),
    goal("W6", "", "", Bound::Times(1.0, "duckdb")),
    goal("W7", "writer beside", "", Bound::Value(300_000.0)),
    goal("W7", "reader beside a writer, p50", "", Bound::Value(30.0)),
    goal("W8", "open", "", Bound::Value(15.0)),
    goal("W8", "first group-by", "", Bound::Value(30.0)),
    goal("W8", "group-by after delete", "", Bound::Times(1.0, "duckdb")),
    goal("W9", "neighbours at two", "", Bound::Times(1.0, "sqlite")),
    goal("W9", "neighbours at three", "", Bound::Times(1.0, "sqlite")),
    goal("W9", "reachable", "", Bound::Times(1.0, "sqlite")),
    goal("W9", "closure", "", Bound::Times(1.0, "duckdb")),
    goal("W8", "size", "", Bound::Times(1.0, "duckdb")),
    goal("W2", "1 writer, 1000 rows", "", Bound::Value(1_200_000.0)),
];

/// The goal of a record of ours.
pub fn of(record: &Record) -> Option<Bound> {
    if record.case.starts_with("peak memory") {
        return None;
    }
    let fits = |goal: &&Goal| {
        goal.work == record.work
            && record.case.starts_with(goal.case)
            && (goal.door.is_empty() || goal.door == record.door)
    };
    let goal = GOALS.iter().find(fits)?;
    match goal.bound {
        Bound::Value(value) if value.is_infinite() => None,
        bound => Some(bound),
    }
}

//! What SiltDB is to reach: of each case its bounds, absolute, beside a peer or beside itself.

use crate::record::Record;

/// What a case is held against. Times say how many times as good, not as much.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// At most so many of its unit; for rows a second, at least.
    Value(f64),
    /// Beside that peer's best way; `any` is the best of them.
    Times(f64, &'static str),
    /// Beside RocksDB's best way where it ran, else as [`Value`](Self::Value): what is wanted of it,
    /// measured elsewhere.
    RocksDb(f64, f64),
    /// Beside our own figure of the case of this name.
    Own(f64, &'static str),
    /// Beside our own figure before anything was changed.
    Before(f64),
}

/// A goal of a case, by one way in or by any (empty).
struct Goal {
    work: &'static str,
    /// How the case begins, and how it ends.
    case: (&'static str, &'static str),
    door: &'static str,
    bounds: &'static [Bound],
}

const fn goal(
    work: &'static str,
    case: &'static str,
    door: &'static str,
    bounds: &'static [Bound],
) -> Goal {
    Goal { work, case: (case, ""), door, bounds }
}

/// The first that fits a case says what is wanted of it.
const GOALS: [Goal; 35] = [
    goal("W1", "events, size", "", &[Bound::Times(1.0, "duckdb")]),
    goal("W1", "triples, size", "", &[Bound::Times(1.0 / 0.6, "duckdb")]),
    goal("W1", "lineitem, size", "", &[Bound::Times(1.0 / 0.6, "duckdb")]),
    goal("W1", "", "", &[Bound::Times(1.5, "duckdb")]),
    goal("W2", "1 writer, 1 row", "", &[Bound::Times(0.9, "limit")]),
    // RocksDB reaches 19.8 k in its own bench.
    goal(
        "W2",
        "8 writers",
        "",
        &[Bound::Own(4.0, "1 writer, 1 row a transaction"), Bound::RocksDb(1.5, 29_700.0)],
    ),
    // RocksDB was seen at 1.7 M.
    goal("W2", "1 writer, 1000 rows", "", &[Bound::RocksDb(0.7, 1_190_000.0)]),
    goal("W3", "upserts", "appender", &[Bound::RocksDb(1.0, 600_000.0)]),
    goal("W3", "upserts", "", &[Bound::RocksDb(0.65, 400_000.0)]),
    goal("W4", "events, miss", "Rust get", &[Bound::Value(0.6)]),
    goal("W4", "events, key and two", "Rust get", &[Bound::Value(1.5), Bound::Times(1.0, "redb")]),
    goal("W4", "events, all", "Rust get", &[Bound::Value(3.0), Bound::Times(1.0, "redb")]),
    goal("W4", "triples, miss", "Rust get", &[Bound::Value(0.6)]),
    goal("W4", "triples, all", "Rust get", &[Bound::Value(3.5)]),
    goal("W4", "", "prepared SQL", &[Bound::Times(1.0, "sqlite")]),
    goal("W4", "", "SQL as text", &[Bound::Times(1.0 / 1.5, "sqlite")]),
    goal("W5", "", "prepared SQL", &[Bound::Times(1.0, "sqlite")]),
    goal("W5", "", "Rust scan", &[Bound::Times(1.0, "redb")]),
    goal("W6", "OPTIMIZE", "", &[]),
    Goal {
        work: "W6",
        case: ("", "after OPTIMIZE"),
        door: "",
        bounds: &[Bound::Before(1.0 / 1.2)],
    },
    goal("W6", "", "", &[Bound::Times(1.0, "duckdb")]),
    goal("W7", "writer alone", "", &[]),
    goal("W7", "writer beside", "", &[Bound::Value(300_000.0), Bound::Own(0.75, "writer alone")]),
    goal("W7", "reader alone", "", &[]),
    goal(
        "W7",
        "reader beside a writer, p50",
        "",
        &[Bound::Value(30.0), Bound::Own(0.75, "reader alone, p50")],
    ),
    goal("W8", "open", "", &[Bound::Value(15.0)]),
    goal("W8", "first group-by", "", &[Bound::Value(30.0)]),
    goal("W8", "group-by after delete", "", &[Bound::Times(1.0, "duckdb")]),
    goal("W8", "size before", "", &[]),
    goal(
        "W8",
        "size a while after",
        "",
        &[Bound::Own(1.0, "size before delete"), Bound::Times(1.0, "duckdb")],
    ),
    goal("W8", "delete", "", &[]),
    goal("W9", "neighbours", "", &[Bound::Times(1.0, "any")]),
    goal("W9", "reachable", "", &[Bound::Times(1.0, "any")]),
    goal("W9", "closure", "", &[Bound::Times(1.0, "any")]),
    goal("W7", "reader beside a writer, p99", "", &[]),
];

/// The goals of a record of ours.
pub fn of(record: &Record) -> &'static [Bound] {
    if record.case.starts_with("peak memory") {
        return &[];
    }
    let fits = |goal: &&Goal| {
        goal.work == record.work
            && record.case.starts_with(goal.case.0)
            && record.case.ends_with(goal.case.1)
            && (goal.door.is_empty() || goal.door == record.door)
    };
    GOALS.iter().find(fits).map_or(&[], |goal| goal.bounds)
}

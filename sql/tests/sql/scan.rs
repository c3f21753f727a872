//! What scans do beyond decoding rows (bitmaps, filters, aggregates, dynamic filters) changes no
//! answer: random changes and queries over databases that differ in it alone.

use silt_sql::{ScanOptions, Session, Shared, SqlOptions};

use super::harness::Db;

const NONE: ScanOptions = ScanOptions {
    shadows: false,
    filters: false,
    aggregates: false,
    dynamic: false,
    joins: false,
    narrows: false,
    seeks: false,
    small: false,
    shared: false,
};

fn db(scan: ScanOptions) -> Db {
    let storage = silt_storage::Options {
        memtable_bytes: 48 << 10,
        file_bytes: 32 << 10,
        group_rows: 100,
        ..silt_storage::Options::default()
    };
    let options = SqlOptions { threads: 2, scan, ..SqlOptions::default() };
    Db { session: Session::new(Shared::in_memory(storage, options).unwrap()) }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn or_null(&mut self, text: impl FnOnce(&mut Self) -> String) -> String {
        if self.below(9) == 0 { "NULL".to_owned() } else { text(self) }
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let len = u64::try_from(of.len()).unwrap();
        of[usize::try_from(self.below(len)).unwrap()]
    }
}

const TABLES: &str = "
    CREATE TABLE t (a BIGINT, b INTEGER, kind TEXT, note TEXT, n BIGINT, f DOUBLE, ok BOOLEAN,
        d DATE, price DECIMAL(12,2), fee DECIMAL(9,2) NOT NULL, PRIMARY KEY (a, b));
    CREATE TABLE k (id BIGINT PRIMARY KEY, name TEXT)";

fn row(dice: &mut Dice) -> String {
    let (a, b) = (dice.below(400), dice.below(8));
    let kind = dice.one(&["'plan'", "'call'", "'result'", "'error'", "NULL"]);
    let number = dice.below(1_000_000);
    let note = dice.or_null(|_| format!("'note {number}'"));
    let n = dice.or_null(|_| format!("{}", number.cast_signed() - 500_000));
    let f = dice.one(&["0.5", "-1.25", "1e9", "'NaN'::DOUBLE", "-0.0", "0.0", "NULL"]);
    let ok = dice.one(&["true", "false", "NULL"]);
    let d = dice.or_null(|dice| format!("DATE '2024-01-01' + {}", dice.below(60)));
    let price = dice.or_null(|dice| format!("{}.{:02}", dice.below(5_000), dice.below(100)));
    let fee = format!("{}.{:02}", dice.below(200).cast_signed() - 50, dice.below(100));
    format!("({a}, {b}, {kind}, {note}, {n}, {f}, {ok}, {d}, {price}, {fee})")
}

fn change(dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => format!("DELETE FROM t WHERE a = {}", dice.below(400)),
        1 => {
            let from = dice.below(400);
            format!("UPDATE t SET n = n + 1, kind = 'plan' WHERE a >= {from} AND a < {}", from + 20)
        }
        2 => {
            format!("DELETE FROM t WHERE n < {} AND b = 3", dice.below(200).cast_signed() - 450_000)
        }
        _ => {
            let mut rows: Vec<String> = (0..60).map(|_| row(dice)).collect();
            let key = |row: &String| row.split(", ").take(2).collect::<Vec<_>>().join(",");
            rows.sort_by_key(key);
            rows.dedup_by_key(|row| key(row));
            format!(
                "INSERT INTO t VALUES {} ON CONFLICT (a, b) DO UPDATE SET kind = excluded.kind,
                 note = excluded.note, n = excluded.n, f = excluded.f, ok = excluded.ok,
                 d = excluded.d, price = excluded.price",
                rows.join(", ")
            )
        }
    }
}

fn condition(dice: &mut Dice, depth: u32) -> String {
    let number = dice.below(1_000_000).cast_signed() - 500_000;
    match dice.below(if depth == 0 { 12 } else { 15 }) {
        0 => format!("n {} {number}", dice.one(&["<", "<=", ">", ">=", "=", "<>"])),
        1 => format!("kind = {}", dice.one(&["'plan'", "'error'", "'none'"])),
        2 => "kind IN ('call', 'result')".to_owned(),
        3 => {
            format!("f {} {}", dice.one(&["<", ">=", "=", "<>"]), dice.one(&["0.0", "-0.0", "0.5"]))
        }
        4 => format!("{} IS {}NULL", dice.one(&["n", "kind", "ok", "d"]), dice.one(&["", "NOT "])),
        5 => format!("note LIKE 'note {}%'", dice.below(10)),
        6 => dice
            .one(&["note LIKE '%7%'", "note LIKE '%o%7%'", "note NOT LIKE '%te%1%2%'"])
            .to_owned(),
        7 => format!("d BETWEEN DATE '2024-01-10' AND DATE '2024-02-{:02}'", 1 + dice.below(28)),
        8 => format!("a > {}", dice.below(400)),
        9 => format!("price < {}", dice.below(5_000)),
        10 => dice.one(&["ok", "NOT ok", "ok IS NOT TRUE"]).to_owned(),
        11 => format!("b IN ({}, {})", dice.below(8), dice.below(8)),
        12 => format!("NOT ({})", condition(dice, depth - 1)),
        13 => format!("({} AND {})", condition(dice, depth - 1), condition(dice, depth - 1)),
        _ => format!("({} OR {})", condition(dice, depth - 1), condition(dice, depth - 1)),
    }
}

fn query(dice: &mut Dice) -> String {
    let filter = match dice.below(3) {
        0 => String::new(),
        _ => format!(" WHERE {}", condition(dice, 2)),
    };
    let aggregates = "count(*), count(n), sum(n), min(n), max(note), avg(n), sum(price), \
                      min(d), max(price), sum(n * 2 + b), max(kind), sum(a), sum(fee), sum(fee * (1 - price)), avg(fee), \
                      avg(fee * 2 - b), sum(b * 3 - a)";
    match dice.below(14) {
        12 => format!(
            "WITH g AS (SELECT kind, sum(n) AS total, count(*) AS rows FROM t{filter} GROUP BY kind) \
             SELECT kind, total FROM g WHERE rows = (SELECT max(rows) FROM g)"
        ),
        13 => format!(
            "WITH g AS (SELECT b, min(n) AS least, sum(fee) AS fees FROM t{filter} GROUP BY b) \
             SELECT x.b AS one, y.b AS other, x.fees FROM g x JOIN g y ON x.least <= y.least AND x.b < y.b \
             UNION ALL SELECT b, least, fees FROM g"
        ),
        10 => format!(
            "SELECT x.name, t.kind, y.id, t.n FROM k x, t, k y WHERE t.a = x.id AND y.id = t.b * 3 \
             AND y.name <> x.name AND t.n > {} AND x.name LIKE '%{}'",
            dice.below(1_000_000).cast_signed() - 500_000,
            dice.below(10)
        ),
        0 => format!("SELECT * FROM t{filter}"),
        1 => format!("SELECT count(*) FROM t{filter}"),
        2 => format!("SELECT {aggregates} FROM t{filter}"),
        3 => {
            let key =
                dice.one(&["kind", "ok", "b", "a", "d", "kind, ok", "kind, b, ok", "note, b"]);
            format!("SELECT {key}, {aggregates} FROM t{filter} GROUP BY {key}")
        }
        4 => format!(
            "SELECT date_trunc('month', d) AS month, a % 7 AS seven, {aggregates} FROM t{filter} \
             GROUP BY month, seven"
        ),
        5 => format!("SELECT kind, count(*) FROM t{filter} GROUP BY kind HAVING count(*) > 3"),
        6 => {
            let order = dice.one(&[
                "n DESC NULLS LAST",
                "n",
                "n DESC NULLS FIRST",
                "fee DESC",
                "fee",
                "d DESC, fee DESC",
                "kind, n DESC",
                "price NULLS FIRST",
            ]);
            format!("SELECT * FROM t{filter} ORDER BY {order}, a, b LIMIT {}", 1 + dice.below(30))
        }
        7 => format!(
            "SELECT k.name, t.b, t.n FROM k JOIN t ON t.a = k.id WHERE k.id < {}",
            dice.below(60)
        ),
        8 => format!(
            "SELECT t.kind, count(*), sum(t.n) FROM t JOIN k ON t.n % 50 = k.id{filter} \
             GROUP BY t.kind"
        ),
        9 => format!(
            "SELECT kind, note FROM t WHERE a IN (SELECT id FROM k WHERE name LIKE '%{}')",
            dice.below(10)
        ),
        _ => {
            format!("SELECT sum(n), sum(a), sum(fee), count(DISTINCT kind), min(a) FROM t{filter}",)
        }
    }
}

/// Runs the same changes and queries on databases that differ in what scans do.
fn compare(seed: u64, options: &[ScanOptions], steps: usize) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (seed + 1));
    let mut plain = db(NONE);
    let mut others: Vec<Db> = options.iter().map(|options| db(*options)).collect();
    let mut on_all = |sql: &str| {
        for db in std::iter::once(&mut plain).chain(&mut others) {
            db.try_run(sql).unwrap_or_else(|error| panic!("seed {seed}: {sql}: {error}"));
        }
    };
    on_all(TABLES);
    for id in 0..60 {
        on_all(&format!("INSERT INTO k VALUES ({}, 'name {}')", id * 3, id % 13));
    }
    for step in 0..steps {
        let mut on_all = |sql: &str| {
            for db in std::iter::once(&mut plain).chain(&mut others) {
                db.try_run(sql).unwrap_or_else(|error| panic!("seed {seed}: {sql}: {error}"));
            }
        };
        on_all(&change(&mut dice));
        for _ in 0..2 {
            let sql = query(&mut dice);
            let wanted = plain.rows(&sql);
            for (db, options) in others.iter_mut().zip(options) {
                assert_eq!(db.rows(&sql), wanted, "seed {seed}, step {step}, {options:?}: {sql}");
            }
        }
    }
}

#[test]
fn scans_that_do_more_answer_like_scans_that_do_not() {
    for seed in 0..4 {
        compare(seed, &[ScanOptions::default()], 150);
    }
}

#[test]
fn each_thing_that_scans_do_stands_by_itself() {
    let each = [
        ScanOptions { shadows: true, ..NONE },
        ScanOptions { filters: true, ..NONE },
        ScanOptions { aggregates: true, ..NONE },
        ScanOptions { dynamic: true, ..NONE },
        ScanOptions { joins: true, ..NONE },
        ScanOptions { seeks: true, ..NONE },
        ScanOptions { small: true, ..NONE },
        ScanOptions { aggregates: true, shared: true, ..NONE },
    ];
    compare(77, &each, 150);
}

#[test]
fn explain_shows_who_filters_and_who_aggregates() {
    let mut db = db(ScanOptions::default());
    db.try_run(TABLES).unwrap();
    let plan = db.rows("EXPLAIN SELECT kind, count(*) FROM t WHERE n > 5 GROUP BY kind");
    assert!(plan.contains("SiltAggregate: gby=[kind]") && !plan.contains("FilterExec"), "{plan}");
    let plan = db.rows("EXPLAIN SELECT a FROM t WHERE n > 5 AND note LIKE '%x%'");
    assert!(plan.contains("filter=yes") && plan.contains("FilterExec: note"), "{plan}");
}

#[test]
fn equal_aggregates_of_one_plan_are_computed_once() {
    let mut db = db(ScanOptions::default());
    db.try_run(TABLES).unwrap();
    db.run(
        "INSERT INTO k SELECT value, 'name ' || (value % 7)::TEXT FROM generate_series(1, 5000)",
    );
    let groups =
        "SELECT name, count(*) AS rows, sum(id) AS total FROM k WHERE id > 2 GROUP BY name";
    let sql = format!(
        "WITH g AS ({groups}) SELECT name, total FROM g WHERE total = (SELECT max(total) FROM g)"
    );
    let plan = db.rows(&format!("EXPLAIN ANALYZE {sql}"));
    assert_eq!(plan.matches(", shared").count(), 2, "{plan}");
    assert!(plan.contains("taken_over=1") && plan.contains("taken_over=0"), "{plan}");
    assert!(db.rows(&sql).starts_with("name 2 "), "{}", db.rows(&sql));
    // Other rows, other functions and what changes from row to row are nobody else's.
    for other in [
        groups.replace("> 2", "> 3"),
        groups.replace("sum(id)", "min(id)"),
        groups.replace("sum(id)", "sum(random())"),
    ] {
        let sql = format!("SELECT * FROM ({groups}) UNION ALL SELECT * FROM ({other})");
        let plan = db.rows(&format!("EXPLAIN {sql}"));
        assert!(plan.contains("SiltAggregate") && !plan.contains("shared"), "{sql}: {plan}");
    }
    let volatile = groups.replace("sum(id)", "sum(random())");
    let plan = db
        .rows(&format!("EXPLAIN SELECT * FROM ({volatile}) UNION ALL SELECT * FROM ({volatile})"));
    assert!(!plan.contains("shared"), "{plan}");
}

#[test]
fn explain_analyze_shows_rows_hidden_and_whether_their_bitmap_was_there() {
    let mut db = db(ScanOptions::default());
    db.try_run(TABLES).unwrap();
    let rows: Vec<String> = (0..2_000).map(|id| format!("({id}, 'n')")).collect();
    db.run(&format!("INSERT INTO k VALUES {}", rows.join(", ")));
    db.run("UPDATE k SET name = 'm' WHERE id % 4 = 0");
    let sql = "EXPLAIN ANALYZE SELECT name FROM k";
    let first = db.rows(sql);
    assert!(first.contains("rows_hidden=500") && first.contains("shadows_cached=0"), "{first}");
    let second = db.rows(sql);
    assert!(second.contains("rows_hidden=500") && second.contains("shadows_built=0"), "{second}");
}

#[test]
fn joins_are_never_put_in_an_order_in_which_no_condition_connects_two_inputs() {
    let mut db = db(ScanOptions::default());
    db.try_run(TABLES).unwrap();
    let mut dice = Dice(5);
    for _ in 0..20 {
        db.try_run(&change(&mut dice)).unwrap();
    }
    db.run("INSERT INTO k VALUES (1, 'one'), (2, 'two'), (3, 'three')");
    let queries = [
        "SELECT sum(t.n) FROM t, k WHERE k.id = t.a AND k.name = 'one'
         AND t.n < (SELECT 0.2 * avg(u.n) FROM t u WHERE u.a = k.id)",
        "SELECT x.name FROM t, k x, k y WHERE t.a = x.id AND t.b = y.id AND y.name = 'two'",
        "SELECT t.n FROM t, k x, k y WHERE t.a = x.id AND x.id = y.id
         AND t.a IN (SELECT id FROM k WHERE name LIKE 't%')",
    ];
    for sql in queries {
        let plan = db.rows(&format!("EXPLAIN {sql}"));
        assert!(!plan.contains("NestedLoopJoin") && !plan.contains("CrossJoin"), "{sql}: {plan}");
    }
}

#[test]
fn walk_of_three_hops_is_walked_as_it_is_written() {
    let explain = |joins| {
        let mut db = db(ScanOptions { joins, ..ScanOptions::default() });
        db.try_run("CREATE TABLE edges (a TEXT, b TEXT, PRIMARY KEY (a, b))").unwrap();
        let edges: Vec<String> =
            (0..900).map(|n| format!("('n{}', 'n{}')", n / 3, n % 300)).collect();
        db.run(&format!("INSERT INTO edges VALUES {}", edges.join(", ")));
        db.rows(
            "EXPLAIN SELECT count(DISTINCT z.b) FROM edges x JOIN edges y ON y.a = x.b
             JOIN edges z ON z.a = y.b WHERE x.a = 'n7'",
        )
    };
    let walked = |plan: String| plan.split_once("physical_plan").unwrap().1.to_owned();
    assert_eq!(walked(explain(true)), walked(explain(false)));
}

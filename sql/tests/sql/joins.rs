//! Joins that seek a table by its key answer like joins that scan it, and EXPLAIN ANALYZE shows
//! which of both they did.

use silt_sql::{Params, ScanOptions, Session, Shared, SqlOptions, StatementResult};

use super::harness::{Db, db as empty, lines, shown};

/// 12,000 edges and 16,000 nodes in many files, and few rows that ask for them: NULLs, repetitions,
/// values that no node has.
const TABLES: &str = "
    CREATE TABLE edges (source TEXT, target TEXT, kind INTEGER, weight BIGINT,
        PRIMARY KEY (source, target));
    INSERT INTO edges SELECT 'n' || (value % 2000), 'n' || (value * 7 % 1999), value % 5, value
        FROM generate_series(1, 12000);
    CREATE TABLE nodes (id BIGINT PRIMARY KEY, name TEXT, score DOUBLE);
    INSERT INTO nodes SELECT value, 'n' || value, value / 8.0 FROM generate_series(0, 15999);
    CREATE TABLE reals (f DOUBLE PRIMARY KEY, n BIGINT);
    INSERT INTO reals SELECT value / 4.0, value FROM generate_series(-1000, 1000);
    INSERT INTO reals VALUES ('NaN'::DOUBLE, 7);
    CREATE TABLE asked (id BIGINT, who TEXT, small INTEGER, f DOUBLE, n BIGINT);
    INSERT INTO asked VALUES
        (NULL, 'n5', 3, 0.25, 0), (17, NULL, 4, -0.0, 1), (17, 'n17', NULL, 0.0, 2),
        (4000000000, 'n4', 5, 'NaN', 3), (-1, 'nobody', -1, NULL, 4), (18, 'n17', 18, 1.5, 5),
        (19, '', 19, 0.25, 6), (20, 'n1998', 20, 2.5, 7), (NULL, NULL, NULL, NULL, 8)";

fn db(seeks: bool) -> Db {
    let scan = ScanOptions { seeks, ..ScanOptions::default() };
    db_with(SqlOptions { threads: 2, scan, ..SqlOptions::default() })
}

fn db_with(options: SqlOptions) -> Db {
    let storage = silt_storage::Options {
        memtable_bytes: 128 << 10,
        file_bytes: 64 << 10,
        group_rows: 200,
        ..silt_storage::Options::default()
    };
    let mut db = Db { session: Session::new(Shared::in_memory(storage, options).unwrap()) };
    db.try_run(TABLES).unwrap();
    db
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let len = u64::try_from(of.len()).unwrap();
        of[usize::try_from(self.below(len)).unwrap()]
    }
}

fn change(dice: &mut Dice) -> String {
    let (some, other) = (dice.below(2_000), dice.below(12_000));
    match dice.below(5) {
        0 => format!("DELETE FROM edges WHERE source = 'n{some}'"),
        1 => format!(
            "UPDATE edges SET weight = -weight, kind = 2 WHERE weight % 97 = {}",
            other % 97
        ),
        2 => format!(
            "INSERT INTO edges VALUES ('n{some}', 'n{}', 1, {other}), ('n17', 'n{other}', 0, 1)
             ON CONFLICT (source, target) DO UPDATE SET weight = excluded.weight",
            other % 1_999
        ),
        3 => format!("DELETE FROM nodes WHERE id = {}", some % 25),
        _ => format!(
            "INSERT INTO nodes VALUES ({}, 'again', NULL) ON CONFLICT (id) DO UPDATE SET name = 'more'",
            some % 25
        ),
    }
}

/// Few rows or many, by one of several ways.
fn few(dice: &mut Dice) -> String {
    let number = dice.below(1_000);
    match dice.below(5) {
        0 => "asked".to_owned(),
        1 => format!("(SELECT * FROM asked WHERE n < {})", number % 10),
        2 => "(SELECT * FROM asked WHERE n > 100)".to_owned(),
        3 => format!(
            "(SELECT id, name AS who, CAST(id % 30 AS INTEGER) AS small, score AS f, id AS n
              FROM nodes WHERE id < {number})"
        ),
        _ => format!(
            "(SELECT weight % 40 AS id, target AS who, kind AS small, weight / 4.0 AS f, weight AS n
              FROM edges WHERE source = 'n{number}')"
        ),
    }
}

fn query(dice: &mut Dice) -> String {
    let (few, other) = (few(dice), few(dice));
    let join = dice.one(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "JOIN"]);
    let also =
        dice.one(&["", "", " AND e.kind = 2", " AND e.weight > a.n", " AND e.target > 'n3'"]);
    match dice.below(14) {
        0 => format!("SELECT a.n, e.* FROM {few} a {join} edges e ON e.source = a.who{also}"),
        1 => format!("SELECT a.n, e.* FROM edges e {join} {few} a ON e.source = a.who{also}"),
        2 => format!("SELECT a.*, k.name FROM {few} a {join} nodes k ON k.id = a.id"),
        3 => format!("SELECT a.*, k.name FROM nodes k {join} {few} a ON k.id = a.small"),
        4 => format!("SELECT a.n, r.n FROM {few} a {join} reals r ON r.f = a.f AND r.n < 900"),
        5 => {
            let no = dice.one(&["", "NOT "]);
            format!(
                "SELECT n FROM {few} a WHERE {no}EXISTS
                (SELECT 1 FROM edges e WHERE e.source = a.who{also})"
            )
        }
        6 => {
            let no = dice.one(&["", "NOT "]);
            format!("SELECT n FROM {few} a WHERE id {no}IN (SELECT id FROM nodes WHERE score > 2)")
        }
        7 => {
            let no = dice.one(&["", "NOT "]);
            format!("SELECT id, name FROM nodes WHERE id {no}IN (SELECT id FROM {few} b)")
        }
        8 => format!(
            "SELECT weight FROM edges WHERE source IN (SELECT who FROM {few} b)
            AND weight > 50"
        ),
        9 => format!(
            "SELECT e.weight, f.weight FROM {few} a JOIN edges e ON e.source = a.who
             JOIN edges f ON f.source = e.target WHERE e.kind <> 3"
        ),
        10 => format!(
            "SELECT count(*), sum(e.weight) FROM {few} a
             JOIN edges e ON e.source = a.who AND e.target = 'n' || (a.n * 7 % 1999)"
        ),
        11 => format!(
            "SELECT a.n, b.n, e.target FROM {few} a, {other} b, edges e
             WHERE e.source = a.who AND e.target = b.who"
        ),
        12 => format!(
            "SELECT k.id, a.n FROM {few} a JOIN nodes k ON k.id = a.id ORDER BY k.id DESC, a.n
             LIMIT 5"
        ),
        _ => format!(
            "WITH RECURSIVE reached(node, depth) AS (
               SELECT who, 1 FROM {few} b
               UNION
               SELECT e.target, r.depth + 1 FROM reached r JOIN edges e ON e.source = r.node
               WHERE r.depth < {})
             SELECT count(*), count(DISTINCT node), sum(depth) FROM reached",
            2 + dice.below(3)
        ),
    }
}

#[test]
fn joins_that_seek_answer_like_joins_that_scan() {
    let (mut seeking, mut scanning) = (db(true), db(false));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut sought = 0;
    for step in 0..70 {
        let sql = change(&mut dice);
        for db in [&mut seeking, &mut scanning] {
            db.try_run(&sql).unwrap_or_else(|error| panic!("step {step}: {sql}: {error}"));
        }
        for _ in 0..3 {
            let sql = query(&mut dice);
            assert_eq!(seeking.rows(&sql), scanning.rows(&sql), "step {step}: {sql}");
            sought += u32::from(seeking.rows(&format!("EXPLAIN {sql}")).contains("SiltIndexJoin"));
        }
    }
    assert!(sought > 70, "{sought} of 210 queries could seek");
}

/// Names and rows of a query.
fn answer(db: &mut Db, sql: &str) -> (Vec<String>, String) {
    let result = db.session.execute_one(sql, &Params::none());
    let result = result.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let StatementResult::Rows { schema, .. } = &result else { panic!("{sql} gives no rows") };
    let names = schema.fields().iter().map(|field| field.name().clone()).collect();
    (names, shown(lines(result).unwrap(), sql))
}

#[test]
fn small_queries_that_differ_in_their_literals_answer_each_for_its_own() {
    let mut kept = db(true);
    let options = SqlOptions { threads: 2, point_statements: false, ..SqlOptions::default() };
    let mut planned = db_with(options);
    for number in 0..6 {
        let (next, few) = (number + 1, number % 3 + 1);
        let texts = [
            format!(
                "SELECT count(DISTINCT b.target) FROM edges a JOIN edges b ON b.source = a.target
                 WHERE a.source = 'n{number}'"
            ),
            format!(
                "SELECT count(*), max(k.name) FROM asked a JOIN nodes k ON k.id = a.id
                 WHERE a.n < {next} AND k.score <> 2"
            ),
            format!(
                "WITH RECURSIVE reached(node, depth) AS (
                   SELECT target, 1 FROM edges WHERE source = 'n{number}'
                   UNION
                   SELECT e.target, r.depth + 1 FROM reached r JOIN edges e ON e.source = r.node
                   WHERE r.depth < {few})
                 SELECT count(*), max(depth) AS deepest FROM reached"
            ),
            format!(
                "SELECT kind = {few} AS one, count(*) FROM edges WHERE source = 'n{number}'
                 GROUP BY kind = {few}"
            ),
            format!(
                "SELECT weight > {number}, kind FROM edges WHERE source = 'n{number}'
                 ORDER BY weight LIMIT {next}"
            ),
            format!(
                "SELECT sum(weight) AS s FROM edges WHERE source IN ('n{number}', 'n{next}')
                 AND kind <> {few} HAVING count(*) > {few}"
            ),
            format!("SELECT count(*) FROM nodes WHERE id = '{number}' OR id = {next}"),
            format!("SELECT small + 0.5 AS h, count(*) FROM asked WHERE small >= {few} GROUP BY h"),
            format!("SELECT DISTINCT kind FROM edges WHERE source = 'n{number}' AND 1 = {few}"),
            // Of one table all rows.
            format!(
                "SELECT kind, count(*), sum(weight) FROM edges WHERE kind <> {few} GROUP BY kind"
            ),
            format!(
                "SELECT * FROM edges WHERE kind = {few} AND target <> 'n{number}'
                 ORDER BY weight DESC LIMIT 7"
            ),
            format!("SELECT count(*) FROM nodes WHERE score > {number} AND name LIKE '%{few}%'"),
            format!(
                "SELECT count(*), min(id) FROM nodes WHERE id > {number}000 AND id < {next}500"
            ),
        ];
        for sql in &texts {
            assert_eq!(answer(&mut kept, sql), answer(&mut planned, sql), "{sql}");
        }
        kept.run("UPDATE edges SET weight = weight + 1 WHERE source = 'n2'");
        planned.run("UPDATE edges SET weight = weight + 1 WHERE source = 'n2'");
    }
}

#[test]
fn texts_that_differ_in_their_times_answer_each_for_its_own() {
    let made = |point_statements| {
        let options = SqlOptions { threads: 2, point_statements, ..SqlOptions::default() };
        let mut db = db_with(options);
        db.try_run(
            "CREATE TABLE log (at TIMESTAMP, n BIGINT, day DATE, word TEXT, PRIMARY KEY (at, n));
             INSERT INTO log SELECT to_timestamp(1704067200 + value * 60), value,
               DATE '2024-01-01' + CAST(value % 50 AS INTEGER), 'DATE ''2024-01-0' || (value % 9)
             FROM generate_series(0, 15000)",
        )
        .unwrap();
        db
    };
    let (mut kept, mut planned) = (made(true), made(false));
    for day in 1..7 {
        let texts = [
            format!(
                "SELECT count(*), sum(n) FROM log WHERE at >= TIMESTAMP '2024-01-0{day}'
                 AND at < timestamp   '2024-01-0{day} 07:30:00'"
            ),
            format!(
                "SELECT count(*), min(n) FROM log WHERE day = DATE '2024-01-0{day}' AND n > {day}"
            ),
            format!("SELECT n, word FROM log WHERE at = TIMESTAMP '2024-01-0{day} 00:01:00'"),
            format!(
                "SELECT n FROM log WHERE at IN (TIMESTAMP '2024-01-0{day}', TIMESTAMP '2024-01-03')
                 ORDER BY n"
            ),
            format!(
                "SELECT count(*) FROM log WHERE day BETWEEN DATE '2024-01-02' AND DATE '2024-02-0{day}'"
            ),
            format!(
                "SELECT count(*) FROM log WHERE day < DATE '2024-01-0{day}' + INTERVAL '3 days'
                 AND at > '2024-01-0{day}'"
            ),
            format!("SELECT count(*) AS date FROM log WHERE word = 'DATE ''2024-01-0{day}'"),
            format!("SELECT count(*) FROM log l WHERE DATE '2024-01-0{day}' < l.day"),
            format!("SELECT count(*) FROM log WHERE n < -{day} + 100 AND -n > -{day}00"),
        ];
        for sql in &texts {
            assert_eq!(answer(&mut kept, sql), answer(&mut planned, sql), "{sql}");
        }
    }
    for wrong in ["TIMESTAMP 'noon'", "DATE '2024-13-01'", "TIMESTAMP ''"] {
        let sql = format!("SELECT count(*) FROM log WHERE at < {wrong}");
        for _ in 0..3 {
            let said = kept.try_run(&sql).unwrap_err().to_string();
            assert_eq!(said, planned.try_run(&sql).unwrap_err().to_string(), "{sql}");
        }
    }
}

#[test]
fn explain_analyze_shows_what_was_sought() {
    let mut db = db(true);
    let mut analyzed = |sql: &str| db.rows(&format!("EXPLAIN ANALYZE {sql}"));
    // A hop, and another from where it led.
    let plan = analyzed(
        "SELECT count(*) FROM edges a JOIN edges b ON b.source = a.target WHERE a.source = 'n7'",
    );
    assert!(plan.contains("SiltIndexJoin: table=edges, by 1 key column(s)"), "{plan}");
    assert!(plan.contains("keys_sought=6"), "{plan}");
    // Whole keys are got, and rows without one are not looked for.
    let plan = analyzed("SELECT a.n, k.name FROM asked a LEFT JOIN nodes k ON k.id = a.id");
    assert!(plan.contains("by whole key") && plan.contains("keys_sought=6"), "{plan}");
    assert!(plan.contains("gets=6"), "{plan}");
    // The round of a recursion.
    let plan = analyzed(
        "WITH RECURSIVE reached(node) AS (
           SELECT target FROM edges WHERE source = 'n7'
           UNION
           SELECT e.target FROM edges e JOIN reached r ON e.source = r.node)
         SELECT count(*) FROM reached",
    );
    assert!(plan.contains("SiltIndexJoin"), "{plan}");
    // Rows of the table that find no partner are wanted.
    let plan = analyzed("SELECT a.n, k.name FROM asked a RIGHT JOIN nodes k ON k.id = a.id");
    assert!(!plan.contains("SiltIndexJoin"), "{plan}");
}

#[test]
fn join_of_more_keys_than_were_expected_scans() {
    let mut db = db(true);
    let sql = "SELECT count(*), sum(e.weight) FROM nodes k JOIN edges e ON e.source = k.name
               WHERE k.name LIKE '%n1%' AND k.score >= 0 AND k.name <> 'n1' AND k.id % 2 = 0";
    let plan = db.rows(&format!("EXPLAIN ANALYZE {sql}"));
    let rows = db.rows(sql);
    let mut other = super::joins::db(false);
    assert_eq!(rows, other.rows(sql));
    assert!(!plan.contains("SiltIndexJoin") || plan.contains("scans=1"), "{plan}");
}

#[test]
fn zeroes_of_either_sign_are_joined() {
    for seeks in [true, false] {
        let sql = "SELECT a.n, r.n FROM (SELECT * FROM asked WHERE n < 3) a
                   JOIN reals r ON r.f = a.f AND r.n < 900";
        assert_eq!(db(seeks).rows(sql), "0 1\n1 0\n2 0", "{seeks}");
    }
}

#[test]
fn rows_found_by_key_pass_the_filters_that_the_scan_took_over() {
    for dynamic in [true, false] {
        let scan = ScanOptions { dynamic, seeks: !dynamic, ..ScanOptions::default() };
        let options = SqlOptions { threads: 2, scan, ..SqlOptions::default() };
        let storage = silt_storage::Options::default();
        let mut db = Db { session: Session::new(Shared::in_memory(storage, options).unwrap()) };
        db.try_run(TABLES).unwrap();
        let sql = "SELECT k.id, k.score FROM asked a JOIN nodes k ON k.id = a.id
                   WHERE k.score > 2.2";
        assert_eq!(db.rows(sql), "18 2.25\n19 2.375\n20 2.5");
        let sql = "SELECT k.id, k.name FROM asked a JOIN nodes k ON k.id = a.id
                   WHERE k.name > 'n18'";
        assert_eq!(db.rows(sql), "19 n19\n20 n20");
    }
}

/// 40,000 rows that name integers of narrow ranges, in four types, some of them NULL.
const FACTS: &str = "
    CREATE TABLE facts (id BIGINT PRIMARY KEY, big BIGINT, small INTEGER, tiny SMALLINT, day DATE,
        note TEXT);
    INSERT INTO facts SELECT value,
        CASE WHEN value % 11 = 0 THEN NULL ELSE value * 7919 % 9000 - 4000 END,
        CAST(value * 31 % 6000 - 100 AS INTEGER),
        CASE WHEN value % 13 = 0 THEN NULL ELSE CAST(value % 300 - 150 AS SMALLINT) END,
        CAST('2020-01-01' AS DATE) + CAST(value % 400 AS INTEGER), 'fact ' || value
        FROM generate_series(1, 40000);
    CREATE TABLE kinds (id BIGINT PRIMARY KEY, color BIGINT, small INTEGER, tiny SMALLINT, day DATE);
    INSERT INTO kinds SELECT value, value % 7, CAST(value + 0 AS INTEGER),
        CAST(value % 200 AS SMALLINT), CAST('2019-12-20' AS DATE) + CAST(value % 90 AS INTEGER)
        FROM generate_series(-4500, 5500)";

#[test]
fn joins_by_integers_of_a_narrow_range_answer_like_joins_without_dynamic_filters() {
    let made = |dynamic| {
        let scan = ScanOptions { dynamic, seeks: false, ..ScanOptions::default() };
        let options = SqlOptions { threads: 2, scan, ..SqlOptions::default() };
        let storage = silt_storage::Options {
            memtable_bytes: 1 << 20,
            group_rows: 2_000,
            ..silt_storage::Options::default()
        };
        let mut db = Db { session: Session::new(Shared::in_memory(storage, options).unwrap()) };
        db.try_run(FACTS).unwrap();
        db
    };
    let (mut narrowed, mut plain) = (made(true), made(false));
    let columns = [("big", "id"), ("small", "small"), ("tiny", "tiny"), ("day", "day")];
    let kinds = ["color = 3", "color < 4", "color = 3 AND id % 2 = 0", "id > 100 AND color > 5"];
    for round in 0..3 {
        for (fact, kind) in columns {
            for few in kinds {
                let few = format!("(SELECT * FROM kinds WHERE {few}) k");
                let on = format!("f.{fact} = k.{kind}");
                let queries = [
                    format!(
                        "SELECT count(*), sum(f.id), max(f.note) FROM facts f JOIN {few} ON {on}"
                    ),
                    format!(
                        "SELECT count(*), sum(f.id), min(k.color) FROM facts f LEFT JOIN {few} ON {on}"
                    ),
                    format!(
                        "SELECT count(*), sum(f.id), sum(k.id) FROM facts f RIGHT JOIN {few} ON {on}"
                    ),
                    format!(
                        "SELECT count(*), sum(f.id), sum(k.id) FROM facts f FULL JOIN {few} ON {on}"
                    ),
                    format!(
                        "SELECT count(*), sum(id) FROM facts f WHERE {fact} IN (SELECT {kind} FROM {few})"
                    ),
                    format!(
                        "SELECT count(*), sum(id) FROM facts f WHERE {fact} NOT IN (SELECT {kind} FROM {few})"
                    ),
                    format!(
                        "SELECT count(*), sum(id) FROM facts f WHERE NOT EXISTS (SELECT 1 FROM {few} WHERE {on})"
                    ),
                    format!(
                        "SELECT count(*), sum(f.id) FROM facts f JOIN {few} ON f.{fact} IS NOT DISTINCT FROM k.{kind}"
                    ),
                ];
                for sql in queries {
                    assert_eq!(narrowed.rows(&sql), plain.rows(&sql), "round {round}: {sql}");
                }
            }
        }
        // Beyond what the files' statistics tell, and over rows that they hold.
        for db in [&mut narrowed, &mut plain] {
            let next = 50_000 + round;
            db.run(&format!(
                "INSERT INTO facts VALUES ({next}, 9000000, 5000, -151, NULL, 'far'),
                    ({next}0, -9000000, 5001, 151, '1999-01-01', 'far') "
            ));
            db.run("UPDATE facts SET big = 2 * big WHERE id % 9 = 1");
            db.run(&format!("INSERT INTO kinds VALUES (9000000 + {round}, 3, 5001, -151, NULL)"));
            db.run("DELETE FROM kinds WHERE id % 17 = 4");
        }
    }
    // Six keys in seven are left out before the notes are decoded.
    let sql = "EXPLAIN ANALYZE SELECT max(f.note) FROM kinds k JOIN facts f ON f.big = k.id
               WHERE k.color = 3";
    let given = |plan: String| -> f64 {
        let scan = plan.lines().find(|line| line.contains("SiltScan: table=facts")).unwrap();
        let (_, rows) = scan.split_once("output_rows=").unwrap();
        let rows = rows.split_once(',').unwrap().0;
        let thousands = rows.strip_suffix(" K");
        let rows: f64 = thousands.unwrap_or(rows).parse().unwrap();
        if thousands.is_some() { rows * 1e3 } else { rows }
    };
    assert!(given(narrowed.rows(sql)) < 8e3 && given(plain.rows(sql)) > 39e3);
}

/// Conditions of a random chain or ring over four tables: equalities between columns, some of which
/// follow from others.
fn conditions(dice: &mut u64) -> String {
    let mut below = |bound: u64| {
        *dice ^= *dice << 13;
        *dice ^= *dice >> 7;
        *dice ^= *dice << 17;
        (*dice >> 11) % bound
    };
    let mut conditions = Vec::new();
    for other in 1..4_u64 {
        for _ in 0..=below(2) {
            let (table, columns) = (below(other), ["x", "y"]);
            let mut column = || columns[usize::try_from(below(2)).unwrap()];
            conditions.push(format!("j{table}.{} = j{other}.{}", column(), column()));
        }
    }
    if below(3) == 0 {
        conditions.push(format!("j{}.x + 1 = j3.y + j1.x", below(3)));
    }
    if below(3) == 0 {
        conditions.push(format!("j{}.n < {}", below(4), 20 + below(60)));
    }
    conditions.join(" AND ")
}

#[test]
fn joins_by_what_conditions_imply_answer_like_joins_as_they_are_written() {
    let db = |joins| {
        let scan = ScanOptions { joins, ..ScanOptions::default() };
        let options = SqlOptions { threads: 2, scan, ..SqlOptions::default() };
        let shared = Shared::in_memory(silt_storage::Options::default(), options).unwrap();
        let mut db = Db { session: Session::new(shared) };
        for (table, rows, x, y) in
            [("j0", 900, 31, 60), ("j1", 40, 40, 7), ("j2", 300, 50, 25), ("j3", 25, 9, 25)]
        {
            db.try_run(&format!(
                "CREATE TABLE {table} (id BIGINT PRIMARY KEY, x BIGINT, y BIGINT, n BIGINT)"
            ))
            .unwrap();
            db.run(&format!(
                "INSERT INTO {table} SELECT value, value % {x},
                 CASE WHEN value % 17 = 3 THEN NULL ELSE value * 7 % {y} END, value % 90
                 FROM generate_series(0, {}) AS s(value)",
                rows - 1
            ));
        }
        db
    };
    let (mut ordered, mut written) = (db(true), db(false));
    // A filter of `j1.y` must not be taken for one of `j0.y`, which stands beside it in a join.
    let alike = "SELECT count(*), sum(j0.id), sum(j1.id * j2.id), max(j3.id) FROM j0, j1, j2, j3
         WHERE j0.x = j1.y AND j1.y = j2.y AND j0.y = j2.x AND j1.y = j3.x AND j1.n < 65";
    for db in [&mut ordered, &mut written] {
        assert_eq!(db.rows(alike), "1221 430125 2970000 18");
    }
    // An equality of an expression over two inputs that are not joined by themselves stays one.
    let over_two = "SELECT count(*), sum(j0.id), sum(j1.id * j2.id), max(j3.id) FROM j0, j1, j2, j3
         WHERE j0.x = j1.y AND j0.y = j1.x AND j1.x = j2.y AND j0.y = j3.x AND j0.x + 1 = j3.y + j1.x";
    for db in [&mut ordered, &mut written] {
        assert_eq!(db.rows(over_two), "11 0 0 18");
    }
    let mut dice = 99;
    for _ in 0..150 {
        let sql = format!(
            "SELECT count(*), sum(j0.id), sum(j1.id * j2.id), max(j3.id) FROM j0, j1, j2, j3
             WHERE {}",
            conditions(&mut dice)
        );
        assert_eq!(ordered.rows(&sql), written.rows(&sql), "{sql}");
    }
}

#[test]
fn tables_are_joined_by_what_conditions_imply_where_that_leaves_fewer_rows() {
    let mut db = super::harness::db();
    db.try_run(
        "CREATE TABLE nations (n_id BIGINT PRIMARY KEY, n_size BIGINT);
         CREATE TABLE clients (c_id BIGINT PRIMARY KEY, c_nation BIGINT);
         CREATE TABLE makers (m_id BIGINT PRIMARY KEY, m_nation BIGINT);
         CREATE TABLE deals (d_id BIGINT PRIMARY KEY, d_client BIGINT, d_maker BIGINT);
         INSERT INTO nations SELECT value, value FROM generate_series(0, 24);
         INSERT INTO clients SELECT value, value % 25 FROM generate_series(0, 4999);
         INSERT INTO makers SELECT value, value % 25 FROM generate_series(0, 49);
         INSERT INTO deals SELECT value, value % 5000, value % 49 FROM generate_series(0, 49999)",
    )
    .unwrap();
    db.session.shared().engine().flush().unwrap();
    // That clients and nations have something in common, no condition says.
    let plan = db.rows(
        "EXPLAIN SELECT count(*) FROM clients, deals, makers, nations WHERE c_id = d_client
         AND m_id = d_maker AND c_nation = m_nation AND m_nation = n_id AND n_size = 7",
    );
    let joins = plan.lines().filter(|line| line.contains("HashJoinExec"));
    let by_nation: Vec<&str> =
        joins.filter(|line| line.contains("(n_id@") && line.contains("c_nation@")).collect();
    assert_eq!(by_nation.len(), 1, "{plan}");
}

/// Nothing is known of the values of columns in memtables. A join by one is not taken for nearly
/// empty, or what comes of it would be collected for the next join, however much that is.
#[test]
fn join_by_a_column_of_which_nothing_is_known_is_taken_to_give_rows() {
    let mut db = empty();
    db.run("CREATE TABLE few (id BIGINT PRIMARY KEY, name TEXT)");
    db.run("CREATE TABLE some (id BIGINT PRIMARY KEY, few BIGINT)");
    db.run("INSERT INTO few SELECT value, 'n' || value FROM generate_series(1, 25)");
    db.run("INSERT INTO some SELECT value, value % 25 + 1 FROM generate_series(1, 10000)");
    let said = db.rows("EXPLAIN VERBOSE SELECT name, some.id FROM few JOIN some ON few = few.id");
    let (_, plan) = said.split_once("physical_plan_with_stats").expect("a plan with statistics");
    let join = plan.lines().find(|line| line.contains("HashJoinExec")).expect("a join");
    let (_, rows) = join.split_once("Rows=Inexact(").expect("an estimate");
    let rows: u64 = rows.split(')').next().unwrap().parse().unwrap();
    assert!((1_000..=10_000).contains(&rows), "{join}");
}

/// A table of parts, who supplies which, and what was sold of whom.
fn supplies(narrows: bool) -> Db {
    let scan = ScanOptions { narrows, ..ScanOptions::default() };
    let options = SqlOptions { threads: 2, scan, ..SqlOptions::default() };
    let shared = Shared::in_memory(silt_storage::Options::default(), options).unwrap();
    let mut db = Db { session: Session::new(shared) };
    db.try_run(
        "CREATE TABLE parts (p_id BIGINT PRIMARY KEY, p_size BIGINT);
         CREATE TABLE supplies (s_part BIGINT, s_maker BIGINT, s_cost BIGINT,
             PRIMARY KEY (s_part, s_maker));
         CREATE TABLE sales (l_id BIGINT PRIMARY KEY, l_part BIGINT, l_maker BIGINT, l_number BIGINT);
         INSERT INTO parts SELECT value, value % 50 FROM generate_series(0, 19999);
         INSERT INTO supplies SELECT value / 4, value % 4 * 25 + value / 4 % 25, value % 97
             FROM generate_series(0, 79999);
         INSERT INTO sales SELECT value, value * 7919 % 20011, value % 100, value % 13
             FROM generate_series(0, 99999)",
    )
    .unwrap();
    db.session.shared().engine().flush().unwrap();
    db
}

#[test]
fn what_finds_no_partner_in_another_table_is_left_out_before_it_is_collected() {
    let mut db = supplies(true);
    let plan = db.rows(
        "EXPLAIN SELECT sum(s_cost) FROM parts, supplies, sales
         WHERE p_id = l_part AND s_part = l_part AND s_maker = l_maker AND p_size = 7",
    );
    let semi = |line: &&str| line.contains("Semi") && line.contains("s_part@0)");
    assert_eq!(plan.lines().filter(semi).count(), 1, "{plan}");
    let mut db = supplies(false);
    let plan = db.rows(
        "EXPLAIN SELECT sum(s_cost) FROM parts, supplies, sales
         WHERE p_id = l_part AND s_part = l_part AND s_maker = l_maker AND p_size = 7",
    );
    assert_eq!(plan.lines().filter(semi).count(), 0, "{plan}");
}

#[test]
fn joins_of_narrowed_inputs_answer_like_joins_of_all_rows() {
    let (mut narrowed, mut whole) = (supplies(true), supplies(false));
    for condition in [
        "p_size = 7",
        "p_size < 3 AND l_number <> 5",
        "p_size = 7 AND s_cost > 40",
        "p_size IN (1, 48) OR p_id = 3",
        "p_size = 70",
    ] {
        let sql = format!(
            "SELECT count(*), sum(s_cost * l_number), min(l_id), max(p_size), count(DISTINCT s_maker)
             FROM parts, supplies, sales
             WHERE p_id = l_part AND s_part = l_part AND s_maker = l_maker AND ({condition})"
        );
        let rows = narrowed.rows(&sql);
        assert_eq!(rows, whole.rows(&sql), "{sql}");
        assert_eq!(rows.starts_with("0 "), condition == "p_size = 70", "{rows}");
    }
}

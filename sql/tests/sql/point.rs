//! Statements that run without the planner mean what they mean with it.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::scalar::ScalarValue;
use silt_sql::{ErrorKind, Params, Prepared, Result, Session, Shared, SqlOptions, StatementResult};

use super::harness::{db, lines, shown};

/// The same database twice: with and without the short way.
pub(super) struct Both {
    short: Session,
    planned: Session,
}

fn session(point_statements: bool) -> Session {
    let options = SqlOptions { threads: 2, point_statements, ..SqlOptions::default() };
    Session::new(Shared::in_memory(silt_storage::Options::default(), options).unwrap())
}

impl Both {
    pub(super) fn new() -> Self {
        Self { short: session(true), planned: session(false) }
    }

    /// Runs a statement on both, as text and prepared, and compares what comes.
    #[track_caller]
    pub(super) fn run(&mut self, sql: &str, params: &Params) {
        let planned = outcome(self.planned.execute_one(sql, params), sql);
        let is_query = sql.starts_with("SELECT");
        // The first time a text is only noted; a change of rows must not happen twice.
        let times = if is_query { 3 } else { 1 };
        for _ in 0..times {
            let short = outcome(self.short.execute_one(sql, params), sql);
            assert_eq!(short, planned, "{sql} with {params:?}");
        }
        if is_query && let Ok(prepared) = self.short.prepare(sql) {
            for _ in 0..2 {
                let short = outcome(prepared.execute(params), sql);
                assert_eq!(short, planned, "{sql} prepared, with {params:?}");
            }
        }
    }

    /// As `run`, of a change that was prepared.
    #[track_caller]
    fn change(&mut self, prepared: &Prepared, sql: &str, params: &Params) {
        let planned = outcome(self.planned.execute_one(sql, params), sql);
        let short = outcome(prepared.execute(params), sql);
        assert_eq!(short, planned, "{sql} with {params:?}");
    }

    pub(super) fn flush(&self) {
        self.short.shared().engine().flush().unwrap();
        self.planned.shared().engine().flush().unwrap();
    }

    /// Runs a text once, and tells whether that went without the planner.
    pub(super) fn runs_short(&mut self, sql: &str) -> bool {
        let before = self.short_runs();
        lines(self.short.execute_one(sql, &Params::none()).unwrap()).unwrap();
        self.short_runs() > before
    }

    pub(super) fn short_runs(&self) -> u64 {
        self.short.shared().point_runs()
    }
}

/// Names, types and rows, a count, or what went wrong: in its kind, since which of several bad
/// values is met first is nobody's promise.
fn outcome(result: Result<StatementResult>, sql: &str) -> std::result::Result<String, ErrorKind> {
    let shown = match result {
        Ok(StatementResult::Count { tag, rows }) => Ok(format!("{tag} {rows}")),
        Ok(StatementResult::Rows { schema, stream }) => {
            let fields = schema.fields().iter();
            let head: Vec<_> =
                fields.map(|field| format!("{} {}", field.name(), field.data_type())).collect();
            lines(StatementResult::Rows { schema, stream })
                .map(|lines| format!("{}\n{}", head.join(", "), shown(lines, sql)))
        }
        Err(error) => Err(error),
    };
    shown.map_err(|error| error.kind())
}

/// Xorshift: the same numbers for the same seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(super) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

const KEY_TYPES: [&str; 14] = [
    "BOOLEAN",
    "TINYINT",
    "INT",
    "BIGINT",
    "UINTEGER",
    "UBIGINT",
    "REAL",
    "DOUBLE",
    "DECIMAL(6,2)",
    "TEXT",
    "VARCHAR(3)",
    "BLOB",
    "DATE",
    "TIMESTAMP",
];

/// A literal that a column of the type holds.
fn literal(random: &mut Random, sql_type: &str) -> String {
    let small = i64::try_from(random.below(9)).unwrap() - 3;
    match sql_type {
        "BOOLEAN" => (*random.pick(&["true", "false"])).to_owned(),
        "TINYINT" | "INT" => small.to_string(),
        "BIGINT" => match random.below(12) {
            0 => i64::MAX.to_string(),
            1 => (-i64::MAX).to_string(),
            _ => small.to_string(),
        },
        "UINTEGER" | "UBIGINT" => small.abs().to_string(),
        "REAL" | "DOUBLE" => format!("{small}.5"),
        "DECIMAL(6,2)" => format!("{small}.25"),
        "DATE" => format!("'2026-01-0{}'", 1 + random.below(9)),
        "TIMESTAMP" => format!("'2026-01-01 00:00:0{}.5'", random.below(9)),
        "BLOB" | "TEXT" | "VARCHAR(3)" => {
            format!("'{}'", random.pick(&["", "a", "ab", "b", "ä", "B", "a b"]))
        }
        other => panic!("no literal of type {other}"),
    }
}

/// A parameter that may or may not be comparable with a column of the type.
fn parameter(random: &mut Random, sql_type: &str) -> ScalarValue {
    let small = i64::try_from(random.below(9)).unwrap() - 3;
    let narrow = i32::try_from(small).unwrap();
    match random.below(14) {
        0 => ScalarValue::Null,
        1 => ScalarValue::Int64(None),
        2 => ScalarValue::Int64(Some(small)),
        3 => ScalarValue::Int32(Some(narrow)),
        4 => ScalarValue::Int64(Some(if random.one_in(2) { i64::MAX } else { 1 << 40 })),
        5 => ScalarValue::UInt64(Some(small.unsigned_abs())),
        6 => ScalarValue::Float64(Some(*random.pick(&[0.5, -0.0, 2.0, f64::NAN, 1.5]))),
        7 => ScalarValue::Utf8View(Some(literal(random, sql_type).trim_matches('\'').to_owned())),
        8 => ScalarValue::Utf8(Some((*random.pick(&["a", "ab", "2", "x"])).to_owned())),
        _ => match sql_type {
            "BOOLEAN" => ScalarValue::Boolean(Some(small > 0)),
            "TINYINT" => ScalarValue::Int8(Some(i8::try_from(small).unwrap())),
            "INT" => ScalarValue::Int32(Some(narrow)),
            "UINTEGER" => ScalarValue::UInt32(Some(narrow.unsigned_abs())),
            "UBIGINT" => ScalarValue::UInt64(Some(small.unsigned_abs())),
            "REAL" => ScalarValue::Float32(Some(0.5)),
            "DOUBLE" => ScalarValue::Float64(Some(0.5)),
            "DECIMAL(6,2)" => ScalarValue::Decimal128(Some(i128::from(small) * 100 + 25), 6, 2),
            "TEXT" | "VARCHAR(3)" => ScalarValue::Utf8View(Some("ab".to_owned())),
            "BLOB" => ScalarValue::BinaryView(Some(b"ab".to_vec())),
            "DATE" => ScalarValue::Date32(Some(20_454 + narrow)),
            "TIMESTAMP" => ScalarValue::TimestampMicrosecond(Some(1_767_225_600_500_000), None),
            _ => ScalarValue::Int64(Some(small)),
        },
    }
}

/// A table with a key of random types.
struct Table {
    key: Vec<(&'static str, bool)>,
}

impl Table {
    fn new(random: &mut Random) -> Self {
        let columns = 1 + random.below(3);
        Self { key: (0..columns).map(|_| (*random.pick(&KEY_TYPES), random.one_in(3))).collect() }
    }

    fn create(&self) -> String {
        let columns = self.key.iter().enumerate();
        let columns: Vec<_> =
            columns.map(|(index, (sql_type, _))| format!("k{index} {sql_type}")).collect();
        let key: Vec<_> = (0..self.key.len())
            .map(|index| format!("k{index}{}", if self.key[index].1 { " DESC" } else { "" }))
            .collect();
        format!(
            "CREATE TABLE t (v BIGINT, {}, w TEXT DEFAULT 'none', d DOUBLE, PRIMARY KEY ({}))",
            columns.join(", "),
            key.join(", ")
        )
    }

    fn row(&self, random: &mut Random) -> String {
        let key: Vec<_> = self.key.iter().map(|(sql_type, _)| literal(random, sql_type)).collect();
        let v = *random.pick(&["1", "2", "NULL", "-7"]);
        let w = *random.pick(&["'it''s'", "DEFAULT", "NULL", "'x'"]);
        let d = *random.pick(&["0.5", "NULL", "-1.25"]);
        format!("({v}, {}, {w}, {d})", key.join(", "))
    }

    /// A value as a literal or a parameter.
    fn value(&self, random: &mut Random, index: usize, params: &mut Params) -> String {
        let (sql_type, _) = self.key[index];
        if random.one_in(2) {
            return literal(random, sql_type);
        }
        params.push(parameter(random, sql_type));
        format!("${}", params.values().len())
    }

    fn predicates(&self, random: &mut Random, params: &mut Params) -> String {
        let mut predicates = Vec::new();
        let columns =
            if random.one_in(3) { random.below(self.key.len() + 1) } else { self.key.len() };
        for index in 0..columns {
            predicates.push(match random.below(6) {
                0 => {
                    let list: Vec<_> = (0..1 + random.below(5))
                        .map(|_| self.value(random, index, params))
                        .collect();
                    format!("k{index} IN ({})", list.join(", "))
                }
                1 => {
                    let value = self.value(random, index, params);
                    format!("{value} {} k{index}", random.pick(&["=", "<", ">="]))
                }
                _ => format!("k{index} = {}", self.value(random, index, params)),
            });
        }
        if columns < self.key.len() || random.one_in(6) {
            let index = columns.min(self.key.len() - 1);
            match random.below(4) {
                0 => {
                    let (low, high) =
                        (self.value(random, index, params), self.value(random, index, params));
                    predicates.push(format!("k{index} BETWEEN {low} AND {high}"));
                }
                1 | 2 => {
                    let op = *random.pick(&["<", "<=", ">", ">="]);
                    predicates.push(format!("k{index} {op} {}", self.value(random, index, params)));
                }
                _ => {}
            }
        }
        if random.one_in(8) {
            predicates.push("v IS NOT NULL".to_owned());
        }
        if predicates.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", predicates.join(" AND "))
        }
    }

    fn select(&self, random: &mut Random) -> (String, Params) {
        let mut params = Params::none();
        let columns =
            *random.pick(&["*", "w, v", "k0, d", "v AS a, k0 AS b", "count(*)", "v + 1", "v, v"]);
        let from = *random.pick(&["t", "t AS x", "main.t", "(SELECT * FROM t)"]);
        let predicates = self.predicates(random, &mut params);
        let mut sql = format!("SELECT {columns} FROM {from}{predicates}");
        if random.one_in(6) {
            let sql = format!("SELECT k0, count(*), sum(v) FROM {from}{predicates} GROUP BY k0");
            return (sql, params);
        }
        if random.one_in(2) && columns != "count(*)" {
            let reverse = random.one_in(2);
            let key: Vec<_> = self
                .key
                .iter()
                .enumerate()
                .map(|(index, (_, descending))| {
                    let descending = *descending != reverse || random.one_in(9);
                    format!("k{index} {}", if descending { "DESC" } else { "ASC" })
                })
                .collect();
            sql.push_str(&format!(" ORDER BY {}", key.join(", ")));
            if random.one_in(2) {
                sql.push_str(&format!(" LIMIT {}", random.below(5)));
                if random.one_in(2) {
                    sql.push_str(&format!(" OFFSET {}", random.below(3)));
                }
            } else if random.one_in(2) {
                let limit = *random.pick(&[Some(0), Some(2), None, Some(-1)]);
                params.push(ScalarValue::Int64(limit));
                sql.push_str(&format!(" LIMIT ${}", params.values().len()));
            }
        }
        (sql, params)
    }

    fn change(&self, random: &mut Random) -> (String, Params) {
        let mut params = Params::none();
        let sql = match random.below(8) {
            0 => format!("DELETE FROM t{}", self.predicates(random, &mut params)),
            1 | 2 => {
                let value = match random.below(3) {
                    0 => "v + 1".to_owned(),
                    1 => "7".to_owned(),
                    _ => {
                        params.push(parameter(random, "BIGINT"));
                        format!("${}", params.values().len())
                    }
                };
                let assigned = *random.pick(&["", ", w = DEFAULT", ", w = w || '!'", ", d = v"]);
                let predicates = self.predicates(random, &mut params);
                format!("UPDATE t SET v = {value}{assigned}{predicates}")
            }
            3 => {
                let value = self.value(random, 0, &mut params);
                let predicates = self.predicates(random, &mut params);
                format!("UPDATE t SET k0 = {value}{predicates}")
            }
            _ => {
                let rows: Vec<_> = (0..1 + random.below(3)).map(|_| self.row(random)).collect();
                let (insert, conflict) = *random.pick(&[
                    ("INSERT", ""),
                    ("INSERT", " ON CONFLICT DO NOTHING"),
                    ("INSERT OR REPLACE", ""),
                    (
                        "INSERT",
                        " ON CONFLICT DO UPDATE SET v = excluded.v, w = excluded.w, d = excluded.d",
                    ),
                    ("INSERT", " ON CONFLICT DO UPDATE SET v = t.v + 10, w = excluded.w || '+'"),
                    ("INSERT", " ON CONFLICT DO UPDATE SET d = 1 WHERE t.v > 1"),
                ]);
                format!("{insert} INTO t VALUES {}{conflict}", rows.join(", "))
            }
        };
        (sql, params)
    }
}

#[test]
fn random_statements_give_what_the_planner_gives() {
    for seed in 1..=10_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let table = Table::new(&mut random);
        let mut both = Both::new();
        let none = Params::none();
        both.run(&table.create(), &none);
        for step in 0..100 {
            let (sql, params) = match random.one_in(3) {
                true => table.change(&mut random),
                false => table.select(&mut random),
            };
            both.run(&sql, &params);
            if step % 40 == 20 {
                both.flush();
            }
        }
        both.run("SELECT * FROM t", &none);
        assert!(both.short_runs() > 0, "seed {seed}: {}", table.create());
    }
}

#[test]
fn prepared_changes_do_what_the_planner_does() {
    for seed in 1..=10_u64 {
        let mut random = Random(seed.wrapping_mul(0xd134_2543_de82_ef95));
        let table = Table::new(&mut random);
        let mut both = Both::new();
        let none = Params::none();
        both.run(&table.create(), &none);
        for _ in 0..20 {
            let (sql, params) = table.change(&mut random);
            let Ok(prepared) = both.short.prepare(&sql) else { continue };
            for _ in 0..2 {
                both.change(&prepared, &sql, &params);
            }
        }
        both.run("SELECT * FROM t", &none);
    }
}

#[test]
fn the_short_way_is_taken_where_keys_are_named() {
    let mut db = db();
    db.run("CREATE TABLE t (a BIGINT, b TEXT, v INT, PRIMARY KEY (a, b))");
    let mut count = 0;
    for (sql, params) in [
        ("INSERT INTO t VALUES (1, 'x', 1), (1, 'y', 2), (2, 'x', NULL)", vec![]),
        (
            "SELECT v FROM t WHERE a = ? AND b = ?",
            vec![ScalarValue::from(1_i32), ScalarValue::from("x")],
        ),
        ("SELECT v FROM t WHERE a = 1 AND b = 'y'", vec![]),
        ("SELECT * FROM t WHERE a IN (1, 2) AND b IN ('x', 'z')", vec![]),
        ("SELECT * FROM t WHERE a = 1 ORDER BY b DESC LIMIT 1", vec![]),
        ("SELECT * FROM t WHERE a = 1 AND b >= 'x' AND b < 'z'", vec![]),
        ("SELECT * FROM t ORDER BY a, b LIMIT 2", vec![]),
        ("UPDATE t SET v = v + 1 WHERE a = 1 AND b = 'x'", vec![]),
        (
            "UPDATE t SET v = ? WHERE a = ? AND b = ?",
            vec![ScalarValue::from(9_i32), ScalarValue::from(2_i64), ScalarValue::from("x")],
        ),
        ("DELETE FROM t WHERE a = 2 AND b = 'x'", vec![]),
        (
            "INSERT OR REPLACE INTO t (b, a) VALUES (?, ?)",
            vec![ScalarValue::from("q"), ScalarValue::from(7_i64)],
        ),
    ] {
        let params = Params::positional(params);
        // Once noted, once run.
        for _ in 0..2 {
            if let Ok(result) = db.session.execute_one(sql, &params) {
                lines(result).unwrap();
            }
        }
        let runs = db.session.shared().point_runs();
        assert!(runs > count, "{sql} went the planned way");
        count = runs;
    }
    assert_eq!(db.rows("SELECT * FROM t"), "1 x 3\n1 y 2\n7 q NULL");
}

#[test]
fn texts_that_differ_in_more_than_literals_are_not_mistaken() {
    let mut db = db();
    db.run(
        "CREATE TABLE t (a BIGINT PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'x'), (2, '3')",
    );
    for _ in 0..3 {
        assert_eq!(db.rows("SELECT v FROM t WHERE a = 1"), "x");
        assert_eq!(db.rows("SELECT v FROM t WHERE a = 2"), "3");
        assert_eq!(db.rows("SELECT v FROM t WHERE a = '2'"), "3");
        assert_eq!(db.rows("SELECT a FROM t WHERE a = 1 AND v = 'x' -- and 'y'"), "1");
        assert_eq!(db.rows("SELECT a FROM t WHERE v = '3'"), "2");
        assert_eq!(db.rows("SELECT 5 AS n, a = 1 FROM t WHERE a = 1"), "5 true");
        assert_eq!(db.rows("SELECT a FROM t WHERE a = 1.0"), "1");
        assert_eq!(db.rows("SELECT a FROM t WHERE a = 1 + 1"), "2");
        assert_eq!(db.rows("SELECT a FROM t WHERE a = -1 OR a = 1"), "1");
        assert_eq!(db.rows("SELECT v FROM t WHERE a = 99999999999999999999"), "");
        assert_eq!(db.error("SELECT v FROM t WHERE a = 'one'").kind(), ErrorKind::Invalid);
    }
}

#[test]
fn a_compiled_statement_follows_the_catalog() {
    let mut db = db();
    db.run("CREATE TABLE t (a BIGINT PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'old')");
    let prepared = db.session.prepare("SELECT * FROM t WHERE a = ?").unwrap();
    let params = Params::positional(vec![ScalarValue::from(1_i64)]);
    let run = || lines(prepared.execute(&params)?);
    assert_eq!(run().unwrap(), ["1 old"]);
    db.run("TRUNCATE t");
    assert_eq!(run().unwrap(), Vec::<String>::new());
    db.run("DROP TABLE t");
    assert_eq!(run().unwrap_err().kind(), ErrorKind::NotFound);
    db.run("CREATE TABLE t (w INT, a TEXT PRIMARY KEY); INSERT INTO t VALUES (5, '1')");
    assert_eq!(run().unwrap(), ["5 1"]);
}

#[test]
fn a_scan_keeps_the_rows_of_its_moment() {
    let mut db = db();
    db.run("CREATE TABLE t (a BIGINT, b BIGINT, PRIMARY KEY (a, b))");
    db.run("INSERT INTO t VALUES (1, 1), (1, 2), (1, 3), (2, 1)");
    let prepared = db.session.prepare("SELECT b FROM t WHERE a = ? ORDER BY b").unwrap();
    let result = prepared.execute(&Params::positional(vec![ScalarValue::from(1_i64)])).unwrap();
    db.run("DELETE FROM t");
    assert_eq!(lines(result).unwrap(), ["1", "2", "3"]);
}

#[test]
fn defaults_and_functions_are_evaluated_by_every_run() {
    let mut db = db();
    db.run("CREATE TABLE t (a BIGINT PRIMARY KEY, at TIMESTAMP DEFAULT now(), v TEXT DEFAULT 'd')");
    let prepared = db.session.prepare("INSERT INTO t (a) VALUES (?)").unwrap();
    for a in 0..3_i64 {
        prepared.execute(&Params::positional(vec![ScalarValue::from(a)])).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(db.session.shared().point_runs() >= 3);
    assert_eq!(db.rows("SELECT count(DISTINCT at), min(v) FROM t"), "3 d");
    let prepared = db.session.prepare("SELECT a FROM t WHERE a = 1 AND at < now()").unwrap();
    assert_eq!(lines(prepared.execute(&Params::none()).unwrap()).unwrap(), ["1"]);
}

#[test]
fn many_sets_of_parameters_are_one_statement() {
    let mut db = db();
    db.run("CREATE TABLE t (a BIGINT PRIMARY KEY, v TEXT NOT NULL, n INT DEFAULT 4)");
    let sets = |rows: &[(i64, Option<&str>)]| -> Vec<Params> {
        let set = |(a, v): &(i64, Option<&str>)| {
            Params::positional(vec![
                ScalarValue::from(*a),
                ScalarValue::Utf8View(v.map(str::to_owned)),
            ])
        };
        rows.iter().map(set).collect()
    };
    let insert = db.session.prepare("INSERT INTO t (a, v) VALUES (?, ?)").unwrap();
    assert_eq!(insert.execute_many(&sets(&[(1, Some("x")), (2, Some("y"))])).unwrap(), 2);
    assert_eq!(insert.execute_many(&[]).unwrap(), 0);
    let error = insert.execute_many(&sets(&[(3, Some("z")), (1, Some("again"))])).unwrap_err();
    assert_eq!(error.message(), "duplicate key (a) = (1) in table t");
    let error = insert.execute_many(&sets(&[(3, Some("z")), (4, None)])).unwrap_err();
    assert_eq!(error.message(), "column \"v\" of table t may not be NULL");
    let error = insert.execute_many(&[Params::positional(vec![ScalarValue::from(3_i64)])]);
    assert_eq!(error.unwrap_err().message(), "parameter $2 has no value: 1 was given");
    assert_eq!(db.rows("SELECT * FROM t"), "1 x 4\n2 y 4");
    let upsert = "INSERT INTO t VALUES (:a, :v, 5)
        ON CONFLICT (a) DO UPDATE SET v = excluded.v, n = excluded.n";
    let upsert = db.session.prepare(upsert).unwrap();
    let batch = RecordBatch::try_from_iter([
        ("v", Arc::new(StringArray::from(vec!["new", "two"])) as ArrayRef),
        ("a", Arc::new(Int32Array::from(vec![9, 2])) as ArrayRef),
    ]);
    let batch = batch.unwrap();
    assert_eq!(upsert.execute_batch(&batch).unwrap(), 2);
    assert_eq!(db.rows("SELECT * FROM t"), "1 x 4\n2 two 5\n9 new 5");
    let update = db.session.prepare("UPDATE t SET v = ? WHERE a = ?").unwrap();
    assert_eq!(
        update.execute_many(&sets(&[(1, None)])).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}

#[test]
fn rows_are_found_by_key_without_sql() {
    let mut db = db();
    db.run("CREATE TABLE t (v DOUBLE, b TEXT, a INT, PRIMARY KEY (a, b DESC))");
    let table = db.session.table("t").unwrap();
    let key = |a: i64, b: &str| [ScalarValue::from(a), ScalarValue::from(b)];
    for (a, b) in [(1, "x"), (1, "y"), (2, "x"), (-1, "z")] {
        let value = ScalarValue::from(f64::from(i32::try_from(a).unwrap()));
        let [a, b] = key(a, b);
        table.upsert(&[value, b, a]).unwrap();
    }
    table.upsert(&[ScalarValue::Null, ScalarValue::from("y"), ScalarValue::from(1_i64)]).unwrap();
    table.delete(&key(2, "x")).unwrap();
    table.delete(&key(7, "x")).unwrap();
    assert_eq!(db.rows("SELECT a, b, v FROM t ORDER BY a, b DESC"), "-1 z -1.0\n1 y NULL\n1 x 1.0");

    let some = table.with_columns(&["a", "v"]).unwrap();
    let found = some.get(&key(1, "x")).unwrap().unwrap();
    assert_eq!(found.value(0).unwrap(), ScalarValue::Int32(Some(1)));
    assert_eq!(found.value(1).unwrap(), ScalarValue::Float64(Some(1.0)));
    assert!(table.get(&key(2, "x")).unwrap().is_none());
    assert!(table.get(&key(1 << 40, "x")).unwrap().is_none());
    assert!(table.get(&[ScalarValue::Null, ScalarValue::from("x")]).unwrap().is_none());
    assert_eq!(table.get(&key(1, "x")[..1]).unwrap_err().kind(), ErrorKind::Invalid);

    let keys = [key(1, "x"), key(3, "x"), key(-1, "z"), key(1 << 40, ""), key(1, "x")];
    let (batch, places) = some.get_many(keys.iter().map(<[_; 2]>::as_slice)).unwrap();
    assert_eq!(batch.num_rows(), 3);
    let found: Vec<_> = places.iter().map(Option::is_some).collect();
    assert_eq!(found, [true, false, true, false, true]);

    let rows = |stream: silt_sql::RowStream, schema| {
        lines(StatementResult::Rows { schema, stream }).unwrap()
    };
    let one = [ScalarValue::from(1_i64)];
    assert_eq!(rows(some.scan(&one).unwrap(), some.schema()), ["1 NULL", "1 1.0"]);
    assert_eq!(rows(some.scan(&[]).unwrap(), some.schema()).len(), 3);
    let between = some.scan_between(&[ScalarValue::from(-5_i64)], &key(1, "x")).unwrap();
    assert_eq!(rows(between, some.schema()), ["-1 -1.0", "1 NULL"]);
    let last =
        |prefix: &[ScalarValue], count| rows(some.last(prefix, count).unwrap(), some.schema());
    assert_eq!(last(&one, 1), ["1 1.0"]);
    assert_eq!(last(&[], 2), ["1 1.0", "1 NULL"]);
    assert_eq!(last(&[], 9), ["1 1.0", "1 NULL", "-1 -1.0"]);
    assert!(last(&one, 0).is_empty() && last(&[ScalarValue::from(7_i64)], 9).is_empty());

    db.run("TRUNCATE t");
    assert!(table.get(&key(1, "x")).unwrap().is_none());
    db.run("DROP TABLE t");
    assert_eq!(table.get(&key(1, "x")).unwrap_err().kind(), ErrorKind::NotFound);
    db.run("CREATE TABLE log (line TEXT)");
    assert_eq!(db.session.table("log").unwrap_err().kind(), ErrorKind::Invalid);
}

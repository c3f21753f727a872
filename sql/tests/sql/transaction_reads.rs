//! Within a transaction every way of reading sees what it would see if each statement had been
//! committed: random statements on two databases, one of which commits each of them.

use datafusion::scalar::ScalarValue;
use silt_sql::{ErrorKind, Params, Prepared, Result, ScanOptions, Session, Shared, SqlOptions};
use silt_storage::Options;

use super::harness::{Db, lines, shown};

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn open(storage: &Options, scan: ScanOptions, point_statements: bool) -> Db {
    let options = SqlOptions { threads: 2, scan, point_statements, ..SqlOptions::default() };
    let shared = Shared::in_memory(storage.clone(), options).unwrap();
    let mut db = Db { session: Session::new(shared) };
    db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, k INT, v TEXT)");
    db.run("CREATE TABLE log (line TEXT, n INT)");
    // Some rows in the last level, newer versions in level 0, the newest in a memtable.
    let row = "value, value % 7, 'v' || (value % 5)";
    db.run(&format!("INSERT INTO t SELECT {row} FROM generate_series(1, 3000)"));
    db.run("INSERT INTO log SELECT 'line ' || value, value FROM generate_series(1, 500)");
    let engine = db.session.shared().engine().clone();
    engine.flush().unwrap();
    engine.trees().into_iter().for_each(|tree| engine.compact(tree).unwrap());
    db.run("UPDATE t SET v = 'w' || (id % 5) WHERE id % 10 = 3; DELETE FROM t WHERE id % 50 = 7");
    engine.flush().unwrap();
    db.run("UPDATE t SET k = k + 1 WHERE id BETWEEN 400 AND 450; INSERT INTO log VALUES ('m', 0)");
    db
}

/// One statement that changes rows.
fn statement(dice: &mut Dice) -> String {
    let id = dice.below(3_200);
    let near = id + dice.below(40);
    match dice.below(14) {
        0 => format!("INSERT INTO t VALUES ({}, 1, 'new')", 3_000 + dice.below(400)),
        1 => format!("INSERT OR REPLACE INTO t VALUES ({id}, 2, 'replaced')"),
        2 => format!("INSERT OR IGNORE INTO t VALUES ({id}, 3, 'kept'), ({near}1, 3, 'ignored')"),
        3 => format!(
            "INSERT INTO t VALUES ({id}, 5, 'x') \
             ON CONFLICT (id) DO UPDATE SET k = t.k + excluded.k, v = t.v || excluded.v"
        ),
        4 => format!("UPDATE t SET v = v || '!' WHERE id = {id}"),
        5 => format!("UPDATE t SET k = k + 1 WHERE id BETWEEN {id} AND {near}"),
        6 => format!("UPDATE t SET id = id + 5000 WHERE id BETWEEN {id} AND {near}"),
        7 => format!("DELETE FROM t WHERE id = {id}"),
        8 => format!("DELETE FROM t WHERE id BETWEEN {id} AND {near}"),
        9 => format!("DELETE FROM t WHERE k = {} AND id > {id}", dice.below(12)),
        10 => format!(
            "INSERT INTO t SELECT value + {}, value % 9, 'many' FROM generate_series(1, {})",
            10_000 + dice.below(20_000),
            dice.below(4_000)
        ),
        11 => format!("INSERT INTO log VALUES ('one', {id}), ('two', {near})"),
        12 => format!("DELETE FROM log WHERE n % 50 = {}", dice.below(50)),
        _ if dice.below(6) == 0 => "TRUNCATE log".to_owned(),
        _ => format!("UPDATE log SET n = n + 1 WHERE n < {}", dice.below(200)),
    }
}

/// Questions that reach the rows in every way there is.
fn questions(dice: &mut Dice) -> Vec<String> {
    let id = dice.below(3_200);
    let near = id + dice.below(100);
    vec![
        format!("SELECT * FROM t WHERE id = {id}"),
        format!("SELECT * FROM t WHERE id IN ({id}, {near}, {}, 3001, 12000)", id + 5_000),
        format!("SELECT * FROM t WHERE id BETWEEN {id} AND {near} ORDER BY id"),
        format!("SELECT * FROM t WHERE id >= {id} ORDER BY id DESC LIMIT 5"),
        "SELECT id FROM t ORDER BY id DESC LIMIT 3".to_owned(),
        "SELECT count(*) FROM t".to_owned(),
        "SELECT min(id), max(id), min(v), max(k) FROM t".to_owned(),
        "SELECT k, count(*), sum(id), min(v) FROM t GROUP BY k ORDER BY k".to_owned(),
        "SELECT v, count(*) FROM t GROUP BY v ORDER BY v".to_owned(),
        format!("SELECT count(*), sum(id) FROM t WHERE k = {}", dice.below(9)),
        "SELECT count(*), min(id) FROM t WHERE v LIKE 'w%' AND k IN (1, 2, 3)".to_owned(),
        "SELECT id FROM t WHERE v = 'many' ORDER BY k, id LIMIT 4".to_owned(),
        "SELECT count(*), sum(a.k), sum(l.n) FROM t a JOIN log l ON a.id = l.n".to_owned(),
        format!("SELECT count(*) FROM t a JOIN t b ON a.id = b.k WHERE b.id < {near}"),
        format!("SELECT count(*) FROM t WHERE id IN (SELECT n FROM log WHERE n < {id})"),
        "SELECT count(*), min(line), max(n), sum(n) FROM log".to_owned(),
        "SELECT line, n FROM log ORDER BY n, line LIMIT 3".to_owned(),
    ]
}

fn ask(db: &mut Db, sql: &str) -> Result<String> {
    let result = db.session.execute_one(sql, &Params::none())?;
    Ok(shown(lines(result)?, sql))
}

fn outcome(db: &mut Db, sql: &str) -> Result<u64, (ErrorKind, String)> {
    match db.session.execute_one(sql, &Params::none()) {
        Ok(silt_sql::StatementResult::Count { rows, .. }) => Ok(rows),
        Ok(other) => panic!("{sql}: {other:?}"),
        Err(error) => Err((error.kind(), error.message().to_owned())),
    }
}

/// By key without SQL, and by a statement prepared before the transaction.
fn by_key(db: &Db, prepared: &Prepared, id: u64) -> String {
    let id = ScalarValue::Int64(Some(i64::try_from(id).unwrap()));
    let params = Params::positional(vec![id.clone()]);
    let mut text = lines(prepared.execute(&params).unwrap()).unwrap().join("\n");
    let table = db.session.table("t").unwrap();
    if let Some(row) = table.get(std::slice::from_ref(&id)).unwrap() {
        text += &format!("|{:?}", (row.value(1).unwrap(), row.value(2).unwrap()));
    }
    let scanned = table.scan_between(&[id], &[ScalarValue::Int64(Some(40_000))]).unwrap();
    text + &format!("|{}", scanned.map(|batch| batch.unwrap().num_rows()).sum::<usize>())
}

fn compare(seed: u64, storage: &Options, scan: ScanOptions, point_statements: bool) {
    let dice = &mut Dice(seed);
    let mut inside = open(storage, scan, point_statements);
    let mut committed = open(storage, ScanOptions::default(), point_statements);
    let mut outside = inside.other();
    let all = "SELECT * FROM t ORDER BY id";
    let get = "SELECT * FROM t WHERE id = ?";
    let gets = [&inside, &committed].map(|db| db.session.prepare(get).unwrap());
    for round in 0..2 {
        let before =
            (ask(&mut inside, all).unwrap(), ask(&mut inside, "SELECT n FROM log").unwrap());
        inside.run("BEGIN");
        for step in 0..12 {
            let sql = statement(dice);
            let done = outcome(&mut committed, &sql);
            assert_eq!(outcome(&mut inside, &sql), done, "seed {seed}, {round}.{step}: {sql}");
            if dice.below(8) == 0 {
                // Nothing of a transaction is moved by what is done with the memory of others.
                inside.session.shared().engine().flush().unwrap();
                committed.session.shared().engine().flush().unwrap();
            }
            for question in questions(dice) {
                for _ in 0..2 {
                    assert_eq!(
                        ask(&mut inside, &question).unwrap(),
                        ask(&mut committed, &question).unwrap(),
                        "seed {seed}, {round}.{step}: {question} after {sql}"
                    );
                }
            }
            let id = dice.below(3_200);
            assert_eq!(by_key(&inside, &gets[0], id), by_key(&committed, &gets[1], id));
        }
        assert_eq!(ask(&mut outside, all).unwrap(), before.0, "seed {seed}, round {round}");
        assert_eq!(ask(&mut outside, "SELECT n FROM log").unwrap(), before.1);
        if round == 1 {
            inside.run("ROLLBACK");
            assert_eq!(ask(&mut inside, all).unwrap(), before.0);
            assert_eq!(ask(&mut inside, "SELECT n FROM log").unwrap(), before.1);
            continue;
        }
        inside.run("COMMIT");
        for question in questions(dice) {
            let answers = [&mut outside, &mut committed].map(|db| ask(db, &question).unwrap());
            assert_eq!(answers[0], answers[1], "seed {seed}, after round {round}: {question}");
        }
    }
}

#[test]
fn a_transaction_reads_what_single_statements_would_have_left() {
    let storage = Options::default();
    for seed in 1..=4 {
        compare(seed, &storage, ScanOptions::default(), true);
    }
}

#[test]
fn a_transaction_reads_its_spilled_rows_alike() {
    // Memory so small that loads go around it and what is written spills.
    let storage = Options { memtable_bytes: 32 << 10, memory_bytes: 8 << 20, ..Options::default() };
    for seed in 11..=13 {
        compare(seed, &storage, ScanOptions::default(), true);
    }
}

#[test]
fn a_transaction_reads_alike_without_the_fast_paths() {
    let storage = Options { memtable_bytes: 32 << 10, ..Options::default() };
    let scan = ScanOptions {
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
    compare(21, &storage, scan, false);
}

//! Money moves between accounts and none is made or lost: from many threads, with loads of many
//! rows between, and under `kill -9`.
//!
//! The child of the killed runs is this very binary, asked by its environment to write.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use siltdb::{AppendMode, Connection, Database, ErrorKind, Result, Transaction, params};

const ACCOUNTS: i64 = 20;
const EACH: i64 = 1_000;
const THREADS: i64 = 8;
const CHILD: &str = "SILT_BANK_CHILD";

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: i64) -> i64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % end
    }
}

fn open(path: &Path) -> Database {
    let mut builder = Database::builder(path);
    // Small memtables, so that flushes, compactions and spills run all the time.
    builder.storage_options().memtable_bytes = 32 << 10;
    builder.storage_options().wal_segment_bytes = 256 << 10;
    let db = builder.open().unwrap();
    db.retry(|tx| {
        tx.execute(
            "CREATE TABLE IF NOT EXISTS accounts (id INT PRIMARY KEY, balance BIGINT)",
            params![],
        )?;
        tx.execute(
            "CREATE TABLE IF NOT EXISTS moves (thread INT, n BIGINT, source INT, target INT,
             amount BIGINT, note TEXT, PRIMARY KEY (thread, n))",
            params![],
        )?;
        tx.execute(
            &format!("INSERT OR IGNORE INTO accounts SELECT value, {EACH} FROM generate_series(1, {ACCOUNTS})"),
            params![],
        )
    })
    .unwrap();
    db
}

fn balance(tx: &Transaction<'_>, id: i64) -> Result<i64> {
    tx.query_row("SELECT balance FROM accounts WHERE id = ?", params![id], |row| row.get(0))
}

/// Moves money once, with its line in the book; refused where the account would be overdrawn.
fn transfer(connection: &Connection, thread: i64, n: i64, dice: &mut Dice) -> Result<()> {
    let (source, target) = (1 + dice.below(ACCOUNTS), 1 + dice.below(ACCOUNTS));
    let (amount, way) = (dice.below(50), dice.below(20));
    connection.retry(|tx| {
        // Reads and writes take turns at being the planner's and going by keys.
        let enough = balance(tx, source)? >= amount;
        let amount = if enough && source != target { amount } else { 0 };
        tx.execute(
            "UPDATE accounts SET balance = balance - ? WHERE id = ?",
            params![amount, source],
        )?;
        if way == 0 {
            tx.execute(
                "UPDATE accounts SET balance = (SELECT balance FROM accounts WHERE id = ?) + ?
                 WHERE id = ?",
                params![target, amount, target],
            )?;
        } else {
            let balance = balance(tx, target)? + amount;
            tx.table("accounts")?.upsert(params![target, balance])?;
        }
        let mut book = tx.appender("moves", AppendMode::Insert)?;
        let row = params![thread, n, source, target, amount, "moved"];
        book.append_row(row.values().to_vec())?;
        book.finish()?;
        if way == 1 {
            // More than a memtable takes: these rows go around log and memtable.
            tx.execute(
                "INSERT INTO moves SELECT ?, 1000000 * ? + value, 1, 1, 0, repeat('x', 20)
                 FROM generate_series(1, 1000)",
                params![thread, n],
            )?;
        }
        Ok(())
    })
}

/// What must hold at any moment, read in one transaction.
fn check(db: &Database) -> Result<i64> {
    let connection = db.connect();
    let tx = connection.read_transaction()?;
    let sum: i64 =
        tx.query_row("SELECT sum(balance) FROM accounts", params![], |row| row.get(0))?;
    assert_eq!(sum, ACCOUNTS * EACH);
    let rows: i64 = tx.query_row("SELECT count(*) FROM accounts", params![], |row| row.get(0))?;
    assert_eq!(rows, ACCOUNTS);
    // The book says the same of each account.
    let wrong: i64 = tx.query_row(
        "SELECT count(*) FROM accounts a WHERE a.balance <> ?
           + coalesce((SELECT sum(amount) FROM moves m WHERE m.target = a.id), 0)
           - coalesce((SELECT sum(amount) FROM moves m WHERE m.source = a.id), 0)",
        params![EACH],
        |row| row.get(0),
    )?;
    assert_eq!(wrong, 0);
    let torn: i64 = tx.query_row(
        "SELECT count(*) FROM (SELECT thread, n / 1000000 AS load, count(*) AS rows FROM moves
           WHERE n >= 1000000 GROUP BY 1, 2) WHERE rows <> 1000",
        params![],
        |row| row.get(0),
    )?;
    assert_eq!(torn, 0);
    tx.query_row("SELECT count(*) FROM moves WHERE n < 1000000", params![], |row| row.get(0))
}

/// The last number that a thread wrote into the book.
fn last(db: &Database, thread: i64) -> i64 {
    let sql = "SELECT coalesce(max(n), 0) FROM moves WHERE thread = ? AND n < 1000000";
    db.query_row(sql, params![thread], |row| row.get(0)).unwrap()
}

/// Transfers from each thread until `goes_on` says no; `done` hears of each that was acknowledged.
fn trade(db: &Database, goes_on: impl Fn(i64) -> bool + Sync, done: impl Fn(i64, i64) + Sync) {
    std::thread::scope(|scope| {
        for thread in 1..=THREADS {
            let (goes_on, done) = (&goes_on, &done);
            scope.spawn(move || {
                let connection = db.connect();
                let first = last(db, thread) + 1;
                let mut dice = Dice(u64::try_from(thread * 1_000_003 + first).unwrap());
                let mut n = first;
                while goes_on(n - first) {
                    match transfer(&connection, thread, n, &mut dice) {
                        Ok(()) => {
                            done(thread, n);
                            n += 1;
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                    }
                    assert!(!connection.is_in_transaction());
                }
            });
        }
    });
}

#[test]
fn the_sum_of_all_accounts_never_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bank");
    let db = open(&path);
    let traded = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !traded.load(Ordering::Acquire) {
                check(&db).unwrap();
            }
        });
        trade(&db, |done| done < 40, |_, _| ());
        traded.store(true, Ordering::Release);
    });
    assert_eq!(check(&db).unwrap(), THREADS * 40);
    assert_eq!(db.describe().transactions.len(), 0);
    db.close().unwrap();
    assert_eq!(check(&open(&path)).unwrap(), THREADS * 40);
}

#[test]
fn child_of_the_killed_bank() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let db = open(Path::new(&path));
    trade(
        &db,
        |_| true,
        |thread, n| {
            let mut out = std::io::stdout().lock();
            writeln!(out, "acknowledged {thread} {n}").unwrap();
            out.flush().unwrap();
        },
    );
}

#[test]
fn the_sum_of_all_accounts_survives_kill_nine() {
    let cycles: u64 = std::env::var("SILT_KILL_CYCLES").map_or(8, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bank");
    let mut acknowledged = vec![0_i64; usize::try_from(THREADS).unwrap() + 1];
    for cycle in 0..cycles {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "bank::child_of_the_killed_bank", "--nocapture", "--test-threads=1"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Some((_, told)) = line.rsplit_once("acknowledged ") else { continue };
                let numbers: Option<Vec<i64>> = told.split(' ').map(|n| n.parse().ok()).collect();
                if let Some(&[thread, n]) = numbers.as_deref() {
                    let _ = sender.send((thread, n));
                }
            }
        });
        let mut told: Vec<_> = lines.recv_timeout(Duration::from_secs(60)).into_iter().collect();
        assert!(!told.is_empty(), "the child transfers");
        std::thread::sleep(Duration::from_millis(100 + cycle * 37 % 200));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        told.extend(lines.try_iter());
        for (thread, n) in told {
            let known = &mut acknowledged[usize::try_from(thread).unwrap()];
            *known = n.max(*known);
        }
        let db = open(&path);
        check(&db).unwrap();
        for (thread, n) in (1..).zip(&mut acknowledged[1..]) {
            let found = last(&db, thread);
            // One more may have been committed than was acknowledged.
            assert!((*n..=*n + 1).contains(&found), "cycle {cycle}: {thread} of {n} has {found}");
            // The next child goes on behind it, and may be killed before it acknowledges anything.
            *n = found;
        }
        let mut catalog: Vec<_> = db.tables().into_iter().map(|(name, _)| name).collect();
        catalog.sort();
        assert_eq!(catalog, ["accounts", "moves"]);
        db.close().unwrap();
    }
}

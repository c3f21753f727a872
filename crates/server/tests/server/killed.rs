//! `kill -9` of a server whose clients commit: what they heard of is there afterwards, and nothing
//! is there by halves.
//!
//! The server is a child of the tests: this very binary, asked by its environment to serve with small
//! memtables; or `silt serve`, as it is.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow_flight::sql::EndTransaction;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use silt_sql::{Shared, SqlOptions};
use silt_storage::Options;
use silt_storage::vfs::Env;
use tonic::Code;

use crate::apart::{Apart, silt};
use crate::guarded::{Client, connected, rows, status};
use crate::harness::options;

const CHILD: &str = "SILT_SERVED_CHILD";
const ACCOUNTS: i64 = 16;
const EACH: i64 = 1_000;
/// Rows of one prepared update.
const TOGETHER: i64 = 20;

#[test]
fn child_of_the_killed_server() {
    let Ok(path) = std::env::var(CHILD) else { return };
    // Small memtables, so that flushes and compactions run all the time.
    let storage =
        Options { memtable_bytes: 64 << 10, wal_segment_bytes: 256 << 10, ..Options::default() };
    let sql = SqlOptions { threads: 2, ..SqlOptions::default() };
    let shared = Shared::open(Env::os(), Path::new(&path), storage, sql).unwrap();
    let server = silt_server::serve(shared, options()).unwrap();
    println!("\nserving {path} on {}", server.local_addr());
    server.wait().unwrap();
}

/// This binary as a server.
fn child(path: &Path) -> Apart {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "killed::child_of_the_killed_server", "--nocapture"]);
    command.env(CHILD, path);
    Apart::start(command)
}

/// What each client has heard of: the last number that it knows to be committed.
type Heard = Arc<Vec<AtomicI64>>;

/// What a client's call came to.
enum Went {
    Well,
    /// Another commit came first.
    Lost,
    /// The server is gone.
    Down,
}

fn went<T>(done: Result<T, arrow_flight::error::FlightError>) -> Result<T, Went> {
    done.map_err(|error| match status(error) {
        lost if lost.code() == Code::Aborted => Went::Lost,
        // Arrow's client makes texts of some statuses.
        lost if lost.message().contains("another commit") => Went::Lost,
        down => {
            let refused = [Code::InvalidArgument, Code::AlreadyExists, Code::NotFound];
            assert!(!refused.contains(&down.code()), "{down}");
            Went::Down
        }
    })
}

/// Moves money in a transaction of four statements, with its line in the book.
async fn transfer(client: &mut Client, number: i64, n: i64) -> Result<(), Went> {
    let (source, target) = (n * 7 % ACCOUNTS, (n * 5 + number) % ACCOUNTS);
    let amount = n % 9;
    let transaction = went(client.begin_transaction().await)?;
    for sql in [
        format!("UPDATE accounts SET balance = balance - {amount} WHERE id = {source}"),
        // One by its key, one by the planner.
        format!("UPDATE accounts SET balance = balance + {amount} WHERE id + 0 = {target}"),
        format!("INSERT INTO moves VALUES ({number}, {n}, {source}, {target}, {amount})"),
    ] {
        let changed = went(client.execute_update(sql, Some(transaction.clone())).await);
        if let Err(error) = changed {
            drop(client.end_transaction(transaction, EndTransaction::Rollback).await);
            return Err(error);
        }
        assert_eq!(changed.ok(), Some(1));
    }
    went(client.end_transaction(transaction, EndTransaction::Commit).await)
}

/// Prepared updates of many rows each: of lines, and of money round in a circle.
async fn together(client: &mut Client, number: i64, n: i64) -> Result<(), Went> {
    let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let batch = match n % 2 {
        0 => {
            let notes = StringArray::from(vec!["a line in the book"; 20]);
            RecordBatch::try_from_iter([
                ("1", column(vec![number; 20])),
                ("2", column(vec![n; 20])),
                ("3", column((0..TOGETHER).collect())),
                ("4", Arc::new(notes) as ArrayRef),
            ])
        }
        _ => RecordBatch::try_from_iter([
            ("1", column((0..ACCOUNTS).map(|id| if id % 2 == 0 { n } else { -n }).collect())),
            ("2", column((0..ACCOUNTS).collect())),
        ]),
    };
    let sql = match n % 2 {
        0 => "INSERT INTO lines VALUES (?, ?, ?, ?)",
        _ => "UPDATE accounts SET balance = balance + ? WHERE id = ?",
    };
    let mut prepared = went(client.prepare(sql.to_owned(), None).await)?;
    prepared.set_parameters(batch.unwrap()).unwrap();
    let changed = went(prepared.execute_update().await)?;
    assert_eq!(changed, if n % 2 == 0 { TOGETHER } else { ACCOUNTS });
    Ok(())
}

const TRADERS: i64 = 4;
const PREPARERS: i64 = 3;

/// Commits until the server is gone; each number once.
async fn work(address: SocketAddr, number: i64, heard: Heard) {
    let Ok(mut client) = connected(address).await else { return };
    let known = &heard[usize::try_from(number).unwrap()];
    let mut n = known.load(Ordering::Relaxed) + 1;
    loop {
        let done = match number < TRADERS {
            true => transfer(&mut client, number, n).await,
            false => together(&mut client, number, n).await,
        };
        match done.map_or_else(|went| went, |()| Went::Well) {
            Went::Well => {
                known.store(n, Ordering::Relaxed);
                n += 1;
            }
            Went::Lost => {}
            Went::Down => return,
        }
    }
}

async fn number(client: &mut Client, sql: &str) -> i64 {
    let text = rows(client, sql).await.unwrap();
    text.parse().unwrap_or_else(|_| panic!("{sql}: {text}"))
}

/// What must hold of a server that has come up again.
async fn check(address: SocketAddr, heard: &Heard) {
    let mut client = connected(address).await.unwrap();
    let sum = number(&mut client, "SELECT sum(balance) FROM accounts").await;
    assert_eq!(sum, ACCOUNTS * EACH);
    // Lines are there in twenties.
    let torn =
        "SELECT count(*) FROM (SELECT client, n, count(*) AS c FROM lines GROUP BY client, n)
                WHERE c <> 20";
    assert_eq!(number(&mut client, torn).await, 0);
    for number_ in 0..TRADERS + PREPARERS {
        let known = &heard[usize::try_from(number_).unwrap()];
        let acknowledged = known.load(Ordering::Relaxed);
        let (table, which) = match number_ < TRADERS {
            true => ("moves", "true"),
            false => ("lines", "line = 0"),
        };
        let last =
            format!("SELECT coalesce(max(n), 0) FROM {table} WHERE client = {number_} AND {which}");
        let count = format!("SELECT count(*) FROM {table} WHERE client = {number_} AND {which}");
        let (last, count) = (number(&mut client, &last).await, number(&mut client, &count).await);
        if number_ < TRADERS {
            // All up to the last; one more may be committed than was heard of.
            assert!(
                last == count && (acknowledged..=acknowledged + 1).contains(&last),
                "client {number_}: heard of {acknowledged}, found {last} of {count}"
            );
            known.store(last, Ordering::Relaxed);
        } else {
            // Every second number is a line.
            let even = acknowledged - acknowledged % 2;
            assert!(
                last / 2 == count && (even..=even + 2).contains(&last),
                "client {number_}: heard of {acknowledged}, found {last} of {count}"
            );
            known.store(acknowledged.max(last), Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_heard_of_survives_kill_nine_of_the_server() {
    kill_again_and_again(child).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_heard_of_survives_kill_nine_of_silt_serve() {
    let Some(silt) = silt() else { return };
    kill_again_and_again(|path| Apart::serve(&silt, path, &[])).await;
}

async fn kill_again_and_again(serve: impl Fn(&Path) -> Apart) {
    let cycles = if std::env::var_os("SILT_LONG").is_some() { 40 } else { 3 };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bank");
    let heard: Heard = Arc::new((0..TRADERS + PREPARERS).map(|_| AtomicI64::new(0)).collect());
    for cycle in 0..cycles {
        let server = serve(&path);
        let mut client = connected(server.address).await.unwrap();
        if cycle == 0 {
            for sql in [
                "CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT)".to_owned(),
                "CREATE TABLE moves (client BIGINT, n BIGINT, source BIGINT, target BIGINT,
                 amount BIGINT, PRIMARY KEY (client, n))"
                    .to_owned(),
                "CREATE TABLE lines (client BIGINT, n BIGINT, line BIGINT, note TEXT,
                 PRIMARY KEY (client, n, line))"
                    .to_owned(),
                format!(
                    "INSERT INTO accounts SELECT value, {EACH} FROM generate_series(0, {})",
                    ACCOUNTS - 1
                ),
            ] {
                client.execute_update(sql, None).await.unwrap();
            }
        }
        check(server.address, &heard).await;
        let before: i64 = heard.iter().map(|known| known.load(Ordering::Relaxed)).sum();
        let clients: Vec<_> = (0..TRADERS + PREPARERS)
            .map(|number| tokio::spawn(work(server.address, number, Arc::clone(&heard))))
            .collect();
        let after = || heard.iter().map(|known| known.load(Ordering::Relaxed)).sum::<i64>();
        while after() < before + 20 {
            assert!(clients.iter().any(|client| !client.is_finished()), "nobody commits");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(100 + cycle * 37 % 300)).await;
        server.kill();
        for client in clients {
            client.await.unwrap();
        }
    }
    let server = serve(&path);
    check(server.address, &heard).await;
    let committed: i64 = heard.iter().map(|known| known.load(Ordering::Relaxed)).sum();
    println!("{cycles} kills, {committed} commits heard of");
    server.kill();
}

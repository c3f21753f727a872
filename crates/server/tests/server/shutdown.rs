//! Stopping, and what is there afterwards.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_flight::Ticket;
use futures::{StreamExt, TryStreamExt};
use silt_server::ServerOptions;
use silt_sql::{Shared, SqlOptions};
use silt_storage::vfs::Env;
use silt_storage::{Durability, Options};
use tokio::net::TcpStream;
use tonic::Code;

use crate::guarded::{anonymous, change, connected, database, rows, run, serve_over, status};
use crate::harness::options;

fn open(folder: &Path) -> Arc<Shared> {
    // What was acknowledged is not on the disk yet, unless stopping sees to it.
    let storage = Options { durability: Durability::Normal, ..Options::default() };
    let sql = SqlOptions { threads: 2, ..SqlOptions::default() };
    Shared::open(Env::os(), folder, storage, sql).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_insert_that_was_acknowledged_is_there_after_stopping_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let shared = open(&path);
    run(&shared, "CREATE TABLE t (writer BIGINT, n BIGINT, PRIMARY KEY (writer, n))");
    let limits = ServerOptions { shutdown_timeout: Duration::from_secs(5), ..options() };
    let server = serve_over(&shared, limits);
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..8).map(|_| AtomicU64::new(0)).collect());
    let mut writers = Vec::new();
    for writer in 0..8 {
        let mut client = connected(server.local_addr()).await.unwrap();
        let acknowledged = Arc::clone(&acknowledged);
        writers.push(tokio::spawn(async move {
            for n in 1.. {
                let insert = format!("INSERT INTO t VALUES ({writer}, {n})");
                match change(&mut client, &insert).await {
                    Ok(_) => acknowledged[writer].store(n, Ordering::Relaxed),
                    Err(error) => {
                        let expected =
                            [Code::Unavailable, Code::Cancelled, Code::Unknown, Code::Internal];
                        assert!(expected.contains(&error.code()), "{error}");
                        return;
                    }
                }
            }
        }));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.shutdown();
    let stopped = tokio::task::spawn_blocking(move || server.wait());
    for writer in writers {
        writer.await.unwrap();
    }
    stopped.await.unwrap().unwrap();
    shared.close().unwrap();
    drop(shared);

    let shared = open(&path);
    let server = serve_over(&shared, options());
    let mut client = anonymous(&server).await;
    let mut inserts = 0;
    for (writer, last) in acknowledged.iter().enumerate() {
        let last = last.load(Ordering::Relaxed);
        let count = format!("SELECT count(*) FROM t WHERE writer = {writer} AND n <= {last}");
        let found = rows(&mut client, &count).await.unwrap();
        assert_eq!(found, last.to_string(), "writer {writer}");
        inserts += last;
    }
    assert!(inserts > 8, "there was load: {inserts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_run_may_end_and_those_that_do_not_are_cancelled() {
    let limits = ServerOptions { shutdown_timeout: Duration::from_secs(1), ..options() };
    let server = serve_over(&database(), limits);
    let address = server.local_addr();
    let mut client = anonymous(&server).await;
    let series = |rows: u32| Ticket::new(format!("SELECT value FROM generate_series(1, {rows})"));
    let mut short = client.do_get(series(200_000)).await.unwrap();
    let endless = "SELECT a.value FROM generate_series(1, 100000) a, generate_series(1, 100000) b";
    let mut endless = client.do_get(Ticket::new(endless)).await.unwrap();
    assert!(short.next().await.is_some() && endless.next().await.is_some());
    let began = Instant::now();
    server.shutdown();
    let stopped = tokio::task::spawn_blocking(move || (server.wait(), server));
    // What is read comes to its end.
    short.try_collect::<Vec<_>>().await.unwrap();
    let error = status(endless.try_for_each(|_| async { Ok(()) }).await.unwrap_err());
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    let (stopped, _server) = stopped.await.unwrap();
    stopped.unwrap();
    assert!(began.elapsed() < Duration::from_secs(60), "it does not wait for ever");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_client_does_not_keep_a_server_from_stopping() {
    let server = serve_over(&database(), options());
    let mut client = anonymous(&server).await;
    assert_eq!(rows(&mut client, "SELECT 1").await.unwrap(), "1");
    let half_open = TcpStream::connect(server.local_addr()).await.unwrap();
    server.shutdown();
    let waited = tokio::task::spawn_blocking(move || server.wait());
    let waited = tokio::time::timeout(Duration::from_secs(60), waited).await;
    waited.expect("it stops").unwrap().unwrap();
    drop(half_open);
    assert!(rows(&mut client, "SELECT 1").await.is_err());
}

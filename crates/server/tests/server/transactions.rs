//! Transactions of clients.

use std::time::Duration;

use arrow_flight::error::FlightError;
use arrow_flight::sql::EndTransaction;
use bytes::Bytes;
use tonic::Code;

use crate::harness::{Served, fetch, options, served, served_with, text};

async fn rows_in(db: &mut Served, sql: &str, transaction: &Bytes) -> String {
    let info = db.client.execute(sql.to_owned(), Some(transaction.clone())).await.unwrap();
    let (_, batches) = fetch(&mut db.client, info).await;
    text(&batches)
}

async fn run_in(db: &mut Served, sql: &str, transaction: &Bytes) -> Result<i64, FlightError> {
    db.client.execute_update(sql.to_owned(), Some(transaction.clone())).await
}

async fn table() -> Served {
    let mut db = served().await;
    db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT)").await;
    db.run("INSERT INTO t VALUES (1, 10), (2, 20)").await;
    db
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_is_seen_by_others_when_it_commits_and_never_when_it_rolls_back() {
    let mut db = table().await;
    let sum = "SELECT sum(v), count(*) FROM t";
    for (end, after) in [(EndTransaction::Rollback, "30 2"), (EndTransaction::Commit, "41 3")] {
        let transaction = db.client.begin_transaction().await.unwrap();
        assert_eq!(
            run_in(&mut db, "UPDATE t SET v = v + 1 WHERE id = 1", &transaction).await.unwrap(),
            1
        );
        assert_eq!(run_in(&mut db, "INSERT INTO t VALUES (3, 10)", &transaction).await.unwrap(), 1);
        let prepared = "SELECT v FROM t WHERE id = 1".to_owned();
        let mut prepared = db.client.prepare(prepared, Some(transaction.clone())).await.unwrap();
        let info = prepared.execute().await.unwrap();
        assert_eq!(text(&db.fetch(info).await.1), "11");
        assert_eq!(rows_in(&mut db, sum, &transaction).await, "41 3");
        assert_eq!(db.rows(sum).await, "30 2");
        db.client.end_transaction(transaction.clone(), end).await.unwrap();
        assert_eq!(db.rows(sum).await, after);
        // What belongs to it is over with it.
        assert!(run_in(&mut db, "DELETE FROM t", &transaction).await.is_err());
        let info = prepared.execute().await.unwrap();
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        assert!(db.client.do_get(ticket).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loser_of_a_conflict_hears_that_it_may_try_again() {
    let mut db = table().await;
    let (first, second) = (
        db.client.begin_transaction().await.unwrap(),
        db.client.begin_transaction().await.unwrap(),
    );
    run_in(&mut db, "UPDATE t SET v = 11 WHERE id = 1", &first).await.unwrap();
    let late = run_in(&mut db, "UPDATE t SET v = 12 WHERE id = 1", &second).await;
    db.client.end_transaction(first, EndTransaction::Commit).await.unwrap();
    let ended = db.client.end_transaction(second, EndTransaction::Commit).await;
    let lost = match (late, ended) {
        (Err(FlightError::Tonic(status)), _) => status.message().to_owned(),
        (_, Err(error)) => error.to_string(),
        (late, ended) => panic!("{late:?} {ended:?}"),
    };
    assert!(lost.contains("\"t\"") || lost.contains(" t "), "{lost}");
    assert_eq!(db.rows("SELECT v FROM t WHERE id = 1").await, "11");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_that_nobody_uses_is_rolled_back() {
    let mut short = options();
    short.transaction_idle = Duration::from_millis(200);
    short.transactions_max = 1;
    let mut db = served_with(short).await;
    db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT)").await;
    let transaction = db.client.begin_transaction().await.unwrap();
    run_in(&mut db, "INSERT INTO t VALUES (1, 1)", &transaction).await.unwrap();
    assert!(db.client.begin_transaction().await.is_err(), "one is open, and one may be");
    tokio::time::sleep(Duration::from_millis(400)).await;
    let late = run_in(&mut db, "INSERT INTO t VALUES (2, 2)", &transaction).await;
    match late {
        Err(FlightError::Tonic(status)) => assert_eq!(status.code(), Code::NotFound),
        other => panic!("{other:?}"),
    }
    assert_eq!(db.rows("SELECT count(*) FROM t").await, "0");
    db.client.begin_transaction().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_opened_by_calls_and_not_by_statements() {
    let mut db = table().await;
    for sql in ["BEGIN", "COMMIT", "ROLLBACK"] {
        let error = db.client.execute_update(sql.to_owned(), None).await.unwrap_err();
        assert!(error.to_string().contains("BeginTransaction"), "{sql}: {error}");
    }
    let transaction = db.client.begin_transaction().await.unwrap();
    assert!(run_in(&mut db, "COMMIT", &transaction).await.is_err());
    run_in(&mut db, "DELETE FROM t", &transaction).await.unwrap();
    db.client.end_transaction(transaction, EndTransaction::Rollback).await.unwrap();
    assert_eq!(db.rows("SELECT count(*) FROM t").await, "2");
}

//! Ending what runs: by CancelFlightInfo, by closing the stream, by its time being over, and by the
//! server's end. What is ended would never end by itself.

use std::time::Duration;

use arrow_flight::sql::EndTransaction;
use arrow_flight::{Action, CancelFlightInfoRequest, FlightInfo, Ticket};
use futures::TryStreamExt;
use prost::Message;
use silt_server::{Server, ServerOptions};
use tokio::time::error::Elapsed;
use tonic::{Code, Status};

use crate::guarded::{
    Client, anonymous, change, connected, database, metric, rows, run, serve_over, status, until,
    with_http,
};

/// A table, and one slot for statements: what goes on without a reader keeps all others out.
fn served(options: ServerOptions) -> Server {
    let shared = database();
    run(&shared, "CREATE TABLE n (id BIGINT PRIMARY KEY, v BIGINT)");
    run(&shared, "INSERT INTO n SELECT value, value FROM generate_series(1, 50000)");
    serve_over(&shared, ServerOptions { statements_max: 1, ..options })
}

const CHANGES: [&str; 4] = [
    "UPDATE n SET v = v + 1 WHERE v IN (SELECT a.v + b.v + c.v FROM n a, n b, n c)",
    "DELETE FROM n WHERE v IN (SELECT a.v * b.v FROM n a JOIN n b ON a.v * b.v = -1, n c, n d)",
    "INSERT INTO n SELECT value + 1000000, 1 FROM generate_series(1, 1000000000000)",
    "CREATE TABLE c AS SELECT a.v FROM n a, n b, n c",
];
const QUERIES: [&str; 2] = [
    "SELECT max(a.v) FROM n a JOIN n b ON a.v * b.v = -1 JOIN n c ON b.v * c.v = -1",
    "SELECT sum(a.v + b.v + c.v) FROM n a, n b, n c",
];

/// Nothing runs, and nothing was changed.
async fn is_as_before(server: &Server) {
    let mut client = anonymous(server).await;
    let sums = rows(&mut client, "SELECT count(*), sum(v) FROM n").await.unwrap();
    assert_eq!(sums, "50000 1250025000");
    assert_eq!(rows(&mut client, "SHOW TABLES").await.unwrap(), "main n");
}

/// Asks for the end of what a FlightInfo names.
async fn cancel(client: &mut Client, info: FlightInfo) {
    let request = CancelFlightInfoRequest::new(info).encode_to_vec();
    let action = Action::new("CancelFlightInfo", request);
    let mut results = client.inner().clone().do_action(action).await.unwrap().into_inner();
    assert!(results.message().await.unwrap().is_some());
}

fn ended(answer: Result<(), Status>, code: Code, sql: &str) {
    let status = answer.expect_err(sql);
    assert_eq!(status.code(), code, "{sql}: {status}");
}

/// Fetches to the end.
async fn fetch(client: &mut Client, ticket: Ticket) -> Result<(), Status> {
    let stream = client.do_get(ticket).await.map_err(status)?;
    stream.try_for_each(|_| async { Ok(()) }).await.map_err(status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_a_statement_ends_it_whatever_it_does() {
    let server = served(with_http());
    for sql in CHANGES.iter().chain(&QUERIES) {
        let mut client = anonymous(&server).await;
        let info = client.execute((*sql).to_owned(), None).await.unwrap();
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let mut fetching = client.clone();
        let fetched = tokio::spawn(async move { fetch(&mut fetching, ticket).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel(&mut client, info).await;
        ended(fetched.await.unwrap(), Code::Cancelled, sql);
        is_as_before(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_a_prepared_update_ends_it_and_leaves_its_transaction_open() {
    let server = served(with_http());
    let mut client = anonymous(&server).await;
    let transaction = client.begin_transaction().await.unwrap();
    let in_transaction = Some(transaction.clone());
    client
        .execute_update("DELETE FROM n WHERE id = 1".to_owned(), in_transaction.clone())
        .await
        .unwrap();
    let prepared = client.prepare(CHANGES[0].to_owned(), in_transaction.clone()).await;
    let info = prepared.unwrap().execute().await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut fetching = client.clone();
    let fetched = tokio::spawn(async move { fetch(&mut fetching, ticket).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    cancel(&mut client, info).await;
    ended(fetched.await.unwrap(), Code::Cancelled, CHANGES[0]);
    client.execute_update("DELETE FROM n WHERE id = 2".to_owned(), in_transaction).await.unwrap();
    client.end_transaction(transaction, EndTransaction::Commit).await.unwrap();
    assert_eq!(rows(&mut client, "SELECT count(*) FROM n").await.unwrap(), "49998");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_goes_away_ends_what_it_ran() {
    let server = served(with_http());
    for sql in CHANGES.iter().chain(&QUERIES) {
        let mut client = connected(server.local_addr()).await.unwrap();
        let info = client.execute((*sql).to_owned(), None).await.unwrap();
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let fetching = fetch(&mut client, ticket);
        let _: Elapsed =
            tokio::time::timeout(Duration::from_millis(300), fetching).await.unwrap_err();
        if !sql.starts_with("SELECT") {
            let update = change(&mut client, sql);
            let _: Elapsed =
                tokio::time::timeout(Duration::from_millis(300), update).await.unwrap_err();
        }
        drop(client);
        is_as_before(&server).await;
    }
    until(&server, "silt_calls_running{call=\"DoGet\"}", |running| running == 0.0).await;
    until(&server, "silt_calls_running{call=\"DoPut\"}", |running| running == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statement_whose_time_is_over_is_ended_whatever_it_does() {
    let server = served(ServerOptions { statement_timeout: Duration::from_secs(1), ..with_http() });
    for sql in CHANGES {
        let mut client = anonymous(&server).await;
        let error = change(&mut client, sql).await.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{sql}: {error}");
        is_as_before(&server).await;
    }
    for sql in QUERIES {
        let mut client = anonymous(&server).await;
        let fetched = fetch(&mut client, Ticket::new(sql)).await;
        ended(fetched, Code::DeadlineExceeded, sql);
        is_as_before(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_stops_ends_changes_that_run() {
    for sql in CHANGES {
        let limits = ServerOptions { shutdown_timeout: Duration::from_millis(300), ..with_http() };
        let shared = database();
        run(&shared, "CREATE TABLE n (id BIGINT PRIMARY KEY, v BIGINT)");
        run(&shared, "INSERT INTO n SELECT value, value FROM generate_series(1, 50000)");
        let server = serve_over(&shared, limits);
        let mut client = anonymous(&server).await;
        let changed = tokio::spawn(async move { change(&mut client, sql).await.map(drop) });
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.shutdown();
        tokio::task::spawn_blocking(move || server.wait()).await.unwrap().unwrap();
        let status = changed.await.unwrap().expect_err(sql);
        assert!([Code::Unavailable, Code::Cancelled].contains(&status.code()), "{sql}: {status}");
        // Nothing runs on behind the server's back: this would be without an end.
        let mut session = silt_sql::Session::new(shared);
        let none = silt_sql::Params::none();
        session.execute_sql("UPDATE n SET v = 0 WHERE id = 1", &none).unwrap();
        assert_eq!(session.execute_sql("SHOW TABLES", &none).unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_wait_are_capped_and_leave_when_they_are_cancelled() {
    let server = served(ServerOptions { statements_queued_max: 2, ..with_http() });
    let mut client = connected(server.local_addr()).await.unwrap();
    let transaction = client.begin_transaction().await.unwrap();
    let spawn = |sql: &'static str| {
        let mut client = client.clone();
        tokio::spawn(async move { change(&mut client, sql).await })
    };
    let running = spawn(CHANGES[0]);
    until(&server, "silt_calls_running{call=\"DoPut\"}", |running| running == 1.0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let waiting = [spawn("DELETE FROM n"), spawn("DELETE FROM n")];
    until(&server, "silt_calls_running{call=\"DoPut\"}", |running| running == 3.0).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut other = anonymous(&server).await;
    let refused = other.execute("SELECT 1".to_owned(), None).await.map_err(status).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("--statements-queued-max"), "{refused}");
    // The end of a transaction is not refused: others may wait for it.
    let mut ending = client.clone();
    let end =
        tokio::spawn(
            async move { ending.end_transaction(transaction, EndTransaction::Rollback).await },
        );
    tokio::time::sleep(Duration::from_millis(100)).await;
    for waiting in waiting {
        waiting.abort();
    }
    running.abort();
    end.await.unwrap().unwrap();
    is_as_before(&server).await;
    assert!(metric(&server, "silt_calls_running{call=\"DoPut\"}").await < 1.0);
}

//! Clients that go in the middle of a transaction, without a word: nothing of it stays.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::StreamExt;
use silt_server::ServerOptions;
use silt_sql::Shared;

use crate::abuse::{beside, ingest, table, times};
use crate::guarded::{
    Client, anonymous, change, connected, logged_in, rows, serve_over, until, with_http, with_users,
};

const CHILD: &str = "SILT_VANISHING_CHILD";

/// Opens a transaction that has written rows by a statement and by a load, and read one.
async fn begin(client: &mut Client, number: i64) -> Bytes {
    let transaction = client.begin_transaction().await.unwrap();
    for sql in [
        "UPDATE t SET b = 'taken' WHERE a = 1".to_owned(),
        format!("INSERT INTO t SELECT value, 'lost' FROM generate_series({0}, {0} + 999)", number),
    ] {
        client.execute_update(sql, Some(transaction.clone())).await.unwrap();
    }
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
    let batch = RecordBatch::try_from_iter([("a", ids)]).unwrap();
    let mut load = ingest(&format!("made{number}"));
    load.transaction_id = Some(transaction.clone());
    let loaded = client.execute_ingest(load, futures::stream::iter([Ok(batch)])).await;
    assert_eq!(loaded.unwrap(), 1_000);
    let query = "SELECT b FROM t WHERE a = 1".to_owned();
    client.execute(query, Some(transaction.clone())).await.unwrap();
    transaction
}

/// Waits until no transaction is open any more, and looks at what is left.
async fn is_as_before(shared: &Arc<Shared>, client: &mut Client) {
    for wait in 0.. {
        if shared.engine().describe().transactions.is_empty() {
            break;
        }
        assert!(wait < 300, "transactions are open: {:?}", shared.engine().describe().transactions);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(rows(client, "SELECT count(*), min(b) FROM t").await.unwrap(), "1 one");
    assert_eq!(rows(client, "SHOW TABLES").await.unwrap(), "main t");
    // Nothing holds the rows that they had written.
    assert_eq!(change(client, "UPDATE t SET b = 'one' WHERE a = 1").await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_that_is_dropped_in_a_transaction_leaves_nothing_of_it() {
    let shared = table();
    let server = serve_over(&shared, with_http());
    let mut client = anonymous(&server).await;
    let abuse = async {
        for number in 0..times(6, 60) {
            let number = 10_000 * i64::try_from(number + 1).unwrap();
            let mut vanishing = connected(server.local_addr()).await.unwrap();
            let transaction = begin(&mut vanishing, number).await;
            match number / 10_000 % 3 {
                // Between two statements.
                0 => {}
                // While a statement runs in it.
                1 => {
                    let endless = "INSERT INTO t SELECT value + 1000000, 'lost'
                                   FROM generate_series(1, 1000000000000)";
                    let endless = vanishing.execute_update(endless.to_owned(), Some(transaction));
                    drop(tokio::time::timeout(Duration::from_millis(50), endless).await);
                }
                // In the middle of a load.
                _ => {
                    let ids: ArrayRef = Arc::new(Int64Array::from(vec![number + 5_000]));
                    let text: ArrayRef = Arc::new(StringArray::from(vec!["lost"]));
                    let batch = RecordBatch::try_from_iter([("a", ids), ("b", text)]).unwrap();
                    let endless = futures::stream::iter([Ok(batch)]);
                    let endless = endless.chain(futures::stream::pending());
                    let mut load = ingest("another");
                    load.transaction_id = Some(transaction);
                    let endless = vanishing.execute_ingest(load, endless);
                    drop(tokio::time::timeout(Duration::from_millis(50), endless).await);
                }
            }
        }
    };
    beside(&server, None, "clients that vanish in a transaction", abuse).await;
    is_as_before(&shared, &mut client).await;
    until(&server, "silt_sessions", |sessions| sessions <= 1.0).await;
    until(&server, "silt_connections", |open| open <= 2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_a_transaction_whose_process_is_killed_leaves_nothing_of_it() {
    let shared = table();
    let server = serve_over(&shared, with_http());
    let mut client = anonymous(&server).await;
    for _ in 0..times(2, 20) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "vanished::child_that_is_killed", "--nocapture"])
            .env(CHILD, server.local_addr().to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begun = lines.map_while(Result::ok).any(|line| line.ends_with("in a transaction"));
        assert!(begun, "the child begins one");
        assert_eq!(shared.engine().describe().transactions.len(), 1);
        assert_eq!(rows(&mut client, "SELECT count(*) FROM t").await.unwrap(), "1");
        child.kill().unwrap();
        child.wait().unwrap();
        is_as_before(&shared, &mut client).await;
    }
    until(&server, "silt_sessions", |sessions| sessions <= 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_is_killed() {
    let Ok(address) = std::env::var(CHILD) else { return };
    let address: SocketAddr = address.parse().unwrap();
    let mut client = connected(address).await.unwrap();
    begin(&mut client, 500).await;
    println!("\nin a transaction");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_who_does_not_come_back_leaves_nothing_when_the_transaction_s_time_is_over() {
    let shared = with_users();
    let limits = ServerOptions { transaction_idle: Duration::from_secs(1), ..with_http() };
    let server = serve_over(&shared, limits);
    let mut client = logged_in(&server, "walt").await;
    let mut vanishing = logged_in(&server, "walt").await;
    let transaction = begin(&mut vanishing, 500).await;
    let token = vanishing.token().cloned();
    drop(vanishing);
    // A login is no connection: the same user may go on, until it took too long.
    let mut again = connected(server.local_addr()).await.unwrap();
    again.set_token(token.unwrap());
    let sql = "DELETE FROM t WHERE b = 'lost'".to_owned();
    assert_eq!(again.execute_update(sql, Some(transaction)).await.unwrap(), 1_000);
    drop(again);
    is_as_before(&shared, &mut client).await;
}

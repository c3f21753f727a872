//! Clients that mean no good, while another one is answered.
//!
//! What is asserted is that the other client is answered without an error, and that places, handles
//! and sessions are free afterwards. What it saw is printed (`--nocapture`), but is no measure:
//! abusers, server and client share a process and its threads here. `flood.rs` measures.
//! `SILT_LONG=1` runs the long forms.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow_flight::Ticket;
use arrow_flight::sql::{
    CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::{FutureExt, StreamExt, TryStreamExt};
use silt_server::{Server, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::guarded::{
    Client, anonymous, change, connected, database, http, logged_in, metric, rows, run, serve_over,
    status, until, with_http, with_users,
};
use crate::harness::channel;

/// How often something is done.
pub fn times(short: usize, long: usize) -> usize {
    if std::env::var_os("SILT_LONG").is_some() { long } else { short }
}

/// A client that asks for one row again and again.
struct Witness {
    stop: Arc<AtomicBool>,
    asked: JoinHandle<Vec<Duration>>,
}

impl Witness {
    /// Asks as a reader, or as anybody where there are no users.
    async fn new(server: &Server, user: Option<&str>) -> Self {
        let mut client = match user {
            Some(user) => logged_in(server, user).await,
            None => anonymous(server).await,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let asked = tokio::spawn(async move {
            let mut took = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(rows(&mut client, "SELECT b FROM t WHERE a = 1").await.unwrap(), "one");
                took.push(began.elapsed());
            }
            took
        });
        Self { stop, asked }
    }

    /// Ends it and gives the times that it saw, sorted.
    async fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = self.asked.await.unwrap();
        took.sort();
        assert!(!took.is_empty(), "nobody was answered");
        Seen(took)
    }
}

/// How long queries took, sorted.
struct Seen(Vec<Duration>);

impl Seen {
    fn at(&self, percent: usize) -> Duration {
        self.0[(self.0.len() - 1) * percent / 100]
    }
}

/// Does something while another client asks, and shows what that client saw alone and beside it.
pub async fn beside<T>(
    server: &Server,
    user: Option<&str>,
    what: &str,
    abuse: impl Future<Output = T>,
) {
    let alone = Witness::new(server, user).await;
    tokio::time::sleep(Duration::from_millis(times(500, 3_000) as u64)).await;
    let alone = alone.stop().await;
    let witness = Witness::new(server, user).await;
    abuse.await;
    let beside = witness.stop().await;
    println!(
        "{what}: median {:?} alone, {:?} beside; p99 {:?} alone, {:?} beside ({:.1} times); {} queries",
        alone.at(50),
        beside.at(50),
        alone.at(99),
        beside.at(99),
        beside.at(99).as_secs_f64() / alone.at(99).as_secs_f64(),
        beside.0.len(),
    );
}

/// A row to ask for, and no users.
pub fn table() -> Arc<silt_sql::Shared> {
    let shared = database();
    run(&shared, "CREATE TABLE t (a BIGINT PRIMARY KEY, b TEXT)");
    run(&shared, "INSERT INTO t VALUES (1, 'one')");
    shared
}

/// The beginning of HTTP/2.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_send_nothing_or_headers_by_the_byte_are_closed() {
    let limits = ServerOptions { first_call_timeout: Duration::from_secs(2), ..with_http() };
    let server = serve_over(&table(), limits);
    let count = times(40, 150);
    let abuse = async {
        let mut open = Vec::new();
        for number in 0..count {
            let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
            open.push(tokio::spawn(async move {
                match number % 3 {
                    // Half-open: a connection and nothing else.
                    0 => {}
                    // The beginning of HTTP/2 and no call.
                    1 => stream.write_all(PREFACE).await.unwrap(),
                    // A call's headers, a byte at a time and without an end.
                    _ => {
                        let headers = b"\0\x40\0\x01\0\0\0\0\x01\x83\x86";
                        for byte in PREFACE.iter().chain(headers).chain(&[0; 500]) {
                            if stream.write_all(&[*byte]).await.is_err() {
                                return;
                            }
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
                let mut rest = Vec::new();
                drop(stream.read_to_end(&mut rest).await);
            }));
        }
        for connection in open {
            let ended = tokio::time::timeout(Duration::from_secs(60), connection).await;
            ended.expect("the server keeps the connection").unwrap();
        }
    };
    beside(&server, None, "half-open connections and slow headers", abuse).await;
    until(&server, "silt_connections", |open| open <= 2.0).await;
    assert!(metric(&server, "silt_connections_turned_away_total{reason=\"late\"}").await > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_capped_by_address() {
    let limits = ServerOptions { connections_per_address_max: 8, ..with_http() };
    let server = serve_over(&table(), limits);
    let mut inside = Vec::new();
    for _ in 0..8 {
        let mut client = anonymous(&server).await;
        assert_eq!(rows(&mut client, "SELECT b FROM t").await.unwrap(), "one");
        inside.push(client);
    }
    for _ in 0..times(20, 500) {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
        assert!(rest.is_empty(), "closed at once");
    }
    assert!(
        metric(&server, "silt_connections_turned_away_total{reason=\"too_many\"}").await >= 20.0
    );
    for client in &mut inside {
        assert_eq!(rows(client, "SELECT b FROM t").await.unwrap(), "one");
    }
    drop(inside.pop());
    until(&server, "silt_connections", |open| open < 8.0).await;
    let mut next = anonymous(&server).await;
    assert_eq!(rows(&mut next, "SELECT b FROM t").await.unwrap(), "one");
}

/// A call whose stream is reset: it is polled a little, then dropped.
pub async fn reset(client: &Client, number: usize) {
    let mut client = client.inner().clone();
    let call = async move { client.do_get(Ticket::new("SELECT * FROM t")).await };
    let mut call = Box::pin(call);
    for _ in 0..number % 4 {
        if (&mut call).now_or_never().is_some() {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_reset_at_once_leave_nothing_behind() {
    let server = serve_over(&table(), with_http());
    let abuse = async {
        for _ in 0..times(4, 20) {
            let Ok(client) = connected(server.local_addr()).await else { continue };
            for number in 0..times(200, 1_000) {
                reset(&client, number).await;
            }
        }
    };
    beside(&server, None, "rapid resets", abuse).await;
    until(&server, "silt_calls_running{call=\"DoGet\"}", |running| running == 0.0).await;
    until(&server, "silt_connections", |open| open <= 2.0).await;
}

/// A new table.
pub fn ingest(table: &str) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: TableNotExistOption::Create.into(),
            if_exists: TableExistsOption::Fail.into(),
        }),
        table: table.to_owned(),
        ..CommandStatementIngest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_and_messages_beyond_the_limits_are_refused() {
    let limits =
        ServerOptions { command_bytes_max: 100 << 10, message_bytes_max: 1 << 20, ..with_http() };
    let server = serve_over(&table(), limits);
    let abuse = async {
        let mut client = anonymous(&server).await;
        for _ in 0..times(10, 200) {
            let long = format!("SELECT '{}'", "x".repeat(200 << 10));
            let error = client.execute(long.clone(), None).await.unwrap_err();
            assert_eq!(status(error).code(), Code::ResourceExhausted);
            let error = client.prepare(long, None).await.map(drop).unwrap_err();
            assert_eq!(status(error).code(), Code::ResourceExhausted);
            let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(4 << 20)]));
            let batch = RecordBatch::try_from_iter([("b", text)]).unwrap();
            let sent = client.execute_ingest(ingest("b"), futures::stream::iter([Ok(batch)])).await;
            assert!(sent.is_err());
        }
        assert_eq!(rows(&mut client, "SHOW TABLES").await.unwrap(), "main t");
    };
    beside(&server, None, "commands and messages beyond the limits", abuse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_bad_tokens_let_nobody_in() {
    let server = serve_over(&with_users(), with_http());
    let count = times(1_000, 10_000);
    let abuse = async {
        let channel = channel(&server).await;
        let tries = (0..count).map(|number| {
            let mut client = Client::new(channel.clone());
            client.set_token(format!("{number:064x}"));
            async move {
                let error = client.execute("SELECT 1".to_owned(), None).await.unwrap_err();
                status(error).code()
            }
        });
        let codes: Vec<_> = futures::stream::iter(tries).buffer_unordered(64).collect().await;
        // Others heard that their connection, by which many came, was closed.
        assert!(codes.contains(&Code::Unauthenticated));
    };
    beside(&server, Some("rita"), "bad tokens", abuse).await;
    let text = http(&server, "/metrics").await;
    assert!(!text.contains("UNAUTHENTICATED"), "refused before they count as calls");
    let closed = "silt_connections_turned_away_total{reason=\"strikes\"}";
    assert!(metric(&server, closed).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_passwords_wait_longer_and_longer_and_no_more_than_so_many_wait() {
    let server = serve_over(&with_users(), with_http());
    let abuse = async {
        let channel = channel(&server).await;
        let tries = (0..times(80, 400)).map(|number| {
            let mut client = Client::new(channel.clone());
            async move { client.handshake("rita", &format!("guess {number}")).await.unwrap_err() }
        });
        let tries = futures::stream::iter(tries).buffer_unordered(40).collect::<Vec<_>>();
        // Those that wait are not waited for.
        drop(tokio::time::timeout(Duration::from_secs(8), tries).await);
    };
    beside(&server, Some("rita"), "bad passwords", abuse).await;
    assert!(metric(&server, "silt_logins_total{result=\"refused\"}").await >= 4.0);
    assert!(metric(&server, "silt_logins_total{result=\"too_many\"}").await > 0.0);
    assert_eq!(metric(&server, "silt_logins_total{result=\"accepted\"}").await, 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_statements_are_capped_and_forgotten_with_their_connection() {
    let limits = ServerOptions { prepared_max: 100, queries_max: 100, ..with_http() };
    let server = serve_over(&table(), limits);
    let count = times(500, 10_000);
    let abuse = async {
        let mut client = anonymous(&server).await;
        let (mut kept, mut refused) = (Vec::new(), 0);
        for number in 0..count {
            match client.prepare(format!("SELECT {number} FROM t WHERE a = ?"), None).await {
                Ok(prepared) => kept.push(prepared),
                Err(error) => {
                    assert_eq!(status(error).code(), Code::ResourceExhausted);
                    refused += 1;
                }
            }
        }
        assert_eq!((kept.len(), refused), (100, count - 100));
        for _ in 0..150 {
            drop(client.execute("SELECT 1".to_owned(), None).await);
        }
        let error = client.execute("SELECT 1".to_owned(), None).await.unwrap_err();
        assert_eq!(status(error).code(), Code::ResourceExhausted);
        // One that is closed makes room for another.
        kept.pop().unwrap().close().await.unwrap();
        client.prepare("SELECT 1".to_owned(), None).await.unwrap();
    };
    beside(&server, None, "prepared statements", abuse).await;
    until(&server, "silt_sessions", |sessions| sessions <= 1.0).await;
}

/// Rows without end, for all that a test can wait.
pub const ENDLESS: &str = "SELECT a.value, repeat('x', 100) FROM generate_series(1, 100000) a,
                       generate_series(1, 100000) b";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_vanish_in_mid_stream_free_what_they_held() {
    let server = serve_over(&table(), with_http());
    let abuse = async {
        for _ in 0..times(6, 60) {
            let mut client = connected(server.local_addr()).await.unwrap();
            let mut stream = client.do_get(Ticket::new(ENDLESS)).await.unwrap();
            assert!(stream.next().await.unwrap().unwrap().num_rows() > 0);
        }
    };
    beside(&server, None, "clients that vanish", abuse).await;
    until(&server, "silt_calls_running{call=\"DoGet\"}", |running| running == 0.0).await;
    until(&server, "silt_sessions", |sessions| sessions <= 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_takes_too_long_is_ended_whether_it_is_read_or_not() {
    let limits = ServerOptions { statement_timeout: Duration::from_secs(2), ..with_http() };
    let server = serve_over(&table(), limits);
    let mut client = anonymous(&server).await;
    // A stream that nobody reads.
    let unread = client.do_get(Ticket::new(ENDLESS)).await.unwrap();
    let stream = client.do_get(Ticket::new(ENDLESS)).await.unwrap();
    let error = stream.try_for_each(|_| async { Ok(()) }).await.unwrap_err();
    assert_eq!(status(error).code(), Code::DeadlineExceeded);
    until(&server, "silt_calls_running{call=\"DoGet\"}", |running| running == 0.0).await;
    drop(unread);
    assert_eq!(rows(&mut client, "SELECT b FROM t").await.unwrap(), "one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_those_that_may_run_are_refused_and_not_kept_waiting() {
    let limits = ServerOptions { calls_max: 4, ..with_http() };
    let server = serve_over(&table(), limits);
    let mut client = anonymous(&server).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(client.do_get(Ticket::new(ENDLESS)).await.unwrap());
    }
    let error = client.do_get(Ticket::new("SELECT 1")).await.map(drop).unwrap_err();
    let error = status(error);
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("--calls-max"), "{error}");
    streams.clear();
    until(&server, "silt_calls_running{call=\"DoGet\"}", |running| running == 0.0).await;
    assert_eq!(rows(&mut client, "SELECT b FROM t").await.unwrap(), "one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_metrics_are_answered_and_nothing_else() {
    let server = serve_over(&table(), with_http());
    let mut client = anonymous(&server).await;
    change(&mut client, "INSERT INTO t VALUES (2, 'secret')").await.unwrap();
    assert!(http(&server, "/healthz").await.ends_with("ok\n"));
    let metrics = http(&server, "/metrics").await;
    assert!(metrics.contains("silt_calls_total{call=\"DoPut\",code="), "{metrics}");
    assert!(!metrics.contains("secret") && !metrics.contains("INSERT"), "{metrics}");
    for path in ["/", "/metrics/", "/../etc/passwd", "/debug"] {
        assert!(http(&server, path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_that_send_nothing_hold_up_loads_and_nobody_else_and_end() {
    let limits = ServerOptions {
        ingests_max: 2,
        statements_max: 2,
        ingest_idle: Duration::from_secs(2),
        ..with_http()
    };
    let server = serve_over(&table(), limits);
    let row = |n: i64| {
        let a: ArrayRef = Arc::new(Int64Array::from(vec![n]));
        RecordBatch::try_from_iter([("a", a)]).unwrap()
    };
    let abuse = async {
        let slow = (0..times(6, 20)).map(|number| {
            let (row, address) = (row(0), server.local_addr());
            async move {
                let mut client = connected(address).await.unwrap();
                let endless = futures::stream::iter([Ok(row)]).chain(futures::stream::pending());
                let table = ingest(&format!("slow{number}"));
                status(client.execute_ingest(table, endless).await.unwrap_err())
            }
        });
        for ended in futures::future::join_all(slow).await {
            assert!(ended.message().contains("--ingest-idle"), "{ended}");
        }
        // Their places are free again.
        let mut client = anonymous(&server).await;
        let rows = futures::stream::iter([Ok(row(1))]);
        assert_eq!(client.execute_ingest(ingest("quick"), rows).await.unwrap(), 1);
    };
    beside(&server, None, "loads that send nothing", abuse).await;
    let mut client = anonymous(&server).await;
    assert_eq!(rows(&mut client, "SHOW TABLES").await.unwrap(), "main quick\nmain t");
}

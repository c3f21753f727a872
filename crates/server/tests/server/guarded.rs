//! Databases with users, and clients that are somebody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use datafusion::arrow::error::ArrowError;
use silt_server::{Server, ServerOptions};
use silt_sql::{Params, Session, Shared, SqlOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::harness::{channel, fetch, options, text};

pub type Client = FlightSqlServiceClient<Channel>;

/// What every user's password ends with.
pub const PASSWORD: &str = "'s password";

/// A database in memory.
pub fn database() -> Arc<Shared> {
    let sql = SqlOptions { threads: 2, ..SqlOptions::default() };
    Shared::in_memory(silt_storage::Options::default(), sql).unwrap()
}

/// A database with a table and three users.
pub fn with_users() -> Arc<Shared> {
    let shared = database();
    for (user, role) in [("root", "admin"), ("walt", "writer"), ("rita", "reader")] {
        run(&shared, &format!("CREATE USER {user} PASSWORD '{user}''s password' ROLE {role}"));
    }
    run(&shared, "CREATE TABLE t (a BIGINT PRIMARY KEY, b TEXT)");
    run(&shared, "INSERT INTO t VALUES (1, 'one')");
    shared
}

/// Runs statements without a server.
pub fn run(shared: &Arc<Shared>, sql: &str) {
    Session::new(Arc::clone(shared)).execute_sql(sql, &Params::none()).unwrap();
}

/// Serves a database; outside of any runtime, as a program would.
pub fn serve_over(shared: &Arc<Shared>, options: ServerOptions) -> Server {
    let shared = Arc::clone(shared);
    std::thread::scope(|scope| {
        scope.spawn(|| silt_server::serve(shared, options).unwrap()).join().unwrap()
    })
}

/// With health and metrics.
pub fn with_http() -> ServerOptions {
    ServerOptions { http: Some(options().listen), ..options() }
}

pub async fn anonymous(server: &Server) -> Client {
    Client::new(channel(server).await)
}

pub async fn logged_in(server: &Server, user: &str) -> Client {
    let mut client = anonymous(server).await;
    client.handshake(user, &format!("{user}{PASSWORD}")).await.unwrap();
    client
}

/// A client on a connection of its own, through some address.
pub async fn connected(address: SocketAddr) -> Result<Client, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    Ok(Client::new(endpoint.connect_timeout(Duration::from_secs(10)).connect().await?))
}

/// The rows of a query.
pub async fn rows(client: &mut Client, sql: &str) -> Result<String, Status> {
    let info = client.execute(sql.to_owned(), None).await.map_err(status)?;
    let (_, batches) = fetch(client, info).await;
    Ok(text(&batches))
}

/// Runs a change.
pub async fn change(client: &mut Client, sql: &str) -> Result<i64, Status> {
    client.execute_update(sql.to_owned(), None).await.map_err(status)
}

pub fn status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        FlightError::Arrow(ArrowError::IpcError(text)) => {
            let code = if text.contains("Unauthenticated") || text.contains("authentication") {
                Code::Unauthenticated
            } else {
                Code::Unknown
            };
            Status::new(code, text)
        }
        other => panic!("{other}"),
    }
}

/// What stands at an address of the server's own port for HTTP.
pub async fn http(server: &Server, path: &str) -> String {
    let mut stream = TcpStream::connect(server.http_addr().unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A number among the metrics; 0 if it was not counted yet.
pub async fn metric(server: &Server, name: &str) -> f64 {
    let text = http(server, "/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

/// Waits until a number among the metrics is what it should be.
pub async fn until(server: &Server, name: &str, is: impl Fn(f64) -> bool) {
    for _ in 0..300 {
        if is(metric(server, name).await) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{name} is {}: {}", metric(server, name).await, http(server, "/metrics").await);
}

//! Who is let in, and what he may do there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    CommandStatementIngest, CommandStatementQuery, ProstMessageExt, TableDefinitionOptions,
    TableExistsOption, TableNotExistOption,
};
use arrow_flight::{
    Action, Criteria, Empty, FlightData, FlightDescriptor, HandshakeRequest, Ticket,
};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use futures::TryStreamExt;
use prost::Message;
use silt_server::{Clock, ServerOptions};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, IntoRequest, Request, Status};

use crate::guarded::{
    Client, PASSWORD, anonymous, change, database, logged_in, rows, run, serve_over, status,
    with_users,
};
use crate::harness::{channel, options};

/// The calls as they stand in `limits.rs`, where the compiler wants all that the protocol has.
fn calls_of_the_protocol() -> Vec<&'static str> {
    let source = include_str!("../../src/limits.rs");
    let (_, service) = source.split_once("> FlightService for Limited<S>").unwrap();
    let names = service.split("    async fn ").skip(1);
    names.map(|rest| rest.split('(').next().unwrap()).collect()
}

fn with_token<T>(message: impl IntoRequest<T>, token: Option<&str>) -> Request<T> {
    let mut request = message.into_request();
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token.parse().unwrap());
    }
    request
}

/// Makes each call once, and says how it ended.
async fn call_each(channel: &Channel, token: Option<&str>) -> Vec<(&'static str, Code)> {
    let mut client = FlightServiceClient::new(channel.clone());
    let query = CommandStatementQuery { query: "SELECT 1".to_owned(), transaction_id: None };
    let query = || FlightDescriptor::new_cmd(query.as_any().encode_to_vec());
    let none = || futures::stream::empty::<FlightData>();
    fn code<T>(result: Result<T, Status>) -> Code {
        result.map_or_else(|status| status.code(), |_| Code::Ok)
    }
    macro_rules! each {
        ($($call:ident($request:expr)),*) => {
            vec![$((stringify!($call), code(client.$call($request).await))),*]
        };
    }
    each![
        handshake({
            let mut request = Request::new(futures::stream::iter([HandshakeRequest::default()]));
            *request.metadata_mut() = with_token(Empty {}, token).metadata().clone();
            request
        }),
        list_flights(with_token(Criteria::default(), token)),
        get_flight_info(with_token(query(), token)),
        poll_flight_info(with_token(query(), token)),
        get_schema(with_token(query(), token)),
        do_get(with_token(Ticket::new("SELECT 1"), token)),
        do_put({
            let mut request = Request::new(none());
            *request.metadata_mut() = with_token(Empty {}, token).metadata().clone();
            request
        }),
        do_action(with_token(Action::new("CreatePreparedStatement", ""), token)),
        list_actions(with_token(Empty {}, token)),
        do_exchange({
            let mut request = Request::new(none());
            *request.metadata_mut() = with_token(Empty {}, token).metadata().clone();
            request
        })
    ]
}

/// Actions of Flight and Flight SQL, and some that are none.
const ACTIONS: [&str; 18] = [
    "CreatePreparedStatement",
    "CreatePreparedSubstraitPlan",
    "ClosePreparedStatement",
    "BeginTransaction",
    "EndTransaction",
    "BeginSavepoint",
    "EndSavepoint",
    "CancelQuery",
    "CancelFlightInfo",
    "RenewFlightEndpoint",
    "CloseSession",
    "SetSessionOptions",
    "GetSessionOptions",
    "cancel",
    "healthcheck",
    "shutdown",
    "Unheard",
    "",
];

async fn act(channel: &Channel, action: &str, token: Option<&str>) -> Code {
    let mut client = FlightServiceClient::new(channel.clone());
    let action = Action::new(action.to_owned(), Vec::new());
    match client.do_action(with_token(action, token)).await {
        Ok(answer) => match answer.into_inner().try_collect::<Vec<_>>().await {
            Ok(_) => Code::Ok,
            Err(status) => status.code(),
        },
        Err(status) => status.code(),
    }
}

/// Calls something that may not exist.
async fn call_path(channel: &Channel, path: &'static str) -> Code {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let codec = tonic_codec();
    let path = PathAndQuery::from_static(path);
    let done: Result<tonic::Response<Empty>, Status> =
        grpc.unary(Request::new(Empty {}), path, codec).await;
    done.map_or_else(|status| status.code(), |_| Code::Ok)
}

fn tonic_codec() -> Raw {
    Raw
}

/// Messages by prost.
#[derive(Clone, Copy)]
struct Raw;

impl tonic::codec::Codec for Raw {
    type Encode = Empty;
    type Decode = Empty;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl tonic::codec::Encoder for Raw {
    type Item = Empty;
    type Error = Status;

    fn encode(&mut self, _: Empty, _: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl tonic::codec::Decoder for Raw {
    type Item = Empty;
    type Error = Status;

    fn decode(&mut self, _: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<Empty>, Status> {
        Ok(Some(Empty {}))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_and_no_action_comes_past_the_check_of_the_token() {
    let now = Arc::new(AtomicU64::new(0));
    let clock = {
        let now = Arc::clone(&now);
        Clock::new(move || Duration::from_secs(now.load(Ordering::Relaxed)))
    };
    // All of it on one connection.
    let limits = ServerOptions { clock, strikes_max: u32::MAX, ..options() };
    let server = serve_over(&with_users(), limits);
    let mut root = logged_in(&server, "root").await;
    assert_eq!(rows(&mut root, "SELECT b FROM t").await.unwrap(), "one");
    let token = format!("Bearer {}", root.token().unwrap());
    let channel = channel(&server).await;
    assert_ne!(act(&channel, "BeginSavepoint", Some(&token)).await, Code::Unauthenticated);

    let expired = token.clone();
    let forged = format!("Bearer {}", "0".repeat(64));
    let basic = "Basic cm9vdDpyb290J3MgcGFzc3dvcmQ=";
    now.fetch_add(12 * 3_600, Ordering::Relaxed);
    for token in [None, Some(""), Some("Bearer"), Some("Bearer x"), Some(&*forged), Some(&*expired)]
    {
        let ended = call_each(&channel, token).await;
        let names: Vec<_> = ended.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, calls_of_the_protocol(), "a call is missing in this test");
        for (name, code) in ended {
            assert_eq!(code, Code::Unauthenticated, "{name} with {token:?}");
        }
        for action in ACTIONS {
            let code = act(&channel, action, token).await;
            assert_eq!(code, Code::Unauthenticated, "action {action} with {token:?}");
        }
    }
    // Name and password are for Handshake alone.
    for (name, code) in call_each(&channel, Some(basic)).await {
        let expected = if name == "handshake" { Code::Ok } else { Code::Unauthenticated };
        assert_eq!(code, expected, "{name}");
    }
    // Nor does what does not exist, or not yet.
    for path in [
        "/arrow.flight.protocol.FlightService/Unheard",
        "/arrow.flight.protocol.FlightService/handshake",
        "/arrow.flight.protocol.FlightService/Handshake/",
        "/grpc.health.v1.Health/Check",
        "/",
    ] {
        assert_eq!(call_path(&channel, path).await, Code::Unauthenticated, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_holds_until_it_idles_and_not_longer_than_its_lifetime() {
    let now = Arc::new(AtomicU64::new(0));
    let clock = {
        let now = Arc::clone(&now);
        Clock::new(move || Duration::from_secs(now.load(Ordering::Relaxed)))
    };
    let limits = ServerOptions {
        clock,
        token_idle: Duration::from_secs(100),
        token_lifetime: Duration::from_secs(250),
        ..options()
    };
    let server = serve_over(&with_users(), limits);
    let mut client = logged_in(&server, "rita").await;
    for at in [99, 198, 249] {
        now.store(at, Ordering::Relaxed);
        assert_eq!(rows(&mut client, "SELECT a FROM t").await.unwrap(), "1");
    }
    now.store(250, Ordering::Relaxed);
    let over = rows(&mut client, "SELECT a FROM t").await.unwrap_err();
    assert_eq!(over.code(), Code::Unauthenticated);
    let mut client = logged_in(&server, "rita").await;
    assert_eq!(rows(&mut client, "SELECT a FROM t").await.unwrap(), "1");
    now.store(350, Ordering::Relaxed);
    assert!(rows(&mut client, "SELECT a FROM t").await.is_err(), "idle");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_an_unknown_user_are_told_the_same() {
    let server = serve_over(&with_users(), options());
    let mut client = anonymous(&server).await;
    let mut said = Vec::new();
    for (user, password) in [("rita", "wrong password"), ("nobody", "wrong password"), ("rita", "")]
    {
        let error = client.handshake(user, password).await.unwrap_err();
        said.push(error.to_string());
    }
    let told = |text: &String| text.contains("wrong user name or password");
    assert!(said.iter().all(told), "{said:?}");
    let payload = client.handshake("rita", &format!("rita{PASSWORD}")).await.unwrap();
    assert_eq!(client.token().unwrap().as_bytes(), payload);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_managed_on_a_running_server_and_a_change_ends_their_logins() {
    let server = serve_over(&database(), options());
    let mut first = anonymous(&server).await;
    // Without users everybody on this machine may do everything, and log in as nobody.
    change(&mut first, "CREATE TABLE t (a BIGINT)").await.unwrap();
    assert!(first.handshake("root", "root's password").await.is_err());
    change(&mut first, "CREATE USER root PASSWORD 'root''s password' ROLE admin").await.unwrap();
    let shut = rows(&mut first, "SELECT * FROM t").await.unwrap_err();
    assert_eq!(shut.code(), Code::Unauthenticated, "the door closes with the first user");

    let mut root = logged_in(&server, "root").await;
    change(&mut root, "CREATE USER rita PASSWORD 'rita''s password' ROLE reader").await.unwrap();
    assert_eq!(rows(&mut root, "SHOW USERS").await.unwrap(), "rita reader\nroot admin");
    let mut rita = logged_in(&server, "rita").await;
    assert_eq!(rows(&mut rita, "SELECT count(*) FROM t").await.unwrap(), "0");
    let refused = change(&mut rita, "INSERT INTO t VALUES (1)").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    change(&mut root, "ALTER USER rita ROLE writer").await.unwrap();
    let over = rows(&mut rita, "SELECT count(*) FROM t").await.unwrap_err();
    assert_eq!(over.code(), Code::Unauthenticated);
    let mut rita = logged_in(&server, "rita").await;
    assert_eq!(change(&mut rita, "INSERT INTO t VALUES (1)").await.unwrap(), 1);
    change(&mut root, "DROP USER rita").await.unwrap();
    assert!(rows(&mut rita, "SELECT count(*) FROM t").await.is_err());
    assert!(anonymous(&server).await.handshake("rita", "rita's password").await.is_err());
    // Another user of that name has nothing of the first.
    change(&mut root, "CREATE USER rita PASSWORD 'rita''s password' ROLE reader").await.unwrap();
    assert!(rows(&mut rita, "SELECT count(*) FROM t").await.is_err());
}

fn ingest(table: &str, create: bool) -> CommandStatementIngest {
    let missing = if create { TableNotExistOption::Create } else { TableNotExistOption::Fail };
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: missing.into(),
            if_exists: TableExistsOption::Append.into(),
        }),
        table: table.to_owned(),
        schema: None,
        catalog: None,
        temporary: false,
        transaction_id: None,
        options: Default::default(),
    }
}

fn batch() -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![100]));
    RecordBatch::try_from_iter([("a", ids)]).unwrap()
}

/// Sends a statement in every way there is, and gives how each ended.
async fn every_way(client: &mut Client, sql: &str) -> Vec<(&'static str, Code)> {
    fn code<T>(result: Result<T, arrow_flight::error::FlightError>) -> Code {
        result.map_or_else(|error| status(error).code(), |_| Code::Ok)
    }
    let mut ended = vec![("update", code(client.execute_update(sql.to_owned(), None).await))];
    ended.push(("query", fetched(client, sql).await));
    let prepared = client.prepare(sql.to_owned(), None).await;
    match prepared {
        Err(error) => ended.push(("prepare", status(error).code())),
        Ok(mut prepared) => {
            ended.push(("prepared update", code(prepared.execute_update().await)));
            let got = match prepared.execute().await {
                Err(error) => status(error).code(),
                Ok(info) => ticket(client, info.endpoint[0].ticket.clone().unwrap()).await,
            };
            ended.push(("prepared query", got));
        }
    }
    ended.push(("plain ticket", ticket(client, Ticket::new(sql.to_owned())).await));
    ended
}

async fn fetched(client: &mut Client, sql: &str) -> Code {
    match client.execute(sql.to_owned(), None).await {
        Err(error) => status(error).code(),
        Ok(info) => ticket(client, info.endpoint[0].ticket.clone().unwrap()).await,
    }
}

async fn ticket(client: &mut Client, ticket: Ticket) -> Code {
    match client.do_get(ticket).await {
        Err(error) => status(error).code(),
        Ok(stream) => match stream.try_collect::<Vec<_>>().await {
            Err(error) => status(error).code(),
            Ok(_) => Code::Ok,
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_changes_nothing_whichever_way_it_tries() {
    let shared = with_users();
    let server = serve_over(&shared, options());
    let mut rita = logged_in(&server, "rita").await;
    for sql in [
        "INSERT INTO t VALUES (2, 'two')",
        "INSERT INTO t SELECT a + 1, b FROM t",
        "WITH x AS (SELECT 5 AS a) INSERT INTO t SELECT a, 'x' FROM x",
        "UPDATE t SET b = 'x' WHERE a = 1",
        "DELETE FROM t",
        "TRUNCATE TABLE t",
        "DROP TABLE t",
        "CREATE TABLE u (a INT)",
        "CREATE TABLE u AS SELECT * FROM t",
        "CREATE SCHEMA s",
        "CREATE USER u PASSWORD 'long enough' ROLE admin",
        "ALTER USER rita ROLE admin",
        "DROP USER walt",
        "SHOW USERS",
    ] {
        for (way, code) in every_way(&mut rita, sql).await {
            // Plain tickets are for queries.
            let refused = code == Code::PermissionDenied
                || way == "plain ticket" && code == Code::InvalidArgument;
            assert!(refused, "{sql} by {way}: {code:?}");
        }
    }
    for (table, create) in [("t", false), ("t", true), ("u", true)] {
        let batches = futures::stream::iter([Ok(batch())]);
        let sent = rita.execute_ingest(ingest(table, create), batches).await;
        let code = status(sent.unwrap_err()).code();
        assert_eq!(code, Code::PermissionDenied, "ingest into {table}");
    }
    let mut insert = rita.prepare("INSERT INTO t (a) VALUES (?)".to_owned(), None).await.unwrap();
    insert.set_parameters(batch()).unwrap();
    let code = status(insert.execute_update().await.unwrap_err()).code();
    assert_eq!(code, Code::PermissionDenied);

    assert_eq!(rows(&mut rita, "SELECT * FROM t").await.unwrap(), "1 one");
    assert_eq!(rows(&mut rita, "SHOW TABLES").await.unwrap(), "main t");
    assert_eq!(rows(&mut rita, "SHOW SCHEMAS").await.unwrap(), "main");
    let mut walt = logged_in(&server, "walt").await;
    assert_eq!(change(&mut walt, "INSERT INTO t VALUES (2, 'two')").await.unwrap(), 1);
    for (way, code) in every_way(&mut walt, "ALTER USER walt ROLE admin").await {
        let refused = code == Code::PermissionDenied
            || way == "plain ticket" && code == Code::InvalidArgument;
        assert!(refused, "{way}: {code:?}");
    }
    let users = shared.catalog().current().users().count();
    assert_eq!(users, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_is_good_for_its_own_session_alone() {
    let server = serve_over(&with_users(), options());
    let mut root = logged_in(&server, "root").await;
    let info = root.execute("SELECT b FROM t".to_owned(), None).await.unwrap();
    let query = info.endpoint[0].ticket.clone().unwrap();
    let mut prepared = root.prepare("SELECT b FROM t".to_owned(), None).await.unwrap();
    let info = prepared.execute().await.unwrap();
    let handle = info.endpoint[0].ticket.clone().unwrap();
    // Of another user, and of another login of the same.
    for user in ["rita", "root"] {
        let mut other = logged_in(&server, user).await;
        assert_eq!(ticket(&mut other, query.clone()).await, Code::NotFound);
        assert_eq!(ticket(&mut other, handle.clone()).await, Code::NotFound);
    }
    assert_eq!(ticket(&mut root, query).await, Code::Ok);
    assert_eq!(ticket(&mut root, handle).await, Code::Ok);
}

/// SQL reads and writes no files, so there is no folder to allow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_reaches_the_servers_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret.csv");
    std::fs::write(&file, "a\nsecret\n").unwrap();
    let path = file.display();
    let server = serve_over(&with_users(), options());
    let mut root = logged_in(&server, "root").await;
    for sql in [
        format!("SELECT * FROM '{path}'"),
        format!("SELECT * FROM \"{path}\""),
        format!("SELECT * FROM read_csv('{path}')"),
        format!("SELECT * FROM read_parquet('{path}')"),
        format!("SELECT * FROM parquet_metadata('{path}')"),
        format!("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{path}'"),
        format!("CREATE TABLE x AS SELECT * FROM '{path}'"),
        format!("COPY t TO '{path}.out'"),
        format!("COPY (SELECT 1) TO '{path}.out' STORED AS CSV"),
        format!("COPY t FROM '{path}'"),
        format!("INSERT INTO t SELECT * FROM '{path}'"),
        format!("INSERT INTO '{path}.out' SELECT * FROM t"),
        format!("ATTACH '{path}' AS x"),
        format!("LOAD DATA INPATH '{path}' INTO TABLE t"),
        format!("EXPORT DATA OPTIONS (uri = '{path}.out') AS SELECT 1"),
        format!("SET datafusion.catalog.location = '{path}'"),
        format!("SELECT read_text('{path}')"),
        format!("SELECT pg_read_file('{path}')"),
        format!("SELECT * FROM generate_series('{path}')"),
    ] {
        let error = match root.execute(sql.clone(), None).await {
            Err(error) => status(error),
            Ok(info) => {
                let ticket = info.endpoint[0].ticket.clone().unwrap();
                match root.do_get(ticket).await {
                    Err(error) => status(error),
                    Ok(stream) => status(stream.try_collect::<Vec<_>>().await.unwrap_err()),
                }
            }
        };
        assert!(!error.message().contains("secret\n"), "{sql}: {error}");
        assert!(
            matches!(error.code(), Code::NotFound | Code::InvalidArgument | Code::Unimplemented),
            "{sql}: {error}"
        );
    }
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(files.len(), 1, "something was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_in_no_answer() {
    let shared = with_users();
    let server = serve_over(&shared, options());
    let mut root = logged_in(&server, "root").await;
    for sql in [
        "CREATE USER u PASSWORD 'hunter2' ROLE reader",
        "CREATE USER u PASSWORD 'hunter2hunter2' ROLE everything",
        "ALTER USER nobody PASSWORD 'hunter2hunter2'",
        "CREATE USER u PASSWORD 'hunter2hunter2",
    ] {
        let error = change(&mut root, sql).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{sql}: {error}");
    }
    run(&shared, "CREATE USER u PASSWORD 'hunter2hunter2' ROLE reader");
    let shown = rows(&mut root, "SHOW USERS").await.unwrap();
    assert!(!shown.contains("argon2") && !shown.contains("hunter2"), "{shown}");
}

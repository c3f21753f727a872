//! Statements, prepared statements, cancelling, and plain Flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, Criteria, Empty,
    FlightDescriptor, SchemaResult, Ticket,
};
use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Int64Type, Schema};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tonic::{Code, Request};

use crate::harness::{options, served, served_with, text};

/// Runs for hours unless it is stopped.
const LONG: &str = "SELECT count(*) FROM generate_series(1, 1000000000000) WHERE value % 7 = 8";

fn code(error: &FlightError) -> Code {
    match error {
        FlightError::Tonic(status) => status.code(),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_give_rows_and_counts() {
    let mut db = served().await;
    assert_eq!(
        db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT NOT NULL, v DOUBLE)").await,
        0
    );
    assert_eq!(db.run("INSERT INTO t VALUES (1, 'one', 1.5), (2, 'two', NULL)").await, 2);
    assert_eq!(db.rows("SELECT * FROM t ORDER BY id").await, "1 one 1.5\n2 two NULL");
    assert_eq!(db.run("UPDATE t SET v = v + 1 WHERE id = 1").await, 1);
    assert_eq!(db.rows("SELECT sum(v), count(*) FROM t").await, "2.5 2");
    assert_eq!(db.rows("SELECT id FROM t WHERE id > 7").await, "");
    assert_eq!(db.rows("SHOW TABLES").await, "main t");
    assert!(db.rows("EXPLAIN SELECT * FROM t").await.contains("SiltScan"));

    let error = db.client.execute("SELECT nme FROM t".to_owned(), None).await.unwrap_err();
    assert!(error.to_string().contains("did you mean"), "{error}");
    let error = db.client.execute("SELEC 1".to_owned(), None).await.unwrap_err();
    assert!(error.to_string().contains("line 1, column 1"), "{error}");
    let error = db.client.execute_update("INSERT INTO t VALUES (1, 'x', 0)".to_owned(), None).await;
    assert_eq!(code(&error.unwrap_err()), Code::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_announced_is_the_schema_streamed_for_every_kind_of_column() {
    let mut db = served().await;
    db.run(
        "CREATE TABLE t (a BIGINT PRIMARY KEY, b TEXT NOT NULL, c BLOB, d DECIMAL(10,2), e DATE,
                         f TIMESTAMPTZ, g BOOLEAN NOT NULL, h TEXT[], i UUID)",
    )
    .await;
    db.run(
        "INSERT INTO t VALUES (1, 'x', X'00ff', 1.25, '2026-11-20', '2026-11-20T12:00:00Z', true,
                               ['a', 'b'], 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')",
    )
    .await;
    for sql in [
        "SELECT * FROM t",
        "SELECT b, count(*), max(c), sum(d) FROM t GROUP BY b",
        "SELECT x.b, y.g FROM t x LEFT JOIN t y ON x.a = y.a + 1",
        "SELECT h, arrow_cast(b, 'Dictionary(Int32, Utf8)') FROM t UNION ALL SELECT h, b FROM t",
        "SELECT a FROM t WHERE a = 1",
        "SELECT 1 AS one, NULL AS nothing, 'text' AS text",
        "EXPLAIN SELECT 1",
        "SHOW COLUMNS IN t",
    ] {
        // `rows` compares the schemas.
        db.rows(sql).await;
        // And GetSchema says the same.
        let info = db.client.execute(sql.to_owned(), None).await.unwrap();
        let announced = info.clone().try_decode_schema().unwrap();
        let descriptor = info.flight_descriptor.unwrap();
        let result: SchemaResult = db.plain().get_schema(descriptor).await.unwrap().into_inner();
        assert_eq!(Schema::try_from(&result).unwrap(), announced, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_statement_runs_with_each_binding_and_not_before_it_is_fetched() {
    let mut db = served().await;
    db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)").await;

    let insert = "INSERT INTO t VALUES (?, ?)".to_owned();
    let mut insert = db.client.prepare(insert, None).await.unwrap();
    let types: Vec<_> = insert.parameter_schema().unwrap().fields().iter().cloned().collect();
    assert_eq!(
        types.iter().map(|f| f.data_type().clone()).collect::<Vec<_>>(),
        [DataType::Int64, DataType::Utf8]
    );
    assert!(insert.dataset_schema().unwrap().fields().is_empty());
    insert.set_parameters(rows(0..1_000)).unwrap();
    assert_eq!(insert.execute_update().await.unwrap(), 1_000);
    // A key that is there already undoes all rows of the call.
    insert.set_parameters(rows(990..1_010)).unwrap();
    assert!(insert.execute_update().await.is_err());
    assert_eq!(db.rows("SELECT count(*) FROM t").await, "1000");
    insert.close().await.unwrap();

    let query = "SELECT name FROM t WHERE id = ?".to_owned();
    let mut query = db.client.prepare(query, None).await.unwrap();
    for id in [7, 999, 5_000] {
        query.set_parameters(one(id)).unwrap();
        let info = query.execute().await.unwrap();
        let (_, batches) = db.fetch(info).await;
        let expected = if id < 1_000 { format!("name {id}") } else { String::new() };
        assert_eq!(text(&batches), expected);
    }

    // ADBC sends changes of rows this way: they run in DoGet, once.
    let delete = "DELETE FROM t WHERE id < ?".to_owned();
    let mut delete = db.client.prepare(delete, None).await.unwrap();
    delete.set_parameters(one(500)).unwrap();
    let info = delete.execute().await.unwrap();
    assert_eq!(db.rows("SELECT count(*) FROM t").await, "1000");
    let (schema, batches) = db.fetch(info).await;
    assert!(schema.fields().is_empty() && batches.is_empty());
    assert_eq!(db.rows("SELECT count(*) FROM t").await, "500");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_of_parameters_are_one_commit_for_every_statement() {
    let mut db = served().await;
    db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT NOT NULL)").await;
    db.run("INSERT INTO t VALUES (1, 10), (2, 20), (3, 30)").await;
    let update = "UPDATE t SET v = 100 / ? WHERE id = ?".to_owned();
    let mut update = db.client.prepare(update, None).await.unwrap();
    let pairs = |pairs: &[(i64, i64)]| {
        let divisors: ArrayRef = Arc::new(Int64Array::from_iter_values(pairs.iter().map(|p| p.0)));
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(pairs.iter().map(|p| p.1)));
        RecordBatch::try_from_iter([("1", divisors), ("2", ids)]).unwrap()
    };
    update.set_parameters(pairs(&[(1, 1), (0, 2)])).unwrap();
    assert!(update.execute_update().await.is_err(), "a division by zero");
    let values = "SELECT v FROM t ORDER BY id";
    assert_eq!(db.rows(values).await, "10\n20\n30");
    update.set_parameters(pairs(&[(1, 1), (2, 2), (5, 9)])).unwrap();
    assert_eq!(update.execute_update().await.unwrap(), 2);
    assert_eq!(db.rows(values).await, "100\n50\n30");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn type_of_a_column_follows_its_parameter() {
    let mut db = served().await;
    let mut query = db.client.prepare("SELECT ? AS x".to_owned(), None).await.unwrap();
    query.set_parameters(one(7)).unwrap();
    let info = query.execute().await.unwrap();
    assert_eq!(info.clone().try_decode_schema().unwrap().field(0).data_type(), &DataType::Int64);
    let (schema, batches) = db.fetch(info).await;
    assert_eq!(schema.field(0).data_type(), &DataType::Int64);
    assert_eq!(text(&batches), "7");
}

fn one(id: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
    RecordBatch::try_from_iter([("1", ids)]).unwrap()
}

fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let names: ArrayRef =
        Arc::new(ids.clone().map(|id| Some(format!("name {id}"))).collect::<StringArray>());
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_from_iter([("1", ids), ("2", names)]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ticket_is_good_for_once_and_handles_are_capped() {
    let mut limited = options();
    limited.queries_max = 3;
    limited.prepared_max = 2;
    let mut db = served_with(limited).await;
    let info = db.client.execute("SELECT 1".to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    db.fetch(info).await;
    assert!(db.client.do_get(ticket).await.is_err());
    for _ in 0..3 {
        db.client.execute("SELECT 1".to_owned(), None).await.unwrap();
    }
    let error = db.client.execute("SELECT 1".to_owned(), None).await.unwrap_err();
    assert!(error.to_string().contains("--queries-max"), "{error}");
    let first = db.client.prepare("SELECT 1".to_owned(), None).await.unwrap();
    let _second = db.client.prepare("SELECT 1".to_owned(), None).await.unwrap();
    assert!(db.client.prepare("SELECT 1".to_owned(), None).await.is_err());
    first.close().await.unwrap();
    db.client.prepare("SELECT 1".to_owned(), None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_query_ends_at_once_and_a_dropped_stream_stops_its_work() {
    let mut db = served().await;
    let info = db.client.execute(LONG.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut client = db.client.clone();
    let began = Instant::now();
    let running = tokio::spawn(async move {
        let stream = client.do_get(ticket).await?;
        stream.try_collect::<Vec<_>>().await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let request = CancelFlightInfoRequest::new(info).encode_to_vec();
    let action = Action::new("CancelFlightInfo", request);
    let mut results = db.plain().do_action(action).await.unwrap().into_inner();
    let result = results.message().await.unwrap().unwrap();
    let result = CancelFlightInfoResult::decode(&*result.body).unwrap();
    assert_eq!(result.status(), CancelStatus::Cancelling);
    let error = running.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("cancelled"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());

    // Three that are only dropped would hold both of the database's threads.
    for _ in 0..3 {
        let info = db.client.execute(LONG.to_owned(), None).await.unwrap();
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let mut stream = db.client.do_get(ticket).await.unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(100), stream.next()).await;
        assert!(waited.is_err());
    }
    let began = Instant::now();
    assert_eq!(db.rows("SELECT sum(value) FROM generate_series(1, 100000)").await, "5000050000");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_cut_into_messages_and_compressed_when_asked() {
    let mut small = options();
    small.batch_bytes = 64 << 10;
    let mut db = served_with(small).await;
    let sql = "SELECT value, repeat('x', 100) AS t FROM generate_series(1, 20000)";
    let mut sizes = Vec::new();
    for compression in ["none", "lz4"] {
        let ticket = Ticket::new(sql);
        let mut request = Request::new(ticket);
        request.metadata_mut().insert("silt-compression", compression.parse().unwrap());
        let stream = db.plain().do_get(request).await.unwrap().into_inner();
        let messages: Vec<_> = stream.try_collect().await.unwrap();
        assert!(messages.iter().all(|message| message.data_body.len() < 96 << 10));
        assert!(messages.len() > 20);
        sizes.push(messages.iter().map(|message| message.data_body.len()).sum::<usize>());
        let messages = futures::stream::iter(messages.into_iter().map(Ok));
        let batches = FlightRecordBatchStream::new_from_flight_data(messages);
        let batches: Vec<RecordBatch> = batches.try_collect().await.unwrap();
        let sum: i64 = batches
            .iter()
            .map(|b| b.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>())
            .sum();
        assert_eq!(sum, 20_000 * 20_001 / 2);
    }
    assert!(sizes[1] < sizes[0] / 2, "{sizes:?}");
    let mut request = Request::new(Ticket::new(sql));
    request.metadata_mut().insert("silt-compression", "rar".parse().unwrap());
    assert_eq!(db.plain().do_get(request).await.unwrap_err().code(), Code::InvalidArgument);
    db.run("CREATE TABLE still_there (a INT)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_and_queries_are_read_by_plain_flight() {
    let mut db = served().await;
    db.run("CREATE TABLE t (id BIGINT PRIMARY KEY)").await;
    db.run("INSERT INTO t VALUES (1), (2)").await;
    let path =
        |parts: &[&str]| FlightDescriptor::new_path(parts.iter().map(|p| (*p).into()).collect());
    for descriptor in [
        path(&["t"]),
        path(&["main", "t"]),
        FlightDescriptor::new_cmd("SELECT * FROM t ORDER BY id"),
    ] {
        let info = db.plain().get_flight_info(descriptor).await.unwrap().into_inner();
        let (_, batches) = db.fetch(info).await;
        assert_eq!(text(&batches), "1\n2");
    }
    let flights = db.plain().list_flights(Criteria::default()).await.unwrap().into_inner();
    let flights: Vec<_> = flights.try_collect().await.unwrap();
    assert_eq!(flights.len(), 1);
    let (_, batches) = db.fetch(flights[0].clone()).await;
    assert_eq!(text(&batches), "1\n2");

    // A ticket may be sent twice: it must not change anything.
    let refused = db.plain().do_get(Ticket::new("DELETE FROM t")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let missing = db.plain().get_flight_info(path(&["nothing"])).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(db.rows("SELECT count(*) FROM t").await, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_built_is_refused_by_name() {
    let db = served().await;
    let mut plain = db.plain();
    let exchange = plain.do_exchange(futures::stream::empty()).await.unwrap_err();
    assert_eq!((exchange.code(), exchange.message()), (Code::Unimplemented, "DoExchange"));
    let poll = plain.poll_flight_info(FlightDescriptor::new_cmd("SELECT 1")).await.unwrap_err();
    assert!(poll.message().contains("PollFlightInfo"));
    let action = plain.do_action(Action::new("Dance", "")).await.unwrap_err();
    assert_eq!((action.code(), action.message()), (Code::Unimplemented, "action Dance"));
    let actions = plain.list_actions(Empty {}).await.unwrap().into_inner();
    let actions: Vec<_> = actions.try_collect().await.unwrap();
    assert!(actions.iter().any(|action| action.r#type == "CancelFlightInfo"));
}

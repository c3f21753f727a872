//! Tables that clients send.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    CommandStatementIngest, EndTransaction, ProstMessageExt, TableDefinitionOptions,
    TableExistsOption, TableNotExistOption,
};
use arrow_flight::{FlightData, FlightDescriptor};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tonic::Code;

use crate::harness::{Served, served, text};

fn command(
    table: &str,
    if_not_exist: TableNotExistOption,
    if_exists: TableExistsOption,
) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: if_not_exist.into(),
            if_exists: if_exists.into(),
        }),
        table: table.to_owned(),
        schema: None,
        catalog: None,
        temporary: false,
        transaction_id: None,
        options: HashMap::new(),
    }
}

fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
    let names: ArrayRef =
        Arc::new(ids.clone().map(|id| Some(format!("name {id}"))).collect::<StringArray>());
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()
}

async fn send(
    db: &mut Served,
    command: CommandStatementIngest,
    ids: std::ops::Range<i64>,
) -> Result<i64, Code> {
    let batches: Vec<_> = ids
        .clone()
        .step_by(1_000)
        .map(|start| Ok(batch(start..ids.end.min(start + 1_000))))
        .collect();
    let sent = db.client.execute_ingest(command, futures::stream::iter(batches)).await;
    sent.map_err(|error| match error {
        FlightError::Tonic(status) => status.code(),
        other => panic!("{other}"),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mode_does_what_it_says() {
    use {TableExistsOption as Exists, TableNotExistOption as Missing};
    let mut db = served().await;
    let count = "SELECT count(*), min(id), max(id) FROM t";
    let missing = send(&mut db, command("t", Missing::Fail, Exists::Append), 0..10).await;
    assert_eq!(missing, Err(Code::NotFound));
    assert_eq!(
        send(&mut db, command("t", Missing::Create, Exists::Fail), 0..2_500).await,
        Ok(2_500)
    );
    assert_eq!(db.rows(count).await, "2500 0 2499");
    let again = send(&mut db, command("t", Missing::Create, Exists::Fail), 0..10).await;
    assert_eq!(again, Err(Code::AlreadyExists));
    let more = send(&mut db, command("t", Missing::Fail, Exists::Append), 5_000..5_100).await;
    assert_eq!(more, Ok(100));
    assert_eq!(db.rows(count).await, "2600 0 5099");
    let other = send(&mut db, command("t", Missing::Create, Exists::Replace), 7..9).await;
    assert_eq!(other, Ok(2));
    assert_eq!(db.rows(count).await, "2 7 8");
    let unsaid = send(&mut db, command("t", Missing::Unspecified, Exists::Append), 0..1).await;
    assert_eq!(unsaid, Err(Code::InvalidArgument));
    let mut temporary = command("t", Missing::Create, Exists::Append);
    temporary.temporary = true;
    assert_eq!(send(&mut db, temporary, 0..1).await, Err(Code::Unimplemented));
    let mut elsewhere = command("t", Missing::Create, Exists::Append);
    elsewhere.schema = Some("nowhere".to_owned());
    assert_eq!(send(&mut db, elsewhere, 0..1).await, Err(Code::NotFound));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_with_keys_replace_or_stay_as_asked_and_a_stream_is_whole_or_absent() {
    use {TableExistsOption as Exists, TableNotExistOption as Missing};
    let mut db = served().await;
    let keyed = |on_conflict: &str| {
        let mut command = command("t", Missing::Create, Exists::Append);
        command.options.insert("key".to_owned(), "id".to_owned());
        command.options.insert("on_conflict".to_owned(), on_conflict.to_owned());
        command
    };
    assert_eq!(send(&mut db, keyed("fail"), 0..3_000).await, Ok(3_000));
    // The last row of the third batch is there already.
    db.run("DELETE FROM t WHERE id < 2999").await;
    assert_eq!(send(&mut db, keyed("fail"), 0..3_000).await, Err(Code::AlreadyExists));
    assert_eq!(db.rows("SELECT count(*) FROM t").await, "1");
    db.run("UPDATE t SET name = 'kept'").await;
    assert_eq!(send(&mut db, keyed("ignore"), 0..3_000).await, Ok(2_999));
    assert_eq!(db.rows("SELECT name FROM t WHERE id = 2999").await, "kept");
    assert_eq!(send(&mut db, keyed("replace"), 2_990..3_010).await, Ok(20));
    assert_eq!(db.rows("SELECT name FROM t WHERE id = 2999").await, "name 2999");
    assert_eq!(send(&mut db, keyed("maybe"), 0..1).await, Err(Code::InvalidArgument));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_belong_to_the_transaction_that_is_named() {
    use {TableExistsOption as Exists, TableNotExistOption as Missing};
    let mut db = served().await;
    for (end, after) in [(EndTransaction::Rollback, "0"), (EndTransaction::Commit, "3000")] {
        db.run("DROP TABLE IF EXISTS t").await;
        db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)").await;
        let transaction = db.client.begin_transaction().await.unwrap();
        let mut command = command("t", Missing::Fail, Exists::Append);
        command.transaction_id = Some(transaction.clone());
        assert_eq!(send(&mut db, command, 0..3_000).await, Ok(3_000));
        let count = "SELECT count(*) FROM t";
        let info = db.client.execute(count.to_owned(), Some(transaction.clone())).await.unwrap();
        assert_eq!(text(&db.fetch(info).await.1), "3000");
        assert_eq!(db.rows(count).await, "0");
        db.client.end_transaction(transaction, end).await.unwrap();
        assert_eq!(db.rows(count).await, after);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_goes_away_leaves_nothing_behind() {
    use {TableExistsOption as Exists, TableNotExistOption as Missing};
    let mut db = served().await;
    db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)").await;
    let command = command("t", Missing::Fail, Exists::Append).as_any().encode_to_vec();
    let batches = futures::stream::iter((0..20).map(|n| Ok(batch(n * 100..n * 100 + 100))));
    let messages = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)))
        .build(batches)
        .map(Result::unwrap)
        // And then nothing, until the client drops the call.
        .chain(futures::stream::pending());
    let mut plain = db.plain();
    let call = plain.do_put(messages);
    let waited = tokio::time::timeout(std::time::Duration::from_millis(500), call).await;
    assert!(waited.is_err());
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(db.rows("SELECT count(*) FROM t").await, "0");
    db.run("INSERT INTO t VALUES (1, 'free')").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_cannot_be_read_are_refused() {
    use {TableExistsOption as Exists, TableNotExistOption as Missing};
    let mut db = served().await;
    db.run("CREATE TABLE t (id BIGINT, name TEXT)").await;
    let command = command("t", Missing::Fail, Exists::Append).as_any().encode_to_vec();
    let good: Vec<FlightData> = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)))
        .with_options(lz4())
        .build(futures::stream::iter([Ok(batch(0..5_000))]))
        .try_collect()
        .await
        .unwrap();
    let spoil = |how: fn(&mut FlightData)| {
        let mut messages = good.clone();
        how(messages.last_mut().unwrap());
        messages
    };
    for (what, messages) in [
        ("half a body", spoil(|m| m.data_body.truncate(m.data_body.len() / 2))),
        ("half a header", spoil(|m| m.data_header.truncate(m.data_header.len() / 2))),
        ("nonsense", spoil(|m| m.data_header = vec![0xff; 64].into())),
        (
            "a buffer that claims a terabyte",
            spoil(|m| {
                let mut body = m.data_body.to_vec();
                // The validity of the first column is empty, so its values come first.
                body[..8].copy_from_slice(&(1_i64 << 40).to_le_bytes());
                m.data_body = body.into();
            }),
        ),
    ] {
        let sent = db.plain().do_put(futures::stream::iter(messages)).await;
        let error = match sent {
            Err(status) => status,
            Ok(results) => panic!("{what}: {:?}", results.into_inner().message().await),
        };
        assert_eq!(error.code(), Code::InvalidArgument, "{what}: {error}");
    }
    assert_eq!(db.rows("SELECT count(*) FROM t").await, "0");
    let sent = db.plain().do_put(futures::stream::iter(good)).await.unwrap().into_inner();
    let results: Vec<_> = sent.try_collect().await.unwrap();
    assert_eq!(results.len(), 1);
    assert_eq!(db.rows("SELECT count(*), sum(id) FROM t").await, "5000 12497500");
}

fn lz4() -> datafusion::arrow::ipc::writer::IpcWriteOptions {
    datafusion::arrow::ipc::writer::IpcWriteOptions::default()
        .try_with_compression(Some(datafusion::arrow::ipc::CompressionType::LZ4_FRAME))
        .unwrap()
}

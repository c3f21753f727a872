//! Many clients for a while: `under_load`, short in the test suite, a minute where it is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_flight::sql::{
    CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::TryStreamExt;

use crate::guarded::{connected, database, run, serve_over};
use crate::harness::{options, text};

const READERS: usize = 16;
const ROWS: i64 = 100_000;
const BATCH_ROWS: i64 = 8_192;

fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
    let names: ArrayRef =
        Arc::new(ids.clone().map(|id| Some(format!("name {id}"))).collect::<StringArray>());
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()
}

fn ingest() -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: TableNotExistOption::Fail.into(),
            if_exists: TableExistsOption::Append.into(),
        }),
        table: "t".to_owned(),
        schema: None,
        catalog: None,
        temporary: false,
        transaction_id: None,
        options: Default::default(),
    }
}

/// This process's memory, in MiB: server and clients together.
fn resident_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4 / 1_024
}

async fn load(lasts: Duration) {
    let shared = database();
    run(&shared, "CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)");
    run(
        &shared,
        &format!(
            "INSERT INTO t SELECT value, 'name ' || value FROM generate_series(0, {}) ",
            ROWS - 1
        ),
    );
    let server = serve_over(&shared, options());
    let before = resident_mib();
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let (stop, address) = (Arc::clone(&stop), server.local_addr());
            tokio::spawn(async move {
                let mut client = connected(address).await.unwrap();
                let query = "SELECT name FROM t WHERE id = ?".to_owned();
                let mut query = client.prepare(query, None).await.unwrap();
                let (mut took, mut id) = (Vec::new(), i64::try_from(reader).unwrap());
                while !stop.load(Ordering::Relaxed) {
                    id = (id * 6_364_136 + 1_442_695) % ROWS;
                    let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
                    let parameters = RecordBatch::try_from_iter([("1", ids)]).unwrap();
                    let began = Instant::now();
                    query.set_parameters(parameters).unwrap();
                    let info = query.execute().await.unwrap();
                    let ticket = info.endpoint[0].ticket.clone().unwrap();
                    let rows: Vec<_> =
                        client.do_get(ticket).await.unwrap().try_collect().await.unwrap();
                    took.push(began.elapsed());
                    assert_eq!(text(&rows), format!("name {id}"));
                }
                took
            })
        })
        .collect();
    let writer = {
        let (stop, sent, address) = (Arc::clone(&stop), Arc::clone(&sent), server.local_addr());
        tokio::spawn(async move {
            let mut client = connected(address).await.unwrap();
            let mut next = ROWS;
            while !stop.load(Ordering::Relaxed) {
                let end = next + 8 * BATCH_ROWS;
                let starts = (next..end).step_by(usize::try_from(BATCH_ROWS).unwrap());
                let batches: Vec<_> = starts.map(|id| Ok(batch(id..id + BATCH_ROWS))).collect();
                let done = client.execute_ingest(ingest(), futures::stream::iter(batches)).await;
                assert_eq!(done.unwrap(), end - next);
                sent.fetch_add(u64::try_from(end - next).unwrap(), Ordering::Relaxed);
                next = end;
            }
        })
    };
    tokio::time::sleep(lasts).await;
    stop.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    for reader in readers {
        took.extend(reader.await.unwrap());
    }
    writer.await.unwrap();
    took.sort();
    assert!(took.len() > READERS && sent.load(Ordering::Relaxed) > 0);
    let seconds = lasts.as_secs_f64();
    let at = |part: usize| took[(took.len() - 1) * part / 100];
    println!(
        "{READERS} readers and one ingest, {seconds} s: no error; {} point queries ({:.0} a second), \
         median {:?}, p99 {:?}; {:.0} rows ingested a second; memory {} MiB before, {} MiB after",
        took.len(),
        took.len() as f64 / seconds,
        at(50),
        at(99),
        sent.load(Ordering::Relaxed) as f64 / seconds,
        before,
        resident_mib(),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_readers_and_one_ingest_are_answered_without_an_error() {
    load(Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: see docs/server.md"]
async fn under_load_for_a_minute() {
    load(Duration::from_secs(60)).await;
}

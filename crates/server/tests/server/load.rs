//! Many clients for a while: short in the test suite, and a minute or more where it is asked for,
//! beside a server in a process of its own whose memory is watched.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_flight::sql::{
    CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::TryStreamExt;

use crate::apart::{Apart, silt};
use crate::guarded::{change, connected, database, serve_over};
use crate::harness::{options, text};

const READERS: usize = 16;
const ROWS: i64 = 100_000;
const BATCH_ROWS: i64 = 8_192;
const LOOK_EVERY: Duration = Duration::from_secs(5);

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

/// Loads a server for so long, and calls `look` now and then with the rows that it took by then.
async fn load(address: SocketAddr, lasts: Duration, mut look: impl FnMut(Duration, u64)) {
    let mut client = connected(address).await.unwrap();
    change(&mut client, "CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)").await.unwrap();
    let first = format!(
        "INSERT INTO t SELECT value, 'name ' || value FROM generate_series(0, {})",
        ROWS - 1
    );
    change(&mut client, &first).await.unwrap();
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let stop = Arc::clone(&stop);
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
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
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
    let began = Instant::now();
    while began.elapsed() < lasts {
        look(began.elapsed(), sent.load(Ordering::Relaxed));
        tokio::time::sleep(LOOK_EVERY.min(lasts - began.elapsed().min(lasts))).await;
    }
    look(began.elapsed(), sent.load(Ordering::Relaxed));
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
         median {:?}, p99 {:?}; {:.0} rows ingested a second",
        took.len(),
        took.len() as f64 / seconds,
        at(50),
        at(99),
        sent.load(Ordering::Relaxed) as f64 / seconds,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_readers_and_one_ingest_are_answered_without_an_error() {
    let server = serve_over(&database(), options());
    load(server.local_addr(), Duration::from_secs(3), |_, _| {}).await;
}

/// The server in a process of its own, as long as `SILT_SECONDS` says, and its memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: see docs/server.md"]
async fn under_load_for_a_minute() {
    let Some(silt) = silt() else { return };
    let folder = tempfile::tempdir().unwrap();
    let seconds = std::env::var("SILT_SECONDS").map_or(60, |seconds| seconds.parse().unwrap());
    let options = std::env::var("SILT_OPTIONS").unwrap_or_default();
    let options: Vec<&str> = options.split_whitespace().collect();
    let server = Apart::serve(&silt, &folder.path().join("db"), &options);
    println!("   s   rows M   MiB  peak  CPU s");
    load(server.address, Duration::from_secs(seconds), |at, rows| {
        println!(
            "{:4} {:8.1} {:5} {:5} {:6.1}",
            at.as_secs(),
            rows as f64 / 1e6,
            server.resident_mib(),
            server.resident_peak_mib(),
            server.cpu_seconds(),
        );
    })
    .await;
}

//! What Flight costs: lineitem out of and into a served database, by pyarrow, beside the same rows
//! as Parquet files and beside a server that streams the same batches from memory.
//!
//! The client is a process of its own (`client.py`); the servers are this one, whose CPU time is
//! told beside the client's clock.

#![expect(
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "a bench: it has a clock and files of its own"
)]

mod memory;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use arrow_array::RecordBatch;
use clap::Parser;
use parquet::arrow::ArrowWriter;
use siltdb::{Database, IngestTarget, params};
use tpchgen::generators::LineItemGenerator;
use tpchgen_arrow::LineItemArrow;

/// The clock ticks of `/proc` a second, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
const TABLE: &str = "lineitem";
const KEY: [&str; 2] = ["l_orderkey", "l_linenumber"];

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Measures Flight beside Parquet and beside a server of batches in memory.
#[derive(Parser)]
struct Arguments {
    /// TPC-H's scale factor.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// How often each step is run; the best counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The interpreter that has pyarrow and adbc-driver-flightsql.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Only these steps: export, memory, ingest, parquet.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// One measured step.
struct Measured {
    seconds: f64,
    /// Of this process, while it ran.
    cpu_seconds: f64,
    /// Of the client, if there is one.
    client_cpu_seconds: Option<f64>,
    bytes: f64,
    rows: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let batches: Vec<RecordBatch> =
        LineItemArrow::new(LineItemGenerator::new(arguments.scale, 1, 1))
            .with_batch_size(8_192)
            .collect::<std::result::Result<_, _>>()?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    println!("lineitem of scale {}: {rows} rows", arguments.scale);
    let python = arguments.python.clone().unwrap_or_else(default_python);
    let wanted = |step: &str| arguments.only.is_empty() || arguments.only.iter().any(|s| s == step);

    let db = Database::open(folder.path().join("db"))?;
    load(&db, TABLE, &KEY, &batches)?;
    db.flush()?;
    db.compact(TABLE)?;

    let server = siltdb::serve(&db, options())?;
    let address = format!("grpc://{}", server.local_addr());
    let client = |arguments: &[&str]| measured(&python, arguments);
    let best = |arguments_of_step: &[&str]| -> Result<Measured> {
        let round = |_| client(arguments_of_step);
        best_of((0..arguments.rounds.max(1)).map(round).collect::<Result<_>>()?)
    };
    if wanted("export") {
        report("export", &best(&["export", &address, &format!("SELECT * FROM {TABLE}")])?);
        report(
            "export, lz4",
            &best(&["export", &address, &format!("SELECT * FROM {TABLE}"), "lz4"])?,
        );
    }
    if wanted("memory") {
        let memory = memory::Memory::serve(&batches)?;
        report("export from memory", &best(&["export", &memory.address(), memory::TICKET])?);
    }
    if wanted("ingest") {
        let file = folder.path().join("lineitem.parquet");
        write_parquet(&file, &batches)?;
        let file = file.to_string_lossy().into_owned();
        // Like beside like, in turns: with the key, and without one.
        let mut rounds: [Vec<Measured>; 4] = Default::default();
        for _ in 0..arguments.rounds.max(1) {
            for (way, measured) in rounds.iter_mut().enumerate() {
                measured.push(match way {
                    0 => load(&db, "sent", &KEY, &batches)?,
                    1 => client(&["ingest-key", &address, "sent", &file])?,
                    2 => load(&db, "sent", &[], &batches)?,
                    _ => client(&["ingest", &address, "sent", &file])?,
                });
                db.execute("DROP TABLE sent", params![])?;
            }
        }
        let [keyed, sent_keyed, plain, sent_plain] = rounds.map(best_of);
        for (what, load, sent) in
            [("with key", keyed?, sent_keyed?), ("no key", plain?, sent_plain?)]
        {
            report(&format!("bulk load by the library, {what}"), &load);
            report(&format!("ingest by ADBC, {what}"), &sent);
            println!(
                "{:34} {:7.2} times the bulk load's speed, {:.2} by the server's CPU time",
                "",
                load.seconds / sent.seconds,
                load.cpu_seconds / sent.cpu_seconds,
            );
        }
        if wanted("parquet") {
            let own = folder.path().join("own.parquet").to_string_lossy().into_owned();
            report("parquet written by pyarrow", &best(&["write-parquet", &file, &own])?);
            report("parquet read by pyarrow", &best(&["read-parquet", &own])?);
        }
    }
    server.shutdown();
    server.wait()?;
    Ok(())
}

fn options() -> siltdb::ServerOptions {
    let listen = ([127, 0, 0, 1], 0).into();
    siltdb::ServerOptions { listen, ..siltdb::ServerOptions::default() }
}

fn default_python() -> PathBuf {
    let home = std::env::var("HOME").unwrap_or_default();
    Path::new(&home).join(".cache/siltdb/python/bin/python")
}

/// The round that took the least time.
fn best_of(rounds: Vec<Measured>) -> Result<Measured> {
    let best = rounds.into_iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds));
    best.ok_or_else(|| "no round".into())
}

fn load(db: &Database, table: &str, key: &[&str], batches: &[RecordBatch]) -> Result<Measured> {
    let target = IngestTarget {
        table: table.to_owned(),
        key: key.iter().map(|&column| column.to_owned()).collect(),
        create_if_missing: true,
        ..IngestTarget::default()
    };
    let (began, cpu) = (Instant::now(), cpu_seconds()?);
    let mut rows = batches.iter().cloned().map(Ok);
    let counts = db.ingest(batches[0].schema(), &mut rows, &target)?;
    Ok(Measured {
        seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds()? - cpu,
        client_cpu_seconds: None,
        bytes: batches.iter().map(memory::wire_bytes).sum(),
        rows: counts.written as f64,
    })
}

/// Runs the client; it prints seconds, bytes, rows, and its CPU seconds.
fn measured(python: &Path, arguments: &[&str]) -> Result<Measured> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("flight/client.py");
    let cpu = cpu_seconds()?;
    let output = Command::new(python).arg(script).args(arguments).output()?;
    let cpu_seconds = cpu_seconds()? - cpu;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{arguments:?}: {text}").into());
    }
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> =
        text.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
    let [seconds, bytes, rows, client] = numbers[..] else {
        return Err(format!("said {text}").into());
    };
    Ok(Measured { seconds, cpu_seconds, client_cpu_seconds: Some(client), bytes, rows })
}

fn report(what: &str, measured: &Measured) {
    let Measured { seconds, cpu_seconds, client_cpu_seconds, bytes, rows } = measured;
    let client =
        client_cpu_seconds.map_or(String::new(), |own| format!("; client {own:5.2} CPU s"));
    println!(
        "{what:34} {seconds:7.2} s  {:6.2} GB  {:5.2} GB/s  {:7.2} M rows/s  server {cpu_seconds:5.2} CPU s, {:5.2} GB a CPU second{client}",
        bytes / 1e9,
        bytes / 1e9 / seconds,
        rows / 1e6 / seconds,
        bytes / 1e9 / cpu_seconds.max(0.01),
    );
}

/// CPU time of this process so far.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<std::result::Result<f64, _>>()? / TICKS_PER_SECOND)
}

fn write_parquet(file: &Path, batches: &[RecordBatch]) -> Result<()> {
    let file = std::fs::File::create(file)?;
    let mut writer = ArrowWriter::try_new(file, batches[0].schema(), None)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.close()?;
    Ok(())
}

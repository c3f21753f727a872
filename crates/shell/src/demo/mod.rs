//! `silt demo`: a real graph and a million events, and what one asks of them.
//!
//! The graph is this program's own dependency graph, out of the `Cargo.lock` it was built with:
//! packages as a table of metadata, dependencies as edges and as triples. The events are made up,
//! the same ones each time.

mod events;
mod graph;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use siltdb::arrow::array::RecordBatch;
use siltdb::arrow::datatypes::SchemaRef;
use siltdb::arrow::util::pretty::pretty_format_batches;
use siltdb::{Database, Error, ErrorKind, IngestTarget, Result, params};

/// What the demo is told on the command line.
#[derive(Clone, Debug)]
pub(crate) struct DemoOptions {
    /// Where the database goes; nothing may stand there yet.
    pub(crate) dir: PathBuf,
    /// How many events are made.
    pub(crate) events: usize,
}

/// Single-row statements that are timed.
const SINGLE_WRITES: u64 = 200;
/// Point lookups that are timed.
const LOOKUPS: u64 = 1_000;
/// Statements of a thousand upserts that are timed.
const UPSERT_STATEMENTS: u64 = 10;

/// Makes the database, shows it, and gives it back open.
///
/// # Errors
/// `AlreadyExists` if something stands at the folder; else what a statement says.
pub(crate) fn run(options: &DemoOptions, out: &mut dyn Write) -> Result<Database> {
    let dir = &options.dir;
    if dir.exists() {
        let message =
            format!("{} exists already: the demo makes a database of its own", dir.display());
        return Err(Error::new(ErrorKind::AlreadyExists, message));
    }
    let mut demo = Demo { db: Database::open(dir)?, out };
    demo.say(&format!("A database in {}\n", dir.display()))?;
    demo.load(options.events)?;
    demo.write_and_look_up()?;
    demo.upsert(options.events)?;
    demo.ask_the_graph()?;
    demo.ask_the_events()?;
    demo.delete()?;
    demo.reopen(dir)?;
    demo.levels()?;
    Ok(demo.db)
}

struct Demo<'a> {
    db: Database,
    out: &'a mut dyn Write,
}

impl Demo<'_> {
    fn say(&mut self, text: &str) -> Result<()> {
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(cannot_write)
    }

    fn title(&mut self, text: &str) -> Result<()> {
        self.say(&format!("\n── {text}"))
    }

    /// Runs a statement, prints it with its rows and its time.
    fn show(&mut self, sql: &str) -> Result<()> {
        self.say(&format!("\n{sql}"))?;
        let begin = now();
        let rows = self.db.query_arrow(sql, params![])?;
        let schema = std::sync::Arc::clone(rows.schema());
        let batches = rows.collect::<Result<Vec<RecordBatch>>>()?;
        let took = begin.elapsed();
        self.table(&schema, &batches)?;
        let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
        self.say(&format!("{count} row{} in {}", if count == 1 { "" } else { "s" }, time(took)))
    }

    fn table(&mut self, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<()> {
        let empty = [RecordBatch::new_empty(std::sync::Arc::clone(schema))];
        let batches = if batches.is_empty() { &empty[..] } else { batches };
        let table = pretty_format_batches(batches)?;
        self.say(&table.to_string())
    }

    fn ingest(&mut self, table: &str, key: &[&str], batches: Vec<RecordBatch>) -> Result<()> {
        let schema = batches.first().map_or_else(
            || std::sync::Arc::new(siltdb::arrow::datatypes::Schema::empty()),
            RecordBatch::schema,
        );
        let target = IngestTarget {
            table: table.to_owned(),
            key: key.iter().map(|&column| column.to_owned()).collect(),
            create_if_missing: true,
            ..IngestTarget::default()
        };
        let begin = now();
        let counts = self.db.ingest(schema, &mut batches.into_iter().map(Ok), &target)?;
        let took = begin.elapsed();
        self.say(&format!(
            "{table:<13} {:>9} rows, key ({}), in {} ({} rows/s)",
            counts.written,
            key.join(", "),
            time(took),
            rate(counts.written, took),
        ))
    }

    fn load(&mut self, events: usize) -> Result<()> {
        self.title(
            "A real graph: the packages this program is built from, and a log of agents at work",
        )?;
        let graph = graph::read()?;
        self.ingest("packages", &["name", "version"], vec![graph.packages])?;
        self.ingest("dependencies", &["package", "needs"], vec![graph.dependencies])?;
        self.ingest("triples", &["subject", "predicate", "object"], vec![graph.triples])?;
        self.ingest("events", &["agent_id", "seq"], events::generate(events)?)
    }

    fn write_and_look_up(&mut self) -> Result<()> {
        self.title("Durable single rows: each is on the disk before the next begins")?;
        let sql =
            "INSERT INTO events VALUES (?, ?, '2026-01-01 00:00:00', 'note', 'demo', 0.0, 1, true)";
        let insert = self.db.prepare(sql)?;
        let mut times = Vec::new();
        for seq in 0..SINGLE_WRITES {
            let begin = now();
            insert.execute(params![1_000_000_i64, i64::try_from(seq).unwrap_or(0)])?;
            times.push(begin.elapsed());
        }
        self.times(sql, times)?;
        self.title("Lookups by key")?;
        let sql = "SELECT kind, cost FROM events WHERE agent_id = ? AND seq = ?";
        let lookup = self.db.prepare(sql)?;
        let mut times = Vec::new();
        for index in 0..LOOKUPS {
            let key = index * 7_919;
            let (agent, seq) = (key % events::AGENTS, key / events::AGENTS % 50);
            let begin = now();
            let found: String = lookup.query_row(
                params![i64::try_from(agent).unwrap_or(0), i64::try_from(seq).unwrap_or(0)],
                |row| row.get("kind"),
            )?;
            times.push(begin.elapsed());
            debug_assert!(!found.is_empty());
        }
        self.times(sql, times)
    }

    fn upsert(&mut self, events: usize) -> Result<()> {
        self.title("Upserts: a thousand rows a statement, one commit each")?;
        let mut times = Vec::new();
        let mut rows = 0;
        for statement in 0..UPSERT_STATEMENTS {
            let values: Vec<String> = (0..1_000_u64)
                .map(|row| {
                    let key = (statement * 1_000 + row) * 104_729 % (events as u64).max(1);
                    let (agent, seq) = (key % events::AGENTS, key / events::AGENTS);
                    format!(
                        "({agent}, {seq}, '2026-02-01 00:00:00', 'note', 'upsert', 0.5, 10, true)"
                    )
                })
                .collect();
            let mut unique = values;
            unique.sort_unstable();
            unique.dedup();
            let sql = format!(
                "INSERT INTO events VALUES {} ON CONFLICT (agent_id, seq) DO UPDATE SET \
                 ts = excluded.ts, kind = excluded.kind, tool = excluded.tool, \
                 cost = excluded.cost, tokens = excluded.tokens, ok = excluded.ok",
                unique.join(", ")
            );
            let begin = now();
            rows += self.db.execute(&sql, params![])?;
            times.push(begin.elapsed());
        }
        let total: Duration = times.iter().sum();
        self.say(&format!("{rows} rows upserted in {} ({} rows/s)", time(total), rate(rows, total)))
    }

    fn ask_the_graph(&mut self) -> Result<()> {
        self.title("Two hops from one package")?;
        self.show(
            "SELECT b.needs, count(*) AS paths\n\
             FROM dependencies a JOIN dependencies b ON b.package = a.needs\n\
             WHERE a.package = 'silt-storage'\n\
             GROUP BY b.needs ORDER BY paths DESC, b.needs LIMIT 8",
        )?;
        self.title("Everything one package pulls in, and how deep")?;
        self.show(
            "WITH RECURSIVE pulled(name, depth) AS (\n\
             \x20 SELECT needs, 1 FROM dependencies WHERE package = 'silt-storage'\n\
             \x20 UNION\n\
             \x20 SELECT d.needs, p.depth + 1 FROM pulled p JOIN dependencies d ON d.package = p.name\n\
             \x20 WHERE p.depth < 12)\n\
             SELECT depth, count(*) AS packages FROM (\n\
             \x20 SELECT name, min(depth) AS depth FROM pulled GROUP BY name)\n\
             GROUP BY depth ORDER BY depth",
        )?;
        self.title("The same graph as triples: what is needed by most")?;
        self.show(
            "SELECT object, count(*) AS needed_by FROM triples\n\
             WHERE predicate = 'depends_on' GROUP BY object ORDER BY needed_by DESC, object LIMIT 5",
        )
    }

    fn ask_the_events(&mut self) -> Result<()> {
        self.title("Analytics over all events, while they are being written")?;
        self.show(
            "SELECT kind, count(*) AS events, round(sum(cost), 2) AS cost, sum(tokens) AS tokens\n\
             FROM events GROUP BY kind ORDER BY events DESC",
        )?;
        self.show(
            "SELECT agent_id, seq, ts, kind FROM events\n\
             WHERE agent_id = 42 ORDER BY agent_id DESC, seq DESC LIMIT 5",
        )
    }

    fn delete(&mut self) -> Result<()> {
        self.title("Deletes")?;
        let sql = "DELETE FROM events WHERE agent_id < 100";
        let begin = now();
        let rows = self.db.execute(sql, params![])?;
        self.say(&format!("{sql}\n{rows} rows in {}", time(begin.elapsed())))?;
        self.show("SELECT count(*) AS events, min(agent_id) AS first_agent FROM events")
    }

    fn reopen(&mut self, dir: &Path) -> Result<()> {
        self.title("Closing, opening again: everything is there")?;
        // The handle is exchanged for one that holds nothing while the folder is unlocked.
        let old = std::mem::replace(&mut self.db, Database::in_memory()?);
        old.close()?;
        let begin = now();
        self.db = Database::open(dir)?;
        self.say(&format!("opened in {}", time(begin.elapsed())))?;
        self.show("SELECT count(*) AS events FROM events")
    }

    fn levels(&mut self) -> Result<()> {
        self.title("What lies in the folder")?;
        let text = crate::inspect::levels(&self.db);
        self.say(&text)
    }

    fn times(&mut self, sql: &str, mut times: Vec<Duration>) -> Result<()> {
        times.sort_unstable();
        let total: Duration = times.iter().sum();
        let count = times.len();
        self.say(&format!(
            "{sql}\n{count} times: median {}, slowest of a hundred {}, {} a second",
            time(times[count / 2]),
            time(times[count * 99 / 100]),
            rate(count as u64, total),
        ))
    }
}

fn cannot_write(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write the demo's output: {error}"))
}

#[expect(clippy::disallowed_methods, reason = "the demo times what a user would")]
fn now() -> Instant {
    Instant::now()
}

fn time(duration: Duration) -> String {
    match duration.as_nanos() {
        0..1_000_000 => format!("{:.1} µs", duration.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => format!("{:.1} ms", duration.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", duration.as_secs_f64()),
    }
}

fn rate(rows: u64, took: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let rate = rows as f64 / took.as_secs_f64().max(1e-9);
    match rate {
        r if r >= 1e6 => format!("{:.2} M", r / 1e6),
        r if r >= 1e3 => format!("{:.0} k", r / 1e3),
        r => format!("{r:.0}"),
    }
}

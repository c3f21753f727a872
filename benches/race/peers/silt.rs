//! SiltDB through its public API.

use std::collections::HashMap;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use siltdb::{
    AppendMode, ArrowRows, Connection, Database, IngestTarget, Params, Row, ScalarValue, Statement,
    params,
};

use super::{About, Peer, Reader, Task, Writer};
use crate::arrow_answer;
use crate::data::{Chunk, Event, Form, Key};
use crate::paths;
use crate::queries;
use crate::record::Answer;
use crate::scale::CHUNK;
use crate::steps::{Lookup, Range};
use crate::tables::{self, Dialect, Result, Table};

const UPSERT: &str = " ON CONFLICT (agent_id, seq) DO UPDATE SET ts = excluded.ts,
     kind = excluded.kind, payload = excluded.payload";
const PREPARED: &str = "prepared SQL";
const TEXT: &str = "SQL as text";
const APPENDER: &str = "appender";
const RUST_GET: &str = "Rust get";
const RUST_SCAN: &str = "Rust scan";
/// The columns of [`Lookup::EventTwo`]: the key and two others.
const TWO: &[&str] = &["agent_id", "seq", "ts", "kind"];

pub(super) struct Silt {
    path: PathBuf,
    without: Vec<String>,
    open: Option<Open>,
}

/// A database, and the connection of whoever asks.
struct Open {
    db: Database,
    connection: Connection,
    prepared: HashMap<String, Statement>,
    /// By name and, where not all are read, columns.
    tables: HashMap<(&'static str, &'static [&'static str]), siltdb::Table>,
}

impl Open {
    fn prepare(&mut self, sql: &str) -> Result<&Statement> {
        if !self.prepared.contains_key(sql) {
            self.prepared.insert(sql.to_owned(), self.connection.prepare(sql)?);
        }
        Ok(&self.prepared[sql])
    }

    /// The door of a key-value store; all columns for none.
    fn table(
        &mut self,
        name: &'static str,
        columns: &'static [&'static str],
    ) -> Result<&siltdb::Table> {
        if !self.tables.contains_key(&(name, columns)) {
            let table = self.connection.table(name)?;
            let table = if columns.is_empty() { table } else { table.with_columns(columns)? };
            self.tables.insert((name, columns), table);
        }
        Ok(&self.tables[&(name, columns)])
    }
}

impl Silt {
    pub(super) fn new(folder: PathBuf, without: &[String]) -> Result<Self> {
        let mut silt = Self { path: folder.join("race"), without: without.to_owned(), open: None };
        silt.open()?;
        Ok(silt)
    }

    fn opened(&self) -> Result<&Open> {
        Ok(self.open.as_ref().ok_or("the database is closed")?)
    }

    fn opened_mut(&mut self) -> Result<&mut Open> {
        Ok(self.open.as_mut().ok_or("the database is closed")?)
    }

    fn connect(&self) -> Result<Connection> {
        Ok(self.opened()?.db.connect())
    }
}

impl Peer for Silt {
    fn about(&self) -> Result<About> {
        let mut version = env!("CARGO_PKG_VERSION").to_owned();
        for name in &self.without {
            version.push_str(&format!(", without {name}"));
        }
        Ok(About {
            version,
            enforces: "the key, in a bulk load as in every write",
            syncs: "every commit (durability full), those of several threads together",
        })
    }

    fn dialect(&self) -> Option<Dialect> {
        Some(Dialect::Silt)
    }

    fn answers_tpch(&self) -> bool {
        true
    }

    fn doors(&self, task: Task) -> &'static [&'static str] {
        match task {
            Task::Insert => &[PREPARED],
            Task::Upsert => &[PREPARED, TEXT, APPENDER],
            Task::Get => &[RUST_GET, PREPARED, TEXT],
            Task::Range => &[RUST_SCAN, PREPARED],
        }
    }

    fn form(&self, door: &str) -> Form {
        match door {
            TEXT => Form::Text,
            APPENDER => Form::Batch,
            _ => Form::Rows,
        }
    }

    fn create(&mut self, table: &Table, name: &str, schema: &SchemaRef) -> Result<()> {
        self.opened()?
            .connection
            .execute(&tables::create(Dialect::Silt, table, name, schema), params![])?;
        Ok(())
    }

    fn load(
        &mut self,
        table: &Table,
        schema: &SchemaRef,
        batches: &mut dyn Iterator<Item = RecordBatch>,
    ) -> Result<u64> {
        let target = IngestTarget {
            table: table.name.to_owned(),
            on_conflict: AppendMode::Insert,
            ..IngestTarget::default()
        };
        let mut batches = batches.map(Ok);
        Ok(self.opened()?.connection.ingest(schema.clone(), &mut batches, &target)?.written)
    }

    fn writer(&self, door: &str, task: Task, table: &str, rows: usize) -> Result<Writer> {
        let connection = self.connect()?;
        let conflict = if task == Task::Upsert { UPSERT } else { "" };
        let table = table.to_owned();
        match door {
            PREPARED => {
                let marks = vec!["(?, ?, ?, ?, ?)"; rows].join(", ");
                let whole =
                    connection.prepare(&format!("INSERT INTO {table} VALUES {marks}{conflict}"))?;
                Ok(Box::new(move |work| work(&mut |chunk| insert(&whole, chunk, rows))))
            }
            TEXT => Ok(Box::new(move |work| {
                work(&mut |chunk| {
                    let sql = format!("INSERT INTO {table} VALUES {}{conflict}", chunk.text);
                    connection.execute(&sql, params![])?;
                    Ok(())
                })
            })),
            APPENDER => {
                let mode =
                    if task == Task::Upsert { AppendMode::Upsert } else { AppendMode::Insert };
                let mut appender = connection.appender(&table, mode)?;
                Ok(Box::new(move |work| {
                    work(&mut |chunk| {
                        appender.append_batch(&chunk.batch)?;
                        appender.flush()?;
                        Ok(())
                    })
                }))
            }
            other => Err(format!("there is no door {other}").into()),
        }
    }

    fn rewrite(&mut self, table: &Table, batches: &[RecordBatch]) -> Result<()> {
        let mut appender = self.opened()?.connection.appender(table.name, AppendMode::Upsert)?;
        for batch in batches {
            appender.append_batch(batch)?;
            appender.flush()?;
        }
        Ok(())
    }

    fn reader(&self) -> Result<Reader> {
        let connection = self.connect()?;
        Ok(Box::new(move || answer_of(connection.query_arrow(queries::GROUP, params![])?)))
    }

    fn gets(&mut self, door: &str, lookup: Lookup, keys: &[Key]) -> Result<Answer> {
        let opened = self.opened_mut()?;
        let (columns, table) = match lookup {
            Lookup::EventAll => ("*", "events"),
            Lookup::EventTwo => ("agent_id, seq, ts, kind", "events"),
            Lookup::TripleAll => ("*", "triples"),
        };
        let mut answer = Answer::default();
        if door == RUST_GET {
            let columns = if lookup == Lookup::EventTwo { TWO } else { &[] };
            let table = opened.table(table, columns)?;
            for key in keys {
                if let Some(row) = table.get(whole(key))? {
                    take(&mut answer, &row)?;
                }
            }
            return Ok(answer);
        }
        if door == TEXT {
            for key in keys {
                let sql = match key {
                    Key::Event { agent_id, seq } => format!(
                        "SELECT {columns} FROM {table} WHERE agent_id = {agent_id} AND seq = {seq}"
                    ),
                    Key::Triple { subject, predicate, object } => format!(
                        "SELECT {columns} FROM {table} WHERE subject = '{subject}'
                         AND predicate = '{predicate}' AND object = '{object}'"
                    ),
                };
                for row in opened.connection.query(&sql, params![])? {
                    take(&mut answer, &row?)?;
                }
            }
            return Ok(answer);
        }
        let filter = match table {
            "events" => "agent_id = ? AND seq = ?",
            _ => "subject = ? AND predicate = ? AND object = ?",
        };
        let get = opened.prepare(&format!("SELECT {columns} FROM {table} WHERE {filter}"))?;
        for key in keys {
            for row in get.query(whole(key))? {
                take(&mut answer, &row?)?;
            }
        }
        Ok(answer)
    }

    fn ranges(&mut self, door: &str, range: Range, keys: &[Key]) -> Result<Answer> {
        let opened = self.opened_mut()?;
        let mut answer = Answer::default();
        if door == RUST_SCAN {
            let name = if range == Range::NewestOfAgent { "events" } else { "triples" };
            let table = opened.table(name, &[])?;
            for key in keys {
                let rows = match range {
                    Range::TriplesOfSubject => table.scan(first(key)),
                    Range::NewestOfAgent => table.last(first(key), 100),
                };
                for row in rows? {
                    let row = row?;
                    let (batch, place) = row.as_arrow()?;
                    // Its rows follow one another, and their values are taken column by column.
                    if place == 0 {
                        arrow_answer::add(&mut answer, batch)?;
                    }
                }
            }
            return Ok(answer);
        }
        let statement = opened.prepare(match range {
            Range::TriplesOfSubject => "SELECT * FROM triples WHERE subject = ?",
            Range::NewestOfAgent => {
                "SELECT * FROM events WHERE agent_id = ? ORDER BY seq DESC LIMIT 100"
            }
        })?;
        for key in keys {
            answer.add(answer_of(statement.query_arrow(first(key))?)?);
        }
        Ok(answer)
    }

    fn ask(&mut self, sql: &str) -> Result<Answer> {
        answer_of(self.opened()?.connection.query_arrow(sql, params![])?)
    }

    fn count(&mut self, table: &str) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {table}");
        Ok(self.opened()?.connection.query_row(&sql, params![], |row| row.get(0))?)
    }

    fn optimize(&mut self, table: &str) -> Result<bool> {
        self.opened()?.db.compact(table)?;
        Ok(true)
    }

    fn copy(&mut self, from: &str, to: &str, rows: u64) -> Result<u64> {
        let sql = format!("INSERT INTO {to} SELECT * FROM {from} LIMIT {rows}");
        Ok(self.opened()?.connection.execute(&sql, params![])?)
    }

    fn remove(&mut self, table: &str) -> Result<()> {
        self.opened()?.connection.execute(&format!("DROP TABLE {table}"), params![])?;
        Ok(())
    }

    fn delete_half(&mut self) -> Result<u64> {
        Ok(self.opened()?.connection.execute(&queries::delete_half(), params![])?)
    }

    fn close(&mut self) -> Result<()> {
        match self.open.take() {
            Some(open) => Ok(open.db.close()?),
            None => Ok(()),
        }
    }

    fn open(&mut self) -> Result<()> {
        let mut builder = Database::builder(&self.path);
        for name in &self.without {
            (paths::named(name)?.off)(&mut builder);
        }
        let db = builder.open()?;
        let connection = db.connect();
        self.open = Some(Open { db, connection, prepared: HashMap::new(), tables: HashMap::new() });
        Ok(())
    }
}

fn insert(statement: &Statement, chunk: &Chunk, rows: usize) -> Result<()> {
    let mut values = Vec::with_capacity(5 * rows);
    for Event { agent_id, seq, ts, kind, payload } in &chunk.rows {
        values.push(ScalarValue::Int64(Some(*agent_id)));
        values.push(ScalarValue::Int64(Some(*seq)));
        values.push(ScalarValue::TimestampMicrosecond(Some(*ts), None));
        values.push(ScalarValue::Utf8View(Some((*kind).to_owned())));
        values.push(ScalarValue::Utf8View(Some(payload.clone())));
    }
    debug_assert!(chunk.rows.len() == rows && rows <= CHUNK, "a chunk has the rows of its door");
    statement.execute(Params::positional(values))?;
    Ok(())
}

/// All columns of a key.
fn whole(key: &Key) -> Params {
    match key {
        Key::Event { agent_id, seq } => params![agent_id, seq],
        Key::Triple { subject, predicate, object } => params![subject, predicate, object],
    }
}

/// The first column of a key.
fn first(key: &Key) -> Params {
    match key {
        Key::Event { agent_id, .. } => params![agent_id],
        Key::Triple { subject, .. } => params![subject],
    }
}

/// Adds a row that was looked up, value by value, as who looks up one row takes it.
fn take(answer: &mut Answer, row: &Row) -> Result<()> {
    answer.rows += 1;
    for column in 0..row.len() {
        match row.get::<ScalarValue>(column)? {
            ScalarValue::Int64(Some(value)) | ScalarValue::TimestampMicrosecond(Some(value), _) => {
                answer.integer(value);
            }
            ScalarValue::Float64(Some(value)) => answer.float(value),
            ScalarValue::Utf8View(Some(text)) | ScalarValue::Utf8(Some(text)) => {
                answer.text(&text);
            }
            other => return Err(format!("a row has {other:?}").into()),
        }
    }
    Ok(())
}

fn answer_of(rows: ArrowRows) -> Result<Answer> {
    let mut answer = Answer::default();
    for batch in rows {
        arrow_answer::add(&mut answer, &batch?)?;
    }
    Ok(answer)
}

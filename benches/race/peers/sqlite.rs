//! SQLite through `rusqlite`: write-ahead log, the key as the table's tree.

use std::path::PathBuf;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row, Statement, ToSql, params_from_iter};

use super::{About, Peer, Reader, Task, Writer};
use crate::data::{Event, Key};
use crate::queries;
use crate::record::Answer;
use crate::steps::{Lookup, Range};
use crate::tables::{self, Dialect, Result, Table};

/// As Silt's engine has by default.
const CACHE_KIB: i64 = 512 << 10;
const UPSERT: &str = " ON CONFLICT (agent_id, seq) DO UPDATE SET ts = excluded.ts,
     kind = excluded.kind, payload = excluded.payload";

pub(super) struct Sqlite {
    path: PathBuf,
    db: Option<Connection>,
}

impl Sqlite {
    pub(super) fn new(folder: PathBuf) -> Result<Self> {
        let path = folder.join("race.sqlite");
        let db = Some(connect(&path, "FULL")?);
        Ok(Self { path, db })
    }

    fn db(&self) -> Result<&Connection> {
        Ok(self.db.as_ref().ok_or("the database is closed")?)
    }
}

fn connect(path: &PathBuf, synchronous: &str) -> Result<Connection> {
    let flags = OpenFlags::default() | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(std::time::Duration::from_secs(60))?;
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};
         PRAGMA cache_size = -{CACHE_KIB}; PRAGMA mmap_size = 0"
    ))?;
    Ok(db)
}

impl Peer for Sqlite {
    fn about(&self) -> Result<About> {
        Ok(About {
            version: rusqlite::version().to_owned(),
            enforces: "the key, as the tree of a WITHOUT ROWID table",
            syncs: "WAL; FULL syncs every commit, NORMAL only checkpoints",
        })
    }

    fn dialect(&self) -> Option<Dialect> {
        Some(Dialect::Sqlite)
    }

    fn doors(&self, task: Task) -> &'static [&'static str] {
        match task {
            Task::Insert | Task::Upsert => &["FULL", "NORMAL"],
            Task::Get | Task::Range => &[""],
        }
    }

    fn create(&mut self, table: &Table, name: &str, schema: &SchemaRef) -> Result<()> {
        Ok(self.db()?.execute_batch(&tables::create(Dialect::Sqlite, table, name, schema))?)
    }

    fn load(
        &mut self,
        table: &Table,
        schema: &SchemaRef,
        batches: &mut dyn Iterator<Item = RecordBatch>,
    ) -> Result<u64> {
        let db = self.db()?;
        let marks = vec!["?"; schema.fields().len()].join(", ");
        db.execute_batch("BEGIN")?;
        let mut insert = db.prepare(&format!("INSERT INTO {} VALUES ({marks})", table.name))?;
        let mut rows = 0;
        for batch in batches {
            for row in 0..batch.num_rows() {
                insert_row(&mut insert, &batch, row)?;
            }
            rows += batch.num_rows() as u64;
        }
        db.execute_batch("COMMIT")?;
        Ok(rows)
    }

    fn rest(&mut self) -> Result<()> {
        Ok(self.db()?.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?)
    }

    fn writer(&self, door: &str, task: Task, table: &str, rows: usize) -> Result<Writer> {
        let db = connect(&self.path, door)?;
        let conflict = if task == Task::Upsert { UPSERT } else { "" };
        let insert = format!("INSERT INTO {table} VALUES (?, ?, ?, ?, ?){conflict}");
        Ok(Box::new(move |work| {
            let mut insert = db.prepare(&insert)?;
            if rows == 1 {
                return work(&mut |chunk| put(&mut insert, &chunk.rows[0]));
            }
            let (mut begin, mut commit) = (db.prepare("BEGIN IMMEDIATE")?, db.prepare("COMMIT")?);
            work(&mut |chunk| {
                begin.execute([])?;
                for row in &chunk.rows {
                    put(&mut insert, row)?;
                }
                commit.execute([])?;
                Ok(())
            })
        }))
    }

    fn rewrite(&mut self, table: &Table, batches: &[RecordBatch]) -> Result<()> {
        let db = self.db()?;
        let columns = batches.first().map_or(0, RecordBatch::num_columns);
        let marks = vec!["?"; columns].join(", ");
        let mut replace =
            db.prepare(&format!("INSERT OR REPLACE INTO {} VALUES ({marks})", table.name))?;
        for batch in batches {
            db.execute_batch("BEGIN IMMEDIATE")?;
            for row in 0..batch.num_rows() {
                insert_row(&mut replace, batch, row)?;
            }
            db.execute_batch("COMMIT")?;
        }
        Ok(())
    }

    fn reader(&self) -> Result<Reader> {
        let db = connect(&self.path, "FULL")?;
        Ok(Box::new(move || ask(&db, queries::GROUP)))
    }

    fn gets(&mut self, _door: &str, lookup: Lookup, keys: &[Key]) -> Result<Answer> {
        let mut statement = self.db()?.prepare(match lookup {
            Lookup::EventAll => "SELECT * FROM events WHERE agent_id = ? AND seq = ?",
            Lookup::EventTwo => {
                "SELECT agent_id, seq, ts, kind FROM events WHERE agent_id = ? AND seq = ?"
            }
            Lookup::TripleAll => {
                "SELECT * FROM triples WHERE subject = ? AND predicate = ? AND object = ?"
            }
        })?;
        let mut answer = Answer::default();
        for key in keys {
            run(&mut statement, key, &mut answer)?;
        }
        Ok(answer)
    }

    fn ranges(&mut self, _door: &str, range: Range, keys: &[Key]) -> Result<Answer> {
        let mut statement = self.db()?.prepare(match range {
            Range::TriplesOfSubject => "SELECT * FROM triples WHERE subject = ?",
            Range::NewestOfAgent => {
                "SELECT * FROM events WHERE agent_id = ? ORDER BY seq DESC LIMIT 100"
            }
        })?;
        let mut answer = Answer::default();
        for key in keys {
            let mut rows = match key {
                Key::Event { agent_id, .. } => statement.query([agent_id])?,
                Key::Triple { subject, .. } => statement.query([subject])?,
            };
            while let Some(row) = rows.next()? {
                take(row, &mut answer)?;
            }
        }
        Ok(answer)
    }

    fn ask(&mut self, sql: &str) -> Result<Answer> {
        ask(self.db()?, sql)
    }

    fn count(&mut self, table: &str) -> Result<u64> {
        let count: i64 =
            self.db()?.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok(count as u64)
    }

    fn delete_half(&mut self) -> Result<u64> {
        Ok(self.db()?.execute(&queries::delete_half(), [])? as u64)
    }

    fn close(&mut self) -> Result<()> {
        match self.db.take() {
            Some(db) => Ok(db.close().map_err(|(_, error)| error)?),
            None => Ok(()),
        }
    }

    fn open(&mut self) -> Result<()> {
        self.db = Some(connect(&self.path, "FULL")?);
        Ok(())
    }
}

fn put(insert: &mut Statement<'_>, row: &Event) -> Result<()> {
    let Event { agent_id, seq, ts, kind, payload } = row;
    insert.execute((agent_id, seq, ts, kind, payload))?;
    Ok(())
}

fn insert_row(insert: &mut Statement<'_>, batch: &RecordBatch, row: usize) -> Result<()> {
    for (index, column) in batch.columns().iter().enumerate() {
        let bind = &mut |value: &dyn ToSql| insert.raw_bind_parameter(index + 1, value);
        match column.data_type() {
            DataType::Int64 => bind(&column.as_primitive::<Int64Type>().value(row)),
            DataType::Int32 => bind(&column.as_primitive::<Int32Type>().value(row)),
            DataType::Date32 => bind(&column.as_primitive::<Date32Type>().value(row)),
            DataType::Timestamp(..) => {
                bind(&column.as_primitive::<TimestampMicrosecondType>().value(row))
            }
            DataType::Float64 => bind(&column.as_primitive::<Float64Type>().value(row)),
            DataType::Decimal128(_, digits) => {
                let value = column.as_primitive::<Decimal128Type>().value(row);
                bind(&(value as f64 / 10_f64.powi(i32::from(*digits))))
            }
            DataType::Utf8 => bind(&column.as_string::<i32>().value(row)),
            DataType::Utf8View => bind(&column.as_string_view().value(row)),
            other => return Err(format!("no column of {other} is known").into()),
        }?;
    }
    insert.raw_execute()?;
    Ok(())
}

fn run(statement: &mut Statement<'_>, key: &Key, answer: &mut Answer) -> Result<()> {
    let mut rows = match key {
        Key::Event { agent_id, seq } => statement.query((agent_id, seq))?,
        Key::Triple { subject, predicate, object } => {
            statement.query((subject, predicate, object))?
        }
    };
    while let Some(row) = rows.next()? {
        take(row, answer)?;
    }
    Ok(())
}

fn ask(db: &Connection, sql: &str) -> Result<Answer> {
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query(params_from_iter([0_i64; 0]))?;
    let mut answer = Answer::default();
    while let Some(row) = rows.next()? {
        take(row, &mut answer)?;
    }
    Ok(answer)
}

fn take(row: &Row<'_>, answer: &mut Answer) -> Result<()> {
    answer.rows += 1;
    for column in 0..row.as_ref().column_count() {
        match row.get_ref(column)? {
            ValueRef::Integer(value) => answer.integer(value),
            ValueRef::Real(value) => answer.float(value),
            ValueRef::Text(text) => answer.text(std::str::from_utf8(text)?),
            ValueRef::Null | ValueRef::Blob(_) => {}
        }
    }
    Ok(())
}

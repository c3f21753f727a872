//! A database in memory, statements on it, and rows as text.

use std::sync::Arc;

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use silt_sql::{Error, Params, Result, Session, Shared, SqlOptions, StatementResult};

/// A session on a database of its own.
pub struct Db {
    pub session: Session,
}

pub fn db() -> Db {
    db_with(silt_storage::Options::default())
}

pub fn db_with(storage: silt_storage::Options) -> Db {
    let options = SqlOptions { threads: 2, ..SqlOptions::default() };
    let shared = Shared::in_memory(storage, options).unwrap();
    Db { session: Session::new(shared) }
}

impl Db {
    /// Another connection.
    #[allow(dead_code)]
    pub fn other(&self) -> Db {
        Db { session: Session::new(Arc::clone(self.session.shared())) }
    }

    pub fn try_run(&mut self, sql: &str) -> Result<Vec<StatementResult>> {
        self.session.execute_sql(sql, &Params::none())
    }

    /// Runs statements that give counts; the last one's.
    #[track_caller]
    pub fn run(&mut self, sql: &str) -> u64 {
        match self.try_run(sql).unwrap_or_else(|error| panic!("{sql}: {error}")).pop() {
            Some(StatementResult::Count { rows, .. }) => rows,
            other => panic!("{sql}: {other:?}"),
        }
    }

    /// Runs a query; its rows as text, one line a row, sorted unless the query orders them.
    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> String {
        self.rows_with(sql, &Params::none())
    }

    #[track_caller]
    pub fn rows_with(&mut self, sql: &str, params: &Params) -> String {
        let result = self.session.execute_one(sql, params);
        let result = result.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let lines = lines(result).unwrap_or_else(|error| panic!("{sql}: {error}"));
        shown(lines, sql)
    }

    /// Runs what must fail, also if it fails only while its rows are read.
    #[track_caller]
    pub fn error(&mut self, sql: &str) -> Error {
        let failed = self
            .try_run(sql)
            .and_then(|results| results.into_iter().map(lines).collect::<Result<Vec<_>>>());
        match failed {
            Err(error) => error,
            Ok(rows) => panic!("{sql}: gave {rows:?}"),
        }
    }
}

pub fn shown(mut lines: Vec<String>, sql: &str) -> String {
    if !sql.to_uppercase().contains("ORDER BY") {
        lines.sort();
    }
    lines.join("\n")
}

pub fn lines(result: StatementResult) -> Result<Vec<String>> {
    let StatementResult::Rows { stream, .. } = result else { return Ok(vec![]) };
    let mut lines = Vec::new();
    for batch in stream {
        let batch = batch?;
        let options = FormatOptions::new().with_null("NULL");
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<_> =
                columns.iter().map(|column| column.value(row).to_string()).collect();
            lines.push(cells.join(" "));
        }
    }
    Ok(lines)
}

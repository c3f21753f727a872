//! A database, a connection and where results go: runs statements and scripts.

use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use siltdb::{Connection, Database, Error, ErrorKind, StatementResult, params};

use crate::interrupt::{self, Interrupted};
use crate::output::Output;
use crate::render::{Audience, Mode, RenderError, renderer};
use crate::report::statement_error;
use crate::split::{Splitter, Statement};
use crate::{command, render};

/// Why a script does not go on. What there was to say has been said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A statement or a command failed.
    Failed,
    /// Ctrl-C.
    Interrupted,
    /// `.quit`.
    Quit,
    /// Nobody reads standard output any more.
    OutputGone,
}

/// What runs statements.
pub(crate) struct Shell {
    pub(crate) db: Database,
    pub(crate) connection: Connection,
    pub(crate) out: Output,
    pub(crate) mode: Mode,
    pub(crate) timer: bool,
    pub(crate) readonly: bool,
    /// Somebody sits at a prompt, and is told what statements without rows did.
    pub(crate) interactive: bool,
    /// Scripts that read scripts.
    depth: usize,
}

/// Scripts within scripts.
const DEPTH_MAX: usize = 16;
/// The first words of statements that only read.
const READING: [&str; 15] = [
    "SELECT", "WITH", "VALUES", "TABLE", "FROM", "EXPLAIN", "SHOW", "DESCRIBE", "DESC", "BEGIN",
    "START", "COMMIT", "END", "ROLLBACK", "ABORT",
];
/// Words that make a `WITH` or an `EXPLAIN` a statement that writes.
const WRITING: [&str; 10] = [
    "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "DROP", "ALTER", "TRUNCATE", "COPY", "REPLACE",
];

impl Shell {
    pub(crate) fn new(db: Database, mode: Mode, readonly: bool) -> Self {
        let connection = db.connect();
        let out = Output::stdout();
        Self { db, connection, out, mode, timer: false, readonly, interactive: false, depth: 0 }
    }

    /// Runs the statements and dot commands of a script as they are read, to the first that fails.
    pub(crate) fn script(&mut self, input: impl BufRead, origin: Option<&str>) -> Result<(), Stop> {
        if self.depth == DEPTH_MAX {
            return Err(self.fail(&format!("scripts read one another {DEPTH_MAX} levels deep")));
        }
        self.depth += 1;
        let result = self.lines(input, origin);
        self.depth -= 1;
        result
    }

    fn lines(&mut self, mut input: impl BufRead, origin: Option<&str>) -> Result<(), Stop> {
        let mut splitter = Splitter::new();
        let mut line = String::new();
        loop {
            line.clear();
            let number = splitter.lines() + 1;
            let name = origin.unwrap_or("input");
            match input.read_line(&mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(self.fail(&format!("{name}:{number}: the script is not UTF-8")));
                }
                Err(error) => return Err(self.fail(&format!("cannot read {name}: {error}"))),
            }
            let text = if number == 1 { line.trim_start_matches('\u{feff}') } else { &line };
            if splitter.is_between() && text.trim_start().starts_with('.') {
                splitter.line("");
                command::run(self, text.trim())?;
                continue;
            }
            for statement in splitter.line(text) {
                self.statement(&statement, origin)?;
            }
        }
        splitter.finish().map_or(Ok(()), |statement| self.statement(&statement, origin))
    }

    /// Runs one statement, shows its rows, and says what is wrong with it.
    pub(crate) fn statement(
        &mut self,
        statement: &Statement,
        origin: Option<&str>,
    ) -> Result<(), Stop> {
        interrupt::reset();
        let begin = now();
        let result = self.run(statement);
        let took = begin.elapsed();
        let flushed = self.out.flush().map_err(Failure::from);
        match result.and(flushed) {
            Ok(()) => {
                if self.timer {
                    eprintln!("{}", duration(took));
                }
                Ok(())
            }
            Err(Failure::Statement(error)) if error.kind() == ErrorKind::Interrupted => {
                eprintln!("interrupted");
                Err(Stop::Interrupted)
            }
            Err(Failure::Statement(error)) => {
                eprint!("{}", statement_error(&error, statement, origin));
                Err(Stop::Failed)
            }
            Err(Failure::Interrupted) => {
                eprintln!("interrupted");
                Err(Stop::Interrupted)
            }
            Err(Failure::Output(error)) => Err(self.output_failed(&error)),
        }
    }

    fn run(&mut self, statement: &Statement) -> Result<(), Failure> {
        if self.readonly {
            check_reading(statement)?;
        }
        match self.connection.run(&statement.text, params![])? {
            StatementResult::Count { tag, rows } => {
                if self.interactive {
                    match rows {
                        0 => writeln!(self.out, "{tag}")?,
                        1 => writeln!(self.out, "{tag}: 1 row")?,
                        rows => writeln!(self.out, "{tag}: {rows} rows")?,
                    }
                }
            }
            StatementResult::Rows { schema, mut stream } => {
                let audience =
                    Audience { terminal: self.out.is_terminal(), width: self.out.width() };
                let mut renderer = renderer(self.mode, &schema, audience);
                while let Some(batch) = interrupt::next(&mut stream)? {
                    renderer.batch(&mut self.out, &batch?)?;
                }
                renderer.finish(&mut self.out)?;
            }
        }
        Ok(())
    }

    /// Says what a command could not do.
    pub(crate) fn fail(&mut self, message: &str) -> Stop {
        eprintln!("error: {}", render::escaped(message));
        Stop::Failed
    }

    /// Writes text that a command gives.
    pub(crate) fn say(&mut self, text: &str) -> Result<(), Stop> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|error| self.output_failed(&error))
    }

    /// Says why a result could not be shown.
    pub(crate) fn render_failed(&mut self, error: RenderError) -> Stop {
        match error {
            RenderError::Output(error) => self.output_failed(&error),
            RenderError::Value(error) => self.fail(error.message()),
        }
    }

    fn output_failed(&mut self, error: &io::Error) -> Stop {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Stop::OutputGone;
        }
        self.fail(&format!("cannot write the result: {error}"))
    }
}

enum Failure {
    Statement(Error),
    Interrupted,
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Statement(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<Interrupted> for Failure {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        match error {
            RenderError::Output(error) => Self::Output(error),
            RenderError::Value(error) => Self::Statement(error),
        }
    }
}

/// Refuses what is not known to only read.
fn check_reading(statement: &Statement) -> Result<(), Error> {
    let words = statement.words();
    let is = |word: &str, list: &[&str]| list.iter().any(|known| word.eq_ignore_ascii_case(known));
    let first = words.first().copied().unwrap_or_default();
    let prefixed = ["WITH", "EXPLAIN", "FROM"].iter().any(|word| first.eq_ignore_ascii_case(word));
    let writing = words.iter().find(|word| is(word, &WRITING));
    match writing {
        _ if !is(first, &READING) && !statement.text.starts_with('(') => {
            let first = first.to_uppercase();
            Err(Error::invalid(format!("{first} is refused: the shell was opened with --readonly")))
        }
        Some(word) if prefixed => Err(Error::invalid(format!(
            "a statement with {} is refused: the shell was opened with --readonly",
            word.to_uppercase()
        ))),
        _ => Ok(()),
    }
}

/// The time, for `.timer` and progress.
#[expect(
    clippy::disallowed_methods,
    reason = "what a person waits for is measured by the real clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A time span with three digits.
pub(crate) fn duration(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    match seconds {
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.001 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} us", s * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readonly_lets_through_what_only_reads() {
        let reads = |text: &str| {
            let statement = Statement { text: text.to_owned(), line: 1, column: 1 };
            check_reading(&statement).is_ok()
        };
        for text in [
            "select 'delete'",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "explain select 1",
            "(select 1) union select 2",
            "show tables",
            "select replace(a, 'x', 'y') from t",
            "begin read only",
        ] {
            assert!(reads(text), "{text}");
        }
        for text in [
            "insert into t values (1)",
            "WITH a AS (SELECT 1) DELETE FROM t",
            "explain analyze /* x */ insert into t select 1",
            "set x = 1",
            "checkpoint",
            "",
        ] {
            assert!(!reads(text), "{text}");
        }
    }
}

//! `silt ingest` and `.import`: files into a table, with a progress line on a terminal.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use silt_ingest::{
    Format, Matching, OnError, Options, Progress, Reader, RejectsFile, Source, Target,
};
use siltdb::arrow::array::RecordBatch;
use siltdb::arrow::datatypes::SchemaRef;
use siltdb::{AppendMode, Connection, Error, ErrorKind, IngestTarget, Result, params};

use crate::args::{LoadArguments, OnConflictArgument, OnErrorArgument};
use crate::command::quoted;
use crate::shell::{duration, now};

/// What is loaded, where, and how.
pub(crate) struct Load {
    files: Vec<String>,
    options: Options,
    target: IngestTarget,
    by_position: bool,
    rejects: Option<Arc<Mutex<RejectsFile>>>,
}

impl Load {
    pub(crate) fn new(files: &[String], arguments: &LoadArguments) -> Result<Self> {
        let mut options = Options { header: !arguments.no_header, ..Options::default() };
        let named = [
            ("format", &arguments.format),
            ("delimiter", &arguments.delimiter),
            ("quote", &arguments.quote),
            ("escape", &arguments.escape),
            ("sample", &arguments.sample),
            ("base", &arguments.base),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                options.set(name, value).map_err(converted)?;
            }
        }
        if !arguments.null.is_empty() {
            options.nulls.clone_from(&arguments.null);
        }
        if arguments.on_error == OnErrorArgument::Skip {
            options.on_error = OnError::Skip;
        }
        let rejects = match &arguments.rejects {
            Some(_) if options.on_error == OnError::Stop => {
                return Err(Error::invalid("--rejects needs --on-error skip"));
            }
            Some(path) => Some(Arc::new(Mutex::new(RejectsFile::create(path).map_err(converted)?))),
            None => None,
        };
        let format_of = |file: &String| {
            options.format.or_else(|| Format::from_path(std::path::Path::new(file)))
        };
        let rdf = files.iter().all(|file| format_of(file).is_some_and(Format::is_rdf));
        let mut key = arguments.key.clone();
        if key.is_empty() && rdf {
            let names = silt_ingest::STATEMENT_SCHEMA.fields().iter();
            key = names.map(|field| field.name().clone()).collect();
        }
        let on_conflict = match arguments.on_conflict {
            Some(OnConflictArgument::Error) => AppendMode::Insert,
            Some(OnConflictArgument::Replace) => AppendMode::Upsert,
            Some(OnConflictArgument::Keep) => AppendMode::Ignore,
            // A graph is a set: a statement that is there already is no error.
            None if rdf => AppendMode::Ignore,
            None => AppendMode::Insert,
        };
        let target = IngestTarget {
            table: arguments.into.clone(),
            key,
            create_if_missing: true,
            on_conflict,
            ..IngestTarget::default()
        };
        let by_position = arguments.by_position;
        Ok(Self { files: files.to_vec(), options, target, by_position, rejects })
    }
}

/// Loads all files in one commit and gives a line that says so.
///
/// # Errors
/// What a file, or the table, says; the table is then as it was.
pub(crate) fn load(connection: &Connection, mut load: Load) -> Result<String> {
    let begin = now();
    // An existing table decides the types; a new one takes those of the first file.
    if let Some(schema) = table_schema(connection, &load.target.table)? {
        load.options.target = Some(Target { schema, matching: load.matching() });
    }
    let mut files = Files::open(&load)?;
    let schema = files.schema.clone();
    let counts = connection.ingest(schema, &mut files, &load.target);
    files.bar.finish_and_clear();
    let rejected = files.rejected();
    drop(files);
    let counts = counts?;
    if let Some(rejects) = load.rejects.take() {
        let rejects = Arc::into_inner(rejects).expect("the readers that shared it are gone");
        rejects.into_inner().unwrap_or_else(PoisonError::into_inner).finish().map_err(converted)?;
    }
    let took = begin.elapsed();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rate for people"
    )]
    let rate = (counts.read as f64 / took.as_secs_f64().max(1e-6)) as u64;
    let mut summary = format!("{}: {} rows written", load.target.table, HumanCount(counts.written));
    for (count, what) in [(counts.kept, "there already"), (rejected, "malformed")] {
        if count > 0 {
            summary.push_str(&format!(", {} {what}", HumanCount(count)));
        }
    }
    summary.push_str(&format!(", in {} ({} rows/s)\n", duration(took), HumanCount(rate)));
    Ok(summary)
}

impl Load {
    fn matching(&self) -> Matching {
        if self.by_position { Matching::Position } else { Matching::Name }
    }
}

/// The columns of a table, if there is such a table.
fn table_schema(connection: &Connection, table: &str) -> Result<Option<SchemaRef>> {
    let nothing = format!("SELECT * FROM {} LIMIT 0", quoted(table));
    match connection.query_arrow(&nothing, params![]) {
        Ok(rows) => Ok(Some(Arc::clone(rows.schema()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The batches of all files, one file after the other.
struct Files<'a> {
    load: &'a Load,
    schema: SchemaRef,
    reader: Option<Reader>,
    /// Files not opened yet, the next one last.
    rest: Vec<&'a String>,
    done: Vec<Progress>,
    bar: ProgressBar,
}

impl<'a> Files<'a> {
    fn open(load: &'a Load) -> Result<Self> {
        let mut rest: Vec<&String> = load.files.iter().rev().collect();
        let first = rest.pop().ok_or_else(|| Error::invalid("there is no file to load"))?;
        let reader = reader(first, &load.options, load)?;
        let schema = Arc::clone(reader.schema());
        let done = vec![reader.progress()];
        let bar = progress_bar(&done[0]);
        Ok(Self { load, schema, reader: Some(reader), rest, done, bar })
    }

    fn rejected(&self) -> u64 {
        self.done.iter().map(Progress::rejected).sum()
    }

    fn next_file(&mut self) -> Result<bool> {
        let Some(file) = self.rest.pop() else { return Ok(false) };
        let mut options = self.load.options.clone();
        // Inferred columns are inferred once: the first file decides.
        let schema = Arc::clone(&self.schema);
        options.target.get_or_insert(Target { schema, matching: self.load.matching() });
        let reader = reader(file, &options, self.load)?;
        if reader.schema() != &self.schema {
            let names = |schema: &SchemaRef| {
                let fields = schema.fields().iter();
                fields
                    .map(|f| format!("{} {}", f.name(), f.data_type()))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            return Err(Error::invalid(format!(
                "{file} has the columns {} where the first file has {}",
                names(reader.schema()),
                names(&self.schema)
            )));
        }
        let progress = reader.progress();
        self.bar.set_length(progress.bytes_total().unwrap_or(0));
        self.done.push(progress);
        self.reader = Some(reader);
        Ok(true)
    }

    fn show_progress(&self) {
        let rows: u64 = self.done.iter().map(Progress::rows).sum();
        let bytes = self.done.last().map_or(0, Progress::bytes);
        self.bar.set_position(bytes);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a rate for people"
        )]
        let rate = (rows as f64 / self.bar.elapsed().as_secs_f64().max(1e-3)) as u64;
        let mut message = format!("{} rows, {} rows/s", HumanCount(rows), HumanCount(rate));
        let rejected = self.rejected();
        if rejected > 0 {
            message.push_str(&format!(", {} malformed", HumanCount(rejected)));
        }
        self.bar.set_message(message);
    }
}

impl Iterator for Files<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let batch = self.reader.as_mut()?.next();
            self.show_progress();
            match batch {
                Some(batch) => return Some(batch.map_err(converted)),
                None => match self.next_file() {
                    Ok(true) => {}
                    Ok(false) => {
                        self.reader = None;
                        self.bar.set_style(ProgressStyle::default_spinner());
                        self.bar.set_message("sorting and writing");
                        return None;
                    }
                    Err(error) => {
                        self.reader = None;
                        return Some(Err(error));
                    }
                },
            }
        }
    }
}

fn reader(file: &str, options: &Options, load: &Load) -> Result<Reader> {
    let mut reader = silt_ingest::open(Source::from_argument(file), options).map_err(converted)?;
    if let Some(rejects) = &load.rejects {
        let rejects = Arc::clone(rejects);
        reader.on_reject(Box::new(move |reject| {
            rejects.lock().unwrap_or_else(PoisonError::into_inner).write(reject)
        }));
    }
    Ok(reader)
}

/// A line on standard error that tells bytes, rows, rate and the time left; hidden where nobody
/// looks.
fn progress_bar(progress: &Progress) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match progress.bytes_total() {
        Some(total) => {
            (ProgressBar::new(total), "{bytes} of {total_bytes} {wide_bar} {msg}, {eta} left")
        }
        None => (ProgressBar::no_length(), "{spinner} {bytes} {msg}"),
    };
    let style = ProgressStyle::with_template(template);
    let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The loader's error as the database's.
pub(crate) fn converted(error: silt_ingest::Error) -> Error {
    let kind = match error.kind() {
        silt_ingest::ErrorKind::NotFound => ErrorKind::NotFound,
        silt_ingest::ErrorKind::Io => ErrorKind::Io,
        silt_ingest::ErrorKind::Internal => ErrorKind::Internal,
        _ => ErrorKind::Invalid,
    };
    Error::new(kind, error.to_string())
}

//! The command line.

use std::path::PathBuf;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::render::Mode;
use crate::serve::{ServeArguments, UserArguments};

/// SiltDB: a durable table store that answers SQL.
#[derive(Debug, Parser)]
#[command(
    name = "silt",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Without -c, -f and a script on standard input there is a prompt.\n\
                  Exit codes: 0 good, 1 a statement failed, 2 usage, 3 the database cannot be \
                  opened, 130 interrupted."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// The database's folder, made if it does not exist; without one the database is in memory
    pub(crate) db: Option<PathBuf>,

    /// Run these statements, or this dot command, and leave; may be given several times
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    commands: Vec<String>,

    /// Run the statements of this file and leave; may be given several times
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How results are shown
    #[arg(long, value_enum, default_value_t)]
    pub(crate) mode: Mode,

    /// Run only statements that read
    #[arg(long)]
    pub(crate) readonly: bool,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a database of a real graph and a million events, and show what it does
    Demo(DemoArguments),
    /// Load files into a table: CSV, TSV, JSON, Parquet, Arrow, RDF; plain, gzip or Zstandard
    Ingest(Box<IngestArguments>),
    /// Show what a database is made of
    Inspect(InspectArguments),
    /// Serve a database over the network, by Arrow Flight SQL, until SIGTERM or Ctrl-C
    Serve(Box<ServeArguments>),
    /// Make and change the users of a database that is not open
    User(UserArguments),
}

/// `silt demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Where the database goes, a folder that does not exist; a temporary one if not said
    #[arg(long, value_name = "DIR")]
    pub(crate) db: Option<PathBuf>,
    /// Events to make
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub(crate) events: usize,
}

/// `silt inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// The database's folder
    pub(crate) db: PathBuf,
    /// What is looked at; all but the levels are read without opening the database
    #[arg(value_enum, default_value_t)]
    pub(crate) subject: Subject,
    /// The file's number, for `file`
    #[arg(required_if_eq("subject", "file"))]
    pub(crate) id: Option<u64>,
}

/// What `silt inspect` looks at.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(crate) enum Subject {
    /// The levels of every table, the log, and what was done
    #[default]
    Levels,
    /// The files that the manifest names
    Files,
    /// One file's footer and row groups
    File,
    /// The log, a line a record
    Wal,
    /// The manifest, edit by edit
    Manifest,
}

/// `silt ingest`.
#[derive(Debug, Args)]
pub(crate) struct IngestArguments {
    /// The files, all into one table in one commit; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// The database's folder, made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) db: PathBuf,
    #[command(flatten)]
    pub(crate) load: LoadArguments,
}

/// What `silt ingest` and `.import` both understand.
#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// The table, made from the file's columns if it does not exist
    #[arg(long, value_name = "TABLE")]
    pub(crate) into: String,
    /// Columns of a new table's primary key; of RDF the whole statement if not said
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,...")]
    pub(crate) key: Vec<String>,
    /// The format, where the files' names do not tell: csv, tsv, json, parquet, arrow, nt, nq,
    /// ttl, trig, rdf, jsonld
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// CSV: there is no header line; columns are column1, column2, ... or the table's by position
    #[arg(long)]
    pub(crate) no_header: bool,
    /// CSV: the character between fields
    #[arg(long, value_name = "C")]
    pub(crate) delimiter: Option<String>,
    /// CSV: the character around fields, or nothing for no quoting
    #[arg(long, value_name = "C")]
    pub(crate) quote: Option<String>,
    /// CSV: the character before a quote within quotes, if not the quote again
    #[arg(long, value_name = "C")]
    pub(crate) escape: Option<String>,
    /// CSV: an unquoted field that means NULL, such as \N; may be given several times
    /// [default: the empty one]
    #[arg(long, value_name = "TEXT")]
    pub(crate) null: Vec<String>,
    /// CSV, JSON: rows looked at to infer a new table's columns
    #[arg(long, value_name = "ROWS")]
    pub(crate) sample: Option<String>,
    /// CSV, JSON: match the table's columns by position and not by name
    #[arg(long)]
    pub(crate) by_position: bool,
    /// RDF: what relative IRIs are resolved against, if not the file itself
    #[arg(long, value_name = "IRI")]
    pub(crate) base: Option<String>,
    /// What happens at a malformed line
    #[arg(long, value_enum, default_value = "stop")]
    pub(crate) on_error: OnErrorArgument,
    /// Where malformed lines are written, as CSV; with --on-error skip
    #[arg(long, value_name = "FILE")]
    pub(crate) rejects: Option<PathBuf>,
    /// What happens to a row whose key is there already [default: error; RDF: keep]
    #[arg(long, value_enum)]
    pub(crate) on_conflict: Option<OnConflictArgument>,
}

/// `--on-error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnErrorArgument {
    /// The load fails and the table is as it was
    Stop,
    /// The line is left out
    Skip,
}

/// `--on-conflict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnConflictArgument {
    /// The load fails and the table is as it was
    Error,
    /// The new row takes the old one's place
    Replace,
    /// The old row stays
    Keep,
}

/// One `-c` or `-f`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    Text(String),
    File(PathBuf),
}

/// Reads the command line; says what is wrong with it and leaves with code 2 if anything is.
pub(crate) fn parse() -> (Arguments, Vec<Script>) {
    let matches = Arguments::command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let scripts = scripts(&arguments, &matches);
    (arguments, scripts)
}

/// `-c` and `-f` in the order they were given.
fn scripts(arguments: &Arguments, matches: &ArgMatches) -> Vec<Script> {
    let indices = |name: &str| matches.indices_of(name).into_iter().flatten().collect::<Vec<_>>();
    let texts = arguments.commands.iter().cloned().map(Script::Text);
    let files = arguments.files.iter().cloned().map(Script::File);
    let mut all: Vec<(usize, Script)> = indices("commands")
        .into_iter()
        .zip(texts)
        .chain(indices("files").into_iter().zip(files))
        .collect();
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, script)| script).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &[&str]) -> (Arguments, Vec<Script>) {
        let matches = Arguments::command().try_get_matches_from(line).unwrap();
        let arguments = Arguments::from_arg_matches(&matches).unwrap();
        let scripts = scripts(&arguments, &matches);
        (arguments, scripts)
    }

    #[test]
    fn scripts_run_in_the_order_they_are_given() {
        let (arguments, scripts) =
            parsed(&["silt", "db", "-c", "one", "-f", "two.sql", "-c", "three", "--mode", "csv"]);
        assert_eq!(arguments.db, Some("db".into()));
        assert_eq!(arguments.mode, Mode::Csv);
        let text = |text: &str| Script::Text(text.to_owned());
        assert_eq!(scripts, [text("one"), Script::File("two.sql".into()), text("three")]);
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
        let (arguments, _) =
            parsed(&["silt", "ingest", "a.csv", "-", "--db", "d", "--into", "t", "--key", "a,b"]);
        let Some(Command::Ingest(ingest)) = arguments.command else { panic!("no ingest") };
        assert_eq!(ingest.files, ["a.csv", "-"]);
        assert_eq!(ingest.load.key, ["a", "b"]);
        assert!(Arguments::command().try_get_matches_from(["silt", "ingest", "a.csv"]).is_err());
        assert!(Arguments::command().try_get_matches_from(["silt", "--mode", "xml"]).is_err());
    }
}

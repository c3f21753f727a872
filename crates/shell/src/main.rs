//! `silt`: the shell. Opens a database and runs what it is given: statements and scripts of the
//! command line, a script on standard input, or the lines of a prompt.
//!
//! Results go to standard output and nothing else does; everything that is said goes to standard
//! error.

mod args;
mod command;
mod complete;
mod demo;
mod ingest_command;
mod inspect;
mod interrupt;
mod output;
mod render;
mod repl;
mod report;
mod serve;
mod shell;
mod split;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use mimalloc::MiMalloc;
use siltdb::{Database, Error, ErrorKind};

use args::{Arguments, Command, DemoArguments, IngestArguments, InspectArguments, Script, Subject};
use output::Output;
use shell::{Shell, Stop};

/// Planning allocates much and briefly, and writes by several threads leave the system's allocator
/// with memory that it does not give back: see "Memory, and allocators" in `benches/README.md`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_CANNOT_OPEN: u8 = 3;

fn main() -> ExitCode {
    let (arguments, scripts) = args::parse();
    // A server stops by itself, and in order.
    if !matches!(arguments.command, Some(Command::Serve(_))) {
        interrupt::install();
    }
    let result = match &arguments.command {
        Some(Command::Demo(demo)) => run_demo(demo),
        Some(Command::Ingest(ingest)) => run_ingest(ingest),
        Some(Command::Inspect(inspect)) => run_inspect(inspect),
        Some(Command::Serve(serve)) => {
            serve::serve(serve).map_err(|error| say(&error, code_of(&error)))
        }
        Some(Command::User(user)) => serve::user(user)
            .map_err(|error| say(&error, code_of(&error)))
            .and_then(|text| print(&text)),
        None => run_shell(&arguments, &scripts),
    };
    ExitCode::from(result.err().unwrap_or(0))
}

/// The exit code for what a server or a change of users says.
fn code_of(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Invalid => EXIT_USAGE,
        ErrorKind::Locked | ErrorKind::Corrupt | ErrorKind::Io => EXIT_CANNOT_OPEN,
        _ => EXIT_FAILED,
    }
}

/// What a part of the program ends with: nothing, or an exit code when all was said.
type Ending = Result<(), u8>;

fn run_shell(arguments: &Arguments, scripts: &[Script]) -> Ending {
    let db = open(arguments.db.as_deref(), !arguments.readonly)?;
    let mut shell = Shell::new(db, arguments.mode, arguments.readonly);
    let result = if !scripts.is_empty() {
        scripts.iter().try_for_each(|script| match script {
            Script::Text(text) => shell.script(text.as_bytes(), None),
            Script::File(path) => command::read(&mut shell, path),
        })
    } else if std::io::stdin().is_terminal() {
        return prompt(shell, arguments.db.is_none());
    } else {
        shell.script(std::io::stdin().lock(), Some("<stdin>"))
    };
    let ending = match result {
        Ok(()) | Err(Stop::Quit | Stop::OutputGone) => Ok(()),
        Err(Stop::Failed) => Err(EXIT_FAILED),
        Err(Stop::Interrupted) => Err(interrupt::EXIT_INTERRUPTED),
    };
    ending.and(close(shell))
}

fn prompt(mut shell: Shell, in_memory: bool) -> Ending {
    println!(
        "SiltDB {}. Statements end with ; and .help lists the commands.",
        env!("CARGO_PKG_VERSION")
    );
    if in_memory {
        println!("This database is in memory and gone when you leave: silt DIR keeps one.");
    }
    if let Err(error) = repl::run(&mut shell) {
        eprintln!("error: {error}");
        return Err(EXIT_FAILED);
    }
    close(shell)
}

/// Closes the database, so that an error of its last sync is heard.
fn close(shell: Shell) -> Ending {
    let Shell { db, connection, .. } = shell;
    if connection.is_in_transaction() {
        eprintln!("the open transaction is rolled back: COMMIT keeps one");
    }
    drop(connection);
    db.close().map_err(|error| say(&error, EXIT_FAILED))
}

fn open(path: Option<&Path>, create: bool) -> Result<Database, u8> {
    let opened = match path {
        Some(path) => Database::builder(path).create_if_missing(create).open(),
        None => Database::in_memory(),
    };
    opened.map_err(|error| {
        let path = path
            .map_or_else(|| "a database in memory".to_owned(), |path| path.display().to_string());
        eprintln!("error: cannot open {path}: {}", render::escaped(error.message()));
        EXIT_CANNOT_OPEN
    })
}

fn run_ingest(ingest: &IngestArguments) -> Ending {
    let load = ingest_command::Load::new(&ingest.files, &ingest.load).map_err(|error| {
        let code = if error.kind() == ErrorKind::Invalid { EXIT_USAGE } else { EXIT_FAILED };
        say(&error, code)
    })?;
    let db = open(Some(&ingest.db), true)?;
    let connection = db.connect();
    let loaded = ingest_command::load(&connection, load);
    drop(connection);
    let printed = loaded.map_err(|error| say(&error, EXIT_FAILED)).and_then(|text| print(&text));
    printed.and(db.close().map_err(|error| say(&error, EXIT_FAILED)))
}

fn run_inspect(arguments: &InspectArguments) -> Ending {
    let db = arguments.db.as_path();
    let text = match arguments.subject {
        Subject::Levels => {
            return open(Some(db), false).and_then(|db| print(&inspect::levels(&db)));
        }
        Subject::Files => inspect::files(db),
        Subject::File => inspect::file(db, arguments.id.unwrap_or_default()),
        Subject::Manifest => inspect::manifest(db),
        Subject::Wal => {
            let lines = inspect::wal(db).map_err(|error| say(&error, EXIT_CANNOT_OPEN))?;
            for line in lines {
                print(&format!("{}\n", line.map_err(|error| say(&error, EXIT_FAILED))?))?;
            }
            return Ok(());
        }
    };
    print(&text.map_err(|error| say(&error, EXIT_CANNOT_OPEN))?)
}

fn run_demo(arguments: &DemoArguments) -> Ending {
    let dir = arguments
        .db
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("silt-demo-{}", std::process::id())));
    let options = demo::DemoOptions { dir, events: arguments.events };
    let mut out = Output::stdout();
    let db = demo::run(&options, &mut out).map_err(|error| say(&error, EXIT_FAILED))?;
    let shell = Shell::new(db, render::Mode::default(), false);
    if std::io::stdin().is_terminal() && out.is_terminal() {
        return prompt(shell, false);
    }
    close(shell)
}

fn print(text: &str) -> Ending {
    let mut out = Output::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write the result: {error}");
            Err(EXIT_FAILED)
        }
        _ => Ok(()),
    }
}

fn say(error: &Error, code: u8) -> u8 {
    eprintln!("error: {}", render::escaped(error.message()));
    if let Some(hint) = error.hint() {
        eprintln!("hint: {}", render::escaped(hint));
    }
    code
}

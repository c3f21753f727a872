//! Clients that nobody here wrote: `tests/python/*.py` against a served database.
//!
//! They come from their registry into a virtual environment under the user's cache. Where Python,
//! the network or the packages are missing, the tests are skipped with a message, unless `CI=true`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use silt_server::Server;

use crate::guarded::{database, run as run_sql, serve_over};
use crate::harness::{options, serve};

const PACKAGES: [&str; 3] = ["adbc-driver-flightsql", "adbc-driver-manager", "pyarrow"];

/// The interpreter that has the packages; or why there is none.
static PYTHON: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let home = std::env::var("HOME").map_err(|_| "no HOME".to_owned())?;
    let folder = Path::new(&home).join(".cache/siltdb/python");
    let python = folder.join("bin/python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    let imports = "import adbc_driver_flightsql.dbapi, adbc_driver_manager, pyarrow.flight";
    if run(Command::new(&python).args(["-c", imports])).is_err() {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        run(Command::new(&python).args(pip).args(PACKAGES))?;
        run(Command::new(&python).args(["-c", imports]))?;
    }
    Ok(python)
});

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(output),
        false => Err(format!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// Runs a script of `tests/python` with the address of a fresh server.
fn script(name: &str) {
    script_on(&serve(options()), name);
}

fn script_on(server: &Server, name: &str) {
    run_on(server, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name));
}

/// Runs a script with the address of a server.
fn run_on(server: &Server, path: &Path) {
    let python = match &*PYTHON {
        Ok(python) => python,
        Err(why) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{why}"),
        Err(why) => {
            eprintln!("skipped: no Python with {PACKAGES:?}: {why}");
            return;
        }
    };
    let address = format!("grpc://{}", server.local_addr());
    let done = run(Command::new(python).arg(path).arg(address));
    if let Err(what) = done {
        panic!("{what}");
    }
}

#[test]
fn adbc_queries_and_binds() {
    script("query.py");
}

#[test]
fn adbc_ingests_each_type_and_reads_it_back_equal() {
    script("ingest.py");
}

#[test]
fn adbc_reads_metadata() {
    script("metadata.py");
}

#[test]
fn adbc_cancels_a_long_query() {
    script("cancel.py");
}

#[test]
fn pyarrow_reads_by_plain_flight() {
    script("plain.py");
}

#[test]
fn adbc_commits_rolls_back_and_loses_conflicts() {
    script("transactions.py");
}

fn with_root() -> Server {
    let shared = database();
    run_sql(&shared, "CREATE USER root PASSWORD 'root''s password' ROLE admin");
    serve_over(&shared, options())
}

#[test]
fn adbc_and_pyarrow_log_in_and_are_refused() {
    script_on(&with_root(), "login.py");
}

/// What `docs/server.md` shows, as it stands there but for the address.
#[test]
fn the_documentation_of_the_server_runs() {
    let server = with_root();
    let page = include_str!("../../../../docs/server.md");
    let (_, rest) = page.split_once("```python\n").expect("a transcript");
    let (transcript, _) = rest.split_once("```").expect("its end");
    let own = format!("grpc://{}", server.local_addr());
    let transcript = transcript.replace("grpc://127.0.0.1:50051", &own);
    assert!(transcript.contains(&own));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("transcript.py");
    std::fs::write(&path, transcript).unwrap();
    run_on(&server, &path);
}

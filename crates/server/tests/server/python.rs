//! Clients that nobody here wrote: `tests/python/*.py` against a served database.
//!
//! They come from their registry into a virtual environment under the user's cache. Where Python,
//! the network or the packages are missing, the tests are skipped with a message, unless `CI=true`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

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
    let python = match &*PYTHON {
        Ok(python) => python,
        Err(why) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{why}"),
        Err(why) => {
            eprintln!("skipped: no Python with {PACKAGES:?}: {why}");
            return;
        }
    };
    let server = serve(options());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name);
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

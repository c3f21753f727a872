//! DuckDB, as its published Python package: a virtual environment of the harness's own, and a
//! small script that is given the same steps as JSON and has its own clock.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::data::{self, Key};
use crate::queries;
use crate::scale::{CHECKED, CHUNK, Scale, UPSERT_SETS};
use crate::steps::{Lookup, Range, Step};
use crate::tables::{self, Dialect, Files, REWRITES, Result, TABLES};

const SCRIPT: &str = include_str!("../duckdb.py");
/// Lookups of one repetition at most: they take it from half a millisecond to tens of them.
const GETS_MAX: usize = 2_000;

/// The interpreter that has the package; says why there is none.
pub fn python(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("venv");
    let python = folder.join("bin").join("python");
    let has_package = || {
        let mut check = Command::new(&python);
        check.args(["-c", "import duckdb"]).stderr(Stdio::null());
        check.status().is_ok_and(|status| status.success())
    };
    if has_package() {
        return Ok(python);
    }
    eprintln!("  making a virtual environment with duckdb in {}", folder.display());
    let run = |command: &mut Command, what: &str| -> Result<()> {
        let output = command.output().map_err(|error| format!("{what}: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(format!("{what}: {}", text.lines().last().unwrap_or("failed")).into())
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder), "python3 -m venv")?;
    run(
        Command::new(&python).args(["-m", "pip", "install", "-q", "duckdb"]),
        "pip install duckdb",
    )?;
    if has_package() { Ok(python) } else { Err("the package duckdb is not to be had".into()) }
}

/// The command that runs all steps and writes one JSON object a line.
pub fn command(
    python: &Path,
    folder: &Path,
    files: &Files,
    scale: Scale,
    steps: &[Step],
) -> Result<Command> {
    let steps = steps.iter().map(|step| step_json(step, files, scale));
    let plan = json!({
        "database": folder.join("race.duckdb"),
        "patience_s": scale.patience_s,
        "insert_s": scale.insert_s,
        "mixed_s": scale.mixed_s,
        "chunk": CHUNK,
        "checked": CHECKED,
        "upserts": scale.upserts,
        "sets": (0..UPSERT_SETS).map(|set| files.path(&format!("upserts{set}"))).collect::<Vec<_>>(),
        "group": queries::GROUP,
        "delete_half": queries::delete_half(),
        "log": tables::create(Dialect::DuckDb, &TABLES[0], "LOG", &files.schema("events").unwrap_or_else(|_| data::event_batch(&[]).schema())),
        "steps": steps.collect::<Result<Vec<Value>>>()?,
    });
    let (script, plan_file) = (folder.join("duckdb_peer.py"), folder.join("plan.json"));
    std::fs::write(&script, SCRIPT)?;
    std::fs::write(&plan_file, plan.to_string())?;
    let mut command = Command::new(python);
    command.arg(script).arg(plan_file);
    Ok(command)
}

fn step_json(step: &Step, files: &Files, scale: Scale) -> Result<Value> {
    Ok(match step {
        Step::Begin { .. } => json!({"do": "begin"}),
        Step::End { work, state } => json!({"do": "end", "work": work, "state": state}),
        Step::Load { table, told } => {
            let schema = files.schema(table.name)?;
            let path = files.path(table.name);
            json!({
                "do": "load", "told": told, "table": table.name,
                "create": tables::create(Dialect::DuckDb, table, table.name, &schema),
                "insert": format!(
                    "INSERT INTO {} SELECT * FROM read_parquet('{}')", table.name, path.display()
                ),
            })
        }
        Step::Gets { case, lookup, hit, seed } => {
            let sql = match lookup {
                Lookup::EventAll => "SELECT * FROM events WHERE agent_id = ? AND seq = ?",
                Lookup::EventTwo => {
                    "SELECT agent_id, seq, ts, kind FROM events WHERE agent_id = ? AND seq = ?"
                }
                Lookup::TripleAll => {
                    "SELECT * FROM triples WHERE subject = ? AND predicate = ? AND object = ?"
                }
            };
            let keys = |number: u64| match lookup {
                Lookup::TripleAll => data::triple_keys(scale, seed + number, scale.gets, *hit),
                _ => data::event_keys(scale, seed + number, scale.gets, *hit),
            };
            look_up("W4", case, sql, &keys, |key| match key {
                Key::Event { agent_id, seq } => json!([agent_id, seq]),
                Key::Triple { subject, predicate, object } => json!([subject, predicate, object]),
            })
        }
        Step::Ranges { case, range, seed } => {
            let sql = match range {
                Range::TriplesOfSubject => "SELECT * FROM triples WHERE subject = ?",
                Range::NewestOfAgent => {
                    "SELECT * FROM events WHERE agent_id = ? ORDER BY seq DESC LIMIT 100"
                }
            };
            let keys = |number: u64| {
                let (seed, count) = (seed + number + 5, scale.ranges());
                match range {
                    Range::TriplesOfSubject => data::triple_keys(scale, seed, count, true),
                    Range::NewestOfAgent => data::event_keys(scale, seed, count, true),
                }
            };
            look_up("W5", case, sql, &keys, |key| match key {
                Key::Event { agent_id, .. } => json!([agent_id]),
                Key::Triple { subject, .. } => json!([subject]),
            })
        }
        Step::Ask { question, .. } if question.case.ends_with("OPTIMIZE") => {
            json!({"do": "nothing"})
        }
        Step::Ask { work, question, .. } => {
            json!({"do": "ask", "work": work, "case": question.case, "texts": question.texts})
        }
        Step::Inserts { writers, rows } => {
            json!({"do": "inserts", "writers": writers, "rows": rows})
        }
        Step::Upserts { told } => json!({"do": "upserts", "told": told}),
        // Untimed: it takes a row's old version out and puts its new one in, one by one.
        Step::Rewrite { .. } => json!({
            "do": "rewrite",
            "sql": format!(
                "INSERT OR REPLACE INTO lineitem SELECT * FROM read_parquet('{}')",
                files.path(REWRITES).display()
            ),
        }),
        Step::Optimize { .. } | Step::Copy { .. } => json!({"do": "nothing"}),
        Step::Mixed => json!({"do": "mixed"}),
        Step::Reopen => json!({"do": "reopen"}),
        Step::Delete => json!({"do": "delete"}),
    })
}

fn look_up(
    work: &str,
    case: &str,
    sql: &str,
    keys: &dyn Fn(u64) -> Vec<Key>,
    params: impl Fn(&Key) -> Value,
) -> Value {
    let some = |number| keys(number).iter().take(GETS_MAX).map(&params).collect::<Vec<_>>();
    let sets: Vec<Vec<Value>> = (0..3).map(some).collect();
    json!({"do": "look_up", "work": work, "case": case, "sql": sql, "sets": sets})
}

//! A process a peer: the parent starts them one after another and reads their lines.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::Arguments;
use crate::driver::Driver;
use crate::peers::{self, About, duckdb};
use crate::record::Record;
use crate::report::{Outcome, Report};
use crate::steps::Request;
use crate::tables::{Dialect, Files, Result};

/// Runs all peers and prints the report; tells whether all went well.
pub fn parent(arguments: &Arguments) -> Result<bool> {
    let request = arguments.request()?;
    let cache = arguments.cache()?;
    let files = Files::make(&cache, request.scale, &request.groups)?;
    let runs = cache.join(format!("run-{}", std::process::id()));
    let left = runs.clone();
    ctrlc::set_handler(move || {
        // Databases of a run that is broken off are of no use, and large.
        drop(std::fs::remove_dir_all(&left));
        std::process::exit(130);
    })?;
    let mut report = Report::new(&request);
    for name in &arguments.peers {
        let folder = runs.join(name);
        std::fs::create_dir_all(&folder)?;
        eprintln!("{name}");
        let outcome = match command(arguments, &request, name, &cache, &folder, &files) {
            Ok(command) => run(name, command),
            Err(reason) => {
                eprintln!("  left out: {reason}");
                Ok(Outcome::left_out(name, &reason.to_string()))
            }
        };
        std::fs::remove_dir_all(&runs)?;
        report.add(outcome?);
    }
    if let Some(path) = &arguments.out {
        let mut file = std::fs::File::create(path)?;
        for line in report.lines() {
            writeln!(file, "{line}")?;
        }
    }
    print!("{}", report.table(arguments.markdown));
    let faults = report.faults();
    for fault in &faults {
        eprintln!("FAULT {fault}");
    }
    Ok(faults.is_empty())
}

fn command(
    arguments: &Arguments,
    request: &Request,
    name: &str,
    cache: &Path,
    folder: &Path,
    files: &Files,
) -> Result<Command> {
    if name == "duckdb" {
        let python = duckdb::python(cache)?;
        return duckdb::command(
            &python,
            folder,
            files,
            request.scale,
            &request.steps(Dialect::DuckDb),
        );
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--peers", name, "--scale", request.scale.name]);
    command.args(["--work", &request.works.join(","), "--tables", &request.groups.join(",")]);
    command.arg("--cache").arg(cache).arg("--peer-in").arg(folder);
    if !arguments.without.is_empty() {
        command.args(["--without", &arguments.without.join(",")]);
    }
    Ok(command)
}

fn run(name: &str, mut command: Command) -> Result<Outcome> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or("a child has an output")?;
    let mut outcome = Outcome::new(name);
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        let value: Value =
            serde_json::from_str(&line).map_err(|_| format!("{name} said: {line}"))?;
        if value["error"].is_string() {
            let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            eprintln!("  {} {}", text("work"), text("error"));
            outcome.errors.push(format!("{name} {} {}", text("work"), text("error")));
        } else if value["about"].is_object() {
            outcome.about = value["about"].clone();
        } else {
            let record = Record::from_json(&value)?;
            eprintln!(
                "  {} {}{}: {} {}",
                record.work,
                record.case,
                if record.door.is_empty() { String::new() } else { format!(" ({})", record.door) },
                crate::report::number(record.value),
                record.unit.name()
            );
            outcome.records.push(record);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        outcome.errors.push(format!("{name} ended with {status}"));
    }
    Ok(outcome)
}

/// Runs one peer in this process.
pub fn child(arguments: &Arguments, folder: &Path) -> Result<bool> {
    let request = arguments.request()?;
    let files = Files::open(&arguments.cache()?, request.scale);
    let name = &arguments.peers[0];
    let peer = peers::open(name, folder, &arguments.without)?;
    let About { version, enforces, syncs } = peer.about();
    say(&json!({"about": {"version": version, "enforces": enforces, "syncs": syncs}}));
    let steps = request.steps(peer.dialect().unwrap_or(Dialect::Silt));
    let driver = Driver {
        name,
        peer,
        folder,
        files,
        scale: request.scale,
        tell: &mut |record| say(&record.to_json()),
        fail: &mut |work, error| say(&json!({"work": work, "error": error})),
    };
    driver.run(&steps);
    Ok(true)
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    // The parent that is gone hears nothing.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

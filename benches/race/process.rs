//! A process a peer: the parent starts them one after another and reads their lines.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::Arguments;
use crate::ablate::{self, Bench, SILT};
use crate::driver::Driver;
use crate::peers::{self, About, duckdb};
use crate::record::Record;
use crate::report::{Outcome, Report};
use crate::steps::Request;
use crate::tables::{Dialect, Files, Result};
use crate::{grow, limits};

/// Runs all peers and prints the report; tells whether all went well.
pub fn parent(arguments: &Arguments) -> Result<bool> {
    let request = arguments.request()?;
    let earlier = arguments.beside.iter().map(|path| read(path, &request));
    let earlier: Vec<Outcome> =
        earlier.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    let runs = folder_of_runs(&arguments.cache()?)?;
    let mut report = Report::new(&request);
    eprintln!("limits of this machine");
    report.limits = limits::measure(&runs, request.scale.limit_bytes)?;
    let (_, outcomes) = race(arguments, &request, &runs)?;
    outcomes.into_iter().for_each(|outcome| report.add(outcome));
    std::fs::remove_dir_all(&runs)?;
    if let Some(path) = &arguments.out {
        keep(path, &report.lines())?;
    }
    for outcome in earlier {
        if !report.has(&outcome.name) {
            report.add(outcome);
        }
    }
    print!("{}", report.table(arguments.markdown));
    Ok(told(&report.faults()))
}

/// Runs all peers at growing sizes and draws what became of them.
pub fn grow(arguments: &Arguments) -> Result<bool> {
    let runs = folder_of_runs(&arguments.cache()?)?;
    let (mut lines, mut faults, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for request in grow::requests(&arguments.request()?, &arguments.factors) {
        eprintln!("{} events", request.scale.events());
        let (files, outcomes) = race(arguments, &request, &runs)?;
        if !arguments.keep && request.scale.agents != arguments.request()?.scale.agents {
            // Large, and of use only to another chart.
            files.clear()?;
        }
        let mut report = Report::new(&request);
        outcomes.into_iter().for_each(|outcome| report.add(outcome));
        println!("{} events\n{}", request.scale.events(), report.table(arguments.markdown));
        lines.extend(report.lines());
        faults.extend(report.faults());
        sizes.push((request.scale.agents, report.into_records()));
    }
    std::fs::remove_dir_all(&runs)?;
    if let Some(path) = &arguments.out {
        keep(path, &lines)?;
    }
    grow::draw(&arguments.chart, &sizes)?;
    Ok(told(&faults))
}

/// Runs Silt alone, with all paths and with each of some switched off.
pub fn ablate(arguments: &Arguments, names: &[String]) -> Result<bool> {
    let paths = ablate::chosen(names)?;
    let request = Request { groups: ablate::groups(&paths), ..arguments.request()? };
    let runs = folder_of_runs(&arguments.cache()?)?;
    let files = Files::make(&arguments.cache()?, request.scale, &request.groups)?;
    let mut bench = Bench::load(&runs, files, &request)?;
    let table = bench.table(&paths, arguments.markdown)?;
    std::fs::remove_dir_all(&runs)?;
    print!("{table}");
    Ok(told(&bench.faults))
}

/// A folder for databases, gone when the run is broken off.
fn folder_of_runs(cache: &Path) -> Result<PathBuf> {
    let runs = cache.join(format!("run-{}", std::process::id()));
    std::fs::create_dir_all(&runs)?;
    let left = runs.clone();
    ctrlc::set_handler(move || {
        drop(std::fs::remove_dir_all(&left));
        std::process::exit(130);
    })?;
    Ok(runs)
}

fn keep(path: &Path, lines: &[String]) -> Result<()> {
    let mut file = std::fs::File::create(path)?;
    for line in lines {
        writeln!(file, "{line}")?;
    }
    Ok(())
}

/// What an earlier run of the same scale has kept.
fn read(path: &Path, request: &Request) -> Result<Vec<Outcome>> {
    let told = |what: &str| format!("{}: {what}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| told(&error.to_string()))?;
    let lines = text.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<std::result::Result<_, _>>()?;
    if lines.first().is_none_or(|first| first["scale"] != request.scale.name) {
        return Err(told(&format!("no run of scale {}", request.scale.name)).into());
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    for line in &lines {
        let name = line["peer"].as_str().unwrap_or_default();
        if line["about"].is_object() {
            let mut outcome = Outcome::new(name);
            outcome.about = line["about"].clone();
            outcomes.push(outcome);
        } else if let Some(outcome) = outcomes.iter_mut().find(|outcome| outcome.name == name) {
            let record = Record::from_json(line)?;
            if request.works.contains(&record.work) {
                outcome.records.push(record);
            }
        }
    }
    Ok(outcomes)
}

/// Whether there is none.
fn told(faults: &[String]) -> bool {
    faults.iter().for_each(|fault| eprintln!("FAULT {fault}"));
    faults.is_empty()
}

/// Runs each peer in a process of its own, over the same files.
fn race(arguments: &Arguments, request: &Request, runs: &Path) -> Result<(Files, Vec<Outcome>)> {
    let cache = arguments.cache()?;
    let files = Files::make(&cache, request.scale, &request.groups)?;
    let mut outcomes = Vec::new();
    let others = arguments.peers.iter().map(String::as_str).filter(|name| *name != SILT);
    for name in std::iter::once(SILT).chain(others) {
        let folder = runs.join(name);
        std::fs::create_dir_all(&folder)?;
        eprintln!("{name}");
        outcomes.push(match command(arguments, request, name, &cache, &folder, &files) {
            Ok(command) => run(name, command)?,
            Err(reason) => {
                eprintln!("  left out: {reason}");
                Outcome::left_out(name, &reason.to_string())
            }
        });
        std::fs::remove_dir_all(&folder)?;
    }
    Ok((files, outcomes))
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
    command.args(["--agents", &request.scale.agents.to_string()]);
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
    let About { version, enforces, syncs } = peer.about()?;
    say(&json!({"about": {"version": version, "enforces": enforces, "syncs": syncs}}));
    let steps = request.steps(peer.dialect().unwrap_or(Dialect::Silt));
    let driver = Driver {
        name,
        peer,
        folder,
        files,
        scale: request.scale,
        round: 0,
        tell: &mut |record| say(&record.to_json()),
        fail: &mut |work, error| say(&json!({"work": work, "error": error})),
    };
    driver.run(&steps);
    Ok(true)
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        // The parent is gone, and with it whoever wanted to know.
        std::process::exit(1);
    }
}

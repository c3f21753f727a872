//! The race: SiltDB beside SQLite, redb, fjall, RocksDB and DuckDB, the same rows and questions for each, one process a
//! peer, answers compared. See `benches/README.md`.

#![expect(
    unreachable_pub,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a bench: it has a clock and files of its own, and its numbers are small"
)]

mod ablate;
mod arrow_answer;
mod data;
mod driver;
mod goals;
mod grow;
mod limits;
mod memory;
mod paths;
mod peers;
mod process;
mod queries;
mod record;
mod report;
mod rewrites;
mod scale;
mod steps;
mod tables;
mod tpch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

use crate::peers::PEERS;
use crate::scale::Scale;
use crate::steps::{Request, WORKS};
use crate::tables::{GROUPS, Result};

/// That of the shell, for every peer.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Runs the same work on several databases and prints what each took.
#[derive(Debug, Parser)]
#[command(name = "race")]
struct Arguments {
    /// Who runs beside Silt: some of sqlite, redb, fjall, duckdb, separated by commas; and rocksdb,
    /// where it was built in; or silt, for Silt alone
    #[arg(long, value_delimiter = ',', default_values = PEERS)]
    peers: Vec<String>,
    /// What they do: all, or some of W1 to W9, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "all")]
    work: Vec<String>,
    /// With which tables: some of events, triples, tpch
    #[arg(long, value_delimiter = ',', default_values = GROUPS)]
    tables: Vec<String>,
    /// How much: full, small (a tenth) or smoke
    #[arg(long, default_value = "small")]
    scale: String,
    /// As --scale smoke; peers that are not there are left out
    #[arg(long)]
    smoke: bool,
    /// A file for the results as JSON lines
    #[arg(long)]
    out: Option<PathBuf>,
    /// Results of earlier runs (--out), separated by commas, whose peers stand in the table as well if
    /// they do not run
    #[arg(long, value_name = "FILES", value_delimiter = ',')]
    beside: Vec<PathBuf>,
    /// Prints the table as Markdown
    #[arg(long)]
    markdown: bool,
    /// Paths of Silt's that are switched off, separated by commas
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Runs Silt alone with everything on and with one path off, by turns: all paths, or those
    /// named, separated by commas
    #[arg(long, value_name = "PATHS", value_delimiter = ',', num_args = 0..)]
    ablate: Option<Vec<String>>,
    /// Runs W3, W4 and W6 on growing tables of events and draws a chart
    #[arg(long)]
    grow: bool,
    /// How large these are beside the scale's, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1,5,25")]
    factors: Vec<f64>,
    /// Keeps the generated rows of sizes that are not the scale's own for another --grow
    #[arg(long)]
    keep: bool,
    /// Where --grow draws
    #[arg(long, default_value = "benches/growth.svg")]
    chart: PathBuf,
    /// Another number of agents than the scale's
    #[arg(long, hide = true)]
    agents: Option<u64>,
    /// Where generated rows, databases and DuckDB's environment go; default ~/.cache/siltdb/race
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Runs one peer in this process, over this folder; what a race starts
    #[arg(long, hide = true)]
    peer_in: Option<PathBuf>,
}

impl Arguments {
    fn request(&self) -> Result<Request> {
        let name = if self.smoke { "smoke" } else { &self.scale };
        let mut scale = Scale::named(name)
            .ok_or_else(|| format!("there is no scale {name}: full, small, smoke"))?;
        scale.agents = self.agents.unwrap_or(scale.agents);
        let all = WORKS.map(|(work, _)| work);
        let works = if self.work.iter().any(|work| work == "all") {
            all.map(str::to_owned).to_vec()
        } else {
            self.work.clone()
        };
        known("work", &works, &all)?;
        known("group of tables", &self.tables, &GROUPS)?;
        known("peer", &self.peers, &PEERS)?;
        self.without.iter().try_for_each(|name| paths::named(name).map(drop))?;
        Ok(Request { scale, works, groups: self.tables.clone() })
    }

    fn cache(&self) -> Result<PathBuf> {
        if let Some(folder) = &self.cache {
            return Ok(folder.clone());
        }
        let home = std::env::var_os("HOME").ok_or("there is no HOME: give --cache")?;
        Ok(PathBuf::from(home).join(".cache").join("siltdb").join("race"))
    }
}

fn known(what: &str, names: &[String], all: &[&str]) -> Result<()> {
    match names.iter().find(|name| !all.contains(&name.as_str())) {
        Some(name) => Err(format!("there is no {what} {name}: {}", all.join(", ")).into()),
        None => Ok(()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match (&arguments.peer_in, &arguments.ablate) {
        (Some(folder), _) => process::child(&arguments, folder),
        (None, Some(names)) => process::ablate(&arguments, names),
        (None, None) if arguments.grow => process::grow(&arguments),
        (None, None) => process::parent(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("race: {error}");
            ExitCode::FAILURE
        }
    }
}

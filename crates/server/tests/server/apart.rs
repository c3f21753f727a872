//! `silt serve` as people run it: a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The clock ticks of `/proc` a second, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The program: the one that `SILT_SERVER` names, or that which was built beside these tests. None,
/// said aloud, where it was not built; with `CI=true` it must be there.
pub fn silt() -> Option<PathBuf> {
    let named = std::env::var_os("SILT_SERVER").map(PathBuf::from);
    // target/debug/deps/server-1234, target/debug/silt
    let beside = || Some(std::env::current_exe().unwrap().parent()?.parent()?.join("silt"));
    let program = named.or_else(beside).filter(|program| program.is_file());
    if program.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "silt was not built");
        println!("skipped: silt was not built (cargo build --workspace --bin silt)");
    }
    program
}

/// A server in a process of its own; killed when it is dropped.
pub struct Apart {
    child: Child,
    pub address: SocketAddr,
}

impl Apart {
    /// `silt serve` with these options beside where it listens.
    pub fn serve(silt: &Path, db: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(silt);
        command.arg("serve").arg(db).args(["--listen", "127.0.0.1:0"]).args(options);
        Self::start(command)
    }

    /// Starts what serves, and waits until it says where.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = lines.map_while(Result::ok);
        let serving = told.find(|line| line.starts_with("serving ")).expect("it serves");
        let address = serving.rsplit(' ').next().unwrap().parse().unwrap();
        Self { child, address }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// CPU time so far, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.child.id())
    }

    /// Its memory now, in MiB.
    pub fn resident_mib(&self) -> u64 {
        status_mib(self.child.id(), "VmRSS:")
    }

    /// The most that its memory ever was, in MiB.
    pub fn resident_peak_mib(&self) -> u64 {
        status_mib(self.child.id(), "VmHWM:")
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn status_mib(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1_024
}

/// CPU time of a process so far, in seconds.
pub fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0.0));
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

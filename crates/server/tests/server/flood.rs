//! What a client that behaves sees while others mean no good: `floods`.
//!
//! Everybody is a process of their own, as they are on a network: `silt serve`, the client that asks
//! for one row again and again (this one), and the abusers, which are children of this one. They
//! would bring processors of their own; here they share the machine's, so they run where it is idle,
//! and what the server spends on them is what is measured. Alone and beside take turns.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_flight::Ticket;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;

use crate::abuse::{ENDLESS, PREFACE, ingest, reset};
use crate::apart::{Apart, cpu_seconds, silt};
use crate::guarded::{Client, PASSWORD, change, connected, rows};
use crate::tls::{self, Authority};

const CHILD: &str = "SILT_ABUSER";
const ROUNDS: usize = 4;
const ALONE: Duration = Duration::from_secs(2);
const BESIDE: Duration = Duration::from_secs(2);
/// What abusers do at a time.
const TOGETHER: usize = 64;

/// A way to be of no use to a server.
const KINDS: [&str; 11] = [
    "bad tokens",
    "bad passwords",
    "half-open connections",
    "connections that come and go",
    "rapid resets",
    "commands over the limit",
    "messages over the limit",
    "prepared statements",
    "clients that vanish",
    "tls: handshakes",
    "tls: half-open handshakes",
];

/// Does it until the time is over.
async fn abuse(kind: &str, address: SocketAddr, until: Instant, done: &AtomicU64) {
    let count = || {
        done.fetch_add(1, Ordering::Relaxed);
    };
    let numbers =
        || futures::stream::iter(0_u64..).take_while(|_| async { Instant::now() < until });
    match kind {
        "bad tokens" | "bad passwords" => {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            let channel = endpoint.connect_lazy();
            let tries = numbers().map(|number| {
                let mut client = Client::new(channel.clone());
                async move {
                    if kind == "bad tokens" {
                        client.set_token(format!("{number:064x}"));
                        assert!(client.execute("SELECT 1".to_owned(), None).await.is_err());
                    } else {
                        let guess = client.handshake("rita", &format!("guess {number}")).await;
                        assert!(guess.is_err());
                    }
                    count();
                }
            });
            tries.buffer_unordered(TOGETHER).for_each(|()| async {}).await;
        }
        "half-open connections" | "tls: half-open handshakes" => {
            // The beginning of HTTP/2, or of a handshake.
            let beginning = if kind.starts_with("tls") { &[22, 3, 1] } else { PREFACE };
            let tries = numbers().map(|_| async move {
                let Ok(mut stream) = TcpStream::connect(address).await else { return };
                if stream.write_all(beginning).await.is_ok() {
                    count();
                }
                let mut rest = Vec::new();
                drop(stream.read_to_end(&mut rest).await);
            });
            tries.buffer_unordered(4 * TOGETHER).for_each(|()| async {}).await;
        }
        "connections that come and go" => {
            let tries = numbers().map(|_| async {
                if connected(address).await.is_ok() {
                    count();
                }
            });
            tries.buffer_unordered(TOGETHER).for_each(|()| async {}).await;
        }
        "tls: handshakes" => {
            let connector = tls::connector_to_anybody();
            let tries = numbers().map(|_| async {
                let Ok(stream) = TcpStream::connect(address).await else { return };
                tls::handshake(&connector, stream).await;
                count();
            });
            tries.buffer_unordered(TOGETHER).for_each(|()| async {}).await;
        }
        "rapid resets" => {
            while Instant::now() < until {
                let Ok(client) = connected(address).await else { continue };
                for number in 0..1_000 {
                    reset(&client, number).await;
                    count();
                }
            }
        }
        "commands over the limit" => {
            let client = connected(address).await.unwrap();
            let long = format!("SELECT '{}'", "x".repeat(200 << 10));
            let tries = numbers().map(|_| {
                let (mut client, long) = (Client::new_from_inner(client.inner().clone()), &long);
                async move {
                    assert!(client.execute(long.clone(), None).await.is_err());
                    count();
                }
            });
            tries.buffer_unordered(8).for_each(|()| async {}).await;
        }
        "messages over the limit" => {
            let client = connected(address).await.unwrap();
            let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(4 << 20)]));
            let batch = RecordBatch::try_from_iter([("b", text)]).unwrap();
            let tries = numbers().map(|_| {
                let mut client = Client::new_from_inner(client.inner().clone());
                let rows = futures::stream::iter([Ok(batch.clone())]);
                async move {
                    assert!(client.execute_ingest(ingest("b"), rows).await.is_err());
                    count();
                }
            });
            tries.buffer_unordered(8).for_each(|()| async {}).await;
        }
        "prepared statements" => {
            let client = connected(address).await.unwrap();
            let tries = numbers().map(|number| {
                let mut client = Client::new_from_inner(client.inner().clone());
                async move {
                    let sql = format!("SELECT {number} FROM t WHERE a = ?");
                    // Kept on the server, or refused.
                    drop(client.prepare(sql, None).await.map(std::mem::forget));
                    count();
                }
            });
            tries.buffer_unordered(8).for_each(|()| async {}).await;
        }
        "clients that vanish" => {
            let tries = numbers().map(|_| async {
                let Ok(mut client) = connected(address).await else { return };
                let Ok(mut stream) = client.do_get(Ticket::new(ENDLESS)).await else { return };
                drop(stream.next().await);
                count();
            });
            tries.buffer_unordered(8).for_each(|()| async {}).await;
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_abuses() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let [kind, address, millis] = what.split(',').collect::<Vec<_>>()[..] else { panic!("{what}") };
    let until = Instant::now() + Duration::from_millis(millis.parse().unwrap());
    let done = AtomicU64::new(0);
    let abusing = abuse(kind, address.parse().unwrap(), until, &done);
    // Some wait for answers that come late, or never.
    drop(tokio::time::timeout(until - Instant::now(), abusing).await);
    let cpu = cpu_seconds(std::process::id());
    println!("\nabused {} {cpu}", done.load(Ordering::Relaxed));
}

/// What abusers get of the processors.
#[derive(Clone, Copy)]
enum Share {
    /// As much as others.
    Equal,
    /// What others leave: whoever else becomes ready runs at once. Linux knows such a class of tasks.
    Idle,
    /// What those leave that run at a real-time priority, as this process does and the server that it
    /// starts: for a machine with more to do.
    BelowRealTime,
    /// Little, where nobody can ask for the others; once they run, others wait for some milliseconds.
    Little,
}

impl Share {
    /// For a measurement.
    fn least() -> Self {
        let known = Command::new("chrt").args(["--idle", "0", "true"]).status();
        if !known.is_ok_and(|status| status.success()) {
            println!(
                "no chrt (util-linux): abusers are niced, and take processors from the server"
            );
            return Self::Little;
        }
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The policy, of the fields behind the program's name.
        let policy = stat.rsplit(") ").next().and_then(|fields| fields.split(' ').nth(38));
        if matches!(policy, Some("1" | "2")) { Self::BelowRealTime } else { Self::Idle }
    }

    /// Before the program and its arguments.
    fn command(self) -> Command {
        let (program, arguments): (_, &[&str]) = match self {
            Self::Equal => ("nice", &["-n", "0"]),
            Self::Idle => ("chrt", &["--idle", "0"]),
            Self::BelowRealTime => ("chrt", &["--other", "0"]),
            Self::Little => ("nice", &["-n", "19"]),
        };
        let mut command = Command::new(program);
        command.args(arguments);
        command
    }
}

/// Abusers of one kind, for so long: what they did, and their CPU time.
async fn abusers(kind: &str, address: SocketAddr, lasts: Duration, share: Share) -> (u64, f64) {
    let what = format!("{kind},{address},{}", lasts.as_millis());
    let run = move || {
        let mut command = share.command();
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", "flood::child_that_abuses", "--nocapture"]);
        let mut child = command.env(CHILD, what).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told: Vec<String> = lines.map_while(Result::ok).collect();
        assert!(child.wait().unwrap().success(), "{told:?}");
        let told = told.iter().find_map(|line| line.strip_prefix("abused ")).unwrap();
        let (done, cpu) = told.split_once(' ').unwrap();
        (done.parse().unwrap(), cpu.parse().unwrap())
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// Asks for one row until something else is done, and notes how long each answer took.
async fn ask<T>(
    client: &mut Client,
    took: &mut Vec<Duration>,
    until: impl Future<Output = T>,
) -> T {
    let asking = async {
        loop {
            let began = Instant::now();
            assert_eq!(rows(client, "SELECT b FROM t WHERE a = 1").await.unwrap(), "one");
            took.push(began.elapsed());
        }
    };
    tokio::select! {
        done = until => done,
        never = asking => never,
    }
}

/// A database with a row to ask for, and perhaps users, served apart.
async fn server(silt: &Path, db: &Path, authority: Option<&Authority>, users: bool) -> Apart {
    let limits = ["--command-bytes-max", "100KiB", "--message-bytes-max", "1MiB"];
    let limits = [&limits[..], &["--prepared-max", "100", "--first-call-timeout", "2s"]].concat();
    // Where there is TLS, users are made before: nobody is let in without.
    let setup = Apart::serve(silt, db, &limits);
    let mut client = connected(setup.address).await.unwrap();
    change(&mut client, "CREATE TABLE t (a BIGINT PRIMARY KEY, b TEXT)").await.unwrap();
    change(&mut client, "INSERT INTO t VALUES (1, 'one')").await.unwrap();
    if users {
        for (user, role) in [("root", "admin"), ("rita", "reader")] {
            let sql = format!("CREATE USER {user} PASSWORD '{user}''s password' ROLE {role}");
            change(&mut client, &sql).await.unwrap();
            // With the first one the way without a login is closed.
            if user == "root" {
                client.handshake("root", &format!("root{PASSWORD}")).await.unwrap();
            }
        }
    }
    let Some(authority) = authority else { return setup };
    drop((client, setup));
    let tls = authority.tls(None);
    let files = ["--tls-cert", tls.certificate.to_str().unwrap()];
    let files = [&files[..], &["--tls-key", tls.key.to_str().unwrap()]].concat();
    Apart::serve(silt, db, &[limits, files].concat())
}

async fn flood(silt: &Path, kind: &str, rounds: usize, alone: Duration, beside: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let authority = kind.starts_with("tls").then(Authority::new);
    let users = matches!(kind, "bad tokens" | "bad passwords");
    let db = folder.path().join("db");
    let server = server(silt, &db, authority.as_ref(), users).await;
    let address = match &authority {
        Some(authority) => tls::tunnel(server.address, authority.connector(None)).await,
        None => server.address,
    };
    let mut client = connected(address).await.unwrap();
    if users {
        client.handshake("rita", &format!("rita{PASSWORD}")).await.unwrap();
    }
    // The first answers are slower.
    ask(&mut client, &mut Vec::new(), tokio::time::sleep(alone / 4)).await;
    let (mut took_alone, mut took_beside) = (Vec::new(), Vec::new());
    let (mut done, mut own_cpu, mut server_cpu) = (0, 0.0, 0.0);
    let mut alone_cpu = 0.0;
    // Where nothing is measured they must not starve beside other tests.
    let processors = if rounds > 1 { Share::least() } else { Share::Equal };
    for round in 0.. {
        // Who gets no processor does nothing.
        let all = done > 0 && !took_alone.is_empty() && !took_beside.is_empty();
        if round >= rounds && (all || round > 20 * rounds) {
            break;
        }
        let before = server.cpu_seconds();
        ask(&mut client, &mut took_alone, tokio::time::sleep(alone)).await;
        alone_cpu += server.cpu_seconds() - before;
        let before = server.cpu_seconds();
        let abusers = abusers(kind, server.address, beside, processors);
        let (count, cpu) = ask(&mut client, &mut took_beside, abusers).await;
        (done, own_cpu) = (done + count, own_cpu + cpu);
        server_cpu += server.cpu_seconds() - before;
    }
    assert!(done > 0 && !took_alone.is_empty() && !took_beside.is_empty(), "{kind}: {done}");
    took_alone.sort();
    took_beside.sort();
    let at =
        |took: &[Duration], part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1e3;
    let (p99_alone, p99_beside) = (at(&took_alone, 99), at(&took_beside, 99));
    let share = |cpu: f64, lasts: Duration| cpu / lasts.as_secs_f64() / rounds as f64;
    println!(
        "{kind:30} median {:5.2} ms alone, {:5.2} beside; p99 {p99_alone:5.2} ms alone, {p99_beside:5.2} \
         beside: {:4.1} times; {} and {} queries; {:.0} tries a second; cores: server {:.2} alone, \
         {:.2} beside, abusers {:.2}; {} MiB",
        at(&took_alone, 50),
        at(&took_beside, 50),
        p99_beside / p99_alone,
        took_alone.len(),
        took_beside.len(),
        done as f64 / beside.as_secs_f64() / rounds as f64,
        share(alone_cpu, alone),
        share(server_cpu, beside),
        share(own_cpu, beside),
        server.resident_peak_mib(),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_behaves_is_answered_beside_abusers_of_every_kind() {
    let Some(silt) = silt() else { return };
    let short = Duration::from_millis(300);
    for kind in KINDS {
        flood(&silt, kind, 1, short, short).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: see docs/server.md"]
async fn floods() {
    let Some(silt) = silt() else { return };
    let wanted = std::env::var("SILT_KINDS").unwrap_or_default();
    for kind in KINDS.into_iter().filter(|kind| kind.contains(&wanted)) {
        flood(&silt, kind, ROUNDS, ALONE, BESIDE).await;
    }
}

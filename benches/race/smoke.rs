//! The harness itself: everything runs at the smallest scale, without network or Python, and all
//! peers answer alike.

#![expect(clippy::disallowed_methods, reason = "a bench: it has files of its own")]

use std::process::Command;

fn race(cache: &std::path::Path, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_race"))
        .args(["--smoke", "--cache"])
        .arg(cache)
        .args(arguments)
        .output()
        .expect("the race starts")
}

#[test]
fn all_peers_of_this_process_answer_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("race.jsonl");
    let out_text = out.to_str().expect("a path");
    let output = race(folder.path(), &["--peers", "sqlite,redb,fjall", "--out", out_text]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines = std::fs::read_to_string(&out).expect("a file of results");
    // Every work was done by Silt, and what a key-value store can do by both of them.
    for (peer, works) in [("silt", 1..=9), ("sqlite", 1..=9), ("redb", 1..=5), ("fjall", 1..=5)] {
        for work in works {
            let (peer, work) = (format!("\"peer\":\"{peer}\""), format!("\"work\":\"W{work}\""));
            let told = lines.lines().any(|line| line.contains(&peer) && line.contains(&work));
            assert!(told, "{peer} {work}\n{said}");
        }
    }
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("TPC-H, all 22") && table.contains("fdatasync"), "{table}");
    // A later race of Silt alone stands beside those that ran before.
    let later = ["--peers", "silt", "--work", "W4", "--tables", "events", "--beside", out_text];
    let later = race(folder.path(), &later);
    let said = String::from_utf8_lossy(&later.stderr);
    assert!(later.status.success() && !said.contains("sqlite"), "{said}");
    let table = String::from_utf8_lossy(&later.stdout);
    let row = table.lines().find(|line| line.contains("all columns") && line.contains("Rust get"));
    assert!(row.is_some_and(|row| row.matches('x').count() >= 3), "{table}");
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("run-"))
        .collect();
    assert!(left.is_empty(), "databases are cleared away: {left:?}");
}

#[test]
fn paths_are_measured_with_and_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = race(folder.path(), &["--ablate", "shadows,seeks", "--markdown"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let table = String::from_utf8_lossy(&output.stdout);
    for (path, case) in [
        ("shadows", "W6 group by kind, after W3"),
        ("seeks", "W9 reachable within four hops"),
        ("seeks", "W6 TPC-H, all 22"),
    ] {
        let row = |line: &&str| line.contains(path) && line.contains(case) && line.contains('x');
        assert!(table.lines().any(|line| row(&line)), "{path} {case}\n{table}");
    }
}

#[test]
fn a_work_or_a_peer_that_does_not_exist_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for (arguments, named) in [
        (["--work", "W10"], "there is no work W10"),
        (["--peers", "oracle"], "there is no peer oracle"),
        (["--tables", "users"], "there is no group of tables users"),
        (["--ablate", "magic"], "no path is called magic"),
        (["--without", "magic"], "no path is called magic"),
    ] {
        let output = race(folder.path(), &arguments);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(named), "{said}");
    }
}

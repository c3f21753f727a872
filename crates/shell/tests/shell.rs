//! The program as people and other programs run it: its output, its errors, its exit codes.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests may fail, and read files"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn silt() -> Command {
    Command::new(env!("CARGO_BIN_EXE_silt"))
}

fn run(arguments: &[&str]) -> Output {
    silt().args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs with a script on standard input.
fn piped(arguments: &[&str], script: &str) -> Output {
    let mut child = silt()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a run that must succeed prints.
fn good(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    assert_eq!(stderr(output), "");
    stdout(output)
}

fn folder() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("db").display().to_string();
    (folder, db)
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn test_data() -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    let folder = std::env::var_os("SILT_TEST_DATA").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no test data");
    None
}

#[test]
fn rows_stay_from_one_run_to_the_next() {
    let (_folder, db) = folder();
    let make = "CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'Ada'), (2, NULL)";
    assert_eq!(good(&run(&[&db, "-c", make])), "");
    let rows = run(&[&db, "--mode", "csv", "-c", "SELECT * FROM t ORDER BY id"]);
    assert_eq!(good(&rows), "id,name\n1,Ada\n2,\n");
    let rows = piped(&[&db, "--mode", "jsonl"], "SELECT * FROM t WHERE id = 2;\n");
    assert_eq!(good(&rows), "{\"id\":2,\"name\":null}\n");
}

#[test]
fn scripts_run_in_order_and_stop_at_the_first_error() {
    let (folder, _) = folder();
    let script = write(
        folder.path(),
        "a.sql",
        "-- two\nselect 2 as two;\n\nselect *\n  from nothing;\nselect 3;",
    );
    let output = run(&["--mode", "csv", "-c", "select 1 as one", "-f", &script, "-c", "select 4"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "one\n1\ntwo\n2\n");
    let said = stderr(&output);
    assert!(said.starts_with(&format!("{script}:")), "{said}");
    assert!(said.contains("error: ") && said.contains("nothing"), "{said}");
}

#[test]
fn a_syntax_error_is_shown_with_its_line_and_a_caret() {
    let output = piped(&["--mode", "csv"], "select 1;\n\nselect 2 as x\n  from from;\n");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("<stdin>:4: error: "), "{said}");
    assert_eq!(lines[1], "    from from;".trim_end_matches(';'), "{said}");
    assert_eq!(lines[2].trim_start(), "^", "{said}");
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    assert_eq!(run(&["-c", "select 1"]).status.code(), Some(0));
    assert_eq!(run(&["-c", "select nothing"]).status.code(), Some(1));
    assert_eq!(run(&["--mode", "xml"]).status.code(), Some(2));
    assert_eq!(run(&["ingest", "a.csv"]).status.code(), Some(2));
    let (folder, _) = folder();
    let file = write(folder.path(), "file", "no database");
    let output = run(&[&file, "-c", "select 1"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains(&file), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
}

#[test]
fn each_result_is_flushed_before_the_next_statement_is_read() {
    let mut child = silt()
        .args(["--mode", "jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 0..3 {
        writeln!(stdin, "select {number} as n;").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), format!("{{\"n\":{number}}}"));
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let mut child = silt()
        .args(["--mode", "csv", "-c", "select * from generate_series(1, 5000000)"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_ends_with_130() {
    let mut child = silt()
        .args([
            "-c",
            "select count(*) from generate_series(1, 1000000) a, generate_series(1, 1000000) b",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn dot_commands_run_between_statements() {
    let (folder, db) = folder();
    let inner = write(
        folder.path(),
        "inner.sql",
        "create table \"Mixed\" (a bigint primary key);\n.quit\n",
    );
    let script = format!(
        "create table t (id bigint primary key, name text);\n.tables\n.mode markdown\nselect\n.5 as half;\n\
         .schema t\n.read '{inner}'\nselect 'unreached';\n"
    );
    let shown = good(&piped(&[&db], &script));
    assert!(shown.starts_with("t\n| half |\n|---:|\n| 0.5 |\n"), "{shown}");
    assert!(shown.contains("name"), "{shown}");
    assert!(!shown.contains("unreached"), ".quit leaves: {shown}");
    assert_eq!(good(&run(&[&db, "-c", ".tables"])), "Mixed\nt\n");
    assert!(good(&run(&[&db, "-c", ".help"])).contains(".tables"));
    let output = run(&[&db, "-c", ".nonsense"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "error: there is no command .nonsense; .help lists them\n");
    assert!(good(&run(&["inspect", &db])).contains("tree"));
    for subject in ["files", "wal", "manifest"] {
        assert!(!good(&run(&["inspect", &db, subject])).is_empty(), "{subject}");
    }
    assert_eq!(run(&["inspect", &db, "file"]).status.code(), Some(2));
}

#[test]
fn readonly_refuses_to_write_and_to_make() {
    let (_folder, db) = folder();
    assert_eq!(run(&[&db, "--readonly", "-c", "select 1"]).status.code(), Some(3));
    good(&run(&[&db, "-c", "create table t (id bigint primary key)"]));
    let output = run(&[&db, "--readonly", "-c", "insert into t values (1)"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--readonly"), "{}", stderr(&output));
    let rows = run(&[&db, "--readonly", "--mode", "csv", "-c", "select count(*) as n from t"]);
    assert_eq!(good(&rows), "n\n0\n");
}

#[test]
fn a_file_is_ingested_into_a_new_table_and_then_into_the_same() {
    let (folder, db) = folder();
    let first = write(folder.path(), "a.csv", "id,name\n1,Ada\n2,\n");
    let second = write(folder.path(), "b.jsonl", "{\"name\": \"Alan\", \"id\": 3}\n");
    let said = good(&run(&["ingest", &first, "--db", &db, "--into", "people", "--key", "id"]));
    assert!(said.starts_with("people: 2 rows written, in "), "{said}");
    good(&run(&["ingest", &second, "--db", &db, "--into", "people"]));
    let mut child = silt()
        .args(["ingest", "-", "--format", "tsv", "--db", &db, "--into", "people"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"name\tid\nGrace\t4\n").unwrap();
    assert!(child.wait().unwrap().success());
    let rows = run(&[&db, "--mode", "csv", "-c", "select * from people order by id"]);
    assert_eq!(good(&rows), "id,name\n1,Ada\n2,\n3,Alan\n4,Grace\n");

    let output = run(&["ingest", &first, "--db", &db, "--into", "people"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("people"), "{}", stderr(&output));
    let said =
        good(&run(&["ingest", &first, "--db", &db, "--into", "people", "--on-conflict", "keep"]));
    assert!(said.starts_with("people: 0 rows written, 2 there already, in "), "{said}");
}

#[test]
fn a_malformed_line_leaves_the_table_as_it_was_or_is_written_aside() {
    let (folder, db) = folder();
    let mut text = "id,n\n".to_owned();
    for id in 0..20_000 {
        text.push_str(&format!("{id},{id}\n"));
    }
    text.push_str("20000,x\n20001,1\n");
    let file = write(folder.path(), "a.csv", &text);
    good(&run(&[
        &db,
        "-c",
        "create table t (id bigint primary key, n bigint); insert into t values (-1, 1)",
    ]));
    let output = run(&["ingest", &file, "--db", &db, "--into", "t"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("error: {file}, line 20002: column \"n\": \"x\" is not a BIGINT\n");
    assert_eq!(stderr(&output), expected);
    let count = || good(&run(&[&db, "--mode", "csv", "-c", "select count(*) as n from t"]));
    assert_eq!(count(), "n\n1\n");

    let rejects = folder.path().join("rejects.csv").display().to_string();
    let skip =
        ["ingest", &file, "--db", &db, "--into", "t", "--on-error", "skip", "--rejects", &rejects];
    let said = good(&run(&skip));
    assert!(said.starts_with("t: 20,001 rows written, 1 malformed, in "), "{said}");
    assert_eq!(count(), "n\n20002\n");
    let rejected = std::fs::read_to_string(&rejects).unwrap();
    let expected = format!(
        "file,line,reason,text\n\"{file}\",20002,\"column \"\"n\"\": \"\"x\"\" is not a BIGINT\",\"20000,x\"\n"
    );
    assert_eq!(rejected, expected);
    let output = run(&["ingest", &file, "--db", &db, "--into", "t", "--rejects", &rejects]);
    assert_eq!(output.status.code(), Some(2));
    let missing = run(&["ingest", "no/such.csv", "--db", &db, "--into", "t"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).starts_with("error: no/such.csv: "), "{}", stderr(&missing));
}

#[test]
fn a_graph_is_ingested_as_a_set_of_statements() {
    let (folder, db) = folder();
    let file = write(
        folder.path(),
        "g.ttl",
        "@prefix a: <http://a/> . a:s a:p 1, \"x\"@en ; a:q a:s . a:s a:p 1 .",
    );
    let said = good(&run(&["ingest", &file, "--db", &db, "--into", "g"]));
    assert!(said.starts_with("g: 3 rows written, 1 there already"), "{said}");
    let again = good(&run(&["ingest", &file, "--db", &db, "--into", "g"]));
    assert!(again.starts_with("g: 0 rows written, 4 there already"), "{again}");
}

#[test]
fn flights_are_ingested_and_joined() {
    let Some(data) = test_data() else { return };
    let (_folder, db) = folder();
    let ingest = |file: &str, table: &str, key: &str| {
        let file = data.join("openflights").join(file).display().to_string();
        let load = [
            "ingest",
            &file,
            "--db",
            &db,
            "--into",
            table,
            "--key",
            key,
            "--no-header",
            "--null",
            "\\N",
        ];
        good(&run(&load))
    };
    assert!(ingest("airports.csv", "airports", "column1").starts_with("airports: 7,698 rows"));
    assert!(ingest("airlines.csv", "airlines", "column1").starts_with("airlines: 6,162 rows"));
    let key = "column3,column5,column1";
    assert!(ingest("routes.csv", "routes", key).starts_with("routes: 67,663 rows"));
    // Where two flights lead from Goroka (GKA), counted with awk.
    let two_hops = "select count(distinct b.column5) as n from routes a join routes b \
                    on a.column5 = b.column3 where a.column3 = 'GKA'";
    assert_eq!(good(&run(&[&db, "--mode", "csv", "-c", two_hops])), "n\n36\n");
}

#[test]
fn a_transaction_left_open_is_rolled_back_and_said_so() {
    let (_folder, db) = folder();
    good(&run(&[
        &db,
        "-c",
        "CREATE TABLE t (a INT PRIMARY KEY); BEGIN; INSERT INTO t VALUES (1); COMMIT",
    ]));
    let count = "SELECT count(*) AS n FROM t;";
    let left =
        piped(&[&db, "--mode", "csv"], &format!("BEGIN;\nINSERT INTO t VALUES (2);\n{count}\n"));
    assert_eq!(left.status.code(), Some(0));
    assert_eq!(stdout(&left), "n\n2\n");
    assert_eq!(stderr(&left), "the open transaction is rolled back: COMMIT keeps one\n");
    let failed = piped(&[&db], "BEGIN;\nINSERT INTO t VALUES (3);\nSELEC;\nCOMMIT;\n");
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).ends_with("COMMIT keeps one\n"), "{}", stderr(&failed));
    let script = format!("BEGIN READ ONLY; {count} COMMIT");
    let readonly = run(&[&db, "--readonly", "--mode", "csv", "-c", &script]);
    assert_eq!(good(&readonly), "n\n1\n");
}

#[test]
fn users_are_made_on_a_database_that_nobody_has_open() {
    let (_folder, db) = folder();
    good(&run(&[&db, "-c", "CREATE TABLE t (a INT)"]));
    let add = |name: &str, role: &str, password: &str| {
        piped(&["user", "add", name, "--role", role, "--db", &db], &format!("{password}\n"))
    };
    let first = add("ann", "reader", "long enough");
    assert_eq!(first.status.code(), Some(2));
    assert!(stderr(&first).contains("the first user must be an admin"), "{}", stderr(&first));
    let short = add("root", "admin", "short");
    assert_eq!(short.status.code(), Some(2));
    assert!(!stderr(&short).contains("short\n"), "{}", stderr(&short));
    good(&add("root", "admin", "long enough"));
    good(&add("Ann \"A\"", "reader", "long enough"));
    good(&run(&["user", "role", "Ann \"A\"", "writer", "--db", &db]));
    assert_eq!(good(&run(&["user", "list", "--db", &db])), "Ann \"A\" writer\nroot admin\n");
    good(&run(&["user", "drop", "Ann \"A\"", "--db", &db]));
    assert_eq!(good(&run(&["user", "list", "--db", &db])), "root admin\n");
    let none = run(&["user", "list", "--db", &format!("{db}.none")]);
    assert_eq!(none.status.code(), Some(1), "{}", stderr(&none));
}

#[cfg(unix)]
#[test]
fn a_server_says_where_it_listens_and_ends_well_when_it_is_told_to() {
    let (_folder, db) = folder();
    let open = run(&["serve", &db, "--listen", "0.0.0.0:0"]);
    assert_eq!(open.status.code(), Some(2));
    let words = "needs TLS: --tls-cert FILE --tls-key FILE; and a user: silt user add";
    assert!(stderr(&open).contains(words), "{}", stderr(&open));
    let mut server = silt()
        .args(["serve", &db, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    assert!(line().starts_with(&format!("serving {db} on 127.0.0.1:")));
    let http = line();
    let (_, http) = http.split_once("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(http).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    // The database is in use.
    let locked = run(&["user", "list", "--db", &db]);
    assert_eq!(locked.status.code(), Some(3), "{}", stderr(&locked));
    let told = Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap();
    assert!(told.success());
    let ended = server.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    let log = stderr(&ended);
    for event in ["\"serving\"", "\"told to stop\"", "\"stopped\""] {
        assert!(log.contains(event), "{log}");
    }
}

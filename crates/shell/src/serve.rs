//! `silt serve` and `silt user`.

use std::fmt;
use std::io::{BufRead, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use siltdb::{
    Database, Error, ErrorKind, Result, Role, ScalarValue, ServerOptions, TlsOptions, params,
};

/// `silt serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// The database's folder, made if it does not exist
    pub(crate) db: PathBuf,
    /// Where clients connect; beyond this machine only with TLS and users
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    listen: SocketAddr,
    /// The server's certificate and those between it and its root, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Roots of the certificates that clients must show, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Where /healthz and /metrics are answered over plain HTTP [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Memory of the engine, and as much again for statements
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    memory: Size,
    /// Memory of one client's sorts, joins and aggregates
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    session_memory: Size,
    /// Memory of one statement's, and of the rows that it changes until they are committed
    #[arg(long, value_name = "SIZE", default_value = "128MiB")]
    statement_memory: Size,
    /// Open connections
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().connections_max)]
    connections_max: usize,
    /// Open connections from one address
    #[arg(long, value_name = "N",
          default_value_t = ServerOptions::default().connections_per_address_max)]
    connections_per_address_max: usize,
    /// New connections from one address a second; beyond as many as may be open at once, more wait
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().connections_rate_max)]
    connections_rate_max: u32,
    /// Calls of a connection in ten seconds that come to nothing by its client's doing; with more
    /// it is closed
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().strikes_max)]
    strikes_max: u32,
    /// Time for a TLS handshake
    #[arg(long, value_name = "TIME", default_value_t = Span(ServerOptions::default().tls_handshake_timeout))]
    tls_handshake_timeout: Span,
    /// Time until a new connection's first call, or login
    #[arg(long, value_name = "TIME", default_value_t = Span(ServerOptions::default().first_call_timeout))]
    first_call_timeout: Span,
    /// Running calls of one connection
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().streams_max)]
    streams_max: u32,
    /// Running calls in all
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().calls_max)]
    calls_max: usize,
    /// Statements that are planned or change something at the same time; more wait
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().statements_max)]
    statements_max: usize,
    /// Statements, and loads, that wait for their turn; more are refused
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().statements_queued_max)]
    statements_queued_max: usize,
    /// Loads of rows that run at the same time; more wait
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().ingests_max)]
    ingests_max: usize,
    /// Time that a load waits for its client's next rows
    #[arg(long, value_name = "TIME", default_value_t = Span(ServerOptions::default().ingest_idle))]
    ingest_idle: Span,
    /// Time for a call, its stream of rows included
    #[arg(long, value_name = "TIME", default_value_t = Span(ServerOptions::default().statement_timeout))]
    statement_timeout: Span,
    /// Longest command, and longest statement
    #[arg(long, value_name = "SIZE", default_value_t = Size(ServerOptions::default().command_bytes_max))]
    command_bytes_max: Size,
    /// Longest message
    #[arg(long, value_name = "SIZE", default_value_t = Size(ServerOptions::default().message_bytes_max))]
    message_bytes_max: Size,
    /// Size of the messages by which rows are sent, about
    #[arg(long, value_name = "SIZE", default_value_t = Size(ServerOptions::default().batch_bytes))]
    batch_bytes: Size,
    /// Prepared statements that a client keeps
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().prepared_max)]
    prepared_max: usize,
    /// Queries that a client asked for and did not fetch
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().queries_max)]
    queries_max: usize,
    /// Open transactions of a client
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().transactions_max)]
    transactions_max: usize,
    /// Time after which an unused prepared statement or query is forgotten
    #[arg(long, value_name = "TIME", default_value_t = Span(ServerOptions::default().handle_idle))]
    handle_idle: Span,
    /// Time after which an unused transaction is rolled back
    #[arg(long, value_name = "TIME", default_value_t = Span(ServerOptions::default().transaction_idle))]
    transaction_idle: Span,
    /// Time after which an unused login ends
    #[arg(long, value_name = "TIME", default_value_t = Span(ServerOptions::default().token_idle))]
    token_idle: Span,
    /// Time after which any login ends
    #[arg(long, value_name = "TIME", default_value_t = Span(ServerOptions::default().token_lifetime))]
    token_lifetime: Span,
    /// Logins of one user; with one more the least recently used ends
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().logins_max)]
    logins_max: usize,
    /// Calls that take longer are logged; 0s logs all
    #[arg(long, value_name = "TIME", default_value = "1s")]
    slow_statement: Span,
    /// Time that running calls have when the server is told to stop
    #[arg(long, value_name = "TIME", default_value_t = Span(ServerOptions::default().shutdown_timeout))]
    shutdown_timeout: Span,
    /// Log as JSON; SILT_LOG says what, such as debug
    #[arg(long)]
    log_json: bool,
}

/// `silt user`.
#[derive(Debug, Args)]
pub(crate) struct UserArguments {
    #[command(subcommand)]
    command: UserCommand,
    /// The database's folder
    #[arg(long, value_name = "DIR", global = true)]
    db: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Make a user; the password is asked for, or is the first line of standard input
    Add {
        /// Its name, as it stands
        name: String,
        /// What it may do: the first user must be an admin
        #[arg(long)]
        role: RoleArgument,
    },
    /// Give a user another password
    Password {
        /// Its name
        name: String,
    },
    /// Give a user another role
    Role {
        /// Its name
        name: String,
        /// What it may do
        role: RoleArgument,
    },
    /// Drop a user
    Drop {
        /// Its name
        name: String,
    },
    /// Show users and roles
    List,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum RoleArgument {
    /// Queries
    Reader,
    /// And changes of rows and tables
    Writer,
    /// And of users
    Admin,
}

impl From<RoleArgument> for Role {
    fn from(role: RoleArgument) -> Self {
        match role {
            RoleArgument::Reader => Self::Reader,
            RoleArgument::Writer => Self::Writer,
            RoleArgument::Admin => Self::Admin,
        }
    }
}

/// Serves until it is told to stop.
pub(crate) fn serve(arguments: &ServeArguments) -> Result<()> {
    siltdb::log_to_stderr(arguments.log_json);
    let mut builder = Database::builder(&arguments.db).memory_limit(arguments.memory.0);
    builder.sql_options().text_bytes_max = arguments.command_bytes_max.0;
    builder.sql_options().session_memory_bytes = arguments.session_memory.0;
    builder.sql_options().statement_memory_bytes = arguments.statement_memory.0;
    let db = builder.open()?;
    let server = siltdb::serve(&db, options(arguments))?;
    // For who waits for it.
    println!("serving {} on {}", arguments.db.display(), server.local_addr());
    if let Some(address) = server.http_addr() {
        println!("health and metrics on http://{address}");
    }
    let served = server.wait();
    drop(server);
    served.and(db.close())
}

fn options(arguments: &ServeArguments) -> ServerOptions {
    let tls = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Some(TlsOptions {
            certificate: certificate.clone(),
            key: key.clone(),
            client_roots: arguments.tls_client_ca.clone(),
        }),
        _ => None,
    };
    ServerOptions {
        listen: arguments.listen,
        tls,
        http: arguments.http,
        connections_max: arguments.connections_max,
        connections_per_address_max: arguments.connections_per_address_max,
        connections_rate_max: arguments.connections_rate_max,
        strikes_max: arguments.strikes_max,
        tls_handshake_timeout: arguments.tls_handshake_timeout.0,
        first_call_timeout: arguments.first_call_timeout.0,
        streams_max: arguments.streams_max,
        calls_max: arguments.calls_max,
        statement_timeout: arguments.statement_timeout.0,
        command_bytes_max: arguments.command_bytes_max.0,
        message_bytes_max: arguments.message_bytes_max.0,
        batch_bytes: arguments.batch_bytes.0,
        statements_max: arguments.statements_max,
        statements_queued_max: arguments.statements_queued_max,
        ingests_max: arguments.ingests_max,
        ingest_idle: arguments.ingest_idle.0,
        prepared_max: arguments.prepared_max,
        queries_max: arguments.queries_max,
        transactions_max: arguments.transactions_max,
        handle_idle: arguments.handle_idle.0,
        transaction_idle: arguments.transaction_idle.0,
        token_idle: arguments.token_idle.0,
        token_lifetime: arguments.token_lifetime.0,
        logins_max: arguments.logins_max,
        slow_statement: Some(arguments.slow_statement.0),
        shutdown_timeout: arguments.shutdown_timeout.0,
        signals: true,
        ..ServerOptions::default()
    }
}

/// Changes or shows the users of a database that nobody has open; what is to be printed.
pub(crate) fn user(arguments: &UserArguments) -> Result<String> {
    let db = arguments
        .db
        .as_deref()
        .ok_or_else(|| Error::new(ErrorKind::Invalid, "which database? say --db DIR"))?;
    let db = Database::builder(db).create_if_missing(false).open()?;
    let done = change(&db, &arguments.command);
    let closed = db.close();
    done.and_then(|text| closed.map(|()| text))
}

fn change(db: &Database, command: &UserCommand) -> Result<String> {
    let run = |sql: String| db.execute(&sql, params![]).map(drop);
    match command {
        UserCommand::Add { name, role } => {
            let sql = format!("CREATE USER {} PASSWORD ? ROLE {}", quoted(name), Role::from(*role));
            db.execute(&sql, params![ScalarValue::from(password()?)])?;
        }
        UserCommand::Password { name } => {
            let sql = format!("ALTER USER {} PASSWORD ?", quoted(name));
            db.execute(&sql, params![ScalarValue::from(password()?)])?;
        }
        UserCommand::Role { name, role } => {
            run(format!("ALTER USER {} ROLE {}", quoted(name), Role::from(*role)))?;
        }
        UserCommand::Drop { name } => run(format!("DROP USER {}", quoted(name)))?,
        UserCommand::List => {
            let mut text = String::new();
            for row in db.query("SHOW USERS", params![])? {
                let row = row?;
                let (name, role): (String, String) = (row.get("name")?, row.get("role")?);
                text.push_str(&format!("{name} {role}\n"));
            }
            return Ok(text);
        }
    }
    Ok(String::new())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Asks twice at a terminal; elsewhere the first line of standard input.
fn password() -> Result<String> {
    let io = |error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot read the password: {error}"))
    };
    if !std::io::stdin().is_terminal() {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(io)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let first = rpassword::prompt_password("Password: ").map_err(io)?;
    let again = rpassword::prompt_password("Once more: ").map_err(io)?;
    if first == again {
        return Ok(first);
    }
    Err(Error::new(ErrorKind::Invalid, "the passwords differ"))
}

/// A length of time: `500ms`, `30s`, `5m`, `12h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span(Duration);

/// A number of bytes: `4096`, `64KiB`, `2MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size(usize);

const SPANS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZES: [(&str, u64); 4] = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// The number before one of the units, in the smallest of them.
fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A number with the largest unit that leaves nothing over.
fn shown(value: u64, units: &[(&str, u64)]) -> String {
    let (name, factor) = units
        .iter()
        .rev()
        .find(|(_, factor)| value != 0 && value.is_multiple_of(*factor))
        .unwrap_or(&units[0]);
    format!("{}{name}", value / factor)
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let millis = measure(text, &SPANS).ok_or("a time is a number with ms, s, m or h")?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        f.write_str(&shown(millis, &SPANS))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = measure(text, &SIZES).and_then(|bytes| usize::try_from(bytes).ok());
        Ok(Self(bytes.ok_or("a size is a number, perhaps with KiB, MiB or GiB")?))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(u64::try_from(self.0).unwrap_or(u64::MAX), &SIZES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_they_are_shown() {
        for text in ["500ms", "30s", "5m", "12h", "1500ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("0s".parse::<Span>().unwrap().to_string(), "0ms");
        assert_eq!("90s".parse(), Ok(Span(Duration::from_secs(90))));
        for text in ["4097", "64KiB", "3MiB", "1GiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        for text in ["", "s", "5", "5 days", "-1s", "99999999999999999999h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["", "MiB", "1MB", "1.5GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_stand_as_they_are() {
        assert_eq!(quoted("Zoë \"Z\""), "\"Zoë \"\"Z\"\"\"");
    }
}

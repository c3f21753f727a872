//! The questions of W6, W8 and W9, each in the words that its peer knows.

use crate::data::{self, EPOCH_US, random};
use crate::scale::{EVENTS_PER_AGENT, Scale};
use crate::tables::Dialect;

/// One question: its name, and its text for each repetition.
pub struct Question {
    pub case: String,
    pub texts: Vec<String>,
}

/// What W7's reader and W8 ask.
pub const GROUP: &str = "SELECT kind, count(*), sum(seq) FROM events GROUP BY kind";

fn question(case: &str, repetitions: usize, text: impl Fn(u64) -> String) -> Question {
    let texts = (0..repetitions as u64).map(text).collect();
    Question { case: case.to_owned(), texts }
}

/// A time, as a literal.
fn time(dialect: Dialect, us: i64) -> String {
    match dialect {
        Dialect::Sqlite => us.to_string(),
        _ => format!("TIMESTAMP '{}'", data::timestamp_text(us)),
    }
}

/// Eight aggregates on `events`.
pub fn events(dialect: Dialect, scale: Scale) -> Vec<Question> {
    let times = scale.repetitions;
    let hour = match dialect {
        Dialect::Sqlite => "ts / 3600000000 * 3600000000",
        _ => "date_trunc('hour', ts)",
    };
    let window = |number: u64| {
        let whole = scale.events() as i64 * 5_000;
        let first = EPOCH_US + (random(number) % 80) as i64 * whole / 100;
        let (first, last) = (time(dialect, first), time(dialect, first + whole / 20));
        format!("SELECT count(*), sum(seq) FROM events WHERE ts >= {first} AND ts < {last}")
    };
    vec![
        question("count", times, |_| "SELECT count(*) FROM events".to_owned()),
        question("sum", times, |_| "SELECT sum(seq) FROM events".to_owned()),
        question("group by kind", times, |_| GROUP.to_owned()),
        question("top-10 agents of a kind", times, |number| {
            let kind = data::kind(number + 1);
            format!(
                "SELECT agent_id, count(*) AS n FROM events WHERE kind = '{kind}'
                 GROUP BY agent_id ORDER BY n DESC, agent_id LIMIT 10"
            )
        }),
        question("10 newest of a kind", times, |number| {
            let kind = data::kind(number + 2);
            format!(
                "SELECT * FROM events WHERE kind = '{kind}' ORDER BY ts DESC, agent_id LIMIT 10"
            )
        }),
        question("hourly buckets", times, |_| {
            format!(
                "SELECT {hour} AS hour, count(*), max(seq) FROM events GROUP BY {hour} ORDER BY hour"
            )
        }),
        question("a window of time", times, window),
        question("text within the payload", times, |number| {
            let tokens = 1_000 + random(number + 50) % 7_000;
            format!(
                "SELECT count(*), min(seq) FROM events WHERE payload LIKE '%\"tokens\":{tokens},%'"
            )
        }),
    ]
}

/// Three aggregates on `triples`.
pub fn triples(scale: Scale) -> Vec<Question> {
    let times = scale.repetitions;
    vec![
        question("triples: rows and confidence by predicate", times, |_| {
            "SELECT predicate, count(*), avg(confidence) FROM triples GROUP BY predicate".to_owned()
        }),
        question("triples: top-10 objects of a predicate", times, |number| {
            format!(
                "SELECT object, count(*) AS n FROM triples WHERE predicate = 'p{:02}'
                 GROUP BY object ORDER BY n DESC, object LIMIT 10",
                number * 7 % 50
            )
        }),
        question("triples: distinct objects", times, |number| {
            format!(
                "SELECT count(DISTINCT object) FROM triples WHERE confidence < 0.{}",
                5 + number % 5
            )
        }),
    ]
}

/// Walks over `triples` as a graph.
pub fn graph(scale: Scale) -> Vec<Question> {
    let times = scale.repetitions;
    let node = |number: u64| data::entity(random(number + 90) % scale.entities);
    vec![
        question("neighbours at two hops", times, |number| {
            format!(
                "SELECT count(DISTINCT b.object) FROM triples a JOIN triples b ON b.subject = a.object
                 WHERE a.subject = '{}'",
                node(number)
            )
        }),
        question("neighbours at three hops", times, |number| {
            format!(
                "SELECT count(DISTINCT c.object) FROM triples a JOIN triples b ON b.subject = a.object
                 JOIN triples c ON c.subject = b.object WHERE a.subject = '{}'",
                node(number + 10)
            )
        }),
        question("reachable within four hops", times, |number| {
            format!(
                "WITH RECURSIVE reached(node, depth) AS (
                   SELECT object, 1 FROM triples WHERE subject = '{}'
                   UNION
                   SELECT t.object, r.depth + 1 FROM reached r JOIN triples t ON t.subject = r.node
                   WHERE r.depth < 4)
                 SELECT count(DISTINCT node) FROM reached",
                node(number + 20)
            )
        }),
        question("closure along a predicate", times, |number| {
            let predicate = format!("p{:02}", 3 + number * 11 % 47);
            format!(
                "WITH RECURSIVE closure(a, b) AS (
                   SELECT subject, object FROM triples WHERE predicate = '{predicate}'
                   UNION
                   SELECT c.a, t.object FROM closure c JOIN triples t ON t.subject = c.b
                   WHERE t.predicate = '{predicate}')
                 SELECT count(*), count(DISTINCT a) FROM closure"
            )
        }),
    ]
}

/// Half of the events, a row here and a row there.
pub fn delete_half() -> String {
    format!("DELETE FROM events WHERE seq % 2 = {}", EVENTS_PER_AGENT % 2)
}

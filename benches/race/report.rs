//! All peers' figures in one table, their answers compared.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::goals::{self, Bound};
use crate::limits;
use crate::record::Record;
use crate::steps::{Request, WORKS};

/// What became of one peer.
#[derive(Debug)]
pub struct Outcome {
    pub name: String,
    pub about: Value,
    pub records: Vec<Record>,
    pub errors: Vec<String>,
    left_out: Option<String>,
}

impl Outcome {
    pub fn new(name: &str) -> Self {
        let name = name.to_owned();
        Self { name, about: Value::Null, records: Vec::new(), errors: Vec::new(), left_out: None }
    }

    /// A peer that is not there.
    pub fn left_out(name: &str, reason: &str) -> Self {
        Self { left_out: Some(reason.to_owned()), ..Self::new(name) }
    }
}

/// A whole race.
#[derive(Debug)]
pub struct Report {
    scale: &'static str,
    /// What the machine can do at most.
    pub limits: Vec<Record>,
    outcomes: Vec<Outcome>,
}

impl Report {
    pub fn new(request: &Request) -> Self {
        Self { scale: request.scale.name, limits: Vec::new(), outcomes: Vec::new() }
    }

    pub fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// JSON lines: the race, who ran, every record.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![json!({"scale": self.scale}).to_string()];
        lines.extend(self.limits.iter().map(|limit| limit.to_json().to_string()));
        for outcome in &self.outcomes {
            let about = json!({
                "peer": outcome.name, "about": outcome.about, "left_out": outcome.left_out,
            });
            lines.push(about.to_string());
            lines.extend(outcome.records.iter().map(|record| record.to_json().to_string()));
        }
        lines
    }

    /// Whether a peer is among those that ran or were left out.
    pub fn has(&self, peer: &str) -> bool {
        self.outcomes.iter().any(|outcome| outcome.name == peer)
    }

    /// All records.
    pub fn into_records(self) -> Vec<Record> {
        self.outcomes.into_iter().flat_map(|outcome| outcome.records).collect()
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.outcomes.iter().flat_map(|outcome| &outcome.records)
    }

    /// Peers that failed, and answers that differ.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> =
            self.outcomes.iter().flat_map(|outcome| outcome.errors.iter().cloned()).collect();
        let mut firsts: Vec<&Record> = Vec::new();
        for record in self.records().filter(|record| !record.answers.is_empty()) {
            let same = |first: &&&Record| first.work == record.work && first.case == record.case;
            let Some(first) = firsts.iter().find(same) else {
                firsts.push(record);
                continue;
            };
            let answers = first.answers.iter().zip(&record.answers);
            for (number, (theirs, ours)) in answers.enumerate() {
                if !theirs.agrees(ours) {
                    faults.push(format!(
                        "{} {}, repetition {number}: {} {} answers {theirs:?}, {} {} {ours:?}",
                        record.work, record.case, first.peer, first.door, record.peer, record.door
                    ));
                }
            }
        }
        faults
    }

    /// The table, for a terminal or as Markdown.
    pub fn table(&self, markdown: bool) -> String {
        let mut text = String::new();
        self.heading(&mut text, markdown);
        let ran: Vec<&str> = self
            .outcomes
            .iter()
            .filter(|outcome| outcome.left_out.is_none())
            .map(|outcome| outcome.name.as_str())
            .collect();
        let ours = ran.iter().find(|&&name| name == "silt").or(ran.first()).copied();
        let Some(ours) = ours else { return text };
        let others: Vec<&str> = ran.iter().copied().filter(|&name| name != ours).collect();
        let mut head = vec!["work".to_owned(), "case".to_owned(), "by".to_owned(), ours.to_owned()];
        head.extend(others.iter().map(|name| format!("{name} (ratio)")));
        head.push("goal".to_owned());
        let mut rows = Vec::new();
        for (work, _) in WORKS {
            let of_work = |record: &&Record| record.work == work;
            let mine = self.records().filter(of_work).filter(|record| record.peer == ours);
            rows.extend(mine.map(|record| self.row(record, &others)));
            // What only others can do.
            let theirs = self.records().filter(of_work).filter(|record| {
                let known = |mine: &Record| mine.peer == ours && mine.case == record.case;
                record.peer != ours && record.work == work && !self.records().any(known)
            });
            let mut told: Vec<&str> = Vec::new();
            for record in theirs {
                if !told.contains(&record.case.as_str()) {
                    told.push(&record.case);
                    let mut row = vec![work.to_owned(), record.case.clone(), String::new()];
                    row.push("-".to_owned());
                    row.extend(others.iter().map(|name| self.cell(None, record, name)));
                    row.push(String::new());
                    rows.push(row);
                }
            }
        }
        let states = ["", ", after W3", ", after OPTIMIZE"];
        rows.extend(states.iter().filter_map(|state| self.total_of_tpch(ours, &others, state)));
        layout(&mut text, &head, &rows, markdown);
        self.footing(&mut text, &ran, markdown);
        text
    }

    fn heading(&self, text: &mut String, markdown: bool) {
        let begin = if markdown { "- " } else { "" };
        writeln!(text, "{begin}scale {}", self.scale).expect("a String takes all");
        for outcome in &self.outcomes {
            let said = |name: &str| outcome.about[name].as_str().unwrap_or("?").to_owned();
            let line = match &outcome.left_out {
                Some(reason) => format!("{}: left out: {reason}", outcome.name),
                None => format!(
                    "{} {}: enforces {}; syncs {}",
                    outcome.name,
                    said("version"),
                    said("enforces"),
                    said("syncs")
                ),
            };
            writeln!(text, "{begin}{line}").expect("a String takes all");
        }
        let limit = |limit: &Record| {
            let case = if limit.work.is_empty() {
                limit.case.as_str()
            } else {
                "append of 200 B + fdatasync"
            };
            format!("{case} {} {}", number(limit.value), limit.unit.name())
        };
        if !self.limits.is_empty() {
            let limits: Vec<String> = self.limits.iter().map(limit).collect();
            writeln!(text, "{begin}this machine: {}", limits.join(", "))
                .expect("a String takes all");
        }
        text.push_str("\nRatios say how many times better ours is: above 1 it wins.\n\n");
    }

    fn row(&self, record: &Record, others: &[&str]) -> Vec<String> {
        let mut row = vec![record.work.clone(), record.case.clone(), record.door.clone()];
        row.push(format!("{} {}", number(record.value), record.unit.name()));
        row.extend(others.iter().map(|name| self.cell(Some(record), record, name)));
        row.push(self.goal(record));
        row
    }

    /// A peer's figures for the case, each with the ratio to ours.
    fn cell(&self, ours: Option<&Record>, case: &Record, peer: &str) -> String {
        let same = |record: &&Record| {
            record.peer == peer && record.work == case.work && record.case == case.case
        };
        let cell = |record: &Record| {
            let mut text = number(record.value);
            if let Some(ours) = ours {
                write!(text, " ({})", ratio(times_better(ours, record.value)))
                    .expect("a String takes all");
            }
            if !record.door.is_empty() {
                write!(text, " {}", record.door).expect("a String takes all");
            }
            text
        };
        let cells: Vec<String> = self.records().filter(same).map(cell).collect();
        if cells.is_empty() { "-".to_owned() } else { cells.join("; ") }
    }

    /// What is wanted of a case of ours, and how far it is reached.
    fn goal(&self, record: &Record) -> String {
        if record.peer != "silt" {
            return String::new();
        }
        let bounds = goals::of(record).iter().map(|bound| self.bound(record, *bound));
        bounds.collect::<Vec<_>>().join("; ")
    }

    fn bound(&self, record: &Record, bound: Bound) -> String {
        let value = |value: f64| {
            let sign = if record.unit.more_is_better() { ">=" } else { "<=" };
            (format!("{sign} {}", number(value)), Some((1.0, value)))
        };
        let (text, wanted) = match bound {
            Bound::Value(wanted) => value(wanted),
            Bound::RocksDb(times, wanted) => {
                match self.best(record, &record.case, |other| other.peer == "rocksdb") {
                    Some(best) => (format!("{times:.2} x rocksdb"), Some((times, best))),
                    None => value(wanted),
                }
            }
            Bound::Times(times, peer) => {
                let best = self.best(record, &record.case, |other| match peer {
                    "any" => other.peer != record.peer && other.peer != limits::PEER,
                    peer => other.peer == peer,
                });
                (format!("{times:.2} x {peer}"), best.map(|best| (times, best)))
            }
            Bound::Own(times, case) => {
                let own = |other: &Record| other.peer == record.peer && other.door == record.door;
                let best = self.best(record, case, own);
                (format!("{times:.2} x {case}"), best.map(|best| (times, best)))
            }
            Bound::Before(times) => {
                let case = record.case.split(", after").next().unwrap_or_default();
                let best = self.best(record, case, |other| other.peer == record.peer);
                (format!("{times:.2} x before"), best.map(|best| (times, best)))
            }
        };
        match wanted {
            Some((times, value)) => verdict(&text, times_better(record, value) / times),
            None => text,
        }
    }

    /// The best figure of `case` among records that `among` takes.
    fn best(&self, like: &Record, case: &str, among: impl Fn(&Record) -> bool) -> Option<f64> {
        let all = self.records().chain(&self.limits);
        let same = all.filter(|other| other.work == like.work && other.case == case);
        let values = same.filter(|other| among(other)).map(|other| other.value);
        if like.unit.more_is_better() { values.reduce(f64::max) } else { values.reduce(f64::min) }
    }

    fn total_of_tpch(&self, ours: &str, others: &[&str], state: &str) -> Option<Vec<String>> {
        let cases: Vec<String> = (1..=22).map(|number| format!("TPC-H Q{number}{state}")).collect();
        let total = |peer: &str, cases: &[String]| -> Option<f64> {
            let of_case = |case: &String| {
                let fits = |record: &&Record| record.peer == peer && record.case == *case;
                self.records().find(fits).map(|record| record.value)
            };
            cases.iter().map(of_case).sum()
        };
        let mine = total(ours, &cases)?;
        let mut row = vec!["W6".to_owned(), format!("TPC-H, all 22{state}"), String::new()];
        row.push(format!("{} ms", number(mine)));
        row.extend(others.iter().map(|peer| {
            let cell = |value: f64| format!("{} ({})", number(value), ratio(value / mine));
            total(peer, &cases).map_or_else(|| "-".to_owned(), cell)
        }));
        row.push(match (total("duckdb", &cases), state) {
            (Some(theirs), _) => verdict("1.00 x duckdb", theirs / mine),
            (None, ", after OPTIMIZE") => {
                let before: Vec<String> =
                    (1..=22).map(|number| format!("TPC-H Q{number}")).collect();
                total(ours, &before).map_or_else(String::new, |before| {
                    verdict("0.83 x before", before * 1.2 / mine)
                })
            }
            (None, _) => String::new(),
        });
        Some(row)
    }

    fn footing(&self, text: &mut String, ran: &[&str], markdown: bool) {
        let begin = if markdown { "- " } else { "" };
        text.push('\n');
        let of = |record: &&Record| ran.contains(&record.peer.as_str()) && !record.note.is_empty();
        for record in self.records().filter(of) {
            let Record { peer, work, case, door, note, .. } = record;
            writeln!(text, "{begin}{work} {case}, {peer} {door}: {note}")
                .expect("a String takes all");
        }
    }
}

/// How many times better than `other` ours is.
pub fn times_better(ours: &Record, other: f64) -> f64 {
    if ours.unit.more_is_better() { ours.value / other } else { other / ours.value }
}

fn verdict(goal: &str, reached: f64) -> String {
    let word = if reached >= 1.0 { "reached" } else { "short" };
    format!("{goal}: {word}, {}", ratio(reached))
}

/// A ratio, with an `x` behind it.
pub fn ratio(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}x"),
        value if value >= 10.0 => format!("{value:.1}x"),
        value => format!("{value:.2}x"),
    }
}

/// A number with three or four digits that say something.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.2} M", value / 1e6),
        size if size >= 1e4 => format!("{:.1} k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A table, its columns as wide as what is in them.
pub fn layout(text: &mut String, head: &[String], rows: &[Vec<String>], markdown: bool) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default().max(head[column].chars().count())
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        let cells: Vec<String> = cells.collect();
        let line = if markdown {
            format!("| {} |", cells.join(" | "))
        } else {
            cells.join("  ").trim_end().to_owned()
        };
        writeln!(text, "{line}").expect("a String takes all");
    };
    line(head);
    let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
    line(&rule);
    rows.iter().for_each(|row| line(row));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Answer, Unit};
    use crate::scale::Scale;

    fn record(peer: &str, value: f64, rows: u64) -> Record {
        Record {
            peer: peer.to_owned(),
            work: "W6".to_owned(),
            case: "count".to_owned(),
            door: String::new(),
            unit: Unit::Millis,
            value,
            runs: vec![value],
            answers: vec![Answer { rows, ..Answer::default() }],
            note: String::new(),
        }
    }

    fn report(records: Vec<Record>) -> Report {
        let scale = Scale::named("smoke").expect("a scale");
        let mut report = Report::new(&Request { scale, works: vec![], groups: vec![] });
        for record in records {
            let mut outcome = Outcome::new(&record.peer);
            outcome.records.push(record);
            report.add(outcome);
        }
        report
    }

    #[test]
    fn a_difference_of_answers_is_a_fault() {
        assert!(report(vec![record("silt", 1.0, 3), record("duckdb", 2.0, 3)]).faults().is_empty());
        let faults = report(vec![record("silt", 1.0, 3), record("duckdb", 2.0, 4)]).faults();
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn a_goal_beside_rocksdb_is_a_figure_where_it_did_not_run() {
        let upserts = |peer: &str, value| Record {
            work: "W3".to_owned(),
            case: "upserts".to_owned(),
            unit: Unit::RowsPerSecond,
            ..record(peer, value, 3)
        };
        let alone = report(vec![upserts("silt", 500_000.0)]).table(false);
        assert!(alone.contains(">= 400.0 k: reached, 1.25x"), "{alone}");
        let beside = report(vec![upserts("silt", 500_000.0), upserts("rocksdb", 1_000_000.0)]);
        let beside = beside.table(false);
        assert!(beside.contains("0.65 x rocksdb: short, 0.77x"), "{beside}");
    }

    #[test]
    fn a_ratio_above_one_is_a_win() {
        let report = report(vec![record("silt", 1.0, 3), record("duckdb", 2.0, 3)]);
        let table = report.table(false);
        assert!(table.contains("2.00 (2.00x)"), "{table}");
        assert!(table.contains("reached, 2.00x"), "{table}");
    }
}

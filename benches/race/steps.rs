//! What a run does, step by step: one list for all peers, each carried out by those that can.

use crate::queries::{self, Question};
use crate::scale::{Scale, UPSERT_SETS};
use crate::tables::{Dialect, TABLES, Table};
use crate::tpch;

/// The works of the race.
pub const WORKS: [(&str, &str); 9] = [
    ("W1", "bulk load, key enforced, durable at the end"),
    ("W2", "commits of one row, and of thousands"),
    ("W3", "upserts by random key, 1,000 a transaction"),
    ("W4", "get by whole key"),
    ("W5", "ranges by key prefix"),
    ("W6", "aggregates, and TPC-H"),
    ("W7", "a writer without pause beside a reader"),
    ("W8", "open; delete half"),
    ("W9", "walks over a graph"),
];

/// A lookup: which table, which columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    EventAll,
    EventTwo,
    TripleAll,
}

/// A range: the triples of a subject, or the last 100 events of an agent, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    TriplesOfSubject,
    NewestOfAgent,
}

/// One step.
pub enum Step {
    /// Forgets the peak of memory.
    Begin {
        work: &'static str,
    },
    /// Tells the peak of memory since [`Step::Begin`].
    End {
        work: &'static str,
        state: String,
    },
    Load {
        table: Table,
        told: bool,
    },
    /// Copies an eighth of a table's rows by INSERT ... SELECT.
    Copy {
        table: Table,
    },
    Gets {
        case: String,
        lookup: Lookup,
        hit: bool,
        seed: u64,
    },
    Ranges {
        case: String,
        range: Range,
        seed: u64,
    },
    Ask {
        work: &'static str,
        question: Question,
        tpch: bool,
    },
    Inserts {
        writers: usize,
        rows: usize,
    },
    Upserts {
        told: bool,
    },
    /// Upserts rows of `lineitem`.
    Rewrite {
        told: bool,
    },
    Optimize {
        table: &'static str,
    },
    Mixed,
    Reopen,
    Delete,
}

impl Step {
    /// The work that it belongs to.
    pub fn work(&self) -> &'static str {
        match self {
            Self::Begin { work } | Self::End { work, .. } | Self::Ask { work, .. } => work,
            Self::Load { .. } | Self::Copy { .. } => "W1",
            Self::Gets { .. } => "W4",
            Self::Ranges { .. } => "W5",
            Self::Inserts { .. } => "W2",
            Self::Upserts { .. } | Self::Rewrite { .. } => "W3",
            Self::Optimize { .. } => "W6",
            Self::Mixed => "W7",
            Self::Reopen | Self::Delete => "W8",
        }
    }

    /// Whether the rest means nothing without it.
    pub fn carries_the_rest(&self) -> bool {
        matches!(
            self,
            Self::Load { .. } | Self::Upserts { .. } | Self::Rewrite { .. } | Self::Reopen
        )
    }

    /// What it does.
    pub fn name(&self) -> String {
        match self {
            Self::Begin { .. } | Self::End { .. } => "peak memory".to_owned(),
            Self::Load { table, .. } => format!("load {}", table.name),
            Self::Copy { table } => format!("INSERT ... SELECT of {}", table.name),
            Self::Gets { case, .. } | Self::Ranges { case, .. } => case.clone(),
            Self::Ask { question, .. } => question.case.clone(),
            Self::Inserts { writers, rows } => format!("{writers} writers, {rows} rows"),
            Self::Upserts { .. } => "upserts".to_owned(),
            Self::Rewrite { .. } => "lineitem, upserts".to_owned(),
            Self::Optimize { table } => format!("OPTIMIZE of {table}"),
            Self::Mixed => "mixed".to_owned(),
            Self::Reopen => "open".to_owned(),
            Self::Delete => "delete".to_owned(),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub scale: Scale,
    pub works: Vec<String>,
    pub groups: Vec<String>,
}

impl Request {
    fn works(&self, work: &str) -> bool {
        self.works.iter().any(|wanted| wanted == work)
    }

    fn has(&self, group: &str) -> bool {
        self.groups.iter().any(|wanted| wanted == group)
    }

    /// All steps for a peer that speaks `dialect`.
    pub fn steps(&self, dialect: Dialect) -> Vec<Step> {
        let mut steps = Vec::new();
        self.load(&mut steps);
        self.look_up("", 0, &mut steps);
        self.ask("", dialect, &mut steps);
        self.walk(&mut steps);
        self.write(dialect, &mut steps);
        steps
    }

    /// All tables that the works want.
    pub fn load(&self, steps: &mut Vec<Step>) {
        let told = self.works("W1");
        steps.push(Step::Begin { work: "W1" });
        for table in TABLES {
            // W1 measures one table of TPC-H; the others are there to be asked.
            let measured = ["events", "triples", "lineitem"].contains(&table.name);
            if self.has(table.group) && (measured || self.works("W6")) {
                steps.push(Step::Load { table, told: told && measured });
            }
            if table.name == "lineitem" && told {
                steps.push(Step::End { work: "W1", state: String::new() });
            }
        }
    }

    /// Gets and ranges, in a state of the tables.
    pub fn look_up(&self, state: &str, seed: u64, steps: &mut Vec<Step>) {
        if self.works("W4") {
            steps.push(Step::Begin { work: "W4" });
            let get = |case: &str, lookup, hit| Step::Gets {
                case: format!("{case}{state}"),
                lookup,
                hit,
                seed,
            };
            if self.has("events") {
                steps.push(get("events, all columns", Lookup::EventAll, true));
                steps.push(get("events, key and two columns", Lookup::EventTwo, true));
                steps.push(get("events, miss", Lookup::EventAll, false));
            }
            if self.has("triples") && state.is_empty() {
                steps.push(get("triples, all columns", Lookup::TripleAll, true));
                steps.push(get("triples, miss", Lookup::TripleAll, false));
            }
            steps.push(Step::End { work: "W4", state: state.to_owned() });
        }
        if self.works("W5") {
            let range =
                |case: &str, range| Step::Ranges { case: format!("{case}{state}"), range, seed };
            if self.has("triples") && state.is_empty() {
                steps.push(range("triples of a subject", Range::TriplesOfSubject));
            }
            if self.has("events") {
                steps.push(range("last 100 events of an agent", Range::NewestOfAgent));
            }
        }
    }

    /// Aggregates and TPC-H, in a state of the tables.
    pub fn ask(&self, state: &str, dialect: Dialect, steps: &mut Vec<Step>) {
        if !self.works("W6") {
            return;
        }
        let ask = |mut question: Question, tpch| {
            question.case.push_str(state);
            Step::Ask { work: "W6", question, tpch }
        };
        steps.push(Step::Begin { work: "W6" });
        if self.has("events") {
            let questions = queries::events(dialect, self.scale).into_iter();
            steps.extend(questions.map(|question| ask(question, false)));
        }
        // Nobody writes to these.
        if state.is_empty() && self.has("triples") {
            let questions = queries::triples(self.scale).into_iter();
            steps.extend(questions.map(|question| ask(question, false)));
        }
        if self.has("tpch") {
            for number in 1..=22 {
                let texts = (0..3).map(|set| tpch::query(number, set)).collect();
                steps.push(ask(Question { case: format!("TPC-H Q{number}"), texts }, true));
            }
        }
        steps.push(Step::End { work: "W6", state: state.to_owned() });
    }

    /// Walks over the graph.
    pub fn walk(&self, steps: &mut Vec<Step>) {
        if self.works("W9") && self.has("triples") {
            let questions = queries::graph(self.scale).into_iter();
            let step = |question| Step::Ask { work: "W9", question, tpch: false };
            steps.extend(questions.map(step));
        }
    }

    /// What changes the events and lineitem, and what is asked of them after it.
    fn write(&self, dialect: Dialect, steps: &mut Vec<Step>) {
        let (events, tpch) = (self.has("events"), self.has("tpch"));
        if !events && !tpch {
            return;
        }
        if events && self.works("W2") {
            steps.push(Step::Begin { work: "W2" });
            for (writers, rows) in [(1, 1), (8, 1), (1, 1_000)] {
                steps.push(Step::Inserts { writers, rows });
            }
            steps.push(Step::End { work: "W2", state: String::new() });
        }
        if ["W3", "W4", "W5", "W6", "W8"].iter().any(|work| self.works(work)) {
            let told = self.works("W3");
            steps.push(Step::Begin { work: "W3" });
            if events {
                steps.push(Step::Upserts { told });
            }
            if tpch && (told || self.works("W6")) {
                steps.push(Step::Rewrite { told });
            }
            if told {
                steps.push(Step::End { work: "W3", state: String::new() });
            }
            self.look_up(", after W3", 10, steps);
            self.ask(", after W3", dialect, steps);
        }
        if events && self.works("W8") {
            steps.push(Step::Reopen);
        }
        if self.works("W6") {
            let written = [(events, "events"), (tpch, "lineitem")];
            for (_, table) in written.into_iter().filter(|(there, _)| *there) {
                steps.push(Step::Optimize { table });
            }
            self.ask(", after OPTIMIZE", dialect, steps);
        }
        if events && self.works("W7") {
            steps.push(Step::Begin { work: "W7" });
            steps.push(Step::Mixed);
            steps.push(Step::End { work: "W7", state: String::new() });
        }
        if events && self.works("W8") {
            steps.push(Step::Delete);
        }
    }
}

/// The sets of upserts that each of a peer's ways in writes: every set is written once, in order.
pub fn sets_of(doors: usize, door: usize) -> impl Iterator<Item = usize> {
    (0..UPSERT_SETS).filter(move |set| set % doors == door)
}

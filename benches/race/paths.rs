//! The paths of SiltDB's that can be switched off, and the cases that show what each pays: one
//! entry a path, for `--without` and `--ablate`.

use siltdb::Builder;

use crate::steps::{Request, Step};
use crate::tables::{Dialect, Result, TABLES};

/// A path.
pub struct Path {
    pub name: &'static str,
    /// Opens a database without it.
    pub off: fn(&mut Builder),
    /// What it touches.
    pub cases: &'static [Cases],
}

const fn path(name: &'static str, off: fn(&mut Builder), cases: &'static [Cases]) -> Path {
    Path { name, off, cases }
}

/// All paths, those of the query layer first.
pub const PATHS: [Path; 20] = [
    path(
        "point_statements",
        |builder| builder.sql_options().point_statements = false,
        &[Cases::Gets, Cases::Ranges, Cases::Commits, Cases::Upserts, Cases::Graph],
    ),
    path("bulk_loads", |builder| builder.sql_options().writes.bulk_loads = false, &[Cases::Copies]),
    path(
        "blind_upserts",
        |builder| builder.sql_options().writes.blind_upserts = false,
        &[Cases::Upserts],
    ),
    path(
        "shadows",
        |builder| builder.sql_options().scan.shadows = false,
        &[Cases::Upserts, Cases::EventsAfterUpserts],
    ),
    path(
        "filters",
        |builder| builder.sql_options().scan.filters = false,
        &[Cases::Events, Cases::Triples, Cases::Tpch],
    ),
    path(
        "aggregates",
        |builder| builder.sql_options().scan.aggregates = false,
        &[Cases::Events, Cases::Triples, Cases::Tpch],
    ),
    path(
        "dynamic",
        |builder| builder.sql_options().scan.dynamic = false,
        &[Cases::Events, Cases::Tpch],
    ),
    path("joins", |builder| builder.sql_options().scan.joins = false, &[Cases::Graph, Cases::Tpch]),
    path("narrows", |builder| builder.sql_options().scan.narrows = false, &[Cases::Tpch]),
    path("seeks", |builder| builder.sql_options().scan.seeks = false, &[Cases::Graph, Cases::Tpch]),
    path(
        "small",
        |builder| builder.sql_options().scan.small = false,
        &[Cases::Graph, Cases::Events, Cases::Tpch],
    ),
    path("shared", |builder| builder.sql_options().scan.shared = false, &[Cases::Tpch]),
    path(
        "wal_ahead",
        |builder| builder.storage_options().wal_ahead_bytes = 0,
        &[Cases::Commits, Cases::Upserts],
    ),
    path(
        "early_sync",
        |builder| builder.storage_options().paths.early_sync = false,
        &[Cases::Commits, Cases::Upserts],
    ),
    path(
        "memtable_filter",
        |builder| builder.storage_options().paths.memtable_filter = false,
        &[Cases::Upserts, Cases::Gets, Cases::Ranges],
    ),
    path(
        "memtable_statistics",
        |builder| builder.storage_options().paths.memtable_statistics = false,
        &[Cases::Tpch],
    ),
    path("sketches", |builder| builder.storage_options().paths.sketches = false, &[Cases::Tpch]),
    path(
        "shadows_ahead",
        |builder| builder.storage_options().paths.shadows_ahead = false,
        &[Cases::Upserts, Cases::EventsAfterUpserts],
    ),
    path(
        "few_keys",
        |builder| builder.storage_options().paths.few_keys = false,
        &[Cases::Gets, Cases::Graph],
    ),
    path(
        "narrow_plans",
        |builder| builder.storage_options().paths.narrow_plans = false,
        &[Cases::Ranges, Cases::Graph],
    ),
];

/// The path of that name.
pub fn named(name: &str) -> Result<&'static Path> {
    PATHS.iter().find(|path| path.name == name).ok_or_else(|| {
        let names: Vec<&str> = PATHS.iter().map(|path| path.name).collect();
        format!("no path is called {name}: {}", names.join(", ")).into()
    })
}

/// Some cases of the race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cases {
    Copies,
    Commits,
    Upserts,
    Gets,
    Ranges,
    Events,
    EventsAfterUpserts,
    Triples,
    Tpch,
    Graph,
}

impl Cases {
    /// The tables that they want.
    pub fn group(self) -> &'static str {
        match self {
            Self::Triples | Self::Graph => "triples",
            Self::Tpch => "tpch",
            _ => "events",
        }
    }

    /// Their steps. Questions are asked twice, first once with other parameters: what a database
    /// that was just opened reads then is not counted.
    pub fn steps(self, request: &Request, steps: &mut Vec<Step>) {
        let (work, state) = match self {
            Self::Gets => ("W4", ""),
            Self::Ranges => ("W5", ""),
            Self::EventsAfterUpserts => ("W6", ", after W3"),
            Self::Graph => ("W9", ""),
            Self::Copies | Self::Commits | Self::Upserts => ("", ""),
            Self::Events | Self::Triples | Self::Tpch => ("W6", ""),
        };
        let groups = vec![self.group().to_owned()];
        let request = Request { scale: request.scale, works: vec![work.to_owned()], groups };
        match self {
            Self::Commits => {
                let commits = [(1, 1), (8, 1), (1, 1_000)];
                let step = |(writers, rows)| Step::Inserts { writers, rows };
                steps.extend(commits.map(step));
            }
            Self::Copies => steps.extend(
                TABLES
                    .into_iter()
                    .filter(|table| table.name == self.group())
                    .map(|table| Step::Copy { table }),
            ),
            Self::Upserts => steps.push(Step::Upserts { told: true }),
            Self::Gets | Self::Ranges => request.look_up(state, 0, steps),
            _ => {
                let asked = |steps: &mut Vec<Step>| match self {
                    Self::Graph => request.walk(steps),
                    _ => request.ask(state, Dialect::Silt, steps),
                };
                let (mut warm, mut counted) = (Vec::new(), Vec::new());
                asked(&mut warm);
                asked(&mut counted);
                for (steps, keep) in [(&mut warm, 0..1), (&mut counted, 1..TEXTS)] {
                    for step in steps {
                        if let Step::Ask { question, .. } = step {
                            question.texts.truncate(keep.end);
                            question.texts.drain(..keep.start);
                        }
                    }
                }
                steps.extend(warm.into_iter().chain(counted));
            }
        }
        steps.retain(|step| !matches!(step, Step::Begin { .. } | Step::End { .. }));
    }
}

/// Of the texts of a question, the first is asked before, the others up to here are counted.
const TEXTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::Scale;

    #[test]
    fn every_path_has_cases_and_a_name_of_its_own() {
        let scale = Scale::named("smoke").expect("a scale");
        let request = Request { scale, works: vec![], groups: vec![] };
        for path in &PATHS {
            assert_eq!(PATHS.iter().filter(|other| other.name == path.name).count(), 1);
            for cases in path.cases {
                let mut steps = Vec::new();
                cases.steps(&request, &mut steps);
                assert!(!steps.is_empty(), "{} {cases:?}", path.name);
            }
        }
    }

    #[test]
    fn a_question_is_warmed_by_other_parameters_than_it_is_counted_with() {
        let scale = Scale::named("smoke").expect("a scale");
        let request = Request { scale, works: vec![], groups: vec![] };
        let mut steps = Vec::new();
        Cases::Graph.steps(&request, &mut steps);
        let texts = steps.iter().map(|step| match step {
            Step::Ask { question, .. } => question.texts.clone(),
            _ => unreachable!("walks are asked"),
        });
        let texts: Vec<Vec<String>> = texts.collect();
        let (warm, counted) = texts.split_at(texts.len() / 2);
        for (warm, counted) in warm.iter().zip(counted) {
            assert_eq!((warm.len(), counted.len()), (1, TEXTS - 1));
            assert!(!counted.contains(&warm[0]));
        }
    }
}

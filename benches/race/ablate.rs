//! What each path pays: the cases that it touches, with everything on and with the path off, by
//! turns over one database.

use std::fmt::Write as _;
use std::path::Path as Folder;

use crate::driver::Driver;
use crate::paths::{self, Cases, PATHS, Path};
use crate::peers;
use crate::record::{Answer, Record, Unit, median};
use crate::report::{layout, number, ratio, times_better};
use crate::scale::Scale;
use crate::steps::{Request, Step};
use crate::tables::{Files, Result};

pub const SILT: &str = "silt";
/// Turns of a path whose cases take long, and of one whose cases are short.
const ROUNDS: usize = 3;
const ROUNDS_SHORT: usize = 5;
/// A query of TPC-H is listed if the path changes it by a quarter or more.
const TOLD_TPCH: f64 = 1.25;

/// The paths of these names; all for none.
pub fn chosen(names: &[String]) -> Result<Vec<&'static Path>> {
    match names {
        [] => Ok(PATHS.iter().collect()),
        names => names.iter().map(|name| paths::named(name)).collect(),
    }
}

/// The groups of tables that the cases of these paths want.
pub fn groups(chosen: &[&Path]) -> Vec<String> {
    let wanted = |group: &str| {
        chosen.iter().any(|path| path.cases.iter().any(|cases| cases.group() == group))
    };
    crate::tables::GROUPS.into_iter().filter(|group| wanted(group)).map(str::to_owned).collect()
}

/// One case, with and without a path: a value for each turn.
struct Row {
    like: Record,
    with: Vec<f64>,
    without: Vec<f64>,
}

/// All that was measured of a path.
struct Measured {
    path: &'static Path,
    rows: Vec<Row>,
}

/// What a run told.
struct Told {
    records: Vec<Record>,
    /// Each with its work.
    failures: Vec<(String, String)>,
}

/// A database, loaded once.
pub struct Bench<'a> {
    folder: &'a Folder,
    files: Files,
    request: Request,
    /// Runs of a driver so far.
    rounds: usize,
    /// What failed with everything on, and answers that changed without a path.
    pub faults: Vec<String>,
}

impl<'a> Bench<'a> {
    /// Loads the tables, and upserts some of their rows.
    pub fn load(folder: &'a Folder, files: Files, request: &Request) -> Result<Self> {
        let scale = Scale {
            upserts: request.scale.upserts.min(20_000),
            gets: request.scale.gets.min(5_000),
            insert_s: request.scale.insert_s.min(0.5),
            patience_s: 1.0,
            ..request.scale
        };
        let request = Request { works: vec!["W1".to_owned(), "W6".to_owned()], ..request.clone() };
        let mut steps = Vec::new();
        request.load(&mut steps);
        if request.groups.iter().any(|group| group == "events") {
            steps.push(Step::Upserts { told: false });
        }
        let mut bench = Self { folder, files, request, rounds: 0, faults: Vec::new() };
        bench.settle(&steps)?;
        bench.request.scale = scale;
        if bench.request.groups.iter().any(|group| group == "events") {
            // What the first turn would write, so that all turns find the same rows.
            bench.settle(&[Step::Upserts { told: false }])?;
        }
        Ok(bench)
    }

    fn settle(&mut self, steps: &[Step]) -> Result<()> {
        let failures = self.run(steps, &[])?.failures;
        self.faults.extend(failures.into_iter().map(|(_, failure)| failure));
        Ok(())
    }

    /// What the steps tell, and what fails, on the database opened without some paths.
    fn run(&mut self, steps: &[Step], without: &[String]) -> Result<Told> {
        let (mut records, mut failures) = (Vec::new(), Vec::new());
        self.rounds += 1;
        let driver = Driver {
            name: SILT,
            peer: peers::open(SILT, self.folder, without)?,
            folder: self.folder,
            files: self.files.clone(),
            scale: self.request.scale,
            round: self.rounds,
            tell: &mut |record| records.push(record),
            fail: &mut |work, error| failures.push((work.to_owned(), error)),
        };
        driver.run(steps);
        Ok(Told { records, failures })
    }

    /// Measures a path's cases, with and without it by turns.
    fn measure(&mut self, path: &'static Path) -> Result<Measured> {
        let mut steps = Vec::new();
        path.cases.iter().for_each(|cases| cases.steps(&self.request, &mut steps));
        let rounds = match (self.request.scale.name, path.cases.contains(&Cases::Tpch)) {
            ("smoke", _) => 1,
            (_, true) => ROUNDS,
            (_, false) => ROUNDS_SHORT,
        };
        let mut rows: Vec<Row> = Vec::new();
        for round in 0..rounds {
            for turn in 0..2 {
                // Who is first changes, for the second may find more in the system's cache.
                let on = (round + turn) % 2 == 0;
                let without = if on { Vec::new() } else { vec![path.name.to_owned()] };
                let Told { records, failures } = self.run(&steps, &without)?;
                for (work, failure) in failures {
                    eprintln!("  {work} {failure}, without {without:?}");
                    if on {
                        self.faults.push(format!("{work} {failure}"));
                    }
                }
                for record in counted(records) {
                    self.add(&mut rows, path, record, on);
                }
            }
        }
        Ok(Measured { path, rows })
    }

    fn add(&mut self, rows: &mut Vec<Row>, path: &Path, record: Record, on: bool) {
        let of = |record: &Record| (record.work.clone(), record.case.clone(), record.door.clone());
        let value = record.value;
        let found = rows.iter().position(|row| of(&row.like) == of(&record));
        let index = found.unwrap_or_else(|| {
            rows.push(Row { like: record.clone(), with: Vec::new(), without: Vec::new() });
            rows.len() - 1
        });
        let row = &mut rows[index];
        let agree = |(theirs, ours): (&Answer, &Answer)| theirs.agrees(ours);
        if !row.like.answers.iter().zip(&record.answers).all(agree) {
            self.faults.push(format!(
                "{} {} answers {:?} in one turn, {:?} in another, by turns without {}",
                record.work, record.case, row.like.answers, record.answers, path.name
            ));
        }
        if on { row.with.push(value) } else { row.without.push(value) }
    }

    /// Measures all of these paths; the table.
    pub fn table(&mut self, chosen: &[&'static Path], markdown: bool) -> Result<String> {
        let head = ["without", "case", "by", "with it", "without it", "it pays"].map(str::to_owned);
        let mut cells = Vec::new();
        for path in chosen {
            eprintln!("{}", path.name);
            let measured = self.measure(path)?;
            cells.extend(measured.cells());
        }
        let mut text = String::new();
        writeln!(
            text,
            "{}, medians of {ROUNDS_SHORT} turns each, of {ROUNDS} where TPC-H is asked\n",
            self.request.scale.name
        )?;
        layout(&mut text, &head, &cells, markdown);
        Ok(text)
    }
}

/// Of a case that was told twice the second: the first was to warm it.
fn counted(records: Vec<Record>) -> Vec<Record> {
    let mut counted: Vec<Record> = Vec::new();
    for record in records {
        let same = |other: &Record| {
            (&other.work, &other.case, &other.door) == (&record.work, &record.case, &record.door)
        };
        counted.retain(|other| !same(other));
        counted.push(record);
    }
    counted
}

impl Measured {
    fn cells(self) -> Vec<Vec<String>> {
        let Self { path, mut rows } = self;
        rows.extend(total_of_tpch(&rows));
        let mut cells = Vec::new();
        for row in rows {
            let (with, without) = (median(&row.with), median(&row.without));
            let pays = times_better(&Record { value: with, ..row.like.clone() }, without);
            if is_tpch(&row.like) && (1.0 / TOLD_TPCH..TOLD_TPCH).contains(&pays) {
                continue;
            }
            let value = |value: f64| match value.is_nan() {
                true => "failed".to_owned(),
                false => format!("{} {}", number(value), row.like.unit.name()),
            };
            let pays = if pays.is_nan() { String::new() } else { ratio(pays) };
            cells.push(vec![
                path.name.to_owned(),
                format!("{} {}", row.like.work, row.like.case),
                row.like.door.clone(),
                value(with),
                value(without),
                pays,
            ]);
        }
        cells
    }
}

fn is_tpch(record: &Record) -> bool {
    record.case.starts_with("TPC-H Q")
}

/// All 22 queries as one row, if each was answered at every turn.
fn total_of_tpch(rows: &[Row]) -> Option<Row> {
    let queries: Vec<&Row> = rows.iter().filter(|row| is_tpch(&row.like)).collect();
    let turns = queries.first()?.with.len();
    let whole = |row: &&Row| row.with.len() == turns && row.without.len() == turns;
    if queries.len() != 22 || !queries.iter().all(whole) {
        return None;
    }
    let total = |of: fn(&Row) -> &Vec<f64>| -> Vec<f64> {
        (0..turns).map(|turn| queries.iter().map(|row| of(row)[turn]).sum()).collect()
    };
    let like =
        Record { case: "TPC-H, all 22".to_owned(), unit: Unit::Millis, ..queries[0].like.clone() };
    Some(Row { like, with: total(|row| &row.with), without: total(|row| &row.without) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(case: &str, value: f64) -> Record {
        Record {
            peer: SILT.to_owned(),
            work: "W6".to_owned(),
            case: case.to_owned(),
            door: String::new(),
            unit: Unit::Millis,
            value,
            runs: vec![value],
            answers: vec![],
            note: String::new(),
        }
    }

    #[test]
    fn queries_are_told_as_one_and_those_that_change_by_themselves() {
        let row = |number: usize| Row {
            like: record(&format!("TPC-H Q{number}"), 1.0),
            with: vec![1.0, 2.0, 1.0],
            without: vec![if number == 5 { 3.0 } else { 1.0 }; 3],
        };
        let measured = Measured { path: &PATHS[0], rows: (1..=22).map(row).collect() };
        let cells = measured.cells();
        let told: Vec<String> = cells.iter().map(|cells| cells[1..].join("|")).collect();
        assert_eq!(
            told,
            ["W6 TPC-H Q5||1.00 ms|3.00 ms|3.00x", "W6 TPC-H, all 22||22.0 ms|24.0 ms|1.09x"]
        );
    }

    #[test]
    fn the_second_of_two_is_counted() {
        let records = vec![record("a", 9.0), record("b", 8.0), record("a", 1.0)];
        let values: Vec<f64> = counted(records).iter().map(|record| record.value).collect();
        assert_eq!(values, [8.0, 1.0]);
    }
}

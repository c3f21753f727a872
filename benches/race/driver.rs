//! Takes a peer of this process through the steps, and tells what they took.

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;

use crate::data::{self, Chunk, Event, Key};
use crate::memory;
use crate::peers::{Peer, Reader, Task, Writer};
use crate::queries::Question;
use crate::record::{Answer, Record, Unit, median, percentile};
use crate::scale::{CHECKED, CHUNK, Scale, UPSERT_SETS};
use crate::steps::{Lookup, Range, Step, sets_of};
use crate::tables::{Dialect, Files, REWRITES, Result, TABLES, Table};

/// Lookups between two looks at the clock.
const STRIDE: usize = 1_000;
/// The reader of W7 asks this often.
const READ_EVERY: Duration = Duration::from_millis(100);
/// Commits of one row that a writer of W2 has rows ready for, a second: more than it can make.
const READY: f64 = 8_000.0;

/// A run of one peer.
pub struct Driver<'a> {
    pub name: &'a str,
    pub peer: Box<dyn Peer>,
    pub folder: &'a Path,
    pub files: Files,
    pub scale: Scale,
    /// Which run over the same database it is: tables that a run makes are named by it.
    pub round: usize,
    pub tell: &'a mut dyn FnMut(Record),
    pub fail: &'a mut dyn FnMut(&str, String),
}

impl Driver<'_> {
    /// Carries out all steps; one that fails is told, and ends the run if the rest needs it.
    pub fn run(mut self, steps: &[Step]) {
        for step in steps {
            if let Err(error) = self.step(step) {
                (self.fail)(step.work(), format!("{}: {error}", step.name()));
                if step.carries_the_rest() {
                    break;
                }
            }
        }
        if let Err(error) = self.peer.close() {
            (self.fail)("", format!("close: {error}"));
        }
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Begin { .. } => memory::forget_peak(),
            Step::End { work, state } => {
                if let Some(peak) = memory::peak_mb() {
                    self.tell(
                        work,
                        &format!("peak memory{state}"),
                        "",
                        Unit::Megabytes,
                        peak,
                        vec![],
                    );
                }
            }
            Step::Load { table, told } => self.load(table, *told)?,
            Step::Copy { table } => self.copy(table)?,
            Step::Gets { case, lookup, hit, seed } => self.gets(case, *lookup, *hit, *seed)?,
            Step::Ranges { case, range, seed } => self.ranges(case, *range, *seed)?,
            Step::Ask { work, question, tpch } => self.ask(work, question, *tpch)?,
            Step::Inserts { writers, rows } => self.inserts(*writers, *rows)?,
            Step::Upserts { told } => self.upserts(*told)?,
            Step::Rewrite { told } => self.rewrite(*told)?,
            Step::Reopen => self.reopen()?,
            Step::Optimize { table } => {
                let begin = Instant::now();
                if self.peer.optimize(table)? {
                    let ms = begin.elapsed().as_secs_f64() * 1e3;
                    let case = format!("OPTIMIZE of {table}");
                    self.tell("W6", &case, "", Unit::Millis, ms, vec![]);
                }
            }
            Step::Mixed => self.mixed()?,
            Step::Delete => self.delete()?,
        }
        Ok(())
    }

    fn tell(
        &mut self,
        work: &str,
        case: &str,
        door: &str,
        unit: Unit,
        value: f64,
        answers: Vec<Answer>,
    ) {
        self.tell_runs(work, case, door, unit, value, vec![value], answers);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a record, in their order")]
    fn tell_runs(
        &mut self,
        work: &str,
        case: &str,
        door: &str,
        unit: Unit,
        value: f64,
        runs: Vec<f64>,
        answers: Vec<Answer>,
    ) {
        (self.tell)(Record {
            peer: self.name.to_owned(),
            work: work.to_owned(),
            case: case.to_owned(),
            door: door.to_owned(),
            unit,
            value,
            runs,
            answers,
            note: String::new(),
        });
    }

    fn load(&mut self, table: &Table, told: bool) -> Result<()> {
        let before = memory::folder_mb(self.folder);
        let (schema, mut batches) = self.files.read(table.name)?;
        self.peer.create(table, table.name, &schema)?;
        let begin = Instant::now();
        let rows = self.peer.load(table, &schema, &mut batches)?;
        let seconds = begin.elapsed().as_secs_f64();
        if told {
            self.peer.rest()?;
            let answer = Answer { rows: self.peer.count(table.name)?, ..Answer::default() };
            if answer.rows != rows {
                return Err(format!("{rows} rows were loaded, {} are there", answer.rows).into());
            }
            let rate = rows as f64 / seconds;
            self.tell("W1", table.name, "", Unit::RowsPerSecond, rate, vec![answer]);
            let size = memory::folder_mb(self.folder) - before;
            self.tell("W1", &format!("{}, size", table.name), "", Unit::Megabytes, size, vec![]);
        }
        Ok(())
    }

    /// An eighth of the rows, into a table that is dropped behind it. All of them are more than a
    /// commit through the log may hold.
    fn copy(&mut self, table: &Table) -> Result<()> {
        let copied = format!("{}_copied", table.name);
        let (schema, _) = self.files.read(table.name)?;
        self.peer.create(table, &copied, &schema)?;
        let begin = Instant::now();
        let rows = self.peer.copy(table.name, &copied, self.scale.events() / 8);
        let seconds = begin.elapsed().as_secs_f64();
        self.peer.remove(&copied)?;
        let rows = rows?;
        let rate = rows as f64 / seconds;
        let case = format!("INSERT ... SELECT of {}", table.name);
        let answer = Answer { rows, ..Answer::default() };
        self.tell("W1", &case, "", Unit::RowsPerSecond, rate, vec![answer]);
        Ok(())
    }

    fn gets(&mut self, case: &str, lookup: Lookup, hit: bool, seed: u64) -> Result<()> {
        for door in self.peer.doors(Task::Get) {
            let keys = |number: u64| {
                let (seed, count) = (seed + number, self.scale.gets);
                match lookup {
                    Lookup::TripleAll => data::triple_keys(self.scale, seed, count, hit),
                    _ => data::event_keys(self.scale, seed, count, hit),
                }
            };
            let keys: Vec<Vec<Key>> = (0..3).map(keys).collect();
            self.look_up("W4", case, door, &keys, |peer, keys| peer.gets(door, lookup, keys))?;
        }
        Ok(())
    }

    fn ranges(&mut self, case: &str, range: Range, seed: u64) -> Result<()> {
        for door in self.peer.doors(Task::Range) {
            let keys = |number: u64| {
                let (seed, count) = (seed + number + 5, self.scale.ranges());
                match range {
                    Range::TriplesOfSubject => data::triple_keys(self.scale, seed, count, true),
                    Range::NewestOfAgent => data::event_keys(self.scale, seed, count, true),
                }
            };
            let keys: Vec<Vec<Key>> = (0..3).map(keys).collect();
            self.look_up("W5", case, door, &keys, |peer, keys| peer.ranges(door, range, keys))?;
        }
        Ok(())
    }

    /// Times lookups of several sets of keys, in microseconds each.
    fn look_up(
        &mut self,
        work: &str,
        case: &str,
        door: &str,
        sets: &[Vec<Key>],
        look_up: impl Fn(&mut dyn Peer, &[Key]) -> Result<Answer>,
    ) -> Result<()> {
        let (checked, warm) = sets[0].split_at(CHECKED);
        let answer = look_up(self.peer.as_mut(), checked)?;
        // What a first statement has to prepare, and what the first keys have to fetch.
        look_up(self.peer.as_mut(), &warm[..STRIDE.min(warm.len())])?;
        let patience = Duration::from_secs_f64(self.scale.patience_s / 3.0);
        let mut runs = Vec::new();
        for keys in sets {
            let begin = Instant::now();
            let mut done = 0;
            for some in keys.chunks(STRIDE) {
                std::hint::black_box(look_up(self.peer.as_mut(), some)?);
                done += some.len();
                if begin.elapsed() > patience {
                    break;
                }
            }
            runs.push(begin.elapsed().as_secs_f64() * 1e6 / done as f64);
        }
        self.tell_runs(work, case, door, Unit::Micros, median(&runs), runs, vec![answer]);
        Ok(())
    }

    fn ask(&mut self, work: &str, question: &Question, tpch: bool) -> Result<()> {
        if self.peer.dialect().is_none() || tpch && !self.peer.answers_tpch() {
            return Ok(());
        }
        // Only who can tidy is asked again after it.
        if question.case.ends_with("OPTIMIZE") && self.peer.dialect() != Some(Dialect::Silt) {
            return Ok(());
        }
        let (mut runs, mut answers) = (Vec::new(), Vec::new());
        for text in &question.texts {
            let begin = Instant::now();
            answers.push(self.peer.ask(text)?);
            runs.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        self.tell_runs(work, &question.case, "", Unit::Millis, median(&runs), runs, answers);
        Ok(())
    }

    fn inserts(&mut self, writers: usize, rows: usize) -> Result<()> {
        let case = match (writers, rows) {
            (1, 1) => "1 writer, 1 row a transaction".to_owned(),
            (writers, 1) => format!("{writers} writers, 1 row a transaction"),
            (_, rows) => format!("1 writer, {rows} rows a transaction"),
        };
        for (number, door) in self.peer.doors(Task::Insert).iter().enumerate() {
            let name = format!("log_{writers}_{rows}_{number}_{}", self.round);
            let schema = self.files.schema("events")?;
            self.peer.create(&TABLES[0], &name, &schema)?;
            let all = (0..writers)
                .map(|_| self.peer.writer(door, Task::Insert, &name, rows))
                .collect::<Result<Vec<Writer>>>()?;
            let lasting = Duration::from_secs_f64(self.scale.insert_s);
            let chunks = if rows == 1 { (self.scale.insert_s * READY) as usize } else { 64 };
            let (written, seconds) = race(all, rows, chunks, lasting)?;
            let found = self.peer.count(&name)?;
            if found != written {
                return Err(format!("{written} rows were acknowledged, {found} are there").into());
            }
            let rate = written as f64 / seconds;
            self.tell("W2", &case, door, Unit::RowsPerSecond, rate, vec![]);
        }
        Ok(())
    }

    fn upserts(&mut self, told: bool) -> Result<()> {
        let doors = self.peer.doors(Task::Upsert);
        let mut runs = vec![Vec::new(); doors.len()];
        let mut quarters = vec![Vec::new(); doors.len()];
        // In the order of the sets: the last that writes a key wins, for every peer.
        for set in 0..UPSERT_SETS {
            for (door, name) in doors.iter().enumerate() {
                if !sets_of(doors.len(), door).any(|of_door| of_door == set) {
                    continue;
                }
                let mut times = Vec::new();
                self.peer.writer(name, Task::Upsert, "events", CHUNK)?(&mut |write| {
                    for chunk in Chunk::upserts(self.scale, set) {
                        let begin = Instant::now();
                        write(&chunk)?;
                        times.push(begin.elapsed().as_secs_f64());
                    }
                    Ok(())
                })?;
                runs[door].push(self.scale.upserts as f64 / times.iter().sum::<f64>());
                let rate = |times: &[f64]| (times.len() * CHUNK) as f64 / times.iter().sum::<f64>();
                quarters[door].extend(times.chunks(times.len().div_ceil(4)).map(rate));
            }
        }
        let count = self.peer.count("events")?;
        let answer = Answer { rows: count, ..Answer::default() };
        for (door, name) in doors.iter().enumerate().filter(|_| told) {
            let quarters: Vec<String> =
                quarters[door].iter().map(|rate| format!("{:.0}", rate / 1e3)).collect();
            (self.tell)(Record {
                peer: self.name.to_owned(),
                work: "W3".to_owned(),
                case: "upserts".to_owned(),
                door: (*name).to_owned(),
                unit: Unit::RowsPerSecond,
                value: median(&runs[door]),
                runs: std::mem::take(&mut runs[door]),
                answers: vec![answer],
                note: format!("by quarters, k rows/s: {}", quarters.join(" ")),
            });
        }
        Ok(())
    }

    fn rewrite(&mut self, told: bool) -> Result<()> {
        let table = &TABLES[2];
        let before = self.peer.count(table.name)?;
        let batches: Vec<RecordBatch> = self.files.read_by(CHUNK, REWRITES)?.1.collect();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let begin = Instant::now();
        self.peer.rewrite(table, &batches)?;
        let seconds = begin.elapsed().as_secs_f64();
        let after = self.peer.count(table.name)?;
        if after != before {
            return Err(format!("{before} rows were there, {after} are after it").into());
        }
        if told {
            let answer = Answer { rows: after, ..Answer::default() };
            let rate = rows as f64 / seconds;
            self.tell("W3", "lineitem, upserts", "", Unit::RowsPerSecond, rate, vec![answer]);
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<()> {
        let (mut opens, mut firsts, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..3 {
            self.peer.close()?;
            let begin = Instant::now();
            self.peer.open()?;
            opens.push(begin.elapsed().as_secs_f64() * 1e3);
            let begin = Instant::now();
            answers.push(self.peer.reader()?()?);
            firsts.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        self.tell_runs("W8", "open after W3", "", Unit::Millis, median(&opens), opens, vec![]);
        let value = median(&firsts);
        self.tell_runs("W8", "first group-by", "", Unit::Millis, value, firsts, answers);
        Ok(())
    }

    fn mixed(&mut self) -> Result<()> {
        if self.peer.dialect().is_none() {
            return Ok(());
        }
        let lasting = Duration::from_secs_f64(self.scale.mixed_s);
        for door in self.peer.doors(Task::Upsert) {
            let form = self.peer.form(door);
            let chunks: Vec<Chunk> =
                Chunk::upserts(self.scale, 0).map(|chunk| chunk.only(form)).collect();
            let stop = AtomicBool::new(false);
            let writer = || self.peer.writer(door, Task::Upsert, "events", CHUNK);
            let alone = write_until(writer()?, &chunks, &stop, lasting / 4)?;
            let calm = read_until(self.peer.reader()?, &stop, lasting / 4)?;
            let (write, read) = (writer()?, self.peer.reader()?);
            let (beside, busy) = thread::scope(|scope| {
                let reader = scope.spawn(|| read_until(read, &stop, lasting));
                let beside = write_until(write, &chunks, &stop, lasting);
                stop.store(true, Ordering::Relaxed);
                (beside, reader.join())
            });
            let busy = busy.map_err(|_| "the reader panicked")??;
            let rate = Unit::RowsPerSecond;
            self.tell("W7", "writer alone", door, rate, alone, vec![]);
            self.tell("W7", "writer beside a reader", door, rate, beside?, vec![]);
            for (case, times) in [("reader alone", calm), ("reader beside a writer", busy)] {
                let (half, most) = (percentile(&times, 0.5), percentile(&times, 0.99));
                self.tell_runs(
                    "W7",
                    &format!("{case}, p50"),
                    door,
                    Unit::Millis,
                    half,
                    times,
                    vec![],
                );
                self.tell("W7", &format!("{case}, p99"), door, Unit::Millis, most, vec![]);
            }
        }
        Ok(())
    }

    fn delete(&mut self) -> Result<()> {
        let before = memory::folder_mb(self.folder);
        let begin = Instant::now();
        let deleted = self.peer.delete_half()?;
        let ms = begin.elapsed().as_secs_f64() * 1e3;
        let answer = Answer { rows: deleted, ..Answer::default() };
        self.tell("W8", "delete half of events", "", Unit::Millis, ms, vec![answer]);
        let left = Answer { rows: self.peer.count("events")?, ..Answer::default() };
        let mut read = self.peer.reader()?;
        let mut runs = Vec::new();
        for _ in 0..3 {
            let begin = Instant::now();
            read()?;
            runs.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        self.tell_runs(
            "W8",
            "group-by after delete",
            "",
            Unit::Millis,
            median(&runs),
            runs,
            vec![left],
        );
        // Nobody asks; who returns space by itself does so within a while.
        thread::sleep(Duration::from_secs_f64(self.scale.patience_s / 2.0));
        let after = memory::folder_mb(self.folder);
        self.tell("W8", "size before delete", "", Unit::Megabytes, before, vec![]);
        self.tell("W8", "size a while after", "", Unit::Megabytes, after, vec![]);
        Ok(())
    }
}

/// Lets all writers commit fresh rows for a time; gives how many, and the seconds they took.
fn race(writers: Vec<Writer>, rows: usize, chunks: usize, lasting: Duration) -> Result<(u64, f64)> {
    let ready = Barrier::new(writers.len());
    let ready = &ready;
    thread::scope(|scope| {
        let start = |(number, writer): (u64, Writer)| {
            scope.spawn(move || write_fresh(number, writer, rows, chunks, lasting, ready))
        };
        let threads: Vec<_> = (0..).zip(writers).map(start).collect();
        let mut total = 0;
        let mut longest = 0.0_f64;
        for thread in threads {
            let (written, spent) = thread.join().map_err(|_| "a writer panicked")??;
            total += written;
            longest = longest.max(spent.as_secs_f64());
        }
        Ok((total, longest))
    })
}

/// Commits fresh rows for a time; gives how many, and how long the commits took.
fn write_fresh(
    number: u64,
    writer: Writer,
    rows: usize,
    chunks: usize,
    lasting: Duration,
    ready: &Barrier,
) -> Result<(u64, Duration)> {
    let mut next = 0;
    let mut fresh = || -> Vec<Chunk> {
        let mut chunk = || {
            let range = next..next + rows as u64;
            next = range.end;
            Chunk::plain(range.map(|row| Event::fresh(number, row)).collect())
        };
        (0..chunks).map(|_| chunk()).collect()
    };
    let mut some = fresh();
    let (mut written, mut spent) = (0, Duration::ZERO);
    // Whoever fails to prepare must not keep the others waiting.
    let mut waited = false;
    let result = writer(&mut |write| {
        waited = true;
        ready.wait();
        while spent < lasting {
            let begin = Instant::now();
            for chunk in &some {
                write(chunk)?;
                written += rows as u64;
                if spent + begin.elapsed() >= lasting {
                    break;
                }
            }
            spent += begin.elapsed();
            if spent < lasting {
                // Rows are made outside the clock.
                some = fresh();
            }
        }
        Ok(())
    });
    if !waited {
        ready.wait();
    }
    result.map(|()| (written, spent))
}

/// Upserts without pause; gives rows a second.
fn write_until(
    writer: Writer,
    chunks: &[Chunk],
    stop: &AtomicBool,
    lasting: Duration,
) -> Result<f64> {
    let mut rate = 0.0;
    writer(&mut |write| {
        let begin = Instant::now();
        let mut written = 0;
        while begin.elapsed() < lasting && !stop.load(Ordering::Relaxed) {
            write(&chunks[written % chunks.len()])?;
            written += 1;
        }
        rate = (written * CHUNK) as f64 / begin.elapsed().as_secs_f64();
        Ok(())
    })?;
    Ok(rate)
}

/// Asks every 100 ms; gives how long each answer took, in milliseconds.
fn read_until(mut read: Reader, stop: &AtomicBool, lasting: Duration) -> Result<Vec<f64>> {
    let begin = Instant::now();
    let mut times = Vec::new();
    while begin.elapsed() < lasting && !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answer = read()?;
        let took = asked.elapsed();
        if answer.rows != 8 {
            return Err(format!("there are 8 kinds, the reader found {}", answer.rows).into());
        }
        times.push(took.as_secs_f64() * 1e3);
        thread::sleep(READ_EVERY.saturating_sub(took));
    }
    Ok(times)
}

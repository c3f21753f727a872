//! What a peer tells: one [`Record`] a case, as a JSON line.

use serde_json::{Value, json};

use crate::tables::Result;

/// What a case answered, short enough to compare: rows, the sum of whole numbers (texts count by
/// their lengths and ends), the sum of fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Answer {
    pub rows: u64,
    pub whole: i64,
    pub fraction: f64,
}

impl Answer {
    /// Adds a whole number, a date or a time.
    pub fn integer(&mut self, value: i64) {
        // A remainder keeps sums of times within what a JSON number holds.
        self.whole += value % 1_000_003;
    }

    /// Adds a fraction.
    pub fn float(&mut self, value: f64) {
        self.fraction += value;
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let ends = [bytes.first(), bytes.last()].into_iter().flatten();
        let ends: i64 = ends.map(|&byte| i64::from(byte)).sum();
        self.whole += 1_000 * bytes.len() as i64 + ends;
    }

    /// Adds another answer.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.whole += other.whole;
        self.fraction += other.fraction;
    }

    /// Whether two peers said the same: fractions may differ by the order of their addition and
    /// the digits of an average.
    pub fn agrees(&self, other: &Self) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * (1.0 + a.abs().max(b.abs()));
        let total = |answer: &Self| answer.whole as f64 + answer.fraction;
        self.rows == other.rows
            && (self.whole == other.whole && near(self.fraction, other.fraction)
                // A peer's whole number may be another's fraction.
                || self.fraction.fract() == 0.0 && total(self) == total(other))
    }
}

/// What a value is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    RowsPerSecond,
    Micros,
    Millis,
    Megabytes,
    PerSecond,
    MegabytesPerSecond,
}

impl Unit {
    const ALL: [(Self, &'static str); 6] = [
        (Self::PerSecond, "/s"),
        (Self::MegabytesPerSecond, "MB/s"),
        (Self::RowsPerSecond, "rows/s"),
        (Self::Micros, "us"),
        (Self::Millis, "ms"),
        (Self::Megabytes, "MB"),
    ];

    /// How it is written.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(unit, _)| *unit == self).map_or("", |(_, name)| name)
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        matches!(self, Self::RowsPerSecond | Self::PerSecond | Self::MegabytesPerSecond)
    }
}

/// One measured case.
#[derive(Clone, Debug)]
pub struct Record {
    pub peer: String,
    /// `W1` to `W9`.
    pub work: String,
    pub case: String,
    /// By which of several ways in; empty for a peer's only one.
    pub door: String,
    pub unit: Unit,
    pub value: f64,
    /// What each repetition measured.
    pub runs: Vec<f64>,
    /// What each repetition answered; compared between peers.
    pub answers: Vec<Answer>,
    /// What else there is to say.
    pub note: String,
}

impl Record {
    /// As a JSON object.
    pub fn to_json(&self) -> Value {
        let answers = self.answers.iter();
        let answers: Vec<Value> =
            answers.map(|answer| json!([answer.rows, answer.whole, answer.fraction])).collect();
        json!({
            "peer": self.peer, "work": self.work, "case": self.case, "door": self.door,
            "unit": self.unit.name(), "value": self.value, "runs": self.runs,
            "answers": answers, "note": self.note,
        })
    }

    /// From a JSON object.
    pub fn from_json(value: &Value) -> Result<Self> {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let unit = Unit::ALL.iter().find(|(_, name)| *name == text("unit"));
        let answer = |value: &Value| Answer {
            rows: value[0].as_u64().unwrap_or_default(),
            whole: value[1].as_i64().unwrap_or_default(),
            fraction: value[2].as_f64().unwrap_or_default(),
        };
        let list = |name: &str| value[name].as_array().cloned().unwrap_or_default();
        Ok(Self {
            peer: text("peer"),
            work: text("work"),
            case: text("case"),
            door: text("door"),
            unit: unit.ok_or_else(|| format!("no record: {value}"))?.0,
            value: value["value"].as_f64().ok_or_else(|| format!("no value: {value}"))?,
            runs: list("runs").iter().filter_map(Value::as_f64).collect(),
            answers: list("answers").iter().map(answer).collect(),
            note: text("note"),
        })
    }
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value that `part` of all lie below.
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_differ_by_a_row_or_a_digit_but_not_by_rounding() {
        let answer = Answer { rows: 3, whole: 1_000, fraction: 1e6 };
        assert!(answer.agrees(&Answer { fraction: 1e6 + 0.5, ..answer }));
        assert!(!answer.agrees(&Answer { fraction: 1e6 + 5.0, ..answer }));
        assert!(!answer.agrees(&Answer { whole: 1_001, ..answer }));
        assert!(!answer.agrees(&Answer { rows: 4, ..answer }));
    }

    #[test]
    fn a_record_comes_back_from_its_line() {
        let record = Record {
            peer: "a".to_owned(),
            work: "W4".to_owned(),
            case: "c".to_owned(),
            door: "d".to_owned(),
            unit: Unit::Micros,
            value: 1.5,
            runs: vec![1.5, 2.0],
            answers: vec![Answer { rows: 1, whole: -2, fraction: 0.25 }],
            note: "n".to_owned(),
        };
        let line = record.to_json().to_string();
        let back =
            Record::from_json(&serde_json::from_str(&line).expect("JSON")).expect("a record");
        assert_eq!(format!("{back:?}"), format!("{record:?}"));
    }
}

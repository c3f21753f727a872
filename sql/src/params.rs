//! [`Params`]: the values of a statement's parameters.

use std::collections::BTreeMap;
use std::fmt;

use datafusion::scalar::ScalarValue;

use crate::{Error, Result};

/// Values for `?` and `$1` by position, and for `:name` by name.
#[derive(Clone, Debug, Default)]
pub struct Params {
    positional: Vec<ScalarValue>,
    named: BTreeMap<String, ScalarValue>,
}

impl Params {
    /// No parameters.
    pub fn none() -> Self {
        Self::default()
    }

    /// Values by position, from `$1`.
    pub fn positional(values: Vec<ScalarValue>) -> Self {
        Self { positional: values, named: BTreeMap::new() }
    }

    /// Adds a value by name, written with or without its colon.
    #[must_use]
    pub fn with_named(mut self, name: &str, value: ScalarValue) -> Self {
        self.named.insert(name.trim_start_matches([':', '@', '$']).to_owned(), value);
        self
    }

    /// Adds a value by position.
    pub fn push(&mut self, value: ScalarValue) {
        self.positional.push(value);
    }

    /// The values by position.
    pub fn values(&self) -> &[ScalarValue] {
        &self.positional
    }

    /// The value of that name.
    pub fn named(&self, name: &str) -> Option<&ScalarValue> {
        self.named.get(name)
    }

    /// The names that have values, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// Whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.positional.is_empty() && self.named.is_empty()
    }
}

impl From<Vec<ScalarValue>> for Params {
    fn from(values: Vec<ScalarValue>) -> Self {
        Self::positional(values)
    }
}

/// What a `$n` of a rewritten statement was in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// `$n`, `?n`, or the nth `?`.
    Number(usize),
    /// `:name` or `$name`.
    Named(String),
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "${number}"),
            Self::Named(name) => write!(f, ":{name}"),
        }
    }
}

impl Params {
    /// The value of one slot.
    pub(crate) fn of_slot(&self, slot: &Slot) -> Option<&ScalarValue> {
        match slot {
            Slot::Number(number) => self.positional.get(number - 1),
            Slot::Named(name) => self.named.get(name),
        }
    }

    /// The values of a statement's slots, in order.
    ///
    /// # Errors
    /// `Invalid`, naming the parameter that has no value.
    pub(crate) fn bind(&self, slots: &[Slot]) -> Result<Vec<ScalarValue>> {
        let value = |slot: &Slot| match slot {
            Slot::Number(number) => self.positional.get(number - 1).cloned().ok_or_else(|| {
                let given = match self.positional.len() {
                    0 => "none was given".to_owned(),
                    1 => "1 was given".to_owned(),
                    count => format!("{count} were given"),
                };
                Error::invalid(format!("parameter ${number} has no value: {given}"))
            }),
            Slot::Named(name) => self.named.get(name).cloned().ok_or_else(|| {
                Error::invalid(format!("parameter :{name} has no value")).with_hint(
                    silt_catalog::did_you_mean(name, self.named.keys().map(String::as_str)),
                )
            }),
        };
        slots.iter().map(value).collect()
    }

    /// Checks that every slot has a value.
    ///
    /// # Errors
    /// `Invalid`, naming the parameter that has no value.
    pub(crate) fn check_given(&self, slots: &[Slot]) -> Result<()> {
        match slots.iter().all(|slot| self.of_slot(slot).is_some()) {
            true => Ok(()),
            false => self.bind(slots).map(drop),
        }
    }

    /// Checks that every value is asked for by one of a text's statements.
    ///
    /// # Errors
    /// `Invalid`, naming what is too much.
    pub(crate) fn check_used<'a>(&self, slots: impl Iterator<Item = &'a Slot>) -> Result<()> {
        let mut most = 0;
        let mut names = Vec::new();
        for slot in slots {
            match slot {
                Slot::Number(number) => most = most.max(*number),
                Slot::Named(name) => names.push(name),
            }
        }
        if self.positional.len() > most {
            return Err(Error::invalid(format!(
                "the statement has {most} parameters by position, but {} values were given",
                self.positional.len()
            )));
        }
        match self.named.keys().find(|name| !names.contains(name)) {
            Some(name) => Err(Error::invalid(format!("the statement has no parameter :{name}"))),
            None => Ok(()),
        }
    }
}

//! [`Params`]: the values of a statement's parameters.

use std::collections::BTreeMap;

use datafusion::scalar::ScalarValue;

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

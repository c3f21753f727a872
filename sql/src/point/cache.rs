//! [`StatementCache`]: the texts that a connection has seen, by what is left of them without their
//! literals.
//!
//! A text seen once is only noted: most are never seen again, and compiling costs more than
//! planning. The second time it is compiled; from then on it runs by its keys, or is known not to.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::lift::{Lifted, NAME, with_parameters};
use super::{Arg, Units};
use crate::control::Control;
use crate::params::Slot;
use crate::parse::{self, Source};
use crate::{Params, Prepared, Result};

/// Texts that are remembered; beyond them all are forgotten.
const TEXTS_MAX: usize = 1_024;
/// Longer keys are not remembered.
const KEY_BYTES_MAX: usize = 16 << 10;

/// The texts of one connection.
#[derive(Debug, Default)]
pub(crate) struct StatementCache {
    texts: HashMap<String, Entry>,
    /// Queries by their whole text, for their plans.
    queries: HashMap<String, Option<Arc<Prepared>>>,
}

#[derive(Debug)]
enum Entry {
    SeenOnce,
    /// None if its parameters could not be told from what was lifted.
    Kept(Option<Arc<KeptText>>),
}

/// A statement without its literals.
#[derive(Debug)]
pub(crate) struct KeptText {
    pub(crate) source: Source,
    slots: Vec<KeptSlot>,
    /// Those of the text itself.
    given: Vec<Slot>,
    pub(crate) units: Units,
    /// Its plan if it is a query that reads few rows; none if it is not.
    small: OnceLock<Option<Box<Prepared>>>,
}

#[derive(Debug)]
enum KeptSlot {
    Lifted(usize),
    Given(Slot),
}

impl StatementCache {
    /// The statement of a text that was seen before.
    pub(crate) fn find(&mut self, key: &str) -> Option<Arc<KeptText>> {
        if let Some(Entry::Kept(kept)) = self.texts.get(key) {
            return kept.clone();
        }
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        if let Some(entry) = self.texts.get_mut(key) {
            let kept = KeptText::new(key).ok().flatten().map(Arc::new);
            *entry = Entry::Kept(kept.clone());
            return kept;
        }
        if self.texts.len() == TEXTS_MAX {
            self.texts.clear();
        }
        self.texts.insert(key.to_owned(), Entry::SeenOnce);
        None
    }
}

impl StatementCache {
    /// The query of a text that was seen before, prepared by `prepare` the second time.
    pub(crate) fn query(
        &mut self,
        sql: &str,
        prepare: impl FnOnce() -> Result<Prepared>,
    ) -> Option<Arc<Prepared>> {
        let first = sql.trim_ascii_start().get(..6)?;
        if sql.len() > KEY_BYTES_MAX || !first.eq_ignore_ascii_case("SELECT") {
            return None;
        }
        match self.queries.get_mut(sql) {
            Some(Some(prepared)) => Some(Arc::clone(prepared)),
            Some(noted) => {
                *noted = prepare().ok().map(Arc::new);
                noted.clone()
            }
            None => {
                if self.queries.len() == TEXTS_MAX {
                    self.queries.clear();
                }
                self.queries.insert(sql.to_owned(), None);
                None
            }
        }
    }
}

impl KeptText {
    /// The statement of a key; none if it is not one.
    pub(crate) fn new(key: &str) -> Result<Option<Self>> {
        if key.contains(NAME) {
            return Ok(None);
        }
        let mut sources = parse::split(&with_parameters(key))?;
        let (Some(source), true) = (sources.pop(), sources.is_empty()) else { return Ok(None) };
        // BEGIN and the like are not bound to anything, least of all to what they end.
        if Control::read(&source)?.is_some() {
            return Ok(None);
        }
        let slots: Vec<_> = source.slots().iter().map(KeptSlot::of).collect();
        let given =
            source.slots().iter().filter(|slot| matches!(KeptSlot::of(slot), KeptSlot::Given(_)));
        let given = given.cloned().collect();
        let (units, small) = (Units::default(), OnceLock::new());
        Ok(Some(Self { source, slots, given, units, small }))
    }

    /// Its plan with its literals open, which `prepare` makes if it reads few rows.
    pub(crate) fn small(&self, prepare: impl FnOnce() -> Option<Prepared>) -> Option<&Prepared> {
        self.small.get_or_init(|| prepare().map(Box::new)).as_deref()
    }

    /// The parameters of the text itself, but for those of its rows.
    pub(crate) fn given(&self) -> &[Slot] {
        &self.given
    }

    /// The values of all parameters; none if one is missing.
    pub(crate) fn args<'a>(&self, lifted: &Lifted<'a>, params: &'a Params) -> Option<Vec<Arg<'a>>> {
        let arg = |slot: &KeptSlot| match slot {
            KeptSlot::Lifted(index) => lifted.literals.get(*index).copied(),
            KeptSlot::Given(slot) => params.of_slot(slot).map(Arg::Scalar),
        };
        self.slots.iter().map(arg).collect()
    }
}

impl KeptSlot {
    fn of(slot: &Slot) -> Self {
        let lifted = match slot {
            Slot::Named(name) => name.strip_prefix(NAME).and_then(|index| index.parse().ok()),
            Slot::Number(_) => None,
        };
        lifted.map_or_else(|| Self::Given(slot.clone()), Self::Lifted)
    }
}

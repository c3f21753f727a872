//! [`Control`]: BEGIN, COMMIT, ROLLBACK and their other spellings, read from tokens.
//!
//! The parser knows fewer of them than people write, and takes some for the blocks of scripts.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::parse::{Source, position};
use crate::{Error, Result};

/// What a statement says about the connection's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Begin { read_only: bool },
    Commit,
    Rollback,
}

impl Control {
    /// What the statement says; none for a statement of another kind.
    ///
    /// # Errors
    /// `Unsupported`, by name, for what is not built; `Invalid` with the place.
    pub(crate) fn read(source: &Source) -> Result<Option<Self>> {
        let mut words = Words { tokens: source.tokens() };
        let control = if words.take("BEGIN") {
            words.refuse(&["IMMEDIATE", "EXCLUSIVE", "CONCURRENT"], "BEGIN")?;
            words.take("DEFERRED");
            words.noise();
            Self::Begin { read_only: words.modes()? }
        } else if words.take("START") {
            if !words.take("TRANSACTION") {
                return Ok(None);
            }
            Self::Begin { read_only: words.modes()? }
        } else if words.take("COMMIT") || words.take("END") {
            words.refuse(&["PREPARED"], "COMMIT")?;
            words.noise();
            words.chain()?;
            Self::Commit
        } else if words.take("ROLLBACK") || words.take("ABORT") {
            words.refuse(&["PREPARED"], "ROLLBACK")?;
            words.noise();
            if words.take("TO") {
                return Err(Error::unsupported("ROLLBACK TO SAVEPOINT"));
            }
            words.chain()?;
            Self::Rollback
        } else {
            return Ok(None);
        };
        words.end()?;
        Ok(Some(control))
    }

    /// The statement's first word, for a count.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::Begin { .. } => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Rollback => "ROLLBACK",
        }
    }
}

/// The words still to be read.
struct Words<'a> {
    tokens: &'a [TokenWithSpan],
}

impl Words<'_> {
    fn take(&mut self, word: &str) -> bool {
        let is_it = self.tokens.first().is_some_and(|token| is_word(token, word));
        if is_it {
            self.tokens = &self.tokens[1..];
        }
        is_it
    }

    fn take_all(&mut self, words: &[&str]) -> bool {
        let is_it = words.len() <= self.tokens.len()
            && words.iter().zip(self.tokens).all(|(word, token)| is_word(token, word));
        if is_it {
            self.tokens = &self.tokens[words.len()..];
        }
        is_it
    }

    /// TRANSACTION or WORK, which say nothing.
    fn noise(&mut self) {
        let _ = self.take("TRANSACTION") || self.take("WORK");
    }

    fn refuse(&mut self, words: &[&str], behind: &str) -> Result<()> {
        match words.iter().find(|word| self.take(word)) {
            Some(word) => Err(Error::unsupported(format!("{behind} {word}"))),
            None => Ok(()),
        }
    }

    fn chain(&mut self) -> Result<()> {
        if self.take_all(&["AND", "CHAIN"]) {
            return Err(Error::unsupported("AND CHAIN"));
        }
        self.take_all(&["AND", "NO", "CHAIN"]);
        Ok(())
    }

    /// The modes of BEGIN; whether the transaction only reads.
    fn modes(&mut self) -> Result<bool> {
        let mut read_only = false;
        loop {
            if self.take_all(&["READ", "ONLY"]) {
                read_only = true;
            } else if self.take_all(&["READ", "WRITE"]) {
                read_only = false;
            } else if self.take_all(&["ISOLATION", "LEVEL"]) {
                self.isolation()?;
            } else if self.take("DEFERRABLE") || self.take_all(&["NOT", "DEFERRABLE"]) {
                return Err(Error::unsupported("DEFERRABLE"));
            } else {
                return Ok(read_only);
            }
            if self.tokens.first().is_some_and(|token| token.token == Token::Comma) {
                self.tokens = &self.tokens[1..];
            }
        }
    }

    /// Every transaction has snapshot isolation, which holds all that these levels promise.
    fn isolation(&mut self) -> Result<()> {
        let levels: [&[&str]; 4] = [
            &["SNAPSHOT"],
            &["REPEATABLE", "READ"],
            &["READ", "COMMITTED"],
            &["READ", "UNCOMMITTED"],
        ];
        if levels.iter().any(|level| self.take_all(level)) {
            return Ok(());
        }
        // It promises more: that there is no write skew.
        if self.take("SERIALIZABLE") {
            return Err(Error::unsupported("ISOLATION LEVEL SERIALIZABLE"));
        }
        self.end()?;
        Err(Error::invalid("syntax error: ISOLATION LEVEL names no level"))
    }

    fn end(&self) -> Result<()> {
        match self.tokens.first() {
            None => Ok(()),
            Some(next) => {
                Err(Error::invalid(format!("syntax error at or near \"{}\"", next.token))
                    .at(position(next.span.start)))
            }
        }
    }
}

fn is_word(token: &TokenWithSpan, wanted: &str) -> bool {
    matches!(&token.token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, parse};

    fn read(sql: &str) -> Result<Option<Control>> {
        Control::read(&parse::split(sql).unwrap()[0])
    }

    #[test]
    fn every_spelling_is_read() {
        let (write, read_only) =
            (Control::Begin { read_only: false }, Control::Begin { read_only: true });
        for (sql, control) in [
            ("BEGIN", write),
            ("begin transaction", write),
            ("BEGIN DEFERRED TRANSACTION", write),
            ("BEGIN WORK READ WRITE", write),
            ("BEGIN READ ONLY", read_only),
            ("BEGIN TRANSACTION ISOLATION LEVEL SNAPSHOT, READ ONLY", read_only),
            ("START TRANSACTION", write),
            ("START TRANSACTION READ ONLY ISOLATION LEVEL REPEATABLE READ", read_only),
            ("START TRANSACTION ISOLATION LEVEL READ COMMITTED", write),
            ("COMMIT", Control::Commit),
            ("COMMIT WORK AND NO CHAIN", Control::Commit),
            ("END TRANSACTION", Control::Commit),
            ("ROLLBACK", Control::Rollback),
            ("rollback work", Control::Rollback),
            ("ABORT", Control::Rollback),
        ] {
            assert_eq!(read(sql).unwrap(), Some(control), "{sql}");
        }
        for sql in ["SELECT 1", "\"BEGIN\"", "START", "(SELECT 1)"] {
            assert_eq!(read(sql).unwrap(), None, "{sql}");
        }
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        for (sql, name) in [
            ("BEGIN IMMEDIATE", "BEGIN IMMEDIATE"),
            ("BEGIN EXCLUSIVE TRANSACTION", "BEGIN EXCLUSIVE"),
            ("BEGIN ISOLATION LEVEL SERIALIZABLE", "ISOLATION LEVEL SERIALIZABLE"),
            ("START TRANSACTION READ ONLY, DEFERRABLE", "DEFERRABLE"),
            ("ROLLBACK TO SAVEPOINT a", "ROLLBACK TO SAVEPOINT"),
            ("ROLLBACK TO a", "ROLLBACK TO SAVEPOINT"),
            ("COMMIT AND CHAIN", "AND CHAIN"),
            ("COMMIT PREPARED 'x'", "COMMIT PREPARED"),
        ] {
            let error = read(sql).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{sql}");
            assert_eq!(error.message(), format!("{name} is not supported yet"), "{sql}");
        }
        for sql in ["BEGIN x", "COMMIT 1", "BEGIN ISOLATION LEVEL", "BEGIN ISOLATION LEVEL x"] {
            assert_eq!(read(sql).unwrap_err().kind(), ErrorKind::Invalid, "{sql}");
        }
    }
}

//! [`Transaction`]: several statements that are committed together or not at all.

use std::ops::Deref;
use std::time::Duration;

use crate::connection::Connection;
use crate::database::Idle;
use crate::{Error, ErrorKind, Result};

/// How often [`Connection::retry`] runs its work.
const ATTEMPTS: u32 = 10;
/// The pause before the second attempt; it doubles before each that follows.
const PAUSE: Duration = Duration::from_micros(50);

/// An open transaction: a guard that has the methods of its [`Connection`].
///
/// All of its statements see the database as it was when the transaction began, and what they wrote
/// themselves. Others see nothing of it until [`commit`](Self::commit), and then all of it.
/// Dropped without that it is rolled back.
///
/// An error undoes its statement alone; the transaction goes on. Of two transactions that write the
/// same key the first to commit wins, and the other one's commit fails with
/// [`ErrorKind::Conflict`]: run it again, as [`Connection::retry`] does.
///
/// Statements prepared before belong to it while it is open, as everything does that was made by
/// the connection. An appender opened in it ends with it.
#[derive(Debug)]
pub struct Transaction<'c> {
    connection: Held<'c>,
}

#[derive(Debug)]
enum Held<'c> {
    Borrowed(&'c Connection),
    /// Goes back among the idle ones of its database.
    Lent(Option<Connection>, Idle),
}

impl<'c> Transaction<'c> {
    pub(crate) fn begin(connection: &'c Connection, read_only: bool) -> Result<Self> {
        connection.session().begin(read_only)?;
        Ok(Self { connection: Held::Borrowed(connection) })
    }

    /// Commits all that was done in it.
    ///
    /// # Errors
    /// `Conflict`, with table and key, if another commit wrote one of its keys since it began;
    /// `DiskFull` and `Io` from the log. It is rolled back then.
    pub fn commit(self) -> Result<()> {
        self.session().commit()
    }

    /// Undoes all that was done in it.
    ///
    /// # Errors
    /// `Invalid` if a COMMIT or ROLLBACK in SQL has ended it.
    pub fn rollback(self) -> Result<()> {
        self.session().rollback()
    }
}

impl Transaction<'static> {
    pub(crate) fn begin_on(connection: Connection, idle: Idle) -> Result<Self> {
        connection.session().begin(false)?;
        Ok(Self { connection: Held::Lent(Some(connection), idle) })
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.connection {
            Held::Borrowed(connection) => connection,
            Held::Lent(connection, _) => {
                connection.as_ref().expect("a connection is taken out when the guard is dropped")
            }
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // It is over already after a commit.
        drop(self.session().rollback());
        if let Held::Lent(connection, idle) = &mut self.connection
            && let Some(connection) = connection.take()
        {
            idle.give(connection);
        }
    }
}

impl Connection {
    /// Opens a transaction; see there.
    ///
    /// # Errors
    /// `Invalid` if one is open.
    pub fn transaction(&self) -> Result<Transaction<'_>> {
        Transaction::begin(self, false)
    }

    /// As [`transaction`](Self::transaction), of one that only reads: all of its queries see one
    /// moment.
    ///
    /// # Errors
    /// As there.
    pub fn read_transaction(&self) -> Result<Transaction<'_>> {
        Transaction::begin(self, true)
    }

    /// Runs `work` in a transaction and commits it; again, up to ten times in all, if another commit
    /// came first. So `work` must have no effect but on the database.
    ///
    /// # Errors
    /// What `work` or the commit says; the transaction is then rolled back. `Conflict` if another
    /// commit came first each time.
    pub fn retry<T>(&self, mut work: impl FnMut(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut attempt = 1;
        loop {
            let transaction = self.transaction()?;
            let done = work(&transaction).and_then(|done| transaction.commit().map(|()| done));
            match done {
                Err(error) if error.kind() == ErrorKind::Conflict && attempt < ATTEMPTS => {
                    std::thread::sleep(PAUSE * 2_u32.pow(attempt - 1));
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// Whether a transaction is open, by [`transaction`](Self::transaction) or by BEGIN.
    pub fn is_in_transaction(&self) -> bool {
        self.session().is_in_transaction()
    }
}

/// The error of a transaction that was left open on a connection of the pool.
pub(crate) fn left_open() -> Error {
    Error::invalid("a transaction begun on the database itself must end in the same script")
        .with_hint(Some("use Database::transaction, or a connection of one's own".to_owned()))
}

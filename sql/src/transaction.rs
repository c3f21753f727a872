//! [`Transaction`]: what a connection does between BEGIN and COMMIT; and [`Current`], the place
//! where the connection and everything made by it find the one that is open.
//!
//! 1. BEGIN takes names and rows of one moment together.
//! 2. Each statement is bound to that moment, with what the statements before it wrote and named.
//! 3. What it writes goes through the same gate (`dml/mutation.rs`) and the same DDL, into the
//!    transaction instead of the log: all of the statement or, if it fails, none.
//! 4. COMMIT makes one commit of it, with the catalog's changes under the catalog's lock. The first
//!    committer of a key wins; the other one hears `Conflict`, and its transaction is over.
//!
//! An error undoes its statement and leaves the transaction open, as in SQLite. After a conflict, or
//! a fault of our own, nothing that was read holds any more: the transaction is rolled back at
//! once, and every statement but ROLLBACK is told so.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};
use silt_catalog::{CATALOG_TREE, CatalogChange, CatalogDraft, CatalogSnapshot};
use silt_storage::{BulkLoad, OnDuplicate, Snapshot, TreeId, WriteBatch};

use crate::control::Control;
use crate::dml::mutation;
use crate::shared::guarded;
use crate::{Error, ErrorKind, InterruptHandle, Result, Shared, StatementResult};

/// The transaction that a connection is in, if any. Its prepared statements, tables and appenders
/// share it: they belong to the connection's transaction.
#[derive(Debug, Default)]
pub(crate) struct Current {
    /// Whether there is one: all that a statement outside of transactions looks at.
    is_open: AtomicBool,
    transaction: Mutex<Option<Arc<Transaction>>>,
    /// The session is gone, and nobody could end a transaction.
    is_left: AtomicBool,
    interrupts: InterruptHandle,
}

impl Current {
    /// The open transaction.
    pub(crate) fn get(&self) -> Option<Arc<Transaction>> {
        match self.is_open.load(Ordering::Acquire) {
            true => self.transaction.lock().clone(),
            false => None,
        }
    }

    /// Ends what the connection runs.
    pub(crate) fn interrupts(&self) -> &InterruptHandle {
        &self.interrupts
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Does what a statement says about the transaction.
    pub(crate) fn control(
        &self,
        shared: &Arc<Shared>,
        control: Control,
    ) -> Result<StatementResult> {
        match control {
            Control::Begin { read_only } => self.begin(shared, read_only)?,
            Control::Commit => self.commit()?,
            Control::Rollback => self.rollback()?,
        }
        Ok(StatementResult::Count { tag: control.tag(), rows: 0 })
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// `Invalid` if one is open.
    pub(crate) fn begin(&self, shared: &Arc<Shared>, read_only: bool) -> Result<()> {
        let mut transaction = self.transaction.lock();
        if self.is_left.load(Ordering::Relaxed) {
            return Err(Error::invalid("the connection of this statement is closed"));
        }
        if transaction.is_some() {
            let open = Error::invalid("a transaction is open already").with_sqlstate("25001");
            return Err(open.with_hint(Some("COMMIT or ROLLBACK ends it".to_owned())));
        }
        *transaction = Some(Arc::new(Transaction::begin(Arc::clone(shared), read_only)));
        self.is_open.store(true, Ordering::Release);
        Ok(())
    }

    /// Commits the open transaction, which is over even if that fails.
    ///
    /// # Errors
    /// `Invalid` if none is open; `Conflict` if another commit came first; the engine's errors.
    pub(crate) fn commit(&self) -> Result<()> {
        let transaction = self.take()?;
        guarded(|| transaction.commit())
    }

    /// Forgets all that the open transaction did.
    ///
    /// # Errors
    /// `Invalid` if none is open.
    pub(crate) fn rollback(&self) -> Result<()> {
        self.take()?.end();
        Ok(())
    }

    /// Runs a statement, or part of one, on this thread. A panic becomes an error, and the open
    /// transaction hears of it as of any other.
    pub(crate) fn guarded<T>(&self, step: impl FnOnce() -> Result<T>) -> Result<T> {
        guarded(step).inspect_err(|error| {
            if let Some(transaction) = self.get() {
                transaction.note(error);
            }
        })
    }

    /// The session goes: an open transaction is rolled back, and none follows.
    pub(crate) fn leave(&self) {
        let mut transaction = self.transaction.lock();
        self.is_left.store(true, Ordering::Relaxed);
        self.is_open.store(false, Ordering::Release);
        let left = transaction.take();
        drop(transaction);
        if let Some(left) = left {
            left.end();
        }
    }

    fn take(&self) -> Result<Arc<Transaction>> {
        let mut transaction = self.transaction.lock();
        self.is_open.store(false, Ordering::Release);
        let none = || Error::invalid("no transaction is open").with_sqlstate("25P01");
        transaction.take().ok_or_else(none)
    }
}

/// An open transaction.
pub(crate) struct Transaction {
    shared: Arc<Shared>,
    is_read_only: bool,
    /// Held by a statement that writes, from its reading to its writing: those of several threads
    /// take turns.
    turn: Mutex<()>,
    state: RwLock<State>,
}

enum State {
    Open(Box<Open>),
    /// Rolled back by this error; nothing but ROLLBACK is left to say.
    Failed(Error),
    Ended,
}

struct Open {
    draft: CatalogDraft,
    rows: Rows,
    /// Trees that it made; they go if it does.
    made: Vec<TreeId>,
}

enum Rows {
    Read(Snapshot),
    Write(silt_storage::Transaction),
}

impl Transaction {
    fn begin(shared: Arc<Shared>, is_read_only: bool) -> Self {
        let (draft, rows) = match is_read_only {
            true => {
                let (draft, snapshot) = shared.catalog().begin_reading();
                (draft, Rows::Read(snapshot))
            }
            false => {
                let (draft, rows) = shared.catalog().begin();
                (draft, Rows::Write(rows))
            }
        };
        let state = RwLock::new(State::Open(Box::new(Open { draft, rows, made: Vec::new() })));
        Self { shared, is_read_only, turn: Mutex::new(()), state }
    }

    /// Waits for the statement of another thread that writes.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock()
    }

    /// Names and rows for the next statement.
    ///
    /// # Errors
    /// What the transaction failed with; `Invalid` if it is over.
    pub(crate) fn moment(&self) -> Result<(Arc<CatalogSnapshot>, Snapshot)> {
        match &*self.state.read() {
            State::Open(open) => {
                let snapshot = match &open.rows {
                    Rows::Read(snapshot) => snapshot.clone(),
                    Rows::Write(rows) => rows.snapshot(),
                };
                Ok((Arc::clone(open.draft.names()), snapshot))
            }
            State::Failed(error) => Err(failed(error)),
            State::Ended => Err(ended()),
        }
    }

    /// Refuses a statement that writes in a transaction that only reads.
    ///
    /// # Errors
    /// `Invalid`, with the statement's name.
    pub(crate) fn check_writable(&self, statement: &str) -> Result<()> {
        match self.is_read_only {
            true => {
                let message = format!("{statement} is refused: the transaction is read only");
                Err(Error::invalid(message).with_sqlstate("25006"))
            }
            false => Ok(()),
        }
    }

    /// A statement's changes, all or none.
    pub(crate) fn apply(&self, batch: WriteBatch) -> silt_storage::Result<()> {
        self.write(|rows| rows.apply(batch))
    }

    /// Many rows of one statement.
    pub(crate) fn bulk_load(
        &self,
        tree: TreeId,
        duplicates: OnDuplicate,
    ) -> silt_storage::Result<BulkLoad> {
        self.write(|rows| rows.bulk_load(tree, duplicates))
    }

    fn write<T>(
        &self,
        write: impl FnOnce(&silt_storage::Transaction) -> silt_storage::Result<T>,
    ) -> silt_storage::Result<T> {
        if let State::Open(open) = &*self.state.read()
            && let Rows::Write(rows) = &open.rows
        {
            return write(rows);
        }
        Err(silt_storage::Error::invalid(ENDED))
    }

    /// Notes a tree that goes if the transaction does.
    pub(crate) fn adopt(&self, tree: TreeId) {
        if let State::Open(open) = &mut *self.state.write() {
            open.made.push(tree);
        }
    }

    /// Changes the catalog for the statements to come: `plan` says how, `write` puts the rows that
    /// describe it into the transaction. By one statement at a time; see [`turn`](Self::turn).
    pub(crate) fn change_catalog<T>(
        &self,
        plan: impl FnOnce(&mut CatalogChange<'_>) -> Result<T>,
        write: impl FnOnce(WriteBatch) -> Result<()>,
    ) -> Result<T> {
        let mut draft = match &*self.state.read() {
            State::Open(open) => open.draft.clone(),
            State::Failed(error) => return Err(failed(error)),
            State::Ended => return Err(ended()),
        };
        let output = self.shared.catalog().change_draft(&mut draft, plan, write)?;
        if let State::Open(open) = &mut *self.state.write() {
            open.draft = draft;
        }
        Ok(output)
    }

    /// Hears of a statement's error: after some the transaction cannot go on.
    pub(crate) fn note(&self, error: &Error) {
        if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Internal) {
            let mut state = self.state.write();
            if matches!(*state, State::Open(_)) {
                let before = std::mem::replace(&mut *state, State::Failed(error.clone()));
                drop(state);
                self.undo(before);
            }
        }
    }

    fn commit(&self) -> Result<()> {
        let _turn = self.turn();
        let open = match self.close() {
            State::Open(open) => *open,
            State::Failed(error) => return Err(failed(&error)),
            State::Ended => return Err(ended()),
        };
        let Open { draft, rows, made } = open;
        let rows = match rows {
            Rows::Read(_) => return Ok(()),
            Rows::Write(rows) => rows,
        };
        let (names, retired) = (Arc::clone(draft.names()), draft.retired().to_vec());
        let commit = || rows.commit().map_err(|error| self.explain(error, &names));
        match self.shared.catalog().commit_draft(draft, commit) {
            Ok(_) => {
                retired.into_iter().for_each(|tree| self.shared.row_ids().forget(tree));
                Ok(())
            }
            Err(error) => {
                made.into_iter().for_each(|tree| self.discard(tree));
                Err(error)
            }
        }
    }

    /// Rolls back, if it is not over yet.
    fn end(&self) {
        self.undo(self.close());
    }

    fn close(&self) -> State {
        std::mem::replace(&mut *self.state.write(), State::Ended)
    }

    fn undo(&self, state: State) {
        let State::Open(open) = state else { return };
        let Open { rows, made, .. } = *open;
        drop(rows);
        made.into_iter().for_each(|tree| self.discard(tree));
    }

    /// What cannot be retired now is swept when the database is opened.
    fn discard(&self, tree: TreeId) {
        drop(self.shared.engine().retire_tree(tree));
        self.shared.row_ids().forget(tree);
    }

    /// A conflict with the table and key it is about.
    fn explain(&self, error: silt_storage::Error, names: &CatalogSnapshot) -> Error {
        match error.key() {
            Some((CATALOG_TREE, _)) => Error::new(
                ErrorKind::Conflict,
                "another commit changed the catalog since the transaction began",
            ),
            Some((tree, _)) => {
                let table = names.table_of_tree(tree);
                match (table, self.shared.engine().tree(tree)) {
                    (Some(table), Ok(tree)) => mutation::explain(error, table, &tree),
                    _ => error.into(),
                }
            }
            None => error.into(),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("is_read_only", &self.is_read_only)
            .finish_non_exhaustive()
    }
}

const ENDED: &str = "the transaction is over";

fn ended() -> Error {
    Error::invalid(ENDED).with_sqlstate("25P01")
}

fn failed(error: &Error) -> Error {
    let message = format!("the transaction is rolled back: {}", error.message());
    Error::new(error.kind(), message)
}

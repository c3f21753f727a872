//! [`EarlySyncs`]: how a commit has its record synced while it inserts its rows.

use parking_lot::{Condvar, Mutex};

/// The door between commits and the thread that syncs for them.
#[derive(Debug, Default)]
pub(super) struct EarlySyncs {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_asked: bool,
    has_ended: bool,
}

impl EarlySyncs {
    /// Asks for a sync; nobody may be there to hear it.
    pub(super) fn ask(&self) {
        self.state.lock().is_asked = true;
        self.changed.notify_one();
    }

    /// Waits until a sync is asked for; false once none will be.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state.lock();
        while !state.is_asked && !state.has_ended {
            self.changed.wait(&mut state);
        }
        state.is_asked = false;
        !state.has_ended
    }

    /// Sends the thread home.
    pub(super) fn end(&self) {
        self.state.lock().has_ended = true;
        self.changed.notify_all();
    }
}

//! [`Tree`]: the door through which rows of one tree leave the engine.

use std::sync::Arc;

use crate::state::TreeState;

/// A handle on one tree. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tree {
    state: Arc<TreeState>,
}

impl Tree {
    pub(crate) fn new(state: Arc<TreeState>) -> Self {
        Self { state }
    }

    /// The tree's number.
    pub fn id(&self) -> crate::TreeId {
        self.state.id()
    }
}

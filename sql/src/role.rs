//! Where a session's role meets what a statement does: [`permit`], and nowhere else.
//!
//! The role stands in the session's state, which goes along with every statement, prepared
//! statement and appender. What a statement does is read off what will be run, its routed plan or
//! its compiled unit, never off its text.

use datafusion::execution::SessionState;
use datafusion::prelude::SessionConfig;
use silt_catalog::Role;

use crate::{Error, ErrorKind, Result};

/// What a statement does, as far as a role is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Reads rows and names.
    Query,
    /// Changes rows of tables that exist.
    ChangeRows,
    /// Makes, drops or empties tables and schemas.
    ChangeTables,
    /// Changes users, or lists them.
    ManageUsers,
}

impl Deed {
    fn needs(self) -> Role {
        match self {
            Self::Query => Role::Reader,
            Self::ChangeRows | Self::ChangeTables => Role::Writer,
            Self::ManageUsers => Role::Admin,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Query => "reading",
            Self::ChangeRows => "changing rows",
            Self::ChangeTables => "changing tables and schemas",
            Self::ManageUsers => "managing users",
        }
    }
}

/// The role of the session that a state belongs to.
#[derive(Debug)]
struct SessionRole(Role);

/// Notes the role in the state that is made of `config`.
pub(crate) fn with_role(config: SessionConfig, role: Role) -> SessionConfig {
    config.with_extension(std::sync::Arc::new(SessionRole(role)))
}

/// The role of a session.
///
/// # Errors
/// `Internal` for a state that belongs to none.
pub(crate) fn role(state: &SessionState) -> Result<Role> {
    let role = state.config().get_extension::<SessionRole>();
    Ok(role.ok_or_else(|| Error::internal("a session without a role"))?.0)
}

/// Lets a session do something, or not.
///
/// # Errors
/// `Denied`, with the role that it takes.
pub(crate) fn permit(state: &SessionState, deed: Deed) -> Result<()> {
    permit_role(role(state)?, deed)
}

/// As [`permit`], where there is no state.
pub(crate) fn permit_role(role: Role, deed: Deed) -> Result<()> {
    if role >= deed.needs() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Denied,
        format!("{} needs the role {}, and this session's is {role}", deed.name(), deed.needs()),
    ))
}

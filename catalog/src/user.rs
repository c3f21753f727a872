//! [`UserDef`]: who may log in to a server of this database, and as what.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A user's number, never used again.
pub type UserId = u32;

/// The longest name of a user, in bytes.
pub const USER_NAME_BYTES_MAX: usize = 128;

/// What somebody may do; each may do what those before it may. Stored by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Queries.
    Reader,
    /// Changes of rows and tables.
    Writer,
    /// Changes of users.
    Admin,
}

/// One user.
#[derive(Clone, PartialEq, Eq)]
pub struct UserDef {
    /// Its number.
    pub id: UserId,
    /// Its name, as it is given when logging in.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Tells its password without holding it. Never shown.
    pub verifier: String,
    /// Changes with every change of the user: who logged in before has to do it again.
    pub version: u32,
}

impl UserDef {
    pub(crate) fn validate(&self) -> Result<()> {
        let name = &self.name;
        if name.is_empty() || name.len() > USER_NAME_BYTES_MAX {
            return Err(Error::invalid(format!(
                "a user's name has 1 to {USER_NAME_BYTES_MAX} bytes, not {}",
                name.len()
            )));
        }
        // Logins are sent as name:password.
        if name.contains(':') || name.chars().any(char::is_control) {
            return Err(Error::invalid("a user's name has no colon and no control characters"));
        }
        Ok(())
    }
}

/// Without the verifier.
impl fmt::Debug for UserDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserDef")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("role", &self.role)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "reader" => Ok(Self::Reader),
            "writer" => Ok(Self::Writer),
            "admin" => Ok(Self::Admin),
            _ => Err(Error::invalid(format!(
                "\"{text}\" is not a role: there are reader, writer and admin"
            ))),
        }
    }
}

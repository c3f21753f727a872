//! Passwords: only a verifier is kept, made by argon2id (RFC 9106) with OWASP's parameters: 19 MiB,
//! two passes, one lane.

use std::sync::OnceLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};

use crate::{Error, ErrorKind, Result};

/// The shortest password that is taken, in characters.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// The longest password that is looked at, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 1_024;
const SALT_BYTES: usize = 16;

/// What a password is known by: a PHC string. Takes some 20 ms and 19 MiB.
///
/// # Errors
/// `Invalid` if the password is too short or too long; the message does not hold it.
pub(crate) fn verifier(password: &str) -> Result<String> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a password has at least {PASSWORD_CHARS_MIN} characters and at most \
             {PASSWORD_BYTES_MAX} bytes"
        )));
    }
    hash(password.as_bytes())
}

/// Whether this is the password of a verifier. For a user that does not exist give none: it takes
/// as long to say no. Blocks for some 20 ms, and takes 19 MiB.
pub fn password_matches(password: &str, verifier: Option<&str>) -> bool {
    static NOBODYS: OnceLock<String> = OnceLock::new();
    let nobodys = || NOBODYS.get_or_init(|| hash(b"nobody's password").unwrap_or_default());
    let parsed = PasswordHash::new(verifier.unwrap_or_else(|| nobodys()));
    let password = if password.len() > PASSWORD_BYTES_MAX { "" } else { password };
    let matches = parsed.is_ok_and(|parsed| {
        Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok()
    });
    matches && verifier.is_some()
}

fn hash(password: &[u8]) -> Result<String> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt)
        .map_err(|error| Error::new(ErrorKind::Io, format!("no random bytes: {error}")))?;
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(password, &salt)
        .map_err(|error| Error::internal(format!("cannot hash a password: {error}")))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_knows_its_password_alone_and_does_not_hold_it() {
        let made = verifier("correct horse").unwrap();
        assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
        assert!(!made.contains("correct"));
        assert_ne!(made, verifier("correct horse").unwrap(), "salted");
        assert!(password_matches("correct horse", Some(&made)));
        assert!(!password_matches("correct horsf", Some(&made)));
        assert!(!password_matches("", Some(&made)));
        assert!(!password_matches("correct horse", None));
        assert!(!password_matches("nobody's password", None));
        assert!(!password_matches("correct horse", Some("damaged")));
    }

    #[test]
    fn refused_passwords_are_not_repeated() {
        for password in ["hunter2", &"hunter2 ".repeat(200)] {
            let error = verifier(password).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!error.message().contains("hunter"), "{error}");
        }
    }
}

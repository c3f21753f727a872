//! What stands in an `authorization` header.

use std::fmt;

/// The longest header that is looked at, in bytes: a name and a password of the longest kind.
const HEADER_BYTES_MAX: usize = 4 << 10;

/// A name and a password. Shows neither.
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// The credentials of `Basic …`; none if it is something else.
pub(super) fn credentials(header: &str) -> Option<Credentials> {
    let decoded = String::from_utf8(base64(after("basic", header)?)?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(Credentials { user: user.to_owned(), password: password.to_owned() })
}

/// The token of `Bearer …`; none if it is something else.
pub(super) fn bearer(header: &str) -> Option<&str> {
    after("bearer", header)
}

/// What follows the scheme.
fn after<'a>(scheme: &str, header: &'a str) -> Option<&'a str> {
    if header.len() > HEADER_BYTES_MAX {
        return None;
    }
    let (given, rest) = header.trim().split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// RFC 4648, section 4, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for &digit in group {
            bits = bits << 6 | u32::from(sextet(digit)?);
        }
        let kept = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..=kept]);
    }
    Some(bytes)
}

fn sextet(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_decode() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(base64("//79").as_deref(), Some(&[0xff, 0xfe, 0xfd][..]));
        for damaged in ["Z", "Zm9vY", "Zm9v-w==", "Zg==Zg==", "Z g="] {
            assert_eq!(base64(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn headers_are_read_or_refused_whole() {
        let read = credentials("Basic YW5uOnBhc3M6d29yZA==").unwrap();
        assert_eq!((read.user.as_str(), read.password.as_str()), ("ann", "pass:word"));
        assert!(credentials("basic YW5uOg").is_some_and(|read| read.password.is_empty()));
        let long = format!("Basic {}", "QUFB".repeat(2_000));
        for header in ["", "Basic", "Basic !", "Basic YW5u", "Bearer YW5uOnBhc3M=", &long] {
            assert!(credentials(header).is_none(), "{header}");
        }
        assert_eq!(bearer("bearer abc"), Some("abc"));
        assert_eq!(bearer("abc"), None);
    }
}

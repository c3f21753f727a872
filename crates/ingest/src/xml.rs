//! Keeps XML entities from growing without bound.
//!
//! The RDF/XML parser expands the entities of a document type when they are declared, each in terms
//! of those before it, so that a few lines could ask for terabytes. RDF uses them to shorten IRIs:
//! a document whose entities expand to more than a thousand bytes each is refused.

use std::collections::HashMap;
use std::io::{self, Read};

/// Bytes that an entity may expand to.
const ENTITY_BYTES_MAX: usize = 1024;
/// Bytes of a document type that are looked at; a longer one is refused.
const PROLOGUE_BYTES_MAX: usize = 1 << 20;

/// Passes a document on once its document type has been looked at.
pub(crate) struct EntityGuard<R> {
    input: R,
    prologue: io::Cursor<Vec<u8>>,
    checked: bool,
}

impl<R: Read> EntityGuard<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, prologue: io::Cursor::default(), checked: false }
    }

    /// Reads as far as the first element and checks what is declared before.
    fn check(&mut self) -> io::Result<()> {
        let bytes = self.prologue.get_mut();
        let end = loop {
            if let Some(end) = prologue_end(bytes) {
                break end;
            }
            if bytes.len() > PROLOGUE_BYTES_MAX {
                return Err(refused("what stands before the first element exceeds 1 MiB"));
            }
            if self.input.by_ref().take(64 << 10).read_to_end(bytes)? == 0 {
                break bytes.len();
            }
        };
        check_entities(&String::from_utf8_lossy(&bytes[..end]))
    }
}

impl<R: Read> Read for EntityGuard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.checked {
            self.check()?;
            self.checked = true;
        }
        match self.prologue.read(buffer)? {
            0 => self.input.read(buffer),
            read => Ok(read),
        }
    }
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Where the first element begins: a `<` before neither `!` nor `?`, outside quotes and comments.
fn prologue_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let skip_to = |end: &[u8]| {
            rest.windows(end.len()).position(|window| window == end).map(|at| at + end.len())
        };
        at += match rest {
            [b'<', b'!', b'-', b'-', ..] => skip_to(b"-->")?,
            [b'<', b'?', ..] => skip_to(b"?>")?,
            [b'<', b'!', ..] => 2,
            [b'<', _, ..] => return Some(at),
            [b'<'] => return None,
            [quote @ (b'"' | b'\''), rest @ ..] => rest.iter().position(|byte| byte == quote)? + 2,
            _ => 1,
        };
    }
    None
}

fn check_entities(prologue: &str) -> io::Result<()> {
    let mut lengths: HashMap<&str, usize> = HashMap::new();
    for declaration in prologue.split("<!ENTITY").skip(1) {
        let declaration = declaration.trim_start();
        let declaration = declaration.strip_prefix('%').unwrap_or(declaration).trim_start();
        let name_end = declaration.find(char::is_whitespace).unwrap_or(declaration.len());
        let (name, rest) = declaration.split_at(name_end);
        let rest = rest.trim_start();
        let Some(quote) = rest.chars().next().filter(|letter| matches!(letter, '"' | '\'')) else {
            continue;
        };
        let value = rest[1..].split(quote).next().unwrap_or_default();
        let mut length = value.len();
        for reference in value.split('&').skip(1) {
            let referred = reference.split(';').next().unwrap_or_default();
            length = length.saturating_add(lengths.get(referred).copied().unwrap_or(0));
        }
        if length > ENTITY_BYTES_MAX {
            return Err(refused(&format!(
                "entity {name} expands to {length} bytes where {ENTITY_BYTES_MAX} are allowed"
            )));
        }
        lengths.insert(name, length);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(text: &str) -> bool {
        let mut out = String::new();
        match EntityGuard::new(text.as_bytes()).read_to_string(&mut out) {
            Ok(_) => {
                assert_eq!(out, text);
                true
            }
            Err(_) => false,
        }
    }

    #[test]
    fn entities_that_grow_out_of_each_other_are_refused() {
        let mut bomb = "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY a0 \"aaaaaaaaaa\">".to_owned();
        for level in 1..10 {
            let below = format!("&a{};", level - 1).repeat(10);
            bomb.push_str(&format!("<!ENTITY a{level} \"{below}\">"));
        }
        bomb.push_str("]><a>&a9;</a>");
        assert!(!passes(&bomb));
        assert!(passes("<!DOCTYPE a [<!ENTITY x \"http://example.com/\">]><a b=\"&x;\"/>"));
        assert!(passes("<!-- <a> --><a/>"));
        assert!(passes(""));
        assert!(passes("no xml at all"));
    }
}

//! A window over a stream of bytes that grows as far as one record needs, and no further.

use std::io::{self, Read};

use crate::LINE_BYTES_MAX;

/// Bytes asked for at a time.
const CHUNK_BYTES: usize = 128 << 10;
/// Bytes of a refused line that are kept to be shown.
const REFUSED_BYTES_MAX: usize = 64 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The unread part of the input that is in memory, and the number of its first line.
pub(crate) struct Window<R> {
    input: R,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    begun: bool,
    line: u64,
}

impl<R: Read> Window<R> {
    pub(crate) fn new(input: R) -> Self {
        let (bytes, start, end) = (Vec::new(), 0, 0);
        Self { input, bytes, start, end, at_end: false, begun: false, line: 1 }
    }

    /// What is in memory and not consumed.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// True once the input has no more than [`Window::unread`].
    pub(crate) fn at_end(&self) -> bool {
        self.at_end
    }

    /// The number, from 1, of the line that the first unread byte is on.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// The `bytes` consumed last; valid until the next [`Window::fill`].
    pub(crate) fn consumed(&self, bytes: usize) -> &[u8] {
        &self.bytes[self.start - bytes..self.start]
    }

    /// Goes past `bytes` that hold `lines` line ends.
    pub(crate) fn consume(&mut self, bytes: usize, lines: u64) {
        debug_assert!(bytes <= self.end - self.start, "only what is there can be consumed");
        self.start += bytes;
        self.line += lines;
    }

    /// Reads on, at least doubling what is unread. False if that would exceed the limit of a
    /// record or the input is at its end.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        let unread = self.end - self.start;
        if self.at_end || unread > LINE_BYTES_MAX {
            return Ok(false);
        }
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, unread);
        let goal = unread + unread.max(CHUNK_BYTES);
        if self.bytes.len() < goal {
            self.bytes.resize(goal, 0);
        }
        while self.end < goal {
            match self.input.read(&mut self.bytes[self.end..goal]) {
                Ok(0) => {
                    self.at_end = true;
                    break;
                }
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if !self.begun {
            self.begun = true;
            if self.unread().starts_with(BYTE_ORDER_MARK) {
                self.start += BYTE_ORDER_MARK.len();
            }
        }
        Ok(self.end - self.start > unread || self.at_end)
    }

    /// Goes past the line that begins at the first unread byte, and returns its beginning.
    pub(crate) fn skip_line(&mut self) -> io::Result<Vec<u8>> {
        let mut kept = Vec::new();
        loop {
            let unread = self.unread();
            let end = unread.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let bytes = end.unwrap_or(unread.len());
            let room = REFUSED_BYTES_MAX - kept.len();
            kept.extend_from_slice(&unread[..bytes.min(room)]);
            self.consume(bytes, u64::from(end.is_some()));
            if end.is_some() || self.at_end || !self.fill()? {
                return Ok(kept);
            }
        }
    }

    /// The length of the next line with its end, `None` at the end of the input, or `TooLong`.
    pub(crate) fn line_length(&mut self) -> io::Result<LineLength> {
        let mut seen = 0;
        loop {
            let unread = self.unread();
            if let Some(at) = unread[seen..].iter().position(|byte| *byte == b'\n') {
                let bytes = seen + at + 1;
                return Ok(if bytes > LINE_BYTES_MAX {
                    LineLength::TooLong
                } else {
                    LineLength::Bytes(bytes)
                });
            }
            seen = unread.len();
            if self.at_end {
                return Ok(if seen == 0 { LineLength::End } else { LineLength::Bytes(seen) });
            }
            if !self.fill()? {
                return Ok(LineLength::TooLong);
            }
        }
    }
}

/// What [`Window::line_length`] found.
pub(crate) enum LineLength {
    Bytes(usize),
    TooLong,
    End,
}

/// The beginning of `input` to infer columns from: about `lines` lines, whole ones, at most 16 MiB;
/// and the input as it was, to be read from its beginning.
pub(crate) fn sample(
    mut input: crate::decompress::Input,
    lines: usize,
) -> io::Result<(Vec<u8>, crate::decompress::Input)> {
    let mut head = Vec::new();
    let mut seen = 0;
    let mut at_end = false;
    while !at_end && seen <= lines && head.len() < LINE_BYTES_MAX {
        let before = head.len();
        at_end = input.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut head)? == 0;
        seen += head[before..].iter().filter(|byte| **byte == b'\n').count();
    }
    let whole = if at_end {
        head.len()
    } else {
        head.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
    };
    let text = head[..whole].to_vec();
    Ok((text, Box::new(io::Cursor::new(head).chain(input))))
}

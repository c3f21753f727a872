//! Standard output: where results go, and nothing else.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

/// Buffered standard output that knows whether a person looks at it.
pub(crate) struct Output {
    writer: BufWriter<Stdout>,
    terminal: bool,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self { writer: BufWriter::with_capacity(64 << 10, stdout), terminal }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Columns of the terminal; `None` where there is none, and nothing is cut to a width.
    pub(crate) fn width(&self) -> Option<usize> {
        if !self.terminal {
            return None;
        }
        console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

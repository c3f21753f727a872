//! Ctrl-C.
//!
//! At the prompt it reaches the line editor. While a statement runs it interrupts the statement; where nobody sits at a prompt, or at a second press, the program ends with code 130. The
//! database needs no farewell: what was acknowledged is on the disk.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use futures::Stream;
use siltdb::{Connection, InterruptHandle};

/// The exit code of a program ended by Ctrl-C.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;
/// How often a waiting statement looks whether it was interrupted.
const LOOK: Duration = Duration::from_millis(50);

static PRESSED: AtomicBool = AtomicBool::new(false);
static AT_PROMPT: AtomicBool = AtomicBool::new(false);
/// What the prompt's connection runs.
static RUNNING: OnceLock<InterruptHandle> = OnceLock::new();

/// Takes over Ctrl-C for the rest of the program.
pub(crate) fn install() {
    let handler = || {
        let again = PRESSED.swap(true, Ordering::Relaxed);
        if again || !AT_PROMPT.load(Ordering::Relaxed) {
            std::process::exit(i32::from(EXIT_INTERRUPTED));
        }
        if let Some(running) = RUNNING.get() {
            running.interrupt();
        }
    };
    // Without a handler Ctrl-C ends the program at once, which is all right too.
    drop(ctrlc::set_handler(handler));
}

/// From now on a first Ctrl-C ends the statement and not the program.
pub(crate) fn prompt_begins(connection: &Connection) {
    RUNNING.get_or_init(|| connection.interrupt_handle());
    AT_PROMPT.store(true, Ordering::Relaxed);
}

/// Forgets an earlier Ctrl-C; a new statement begins.
pub(crate) fn reset() {
    PRESSED.store(false, Ordering::Relaxed);
}

/// True if Ctrl-C was pressed since [`reset`].
pub(crate) fn pressed() -> bool {
    PRESSED.load(Ordering::Relaxed)
}

/// Waits for the stream's next item; `Err` if Ctrl-C comes first.
pub(crate) fn next<S: Stream + Unpin>(stream: &mut S) -> Result<Option<S::Item>, Interrupted> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if pressed() {
            return Err(Interrupted);
        }
        match Pin::new(&mut *stream).poll_next(&mut context) {
            Poll::Ready(item) => return Ok(item),
            Poll::Pending => std::thread::park_timeout(LOOK),
        }
    }
}

/// Ctrl-C was pressed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupted;

//! The prompt: lines with history, editing over several lines, and completion.

use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper, Highlighter, Hinter};

use crate::complete::{DatabaseNames, complete};
use crate::interrupt;
use crate::shell::{Shell, Stop};
use crate::split::Splitter;

const PROMPT: &str = "silt> ";
/// While a transaction is open.
const PROMPT_IN_TRANSACTION: &str = "silt*> ";
const HISTORY_LINES: usize = 10_000;

/// Reads and runs until Ctrl-D or `.quit`.
///
/// # Errors
/// What the terminal says.
pub(crate) fn run(shell: &mut Shell) -> Result<(), ReadlineError> {
    shell.interactive = true;
    interrupt::prompt_begins(&shell.connection);
    let config = Config::builder()
        .max_history_size(HISTORY_LINES)?
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .auto_add_history(true)
        .build();
    let mut editor: Editor<Assistant, DefaultHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Assistant { names: DatabaseNames::new(shell.db.clone()) }));
    let history = history_file();
    if let Some(history) = &history {
        // There is none the first time.
        drop(editor.load_history(history));
    }
    loop {
        let prompt = match shell.connection.is_in_transaction() {
            true => PROMPT_IN_TRANSACTION,
            false => PROMPT,
        };
        let text = match editor.readline(prompt) {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break Ok(()),
            Err(error) => break Err(error),
        };
        if let Some(history) = &history
            && let Err(error) = editor.append_history(history)
        {
            eprintln!("cannot write {}: {error}", history.display());
        }
        if matches!(text.trim().trim_end_matches(';'), "exit" | "quit" | "\\q") {
            break Ok(());
        }
        match shell.script(text.as_bytes(), None) {
            Ok(()) | Err(Stop::Failed | Stop::Interrupted) => {}
            Err(Stop::Quit | Stop::OutputGone) => break Ok(()),
        }
    }
}

/// `$XDG_DATA_HOME/silt/history`, else `~/.local/share/silt/history`; its folder is made.
#[expect(
    clippy::disallowed_methods,
    reason = "the history is the user's file and not the engine's"
)]
fn history_file() -> Option<PathBuf> {
    let data =
        std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().map(|home| home.join(".local/share"));
    let folder = data.or_else(home)?.join("silt");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

#[derive(Helper, Highlighter, Hinter)]
struct Assistant {
    names: DatabaseNames,
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(&self.names, line, at))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_complete(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

/// True if Enter runs the text: a dot command, nothing, or statements that all end.
fn is_complete(text: &str) -> bool {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.starts_with('.') || matches!(trimmed, "exit" | "quit" | "\\q")
    {
        return true;
    }
    let mut splitter = Splitter::new();
    for line in text.lines() {
        splitter.line(line);
    }
    splitter.is_between()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_runs_what_is_complete() {
        for text in
            ["", "  ", ".help", "select 1;", "select 1; -- done", "a;\nb;", "quit", "-- note"]
        {
            assert!(is_complete(text), "{text:?}");
        }
        for text in ["select 1", "select ';", "a; b", "/* ", "select $$;"] {
            assert!(!is_complete(text), "{text:?}");
        }
    }
}

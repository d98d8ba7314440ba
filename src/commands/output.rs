//! What commands print: results to standard output, everything else to standard error.

use std::io::{self, IsTerminal as _, Write as _};

use countersign_enrollment::account::is_unprintable;
use serde_json::Value;

use super::Fault;

/// Prints one line of the result. A closed pipe is not an error.
pub(super) fn line(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Prints the result as it is.
pub(super) fn bytes(bytes: &[u8]) {
    let _ = io::stdout().lock().write_all(bytes);
}

/// Prints the result as one JSON document.
pub(super) fn document(value: &Value) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(value).map_err(Fault::failed)?;
    line(&text);
    Ok(())
}

/// Prints a note that is not part of the result.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Warns that a secret was given as an argument, without repeating it.
pub(super) fn exposed(argument: &str, instead: &str) {
    complain(&format!(
        "warning: other users of this machine can read {argument} in the process list while this \
         runs; use {instead} instead"
    ));
}

/// Prints an error.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "countersign: {text}");
}

/// Text from elsewhere, made safe for a terminal: names come from images that anyone
/// may have created, and control characters can rewrite what a person sees.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if is_unprintable(c) { '\u{fffd}' } else { c })
        .collect()
}

/// The string member `name`, made safe for a terminal, or an empty string.
pub(super) fn text(value: &Value, name: &str) -> String {
    value[name].as_str().map(clean).unwrap_or_default()
}

/// `issuer: account` of an account or a preview.
pub(super) fn account_label(value: &Value) -> String {
    let (issuer, account) = (text(value, "issuer"), text(value, "accountName"));
    match (issuer.is_empty(), account.is_empty()) {
        (true, _) => account,
        (false, true) => issuer,
        (false, false) => format!("{issuer}: {account}"),
    }
}

/// Shows progress: one line that is rewritten on a terminal, otherwise a line
/// per change.
pub(super) struct Progress {
    rewrites: bool,
    /// What is shown now; nothing at first.
    shown: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            rewrites: io::stderr().is_terminal(),
            shown: String::new(),
        }
    }

    pub(super) fn show(&mut self, text: &str) {
        if self.shown == text {
            return;
        }
        let mut out = io::stderr().lock();
        let _ = if self.rewrites {
            write!(out, "\r\x1b[K{text}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{text}")
        };
        text.clone_into(&mut self.shown);
    }

    /// Clears the terminal's line.
    pub(super) fn end(&mut self) {
        if self.rewrites && !self.shown.is_empty() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
        self.shown.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(
            clean("a\u{1b}[2Jb\u{202e}c\n"),
            "a\u{fffd}[2Jb\u{fffd}c\u{fffd}"
        );
        let value = serde_json::json!({"issuer": "GitHub", "accountName": "octo"});
        assert_eq!(account_label(&value), "GitHub: octo");
    }
}

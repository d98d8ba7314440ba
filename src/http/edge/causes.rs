//! What is logged of an answer that is the server's fault.

use std::error::Error;

/// Logs an error with all its causes.
pub(super) fn log(error: &dyn Error, code: &str) {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    tracing::error!(code, error = %error, causes = causes.join(": "), "a request failed");
}

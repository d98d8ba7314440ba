//! What is logged of an answer that is the server's fault.

use std::error::Error;

use countersign_database::{DatabaseError, Trouble};

use crate::access::KeyError;

/// Logs an error with all its causes.
pub(super) fn log(error: &dyn Error, code: &str, database: Option<Trouble>) {
    let mut causes: Vec<String> = Vec::new();
    for cause in of(error) {
        let text = cause.to_string();
        // An error that only wraps another one has its text.
        if causes.last() != Some(&text) {
            causes.push(text);
        }
    }
    let database = database.map(Trouble::as_str);
    tracing::error!(code, error = %error, causes = causes.join(": "), database, "a request failed");
}

/// What is wrong with the shared database, if that is the cause.
pub(super) fn trouble(error: &dyn Error) -> Option<Trouble> {
    of(error).find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<DatabaseError>() {
            return Some(error.trouble());
        }
        matches!(cause.downcast_ref(), Some(KeyError::Unproven)).then_some(Trouble::Unheard)
    })
}

/// The causes of an error, the nearest first.
fn of(error: &dyn Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

//! What goes from one instance to another for an update, and back.

use serde::{Deserialize, Serialize};

use crate::error::FailureDetails;

/// The names of the events that are updates begin so.
const PREFIX: &str = "durabletask.update/";

/// The name of the event that answers an update.
pub const UPDATE_ANSWER: &str = "durabletask.answer";

/// Whether an event with this name is an update.
pub(super) fn is_update(event_name: &str) -> bool {
    let beginning = event_name.get(..PREFIX.len());
    beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(PREFIX))
}

/// An update on its way: the payload of its event.
///
/// ```
/// use durabletask_core::UpdateMessage;
///
/// assert_eq!(UpdateMessage::event_name("add"), "durabletask.update/add");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateMessage {
    /// The instance that waits for the answer.
    pub reply_to: String,
    /// The input, JSON text.
    pub input: String,
}

impl UpdateMessage {
    /// The name of the event that carries an update.
    #[must_use]
    pub fn event_name(update: &str) -> String {
        format!("{PREFIX}{update}")
    }
}

/// What became of an update: the payload of the event that answers it.
///
/// ```
/// use durabletask_core::{FailureDetails, UpdateAnswer};
///
/// let refused = UpdateAnswer::Refused(FailureDetails::new("NoRoom", "the cart is full"));
/// assert_ne!(refused, UpdateAnswer::Ended);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateAnswer {
    /// It took place; with its result, JSON text.
    Accepted(String),
    /// It did not take place.
    Refused(FailureDetails),
    /// The orchestration ended before it answered.
    Ended,
}

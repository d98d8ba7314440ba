//! Notices about pending decisions and their outcome.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::account::AccountPreview;
use crate::decision::ApprovalDecision;
use crate::ids::CallerId;

/// The reason for a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeEvent {
    /// Something waits for a decision.
    Requested,
    /// It still does.
    Reminder,
    /// It was approved or refused.
    Decided,
    /// Nobody decided in time.
    Expired,
    /// It was stopped after it had been approved.
    Stopped,
}

impl NoticeEvent {
    /// The name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Reminder => "reminder",
            Self::Decided => "decided",
            Self::Expired => "expired",
            Self::Stopped => "stopped",
        }
    }
}

/// One thing to tell. There is nothing secret in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Names this notice, however often it is sent.
    pub id: String,
    /// Why.
    pub event: NoticeEvent,
    /// When that was.
    #[serde(serialize_with = "crate::time::millis")]
    pub at: DateTime<Utc>,
    /// The id of the enrollment or request.
    pub about: String,
    /// What is to be done: `enroll`, or the kind of the request.
    pub kind: String,
    /// The account.
    pub preview: AccountPreview,
    /// Who asks.
    pub requested_by: CallerId,
    /// Why, as they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it is too late for a decision.
    #[serde(serialize_with = "crate::time::millis")]
    pub deadline: DateTime<Utc>,
    /// How many people have to agree.
    pub needed: u8,
    /// The groups whose members have to; anyone who may decide if none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// Who has agreed so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<CallerId>,
    /// The decision, if this is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<ApprovalDecision>,
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase")]
pub enum NoticeSent {
    /// Whom it was sent to has taken it.
    Delivered,
    /// The worker's settings name nobody.
    Nobody,
}

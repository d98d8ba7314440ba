//! Heartbeats: how an activity says that it is alive and how far it is.
//!
//! The protocol has no message for it. A heartbeat is an external event for the
//! orchestration that made the call, so it is a step of the history: the silence of an
//! activity is seen by the orchestration, over crashes of every worker, and on every backend.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::FailureDetails;

/// The name of the events that are heartbeats.
pub const HEARTBEAT_EVENT: &str = "durabletask.heartbeat";
/// The tag with the longest silence of a call, in milliseconds.
pub(crate) const HEARTBEAT_TIMEOUT_TAG: &str = "durabletask.heartbeatTimeoutMs";
/// The error type of an attempt that was silent for too long.
pub(crate) const HEARTBEAT_TIMEOUT: &str = "HeartbeatTimeout";

/// A heartbeat on its way: the payload of its event.
///
/// ```
/// use durabletask::serde_json;
/// use durabletask_core::HeartbeatMessage;
///
/// let text = r#"{"taskId":3,"key":"order-1/e1/3","details":"40"}"#;
/// let beat: HeartbeatMessage = serde_json::from_str(text)?;
/// assert_eq!((beat.task_id, beat.details.as_deref()), (3, Some("40")));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatMessage {
    /// The attempt that it comes from.
    pub task_id: i32,
    /// The execution that made the call, if the scheduler sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// The idempotency key of the call, which all its attempts share.
    pub key: String,
    /// By what a worker knows its own heartbeat in the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// How far the activity is, JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
}

/// The failure of an attempt that was silent for longer than `limit`. A retry may mend it.
#[must_use]
pub fn heartbeat_timeout(limit: Duration) -> FailureDetails {
    FailureDetails::new(
        HEARTBEAT_TIMEOUT,
        format!("the activity sent no heartbeat for {limit:?}"),
    )
}

impl FailureDetails {
    /// Whether an activity failed because it sent no heartbeat for longer than
    /// [`TaskOptions::heartbeat_timeout`](crate::TaskOptions::heartbeat_timeout).
    #[must_use]
    pub fn is_heartbeat_timeout(&self) -> bool {
        self.error_type == HEARTBEAT_TIMEOUT
    }
}

/// Why a heartbeat was not recorded, or the last one cannot be read.
///
/// ```
/// use durabletask::activity::HeartbeatError;
/// use durabletask::{ActivityContext, Failure};
///
/// async fn copy(ctx: ActivityContext, chunks: u32) -> Result<u32, Failure> {
///     for chunk in 0..chunks {
///         // ... copy this chunk
///         match ctx.heartbeat(&chunk).await {
///             // Nobody waits for the rest.
///             Err(HeartbeatError::Ended(_)) => break,
///             other => other?,
///         }
///     }
///     Ok(chunks)
/// }
/// # let _ = copy;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeartbeatError {
    /// The call has ended: its activity has returned, or its orchestration has ended.
    #[error("this heartbeat is no longer expected: {0}")]
    Ended(String),
    /// The call was silent for too long, so its orchestration has given this attempt up.
    #[error("this attempt sent no heartbeat for more than {limit:?} and has timed out")]
    TooLate {
        /// The longest silence that the orchestration allows.
        limit: Duration,
    },
    /// The details are larger than a history should hold.
    #[error(
        "the details have {bytes} bytes, and {limit} bytes is the limit; report a reference instead"
    )]
    TooLarge {
        /// How large they are as JSON text.
        bytes: usize,
        /// How large they may be.
        limit: usize,
    },
    /// The details cannot be written as JSON, or those that are recorded have another type.
    #[error("the details of the heartbeat have another type: {0}")]
    Payload(String),
    /// The scheduler did not take the heartbeat, or did not answer. The next one may succeed.
    #[error("the heartbeat was not recorded: {0}")]
    NotRecorded(String),
    /// The scheduler cannot say what the last heartbeat was.
    #[error("the scheduler does not support that: {0}")]
    Unsupported(String),
}

//! What an agent is asked, what it answers, and what is seen of it in between.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::Stop;
use crate::message::{Message, Usage};

/// What an agent is asked.
///
/// ```
/// use durabletask_agent::AgentRequest;
///
/// let request = AgentRequest::new("Where is order 7?").session("ada");
/// # let _ = request;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AgentRequest {
    /// The question.
    pub prompt: String,
    /// The session that it continues; none for a run of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

impl AgentRequest {
    /// A question without a past.
    #[must_use]
    pub fn new(prompt: impl Into<String>) -> Self {
        Self {
            prompt: prompt.into(),
            session: None,
        }
    }

    /// Continues the session `key`, or begins it. The runs of one session take turns.
    #[must_use]
    pub fn session(mut self, key: impl Into<String>) -> Self {
        self.session = Some(key.into());
        self
    }
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AgentAnswer {
    /// What the model said last; none if it said nothing before the run stopped.
    pub text: Option<String>,
    /// Why the run ended.
    pub stop: Stop,
    /// The messages of this run, the question first.
    pub messages: Vec<Message>,
    /// The tokens that it used.
    pub usage: Usage,
    /// What it cost, in millionths; none without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u64>,
}

/// The custom status of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AgentStatus {
    /// How often the model was called.
    pub calls: u32,
    /// The calls of tools that wait for a decision.
    #[serde(default)]
    pub waiting: Vec<WaitingCall>,
    /// The tokens used so far.
    pub usage: Usage,
    /// What that cost, in millionths; none without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u64>,
}

/// A call that waits for a [`Decision`](crate::Decision).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WaitingCall {
    /// Names the call in its run; see [`Agent::decision`](crate::Agent::decision).
    pub id: String,
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: Value,
}

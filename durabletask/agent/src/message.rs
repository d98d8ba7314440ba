//! What a conversation consists of.
//!
//! These types are recorded in histories and sessions, so they are this crate's own: a
//! conversation that began before an upgrade is read after it.

use serde::{Deserialize, Serialize};

/// One message of a conversation.
///
/// ```
/// use durabletask_agent::Message;
///
/// let message = Message::user("Where is order 7?");
/// let json = serde_json::to_value(&message).unwrap();
/// assert_eq!(json, serde_json::json!({"role": "user", "content": "Where is order 7?"}));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Message {
    /// How the model is to behave.
    System {
        /// The text.
        content: String,
    },
    /// What a person or a program asks.
    User {
        /// The text.
        content: String,
    },
    /// What the model answered.
    Assistant {
        /// The text; none if the model only calls tools.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<String>,
        /// The tools that it calls, in order.
        #[serde(default, rename = "toolCalls", skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
    },
    /// What came of a call.
    Tool {
        /// The call's id.
        #[serde(rename = "toolCallId")]
        tool_call_id: String,
        /// The result, or why there is none.
        content: String,
    },
}

impl Message {
    /// A message of the user.
    #[must_use]
    pub fn user(content: impl Into<String>) -> Self {
        Self::User {
            content: content.into(),
        }
    }

    /// A message of the system.
    #[must_use]
    pub fn system(content: impl Into<String>) -> Self {
        Self::System {
            content: content.into(),
        }
    }

    /// An answer without calls.
    #[must_use]
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::Assistant {
            content: Some(content.into()),
            tool_calls: Vec::new(),
        }
    }
}

/// A tool that the model calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The model's name for the call. Models repeat such ids, so it identifies the call only
    /// within its message.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as the model wrote them: JSON, if it made no mistake.
    pub arguments: String,
}

/// The tokens that calls of a model used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens of what the model was given.
    pub input_tokens: u64,
    /// Tokens of what it answered.
    pub output_tokens: u64,
}

impl Usage {
    /// All tokens.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    pub(crate) const fn add(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
    }
}

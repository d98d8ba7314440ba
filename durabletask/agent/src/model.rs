//! What an agent needs of a model.

use async_trait::async_trait;
use durabletask::Failure;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::message::{Message, ToolCall, Usage};
use crate::sink::WordSink;

/// A model that chats. Each call runs in an activity, so it may run twice if a worker dies.
///
/// [`OpenAiCompatible`](crate::OpenAiCompatible) is one for all servers that speak OpenAI's
/// chat completions; a test writes its own.
#[async_trait]
pub trait ChatModel: Send + Sync + 'static {
    /// The provider's name in spans, such as `openai`
    /// (`gen_ai.provider.name` of OpenTelemetry's conventions).
    fn provider(&self) -> &str;

    /// The model's name.
    fn model(&self) -> &str;

    /// Answers a conversation.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that is permanent where a repetition cannot help, and that says how long
    /// to wait ([`Failure::retry_after`]) where the server does.
    async fn chat(&self, request: &ChatRequest) -> Result<ChatReply, Failure>;

    /// Answers a conversation, and passes on the words of the answer while they come. A model
    /// that does not implement this passes none on, and all words follow at the end.
    ///
    /// # Errors
    ///
    /// As those of [`chat`](Self::chat).
    async fn chat_aloud(
        &self,
        request: &ChatRequest,
        words: &WordSink,
    ) -> Result<ChatReply, Failure> {
        let _ = words;
        self.chat(request).await
    }
}

/// What a model is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ChatRequest {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The tools that it may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolSpec>,
    /// The most tokens that it may answer with; none for the model's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
}

impl ChatRequest {
    /// A request without tools.
    #[must_use]
    pub const fn new(messages: Vec<Message>) -> Self {
        Self {
            messages,
            tools: Vec::new(),
            max_output_tokens: None,
        }
    }
}

/// A tool as the model sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it does and when to call it.
    pub description: String,
    /// The JSON schema of its arguments.
    pub parameters: Value,
}

/// What a model answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ChatReply {
    /// The text; none if it only calls tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The tools that it calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Why it stopped.
    pub finish: Finish,
    /// What the call used.
    #[serde(default)]
    pub usage: Usage,
}

impl ChatReply {
    /// A complete answer in words.
    #[must_use]
    pub fn text(content: impl Into<String>, usage: Usage) -> Self {
        Self {
            content: Some(content.into()),
            tool_calls: Vec::new(),
            finish: Finish::Complete,
            usage,
        }
    }

    /// Calls of tools.
    #[must_use]
    pub const fn calls(tool_calls: Vec<ToolCall>, usage: Usage) -> Self {
        Self {
            content: None,
            tool_calls,
            finish: Finish::Complete,
            usage,
        }
    }
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Finish {
    /// It said all that it had to say.
    Complete,
    /// It reached the limit on tokens: the answer is cut off.
    Length,
    /// The provider withheld the rest.
    Filtered,
}

//! What is recorded of an agent's rules, and the names of its parts.

use durabletask::{Activity, Entity};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::Budget;
use crate::claim::Claims;
use crate::model::{ChatReply, ChatRequest};
use crate::session::Session;
use crate::tool::{Retry, ToolRules};

/// The rules of an agent. A run records them when it begins and keeps to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Definition {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instructions: Option<String>,
    pub(crate) tools: Vec<ToolRules>,
    pub(crate) budget: Budget,
    pub(crate) model_retry: Retry,
    pub(crate) session_seconds: u64,
    pub(crate) session_messages: usize,
    /// Runs that began before there were streams have none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) streams_words: bool,
}

/// The names under which an agent's parts are registered.
pub(crate) struct Names {
    agent: String,
    pub(crate) define: Activity<(), Definition>,
    pub(crate) model: Activity<ChatRequest, ChatReply>,
    pub(crate) sessions: Entity<Session>,
    pub(crate) claims: Entity<Claims>,
}

impl Names {
    pub(crate) fn of(agent: &str, sessions: &Entity<Session>, claims: &Entity<Claims>) -> Self {
        Self {
            agent: agent.to_owned(),
            define: Activity::named(format!("{agent}.define")),
            model: Activity::named(format!("{agent}.model")),
            sessions: sessions.clone(),
            claims: claims.clone(),
        }
    }

    pub(crate) fn tool(&self, name: &str) -> Activity<Value, Value> {
        Activity::named(format!("{}.tool.{name}", self.agent))
    }
}

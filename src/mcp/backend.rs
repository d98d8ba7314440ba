//! The HTTP API as tools call it.

use async_trait::async_trait;
use axum::http::{Method, StatusCode};
use rmcp::model::{ContentBlock, Extensions, IntoContents};
use serde_json::Value;

use crate::problem;

/// A request to the API.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    /// Sent as JSON.
    pub(crate) body: Option<Value>,
    /// The reason; kept in the audit log.
    pub(crate) reason: Option<String>,
}

impl Call {
    pub(crate) fn get(path: String) -> Self {
        Self {
            method: Method::GET,
            path,
            body: None,
            reason: None,
        }
    }

    pub(crate) fn post(path: String, body: Option<Value>) -> Self {
        Self {
            method: Method::POST,
            path,
            body,
            reason: None,
        }
    }
}

/// The API's answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

/// Access to the API.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Calls it as the sender of the message that `extensions` belong to.
    async fn call(&self, extensions: &Extensions, call: Call) -> Result<Reply, ToolError>;
}

/// Why a tool did not do what it was asked to do, for the agent to read.
#[derive(Debug)]
pub(crate) struct ToolError(pub(crate) String);

impl ToolError {
    /// A refusal of the API in words, with what to do instead.
    pub(super) fn refused(reply: &Reply) -> Self {
        let code = reply.body["code"].as_str().unwrap_or("unknown");
        // An agent has tools, and neither paths nor a command line.
        let said = match code {
            "approval-needed" => {
                "Reading codes of this account needs a person's approval. Use the tool \
                 request_code_with_approval."
                    .to_owned()
            }
            "grant-used-up" => {
                "The account exists, but you have used all the reads that were granted to you. \
                 Ask the administrator for another grant."
                    .to_owned()
            }
            "grant-expired" => {
                "The account exists, but your grant has expired. Ask the administrator for \
                 another grant."
                    .to_owned()
            }
            "account-unknown" => {
                "There is no account with this id that you may see. The tool list_accounts lists \
                 those that you may."
                    .to_owned()
            }
            _ => without_routes(&reply.body)
                .unwrap_or_else(|| format!("The server answered {}.", reply.status)),
        };
        Self(format!("{said} (problem: {code})"))
    }
}

/// What a problem says, without the sentences that name paths or commands.
fn without_routes(body: &Value) -> Option<String> {
    let names_a_way = |text: &str| text.contains("/api/") || text.contains("`countersign");
    let mut kept = body.clone();
    for member in ["detail", "nextStep"] {
        let Some(said) = body[member].as_str().filter(|said| names_a_way(said)) else {
            continue;
        };
        let sentences = said.split_inclusive(". ").filter(|part| !names_a_way(part));
        let sentences: String = sentences.collect();
        kept[member] = match sentences.trim() {
            "" => Value::Null,
            some => Value::from(some),
        };
    }
    problem::sentence(&kept)
}

impl IntoContents for ToolError {
    fn into_contents(self) -> Vec<ContentBlock> {
        vec![ContentBlock::text(self.0)]
    }
}

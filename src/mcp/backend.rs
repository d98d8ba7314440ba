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
    /// Why; kept in the audit record.
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

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

/// Where the API is.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Calls it as whoever sent the message that `extensions` belong to.
    async fn call(&self, extensions: &Extensions, call: Call) -> Result<Reply, Fault>;
}

/// Why a tool did not do what it was asked for, for the agent to read.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) String);

impl Fault {
    /// What a refusal of the API means, with what to do instead.
    pub(super) fn refused(reply: &Reply) -> Self {
        let code = reply.body["code"].as_str().unwrap_or("unknown");
        let said = problem::sentence(&reply.body)
            .unwrap_or_else(|| format!("The server answered {}.", reply.status));
        let instead = match code {
            "approval-needed" => " Use the tool request_code_with_approval.",
            "account-unknown" => " The tool list_accounts tells the ids of those you may see.",
            _ => "",
        };
        Self(format!("{said}{instead} (problem: {code})"))
    }
}

impl IntoContents for Fault {
    fn into_contents(self) -> Vec<ContentBlock> {
        vec![ContentBlock::text(self.0)]
    }
}

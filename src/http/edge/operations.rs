//! What is known of each operation before it runs: its parameters, and the action under
//! which it is recorded. All of it comes from the handlers' descriptions.

use std::collections::{BTreeSet, HashMap};

use axum::extract::{MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, Method, Uri};
use serde::Deserialize as _;
use serde_json::Value;

use super::error::ApiError;
use super::unread;
use crate::audit::Action;
use crate::local_proof;

/// The extension with a handler's audit action, if it is recorded.
pub(crate) const AUDIT: &str = "x-audit";
/// What the description has where an operation does not answer everyone.
const SECURITY: &str = "security";
/// The key in an address, for callers that cannot send a header; accepted by every operation.
const CREDENTIAL: &str = "code";

/// The similarity from which a parameter counts as a misspelt one, from 0 to 1.
const ALIKE: f64 = 0.8;

/// What is known of one operation.
#[derive(Debug)]
pub(crate) struct Operation {
    /// The names of the parameters after `?`.
    parameters: BTreeSet<String>,
    /// The action under which it is recorded.
    action: Option<Action>,
    /// Whether it answers everyone.
    open: bool,
    /// Whether it reads a body.
    takes_body: bool,
}

impl Operation {
    fn described_by(description: &Value) -> Self {
        let parameters = description["parameters"].as_array().into_iter().flatten();
        Self {
            parameters: parameters
                .filter(|parameter| parameter["in"] == "query")
                .filter_map(|parameter| Some(parameter["name"].as_str()?.to_owned()))
                .collect(),
            action: action_of(description),
            open: description.get(SECURITY).is_none(),
            takes_body: description.get("requestBody").is_some(),
        }
    }

    /// The action under which it is recorded, if it is.
    pub(crate) fn action(&self) -> Option<Action> {
        self.action
    }

    fn check_body(&self, extensions: &Extensions) -> Result<(), ApiError> {
        if !unread::says_something(extensions) {
            return Ok(());
        }
        let mut detail = "this operation takes no body; send none, or `{}`".to_owned();
        if !self.parameters.is_empty() {
            let names: Vec<_> = self.parameters.iter().map(|it| format!("`{it}`")).collect();
            detail = format!(
                "{detail}. Its parameters go after `?`: {}",
                names.join(", ")
            );
        }
        Err(ApiError::InvalidParameter {
            name: "body",
            detail,
        })
    }

    /// Whether it has a parameter of this name after `?`.
    pub(crate) fn has(&self, parameter: &str) -> bool {
        self.parameters.contains(parameter)
    }
}

/// The action that a handler declares.
fn action_of(description: &Value) -> Option<Action> {
    Action::deserialize(description.get(AUDIT)?).ok()
}

/// Whether an operation changes something and must be recorded: if it cannot be, it is refused.
/// A session may end at any time.
pub(crate) fn is_recorded_change(method: &Method, description: &Value) -> bool {
    let action = action_of(description).filter(|action| *action != Action::LogOut);
    !method.is_safe() && action.is_some()
}

/// All operations of the description, by path and method.
#[derive(Debug)]
pub(crate) struct Operations(HashMap<String, HashMap<Method, Operation>>);

impl Operations {
    /// Those of a description that still has the handlers' extensions.
    pub(crate) fn described_by(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let operations = paths.map(|(path, item)| {
            let methods = item.as_object().into_iter().flatten();
            let methods = methods.filter_map(|(method, description)| {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).ok()?;
                Some((method, Operation::described_by(description)))
            });
            (path.clone(), methods.collect())
        });
        Self(operations.collect())
    }

    /// The operation of a method on a path of the description.
    pub(crate) fn get(&self, method: &Method, route: &str) -> Option<&Operation> {
        let method = match *method {
            Method::HEAD => &Method::GET,
            _ => method,
        };
        self.0.get(route)?.get(method)
    }

    /// Refuses a request of a known caller with a parameter or a body that its operation does not
    /// have: a misspelt one would be as none, and nobody would notice.
    pub(crate) fn check_parameters(&self, parts: &Parts) -> Result<(), ApiError> {
        match self.matched(&parts.method, &parts.extensions) {
            Some(Matched::Operation(operation)) => {
                check(&operation.parameters, &parts.uri)?;
                operation.check_body(&parts.extensions)
            }
            _ => Ok(()),
        }
    }

    /// Whether the operation of a request reads its body. What the description leaves out checks
    /// its bodies itself.
    pub(crate) fn takes_body(&self, request: &Request) -> bool {
        match self.matched(request.method(), request.extensions()) {
            Some(Matched::Operation(operation)) => operation.takes_body,
            _ => true,
        }
    }

    /// Whether the operation of a request answers everyone.
    pub(crate) fn is_open(&self, request: &Request) -> bool {
        let matched = self.matched(request.method(), request.extensions());
        matches!(matched, Some(Matched::Operation(operation)) if operation.open)
    }

    /// As [`Operations::check_parameters`], for what needs no caller: open operations and what the description leaves out.
    /// Where a caller is needed, that is said first.
    pub(crate) fn check_open(&self, request: &Request) -> Result<(), ApiError> {
        match self.matched(request.method(), request.extensions()) {
            Some(Matched::Operation(operation)) if operation.open => {
                check(&operation.parameters, request.uri())?;
                operation.check_body(request.extensions())
            }
            Some(Matched::Undescribed) => check(&BTreeSet::new(), request.uri()),
            _ => Ok(()),
        }
    }

    /// What a request is for; nothing where there is no such path or method.
    fn matched(&self, method: &Method, extensions: &Extensions) -> Option<Matched<'_>> {
        let route = extensions.get::<MatchedPath>()?.as_str();
        if self.0.contains_key(route) {
            return self.get(method, route).map(Matched::Operation);
        }
        // Beside the description, this alone has a parameter, and checks it itself.
        (route != local_proof::PATH).then_some(Matched::Undescribed)
    }
}

/// What a request is for.
enum Matched<'a> {
    Operation(&'a Operation),
    /// A file of the page or of the reference, or the endpoint of another protocol: the
    /// description leaves them out.
    Undescribed,
}

fn check(known: &BTreeSet<String>, uri: &Uri) -> Result<(), ApiError> {
    let query = uri.query().unwrap_or_default();
    for (name, _) in url::form_urlencoded::parse(query.as_bytes()) {
        if name != CREDENTIAL && !known.contains(name.as_ref()) {
            return Err(ApiError::InvalidParameter {
                name: "query",
                detail: unknown(&name, known),
            });
        }
    }
    Ok(())
}

/// The text that was sent is not repeated; the valid names are.
fn unknown(name: &str, names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "this address takes no parameters after `?`".to_owned();
    }
    let alike = |known: &str| strsim::jaro_winkler(&known.to_lowercase(), &name.to_lowercase());
    let meant = names.iter().filter(|known| alike(known) > ALIKE);
    let meant = meant.max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let of = if names.len() > 1 { "one of " } else { "" };
    format!(
        "there is an unknown parameter; expected {of}{}{meant}",
        names.join(", ")
    )
}

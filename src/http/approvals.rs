//! `POST /api/enrollments/{id}/approval`: a decision by somebody else than the requester.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use countersign_enrollment::decision::MAX_COMMENT_CHARS;
use serde::Deserialize;

use super::FrontDoor;
use super::auth::{Caller, Decide};
use super::body::JsonBody;
use super::enrollments::{accepted_response, enrollment_id};
use super::error::ApiError;
use super::observe;
use crate::audit::Action;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DecisionBody {
    approved: bool,
    comment: Option<String>,
}

pub(super) async fn decide(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Decide>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<DecisionBody>,
) -> Result<Response, ApiError> {
    let id = enrollment_id(&id)?;
    let comment = body
        .comment
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty());
    if comment
        .as_ref()
        .is_some_and(|text| text.chars().count() > MAX_COMMENT_CHARS)
    {
        return Err(ApiError::InvalidParameter {
            name: "comment",
            detail: format!("at most {MAX_COMMENT_CHARS} characters"),
        });
    }
    observe::note(|facts| {
        facts.action = Some(if body.approved {
            Action::Approve
        } else {
            Action::Reject
        });
        facts.reason.clone_from(&comment);
    });
    let snapshot = door
        .enrollments
        .decide(&id, caller.id(), body.approved, comment)
        .await?;
    Ok(accepted_response(&snapshot))
}

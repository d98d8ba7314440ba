//! `POST /api/enrollments/{id}/approval`: a decision by somebody else than the requester.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use countersign_enrollment::account::one_line;
use countersign_enrollment::decision::MAX_COMMENT_CHARS;
use serde::Deserialize;
use utoipa::ToSchema;

use super::FrontDoor;
use super::auth::{Caller, Decide, Permission as _};
use super::body::JsonBody;
use super::codes::Code;
use super::enrollments::{EnrollmentPath, accepted_response, enrollment_id};
use super::error::ApiError;
use super::observe;
use super::path::Path;
use super::requests::hand_of;
use super::views::StartedView;
use crate::audit::{Action, without_secrets};

/// A decision.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DecisionBody {
    approved: bool,
    /// Why, for those who read the record later.
    #[schema(max_length = 500)]
    comment: Option<String>,
}

impl DecisionBody {
    /// Whether it is approved, and the comment; both noted for the audit record.
    pub(super) fn read(self) -> Result<(bool, Option<String>), ApiError> {
        let comment = short_text("comment", self.comment, MAX_COMMENT_CHARS)?;
        observe::note(|facts| {
            facts.action = Some(if self.approved {
                Action::Approve
            } else {
                Action::Reject
            });
            facts.reason.clone_from(&comment);
        });
        Ok((self.approved, comment))
    }
}

/// A text for people, on one line and cleaned as names are; none if it is empty. It is kept in a history and shown: what
/// looks like a secret in it, since somebody pasted the wrong thing, is not.
pub(super) fn short_text(
    name: &'static str,
    text: Option<String>,
    most: usize,
) -> Result<Option<String>, ApiError> {
    let text = text
        .map(|text| without_secrets(&one_line(&text)))
        .filter(|text| !text.is_empty());
    if text
        .as_ref()
        .is_some_and(|text| text.chars().count() > most)
    {
        return Err(ApiError::InvalidParameter {
            name,
            detail: format!("at most {most} characters"),
        });
    }
    Ok(text)
}

/// Approves or rejects an enrollment
///
/// Nobody decides on what they asked for, and nobody agrees twice; one refusal is enough.
#[utoipa::path(
    post, path = "/api/enrollments/{id}/approval", tag = "enrollments", operation_id = "decide",
    params(EnrollmentPath),
    request_body = DecisionBody,
    responses((
        status = ACCEPTED, description = "The decision is taken; the enrollment goes on", body = StartedView,
        headers(
            ("location" = String, description = "Where its status is"),
            ("retry-after" = u32, description = "In how many seconds to ask"),
        ),
    )),
    extensions(
        ("x-roles" = json!(Decide::ROLES)),
        ("x-problems" = json!([
            Code::AlreadyDecided, Code::ApprovalExpired, Code::ApproverGroupMissing,
            Code::EnrollmentUnknown, Code::HubUnavailable, Code::InvalidParameter,
            Code::LedgerUnavailable, Code::MandateRefused, Code::NotAwaitingApproval,
            Code::SelfApprovalForbidden,
        ])),
    ),
)]
pub(super) async fn decide(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Decide>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<DecisionBody>,
) -> Result<Response, ApiError> {
    let id = enrollment_id(&id)?;
    let (approved, comment) = body.read()?;
    let hand = hand_of(&door, &caller).await?;
    let snapshot = door
        .enrollments
        .decide(&id, caller.decider(&hand), approved, comment)
        .await?;
    door.inbox.look_again().await;
    Ok(accepted_response(&snapshot))
}

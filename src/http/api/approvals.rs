//! `POST /api/enrollments/{id}/approval`: a decision by someone other than the requester.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::decision::DecisionBody;
use super::enrollments::accepted_response;
use super::ids::{EnrollmentPath, enrollment_id};
use super::views::StartedView;
use crate::audit::Action;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Caller, Decide, Permission as _};
use crate::http::edge::body::JsonBody;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::path::Path;
use crate::http::edge::person::person_of;
use crate::http::edge::problem_code::ProblemCode;

/// Approves or rejects an enrollment
///
/// You cannot approve your own request or approve twice; one rejection is enough.
#[utoipa::path(
    post, path = "/api/enrollments/{id}/approval", tag = "enrollments", operation_id = "decide",
    params(EnrollmentPath),
    request_body = DecisionBody,
    responses((status = ACCEPTED, description = "The decision was accepted; the enrollment continues", body = StartedView)),
    extensions(
        // The handler chooses the action once it has read the body.
        ("x-audit" = json!(Action::Approve)),
        ("x-roles" = json!(Decide::ROLES)),
        ("x-problems" = json!([
            ProblemCode::AlreadyDecided, ProblemCode::ApprovalExpired, ProblemCode::ApproverGroupMissing,
            ProblemCode::EnrollmentUnknown, ProblemCode::HubUnavailable, ProblemCode::InvalidParameter,
            ProblemCode::LedgerUnavailable, ProblemCode::MandateRefused, ProblemCode::NotAwaitingApproval,
            ProblemCode::SelfApprovalForbidden,
        ])),
    ),
)]
pub(super) async fn decide(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Decide>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<DecisionBody>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let id = enrollment_id(&id)?;
        let (approved, comment) = body.read(&mut facts)?;
        let person = person_of(&door, &caller).await?;
        let snapshot = door
            .hub
            .decide(&id, caller.decider(&person), approved, comment)
            .await?;
        door.inbox.look_again().await;
        Ok(accepted_response(&snapshot))
    })
    .await;
    facts.on(answer)
}

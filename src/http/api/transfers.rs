//! `/api/transfers`: adding an account that another installation has sealed for this one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::package::Package;
use serde::Deserialize;
use utoipa::ToSchema;

use super::enrollments::started_response;
use super::views::{EnrollmentView, StartedView};
use crate::audit::Action;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Caller, Enroll, Permission as _};
use crate::http::edge::body::JsonBody;
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::person::person_of;
use crate::http::edge::problem_code::ProblemCode;

/// The result of a `transfer` request at the other installation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TransferBody {
    /// The account's id there, which it keeps here.
    #[schema(pattern = "^totp-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    id: String,
    /// The request's `package`.
    package: String,
}

/// Receives an account from another installation
///
/// It is enrolled under its id, as if its URI had been uploaded, with an approval where the server
/// requires one. A package that cannot be opened ends as `Invalid`, with the problem
/// `package-unreadable`. After a failed attempt it can be sent again.
#[utoipa::path(
    post, path = "/api/transfers", tag = "requests", operation_id = "receiveTransfer",
    request_body = TransferBody,
    responses(
        (status = ACCEPTED, description = "The enrollment is running", body = StartedView),
        (status = OK, description = "It was received before, and that has finished", body = EnrollmentView),
    ),
    extensions(
        ("x-audit" = json!(Action::Enroll)),
        ("x-roles" = json!(Enroll::ROLES)),
        ("x-problems" = json!([ProblemCode::HubUnavailable, ProblemCode::IdTaken, ProblemCode::InvalidParameter, ProblemCode::LedgerUnavailable])),
    ),
)]
pub(super) async fn receive(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Enroll>,
    JsonBody(body): JsonBody<TransferBody>,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let id: EnrollmentId = body.id.parse().map_err(|_| ApiError::InvalidParameter {
            name: "id",
            detail: "the account's id at the other installation, such as totp-...".to_owned(),
        })?;
        let wrong = || ApiError::InvalidParameter {
            name: "package",
            detail:
                "it is not sealed for this installation, whose key `countersign seal-key` prints"
                    .to_owned(),
        };
        let package = Package::from_text(&body.package).map_err(|_| wrong())?;
        if !door.hub.is_for_us(&package) {
            return Err(wrong());
        }
        facts.about(&id);
        let person = person_of(&door, &caller).await?;
        let requester = caller.requester(&person);
        let snapshot = door.hub.receive(id, package, requester).await?;
        Ok(started_response(
            snapshot.shown_to(caller.sight(&door).await?),
        ))
    })
    .await;
    facts.on(answer)
}

//! `/api/session` and `/api/login-links`: the caller, and logging a browser in and out.
//!
//! A session is opened only by this server's own page, with a token, a key or the code of a
//! login link, and never replaces another caller's unless the page asks for that.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::views::moment;
use crate::access::{Access, CODE_LIFETIME, Group, Role, Roles};
use crate::audit::Action;
use crate::http::FrontDoor;
use crate::http::edge::auth::{
    self, Administer, Caller, Known, Permission as _, Provenance, same_origin,
};
use crate::http::edge::body::{self, Expected, JsonBody, Wiped};
use crate::http::edge::cookie::{self, ByTls};
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Facts, caught};
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::refusals::WrongCredential;
use crate::http::edge::reply::no_store;

/// How a browser is logged in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogIn {
    /// The code of a login link, if there is no token or key in a header.
    #[schema(value_type = Option<String>)]
    code: Option<Wiped>,
    /// The caller whose session this replaces, if the browser is logged in as another.
    replace: Option<String>,
}

/// Logs a browser in
///
/// From this server's own page only. Sets a cookie for the caller, who presents a token or key in
/// a header, or the code of a link. A browser that is logged in as another caller stays logged in as that one
/// unless `replace` names it.
#[utoipa::path(
    post, path = "/api/session", tag = "session", operation_id = "logIn",
    request_body = LogIn,
    responses((
        status = OK, description = "The caller", body = WhoView<'static>,
        headers(("set-cookie" = Option<String>, description = "The session; none while access control is off")),
    )),
    extensions(
        ("x-audit" = json!(Action::LogIn)),
        ("x-roles" = json!(Known::ROLES)),
        ("x-problems" = json!([ProblemCode::LoginCodeOver, ProblemCode::SessionOfAnother, ProblemCode::InvalidParameter])),
    ),
)]
pub(super) async fn log_in(State(door): State<Arc<FrontDoor>>, request: Request) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let (parts, body) = request.into_parts();
        let from = same_origin(&parts.headers);
        if from == Provenance::Other {
            return Err(ApiError::CrossSite);
        }
        if auth::code_in_query(&parts.uri).is_some() {
            return Err(ApiError::InvalidParameter {
                name: "code",
                detail: "A key in an address does not log in. Send it as `Authorization: Bearer \
                     ...`, or the code of a link in the body."
                    .to_owned(),
            });
        }
        let shown = match auth::presented(&parts.headers, &parts.uri) {
            Some(credential) => Some(auth::holder(&credential, &door, &mut facts).await?),
            None => None,
        };
        if shown.is_some() && from != Provenance::Own {
            return Err(ApiError::SessionElsewhere);
        }
        if !body::is_json(&parts.headers) {
            return Err(match shown {
                Some(_) => ApiError::UnsupportedMediaType(Expected::Json),
                None => ApiError::Unauthenticated,
            });
        }
        let request = Request::from_parts(parts.clone(), body);
        let JsonBody(LogIn { code, replace }) = JsonBody::from_request(request, &door).await?;
        let now = door.clock.now();
        let identity = match (&shown, &code) {
            (Some(_), Some(_)) => {
                return Err(ApiError::InvalidParameter {
                    name: "code",
                    detail: "Send the code of a link or a token, not both.".to_owned(),
                });
            }
            (Some(identity), None) => Arc::clone(identity),
            (None, Some(code)) => {
                let whose = door.access.whose_login_code(code.as_str(), now).await?;
                whose.ok_or_else(|| login_code_over(&mut facts))?
            }
            (None, None) => door.access.anonymous().ok_or(ApiError::Unauthenticated)?,
        };
        if from != Provenance::Own {
            return Err(ApiError::SessionElsewhere);
        }
        // A name that resolves to this server may belong to an attacker, and so may the page under it,
        // so only known names are accepted.
        if !door.server.names.are_meant_by(&parts) {
            return Err(ApiError::UnknownName);
        }
        facts.caller = Some(Arc::clone(&identity));
        let caller = Caller::<Known>::of(&door, identity, &parts)?;
        let by_tls = ByTls::noted(&door, &parts);
        let former = former(&door, &caller, &parts, replace.as_deref(), &mut facts).await?;
        if let Some(code) = &code
            && !door.access.redeem_login_code(code.as_str(), now).await?
        {
            // Another request was faster.
            return Err(login_code_over(&mut facts));
        }
        let Some(value) = door.access.session(caller.identity(), now).await? else {
            return Ok(whoami(&caller));
        };
        for cookie in former {
            door.access.end_session(&cookie, now).await?;
        }
        tracing::info!(caller = caller.id(), "logged in");
        facts.cookies = cookie::set(&value, by_tls, &parts.uri, &parts.headers);
        Ok(whoami(&caller))
    })
    .await;
    facts.on(answer)
}

/// The problem with an invalid login code.
fn login_code_over(facts: &mut Facts) -> ApiError {
    facts.wrong = Some(WrongCredential::LoginCode);
    ApiError::LoginCodeOver
}

/// The sessions that logging in ends: those that the browser has, if they are the same
/// caller's or the one's that may be replaced.
async fn former(
    door: &FrontDoor,
    caller: &Caller<Known>,
    parts: &Parts,
    replace: Option<&str>,
    facts: &mut Facts,
) -> Result<Vec<String>, ApiError> {
    let by_tls = ByTls::noted(door, parts);
    let sent = cookie::sent(&parts.headers, by_tls);
    if let cookie::Sent::Several(_) = sent {
        facts.cookies = cookie::clear(by_tls, &parts.uri, &parts.headers);
        return Err(ApiError::SessionAmbiguous);
    }
    let mut former = Vec::new();
    for value in sent.values() {
        let Some(other) = door.access.resume(value, door.clock.now()).await? else {
            continue;
        };
        if other.id != caller.id() && replace != Some(other.id.as_str()) {
            return Err(ApiError::SessionOfAnother {
                caller: other.display_name.clone(),
            });
        }
        former.push((*value).to_owned());
    }
    Ok(former)
}

/// Shows the caller
#[utoipa::path(
    get, path = "/api/session", tag = "session", operation_id = "whoAmI",
    responses((status = OK, description = "The caller", body = WhoView<'static>)),
    extensions(("x-roles" = json!(Known::ROLES))),
)]
pub(super) async fn session(caller: Caller<Known>) -> Response {
    whoami(&caller)
}

/// Shows whether the caller is logged in
///
/// For pages, which ask before anybody has logged in: without a session, or with one that has
/// ended, the answer is null, where `GET /api/session` answers 401.
#[utoipa::path(
    get, path = "/api/session/current", tag = "session", operation_id = "currentSession",
    responses((status = OK, description = "The caller, if there is one", body = CurrentView<'static>)),
    extensions(("x-problems" = json!([
        ProblemCode::Unauthenticated, ProblemCode::TokenExpired, ProblemCode::TokenNotYetValid,
        ProblemCode::TokenAudience, ProblemCode::TokenInvalid, ProblemCode::IssuerUnavailable,
        ProblemCode::DatabaseUnavailable, ProblemCode::CrossSite, ProblemCode::SessionAmbiguous,
        ProblemCode::SessionChanged, ProblemCode::RoleMissing,
    ]))),
)]
pub(super) async fn current(caller: Result<Caller<Known>, ApiError>) -> Result<Response, ApiError> {
    match caller {
        Ok(caller) => Ok(answer(CurrentView {
            session: Some(who(&caller)),
        })),
        Err(ApiError::Unauthenticated) => {
            let facts = Facts {
                tells_caller: true,
                ..Facts::default()
            };
            Ok(facts.on(answer(CurrentView { session: None })))
        }
        Err(error) => Err(error),
    }
}

/// Logs a browser out
///
/// The session ends at the server, and the browser removes its cookie. It needs no caller.
#[utoipa::path(
    delete, path = "/api/session", tag = "session", operation_id = "logOut",
    responses((
        status = NO_CONTENT, description = "Logged out",
        headers(("set-cookie" = String, description = "An empty session, which has ended")),
    )),
    extensions(
        ("x-audit" = json!(Action::LogOut)),
        ("x-problems" = json!([ProblemCode::CrossSite])),
    ),
)]
pub(super) async fn log_out(State(door): State<Arc<FrontDoor>>, request: Request) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let (parts, _) = request.into_parts();
        let by_tls = ByTls::noted(&door, &parts);
        let sent = cookie::sent(&parts.headers, by_tls);
        let from = same_origin(&parts.headers);
        let is_own = match sent {
            cookie::Sent::Nothing => from != Provenance::Other,
            _ => from == Provenance::Own,
        };
        if !is_own {
            return Err(ApiError::CrossSite);
        }
        for value in sent.values() {
            let ended = door.access.end_session(value, door.clock.now());
            if let Some(identity) = ended.await? {
                tracing::info!(caller = identity.id, "logged out");
                facts.caller = Some(identity);
            }
        }
        facts.cookies = cookie::clear(by_tls, &parts.uri, &parts.headers);
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await;
    facts.on(answer)
}

/// The caller.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WhoView<'a> {
    /// The id under which its requests, decisions and audit entries are kept.
    caller: &'a str,
    /// The display name.
    display_name: &'a str,
    /// The highest role, for clients that expect a single one; null if it has none.
    #[schema(required)]
    role: Option<Role>,
    #[schema(value_type = Vec<Role>)]
    roles: Roles,
    groups: &'a [Group],
    /// Whether it reads only the accounts that were granted to it.
    granted_only: bool,
}

/// The caller, or null.
#[derive(Serialize, ToSchema)]
struct CurrentView<'a> {
    /// Null if nobody is logged in.
    #[schema(required)]
    session: Option<WhoView<'a>>,
}

fn whoami(caller: &Caller<Known>) -> Response {
    answer(who(caller))
}

fn answer(view: impl Serialize) -> Response {
    no_store(Json(view).into_response())
}

fn who(caller: &Caller<Known>) -> WhoView<'_> {
    let roles = caller.roles();
    WhoView {
        caller: caller.id(),
        display_name: caller.display_name(),
        role: [Role::Admin, Role::Approver, Role::Enroller, Role::Reader]
            .into_iter()
            .find(|role| roles.contains(*role)),
        roles,
        groups: caller.groups(),
        granted_only: Access::is_limited(caller.identity()),
    }
}

/// A link that logs a browser in, once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LinkView {
    /// The link's path, to be opened at this server's address. The part after `#` is the
    /// code, which browsers do not send to servers.
    link: String,
    /// The whole address, if the settings name one where people reach the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Until when it can be used.
    #[serde(serialize_with = "moment")]
    valid_until: DateTime<Utc>,
}

/// The path of the link with this code.
pub(crate) fn login_link(code: &str) -> String {
    format!("/login#code={code}")
}

/// Creates a login link
///
/// It logs one browser in as the caller, once, within ten minutes. For callers
/// with a key or the administrator's token.
#[utoipa::path(
    post, path = "/api/login-links", tag = "session", operation_id = "makeLoginLink",
    responses((status = CREATED, description = "The link", body = LinkView)),
    extensions(
        ("x-audit" = json!(Action::MakeLoginLink)),
        ("x-roles" = json!(Administer::ROLES)),
        ("x-problems" = json!([ProblemCode::NoSessionForCaller])),
    ),
)]
pub(super) async fn make_link(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Administer>,
) -> Result<Response, ApiError> {
    let now = door.clock.now();
    let code = door.access.login_code(caller.identity(), now).await?;
    let code = code.ok_or(ApiError::NoSessionForCaller)?;
    let link = login_link(&code);
    let public = door.server.public_url.as_ref();
    let view = LinkView {
        url: public
            .and_then(|url| url.join(&link).ok())
            .map(String::from),
        link,
        valid_until: now + CODE_LIFETIME,
    };
    Ok(no_store((StatusCode::CREATED, Json(view)).into_response()))
}

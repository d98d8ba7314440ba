//! Who calls: from a request's headers to a caller that may do one kind of thing.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::FrontDoor;
use super::arrival::{self, Arrival, Gone, Place};
use super::enrollments::no_store;
use super::error::ApiError;
use super::names;
use super::refusals::public_part;
use crate::access::{Access, COOKIE, Group, Identity, LIFETIME, Role, Roles};
use crate::enrollments::Decider;

/// The header for keys on Azure Functions.
pub(super) const FUNCTIONS_KEY: &str = "x-functions-key";
/// The header of HashiCorp Vault's clients.
pub(super) const VAULT_TOKEN: &str = "x-vault-token";
/// The headers that can say who calls.
pub(super) const CREDENTIALS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static(FUNCTIONS_KEY),
    HeaderName::from_static(VAULT_TOKEN),
    header::COOKIE,
];

/// A kind of thing to do, and the roles that may.
pub(crate) trait Permission: Send + Sync + 'static {
    const ROLES: &'static [Role];
    /// The roles in words, for the caller who has none of them.
    const NEEDS: &'static str;
}

macro_rules! permission {
    ($(#[$doc:meta])* $name:ident, [$($role:ident),+], $needs:literal) => {
        $(#[$doc])*
        pub(crate) enum $name {}

        impl Permission for $name {
            const ROLES: &'static [Role] = &[$(Role::$role),+];
            const NEEDS: &'static str = $needs;
        }
    };
}

permission!(
    /// Starting enrollments, and ending one's own.
    Enroll, [Enroller, Admin], "enroller"
);
permission!(
    /// Seeing enrollments: an enroller its own, the others all.
    Follow, [Enroller, Approver, Admin], "enroller or approver"
);
permission!(
    /// Deciding on enrollments.
    Decide, [Approver, Admin], "approver"
);
permission!(
    /// Seeing accounts and codes.
    Read, [Reader, Admin], "reader"
);
permission!(
    /// Changing and removing accounts, and reading the audit record.
    Administer, [Admin], "admin"
);
permission!(
    /// Anything that every known caller may do.
    Known, [Enroller, Approver, Reader, Admin], "enroller, approver, reader or admin"
);

/// A caller that may do `P`. Being one is the only proof of it that handlers get,
/// and taking one from a request is the only way to make it.
pub(crate) struct Caller<P> {
    identity: Arc<Identity>,
    arrival: Arc<Arrival>,
    gone: Option<Gone>,
    /// Counts among the caller's requests while this is there; none if the request is a
    /// part of one that counts.
    _place: Option<Arc<Place>>,
    /// Whether it asked by HEAD.
    without_body: bool,
    permission: PhantomData<fn() -> P>,
}

impl<P> Caller<P> {
    /// Under this its requests, decisions and records are kept; unique.
    pub(crate) fn id(&self) -> &str {
        &self.identity.id
    }

    /// What people call it; two callers may have the same.
    pub(crate) fn display_name(&self) -> &str {
        &self.identity.display_name
    }

    /// What it may do, beyond what this proof is for.
    pub(crate) fn roles(&self) -> Roles {
        self.identity.roles
    }

    /// The groups it is in.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.identity.groups
    }

    /// The caller as somebody who decides.
    pub(crate) fn decider(&self) -> Decider<'_> {
        Decider {
            id: self.id(),
            groups: self.groups(),
        }
    }

    /// Whether what it asked for is left out of the answer.
    pub(crate) const fn gets_no_body(&self) -> bool {
        self.without_body
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Refuses to go on if the caller may no longer: to be asked after every wait, before
    /// anything is given or done.
    pub(super) async fn again(&self) -> Result<(), ApiError> {
        self.arrival.again().await
    }

    /// What comes of work, for as long as the caller waits for it; then the caller may
    /// still have it, or there is a reason why not.
    pub(super) async fn unless_gone<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ApiError>
    where
        ApiError: std::convert::From<E>,
    {
        let done = match &self.gone {
            Some(gone) => gone.unless(work).await??,
            None => work.await?,
        };
        self.again().await?;
        Ok(done)
    }

    /// Whose enrollments the caller sees: its own only, unless it decides on others'.
    pub(crate) fn sees_only(&self) -> Option<&str> {
        let sees_all = self.roles().any_of(&[Role::Approver, Role::Admin]);
        (!sees_all).then_some(self.id())
    }
}

impl<P: Permission> FromRequestParts<Arc<FrontDoor>> for Caller<P> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<FrontDoor>) -> Result<Self, ApiError> {
        // Every request that comes to a handler has been through the middleware.
        let arrival = Arrival::of(&parts.extensions).ok_or(ApiError::Unauthenticated)?;
        let identity = arrival.identity()?;
        if !identity.roles.any_of(P::ROLES) {
            return Err(ApiError::Forbidden { needs: P::NEEDS });
        }
        Ok(Self {
            identity,
            gone: Gone::of(&parts.extensions),
            _place: arrival::place(&parts.extensions),
            arrival,
            without_body: parts.method == Method::HEAD,
            permission: PhantomData,
        })
    }
}

#[derive(Deserialize)]
struct CodeQuery {
    code: Option<String>,
}

/// Whether it may take a while to find out who calls, since the issuer of a token has to be
/// asked or a signature checked.
pub(super) fn waits_for_issuer(parts: &Parts, door: &FrontDoor) -> bool {
    presented(parts)
        .is_some_and(|credential| door.access.is_new_token(&credential, door.clock.now()))
}

/// Who calls; nobody if nothing is presented that could say so.
pub(super) async fn identify(
    parts: &Parts,
    door: &FrontDoor,
) -> Result<Option<Arc<Identity>>, ApiError> {
    // What is presented counts, even if it is wrong: falling back to a weaker proof
    // would hide the mistake.
    if let Some(credential) = presented(parts) {
        let now = door.clock.now();
        let identity = door.access.authenticate(&credential, now).await?;
        return identity.map(Some).ok_or(ApiError::CredentialUnknown);
    }
    let headers = &parts.headers;
    let changes = !matches!(parts.method, Method::GET | Method::HEAD);
    if let Some(cookie) = cookie(headers) {
        let identity = door.access.resume(cookie, door.clock.now())?;
        if identity.is_some() && !door.surroundings.names.are_meant_by(parts) {
            return Err(ApiError::UnknownName);
        }
        if identity.is_some() && changes && !from_own_page(headers, false) {
            return Err(ApiError::CrossSite);
        }
        if identity.is_some() {
            return Ok(identity);
        }
    }
    let anonymous = door.access.anonymous();
    // Without access control a browser on this machine could be led here by any page,
    // also under another name that resolves to this machine.
    if anonymous.is_some() && !(from_own_page(headers, true) && is_local(names::host_of(parts))) {
        return Err(ApiError::CrossSite);
    }
    Ok(anonymous)
}

fn presented(parts: &Parts) -> Option<zeroize::Zeroizing<String>> {
    let text = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(value) = text(header::AUTHORIZATION.as_str()) {
        let token = match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => "",
        };
        return Some(token.to_owned().into());
    }
    if let Some(value) = text(FUNCTIONS_KEY).or_else(|| text(VAULT_TOKEN)) {
        return Some(value.to_owned().into());
    }
    code_in_query(&parts.uri).map(Into::into)
}

/// The public part of the key that a request was made with, whether it is right or not.
pub(super) fn key_tried(request: &Request) -> Option<String> {
    let texts = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    let bearer = texts(header::AUTHORIZATION.as_str()).and_then(|v| v.split_once(' '));
    let tried = bearer
        .map(|(_, token)| token.trim())
        .or_else(|| texts(FUNCTIONS_KEY))
        .or_else(|| texts(VAULT_TOKEN));
    let in_query = tried
        .is_none()
        .then(|| code_in_query(request.uri()))
        .flatten();
    public_part(tried.or(in_query.as_deref())?).map(str::to_owned)
}

fn code_in_query(uri: &Uri) -> Option<String> {
    let query = Query::<CodeQuery>::try_from_uri(uri).ok()?;
    query.0.code
}

/// The key in a request's query as the header that does the same.
pub(super) fn key_in_query(parts: &Parts) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_str(&code_in_query(&parts.uri)?).ok()?;
    Some((HeaderName::from_static(FUNCTIONS_KEY), value))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

/// Whether this server's own page made the request, or, if `or_no_page`, something
/// that is no page at all.
pub(super) fn from_own_page(headers: &HeaderMap, or_no_page: bool) -> bool {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin" || (or_no_page && site == "none");
    }
    match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, from)| from == host),
        (Some(_), None) => false,
        (None, _) => or_no_page,
    }
}

/// Whether a name is one of this machine's; no browser leaves it out.
fn is_local(host: Option<&str>) -> bool {
    let Some(host) = host else {
        return true;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// Logs a browser in
///
/// A cookie for the caller, which has shown a token or key.
#[utoipa::path(
    post, path = "/api/session", tag = "session", operation_id = "logIn",
    responses((
        status = OK, description = "Who the caller is", body = WhoView<'static>,
        headers(("set-cookie" = Option<String>, description = "The session; none while access control is off")),
    )),
    extensions(("x-roles" = json!(Known::ROLES))),
)]
pub(super) async fn log_in(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Known>,
) -> Result<Response, ApiError> {
    let now = door.clock.now();
    let mut response = whoami(&caller);
    if let Some(value) = door.access.session(caller.identity(), now) {
        tracing::info!(caller = caller.id(), "logged in");
        set_cookie(&door, &mut response, &value, LIFETIME.num_seconds());
    }
    Ok(response)
}

/// Says who calls
#[utoipa::path(
    get, path = "/api/session", tag = "session", operation_id = "whoAmI",
    responses((status = OK, description = "Who the caller is", body = WhoView<'static>)),
    extensions(("x-roles" = json!(Known::ROLES))),
)]
pub(super) async fn session(caller: Caller<Known>) -> Response {
    whoami(&caller)
}

/// Logs a browser out
///
/// The browser forgets its cookie. It needs no caller.
#[utoipa::path(
    delete, path = "/api/session", tag = "session", operation_id = "logOut",
    responses((
        status = NO_CONTENT, description = "Logged out",
        headers(("set-cookie" = String, description = "An empty session that is over")),
    )),
)]
pub(super) async fn log_out(State(door): State<Arc<FrontDoor>>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&door, &mut response, "", 0);
    response
}

/// Who a caller is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WhoView<'a> {
    /// Under this its requests, decisions and records are kept.
    caller: &'a str,
    /// What people call it.
    display_name: &'a str,
    /// The role that says most, for those who expect one; null if it has none.
    #[schema(required)]
    role: Option<Role>,
    #[schema(value_type = Vec<Role>)]
    roles: Roles,
    groups: &'a [Group],
    /// Whether it reads only the accounts that were granted to it.
    granted_only: bool,
}

fn whoami(caller: &Caller<Known>) -> Response {
    let roles = caller.roles();
    let who = WhoView {
        caller: caller.id(),
        display_name: caller.display_name(),
        role: [Role::Admin, Role::Approver, Role::Enroller, Role::Reader]
            .into_iter()
            .find(|role| roles.contains(*role)),
        roles,
        groups: caller.groups(),
        granted_only: Access::is_limited(caller.identity()),
    };
    no_store(Json(who).into_response())
}

fn set_cookie(door: &FrontDoor, response: &mut Response, value: &str, seconds: i64) {
    let secure = if door.surroundings.tls {
        "; Secure"
    } else {
        ""
    };
    let cookie =
        format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    axum::http::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn other_sites_are_told_from_our_page_and_from_no_page() {
        let own = headers(&[("sec-fetch-site", "same-origin")]);
        let other = headers(&[("sec-fetch-site", "cross-site")]);
        let typed = headers(&[("sec-fetch-site", "none")]);
        let old_own = headers(&[("origin", "http://h:1"), ("host", "h:1")]);
        let old_other = headers(&[("origin", "http://evil"), ("host", "h:1")]);
        let curl = headers(&[("host", "h:1")]);
        let table = [
            (&own, true, true),
            (&other, false, false),
            (&typed, false, true),
            (&old_own, true, true),
            (&old_other, false, false),
            (&curl, false, true),
        ];
        for (headers, page, anything) in table {
            assert_eq!(from_own_page(headers, false), page, "{headers:?}");
            assert_eq!(from_own_page(headers, true), anything, "{headers:?}");
        }
    }

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost:7071", "127.0.0.1", "127.0.0.1:1", "[::1]:7071"] {
            assert!(is_local(Some(host)), "{host}");
        }
        for host in ["evil.example:7071", "10.0.0.1", "localhost.evil.example"] {
            assert!(!is_local(Some(host)), "{host}");
        }
    }
}

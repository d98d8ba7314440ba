//! Authentication: from a request's headers to a caller with one permission.

use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use countersign_enrollment::ids::EnrollmentId;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::arrival::{self, Arrival, Gone, OccupiedPlaces};
use super::cookie::{self, ByTls, Sent};
use super::error::ApiError;
use super::facts::Facts;
use super::names;
use super::refusals::{WrongCredential, public_part};
use crate::access::{Group, Identity, Role, Roles};
use crate::audit::SessionMark;
use crate::http::FrontDoor;
use crate::hub::{Decider, Requester};

/// The header for keys on Azure Functions.
pub(crate) const FUNCTIONS_KEY: &str = "x-functions-key";
/// The header of HashiCorp Vault's clients.
pub(crate) const VAULT_TOKEN: &str = "x-vault-token";
/// The header in which the page names the caller that it shows: a request for a caller who is no longer
/// logged in is refused, rather than done as another.
pub(crate) const SHOWN_CALLER: &str = "x-countersign-caller";
/// The headers that can carry a credential.
pub(crate) const CREDENTIALS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static(FUNCTIONS_KEY),
    HeaderName::from_static(VAULT_TOKEN),
    header::COOKIE,
];

/// A permission, and the roles that have it.
pub(crate) trait Permission: Send + Sync + 'static {
    const ROLES: &'static [Role];
    /// The roles in words, for a caller without any of them.
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
    /// Seeing enrollments: enrollers their own, others all.
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
    /// Changing and removing accounts, and reading the audit log.
    Administer, [Admin], "admin"
);
permission!(
    /// Anything that every authenticated caller may do.
    Known, [Enroller, Approver, Reader, Admin], "enroller, approver, reader or admin"
);

/// A caller with the permission `P`. This value is the only proof of it that handlers get,
/// and extracting it from a request is the only way to create it.
pub(crate) struct Caller<P> {
    identity: Arc<Identity>,
    arrival: Arc<Arrival>,
    gone: Option<Gone>,
    /// The caller's place, held while this exists; none if the request is a
    /// part of another that holds one.
    _place: Option<Arc<OccupiedPlaces>>,
    /// Whether the method is HEAD.
    without_body: bool,
    permission: PhantomData<fn() -> P>,
}

impl<P> Caller<P> {
    /// The unique id under which its requests, decisions and audit entries are kept.
    pub(crate) fn id(&self) -> &str {
        &self.identity.id
    }

    /// The display name; two callers may have the same.
    pub(crate) fn display_name(&self) -> &str {
        &self.identity.display_name
    }

    /// All its roles.
    pub(crate) fn roles(&self) -> Roles {
        self.identity.roles
    }

    /// The groups it is in.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.identity.groups
    }

    /// The caller as an approver.
    pub(crate) fn decider<'a>(&'a self, person: &'a str) -> Decider<'a> {
        Decider {
            id: self.id(),
            person,
            groups: self.groups(),
        }
    }

    /// The caller as a requester.
    pub(crate) fn requester<'a>(&'a self, person: &'a str) -> Requester<'a> {
        Requester {
            id: self.id(),
            person,
        }
    }

    /// Whether the body is left out of the answer.
    pub(crate) const fn gets_no_body(&self) -> bool {
        self.without_body
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Which accounts the caller may see, of those that something else names.
    pub(crate) async fn sight(
        &self,
        door: &FrontDoor,
    ) -> Result<impl Fn(&EnrollmentId) -> bool + Clone + use<P>, ApiError> {
        let reads = self.roles().any_of(Read::ROLES);
        let granted = match reads {
            true => {
                door.access
                    .readable(&self.identity, door.clock.now())
                    .await?
            }
            false => None,
        };
        let granted = granted.map(HashSet::<String>::from_iter);
        Ok(move |id: &EnrollmentId| {
            reads && granted.as_ref().is_none_or(|ids| ids.contains(id.as_str()))
        })
    }

    /// Refuses to continue if the caller may no longer: to be called after every wait, before
    /// anything is given or done.
    pub(crate) async fn reauthenticate(&self) -> Result<(), ApiError> {
        self.arrival.reauthenticate().await
    }

    /// Runs work while the caller waits for it; then checks that the caller may
    /// still have the result.
    pub(crate) async fn unless_gone<T, E>(
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
        self.reauthenticate().await?;
        Ok(done)
    }

    /// The requester whose enrollments the caller may see: itself, unless it is an approver.
    pub(crate) fn sees_only(&self) -> Option<&str> {
        let sees_all = self.roles().any_of(&[Role::Approver, Role::Admin]);
        (!sees_all).then_some(self.id())
    }
}

impl<P: Permission> FromRequestParts<Arc<FrontDoor>> for Caller<P> {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        door: &Arc<FrontDoor>,
    ) -> Result<Self, ApiError> {
        // Every request that reaches a handler has passed the middleware.
        let arrival = Arrival::of(&parts.extensions).ok_or(ApiError::Unauthenticated)?;
        let identity = arrival.identity()?;
        shows(&parts.headers, &identity)?;
        Self::known(door, identity, arrival, parts)
    }
}

/// Whether the caller logged in may differ from the one that the page shows.
fn shows(headers: &HeaderMap, identity: &Identity) -> Result<(), ApiError> {
    match headers.get(SHOWN_CALLER) {
        Some(shown) if shown.as_bytes() != identity.id.as_bytes() => Err(ApiError::SessionChanged),
        _ => Ok(()),
    }
}

impl<P: Permission> Caller<P> {
    /// A caller that was recognized as `identity` by something in the request itself, such as
    /// the code of a link, if it may do this.
    pub(crate) fn of(
        door: &FrontDoor,
        identity: Arc<Identity>,
        parts: &Parts,
    ) -> Result<Self, ApiError> {
        tracing::Span::current().record("caller", identity.id.as_str());
        let arrival = Arrival::of(&parts.extensions).ok_or(ApiError::Unauthenticated)?;
        Self::known(door, identity, arrival, parts)
    }

    fn known(
        door: &FrontDoor,
        identity: Arc<Identity>,
        arrival: Arc<Arrival>,
        parts: &Parts,
    ) -> Result<Self, ApiError> {
        if !identity.roles.any_of(P::ROLES) {
            return Err(ApiError::Forbidden { needs: P::NEEDS });
        }
        door.operations.check_parameters(parts)?;
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

/// The credential that a request claims.
pub(crate) enum Claim {
    /// A token or key.
    Credential(Zeroizing<String>),
    /// Only what a browser sends on its own.
    Browser(Box<Parts>),
}

impl Claim {
    /// The claim of `request`. Nothing else of it is kept.
    pub(crate) fn of(request: &Request) -> Self {
        if let Some(credential) = presented(request.headers(), request.uri()) {
            return Self::Credential(credential);
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = request.method().clone();
        parts.uri = request.uri().clone();
        parts.headers = request.headers().clone();
        if let Some(by_tls) = request.extensions().get::<ByTls>() {
            parts.extensions.insert(*by_tls);
        }
        Self::Browser(Box::new(parts))
    }

    /// Whether checking may take a while, since a token's issuer has to be asked or a
    /// signature verified.
    pub(crate) fn waits_for_issuer(&self, door: &FrontDoor) -> bool {
        match self {
            Self::Credential(credential) => door.access.is_new_token(credential, door.clock.now()),
            Self::Browser(_) => false,
        }
    }
}

/// The caller with this token or key.
pub(crate) async fn holder(
    credential: &str,
    door: &FrontDoor,
    facts: &mut Facts,
) -> Result<Arc<Identity>, ApiError> {
    let found = door.access.authenticate(credential, door.clock.now()).await;
    let identity = found
        .map_err(ApiError::from)
        .and_then(|identity| identity.ok_or(ApiError::CredentialUnknown));
    if let Err(ApiError::CredentialUnknown | ApiError::Token(_)) = &identity {
        facts.wrong = Some(WrongCredential::Key);
        facts.tried = public_part(credential).map(str::to_owned);
    }
    identity
}

/// The caller; none if no credential is presented.
pub(crate) async fn identify(
    claim: &Claim,
    door: &FrontDoor,
    facts: &mut Facts,
) -> Result<Option<Arc<Identity>>, ApiError> {
    let parts = match claim {
        // A presented credential counts, even if it is wrong: falling back to a weaker one
        // would hide the mistake.
        Claim::Credential(credential) => return holder(credential, door, facts).await.map(Some),
        Claim::Browser(parts) => parts,
    };
    if let Some(identity) = logged_in(parts, door, facts).await? {
        return Ok(Some(identity));
    }
    let anonymous = door.access.anonymous();
    // Without access control a browser on this machine could be led here by any page,
    // also under another name that resolves to this machine.
    let headers = &parts.headers;
    if anonymous.is_some() && !(from_own_page(headers, true) && is_local(names::host_of(parts))) {
        return Err(ApiError::CrossSite);
    }
    Ok(anonymous)
}

/// Whose session the request's cookie is for. With a cookie only requests of this server's
/// own page count, readings included: a page elsewhere must neither change anything nor use
/// up what can be read a few times.
async fn logged_in(
    parts: &Parts,
    door: &FrontDoor,
    facts: &mut Facts,
) -> Result<Option<Arc<Identity>>, ApiError> {
    let headers = &parts.headers;
    let by_tls = ByTls::noted(door, parts);
    let from = same_origin(headers);
    let value = match cookie::sent(headers, by_tls) {
        Sent::Nothing => return Ok(None),
        Sent::Several(_) if from == Provenance::Other => return Err(ApiError::CrossSite),
        Sent::Several(_) => {
            facts.cookies = cookie::clear(by_tls, &parts.uri, headers);
            return Err(ApiError::SessionAmbiguous);
        }
        Sent::One(value) => value,
    };
    let Some(identity) = door.access.resume(value, door.clock.now()).await? else {
        facts.wrong = Some(WrongCredential::Session);
        if from != Provenance::Other {
            facts.cookies = cookie::clear_beside(by_tls, &parts.uri, headers);
        }
        return Ok(None);
    };
    if !door.server.names.are_meant_by(parts) {
        return Err(ApiError::UnknownName);
    }
    let is_own = match from {
        Provenance::Own => true,
        // For browsers that do not send the origin of a reading: no other site's page can send
        // this header without a preflight, which would be refused.
        Provenance::Unsaid => parts.method.is_safe() && headers.contains_key(SHOWN_CALLER),
        Provenance::Typed | Provenance::Other => false,
    };
    if is_own {
        Ok(Some(identity))
    } else {
        Err(ApiError::CrossSite)
    }
}

/// Identifies the browser session of a request; none if it presents another
/// credential, which takes precedence.
pub(crate) fn session_mark(door: &FrontDoor, request: &Request) -> Option<SessionMark> {
    let headers = request.headers();
    let other = [header::AUTHORIZATION.as_str(), FUNCTIONS_KEY, VAULT_TOKEN];
    if other.iter().any(|name| headers.contains_key(*name))
        || code_in_query(request.uri()).is_some()
    {
        return None;
    }
    let noted = request.extensions().get::<ByTls>().copied();
    let Sent::One(value) = cookie::sent(headers, noted.unwrap_or(ByTls(door.server.tls))) else {
        return None;
    };
    let digest = Sha256::digest(value);
    digest.get(..size_of::<SessionMark>())?.try_into().ok()
}

/// The token or key that a request presents; none for one that comes by a session.
pub(crate) fn presented(headers: &HeaderMap, uri: &Uri) -> Option<Zeroizing<String>> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
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
    code_in_query(uri).map(Into::into)
}

pub(crate) fn code_in_query(uri: &Uri) -> Option<String> {
    uri.query()?;
    let query = Query::<CodeQuery>::try_from_uri(uri).ok()?;
    query.0.code
}

/// The key in a request's query, as the equivalent header.
pub(crate) fn key_in_query(parts: &Parts) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_str(&code_in_query(&parts.uri)?).ok()?;
    Some((HeaderName::from_static(FUNCTIONS_KEY), value))
}

/// Where a request comes from, according to the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provenance {
    /// A page of this server's own origin.
    Own,
    /// A page of another origin, even of the same site.
    Other,
    /// No page: a person typed the address, or another program opened it.
    Typed,
    /// Unknown: not a browser, or an old one.
    Unsaid,
}

/// Whether a request comes from a page of this server's own origin. This is the only place that
/// decides that.
pub(crate) fn same_origin(headers: &HeaderMap) -> Provenance {
    let mut sites = headers.get_all("sec-fetch-site").iter().peekable();
    if sites.peek().is_some() {
        let all = |wanted: &str| {
            let mut sites = headers.get_all("sec-fetch-site").iter();
            sites.all(|site| site.as_bytes() == wanted.as_bytes())
        };
        return match () {
            () if all("same-origin") => Provenance::Own,
            () if all("none") => Provenance::Typed,
            () => Provenance::Other,
        };
    }
    let text = |name: HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or_default());
    let host = text(header::HOST);
    let is_own = |address: &str| {
        let from = address.split_once("://").map(|(_, rest)| rest);
        let from = from.and_then(|rest| rest.split('/').next());
        from.is_some() && from == host
    };
    match (text(header::ORIGIN), text(header::REFERER)) {
        (Some(origin), _) if is_own(origin) => Provenance::Own,
        (Some(_), _) => Provenance::Other,
        (None, Some(page)) if !is_own(page) => Provenance::Other,
        (None, _) => Provenance::Unsaid,
    }
}

/// Whether this server's own page made the request, or, with `or_no_page`, a program
/// that is not a web page.
pub(crate) fn from_own_page(headers: &HeaderMap, or_no_page: bool) -> bool {
    match same_origin(headers) {
        Provenance::Own => true,
        Provenance::Other => false,
        Provenance::Typed | Provenance::Unsaid => or_no_page,
    }
}

/// Whether the request's host is this machine; browsers always send it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_sites_are_distinguished_from_our_page_and_from_no_page() {
        use Provenance::{Other, Own, Typed, Unsaid};
        let host = ("host", "h:1");
        let fetched = |site| ("sec-fetch-site", site);
        let table: [(&[(&'static str, &'static str)], Provenance); 14] = [
            (&[fetched("same-origin")], Own),
            (
                &[fetched("same-origin"), ("origin", "http://evil"), host],
                Own,
            ),
            (
                &[fetched("same-site"), ("origin", "http://h:1"), host],
                Other,
            ),
            (&[fetched("cross-site")], Other),
            (&[fetched("same-origin"), fetched("cross-site")], Other),
            (&[fetched("none")], Typed),
            (&[("origin", "http://h:1"), host], Own),
            (&[("origin", "http://h:2"), host], Other),
            (&[("origin", "http://h:1")], Other),
            (&[("origin", "null"), host], Other),
            (
                &[("origin", "http://h:1"), ("referer", "http://evil/"), host],
                Own,
            ),
            (&[("referer", "http://evil/h:1"), host], Other),
            (&[("referer", "http://h:1/docs"), host], Unsaid),
            (&[host], Unsaid),
        ];
        for (sent, expected) in table {
            let mut map = HeaderMap::new();
            for (name, value) in sent {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(same_origin(&map), expected, "{sent:?}");
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

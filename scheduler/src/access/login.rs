//! How a browser logs in to the dashboard with a ticket, stays logged in, and logs out.

use std::time::SystemTime;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::Access;
use super::tickets::SESSION_LIFE;

/// How HTTP requests are authenticated.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) access: Access,
    /// Whether browsers use HTTPS.
    pub(crate) tls: bool,
}

/// The session cookie, and its name under TLS, where browsers accept it only from this
/// host.
const COOKIE: &str = "durabletask_dashboard";
const COOKIE_TLS: &str = "__Host-durabletask_dashboard";

const fn cookie_name(tls: bool) -> &'static str {
    if tls { COOKIE_TLS } else { COOKIE }
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    ticket: String,
    /// The page to show afterwards.
    #[serde(default)]
    to: String,
}

/// `/login` and `/logout`, which need no credential; none without tickets.
pub(crate) fn routes(asking: &Asking) -> Router {
    if asking.access.logins.is_none() {
        return Router::new();
    }
    Router::new()
        .route("/login", get(log_in))
        .route("/logout", post(log_out))
        .with_state(asking.clone())
}

async fn log_in(
    State(asking): State<Asking>,
    method: Method,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let Some(logins) = &asking.access.logins else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // Neither is a person following a link, so neither uses it up.
    if method == Method::HEAD || headers.contains_key("sec-purpose") {
        return page(None, &logins.how);
    }
    let Some(Query(wanted)) = wanted.ok().filter(|wanted| !wanted.ticket.is_empty()) else {
        return page(None, &logins.how);
    };
    match logins.redeem(&wanted.ticket, &asking.access.known(), SystemTime::now()) {
        Ok(secret) => welcome(&secret, asking.tls, &wanted.to),
        Err(refused) => {
            tracing::debug!(reason = %refused, "a ticket for the dashboard was refused");
            asking.access.refusals.note("login", None);
            page(Some(&refused.to_string()), &logins.how)
        }
    }
}

async fn log_out(State(asking): State<Asking>, request: Request) -> Response {
    let secret = session_of(&request, asking.tls);
    if let (Some(logins), Some(secret)) = (&asking.access.logins, secret) {
        logins.end(&secret);
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut response, asking.tls, "", 0);
    response
}

/// A page that continues by itself. Not a redirect: after one that started on another site's
/// page, a browser would not send the cookie yet.
fn welcome(secret: &str, tls: bool, to: &str) -> Response {
    let plain = to.starts_with('/')
        && to
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte));
    let to = if plain { to } else { "/" };
    let body = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Task hubs</title>\n\
         <meta http-equiv=\"refresh\" content=\"0; url=/#{to}\">\n\
         <p>You are logged in. <a href=\"/#{to}\">Continue to the dashboard</a>.</p>\n</html>\n"
    );
    let mut response = Html(body).into_response();
    set_cookie(&mut response, tls, secret, SESSION_LIFE.as_secs());
    not_stored(response)
}

/// What a browser without a session sees.
pub(super) fn page(reason: Option<&str>, how: &str) -> Response {
    let reason = reason.map_or_else(String::new, |reason| format!("<p>{}</p>\n", text(reason)));
    let body = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Log in</title>\n\
         <h1>Log in</h1>\n{reason}<p>{}</p>\n</html>\n",
        text(how)
    );
    let mut response = (StatusCode::UNAUTHORIZED, Html(body)).into_response();
    let bearer = HeaderValue::from_static("Bearer realm=\"durabletask-scheduler\"");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, bearer);
    not_stored(response)
}

fn text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The response, which browsers and proxies must not store.
pub(crate) fn not_stored(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

fn set_cookie(response: &mut Response, tls: bool, secret: &str, seconds: u64) {
    let name = cookie_name(tls);
    let secure = if tls { "; Secure" } else { "" };
    let cookie =
        format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// The secret in a request's cookie, if it is valid: there is only one of the name, and
/// the request does not come from another site's page. Another port of this host is
/// another site here, though browsers send it the same cookies.
pub(super) fn session_of(request: &Request, tls: bool) -> Option<String> {
    let headers = request.headers();
    let from = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let own = matches!(from, None | Some(b"same-origin" | b"none"));
    let followed = request.method() == Method::GET
        && headers.get("sec-fetch-mode").map(HeaderValue::as_bytes) == Some(b"navigate")
        && request.uri().path() == "/";
    if !own && !followed {
        return None;
    }
    let name = cookie_name(tls);
    let mut secrets = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|pairs| pairs.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, secret)| secret.to_owned());
    let secret = secrets.next()?;
    // Of two, one was set by another program.
    secrets.next().is_none().then_some(secret)
}

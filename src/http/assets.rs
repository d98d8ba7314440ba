//! The page: files in the program, nothing from anywhere else, compressed for browsers.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{FrontDoor, icons};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const MANIFEST: &str = "application/manifest+json";

/// The page may load its own files and talk to its own server; `blob:` is for previewing
/// the chosen image. No text becomes a script except through the one policy that
/// the page declares, which allows only the address of its own worker.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self' blob:; manifest-src 'self'; worker-src 'self'; \
     form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types countersign";

/// The scheduler's dashboard builds its elements the same way and looks the same, and its
/// package must be independent, so these files are kept there.
const SHARED: [&str; 2] = ["dom.js", "theme.css"];

macro_rules! files {
    ($($kind:ident: $($name:literal)+;)+) => {
        /// Name, type and text of each file in `web/`, and of the shared ones.
        const FILES: &[(&str, &str, &str)] = &[
            (SHARED[0], SCRIPT, include_str!("../../scheduler/src/dashboard/static/dom.js")),
            (SHARED[1], CSS, include_str!("../../scheduler/src/dashboard/static/theme.css")),
            $($(($name, $kind, include_str!(concat!("../../web/", $name))),)+)+
        ];
    };
}

files! {
    HTML: "index.html";
    CSS: "style.css";
    SVG: "icon.svg";
    MANIFEST: "manifest.webmanifest";
    SCRIPT: "account-changes.js" "account-row.js" "accounts.js" "add.js" "api.js" "app.js"
        "approvals.js" "codes.js" "favourites.js" "follow.js" "format.js" "glyphs.js"
        "icon-key.js" "icons.js" "keys.js" "leases.js" "login.js" "names.js" "notice.js"
        "operations.js" "pages.js" "palette.js" "picks.js" "picture.js" "preferences.js" "proof.js" "record.js"
        "recovery.js" "requests.js" "secret.js" "selection.js" "settings.js" "shortcuts.js"
        "text-de.js" "text-en.js" "text.js" "theme.js" "work.js" "worker.js";
}

/// Path, type and text of each file of the page that shows the API's description.
const REFERENCE: [(&str, &str, &str); 3] = [
    ("/docs", HTML, include_str!("reference/index.html")),
    (
        "/docs/reference.css",
        CSS,
        include_str!("reference/reference.css"),
    ),
    (
        "/docs/reference.js",
        SCRIPT,
        include_str!("reference/reference.js"),
    ),
];

/// A path for every file; the page itself is at `/`, and at `/login` for login links.
pub(super) fn router() -> Router<Arc<FrontDoor>> {
    let page = FILES
        .iter()
        .fold(Router::new(), |router, &(name, kind, text)| {
            let served = served(kind, text);
            match name {
                "index.html" => router.route("/", served.clone()).route("/login", served),
                // What a browser asks for while it shows an answer that is no page.
                "icon.svg" => router
                    .route("/icon.svg", served.clone())
                    .route("/favicon.ico", served),
                _ => router.route(&format!("/{name}"), served),
            }
        });
    REFERENCE.iter().fold(
        page.merge(icons::router()),
        |router, &(path, kind, text)| router.route(path, served(kind, text)),
    )
}

/// Serves a file, compressed for clients that take that. It has no secrets in it, so its size tells
/// nothing.
fn served(kind: &'static str, text: &'static str) -> MethodRouter<Arc<FrontDoor>> {
    let packed: Arc<OnceLock<Option<Bytes>>> = Arc::default();
    get(move |headers: HeaderMap| {
        let packed = takes_gzip(&headers).then(|| packed.get_or_init(|| gzip(text)).clone());
        async move { file(kind, text, packed.flatten()) }
    })
}

fn file(kind: &'static str, text: &'static str, packed: Option<Bytes>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        // Always revalidated: a newer program has a newer page.
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "accept-encoding"),
    ];
    match packed {
        Some(packed) => {
            let encoding = [(header::CONTENT_ENCODING, "gzip")];
            (headers, encoding, packed).into_response()
        }
        None => (headers, text).into_response(),
    }
}

/// Whether a client takes gzip.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let named = headers.get_all(header::ACCEPT_ENCODING).iter();
    let named = named.filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        is_gzip && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|q| q > 0.0))
    })
}

fn gzip(text: &str) -> Option<Bytes> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(text.as_bytes()).ok()?;
    packed.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::http::HeaderValue;

    use super::*;

    /// The largest size of the whole page as it is sent, compressed file by file. Icons are separate:
    /// they are loaded for the services in view.
    const BUDGET: usize = 200_000;

    fn text(name: &str) -> &'static str {
        let (_, _, text) = FILES.iter().find(|(known, _, _)| *known == name).unwrap();
        text
    }

    #[test]
    fn every_file_of_the_page_is_served_and_together_they_are_light() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
        let there: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        let own = FILES.iter().filter(|(name, ..)| !SHARED.contains(name));
        let served: BTreeSet<String> = own.map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(there, served);
        let weight: usize = FILES
            .iter()
            .map(|(_, _, text)| gzip(text).unwrap().len())
            .sum();
        assert!(weight < BUDGET, "{weight} bytes");
    }

    #[test]
    fn gzip_is_for_whoever_takes_it() {
        let table = [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, br", false),
            ("br", false),
            ("", false),
        ];
        for (accepted, expected) in table {
            let value = HeaderValue::from_static(accepted);
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)]);
            assert_eq!(takes_gzip(&headers), expected, "{accepted}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn nothing_is_loaded_that_is_not_served() {
        let names: BTreeSet<&str> = FILES.iter().map(|(name, ..)| *name).collect();
        let mut seen = 0;
        for (name, kind, text) in FILES {
            let quoted = text.split('"').skip(1).step_by(2);
            let imported = quoted.filter_map(|part| match *kind {
                SCRIPT => part.strip_prefix("./"),
                _ => part.strip_prefix('/').filter(|path| path.contains('.')),
            });
            for path in imported {
                assert!(names.contains(path), "{name} asks for {path}");
                seen += 1;
            }
        }
        assert!(seen > 10, "only {seen} were found");
    }

    #[test]
    fn every_request_names_the_caller_that_the_page_shows() {
        let scripts = FILES.iter().filter(|(_, kind, _)| *kind == SCRIPT);
        for (name, _, text) in scripts {
            let asks = ["fetch(", "EventSource(", "XMLHttpRequest", "sendBeacon"];
            let asks = asks.iter().any(|way| text.contains(way));
            assert_eq!(asks, matches!(*name, "api.js" | "worker.js"), "{name}");
        }
        assert!(text("api.js").contains("\"x-countersign-caller\""));
    }

    #[test]
    fn scripts_and_styles_are_in_files_of_their_own() {
        let page = text("index.html");
        for inline in ["<style", " style=", " onclick=", "javascript:", "http:"] {
            assert!(!page.contains(inline), "{inline}");
        }
        // The module, and the script that must run before anything is painted.
        assert_eq!(page.matches("<script").count(), 2);
        for (name, kind, text) in FILES.iter().chain(&REFERENCE) {
            for unsafe_way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "eval(",
                "document.write",
            ] {
                assert!(
                    *kind != SCRIPT || !text.contains(unsafe_way),
                    "{name}: {unsafe_way}"
                );
            }
        }
    }
}

//! The files of the pages, built into the program.

use axum::Router;
use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::links::{self, First};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, type and text of each file.
const FILES: [(&str, &str, &str); 16] = [
    ("/", HTML, include_str!("static/index.html")),
    ("/theme.css", CSS, include_str!("static/theme.css")),
    ("/style.css", CSS, include_str!("static/style.css")),
    ("/icon.svg", SVG, include_str!("static/icon.svg")),
    // What a browser asks for while it shows an answer that is no page.
    ("/favicon.ico", SVG, include_str!("static/icon.svg")),
    ("/app.js", SCRIPT, include_str!("static/app.js")),
    ("/api.js", SCRIPT, include_str!("static/api.js")),
    ("/dom.js", SCRIPT, include_str!("static/dom.js")),
    ("/entities.js", SCRIPT, include_str!("static/entities.js")),
    ("/format.js", SCRIPT, include_str!("static/format.js")),
    ("/hubs.js", SCRIPT, include_str!("static/hubs.js")),
    ("/instances.js", SCRIPT, include_str!("static/instances.js")),
    ("/instance.js", SCRIPT, include_str!("static/instance.js")),
    ("/timeline.js", SCRIPT, include_str!("static/timeline.js")),
    (
        "/operations.js",
        SCRIPT,
        include_str!("static/operations.js"),
    ),
    ("/workers.js", SCRIPT, include_str!("static/workers.js")),
];

/// The files; the first page may name a task hub.
pub(super) fn router() -> Router {
    let files = FILES
        .iter()
        .fold(Router::new(), |router, &(path, kind, text)| {
            let page = move |asked: Query<First>| async move {
                match asked.0.hub().filter(|_| path == "/") {
                    Some(hub) => links::to_hub(&hub).into_response(),
                    None => file(kind, text),
                }
            };
            router.route(path, get(page))
        });
    files
        .merge(links::router())
        .fallback(|| async { (StatusCode::NOT_FOUND, "There is no such page.\n") })
}

fn file(kind: &'static str, text: &'static str) -> Response {
    // Always revalidated: a newer program has newer pages.
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

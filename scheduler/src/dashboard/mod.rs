//! Read-only pages over the task hubs: rendered here, GET only, without scripts.

mod views;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::store::{HistoryPage, StateFilter, Store, StoreError, history_page, hubs, query, state};

/// How many instances a page lists.
const PAGE: usize = 50;
/// How much of a history a page shows, in bytes of storage.
const HISTORY_BYTES: usize = 1024 * 1024;
/// No script, no frame, nothing from elsewhere; styles are in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The pages as one router.
pub(crate) fn router(store: Store) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/hubs/{hub}", get(instances))
        .route("/hubs/{hub}/instances/{id}", get(instance))
        .with_state(store)
}

/// What the list of instances is narrowed to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Narrow {
    /// A status number; empty means any.
    status: String,
    prefix: String,
    after: Option<i64>,
}

async fn index(State(store): State<Store>) -> Response {
    page(store.read(hubs).await.map(|hubs| Some(views::index(&hubs))))
}

async fn instances(
    State(store): State<Store>,
    Path(hub): Path<i64>,
    Query(narrow): Query<Narrow>,
) -> Response {
    let filter = StateFilter {
        statuses: narrow.status.parse().into_iter().collect(),
        id_prefix: Some(narrow.prefix.clone()).filter(|prefix| !prefix.is_empty()),
        ..StateFilter::default()
    };
    let after = narrow.after;
    let found = store
        .read(move |conn| {
            let name = hubs(conn)?
                .into_iter()
                .find(|(id, ..)| *id == hub)
                .map(|(_, name, _)| name);
            Ok((name, query(conn, hub, &filter, after, PAGE, false)?))
        })
        .await;
    page(found.map(|(name, list)| {
        name.map(|name| {
            views::instances(
                hub,
                &name,
                &list.states,
                &narrow.status,
                &narrow.prefix,
                list.next,
            )
        })
    }))
}

async fn instance(State(store): State<Store>, Path((hub, id)): Path<(i64, String)>) -> Response {
    let found = store
        .read(move |conn| {
            let Some((key, state)) = state(conn, hub, &id, true)? else {
                return Ok(None);
            };
            let history: HistoryPage = history_page(conn, key, 0, HISTORY_BYTES)?;
            Ok(Some((state, history)))
        })
        .await;
    page(found.map(|found| {
        found.map(|(state, history)| {
            views::instance(hub, &state, &history.events, history.next.is_some())
        })
    }))
}

/// A page, or a plain one that says what is wrong.
fn page(body: Result<Option<String>, StoreError>) -> Response {
    let (status, body) = match body {
        Ok(Some(body)) => (StatusCode::OK, body),
        Ok(None) => (
            StatusCode::NOT_FOUND,
            views::problem("There is no such page."),
        ),
        Err(error) => {
            tracing::error!(%error, "a dashboard page could not be read");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                views::problem("The scheduler's storage cannot be read; see its log."),
            )
        }
    };
    let mut response = (status, Html(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}

//! Redirects the links that tools and documents make to the dashboards of the emulator and the hosted
//! service to the same thing here.
//!
//! - `/subscriptions/…/schedulers/…/taskhubs/HUB`, with or without what follows it: .NET's
//!   Aspire, Visual Studio Code, templates of Azure's developer CLI;
//! - `/taskhubs/HUB`: the `dashboardUrl` of a task hub in Azure's CLI and `PowerShell`;
//! - `/?endpoint=…&taskhub=HUB`: the documentation;
//! - `/api/v1/taskhubs/ping` with the header `x-taskhub`: Aspire's check whether
//!   the emulator has started.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Redirect;
use axum::routing::get;
use serde::Deserialize;

use super::Dashboard;
use super::problem::Problem;
use crate::SchedulerConfig;

/// The links to pages.
pub(super) fn router() -> Router {
    let mut router = Router::new();
    for hub in [
        "/subscriptions/{subscription}/schedulers/{scheduler}/taskhubs/{hub}",
        "/taskhubs/{hub}",
    ] {
        for rest in ["", "/", "/{*rest}"] {
            router = router.route(&format!("{hub}{rest}"), get(follow));
        }
    }
    router
}

/// Subscription and scheduler always mean this one. Names stay encoded as they are:
/// one with a slash would be split otherwise.
async fn follow(uri: Uri) -> Redirect {
    let mut parts = uri.path().split('/').skip_while(|part| *part != "taskhubs");
    let hub = parts.nth(1).unwrap_or_default();
    let mut parts = parts.filter(|part| !part.is_empty());
    let place = match (parts.next(), parts.next()) {
        (Some("orchestrations" | "instances"), Some(id)) => format!("/instances/{id}"),
        (Some("entities"), Some(id)) => format!("/entities/{id}"),
        (Some("entities"), None) => "/entities".to_owned(),
        (Some("workers"), _) => "/workers".to_owned(),
        _ => String::new(),
    };
    Redirect::temporary(&format!("/#/hubs/{hub}{place}"))
}

/// The page of a task hub.
pub(super) fn to_hub(hub: &str) -> Redirect {
    Redirect::temporary(&format!("/#/hubs/{}", encoded(hub)))
}

/// A name as one segment of the pages' own addresses.
fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// The query of the first page.
#[derive(Default, Deserialize)]
pub(super) struct First {
    taskhub: Option<String>,
}

impl First {
    pub(super) fn hub(self) -> Option<String> {
        self.taskhub.filter(|hub| !hub.is_empty())
    }
}

/// Whether a task hub is served: it exists, or would be created when it is first used.
pub(super) async fn ping(
    State(dashboard): State<Dashboard>,
    headers: HeaderMap,
) -> Result<&'static str, Problem> {
    let config = &dashboard.service.config;
    let hub = pinged_hub(&headers, config)
        .ok_or_else(|| Problem::bad("The header x-taskhub is not text."))?;
    if !config.dynamic_task_hubs {
        dashboard.hub(&hub).await?;
    }
    Ok("")
}

/// The task hub that is asked about; nothing if that is not text.
pub(super) fn pinged_hub(headers: &HeaderMap, config: &SchedulerConfig) -> Option<String> {
    match headers.get("x-taskhub") {
        None => Some(config.default_hub.clone()),
        Some(name) => name.to_str().ok().map(str::to_owned),
    }
}

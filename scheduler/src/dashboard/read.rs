//! The data of the pages.

use axum::Json;
use axum::extract::{Path, Query, State};
use chrono::{DateTime, SecondsFormat, Utc};
use durabletask_proto::OrchestrationStatus;
use serde::Deserialize;
use serde_json::{Value, json};

use super::path::Segment;
use super::problem::Problem;
use super::{Dashboard, json};
use crate::store::{
    Cursor, CursorValue, Narrow, Sort, browse, history_page, hub_names, inbox, names, state,
};

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 200;
/// How much of a history one answer holds, in bytes of storage.
const HISTORY_BYTES: usize = 512 * 1024;
/// The most children, waiting events and names that are listed.
const SOME: usize = 100;

impl Dashboard {
    /// The number of a task hub that exists.
    pub(super) async fn hub(&self, name: &str) -> Result<i64, Problem> {
        let hubs = self.service.store.browse(hub_names).await?;
        let exact = hubs.iter().find(|(_, each)| *each == name);
        exact
            .or_else(|| {
                hubs.iter()
                    .find(|(_, each)| each.eq_ignore_ascii_case(name))
            })
            .map(|(id, _)| *id)
            .ok_or_else(|| Problem::not_found("task hub"))
    }
}

/// The names of a hub's orchestrations, for the filter.
pub(super) async fn names_of(
    State(dashboard): State<Dashboard>,
    Path(Segment(hub)): Path<Segment>,
) -> Result<Json<Value>, Problem> {
    let hub = dashboard.hub(&hub).await?;
    let names = dashboard
        .service
        .store
        .browse(move |conn| names(conn, hub, SOME))
        .await?;
    Ok(Json(json!({"names": names})))
}

/// The filter of a list; empty means any.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct InstanceFilter {
    /// Statuses such as `RUNNING`, comma-separated.
    status: String,
    /// The orchestration's full name.
    name: String,
    /// The prefix of the id.
    prefix: String,
    /// A tag as `key` or `key=value`.
    tag: String,
    /// RFC 3339, inclusive.
    from: String,
    /// RFC 3339, exclusive.
    to: String,
    /// `created`, `id` or `name`, with a `-` before it for descending order.
    sort: String,
    /// The cursor from the previous page.
    cursor: String,
    limit: Option<usize>,
}

/// A page of instances.
pub(super) async fn instances(
    State(dashboard): State<Dashboard>,
    Path(Segment(hub)): Path<Segment>,
    Query(asked): Query<InstanceFilter>,
) -> Result<Json<Value>, Problem> {
    let hub = dashboard.hub(&hub).await?;
    let narrow = narrow(&asked)?;
    let order = order(&asked.sort)?;
    let after = cursor(&asked.cursor)?;
    let limit = asked.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
    let page = dashboard
        .service
        .store
        .browse(move |conn| browse(conn, hub, &narrow, order, after.as_ref(), limit))
        .await?;
    let states: Vec<Value> = page.states.iter().map(json::instance).collect();
    Ok(Json(json!({
        "instances": states,
        "next": page.next.as_ref().map(cursor_text),
    })))
}

fn narrow(asked: &InstanceFilter) -> Result<Narrow, Problem> {
    let statuses = asked
        .status
        .split(',')
        .filter(|status| !status.is_empty())
        .map(|status| {
            OrchestrationStatus::from_str_name(&format!("ORCHESTRATION_STATUS_{status}"))
                .map(|status| status as i32)
                .ok_or_else(|| Problem::bad(format!("{status:?} is not a status.")))
        })
        .collect::<Result<_, _>>()?;
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Ok(Narrow {
        statuses,
        name: text(&asked.name),
        id_prefix: text(&asked.prefix),
        created_from_us: micros(&asked.from)?,
        created_to_us: micros(&asked.to)?,
        tag: text(&asked.tag).map(|tag| match tag.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (tag, None),
        }),
        parent: None,
    })
}

fn micros(text: &str) -> Result<Option<i64>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    DateTime::parse_from_rfc3339(text)
        .map(|at| Some(at.timestamp_micros()))
        .map_err(|_| Problem::bad(format!("{text:?} is not a time like 2026-01-31T12:00:00Z.")))
}

/// The sort order, and whether it is descending. Newest first by default.
fn order(text: &str) -> Result<(Sort, bool), Problem> {
    let (name, descending) = match text.strip_prefix('-') {
        Some(name) => (name, true),
        None => (text, false),
    };
    match name {
        "" => Ok((Sort::Created, true)),
        "created" => Ok((Sort::Created, descending)),
        "id" => Ok((Sort::Id, descending)),
        "name" => Ok((Sort::Name, descending)),
        _ => Err(Problem::bad(format!(
            "Sorting by {name:?} is not supported."
        ))),
    }
}

fn cursor(text: &str) -> Result<Option<Cursor>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let unknown = || Problem::bad("The page cursor is invalid.");
    let values: Vec<Value> = serde_json::from_str(text).map_err(|_| unknown())?;
    let values = values
        .into_iter()
        .map(|value| match value {
            Value::String(text) => Ok(CursorValue::Text(text)),
            other => other.as_i64().map(CursorValue::Number).ok_or_else(unknown),
        })
        .collect::<Result<_, _>>()?;
    Ok(Some(Cursor { values }))
}

fn cursor_text(cursor: &Cursor) -> String {
    let values: Vec<Value> = cursor
        .values
        .iter()
        .map(|value| match value {
            CursorValue::Number(number) => (*number).into(),
            CursorValue::Text(text) => text.clone().into(),
        })
        .collect();
    Value::from(values).to_string()
}

/// One instance: everything but its history, its first children, and the events that no
/// turn has consumed yet.
pub(super) async fn instance(
    State(dashboard): State<Dashboard>,
    Path((Segment(hub), Segment(id))): Path<(Segment, Segment)>,
) -> Result<Json<Value>, Problem> {
    let hub = dashboard.hub(&hub).await?;
    let found = dashboard
        .service
        .store
        .browse(move |conn| {
            let Some((key, state)) = state(conn, hub, &id, true)? else {
                return Ok(None);
            };
            let narrow = Narrow {
                parent: Some(key),
                ..Narrow::default()
            };
            let children = browse(conn, hub, &narrow, (Sort::Created, false), None, SOME)?;
            Ok(Some((state, children, inbox(conn, key, SOME)?)))
        })
        .await?;
    let (state, children, waiting) = found.ok_or_else(|| Problem::not_found("instance"))?;
    let list: Vec<Value> = children.states.iter().map(json::instance).collect();
    let waiting: Vec<Value> = waiting
        .iter()
        .map(|(_, event)| json::event(event))
        .collect();
    Ok(Json(json!({
        "instance": json::instance(&state),
        "children": list,
        "moreChildren": children.next.is_some(),
        "waiting": waiting,
    })))
}

/// Where a stretch of history begins.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct From {
    from: i64,
}

/// A stretch of the current execution's history, whole turns, and where it continues.
pub(super) async fn history(
    State(dashboard): State<Dashboard>,
    Path((Segment(hub), Segment(id))): Path<(Segment, Segment)>,
    Query(From { from }): Query<From>,
) -> Result<Json<Value>, Problem> {
    let hub = dashboard.hub(&hub).await?;
    let page = dashboard
        .service
        .store
        .browse(move |conn| match state(conn, hub, &id, false)? {
            Some((key, _)) => history_page(conn, key, from, HISTORY_BYTES).map(Some),
            None => Ok(None),
        })
        .await?
        .ok_or_else(|| Problem::not_found("instance"))?;
    let events: Vec<Value> = page.events.iter().map(json::event).collect();
    Ok(Json(json!({"events": events, "next": page.next})))
}

/// The workers that are connected to a hub.
pub(super) async fn workers(
    State(dashboard): State<Dashboard>,
    Path(Segment(hub)): Path<Segment>,
) -> Result<Json<Value>, Problem> {
    let hub = dashboard.hub(&hub).await?;
    let workers: Vec<Value> = dashboard
        .service
        .dispatch
        .workers(hub)
        .into_iter()
        .map(|worker| {
            json!({
                "worker": worker.caller.worker_id,
                "agent": worker.caller.agent,
                "since": worker.since.to_rfc3339_opts(SecondsFormat::Millis, true),
                "orchestrations": {"held": worker.turns.held, "window": worker.turns.window, "names": worker.turns.names},
                "entities": {"held": worker.entities.held, "window": worker.entities.window, "names": worker.entities.names},
                "activities": {"held": worker.activities.held, "window": worker.activities.window, "names": worker.activities.names},
            })
        })
        .collect();
    let loads: Vec<Value> = dashboard
        .service
        .dispatch
        .loads()
        .into_iter()
        .filter(|load| load.hub == hub)
        .map(|load| json!({"kind": load.kind.name(), "queued": load.queued, "held": load.held}))
        .collect();
    let now: DateTime<Utc> = dashboard.service.config.clock.now();
    let untaken: Vec<Value> = dashboard
        .service
        .dispatch
        .untaken(Some(hub))
        .into_iter()
        .map(|one| {
            let since = now - chrono::TimeDelta::from_std(one.waited).unwrap_or_default();
            json!({
                "kind": one.kind.name(),
                "name": one.name,
                "version": one.version,
                "count": one.count,
                "since": since.to_rfc3339_opts(SecondsFormat::Millis, true),
                "reason": one.reason.text(),
            })
        })
        .collect();
    Ok(Json(json!({
        "workers": workers,
        "untaken": untaken,
        "queues": loads,
        "now": now.to_rfc3339_opts(SecondsFormat::Millis, true),
    })))
}

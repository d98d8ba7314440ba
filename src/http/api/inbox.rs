//! `GET /api/approvals`: pending decisions, once or as a stream of events.
//!
//! However many clients watch, the task hub is queried once: an answer is shared for as long as
//! none of them needs a newer one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use data_encoding::HEXLOWER;
use futures_util::stream::{self, Stream};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::request_views::RequestView;
use super::views::EnrollmentView;
use crate::access::Group;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Caller, Decide, Permission as _};
use crate::http::edge::error::ApiError;
use crate::http::edge::person::person_of;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::{accepts_events, no_store};
use crate::hub::{Ballot, Decider, ListQuery, RequestQuery, RequestStage, Stage};

/// How many of each kind are listed at a time; the others follow as these are decided.
const LIMIT: usize = 50;
/// How often streams check for changes.
const LOOK: Duration = Duration::from_secs(1);
/// How old a shared answer may be.
const FRESH: Duration = Duration::from_millis(800);
/// How long a stream lasts. The browser reconnects on its own, and is accepted only if
/// its caller still may.
const LONGEST_STREAM: Duration = Duration::from_secs(60);
/// How soon a browser reconnects.
const RECONNECT: Duration = Duration::from_millis(500);
/// How often an idle stream sends a comment, for proxies that drop silent ones.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The pending decisions, as last seen.
pub(crate) struct Inbox {
    kept: Mutex<Option<KeptInbox>>,
    changed: watch::Sender<()>,
}

struct KeptInbox {
    at: Instant,
    waiting: Arc<PendingMatters>,
}

/// What is pending, for all callers, and what determines who may decide on each.
struct PendingMatters {
    /// The members of [`WaitingView`] that are the same for everyone, as JSON.
    enrollments: Value,
    requests: Value,
    more: bool,
    ballots: Vec<(String, Ballot)>,
}

/// What is pending.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "described here, and written from the cached answer"
)]
struct WaitingView {
    /// The one that expires first comes first.
    enrollments: Vec<EnrollmentView>,
    /// Pending requests on accounts, in the same order.
    requests: Vec<RequestView>,
    /// What the caller may do with each of them.
    decisions: Vec<DecisionView>,
    /// Whether there are more.
    more: bool,
}

/// An answer to one caller.
#[derive(Serialize)]
struct InboxView<'a> {
    enrollments: &'a Value,
    requests: &'a Value,
    decisions: Vec<DecisionView>,
    more: bool,
}

/// What a caller may do with something that is pending.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DecisionView {
    /// The enrollment's or request's id.
    id: String,
    may_approve: bool,
    may_refuse: bool,
    /// The code of the problem that the caller's approval would get.
    #[serde(skip_serializing_if = "Option::is_none")]
    obstacle: Option<&'static str>,
}

/// An approver, for as long as a stream lasts.
struct Decides {
    id: String,
    person: Arc<str>,
    groups: Vec<Group>,
}

impl Decides {
    async fn of(door: &Arc<FrontDoor>, caller: &Caller<Decide>) -> Result<Self, ApiError> {
        Ok(Self {
            id: caller.id().to_owned(),
            person: person_of(door, caller).await?,
            groups: caller.groups().to_vec(),
        })
    }
}

impl PendingMatters {
    /// What one caller sees, and a tag that changes whenever this does.
    fn told(&self, door: &FrontDoor, to: &Decides) -> Result<(String, String), ApiError> {
        let decisions = self.ballots.iter().map(|(id, ballot)| {
            let decider = Decider {
                id: &to.id,
                person: &to.person,
                groups: &to.groups,
            };
            let judged = door.hub.may_agree(ballot, decider);
            DecisionView {
                id: id.clone(),
                may_approve: judged.is_ok(),
                may_refuse: ballot.may_refuse(&to.id),
                obstacle: judged.err().map(|error| ApiError::from(error).code()),
            }
        });
        let answer = InboxView {
            enrollments: &self.enrollments,
            requests: &self.requests,
            decisions: decisions.collect(),
            more: self.more,
        };
        let json =
            serde_json::to_string(&answer).map_err(|error| ApiError::Internal(error.into()))?;
        let tag = HEXLOWER.encode(&Sha256::digest(&json)[..16]);
        Ok((tag, json))
    }
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            kept: Mutex::new(None),
            changed: watch::Sender::new(()),
        }
    }

    /// Makes all streams check again now.
    pub(super) async fn look_again(&self) {
        *self.kept.lock().await = None;
        self.changed.send_replace(());
    }

    /// What is pending. Concurrent callers share one answer.
    async fn latest(&self, door: &FrontDoor) -> Result<Arc<PendingMatters>, ApiError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.at.elapsed() < FRESH) {
            return Ok(Arc::clone(&kept.waiting));
        }
        let waiting = Arc::new(look(door).await?);
        *kept = Some(KeptInbox {
            at: Instant::now(),
            waiting: Arc::clone(&waiting),
        });
        Ok(waiting)
    }
}

async fn look(door: &FrontDoor) -> Result<PendingMatters, ApiError> {
    let page = door
        .hub
        .list(ListQuery {
            stage: Some(Stage::AwaitingApproval),
            only: None,
            cursor: None,
            limit: LIMIT,
        })
        .await?;
    let requests = door
        .hub
        .list_requests(RequestQuery {
            stage: Some(RequestStage::AwaitingApproval),
            account: None,
            only: None,
            cursor: None,
            limit: LIMIT,
        })
        .await?;
    // All callers get the same views, so they name no other accounts.
    let enrollments: Vec<_> = page
        .items
        .into_iter()
        .rev()
        .map(|item| item.shown_to(|_| false))
        .collect();
    let asked: Vec<_> = requests.items.iter().rev().collect();
    let of_enrollments = enrollments.iter().map(|it| (it.id.to_string(), it.into()));
    let of_requests = asked.iter().map(|it| (it.id.to_string(), (*it).into()));
    Ok(PendingMatters {
        ballots: of_enrollments.chain(of_requests).collect(),
        enrollments: as_json(enrollments.iter().map(EnrollmentView::new))?,
        requests: as_json(asked.into_iter().map(RequestView::new))?,
        more: page.next.is_some() || requests.next.is_some(),
    })
}

fn as_json<T: Serialize>(views: impl Iterator<Item = T>) -> Result<Value, ApiError> {
    let views: Vec<T> = views.collect();
    serde_json::to_value(&views).map_err(|error| ApiError::Internal(error.into()))
}

/// The `id` of the last event that was received.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read from the headers if a stream is requested")]
struct LastEventId {
    /// The `id` of the last event that was received: nothing is sent while the list is the same.
    #[param(rename = "Last-Event-ID")]
    last_event_id: Option<String>,
}

/// Shows what is waiting for a decision
///
/// Enrollments and requests, oldest first; with `Accept: text/event-stream` as a stream of events
/// named `approvals`, each with the whole list, whenever it changes. A stream lasts a minute;
/// connect again with `Last-Event-ID`.
#[utoipa::path(
    get, path = "/api/approvals", tag = "enrollments", operation_id = "listApprovals",
    params(LastEventId),
    responses((status = OK, description = "What is pending; or the stream of events", content(
        (WaitingView = "application/json"),
        (String = "text/event-stream"),
    ))),
    extensions(
        ("x-roles" = json!(Decide::ROLES)),
        ("x-problems" = json!([ProblemCode::HubUnavailable])),
    ),
)]
pub(super) async fn waiting(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Decide>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let decides = Decides::of(&door, &caller).await?;
    if accepts_events(&headers) {
        let known = headers
            .get("last-event-id")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let events = changes(door, decides, known);
        let keep_alive = KeepAlive::new().interval(HEARTBEAT);
        let response = Sse::new(events).keep_alive(keep_alive).into_response();
        return Ok(no_store(response));
    }
    let (_, json) = door.inbox.latest(&door).await?.told(&door, &decides)?;
    let mut response = json.into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Ok(no_store(response))
}

/// What is pending, again whenever it differs from what `known` names, as events
/// named `approvals`. Ends after its time, when the server stops, or when the hub is unreachable.
fn changes(
    door: Arc<FrontDoor>,
    decides: Decides,
    known: Option<String>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    struct Watch {
        door: Arc<FrontDoor>,
        decides: Decides,
        known: Option<String>,
        changed: watch::Receiver<()>,
        until: Instant,
    }
    let changed = door.inbox.changed.subscribe();
    let watch = Watch {
        door,
        decides,
        known,
        changed,
        until: Instant::now() + LONGEST_STREAM,
    };
    stream::unfold(watch, async |mut watch| {
        loop {
            let waiting = watch.door.inbox.latest(&watch.door).await.ok()?;
            let (tag, json) = waiting.told(&watch.door, &watch.decides).ok()?;
            if watch.known.as_ref() != Some(&tag) {
                let event = Event::default()
                    .event("approvals")
                    .retry(RECONNECT)
                    .id(tag.as_str())
                    .data(json);
                watch.known = Some(tag);
                return Some((Ok(event), watch));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = watch.changed.changed() => {}
                () = tokio::time::sleep_until(watch.until) => return None,
                () = watch.door.stop.cancelled() => return None,
            }
        }
    })
}

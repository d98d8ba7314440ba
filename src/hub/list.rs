//! Listing enrollments and requests, newest first.
//!
//! The protocol's query promises no order and filters by neither stage nor caller.
//! So the newest are searched for in time windows that grow backwards, and only
//! those that may be on the page are read in full.

use chrono::{DateTime, Duration, TimeDelta, Utc};
use countersign_enrollment::ids::{EnrollmentId, RequestId};
use data_encoding::BASE64URL_NOPAD;
use durabletask::client::{InstanceQuery, Status};
use futures_util::{StreamExt as _, stream};

use super::{FromState, Hub, HubError, Snapshot, Stage, hub};

/// How far back to look, in growing steps; after the last one, everything.
const WINDOWS: [TimeDelta; 3] = [Duration::hours(1), Duration::days(1), Duration::days(30)];
/// How many instances one query returns at a time.
const QUERY_PAGE: u32 = 500;
/// How many enrollments are read at once.
const READS_AT_ONCE: usize = 8;
/// How many enrollments one listing examines before it returns what it has found.
const MOST_LOOKED_AT: usize = 2_000;

/// Which enrollments to list.
pub(crate) struct ListQuery {
    /// Only those in this stage.
    pub(crate) stage: Option<Stage>,
    /// Only those that this caller started.
    pub(crate) only: Option<String>,
    /// After the page that ended here.
    pub(crate) cursor: Option<Cursor>,
    /// The most items on the page.
    pub(crate) limit: usize,
}

/// One page of enrollments or of requests.
pub(crate) struct Page<S> {
    pub(crate) items: Vec<S>,
    /// Where the next page begins, if there may be one.
    pub(crate) next: Option<Cursor>,
}

/// The instances that a listing examines.
pub(super) struct Listed {
    /// The prefix of their ids.
    pub(super) prefix: &'static str,
    /// The statuses that they may have; all if none is named.
    pub(super) statuses: Vec<Status>,
    /// Whether most instances may be filtered out.
    pub(super) filtered: bool,
}

/// A place in the list: the last item of a page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor {
    created_at: DateTime<Utc>,
    id: String,
}

impl Cursor {
    /// The cursor's text in a URL.
    pub(crate) fn to_text(&self) -> String {
        BASE64URL_NOPAD
            .encode(format!("{} {}", self.created_at.timestamp_micros(), self.id).as_bytes())
    }

    /// The cursor of a text.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (micros, id) = std::str::from_utf8(&bytes).ok()?.split_once(' ')?;
        let known = id.parse::<EnrollmentId>().is_ok() || id.parse::<RequestId>().is_ok();
        Some(Self {
            created_at: DateTime::from_timestamp_micros(micros.parse().ok()?)?,
            id: known.then(|| id.to_owned())?,
        })
    }
}

impl Hub {
    /// One page of enrollments, newest first.
    pub(crate) async fn list(&self, query: ListQuery) -> Result<Page<Snapshot>, HubError> {
        let ListQuery { stage, only, .. } = query;
        let listed = Listed {
            prefix: "totp-",
            statuses: stage.map(|s| vec![s.runtime_status()]).unwrap_or_default(),
            filtered: stage.is_some() || only.is_some(),
        };
        let fits = |snapshot: &Snapshot| {
            stage.is_none_or(|stage| snapshot.stage == stage)
                && only
                    .as_ref()
                    .is_none_or(|caller| &snapshot.requested_by == caller)
        };
        let mut page = self.page(&listed, query.cursor, query.limit, fits).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for mut snapshot in page.items {
            match self.belongs(snapshot.id.as_str(), only.as_deref()).await {
                Err(HubError::Unknown) => continue,
                checked => checked?,
            }
            self.check(&mut snapshot).await?;
            items.push(snapshot);
        }
        page.items = items;
        Ok(page)
    }

    /// At most `limit` instances after `cursor` that `fits` accepts, newest first.
    pub(super) async fn page<S: FromState>(
        &self,
        listed: &Listed,
        cursor: Option<Cursor>,
        limit: usize,
        fits: impl Fn(&S) -> bool,
    ) -> Result<Page<S>, HubError> {
        let mut after = cursor;
        let mut items: Vec<S> = Vec::new();
        let mut looked_at = 0;
        loop {
            let wanted = limit.saturating_sub(items.len());
            // With a filter, most instances may be filtered out.
            let batch = if listed.filtered {
                (wanted * 4).max(32)
            } else {
                wanted + 1
            };
            let places = self.places(listed, after.as_ref(), batch).await?;
            let exhausted = places.len() < batch;
            looked_at += places.len();
            let mut read = stream::iter(places)
                .map(|place| async move {
                    let seen = self.look(&place.id, None).await;
                    (place, seen)
                })
                .buffered(READS_AT_ONCE);
            while let Some((place, seen)) = read.next().await {
                let seen: S = match seen {
                    Ok(seen) => seen,
                    // Purged in the meantime, or an instance of another orchestration.
                    Err(HubError::Unknown) => {
                        after = Some(place);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let fits = fits(&seen);
                if fits && items.len() == limit {
                    return Ok(Page { items, next: after });
                }
                after = Some(place);
                if fits {
                    items.push(seen);
                }
            }
            if exhausted {
                return Ok(Page { items, next: None });
            }
            if looked_at >= MOST_LOOKED_AT {
                return Ok(Page { items, next: after });
            }
        }
    }

    /// The places of the newest `count` instances after `after`, newest first.
    async fn places(
        &self,
        listed: &Listed,
        after: Option<&Cursor>,
        count: usize,
    ) -> Result<Vec<Cursor>, HubError> {
        let upper = after.map_or_else(
            || self.clock.now() + Duration::minutes(5),
            |cursor| cursor.created_at + Duration::milliseconds(1),
        );
        let windows = WINDOWS.into_iter().map(Some).chain([None]);
        let mut places = Vec::new();
        for window in windows {
            let from = window.map(|length| upper - length);
            places = self.between(listed, from, upper).await?;
            // Backends differ in how exactly they treat the ends of a window; comparing
            // places here makes that irrelevant.
            places.retain(|place| after.is_none_or(|cursor| place < cursor));
            if places.len() >= count {
                break;
            }
        }
        places.sort_unstable_by(|a, b| b.cmp(a));
        places.truncate(count);
        Ok(places)
    }

    async fn between(
        &self,
        listed: &Listed,
        from: Option<DateTime<Utc>>,
        to: DateTime<Utc>,
    ) -> Result<Vec<Cursor>, HubError> {
        let mut places = Vec::new();
        let mut continuation = None;
        loop {
            let mut query = InstanceQuery::new()
                .statuses(listed.statuses.iter().copied())
                .created_to(to)
                .instance_id_prefix(listed.prefix)
                .page_size(QUERY_PAGE);
            query.created_from = from;
            query.continuation = continuation;
            let page = self.client.instances_page(&query).await.map_err(hub)?;
            places.extend(page.instances.into_iter().map(|state| {
                let created_at = state.created_at.unwrap_or_default();
                Cursor {
                    // Cut to the precision of a cursor's text.
                    created_at: DateTime::from_timestamp_micros(created_at.timestamp_micros())
                        .unwrap_or(created_at),
                    id: state.instance_id,
                }
            }));
            continuation = page.continuation;
            if continuation.is_none() {
                return Ok(places);
            }
        }
    }
}

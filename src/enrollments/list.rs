//! Listing enrollments, newest first.
//!
//! The protocol's query promises no order and filters by neither stage nor caller.
//! So the newest are looked for in windows of time that grow backwards, and only
//! those that may be on the page are read in full.

use chrono::{DateTime, Duration, TimeDelta, Utc};
use countersign_enrollment::ids::EnrollmentId;
use data_encoding::BASE64URL_NOPAD;
use durabletask::{InstanceQuery, Payloads};
use futures_util::{StreamExt as _, stream};

use super::{EnrollmentError, Enrollments, Snapshot, Stage, hub};

/// How far back to look, in growing steps; after the last one, everything.
const WINDOWS: [TimeDelta; 3] = [Duration::hours(1), Duration::days(1), Duration::days(30)];
/// How many instances one query answers at a time.
const QUERY_PAGE: u32 = 500;
/// How many enrollments are read at once.
const READS_AT_ONCE: usize = 8;
/// How many enrollments one listing looks at before it answers with what it found.
const MOST_LOOKED_AT: usize = 2_000;

/// Which enrollments to list.
pub(crate) struct ListQuery {
    /// Only those in this stage.
    pub(crate) stage: Option<Stage>,
    /// Only those that this caller asked for.
    pub(crate) only: Option<String>,
    /// After the page that ended here.
    pub(crate) cursor: Option<Cursor>,
    /// How many at most.
    pub(crate) limit: usize,
}

/// One page of enrollments.
pub(crate) struct Page {
    pub(crate) enrollments: Vec<Snapshot>,
    /// Where the next page begins, if there may be one.
    pub(crate) next: Option<Cursor>,
}

/// A place in the list: the last enrollment of a page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor {
    created_at: DateTime<Utc>,
    id: String,
}

impl Cursor {
    /// The text that stands for it in a URL.
    pub(crate) fn to_text(&self) -> String {
        BASE64URL_NOPAD
            .encode(format!("{} {}", self.created_at.timestamp_micros(), self.id).as_bytes())
    }

    /// The place that a text stands for.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (micros, id) = std::str::from_utf8(&bytes).ok()?.split_once(' ')?;
        let id: EnrollmentId = id.parse().ok()?;
        Some(Self {
            created_at: DateTime::from_timestamp_micros(micros.parse().ok()?)?,
            id: id.to_string(),
        })
    }
}

impl Enrollments {
    /// One page of enrollments, newest first.
    pub(crate) async fn list(&self, query: ListQuery) -> Result<Page, EnrollmentError> {
        let mut after = query.cursor.clone();
        let mut enrollments: Vec<Snapshot> = Vec::new();
        let mut looked_at = 0;
        loop {
            let wanted = query.limit.saturating_sub(enrollments.len());
            // With a filter, most of what is read may be dropped again.
            let batch = if query.stage.is_some() || query.only.is_some() {
                (wanted * 4).max(32)
            } else {
                wanted + 1
            };
            let places = self.places(query.stage, after.as_ref(), batch).await?;
            let exhausted = places.len() < batch;
            looked_at += places.len();
            let mut read = stream::iter(places)
                .map(|place| async move {
                    let Ok(id) = place.id.parse::<EnrollmentId>() else {
                        return (place, Err(EnrollmentError::Unknown));
                    };
                    let snapshot = self.get(&id, None).await;
                    (place, snapshot)
                })
                .buffered(READS_AT_ONCE);
            while let Some((place, snapshot)) = read.next().await {
                let snapshot = match snapshot {
                    Ok(snapshot) => snapshot,
                    // Purged since, or another orchestration's instance.
                    Err(EnrollmentError::Unknown) => {
                        after = Some(place);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let fits = query.stage.is_none_or(|stage| snapshot.stage == stage)
                    && query
                        .only
                        .as_ref()
                        .is_none_or(|caller| &snapshot.requested_by == caller);
                if fits && enrollments.len() == query.limit {
                    return Ok(Page {
                        enrollments,
                        next: after,
                    });
                }
                after = Some(place);
                if fits {
                    enrollments.push(snapshot);
                }
            }
            if exhausted {
                return Ok(Page {
                    enrollments,
                    next: None,
                });
            }
            if looked_at >= MOST_LOOKED_AT {
                return Ok(Page {
                    enrollments,
                    next: after,
                });
            }
        }
    }

    /// Where the newest `count` enrollments after `after` are, newest first.
    async fn places(
        &self,
        stage: Option<Stage>,
        after: Option<&Cursor>,
        count: usize,
    ) -> Result<Vec<Cursor>, EnrollmentError> {
        let upper = after.map_or_else(
            || self.clock.now() + Duration::minutes(5),
            |cursor| cursor.created_at + Duration::milliseconds(1),
        );
        let windows = WINDOWS.into_iter().map(Some).chain([None]);
        let mut places = Vec::new();
        for window in windows {
            let from = window.map(|length| upper - length);
            places = self.between(stage, from, upper).await?;
            // Exactness at the ends of a window differs between backends; comparing
            // places here makes it not matter.
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
        stage: Option<Stage>,
        from: Option<DateTime<Utc>>,
        to: DateTime<Utc>,
    ) -> Result<Vec<Cursor>, EnrollmentError> {
        let mut places = Vec::new();
        let mut continuation = None;
        loop {
            let page = self
                .client
                .query(InstanceQuery {
                    statuses: stage.map(|s| vec![s.runtime_status()]).unwrap_or_default(),
                    created_from: from,
                    created_to: Some(to),
                    instance_id_prefix: Some("totp-".to_owned()),
                    page_size: QUERY_PAGE,
                    continuation,
                    payloads: Payloads::Omit,
                })
                .await
                .map_err(hub)?;
            places.extend(page.instances.into_iter().map(|state| {
                let created_at = state.created_at.unwrap_or_default();
                Cursor {
                    // Cut to what a cursor's text can carry.
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

//! Work that waits for a worker, in order of arrival, sorted by what filters examine.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use durabletask_proto::{GetWorkItemsRequest, WorkItemFilters};

use super::backoff::{ExcludedStreams, QueueWait};

/// What filters examine in a work item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    pub(super) name: String,
    /// Its version; some clients send none as an empty text.
    pub(super) version: Option<String>,
    /// The version of its orchestration, if it has none itself:
    /// most clients give activities none, but list versions for them in filters.
    pub(super) wanted_by: Option<String>,
    /// The streams that it is kept from for a while.
    pub(super) excluded: Option<Arc<ExcludedStreams>>,
}

impl Lane {
    /// Work without a version.
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// A turn.
    pub(super) fn turn(name: &str, version: Option<&str>) -> Self {
        Self {
            version: version.map(str::to_owned),
            ..Self::named(name)
        }
    }

    /// An activity of an orchestration with the version `wanted_by`.
    pub(super) fn activity(
        name: String,
        version: Option<String>,
        wanted_by: Option<String>,
    ) -> Self {
        let wanted_by = wanted_by.filter(|_| version.is_none());
        Self {
            name,
            version,
            wanted_by,
            excluded: None,
        }
    }

    /// Whether a stream may get what is in it now.
    pub(super) fn allows(&self, stream: u64) -> bool {
        self.excluded
            .as_ref()
            .is_none_or(|kept| kept.allows(stream))
    }
}

/// A queue that finds the oldest item that a worker accepts. Items may wait in it by the million,
/// so each needs only a few bytes.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    lanes: HashMap<Arc<Lane>, VecDeque<Waiting<T>>>,
    arrivals: u64,
    len: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    arrival: u64,
    since: Moment,
    due: Option<Moment>,
    item: T,
}

/// An item taken out of its queue.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub(super) item: T,
    pub(super) lane: Arc<Lane>,
    pub(super) waited: Duration,
}

/// A time in eight bytes: nanoseconds since the first one that was noted, from one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(NonZeroU64);

/// The program has not waited for anything before this.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Notes the time that others are measured from, if none was noted.
pub(super) fn note_origin() {
    LazyLock::force(&ORIGIN);
}

impl Moment {
    fn of(instant: Instant) -> Self {
        let nanos = instant.saturating_duration_since(*ORIGIN).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    fn instant(self) -> Instant {
        *ORIGIN + Duration::from_nanos(self.0.get() - 1)
    }
}

/// A lane that is mostly empty gives its memory back from this capacity on.
const ROOMY: usize = 1024;

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            arrivals: 0,
            len: 0,
        }
    }
}

impl<T> Lanes<T> {
    pub(super) fn push(&mut self, lane: Lane, waits: QueueWait, item: T) {
        self.arrivals += 1;
        self.len += 1;
        let lane = Lane {
            excluded: waits.excluded,
            ..lane
        };
        let waiting = Waiting {
            arrival: self.arrivals,
            since: Moment::of(waits.since.unwrap_or_else(Instant::now)),
            due: waits.due.map(Moment::of),
            item,
        };
        match self.lanes.get_mut(&lane) {
            Some(items) => items.push_back(waiting),
            None => {
                self.lanes.insert(Arc::new(lane), VecDeque::from([waiting]));
            }
        }
    }

    /// Takes out items whose delay has ended, each with its lane. Items of one lane become due in
    /// the order of their arrival, since their delays are equal.
    pub(super) fn pop_due(&mut self, now: Instant) -> Vec<(Arc<Lane>, T)> {
        let now = Moment::of(now);
        let mut found = Vec::new();
        self.lanes.retain(|lane, items| {
            if lane.excluded.is_some() {
                while items
                    .front()
                    .is_some_and(|waiting| waiting.due.is_none_or(|due| due <= now))
                {
                    let item = items.pop_front().map(|waiting| waiting.item);
                    found.extend(item.map(|item| (Arc::clone(lane), item)));
                }
            }
            !items.is_empty()
        });
        self.len -= found.len();
        found
    }

    /// When the next delayed item is due.
    pub(super) fn first_due(&self) -> Option<Instant> {
        self.lanes
            .values()
            .filter_map(|items| items.front()?.due)
            .min()
            .map(Moment::instant)
    }

    /// Each lane with how many items wait in it and since when.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Lane, usize, Instant)> {
        self.lanes.iter().filter_map(|(lane, items)| {
            // Delayed items have waited longer than their arrival here suggests.
            let since = match lane.excluded {
                None => items.front()?.since,
                Some(_) => items.iter().map(|waiting| waiting.since).min()?,
            };
            Some((&**lane, items.len(), since.instant()))
        })
    }

    /// Takes all items out, in no order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.len = 0;
        std::mem::take(&mut self.lanes)
            .into_values()
            .flatten()
            .map(|waiting| waiting.item)
    }

    /// How many items wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes the oldest item of a lane that `accepts` accepts.
    pub(super) fn pop(&mut self, accepts: impl Fn(&Lane) -> bool) -> Option<Taken<T>> {
        self.pop_first(|lane| accepts(lane).then_some(0))
    }

    /// Takes the oldest item among those whose lane `rank` ranks highest; what it does not
    /// rank stays.
    pub(super) fn pop_first(
        &mut self,
        mut rank: impl FnMut(&Lane) -> Option<i32>,
    ) -> Option<Taken<T>> {
        let lane = self
            .lanes
            .iter()
            .filter_map(|(lane, items)| {
                let rank = rank(lane)?;
                items
                    .front()
                    .map(|waiting| ((Reverse(rank), waiting.arrival), lane))
            })
            .min_by_key(|(order, _)| *order)
            .map(|(_, lane)| Arc::clone(lane))?;
        let items = self.lanes.get_mut(&lane)?;
        let waiting = items.pop_front()?;
        if items.is_empty() {
            self.lanes.remove(&lane);
        } else if items.capacity() > ROOMY && items.len() < items.capacity() / 4 {
            items.shrink_to(items.len() * 2);
        }
        self.len -= 1;
        Some(Taken {
            item: waiting.item,
            lane,
            waited: waiting.since.instant().elapsed(),
        })
    }
}

/// What a worker accepts. Without filters it accepts everything, as it does with a message whose
/// lists are all empty: that is how the .NET SDK sends none. If any list
/// has an entry, each kind accepts exactly what it lists, so an empty list accepts nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Filters {
    turns: Option<Vec<(String, Vec<String>)>>,
    activities: Option<Vec<(String, Vec<String>)>>,
    entities: Option<Vec<(String, Vec<String>)>>,
}

impl Filters {
    pub(super) fn of(request: &GetWorkItemsRequest) -> Self {
        let Some(WorkItemFilters {
            orchestrations,
            activities,
            entities,
        }) = request.work_item_filters.clone()
        else {
            return Self::default();
        };
        if orchestrations.is_empty() && activities.is_empty() && entities.is_empty() {
            return Self::default();
        }
        Self {
            turns: Some(
                orchestrations
                    .into_iter()
                    .map(|f| (f.name, f.versions))
                    .collect(),
            ),
            activities: Some(
                activities
                    .into_iter()
                    .map(|f| (f.name, f.versions))
                    .collect(),
            ),
            entities: Some(entities.into_iter().map(|f| (f.name, Vec::new())).collect()),
        }
    }

    /// The names of accepted orchestrations; none means all.
    pub(super) fn turn_names(&self) -> Option<Vec<String>> {
        names(self.turns.as_deref())
    }

    /// The names of accepted activities; none means all.
    pub(super) fn activity_names(&self) -> Option<Vec<String>> {
        names(self.activities.as_deref())
    }

    /// The names of accepted entities; none means all.
    pub(super) fn entity_names(&self) -> Option<Vec<String>> {
        names(self.entities.as_deref())
    }

    pub(super) fn turn(&self, name: &str, version: Option<&str>) -> bool {
        matches(self.turns.as_deref(), name, version, None)
    }

    pub(super) fn activity(&self, lane: &Lane) -> bool {
        matches(
            self.activities.as_deref(),
            &lane.name,
            lane.version.as_deref(),
            lane.wanted_by.as_deref(),
        )
    }

    pub(super) fn entity(&self, name: &str) -> bool {
        matches(self.entities.as_deref(), name, None, None)
    }
}

fn names(filters: Option<&[(String, Vec<String>)]>) -> Option<Vec<String>> {
    Some(filters?.iter().map(|(name, _)| name.clone()).collect())
}

/// Names and versions compare without case; an absent version equals the empty one. An
/// activity without a version also matches by its orchestration's version.
fn matches(
    filters: Option<&[(String, Vec<String>)]>,
    name: &str,
    version: Option<&str>,
    wanted_by: Option<&str>,
) -> bool {
    let Some(filters) = filters else { return true };
    let lists = |listed: &String| {
        listed.eq_ignore_ascii_case(version.unwrap_or_default())
            || wanted_by.is_some_and(|version| listed.eq_ignore_ascii_case(version))
    };
    filters.iter().any(|(wanted, versions)| {
        wanted.eq_ignore_ascii_case(name) && (versions.is_empty() || versions.iter().any(lists))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_accepted_item_comes_first() {
        let mut lanes = Lanes::default();
        lanes.push(Lane::named("a"), QueueWait::default(), 1);
        lanes.push(Lane::turn("b", Some("1")), QueueWait::default(), 2);
        lanes.push(Lane::named("a"), QueueWait::default(), 3);
        assert_eq!(lanes.len(), 3);
        assert_eq!(lanes.pop(|lane| lane.name == "b").unwrap().item, 2);
        assert_eq!(lanes.pop(|_| true).unwrap().item, 1);
        assert_eq!(lanes.pop(|_| true).unwrap().item, 3);
        assert!(lanes.pop(|_| true).is_none());
        assert_eq!(lanes.len(), 0);
    }

    #[test]
    fn an_empty_filter_list_takes_nothing() {
        assert!(matches(None, "a", None, None));
        assert!(!matches(Some(&[]), "a", None, None));
        let filter = [("A".to_owned(), vec!["1.0".to_owned()])];
        assert!(matches(Some(&filter), "a", Some("1.0"), None));
        assert!(!matches(Some(&filter), "a", None, None));
    }

    #[test]
    fn an_activity_without_a_version_goes_by_its_orchestrations() {
        let filters = |versions: &[&str]| Filters {
            activities: Some(vec![(
                "a".to_owned(),
                versions.iter().map(|&version| version.to_owned()).collect(),
            )]),
            ..Filters::default()
        };
        let activity = |version: Option<&str>, wanted_by: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            Lane::activity("a".to_owned(), owned(version), owned(wanted_by))
        };
        let one = filters(&["1.0"]);
        assert!(one.activity(&activity(None, Some("1.0"))));
        assert!(!one.activity(&activity(None, Some("2.0"))));
        assert!(!one.activity(&activity(None, None)));
        // Its own version is the only one that counts, even an empty one.
        assert!(one.activity(&activity(Some("1.0"), Some("2.0"))));
        assert!(!one.activity(&activity(Some("2.0"), Some("1.0"))));
        assert!(!one.activity(&activity(Some(""), Some("1.0"))));
        // It is unversioned all the same.
        assert!(filters(&["", "1.0"]).activity(&activity(None, Some("2.0"))));
        assert!(filters(&[]).activity(&activity(None, Some("2.0"))));
    }
}

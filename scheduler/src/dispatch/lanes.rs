//! Work that waits for a worker, in order of arrival, sorted by what filters look at.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use durabletask_proto::{GetWorkItemsRequest, WorkItemFilters};

/// A name and a version.
type Lane = (String, Option<String>);

/// A queue that can be asked for the oldest item a worker accepts.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    lanes: HashMap<Lane, VecDeque<Waiting<T>>>,
    arrivals: u64,
    len: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    arrival: u64,
    since: Instant,
    item: T,
}

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
    pub(super) fn push(&mut self, name: &str, version: Option<&str>, item: T) {
        self.arrivals += 1;
        self.len += 1;
        let lane = (name.to_owned(), version.map(str::to_owned));
        self.lanes.entry(lane).or_default().push_back(Waiting {
            arrival: self.arrivals,
            since: Instant::now(),
            item,
        });
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

    /// Takes the oldest item whose name and version `accepts`, and says how long it waited.
    pub(super) fn pop(
        &mut self,
        accepts: impl Fn(&str, Option<&str>) -> bool,
    ) -> Option<(T, Duration)> {
        self.pop_first(|name, version| accepts(name, version).then_some(0))
    }

    /// Takes the oldest item among those whose name and version `rank` ranks highest;
    /// what it does not rank stays.
    pub(super) fn pop_first(
        &mut self,
        mut rank: impl FnMut(&str, Option<&str>) -> Option<i32>,
    ) -> Option<(T, Duration)> {
        let lane = self
            .lanes
            .iter()
            .filter_map(|(lane, items)| {
                let rank = rank(&lane.0, lane.1.as_deref())?;
                items
                    .front()
                    .map(|waiting| ((Reverse(rank), waiting.arrival), lane))
            })
            .min_by_key(|(order, _)| *order)
            .map(|(_, lane)| lane.clone())?;
        let items = self.lanes.get_mut(&lane)?;
        let waiting = items.pop_front()?;
        if items.is_empty() {
            self.lanes.remove(&lane);
        }
        self.len -= 1;
        Some((waiting.item, waiting.since.elapsed()))
    }
}

/// What a worker takes. No filters at all take everything; with filters a kind takes
/// exactly what it lists, so an empty list takes nothing.
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

    /// The names of orchestrations that it takes; none means all.
    pub(super) fn turn_names(&self) -> Option<Vec<String>> {
        names(self.turns.as_deref())
    }

    /// The names of activities that it takes; none means all.
    pub(super) fn activity_names(&self) -> Option<Vec<String>> {
        names(self.activities.as_deref())
    }

    /// The names of entities that it takes; none means all.
    pub(super) fn entity_names(&self) -> Option<Vec<String>> {
        names(self.entities.as_deref())
    }

    pub(super) fn turn(&self, name: &str, version: Option<&str>) -> bool {
        matches(self.turns.as_deref(), name, version)
    }

    pub(super) fn activity(&self, name: &str, version: Option<&str>) -> bool {
        matches(self.activities.as_deref(), name, version)
    }

    pub(super) fn entity(&self, name: &str) -> bool {
        matches(self.entities.as_deref(), name, None)
    }
}

fn names(filters: Option<&[(String, Vec<String>)]>) -> Option<Vec<String>> {
    Some(filters?.iter().map(|(name, _)| name.clone()).collect())
}

/// Names and versions compare without case; an absent version is the empty one.
fn matches(filters: Option<&[(String, Vec<String>)]>, name: &str, version: Option<&str>) -> bool {
    let Some(filters) = filters else { return true };
    let version = version.unwrap_or_default();
    filters.iter().any(|(wanted, versions)| {
        wanted.eq_ignore_ascii_case(name)
            && (versions.is_empty() || versions.iter().any(|v| v.eq_ignore_ascii_case(version)))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_accepted_item_comes_first() {
        let mut lanes = Lanes::default();
        lanes.push("a", None, 1);
        lanes.push("b", Some("1"), 2);
        lanes.push("a", None, 3);
        assert_eq!(lanes.len(), 3);
        assert_eq!(lanes.pop(|name, _| name == "b").unwrap().0, 2);
        assert_eq!(lanes.pop(|_, _| true).unwrap().0, 1);
        assert_eq!(lanes.pop(|_, _| true).unwrap().0, 3);
        assert!(lanes.pop(|_, _| true).is_none());
        assert_eq!(lanes.len(), 0);
    }

    #[test]
    fn an_empty_filter_list_takes_nothing() {
        assert!(matches(None, "a", None));
        assert!(!matches(Some(&[]), "a", None));
        let filter = [("A".to_owned(), vec!["1.0".to_owned()])];
        assert!(matches(Some(&filter), "a", Some("1.0")));
        assert!(!matches(Some(&filter), "a", None));
    }
}

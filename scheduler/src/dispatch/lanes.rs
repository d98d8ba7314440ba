//! Work that waits for a worker, in order of arrival, sorted by what filters look at.

use std::collections::{HashMap, VecDeque};

use durabletask_proto::{GetWorkItemsRequest, WorkItemFilters};

/// A name and a version.
type Lane = (String, Option<String>);

/// A queue that can be asked for the oldest item a worker accepts.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    lanes: HashMap<Lane, VecDeque<(u64, T)>>,
    arrivals: u64,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            arrivals: 0,
        }
    }
}

impl<T> Lanes<T> {
    pub(super) fn push(&mut self, name: &str, version: Option<&str>, item: T) {
        self.arrivals += 1;
        let lane = (name.to_owned(), version.map(str::to_owned));
        self.lanes
            .entry(lane)
            .or_default()
            .push_back((self.arrivals, item));
    }

    /// Takes the oldest item whose name and version `accepts`.
    pub(super) fn pop(&mut self, accepts: impl Fn(&str, Option<&str>) -> bool) -> Option<T> {
        let lane = self
            .lanes
            .iter()
            .filter(|((name, version), _)| accepts(name, version.as_deref()))
            .filter_map(|(lane, items)| items.front().map(|(arrival, _)| (*arrival, lane)))
            .min_by_key(|(arrival, _)| *arrival)
            .map(|(_, lane)| lane.clone())?;
        let items = self.lanes.get_mut(&lane)?;
        let item = items.pop_front().map(|(_, item)| item);
        if items.is_empty() {
            self.lanes.remove(&lane);
        }
        item
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
mod tests {
    use super::*;

    #[test]
    fn the_oldest_accepted_item_comes_first() {
        let mut lanes = Lanes::default();
        lanes.push("a", None, 1);
        lanes.push("b", Some("1"), 2);
        lanes.push("a", None, 3);
        assert_eq!(lanes.pop(|name, _| name == "b"), Some(2));
        assert_eq!(lanes.pop(|_, _| true), Some(1));
        assert_eq!(lanes.pop(|_, _| true), Some(3));
        assert_eq!(lanes.pop(|_, _| true), None);
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

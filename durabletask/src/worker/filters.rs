//! Asking the scheduler only for work that this worker can do.

use durabletask_core::{EntityId, Registry};
use durabletask_proto as proto;
use proto::history_event::EventType;

use super::limits::Options;
use super::versioning::VersionMatch;

/// Which work items the worker asks for.
///
/// ```
/// use durabletask::{Connection, Worker};
/// use durabletask::worker::WorkItemFilters;
///
/// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
/// let worker = Worker::builder(&connection).work_item_filters(WorkItemFilters::Registered).build()?;
/// # let _ = worker;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkItemFilters {
    /// All. What no handler is registered for fails, as in the official SDKs
    /// (`OrchestratorTaskNotFound`, `ActivityTaskNotFound`, `EntityTaskNotFound`).
    #[default]
    All,
    /// Only what a handler is registered for. Everything else stays pending
    /// until a worker comes that has it: for task hubs whose workers differ.
    Registered,
}

impl WorkItemFilters {
    /// The filters as sent; `None` asks for everything.
    pub(super) fn to_wire(
        self,
        registry: &Registry,
        options: &Options,
    ) -> Option<proto::WorkItemFilters> {
        if self == Self::All {
            return None;
        }
        // Only an exact match can be sent to the scheduler; anything else is checked here.
        let strict = options
            .versioning
            .as_ref()
            .filter(|versioning| versioning.matching == VersionMatch::Strict)
            .map(|versioning| versioning.version.clone());
        Some(proto::WorkItemFilters {
            orchestrations: registry
                .orchestration_names()
                .map(|name| proto::OrchestrationFilter {
                    name: name.to_owned(),
                    versions: match &strict {
                        Some(version) => vec![version.clone()],
                        None => registry
                            .orchestration_versions(name)
                            .map(str::to_owned)
                            .collect(),
                    },
                })
                .collect(),
            activities: registry
                .activity_names()
                .map(|name| proto::ActivityFilter {
                    name: name.to_owned(),
                    versions: registry
                        .activity_versions(name)
                        .map(str::to_owned)
                        .collect(),
                })
                .collect(),
            entities: registry
                .entity_names()
                .map(|name| proto::EntityFilter {
                    name: name.to_owned(),
                })
                .collect(),
        })
    }

    /// Whether the worker has the activity, or asked for any.
    pub(super) fn take_activity(self, registry: &Registry, name: &str, version: &str) -> bool {
        self == Self::All || registry.has_activity(name, version)
    }

    /// Whether the worker has the entity, or asked for any.
    pub(super) fn take_entity(self, registry: &Registry, instance_id: &str) -> bool {
        let name = entity_name(instance_id);
        self == Self::All || registry.entity_names().any(|known| known == name)
    }

    /// Whether the worker has the orchestration, or asked for any.
    pub(super) fn take_orchestration(self, registry: &Registry, name: &str, version: &str) -> bool {
        self == Self::All || registry.has_orchestration(name, version)
    }
}

/// The name of the entity with this id, in lower case; empty if it is not such an id.
pub(super) fn entity_name(instance_id: &str) -> String {
    instance_id
        .parse::<EntityId>()
        .map_or_else(|_| String::new(), |id| id.name().to_owned())
}

/// The name and version with which the execution began, if these events have them.
pub(super) fn identity(events: &[proto::HistoryEvent]) -> Option<(&str, &str)> {
    events.iter().find_map(|event| match &event.event_type {
        Some(EventType::ExecutionStarted(started)) => Some((
            started.name.as_str(),
            started.version.as_deref().unwrap_or_default(),
        )),
        _ => None,
    })
}

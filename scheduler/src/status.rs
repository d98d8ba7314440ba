//! An instance's status as text.

use durabletask_proto::OrchestrationStatus;

/// A status as users write it, such as `RUNNING`.
pub(crate) fn status_name(value: i32) -> &'static str {
    OrchestrationStatus::try_from(value)
        .map_or("UNKNOWN", |status| status.as_str_name())
        .trim_start_matches("ORCHESTRATION_STATUS_")
}

//! Which versions of orchestrations a worker runs.

use std::cmp::Ordering;

use durabletask_core::FailureDetails;

/// The version of a worker and what follows from it.
///
/// ```
/// use durabletask::worker::{OnVersionMismatch, VersionMatch, Versioning};
///
/// // Runs what was started for version 2.1 or an older one; leaves newer
/// // instances to newer workers.
/// let versioning = Versioning::new("2.1").matching(VersionMatch::CurrentOrOlder);
/// assert_eq!(versioning.on_mismatch, OnVersionMismatch::Reject);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioning {
    /// The worker's version, `Major[.Minor[.Patch]]`; empty for unversioned.
    pub version: String,
    /// The version of sub-orchestrations that are started without one; `None`
    /// leaves them unversioned.
    pub default_version: Option<String>,
    /// Which orchestrations match.
    pub matching: VersionMatch,
    /// What becomes of those that do not.
    pub on_mismatch: OnVersionMismatch,
}

/// Which orchestrations match a worker's version.
///
/// ```
/// use durabletask::worker::{VersionMatch, Versioning};
///
/// let versioning = Versioning::new("2.1").matching(VersionMatch::Strict);
/// assert_eq!(versioning.matching, VersionMatch::Strict);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionMatch {
    /// All.
    #[default]
    Any,
    /// Those of exactly the worker's version.
    Strict,
    /// Those of the worker's version or an older one.
    CurrentOrOlder,
}

/// What becomes of an orchestration whose version does not match.
///
/// ```
/// use durabletask::worker::{OnVersionMismatch, Versioning};
///
/// let versioning = Versioning::new("2.1").on_mismatch(OnVersionMismatch::Fail);
/// assert_eq!(versioning.on_mismatch, OnVersionMismatch::Fail);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnVersionMismatch {
    /// It goes back to the scheduler, for a worker of another version.
    #[default]
    Reject,
    /// It fails with `VersionMismatch`.
    Fail,
}

impl Versioning {
    /// A worker of the given version that runs orchestrations of any version.
    #[must_use]
    pub fn new(version: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            default_version: None,
            matching: VersionMatch::default(),
            on_mismatch: OnVersionMismatch::default(),
        }
    }

    /// Says which orchestrations match.
    #[must_use]
    pub fn matching(mut self, matching: VersionMatch) -> Self {
        self.matching = matching;
        self
    }

    /// Says what becomes of the others.
    #[must_use]
    pub fn on_mismatch(mut self, on_mismatch: OnVersionMismatch) -> Self {
        self.on_mismatch = on_mismatch;
        self
    }

    /// Gives sub-orchestrations a version that are started without one.
    #[must_use]
    pub fn default_version(mut self, version: impl Into<String>) -> Self {
        self.default_version = Some(version.into());
        self
    }

    /// Whether an orchestration of `version` matches.
    #[must_use]
    pub fn admits(&self, version: &str) -> bool {
        match self.matching {
            VersionMatch::Any => true,
            VersionMatch::Strict => compare(version, &self.version) == Ordering::Equal,
            VersionMatch::CurrentOrOlder => compare(version, &self.version) != Ordering::Greater,
        }
    }

    pub(super) fn mismatch(&self, version: &str) -> FailureDetails {
        FailureDetails {
            non_retriable: true,
            ..FailureDetails::new(
                "VersionMismatch",
                format!(
                    "the orchestration's version '{version}' does not match the worker's version '{}' ({:?})",
                    self.version, self.matching
                ),
            )
        }
    }
}

/// Numbers part by part where both versions are dotted numbers, otherwise the
/// texts without regard to case. Nothing is older than no version.
fn compare(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Less,
        (false, true) => return Ordering::Greater,
        (false, false) => {}
    }
    match (numbers(a), numbers(b)) {
        (Some(a), Some(b)) => {
            let length = a.len().max(b.len());
            let part = |numbers: &[u64], index: usize| numbers.get(index).copied().unwrap_or(0);
            (0..length)
                .map(|index| part(&a, index).cmp(&part(&b, index)))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        }
        _ => a.to_lowercase().cmp(&b.to_lowercase()),
    }
}

fn numbers(version: &str) -> Option<Vec<u64>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_their_numbers() {
        for (older, newer) in [
            ("", "0.1"),
            ("1.9", "1.10"),
            ("1", "1.0.1"),
            ("2.0", "10"),
            ("Alpha", "beta"),
            ("1.0", "1.0-rc"),
        ] {
            assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
            assert_eq!(compare(newer, older), Ordering::Greater, "{older} {newer}");
        }
        for (a, b) in [("", ""), ("1", "1.0.0"), ("Rev-A", "rev-a")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn strategies_admit_what_they_say() {
        let admitted = |matching| {
            let versioning = Versioning::new("2.0").matching(matching);
            ["", "1.5", "2.0", "2.0.1"].map(|version| versioning.admits(version))
        };
        assert_eq!(admitted(VersionMatch::Any), [true; 4]);
        assert_eq!(admitted(VersionMatch::Strict), [false, false, true, false]);
        assert_eq!(
            admitted(VersionMatch::CurrentOrOlder),
            [true, true, true, false]
        );
    }
}

//! Which versions of orchestrations a worker runs.

use std::cmp::Ordering;

use durabletask_core::{FailureDetails, compare_versions};

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
#[non_exhaustive]
pub struct Versioning {
    /// The worker's version, `Major[.Minor[.Patch]]`; empty for unversioned.
    pub version: String,
    /// The version of sub-orchestrations that are started without one by an orchestration
    /// without one; `None` leaves them unversioned. A child of a versioned parent has its
    /// parent's version, unless the parent names another.
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
#[non_exhaustive]
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
#[non_exhaustive]
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

    /// Gives sub-orchestrations a version that would have none.
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
            VersionMatch::Strict => compare_versions(version, &self.version) == Ordering::Equal,
            VersionMatch::CurrentOrOlder => {
                compare_versions(version, &self.version) != Ordering::Greater
            }
        }
    }

    pub(super) fn mismatch(&self, version: &str) -> FailureDetails {
        FailureDetails::new(
            "VersionMismatch",
            format!(
                "the orchestration's version '{version}' does not match the worker's version '{}' ({:?})",
                self.version, self.matching
            ),
        )
        .permanent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

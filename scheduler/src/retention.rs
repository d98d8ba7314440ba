//! How long finished instances are kept.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use durabletask_proto::OrchestrationStatus;

/// How long instances are kept after they finished, by status; `None` means until
/// they are purged. Each instance is purged by its own end, whether or not its parent is
/// still running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Those that completed.
    pub completed: Option<Duration>,
    /// Those that failed.
    pub failed: Option<Duration>,
    /// Those that were terminated.
    pub terminated: Option<Duration>,
    /// Those that were canceled.
    pub canceled: Option<Duration>,
}

/// Why a retention cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a retention: use 30d, for example, or completed=7d,failed=90d with any of completed, failed, terminated and canceled; the units are d, h, min and s"
)]
pub struct RetentionError(String);

impl Retention {
    /// The same age for all.
    #[must_use]
    pub const fn all(age: Duration) -> Self {
        Self {
            completed: Some(age),
            failed: Some(age),
            terminated: Some(age),
            canceled: Some(age),
        }
    }

    /// Status numbers and ages of what is purged automatically.
    pub(crate) fn ages(self) -> impl Iterator<Item = (i32, Duration)> {
        use OrchestrationStatus as S;
        [
            (S::Completed, self.completed),
            (S::Failed, self.failed),
            (S::Terminated, self.terminated),
            (S::Canceled, self.canceled),
        ]
        .into_iter()
        .filter_map(|(status, age)| Some((status as i32, age?)))
    }
}

impl fmt::Display for Retention {
    /// In the form that is read, or `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            ("completed", self.completed),
            ("failed", self.failed),
            ("terminated", self.terminated),
            ("canceled", self.canceled),
        ];
        if let Some(age) = self.completed
            && *self == Self::all(age)
        {
            return f.write_str(&age_text(age));
        }
        let kept: Vec<String> = named
            .into_iter()
            .filter_map(|(status, age)| Some(format!("{status}={}", age_text(age?))))
            .collect();
        match kept.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&kept.join(",")),
        }
    }
}

/// An age in its largest whole unit.
fn age_text(age: Duration) -> String {
    let seconds = age.as_secs();
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("min", 60)] {
        if seconds > 0 && seconds.is_multiple_of(size) {
            return format!("{}{unit}", seconds / size);
        }
    }
    format!("{seconds}s")
}

impl FromStr for Retention {
    type Err = RetentionError;

    /// Reads `AGE`, or `STATUS=AGE` for some statuses, comma-separated; a lone `AGE` is
    /// for those that are not named.
    fn from_str(text: &str) -> Result<Self, RetentionError> {
        let wrong = || RetentionError(text.to_owned());
        let mut retention = Self::default();
        let mut others = None;
        for part in text.split(',').map(str::trim) {
            let Some((status, value)) = part.split_once('=') else {
                others = Some(age(part).ok_or_else(wrong)?);
                continue;
            };
            let place = match status.trim() {
                "completed" => &mut retention.completed,
                "failed" => &mut retention.failed,
                "terminated" => &mut retention.terminated,
                "canceled" => &mut retention.canceled,
                _ => return Err(wrong()),
            };
            *place = Some(age(value.trim()).ok_or_else(wrong)?);
        }
        for place in [
            &mut retention.completed,
            &mut retention.failed,
            &mut retention.terminated,
            &mut retention.canceled,
        ] {
            *place = place.or(others);
        }
        Ok(retention)
    }
}

fn age(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(unit);
    let seconds: u64 = match unit {
        "s" => 1,
        "min" | "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(
        count.parse::<u64>().ok()?.checked_mul(seconds)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_read_by_status_or_for_all() {
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        assert_eq!("30d".parse(), Ok(Retention::all(days(30).unwrap())));
        assert_eq!(
            "completed=7d, failed=90d".parse(),
            Ok(Retention {
                completed: days(7),
                failed: days(90),
                ..Retention::default()
            })
        );
        let mixed: Retention = "failed=90d,1h".parse().unwrap();
        assert_eq!(
            (mixed.failed, mixed.canceled),
            (days(90), Some(Duration::from_secs(3600)))
        );
        for text in ["30d", "completed=7d,failed=90min", "90s", "36h"] {
            let read: Retention = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
        assert_eq!(Retention::default().to_string(), "none");
        for wrong in [
            "",
            "soon",
            "7",
            "7w",
            "running=1d",
            "completed=",
            "99999999999999999999d",
        ] {
            assert!(wrong.parse::<Retention>().is_err(), "{wrong}");
        }
    }
}

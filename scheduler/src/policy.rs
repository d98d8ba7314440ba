//! How activities are dispatched, by name: priority, rate and concurrency.

use std::str::FromStr;
use std::time::Duration;

/// A rate: at most this many per period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// The period, longer than zero.
    pub period: Duration,
}

/// How activities of a name are dispatched. The default is as soon as a worker has room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActivityPolicy {
    /// Activities with a higher number go first; equal ones in order of
    /// arrival. Default 0.
    pub priority: i32,
    /// How often one may be dispatched in a task hub, evenly over time: never ahead of
    /// the rate by more than what it allows in a tenth of a second (at least one).
    pub rate: Option<Rate>,
    /// How many may run at once on all workers of a task hub; at least 1.
    pub concurrency: Option<usize>,
}

/// Why a policy cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0}; use priority=5,rate=10/s,concurrency=2, for example, with any of the three; a rate is per ms, s, min, h or d"
)]
pub struct PolicyError(String);

impl FromStr for ActivityPolicy {
    type Err = PolicyError;

    /// Reads `priority=N,rate=N/UNIT,concurrency=N`, with any of the three.
    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let mut policy = Self::default();
        for part in text.split(',').map(str::trim) {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| PolicyError(format!("{part:?} has no value")))?;
            let wrong = || PolicyError(format!("{value:?} is not a {key}"));
            match key.trim() {
                "priority" => policy.priority = value.trim().parse().map_err(|_| wrong())?,
                "rate" => policy.rate = Some(rate(value.trim()).ok_or_else(wrong)?),
                "concurrency" => {
                    let most: usize = value.trim().parse().map_err(|_| wrong())?;
                    policy.concurrency = Some(most).filter(|most| *most > 0);
                    policy.concurrency.ok_or_else(wrong)?;
                }
                other => return Err(PolicyError(format!("there is no setting {other:?}"))),
            }
        }
        Ok(policy)
    }
}

fn rate(text: &str) -> Option<Rate> {
    let (count, unit) = text.split_once('/')?;
    let seconds = match unit {
        "ms" => return of(count, Duration::from_millis(1)),
        "s" => 1,
        "min" | "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    of(count, Duration::from_secs(seconds))
}

fn of(count: &str, period: Duration) -> Option<Rate> {
    let count = count.parse().ok().filter(|count| *count > 0)?;
    Some(Rate { count, period })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_from_any_of_its_parts() {
        let policy: ActivityPolicy = "priority=-3, rate=10/min ,concurrency=2".parse().unwrap();
        assert_eq!(
            policy,
            ActivityPolicy {
                priority: -3,
                rate: Some(Rate {
                    count: 10,
                    period: Duration::from_secs(60)
                }),
                concurrency: Some(2),
            }
        );
        assert_eq!("rate=5/s".parse::<ActivityPolicy>().unwrap().priority, 0);
        for wrong in [
            "",
            "fast",
            "rate=0/s",
            "rate=1/week",
            "rate=5",
            "concurrency=0",
            "priority=high",
            "colour=red",
        ] {
            let error = wrong.parse::<ActivityPolicy>().unwrap_err();
            assert!(
                error.to_string().contains("use priority=5,rate=10/s"),
                "{wrong}"
            );
        }
    }
}

//! What a schedule is and what it does next: `(state, now) -> (state, start, wake-up)`.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use durabletask_core::Failure;
use serde::{Deserialize, Serialize};

/// The shortest interval. A schedule is not a timer: each round is an entity's operation
/// and an instance.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// How often a schedule starts its orchestration.
///
/// ```
/// use durabletask::schedules::Recurrence;
///
/// let weekdays = Recurrence::Cron {
///     expression: "30 7 * * MON-FRI".to_owned(),
///     time_zone: "Europe/Berlin".to_owned(),
/// };
/// assert_ne!(weekdays, Recurrence::Every(std::time::Duration::from_secs(86_400)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Recurrence {
    /// Once in each interval, counted from the start; at least a second.
    Every(Duration),
    /// At the instants of a cron expression in a time zone of the IANA database. The
    /// worker needs the feature `cron`.
    #[serde(rename_all = "camelCase")]
    Cron {
        /// Minute, hour, day of month, month and day of week; or with seconds in front.
        expression: String,
        /// Such as `Europe/Berlin` or `UTC`.
        time_zone: String,
    },
}

/// What a schedule is to do.
///
/// ```
/// use std::time::Duration;
///
/// use durabletask::schedules::{Recurrence, ScheduleOptions};
///
/// let options = ScheduleOptions {
///     start_immediately_if_late: true,
///     ..ScheduleOptions::new(Recurrence::Every(Duration::from_secs(60)))
/// };
/// assert_eq!(options.end_at, None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleOptions {
    /// How often.
    pub recurrence: Recurrence,
    /// From which instant intervals are counted, and before which nothing starts;
    /// `None` for when the schedule was made.
    pub start_at: Option<DateTime<Utc>>,
    /// After this instant nothing starts, and the schedule is deleted.
    pub end_at: Option<DateTime<Utc>>,
    /// Starts at once if `start_at` is past, instead of at the next round.
    pub start_immediately_if_late: bool,
    /// Under which id each round runs. While one runs, the next does not start beside
    /// it. `None` gives each an id of its own: that of the schedule, and the instant.
    pub instance_id: Option<String>,
    /// The version of the instances; `None` for unversioned.
    pub version: Option<String>,
}

impl ScheduleOptions {
    /// From now on, forever, each round under an id of its own.
    #[must_use]
    pub fn new(recurrence: Recurrence) -> Self {
        Self {
            recurrence,
            start_at: None,
            end_at: None,
            start_immediately_if_late: false,
            instance_id: None,
            version: None,
        }
    }
}

/// Whether a schedule starts anything.
///
/// ```
/// use durabletask::schedules::ScheduleStatus;
///
/// assert_ne!(ScheduleStatus::Active, ScheduleStatus::Paused);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ScheduleStatus {
    /// It does.
    #[default]
    Active,
    /// It does not until it is resumed; what falls into the pause is left out.
    Paused,
}

/// A schedule as it is kept.
///
/// ```no_run
/// use durabletask::schedules::{ScheduleError, Schedules};
///
/// async fn next(schedules: &Schedules) -> Result<String, ScheduleError> {
///     let schedule = schedules.get("sales").await?;
///     Ok(match schedule.and_then(|schedule| schedule.next_run_at) {
///         Some(next) => format!("it runs again at {next}"),
///         None => "it does not run again".to_owned(),
///     })
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Its id.
    pub id: String,
    /// The name of the orchestration that it starts.
    pub orchestration: String,
    /// The input of each round, JSON text.
    pub input_json: Option<String>,
    /// What it is to do.
    pub options: ScheduleOptions,
    /// Whether it does.
    pub status: ScheduleStatus,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When someone last changed it.
    pub changed_at: DateTime<Utc>,
    /// For which instant it last started its orchestration.
    pub last_run_at: Option<DateTime<Utc>>,
    /// For which instant it will start it next; `None` while it is paused, and when
    /// its expression has no instant left.
    pub next_run_at: Option<DateTime<Utc>>,
    /// Names the wake-up that counts: those of earlier plans are void.
    pub(super) token: String,
}

/// What someone wants of a schedule.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Change {
    Put {
        orchestration: String,
        input: Option<String>,
        options: ScheduleOptions,
    },
    Pause,
    Resume,
    Delete,
}

/// What a wake-up leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// The instant for which the orchestration is to start now.
    pub(super) start: Option<DateTime<Utc>>,
    /// When to look again.
    pub(super) wake_at: Option<DateTime<Utc>>,
    /// It has ended.
    pub(super) ended: bool,
}

/// The failure types that callers get to see.
pub(super) const NOT_FOUND: &str = "ScheduleNotFound";
pub(super) const INVALID_STATE: &str = "InvalidScheduleState";
pub(super) const INVALID_OPTIONS: &str = "InvalidScheduleOptions";

/// Applies `change` to what there is; yields what there is now. `token` names the
/// plan that begins with it.
///
/// # Errors
///
/// One of the failures above; nothing has changed then.
pub(super) fn apply(
    schedule: Option<Schedule>,
    change: Change,
    (id, token): (&str, &str),
    now: DateTime<Utc>,
) -> Result<Option<Schedule>, Failure> {
    let there = |schedule: Option<Schedule>| {
        schedule.ok_or_else(|| {
            Failure::new(NOT_FOUND, format!("there is no schedule '{id}'")).permanent()
        })
    };
    let turned = |schedule: Schedule, status: ScheduleStatus| {
        if schedule.status == status {
            let message = format!("the schedule '{id}' is {status:?} already").to_lowercase();
            return Err(Failure::new(INVALID_STATE, message).permanent());
        }
        Ok(Some(Schedule {
            status,
            changed_at: now,
            next_run_at: None,
            token: token.to_owned(),
            ..schedule
        }))
    };
    match change {
        Change::Put {
            orchestration,
            input,
            options,
        } => {
            check(&options, now)?;
            let before = schedule.as_ref();
            Ok(Some(Schedule {
                id: id.to_owned(),
                orchestration,
                input_json: input,
                options,
                status: before.map_or(ScheduleStatus::Active, |before| before.status),
                created_at: before.map_or(now, |before| before.created_at),
                changed_at: now,
                last_run_at: before.and_then(|before| before.last_run_at),
                next_run_at: None,
                token: token.to_owned(),
            }))
        }
        Change::Pause => turned(there(schedule)?, ScheduleStatus::Paused),
        Change::Resume => turned(there(schedule)?, ScheduleStatus::Active),
        Change::Delete => there(schedule).map(|_| None),
    }
}

/// Refuses a plan that cannot be.
pub(super) fn check(options: &ScheduleOptions, now: DateTime<Utc>) -> Result<(), Failure> {
    let invalid = |reason: String| Failure::new(INVALID_OPTIONS, reason).permanent();
    match &options.recurrence {
        Recurrence::Every(interval) if *interval < MIN_INTERVAL => {
            return Err(invalid(format!(
                "an interval of {interval:?} is too short; {MIN_INTERVAL:?} is the least"
            )));
        }
        Recurrence::Every(interval) if TimeDelta::from_std(*interval).is_err() => {
            return Err(invalid(format!("an interval of {interval:?} is too long")));
        }
        recurrence => {
            // Unreadable expressions are found now, not by the first wake-up.
            recurrence.next_after(now, now)?;
        }
    }
    match (options.start_at, options.end_at) {
        (Some(start), Some(end)) if end <= start => {
            Err(invalid(format!("it would end at {end}, before it begins")))
        }
        _ => Ok(()),
    }
}

impl Recurrence {
    /// The first instant after `now`, counted from `origin`, which is not later.
    fn next_after(
        &self,
        origin: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Failure> {
        match self {
            Self::Every(interval) => {
                let past = (now - origin).to_std().unwrap_or_default();
                let rounds = past.as_nanos() / interval.as_nanos().max(1) + 1;
                Ok(u32::try_from(rounds)
                    .ok()
                    .and_then(|rounds| interval.checked_mul(rounds))
                    .and_then(|after| TimeDelta::from_std(after).ok())
                    .and_then(|after| origin.checked_add_signed(after)))
            }
            Self::Cron {
                expression,
                time_zone,
            } => cron(expression, time_zone, now),
        }
    }
}

#[cfg(feature = "cron")]
fn cron(
    expression: &str,
    zone: &str,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Failure> {
    durabletask_core::cron::CronSchedule::parse(expression, zone)
        .map(|schedule| schedule.next_after(now))
        .map_err(|error| Failure::new(INVALID_OPTIONS, error.to_string()).permanent())
}

#[cfg(not(feature = "cron"))]
fn cron(_: &str, _: &str, _: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Failure> {
    Err(Failure::new(
        INVALID_OPTIONS,
        "this worker is built without the feature `cron`; build it with that, or give an interval",
    )
    .permanent())
}

impl Schedule {
    /// What is due at `now`, for the wake-up that `token` names.
    ///
    /// # Errors
    ///
    /// If the expression cannot be read here.
    pub(super) fn round(&mut self, token: &str, now: DateTime<Utc>) -> Result<Round, Failure> {
        if token != self.token || self.status == ScheduleStatus::Paused {
            return Ok(Round::default());
        }
        if self.options.end_at.is_some_and(|end| now > end) {
            return Ok(Round {
                ended: true,
                ..Round::default()
            });
        }
        let due = match self.next_run_at {
            Some(next) => Some(next),
            None => self.next(now)?,
        };
        let mut round = Round::default();
        self.next_run_at = due;
        if let Some(at) = due.filter(|at| *at <= now) {
            round.start = Some(at);
            self.last_run_at = Some(at);
            // Rounds that were missed while no worker was there are left out.
            self.next_run_at = self.next(now)?;
        }
        round.wake_at = self.next_run_at;
        Ok(round)
    }

    fn next(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Failure> {
        let origin = self.options.start_at.unwrap_or(self.created_at);
        let is_first = self.last_run_at.is_none();
        if is_first && origin <= now && self.options.start_immediately_if_late {
            return Ok(Some(now));
        }
        match &self.options.recurrence {
            // The first instant is the start itself.
            Recurrence::Every(_) if origin > now => Ok(Some(origin)),
            recurrence => recurrence.next_after(origin, now.max(origin)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn put(options: ScheduleOptions) -> Change {
        Change::Put {
            orchestration: "report".to_owned(),
            input: None,
            options,
        }
    }

    fn every(seconds: u64) -> ScheduleOptions {
        ScheduleOptions::new(Recurrence::Every(Duration::from_secs(seconds)))
    }

    fn made(options: ScheduleOptions, now: DateTime<Utc>) -> Schedule {
        apply(None, put(options), ("sales", "t1"), now)
            .unwrap()
            .unwrap()
    }

    fn starts(schedule: &mut Schedule, now: i64) -> Round {
        let token = schedule.token.clone();
        schedule.round(&token, at(now)).unwrap()
    }

    fn round(start: Option<i64>, wake_at: Option<i64>) -> Round {
        Round {
            start: start.map(at),
            wake_at: wake_at.map(at),
            ended: false,
        }
    }

    #[test]
    fn rounds_follow_the_interval_and_missed_ones_are_left_out() {
        let mut schedule = made(every(10), at(0));
        assert_eq!(starts(&mut schedule, 0), round(None, Some(10)));
        // A wake-up that comes too early changes nothing.
        assert_eq!(starts(&mut schedule, 9), round(None, Some(10)));
        assert_eq!(starts(&mut schedule, 10), round(Some(10), Some(20)));
        // Nobody was there for a while.
        assert_eq!(starts(&mut schedule, 57), round(Some(20), Some(60)));
        assert_eq!(schedule.last_run_at, Some(at(20)));
        // Someone set the clock back.
        assert_eq!(starts(&mut schedule, 30), round(None, Some(60)));
    }

    #[test]
    fn the_first_round_is_at_the_start_or_at_once_if_that_is_late() {
        let later = ScheduleOptions {
            start_at: Some(at(100)),
            ..every(10)
        };
        let mut schedule = made(later.clone(), at(0));
        assert_eq!(starts(&mut schedule, 0), round(None, Some(100)));
        assert_eq!(starts(&mut schedule, 100), round(Some(100), Some(110)));

        let mut schedule = made(later.clone(), at(205));
        assert_eq!(starts(&mut schedule, 205), round(None, Some(210)));

        let at_once = ScheduleOptions {
            start_immediately_if_late: true,
            ..later
        };
        let mut schedule = made(at_once, at(205));
        assert_eq!(starts(&mut schedule, 205), round(Some(205), Some(210)));
        assert_eq!(starts(&mut schedule, 210), round(Some(210), Some(220)));
    }

    #[test]
    fn a_schedule_ends_after_its_end_time() {
        let ending = ScheduleOptions {
            end_at: Some(at(15)),
            ..every(10)
        };
        let mut schedule = made(ending, at(0));
        assert_eq!(starts(&mut schedule, 10), round(None, Some(20)));
        assert!(starts(&mut schedule, 20).ended);
    }

    #[test]
    fn a_change_voids_what_was_planned() {
        let schedule = made(every(10), at(0));
        let paused = apply(Some(schedule), Change::Pause, ("sales", "t2"), at(1))
            .unwrap()
            .unwrap();
        let mut paused = paused;
        assert_eq!(paused.round("t1", at(10)).unwrap(), Round::default());
        assert_eq!(paused.round("t2", at(10)).unwrap(), Round::default());

        let mut resumed = apply(Some(paused), Change::Resume, ("sales", "t3"), at(31))
            .unwrap()
            .unwrap();
        assert_eq!(resumed.round("t2", at(31)).unwrap(), Round::default());
        assert_eq!(starts(&mut resumed, 31), round(None, Some(40)));

        // Put again, it keeps its age and its status.
        let mut other = apply(Some(resumed), put(every(7)), ("sales", "t4"), at(33))
            .unwrap()
            .unwrap();
        assert_eq!(
            (other.created_at, other.status),
            (at(0), ScheduleStatus::Active)
        );
        assert_eq!(starts(&mut other, 33), round(None, Some(35)));
        assert!(
            apply(Some(other), Change::Delete, ("sales", "t5"), at(34))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        let refused = |schedule: Option<Schedule>, change| {
            let failure = apply(schedule, change, ("sales", "t2"), at(0)).unwrap_err();
            let details = failure.into_details();
            assert!(details.non_retriable);
            (details.error_type, details.message)
        };
        let there = || Some(made(every(10), at(0)));
        for change in [Change::Pause, Change::Resume, Change::Delete] {
            assert_eq!(refused(None, change).0, NOT_FOUND);
        }
        let (error_type, message) = refused(there(), Change::Resume);
        assert_eq!(error_type, INVALID_STATE);
        assert_eq!(message, "the schedule 'sales' is active already");
        let cron = |expression: &str, zone: &str| {
            ScheduleOptions::new(Recurrence::Cron {
                expression: expression.to_owned(),
                time_zone: zone.to_owned(),
            })
        };
        for options in [
            every(0),
            every(u64::MAX),
            ScheduleOptions {
                start_at: Some(at(10)),
                end_at: Some(at(10)),
                ..every(1)
            },
            cron("every morning", "UTC"),
            cron("0 7 * * *", "Atlantis"),
        ] {
            assert_eq!(refused(None, put(options)).0, INVALID_OPTIONS);
        }
    }

    #[cfg(feature = "cron")]
    #[test]
    fn a_cron_schedule_wakes_at_its_instants() {
        let hourly = ScheduleOptions::new(Recurrence::Cron {
            expression: "0 * * * *".to_owned(),
            time_zone: "UTC".to_owned(),
        });
        // at(0) is 08:00:00 UTC.
        let mut schedule = made(hourly, at(5));
        assert_eq!(starts(&mut schedule, 5), round(None, Some(3_600)));
        assert_eq!(
            starts(&mut schedule, 3_601),
            round(Some(3_600), Some(7_200))
        );
        let never = ScheduleOptions::new(Recurrence::Cron {
            expression: "0 0 30 2 *".to_owned(),
            time_zone: "UTC".to_owned(),
        });
        let mut schedule = made(never, at(0));
        assert_eq!(starts(&mut schedule, 0), round(None, None));
    }
}

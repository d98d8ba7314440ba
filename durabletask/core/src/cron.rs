//! Schedules by cron expressions, in a time zone.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;

/// A cron expression in a time zone: when something is to happen again.
///
/// Five fields (minute, hour, day of month, month, day of week), or six with
/// seconds in front. Where the clocks are put forward, an instant that does not
/// exist is skipped to the next that does.
///
/// An orchestration asks it with its replay clock, and sets a timer:
///
/// ```
/// use durabletask::cron::CronSchedule;
/// use durabletask::{Activity, Failure, OrchestrationContext, Outcome};
///
/// const REPORT: Activity<(), ()> = Activity::new("report");
///
/// async fn every_morning(ctx: OrchestrationContext, _: ()) -> Result<Outcome<(), ()>, Failure> {
///     let schedule = CronSchedule::parse("30 7 * * MON-FRI", "Europe/Berlin")?;
///     let Some(next) = schedule.next_after(ctx.current_utc()) else {
///         return Ok(Outcome::Done(()));
///     };
///     ctx.create_timer_at(next).await;
///     ctx.call_activity(&REPORT, &()).await?;
///     // A new history for each morning.
///     Ok(Outcome::continue_as_new(()))
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CronSchedule {
    cron: Cron,
    zone: Tz,
}

/// What is wrong with a schedule.
///
/// ```
/// use durabletask::cron::{CronError, CronSchedule};
///
/// let nowhere = CronSchedule::parse("0 7 * * *", "Atlantis");
/// assert_eq!(nowhere, Err(CronError::Zone("Atlantis".to_owned())));
/// let nonsense = CronSchedule::parse("every morning", "UTC");
/// assert!(matches!(nonsense, Err(CronError::Expression { .. })));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CronError {
    /// The expression is not one.
    #[error(
        "'{expression}' is not a cron expression: {reason}; give minute, hour, day of month, month and day of week"
    )]
    Expression {
        /// The expression as given.
        expression: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The time zone is not known.
    #[error("'{0}' is not a time zone of the IANA database, such as Europe/Berlin or UTC")]
    Zone(String),
}

impl CronSchedule {
    /// Reads a cron expression and the name of its time zone, as the IANA
    /// database has it.
    ///
    /// # Errors
    ///
    /// [`CronError`] with what is wrong.
    pub fn parse(expression: &str, zone: &str) -> Result<Self, CronError> {
        let cron = Cron::from_str(expression).map_err(|error| CronError::Expression {
            expression: expression.to_owned(),
            reason: error.to_string(),
        })?;
        let zone = Tz::from_str(zone).map_err(|_| CronError::Zone(zone.to_owned()))?;
        Ok(Self { cron, zone })
    }

    /// The first instant after `after`; `None` if there is none, as on February 30.
    ///
    /// Rules of time zones change with the version of their database. An
    /// orchestration replays all the same: instants of timers are not compared.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.cron
            .find_next_occurrence(&after.with_timezone(&self.zone), false)
            .ok()
            .map(|next| next.to_utc())
    }
}

impl fmt::Display for CronSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.cron.as_str(), self.zone)
    }
}

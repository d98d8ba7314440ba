//! Schedules in the form that the SDKs for .NET and Python share: the entity `schedule`, what it
//! keeps (`ScheduleState` there) and the inputs of its operations.
//!
//! The state has .NET's names and shapes, which Python's SDK writes too. Operations and their inputs
//! differ between the two: `CreateSchedule` with .NET's members, `create_schedule` with Python's.
//! Both are understood.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use durabletask_core::Failure;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::state::{
    Change, INVALID_OPTIONS, NOT_FOUND, Recurrence, Schedule, ScheduleOptions, ScheduleStatus,
};

/// The number of 100-nanosecond ticks in a second, .NET's unit.
const TICKS: u64 = 10_000_000;

/// What the entity keeps. Members that are not known here are kept as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SharedState {
    #[serde(alias = "status", with = "status", default)]
    status: Option<ScheduleStatus>,
    #[serde(alias = "execution_token", default)]
    execution_token: String,
    #[serde(alias = "last_run_at", with = "instant", default)]
    last_run_at: Option<DateTime<Utc>>,
    #[serde(alias = "next_run_at", with = "instant", default)]
    next_run_at: Option<DateTime<Utc>>,
    #[serde(alias = "schedule_created_at", with = "instant", default)]
    schedule_created_at: Option<DateTime<Utc>>,
    #[serde(alias = "schedule_last_modified_at", with = "instant", default)]
    schedule_last_modified_at: Option<DateTime<Utc>>,
    #[serde(alias = "schedule_configuration", default)]
    schedule_configuration: Option<Configuration>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// What the schedule is to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    #[serde(alias = "schedule_id")]
    schedule_id: String,
    #[serde(alias = "orchestration_name")]
    orchestration_name: String,
    #[serde(with = "time_span")]
    interval: Duration,
    #[serde(default)]
    orchestration_input: Option<String>,
    #[serde(alias = "orchestration_instance_id", default)]
    orchestration_instance_id: Option<String>,
    #[serde(alias = "start_at", with = "instant", default)]
    start_at: Option<DateTime<Utc>>,
    #[serde(alias = "end_at", with = "instant", default)]
    end_at: Option<DateTime<Utc>>,
    #[serde(alias = "start_immediately_if_late", default)]
    start_immediately_if_late: bool,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl SharedState {
    /// The schedule `id`, or `None` if none has been created here.
    pub(super) fn schedule(&self, id: &str) -> Option<Schedule> {
        let configuration = self.schedule_configuration.as_ref()?;
        let status = self.status?;
        let created_at = self.schedule_created_at?;
        Some(Schedule {
            id: id.to_owned(),
            orchestration: configuration.orchestration_name.clone(),
            input_json: configuration.orchestration_input.as_deref().map(json_of),
            options: ScheduleOptions {
                recurrence: Recurrence::Every(configuration.interval),
                start_at: configuration.start_at,
                end_at: configuration.end_at,
                start_immediately_if_late: configuration.start_immediately_if_late,
                instance_id: configuration
                    .orchestration_instance_id
                    .clone()
                    .filter(|id| !id.is_empty()),
                version: None,
            },
            status,
            created_at,
            changed_at: self.schedule_last_modified_at.unwrap_or(created_at),
            last_run_at: self.last_run_at,
            next_run_at: self.next_run_at,
            token: self.execution_token.clone(),
        })
    }

    /// Keeps `schedule`.
    ///
    /// # Errors
    ///
    /// `InvalidScheduleOptions` for what has no place in this form; see [`fits`].
    pub(super) fn keep(&mut self, schedule: Schedule) -> Result<(), Failure> {
        let Recurrence::Every(interval) = schedule.options.recurrence else {
            return Err(no_place());
        };
        if !fits(&schedule.options) {
            return Err(no_place());
        }
        let before = self.schedule_configuration.take().unwrap_or_default();
        let unchanged = before
            .orchestration_input
            .filter(|text| Some(json_of(text)) == schedule.input_json);
        self.schedule_configuration = Some(Configuration {
            schedule_id: schedule.id,
            orchestration_name: schedule.orchestration,
            interval,
            orchestration_input: unchanged.or(schedule.input_json.map(text_of)),
            orchestration_instance_id: schedule.options.instance_id,
            start_at: schedule.options.start_at,
            end_at: schedule.options.end_at,
            start_immediately_if_late: schedule.options.start_immediately_if_late,
            other: before.other,
        });
        self.status = Some(schedule.status);
        self.execution_token = schedule.token;
        self.last_run_at = schedule.last_run_at;
        self.next_run_at = schedule.next_run_at;
        self.schedule_created_at = Some(schedule.created_at);
        self.schedule_last_modified_at = Some(schedule.changed_at);
        Ok(())
    }
}

fn no_place() -> Failure {
    Failure::new(
        INVALID_OPTIONS,
        "a schedule that .NET and Python can read has an interval, and neither a cron expression nor \
         a version",
    )
    .permanent()
}

/// Whether a plan can be said in this form: it has neither cron expressions nor versions.
pub(super) fn fits(options: &ScheduleOptions) -> bool {
    matches!(options.recurrence, Recurrence::Every(_)) && options.version.is_none()
}

/// An orchestration's input of the kept text, which is JSON, or a string where it is not.
fn json_of(text: &str) -> String {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => text.to_owned(),
        Err(_) => Value::from(text).to_string(),
    }
}

/// The text to keep for an input. .NET passes it on as a string, Python as the JSON that it is, so a
/// string is kept without its quotation marks where both then mean the same.
fn text_of(json: String) -> String {
    match serde_json::from_str::<Value>(&json) {
        Ok(Value::String(text)) if serde_json::from_str::<IgnoredAny>(&text).is_err() => text,
        _ => json,
    }
}

/// The input of `CreateSchedule` and `UpdateSchedule`, in .NET's members or in Python's. An update
/// has those that change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct SharedOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule_id: Option<String>,
    #[serde(alias = "orchestration_name")]
    orchestration_name: Option<String>,
    /// Text as it is kept.
    orchestration_input: Option<String>,
    /// Python's: any JSON.
    #[serde(rename = "orchestration_input", skip_serializing)]
    input_value: Option<Value>,
    #[serde(alias = "orchestration_instance_id")]
    orchestration_instance_id: Option<String>,
    #[serde(alias = "start_at", with = "instant")]
    start_at: Option<DateTime<Utc>>,
    #[serde(alias = "end_at", with = "instant")]
    end_at: Option<DateTime<Utc>>,
    #[serde(with = "optional_time_span")]
    interval: Option<Duration>,
    /// Python's.
    #[serde(rename = "interval_seconds", skip_serializing)]
    seconds: Option<f64>,
    #[serde(alias = "start_immediately_if_late")]
    start_immediately_if_late: Option<bool>,
}

impl SharedOptions {
    /// What makes this schedule.
    pub(super) fn new(
        id: &str,
        orchestration: String,
        input: Option<String>,
        options: ScheduleOptions,
    ) -> Self {
        let interval = match options.recurrence {
            Recurrence::Every(interval) => Some(interval),
            Recurrence::Cron { .. } => None,
        };
        Self {
            schedule_id: Some(id.to_owned()),
            orchestration_name: Some(orchestration),
            orchestration_input: input.map(text_of),
            input_value: None,
            orchestration_instance_id: options.instance_id,
            start_at: options.start_at,
            end_at: options.end_at,
            interval,
            seconds: None,
            start_immediately_if_late: Some(options.start_immediately_if_late),
        }
    }

    /// What is to be there afterwards, given what is there `before`: nothing for a creation. Yields
    /// `None` if that is the same.
    ///
    /// # Errors
    ///
    /// `InvalidScheduleOptions` if a name or an interval is missing.
    pub(super) fn change(self, before: Option<&Schedule>) -> Result<Option<Change>, Failure> {
        let missing =
            |what: &str| Failure::new(INVALID_OPTIONS, format!("{what} is missing")).permanent();
        let interval = match (self.interval, self.seconds) {
            (Some(interval), _) => Some(Recurrence::Every(interval)),
            (None, Some(seconds)) => Some(Recurrence::Every(
                Duration::try_from_secs_f64(seconds).map_err(|_| {
                    let message = format!("an interval of {seconds} s is not possible");
                    Failure::new(INVALID_OPTIONS, message).permanent()
                })?,
            )),
            (None, None) => None,
        };
        let input = match (self.orchestration_input, self.input_value) {
            (Some(text), _) => Some(json_of(&text)),
            (None, Some(value)) => Some(value.to_string()),
            (None, None) => None,
        };
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let name = given(self.orchestration_name);
        let instance_id = given(self.orchestration_instance_id);
        let Some(before) = before else {
            return Ok(Some(Change::Put {
                orchestration: name.ok_or_else(|| missing("the orchestration's name"))?,
                input,
                options: ScheduleOptions {
                    recurrence: interval.ok_or_else(|| missing("the interval"))?,
                    start_at: self.start_at,
                    end_at: self.end_at,
                    start_immediately_if_late: self.start_immediately_if_late.unwrap_or(false),
                    instance_id,
                    version: None,
                },
            }));
        };
        let options = ScheduleOptions {
            recurrence: interval.unwrap_or_else(|| before.options.recurrence.clone()),
            start_at: self.start_at.or(before.options.start_at),
            end_at: self.end_at.or(before.options.end_at),
            start_immediately_if_late: self
                .start_immediately_if_late
                .unwrap_or(before.options.start_immediately_if_late),
            instance_id: instance_id.or_else(|| before.options.instance_id.clone()),
            version: before.options.version.clone(),
        };
        let orchestration = name.unwrap_or_else(|| before.orchestration.clone());
        let input = input.or_else(|| before.input_json.clone());
        let same = options == before.options
            && orchestration == before.orchestration
            && input == before.input_json;
        Ok((!same).then_some(Change::Put {
            orchestration,
            input,
            options,
        }))
    }
}

/// That there is no schedule `id`.
pub(super) fn not_found(id: &str) -> Failure {
    Failure::new(NOT_FOUND, format!("there is no schedule '{id}'")).permanent()
}

/// An operation on a schedule, as the orchestrations of .NET's and Python's clients get it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OperationRequest {
    #[serde(alias = "entity_id")]
    pub(super) entity_id: String,
    #[serde(alias = "operation_name")]
    pub(super) operation_name: String,
    #[serde(alias = "input", default)]
    pub(super) input: Value,
}

/// .NET's number of a status; 0 is one that was never created. Python's SDK wrote names before.
mod status {
    use super::*;

    // The signature is serde's.
    #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
    pub(super) fn serialize<S: Serializer>(
        status: &Option<ScheduleStatus>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match status {
            None => 0,
            Some(ScheduleStatus::Active) => 1,
            Some(ScheduleStatus::Paused) => 2,
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ScheduleStatus>, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let known = match &value {
            Value::Number(number) => match number.as_u64() {
                Some(0) => Some(None),
                Some(1) => Some(Some(ScheduleStatus::Active)),
                Some(2) => Some(Some(ScheduleStatus::Paused)),
                _ => None,
            },
            Value::String(name) => match name.to_ascii_lowercase().as_str() {
                "uninitialized" | "unknown" => Some(None),
                "active" => Some(Some(ScheduleStatus::Active)),
                "paused" => Some(Some(ScheduleStatus::Paused)),
                _ => None,
            },
            _ => None,
        };
        known.ok_or_else(|| D::Error::custom(format!("{value} is not the status of a schedule")))
    }
}

/// An instant in ISO 8601 with an offset; one without counts as UTC, as in Python's SDK.
mod instant {
    use super::*;

    // The signature is serde's.
    #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
    pub(super) fn serialize<S: Serializer>(
        instant: &Option<DateTime<Utc>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        // Six digits and an offset in numbers: what every version of Python's `fromisoformat` reads.
        instant
            .map(|instant| instant.to_rfc3339_opts(SecondsFormat::Micros, false))
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<DateTime<Utc>>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        if text.is_empty() {
            return Ok(None);
        }
        DateTime::parse_from_rfc3339(&text)
            .map(|instant| instant.to_utc())
            .or_else(|_| {
                NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f")
                    .map(|instant| instant.and_utc())
            })
            .map(Some)
            .map_err(|error| D::Error::custom(format!("{text:?} is not an instant: {error}")))
    }
}

/// .NET's `TimeSpan`: `[d.]hh:mm:ss[.fffffff]`.
mod time_span {
    use super::*;

    // The signature is serde's.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(super) fn serialize<S: Serializer>(
        span: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_time_span(*span))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_time_span(&text)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is not a time span")))
    }
}

mod optional_time_span {
    use super::*;

    // The signature is serde's.
    #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
    pub(super) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        span.map(super::format_time_span).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        super::parse_time_span(&text)
            .map(Some)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is not a time span")))
    }
}

fn format_time_span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60);
    let ticks = span.subsec_nanos() / 100;
    let days = if days == 0 {
        String::new()
    } else {
        format!("{days}.")
    };
    let fraction = if ticks == 0 {
        String::new()
    } else {
        format!(".{ticks:07}")
    };
    format!("{days}{clock}{fraction}")
}

/// `None` for what is none, or is negative.
fn parse_time_span(text: &str) -> Option<Duration> {
    fn number(digits: &str, limit: u64) -> Option<u64> {
        let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|number| all && *number < limit)
    }
    let text = text.trim();
    let (before, rest) = text.split_once(':')?;
    let (days, hours) = match before.split_once('.') {
        Some((days, hours)) => (number(days, 10_675_200)?, hours),
        None => (0, before),
    };
    let (minutes, rest) = rest.split_once(':')?;
    let (seconds, fraction) = rest.split_once('.').unwrap_or((rest, "0"));
    if fraction.len() > 7 {
        return None;
    }
    let ticks = number(&format!("{fraction:0<7}"), TICKS)?;
    let clock = number(hours, 24)? * 3_600 + number(minutes, 60)? * 60 + number(seconds, 60)?;
    let nanoseconds = u32::try_from(ticks * 100).ok()?;
    Some(Duration::new(days * 86_400 + clock, nanoseconds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What .NET's SDK keeps.
    const DOTNET: &str = r#"{"Status":1,"ExecutionToken":"0f8fad5bd9cb469fa16570867728950e",
        "LastRunAt":"2026-11-30T08:00:00.1234567+00:00","NextRunAt":"2026-11-30T10:00:00+01:00",
        "ScheduleCreatedAt":"2026-11-29T08:00:00Z","ScheduleLastModifiedAt":"2026-11-29T08:00:00Z",
        "ScheduleConfiguration":{"OrchestrationName":"Report","ScheduleId":"sales",
        "OrchestrationInput":"north","OrchestrationInstanceId":null,"StartAt":null,"EndAt":null,
        "Interval":"1.02:03:04.5000000","StartImmediatelyIfLate":true,"Later":[1]},"Added":{"a":1}}"#;

    #[test]
    fn a_state_of_dotnet_is_read_and_kept_with_what_is_not_known() {
        let mut state: SharedState = serde_json::from_str(DOTNET).unwrap();
        let schedule = state.schedule("sales").unwrap();
        assert_eq!(schedule.orchestration, "Report");
        assert_eq!(schedule.input_json.as_deref(), Some("\"north\""));
        let interval = Duration::from_millis(86_400_000 + 2 * 3_600_000 + 3 * 60_000 + 4_500);
        assert_eq!(schedule.options.recurrence, Recurrence::Every(interval));
        assert_eq!(
            schedule.next_run_at.unwrap().to_rfc3339(),
            "2026-11-30T09:00:00+00:00"
        );
        assert!(schedule.options.start_immediately_if_late);
        state.keep(schedule).unwrap();
        let kept: Value = serde_json::to_value(&state).unwrap();
        let mut expected: Value = serde_json::from_str(DOTNET).unwrap();
        for (member, written) in [
            ("LastRunAt", "2026-11-30T08:00:00.123456+00:00"),
            ("NextRunAt", "2026-11-30T09:00:00.000000+00:00"),
            ("ScheduleCreatedAt", "2026-11-29T08:00:00.000000+00:00"),
            ("ScheduleLastModifiedAt", "2026-11-29T08:00:00.000000+00:00"),
        ] {
            expected[member] = written.into();
        }
        assert_eq!(kept, expected);
    }

    #[test]
    fn states_that_python_wrote_before_are_read() {
        let state: SharedState = serde_json::from_str(
            r#"{"status":"Paused","execution_token":"t","last_run_at":null,"next_run_at":null,
                "schedule_created_at":"2026-11-29T08:00:00","schedule_last_modified_at":null,
                "schedule_configuration":{"schedule_id":"s","orchestration_name":"o",
                "Interval":"00:00:05","OrchestrationInput":"{\"a\":1}","start_at":null}}"#,
        )
        .unwrap();
        let schedule = state.schedule("s").unwrap();
        assert_eq!(schedule.status, ScheduleStatus::Paused);
        assert_eq!(schedule.input_json.as_deref(), Some("{\"a\":1}"));
        assert_eq!(
            schedule.created_at.to_rfc3339(),
            "2026-11-29T08:00:00+00:00"
        );
    }

    #[test]
    fn what_was_never_created_is_none() {
        let empty = r#"{"Status":0,"ExecutionToken":"t","ScheduleConfiguration":null}"#;
        let state: SharedState = serde_json::from_str(empty).unwrap();
        assert_eq!(state.schedule("s"), None);
        assert!(serde_json::from_str::<SharedState>(r#"{"Status":7}"#).is_err());
    }

    #[test]
    fn an_input_comes_back_as_it_was() {
        for json in [
            "\"north\"",
            "\"17\"",
            "17",
            "{\"a\":[1]}",
            "null",
            "\"\"",
            "\"a \\\"b\\\"\"",
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            let back: Value = serde_json::from_str(&json_of(&text_of(json.to_owned()))).unwrap();
            assert_eq!(back, value, "{json}");
        }
        // A string that both mean alike has no quotation marks.
        assert_eq!(text_of("\"north\"".to_owned()), "north");
        assert_eq!(text_of("\"17\"".to_owned()), "\"17\"");
    }

    #[test]
    fn time_spans_are_those_of_dotnet() {
        for (text, milliseconds) in [
            ("00:00:01", 1_000),
            ("23:59:59.9990000", 86_399_999),
            ("1.00:00:00", 86_400_000),
            ("10675199.02:48:05", 922_337_203_685_000),
        ] {
            let span = Duration::from_millis(milliseconds);
            assert_eq!(parse_time_span(text), Some(span), "{text}");
            assert_eq!(format_time_span(span), text);
        }
        assert_eq!(
            parse_time_span("00:00:00.5"),
            Some(Duration::from_millis(500))
        );
        for text in [
            "",
            "5",
            "00:05",
            "-00:00:05",
            "24:00:00",
            "00:60:00",
            "1.2.03:04:05",
            "00:00:00.12345678",
            "00:00:+1",
            "0:0:",
            "x",
        ] {
            assert_eq!(parse_time_span(text), None, "{text}");
        }
    }

    #[test]
    fn options_are_read_in_both_spellings_and_an_update_changes_what_it_has() {
        let dotnet: SharedOptions = serde_json::from_str(
            r#"{"OrchestrationName":"o","ScheduleId":"s","OrchestrationInput":"north",
                "OrchestrationInstanceId":null,"StartAt":null,"EndAt":null,"Interval":"00:01:00",
                "StartImmediatelyIfLate":false}"#,
        )
        .unwrap();
        let python: SharedOptions = serde_json::from_str(
            r#"{"schedule_id":"s","orchestration_name":"o","interval_seconds":60.0,
                "orchestration_input":"north","orchestration_instance_id":null,"start_at":null,
                "end_at":null,"start_immediately_if_late":false}"#,
        )
        .unwrap();
        let put = |options: SharedOptions, before| match options.change(before).unwrap() {
            Some(Change::Put {
                orchestration,
                input,
                options,
            }) => (orchestration, input, options),
            other => panic!("{other:?}"),
        };
        let made = put(dotnet, None);
        assert_eq!(put(python, None), made);
        let options = ScheduleOptions::new(Recurrence::Every(Duration::from_secs(60)));
        assert_eq!(
            made,
            (
                "o".to_owned(),
                Some("\"north\"".to_owned()),
                options.clone()
            )
        );

        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let change = Change::Put {
            orchestration: made.0,
            input: made.1,
            options,
        };
        let before = super::super::state::apply(None, change, ("s", "t"), now)
            .unwrap()
            .unwrap();
        let update: SharedOptions =
            serde_json::from_str(r#"{"interval_seconds":90,"orchestration_name":null}"#).unwrap();
        let (orchestration, input, options) = put(update, Some(&before));
        assert_eq!(
            (orchestration, input),
            ("o".to_owned(), Some("\"north\"".to_owned()))
        );
        assert_eq!(
            options.recurrence,
            Recurrence::Every(Duration::from_secs(90))
        );
        let same: SharedOptions = serde_json::from_str(r#"{"Interval":"00:01:00"}"#).unwrap();
        assert!(same.change(Some(&before)).unwrap().is_none());
        assert!(SharedOptions::default().change(None).is_err());
    }
}

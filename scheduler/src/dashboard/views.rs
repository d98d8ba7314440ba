//! The pages as text. Everything that comes from outside goes through [`escape`].

use std::fmt::Write;

use chrono::{DateTime, SecondsFormat};
use durabletask_proto::history_event::EventType;
use durabletask_proto::{HistoryEvent, OrchestrationState, OrchestrationStatus, event_kind};
use prost_types::Timestamp;

const STYLE: &str = ":root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}\
body{max-width:70rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #8884;vertical-align:top}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;max-height:20rem;overflow:auto}\
form{display:flex;gap:.6rem;flex-wrap:wrap;margin:1rem 0}nav{margin-bottom:1rem}";

/// The statuses in the order of the filter.
const STATUSES: [OrchestrationStatus; 7] = [
    OrchestrationStatus::Pending,
    OrchestrationStatus::Running,
    OrchestrationStatus::Suspended,
    OrchestrationStatus::Completed,
    OrchestrationStatus::Failed,
    OrchestrationStatus::Terminated,
    OrchestrationStatus::Canceled,
];

pub(super) fn index(hubs: &[(i64, String, i64)]) -> String {
    let mut rows = String::new();
    for (id, name, count) in hubs {
        let _ = write!(
            rows,
            "<tr><td><a href=\"hubs/{id}\">{}</a></td><td>{count}</td></tr>",
            escape(name)
        );
    }
    layout(
        "Task hubs",
        "",
        &format!("<table><tr><th>Task hub</th><th>Instances</th></tr>{rows}</table>"),
    )
}

pub(super) fn instances(
    hub: i64,
    name: &str,
    states: &[OrchestrationState],
    status: &str,
    prefix: &str,
    next: Option<i64>,
) -> String {
    let mut options = String::from("<option value=\"\">any status</option>");
    for each in STATUSES {
        let number = each as i32;
        let selected = if status == number.to_string() {
            " selected"
        } else {
            ""
        };
        let _ = write!(
            options,
            "<option value=\"{number}\"{selected}>{}</option>",
            status_name(number)
        );
    }
    let mut body = format!(
        "<form><select name=\"status\" aria-label=\"Status\">{options}</select>\
         <input name=\"prefix\" value=\"{}\" placeholder=\"id begins with\" aria-label=\"Id begins with\">\
         <button>Show</button></form><table><tr><th>Instance</th><th>Orchestration</th><th>Status</th>\
         <th>Created</th><th>Updated</th></tr>",
        escape(prefix)
    );
    for state in states {
        let _ = write!(
            body,
            "<tr><td><a href=\"{hub}/instances/{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            encode(&state.instance_id),
            escape(&state.instance_id),
            escape(&state.name),
            status_name(state.orchestration_status),
            time(state.created_timestamp.as_ref()),
            time(state.last_updated_timestamp.as_ref()),
        );
    }
    body.push_str("</table>");
    if let Some(next) = next {
        let (status, prefix) = (encode(status), encode(prefix));
        let _ = write!(
            body,
            "<p><a href=\"?status={status}&amp;prefix={prefix}&amp;after={next}\">Next page</a></p>"
        );
    }
    layout(name, "<a href=\"../\">Task hubs</a>", &body)
}

pub(super) fn instance(
    hub: i64,
    state: &OrchestrationState,
    events: &[HistoryEvent],
    more: bool,
) -> String {
    let mut body = String::from("<table>");
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(
                body,
                "<tr><th>{name}</th><td><pre>{}</pre></td></tr>",
                escape(&value)
            );
        }
    };
    row(
        "Status",
        Some(status_name(state.orchestration_status).to_owned()),
    );
    row("Orchestration", Some(state.name.clone()));
    row("Version", state.version.clone());
    row("Execution", state.execution_id.clone());
    row("Parent", state.parent_instance_id.clone());
    row("Created", Some(time(state.created_timestamp.as_ref())));
    row("Updated", Some(time(state.last_updated_timestamp.as_ref())));
    row(
        "Ended",
        state.completed_timestamp.as_ref().map(|at| time(Some(at))),
    );
    row("Custom status", state.custom_status.clone());
    row("Input", state.input.clone());
    row("Output", state.output.clone());
    row(
        "Failure",
        state
            .failure_details
            .as_ref()
            .map(|f| format!("{}: {}", f.error_type, f.error_message)),
    );
    body.push_str("</table><h2>History</h2><table><tr><th>Id</th><th>Time</th><th>Event</th><th>About</th></tr>");
    for event in events {
        let id = if event.event_id < 0 {
            String::new()
        } else {
            event.event_id.to_string()
        };
        let _ = write!(
            body,
            "<tr><td>{id}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            time(event.timestamp.as_ref()),
            event_kind(event),
            escape(&about(event)),
        );
    }
    body.push_str("</table>");
    if more {
        body.push_str("<p>The history goes on; only its beginning is shown.</p>");
    }
    layout(
        &state.instance_id,
        &format!("<a href=\"../../../\">Task hubs</a> / <a href=\"../../{hub}\">Instances</a>"),
        &body,
    )
}

pub(super) fn problem(text: &str) -> String {
    layout("Not available", "", &format!("<p>{}</p>", escape(text)))
}

fn layout(title: &str, nav: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><nav>{nav}</nav><h1>{title}</h1>{body}</html>"
    )
}

/// One line that tells an event from its neighbours.
fn about(event: &HistoryEvent) -> String {
    match &event.event_type {
        Some(EventType::TaskScheduled(e)) => e.name.clone(),
        Some(EventType::TaskCompleted(e)) => format!("answers {}", e.task_scheduled_id),
        Some(EventType::TaskFailed(e)) => {
            let why = e
                .failure_details
                .as_ref()
                .map_or("", |details| details.error_message.as_str());
            format!("answers {}: {why}", e.task_scheduled_id)
        }
        Some(EventType::SubOrchestrationInstanceCreated(e)) => {
            format!("{} {}", e.name, e.instance_id)
        }
        Some(EventType::SubOrchestrationInstanceCompleted(e)) => {
            format!("answers {}", e.task_scheduled_id)
        }
        Some(EventType::SubOrchestrationInstanceFailed(e)) => {
            format!("answers {}", e.task_scheduled_id)
        }
        Some(EventType::TimerCreated(e)) => format!("due {}", time(e.fire_at.as_ref())),
        Some(EventType::TimerFired(e)) => format!("answers {}", e.timer_id),
        Some(EventType::EventRaised(e)) => e.name.clone(),
        Some(EventType::EventSent(e)) => format!("{} to {}", e.name, e.instance_id),
        _ => String::new(),
    }
}

fn status_name(value: i32) -> &'static str {
    let name =
        OrchestrationStatus::try_from(value).map_or("UNKNOWN", |status| status.as_str_name());
    name.trim_start_matches("ORCHESTRATION_STATUS_")
}

fn time(at: Option<&Timestamp>) -> String {
    at.and_then(|at| DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?))
        .map_or(String::new(), |at| {
            at.to_rfc3339_opts(SecondsFormat::Millis, true)
        })
}

/// HTML text and attribute values.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// One segment or parameter of a URL.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        let state = OrchestrationState {
            instance_id: "<b>/x".to_owned(),
            custom_status: Some("\"<script>\"".to_owned()),
            ..OrchestrationState::default()
        };
        let page = instance(1, &state, &[], false);
        assert!(
            !page.contains("<script>") && !page.contains("<b>") && page.contains("&lt;script&gt;")
        );
        let list = instances(1, "hub", &[state], "", "\"><i>", Some(5));
        assert!(list.contains("1/instances/%3Cb%3E%2Fx") && !list.contains("<i>"));
    }
}

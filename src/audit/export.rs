//! Entries as lines for other systems.

use super::entry::{Entry, Event, Outcome};

/// An entry as one line of JSON, without a line break.
///
/// # Errors
///
/// Never for entries that were read from the audit log.
pub fn json_line(entry: &Entry) -> Result<String, serde_json::Error> {
    serde_json::to_string(entry)
}

/// An entry in the Common Event Format, version 0, without a line break.
#[must_use]
pub fn cef(entry: &Entry) -> String {
    let event = &entry.event;
    let severity = match event.outcome {
        Outcome::Done => 3,
        Outcome::Refused => 6,
        Outcome::Failed => 7,
    };
    let mut line = format!(
        "CEF:0|Countersign|countersign|{}|{action}|{action}|{severity}|rt={} externalId={} suser={} outcome={}",
        env!("CARGO_PKG_VERSION"),
        event.at.timestamp_millis(),
        entry.sequence,
        value(&event.caller),
        event.outcome.as_str(),
        action = event.action,
    );
    let from = event.from.map(|address| address.to_string());
    let repeats = event.repeats.map(|times| times.to_string());
    let journal = event.journal.map(|place| place.to_string());
    let changes = changes_text(event);
    let fields = [
        ("src", from.as_deref()),
        ("duid", event.subject.as_ref().map(|s| s.0.as_str())),
        ("reason", event.problem.as_deref()),
        ("msg", event.reason.as_deref()),
        ("requestId", event.request_id.as_deref()),
        ("cnt", repeats.as_deref()),
        ("changes", changes.as_deref()),
        ("instance", event.instance.as_deref()),
        ("journal", journal.as_deref()),
        ("chain", Some(entry.hash.as_str())),
    ];
    for (name, text) in fields {
        if let Some(text) = text {
            line.push_str(&format!(" {name}={}", value(text)));
        }
    }
    line
}

/// An event's changes as one text, which is JSON so that no value can pass for another
/// field; none if there are none.
pub(super) fn changes_text(event: &Event) -> Option<String> {
    if event.changes.is_empty() {
        return None;
    }
    serde_json::to_string(&event.changes).ok()
}

/// A value of an extension field: `\`, `=` and line breaks are escaped.
fn value(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '=' => escaped.push_str("\\="),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::audit::{Action, FieldChange};

    #[test]
    fn a_reason_cannot_forge_a_field_or_a_line() {
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let event = Event::new(Action::ReadCode, "ci\nCEF:0|x", at)
            .to("totp-1")
            .because("deploy suser=root \\");
        let entry = Entry {
            sequence: 7,
            event,
            hash: "ab".to_owned(),
        };
        assert_eq!(
            cef(&entry),
            format!(
                "CEF:0|Countersign|countersign|{}|read-code|read-code|3|rt=1700000000000 \
                 externalId=7 suser=ci\\nCEF:0|x outcome=done duid=totp-1 \
                 msg=deploy suser\\=root \\\\ chain=ab",
                env!("CARGO_PKG_VERSION")
            )
        );
        assert!(!json_line(&entry).unwrap().contains('\n'));
    }

    #[test]
    fn every_export_shows_what_was_changed() {
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let mut event = Event::new(Action::Guard, "admin", at)
            .to("totp-1")
            .changing(vec![
                FieldChange::flag("readApproval", true, false),
                FieldChange::new("group", None, Some("a=b\" c")),
            ]);
        event.instance = Some("request-1".to_owned());
        event.journal = Some(9);
        let entry = Entry {
            sequence: 7,
            event,
            hash: "ab".to_owned(),
        };
        assert_eq!(
            json_line(&entry).unwrap(),
            r#"{"sequence":7,"at":"2023-11-14T22:13:20.000Z","action":"guard","caller":"admin","subject":"totp-1","outcome":"done","changes":[{"field":"readApproval","from":"true","to":"false"},{"field":"group","from":null,"to":"a=b\" c"}],"instance":"request-1","journal":9,"hash":"ab"}"#
        );
        let line = cef(&entry);
        let (_, extension) = line.split_once(" duid=totp-1 ").unwrap();
        assert_eq!(
            extension,
            r#"changes=[{"field":"readApproval","from":"true","to":"false"},{"field":"group","from":null,"to":"a\=b\\" c"}] instance=request-1 journal=9 chain=ab"#
        );
    }
}

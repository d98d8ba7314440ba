//! The body of a notice, for people and for machines.

use countersign_enrollment::account::is_unprintable;
use countersign_enrollment::notice::{Notice, NoticeEvent};
use countersign_enrollment::time;
use serde_json::{Value, json};

/// The body of a notice's request.
pub(super) fn of(notice: &Notice) -> Value {
    let path = if notice.kind == "enroll" {
        "enrollments"
    } else {
        "requests"
    };
    json!({
        "text": text(notice),
        "type": format!("countersign.{}", notice.event.as_str()),
        "id": notice.id,
        "at": time::text(notice.at),
        "request": {
            "id": notice.about,
            "path": format!("/api/{path}/{}", notice.about),
            "kind": notice.kind,
            "issuer": notice.preview.issuer,
            "accountName": notice.preview.account_name,
            "requestedBy": notice.requested_by,
            "reason": notice.reason,
            "deadline": time::text(notice.deadline),
            "needed": notice.needed,
            "from": notice.from,
            "approvedBy": notice.approved_by,
        },
        "decision": notice.decision,
    })
}

/// One sentence for a chat.
fn text(notice: &Notice) -> String {
    let account = match &notice.preview.issuer {
        Some(issuer) => format!("{issuer} ({})", notice.preview.account_name),
        None => notice.preview.account_name.clone(),
    };
    let what = match notice.kind.as_str() {
        "enroll" => "enroll",
        "read" => "read codes of",
        "export" => "export",
        "transfer" => "hand over",
        "delete" => "permanently delete",
        "recoveryCodes" => "set the recovery codes of",
        _ => "use",
    };
    let asked = format!("{} asks to {what} {account}", notice.requested_by);
    let until = notice.deadline.format("%Y-%m-%d %H:%M UTC");
    let by = notice
        .decision
        .as_ref()
        .map(|decision| decision.by.to_string())
        .unwrap_or_default();
    let approved = notice
        .decision
        .as_ref()
        .is_some_and(|decision| decision.approved);
    let mut text = match notice.event {
        NoticeEvent::Requested => format!("{asked}. Decide by {until}"),
        NoticeEvent::Reminder => format!("Still pending: {asked}. Decide by {until}"),
        NoticeEvent::Decided if approved => format!("Approved by {by}: {asked}"),
        NoticeEvent::Decided => format!("Rejected by {by}: {asked}"),
        NoticeEvent::Expired => format!("Not decided in time: {asked}"),
        NoticeEvent::Stopped => format!("Stopped by {by}: {asked}"),
    };
    let comment = notice.decision.as_ref().and_then(|it| it.comment.as_ref());
    if let Some(why) = comment.or(notice.reason.as_ref()) {
        text.push_str(&format!(": {why}"));
    }
    text.push('.');
    plain(&text)
}

/// Text that a chat shows as it is: names come out of images that anyone may have made,
/// and `<!channel>` would call everyone.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => plain.push_str("&amp;"),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            c if c.is_control() => plain.push(' '),
            c if is_unprintable(c) => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(more: Value) -> Notice {
        let mut notice = json!({
            "id": "notice-1",
            "event": "requested",
            "at": "2026-01-02T03:04:05Z",
            "about": "totp-5f0c3b1e-9a53-4d5e-8f2a-2b6f6f1a7c11",
            "kind": "enroll",
            "preview": {
                "issuer": "2FAS", "accountName": "<!channel>", "algorithm": "SHA1",
                "digits": 6, "period": 30,
            },
            "requestedBy": "build-server",
            "deadline": "2026-01-05T03:04:05Z",
            "needed": 1,
        });
        for (name, value) in more.as_object().unwrap() {
            notice[name] = value.clone();
        }
        serde_json::from_value(notice).unwrap()
    }

    #[test]
    fn a_sentence_says_what_happened_and_calls_nobody() {
        let decision = |approved: bool| {
            json!({
                "approved": approved, "by": "ops", "comment": "seen",
                "decidedAt": "2026-01-02T03:04:05Z",
            })
        };
        for (more, said) in [
            (
                json!({}),
                "build-server asks to enroll 2FAS (&lt;!channel&gt;). Decide by \
                 2026-01-05 03:04 UTC.",
            ),
            (
                json!({"event": "decided", "decision": decision(true), "kind": "delete"}),
                "Approved by ops: build-server asks to permanently delete 2FAS \
                 (&lt;!channel&gt;): seen.",
            ),
            (
                json!({"event": "decided", "decision": decision(false)}),
                "Rejected by ops: build-server asks to enroll 2FAS (&lt;!channel&gt;): seen.",
            ),
            (
                json!({"event": "expired", "kind": "read", "reason": "deploy"}),
                "Not decided in time: build-server asks to read codes of 2FAS \
                 (&lt;!channel&gt;): deploy.",
            ),
        ] {
            assert_eq!(text(&notice(more)), said);
        }
    }
}

//! Golden files of what the HTTP API answers: a member that is renamed, added or lost
//! shows here before it shows at a caller's.
//!
//! What differs from run to run is named in brackets instead. After a wanted change,
//! `INSTA_UPDATE=always cargo test --test e2e shapes` writes the files again.

use std::fmt::Write as _;

use data_encoding::BASE64;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, App, SEED_URI, png, qr_png};

/// Headers that are part of the contract; the others belong to the transport.
const HEADERS: [&str; 7] = [
    "allow",
    "cache-control",
    "content-type",
    "location",
    "preference-applied",
    "retry-after",
    "www-authenticate",
];

/// Ids in the order of their first appearance, so that equal ones look equal.
#[derive(Default)]
struct Masks {
    ids: Vec<String>,
}

impl Masks {
    /// The answer as text: status, headers of the contract, body.
    fn show(&mut self, answer: &Answer) -> String {
        let mut text = format!("{}\n", answer.status);
        for name in HEADERS {
            for value in answer.headers.get_all(name) {
                let value = self.text(value.to_str().unwrap());
                writeln!(text, "{name}: {value}").unwrap();
            }
        }
        let body = self.value(None, &answer.body);
        write!(text, "\n{}", serde_json::to_string_pretty(&body).unwrap()).unwrap();
        text
    }

    fn value(&mut self, member: Option<&str>, value: &Value) -> Value {
        match value {
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| (name.clone(), self.value(Some(name), value)))
                .collect(),
            Value::Array(values) => values.iter().map(|v| self.value(None, v)).collect(),
            Value::String(text) => match member {
                Some("token" | "nextToken") => {
                    assert!(text.bytes().all(|b| b.is_ascii_digit()), "{text}");
                    json!(format!("[{} digits]", text.len()))
                }
                Some("next") => json!("[cursor]"),
                _ => json!(self.text(text)),
            },
            Value::Number(_) if member == Some("timeRemaining") => json!("[seconds]"),
            other => other.clone(),
        }
    }

    fn text(&mut self, text: &str) -> String {
        if chrono::DateTime::parse_from_rfc3339(text).is_ok() {
            // The form is part of the contract, the moment is not.
            let digits = |b: char| if b.is_ascii_digit() { '0' } else { b };
            return format!("[{}]", text.chars().map(digits).collect::<String>());
        }
        if let Some((head, _)) = text.split_once("urn:countersign:request:") {
            return format!("{head}urn:countersign:request:[id]");
        }
        let mut shown = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("totp-") {
            let (before, from) = rest.split_at(at);
            let end = from
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .unwrap_or(from.len());
            let (id, after) = from.split_at(end);
            let known = self.ids.iter().position(|known| known == id);
            let number = known.unwrap_or_else(|| {
                self.ids.push(id.to_owned());
                self.ids.len() - 1
            });
            write!(shown, "{before}[totp-{}]", number + 1).unwrap();
            rest = after;
        }
        shown + rest
    }
}

macro_rules! golden {
    ($masks:ident, $name:literal, $answer:expr) => {
        let answer = $answer;
        insta::assert_snapshot!($name, $masks.show(&answer));
    };
}

#[tokio::test]
async fn enrollments_accounts_and_codes() {
    let app = App::start().await;
    let mut masks = Masks::default();
    let enroller = app.new_caller("build-server", "enroller");
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let admin = app.admin();

    let started = enroller
        .post("/api/enrollments", &json!({ "uri": SEED_URI }))
        .await;
    golden!(masks, "enrollment_started", started);
    let id = masks.ids[0].clone();
    golden!(masks, "enrollment_enrolled", enroller.ended(&id).await);
    golden!(masks, "accounts", admin.get("/api/accounts").await);
    golden!(
        masks,
        "account",
        admin.get(&format!("/api/accounts/{id}")).await
    );
    golden!(
        masks,
        "account_token",
        admin.get(&format!("/api/accounts/{id}/token")).await
    );
    golden!(
        masks,
        "tokens",
        admin.get(&format!("/api/tokens?id={id}")).await
    );

    let waiting = enroller.enroll(SEED_URI, true).await;
    golden!(
        masks,
        "enrollment_awaiting_approval",
        approver.until_stage(&waiting, "AwaitingApproval").await
    );
    golden!(
        masks,
        "enrollments",
        admin.get("/api/enrollments?limit=1").await
    );
    // It waits a moment for the decision to arrive, and answers either way.
    let mut decided = approver.decide(&waiting, false, "not ours").await;
    decided.body["stage"] = json!("[AwaitingApproval or Rejected]");
    decided.headers.remove("retry-after").unwrap();
    golden!(masks, "approval_accepted", decided);
    golden!(masks, "enrollment_rejected", approver.ended(&waiting).await);

    let ended = enroller.enroll(SEED_URI, true).await;
    approver.until_stage(&ended, "AwaitingApproval").await;
    golden!(
        masks,
        "termination_accepted",
        admin.delete(&format!("/api/enrollments/{ended}")).await
    );
    golden!(masks, "enrollment_terminated", admin.ended(&ended).await);

    let blank = image::GrayImage::from_pixel(200, 200, image::Luma([255]));
    let blank = png(&image::DynamicImage::ImageLuma8(blank));
    let invalid = enroller
        .post(
            "/api/enrollments",
            &json!({ "image": BASE64.encode(&blank) }),
        )
        .await;
    golden!(
        masks,
        "enrollment_invalid",
        enroller.ended(&invalid.id()).await
    );

    golden!(
        masks,
        "seed_account_created",
        admin
            .post("/api/accounts", &json!({ "uri": SEED_URI }))
            .await
    );
    golden!(masks, "session", admin.get("/api/session").await);
    golden!(masks, "keys", admin.get("/api/keys").await);
    let mut system = admin.get("/api/system").await;
    let link = system.body["instanceLink"].as_str().unwrap();
    let (address, path) = link.split_once("/#/").unwrap();
    assert!(address.starts_with("http://127.0.0.1:"), "{address}");
    system.body["instanceLink"] = json!(format!("[dashboard]/#/{path}"));
    let key = system.body["sealKey"].as_str().unwrap();
    assert!(key.starts_with("countersign-seal-key-1 "), "{key}");
    system.body["sealKey"] = json!("[key]");
    golden!(masks, "system", system);
}

#[tokio::test]
async fn an_enrollment_that_expired() {
    let app = App::start_with(&["--approval-timeout", "1s"]).await;
    let mut masks = Masks::default();
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, true).await;
    golden!(masks, "enrollment_expired", admin.ended(&id).await);
    let late = app.new_caller("late", "approver");
    golden!(
        masks,
        "problem_approval_expired",
        late.decide(&id, true, "").await
    );
}

#[tokio::test]
async fn problems() {
    let app = App::start().await;
    let mut masks = Masks::default();
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let reader = app.new_caller("dashboard-wall", "reader");
    let start = "/api/enrollments";
    let upload = async |kind: &str, body: &[u8]| admin.post_bytes(start, kind, body.to_vec()).await;
    let uri = async |uri: &str| admin.post(start, &json!({ "uri": uri })).await;

    golden!(
        masks,
        "problem_unauthenticated",
        app.caller(None).get(start).await
    );
    golden!(
        masks,
        "problem_role_missing",
        reader.post(start, &json!({ "uri": SEED_URI })).await
    );
    golden!(
        masks,
        "problem_no_such_path",
        admin.get("/api/nothing").await
    );
    golden!(
        masks,
        "problem_method_not_allowed",
        admin
            .send(admin.request(Method::PUT, "/api/enrollments"))
            .await
    );
    golden!(masks, "problem_empty_body", upload("image/png", b"").await);
    golden!(
        masks,
        "problem_invalid_json",
        upload("application/json", b"{\"uri\": ").await
    );
    golden!(
        masks,
        "problem_unreadable_body",
        upload("text/plain", b"\xff").await
    );
    golden!(
        masks,
        "problem_unsupported_media_type",
        upload("application/pdf", b"%PDF-1.7").await
    );
    golden!(
        masks,
        "problem_unsupported_picture",
        upload("image/png", b"this is a text file").await
    );
    let too_large = image::DynamicImage::ImageLuma8(image::GrayImage::new(10_000, 10_000));
    golden!(
        masks,
        "problem_image_too_large",
        upload("image/png", &png(&too_large)).await
    );
    golden!(
        masks,
        "problem_payload_too_large",
        upload("image/png", &vec![0; 11 << 20]).await
    );
    golden!(
        masks,
        "problem_invalid_parameter",
        admin.get("/api/enrollments?limit=none").await
    );
    golden!(
        masks,
        "problem_not_otpauth",
        uri("https://example.com/").await
    );
    golden!(
        masks,
        "problem_hotp",
        uri("otpauth://hotp/a?secret=2FASTEST&counter=1").await
    );
    golden!(
        masks,
        "problem_secret_missing",
        uri("otpauth://totp/a").await
    );
    golden!(
        masks,
        "problem_secret_invalid",
        uri("otpauth://totp/a?secret=018!").await
    );
    golden!(
        masks,
        "problem_seed_secret_missing",
        admin
            .post("/api/accounts", &json!({ "uri": "otpauth://totp/a" }))
            .await
    );
    golden!(
        masks,
        "problem_account_unknown",
        admin.get("/api/tokens?id=totp-unknown").await
    );
    golden!(
        masks,
        "problem_enrollment_unknown",
        admin.get("/api/enrollments/totp-unknown").await
    );

    let own = admin.enroll(SEED_URI, true).await;
    approver.until_stage(&own, "AwaitingApproval").await;
    golden!(
        masks,
        "problem_self_approval_forbidden",
        admin.decide(&own, true, "").await
    );
    approver.decide(&own, true, "").await;
    admin.ended(&own).await;
    golden!(
        masks,
        "problem_already_decided",
        approver.decide(&own, true, "").await
    );
    golden!(
        masks,
        "problem_already_ended",
        admin.delete(&format!("/api/enrollments/{own}")).await
    );
    let plain = admin.enroll(SEED_URI, false).await;
    admin.ended(&plain).await;
    golden!(
        masks,
        "problem_not_awaiting_approval",
        approver.decide(&plain, true, "").await
    );

    let keyed = async |uri: &str| {
        let request = admin
            .request(Method::POST, start)
            .header("idempotency-key", "\"monday-1\"")
            .json(&json!({ "uri": uri }));
        admin.send(request).await
    };
    keyed(SEED_URI).await;
    golden!(
        masks,
        "problem_idempotency_key_reused",
        keyed("otpauth://totp/other?secret=GEZDGNBV").await
    );
    let cross_site = admin
        .request(Method::POST, start)
        .header("origin", "https://elsewhere.example")
        .json(&json!({ "uri": SEED_URI }));
    golden!(
        masks,
        "cross_site_with_a_token",
        admin.send(cross_site).await
    );
    let picture = qr_png("WIFI:S:guests;T:WPA;P:none;;");
    let foreign = upload("image/png", &picture).await.id();
    golden!(
        masks,
        "enrollment_foreign_code",
        admin.ended(&foreign).await
    );
}

//! Malformed, hostile and forbidden requests: each has an answer of its own, none
//! is a 500, and the server continues.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, App, SEED_URI, png, qr_png};

#[tokio::test]
async fn a_comment_is_cleaned_as_names_are() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("approver", "approver");
    let id = admin.enroll(SEED_URI, true).await;
    admin.until_stage(&id, "AwaitingApproval").await;
    let tricks = "\u{202e}looks\nright\u{200b}\u{7}\u{e0041} ";
    approver.decide(&id, true, tricks).await;
    let ended = admin.ended(&id).await;
    assert_eq!(ended.body["approval"]["decision"]["comment"], "looks right");
}

/// Uploads to `/api/enrollments` that are refused: type, body, status and problem.
const UPLOADS: [(&str, &str, u16, &str); 9] = [
    (
        "image/png",
        "this is a text file",
        415,
        "unsupported-media-type",
    ),
    ("image/png", "", 400, "empty-body"),
    ("application/pdf", "%PDF-1.7", 415, "unsupported-media-type"),
    ("application/json", "", 400, "empty-body"),
    ("application/json", "{\"uri\": ", 400, "invalid-json"),
    ("application/json", "{\"url\": \"x\"}", 400, "invalid-json"),
    ("application/json", "[\"x\"]", 400, "invalid-json"),
    (
        "application/json",
        "{\"image\": \"*** not base64 ***\"}",
        400,
        "invalid-json",
    ),
    (
        "application/json",
        "{\"uri\": \"otpauth-migration://offline?data=AAAA\"}",
        422,
        "google-export",
    ),
];

/// URIs that are refused with 422, and the problem.
const URIS: [(&str, &str); 9] = [
    ("https://example.com/", "not-otpauth"),
    ("not a uri at all", "not-otpauth"),
    (
        "otpauth://hotp/x?secret=2FASTEST&counter=1",
        "hotp-unsupported",
    ),
    ("otpauth://totp/x", "secret-missing"),
    ("otpauth://totp/x?secret=2FASTE1T", "secret-not-base32"),
    (
        "otpauth://totp/x?secret=2FASTEST&algorithm=MD5",
        "algorithm-unsupported",
    ),
    (
        "otpauth://totp/x?secret=2FASTEST&digits=40",
        "digits-unsupported",
    ),
    (
        "otpauth://totp/x?secret=2FASTEST&period=0",
        "period-unsupported",
    ),
    (
        "otpauth://totp/x?secret=2FASTEST&secret=GEZDGNBV",
        "params-conflict",
    ),
];

/// Pasted texts that are not accounts, and the kind that the answer names.
const OTHER_TEXTS: [(&str, &str); 6] = [
    ("WIFI:S:guests;T:WPA;P:letmein12;;", "wifi"),
    ("https://example.com/", "url"),
    ("2@AbCdEf,ghi,jkl", "whatsapp"),
    (
        "phonefactor://activate_account?code=1",
        "microsoft-authenticator",
    ),
    ("JBSW Y3DP EHPK 3PXP", "bare-secret"),
    ("not a uri at all", "other"),
];

/// What `POST /api/grants` says of a body: its type, the body, and a part of the detail.
const GRANT_BODIES: [(&str, &str, &str); 4] = [
    ("text/csv", "account,caller", "Send application/json."),
    ("application/json", "", "JSON document"),
    (
        "application/json",
        "{\"caller\": \"x\"}",
        "`account` is missing",
    ),
    (
        "application/json",
        "{\"acount\": \"x\"}",
        "expected one of `caller`",
    ),
];

/// Ids that are not used or cannot be.
const IDS: [&str; 5] = [
    "totp-00000000-0000-4000-8000-000000000000",
    "nonsense",
    "..%2f..%2fetc%2fpasswd",
    "a%00b",
    "not%fftext",
];

/// Collects the cases of a table that had another answer, and shows each in a row.
#[derive(Default)]
struct Cases(Vec<String>);

impl Cases {
    fn expect(&mut self, case: &str, answer: &Answer, status: u16, code: &str) {
        if answer.status == status && answer.body["code"] == code {
            answer.assert_problem(status, code);
        } else {
            let (got, body) = (answer.status, &answer.body);
            let row = format!("{case}: expected {status} {code}, got {got} {body}");
            self.0.push(row);
        }
    }

    fn assert(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

#[tokio::test]
async fn every_kind_of_bad_text_has_its_own_answer() {
    let app = App::start().await;
    let admin = app.admin();
    let mut cases = Cases::default();
    for (kind, body, status, code) in UPLOADS {
        let answer = admin
            .post_bytes("/api/enrollments", kind, body.into())
            .await;
        cases.expect(&format!("{kind} {body}"), &answer, status, code);
    }
    for (uri, code) in URIS {
        for path in ["/api/enrollments", "/api/accounts"] {
            let answer = admin.post(path, &json!({ "uri": uri })).await;
            cases.expect(&format!("{path} {uri}"), &answer, 422, code);
        }
    }
    for (text, kind) in OTHER_TEXTS {
        let answer = admin
            .post("/api/enrollments", &json!({ "uri": text }))
            .await;
        cases.expect(text, &answer, 422, "not-otpauth");
        assert_eq!(answer.body["kind"], kind, "{answer:?}");
    }
    cases.assert();
    assert_alive(&app).await;
}

#[tokio::test]
async fn every_kind_of_bad_image_has_its_own_answer() {
    let app = App::start().await;
    let admin = app.admin();
    let upload = async |image: Vec<u8>| {
        admin
            .post_bytes("/api/enrollments", "image/png", image)
            .await
    };

    let mut truncated = qr_png(SEED_URI);
    truncated.truncate(truncated.len() / 2);
    let answer = upload(truncated).await;
    if answer.status == StatusCode::ACCEPTED {
        // A complete header passes the first check; decoding finds the rest missing.
        let problem = admin.ended(&answer.id()).await.body["problem"].clone();
        assert_eq!(problem["code"], "image-unreadable", "{problem}");
    } else {
        answer.assert_problem(422, "image-unreadable");
    }
    let bomb = png(&image::DynamicImage::ImageLuma8(image::GrayImage::new(
        10_000, 10_000,
    )));
    assert!(bomb.len() < 1 << 20, "the bomb is small on the wire");
    upload(bomb).await.assert_problem(413, "image-too-large");

    // What an image shows is known only after decoding.
    let blank = png(&image::DynamicImage::ImageLuma8(
        image::GrayImage::from_pixel(200, 200, image::Luma([255])),
    ));
    let ended = admin.ended(&upload(blank).await.id()).await;
    assert_eq!(ended.body["stage"], "Invalid", "{ended:?}");
    assert_eq!(ended.body["problem"]["code"], "qr-not-found", "{ended:?}");
    assert!(ended.body["problem"]["detail"].is_string(), "{ended:?}");
    let wifi = qr_png("WIFI:S:guests;T:WPA;P:letmein12;;");
    let problem = admin.ended(&upload(wifi).await.id()).await.body["problem"].clone();
    assert_eq!(problem["code"], "qr-not-otpauth", "{problem}");
    assert_eq!(problem["kind"], "wifi", "{problem}");
    assert_alive(&app).await;
}

#[tokio::test]
async fn every_kind_of_bad_request_has_its_own_answer() {
    let app = App::start().await;
    let admin = app.admin();
    let mut cases = Cases::default();

    // The answer names what to send for this operation.
    let large = " ".repeat(100_000);
    for (kind, body, expected) in
        GRANT_BODIES
            .into_iter()
            .chain([("application/json", large.as_str(), "64 KiB")])
    {
        let answer = admin.post_bytes("/api/grants", kind, body.into()).await;
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{kind}: {detail}");
    }

    // What would be done differently than intended is not done at all.
    for path in [
        "/api/enrollments?aproval=required",
        "/api/accounts?prove=required",
        "/api/imports?dryrun=true",
    ] {
        let answer = admin.post(path, &json!({ "uri": SEED_URI })).await;
        cases.expect(path, &answer, 400, "invalid-parameter");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("expected one of `approval`"), "{detail}");
    }
    let named_twice = admin
        .request(Method::POST, "/api/enrollments")
        .header("idempotency-key", "first")
        .header("idempotency-key", "second")
        .json(&json!({ "uri": SEED_URI }));
    let answer = admin.send(named_twice).await;
    cases.expect("two idempotency keys", &answer, 400, "invalid-parameter");

    for id in IDS {
        let answer = admin.get(&format!("/api/enrollments/{id}")).await;
        cases.expect(
            &format!("enrollment {id}"),
            &answer,
            404,
            "enrollment-unknown",
        );
        let answer = admin.get(&format!("/api/tokens?id={id}")).await;
        cases.expect(&format!("code {id}"), &answer, 404, "account-unknown");
        let answer = admin.decide(id, true, "").await;
        cases.expect(
            &format!("decision {id}"),
            &answer,
            404,
            "enrollment-unknown",
        );
    }
    for (path, status, code) in [
        ("/api/tokens", 400, "invalid-parameter"),
        ("/api/nothing", 404, "no-such-path"),
    ] {
        cases.expect(path, &admin.get(path).await, status, code);
    }
    let put = admin.request(Method::PUT, "/api/enrollments");
    cases.expect("PUT", &admin.send(put).await, 405, "method-not-allowed");
    cases.assert();
    assert_alive(&app).await;
}

/// The operations of the description that take no body, with an id of nothing in their paths.
fn without_body(description: &Value) -> Vec<(Method, String)> {
    let paths = description["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        let mut path = path.clone();
        while let (Some(begin), Some(end)) = (path.find('{'), path.find('}')) {
            path.replace_range(begin..=end, "nothing");
        }
        let methods = item.as_object().unwrap().iter();
        methods.filter_map(move |(method, operation)| {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let takes_none = operation.get("requestBody").is_none();
            takes_none.then(|| (method, path.clone()))
        })
    });
    operations.collect()
}

#[tokio::test]
async fn a_body_that_says_something_is_refused_where_none_is_taken() {
    let app = App::start().await;
    let admin = app.admin();
    let description = admin.get("/api/openapi.json").await.body;
    let operations = without_body(&description);
    assert!(operations.len() > 30, "{operations:?}");
    for (method, path) in &operations {
        let refused = async |kind: &str, body: &str| {
            let request = admin.request(method.clone(), path);
            let request = request.header("content-type", kind);
            let answer = admin.send(request.body(body.to_owned())).await;
            let detail = answer.body["detail"].as_str().unwrap_or_default();
            let takes_none = detail.contains("takes no body");
            if takes_none {
                // Vault's paths answer with another type.
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
                assert_eq!(answer.body["code"], "invalid-parameter", "{answer:?}");
                assert!(!detail.contains("JBSW"), "{detail}");
            }
            takes_none
        };
        // Health is told to everyone, whatever they send.
        if path == "/healthz" || path == "/readyz" {
            continue;
        }
        for (kind, body) in [
            ("application/json", "{\"dryRun\": true}"),
            ("text/plain", "JBSWY3DPEHPK3PXP"),
            ("application/x-www-form-urlencoded", "dryRun=true"),
        ] {
            assert!(refused(kind, body).await, "{method} {path} takes {body}");
        }
        for (kind, body) in [("application/json", "{}"), ("application/json", " ")] {
            assert!(
                !refused(kind, body).await,
                "{method} {path} refuses {body:?}"
            );
        }
    }

    // Who may not call is told that, and a parameter in the body that belongs after `?` is named.
    let stranger = app.caller(None);
    let request = stranger.request(Method::DELETE, "/api/accounts/nothing");
    let answer = stranger.send(request.json(&json!({"purge": true}))).await;
    answer.assert_problem(401, "unauthenticated");
    let id = admin.enroll(SEED_URI, false).await;
    admin.ended(&id).await;
    let remove = admin.request(Method::DELETE, &format!("/api/accounts/{id}"));
    let answer = admin.send(remove.json(&json!({"purge": true}))).await;
    answer.assert_problem(400, "invalid-parameter");
    let there = admin.get(&format!("/api/accounts/{id}")).await;
    assert_eq!(there.status, StatusCode::OK, "nothing was done: {there:?}");
    let grants = admin.request(Method::DELETE, "/api/grants");
    let answer = admin.send(grants.json(&json!({"caller": "bot"}))).await;
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("`account`"), "{detail}");
    assert_alive(&app).await;
}

#[tokio::test]
async fn callers_without_the_right_to_are_refused() {
    let app = App::start().await;
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    admin.ended(&id).await;
    let paths = [
        (Method::POST, "/api/enrollments".to_owned()),
        (Method::GET, "/api/enrollments".to_owned()),
        (Method::GET, format!("/api/enrollments/{id}")),
        (Method::POST, format!("/api/enrollments/{id}/approval")),
        (Method::DELETE, format!("/api/enrollments/{id}")),
        (Method::POST, "/api/accounts".to_owned()),
        (Method::GET, "/api/accounts".to_owned()),
        (Method::GET, format!("/api/tokens?id={id}")),
        (Method::GET, format!("/api/accounts/{id}/token")),
    ];
    for token in [None, Some("wrong"), Some("cs_0000_wrong"), Some("")] {
        let stranger = app.caller(token);
        for (method, path) in &paths {
            let answer = stranger.send(stranger.request(method.clone(), path)).await;
            answer.assert_problem(401, "unauthenticated");
            // The answer names the credential that was sent.
            let challenge = answer.headers["www-authenticate"].to_str().unwrap();
            assert_eq!(challenge.contains("invalid_token"), token.is_some());
            let detail = answer.body["detail"].as_str().unwrap();
            assert_eq!(detail.contains("unknown"), token.is_some(), "{detail}");
        }
    }

    let reader = app.new_caller("dashboard-wall", "reader");
    let enroller = app.new_caller("build-server", "enroller");
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let start = json!({ "uri": SEED_URI });
    for caller in [&reader, &approver] {
        caller
            .post("/api/enrollments", &start)
            .await
            .assert_problem(403, "role-missing");
    }
    for caller in [&enroller, &approver] {
        caller
            .get(&format!("/api/tokens?id={id}"))
            .await
            .assert_problem(403, "role-missing");
    }
    for caller in [&enroller, &reader] {
        caller
            .decide(&id, true, "")
            .await
            .assert_problem(403, "role-missing");
    }
    // An enroller follows its own enrollments and learns nothing of others'.
    enroller
        .get(&format!("/api/enrollments/{id}"))
        .await
        .assert_problem(404, "enrollment-unknown");

    let revoked = app.command(&["key", "revoke", "dashboard-wall"]);
    assert!(revoked.status.success(), "{revoked:?}");
    reader
        .get(&format!("/api/tokens?id={id}"))
        .await
        .assert_problem(401, "unauthenticated");
    assert_alive(&app).await;
}

#[tokio::test]
async fn an_approval_needs_a_second_person_and_happens_once() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let id = admin.enroll(SEED_URI, true).await;
    admin.until_stage(&id, "AwaitingApproval").await;

    admin
        .decide(&id, true, "")
        .await
        .assert_problem(403, "self-approval-forbidden");
    let answer = approver
        .post_bytes(
            &format!("/api/enrollments/{id}/approval"),
            "application/json",
            b"{\"approved\": \"maybe\"}".to_vec(),
        )
        .await;
    answer.assert_problem(400, "invalid-json");
    assert_eq!(
        approver.decide(&id, true, "").await.status,
        StatusCode::ACCEPTED
    );
    approver
        .decide(&id, false, "")
        .await
        .assert_problem(409, "already-decided");
    assert_eq!(admin.ended(&id).await.body["stage"], "Enrolled");

    let plain = admin.enroll(SEED_URI, false).await;
    admin.ended(&plain).await;
    approver
        .decide(&plain, true, "")
        .await
        .assert_problem(409, "not-awaiting-approval");
}

/// The server still does its main job.
pub(crate) async fn assert_alive(app: &App) {
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    assert_eq!(admin.ended(&id).await.body["stage"], "Enrolled");
    assert_eq!(
        app.caller(None).get("/healthz").await.status,
        StatusCode::OK
    );
    assert_eq!(app.caller(None).get("/readyz").await.status, StatusCode::OK);
    assert!(!app.logs().contains("panicked"), "{}", app.logs());
}

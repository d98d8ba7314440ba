//! Malformed, hostile and forbidden requests: each has an answer of its own, none
//! is a 500, and the server continues.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{App, SEED_URI, png, qr_png};

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

#[tokio::test]
async fn every_kind_of_bad_input_has_its_own_answer() {
    let app = App::start().await;
    let admin = app.admin();

    // Images that are none.
    admin
        .post_bytes(
            "/api/enrollments",
            "image/png",
            b"this is a text file".to_vec(),
        )
        .await
        .assert_problem(415, "unsupported-media-type");
    let mut truncated = qr_png(SEED_URI);
    truncated.truncate(truncated.len() / 2);
    let answer = admin
        .post_bytes("/api/enrollments", "image/png", truncated)
        .await;
    if answer.status == StatusCode::ACCEPTED {
        // A header that is whole passes the first check; decoding finds the rest missing.
        let ended = admin.ended(&answer.id()).await;
        assert_eq!(ended.body["stage"], "Invalid", "{ended:?}");
        assert_eq!(
            ended.body["problem"]["code"], "image-unreadable",
            "{ended:?}"
        );
    } else {
        answer.assert_problem(422, "image-unreadable");
    }
    let bomb = png(&image::DynamicImage::ImageLuma8(image::GrayImage::new(
        10_000, 10_000,
    )));
    assert!(bomb.len() < 1 << 20, "the bomb is small on the wire");
    admin
        .post_bytes("/api/enrollments", "image/png", bomb)
        .await
        .assert_problem(413, "image-too-large");

    // An image without a code is known only after decoding.
    let blank = png(&image::DynamicImage::ImageLuma8(
        image::GrayImage::from_pixel(200, 200, image::Luma([255])),
    ));
    let id = admin
        .post_bytes("/api/enrollments", "image/png", blank)
        .await
        .id();
    let ended = admin.ended(&id).await;
    assert_eq!(ended.body["stage"], "Invalid", "{ended:?}");
    assert_eq!(ended.body["problem"]["code"], "qr-not-found", "{ended:?}");
    assert!(ended.body["problem"]["detail"].is_string(), "{ended:?}");
    // A code of another kind.
    let wifi = qr_png("WIFI:S:guests;T:WPA;P:letmein12;;");
    let id = admin
        .post_bytes("/api/enrollments", "image/png", wifi)
        .await
        .id();
    let problem = admin.ended(&id).await.body["problem"].clone();
    assert_eq!(problem["code"], "qr-not-otpauth", "{problem}");
    assert_eq!(problem["kind"], "wifi", "{problem}");

    // Pasted texts of other kinds are distinguished like those of codes.
    for (text, kind) in [
        ("WIFI:S:guests;T:WPA;P:letmein12;;", "wifi"),
        ("https://example.com/", "url"),
        ("2@AbCdEf,ghi,jkl", "whatsapp"),
        (
            "phonefactor://activate_account?code=1",
            "microsoft-authenticator",
        ),
        ("JBSW Y3DP EHPK 3PXP", "bare-secret"),
        ("not a uri at all", "other"),
    ] {
        let answer = admin
            .post("/api/enrollments", &json!({ "uri": text }))
            .await;
        answer.assert_problem(422, "not-otpauth");
        assert_eq!(answer.body["kind"], kind, "{answer:?}");
    }
    admin
        .post(
            "/api/enrollments",
            &json!({ "uri": "otpauth-migration://offline?data=AAAA" }),
        )
        .await
        .assert_problem(422, "google-export");

    // URIs.
    for (uri, code) in [
        ("otpauth://totp/x?secret=2FASTE1T", "secret-not-base32"),
        ("otpauth://totp/x", "secret-missing"),
        (
            "otpauth://hotp/x?secret=2FASTEST&counter=1",
            "hotp-unsupported",
        ),
        ("https://example.com/", "not-otpauth"),
        ("not a uri at all", "not-otpauth"),
        (
            "otpauth://totp/x?secret=2FASTEST&digits=40",
            "digits-unsupported",
        ),
        (
            "otpauth://totp/x?secret=2FASTEST&period=0",
            "period-unsupported",
        ),
        (
            "otpauth://totp/x?secret=2FASTEST&algorithm=MD5",
            "algorithm-unsupported",
        ),
        (
            "otpauth://totp/x?secret=2FASTEST&secret=GEZDGNBV",
            "params-conflict",
        ),
    ] {
        for path in ["/api/enrollments", "/api/accounts"] {
            admin
                .post(path, &json!({ "uri": uri }))
                .await
                .assert_problem(422, code);
        }
    }

    // Bodies.
    admin
        .post_bytes("/api/enrollments", "application/json", Vec::new())
        .await
        .assert_problem(400, "empty-body");
    admin
        .post_bytes("/api/enrollments", "image/png", Vec::new())
        .await
        .assert_problem(400, "empty-body");
    admin
        .post_bytes(
            "/api/enrollments",
            "application/json",
            b"{\"uri\": ".to_vec(),
        )
        .await
        .assert_problem(400, "invalid-json");
    admin
        .post("/api/enrollments", &json!({ "url": "x" }))
        .await
        .assert_problem(400, "invalid-json");
    admin
        .post(
            "/api/enrollments",
            &json!({ "image": "*** not base64 ***" }),
        )
        .await
        .assert_problem(400, "invalid-json");
    admin
        .post_bytes("/api/enrollments", "application/pdf", b"%PDF-1.7".to_vec())
        .await
        .assert_problem(415, "unsupported-media-type");

    // The answer names what to send for this operation.
    let grants = async |kind: &str, body: Vec<u8>| {
        let answer = admin.post_bytes("/api/grants", kind, body).await;
        answer.body["detail"].as_str().unwrap().to_owned()
    };
    let detail = grants("text/csv", b"account,caller".to_vec()).await;
    assert_eq!(detail, "Send application/json.");
    let detail = grants("application/json", Vec::new()).await;
    assert!(detail.contains("JSON document"), "{detail}");
    let detail = grants("application/json", vec![b' '; 100_000]).await;
    assert!(detail.contains("64 KiB"), "{detail}");
    let detail = grants("application/json", br#"{"caller": "x"}"#.to_vec()).await;
    assert!(detail.contains("`account` is missing"), "{detail}");
    let detail = grants("application/json", br#"{"acount": "x"}"#.to_vec()).await;
    assert!(detail.contains("expected one of `caller`"), "{detail}");

    // What would be done differently than intended is not done at all.
    for path in [
        "/api/enrollments?aproval=required",
        "/api/accounts?prove=required",
        "/api/imports?dryrun=true",
    ] {
        let answer = admin.post(path, &json!({ "uri": SEED_URI })).await;
        answer.assert_problem(400, "invalid-parameter");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("expected one of `approval`"), "{detail}");
    }

    // One name for a request, not two.
    let named_twice = admin
        .request(Method::POST, "/api/enrollments")
        .header("idempotency-key", "first")
        .header("idempotency-key", "second")
        .json(&json!({ "uri": SEED_URI }));
    admin
        .send(named_twice)
        .await
        .assert_problem(400, "invalid-parameter");

    // Ids, paths and methods.
    for id in [
        "totp-00000000-0000-4000-8000-000000000000",
        "nonsense",
        "..%2f..%2fetc%2fpasswd",
        "a%00b",
        "not%fftext",
    ] {
        admin
            .get(&format!("/api/enrollments/{id}"))
            .await
            .assert_problem(404, "enrollment-unknown");
        admin
            .get(&format!("/api/tokens?id={id}"))
            .await
            .assert_problem(404, "account-unknown");
        admin
            .decide(id, true, "")
            .await
            .assert_problem(404, "enrollment-unknown");
    }
    admin
        .get("/api/tokens")
        .await
        .assert_problem(400, "invalid-parameter");
    admin
        .get("/api/nothing")
        .await
        .assert_problem(404, "no-such-path");
    admin
        .send(admin.request(Method::PUT, "/api/enrollments"))
        .await
        .assert_problem(405, "method-not-allowed");

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

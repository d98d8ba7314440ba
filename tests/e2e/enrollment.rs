//! From an image or a URI to a token, with and without approval.

use data_encoding::{BASE32_NOPAD, BASE64};
use reqwest::StatusCode;
use serde_json::json;
use totp_rs::{Algorithm, Builder};

use crate::support::{App, Caller, SEED_URI, qr_png, unix_now};

/// The code of the seed's secret at a moment, by a library and not by us.
pub(crate) fn seed_code_at(unix_seconds: u64) -> String {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_step_duration(30)
        .with_secret(BASE32_NOPAD.decode(b"2FASTEST").unwrap())
        .build_noncompliant()
        .generate(unix_seconds)
        .to_string()
}

/// Asserts that the token endpoint shows what any authenticator shows now.
async fn assert_token(caller: &Caller, id: &str) {
    let before = unix_now();
    let answer = caller.get(&format!("/api/tokens?id={id}")).await;
    let after = unix_now();
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let token = answer.body["token"].as_str().unwrap();
    // The step may have ended while the request was in progress.
    assert!(
        token == seed_code_at(before) || token == seed_code_at(after),
        "{answer:?}"
    );
    let remaining = answer.body["timeRemaining"].as_u64().unwrap();
    assert!((1..=30).contains(&remaining), "{answer:?}");
    assert!(
        remaining == 30 - before % 30 || remaining == 30 - after % 30,
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_uri_becomes_an_account_with_codes() {
    let app = App::start().await;
    let admin = app.admin();
    let answer = admin
        .post("/api/enrollments", &json!({ "uri": SEED_URI }))
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert!(answer.headers.contains_key("retry-after"));
    let id = answer.id();
    assert_eq!(answer.headers["location"], format!("/api/enrollments/{id}"));
    for link in ["statusQueryGetUri", "approvalPostUri", "terminatePostUri"] {
        let link = answer.body[link].as_str().unwrap();
        assert!(
            link.starts_with(&format!("/api/enrollments/{id}")),
            "{link}"
        );
    }

    let ended = admin.ended(&id).await;
    assert_eq!(ended.body["stage"], "Enrolled", "{ended:?}");
    assert_eq!(ended.body["preview"]["issuer"], "2FAS");
    assert_eq!(ended.body["preview"]["accountName"], "Test Token");
    let weak = json!({
        "warning": "weakSecret",
        "bits": 40,
        "detail": "The secret has 40 bits; a strong one has 128 or more.",
    });
    assert_eq!(ended.body["warnings"], json!([weak]), "{ended:?}");
    assert_token(&admin, &id).await;

    let by_path = admin.get(&format!("/api/accounts/{id}/token")).await;
    assert_eq!(by_path.status, StatusCode::OK);
    assert_eq!(by_path.body["period"], 30);
    assert_eq!(by_path.body["digits"], 6);
}

#[tokio::test]
async fn an_image_becomes_a_token_however_it_is_sent() {
    let app = App::start().await;
    let admin = app.admin();
    let picture = qr_png(SEED_URI);

    let raw = admin
        .post_bytes("/api/enrollments", "image/png", picture.clone())
        .await;
    let base64 = admin
        .post(
            "/api/enrollments",
            &json!({ "image": BASE64.encode(&picture) }),
        )
        .await;
    let form = reqwest::multipart::Form::new().part(
        "image",
        reqwest::multipart::Part::bytes(picture)
            .file_name("code.png")
            .mime_str("image/png")
            .unwrap(),
    );
    let multipart = admin
        .send(
            admin
                .request(reqwest::Method::POST, "/api/enrollments")
                .multipart(form),
        )
        .await;

    for answer in [raw, base64, multipart] {
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let id = answer.id();
        let ended = admin.ended(&id).await;
        assert_eq!(ended.body["stage"], "Enrolled", "{ended:?}");
        assert_token(&admin, &id).await;
    }
}

#[tokio::test]
async fn the_image_of_the_walk_through_is_the_seeds_account() {
    let app = App::start().await;
    let admin = app.admin();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pictures/test-token.png");
    let picture = std::fs::read(path).unwrap();
    let answer = admin
        .post_bytes("/api/enrollments", "image/png", picture)
        .await;
    let id = answer.id();
    assert_eq!(admin.ended(&id).await.body["preview"]["issuer"], "2FAS");
    assert_token(&admin, &id).await;
}

#[tokio::test]
async fn a_photograph_larger_than_a_message_is_made_to_fit() {
    let app = App::start().await;
    let admin = app.admin();
    // A large image whose noise no compression can shrink.
    let code = image::load_from_memory(&qr_png(SEED_URI))
        .unwrap()
        .to_rgb8();
    let mut state = 1_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut photograph =
        image::RgbImage::from_fn(1_600, 1_600, |_, _| image::Rgb([noise(), noise(), noise()]));
    let code = image::imageops::resize(&code, 900, 900, image::imageops::FilterType::Nearest);
    image::imageops::overlay(&mut photograph, &code, 300, 300);
    let bytes = crate::support::png(&photograph.into());
    assert!(
        bytes.len() > 2 << 20,
        "the picture is over the limit of a message"
    );

    let answer = admin
        .post_bytes("/api/enrollments", "image/png", bytes)
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let ended = admin.ended(&answer.id()).await;
    assert_eq!(ended.body["stage"], "Enrolled", "{ended:?}");
}

#[tokio::test]
async fn the_seeds_two_calls_work_as_printed() {
    let app = App::start().await;
    let admin = app.admin();
    let answer = admin
        .post("/api/accounts", &json!({ "uri": SEED_URI }))
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert!(answer.body["message"].is_string());
    assert_eq!(answer.body["accountName"], "Test Token");
    assert_eq!(answer.body["issuer"], "2FAS");
    let name = answer.body["secretName"].as_str().unwrap();
    assert!(name.starts_with("totp-"));
    assert_token(&admin, name).await;

    let refused = admin
        .post("/api/accounts", &json!({ "uri": "otpauth://totp/x" }))
        .await;
    refused.assert_problem(422, "secret-missing");
    assert!(refused.body["error"].is_string(), "{refused:?}");
}

#[tokio::test]
async fn the_same_idempotency_key_is_the_same_enrollment() {
    let app = App::start().await;
    let admin = app.admin();
    let start = async |uri: &str| {
        let request = admin
            .request(reqwest::Method::POST, "/api/enrollments")
            .header("idempotency-key", "\"monday-1\"")
            .json(&json!({ "uri": uri }));
        admin.send(request).await
    };
    let first = start(SEED_URI).await;
    let id = first.id();
    admin.ended(&id).await;
    let again = start(SEED_URI).await;
    assert!(again.status.is_success(), "{again:?}");
    assert_eq!(again.id(), id);
    start("otpauth://totp/other?secret=GEZDGNBV")
        .await
        .assert_problem(422, "idempotency-key-reused");
    let accounts = admin.get("/api/accounts").await;
    assert_eq!(
        accounts.body["accounts"].as_array().unwrap().len(),
        1,
        "{accounts:?}"
    );
}

#[tokio::test]
async fn another_caller_approves() {
    let app = App::start().await;
    let enroller = app.new_caller("build-server", "enroller");
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let id = enroller.enroll(SEED_URI, true).await;

    let waiting = approver.until_stage(&id, "AwaitingApproval").await;
    assert_eq!(waiting.status, StatusCode::ACCEPTED);
    assert_eq!(waiting.body["preview"]["issuer"], "2FAS");
    assert_eq!(waiting.body["preview"]["accountName"], "Test Token");
    assert_eq!(waiting.body["requestedBy"], "build-server");
    // Nothing is stored before someone has agreed.
    app.admin()
        .get(&format!("/api/tokens?id={id}"))
        .await
        .assert_problem(404, "account-unknown");

    let decided = approver
        .decide(&id, true, "seen on the shared screen")
        .await;
    assert_eq!(decided.status, StatusCode::ACCEPTED, "{decided:?}");
    let ended = approver.ended(&id).await;
    assert_eq!(ended.body["stage"], "Enrolled", "{ended:?}");
    assert_eq!(
        ended.body["approval"]["decision"]["by"],
        "second-pair-of-eyes"
    );
    assert_eq!(
        ended.body["approval"]["decision"]["comment"],
        "seen on the shared screen"
    );
    assert_token(&app.admin(), &id).await;
}

#[tokio::test]
async fn a_refusal_ends_the_enrollment_and_stores_nothing() {
    let app = App::start().await;
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let id = admin.enroll(SEED_URI, true).await;
    approver.until_stage(&id, "AwaitingApproval").await;
    let decided = approver.decide(&id, false, "not ours").await;
    assert_eq!(decided.status, StatusCode::ACCEPTED, "{decided:?}");
    let ended = admin.ended(&id).await;
    assert_eq!(ended.body["stage"], "Rejected", "{ended:?}");
    assert_eq!(ended.body["approval"]["decision"]["comment"], "not ours");
    admin
        .get(&format!("/api/tokens?id={id}"))
        .await
        .assert_problem(404, "account-unknown");
}

#[tokio::test]
async fn an_undecided_enrollment_expires() {
    let app = App::start_with(&["--approval-timeout", "1s"]).await;
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, true).await;
    let ended = admin.ended(&id).await;
    assert_eq!(ended.body["stage"], "Expired", "{ended:?}");
    app.new_caller("late", "approver")
        .decide(&id, true, "")
        .await
        .assert_problem(409, "approval-expired");
}

#[tokio::test]
async fn a_running_enrollment_can_be_terminated() {
    let app = App::start().await;
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, true).await;
    admin.until_stage(&id, "AwaitingApproval").await;
    let answer = admin.delete(&format!("/api/enrollments/{id}")).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let ended = admin.ended(&id).await.body;
    assert_eq!(ended["stage"], "Terminated");
    // What it was about is still said, and was never stored.
    assert_eq!(ended["preview"]["issuer"], "2FAS", "{ended}");
    admin
        .delete(&format!("/api/enrollments/{id}"))
        .await
        .assert_problem(409, "already-ended");
}

#[tokio::test]
async fn enrollments_are_listed_newest_first_and_in_pages() {
    let app = App::start().await;
    let admin = app.admin();
    let mut ids = Vec::new();
    for account in ["a", "b", "c"] {
        let id = admin
            .enroll(&format!("otpauth://totp/{account}?secret=2FASTEST"), false)
            .await;
        admin.ended(&id).await;
        ids.push(id);
    }
    ids.reverse();
    let mut listed = Vec::new();
    let mut path = "/api/enrollments?limit=2".to_owned();
    loop {
        let page = admin.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        let enrollments = page.body["enrollments"].as_array().unwrap();
        assert!(enrollments.len() <= 2);
        listed.extend(
            enrollments
                .iter()
                .map(|e| e["id"].as_str().unwrap().to_owned()),
        );
        match page.body["next"].as_str() {
            Some(cursor) => path = format!("/api/enrollments?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(listed, ids);
}

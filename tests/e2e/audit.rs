//! Who did what is recorded, and a record that was changed is noticed.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{App, PATIENCE, SEED_URI, png};

#[tokio::test]
async fn every_reading_and_changing_is_recorded_with_who_and_why() {
    let mut app = App::start().await;
    let enroller = app.new_caller("build-server", "enroller");
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let reader = app.new_caller("dashboard-wall", "reader");
    let admin = app.admin();
    let id = enroller.enroll(SEED_URI, true).await;
    approver.until_stage(&id, "AwaitingApproval").await;
    approver.decide(&id, true, "seen on the screen").await;
    enroller.ended(&id).await;
    let request = reader
        .request(Method::GET, &format!("/api/tokens?id={id}"))
        .header("countersign-reason", "nightly deploy");
    assert_eq!(reader.send(request).await.status, StatusCode::OK);
    enroller
        .get(&format!("/api/tokens?id={id}"))
        .await
        .assert_problem(403, "role-missing");
    // Not an id at all: it could be a secret that was pasted into the wrong place.
    reader.get("/api/tokens?id=JBSWY3DPEHPK3PXP").await;
    app.caller(None).get(&format!("/api/tokens?id={id}")).await;

    reader
        .get("/api/audit")
        .await
        .assert_problem(403, "role-missing");
    let page = admin.get("/api/audit").await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    let told: Vec<Value> = page.body["entries"]
        .as_array()
        .unwrap()
        .iter()
        // What the worker did comes when it is copied.
        .filter(|entry| entry["caller"] != "worker")
        .map(|entry| {
            json!([
                entry["caller"],
                entry["action"],
                entry["subject"],
                entry["outcome"],
                entry["problem"],
                entry["reason"],
                entry["from"],
            ])
        })
        .collect();
    let home = "127.0.0.1";
    assert_eq!(
        Value::Array(told),
        json!([
            [
                "local",
                "create-key",
                "build-server",
                "done",
                null,
                null,
                null
            ],
            [
                "local",
                "create-key",
                "second-pair-of-eyes",
                "done",
                null,
                null,
                null
            ],
            [
                "local",
                "create-key",
                "dashboard-wall",
                "done",
                null,
                null,
                null
            ],
            ["build-server", "enroll", id, "done", null, null, home],
            [
                "second-pair-of-eyes",
                "approve",
                id,
                "done",
                null,
                "seen on the screen",
                home
            ],
            [
                "dashboard-wall",
                "read-code",
                id,
                "done",
                null,
                "nightly deploy",
                home
            ],
            [
                "build-server",
                "read-code",
                id,
                "refused",
                "role-missing",
                null,
                home
            ],
            [
                "dashboard-wall",
                "read-code",
                "unknown",
                "refused",
                "account-unknown",
                null,
                home
            ],
            [
                "dashboard-wall",
                "read-audit",
                null,
                "refused",
                "role-missing",
                null,
                home
            ],
        ])
    );

    let codes = admin
        .get("/api/audit?action=read-code&caller=dashboard-wall&limit=1")
        .await;
    assert_eq!(codes.body["entries"].as_array().unwrap().len(), 1);
    let cursor = codes.body["next"].as_str().unwrap();
    let rest = admin
        .get(&format!(
            "/api/audit?action=read-code&caller=dashboard-wall&cursor={cursor}"
        ))
        .await;
    assert_eq!(rest.body["entries"][0]["subject"], "unknown");
    let latest = admin
        .get("/api/audit?action=read-code&caller=dashboard-wall&order=newest&limit=1")
        .await;
    assert_eq!(latest.body["entries"][0]["subject"], "unknown");
    let lines = admin.get("/api/audit?format=cef&limit=1").await;
    assert!(
        lines
            .body
            .as_str()
            .unwrap()
            .starts_with("CEF:0|Countersign|"),
        "{lines:?}"
    );
    for bad in [
        "action=steal",
        "since=yesterday",
        "cursor=x",
        "format=xml",
        "order=random",
    ] {
        admin
            .get(&format!("/api/audit?{bad}"))
            .await
            .assert_problem(400, "invalid-parameter");
    }

    // Nothing is lost when the process ends.
    app.kill();
    let verified = app.command(&["audit", "verify", "--json"]);
    assert!(verified.status.success(), "{verified:?}");
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(verified["intact"], true);
    let exported = app.command(&["audit", "export"]);
    let exported = String::from_utf8(exported.stdout).unwrap();
    assert_eq!(exported.lines().count() as u64, verified["entries"]);
    let exported: Vec<Value> = exported
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(exported.last().unwrap()["hash"], verified["head"]);
    let read = |entry: &&Value| entry["action"] == "read-code";
    let read = exported.iter().find(read).unwrap()["sequence"].clone();

    let thief = rusqlite::Connection::open(app.data_dir().join("audit.sqlite3")).unwrap();
    thief
        .execute_batch(&format!(
            "DROP TRIGGER entries_are_not_changed;
             UPDATE entries SET event = replace(event, 'dashboard-wall', 'nobody')
             WHERE sequence = {read}",
        ))
        .unwrap();
    let verified = app.command(&["audit", "verify"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    let told = String::from_utf8(verified.stderr).unwrap();
    assert!(told.contains(&format!("from entry {read} on")), "{told}");
}

/// The readings that the record has of an account: by caller, and how many more each entry counts.
fn readings(app: &App, id: &str) -> Vec<(String, Option<u64>)> {
    let exported = app.command(&["audit", "export"]);
    let exported = String::from_utf8(exported.stdout).unwrap();
    exported
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|entry| entry["action"] == "read-code" && entry["subject"] == json!(id))
        .map(|entry| {
            let caller = entry["caller"].as_str().unwrap().to_owned();
            (caller, entry["repeats"].as_u64())
        })
        .collect()
}

#[tokio::test]
async fn a_code_that_is_read_again_with_a_key_is_counted() {
    const READINGS: u64 = 40;
    let mut app = App::start().await;
    let admin = app.admin();
    let reader = app.new_caller("dashboard-wall", "reader");
    let id = admin.enroll(SEED_URI, false).await;
    admin.ended(&id).await;
    for _ in 0..READINGS {
        let read = reader.get(&format!("/api/tokens?id={id}")).await;
        assert_eq!(read.status, StatusCode::OK, "{read:?}");
    }
    let page = admin.get("/api/audit?action=read-code").await;
    let first = page.body["entries"].as_array().unwrap().last().unwrap();
    assert!(
        first["repeats"].is_null(),
        "the first one is there before its code is given: {page:?}"
    );
    // The end of the server is the end of counting.
    assert_eq!(app.stop().await, Some(0), "{}", app.logs());
    let entries = readings(&app, &id);
    assert!(entries.iter().all(|(caller, _)| caller == "dashboard-wall"));
    let told: u64 = entries
        .iter()
        .map(|(_, repeats)| repeats.unwrap_or(1))
        .sum();
    assert_eq!(told, READINGS, "{entries:?}");
    // However slow this is, some of them were within one time step.
    assert!(entries.iter().any(|(_, repeats)| repeats.is_some()));
}

#[tokio::test]
async fn readings_of_an_open_page_are_counted() {
    const READINGS: u64 = 20;
    let mut app = App::start().await;
    let admin = app.admin();
    let reader = app.new_caller("somebody", "reader");
    let ids = [
        admin.enroll(SEED_URI, false).await,
        admin
            .enroll("otpauth://totp/other?secret=2FASTEST", false)
            .await,
    ];
    for id in &ids {
        admin.ended(id).await;
    }
    let session = async || {
        let request = reader
            .request(Method::POST, "/api/session")
            .header("sec-fetch-site", "same-origin")
            .json(&json!({}));
        let answer = request.send().await.unwrap();
        let set = answer.headers().get_all("set-cookie").iter();
        let mut set = set.map(|line| line.to_str().unwrap().split(';').next().unwrap());
        set.next_back().unwrap().to_owned()
    };
    let nobody = app.caller(None);
    let read = async |cookie: &str, path: &str| {
        let request = nobody
            .request(Method::GET, path)
            .header("cookie", cookie)
            .header("sec-fetch-site", "same-origin");
        let read = nobody.send(request).await;
        assert_eq!(read.status, StatusCode::OK, "{read:?}");
    };
    let first = session().await;
    let [one, other] = &ids;
    // As the page does: one account alone, several together.
    for _ in 0..READINGS {
        read(&first, &format!("/api/tokens?id={one}&id={other}")).await;
        read(&first, &format!("/api/accounts/{one}/token")).await;
    }
    let page = admin.get("/api/audit?action=read-code").await;
    let entries = page.body["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "one for each account: {page:?}");
    assert!(entries.iter().all(|entry| entry["repeats"].is_null()));
    // Another session, and a key, are distinguished.
    read(&session().await, &format!("/api/accounts/{one}/token")).await;
    reader.get(&format!("/api/accounts/{one}/token")).await;

    assert_eq!(app.stop().await, Some(0), "{}", app.logs());
    let by = |repeats: Option<u64>| ("somebody".to_owned(), repeats);
    let expected = [by(None), by(None), by(None), by(Some(2 * READINGS - 1))];
    assert_eq!(readings(&app, one), expected);
    assert_eq!(readings(&app, other), [by(None), by(Some(READINGS - 1))]);
    assert!(app.command(&["audit", "verify"]).status.success());
}

/// Lets the audit log take no entries until the trigger `full` is dropped.
fn without_space(app: &App) -> rusqlite::Connection {
    let breaker = rusqlite::Connection::open(app.data_dir().join("audit.sqlite3")).unwrap();
    breaker
        .execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON entries
             BEGIN SELECT RAISE(ABORT, 'no space left'); END",
        )
        .unwrap();
    breaker
}

#[tokio::test]
async fn a_code_that_cannot_be_recorded_is_not_given() {
    let app = App::start().await;
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    admin.ended(&id).await;
    let breaker = without_space(&app);
    let answer = admin.get(&format!("/api/tokens?id={id}")).await;
    answer.assert_problem(503, "audit-unavailable");
    // Nor does anyone learn without a trace that something is refused.
    let unknown = async || {
        let path = "/api/accounts/totp-00000000-0000-4000-8000-000000000000";
        let request = admin.request(Method::PATCH, path);
        admin.send(request.json(&json!({ "issuer": "x" }))).await
    };
    unknown().await.assert_problem(503, "audit-unavailable");
    breaker.execute_batch("DROP TRIGGER full").unwrap();
    let answer = admin.get(&format!("/api/tokens?id={id}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    unknown().await.assert_problem(404, "account-unknown");
}

#[tokio::test]
async fn a_change_is_answered_once_it_is_recorded_and_no_other_is_made_before() {
    let app = App::start().await;
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    admin.ended(&id).await;
    let breaker = without_space(&app);
    let path = format!("/api/accounts/{id}");
    let rename = |issuer: &str| {
        let request = admin.request(Method::PATCH, &path);
        request.json(&json!({ "issuer": issuer }))
    };
    let first = tokio::spawn({
        let (admin, request) = (admin.clone(), rename("First"));
        async move { admin.send(request).await }
    });
    app.until_logged("the audit log was not written").await;
    let second = admin.send(rename("Second")).await;
    second.assert_problem(503, "audit-unavailable");
    assert!(!first.is_finished(), "it waits for its entry");
    breaker.execute_batch("DROP TRIGGER full").unwrap();
    let first = first.await.unwrap();
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    let log = admin
        .get(&format!("/api/audit?action=rename&subject={id}"))
        .await;
    let renamed: Vec<&Value> = log.body["entries"].as_array().unwrap().iter().collect();
    assert_eq!(renamed.len(), 1, "{log:?}");
    assert_eq!(renamed[0]["changes"][0]["to"], "First", "{log:?}");
    let third = admin.send(rename("Third")).await;
    assert_eq!(third.status, StatusCode::OK, "{third:?}");
}

#[tokio::test]
async fn of_several_codes_each_is_recorded_as_it_was() {
    let app = App::start().await;
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    admin.ended(&id).await;
    let nowhere = "totp-00000000-0000-4000-8000-000000000000";
    let codes = admin
        .get(&format!(
            "/api/tokens?id={id}&id={nowhere}&id=JBSWY3DPEHPK3PXP"
        ))
        .await;
    assert_eq!(codes.status, StatusCode::OK, "{codes:?}");
    assert!(codes.body["tokens"][0]["token"].is_string(), "{codes:?}");
    let record = admin.get("/api/audit?action=read-code").await;
    let told: Vec<Value> = record.body["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| json!([entry["subject"], entry["outcome"], entry["problem"]]))
        .collect();
    assert_eq!(
        Value::Array(told),
        json!([
            [id, "done", null],
            [nowhere, "refused", "account-unknown"],
            ["unknown", "refused", "account-unknown"],
        ])
    );
}

#[tokio::test]
async fn every_spelling_of_an_id_is_in_the_audit_log() {
    let app = App::start().await;
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    admin.ended(&id).await;
    let spelled = id.replacen('t', "%74", 1);
    for path in [
        format!("/api/accounts/{spelled}/token"),
        format!("/v1/totp/code/{spelled}"),
        format!("/api/tokens?id={spelled}"),
    ] {
        // For a reason of its own, so that none is counted as another's repetition.
        let request = admin
            .request(Method::GET, &path)
            .header("countersign-reason", &path);
        assert_eq!(admin.send(request).await.status, StatusCode::OK, "{path}");
    }
    // Twice in one request, with one reading left: one of the two was given.
    let key = json!({ "name": "bot", "role": "reader", "grantedOnly": true });
    let key = admin.post("/api/keys", &key).await;
    let limited = app.caller(Some(key.body["key"].as_str().unwrap()));
    let grant = json!({ "account": id, "caller": "bot", "reads": 1 });
    admin.post("/api/grants", &grant).await;
    let both = limited.get(&format!("/api/tokens?id={id}&id={id}")).await;
    let given = |answer: &Value| answer["token"].is_string();
    let tokens = both.body["tokens"].as_array().unwrap();
    assert_eq!(tokens.iter().filter(|answer| given(answer)).count(), 1);

    let record = admin.get("/api/audit?action=read-code").await;
    let told: Vec<Value> = record.body["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| json!([entry["caller"], entry["subject"], entry["outcome"]]))
        .collect();
    let of = |caller: &str, outcome: &str| {
        let wanted = json!([caller, id, outcome]);
        told.iter().filter(|entry| **entry == wanted).count()
    };
    assert_eq!(of("admin", "done"), 3, "{told:?}");
    assert_eq!(of("bot", "done"), 1, "{told:?}");
    assert_eq!(of("bot", "refused"), 1, "{told:?}");
}

#[tokio::test]
async fn a_change_whose_caller_hangs_up_is_still_recorded() {
    let app = App::start().await;
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    admin.ended(&id).await;
    // Someone else writes, so that the change takes longer than its caller waits.
    let vault = rusqlite::Connection::open(app.data_dir().join("vault.sqlite3")).unwrap();
    vault.execute_batch("BEGIN IMMEDIATE").unwrap();
    let hurried = admin
        .request(Method::DELETE, &format!("/api/accounts/{id}"))
        .timeout(Duration::from_secs(1));
    assert!(hurried.send().await.unwrap_err().is_timeout());
    vault.execute_batch("COMMIT").unwrap();
    let begun = Instant::now();
    loop {
        let record = admin.get("/api/audit?action=delete").await;
        if let Some(entry) = record.body["entries"].as_array().unwrap().first() {
            assert_eq!(entry["subject"], id, "{record:?}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it was not recorded");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_start_is_recorded_with_its_enrollment_however_it_is_answered() {
    let app = App::start().await;
    let admin = app.admin();
    let start = || {
        admin
            .request(Method::POST, "/api/enrollments")
            .header("idempotency-key", "\"once\"")
            .json(&json!({ "uri": SEED_URI }))
    };
    let id = admin.send(start()).await.id();
    admin.ended(&id).await;
    // It has ended, so the answer is the status, which says nothing of where it is.
    let again = admin.send(start()).await;
    assert_eq!(again.status, StatusCode::OK, "{again:?}");
    let nothing = png(&image::GrayImage::new(80, 80).into());
    admin
        .post_bytes("/api/accounts", "image/png", nothing)
        .await
        .assert_problem(422, "qr-not-found");

    let record = admin.get("/api/audit?action=enroll").await;
    let entries = record.body["entries"].as_array().unwrap();
    let told: Vec<Value> = entries
        .iter()
        .map(|entry| json!([entry["subject"], entry["outcome"], entry["problem"]]))
        .collect();
    let invalid = told[2][0].as_str().expect("it has an enrollment");
    assert_eq!(
        Value::Array(told.clone()),
        json!([
            [id, "done", null],
            [id, "done", null],
            [invalid, "refused", "qr-not-found"],
        ])
    );
    let state = admin.get(&format!("/api/enrollments/{invalid}")).await;
    assert_eq!(state.body["stage"], "Invalid", "{state:?}");
}

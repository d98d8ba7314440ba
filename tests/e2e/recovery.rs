//! Recovery codes: kept beside an account, and given out once each, by the rules of codes.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, App, Caller, PATIENCE, SEED_URI};

fn codes(number: usize) -> Vec<String> {
    (0..number)
        .map(|code| format!("recover-{code:04}"))
        .collect()
}

/// An account of these recovery codes.
async fn account(admin: &Caller, codes: &[String]) -> String {
    let body = json!({"uri": SEED_URI, "recoveryCodes": codes});
    let answer = admin.post("/api/accounts", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.body["secretName"].as_str().unwrap().to_owned()
}

async fn left(caller: &Caller, id: &str) -> Value {
    caller
        .get(&format!("/api/accounts/{id}/recovery-codes"))
        .await
        .body
}

async fn take(caller: &Caller, id: &str) -> Answer {
    let path = format!("/api/accounts/{id}/recovery-code");
    caller.send(caller.request(Method::POST, &path)).await
}

async fn set(admin: &Caller, id: &str, codes: &[&str]) -> Answer {
    let path = format!("/api/accounts/{id}/recovery-codes");
    let request = admin
        .request(Method::PUT, &path)
        .json(&json!({ "codes": codes }));
    let answer = admin.send(request).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    answer
}

async fn until(caller: &Caller, request: &Answer, stage: &str) -> Answer {
    let path = format!("/api/requests/{}?wait=2", request.id());
    let begun = std::time::Instant::now();
    loop {
        let answer = caller.get(&path).await;
        if answer.body["stage"] == stage {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "not {stage}: {answer:?}");
    }
}

#[tokio::test]
async fn each_code_is_given_once_to_any_caller_whatever_is_restarted() {
    let mut app = App::start().await;
    let given = codes(12);
    let id = account(&app.admin(), &given).await;
    assert_eq!(
        left(&app.admin(), &id).await,
        json!({"total": 12, "left": 12})
    );

    // Many at once.
    let admin = app.admin();
    let several = futures_util::future::join_all((0..8).map(|_| take(&admin, &id))).await;
    let mut seen = BTreeSet::new();
    for answer in several {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(seen.insert(answer.body["code"].as_str().unwrap().to_owned()));
    }
    // A server that was killed, with the task hub gone as it was.
    app.kill();
    std::fs::remove_file(app.data_dir().join("scheduler.sqlite3")).unwrap();
    for ending in ["wal", "shm"] {
        // SQLite has removed it where nothing was left in it.
        let file = format!("scheduler.sqlite3-{ending}");
        std::fs::remove_file(app.data_dir().join(file)).ok();
    }
    // Its operator accepts that it is lost.
    let noted = app.data_dir().join("installation.files");
    let kept = std::fs::read_to_string(&noted).unwrap();
    std::fs::write(&noted, kept.replace("scheduler.sqlite3\n", "")).unwrap();
    app.launch().await;
    let admin = app.admin();
    assert_eq!(left(&admin, &id).await, json!({"total": 12, "left": 4}));
    for expected in [3, 2, 1, 0] {
        let answer = take(&admin, &id).await;
        assert_eq!(answer.body["left"], expected, "{answer:?}");
        assert!(seen.insert(answer.body["code"].as_str().unwrap().to_owned()));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), given);
    take(&admin, &id)
        .await
        .assert_problem(409, "no-recovery-code");

    // Set again they are not given again; what is new is.
    let mut again: Vec<&str> = given.iter().map(String::as_str).collect();
    again.push("brand-new");
    let request = set(&admin, &id, &again).await;
    assert_eq!(request.body["kind"], "recoveryCodes");
    let approver = app.new_caller("approver", "approver");
    until(&admin, &request, "AwaitingApproval").await;
    let path = format!("/api/requests/{}/approval", request.id());
    approver.post(&path, &json!({"approved": true})).await;
    until(&admin, &request, "Done").await;
    assert_eq!(left(&admin, &id).await, json!({"total": 13, "left": 1}));
    assert_eq!(take(&admin, &id).await.body["code"], "brand-new");
    take(&admin, &id)
        .await
        .assert_problem(409, "no-recovery-code");
}

#[tokio::test]
async fn recovery_codes_are_added_by_one_person_replaced_by_two_and_removed_with_the_account() {
    let app = App::start().await;
    let admin = app.admin();
    let id = account(&admin, &[]).await;
    take(&admin, &id)
        .await
        .assert_problem(409, "no-recovery-code");
    // None are destroyed: no approval is needed.
    let first = set(&admin, &id, &["a", " b ", "a", ""]).await;
    until(&admin, &first, "Done").await;
    assert_eq!(left(&admin, &id).await, json!({"total": 2, "left": 2}));
    // Some are: an approval is needed.
    for wanted in [&["c"][..], &[]] {
        let second = set(&admin, &id, wanted).await;
        let waiting = until(&admin, &second, "AwaitingApproval").await;
        assert_eq!(waiting.body["count"], wanted.len(), "{waiting:?}");
        let path = format!("/api/requests/{}/approval", second.id());
        let approver = app.new_caller(&format!("approver-{}", wanted.len()), "approver");
        approver.post(&path, &json!({"approved": false})).await;
        until(&admin, &second, "Rejected").await;
    }
    assert_eq!(take(&admin, &id).await.body["code"], "a");

    let removed = admin.delete(&format!("/api/accounts/{id}")).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    take(&admin, &id)
        .await
        .assert_problem(404, "account-unknown");
    admin
        .post(&format!("/api/accounts/{id}/restore"), &json!({}))
        .await;
    assert_eq!(take(&admin, &id).await.body["code"], "b");

    let path = format!("/api/accounts/{id}/recovery-codes");
    for wrong in [json!("x".repeat(200)), json!("a\nb")] {
        let request = admin
            .request(Method::PUT, &path)
            .json(&json!({"codes": [wrong]}));
        let answer = admin.send(request).await;
        answer.assert_problem(400, "invalid-parameter");
        assert!(!answer.body.to_string().contains("xxx"), "{answer:?}");
    }
}

#[tokio::test]
async fn grants_approvals_and_proofs_count_as_for_codes() {
    let app = App::start().await;
    let admin = app.admin();
    let id = account(&admin, &codes(5)).await;

    // A number of reads that was granted.
    let key = app.command(&[
        "key",
        "create",
        "bot",
        "--role",
        "reader",
        "--granted-only",
        "--json",
    ]);
    let key: Value = serde_json::from_slice(&key.stdout).unwrap();
    let bot = app.caller(Some(key["key"].as_str().unwrap()));
    take(&bot, &id).await.assert_problem(404, "account-unknown");
    let grant = json!({"caller": "bot", "account": id, "reads": 1});
    assert_eq!(admin.post("/api/grants", &grant).await.status, 201);
    assert_eq!(take(&bot, &id).await.status, StatusCode::OK);
    take(&bot, &id).await.assert_problem(403, "grant-used-up");

    // An account that is read with an approval only.
    let guarded = json!({"readApproval": true});
    let request = admin
        .request(Method::PATCH, &format!("/api/accounts/{id}"))
        .json(&guarded);
    assert_eq!(admin.send(request).await.status, StatusCode::OK);
    take(&admin, &id)
        .await
        .assert_problem(403, "approval-needed");
    let reader = app.new_caller("reader", "reader");
    let path = format!("/api/accounts/{id}/requests");
    let asked = json!({"kind": "read", "reads": 2});
    let asked = reader.post(&path, &asked).await;
    until(&reader, &asked, "AwaitingApproval").await;
    let granted = format!("/api/requests/{}/recovery-code", asked.id());
    let take_granted = async || reader.send(reader.request(Method::POST, &granted)).await;
    take_granted().await.assert_problem(409, "not-granted");
    let approver = app.new_caller("approver", "approver");
    let decide = format!("/api/requests/{}/approval", asked.id());
    approver.post(&decide, &json!({"approved": true})).await;
    until(&reader, &asked, "Granted").await;
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let answer = take_granted().await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        seen.insert(answer.body["code"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen.len(), 2);
    take_granted().await.assert_problem(409, "not-granted");

    // One that is not proved yet.
    let body = json!({"uri": SEED_URI, "recoveryCodes": ["a"]});
    let pending = admin.post("/api/accounts?proof=required", &body).await;
    let pending = pending.body["secretName"].as_str().unwrap().to_owned();
    take(&admin, &pending)
        .await
        .assert_problem(409, "account-pending");

    // Who took one is in the record.
    let record = admin.get("/api/audit?action=take-recovery-code").await;
    let entries = record.body["entries"].as_array().unwrap();
    let done = entries.iter().filter(|entry| entry["outcome"] == "done");
    assert_eq!(done.count(), 3, "{record:?}");
}

#[tokio::test]
async fn a_request_without_approval_gives_out_codes_of_a_guarded_account() {
    let app = App::start_with(&["--request-approvals", "0"]).await;
    let admin = app.admin();
    let id = account(&admin, &codes(5)).await;
    let request = admin
        .request(Method::PATCH, &format!("/api/accounts/{id}"))
        .json(&json!({"readApproval": true}));
    assert_eq!(admin.send(request).await.status, StatusCode::OK);
    take(&admin, &id)
        .await
        .assert_problem(403, "approval-needed");

    let asked = json!({"kind": "read", "reads": 3});
    let path = format!("/api/accounts/{id}/requests");
    let asked = admin.post(&path, &asked).await;
    until(&admin, &asked, "Granted").await;
    let use_it = async |what: &str| {
        let path = format!("/api/requests/{}/{what}", asked.id());
        admin.send(admin.request(Method::POST, &path)).await
    };
    let mut seen = BTreeSet::new();
    for what in ["recovery-code", "code", "recovery-code"] {
        let answer = use_it(what).await;
        assert_eq!(answer.status, StatusCode::OK, "{what}: {answer:?}");
        if what == "recovery-code" {
            seen.insert(answer.body["code"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(seen.len(), 2);
    for what in ["recovery-code", "code"] {
        use_it(what).await.assert_problem(409, "not-granted");
    }
    assert_eq!(left(&admin, &id).await, json!({"total": 5, "left": 3}));
}

#[tokio::test]
async fn a_repeated_request_for_the_same_codes_is_the_same_request() {
    let app = App::start().await;
    let admin = app.admin();
    let id = account(&admin, &[]).await;
    let path = format!("/api/accounts/{id}/recovery-codes");
    let put = async |codes: &[&str], reason: Option<&str>| {
        let request = admin
            .request(Method::PUT, &path)
            .header("idempotency-key", "set-once")
            .json(&json!({"codes": codes, "reason": reason}));
        admin.send(request).await
    };
    let first = put(&["a", "b"], None).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{first:?}");
    let at_once = put(&["a", "b"], None).await;
    assert_eq!(at_once.id(), first.id(), "{at_once:?}");
    until(&admin, &first, "Done").await;
    // Now the account has codes, which another request would replace.
    let again = put(&["a", "b"], None).await;
    assert_eq!(again.status, StatusCode::OK, "{again:?}");
    assert_eq!(again.id(), first.id());
    assert_eq!(again.body["stage"], "Done");
    for (codes, reason) in [
        (&["a", "c"][..], None),
        (&["b", "a"], None),
        (&["a"], None),
        (&[], None),
        (&["a", "b"], Some("lost")),
    ] {
        put(codes, reason)
            .await
            .assert_problem(422, "idempotency-key-reused");
    }
    assert_eq!(left(&admin, &id).await, json!({"total": 2, "left": 2}));
}

#[tokio::test]
async fn of_concurrent_callers_one_sets_the_codes_and_none_replaces_them_alone() {
    let app = App::start().await;
    let admin = app.admin();
    for round in 0..3 {
        let id = account(&admin, &[]).await;
        let wanted: Vec<String> = (0..12).map(|n| format!("code-{round}-{n}")).collect();
        let admin = &admin;
        let setting = wanted.iter().map(|code| {
            let request = admin
                .request(Method::PUT, &format!("/api/accounts/{id}/recovery-codes"))
                .json(&json!({ "codes": [code] }));
            async move { admin.send(request).await }
        });
        let asked = futures_util::future::join_all(setting).await;
        let mut done = Vec::new();
        for (asked, code) in asked.iter().zip(&wanted) {
            assert_eq!(asked.status, StatusCode::ACCEPTED, "{asked:?}");
            let path = format!("/api/requests/{}?wait=2", asked.id());
            let begun = std::time::Instant::now();
            loop {
                let answer = admin.get(&path).await;
                match answer.body["stage"].as_str() {
                    Some("Done") => done.push(code),
                    // It found codes when it was requested, or when it was carried out.
                    Some("AwaitingApproval" | "Failed") => {}
                    _ => {
                        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
                        continue;
                    }
                }
                break;
            }
        }
        assert_eq!(done.len(), 1, "round {round}");
        assert_eq!(left(admin, &id).await, json!({"total": 1, "left": 1}));
        assert_eq!(take(admin, &id).await.body["code"], *done[0]);
    }
}

#[tokio::test]
async fn the_command_line_counts_takes_and_sets_them() {
    let app = App::start().await;
    let id = account(&app.admin(), &[]).await;
    let run = |args: &[&str]| {
        let output = app.command(args);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{args:?}: {text}");
        text.trim().to_owned()
    };
    let file = app.folder().join("codes.txt");
    std::fs::write(&file, "\u{feff}first\r\nsecond\r\n").unwrap();
    let file = file.to_string_lossy().into_owned();
    run(&["recovery-codes", "set", &file, &id]);
    assert_eq!(run(&["recovery-codes", "count", &id]), "2 of 2 left");
    assert_eq!(run(&["recovery-codes", "take", &id]), "first");
    let uri = "otpauth://totp/a:b?secret=KRUGS4ZANFZSAYJAKNSWG4TFOQ";
    let uri_file = app.folder().join("uri.txt");
    std::fs::write(&uri_file, uri).unwrap();
    let uri_file = uri_file.to_string_lossy().into_owned();
    let told = run(&["enroll", &uri_file, "--recovery-codes", &file, "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let other = told["id"].as_str().unwrap();
    // A code of one account is not that of another.
    assert_eq!(run(&["recovery-codes", "take", other]), "first");
}

//! Several credentials of one person count once, and a lease of one code is one code.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::request_helpers::enrolled;
use crate::support::{Answer, App, Caller, PATIENCE, SEED_URI};

/// A key that someone makes over HTTP.
async fn made(app: &App, maker: &Caller, body: &Value) -> Caller {
    let key = maker.post("/api/keys", body).await;
    assert_eq!(key.status, StatusCode::CREATED, "{key:?}");
    app.caller(Some(key.body["key"].as_str().unwrap()))
}

async fn stage(caller: &Caller, path: &str, stage: &str) -> Answer {
    let begun = std::time::Instant::now();
    loop {
        let answer = caller.get(&format!("{path}?wait=1")).await;
        if answer.body["stage"] == stage {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "never {stage}: {answer:?}");
    }
}

#[tokio::test]
async fn several_keys_of_one_person_approve_once() {
    let app = App::start_with(&["--approvals", "2", "--request-approvals", "2"]).await;
    let admin = app.admin();
    let account = enrolled(&admin).await;
    let asker = app.new_caller("asker", "admin");
    let boss = app.new_caller("boss", "admin");
    let other = app.new_caller("second-pair-of-eyes", "approver");
    let key = |name: &str| json!({ "name": name, "role": "approver" });
    let first = made(&app, &boss, &key("first-of-boss")).await;
    let second = made(&app, &boss, &key("second-of-boss")).await;
    let of_token = made(&app, &admin, &key("first-of-token")).await;
    let also_of_token = made(&app, &admin, &key("second-of-token")).await;
    let of_asker = made(&app, &asker, &key("of-asker")).await;

    // By keys that one administrator made, with theirs and without; the same of the token
    // that everything begins with, and of what it has made.
    for voices in [
        [&first, &second, &boss],
        [&boss, &first, &second],
        [&of_token, &also_of_token, &admin],
        [&admin, &of_token, &also_of_token],
    ] {
        let request = asker
            .post(
                &format!("/api/accounts/{account}/requests"),
                &json!({ "kind": "export" }),
            )
            .await
            .id();
        let enrollment = asker.enroll(SEED_URI, true).await;
        for (path, goes_on) in [
            (format!("/api/requests/{request}"), "Granted"),
            (format!("/api/enrollments/{enrollment}"), "Enrolled"),
        ] {
            stage(&other, &path, "AwaitingApproval").await;
            let approval = format!("{path}/approval");
            let yes = json!({ "approved": true });
            let own = of_asker.post(&approval, &yes).await;
            own.assert_problem(403, "self-approval-forbidden");
            let [one, same, also_the_same] = voices;
            let counted = one.post(&approval, &yes).await;
            assert_eq!(counted.status, StatusCode::ACCEPTED, "{counted:?}");
            for again in [same, also_the_same] {
                let refused = again.post(&approval, &yes).await;
                refused.assert_problem(403, "self-approval-forbidden");
            }
            let waits = other.get(&path).await;
            assert_eq!(waits.body["stage"], "AwaitingApproval", "{waits:?}");
            let agreed = &waits.body["approval"]["approvedBy"];
            assert_eq!(agreed.as_array().unwrap().len(), 1, "{waits:?}");
            let agreed = other.post(&approval, &yes).await;
            assert_eq!(agreed.status, StatusCode::ACCEPTED, "{agreed:?}");
            stage(&other, &path, goes_on).await;
        }
    }
}

#[tokio::test]
async fn a_lease_of_one_read_is_one_code_without_an_approval() {
    let app = App::start_with(&["--request-approvals", "0"]).await;
    let admin = app.admin();
    let account = enrolled(&admin).await;
    let bot = json!({ "name": "bot", "role": "reader", "grantedOnly": true });
    let bot = made(&app, &admin, &bot).await;
    let lease = json!({ "caller": "bot", "account": account, "reads": 1 });
    let requests = format!("/api/accounts/{account}/requests");
    let read = json!({ "kind": "read", "reads": 50 });
    let readings = [
        format!("/api/accounts/{account}/token"),
        format!("/api/tokens?id={account}"),
        format!("/v1/totp/code/{account}"),
    ];
    // First by a request, then by a plain reading.
    for by_request in [true, false] {
        let granted = admin.post("/api/grants", &lease).await;
        assert_eq!(granted.status, StatusCode::CREATED, "{granted:?}");
        let request = bot.post(&requests, &read).await.id();
        let request = format!("/api/requests/{request}");
        stage(&bot, &request, "Granted").await;
        let code = format!("{request}/code");
        let given = if by_request {
            bot.post(&code, &json!({})).await
        } else {
            bot.get(&readings[0]).await
        };
        assert_eq!(given.status, StatusCode::OK, "{given:?}");
        assert!(given.body["token"].is_string(), "{given:?}");
        assert!(given.body.get("nextToken").is_none(), "{given:?}");
        for _ in 0..3 {
            let more = bot.post(&code, &json!({})).await;
            more.assert_problem(403, "grant-used-up");
        }
        for path in &readings {
            let more = bot.get(path).await;
            assert_eq!(more.status, StatusCode::FORBIDDEN, "{more:?}");
            assert!(!more.body.to_string().contains("\"token\""), "{more:?}");
        }
        let asked_again = bot.post(&requests, &read).await;
        asked_again.assert_problem(403, "grant-used-up");
    }
    // Many at once get what they asked for, and no more.
    let read = json!({ "kind": "read", "reads": 30 });
    let request = admin.post(&requests, &read).await.id();
    stage(&admin, &format!("/api/requests/{request}"), "Granted").await;
    let mut readings = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (admin, code) = (admin.clone(), format!("/api/requests/{request}/code"));
        readings.spawn(async move { admin.post(&code, &json!({})).await });
    }
    let readings = readings.join_all().await;
    let with = |status| readings.iter().filter(|it| it.status == status).count();
    assert_eq!((with(StatusCode::OK), with(StatusCode::CONFLICT)), (30, 10));
    let grants = admin.get("/api/grants").await;
    assert_eq!(grants.body["grants"][0]["readsLeft"], 0, "{grants:?}");
}

#[tokio::test]
async fn renewing_a_key_changes_neither_person_nor_name() {
    let app = App::start().await;
    let admin = app.admin();
    let account = enrolled(&admin).await;
    let key = |name: &str| json!({ "name": name, "role": "admin" });
    let alice = made(&app, &admin, &key("alice")).await;
    let own = app.new_caller("on-the-command-line", "admin");
    let rotate = |name: &str| format!("/api/keys/{name}/rotate");
    // Who is there, who is not, and who has no key at all.
    for name in ["admin", "nobody-yet", "worker", "oidc:somebody"] {
        for caller in [&alice, &own, &admin] {
            let refused = caller.post(&rotate(name), &json!({})).await;
            refused.assert_problem(404, "key-unknown");
        }
    }
    made(&app, &admin, &key("nobody-yet")).await;
    // With a key of another hand its grants and requests would be taken over.
    for caller in [&alice, &admin] {
        let refused = caller
            .post(&rotate("on-the-command-line"), &json!({}))
            .await;
        refused.assert_problem(403, "key-of-another");
    }
    let asked = admin
        .post(
            &format!("/api/accounts/{account}/requests"),
            &json!({ "kind": "export" }),
        )
        .await
        .id();
    let approval = format!("/api/requests/{asked}/approval");
    let refused = alice.post(&approval, &json!({ "approved": true })).await;
    refused.assert_problem(403, "self-approval-forbidden");

    // A session is not a key, and ends with the key that it was opened with.
    let opened = own
        .request(reqwest::Method::POST, "/api/session")
        .header("sec-fetch-site", "same-origin")
        .json(&json!({}));
    let opened = opened.send().await.unwrap();
    let set = opened.headers().get_all("set-cookie").iter();
    let mut set = set.map(|line| line.to_str().unwrap().split(';').next().unwrap());
    let cookie = set.next_back().unwrap().to_owned();
    let nobody = app.caller(None);
    let by_session = async |method, path: &str| {
        let request = nobody
            .request(method, path)
            .header("cookie", &cookie)
            .header("sec-fetch-site", "same-origin")
            .json(&json!({}));
        nobody.send(request).await
    };
    let renewed = by_session(reqwest::Method::POST, &rotate("on-the-command-line")).await;
    renewed.assert_problem(403, "key-not-presented");
    let present = by_session(reqwest::Method::GET, "/api/accounts").await;
    assert_eq!(present.status, StatusCode::OK, "{present:?}");
    let renewed = own
        .post(
            &rotate("on-the-command-line"),
            &json!({ "overlapSeconds": 0 }),
        )
        .await;
    assert_eq!(renewed.status, StatusCode::OK, "{renewed:?}");
    let gone = by_session(reqwest::Method::GET, "/api/accounts").await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED, "{gone:?}");
}

//! An account that is declared: said again and again, it is there once.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, App, Caller};

const URI: &str = "otpauth://totp/Shop:ann?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Shop";
/// The same account, as someone else might write it.
const SPELLED: &str =
    "otpauth://totp/shop%3Aann?issuer=Shop&period=30&secret=gezdgnbvgy3tqojqgezdgnbvgy3tqojq";
const OTHER_SECRET: &str =
    "otpauth://totp/Shop:ann?secret=MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U&issuer=Shop";

async fn ensure(caller: &Caller, uri: &str) -> Answer {
    let request = caller.request(Method::PUT, "/api/accounts");
    caller.send(request.json(&json!({ "uri": uri }))).await
}

async fn accounts(admin: &Caller) -> Vec<Value> {
    let listed = admin.get("/api/accounts").await.body;
    listed["accounts"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_is_declared_twice_is_there_once_and_is_never_replaced() {
    let app = App::start().await;
    let admin = app.admin();

    // All at once, it is one.
    let (first, second, third) = tokio::join!(
        ensure(&admin, URI),
        ensure(&admin, URI),
        ensure(&admin, URI)
    );
    let id = first.body["id"].as_str().unwrap().to_owned();
    for answer in [&first, &second, &third] {
        assert!(answer.status.is_success(), "{answer:?}");
        assert_eq!(answer.body["id"], id.as_str(), "{answer:?}");
        assert_eq!(answer.body["issuer"], "Shop", "{answer:?}");
    }
    assert_eq!(accounts(&admin).await.len(), 1);

    // What else is kept of it stays, and nothing is started.
    let filed = admin.request(Method::PATCH, &format!("/api/accounts/{id}"));
    let filed = filed.json(&json!({ "group": "Payments", "readApproval": true }));
    assert_eq!(admin.send(filed).await.status, StatusCode::OK);
    for uri in [URI, SPELLED] {
        let again = ensure(&admin, uri).await;
        assert_eq!(again.status, StatusCode::OK, "{again:?}");
        assert_eq!(again.body["id"], id.as_str(), "{again:?}");
        let address = format!("/api/accounts/{id}");
        assert_eq!(again.headers["location"], address.as_str(), "{again:?}");
        assert_eq!(again.body["group"], "Payments", "{again:?}");
        assert_eq!(again.body["readApproval"], true, "{again:?}");
    }
    let enrollments = admin.get("/api/enrollments").await.body;
    assert_eq!(enrollments["enrollments"].as_array().unwrap().len(), 1);

    // Another secret does not take the name, and another name is another account.
    ensure(&admin, OTHER_SECRET)
        .await
        .assert_problem(409, "account-differs");
    let renamed = ensure(&admin, &URI.replace("ann", "anna")).await;
    assert_eq!(renamed.status, StatusCode::CREATED, "{renamed:?}");
    let warning = &renamed.body["warnings"][0];
    assert_eq!(warning["warning"], "duplicate", "{renamed:?}");
    assert_eq!(warning["accounts"][0], id.as_str(), "{renamed:?}");

    // However it came in; and one that was removed is not in use.
    let by_post = admin
        .post(
            "/api/accounts",
            &json!({ "uri": OTHER_SECRET.replace("ann", "bob") }),
        )
        .await;
    let same = ensure(&admin, &OTHER_SECRET.replace("ann", "bob")).await;
    assert_eq!(same.status, StatusCode::OK, "{same:?}");
    assert_eq!(same.body["id"], by_post.body["secretName"]);
    for _ in 0..2 {
        let there = ensure(&admin, URI).await.body["id"].clone();
        let path = format!("/api/accounts/{}", there.as_str().unwrap());
        let gone = admin.delete(&path).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
        let again = ensure(&admin, URI).await;
        assert_eq!(again.status, StatusCode::CREATED, "{again:?}");
        assert_ne!(again.body["id"], there);
    }

    ensure(&admin, "otpauth://totp/Shop:ann")
        .await
        .assert_problem(422, "secret-missing");
    let enroller = app.new_caller("enroller", "enroller");
    ensure(&enroller, URI)
        .await
        .assert_problem(403, "role-missing");
}

#[tokio::test]
async fn what_waits_for_an_approval_is_one_enrollment_however_often_it_is_declared() {
    let app = App::start_with(&["--require-approval"]).await;
    let (admin, boss) = (app.admin(), app.new_caller("boss", "admin"));
    let approver = app.new_caller("approver", "approver");
    let first = ensure(&admin, URI).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{first:?}");
    let id = first.id();
    for caller in [&admin, &boss] {
        let again = ensure(caller, URI).await;
        assert_eq!(again.status, StatusCode::ACCEPTED, "{again:?}");
        assert_eq!(again.id(), id);
        assert!(again.headers.contains_key("location"), "{again:?}");
    }
    // One that was refused is asked for again.
    admin.until_stage(&id, "AwaitingApproval").await;
    approver.decide(&id, false, "not this one").await;
    admin.ended(&id).await;
    let next = ensure(&admin, URI).await;
    assert_eq!(next.status, StatusCode::ACCEPTED, "{next:?}");
    assert_ne!(next.id(), id);
    admin.until_stage(&next.id(), "AwaitingApproval").await;
    approver.decide(&next.id(), true, "").await;
    admin.ended(&next.id()).await;
    let there = ensure(&boss, URI).await;
    assert_eq!(there.status, StatusCode::OK, "{there:?}");
    assert_eq!(there.body["id"], next.id());
}

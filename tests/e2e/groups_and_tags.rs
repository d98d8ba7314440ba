//! Groups and tags: set, kept, listed by, shown on the command line.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::App;

fn names(list: &Value) -> Vec<&str> {
    let accounts = list["accounts"].as_array().unwrap().iter();
    accounts
        .map(|account| account["accountName"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn accounts_are_filed_and_found_again() {
    let mut app = App::start().await;
    let admin = app.admin();
    let mut ids = Vec::new();
    for name in ["ann", "bob", "cat"] {
        let id = admin
            .enroll(&format!("otpauth://totp/{name}?secret=2FASTEST"), false)
            .await;
        assert_eq!(admin.ended(&id).await.body["stage"], "Enrolled");
        ids.push(id);
    }
    let patch = async |id: &str, body: Value| {
        let path = format!("/api/accounts/{id}");
        admin
            .send(admin.request(Method::PATCH, &path).json(&body))
            .await
    };
    let filed = patch(
        &ids[0],
        json!({"group": " Payments ", "tags": ["prod", "eu"]}),
    )
    .await;
    assert_eq!(filed.body["group"], "Payments", "{filed:?}");
    assert_eq!(filed.body["tags"], json!(["eu", "prod"]));
    patch(&ids[1], json!({"tags": ["Prod"]})).await;
    let renamed = patch(&ids[0], json!({"accountName": "anna"})).await;
    assert_eq!(renamed.body["group"], "Payments", "what is left out stays");
    assert_eq!(renamed.body["tags"], json!(["eu", "prod"]));

    for (query, expected) in [
        ("", &["anna", "bob", "cat"][..]),
        ("?tag=PROD", &["anna", "bob"]),
        ("?group=payments", &["anna"]),
        ("?group=Payments&tag=us", &[]),
        ("?tag=prod&search=b", &["bob"]),
    ] {
        let list = admin.get(&format!("/api/accounts{query}")).await;
        assert_eq!(names(&list.body), expected, "{query}");
    }
    let output = app.command(&["list", "--tag", "eu"]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("anna  [Payments, eu, prod]"), "{shown}");

    for wrong in [
        json!({"tags": ["a,b"]}),
        json!({"tags": ["x".repeat(25)]}),
        json!({"group": "x".repeat(65)}),
        json!({"tags": (0..11).map(|n| n.to_string()).collect::<Vec<_>>()}),
    ] {
        patch(&ids[2], wrong)
            .await
            .assert_problem(400, "invalid-parameter");
    }
    app.kill();
    app.launch().await;
    let admin = app.admin();
    let kept = admin.get(&format!("/api/accounts/{}", ids[0])).await;
    assert_eq!(kept.body["tags"], json!(["eu", "prod"]));
    let path = format!("/api/accounts/{}", ids[0]);
    let request = admin.request(Method::PATCH, &path);
    let emptied = admin
        .send(request.json(&json!({"group": null, "tags": []})))
        .await;
    assert_eq!(emptied.body["tags"], json!([]));
    assert!(emptied.body["group"].is_null());
    let recorded = admin.get("/api/audit?action=file&limit=200").await;
    let done = recorded.body["entries"].as_array().unwrap().iter();
    assert_eq!(done.filter(|entry| entry["outcome"] == "done").count(), 3);
}

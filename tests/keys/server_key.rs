//! The server key is rotated while front doors use it.

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::parts::{ADMIN, Installation, program};
use crate::support::{Process, SEED_URI};

/// An enrollment that is started under an idempotency key: its id.
async fn with_key(front_door: &Process, key: &str) -> String {
    let caller = front_door.caller(ADMIN);
    let request = caller
        .request(Method::POST, "/api/enrollments")
        .header("idempotency-key", key)
        .json(&json!({ "uri": SEED_URI }));
    let answer = caller.send(request).await;
    assert!(answer.status.is_success(), "{}", answer.body);
    answer.id()
}

/// A browser that logs in by a link.
struct Browser(String);

impl Browser {
    async fn logs_in(front_door: &Process) -> Self {
        let (_, link) = front_door
            .call(Method::POST, "/api/login-links", Some(json!({})))
            .await;
        let link = link["link"].as_str().unwrap();
        let code = link.split_once("#code=").unwrap().1;
        let request = browser(front_door, Method::POST)
            .header("sec-fetch-site", "same-origin")
            .json(&json!({ "code": code }));
        let begun = request.send().await.unwrap();
        assert_eq!(begun.status(), 200);
        let mut set = begun.headers().get_all("set-cookie").iter();
        let set = set.find_map(|it| it.to_str().ok().filter(|it| !it.contains("Max-Age=0")));
        Self(set.unwrap().split(';').next().unwrap().to_owned())
    }

    async fn status(&self, front_door: &Process) -> StatusCode {
        let request = browser(front_door, Method::GET)
            .header("cookie", &self.0)
            .header("sec-fetch-site", "same-origin");
        request.send().await.unwrap().status()
    }
}

fn browser(front_door: &Process, method: Method) -> RequestBuilder {
    let http = Client::builder().no_proxy().build().unwrap();
    let address = format!("{}/api/session", front_door.announced("server"));
    http.request(method, address)
}

fn lines(data: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(data.join("server.key")).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The audit log is intact; how often the key was changed in it.
async fn rotations(at: &Installation) -> usize {
    let checked = at.tell("audit verify").await;
    assert_eq!(checked["intact"], true, "{checked}");
    let exported = at.tell("audit export").await;
    let entries = exported["entries"].as_array().unwrap().iter();
    entries.filter(|it| it["subject"] == "server-key").count()
}

#[tokio::test]
async fn the_server_key_is_rotated_while_a_front_door_runs_and_what_must_stay_stays() {
    let at = Installation::start().await;
    let _worker = at.run("worker").await;
    let mut front_door = at.run("front-door").await;
    let browser = Browser::logs_in(&front_door).await;
    let first = with_key(&front_door, "a-key-of-a-retry").await;
    // An approver's key that the requester has made is the requester, before and after.
    let waiting = front_door.enroll_with_approval().await;
    let body = Some(json!({"name": "own", "role": "approver"}));
    let (_, made) = front_door.call(Method::POST, "/api/keys", body).await;
    let own = made["key"].as_str().unwrap().to_owned();

    let rotated = at.tell("rotate server-key").await;
    assert_eq!(rotated["resumed"], false, "{rotated}");
    let key = rotated["key"].as_str().unwrap();
    front_door.until_logged(key).await;
    let kinds: Vec<String> = lines(&at.data())
        .iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["derives", "current", "earlier"]);

    assert_eq!(browser.status(&front_door).await, StatusCode::OK);
    assert_eq!(with_key(&front_door, "a-key-of-a-retry").await, first);
    let decide = format!("/api/enrollments/{waiting}/approval");
    let yes = Some(json!({ "approved": true }));
    let (status, refused) = front_door.call_as(&own, Method::POST, &decide, yes).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{refused}");
    assert_eq!(refused["code"], "self-approval-forbidden", "{refused}");
    front_door.enroll().await;
    assert_eq!(rotations(&at).await, 1);

    // Started once more, and a second time without an overlap.
    assert_eq!(front_door.stop().await, Some(0));
    let mut front_door = at.run("front-door").await;
    assert_eq!(browser.status(&front_door).await, StatusCode::OK);
    let again = at.tell("rotate server-key --overlap 0s").await;
    front_door
        .until_logged(again["key"].as_str().unwrap())
        .await;
    assert_eq!(browser.status(&front_door).await, StatusCode::UNAUTHORIZED);
    let browser = Browser::logs_in(&front_door).await;
    assert_eq!(browser.status(&front_door).await, StatusCode::OK);
    assert_eq!(with_key(&front_door, "a-key-of-a-retry").await, first);
    assert_eq!(rotations(&at).await, 2);
}

#[tokio::test]
async fn a_rotation_of_the_server_key_that_is_killed_goes_on_after_any_step() {
    let at = Installation::start().await;
    let _worker = at.run("worker").await;
    let mut front_door = at.run("front-door").await;
    let file = at.data().join("server.key");
    let is_introduced = |text: &str| text.lines().any(|line| line.starts_with("next "));

    // Killed once the key is introduced, and before the audit log names it.
    let rotate = program("rotate server-key", &at.data());
    let mut killed = Process::spawn(rotate, at.folder.path(), "rotate");
    let introduced = killed
        .until("a key is introduced", || {
            let text = std::fs::read_to_string(&file).ok()?;
            is_introduced(&text).then_some(text)
        })
        .await;
    killed.kill();
    assert_eq!(rotations(&at).await, 0);
    front_door.enroll().await;
    assert_eq!(front_door.stop().await, Some(0));
    let mut front_door = at.run("front-door").await;

    // Run again, it goes on with the same key.
    let rotated = at.tell("rotate server-key").await;
    assert_eq!(rotated["resumed"], true, "{rotated}");
    let key = rotated["key"].as_str().unwrap().to_owned();
    front_door.until_logged(&key).await;
    assert_eq!(rotations(&at).await, 1);

    // Ended after the audit log has named it, and before the file does: the file is as before.
    std::fs::write(&file, introduced).unwrap();
    front_door.enroll().await;
    assert_eq!(front_door.stop().await, Some(0));
    let front_door = at.run("front-door").await;
    front_door.enroll().await;
    assert_eq!(rotations(&at).await, 1);
    let rotated = at.tell("rotate server-key").await;
    assert_eq!(rotated["key"], json!(key));
    assert_eq!(rotations(&at).await, 1, "it is named once");
    front_door.enroll().await;
    let checked = at.tell("audit verify").await;
    assert_eq!(checked["intact"], true, "{checked}");
}

#[tokio::test]
async fn server_keys_that_cannot_be_used_are_refused_and_named() {
    let at = Installation::start().await;
    let _worker = at.run("worker").await;
    let mut front_door = at.run("front-door").await;
    let file = at.data().join("server.key");
    let kept = std::fs::read_to_string(&file).unwrap();
    let other = "0f".repeat(32);
    for (text, problem) in [
        (format!("{other}\n"), "keys of another installation"),
        (format!("derives {other}\n"), "cannot be used"),
    ] {
        std::fs::write(&file, text).unwrap();
        front_door.until_logged(problem).await;
    }
    front_door.enroll().await;
    assert_eq!(front_door.stop().await, Some(0));
    let mut refused = Process::spawn(at.command("front-door"), at.folder.path(), "refused");
    assert_ne!(refused.ended().await, Some(0));
    assert!(
        refused.log().contains("server.key cannot be used"),
        "{}",
        refused.log()
    );
    std::fs::write(&file, kept).unwrap();
    let front_door = tokio::time::timeout(Duration::from_secs(60), at.run("front-door"));
    front_door.await.unwrap().enroll().await;
    let verified: Value = at.tell("audit verify").await;
    assert_eq!(verified["intact"], true, "{verified}");
}

//! Keys that are replaced while the other part runs.

use countersign_enrollment::sealed::OpenKey;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::parts::Installation;
use crate::support::{Process, until};

/// Puts a new key in front of those in `seal.key`, and returns its public half.
fn rotate(at: &Installation) -> String {
    let file = at.data().join("seal.key");
    let before = std::fs::read_to_string(&file).unwrap();
    let key = OpenKey::generate().unwrap();
    let now = format!("# new\n{}\n{before}", key.to_text().as_str());
    std::fs::write(&file, now).unwrap();
    key.seal_key().to_text()
}

async fn sealing_key(front_door: &Process) -> String {
    let (status, system) = front_door.call(Method::GET, "/api/system", None).await;
    assert_eq!(status, StatusCode::OK, "{system}");
    system["sealKey"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_front_door_seals_with_another_key_once_a_worker_has_published_it() {
    let at = Installation::start().await;
    let mut worker = at.run("worker").await;
    let front_door = at.run("front-door").await;
    let waiting = front_door.enroll_with_approval().await;
    let first = sealing_key(&front_door).await;

    let public = rotate(&at);
    assert_ne!(public, first);
    assert_eq!(worker.stop().await, Some(0));
    let _worker = at.run("worker").await;
    until(
        || front_door.log(),
        async || (sealing_key(&front_door).await == public).then_some(()),
    )
    .await;
    front_door.enroll().await;

    // What was sealed before still opens.
    let approver = at.approver().await;
    let (status, decided) = front_door
        .call_as(
            &approver,
            Method::POST,
            &format!("/api/enrollments/{waiting}/approval"),
            Some(json!({"approved": true})),
        )
        .await;
    assert_eq!(status, StatusCode::ACCEPTED, "{decided}");
    front_door
        .until_stage("enrollments", &waiting, "Enrolled")
        .await;
}

#[tokio::test]
async fn a_seal_key_is_rotated_while_both_parts_run() {
    let at = Installation::start().await;
    let _worker = at.run("worker").await;
    let front_door = at.run("front-door").await;
    let waiting = front_door.enroll_with_approval().await;
    let first = sealing_key(&front_door).await;
    let rotated = at.tell("rotate seal-key").await;
    assert_eq!(rotated["resumed"], false);
    let text = std::fs::read_to_string(at.data().join("seal.key")).unwrap();
    assert!(
        !text.contains("# next"),
        "nothing is left of the first step"
    );
    until(
        || front_door.log(),
        async || (sealing_key(&front_door).await != first).then_some(()),
    )
    .await;
    // What is sealed with the new key opens, and what was sealed with the one before.
    front_door.enroll().await;
    let approver = at.approver().await;
    let (status, decided) = front_door
        .call_as(
            &approver,
            Method::POST,
            &format!("/api/enrollments/{waiting}/approval"),
            Some(json!({"approved": true})),
        )
        .await;
    assert_eq!(status, StatusCode::ACCEPTED, "{decided}");
    front_door
        .until_stage("enrollments", &waiting, "Enrolled")
        .await;
}

#[tokio::test]
async fn a_public_half_that_cannot_be_used_changes_nothing_and_is_logged() {
    let at = Installation::start().await;
    let _worker = at.run("worker").await;
    let mut front_door = at.run("front-door").await;
    let first = sealing_key(&front_door).await;
    let file = at.data().join("seal.pub");
    for (spoilt, problem) in [("not a key\n", "line 1 is not a key"), ("", "is gone")] {
        std::fs::write(&file, spoilt).unwrap();
        front_door.until_logged(problem).await;
    }
    assert!(front_door.log().contains("keeping the previous key"));
    assert_eq!(sealing_key(&front_door).await, first);
    front_door.enroll().await;
}

#[tokio::test]
async fn a_mandate_key_is_rotated_and_retired_while_both_parts_run() {
    let at = Installation::start().await;
    let mut worker = at.run("worker").await;
    let mut front_door = at.run("front-door").await;
    let list = at.tell("mandate-key list").await;
    let first = list["keys"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(list["keys"][0]["state"], "signs", "{list}");

    let rotated = at.tell("mandate-key rotate").await;
    let second = rotated["id"].as_str().unwrap();
    assert_ne!(second, first);
    front_door.until_logged(second).await;
    worker.until_logged("keys=2").await;
    front_door.enroll().await;

    at.tell(&format!("mandate-key retire {first}")).await;
    let list = at.tell("mandate-key list").await;
    let keys = json!([
        {"id": second, "state": "signs"},
        {"id": first, "state": "retired"},
    ]);
    assert_eq!(list["keys"], keys);
    front_door.enroll().await;
    // The private half is in no file any more; the front door has the new one from its own.
    let private = std::fs::read_to_string(at.data().join("mandate.key")).unwrap();
    assert_eq!(private.lines().count(), 1, "{}", private.lines().count());
}

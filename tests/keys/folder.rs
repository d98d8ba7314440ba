//! Keys in the data folder: which part creates which file, and which waits for another.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};

use crate::parts::{Installation, files, program};
use crate::support::Process;

/// What a worker makes.
const WORKER: [&str; 8] = [
    "fingerprint.key",
    "installation.files",
    "installation.ledger",
    "ledger.sqlite3",
    "seal.key",
    "seal.pub",
    "vault.key",
    "vault.sqlite3",
];
/// What a front door makes.
const FRONT_DOOR: [&str; 9] = [
    "access.sqlite3",
    "audit-head",
    "audit.sqlite3",
    "installation.id",
    "mandate.key",
    "mandate.pub",
    "serve.json",
    "server.key",
    "verify.sqlite3",
];
/// What the scheduler makes.
const SCHEDULER: [&str; 3] = ["hub-token", "scheduler.lock", "scheduler.sqlite3"];

fn names(lists: &[&[&str]]) -> BTreeSet<String> {
    lists
        .iter()
        .copied()
        .flatten()
        .map(|&name| name.to_owned())
        .collect()
}

#[tokio::test]
async fn each_part_makes_its_own_files_and_no_others() {
    let at = Installation::start().await;
    let alone: &[&str] = &["hub.json", "installation.files"];
    assert_eq!(
        files(&at.folder.path().join("hub")),
        names(&[&SCHEDULER, alone])
    );

    let mut worker = at.run("worker").await;
    assert_eq!(at.files(), names(&[&WORKER]));
    let front_door = at.run("front-door").await;
    assert_eq!(at.files(), names(&[&WORKER, &FRONT_DOOR]));

    // Neither makes in use what it does not make at its start.
    let id = front_door.enroll().await;
    let code = format!("/api/tokens?id={id}");
    let (status, _) = front_door.call(Method::GET, &code, None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(at.files(), names(&[&WORKER, &FRONT_DOOR]));
    assert_eq!(worker.stop().await, Some(0));

    // All in one process make the same.
    let data = at.folder.path().join("all");
    let mut all = program("serve", &data);
    for listener in ["--listen", "--scheduler-listen"] {
        all.args([listener, "127.0.0.1:0"]);
    }
    all.args(["--dashboard-listen", "none"]);
    let _all = Process::start(all, at.folder.path(), "serve").await;
    let one_process: &[&str] = &["admin-token", "serve.lock"];
    assert_eq!(
        files(&data),
        names(&[&WORKER, &FRONT_DOOR, &SCHEDULER, one_process])
    );
}

#[tokio::test]
async fn a_front_door_without_a_worker_makes_nothing_and_says_what_to_do() {
    let at = Installation::start().await;
    let mut command = at.command("front-door");
    command.args(["--worker-wait", "300ms"]);
    let mut front_door = Process::spawn(command, at.folder.path(), "front-door");
    assert_eq!(front_door.ended().await, Some(9), "{}", front_door.log());
    assert_eq!(at.files(), BTreeSet::new());
    let log = front_door.log();
    assert!(log.contains("start `countersign worker`"), "{log}");
    assert!(log.contains("seal.pub"), "{log}");
}

#[tokio::test]
async fn a_front_door_that_starts_first_waits_for_its_worker() {
    let at = Installation::start().await;
    let command = at.command("front-door");
    let mut front_door = Process::spawn(command, at.folder.path(), "front-door");
    front_door.until_logged("waiting for a worker").await;
    assert_eq!(at.files(), BTreeSet::new());
    let _worker = at.run("worker").await;
    front_door.ready().await;
    front_door.enroll().await;
}

#[tokio::test]
async fn a_front_door_that_waits_ends_when_it_is_asked_to() {
    let at = Installation::start().await;
    let mut command = at.command("front-door");
    command.args(["--worker-wait", "1h"]);
    let mut front_door = Process::spawn(command, at.folder.path(), "front-door");
    front_door.until_logged("waiting for a worker").await;
    assert_eq!(front_door.stop().await, Some(0), "{}", front_door.log());
}

/// It does not read what it does not make, either.
#[tokio::test]
async fn neither_part_needs_what_is_the_others_alone() {
    let at = Installation::start().await;
    let (data, away) = (at.data(), at.folder.path().join("away"));
    let _worker = at.run("worker").await;
    std::fs::rename(data.join("seal.key"), &away).unwrap();
    let mut front_door = at.run("front-door").await;
    let id = front_door.enroll().await;
    let code = format!("/api/tokens?id={id}");
    let (status, _) = front_door.call(Method::GET, &code, None).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!data.join("seal.key").exists());
    assert_eq!(front_door.stop().await, Some(0));

    std::fs::rename(&away, data.join("seal.key")).unwrap();
    for file in ["server.key", "mandate.key"] {
        std::fs::remove_file(data.join(file)).unwrap();
    }
    let _second = at.run("worker").await;
    assert!(!data.join("server.key").exists());
    assert!(!data.join("mandate.key").exists());
}

#[tokio::test]
async fn a_worker_does_not_replace_a_private_half_that_is_lost() {
    let at = Installation::start().await;
    at.run("worker").await;
    let data = at.data();
    std::fs::remove_file(data.join("seal.key")).unwrap();
    let mut refused = Process::spawn(at.command("worker"), at.folder.path(), "worker");
    assert_eq!(refused.ended().await, Some(1), "{}", refused.log());
    assert!(refused.log().contains("Restore it"), "{}", refused.log());
    assert!(!data.join("seal.key").exists());

    // Unless it is asked to.
    std::fs::remove_file(data.join("seal.pub")).unwrap();
    at.run("worker").await;
    assert_eq!(at.files(), names(&[&WORKER]));
}

#[tokio::test]
async fn a_folder_of_an_earlier_release_gets_what_it_has_not() {
    let at = Installation::start().await;
    let data = at.data();
    at.run("worker").await;
    for file in ["seal.pub", "fingerprint.key", "installation.files"] {
        std::fs::remove_file(data.join(file)).unwrap();
    }
    let before = std::fs::read(data.join("seal.key")).unwrap();
    at.run("worker").await;
    assert_eq!(at.files(), names(&[&WORKER]));
    assert_eq!(std::fs::read(data.join("seal.key")).unwrap(), before);
    at.run("front-door").await;
}

/// As behind a load balancer, with a folder of its own and all that it needs linked in.
#[tokio::test]
async fn a_second_front_door_with_a_folder_of_its_own_does_not_start_on_the_same_vault() {
    let at = Installation::start().await;
    let _worker = at.run("worker").await;
    let _front_door = at.run("front-door").await;
    let (data, other) = (at.data(), at.folder.path().join("other"));
    std::fs::create_dir(&other).unwrap();
    // Without the note of what the other folder has had.
    for file in WORKER.iter().filter(|name| **name != "installation.files") {
        std::os::unix::fs::symlink(data.join(file), other.join(file)).unwrap();
    }
    let refused = async |reason: &str| {
        let command = at.command_on("front-door", &other);
        let mut second = Process::spawn(command, at.folder.path(), "second");
        assert_eq!(second.ended().await, Some(1), "{}", second.log());
        assert!(second.log().contains(reason), "{}", second.log());
    };
    refused("belongs to the data folder").await;
    // Nor does the id of the first one help, as long as it is that one's file.
    let id = other.join("installation.id");
    std::fs::remove_file(&id).unwrap();
    std::os::unix::fs::symlink(data.join("installation.id"), &id).unwrap();
    refused("is a link").await;
}

//! Every key that machines have copies of is rotated while they work, and none of their callers
//! notices.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use countersign::app::{Parts, Running};
use countersign_database::testing::Postgres;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::installation::{ADMIN, Door, Installation, PATIENCE, SECRET, at, clock};

/// The command that rotates each key, and the files of its copies.
const ROTATIONS: [(&[&str], &[&str]); 4] = [
    (&["rotate", "seal-key"], &["seal.key", "seal.pub"]),
    (&["mandate-key", "rotate"], &["mandate.key", "mandate.pub"]),
    (&["rotate", "vault-key"], &["vault.key"]),
    (&["rotate", "server-key"], &["server.key"]),
];

/// Who reads and enrolls at a front door until it is stopped.
fn work(
    door: &Door,
    reads: [(&str, &str); 2],
    stop: &Arc<AtomicBool>,
) -> (Arc<AtomicUsize>, JoinHandle<()>) {
    let rounds = Arc::<AtomicUsize>::default();
    let reads = reads.map(|(path, key)| door.request(Method::GET, path).bearer_auth(key));
    let uri = format!("otpauth://totp/meanwhile?secret={SECRET}");
    let create = door
        .request(Method::POST, "/api/accounts")
        .bearer_auth(ADMIN);
    let create = create.json(&json!({ "uri": uri }));
    let (stop, counted) = (Arc::clone(stop), Arc::clone(&rounds));
    let hand = tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            for request in reads.iter().chain([&create]) {
                succeeds(request).await;
            }
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (rounds, hand)
}

async fn succeeds(request: &RequestBuilder) {
    let answer = request.try_clone().unwrap().send().await.unwrap();
    let (status, url) = (answer.status(), answer.url().clone());
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{url}: {status} {text}");
}

/// Copies files to another machine, each at once, where it has them already.
fn copy(from: &Path, to: &Path, files: &[&str]) {
    for file in files.iter().filter(|file| to.join(file).exists()) {
        let new = to.join(".copied.tmp");
        std::fs::copy(from.join(file), &new).unwrap();
        std::fs::rename(new, to.join(file)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_fails_while_every_key_of_three_machines_is_rotated() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let name = tokio::task::block_in_place(|| server.make());
    let url = at(server.port(), &name);
    let both = Installation::start(&url, &url).await;
    let (one, there) = (both.folder("one"), both.folder("worker"));
    crate::installation::copy_keys(&one, &there);
    for other in ["server.key", "mandate.key"] {
        std::fs::remove_file(there.join(other)).unwrap();
    }
    std::fs::copy(one.join("seal.key"), there.join("seal.key")).unwrap();
    let worker = Running::start_parts(both.third("worker", &url), Parts::Worker, clock());
    let worker = worker.await.unwrap();
    let account = both.one.account("read-throughout").await;
    let reader = both.one.key("reader", "reader", false).await;
    let path = format!("/api/tokens?id={account}");
    let reads = [(path.as_str(), reader.as_str()), (&path, ADMIN)];
    let uri = format!("otpauth://totp/waiting?secret={SECRET}");
    let wait = "/api/enrollments?approval=required";
    let asked = both
        .one
        .done(Method::POST, wait, ADMIN, json!({ "uri": uri }));
    let waiting = asked.await["id"].as_str().unwrap().to_owned();

    let stop = Arc::new(AtomicBool::new(false));
    let hands = [&both.one, &both.other].map(|door| work(door, reads, &stop));
    let works_on = async || {
        for (rounds, hand) in &hands {
            let (before, begun) = (rounds.load(Ordering::Relaxed), Instant::now());
            // Enough for each of two workers to have had its share.
            while rounds.load(Ordering::Relaxed) < before + 3 {
                assert!(!hand.is_finished(), "a call has failed");
                assert!(begun.elapsed() < PATIENCE, "nobody works on");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    works_on().await;
    for (words, files) in ROTATIONS {
        let rotate = |more: &[&str]| both.run("one", &url, &[words, more, &["--json"]].concat());
        let spread = || {
            for machine in ["other", "worker"] {
                copy(&one, &both.folder(machine), files);
            }
        };
        // As often as it is run, nothing uses the new key before it is copied.
        let said = [rotate(&[]), rotate(&[])].map(|output| {
            assert_eq!(output.status.code(), Some(4), "{words:?}: {output:?}");
            serde_json::from_slice::<Value>(&output.stdout).unwrap()
        });
        assert_eq!(said[0]["next"], "copy", "{}", said[0]);
        assert_eq!(said[0]["newKey"], said[1]["newKey"]);
        works_on().await;
        spread();
        works_on().await;
        let rotated = rotate(&["--copied"]);
        assert!(rotated.status.success(), "{words:?}: {rotated:?}");
        // The others have the files of before for a while.
        works_on().await;
        spread();
        works_on().await;
    }
    let agreed = both.local_key("second", "approver").await;
    let decide = format!("/api/enrollments/{waiting}/approval");
    let yes = json!({ "approved": true });
    let decided = both.other.send(Method::POST, &decide, &agreed, yes).await;
    assert_eq!(decided.status(), 202);
    stop.store(true, Ordering::Relaxed);
    for (_, hand) in hands {
        hand.await.unwrap();
    }
    let checked = both.run("other", &url, &["audit", "verify", "--json"]);
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(checked["intact"], true, "{checked}");
    worker.stop().await.unwrap();
    both.stop().await;
}

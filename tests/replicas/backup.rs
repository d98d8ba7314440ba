//! An installation in a database is backed up while two front doors work on it, and comes back in
//! another database or in a data folder.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use countersign::app::{Parts, Running};
use countersign_database::DatabaseUrl;
use countersign_database::testing::{Postgres, Setup};
use reqwest::Method;
use serde_json::{Value, json};

use crate::installation::{ADMIN, Door, Installation, PATIENCE, SECRET, at, clock, config, door};

/// Who can open the backups, and where they are.
struct Place {
    folder: tempfile::TempDir,
    recipient: String,
}

impl Place {
    fn new() -> Self {
        use age::secrecy::ExposeSecret as _;
        let folder = tempfile::tempdir().unwrap();
        let identity = age::x25519::Identity::generate();
        std::fs::write(
            folder.path().join("key"),
            identity.to_string().expose_secret(),
        )
        .unwrap();
        let recipient = identity.to_public().to_string();
        Self { folder, recipient }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn create(&self, folder: &Path, url: &DatabaseUrl, name: &str) -> Command {
        let file = self.file(name);
        let words = ["backup", "create", &file, "--recipient", &self.recipient];
        command(folder, Some(url), &words)
    }

    fn restore(&self, folder: &Path, url: Option<&DatabaseUrl>, name: &str) -> Output {
        let (file, key) = (self.file(name), self.file("key"));
        let words = ["backup", "restore", &file, "--identity", &key];
        output(command(folder, url, &words))
    }
}

fn command(folder: &Path, url: Option<&DatabaseUrl>, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .args(words)
        .arg("--json")
        .arg("--data-dir")
        .arg(folder);
    command.env("COUNTERSIGN_ADMIN_TOKEN", ADMIN);
    if let Some(url) = url {
        command.env("COUNTERSIGN_DATABASE_URL", url.to_string());
    }
    command
}

fn output(mut command: Command) -> Output {
    tokio::task::block_in_place(|| command.output().unwrap())
}

fn printed(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The code of an account, and when it begins.
async fn code(door: &Door, account: &str, key: &str) -> Value {
    let path = format!("/api/tokens?detail=true&id={account}");
    let read = door.get(&path, key).await;
    assert_eq!(read.status(), 200, "{account}");
    let read: Value = read.json().await.unwrap();
    json!([read["validFrom"], read["token"]])
}

async fn assert_same_code(one: &Door, other: &Door, account: &str, key: &str) {
    loop {
        let (here, there) = (
            code(one, account, key).await,
            code(other, account, key).await,
        );
        if here[0] == there[0] {
            assert_eq!(here, there, "{account}");
            return;
        }
    }
}

async fn retried(door: &Door, key: &str) -> String {
    let request = door.request(Method::POST, "/api/enrollments");
    let request = request.bearer_auth(ADMIN).header("idempotency-key", key);
    let uri = format!("otpauth://totp/retried?secret={SECRET}");
    let answer = request.json(&json!({ "uri": uri })).send().await.unwrap();
    assert!(answer.status().is_success());
    let answer: Value = answer.json().await.unwrap();
    answer["id"].as_str().unwrap().to_owned()
}

/// Whether a file in this folder contains a text.
fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => holds(&path, text),
            false => memchr::memmem::find(&std::fs::read(path).unwrap(), text.as_bytes()).is_some(),
        }
    })
}

/// Rotates the server key, which both machines have copies of.
fn rotate_server_key(both: &Installation, url: &DatabaseUrl) {
    let copy = || {
        let from = both.folder("one").join("server.key");
        std::fs::copy(from, both.folder("other").join("server.key")).unwrap();
    };
    let begun = both.run("one", url, &["rotate", "server-key"]);
    assert_eq!(begun.status.code(), Some(4), "{begun:?}");
    copy();
    let done = both.run("one", url, &["rotate", "server-key", "--copied"]);
    assert!(done.status.success(), "{done:?}");
    copy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_comes_back_in_another_database_and_in_a_folder() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let names: [String; 2] = std::array::from_fn(|_| tokio::task::block_in_place(|| server.make()));
    let [url, empty] = names.map(|name| at(server.port(), &name));
    let both = Installation::start(&url, &url).await;
    let (one, other, place) = (&both.one, &both.other, Place::new());
    let mut accounts = Vec::new();
    for number in 0..5 {
        accounts.push(one.account(&format!("account-{number}")).await);
    }
    let guarded = format!("/api/accounts/{}", accounts[0]);
    one.done(
        Method::PATCH,
        &guarded,
        ADMIN,
        json!({"readApproval": true}),
    )
    .await;
    let leased = one.key("leased", "reader", true).await;
    let grant = json!({"caller": "leased", "account": accounts[1], "reads": 3});
    one.done(Method::POST, "/api/grants", ADMIN, grant).await;
    code(other, &accounts[1], &leased).await;
    let reader = one.key("reader", "reader", false).await;
    let revoked = one.key("revoked", "reader", false).await;
    other
        .done(Method::DELETE, "/api/keys/revoked", ADMIN, json!({}))
        .await;
    let uri = format!("otpauth://totp/waiting?secret={SECRET}");
    let path = "/api/enrollments?approval=required";
    let waiting = one
        .done(Method::POST, path, ADMIN, json!({ "uri": uri }))
        .await;
    let waiting = format!("/api/enrollments/{}", waiting["id"].as_str().unwrap());
    let first = retried(other, "monday").await;
    rotate_server_key(&both, &url);

    // Meanwhile others go on enrolling and reading, at both.
    let busy = Arc::new(AtomicBool::new(true));
    let load = [one, other].map(|door| {
        let create = door.request(Method::POST, "/api/accounts");
        let read = door.request(Method::GET, &format!("/api/tokens?id={}", accounts[2]));
        let (create, read) = (create.bearer_auth(ADMIN), read.bearer_auth(ADMIN));
        let busy = Arc::clone(&busy);
        tokio::spawn(async move {
            let mut number = 0;
            while busy.load(Ordering::Relaxed) || number == 0 {
                let uri = format!("otpauth://totp/meanwhile-{number}?secret={SECRET}");
                let create = create.try_clone().unwrap().json(&json!({ "uri": uri }));
                assert!(create.send().await.unwrap().status().is_success());
                let read = read.try_clone().unwrap().send().await.unwrap();
                assert!(read.status().is_success());
                number += 1;
            }
        })
    });
    let made = printed(&output(place.create(
        &both.folder("one"),
        &url,
        "today.age",
    )));
    busy.store(false, Ordering::Relaxed);
    for hand in load {
        hand.await.unwrap();
    }
    assert!(
        made["contents"]["accounts"].as_u64().unwrap() >= 6,
        "{made}"
    );
    assert_eq!(made["contents"]["embeddedHub"], true, "{made}");
    assert!(!holds(place.folder.path(), SECRET));
    for machine in ["one", "other"] {
        assert!(!holds(&both.folder(machine), SECRET));
    }
    // A machine that lacks a key makes none.
    let lacking = output(place.create(&both.folder("other"), &url, "half.age"));
    assert!(
        refused(&lacking).contains("seal.key is missing"),
        "{lacking:?}"
    );
    assert!(!Path::new(&place.file("half.age")).exists());

    // Not where there is one already.
    let there = both.folder("restored");
    let used = place.restore(&there, Some(&url), "today.age");
    assert!(refused(&used).contains("is not empty"), "{used:?}");
    assert!(!there.exists(), "nothing was written");
    let restored = printed(&place.restore(&there, Some(&empty), "today.age"));
    assert_eq!(restored["contents"], made["contents"]);
    assert_eq!(restored["grantsTakenBack"], 1);
    let used = place.restore(&both.folder("again"), Some(&empty), "today.age");
    assert!(refused(&used).contains("is not empty"), "{used:?}");
    let folder = both.folder("alone");
    printed(&place.restore(&folder, None, "today.age"));

    for url in [Some(&empty), None] {
        let mut settings = config(url.map_or(&folder, |_| &there), &empty);
        if url.is_none() {
            settings.database = None;
        }
        let data = settings.data_dir.clone();
        let running = Running::start_parts(settings, Parts::Everything, clock());
        let running = running.await.unwrap();
        let door = door(&running);
        door.until("/readyz", ADMIN, 200, PATIENCE).await;
        for account in &accounts[1..] {
            assert_same_code(one, &door, account, &reader).await;
        }
        let read = |account: &str| format!("/api/tokens?id={account}");
        assert_eq!(door.status(&read(&accounts[0]), &reader).await, 403);
        assert_eq!(door.status(&read(&accounts[1]), &revoked).await, 401);
        // Its grant was counted, and is revoked: the account is unknown to it.
        assert_eq!(door.status(&read(&accounts[1]), &leased).await, 404);
        assert_eq!(retried(&door, "monday").await, first);
        // What waits is decided there, by someone whose key no administrator has made.
        let make = ["key", "create", "second", "--role", "approver"];
        let approver = printed(&output(command(&data, url, &make)));
        let approver = approver["key"].as_str().unwrap();
        let decide = format!("{waiting}/approval");
        let yes = json!({"approved": true});
        let decided = door.send(Method::POST, &decide, approver, yes).await;
        assert_eq!(decided.status(), 202);
        let begun = Instant::now();
        loop {
            let state: Value = door.get(&waiting, ADMIN).await.json().await.unwrap();
            if state["stage"] == "Enrolled" {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{state}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        door.account("after it").await;
        let checked = printed(&output(command(&data, url, &["audit", "verify"])));
        assert_eq!(checked["intact"], true);
        running.stop().await.unwrap();
    }
    both.stop().await;
}

/// A backup that is killed, or whose database restarts, leaves the installation as it was, and the
/// next one is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_killed_or_loses_its_database_leaves_nothing_that_matters() {
    let Some(mut server) = tokio::task::block_in_place(|| Postgres::start(Setup::default())) else {
        return;
    };
    let name = tokio::task::block_in_place(|| server.make());
    let url = at(server.port(), &name);
    let both = Installation::start(&url, &url).await;
    let place = Place::new();
    let account = both.one.account("kept").await;
    let folder = both.folder("one");
    for kill_after in [0, 20, 60, 120, 250, 500] {
        let mut create = place.create(&folder, &url, &format!("killed-{kill_after}.age"));
        create.stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = create.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(kill_after)).await;
        running.kill().unwrap();
        running.wait().unwrap();
        assert!(!holds(place.folder.path(), SECRET) && !holds(&folder, SECRET));
    }
    let path = format!("/api/tokens?id={account}");
    assert_eq!(both.other.status(&path, ADMIN).await, 200);

    // Without its database there is no backup, and nothing that looks like one.
    tokio::task::block_in_place(|| server.stop().unwrap());
    let failed = output(place.create(&folder, &url, "without.age"));
    assert!(refused(&failed).contains("cannot be reached"), "{failed:?}");
    assert!(!Path::new(&place.file("without.age")).exists());
    tokio::task::block_in_place(|| server.start_again().unwrap());
    both.one.until(&path, ADMIN, 200, PATIENCE).await;
    let made = printed(&output(place.create(&folder, &url, "whole.age")));
    assert_eq!(made["contents"]["accounts"], 1);
    let left = std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap());
    let mut left = left.map(|entry| entry.file_name().into_string().unwrap());
    assert!(!left.any(|name| name.starts_with(".backup")));
    both.stop().await;
}

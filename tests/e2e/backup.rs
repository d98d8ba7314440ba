//! An installation is backed up while it works, and restored somewhere else: every code, every
//! approval, the whole audit log; and nothing that may have been used up since.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use crate::leak::assert_nowhere;
use crate::request_helpers::{ask, decide, until, use_it};
use crate::support::{App, Caller, Process, SEED_URI, countersign, unix_now};

/// An identity and its recipient, as `age-keygen` writes them.
struct Keys {
    folder: tempfile::TempDir,
    recipient: String,
}

impl Keys {
    fn new() -> Self {
        use age::secrecy::ExposeSecret as _;
        let folder = tempfile::tempdir().unwrap();
        let identity = age::x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        let text = format!(
            "# public key: {recipient}\n{}\n",
            identity.to_string().expose_secret()
        );
        fs::write(folder.path().join("key"), text).unwrap();
        Self { folder, recipient }
    }

    fn file(&self) -> String {
        self.folder.path().join("key").display().to_string()
    }

    fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn printed(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn said(output: &std::process::Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn create(app: &App, keys: &Keys, to: &Path) -> Value {
    let to = to.display().to_string();
    let args = [
        "backup",
        "create",
        &to,
        "--recipient",
        &keys.recipient,
        "--json",
    ];
    printed(&app.command(&args))
}

fn restore(app: &App, keys: &Keys, from: &Path) -> Value {
    let from = from.display().to_string();
    let args = [
        "backup",
        "restore",
        &from,
        "--identity",
        &keys.file(),
        "--json",
    ];
    printed(&app.command(&args))
}

/// An account's code now, and when the next one begins.
async fn code(caller: &Caller, account: &str) -> (Value, Value) {
    let told = caller.get(&format!("/api/accounts/{account}/token")).await;
    assert_eq!(told.status, 200, "{told:?}");
    (told.body["token"].clone(), told.body["validUntil"].clone())
}

/// That both give the same code at the same time.
async fn assert_same_code(one: &Caller, other: &Caller, account: &str) {
    loop {
        let (first, second) = (code(one, account).await, code(other, account).await);
        if first.1 == second.1 {
            assert_eq!(first.0, second.0, "{account}");
            return;
        }
    }
}

async fn set(admin: &Caller, account: &str, body: Value) {
    let path = format!("/api/accounts/{account}");
    let answer = admin
        .send(admin.request(Method::PATCH, &path).json(&body))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_under_load_is_restored_with_every_code_and_approval() {
    let (app, keys) = (App::start().await, Keys::new());
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let marker = "LEAKMARKERSECRETLEAKMARKERSECRET";
    let mut accounts = Vec::new();
    for number in 0..10 {
        let uri = format!("otpauth://totp/before-{number}?secret={marker}&issuer=Drill");
        accounts.push(admin.enroll(&uri, false).await);
    }
    for account in &accounts {
        assert_eq!(admin.ended(account).await.body["stage"], "Enrolled");
    }
    set(&admin, &accounts[0], json!({"readApproval": true})).await;
    let waiting = admin.enroll(SEED_URI, true).await;
    admin.until_stage(&waiting, "AwaitingApproval").await;
    let asked = ask(&admin, &accounts[1], json!({"kind": "export"})).await;
    until(&admin, &asked, "AwaitingApproval").await;
    let granted = ask(&admin, &accounts[0], json!({"kind": "read", "reads": 3})).await;
    until(&admin, &granted, "AwaitingApproval").await;
    decide(&approver, &granted, true).await;
    until(&admin, &granted, "Granted").await;

    // Meanwhile others go on enrolling and reading.
    let busy = Arc::new(AtomicBool::new(true));
    let load: Vec<_> = (0..3)
        .map(|hand| {
            let (admin, busy, read) = (admin.clone(), Arc::clone(&busy), accounts[2].clone());
            tokio::spawn(async move {
                let mut number = 0;
                while busy.load(Ordering::Relaxed) {
                    let uri = format!(
                        "otpauth://totp/meanwhile-{hand}-{number}?secret={marker}&issuer=Drill"
                    );
                    admin.enroll(&uri, false).await;
                    code(&admin, &read).await;
                    number += 1;
                }
                number
            })
        })
        .collect();
    let file = keys.place("today.age");
    let made = create(&app, &keys, &file);
    busy.store(false, Ordering::Relaxed);
    for hand in load {
        assert!(hand.await.unwrap() > 0);
    }
    assert!(
        made["contents"]["accounts"].as_u64().unwrap() >= 10,
        "{made}"
    );
    let verify = verified(&file, &keys);
    assert_eq!(verify["contents"], made["contents"]);
    assert_eq!(verify["whole"], true);
    assert_nowhere(marker, keys.folder.path());
    assert_nowhere(marker, &app.data_dir());

    // On an empty machine, while the other one still answers.
    let mut restored = App::nowhere();
    let told = restore(&restored, &keys, &file);
    assert_eq!(told["contents"], made["contents"]);
    assert_eq!(told["requestsWithdrawn"], json!([granted]));
    restored.launch().await;
    let there = restored.with_token_of(&admin);
    for account in &accounts[1..] {
        assert_same_code(&admin, &there, account).await;
    }
    let guarded = there
        .get(&format!("/api/accounts/{}/token", accounts[0]))
        .await;
    guarded.assert_problem(403, "approval-needed");
    // What was granted may have been used since: it is not given out a second time.
    use_it(&there, &granted, "code")
        .await
        .assert_problem(409, "not-granted");
    // What waited waits, and is decided there.
    let approver = restored.with_token_of(&approver);
    until(&there, &asked, "AwaitingApproval").await;
    there.until_stage(&waiting, "AwaitingApproval").await;
    assert_eq!(approver.decide(&waiting, true, "").await.status, 202);
    assert_eq!(there.ended(&waiting).await.body["stage"], "Enrolled");
    assert_eq!(decide(&approver, &asked, true).await.status, 202);
    until(&there, &asked, "Granted").await;
    assert_eq!(use_it(&there, &asked, "export").await.status, 200);
    assert!(restored.command(&["audit", "verify"]).status.success());
    for action in ["backup", "restore-backup"] {
        let told = there.get(&format!("/api/audit?action={action}")).await;
        assert_eq!(told.body["entries"][0]["caller"], "local", "{told:?}");
    }
    // A folder that is used takes no backup.
    let refused = restored.command(&[
        "backup",
        "restore",
        &file.display().to_string(),
        "--identity",
        &keys.file(),
    ]);
    assert!(said(&refused).contains("is not empty"), "{refused:?}");
}

fn verified(file: &Path, keys: &Keys) -> Value {
    let output = std::process::Command::new(crate::support::BINARY)
        .args(["backup", "verify"])
        .arg(file)
        .args(["--identity", &keys.file(), "--json"])
        .output();
    printed(&output.unwrap())
}

#[tokio::test]
async fn what_is_no_whole_backup_is_refused_and_leaves_nothing() {
    let (app, keys, others) = (App::start().await, Keys::new(), Keys::new());
    let admin = app.admin();
    let account = admin.enroll(SEED_URI, false).await;
    admin.ended(&account).await;
    let file = keys.place("whole.age");
    create(&app, &keys, &file);
    let mode = |path: &Path| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
    };
    assert_eq!(mode(&file), 0o600);
    let whole = fs::read(&file).unwrap();
    let place = file.display().to_string();

    // It is said who can open it, or twice that everyone can.
    let create = |args: &[&str]| {
        let args = [&["backup", "create"], args].concat();
        app.command(&args)
    };
    let elsewhere = keys.place("other.age").display().to_string();
    for wrong in [
        &[elsewhere.as_str()][..],
        &[&elsewhere, "--unencrypted"],
        &[&elsewhere, "--with-all-secrets-in-clear"],
        &[&elsewhere, "--recipient", "age1nonsense"],
    ] {
        let refused = create(wrong);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
    let again = create(&[&place, "--recipient", &keys.recipient]);
    assert!(said(&again).contains("exists already"), "{again:?}");
    assert!(!Path::new(&elsewhere).exists());
    assert_eq!(fs::read(&file).unwrap(), whole);

    let target = App::nowhere();
    let restore = |file: &Path, identity: Option<&Keys>| {
        let (file, key) = (file.display().to_string(), identity.map(Keys::file));
        let mut args = vec!["backup", "restore", &file];
        args.extend(
            key.as_deref()
                .into_iter()
                .flat_map(|key| ["--identity", key]),
        );
        target.command(&args)
    };
    for stranger in [None, Some(&others)] {
        let refused = said(&restore(&file, stranger));
        assert!(refused.contains("identities"), "{refused}");
    }
    let spoilt = keys.place("spoilt.age");
    let middle = whole.len() / 2;
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    for bytes in [
        Vec::new(),
        whole[..middle].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        changed(middle),
        changed(whole.len() - 20),
        b"something else".to_vec(),
    ] {
        fs::write(&spoilt, bytes).unwrap();
        let refused = said(&restore(&spoilt, Some(&keys)));
        assert!(refused.contains("is not a complete backup"), "{refused}");
        assert!(!target.data_dir().exists(), "nothing of it is left");
    }

    // In clear it holds every secret, which is what was said twice; nothing in it is changed.
    let clear = keys.place("clear.tar");
    let made = create(&[
        &clear.display().to_string(),
        "--unencrypted",
        "--with-all-secrets-in-clear",
    ]);
    assert!(made.status.success(), "{made:?}");
    let mut bytes = fs::read(&clear).unwrap();
    let token = app.admin_token();
    let at = memchr::memmem::find(&bytes, token.as_bytes()).unwrap();
    bytes[at] ^= 1;
    fs::write(&spoilt, bytes).unwrap();
    let refused = said(&restore(&spoilt, None));
    assert!(refused.contains("admin-token was changed"), "{refused}");
    assert!(!target.data_dir().exists());
    assert!(restore(&clear, None).status.success());

    // A restore that was cut off is noticed, and begun again.
    fs::write(target.data_dir().join("restore-unfinished"), "").unwrap();
    let started = target.command(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(said(&started).contains("backup restore"), "{started:?}");
    assert!(restore(&file, Some(&keys)).status.success());
    assert!(!target.data_dir().join("restore-unfinished").exists());
}

#[tokio::test]
async fn what_a_killed_backup_has_left_is_removed_by_the_next_one_and_what_is_in_use_is_not() {
    let (app, keys) = (App::start().await, Keys::new());
    let [killed, running] = ["0123456789abcdef", "fedcba9876543210"].map(|tag| {
        let copies = app.data_dir().join(format!(".backup.{tag}.tmp"));
        fs::create_dir(&copies).unwrap();
        fs::write(copies.join("vault.sqlite3"), "a copy").unwrap();
        copies
    });
    let held = fs::File::open(&running).unwrap();
    held.lock().unwrap();
    create(&app, &keys, &keys.place("today.age"));
    assert!(!killed.exists() && running.exists());
    drop(held);
    create(&app, &keys, &keys.place("tomorrow.age"));
    assert!(!running.exists());
}

#[tokio::test]
async fn what_happened_after_the_backup_is_not_believed_and_not_repeated() {
    let (mut app, keys) = (App::start().await, Keys::new());
    let admin = app.admin();
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    let account = admin.enroll(SEED_URI, false).await;
    admin.ended(&account).await;
    set(&admin, &account, json!({"readApproval": true})).await;
    let other = admin.enroll(SEED_URI, false).await;
    admin.ended(&other).await;
    let asked = ask(&admin, &account, json!({"kind": "read", "reads": 1})).await;
    until(&admin, &asked, "AwaitingApproval").await;
    let waiting = admin.enroll(SEED_URI, true).await;
    admin.until_stage(&waiting, "AwaitingApproval").await;
    let file = keys.place("before.age");
    create(&app, &keys, &file);

    // Afterwards: it is approved and used up, something is stored, and a code is accepted once.
    decide(&approver, &asked, true).await;
    until(&admin, &asked, "Granted").await;
    assert_eq!(use_it(&admin, &asked, "code").await.status, 200);
    assert_eq!(approver.decide(&waiting, true, "").await.status, 202);
    assert_eq!(admin.ended(&waiting).await.body["stage"], "Enrolled");
    let (accepted, _) = code(&admin, &other).await;
    let verify = format!("/api/accounts/{other}/verify");
    let right = admin.post(&verify, &json!({ "token": accepted })).await;
    assert_eq!(right.body["valid"], true, "{right:?}");
    let accepted_at = unix_now();
    assert_eq!(app.stop().await, Some(0));

    // The hub is the later one: it has a decision and an end of which the ledger has
    // none.
    let mut restored = App::nowhere();
    restore(&restored, &keys, &file);
    let hub = "scheduler.sqlite3";
    fs::copy(app.data_dir().join(hub), restored.data_dir().join(hub)).unwrap();
    restored.launch().await;
    let (there, approver) = (
        restored.with_token_of(&admin),
        restored.with_token_of(&approver),
    );
    let again = use_it(&there, &asked, "code").await;
    assert!(again.status.is_client_error(), "{again:?}");
    let missing = there.get(&format!("/api/accounts/{waiting}")).await;
    missing.assert_problem(404, "account-unknown");
    let late = decide(&approver, &asked, true).await;
    assert!(late.status.is_client_error(), "{late:?}");
    // The code that was accepted before is not accepted a second time.
    let right = there.post(&verify, &json!({ "token": accepted })).await;
    assert_eq!(right.body["valid"], false, "{right:?}");
    assert!(unix_now() < accepted_at + 60, "it was looked at too late");
    assert!(restored.command(&["audit", "verify"]).status.success());
}

/// Starts an enrollment under an idempotency key: its id.
async fn retried(caller: &Caller, key: &str) -> String {
    let request = caller.request(Method::POST, "/api/enrollments");
    let request = request.header("idempotency-key", key);
    let answer = caller.send(request.json(&json!({ "uri": SEED_URI }))).await;
    assert!(answer.status.is_success(), "{answer:?}");
    answer.id()
}

/// What the lines of the server keys are for.
fn kinds(app: &App) -> Vec<String> {
    let text = fs::read_to_string(app.data_dir().join("server.key")).unwrap();
    let words = text.lines().map(|line| line.split(' ').next().unwrap());
    words.map(str::to_owned).collect()
}

/// Begins to rotate the server key, and is killed before the audit log names another one.
async fn begin_rotation(app: &App) {
    let command = countersign(&app.data_dir(), &["rotate", "server-key"]);
    let mut rotation = Process::spawn(command, app.folder(), "rotation");
    let is_begun = || kinds(app).contains(&"next".to_owned()).then_some(());
    rotation.until("a key is introduced", is_begun).await;
    rotation.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rotated_server_keys_come_back_with_codes_audit_log_and_pseudonyms() {
    let (mut app, keys) = (App::start().await, Keys::new());
    let admin = app.admin();
    let mut accounts = Vec::new();
    for number in 0..3 {
        let uri = format!("otpauth://totp/ring-{number}?secret=GEZDGNBVGY3TQOJQ&issuer=Drill");
        accounts.push(admin.enroll(&uri, false).await);
        assert_eq!(
            admin.ended(&accounts[number]).await.body["stage"],
            "Enrolled"
        );
    }
    let first = retried(&admin, "monday").await;
    // A key that the requester has made is the requester, by a pseudonym.
    let own = json!({"name": "own", "role": "approver"});
    let own = admin.post("/api/keys", &own).await.body["key"].clone();
    let own = app.caller(own.as_str());
    let waiting = admin.enroll(SEED_URI, true).await;
    admin.until_stage(&waiting, "AwaitingApproval").await;
    printed(&app.command(&["rotate", "server-key", "--json"]));
    let between = admin.enroll(SEED_URI, false).await;
    assert_eq!(admin.ended(&between).await.body["stage"], "Enrolled");
    accounts.push(between);
    printed(&app.command(&["rotate", "server-key", "--json"]));
    assert_eq!(kinds(&app), ["derives", "current", "earlier", "earlier"]);
    code(&admin, &accounts[0]).await;

    // One backup after the rotations, and one in the middle of a third one.
    let (after, during) = (keys.place("after.age"), keys.place("during.age"));
    let head = create(&app, &keys, &after)["contents"]["auditHead"].clone();
    assert_eq!(verified(&after, &keys)["contents"]["auditHead"], head);
    begin_rotation(&app).await;
    let introduced = kinds(&app);
    assert_eq!(introduced[2], "next", "{introduced:?}");
    create(&app, &keys, &during);

    for (file, lines) in [(&after, 4), (&during, 5)] {
        let mut restored = App::nowhere();
        restore(&restored, &keys, file);
        restored.launch().await;
        let there = restored.with_token_of(&admin);
        for account in &accounts {
            assert_same_code(&admin, &there, account).await;
        }
        assert_eq!(kinds(&restored).len(), lines);
        assert_eq!(retried(&there, "monday").await, first);
        let own = restored.with_token_of(&own);
        let refused = own.decide(&waiting, true, "").await;
        refused.assert_problem(403, "self-approval-forbidden");
        let audit = printed(&restored.command(&["audit", "verify", "--json"]));
        assert_eq!(audit["intact"], true, "{audit}");
        let known = head.as_str().unwrap();
        let since = restored.command(&["audit", "verify", "--head", known]);
        assert!(since.status.success(), "{since:?}");
        // What was begun goes on, and what is rotated once more is verified.
        let rotated = printed(&restored.command(&["rotate", "server-key", "--json"]));
        assert_eq!(rotated["resumed"], lines == 5, "{rotated}");
        assert_eq!(there.get("/api/audit?limit=1").await.status, 200);
        let audit = printed(&restored.command(&["audit", "verify", "--json"]));
        assert_eq!(audit["intact"], true, "{audit}");
        assert_eq!(retried(&there, "monday").await, first);
        assert_eq!(restored.stop().await, Some(0));
    }
    assert_eq!(app.stop().await, Some(0));
}

#[tokio::test]
async fn a_folder_copied_without_a_log_is_refused_whichever_it_is() {
    let mut app = App::start().await;
    let admin = app.admin();
    let account = admin.enroll(SEED_URI, false).await;
    admin.ended(&account).await;
    code(&admin, &account).await;
    let databases = [
        "vault.sqlite3",
        "access.sqlite3",
        "verify.sqlite3",
        "ledger.sqlite3",
        "audit.sqlite3",
        "scheduler.sqlite3",
    ];
    let copied = |without: Option<&str>| {
        let copy = App::nowhere();
        fs::create_dir(copy.data_dir()).unwrap();
        for entry in fs::read_dir(app.data_dir()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let log = without.map(|database| format!("{database}-wal"));
            if Some(&name) != log.as_ref() && !name.ends_with("-shm") && name != "serve.json" {
                fs::copy(app.data_dir().join(&name), copy.data_dir().join(&name)).unwrap();
            }
        }
        copy
    };
    for database in databases {
        let copy = copied(Some(database));
        let refused = copy.command(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--scheduler-listen",
            "127.0.0.1:0",
            "--dashboard-listen",
            "none",
        ]);
        let said = said(&refused);
        assert!(said.contains(database), "{database}: {said}");
        assert!(said.contains("-wal is missing"), "{database}: {said}");
    }
    // With its logs it is what a machine keeps that lost its power.
    let mut whole = copied(None);
    whole.launch().await;
    code(&whole.with_token_of(&admin), &account).await;
    // A server that was stopped leaves files that are whole by themselves.
    assert_eq!(app.stop().await, Some(0));
    let mut alone = App::nowhere();
    fs::create_dir(alone.data_dir()).unwrap();
    for entry in fs::read_dir(app.data_dir()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !["-wal", "-shm", "-lock"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            fs::copy(app.data_dir().join(&name), alone.data_dir().join(&name)).unwrap();
        }
    }
    alone.launch().await;
    code(&alone.with_token_of(&admin), &account).await;
}

#[tokio::test]
async fn every_file_of_a_data_folder_is_in_its_backup_or_known_not_to_be() {
    let (app, keys) = (App::start().await, Keys::new());
    let admin = app.admin();
    let account = admin.enroll(SEED_URI, false).await;
    admin.ended(&account).await;
    fs::write(app.data_dir().join("mine.txt"), "an operator's own").unwrap();
    let made = create(&app, &keys, &keys.place("today.age"));
    assert_eq!(made["leftOut"], json!(["mine.txt"]));
}

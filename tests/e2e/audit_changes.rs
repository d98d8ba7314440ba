//! The audit log says what was changed, from what and to what, and a log that lost entries is
//! noticed and not gone on with.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{App, BINARY, Caller, SEED_URI};

async fn patch(admin: &Caller, id: &str, body: Value) {
    let request = admin.request(Method::PATCH, &format!("/api/accounts/{id}"));
    let answer = admin.send(request.json(&body)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

/// Action, outcome and changes of the entries about something, as `field: from > to`.
async fn told(admin: &Caller, subject: &str) -> Vec<String> {
    let page = admin
        .get(&format!("/api/audit?subject={subject}&limit=200"))
        .await;
    let entries = page.body["entries"].as_array().unwrap();
    let by_itself = |entry: &&Value| entry["action"] == "enroll" || entry["caller"] == "worker";
    let entries = entries.iter().filter(|entry| !by_itself(entry));
    entries
        .map(|entry| {
            let changes = entry["changes"].as_array().cloned().unwrap_or_default();
            let changes = changes.iter().map(|change| {
                let value = |name: &str| match &change[name] {
                    Value::Null => "-".to_owned(),
                    value => value.as_str().unwrap().to_owned(),
                };
                let field = change["field"].as_str().unwrap();
                format!(" {field}: {} > {}", value("from"), value("to"))
            });
            let word = |name: &str| entry[name].as_str().unwrap();
            let changes: String = changes.collect();
            format!("{} {}{changes}", word("action"), word("outcome"))
        })
        .collect()
}

#[tokio::test]
async fn every_change_is_recorded_with_its_value_before_and_after() {
    let app = App::start().await;
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    admin.ended(&id).await;
    patch(&admin, &id, json!({"readApproval": true})).await;
    let both = json!({"readApproval": false, "issuer": "renamed-under-cover"});
    patch(&admin, &id, both).await;
    patch(&admin, &id, json!({"group": "ops", "tags": ["b", "a"]})).await;
    patch(
        &admin,
        &id,
        json!({"issuer": null, "group": null, "accountName": "x JBSWY3DPEHPK3PXP"}),
    )
    .await;
    // It changes nothing, and was requested all the same.
    patch(&admin, &id, json!({"readApproval": false})).await;
    let path = format!("/api/accounts/{id}");
    admin.delete(&path).await;
    admin.delete(&path).await;
    admin.post(&format!("{path}/restore"), &json!({})).await;
    assert_eq!(
        told(&admin, &id).await,
        [
            "guard done readApproval: false > true",
            "rename done issuer: 2FAS > renamed-under-cover",
            "guard done readApproval: true > false",
            "file done group: - > ops tags: - > a, b",
            "rename done issuer: renamed-under-cover > - accountName: Test Token > x [withheld]",
            "file done group: ops > -",
            "guard done",
            "delete done state: active > removed",
            "delete done",
            "restore done state: removed > active",
        ]
    );

    let key = json!({"name": "bot", "role": "reader", "grantedOnly": true, "groups": ["ops"]});
    admin.post("/api/keys", &key).await;
    let grant = |reads: u32| json!({"account": id, "caller": "bot", "reads": reads});
    admin.post("/api/grants", &grant(3)).await;
    admin.post("/api/grants", &grant(5)).await;
    let made = app.command(&["grant", "add", "bot", &id]);
    assert!(made.status.success(), "{made:?}");
    let taken = format!("/api/grants?account={id}&caller=bot");
    admin.delete(&taken).await;
    admin
        .delete(&taken)
        .await
        .assert_problem(404, "grant-unknown");
    admin.delete("/api/keys/bot").await;
    let again = app.command(&["key", "revoke", "bot"]);
    assert!(again.status.success(), "{again:?}");
    assert_eq!(
        told(&admin, &id).await[10..],
        [
            "grant done grant to bot: - > no end, 3 reads",
            "grant done grant to bot: no end, 3 reads > no end, 5 reads",
            "grant done grant to bot: no end, 5 reads > no end",
            "withdraw done grant to bot: no end > -",
            "withdraw refused",
        ]
    );
    assert_eq!(
        told(&admin, "bot").await,
        [
            "create-key done role: - > reader groups: - > ops grantedOnly: - > true",
            "revoke-key done state: active > revoked",
            "revoke-key done",
        ]
    );
    // Exports tell the same.
    let lines = admin.get("/api/audit?action=guard&format=cef").await;
    let lines = lines.body.as_str().unwrap().to_owned();
    let change = r#"changes=[{"field":"readApproval","from":"true","to":"false"}]"#;
    assert!(lines.contains(change), "{lines}");
}

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .env_remove("RUST_BACKTRACE")
        .env_remove("COUNTERSIGN_DATA_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A code, and what `audit verify --json` says.
fn verified(data: &Path, more: &[&str]) -> (i32, Value) {
    let folder = ["audit", "verify", "--json", "--data-dir"];
    let output = run(&[&folder[..], &[data.to_str().unwrap()], more].concat());
    let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), said)
}

/// Every file below a folder, with its content.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| {
            let content = fs::read(&path).unwrap();
            (path.display().to_string(), content)
        })
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_log_that_lost_entries_is_noticed_and_not_continued() {
    let mut app = App::start().await;
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    admin.ended(&id).await;
    admin.until_stored(&id).await;
    for guarded in [true, false, true] {
        patch(&admin, &id, json!({"readApproval": guarded})).await;
    }
    // At whatever moment the server ends.
    app.kill();
    let data = app.data_dir();
    let database = data.join("audit.sqlite3");
    let (code, said) = verified(&data, &[]);
    assert_eq!(code, 0, "{said}");
    let entries = said["entries"].as_u64().unwrap();
    assert!(
        entries >= 5,
        "the enrollment, its secret and three changes: {said}"
    );
    let before = files(&data);
    assert_eq!(verified(&data, &[]).0, 0);
    assert_eq!(files(&data), before, "looking changes nothing");
    let head = format!("{entries}:{}", said["head"].as_str().unwrap());
    assert_eq!(verified(&data, &["--head", &head]).0, 0);
    assert_eq!(verified(&data, &["--head", "5:"]).0, 2);

    // An attacker with the file, but without the key.
    let whole = fs::read(&database).unwrap();
    let cut = |sequence: u32| {
        let thief = rusqlite::Connection::open(&database).unwrap();
        let delete = format!(
            "DROP TRIGGER IF EXISTS entries_are_not_deleted;
             DELETE FROM entries WHERE sequence > {sequence}"
        );
        thief.execute_batch(&delete).unwrap();
    };
    let refused = |problem: &str| {
        let (code, said) = verified(&data, &[]);
        assert_eq!(code, 7, "{problem}: {said}");
        let serve = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--scheduler-listen",
            "127.0.0.1:0",
        ];
        let more = [
            "--dashboard-listen",
            "none",
            "--data-dir",
            data.to_str().unwrap(),
        ];
        let started = run(&[&serve[..], &more].concat());
        assert_eq!(started.status.code(), Some(1), "{problem}");
        let told = String::from_utf8(started.stderr).unwrap();
        assert!(told.contains("audit accept-loss"), "{problem}: {told}");
        let made = app.command(&["key", "create", "late", "--role", "admin"]);
        assert_eq!(made.status.code(), Some(7), "{problem}: {made:?}");
    };
    cut(2);
    refused("truncated");
    cut(0);
    refused("emptied");
    fs::write(&database, "").unwrap();
    refused("truncated");
    fs::remove_file(&database).unwrap();
    refused("missing");
    assert!(!database.exists());
    fs::write(&database, &whole).unwrap();
    assert_eq!(verified(&data, &[]).0, 0, "put back");
    let noted = fs::read(data.join("audit-head")).unwrap();
    fs::remove_file(data.join("audit-head")).unwrap();
    refused("no head");
    fs::write(data.join("audit-head"), "anything").unwrap();
    refused("another head");
    fs::write(data.join("audit-head"), noted).unwrap();

    cut(2);
    let accept = |reason: &str| app.command(&["audit", "accept-loss", "--reason", reason]);
    assert_eq!(accept(" ").status.code(), Some(2));
    let accepted = accept("the disk broke");
    assert!(accepted.status.success(), "{accepted:?}");
    assert_eq!(accept("again").status.code(), Some(1), "nothing is missing");
    assert_eq!(verified(&data, &[]).0, 0);
    assert_eq!(verified(&data, &["--head", &head]).0, 7);
    app.launch().await;
    let record = app.admin().get("/api/audit?action=accept-loss").await;
    let entry = &record.body["entries"][0];
    assert_eq!(entry["reason"], "the disk broke", "{record:?}");
    assert_eq!(entry["changes"][0]["from"], json!(head), "{record:?}");
}

#[test]
fn a_folder_without_an_audit_log_is_recognized_and_nothing_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    for (place, code) in [(nowhere.as_path(), 5), (folder.path(), 5)] {
        let (ended, said) = verified(place, &[]);
        assert_eq!(ended, code, "{said}");
        assert_eq!(said["intact"], false);
        let place = ["--data-dir", place.to_str().unwrap()];
        for command in [
            &["audit", "export"][..],
            &["audit", "accept-loss", "--reason", "x"],
        ] {
            let output = run(&[command, &place].concat());
            assert_eq!(output.status.code(), Some(5), "{output:?}");
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_server_that_runs_stops_recording_and_changing_when_entries_go() {
    let app = App::start().await;
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    admin.ended(&id).await;
    patch(&admin, &id, json!({"readApproval": false})).await;
    let thief = rusqlite::Connection::open(app.data_dir().join("audit.sqlite3")).unwrap();
    thief
        .execute_batch("DROP TRIGGER entries_are_not_deleted; DELETE FROM entries")
        .unwrap();
    let token = format!("/api/tokens?id={id}");
    admin
        .get(&token)
        .await
        .assert_problem(503, "audit-unavailable");
    // What could not be recorded is not done.
    let request = admin.request(Method::PATCH, &format!("/api/accounts/{id}"));
    let answer = admin.send(request.json(&json!({"issuer": "unseen"}))).await;
    answer.assert_problem(503, "audit-unavailable");
    let accepted = app.command(&["audit", "accept-loss", "--reason", "a test"]);
    assert!(accepted.status.success(), "{accepted:?}");
    patch(&admin, &id, json!({"issuer": "seen"})).await;
    assert_eq!(admin.get(&token).await.status, StatusCode::OK);
    let renamed = "rename done issuer: 2FAS > seen".to_owned();
    assert!(told(&admin, &id).await.contains(&renamed));
}

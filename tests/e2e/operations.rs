//! What operators do while a server runs: rotating secrets, archiving the audit log; and what
//! they are kept from: half deployments.

use std::fs;
use std::process::{Command, Output, Stdio};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{App, BINARY, Caller, SEED_URI};

fn printed(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

async fn code(caller: &Caller, account: &str) -> StatusCode {
    let path = format!("/api/accounts/{account}/token");
    caller.get(&path).await.status
}

#[tokio::test]
async fn the_vaults_key_is_rotated_under_a_running_server() {
    let app = App::start().await;
    let admin = app.admin();
    let account = admin.enroll(SEED_URI, false).await;
    admin.ended(&account).await;
    assert_eq!(code(&admin, &account).await, 200);
    let key = || fs::read_to_string(app.data_dir().join("vault.key")).unwrap();
    let before = key();
    let rotated = printed(&app.command(&["rotate", "vault-key", "--json"]));
    assert_eq!(rotated["resumed"], false);
    assert_ne!(key(), before);
    assert_eq!(code(&admin, &account).await, 200);
    let another = admin.enroll(SEED_URI, false).await;
    assert_eq!(admin.ended(&another).await.body["stage"], "Enrolled");
    assert_eq!(code(&admin, &another).await, 200);
    let told = admin.get("/api/audit?action=rotate-secret").await;
    let entry = &told.body["entries"][0];
    assert_eq!(entry["subject"], "vault-key", "{told:?}");
    assert_eq!(entry["changes"][0]["to"], rotated["key"], "{told:?}");
}

#[tokio::test]
async fn another_admin_token_counts_at_once_and_the_one_before_for_a_while() {
    let app = App::start().await;
    let first = app.admin();
    let rotate = |overlap: &str| {
        let args = ["rotate", "admin-token", "--overlap", overlap, "--json"];
        printed(&app.command(&args))
    };
    let told = rotate("1h");
    assert!(told["beforeCountsUntil"].is_string(), "{told}");
    let second = app.admin();
    assert_eq!(second.token(), told["value"].as_str());
    assert_ne!(second.token(), first.token());
    for caller in [&second, &first] {
        assert_eq!(caller.get("/api/session").await.status, 200);
    }
    // Commands find it by themselves.
    assert!(app.command(&["list"]).status.success());
    rotate("0s");
    let third = app.admin();
    assert_eq!(third.get("/api/session").await.status, 200);
    for caller in [&second, &first] {
        assert_eq!(caller.get("/api/session").await.status, 401);
    }
    assert_eq!(
        app.command(&["rotate", "webhook-secret"]).status.code(),
        Some(5)
    );
}

#[tokio::test]
async fn the_audit_log_is_archived_with_its_head_and_never_silently() {
    let app = App::start().await;
    let admin = app.admin();
    let work = async || {
        let account = admin.enroll(SEED_URI, false).await;
        admin.ended(&account).await;
        admin.until_stored(&account).await;
        code(&admin, &account).await;
    };
    work().await;
    let verify = |more: &[&str]| app.command(&[&["audit", "verify"], more].concat());
    let kept = printed(&verify(&["--json"]));
    let kept = format!("{}:{}", kept["entries"], kept["head"].as_str().unwrap());
    let place = |name: &str| app.folder().join(name).display().to_string();
    let (first, second) = (place("first.jsonl"), place("second.jsonl"));
    let archive = |file: &str, age: &str| {
        app.command(&["audit", "archive", file, "--older-than", age, "--json"])
    };
    assert_eq!(
        archive(&first, "1d").status.code(),
        Some(5),
        "nothing is that old"
    );
    let archived = printed(&archive(&first, "1ms"));
    assert!(archived["entries"].as_u64().unwrap() > 3, "{archived}");
    let again = archive(&first, "1ms");
    assert!(said(&again).contains("exists already"), "{again:?}");
    work().await;
    printed(&archive(&second, "1ms"));
    work().await;

    assert!(verify(&[]).status.success());
    // In whichever order: the chain begins with the first entry of all.
    let both = ["--archive", &second, "--archive", &first];
    assert!(verify(&both).status.success());
    let with_kept = [&both[..], &["--head", &kept]].concat();
    assert!(verify(&with_kept).status.success());
    let needs = verify(&["--head", &kept]);
    assert!(said(&needs).contains("--archive"), "{needs:?}");
    let alone = verify(&["--archive", &second]);
    assert!(
        said(&alone).contains("continues after entry 0"),
        "{alone:?}"
    );
    let told = admin.get("/api/audit?action=archive-audit").await;
    let entries = told.body["entries"].as_array().unwrap();
    assert_eq!(
        entries.len(),
        1,
        "the first one's is in the second archive: {told:?}"
    );
    assert!(
        fs::read_to_string(&second)
            .unwrap()
            .contains("archive-audit")
    );

    // What was changed is found, in an archive and in the database.
    let text = fs::read_to_string(&first).unwrap();
    for (changed, problem) in [
        (text.replacen("read-audit", "log-out", 1), "does not hold"),
        (
            text.lines()
                .take(3)
                .map(|line| format!("{line}\n"))
                .collect(),
            "cut off",
        ),
        ("{}\n".to_owned(), "no archive"),
    ] {
        fs::write(&first, changed).unwrap();
        let found = verify(&both);
        assert!(said(&found).contains(problem), "{found:?}");
    }
    let thief = rusqlite::Connection::open(app.data_dir().join("audit.sqlite3")).unwrap();
    thief
        .execute_batch(
            "DROP TRIGGER entries_are_not_deleted;
             DELETE FROM entries WHERE sequence = (SELECT min(sequence) FROM entries);",
        )
        .unwrap();
    let found = verify(&[]);
    assert!(said(&found).contains("is not intact"), "{found:?}");
    // Nobody without the key can say that it was archived.
    thief
        .execute_batch(
            "UPDATE archived SET sequence = sequence + 1,
                 hash = (SELECT hash FROM entries ORDER BY sequence LIMIT 1);",
        )
        .unwrap();
    assert!(!verify(&[]).status.success());
}

/// Another program that reads a database must not take itself for the last one that uses it, and
/// delete the log, in which the latest entries are.
#[tokio::test]
async fn a_program_that_reads_a_database_leaves_its_log() {
    let app = App::start().await;
    let admin = app.admin();
    let account = admin.enroll(SEED_URI, false).await;
    admin.ended(&account).await;
    for name in ["vault", "access", "verify", "ledger", "audit", "scheduler"] {
        let file = app.data_dir().join(format!("{name}.sqlite3"));
        let reader = rusqlite::Connection::open(&file).unwrap();
        let tables: u32 = reader
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert!(tables > 0, "{name}");
        drop(reader);
        assert!(file.with_extension("sqlite3-wal").exists(), "{name}");
    }
}

/// Two restores into one folder: the second finds the folder in use, and the first one is whole.
#[tokio::test]
async fn a_folder_is_restored_into_by_one_command_at_a_time() {
    let app = App::start().await;
    let admin = app.admin();
    let account = admin.enroll(SEED_URI, false).await;
    admin.ended(&account).await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let made = Command::new(BINARY)
        .args([
            "backup",
            "create",
            "--unencrypted",
            "--with-all-secrets-in-clear",
        ])
        .arg(&backup)
        .arg("--data-dir")
        .arg(app.data_dir())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let to = folder.path().join("restored");
    let restoring = || {
        Command::new(BINARY)
            .args(["backup", "restore"])
            .arg(&backup)
            .arg("--data-dir")
            .arg(&to)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let both = [restoring(), restoring()].map(|child| child.wait_with_output().unwrap());
    let good = both.iter().filter(|one| one.status.success()).count();
    assert_eq!(good, 1, "{both:?}");
    assert!(to.join("vault.sqlite3").exists() && !to.join("restore-unfinished").exists());
}

#[tokio::test]
async fn a_front_door_that_others_could_stand_beside_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let start = |args: &[&str]| {
        Command::new(BINARY)
            .args(args)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--listen", "127.0.0.1:0", "--worker-wait", "0s"])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let elsewhere = "Endpoint=http://192.0.2.1:8080;TaskHub=default;Authentication=None";
    let vault = "https://nowhere.vault.azure.net";
    for (args, with) in [
        (
            &["front-door", "--connection-string", elsewhere][..],
            "another machine",
        ),
        (&["serve", "--key-vault", vault], "Key Vault"),
    ] {
        let refused = said(&start(args));
        for words in [with, "--single-front-door"] {
            assert!(refused.contains(words), "{words}: {refused}");
        }
    }
    assert!(!folder.path().join("data").exists(), "nothing was made");
    // With that said it goes on, and finds that there is no worker.
    let alone = [
        "front-door",
        "--connection-string",
        elsewhere,
        "--single-front-door",
    ];
    assert_eq!(start(&alone).status.code(), Some(9));
}

#[tokio::test]
async fn what_has_ended_goes_and_its_account_stays() {
    let app = App::start_with(&["--retention", "1s"]).await;
    let admin = app.admin();
    let account = admin.enroll(SEED_URI, false).await;
    admin.until_stored(&account).await;
    let begun = std::time::Instant::now();
    let status = || admin.request(Method::GET, &format!("/api/enrollments/{account}"));
    while admin.send(status()).await.status != StatusCode::NOT_FOUND {
        assert!(begun.elapsed() < crate::support::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(code(&admin, &account).await, 200);
    let listed = admin.get("/api/accounts").await;
    assert_eq!(listed.body["accounts"].as_array().unwrap().len(), 1);
    assert_eq!(json!(account), listed.body["accounts"][0]["id"]);
}

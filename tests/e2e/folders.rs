//! Data folders that lack something or do not exist: what a start says of them, what `config check`
//! says before one, and what commands say that work on them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{App, Caller, Process, SEED_URI, countersign, output};

/// Where what a test does not ask for listens.
const QUIET: [&str; 6] = [
    "--listen",
    "127.0.0.1:0",
    "--scheduler-listen",
    "127.0.0.1:0",
    "--dashboard-listen",
    "none",
];
/// The databases of a data folder.
const DATABASES: [&str; 6] = [
    "access.sqlite3",
    "audit.sqlite3",
    "ledger.sqlite3",
    "scheduler.sqlite3",
    "vault.sqlite3",
    "verify.sqlite3",
];

/// What a start without it creates again, since nothing is lost with it: tokens that can be given out
/// again, public halves, and notes.
const MADE_AGAIN: [&str; 6] = [
    "admin-token",
    "hub-token",
    "installation.files",
    "installation.ledger",
    "mandate.pub",
    "seal.pub",
];
/// What is refused by its name, with what to do.
const NAMED: [&str; 8] = [
    "access.sqlite3",
    "fingerprint.key",
    "ledger.sqlite3",
    "mandate.key",
    "scheduler.sqlite3",
    "vault.key",
    "vault.sqlite3",
    "verify.sqlite3",
];

/// A folder that a server has run on, with an account, a key and a checked code; and the same while
/// the server ran.
async fn used() -> (App, PathBuf) {
    let mut app = App::start().await;
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    admin.ended(&id).await;
    let key = json!({"name": "reader", "role": "reader"});
    admin.post("/api/keys", &key).await;
    checked(&admin, &id).await;
    let running = app.folder().join("running");
    copy(&app.data_dir(), &running);
    app.stop().await;
    (app, running)
}

async fn checked(admin: &Caller, id: &str) {
    let code = admin.get(&format!("/api/tokens?id={id}")).await;
    let code = json!({"token": code.body["token"]});
    let path = format!("/api/accounts/{id}/verify");
    assert_eq!(admin.post(&path, &code).await.status.as_u16(), 200);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// The names and contents of a folder's files.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, fs::read(file.path()).unwrap())
        })
        // SQLite's index of a log, which is made from the log whenever it is missing.
        .filter(|(name, _)| !name.ends_with("-shm"))
        .collect()
}

/// What the check says of a folder, if it is no good.
async fn check(folder: &Path) -> Option<String> {
    let before = contents(folder);
    let mut command = countersign(folder, &["config", "check", "--json"]);
    command.args(QUIET);
    let checked = output(command).await;
    assert_eq!(contents(folder), before, "the check changes something");
    let document: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let of = |name: &str| {
        let mut checks = document["checks"].as_array().unwrap().iter();
        checks.find(|check| check["name"] == name).unwrap().clone()
    };
    let (data, door) = (of("data folder"), of("front door"));
    assert_eq!(data["ok"], door["ok"], "{document}");
    assert_eq!(checked.status.success(), data["ok"] == true, "{document}");
    (data["ok"] == false).then(|| data["detail"].as_str().unwrap().to_owned())
}

/// What a start says of a folder, if it is refused.
async fn start(folder: &Path, logs: &Path) -> Option<String> {
    let mut command = countersign(folder, &["serve", "--json", "--log", "error"]);
    command.args(QUIET);
    let name = folder.file_name().unwrap().to_str().unwrap();
    let mut server = Process::spawn(command, logs, name);
    let starts = server.becomes_ready().await;
    (!starts).then(|| server.log())
}

#[tokio::test]
async fn the_check_refuses_each_folder_that_a_start_refuses_and_no_other() {
    let (app, running) = used().await;
    let (other, _) = used().await;
    let whole = app.data_dir();
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut damaged = |from: &Path, name: String, damage: &dyn Fn(&Path)| {
        let folder = app.folder().join(name.replace('/', "-"));
        copy(from, &folder);
        damage(&folder);
        folders.push(folder);
    };
    damaged(&whole, "as-it-was".to_owned(), &|_| ());
    damaged(&running, "copied-with-its-logs".to_owned(), &|_| ());
    for name in contents(&whole).into_keys() {
        if name.ends_with(".lock") || name.ends_with("-lock") || name.ends_with("-wal") {
            continue;
        }
        damaged(&whole, format!("without-{name}"), &|folder| {
            fs::remove_file(folder.join(&name)).unwrap();
        });
        damaged(&whole, format!("other-{name}"), &|folder| {
            let Ok(there) = fs::read(other.data_dir().join(&name)) else {
                return;
            };
            fs::write(folder.join(&name), there).unwrap();
        });
        damaged(&whole, format!("damaged-{name}"), &|folder| {
            fs::write(folder.join(&name), "no content that anyone has written").unwrap();
        });
    }
    for name in DATABASES {
        damaged(&running, format!("copied-without-log-{name}"), &|folder| {
            fs::remove_file(folder.join(format!("{name}-wal"))).unwrap();
        });
        damaged(&whole, format!("of-a-later-release-{name}"), &|folder| {
            let database = Connection::open(folder.join(name)).unwrap();
            database.pragma_update(None, "user_version", 99).unwrap();
        });
    }
    damaged(&whole, "shared-secret".to_owned(), &|folder| {
        let file = folder.join("vault.key");
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    });

    let mut wrong = Vec::new();
    let mut refused = 0;
    for folder in &folders {
        let checked = check(folder).await;
        let started = start(folder, app.folder()).await;
        refused += usize::from(started.is_some());
        let same = match (&checked, &started) {
            (None, None) => true,
            // In the same words; the check may add causes.
            (Some(checked), Some(started)) => {
                let started = started.trim().trim_start_matches("countersign: ");
                checked.starts_with(started) || started.contains(checked.as_str())
            }
            _ => false,
        };
        let name = folder.file_name().unwrap().to_string_lossy();
        if let Some(lost) = name.strip_prefix("without-") {
            let said = started.as_deref().unwrap_or_default();
            let is_named = said.contains(&format!("/{lost}")) || !NAMED.contains(&lost);
            if started.is_some() == MADE_AGAIN.contains(&lost) || !is_named {
                wrong.push(format!("without {lost}: {started:?}"));
            }
        }
        if !same {
            wrong.push(format!("{}: {checked:?} {started:?}", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused > 20, "{refused} of {} are refused", folders.len());
}

/// Commands that work on a data folder, which has to be there.
const COMMANDS: [&[&str]; 19] = [
    &["mandate-key", "rotate"],
    &["mandate-key", "list"],
    &["mandate-key", "retire", "some-key"],
    &["rotate", "seal-key"],
    &["rotate", "vault-key"],
    &["rotate", "server-key"],
    &["rotate", "admin-token"],
    &["rotate", "webhook-secret"],
    &["ledger", "accept-loss", "--reason", "a test"],
    &["key", "list"],
    &["key", "rotate", "someone"],
    &["key", "revoke", "someone"],
    &["grant", "list"],
    &[
        "backup",
        "create",
        "new",
        "--unencrypted",
        "--with-all-secrets-in-clear",
    ],
    &["list"],
    &["token", "Shop"],
    &["login-link"],
    &["dashboard"],
    &["mcp"],
];

#[tokio::test]
async fn commands_on_a_folder_that_is_not_there_say_so_and_make_none() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "no folder").unwrap();
    for folder in [place.path().join("nowhere"), file] {
        for words in COMMANDS {
            let mut command = countersign(&folder, words);
            command.current_dir(place.path());
            let ended = output(command).await;
            assert_eq!(ended.status.code(), Some(10), "{words:?}: {ended:?}");
            let said = String::from_utf8(ended.stderr).unwrap();
            assert!(said.contains("folder"), "{words:?}: {said}");
            assert!(said.contains("--data-dir"), "{words:?}: {said}");
        }
    }
    let names: Vec<_> = fs::read_dir(place.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "a command makes something: {names:?}");
}

#[tokio::test]
async fn a_check_says_where_no_folder_can_be_made() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "no folder").unwrap();
    for (folder, good) in [
        (file.join("data"), false),
        (place.path().join("a/b/c"), true),
    ] {
        let mut command = countersign(&folder, &["config", "check", "--json"]);
        command.args(QUIET);
        let checked = output(command).await;
        assert_eq!(checked.status.success(), good, "{checked:?}");
        if !good {
            let refused = output(countersign(&folder, &["serve"])).await;
            assert!(!refused.status.success(), "{refused:?}");
        }
    }
    assert!(!place.path().join("a").exists(), "a check makes nothing");
}

//! An installation that is moved from its data folder into a database and back: nothing is
//! lost, nothing counts twice, and one of the two places counts at every moment.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use countersign::app::{Parts, Running};
use countersign_database::DatabaseUrl;
use countersign_database::testing::Postgres;
use reqwest::Method;
use serde_json::{Value, json};

use crate::installation::{ADMIN, Door, PATIENCE, at, clock, config, copy_keys};

/// A period of a day, so that a code is the same before and after.
const URI: &str =
    "otpauth://totp/day?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Moved&period=86400";

async fn start(folder: &Path, at: Option<&DatabaseUrl>) -> Result<(Running, Door), String> {
    let begun = Instant::now();
    let running = loop {
        let running = match at {
            Some(at) => Running::start_parts(config(folder, at), Parts::Everything, clock()).await,
            None => {
                let mut config = config(folder, &anywhere());
                config.database = None;
                Running::start(config).await
            }
        };
        match running.map_err(|error| error.to_string()) {
            // The lock of one that was stopped a moment ago goes with its thread.
            Err(error) if error.contains("in use by another process") => {
                assert!(begun.elapsed() < PATIENCE, "{error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            running => break running?,
        }
    };
    let door = crate::installation::door(&running);
    door.until("/readyz", ADMIN, 200, PATIENCE).await;
    Ok((running, door))
}

fn anywhere() -> DatabaseUrl {
    "postgresql://nobody@127.0.0.1/nowhere".parse().unwrap()
}

fn countersign(folder: &Path, at: &DatabaseUrl, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(words).arg("--data-dir").arg(folder);
    command.env("COUNTERSIGN_DATABASE_URL", at.to_string());
    command.env("COUNTERSIGN_ADMIN_TOKEN", ADMIN);
    command
}

fn run(folder: &Path, at: &DatabaseUrl, words: &[&str]) -> Output {
    tokio::task::block_in_place(|| countersign(folder, at, words).output().unwrap())
}

/// Checks the audit log in the folder, or in the database if it is there.
fn is_intact(folder: &Path, at: Option<&DatabaseUrl>) {
    let nowhere = anywhere();
    let mut command = countersign(folder, at.unwrap_or(&nowhere), &["audit", "verify"]);
    if at.is_none() {
        command.env_remove("COUNTERSIGN_DATABASE_URL");
    }
    let output = tokio::task::block_in_place(|| command.output().unwrap());
    assert!(output.stdout.starts_with(b"intact"), "{output:?}");
}

/// What a successful command prints.
fn done(folder: &Path, at: &DatabaseUrl, words: &[&str]) -> String {
    let output = run(folder, at, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a refused command says.
fn refused(folder: &Path, at: &DatabaseUrl, words: &[&str]) -> String {
    let output = run(folder, at, words);
    assert!(!output.status.success(), "{words:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// How many rows of what were moved.
fn count(moved: &str, of: &str) -> u64 {
    let moved: Value = serde_json::from_str(moved).unwrap();
    let mut rows = moved["rows"].as_array().unwrap().iter();
    let row = rows.find(|row| row["of"] == of);
    row.unwrap_or_else(|| panic!("{of}: {moved}"))["count"]
        .as_u64()
        .unwrap()
}

const TO_DATABASE: [&str; 3] = ["migrate", "to-database", "--json"];
const TO_FOLDER: [&str; 3] = ["migrate", "to-folder", "--json"];

async fn is_accepted(door: &Door, account: &str, code: &str) -> bool {
    let path = format!("/api/accounts/{account}/verify");
    let checked = door.done(Method::POST, &path, ADMIN, json!({"token": code}));
    checked.await["valid"].as_bool().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_is_moved_into_the_database_and_back_with_all_that_counts() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let names: [String; 2] = std::array::from_fn(|_| tokio::task::block_in_place(|| server.make()));
    let [first, second] = names.map(|name| at(server.port(), &name));
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("one");

    let (running, door) = start(&folder, None).await.unwrap();
    let made = door.done(Method::POST, "/api/accounts", ADMIN, json!({"uri": URI}));
    let account = made.await["secretName"].as_str().unwrap().to_owned();
    let guarded = door.account("guarded").await;
    let removed = door.account("removed").await;
    let change = json!({"readApproval": true});
    let path = format!("/api/accounts/{guarded}");
    door.done(Method::PATCH, &path, ADMIN, change).await;
    let path = format!("/api/accounts/{removed}");
    door.done(Method::DELETE, &path, ADMIN, json!({})).await;
    let reader = door.key("bot", "reader", false).await;
    let leased = door.key("leased", "reader", true).await;
    let grant = json!({"caller": "leased", "account": account, "reads": 5});
    door.done(Method::POST, "/api/grants", ADMIN, grant).await;
    let revoked = door.key("revoked", "reader", false).await;
    door.done(Method::DELETE, "/api/keys/revoked", ADMIN, json!({}))
        .await;
    let read = format!("/api/tokens?id={account}");
    let code: Value = door.get(&read, &leased).await.json().await.unwrap();
    let code = code["token"].as_str().unwrap().to_owned();
    assert!(is_accepted(&door, &account, &code).await);
    // Nothing is moved while it runs.
    let error = refused(&folder, &first, &TO_DATABASE);
    assert!(error.contains("already runs on"), "{error}");
    running.stop().await.unwrap();

    let moved = done(&folder, &first, &TO_DATABASE);
    for (of, rows) in [
        ("accounts", 3),
        ("keys", 3),
        ("grants", 1),
        ("accounts read with an approval only", 1),
        ("accounts with an accepted code", 1),
        ("mandates", 3),
        ("ledger", 1),
    ] {
        assert_eq!(count(&moved, of), rows, "{of}: {moved}");
    }
    for secret in ["GEZDGNBVGY3TQOJQ", code.as_str(), reader.as_str()] {
        assert!(!moved.contains(secret), "{moved}");
    }
    let error = refused(&folder, &first, &TO_DATABASE);
    assert!(error.contains("in the database already"), "{error}");
    let error = start(&folder, None).await.err().unwrap();
    assert!(error.contains("--database-url"), "{error}");
    is_intact(&folder, Some(&first));

    // In the database, with one more machine.
    let (running, one) = start(&folder, Some(&first)).await.unwrap();
    holds(
        &one,
        &account,
        &guarded,
        [&reader, &leased, &revoked],
        &code,
    )
    .await;
    let error = refused(&folder, &first, &TO_FOLDER);
    assert!(error.contains("already runs on"), "{error}");
    let other = root.path().join("other");
    copy_keys(&folder, &other);
    let error = refused(&other, &first, &TO_FOLDER);
    assert!(error.contains("no installation"), "{error}");
    // Its folder belongs to the database once something has used both.
    done(&other, &first, &["key", "list"]);
    let error = refused(&other, &first, &TO_FOLDER);
    assert!(error.contains("stop all front doors"), "{error}");
    assert_eq!(one.status(&read, &leased).await, 200);
    running.stop().await.unwrap();

    // And back.
    let error = refused(&folder, &second, &TO_FOLDER);
    assert!(error.contains("belongs to the database"), "{error}");
    let moved = done(&folder, &first, &TO_FOLDER);
    assert_eq!(count(&moved, "accounts"), 3);
    let error = refused(&folder, &first, &TO_FOLDER);
    assert!(error.contains("its own installation already"), "{error}");
    let error = refused(&other, &first, &TO_FOLDER);
    assert!(error.contains("to another data folder"), "{error}");
    let error = start(&other, Some(&first)).await.err().unwrap();
    assert!(error.contains("was moved to a data folder"), "{error}");
    let (running, door) = start(&folder, None).await.unwrap();
    holds(
        &door,
        &account,
        &guarded,
        [&reader, &leased, &revoked],
        &code,
    )
    .await;
    door.account("after").await;
    running.stop().await.unwrap();
    is_intact(&folder, None);

    // Into a used database never, and into another one again.
    let error = refused(&folder, &first, &TO_DATABASE);
    assert!(error.contains("is not empty"), "{error}");
    assert_eq!(count(&done(&folder, &second, &TO_DATABASE), "accounts"), 4);
    let entries = done(
        &folder,
        &second,
        &["audit", "export", "--action", "migrate"],
    );
    assert_eq!(entries.lines().count(), 3, "{entries}");
}

/// What was decided and used before holds, and one more of the counted readings is taken.
async fn holds(door: &Door, account: &str, guarded: &str, keys: [&str; 3], code: &str) {
    let [reader, leased, revoked] = keys;
    let read = format!("/api/tokens?id={account}");
    let shown: Value = door.get(&read, reader).await.json().await.unwrap();
    assert_eq!(shown["token"], code);
    assert_eq!(door.status(&read, revoked).await, 401);
    let path = format!("/api/tokens?id={guarded}");
    assert_eq!(door.status(&path, reader).await, 403);
    assert!(
        !is_accepted(door, account, code).await,
        "it was accepted before"
    );
    let list = door.get("/api/grants", ADMIN).await;
    let list: Value = list.json().await.unwrap();
    let before = list["grants"][0]["readsLeft"].as_u64().unwrap();
    assert_eq!(door.status(&read, leased).await, 200);
    let list = door.get("/api/grants", ADMIN).await;
    let list: Value = list.json().await.unwrap();
    assert_eq!(list["grants"][0]["readsLeft"].as_u64().unwrap(), before - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_is_killed_leaves_the_old_or_the_new_place_whole() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let name = tokio::task::block_in_place(|| server.make());
    let database = at(server.port(), &name);
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("one");
    let (running, door) = start(&folder, None).await.unwrap();
    let made = door.done(Method::POST, "/api/accounts", ADMIN, json!({"uri": URI}));
    let account = made.await["secretName"].as_str().unwrap().to_owned();
    let key = door.key("bot", "reader", false).await;
    let read = format!("/api/tokens?id={account}");
    let code: Value = door.get(&read, &key).await.json().await.unwrap();
    running.stop().await.unwrap();

    for (words, elsewhere) in [(&TO_DATABASE, true), (&TO_FOLDER, false)] {
        let mut delay = Duration::from_millis(15);
        loop {
            let ended = killed_after(&folder, &database, words, delay);
            if ended {
                break;
            }
            // The old place counts, or the new one after another run. Both never do.
            let places = [None, Some(&database)];
            let mut started = 0;
            let mut moved = false;
            for place in places {
                if let Ok((running, door)) = start(&folder, place).await {
                    started += 1;
                    moved = place.is_some() == elsewhere;
                    let shown: Value = door.get(&read, &key).await.json().await.unwrap();
                    assert_eq!(shown["token"], code["token"]);
                    running.stop().await.unwrap();
                }
            }
            assert!(started <= 1, "after {delay:?}");
            if moved {
                // It was killed behind its last step, and would have nothing left to do.
                break;
            }
            delay += delay / 2;
        }
        let place = elsewhere.then_some(&database);
        let (running, door) = start(&folder, place).await.unwrap();
        let shown: Value = door.get(&read, &key).await.json().await.unwrap();
        assert_eq!(shown["token"], code["token"]);
        running.stop().await.unwrap();
        is_intact(&folder, place);
    }
}

/// Runs a migration and kills it after a while; whether it had ended by then, well.
fn killed_after(folder: &Path, at: &DatabaseUrl, words: &[&str], delay: Duration) -> bool {
    tokio::task::block_in_place(|| {
        let mut command = countersign(folder, at, words);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(delay);
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!ended || output.status.success(), "{said}");
        ended
    })
}

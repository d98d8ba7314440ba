//! The server key is rotated while two front doors on one database use it.

use countersign::app::{Parts, Running};
use countersign_database::testing::Postgres;
use reqwest::Method;
use serde_json::{Value, json};

use crate::installation::{ADMIN, Installation, PATIENCE, at, clock, door};
use crate::support::Door;

async fn log_in(door: &Door) -> String {
    let link = door.done(Method::POST, "/api/login-links", ADMIN, json!({}));
    let link = link.await["link"].as_str().unwrap().to_owned();
    let code = link.split_once("#code=").unwrap().1.to_owned();
    let request = door.request(Method::POST, "/api/session");
    let request = request.header("sec-fetch-site", "same-origin");
    let begun = request.json(&json!({ "code": code })).send().await.unwrap();
    assert_eq!(begun.status(), 200);
    let mut set = begun.headers().get_all("set-cookie").iter();
    let set = set.find_map(|it| it.to_str().ok().filter(|it| !it.contains("Max-Age=0")));
    set.unwrap().split(';').next().unwrap().to_owned()
}

async fn is_valid(door: &Door, cookie: &str) -> bool {
    let request = door.request(Method::GET, "/api/session");
    let request = request.header("cookie", cookie);
    let answer = request.header("sec-fetch-site", "same-origin").send();
    answer.await.unwrap().status() == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_key_is_rotated_while_two_front_doors_record_and_sessions_hold_at_both() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let name = tokio::task::block_in_place(|| server.make());
    let url = at(server.port(), &name);
    let both = Installation::start(&url, &url).await;
    let (one, other) = (&both.one, &both.other);
    let account = one.account("read-throughout").await;
    let path = format!("/api/tokens?id={account}");
    let before = log_in(one).await;

    let rotate = |words: &[&str]| {
        let words = [&["rotate", "server-key", "--json"], words].concat();
        let output = both.run("one", &url, &words);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), said, output)
    };
    let copy = || {
        let from = both.folder("one").join("server.key");
        std::fs::copy(from, both.folder("other").join("server.key")).unwrap();
    };
    let reads = async || {
        for door in [one, other] {
            assert_eq!(door.status(&path, ADMIN).await, 200);
            assert!(is_valid(door, &before).await);
        }
    };
    // However often it is run, nothing is chained with the new key until it is copied.
    let (exit, introduced, output) = rotate(&[]);
    assert_eq!(exit, Some(4), "{output:?}");
    assert_eq!(introduced["next"], "copy");
    let (exit, again, _) = rotate(&[]);
    assert_eq!((exit, &again["newKey"]), (Some(4), &introduced["newKey"]));
    reads().await;
    copy();
    let (exit, rotated, output) = rotate(&["--copied"]);
    assert_eq!(exit, Some(0), "{output:?}");
    assert_eq!(rotated["key"], introduced["newKey"]);
    // The other machine's file is not copied a second time yet.
    reads().await;
    for (from, to) in [(one, other), (other, one)] {
        let cookie = log_in(from).await;
        assert!(is_valid(to, &cookie).await);
    }
    let checked = both.run("other", &url, &["audit", "verify", "--json"]);
    assert!(checked.status.success(), "{checked:?}");

    // A front door with the keys from before the rotation does not start.
    let old = both.folder("old");
    crate::installation::copy_keys(&both.folder("other"), &old);
    let text = std::fs::read_to_string(old.join("server.key")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("next "));
    std::fs::write(old.join("server.key"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    let started = Running::start_parts(both.third("old", &url), Parts::FrontDoor, clock()).await;
    let error = started.err().unwrap().to_string();
    let key = introduced["newKey"].as_str().unwrap();
    assert!(
        error.contains(key) && error.contains("copy server.key"),
        "{error}"
    );
    std::fs::copy(
        both.folder("one").join("server.key"),
        old.join("server.key"),
    )
    .unwrap();
    let third = Running::start_parts(both.third("old", &url), Parts::FrontDoor, clock()).await;
    let third = third.unwrap();
    door(&third).until("/readyz", ADMIN, 200, PATIENCE).await;
    assert!(is_valid(&door(&third), &before).await);
    third.stop().await.unwrap();

    copy();
    reads().await;
    let recorded = one.get("/api/audit?subject=server-key", ADMIN).await;
    let recorded: Value = recorded.json().await.unwrap();
    assert_eq!(
        recorded["entries"].as_array().unwrap().len(),
        1,
        "{recorded}"
    );

    // Moved into a folder, the log goes on under the same key.
    let folder = both.stop().await;
    let one = folder.path().join("one");
    let moved = crate::installation::run(&one, &url, &["migrate", "to-folder"]);
    assert!(moved.status.success(), "{moved:?}");
    let mut verify = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
    verify
        .args(["audit", "verify", "--json", "--data-dir"])
        .arg(&one);
    let verified = tokio::task::block_in_place(|| verify.output().unwrap());
    assert!(verified.status.success(), "{verified:?}");
    let moved = crate::installation::run(
        &one,
        &at(server.port(), &empty(server)),
        &["migrate", "to-database"],
    );
    assert!(moved.status.success(), "{moved:?}");
}

fn empty(server: &Postgres) -> String {
    tokio::task::block_in_place(|| server.make())
}

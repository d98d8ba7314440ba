//! An installation comes back from a dump of its database and copies of its key files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign::app::{Parts, Running};
use countersign_database::testing::Postgres;
use reqwest::Method;
use serde_json::{Value, json};

use crate::installation::{
    ADMIN, Door, Installation, PATIENCE, SECRET, at, clock, config, copy_keys, run,
};

/// The code of an account, and when it begins.
async fn code(door: &Door, account: &str, key: &str) -> Value {
    let path = format!("/api/tokens?detail=true&id={account}");
    let read = door.get(&path, key).await;
    assert_eq!(read.status(), 200, "{account}");
    let read: Value = read.json().await.unwrap();
    json!([read["validFrom"], read["token"]])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_under_load_and_the_key_files_bring_an_installation_back() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let (name, empty) = tokio::task::block_in_place(|| (server.make(), server.make()));
    let both = Installation::start(&at(server.port(), &name), &at(server.port(), &name)).await;
    let (one, other) = (&both.one, &both.other);
    let mut accounts = Vec::new();
    for number in 0..5 {
        accounts.push(one.account(&format!("account-{number}")).await);
    }
    let guarded = format!("/api/accounts/{}", accounts[0]);
    let guard = json!({"readApproval": true});
    one.done(Method::PATCH, &guarded, ADMIN, guard).await;
    let leased = one.key("leased", "reader", true).await;
    let grant = json!({"caller": "leased", "account": accounts[1], "reads": 3});
    one.done(Method::POST, "/api/grants", ADMIN, grant).await;
    code(other, &accounts[1], &leased).await;
    let reader = one.key("reader", "reader", false).await;
    let revoked = one.key("revoked", "reader", false).await;
    let path = "/api/keys/revoked";
    other.done(Method::DELETE, path, ADMIN, json!({})).await;

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
    let dump = tokio::task::block_in_place(|| server.dump(&name).unwrap());
    busy.store(false, Ordering::Relaxed);
    for hand in load {
        hand.await.unwrap();
    }
    assert!(!dump.contains(SECRET), "the dump holds a secret");

    // On an empty machine, while the others still answer.
    tokio::task::block_in_place(|| server.restore(&empty, &dump).unwrap());
    let there = both.folder("restored");
    copy_keys(&both.folder("one"), &there);
    let seal = "seal.key";
    std::fs::copy(both.folder("one").join(seal), there.join(seal)).unwrap();
    let restored = at(server.port(), &empty);
    let running = Running::start_parts(config(&there, &restored), Parts::Everything, clock());
    let running = running.await.unwrap();
    let door = crate::installation::door(&running);
    door.until("/readyz", ADMIN, 200, PATIENCE).await;
    for account in &accounts[1..] {
        // Both of the same time step, one of which may just end.
        let (here, there) = loop {
            let here = code(one, account, &reader).await;
            let there = code(&door, account, &reader).await;
            if here[0] == there[0] {
                break (here, there);
            }
        };
        assert_eq!(here, there);
    }
    let read = |account: &str| format!("/api/tokens?id={account}");
    assert_eq!(door.status(&read(&accounts[0]), &reader).await, 403);
    assert_eq!(door.status(&read(&accounts[1]), &revoked).await, 401);
    let mut given = 0;
    while door.status(&read(&accounts[1]), &leased).await == 200 {
        given += 1;
        assert!(given <= 2, "one of three reads was given before the dump");
    }
    assert_eq!(given, 2);
    door.account("after it").await;
    let verified = run(&there, &restored, &["audit", "verify"]);
    assert!(verified.status.success(), "{verified:?}");
    running.stop().await.unwrap();
    both.stop().await;
}

//! What happens where the database cannot be reached, and what is refused at the start.

use std::time::{Duration, Instant};

use countersign::app::{AppError, Parts, Running};
use countersign_database::DatabaseUrl;
use countersign_database::testing::{Postgres, Setup};
use reqwest::Method;
use serde_json::{Value, json};

use crate::installation::{ADMIN, Door, Installation, PATIENCE, at, clock, config, copy_keys, run};
use crate::proxy::Proxy;

/// What is answered where nothing may be given out.
async fn refuses(door: &Door, path: &str, key: &str) -> Value {
    let begun = Instant::now();
    let refused = door.get(path, key).await;
    assert_eq!(refused.status(), 503);
    assert!(begun.elapsed() < Duration::from_secs(8), "within its bound");
    refused.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_door_that_hears_no_changes_answers_503_within_a_second() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let name = tokio::task::block_in_place(|| server.make());
    let proxy = Proxy::to(server.port()).await;
    let far = at(proxy.port(), &name);
    let near = at(server.port(), &name);
    let both = Installation::start(&near, &far).await;
    let account = both.one.account("silent").await;
    let key = both.one.key("bot", "reader", false).await;
    let path = format!("/api/tokens?id={account}");
    for door in [&both.one, &both.other] {
        assert_eq!(door.status(&path, &key).await, 200);
    }

    // Packets are dropped without a word, and then the key is revoked.
    proxy.block();
    let blocked = Instant::now();
    both.one
        .done(Method::DELETE, "/api/keys/bot", ADMIN, json!({}))
        .await;
    tokio::time::sleep(Duration::from_secs(1).saturating_sub(blocked.elapsed())).await;
    let problem = refuses(&both.other, &path, &key).await;
    assert_eq!(problem["code"], "database-unavailable", "{problem}");
    assert_eq!(problem["database"], "unheard", "{problem}");
    both.other.until("/readyz", ADMIN, 503, PATIENCE).await;
    let ready: Value = both.other.get("/readyz", ADMIN).await.json().await.unwrap();
    assert_eq!(ready["database"], "unreachable", "{ready}");
    assert!(ready["databaseProblem"].is_string(), "{ready}");
    assert_eq!(both.one.status("/readyz", ADMIN).await, 200);

    // It goes on by itself, and knows what it missed.
    proxy.unblock();
    both.other.until("/readyz", ADMIN, 200, PATIENCE).await;
    assert_eq!(both.other.status(&path, &key).await, 401);
    assert_eq!(both.other.status(&path, ADMIN).await, 200);
    both.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_nothing_is_given_out_and_all_recovers() {
    let Some(mut server) = tokio::task::block_in_place(|| Postgres::start(Setup::default())) else {
        return;
    };
    let name = tokio::task::block_in_place(|| server.make());
    let at = at(server.port(), &name);
    let both = Installation::start(&at, &at).await;
    let account = both.one.account("away").await;
    let key = both.one.key("bot", "reader", false).await;
    let path = format!("/api/tokens?id={account}");
    assert_eq!(both.other.status(&path, &key).await, 200);

    tokio::task::block_in_place(|| server.stop().unwrap());
    for door in [&both.one, &both.other] {
        refuses(door, &path, &key).await;
        // The administrator needs no key, and the code is in memory.
        refuses(door, &path, ADMIN).await;
        door.until("/readyz", ADMIN, 503, PATIENCE).await;
    }
    tokio::task::block_in_place(|| server.start_again().unwrap());
    for door in [&both.one, &both.other] {
        door.until("/readyz", ADMIN, 200, PATIENCE).await;
        assert_eq!(door.status(&path, &key).await, 200);
    }
    both.other.account("afterwards").await;
    both.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_belong_together_does_not_start() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let database = || {
        at(
            server.port(),
            &tokio::task::block_in_place(|| server.make()),
        )
    };
    let [here, empty, fresh] = std::array::from_fn(|_| database());
    let at = here;
    let both = Installation::start(&at, &at).await;
    let refused = async |config, parts| match Running::start_parts(config, parts, clock()).await {
        Ok(_) => panic!("it starts"),
        Err(error) => error,
    };

    // Keys of one's own, or none.
    let error = refused(both.third("none", &at), Parts::FrontDoor).await;
    assert!(matches!(error, AppError::KeyMaterial(_)), "{error}");
    assert!(error.to_string().contains("server.key"), "{error}");
    copy_keys(&both.folder("one"), &both.folder("wrong"));
    let wrong = both.folder("wrong").join("server.key");
    std::fs::write(&wrong, "ab".repeat(32)).unwrap();
    let error = refused(both.third("wrong", &at), Parts::FrontDoor).await;
    assert!(matches!(error, AppError::KeyMaterial(_)), "{error}");
    assert!(error.to_string().contains("copy of theirs"), "{error}");

    std::fs::copy(both.folder("one").join("server.key"), &wrong).unwrap();
    let other_installation = both.folder("foreign");
    let mut settings = config(&other_installation, &at);
    settings.database = None;
    let running = Running::start(settings).await.unwrap();
    running.stop().await.unwrap();
    for file in ["mandate.key", "mandate.pub"] {
        let foreign = other_installation.join(file);
        std::fs::copy(foreign, both.folder("wrong").join(file)).unwrap();
    }
    let error = refused(both.third("wrong", &at), Parts::FrontDoor).await;
    assert!(matches!(error, AppError::KeyMaterial(_)), "{error}");
    assert!(error.to_string().contains("mandate.key"), "{error}");
    // `config check` says so too, and changes nothing.
    let checked = both.check("wrong", &at);
    assert!(
        !checked.ok && checked.said.contains("mandate.key"),
        "{checked:?}"
    );
    assert!(both.check("one", &at).ok);
    // A key that was rotated is the installation's, wherever it is copied.
    let begun = both.run("one", &at, &["mandate-key", "rotate"]);
    assert_eq!(begun.status.code(), Some(4), "{begun:?}");
    let rotated = both.run("one", &at, &["mandate-key", "rotate", "--copied"]);
    assert!(rotated.status.success(), "{rotated:?}");
    for file in ["mandate.key", "mandate.pub"] {
        std::fs::copy(
            both.folder("one").join(file),
            both.folder("wrong").join(file),
        )
        .unwrap();
    }
    let running = Running::start_parts(both.third("wrong", &at), Parts::FrontDoor, clock());
    running.await.unwrap().stop().await.unwrap();

    // Another database, or none any more.
    let third = both.folder("third");
    copy_keys(&both.folder("one"), &third);
    let running = Running::start_parts(both.third("third", &at), Parts::FrontDoor, clock());
    running.await.unwrap().stop().await.unwrap();
    let error = refused(both.third("third", &empty), Parts::FrontDoor).await;
    assert!(matches!(error, AppError::Ledger(_)), "{error}");
    let mut alone = both.third("third", &at);
    alone.database = None;
    let error = refused(alone, Parts::FrontDoor).await;
    assert!(error.to_string().contains("--database-url"), "{error}");

    // A folder that has all of that by itself.
    let own = both.folder("own");
    let mut settings = config(&own, &at);
    settings.database = None;
    let running = Running::start(settings).await.unwrap();
    running.stop().await.unwrap();
    let error = refused(both.third("own", &at), Parts::FrontDoor).await;
    assert!(error.to_string().contains("of its own"), "{error}");

    // What `config check` says before anything is started.
    for (folder, at, said) in [
        ("own", &at, "of its own"),
        ("third", &empty, "belongs to the database"),
    ] {
        let checked = both.check(folder, at);
        assert!(!checked.ok && checked.said.contains(said), "{checked:?}");
    }
    let checked = both.check("nowhere", &fresh);
    assert!(
        checked.ok && checked.said.contains("the first start creates"),
        "{checked:?}"
    );
    // It made nothing there, and neither did those that were refused.
    for database in [&empty, &fresh] {
        let checked = both.check("nowhere", database);
        assert!(checked.ok, "{checked:?}");
    }
    both.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn config_check_says_what_is_wrong_with_the_database_and_changes_nothing() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let (name, port) = (tokio::task::block_in_place(|| server.make()), server.port());
    let at = at(port, &name);
    let both = Installation::start(&at, &at).await;
    let psql = |statement: &str| {
        tokio::task::block_in_place(|| server.psql(&name, statement).unwrap());
    };
    let checked = both.check("one", &at);
    assert!(checked.ok, "{checked:?}");
    for word in ["PostgreSQL", "not encrypted", "schema"] {
        assert!(checked.said.contains(word), "{checked:?}");
    }
    let elsewhere = |port: u16, user: &str, name: &str| -> DatabaseUrl {
        let text = format!("postgresql://{user}@127.0.0.1:{port}/{name}");
        text.parse().unwrap()
    };
    psql(
        "CREATE ROLE onlooker LOGIN; GRANT USAGE ON SCHEMA countersign TO onlooker;
          GRANT SELECT ON ALL TABLES IN SCHEMA countersign TO onlooker",
    );
    for (url, said) in [
        (elsewhere(1, "countersign", &name), "cannot be reached"),
        (elsewhere(port, "nobody", &name), "refuses the login"),
        (elsewhere(port, "countersign", "missing"), "no database"),
        (elsewhere(port, "onlooker", &name), "lacks a right"),
    ] {
        let checked = both.check("one", &url);
        assert!(
            !checked.ok && checked.said.contains(said),
            "{url}: {checked:?}"
        );
    }
    let of_folder = both.folder("one");
    both.stop().await;
    for (statement, said) in [
        (
            "UPDATE countersign.migrations SET needs = 900 WHERE number = 1",
            "a later release",
        ),
        (
            "UPDATE countersign.migrations SET needs = 1;
             ALTER TABLE countersign.verify_accepted RENAME TO was_accepted",
            "is missing",
        ),
        (
            "ALTER DATABASE THIS SET default_transaction_read_only = on",
            "takes no changes",
        ),
    ] {
        psql(&statement.replace("THIS", &name));
        let checked = crate::installation::check(&of_folder, &at);
        assert!(
            !checked.ok && checked.said.contains(said),
            "{said}: {checked:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_database_was_restored_each_machine_accepts_what_is_lost_and_goes_on() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let (name, port) = (tokio::task::block_in_place(|| server.make()), server.port());
    let at = at(port, &name);
    let both = Installation::start(&at, &at).await;
    let account = both.one.account("kept").await;
    let path = format!("/api/tokens?id={account}");
    assert_eq!(both.other.status(&path, ADMIN).await, 200);
    for (door, name) in [(&both.one, "first"), (&both.other, "second")] {
        door.key(name, "reader", false).await;
    }
    let folder = both.stop().await;
    // As if all entries but the first were written after the moment that was restored.
    let statement = "SET session_replication_role = replica; SET search_path = countersign;
        DELETE FROM audit_entries WHERE sequence > 1;
        UPDATE audit_end SET (sequence, hash) =
            (SELECT sequence, hash FROM audit_entries ORDER BY sequence DESC LIMIT 1)";
    tokio::task::block_in_place(|| server.psql(&name, statement).unwrap());
    for machine in ["one", "other"] {
        let machine = folder.path().join(machine);
        let audit = |words: &[&str]| run(&machine, &at, words);
        let refused = audit(&["audit", "verify"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && said.contains("accept-loss"),
            "{said}"
        );
        let accepted = audit(&["audit", "accept-loss", "--reason", "restored"]);
        assert!(accepted.status.success(), "{accepted:?}");
        let nothing = audit(&["audit", "accept-loss", "--reason", "again"]);
        assert!(!nothing.status.success(), "{nothing:?}");
    }
    let settings = config(&folder.path().join("one"), &at);
    let again = Running::start_parts(settings, Parts::Everything, clock());
    let again = again.await.unwrap();
    let door = crate::installation::door(&again);
    door.until(&path, ADMIN, 200, PATIENCE).await;
    again.stop().await.unwrap();
    let verified = run(&folder.path().join("other"), &at, &["audit", "verify"]);
    assert!(verified.status.success(), "{verified:?}");
}

//! A database that has no space left, or takes no changes: nothing is given out that cannot be
//! recorded, answers say why, and everything goes on once it takes changes again.

use countersign_database::testing::Postgres;
use reqwest::Method;
use serde_json::{Value, json};

use crate::installation::{ADMIN, Installation, PATIENCE, SECRET, at};

/// Every table answers as PostgreSQL does that cannot make its file larger.
const FULL: &str = "
    CREATE FUNCTION public.is_full() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
    END $$;
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT relname FROM pg_class
            WHERE relnamespace = 'countersign'::regnamespace AND relkind = 'r' LOOP
            EXECUTE format('CREATE TRIGGER is_full BEFORE INSERT OR UPDATE ON countersign.%I
                            FOR EACH STATEMENT EXECUTE FUNCTION public.is_full()', name);
        END LOOP;
    END $$;";
const SPACE: &str = "DROP FUNCTION public.is_full() CASCADE;";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_gives_nothing_out_unrecorded_and_goes_on_with_space() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let name = tokio::task::block_in_place(|| server.make());
    let url = at(server.port(), &name);
    let both = Installation::start(&url, &url).await;
    let account = both.one.account("kept").await;
    let leased = both.one.key("leased", "reader", true).await;
    let grant = json!({"caller": "leased", "account": account, "reads": 2});
    both.one
        .done(Method::POST, "/api/grants", ADMIN, grant)
        .await;
    let path = format!("/api/tokens?id={account}");
    let uri = format!("otpauth://totp/more?secret={SECRET}");
    let psql = |sql: &str| tokio::task::block_in_place(|| server.psql(&name, sql).unwrap());

    psql(FULL);
    for door in [&both.one, &both.other] {
        let more = json!({ "uri": uri });
        let refused = door.send(Method::POST, "/api/accounts", ADMIN, more).await;
        assert_eq!(refused.status(), 503);
        // Neither a code that is counted nor one whose reading is recorded.
        for key in [leased.as_str(), ADMIN] {
            let refused = door.get(&path, key).await;
            assert_eq!(refused.status(), 503);
            let problem: Value = refused.json().await.unwrap();
            assert!(problem["token"].is_null(), "{problem}");
            assert_eq!(problem["database"], "full", "{problem}");
        }
        let named = json!({"name": "another", "role": "reader"});
        let refused = door.send(Method::POST, "/api/keys", ADMIN, named).await;
        assert_eq!(refused.status(), 503);
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["code"], "database-unavailable", "{problem}");
        assert_eq!(problem["database"], "full", "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        let full = "The shared database has no space left. ";
        assert!(detail.starts_with(full), "{problem}");
        // It answers, so that what needs no change goes on; what is wrong is there too.
        let begun = std::time::Instant::now();
        loop {
            let ready = door.get("/readyz", ADMIN).await;
            assert_eq!(ready.status(), 200);
            let ready: Value = ready.json().await.unwrap();
            if ready["databaseProblem"] == "full" {
                break;
            }
            // What was found is kept for half a second.
            assert!(begun.elapsed() < PATIENCE, "{ready}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    // A key that leaks just then can be revoked as soon as there is space, and not before.
    let revoked = both
        .other
        .send(Method::DELETE, "/api/keys/leased", ADMIN, json!({}))
        .await;
    assert_eq!(revoked.status(), 503);
    psql(SPACE);
    for door in [&both.one, &both.other] {
        door.until("/readyz", ADMIN, 200, PATIENCE).await;
        door.until(&path, ADMIN, 200, PATIENCE).await;
        door.account("afterwards").await;
    }
    let given = [&both.one, &both.other, &both.one, &both.other];
    let mut statuses = Vec::new();
    for door in given {
        statuses.push(door.status(&path, &leased).await.as_u16());
    }
    assert!(
        statuses.iter().filter(|it| **it == 200).count() <= 2,
        "{statuses:?}"
    );
    let checked = both.run("one", &url, &["audit", "verify", "--json"]);
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(checked["intact"], true, "{checked}");
    both.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_changes_is_named_so_and_all_goes_on_once_it_does() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let name = tokio::task::block_in_place(|| server.make());
    let url = at(server.port(), &name);
    let both = Installation::start(&url, &url).await;
    let account = both.one.account("kept").await;
    let path = format!("/api/tokens?id={account}");
    // As after a failover: connections are cut, and new ones find what is read-only.
    let set = |read_only: &str| {
        let sql = format!(
            "ALTER DATABASE \"{name}\" SET default_transaction_read_only = {read_only};
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}';"
        );
        tokio::task::block_in_place(|| server.psql("postgres", &sql).unwrap());
    };
    set("on");
    for door in [&both.one, &both.other] {
        door.until("/readyz", ADMIN, 503, PATIENCE).await;
        let ready: Value = door.get("/readyz", ADMIN).await.json().await.unwrap();
        assert_eq!(ready["databaseProblem"], "read-only", "{ready}");
        assert_ne!(door.status(&path, ADMIN).await, 200);
        let named = json!({"name": "another", "role": "reader"});
        let refused = door.send(Method::POST, "/api/keys", ADMIN, named).await;
        assert_eq!(refused.status(), 503);
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["database"], "read-only", "{problem}");
        assert!(!problem.to_string().contains(&name), "{problem}");
    }
    set("off");
    for door in [&both.one, &both.other] {
        door.until("/readyz", ADMIN, 200, PATIENCE).await;
        door.until(&path, ADMIN, 200, PATIENCE).await;
        door.account("afterwards").await;
    }
    both.stop().await;
}

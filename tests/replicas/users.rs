//! The owner of the tables, and users who only work with them.

use countersign_database::DatabaseUrl;
use countersign_database::testing::Postgres;
use reqwest::Method;
use serde_json::{Value, json};

use crate::installation::{ADMIN, Installation, PATIENCE, at, check, run};

/// What an operator grants, and what front doors and workers need, is the same.
#[tokio::test(flavor = "multi_thread")]
async fn front_doors_and_workers_need_no_right_on_the_tables_themselves() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let (name, port) = (tokio::task::block_in_place(|| server.make()), server.port());
    let psql = |statement: &str| {
        tokio::task::block_in_place(|| server.psql(&name, statement)).map(|said| said.len())
    };
    let owner = at(port, &name);
    let user = "works-only";
    let as_user: DatabaseUrl = format!("postgresql://works-only@127.0.0.1:{port}/{name}")
        .parse()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let migrate = |url: &DatabaseUrl| {
        let words = ["migrate", "schema", "--json", "--grant-to", user];
        run(folder.path(), url, &words)
    };

    let refused = migrate(&owner);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("has no user"),
        "{said}"
    );
    psql("CREATE ROLE \"works-only\" LOGIN").unwrap();
    let again = migrate(&owner);
    assert!(again.status.success(), "{again:?}");
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(
        (&again["applied"], &again["grantedTo"]),
        (&json!(0), &json!([user]))
    );
    let refused = migrate(&as_user);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("lacks a right"),
        "{said}"
    );

    let both = Installation::start(&as_user, &as_user).await;
    let account = both.one.account("owned").await;
    let reader = both.one.key("reader", "reader", true).await;
    let grant = json!({"caller": "reader", "account": account, "reads": 9});
    both.other
        .done(Method::POST, "/api/grants", ADMIN, grant)
        .await;
    let path = format!("/api/tokens?id={account}");
    both.other.until(&path, &reader, 200, PATIENCE).await;
    both.one
        .done(Method::DELETE, "/api/keys/reader", ADMIN, json!({}))
        .await;
    both.other.until(&path, &reader, 401, PATIENCE).await;
    let checked = both.check("one", &as_user);
    assert!(checked.ok, "{checked:?}");
    both.stop().await;

    for statement in [
        "ALTER TABLE countersign.audit_entries DISABLE TRIGGER ALL",
        "DROP TABLE countersign.ledger_decisions",
        "CREATE TABLE countersign.another ()",
        "UPDATE countersign.migrations SET needs = 900",
    ] {
        let done = psql(&format!("SET ROLE \"works-only\"; {statement}"));
        let said = done.expect_err(statement);
        assert!(
            said.contains("denied") || said.contains("must be owner"),
            "{said}"
        );
    }

    // A release whose tables are not there yet.
    psql("DROP SCHEMA countersign CASCADE").unwrap();
    let checked = check(folder.path(), &as_user);
    assert!(
        !checked.ok && checked.said.contains("migrate schema"),
        "{checked:?}"
    );
}

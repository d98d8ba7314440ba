//! The embedded task hub in a PostgreSQL database: its role reaches nothing of what Countersign keeps, and
//! one that could is refused.

use std::path::Path;
use std::process::Output;

use countersign::app::{AppError, Parts, Running};
use countersign::config::{Config, DatabaseConfig};
use countersign_database::testing::Postgres;
use countersign_database::{DatabaseUrl, ReachError};
use serde_json::Value;

use crate::installation::{ADMIN, PATIENCE, clock, config, door};

/// A server with a database for Countersign and one for the hub, each with a role that owns it.
struct Two {
    server: &'static Postgres,
    own: DatabaseUrl,
    hub: DatabaseUrl,
    own_name: String,
    hub_name: String,
}

impl Two {
    fn make() -> Option<Self> {
        tokio::task::block_in_place(|| {
            let server = Postgres::shared()?;
            let (own_name, hub_name) = (server.make(), server.make());
            for name in [&own_name, &hub_name] {
                let sql = format!(
                    "CREATE ROLE role_{name} LOGIN; ALTER DATABASE {name} OWNER TO role_{name}"
                );
                server.psql("postgres", &sql).unwrap();
            }
            let port = server.port();
            let url = |role: &str, name: &str| {
                let text = format!("postgresql://role_{role}@127.0.0.1:{port}/{name}");
                text.parse().unwrap()
            };
            Some(Self {
                own: url(&own_name, &own_name),
                hub: url(&hub_name, &hub_name),
                server,
                own_name,
                hub_name,
            })
        })
    }

    fn psql(&self, name: &str, sql: &str) -> Result<String, String> {
        tokio::task::block_in_place(|| self.server.psql(name, sql))
    }

    fn config(&self, folder: &Path) -> Config {
        with_hub(config(folder, &self.own), &self.hub)
    }
}

fn with_hub(mut config: Config, hub: &DatabaseUrl) -> Config {
    config.hub_database = Some(DatabaseConfig {
        url: hub.clone(),
        tokens: false,
    });
    config
}

async fn started(config: Config) -> Result<Running, AppError> {
    Running::start_parts(config, Parts::Everything, clock()).await
}

async fn refused(config: Config) -> String {
    match started(config).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hubs_role_cannot_touch_keys_grants_ledger_or_audit_log() {
    let Some(two) = Two::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("one");
    let running = started(two.config(&home)).await.unwrap();
    let front = door(&running);
    front.until("/readyz", ADMIN, 200, PATIENCE).await;
    let account = front.account("enrolled").await;

    let instances = two.psql(&two.hub_name, "SELECT count(*) FROM durabletask.instances");
    assert_ne!(instances.unwrap(), "0", "the hub is in its database");
    assert!(!home.join("scheduler.sqlite3").exists());
    let tables = two
        .psql(
            &two.own_name,
            "SELECT relname FROM pg_class WHERE relnamespace = 'countersign'::regnamespace AND relkind = 'r'",
        )
        .unwrap();
    let as_hub = format!("SET ROLE role_{}", two.hub_name);
    let mut tried = 0;
    for table in tables.lines() {
        for statement in [
            "SELECT * FROM it",
            "INSERT INTO it DEFAULT VALUES",
            "DELETE FROM it",
            "TRUNCATE it",
            "LOCK TABLE it",
            "DROP TABLE it",
        ] {
            let sql = statement.replace("it", &format!("countersign.{table}"));
            let said = two.psql(&two.own_name, &format!("{as_hub}; {sql}"));
            let said = said.expect_err(&sql);
            assert!(said.contains("permission denied"), "{sql}: {said}");
            tried += 1;
        }
    }
    println!("{tried} statements on Countersign's tables were refused to the hub's role");
    assert!(tried > 100, "{tables}");
    running.stop().await.unwrap();

    // It goes on where it was, and not with an empty hub in the folder.
    let without = config(&home, &two.own);
    let said = refused(without).await;
    assert!(said.contains("are in the database"), "{said}");
    let running = started(two.config(&home)).await.unwrap();
    let front = door(&running);
    front.until("/readyz", ADMIN, 200, PATIENCE).await;
    front
        .until(&format!("/api/tokens?id={account}"), ADMIN, 200, PATIENCE)
        .await;
    front.account("enrolled later").await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_could_reach_countersigns_tables_is_refused() {
    let Some(two) = Two::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("one");
    // The first start makes the tables.
    let running = started(two.config(&home)).await.unwrap();
    running.stop().await.unwrap();

    // The role of Countersign itself, in another database of its server and by another name of it.
    let port = two.server.port();
    let same: DatabaseUrl = format!(
        "postgresql://role_{}@localhost:{port}/{}",
        two.own_name, two.own_name
    )
    .parse()
    .unwrap();
    let error = started(with_hub(config(&home, &two.own), &same)).await;
    let error = error.err().unwrap();
    let is_reach = |error: &AppError| {
        matches!(
            error,
            AppError::HubReaches(ReachError::Reaches { .. } | ReachError::SameRole { .. })
        )
    };
    assert!(is_reach(&error), "{error}");

    let (own, hub) = (&two.own_name, &two.hub_name);
    for (rights, with, without) in [
        (
            format!("ALTER ROLE role_{hub} SUPERUSER"),
            "it is a superuser",
            format!("ALTER ROLE role_{hub} NOSUPERUSER"),
        ),
        (
            format!("ALTER ROLE role_{hub} REPLICATION"),
            "REPLICATION",
            format!("ALTER ROLE role_{hub} NOREPLICATION"),
        ),
        (
            format!("GRANT role_{own} TO role_{hub}"),
            "it is a member of Countersign's role",
            format!("REVOKE role_{own} FROM role_{hub}"),
        ),
        (
            format!("GRANT pg_read_server_files TO role_{hub}"),
            "files or programs",
            format!("REVOKE pg_read_server_files FROM role_{hub}"),
        ),
        (
            format!(
                "GRANT USAGE ON SCHEMA countersign TO role_{hub}; \
                 GRANT SELECT (id) ON countersign.ledger TO role_{hub}"
            ),
            "rights on countersign.ledger",
            format!(
                "REVOKE USAGE ON SCHEMA countersign FROM role_{hub}; \
                 REVOKE SELECT (id) ON countersign.ledger FROM role_{hub}"
            ),
        ),
        (
            format!(
                "CREATE ROLE team_{hub} NOLOGIN; GRANT team_{hub} TO role_{hub}; \
                 GRANT USAGE ON SCHEMA countersign TO team_{hub}; \
                 GRANT UPDATE ON countersign.audit_entries TO team_{hub}"
            ),
            "as a member of team_",
            format!("REVOKE team_{hub} FROM role_{hub}"),
        ),
    ] {
        two.psql(own, &rights).unwrap();
        let error = started(two.config(&home)).await.err().unwrap();
        let said = error.to_string();
        assert!(is_reach(&error) && said.contains(with), "{rights}: {said}");
        assert!(said.contains("CREATE DATABASE hub OWNER hub"), "{said}");
        let checked = check(&home, &two);
        assert!(checked.contains(with), "{rights}: {checked}");
        two.psql(own, &without).unwrap();
    }
    // Without these it starts.
    let checked = check(&home, &two);
    assert!(checked.contains(", schema "), "{checked}");
    let running = started(two.config(&home)).await.unwrap();
    running.stop().await.unwrap();

    // In one database with Countersign, a role of its own may have its own schema, and no more.
    let shared: DatabaseUrl = format!("postgresql://role_{hub}@127.0.0.1:{port}/{own}")
        .parse()
        .unwrap();
    two.psql(
        own,
        &format!("GRANT CREATE ON DATABASE {own} TO role_{hub}"),
    )
    .unwrap();
    let second = folder.path().join("second");
    let mut settings = with_hub(config(&second, &two.own), &shared);
    settings.data_dir = home.clone();
    std::fs::remove_file(home.join("scheduler.elsewhere")).unwrap();
    let running = started(settings).await.unwrap();
    running.stop().await.unwrap();
}

fn run(folder: &Path, words: &[&str], own: Option<&DatabaseUrl>, hub: &DatabaseUrl) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(words).arg("--data-dir").arg(folder);
    if let Some(own) = own {
        command.env("COUNTERSIGN_DATABASE_URL", own.to_string());
    }
    command.env("COUNTERSIGN_HUB_DATABASE_URL", hub.to_string());
    tokio::task::block_in_place(|| command.output().unwrap())
}

/// What `config check` says of the hub's database.
fn check(folder: &Path, two: &Two) -> String {
    let output = run(
        folder,
        &["config", "check", "--json"],
        Some(&two.own),
        &two.hub,
    );
    let document: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let at = document["settings"]["hub-database-url"].as_str().unwrap();
    assert!(at.contains(&two.hub_name), "{at}");
    let mut checks = document["checks"].as_array().unwrap().iter();
    let found = checks.find(|check| check["name"] == "task hub's database");
    found.unwrap()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_says_what_to_do_about_the_hub_and_has_the_rest() {
    let Some(two) = Two::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("one");
    let settings = || {
        let mut config = Config::embedded(&home);
        config.admin_token = Some(ADMIN.to_owned().into());
        with_hub(config, &two.hub)
    };
    // Others could use that hub, with an audit log of their own.
    let said = refused(settings()).await;
    assert!(said.contains("a task hub in a database"), "{said}");
    let alone = || {
        let mut config = settings();
        config.single_front_door = true;
        config
    };
    let running = started(alone()).await.unwrap();
    let front = door(&running);
    front.until("/readyz", ADMIN, 200, PATIENCE).await;
    front.account("enrolled").await;
    let file = folder.path().join("backup");
    let words = [
        "backup",
        "create",
        file.to_str().unwrap(),
        "--unencrypted",
        "--with-all-secrets-in-clear",
        "--json",
    ];
    let made = run(&home, &words, None, &two.hub);
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{said}");
    assert!(said.contains("pg_dump --schema=durabletask"), "{said}");
    let document: Value = serde_json::from_slice(&made.stdout).unwrap();
    let at = document["hubDatabase"].as_str().unwrap();
    assert_eq!(at, two.hub.to_string());
    assert_eq!(document["contents"]["accounts"], 1);
    assert_eq!(document["contents"]["embeddedHub"], false);
    running.stop().await.unwrap();

    // The scheduler's own backup says the same.
    let copy = folder.path().join("copy");
    let words = ["scheduler", "backup", copy.to_str().unwrap()];
    let refused = run(&home, &words, None, &two.hub);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("pg_dump"),
        "{said}"
    );

    // What is restored knows where its hub is.
    let there = folder.path().join("restored");
    let words = ["backup", "restore", file.to_str().unwrap()];
    let restored = run(&there, &words, None, &two.hub);
    assert!(restored.status.success(), "{restored:?}");
    let mut config = alone();
    config.data_dir = there;
    let running = started(config).await.unwrap();
    door(&running).until("/readyz", ADMIN, 200, PATIENCE).await;
    running.stop().await.unwrap();
}

/// A folder with a task hub of its own does not begin with another one unasked.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_instances_is_moved_before_its_hub_is_in_a_database() {
    let Some(two) = Two::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("one");
    let running = started(config(&home, &two.own)).await.unwrap();
    let front = door(&running);
    front.until("/readyz", ADMIN, 200, PATIENCE).await;
    front.account("before").await;
    running.stop().await.unwrap();
    let said = refused(two.config(&home)).await;
    assert!(said.contains("migrate to-database"), "{said}");

    let moved = run(
        &home,
        &["scheduler", "migrate", "to-database", "--json"],
        Some(&two.own),
        &two.hub,
    );
    assert!(moved.status.success(), "{moved:?}");
    let document: Value = serde_json::from_slice(&moved.stdout).unwrap();
    assert_ne!(document["rows"]["instances"], 0, "{document}");
    let running = started(two.config(&home)).await.unwrap();
    let front = door(&running);
    front.until("/readyz", ADMIN, 200, PATIENCE).await;
    front.account("after").await;
    let both = two.psql(
        &two.hub_name,
        "SELECT count(*) > 1 FROM durabletask.instances",
    );
    assert_eq!(both.unwrap(), "t");
    running.stop().await.unwrap();
}

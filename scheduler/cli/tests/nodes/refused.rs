//! Databases that cannot be used: each is refused when the program starts, with what is wrong and
//! what to do, and without the password.

use std::net::TcpListener;

use countersign_database::testing::{Postgres, Setup};
use rcgen::generate_simple_self_signed;

use crate::support::{Process, program, stderr};
use crate::url;

/// What the program says on a database that it does not take, and its exit code.
fn said(url: &str) -> (Option<i32>, String) {
    let output = program()
        .env("DURABLETASK_DATABASE_URL", url)
        .args([
            "--listen",
            "127.0.0.1:0",
            "--dashboard",
            "none",
            "--log",
            "error",
        ])
        .output()
        .unwrap();
    let text = stderr(&output);
    assert!(!text.contains("s3cret"), "{text}");
    (output.status.code(), text)
}

fn refuses(url: &str, with: &str) {
    let (code, text) = said(url);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(with), "{with} in {text}");
}

#[test]
fn settings_that_contradict_each_other() {
    let wrong = "mysql://a:s3cret@127.0.0.1/hub";
    let (code, text) = said(wrong);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("--database-url"), "{text}");
    let azure = "postgresql://a@x.postgres.database.azure.com/hub";
    let (code, text) = said(azure);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("countersign scheduler"), "{text}");
    let fine = "postgresql://a@127.0.0.1/hub";
    for more in [
        &["--memory"][..],
        &["--data-dir", "/tmp"],
        &["--node-name", "with spaces"],
    ] {
        let output = program()
            .env("DURABLETASK_DATABASE_URL", fine)
            .args(more)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{more:?}");
    }
    let output = program().args(["--node-name", "a"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a name without a database");
}

#[test]
fn a_database_that_is_not_there() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    refuses(&url(server, "none"), "there is no database");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let nobody = format!("postgresql://a:s3cret@127.0.0.1:{port}/hub");
    refuses(&nobody, "cannot be reached");
}

#[test]
fn a_login_that_is_not_let_in_and_a_server_that_is_not_trusted() {
    let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let tls = (made.cert.pem(), made.signing_key.serialize_pem());
    let Some(server) = Postgres::start(Setup {
        password: Some("right".to_owned()),
        tls: Some(tls),
        ..Setup::default()
    }) else {
        return;
    };
    let port = server.port();
    let wrong = format!("postgresql://countersign:s3cret@127.0.0.1:{port}/postgres");
    refuses(&wrong, "refuses the login");
    refuses(&format!("{wrong}?sslmode=verify-full"), "is not trusted");
}

#[test]
fn a_database_that_takes_no_changes() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let name = server.make();
    let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    server.psql("postgres", &sql).unwrap();
    refuses(&url(server, &name), "takes no changes");
    let Some(replica) = Postgres::start(Setup {
        replica: true,
        ..Setup::default()
    }) else {
        return;
    };
    refuses(&url(&replica, "postgres"), "takes no changes");
}

#[test]
fn a_role_that_may_not_make_tables() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let name = server.make();
    server
        .psql(
            &name,
            "CREATE ROLE guest LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC",
        )
        .unwrap();
    let guest = url(server, &name).replace("countersign@", "guest@");
    refuses(&guest, "lacks a right");
}

#[tokio::test]
async fn a_schema_that_is_newer_incomplete_or_another_programs() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let foreign = server.make();
    let other = "CREATE SCHEMA durabletask; CREATE TABLE durabletask.other (a int)";
    server.psql(&foreign, other).unwrap();
    refuses(&url(server, &foreign), "belongs to another program");
    for (change, with) in [
        (
            "INSERT INTO durabletask.migrations (number, digest, needs) VALUES (3, 'x', 3)",
            "use a later release",
        ),
        ("DROP TABLE durabletask.tags", "the table tags is missing"),
        (
            "UPDATE durabletask.migrations SET digest = 'x'",
            "is another one than this release's",
        ),
    ] {
        let name = server.make();
        let process = Process::node(&url(server, &name), "first", &[]);
        process.until_ready().await;
        assert!(process.terminate().success());
        server.psql(&name, change).unwrap();
        refuses(&url(server, &name), with);
    }
    // A later release that has only added something does not stop this one.
    let name = server.make();
    let process = Process::node(&url(server, &name), "first", &[]);
    process.until_ready().await;
    assert!(process.terminate().success());
    let later = "INSERT INTO durabletask.migrations (number, digest, needs) VALUES (3, 'x', 1)";
    server.psql(&name, later).unwrap();
    Process::node(&url(server, &name), "again", &[])
        .until_ready()
        .await;
}

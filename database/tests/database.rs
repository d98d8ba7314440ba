//! What can be wrong with a database, and that each of it is told in words; and that changes
//! are heard, or that it is known that they are not.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "database/pooler.rs"]
mod pooler;
#[path = "database/proxy.rs"]
mod proxy;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use countersign_database::testing::{Postgres, Setup};
use countersign_database::{
    Change, Database, DatabaseError, DatabaseUrl, PasswordFailure, PasswordSource, Subscription,
    Transaction, announce, execute, one,
};
use futures_util::FutureExt as _;
use pooler::Pooler;
use proxy::Proxy;
use zeroize::Zeroizing;

const PASSWORD: &str = "pa55 w/ @ sign";
const ENCODED: &str = "pa55%20w%2F%20%40%20sign";

fn shared() -> Option<&'static Postgres> {
    tokio::task::block_in_place(Postgres::shared)
}

fn start(setup: Setup) -> Option<Postgres> {
    tokio::task::block_in_place(|| Postgres::start(setup))
}

fn url(text: &str) -> DatabaseUrl {
    text.parse().unwrap()
}

async fn refused(url: &DatabaseUrl) -> DatabaseError {
    let opened = Database::open(url.clone(), None, 3).await;
    opened.err().expect("it is not opened")
}

/// All that is said of an error.
fn told(error: &DatabaseError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

struct Fixed(&'static str, AtomicUsize);

#[async_trait]
impl PasswordSource for Fixed {
    async fn password(&self) -> Result<Zeroizing<String>, PasswordFailure> {
        self.1.fetch_add(1, Ordering::Relaxed);
        match self.0 {
            "" => Err(PasswordFailure("the identity endpoint is away".into())),
            password => Ok(Zeroizing::new(password.to_owned())),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_by_password_by_tls_or_not_at_all() {
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (authority.cert.pem(), authority.signing_key.serialize_pem());
    let Some(server) = start(Setup {
        password: Some(PASSWORD.to_owned()),
        tls: Some((certificate.clone(), key)),
        ..Setup::default()
    }) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, &certificate).unwrap();
    let root = root.display();
    let (port, name) = (server.port(), server.make());
    let at = |user: &str, host: &str, query: &str| {
        url(&format!("postgresql://{user}@{host}:{port}/{name}{query}"))
    };
    let right = format!("countersign:{ENCODED}");

    let by_tls = at(&right, "localhost", &format!("?sslrootcert={root}"));
    let database = Database::open(by_tls, None, 2).await.unwrap();
    let encrypted = database.read(|transaction| {
        async move {
            let row = transaction
                .query_one(
                    "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
                    &[],
                )
                .await?;
            Ok::<bool, DatabaseError>(row.try_get(0)?)
        }
        .boxed()
    });
    assert!(encrypted.await.unwrap());
    let plain = at(&right, "127.0.0.1", "");
    Database::open(plain.clone(), None, 2).await.unwrap();

    // The certificate is for localhost, and nobody whom the system knows has signed it.
    for (host, query) in [
        ("127.0.0.1", format!("?sslrootcert={root}")),
        ("localhost", "?sslmode=verify-full".to_owned()),
    ] {
        let error = refused(&at(&right, host, &query)).await;
        assert!(
            matches!(error, DatabaseError::Untrusted { .. }),
            "{error:?}"
        );
        assert!(!told(&error).contains("pa55"), "{error:?}");
    }
    for wrong in ["countersign:s3cret", "nobody:s3cret", "countersign"] {
        let error = refused(&at(wrong, "127.0.0.1", "")).await;
        assert!(matches!(error, DatabaseError::Login { .. }), "{error:?}");
        assert!(!told(&error).contains("s3cret"), "{error:?}");
    }
    let error = refused(&url(&format!(
        "postgresql://{right}@127.0.0.1:{port}/missing"
    )))
    .await;
    assert!(matches!(error, DatabaseError::Missing { .. }), "{error:?}");
    assert!(!told(&error).contains("pa55"), "{error:?}");

    // A source of passwords is asked for every connection.
    let source = Arc::new(Fixed(PASSWORD, AtomicUsize::new(0)));
    let without = at("countersign", "127.0.0.1", "");
    let database = Database::open(without.clone(), Some(source.clone()), 1).await;
    database.unwrap().ping().await.unwrap();
    assert!(source.1.load(Ordering::Relaxed) >= 2);
    let none = Arc::new(Fixed("", AtomicUsize::new(0)));
    let error = Database::open(without, Some(none), 1).await.err().unwrap();
    assert!(matches!(error, DatabaseError::Password(_)), "{error:?}");
    assert!(error.to_string().contains("identity endpoint"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_server_or_one_without_tls_is_reported() {
    let nothing = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nothing.local_addr().unwrap().port();
    drop(nothing);
    let error = refused(&url(&format!("postgres://a:s3cret@127.0.0.1:{port}/b"))).await;
    assert!(
        matches!(error, DatabaseError::Unreachable { .. }),
        "{error:?}"
    );
    let text = told(&error);
    assert!(
        text.contains(&port.to_string()) && !text.contains("s3cret"),
        "{text}"
    );
    let folder = tempfile::tempdir().unwrap();
    for (file, content) in [("empty.pem", ""), ("no.pem", "no certificate")] {
        let file = folder.path().join(file);
        std::fs::write(&file, content).unwrap();
        let at = format!("postgres://a@localhost/b?sslrootcert={}", file.display());
        let error = refused(&url(&at)).await;
        assert!(matches!(error, DatabaseError::Root { .. }), "{error:?}");
    }
    let error = refused(&url("postgres://a@localhost/b?sslrootcert=/missing.pem")).await;
    assert!(matches!(error, DatabaseError::Root { .. }), "{error:?}");

    let Some(server) = shared() else { return };
    let (port, name) = (server.port(), server.make());
    let at = format!("postgres://countersign@localhost:{port}/{name}?sslmode=verify-full");
    let error = refused(&url(&at)).await;
    assert!(matches!(error, DatabaseError::NoTls { .. }), "{error:?}");
    assert!(error.to_string().contains("sslmode=disable"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_no_changes_is_refused_and_known_when_it_becomes_so() {
    let Some(replica) = start(Setup {
        replica: true,
        ..Setup::default()
    }) else {
        return;
    };
    let error = refused(&replica.database_named("postgres")).await;
    assert!(matches!(error, DatabaseError::ReadOnly), "{error:?}");
    assert!(error.to_string().contains("primary"), "{error}");

    let Some(server) = shared() else { return };
    let name = server.make();
    let at = server.database_named(&name);
    let database = Database::open(at.clone(), None, 2).await.unwrap();
    database.ping().await.unwrap();
    let set = |on: &str| {
        server
            .psql(
                "postgres",
                &format!("ALTER DATABASE {name} SET default_transaction_read_only = {on}"),
            )
            .unwrap()
    };
    set("on");
    let error = refused(&at).await;
    assert!(matches!(error, DatabaseError::ReadOnly), "{error:?}");
    set("off");
    Database::open(at, None, 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_this_release_cannot_use_is_refused_and_left_as_it_is() {
    let Some(server) = shared() else { return };
    let tables = |name: &str| {
        server
            .psql(
                name,
                "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('countersign')",
            )
            .unwrap()
    };
    let fresh = async || {
        let name = server.make();
        let url = server.database_named(&name);
        Database::open(url.clone(), None, 2).await.unwrap();
        (name, url)
    };
    // A later release has added something that this one need not understand.
    let (name, at) = fresh().await;
    server
        .psql(
            &name,
            "INSERT INTO countersign.migrations (number, digest, needs)
             SELECT max(number) + 1, 'x', 1 FROM countersign.migrations",
        )
        .unwrap();
    Database::open(at.clone(), None, 2).await.unwrap();
    // And something that it would have to.
    server
        .psql(
            &name,
            "UPDATE countersign.migrations SET needs = 99 WHERE digest = 'x'",
        )
        .unwrap();
    let before = tables(&name);
    let error = refused(&at).await;
    assert!(
        matches!(error, DatabaseError::Newer { needed: 99, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("use a later release"), "{error}");
    assert_eq!(tables(&name), before);

    for (statement, says) in [
        (
            "DROP TABLE countersign.ledger_recovery_given",
            "ledger_recovery_given",
        ),
        (
            "DELETE FROM countersign.migrations WHERE number = 1",
            "is missing",
        ),
        (
            "UPDATE countersign.migrations SET digest = 'y'",
            "another one",
        ),
        (
            "WITH last AS (SELECT max(number) AS number FROM countersign.migrations)
             DELETE FROM countersign.migrations USING last WHERE migrations.number = last.number",
            "cannot be applied",
        ),
    ] {
        let (name, at) = fresh().await;
        if statement.starts_with("DELETE") {
            let later = "INSERT INTO countersign.migrations (number, digest, needs)
                         SELECT max(number) + 1, 'x', 1 FROM countersign.migrations";
            server.psql(&name, later).unwrap();
        }
        server.psql(&name, statement).unwrap();
        let error = refused(&at).await;
        assert!(
            matches!(error, DatabaseError::Incomplete { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(says), "{error}");
    }

    // Someone else's.
    let name = server.make();
    let theirs = "CREATE SCHEMA countersign; CREATE TABLE countersign.theirs (c text)";
    server.psql(&name, theirs).unwrap();
    let error = refused(&server.database_named(&name)).await;
    assert!(matches!(error, DatabaseError::Foreign(_)), "{error:?}");
    assert_eq!(tables(&name), "1");

    // A user who may log in and nothing else.
    let name = server.make();
    server
        .psql(
            &name,
            "CREATE ROLE guest LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC",
        )
        .unwrap();
    let port = server.port();
    let error = refused(&url(&format!("postgres://guest@127.0.0.1:{port}/{name}"))).await;
    assert!(matches!(error, DatabaseError::Denied(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_start_at_once_make_one_schema() {
    let Some(server) = shared() else { return };
    let at = server.database();
    let starts = (0..8).map(|_| Database::open(at.clone(), None, 2));
    for opened in futures_util::future::join_all(starts).await {
        opened.unwrap().ping().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_connections_are_in_use_or_silent_the_answer_comes_within_a_bound() {
    let Some(server) = shared() else { return };
    let proxy = Proxy::to(server.port()).await;
    let (port, name) = (proxy.port(), server.make());
    let at = url(&format!("postgres://countersign@127.0.0.1:{port}/{name}"));
    let database = Database::open(at, None, 1).await.unwrap();
    proxy.block();
    let begun = Instant::now();
    let (first, second) = tokio::join!(database.ping(), database.ping());
    for answer in [&first, &second] {
        assert!(
            matches!(
                answer,
                Err(DatabaseError::Late(_) | DatabaseError::Exhausted(1))
            ),
            "{answer:?}"
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(12));
    proxy.unblock();
    database.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_had_by_one_process_at_a_time_and_ends_with_it() {
    let Some(server) = shared() else { return };
    let name = server.make();
    let at = server.database_named(&name);
    let one = Database::open(at.clone(), None, 4).await.unwrap();
    let other = Database::open(at, None, 4).await.unwrap();
    let turn = one.turn("work", "a").await.unwrap();
    assert!(other.turn_if_free("work", "a").await.unwrap().is_none());
    assert!(one.turn_if_free("work", "a").await.unwrap().is_none());
    let beside = other.turn_if_free("work", "b").await.unwrap();
    assert!(beside.is_some(), "at something else");
    // A process that waits for it has it as soon as it ends.
    let waiting = tokio::spawn({
        let other = other.clone();
        async move { other.turn("work", "a").await }
    });
    turn.go_on().await.unwrap();
    turn.end().await;
    let turn = waiting.await.unwrap().unwrap();
    // Half of a process's connections hold turns at most: what is done in them needs others.
    assert!(matches!(
        other.turn("work", "c").await,
        Err(DatabaseError::Late(_))
    ));
    other.ping().await.unwrap();
    drop(beside);

    // Its connection is lost: it ends, and its holder learns that as it goes on.
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND state = 'idle in transaction'";
    tokio::task::block_in_place(|| server.psql(&name, end).unwrap());
    let next = one.turn("work", "a").await.unwrap();
    assert!(turn.go_on().await.is_err());
    // As does one that is given up.
    drop(next);
    one.turn("work", "a").await.unwrap().end().await;
}

/// Dirty and non-repeatable reads, on which nothing here relies and of which nothing is seen.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_is_seen_by_nobody_and_a_reading_sees_one_moment() {
    let Some(server) = shared() else { return };
    let database = Database::open(server.database(), None, 4).await.unwrap();
    let count = async |database: &Database| -> i64 {
        let rows = database
            .read(|transaction| marks(transaction).boxed())
            .await;
        rows.unwrap()
    };
    let inside = Arc::new(tokio::sync::Barrier::new(2));
    let undone = tokio::spawn({
        let (database, inside) = (database.clone(), Arc::clone(&inside));
        async move {
            database
                .write(|transaction| {
                    let inside = Arc::clone(&inside);
                    async move {
                        mark(transaction, "undone").await?;
                        inside.wait().await;
                        inside.wait().await;
                        Err::<(), _>(DatabaseError::Crowded)
                    }
                    .boxed()
                })
                .await
        }
    });
    inside.wait().await;
    assert_eq!(count(&database).await, 0, "before it is undone");
    inside.wait().await;
    assert!(undone.await.unwrap().is_err());
    assert_eq!(count(&database).await, 0, "after it was undone");

    let reading = tokio::spawn({
        let (database, inside) = (database.clone(), Arc::clone(&inside));
        async move {
            database
                .read(|transaction| {
                    let inside = Arc::clone(&inside);
                    async move {
                        let before = marks(transaction).await?;
                        inside.wait().await;
                        inside.wait().await;
                        Ok::<_, DatabaseError>((before, marks(transaction).await?))
                    }
                    .boxed()
                })
                .await
        }
    });
    inside.wait().await;
    let done = database.write(|transaction| mark(transaction, "done").boxed());
    done.await.unwrap();
    inside.wait().await;
    assert_eq!(reading.await.unwrap().unwrap(), (0, 0));
    assert_eq!(count(&database).await, 1);
}

async fn mark(transaction: &Transaction<'_>, name: &str) -> Result<(), DatabaseError> {
    let sql = "INSERT INTO audit_marks (journal, sequence) VALUES ($1, 1)";
    execute(transaction, sql, &[&name]).await.map(drop)
}

async fn marks(transaction: &Transaction<'_>) -> Result<i64, DatabaseError> {
    let row = one(transaction, "SELECT count(*) FROM audit_marks", &[]).await?;
    Ok(row.unwrap().try_get(0)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_gives_each_transaction_another_session_is_refused_and_others_serve() {
    let Some(server) = shared() else { return };
    let name = server.make();
    for (mode, serves) in [("transaction", false), ("session", true)] {
        let Some(pooler) = tokio::task::block_in_place(|| Pooler::start(server, &name, mode))
        else {
            return;
        };
        let at = url(&format!(
            "postgres://countersign@127.0.0.1:{}/{name}",
            pooler.port()
        ));
        match Database::open(at, None, 2).await {
            Ok(database) => {
                assert!(serves, "{mode}");
                let changes = database.follow(Arc::new(Heard::default()));
                changes.until_live().await;
            }
            Err(error) => {
                assert!(!serves, "{mode}: {error:?}");
                assert!(matches!(error, DatabaseError::Pooler), "{error:?}");
                assert!(error.to_string().contains("session mode"), "{error}");
            }
        }
    }
}

/// What was heard, in its order.
#[derive(Default)]
struct Heard(Mutex<Vec<Option<Change>>>);

impl Heard {
    fn all(&self) -> Vec<Option<Change>> {
        self.0.lock().unwrap().clone()
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl Subscription for Heard {
    fn changed(&self, change: &Change) {
        self.0.lock().unwrap().push(Some(change.clone()));
    }

    fn lost(&self) {
        self.0.lock().unwrap().push(None);
    }
}

async fn change(database: &Database, detail: &str) {
    let detail = detail.to_owned();
    database
        .write(move |transaction| {
            let detail = detail.clone();
            async move { announce(transaction, "keys", &detail).await }.boxed()
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_arrives_within_a_second_and_silence_differs_from_a_dead_connection() {
    let Some(server) = shared() else { return };
    let name = server.make();
    let near = server.database_named(&name);
    let writer = Database::open(near, None, 2).await.unwrap();
    let proxy = Proxy::to(server.port()).await;
    let port = proxy.port();
    let at = url(&format!("postgres://countersign@127.0.0.1:{port}/{name}"));
    let reader = Database::open(at, None, 2).await.unwrap();
    let heard = Arc::new(Heard::default());
    let changes = reader.follow(heard.clone());
    assert!(!changes.is_live(), "nothing is proven yet");
    changes.until_live().await;
    assert_eq!(heard.all(), [None], "what was before may be anything");
    heard.clear();

    let begun = Instant::now();
    change(&writer, "a key with spaces").await;
    while heard.all().is_empty() {
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "it is heard in time"
        );
        tokio::task::yield_now().await;
    }
    let expected = Change {
        topic: "keys".to_owned(),
        detail: "a key with spaces".to_owned(),
    };
    assert_eq!(heard.all(), [Some(expected)]);
    heard.clear();
    // One that is too long to be told stands for all of its kind.
    change(&writer, &"x".repeat(10_000)).await;
    while heard.all().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(heard.all()[0].as_ref().unwrap().detail, "");
    heard.clear();

    // Packets are dropped without a word: within a second nothing is trusted.
    proxy.block();
    let blocked = Instant::now();
    while changes.is_live() {
        assert!(blocked.elapsed() < Duration::from_millis(1_100));
        tokio::task::yield_now().await;
    }
    change(&writer, "while it was blocked").await;
    assert!(!changes.is_live());
    // Whatever becomes of the connection, it is live again only after that was heard, or
    // anything may have been changed.
    proxy.unblock();
    changes.until_live().await;
    let missed = Change {
        topic: "keys".to_owned(),
        detail: "while it was blocked".to_owned(),
    };
    let all = heard.all();
    assert!(
        all.contains(&None) || all.contains(&Some(missed)),
        "{all:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_restarted_is_followed_again() {
    let Some(mut server) = start(Setup::default()) else {
        return;
    };
    let database = Database::open(server.database(), None, 2).await.unwrap();
    let heard = Arc::new(Heard::default());
    let changes = database.follow(heard.clone());
    changes.until_live().await;
    tokio::task::block_in_place(|| server.stop().unwrap());
    let stopped = Instant::now();
    while changes.is_live() {
        assert!(stopped.elapsed() < Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    let error = database.ping().await.unwrap_err();
    assert!(
        matches!(
            error,
            DatabaseError::Unreachable { .. } | DatabaseError::Unavailable(_)
        ),
        "{error:?}"
    );
    heard.clear();
    tokio::task::block_in_place(|| server.start_again().unwrap());
    changes.until_live().await;
    assert!(
        heard.all().contains(&None),
        "anything may have been changed"
    );
    database.ping().await.unwrap();
    // Dropping it ends what follows.
    drop(changes);
}

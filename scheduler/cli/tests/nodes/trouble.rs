//! A database that is full or turns read-only under a running node, and nodes that differ in clock and
//! settings: an error that says what is wrong, a recovery without a restart, one truth.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use countersign_database::testing::{Postgres, Setup, as_server};
use durabletask_proto::CreateInstanceRequest;
use tonic::{Code, Status};

use crate::support::{Client, Process, exists, http_as, new_instance, start, to_hub};
use crate::{TAKEN_OVER, database, url};

async fn start_large(client: &Client, id: &str, bytes: usize) -> Result<(), Status> {
    // Noise: what repeats is stored compressed.
    let mut state = 88_172_645_463_325_252_u64;
    let input = (0..bytes).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).unwrap_or_default())
    });
    let start = CreateInstanceRequest {
        input: Some(input.collect()),
        ..new_instance(id)
    };
    client
        .clone()
        .start_instance(to_hub("default", start))
        .await
        .map(drop)
}

/// A small disk of its own, which only root may make.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(&self, how: &str) -> bool {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", how, "tmpfs"])
            .arg(self.0.path())
            .output();
        mounted.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_full_takes_nothing_and_continues_once_there_is_room() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let disk = Disk(tempfile::tempdir().unwrap());
    if !disk.mount("size=24m") {
        println!("skipped: this user may not mount a disk of its own");
        return;
    }
    let place = disk.0.path();
    // Its folder is another user's, and so is what it makes there.
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o777)).unwrap();
    let folder = place.join("small");
    assert!(
        as_server("mkdir".as_ref())
            .arg(&folder)
            .status()
            .unwrap()
            .success()
    );
    let name = server.make();
    let sql = format!("CREATE TABLESPACE small LOCATION '{}'", folder.display());
    server.psql("postgres", &sql).unwrap();
    server
        .psql(
            "postgres",
            &format!("ALTER DATABASE {name} SET TABLESPACE small"),
        )
        .unwrap();

    let node = Process::node(&url(server, &name), "node", &["--log", "error"]);
    node.until_ready().await;
    let client = node.client();
    let mut acknowledged = 0;
    let refused = loop {
        match start_large(&client, &format!("i{acknowledged}"), 100_000).await {
            Ok(()) => acknowledged += 1,
            Err(refused) => break refused,
        }
        assert!(acknowledged < 1000, "the disk gets full");
    };
    println!("full after {acknowledged} instances: {refused:?}");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    for says in ["full", "nothing was written"] {
        assert!(refused.message().contains(says), "{refused:?}");
    }
    // What is there can be read, and it is still the owner.
    assert!(exists(&client, "default", "i0").await);
    assert!(!exists(&client, "default", &format!("i{acknowledged}")).await);

    assert!(disk.mount("remount,size=200m"));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while let Err(refused) = start_large(&client, "after", 100_000).await {
        assert!(tokio::time::Instant::now() < deadline, "{refused:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for number in 0..acknowledged {
        assert!(
            exists(&client, "default", &format!("i{number}")).await,
            "i{number}"
        );
    }
    assert!(node.terminate().success());
    server
        .psql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"))
        .unwrap();
    server.psql("postgres", "DROP TABLESPACE small").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_turns_read_only_takes_nothing_until_it_does_again() {
    let Some(server) = Postgres::start(Setup::default()) else {
        return;
    };
    let name = server.make();
    let node = Process::node(&url(&server, &name), "node", &["--log", "error"]);
    node.until_ready().await;
    let client = node.client();
    start(&client, "default", "before").await.unwrap();
    let turn = |how: &str| {
        let sql = format!(
            "ALTER DATABASE {name} SET default_transaction_read_only = {how}; \
             SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'durabletask'"
        );
        server.psql("postgres", &sql).unwrap();
    };
    turn("on");
    let refused = loop {
        let during = start(&client, "default", "during");
        match tokio::time::timeout(Duration::from_secs(1), during).await {
            Ok(Err(refused)) => break refused,
            // It was answered before its connection was cut.
            Ok(Ok(_)) => turn("on"),
            // It is not answered before the database says what became of it; the next one is refused.
            Err(_) => {}
        }
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    while http_as(&node.http, None, "/readyz").await.0 == 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    turn("off");
    node.until_ready().await;
    assert!(exists(&client, "default", "before").await);
    start(&client, "default", "after").await.unwrap();
}

#[tokio::test]
async fn nodes_whose_clocks_are_minutes_apart_take_over_from_each_other() {
    let Some(url) = database() else { return };
    let Some(mut owner) = Process::node_with_clock(&url, "late", "-7m") else {
        println!("left out, since libfaketime is not installed");
        return;
    };
    owner.until_ready().await;
    for (round, off) in ["+9m", "-11m", "+0m"].into_iter().enumerate() {
        let id = format!("i{round}");
        start(&owner.client(), "default", &id).await.unwrap();
        let name = format!("node{off}");
        let next = Process::node_with_clock(&url, &name, off).unwrap();
        // It does not take what is not free, whatever its clock says.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(http_as(&next.http, None, "/readyz").await.0, 503, "{off}");
        assert!(exists(&owner.client(), "default", &id).await);
        owner.kill();
        let took = next.until_ready().await;
        assert!(took < TAKEN_OVER, "{off}: {took:?}");
        for before in 0..=round {
            assert!(exists(&next.client(), "default", &format!("i{before}")).await);
        }
        owner = next;
    }
}

#[tokio::test]
async fn nodes_with_different_settings_have_one_truth() {
    let Some(url) = database() else { return };
    let first = Process::node(&url, "first", &["--task-hub", "default,first"]);
    first.until_ready().await;
    start_large(&first.client(), "large", 300_000)
        .await
        .unwrap();
    start(&first.client(), "first", "its").await.unwrap();
    // Other task hubs, and smaller payloads.
    let second = Process::node(
        &url,
        "second",
        &["--task-hub", "default,second", "--max-payload", "1000"],
    );
    assert!(first.terminate().success());
    second.until_ready().await;
    let client = second.client();
    // What was accepted stays, in every task hub that is there.
    assert!(exists(&client, "default", "large").await);
    assert!(exists(&client, "first", "its").await);
    start(&client, "second", "new").await.unwrap();
    let refused = start_large(&client, "larger", 2000).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    // And back.
    let first = Process::node(&url, "first", &["--task-hub", "default,first"]);
    second.kill();
    first.until_ready().await;
    assert!(exists(&first.client(), "second", "new").await);
    assert!(!exists(&first.client(), "default", "larger").await);
}

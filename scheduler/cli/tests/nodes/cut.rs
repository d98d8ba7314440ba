//! A database that goes away under load: its connections are cut, it is restarted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use countersign_database::testing::{Postgres, Setup};
use tonic::Code;

use crate::support::{Client, Process, exists, start};
use crate::url;

/// Starts instances one after the other until `stop` is set, and yields those that were acknowledged. A
/// call that was refused is repeated.
async fn load(client: Client, next: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        let id = format!("i{}", next.fetch_add(1, Ordering::Relaxed));
        while !stop.load(Ordering::Relaxed) {
            match start(&client, "default", &id).await {
                Ok(_) => {
                    acknowledged.insert(id.clone());
                    break;
                }
                // It was refused, so it is not there.
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_there_once_whatever_happens_to_the_connections() {
    let Some(mut server) = Postgres::start(Setup::default()) else {
        return;
    };
    let name = server.make();
    let node = Process::node(&url(&server, &name), "node", &["--log", "error"]);
    node.until_ready().await;
    let (next, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let running: Vec<_> = (0..8)
        .map(|_| tokio::spawn(load(node.client(), Arc::clone(&next), Arc::clone(&stop))))
        .collect();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'durabletask'";
        server.psql(&name, cut).unwrap();
    }
    server.stop().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.start_again().unwrap();
    node.until_ready().await;
    let before: u64 = next.load(Ordering::Relaxed);
    while next.load(Ordering::Relaxed) < before + 50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeSet::new();
    for one in running {
        acknowledged.extend(one.await.unwrap());
    }
    let client = node.client();
    for id in &acknowledged {
        assert!(
            exists(&client, "default", id).await,
            "{id} was acknowledged"
        );
    }
    let rows = server
        .psql(
            &name,
            "SELECT count(*), count(DISTINCT id) FROM durabletask.instances",
        )
        .unwrap();
    println!(
        "{} acknowledged, {rows} in the database",
        acknowledged.len()
    );
    let (all, distinct) = rows.split_once('|').unwrap();
    assert_eq!(all, distinct);
}

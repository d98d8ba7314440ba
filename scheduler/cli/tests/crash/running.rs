//! Clients and workers that do not mind that their schedulers die.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::check;
use super::load::Load;
use super::support::PATIENCE;

const CLIENTS: usize = 4;
/// How many instances are more.
const MORE: usize = 20;
/// Whether they hand results in on the stream for them.
const WORKERS: [bool; 2] = [true, false];

pub(crate) struct Running {
    pub(crate) load: Load,
    addresses: watch::Sender<Vec<String>>,
    clients: JoinSet<()>,
    workers: JoinSet<()>,
    finished: CancellationToken,
}

impl Running {
    /// They call any of these schedulers.
    pub(crate) fn against(schedulers: Vec<String>) -> Self {
        let (addresses, seen) = watch::channel(schedulers);
        let load = Load {
            addresses: seen,
            acknowledged: Arc::default(),
            numbers: Arc::default(),
            stop: CancellationToken::new(),
        };
        let finished = CancellationToken::new();
        let mut clients = JoinSet::new();
        let mut workers = JoinSet::new();
        (0..CLIENTS).for_each(|_| drop(clients.spawn(load.clone().clients())));
        for streams in WORKERS {
            workers.spawn(load.clone().worker(finished.clone(), streams));
        }
        Self {
            load,
            addresses,
            clients,
            workers,
            finished,
        }
    }

    /// From now on they call these.
    pub(crate) fn moves_to(&self, schedulers: Vec<String>) {
        self.addresses.send_replace(schedulers);
    }

    /// Waits until more instances are under way.
    pub(crate) async fn until_more(&self) {
        let count = || self.load.acknowledged.lock().unwrap().started.len();
        let (before, begun) = (count(), Instant::now());
        while count() < before + MORE {
            assert!(begun.elapsed() < PATIENCE, "calls are answered");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets everything end, and compares it with what was acknowledged.
    pub(crate) async fn check(mut self, what: &str) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.load.stop.cancel();
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        let acknowledged = self.load.acknowledged.lock().unwrap().clone();
        let client = self.load.client();
        check::all_ends(&client, &acknowledged).await;
        self.finished.cancel();
        while let Some(ended) = self.workers.join_next().await {
            ended.unwrap();
        }
        // With the results that workers handed in until the end.
        let acknowledged = self.load.acknowledged.lock().unwrap().clone();
        check::nothing_is_lost_or_doubled(&client, &acknowledged).await;
        println!(
            "{what}: {} instances, {} results, {} events, {} signals and {} loops \
             were acknowledged, none lost or duplicated",
            acknowledged.started.len(),
            acknowledged.results.len(),
            acknowledged.raised.len(),
            acknowledged
                .signals
                .values()
                .map(|ids| ids.len())
                .sum::<usize>(),
            acknowledged.loops.len(),
        );
        assert!(!acknowledged.started.is_empty(), "the load did something");
    }
}

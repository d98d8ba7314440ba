//! Metrics for Prometheus.
//!
//! Counters live with what they count (the dispatcher, the writer); names of task
//! hubs are looked up on each scrape, so nothing here costs a turn more than an
//! addition.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Registry, Unit};

use crate::nodes::Meters;
use crate::{StorageError, StorageProblem};

/// The `Content-Type` of the text of [`render`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The kinds of work items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A turn of an orchestration.
    Orchestration,
    /// A run of an activity.
    Activity,
    /// A batch of operations of an entity.
    Entity,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Orchestration => "orchestration",
            Self::Activity => "activity",
            Self::Entity => "entity",
        }
    }
}

/// The counters of one kind of work in one task hub.
#[derive(Debug)]
pub(crate) struct Meter {
    dispatched: Counter,
    completed: Counter,
    returned: Counter,
    waited: Histogram,
    ran: Histogram,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            dispatched: Counter::default(),
            completed: Counter::default(),
            returned: Counter::default(),
            // 0.1 ms to 6.6 s, and 1 ms to 262 s.
            waited: Histogram::new(exponential_buckets(0.0001, 4.0, 9)),
            ran: Histogram::new(exponential_buckets(0.001, 4.0, 10)),
        }
    }
}

impl Meter {
    /// An item was given to a worker after it had waited for one.
    pub(crate) fn dispatched(&self, waited: Duration) {
        self.dispatched.inc();
        self.waited.observe(waited.as_secs_f64());
    }

    /// An item's completion is on disk.
    pub(crate) fn completed(&self, ran: Duration) {
        self.completed.inc();
        self.ran.observe(ran.as_secs_f64());
    }

    /// An item was returned uncompleted.
    pub(crate) fn returned(&self) {
        self.returned.inc();
    }
}

/// The counters of the writer.
#[derive(Debug)]
pub(crate) struct Commits {
    batch: Histogram,
    took: Histogram,
    failed: Counter,
    disk: AtomicU8,
}

/// How often this node has taken the lease on its task hubs, and how often it has lost or given it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    pub(crate) taken: Counter,
    pub(crate) lost: Counter,
}

/// The state of the disk after the last write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Works,
    IsFull,
    Fails,
}

impl Disk {
    /// For people; nothing where it works.
    pub(crate) const fn trouble(self) -> Option<&'static str> {
        match self {
            Self::Works => None,
            Self::IsFull => Some(
                "The scheduler's disk is full: nothing is written until there is space. Free some; no restart is needed.",
            ),
            Self::Fails => Some(
                "The scheduler's disk accepts no writes: see the scheduler's log and the system's messages about the disk.",
            ),
        }
    }
}

impl Default for Commits {
    fn default() -> Self {
        Self {
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            took: Histogram::new(exponential_buckets(0.0001, 4.0, 9)),
            failed: Counter::default(),
            disk: AtomicU8::new(0),
        }
    }
}

impl Commits {
    /// The state of the disk after the last write.
    pub(crate) fn disk(&self) -> Disk {
        match self.disk.load(Ordering::Relaxed) {
            0 => Disk::Works,
            1 => Disk::IsFull,
            _ => Disk::Fails,
        }
    }

    /// A write failed, perhaps because of the disk.
    pub(crate) fn failed(&self, error: &StorageError) {
        let disk = match error.problem() {
            StorageProblem::Full => 1,
            StorageProblem::Disk | StorageProblem::ReadOnly => 2,
            _ => return,
        };
        self.disk.store(disk, Ordering::Relaxed);
    }

    /// A transaction of this many commands is on disk.
    pub(crate) fn committed(&self, commands: usize, took: Duration) {
        self.disk.store(0, Ordering::Relaxed);
        self.batch
            .observe(f64::from(u32::try_from(commands).unwrap_or(u32::MAX)));
        self.took.observe(took.as_secs_f64());
    }

    /// A transaction was rolled back.
    pub(crate) fn rolled_back(&self) {
        self.failed.inc();
    }
}

/// One kind of work of one task hub, as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) hub: i64,
    pub(crate) kind: Kind,
    /// Items that wait for a worker.
    pub(crate) queued: usize,
    /// Those of them that no connected worker accepts.
    pub(crate) untaken: usize,
    /// Items that workers hold.
    pub(crate) held: usize,
    pub(crate) meter: Arc<Meter>,
}

/// All metrics.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Whether this node owns the task hubs.
    pub(crate) owns: bool,
    pub(crate) hubs: HashMap<i64, String>,
    pub(crate) loads: Vec<Load>,
    /// Streams of workers, by task hub.
    pub(crate) workers: HashMap<i64, usize>,
    /// Instances by task hub and status.
    pub(crate) instances: Vec<(i64, &'static str, i64)>,
    pub(crate) commits: Arc<Commits>,
    /// Where several nodes share the storage, with how many of them live.
    pub(crate) leases: Option<(Leases, usize)>,
    /// Of a node among others.
    pub(crate) nodes: Option<Arc<Meters>>,
}

/// The snapshot in the OpenMetrics text format.
pub(crate) fn render(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("durabletask_scheduler");
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

impl Snapshot {
    fn name(&self, hub: i64) -> String {
        self.hubs
            .get(&hub)
            .cloned()
            .unwrap_or_else(|| hub.to_string())
    }

    fn per_load<M: EncodeMetric>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help, unit): (&str, &str, Option<&Unit>),
        kind: MetricType,
        metric: impl Fn(&Load) -> M,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, unit, kind)?;
        for load in &self.loads {
            let labels = [
                ("task_hub", self.name(load.hub)),
                ("kind", load.kind.name().to_owned()),
            ];
            metric(load).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn gauge(value: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        let counter = Counter::<u64>::TYPE;
        let histogram = Histogram::TYPE;
        self.per_load(
            to,
            ("work_items_dispatched", "Work items given to workers", None),
            counter,
            |load| load.meter.dispatched.clone(),
        )?;
        self.per_load(
            to,
            (
                "work_items_completed",
                "Work items whose completion is on disk",
                None,
            ),
            counter,
            |load| load.meter.completed.clone(),
        )?;
        self.per_load(
            to,
            (
                "work_items_returned",
                "Work items returned uncompleted: abandoned, or their worker was lost",
                None,
            ),
            counter,
            |load| load.meter.returned.clone(),
        )?;
        self.per_load(
            to,
            (
                "work_item_wait",
                "From when a work item could run to when a worker got it",
                Some(&Unit::Seconds),
            ),
            histogram,
            |load| load.meter.waited.clone(),
        )?;
        self.per_load(
            to,
            (
                "work_item_run",
                "From when a worker got a work item to when its completion was on disk",
                Some(&Unit::Seconds),
            ),
            histogram,
            |load| load.meter.ran.clone(),
        )?;
        self.per_load(
            to,
            ("queue_depth", "Work items waiting for a worker", None),
            MetricType::Gauge,
            |load| gauge(load.queued),
        )?;
        self.per_load(
            to,
            ("work_items_held", "Work items held by workers", None),
            MetricType::Gauge,
            |load| gauge(load.held),
        )?;
        self.per_load(
            to,
            (
                "work_items_untaken",
                "Work items waiting because no connected worker accepts them",
                None,
            ),
            MetricType::Gauge,
            |load| gauge(load.untaken),
        )?;
        self.encode_hubs(to)?;
        encode_commits(&self.commits, to)?;
        encode_owner(self.owns, to)?;
        if let Some((leases, live)) = &self.leases {
            encode_leases(leases, *live, to)?;
        }
        match &self.nodes {
            Some(nodes) => nodes.encode(to),
            None => Ok(()),
        }
    }
}

impl Snapshot {
    fn encode_hubs(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut workers = encoder.encode_descriptor(
            "connected_workers",
            "Open streams of workers",
            None,
            MetricType::Gauge,
        )?;
        for (id, name) in &self.hubs {
            let labels = [("task_hub", name.as_str())];
            let count = self.workers.get(id).copied().unwrap_or(0);
            gauge(count).encode(workers.encode_family(&labels)?)?;
        }
        let mut instances = encoder.encode_descriptor(
            "instances",
            "Stored orchestration instances",
            None,
            MetricType::Gauge,
        )?;
        for (hub, status, count) in &self.instances {
            let labels = [
                ("task_hub", self.name(*hub)),
                ("status", (*status).to_owned()),
            ];
            ConstGauge::new(*count).encode(instances.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn encode_commits(commits: &Commits, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let batch = encoder.encode_descriptor(
        "commit_batch_size",
        "Commands that shared one flush to disk",
        None,
        Histogram::TYPE,
    )?;
    commits.batch.encode(batch)?;
    let took = encoder.encode_descriptor(
        "commit",
        "Duration of a transaction, including its flush to disk",
        Some(&Unit::Seconds),
        Histogram::TYPE,
    )?;
    commits.took.encode(took)?;
    let failed = encoder.encode_descriptor(
        "commits_rolled_back",
        "Transactions that failed and were rolled back",
        None,
        Counter::<u64>::TYPE,
    )?;
    commits.failed.encode(failed)?;
    let disk = encoder.encode_descriptor(
        "disk_failing",
        "1 if the last write failed because the disk is full or accepts no writes, else 0",
        None,
        MetricType::Gauge,
    )?;
    gauge(usize::from(commits.disk() != Disk::Works)).encode(disk)
}

fn encode_leases(leases: &Leases, live: usize, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (name, help, counter) in [
        (
            "leases_taken",
            "How often this node has taken the lease on the task hubs, or a new one after a lost connection",
            &leases.taken,
        ),
        (
            "leases_lost",
            "How often this node has lost the lease on the task hubs, or handed it over",
            &leases.lost,
        ),
    ] {
        let family = encoder.encode_descriptor(name, help, None, Counter::<u64>::TYPE)?;
        counter.encode(family)?;
    }
    let nodes = encoder.encode_descriptor(
        "nodes",
        "Nodes that share the database and that it has heard from within ten seconds",
        None,
        MetricType::Gauge,
    )?;
    gauge(live).encode(nodes)
}

fn encode_owner(owns: bool, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let owner = encoder.encode_descriptor(
        "owns_task_hubs",
        "1 if this node owns the task hubs, 0 if it stands by for another one",
        None,
        MetricType::Gauge,
    )?;
    gauge(usize::from(owns)).encode(owner)
}

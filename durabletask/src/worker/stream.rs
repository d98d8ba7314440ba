//! The stream of work items: connecting, watching, dispatching, draining.

use std::collections::HashSet;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use durabletask_core::Registry;
use durabletask_proto as proto;
use proto::work_item::Request as Item;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status, Streaming};

use crate::client::Client;

use super::cache::ExecutionCache;
use super::completion_stream::Completions;
use super::entity;
use super::items::{Shared, permit};
use super::limits::{ABANDON_TIMEOUT, FAILURES_PER_CHANNEL, HELLO_TIMEOUT, Options};
use super::link::Link;
use super::running::RunningActivities;
use super::status::{ConnectionStatus, Health, Work};

/// Receives work items and ensures that each is answered or returned.
pub(super) struct Intake {
    intake: Link,
    shared: Arc<Shared>,
    options: Arc<Options>,
    orchestrations: Arc<Semaphore>,
    activities: Arc<Semaphore>,
    entities: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Canceled when the work in flight must end, finished or not.
    abort: CancellationToken,
}

/// How a session with the scheduler ended.
#[expect(
    clippy::large_enum_variant,
    reason = "one value for the life of a stream"
)]
enum Ended {
    /// The worker was asked to stop; the stream is kept for the draining.
    Stopped(Option<Streaming<proto::WorkItem>>),
    /// The connection is lost, or was never there.
    Lost {
        had_traffic: bool,
        /// Whether the channel may be dead without knowing it.
        silent: bool,
        reason: String,
    },
}

impl Intake {
    pub(super) fn new(
        intake: Link,
        completions: Completions,
        registry: Arc<Registry>,
        client: Client,
        options: Options,
        health: Health,
    ) -> Self {
        let options = Arc::new(options);
        Self {
            intake,
            shared: Arc::new(Shared {
                registry,
                client,
                cache: ExecutionCache::new(options.cached_executions),
                completions,
                options: Arc::clone(&options),
                running: RunningActivities::new(options.cancellation_grace),
                health,
            }),
            orchestrations: Arc::new(Semaphore::new(options.orchestrations)),
            activities: Arc::new(Semaphore::new(options.activities)),
            entities: Arc::new(Semaphore::new(options.entities)),
            options,
            tasks: TaskTracker::new(),
            abort: CancellationToken::new(),
        }
    }

    /// Runs sessions until `stop`, then drains.
    pub(super) async fn run(self, stop: CancellationToken) {
        // If this future is dropped, the work in flight ends as well.
        let _abort_on_drop = self.abort.clone().drop_guard();
        let mut failures = 0;
        self.shared.health.connection(ConnectionStatus::Connecting);
        let stream = loop {
            match self.session(&stop).await {
                Ended::Stopped(stream) => break stream,
                Ended::Lost {
                    had_traffic,
                    silent,
                    reason,
                } => {
                    failures = if had_traffic { 0 } else { failures + 1 };
                    self.shared.health.failed(failures, reason);
                    if silent || (failures > 0 && failures % FAILURES_PER_CHANNEL == 0) {
                        tracing::info!("recreating the channels to the scheduler");
                        self.intake.renew();
                        self.shared.completions.renew();
                    }
                    let delay = self.reconnect_delay(failures);
                    if stop
                        .run_until_cancelled(tokio::time::sleep(delay))
                        .await
                        .is_none()
                    {
                        break None;
                    }
                }
            }
        };
        self.shared.health.connection(ConnectionStatus::Draining);
        self.drain(stream).await;
        self.shared.health.connection(ConnectionStatus::Stopped);
    }

    fn reconnect_delay(&self, failures: u32) -> Duration {
        let ceiling = self
            .options
            .reconnect_base
            .saturating_mul(2_u32.saturating_pow(failures))
            .min(self.options.reconnect_max);
        ceiling.mul_f64(rand::random::<f64>())
    }

    /// One session: greet, open the stream, dispatch until it ends.
    async fn session(&self, stop: &CancellationToken) -> Ended {
        let opened = stop.run_until_cancelled(self.open()).await;
        let mut stream = match opened {
            None => return Ended::Stopped(None),
            Some(Err(status)) => {
                tracing::warn!(code = ?status.code(), reason = status.message(), "cannot take work items yet; trying again");
                return Ended::Lost {
                    had_traffic: false,
                    silent: status.code() == Code::DeadlineExceeded,
                    reason: describe(&status),
                };
            }
            Some(Ok(stream)) => stream,
        };
        tracing::info!("taking work items");
        self.shared.health.connection(ConnectionStatus::Connected);
        let mut had_traffic = false;
        let mut last_message = Instant::now();
        let mut watchdog = tokio::time::interval(self.options.silence_timeout / 4);
        watchdog.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopped(Some(stream)),
                message = stream.message() => message,
                _ = watchdog.tick() => {
                    if last_message.elapsed() >= self.options.silence_timeout {
                        tracing::warn!("the scheduler has been silent for too long; reconnecting");
                        return Ended::Lost {
                            had_traffic,
                            silent: true,
                            reason: "the scheduler was silent for too long".to_owned(),
                        };
                    }
                    continue;
                }
            };
            match message {
                Ok(Some(item)) => {
                    had_traffic = true;
                    self.shared.health.message();
                    if stop
                        .run_until_cancelled(self.dispatch(item))
                        .await
                        .is_none()
                    {
                        // The current item is lost to us; closing the stream returns it.
                        return Ended::Stopped(Some(stream));
                    }
                    last_message = Instant::now();
                }
                Ok(None) => {
                    tracing::info!("the scheduler ended the stream of work items; reconnecting");
                    return Ended::Lost {
                        had_traffic,
                        silent: false,
                        reason: "the scheduler ended the stream".to_owned(),
                    };
                }
                // Any end that we did not ask for is followed by a new connection,
                // a cancellation by the peer included.
                Err(status) => {
                    tracing::warn!(code = ?status.code(), reason = status.message(), "work item stream lost; reconnecting");
                    return Ended::Lost {
                        had_traffic,
                        silent: false,
                        reason: describe(&status),
                    };
                }
            }
        }
    }

    async fn open(&self) -> Result<Streaming<proto::WorkItem>, Status> {
        let mut service = self.intake.service();
        let greeting = tokio::time::timeout(HELLO_TIMEOUT, service.hello(()))
            .await
            .map_err(|_| {
                Status::deadline_exceeded("the scheduler does not answer the greeting")
            })??;
        self.shared.completions.greeted(greeting.metadata());
        let window = |limit: usize| i32::try_from(limit).unwrap_or(i32::MAX);
        let mut capabilities = vec![proto::WorkerCapability::HistoryStreaming as i32];
        if self.options.payloads.is_some() {
            capabilities.push(proto::WorkerCapability::LargePayloads as i32);
        }
        let request = proto::GetWorkItemsRequest {
            max_concurrent_orchestration_work_items: window(self.options.orchestrations),
            max_concurrent_activity_work_items: window(self.options.activities),
            max_concurrent_entity_work_items: window(self.options.entities),
            capabilities,
            work_item_filters: self
                .options
                .filters
                .to_wire(&self.shared.registry, &self.options),
        };
        let mut request = tonic::Request::new(request);
        request
            .metadata_mut()
            .insert("history-continuation", MetadataValue::from_static("v1"));
        // Some servers send the headers with the first item only, so this may
        // wait as long as the stream may be silent.
        tokio::time::timeout(
            self.options.silence_timeout,
            service.get_work_items(request),
        )
        .await
        .map_err(|_| Status::deadline_exceeded("the stream of work items does not open"))?
        .map(tonic::Response::into_inner)
    }

    /// Runs an item in a task of its own, once there is room for it.
    async fn dispatch(&self, item: proto::WorkItem) {
        let token = item.completion_token;
        match item.request {
            Some(Item::OrchestratorRequest(request)) => {
                if let Some(permit) = permit(&self.orchestrations).await {
                    let shared = Arc::clone(&self.shared);
                    let counted = self.shared.health.begin(Work::Orchestration);
                    self.spawn(async move {
                        shared.orchestration(request, token).await;
                        drop((permit, counted));
                    });
                }
            }
            Some(Item::ActivityRequest(request)) => {
                if let Some(permit) = permit(&self.activities).await {
                    let shared = Arc::clone(&self.shared);
                    let counted = self.shared.health.begin(Work::Activity);
                    self.spawn(async move {
                        shared.activity(request, token).await;
                        drop((permit, counted));
                    });
                }
            }
            Some(Item::HealthPing(_)) => {}
            Some(Item::EntityRequest(request)) => {
                self.entity(entity::Request::V1(request), token).await;
            }
            Some(Item::EntityRequestV2(request)) => {
                self.entity(entity::Request::V2(request), token).await;
            }
            None => tracing::warn!("a work item of an unknown kind is left to the scheduler"),
        }
    }

    async fn entity(&self, request: entity::Request, token: String) {
        if let Some(permit) = permit(&self.entities).await {
            let shared = Arc::clone(&self.shared);
            let counted = self.shared.health.begin(Work::Entity);
            self.spawn(async move {
                shared.entity(request, token).await;
                drop((permit, counted));
            });
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let abort = self.abort.clone();
        self.tasks.spawn(async move {
            abort.run_until_cancelled(work).await;
        });
    }

    /// Hands an item back, as a courtesy: its lease would end with the stream anyway.
    fn abandon(&self, item: proto::WorkItem) {
        let shared = Arc::clone(&self.shared);
        self.spawn(async move {
            // Without an answer in time, the end of the stream does the same.
            let _ = tokio::time::timeout(ABANDON_TIMEOUT, shared.abandon(item)).await;
        });
    }

    /// Finishes the work in flight and returns what still arrives.
    ///
    /// What comes back after that has no other worker to go to. It is kept until the
    /// stream ends, or it would go to and fro for as long as there is work in flight.
    async fn drain(&self, mut stream: Option<Streaming<proto::WorkItem>>) {
        self.tasks.close();
        let mut handed_back = HashSet::new();
        let deadline = tokio::time::sleep(self.options.grace_period);
        let mut deadline = std::pin::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                () = self.tasks.wait() => return,
                () = &mut deadline => {
                    tracing::warn!(
                        in_flight = self.tasks.len(),
                        "the grace period is over; unfinished work goes back to the scheduler"
                    );
                    self.abort.cancel();
                    self.tasks.wait().await;
                    return;
                }
                item = next(&mut stream) => {
                    if handed_back.insert(Subject::of(&item)) {
                        self.abandon(item);
                    }
                }
            }
        }
    }
}

/// What an item is about, whichever delivery of it this is.
#[derive(PartialEq, Eq, Hash)]
struct Subject {
    kind: Option<Discriminant<Item>>,
    instance: String,
    task: i32,
}

impl Subject {
    fn of(item: &proto::WorkItem) -> Self {
        let (instance, task) = match &item.request {
            Some(Item::OrchestratorRequest(turn)) => (Some(&turn.instance_id), 0),
            Some(Item::ActivityRequest(call)) => {
                let caller = call.orchestration_instance.as_ref();
                (caller.map(|caller| &caller.instance_id), call.task_id)
            }
            Some(Item::EntityRequest(batch)) => (Some(&batch.instance_id), 0),
            Some(Item::EntityRequestV2(batch)) => (Some(&batch.instance_id), 0),
            Some(Item::HealthPing(_)) | None => (None, 0),
        };
        Self {
            kind: item.request.as_ref().map(discriminant),
            instance: instance.cloned().unwrap_or_default(),
            task,
        }
    }
}

/// The next item of the stream; never, once it has ended.
async fn next(stream: &mut Option<Streaming<proto::WorkItem>>) -> proto::WorkItem {
    if let Some(open) = stream
        && let Ok(Some(item)) = open.message().await
    {
        return item;
    }
    *stream = None;
    std::future::pending().await
}

fn describe(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

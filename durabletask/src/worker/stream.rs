//! The stream of work items: connecting, watching, dispatching, draining.

use std::sync::Arc;
use std::time::Duration;

use durabletask_core::{CompletionStatus, Registry};
use durabletask_proto as proto;
use proto::work_item::Request as Item;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status, Streaming};

use super::cache::ExecutionCache;
use super::completion::{Delivery, deliver};
use super::limits::{
    ABANDON_TIMEOUT, FAILURES_PER_CHANNEL, HAND_BACK_DELAY, HELLO_TIMEOUT, Options,
};
use super::link::Link;
use super::orchestration::{NotRun, Turns};
use super::running::{CancelActivities, RunningActivities};
use super::status::{ConnectionStatus, Health, Work};
use super::{activity, entity};

/// Takes work items in and sees to it that each is answered or handed back.
pub(super) struct Intake {
    intake: Link,
    shared: Arc<Shared>,
    options: Arc<Options>,
    orchestrations: Arc<Semaphore>,
    activities: Arc<Semaphore>,
    entities: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Cancelled when the work in flight must end, finished or not.
    abort: CancellationToken,
}

/// What the tasks of single work items need.
struct Shared {
    registry: Arc<Registry>,
    cache: ExecutionCache,
    completions: Link,
    options: Arc<Options>,
    running: RunningActivities,
    health: Health,
}

/// How a session with the scheduler ended.
#[expect(
    clippy::large_enum_variant,
    reason = "one value for the life of a stream"
)]
enum Ended {
    /// The worker was told to stop; the stream is kept for the draining.
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
        completions: Link,
        registry: Arc<Registry>,
        options: Options,
        health: Health,
    ) -> Self {
        let options = Arc::new(options);
        Self {
            intake,
            shared: Arc::new(Shared {
                registry,
                cache: ExecutionCache::new(options.cached_executions),
                completions,
                options: Arc::clone(&options),
                running: RunningActivities::default(),
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
                        tracing::info!("the channels to the scheduler are made anew");
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
                        tracing::warn!("the scheduler has been silent for too long; connecting anew");
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
                        // The item in hand is lost to us; closing the stream gives it back.
                        return Ended::Stopped(Some(stream));
                    }
                    last_message = Instant::now();
                }
                Ok(None) => {
                    tracing::info!("the scheduler ended the stream of work items; connecting anew");
                    return Ended::Lost {
                        had_traffic,
                        silent: false,
                        reason: "the scheduler ended the stream".to_owned(),
                    };
                }
                // Any end that we did not ask for is followed by a new connection,
                // a cancellation by the peer included.
                Err(status) => {
                    tracing::warn!(code = ?status.code(), reason = status.message(), "the stream of work items broke; connecting anew");
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
        tokio::time::timeout(HELLO_TIMEOUT, service.hello(()))
            .await
            .map_err(|_| {
                Status::deadline_exceeded("the scheduler does not answer the greeting")
            })??;
        let window = |limit: usize| i32::try_from(limit).unwrap_or(i32::MAX);
        let request = proto::GetWorkItemsRequest {
            max_concurrent_orchestration_work_items: window(self.options.orchestrations),
            max_concurrent_activity_work_items: window(self.options.activities),
            max_concurrent_entity_work_items: window(self.options.entities),
            capabilities: vec![proto::WorkerCapability::HistoryStreaming as i32],
            work_item_filters: self
                .options
                .filters
                .to_wire(&self.shared.registry, &self.options),
        };
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

    /// Gives an item to a task of its own, once there is room for it.
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

    /// Finishes the work in flight and hands back what still arrives.
    async fn drain(&self, mut stream: Option<Streaming<proto::WorkItem>>) {
        self.tasks.close();
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
                item = next(&mut stream) => self.abandon(item),
            }
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

async fn permit(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // The semaphores are never closed, so this always yields one.
    Arc::clone(semaphore).acquire_owned().await.ok()
}

impl Shared {
    async fn orchestration(&self, request: proto::OrchestratorRequest, token: String) {
        let instance_id = request.instance_id.clone();
        let turns = Turns {
            registry: &self.registry,
            cache: &self.cache,
            options: &self.options,
        };
        let turn = turns
            .run(&self.completions.service(), request, token.clone())
            .await;
        let turn = match turn {
            Ok(turn) => turn,
            Err(NotRun::History(status)) => {
                tracing::warn!(instance_id, code = ?status.code(), reason = status.message(), "the history cannot be read; the work item is handed back");
                self.abandon_orchestration(token).await;
                return;
            }
            Err(NotRun::NotOurs(reason)) => {
                tracing::debug!(
                    instance_id,
                    reason,
                    "the work item is left to another worker"
                );
                tokio::time::sleep(HAND_BACK_DELAY).await;
                self.abandon_orchestration(token).await;
                return;
            }
        };
        let cached = match turn.execution {
            // Kept before the scheduler answers: its next item for this instance
            // can overtake that answer, and it names this turn only if it took it.
            Some(execution) if self.cache.is_enabled() && !token.is_empty() => {
                self.cache.put(token.clone(), execution);
                true
            }
            _ => false,
        };
        for response in turn.responses {
            let delivery = deliver(&instance_id, "orchestration", || {
                let mut service = self.completions.service();
                let response = response.clone();
                async move { service.complete_orchestrator_task(response).await }
            })
            .await;
            if delivery == Delivery::Lost {
                if cached {
                    self.cache.forget(&instance_id, &token);
                }
                return;
            }
        }
        let execution_id = turn.execution_id.as_deref();
        match (self.options.cancel_activities, turn.ended) {
            (CancelActivities::Never, _) => {}
            (_, Some(CompletionStatus::Terminated)) => {
                self.running.cancel_all(&instance_id, execution_id);
            }
            (CancelActivities::WhenTerminated, _) => {}
            (CancelActivities::WhenGivenUp, _) => {
                self.running
                    .cancel(&instance_id, execution_id, &turn.given_up);
            }
        }
    }

    async fn activity(&self, request: proto::ActivityRequest, token: String) {
        if !self
            .options
            .filters
            .take_activity(&self.registry, &request.name)
        {
            tracing::debug!(
                activity = request.name,
                "the work item is left to another worker"
            );
            tokio::time::sleep(HAND_BACK_DELAY).await;
            self.abandon(proto::WorkItem {
                request: Some(Item::ActivityRequest(request)),
                completion_token: token,
            })
            .await;
            return;
        }
        let turn = match self.options.calls.get(&request.name) {
            Some(calls) => permit(calls).await,
            None => None,
        };
        let response = activity::run(&self.registry, &self.running, request, token).await;
        drop(turn);
        deliver(&response.instance_id, "activity", || {
            let mut service = self.completions.service();
            let response = response.clone();
            async move { service.complete_activity_task(response).await }
        })
        .await;
    }

    async fn entity(&self, request: entity::Request, token: String) {
        let instance_id = request.instance_id().to_owned();
        if !self
            .options
            .filters
            .take_entity(&self.registry, &instance_id)
        {
            tracing::debug!(instance_id, "the work item is left to another worker");
            tokio::time::sleep(HAND_BACK_DELAY).await;
            self.abandon_entity(token).await;
            return;
        }
        let response = entity::run(&self.registry, request, token).await;
        deliver(&instance_id, "entity", || {
            let mut service = self.completions.service();
            let response = response.clone();
            async move { service.complete_entity_task(response).await }
        })
        .await;
    }

    async fn abandon_entity(&self, completion_token: String) {
        let mut service = self.completions.service();
        let request = proto::AbandonEntityTaskRequest { completion_token };
        note_refusal(service.abandon_task_entity_work_item(request).await.err());
    }

    async fn abandon_orchestration(&self, completion_token: String) {
        let mut service = self.completions.service();
        let request = proto::AbandonOrchestrationTaskRequest { completion_token };
        note_refusal(
            service
                .abandon_task_orchestrator_work_item(request)
                .await
                .err(),
        );
    }

    async fn abandon(&self, item: proto::WorkItem) {
        let completion_token = item.completion_token;
        let mut service = self.completions.service();
        match item.request {
            Some(Item::OrchestratorRequest(_)) => {
                self.abandon_orchestration(completion_token).await;
            }
            Some(Item::ActivityRequest(_)) => {
                let request = proto::AbandonActivityTaskRequest { completion_token };
                note_refusal(service.abandon_task_activity_work_item(request).await.err());
            }
            Some(Item::EntityRequest(_) | Item::EntityRequestV2(_)) => {
                self.abandon_entity(completion_token).await;
            }
            Some(Item::HealthPing(_)) | None => {}
        }
    }
}

fn describe(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn note_refusal(status: Option<Status>) {
    if let Some(status) = status
        && status.code() != Code::NotFound
    {
        tracing::debug!(code = ?status.code(), "the scheduler does not take a work item back; its lease ends with the stream");
    }
}

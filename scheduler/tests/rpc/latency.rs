//! Nobody starves, measured: how long others wait while something goes wrong, beside the
//! same without it, printed as a ratio:
//!
//! ```console
//! $ cargo test -p durabletask-scheduler --test rpc latency -- --nocapture
//! ```
#![allow(clippy::print_stdout)]
use std::time::{Duration, Instant};

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use tokio::task::JoinSet;
use tonic::Request;

use super::support::*;

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// The worker gives some of its turns back, each time.
    Abandons,
    /// The worker wants the whole history of some, each time.
    AsksForHistory,
    /// Streams end when they are sent one of them, and are opened again.
    BreaksStreams,
    /// A worker takes work and is never heard of again.
    IsSilent,
    /// Nobody takes some thousand items.
    NobodyTakes,
    /// An orchestration takes its backlog event by event.
    Backlog,
    /// Another task hub is as busy as it can be.
    BusyNeighbor,
}

/// How many times as long others may wait.
const MOST: u32 = 6;
/// What a wait may be however short it is without the trouble: the machine does other things.
const LEAST: Duration = Duration::from_millis(5);
const ROUNDS: u32 = 60;

fn named(id: String, name: &str, input: Option<String>) -> CreateInstanceRequest {
    CreateInstanceRequest {
        instance_id: id,
        name: name.to_owned(),
        input,
        ..CreateInstanceRequest::default()
    }
}

/// The median time from a start to its end.
async fn waits(hub: &Hub, prefix: &str) -> Duration {
    let mut times = Vec::new();
    for n in 0..ROUNDS {
        let id = format!("{prefix}-{n}");
        let begun = Instant::now();
        hub.try_start(named(id.clone(), "Good", None))
            .await
            .unwrap();
        let get = GetInstanceRequest {
            instance_id: id,
            get_inputs_and_outputs: false,
        };
        let mut client = hub.client.clone();
        client.wait_for_instance_completion(get).await.unwrap();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

fn filters(name: &str) -> GetWorkItemsRequest {
    GetWorkItemsRequest {
        work_item_filters: Some(WorkItemFilters {
            orchestrations: vec![OrchestrationFilter {
                name: name.to_owned(),
                versions: Vec::new(),
            }],
            ..WorkItemFilters::default()
        }),
        ..GetWorkItemsRequest::default()
    }
}

/// A turn's orchestration, by the id of its instance.
fn is_bad(turn: &OrchestratorRequest) -> bool {
    turn.instance_id.starts_with("bad")
}

/// Serves a stream until it ends; what is good completes.
async fn serve(mut worker: Worker, trouble: Option<Trouble>) {
    while let Ok(Some(item)) = worker.stream.message().await {
        let token = item.completion_token;
        let Some(work_item::Request::OrchestratorRequest(turn)) = item.request else {
            continue;
        };
        let answered = match trouble {
            Some(Trouble::Abandons) if is_bad(&turn) => worker.abandon(&token).await,
            Some(Trouble::AsksForHistory) if is_bad(&turn) => {
                let again = OrchestratorResponse {
                    completion_token: token,
                    requires_history: true,
                    ..OrchestratorResponse::default()
                };
                worker.respond(again).await
            }
            Some(Trouble::Backlog) if is_bad(&turn) => {
                let mut events = turn.new_events;
                events.retain(|event| {
                    matches!(
                        event.event_type,
                        Some(history_event::EventType::EventRaised(_))
                    )
                });
                let taken = usize::from(!events.is_empty());
                let again = Action::CompleteOrchestration(CompleteOrchestrationAction {
                    orchestration_status: OrchestrationStatus::ContinuedAsNew as i32,
                    carryover_events: events.split_off(taken),
                    ..CompleteOrchestrationAction::default()
                });
                let actions = if taken == 0 { vec![] } else { vec![(0, again)] };
                worker.answer(&token, actions).await
            }
            _ => worker.answer(&token, vec![(0, done("1"))]).await,
        };
        // A stream that is broken on purpose takes its items with it.
        if answered.is_err() && !matches!(trouble, Some(Trouble::BreaksStreams)) {
            return;
        }
    }
}

/// Starts what goes wrong, and everything that serves.
async fn begin(hub: &Hub, trouble: Trouble, tasks: &mut JoinSet<()>) {
    let bad = |n: u32| named(format!("bad-{n}"), "Bad", None);
    match trouble {
        Trouble::Abandons | Trouble::AsksForHistory => {
            for n in 0..50 {
                hub.try_start(bad(n)).await.unwrap();
            }
            tasks.spawn(serve(hub.worker().await, Some(trouble)));
        }
        Trouble::BreaksStreams => {
            let large = Some("x".repeat(200_000));
            let poison = named("bad".to_owned(), "Bad", large);
            hub.try_start(poison).await.unwrap();
            let client = hub.client.clone().max_decoding_message_size(100_000);
            tasks.spawn(async move {
                loop {
                    let request = Request::new(GetWorkItemsRequest::default());
                    let Ok(stream) = client.clone().get_work_items(request).await else {
                        return;
                    };
                    let worker = Worker {
                        client: client.clone(),
                        stream: stream.into_inner(),
                        hub: "default".to_owned(),
                    };
                    serve(worker, Some(trouble)).await;
                }
            });
        }
        Trouble::IsSilent => {
            for n in 0..50 {
                hub.try_start(bad(n)).await.unwrap();
            }
            let silent = hub.worker_with(filters("Bad"), "default").await;
            tasks.spawn(async move {
                let _silent = silent;
                std::future::pending::<()>().await;
            });
            tasks.spawn(serve(hub.worker().await, None));
        }
        Trouble::NobodyTakes => {
            for n in 0..2000 {
                hub.try_start(bad(n)).await.unwrap();
            }
            let worker = hub.worker_with(filters("Good"), "default").await;
            tasks.spawn(serve(worker, None));
        }
        Trouble::Backlog => {
            hub.try_start(bad(0)).await.unwrap();
            for n in 0..400 {
                hub.raise("bad-0", &format!("e{n}")).await.unwrap();
            }
            tasks.spawn(serve(hub.worker().await, Some(trouble)));
        }
        Trouble::BusyNeighbor => {
            tasks.spawn(serve(hub.worker().await, None));
            let there = hub.worker_with(GetWorkItemsRequest::default(), "there");
            tasks.spawn(serve(there.await, None));
            for lane in 0..4 {
                let mut client = hub.client.clone();
                tasks.spawn(async move {
                    for n in 0_u64.. {
                        let start = named(format!("{lane}-{n}"), "Good", None);
                        let mut start = Request::new(start);
                        let there = "there".parse().unwrap();
                        start.metadata_mut().insert("taskhub", there);
                        if client.start_instance(start).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_hardly_wait_longer_while_something_fails() {
    let healthy = Hub::memory().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(healthy.worker().await, None));
    // The first rounds open connections.
    waits(&healthy, "warm").await;
    for trouble in [
        Trouble::Abandons,
        Trouble::AsksForHistory,
        Trouble::BreaksStreams,
        Trouble::IsSilent,
        Trouble::NobodyTakes,
        Trouble::Backlog,
        Trouble::BusyNeighbor,
    ] {
        let hub = Hub::memory().await;
        let mut troubled = JoinSet::new();
        // Before it, on the same machine at nearly the same time.
        let without = waits(&healthy, &format!("{trouble:?}")).await;
        begin(&hub, trouble, &mut troubled).await;
        let with = waits(&hub, "good").await;
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        println!("{trouble:?}: others wait {with:.1?} beside {without:.1?}, ratio {ratio:.1}");
        assert!(
            with <= MOST * without.max(LEAST),
            "{trouble:?}: {with:?} beside {without:?}, ratio {ratio:.1}"
        );
    }
}

//! Nobody starves: what comes back waits longer each time, and holds up nothing else.
use std::time::Duration;

use durabletask_proto::*;

use super::support::*;

/// How many deliveries there are to a worker that gives everything back.
async fn deliveries(worker: &mut Worker, time: Duration) -> usize {
    let until = tokio::time::Instant::now() + time;
    let mut count = 0;
    while let Ok(item) = tokio::time::timeout_at(until, worker.next()).await {
        count += 1;
        worker.abandon(&item.completion_token).await.unwrap();
    }
    count
}

#[tokio::test]
async fn abandoned_work_items_return_with_a_growing_delay() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    // At once, and after 50, 100, 200 and 400 milliseconds.
    let count = deliveries(&mut worker, Duration::from_millis(1000)).await;
    assert!((2..=6).contains(&count), "{count}");
    // Others are not delayed by it, and neither is another worker.
    hub.start("b").await;
    let (token, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, "b");
    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    let mut other = hub.worker().await;
    let (token, turn) = other.turn().await;
    assert_eq!(turn.instance_id, "a");
    other.answer(&token, vec![(0, done("1"))]).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Completed);
}

#[tokio::test]
async fn an_item_whose_delay_ended_while_another_worker_had_it_comes_back() {
    let hub = Hub::memory().await;
    let mut first = hub.worker().await;
    hub.start("wanderer").await;
    let (token, _) = first.turn().await;
    let one_at_a_time = GetWorkItemsRequest {
        max_concurrent_orchestration_work_items: 1,
        ..GetWorkItemsRequest::default()
    };
    let mut second = hub.worker_with(one_at_a_time, "default").await;
    first.abandon(&token).await.unwrap();
    let (_, turn) = second.turn().await;
    assert_eq!(turn.instance_id, "wanderer");
    // What is abandoned later comes again later, so the wanderer's delay has ended by then.
    hub.start("clock").await;
    let (token, _) = first.turn().await;
    first.abandon(&token).await.unwrap();
    let (_, turn) = first.turn().await;
    assert_eq!(turn.instance_id, "clock");
    drop(second);
    let (_, turn) = first.turn().await;
    assert_eq!(turn.instance_id, "wanderer");
}

#[tokio::test]
async fn a_worker_that_always_asks_for_the_history_is_slowed_down_too() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let until = tokio::time::Instant::now() + Duration::from_millis(500);
    let mut count = 0;
    while let Ok(item) = tokio::time::timeout_at(until, worker.next()).await {
        count += 1;
        let again = OrchestratorResponse {
            completion_token: item.completion_token,
            requires_history: true,
            ..OrchestratorResponse::default()
        };
        worker.respond(again).await.unwrap();
    }
    assert!((2..=6).contains(&count), "{count}");
}

#[tokio::test]
async fn an_item_that_breaks_streams_goes_behind_the_others() {
    let hub = Hub::memory().await;
    let big = CreateInstanceRequest {
        instance_id: "poison".to_owned(),
        name: "Hello".to_owned(),
        input: Some("x".repeat(200_000)),
        ..CreateInstanceRequest::default()
    };
    hub.try_start(big).await.unwrap();
    for n in 0..20 {
        hub.start(&format!("i{n}")).await;
    }
    // Each stream of this worker ends when it is sent more than it takes.
    let mut limited = hub.client.clone().max_decoding_message_size(100_000);
    let mut left = 20;
    let mut streams = 0;
    while left > 0 {
        streams += 1;
        assert!(streams < 20, "{left} left");
        let mut stream = limited
            .get_work_items(GetWorkItemsRequest::default())
            .await
            .unwrap()
            .into_inner();
        while let Ok(Some(item)) = stream.message().await {
            let Some(work_item::Request::OrchestratorRequest(turn)) = item.request else {
                continue;
            };
            assert_ne!(turn.instance_id, "poison");
            let response = OrchestratorResponse {
                completion_token: item.completion_token,
                actions: vec![OrchestratorAction {
                    id: 0,
                    orchestrator_action_type: Some(done("1")),
                }],
                ..OrchestratorResponse::default()
            };
            if limited.complete_orchestrator_task(response).await.is_ok() {
                left -= 1;
            }
            if left == 0 {
                break;
            }
        }
    }
    // A worker that takes it gets it.
    let mut able = hub.worker().await;
    let (token, turn) = able.turn().await;
    assert_eq!(turn.instance_id, "poison");
    able.answer(&token, vec![(0, done("1"))]).await.unwrap();
}

#[tokio::test]
async fn a_silent_worker_is_noticed() {
    let hub = Hub::with(|config| config.keepalive = Duration::from_millis(300)).await;
    hub.start("a").await;
    // A connection that is opened, asks for work and then answers nothing any more: a
    // runtime of its own that is no longer driven.
    let address = hub.address;
    let frozen = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let stream = runtime.block_on(async {
            let channel = tonic::transport::Channel::from_shared(format!("http://{address}"));
            let mut client = Client::new(channel.unwrap().connect_lazy());
            let mut stream = client
                .get_work_items(GetWorkItemsRequest::default())
                .await
                .unwrap()
                .into_inner();
            let first = stream.message().await.unwrap().unwrap();
            assert!(!first.completion_token.is_empty());
            (client, stream)
        });
        (runtime, stream)
    })
    .await
    .unwrap();
    let mut healthy = hub.worker().await;
    let (_, turn) = healthy.turn().await;
    assert_eq!(turn.instance_id, "a");
    std::thread::spawn(move || drop(frozen)).join().unwrap();
}

/// What the dashboard answers at a path.
async fn text(hub: &Hub, path: &str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{path}", listener.local_addr().unwrap());
    let router = hub.scheduler.dashboard();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let answer = reqwest::get(url).await.unwrap().text().await.unwrap();
    serving.abort();
    answer
}

#[tokio::test]
async fn untaken_work_is_reported() {
    let hub = Hub::memory().await;
    let only = |name: &str| GetWorkItemsRequest {
        work_item_filters: Some(WorkItemFilters {
            orchestrations: vec![OrchestrationFilter {
                name: name.to_owned(),
                versions: vec!["1.0".to_owned()],
            }],
            ..WorkItemFilters::default()
        }),
        ..GetWorkItemsRequest::default()
    };
    let told = async || {
        let path = "/api/hubs/default/workers";
        let page: serde_json::Value = serde_json::from_str(&text(&hub, path).await).unwrap();
        page["untaken"].as_array().unwrap().clone()
    };
    for id in ["a", "b"] {
        hub.try_start(CreateInstanceRequest {
            instance_id: id.to_owned(),
            name: "Hello".to_owned(),
            version: Some("2.0".to_owned()),
            ..CreateInstanceRequest::default()
        })
        .await
        .unwrap();
    }
    let untaken = told().await;
    assert_eq!(untaken.len(), 1, "{untaken:?}");
    assert!(untaken[0]["reason"].as_str().unwrap().contains("no worker"));
    let worker = hub.worker_with(only("Hello"), "default").await;
    let untaken = told().await;
    assert_eq!(
        (
            untaken[0]["kind"].as_str(),
            untaken[0]["name"].as_str(),
            untaken[0]["version"].as_str(),
            untaken[0]["count"].as_i64()
        ),
        (Some("orchestration"), Some("Hello"), Some("2.0"), Some(2))
    );
    assert!(
        untaken[0]["reason"]
            .as_str()
            .unwrap()
            .contains("name and version")
    );
    // Each node counts its own task hubs.
    if !ELSEWHERE {
        let metrics = text(&hub, "/metrics").await;
        let waiting = r#"work_items_untaken{task_hub="default",kind="orchestration"} 2"#;
        assert!(metrics.contains(waiting), "{metrics}");
    }
    let mut all = hub.worker().await;
    for _ in 0..2 {
        all.turn().await;
    }
    assert!(told().await.is_empty());
    drop(worker);
}

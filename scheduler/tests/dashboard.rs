//! The dashboard over HTTP: what it tells, what it does, whom it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use durabletask_proto::*;
use reqwest::StatusCode;
use serde_json::{Value, json};
use support::*;

/// A dashboard that is served on a free port for as long as this lives.
struct Dashboard {
    base: String,
    http: reqwest::Client,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Dashboard {
    async fn of(hub: &Hub) -> Self {
        let router = hub.scheduler.dashboard();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            base,
            http: reqwest::Client::new(),
            serving,
        }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self
            .http
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.http.post(format!("{}{path}", self.base)).json(&body);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// The ids that a list has, in its order, over all of its pages.
    async fn ids(&self, query: &str) -> Vec<String> {
        let mut ids = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/hubs/default/instances?limit=3&{query}&cursor={cursor}");
            let page = self.get(&path).await;
            let list = page["instances"].as_array().unwrap();
            assert!(list.len() <= 3);
            ids.extend(
                list.iter()
                    .map(|each| each["id"].as_str().unwrap().to_owned()),
            );
            match page["next"].as_str() {
                Some(next) => cursor = percent(next),
                None => return ids,
            }
        }
    }
}

/// A query's value.
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn start_named(hub: &Hub, id: &str, name: &str) {
    hub.try_start(CreateInstanceRequest {
        instance_id: id.into(),
        name: name.into(),
        input: Some("{\"city\":\"Tokyo\"}".into()),
        tags: [("tenant".to_owned(), format!("t-{name}"))].into(),
        ..Default::default()
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn lists_are_narrowed_sorted_and_paged() {
    let hub = Hub::memory().await;
    for n in 0..8 {
        let name = if n % 2 == 0 { "Even" } else { "Odd" };
        start_named(&hub, &format!("i{n}"), name).await;
        hub.clock.advance(Duration::from_secs(60));
    }
    let mut worker = hub.worker().await;
    let (token, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, "i0");
    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    let dashboard = Dashboard::of(&hub).await;

    let names = |numbers: &[u8]| numbers.iter().map(|n| format!("i{n}")).collect::<Vec<_>>();
    assert_eq!(dashboard.ids("").await, names(&[7, 6, 5, 4, 3, 2, 1, 0]));
    assert_eq!(
        dashboard.ids("sort=created").await,
        names(&[0, 1, 2, 3, 4, 5, 6, 7])
    );
    assert_eq!(
        dashboard.ids("sort=-id").await,
        names(&[7, 6, 5, 4, 3, 2, 1, 0])
    );
    assert_eq!(
        dashboard.ids("sort=name").await,
        names(&[0, 2, 4, 6, 1, 3, 5, 7])
    );
    assert_eq!(
        dashboard.ids("sort=-name").await,
        names(&[7, 5, 3, 1, 6, 4, 2, 0])
    );
    assert_eq!(dashboard.ids("status=COMPLETED").await, names(&[0]));
    assert_eq!(
        dashboard.ids("status=COMPLETED,FAILED&name=Odd").await,
        names(&[])
    );
    assert_eq!(
        dashboard.ids("status=PENDING&sort=created").await,
        names(&[1, 2, 3, 4, 5, 6, 7])
    );
    assert_eq!(
        dashboard.ids("name=Odd&status=PENDING").await,
        names(&[7, 5, 3, 1])
    );
    assert_eq!(
        dashboard
            .ids("status=PENDING,COMPLETED,FAILED&sort=created")
            .await,
        names(&[0, 1, 2, 3, 4, 5, 6, 7])
    );
    assert_eq!(
        dashboard.ids("status=PENDING,COMPLETED").await,
        names(&[7, 6, 5, 4, 3, 2, 1, 0])
    );
    assert_eq!(dashboard.ids("prefix=i3").await, names(&[3]));
    assert_eq!(
        dashboard.ids("prefix=i&name=Even&sort=id").await,
        names(&[0, 2, 4, 6])
    );
    let second = "2023-11-14T22:15:20Z";
    assert_eq!(
        dashboard.ids(&format!("to={second}&sort=created")).await,
        names(&[0, 1])
    );
    assert_eq!(
        dashboard.ids(&format!("from={second}&sort=id")).await,
        names(&[2, 3, 4, 5, 6, 7])
    );
    let told = dashboard.get("/api/hubs/default/names").await;
    assert_eq!(told["names"], json!(["Even", "Odd"]));
    assert_eq!(
        dashboard.ids("tag=tenant%3Dt-Odd&sort=created").await,
        names(&[1, 3, 5, 7])
    );
    assert_eq!(
        dashboard
            .ids("tag=tenant&status=PENDING&name=Even&sort=-id")
            .await,
        names(&[6, 4, 2])
    );
    assert_eq!(dashboard.ids("tag=colour").await, names(&[]));
    for wrong in [
        "status=LOST",
        "from=yesterday",
        "sort=colour",
        "cursor=abc",
        "who=me",
    ] {
        let url = format!("{}/api/hubs/default/instances?{wrong}", dashboard.base);
        let answer = dashboard.http.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{wrong}");
    }
}

#[tokio::test]
async fn one_instance_is_reported_with_family_history_and_failure() {
    let hub = Hub::memory().await;
    start_named(&hub, "a/ö", "Parent").await;
    let mut worker = hub.worker().await;
    let (token, _) = worker.turn().await;
    let child = orchestrator_action::OrchestratorActionType::CreateSubOrchestration(
        CreateSubOrchestrationAction {
            instance_id: "child".into(),
            name: "Child".into(),
            ..Default::default()
        },
    );
    worker
        .answer(&token, vec![(0, call("Greet")), (1, child)])
        .await
        .unwrap();
    let dashboard = Dashboard::of(&hub).await;
    let path = format!("/api/hubs/default/instances/{}", percent("a/ö"));
    let told = dashboard.get(&path).await;
    assert_eq!(told["instance"]["status"], "RUNNING");
    assert_eq!(told["instance"]["input"], "{\"city\":\"Tokyo\"}");
    assert_eq!(told["instance"]["tags"], json!({"tenant": "t-Parent"}));
    assert_eq!(told["children"][0]["id"], "child");
    let told = dashboard.get("/api/hubs/default/instances/child").await;
    assert_eq!(told["instance"]["parentId"], "a/ö");
    assert_eq!(told["waiting"][0]["kind"], "ExecutionStarted");

    hub.raise("a/ö", "hello").await.unwrap();
    let failure = TaskFailureDetails {
        error_type: "Broken".into(),
        error_message: "it broke".into(),
        stack_trace: Some("at somewhere".into()),
        ..Default::default()
    };
    loop {
        let item = worker.next().await;
        match item.request.unwrap() {
            work_item::Request::ActivityRequest(_) => {
                let response = ActivityResponse {
                    completion_token: item.completion_token,
                    failure_details: Some(failure.clone()),
                    ..Default::default()
                };
                hub.client
                    .clone()
                    .complete_activity_task(response)
                    .await
                    .unwrap();
            }
            work_item::Request::OrchestratorRequest(turn) if turn.instance_id == "child" => {
                worker
                    .answer(&item.completion_token, vec![(0, done("2"))])
                    .await
                    .unwrap();
            }
            work_item::Request::OrchestratorRequest(turn) => {
                let failed = kinds(&turn.new_events).contains(&"TaskFailed");
                let mut actions = vec![];
                if failed {
                    actions.push((2, complete(OrchestrationStatus::Failed, "null")));
                }
                worker
                    .answer(&item.completion_token, actions)
                    .await
                    .unwrap();
                if failed {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    let told = dashboard.get(&path).await;
    assert_eq!(told["instance"]["status"], "FAILED");
    let history = dashboard.get(&format!("{path}/history")).await;
    let events = history["events"].as_array().unwrap();
    let find = |kind: &str| events.iter().find(|event| event["kind"] == kind).unwrap();
    assert_eq!(find("TaskScheduled")["name"], "Greet");
    assert_eq!(find("TaskScheduled")["id"], 0);
    assert_eq!(find("TaskFailed")["answers"], 0);
    assert_eq!(find("TaskFailed")["failure"]["stack"], "at somewhere");
    assert_eq!(find("SubOrchestrationInstanceCreated")["instance"], "child");
    assert_eq!(find("EventRaised")["name"], "hello");
    assert_eq!(history["next"], Value::Null);
}

#[tokio::test]
async fn operations_do_what_the_calls_of_a_client_do() {
    let hub = Hub::memory().await;
    start_named(&hub, "a", "Hello").await;
    let mut worker = hub.worker().await;
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![]).await.unwrap();
    let dashboard = Dashboard::of(&hub).await;
    let to = |operation: &str| format!("/api/hubs/default/instances/a/{operation}");

    let event = json!({"name": "approval", "payload": {"approved": null}});
    assert_eq!(dashboard.post(&to("raise-event"), event).await.0, 200);
    let (token, turn) = worker.turn().await;
    let Some(history_event::EventType::EventRaised(raised)) = &turn.new_events[1].event_type else {
        panic!("{turn:?}")
    };
    assert_eq!(
        (raised.name.as_str(), raised.input.as_deref()),
        ("approval", Some("{\"approved\":null}"))
    );
    worker.answer(&token, vec![]).await.unwrap();

    assert_eq!(
        dashboard
            .post(&to("suspend"), json!({"reason": "look"}))
            .await
            .0,
        200
    );
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![]).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Suspended);
    assert_eq!(dashboard.post(&to("resume"), json!({})).await.0, 200);
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![]).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Running);

    let (status, told) = dashboard.post(&to("purge"), json!({})).await;
    assert_eq!(
        (
            status.as_u16(),
            told["error"]
                .as_str()
                .unwrap()
                .contains("terminate it first")
        ),
        (409, true)
    );
    let ending = json!({"payload": "gone", "recursive": true});
    assert_eq!(dashboard.post(&to("terminate"), ending).await.0, 200);
    let (token, _) = worker.turn().await;
    worker
        .answer(
            &token,
            vec![(0, complete(OrchestrationStatus::Terminated, "\"gone\""))],
        )
        .await
        .unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Terminated);
    let (status, told) = dashboard.post(&to("purge"), json!({})).await;
    assert_eq!((status.as_u16(), told), (200, json!({"deleted": 1})));
    assert!(hub.get("a").await.is_none());

    assert_eq!(dashboard.post(&to("suspend"), json!({})).await.0, 404);
    assert_eq!(dashboard.post(&to("paint"), json!({})).await.0, 404);
    assert_eq!(
        dashboard
            .post(&to("raise-event"), json!({"payload": 1}))
            .await
            .0,
        400
    );
    assert_eq!(
        dashboard.post(&to("suspend"), json!({"colour": 1})).await.0,
        422
    );
    let elsewhere = "/api/hubs/elsewhere/instances/a/suspend";
    assert_eq!(dashboard.post(elsewhere, json!({})).await.0, 404);
    let hubs = dashboard.get("/api/hubs").await;
    assert_eq!(
        hubs["hubs"].as_array().unwrap().len(),
        1,
        "looking makes no task hub"
    );
}

#[tokio::test]
async fn other_sites_are_refused_and_nothing_changes_by_get() {
    let hub = Hub::memory().await;
    start_named(&hub, "a", "Hello").await;
    let dashboard = Dashboard::of(&hub).await;
    let url = format!("{}/api/hubs/default/instances/a/terminate", dashboard.base);
    let http = &dashboard.http;
    let foreign = http
        .post(&url)
        .header("origin", "http://evil.example")
        .json(&json!({}));
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    let form = http
        .post(&url)
        .header("content-type", "text/plain")
        .body("{}");
    assert_eq!(form.send().await.unwrap().status(), 403);
    let rebound = http
        .get(format!("{}/api/hubs", dashboard.base))
        .header("host", "evil.example");
    assert_eq!(rebound.send().await.unwrap().status(), 403);
    assert_eq!(http.get(&url).send().await.unwrap().status(), 405);
    assert_eq!(hub.status("a").await, OrchestrationStatus::Pending);

    let page = http.get(&dashboard.base).send().await.unwrap();
    let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    let policy = header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(header("x-content-type-options"), "nosniff");
    let icon = format!("{}/favicon.ico", dashboard.base);
    assert_eq!(http.get(&icon).send().await.unwrap().status(), 200);
    let text = page.text().await.unwrap();
    for (attribute, end) in [("src=\"", '"'), ("href=\"", '"')] {
        for link in text.split(attribute).skip(1) {
            let file = link.split(end).next().unwrap();
            let url = format!("{}{file}", dashboard.base);
            assert_eq!(http.get(&url).send().await.unwrap().status(), 200, "{file}");
        }
    }
    for inline in ["<style", "style=", "onclick", "<script>"] {
        assert!(
            !text.contains(inline),
            "{inline} would be stopped by the policy"
        );
    }
}

#[tokio::test]
async fn pages_are_notified_of_changes_and_list_the_workers() {
    let hub = Hub::memory().await;
    let dashboard = Dashboard::of(&hub).await;
    let url = format!("{}/api/changes", dashboard.base);
    let mut stream = dashboard.http.get(url).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    start_named(&hub, "a", "Hello").await;
    let mut text = String::new();
    while !text.contains("event: changed\ndata: now\n\n") {
        let chunk = tokio::time::timeout(PATIENCE, stream.chunk())
            .await
            .expect("a change is told");
        text.push_str(std::str::from_utf8(&chunk.unwrap().expect("an open stream")).unwrap());
    }

    let request = GetWorkItemsRequest {
        max_concurrent_orchestration_work_items: 7,
        work_item_filters: Some(WorkItemFilters {
            orchestrations: vec![OrchestrationFilter {
                name: "Hello".into(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut request = tonic::Request::new(request);
    request
        .metadata_mut()
        .insert("workerid", "box,1,2".parse().unwrap());
    request
        .metadata_mut()
        .insert("x-user-agent", "durabletask-x/1".parse().unwrap());
    let mut items = hub
        .client
        .clone()
        .get_work_items(request)
        .await
        .unwrap()
        .into_inner();
    assert!(items.message().await.unwrap().is_some());
    let told = dashboard.get("/api/hubs/default/workers").await;
    let worker = &told["workers"][0];
    assert_eq!(worker["worker"], "box,1,2");
    assert_eq!(worker["agent"], "durabletask-x/1");
    assert_eq!(
        worker["orchestrations"],
        json!({"held": 1, "window": 7, "names": ["Hello"]})
    );
    assert_eq!(worker["activities"]["names"], json!([]));
    assert_eq!(
        told["queues"][0],
        json!({"kind": "orchestration", "queued": 0, "held": 1})
    );

    // The stop of the scheduler ends the pages' streams, so that it can end.
    hub.stop.cancel();
    while let Some(_more) = tokio::time::timeout(PATIENCE, stream.chunk())
        .await
        .expect("an end")
        .unwrap()
    {}
}

#[tokio::test]
async fn entities_are_listed_shown_and_signaled() {
    let hub = Hub::memory().await;
    hub.start("a").await;
    let dashboard = Dashboard::of(&hub).await;
    let path = format!("/api/hubs/default/entities/{}", percent("@counter@one"));
    let signal = json!({"name": "add", "payload": 5});
    assert_eq!(
        dashboard.post(&format!("{path}/signal"), signal).await.0,
        200
    );
    let nameless = dashboard.post(&format!("{path}/signal"), json!({})).await;
    assert_eq!(nameless.0, 400);
    let told = dashboard.get(&path).await;
    assert_eq!(told["entity"]["id"], "@counter@one");
    assert_eq!(told["entity"]["waiting"], 1);
    let listed = dashboard
        .get("/api/hubs/default/entities?prefix=%40counter%40")
        .await;
    assert_eq!(listed["entities"].as_array().unwrap().len(), 1);
    let none = dashboard
        .get("/api/hubs/default/entities?prefix=%40other%40")
        .await;
    assert_eq!(none["entities"], json!([]));
    let missing = dashboard.http.get(format!(
        "{}/api/hubs/default/entities/%40no%40one",
        dashboard.base
    ));
    assert_eq!(missing.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn what_failed_is_rewound_and_what_ended_is_restarted() {
    let hub = Hub::memory().await;
    start_named(&hub, "a", "Hello").await;
    let mut worker = hub.worker().await;
    let (token, _) = worker.turn().await;
    worker
        .answer(&token, vec![(0, call("Greet"))])
        .await
        .unwrap();
    let (token, _) = worker.activity().await;
    let response = ActivityResponse {
        completion_token: token,
        failure_details: Some(TaskFailureDetails::default()),
        ..Default::default()
    };
    hub.client
        .clone()
        .complete_activity_task(response)
        .await
        .unwrap();
    let (token, _) = worker.turn().await;
    let failed = complete(OrchestrationStatus::Failed, "null");
    worker.answer(&token, vec![(1, failed)]).await.unwrap();
    let dashboard = Dashboard::of(&hub).await;
    let to = |operation: &str| format!("/api/hubs/default/instances/a/{operation}");

    assert_eq!(
        dashboard
            .post(&to("rewind"), json!({"reason": "mended"}))
            .await
            .0,
        200
    );
    assert_ne!(hub.status("a").await, OrchestrationStatus::Failed);
    assert_eq!(
        dashboard.post(&to("rewind"), json!({})).await.0,
        409,
        "it runs"
    );
    hub.client
        .clone()
        .terminate_instance(TerminateRequest {
            instance_id: "a".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    while hub.status("a").await != OrchestrationStatus::Terminated {
        let item = worker.next().await;
        if let Some(work_item::Request::OrchestratorRequest(turn)) = item.request {
            let ends = kinds(&turn.new_events).contains(&"ExecutionTerminated");
            let end = complete(OrchestrationStatus::Terminated, "null");
            let actions = if ends { vec![(2, end)] } else { vec![] };
            worker
                .answer(&item.completion_token, actions)
                .await
                .unwrap();
        }
    }
    let (status, told) = dashboard.post(&to("restart"), json!({"newId": true})).await;
    assert_eq!(status, 200);
    let other = told["instanceId"].as_str().unwrap();
    assert_ne!(other, "a");
    assert_eq!(
        hub.get(other).await.unwrap().input.as_deref(),
        Some("{\"city\":\"Tokyo\"}")
    );
}

#[tokio::test]
async fn an_instance_is_forked_at_an_event_of_its_history() {
    let hub = Hub::memory().await;
    start_named(&hub, "a", "Hello").await;
    let mut worker = hub.worker().await;
    let (token, _) = worker.turn().await;
    let calls = vec![(0, call("Greet"))];
    worker.answer(&token, calls).await.unwrap();
    worker.activity().await;
    let dashboard = Dashboard::of(&hub).await;
    let path = "/api/hubs/default/instances/a";
    let execution = &dashboard.get(path).await["instance"]["executionId"];
    let events = dashboard.get(&format!("{path}/history")).await["events"].clone();
    assert_eq!(events[2]["kind"], "TaskScheduled");
    let fork = |event: Value| {
        let body = json!({"event": event, "executionId": execution, "instanceId": "b"});
        dashboard.post("/api/hubs/default/instances/a/fork", body)
    };
    assert_eq!(fork(Value::Null).await.0, 400);
    assert_eq!(fork(json!(3)).await.0, 400, "there are three events");
    let (status, told) = fork(json!(2)).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["instanceId"], "b");
    assert_eq!(fork(json!(2)).await.0, 409, "the id is taken");
    // What was under way there is under way here too, beside a turn of the orchestration.
    let again = loop {
        match worker.next().await.request {
            Some(work_item::Request::ActivityRequest(activity)) => break activity,
            Some(work_item::Request::OrchestratorRequest(turn)) => {
                assert_eq!(turn.instance_id, "b")
            }
            other => panic!("{other:?}"),
        }
    };
    let of = again.orchestration_instance.unwrap().instance_id;
    assert_eq!((of.as_str(), again.name.as_str()), ("b", "Greet"));
}

#[tokio::test]
async fn links_to_the_emulators_dashboard_lead_to_the_same_here() {
    let hub = Hub::memory().await;
    let dashboard = Dashboard::of(&hub).await;
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let local = "/subscriptions/local/schedulers/emulator/taskhubs";
    let default = "/subscriptions/default/schedulers/default/taskhubs";
    for (link, place) in [
        (format!("{default}/my%20hub"), "/#/hubs/my%20hub"),
        (
            format!("{default}/hub?endpoint=http%3A%2F%2Flocalhost"),
            "/#/hubs/hub",
        ),
        (format!("{default}/hub/"), "/#/hubs/hub"),
        (format!("{local}/hub/orchestrations"), "/#/hubs/hub"),
        (
            format!("{local}/hub/orchestrations/a%2Fb"),
            "/#/hubs/hub/instances/a%2Fb",
        ),
        (
            format!("{local}/hub/orchestrations/a/history"),
            "/#/hubs/hub/instances/a",
        ),
        (format!("{local}/hub/entities"), "/#/hubs/hub/entities"),
        (
            format!("{local}/hub/entities/@e@k"),
            "/#/hubs/hub/entities/@e@k",
        ),
        (format!("{local}/hub/workers"), "/#/hubs/hub/workers"),
        ("/taskhubs/hub".to_owned(), "/#/hubs/hub"),
        (
            "/?endpoint=http%3A%2F%2Fhere&taskhub=a%23b".to_owned(),
            "/#/hubs/a%23b",
        ),
    ] {
        let answer = http.get(format!("{}{link}", dashboard.base)).send();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 307, "{link}");
        assert_eq!(answer.headers()["location"], place, "{link}");
    }
    for path in ["/?taskhub=", "/?endpoint=x", "/"] {
        let answer = http.get(format!("{}{path}", dashboard.base)).send();
        assert_eq!(answer.await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_task_hub_is_pinged_as_at_the_emulator() {
    let dynamic = Hub::memory().await;
    let fixed = Hub::with(|config| {
        config.task_hubs = vec!["one".to_owned()];
        config.dynamic_task_hubs = false;
    })
    .await;
    for (hub, name, status) in [
        (&dynamic, "default", 200),
        (&dynamic, "not yet used", 200),
        (&fixed, "one", 200),
        (&fixed, "other", 404),
    ] {
        let dashboard = Dashboard::of(hub).await;
        let ping = dashboard
            .http
            .get(format!("{}/api/v1/taskhubs/ping", dashboard.base))
            .header("x-taskhub", name);
        assert_eq!(ping.send().await.unwrap().status(), status, "{name}");
    }
    // Asking makes none.
    let hubs = Dashboard::of(&dynamic).await.get("/api/hubs").await;
    assert!(!hubs.to_string().contains("not yet used"), "{hubs}");
}

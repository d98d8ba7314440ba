//! The example of `durabletask-agent`: an agent logs in to a site with a code of Countersign,
//! and a person approves.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use durabletask::{Client, Connection, Registry, Worker};
use durabletask_agent::{AgentRequest, OpenAiCompatible};
use durabletask_scheduler::{Scheduler, SchedulerConfig, Storage};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::enrollment::seed_code_at;
use crate::support::{App, SEED_URI, unix_now};

#[path = "../../durabletask/agent/examples/log_in.rs"]
mod log_in;

const PASSWORD: &str = "correct horse battery staple";

/// The codes that the site was given.
type Given = Arc<Mutex<Vec<String>>>;

/// Lets in who has the password and the code of now.
async fn site(State(given): State<Given>, Json(login): Json<Value>) -> (StatusCode, String) {
    let code = login["code"].as_str().unwrap_or_default().to_owned();
    let now = unix_now();
    let is_right = login["password"] == PASSWORD
        && (code == seed_code_at(now) || code == seed_code_at(now - 30));
    given.lock().unwrap().push(code);
    match is_right {
        true => (StatusCode::OK, "Build 7 is green.".to_owned()),
        false => (StatusCode::UNAUTHORIZED, String::new()),
    }
}

/// A model that logs in and repeats what it read.
async fn model(Json(request): Json<Value>) -> Json<Value> {
    let last = request["messages"].as_array().unwrap().last().unwrap();
    let message = match last["role"].as_str().unwrap() {
        "tool" => json!({ "content": format!("The page says: {}", last["content"]) }),
        _ => json!({ "content": null, "tool_calls": [{
            "id": "1", "type": "function",
            "function": { "name": "log_in", "arguments": r#"{"reason": "to see the builds"}"# },
        }]}),
    };
    Json(json!({ "choices": [{ "message": message, "finish_reason": "stop" }] }))
}

#[tokio::test]
async fn an_agent_logs_in_with_a_code_that_no_history_has() {
    let app = App::start().await;
    let account = app.admin().enroll(SEED_URI, false).await;
    app.admin().ended(&account).await;
    let key = app
        .new_caller("agent", "reader")
        .token()
        .unwrap()
        .to_owned();

    let given = Given::default();
    let router = Router::new()
        .route("/login", post(site))
        .route("/v1/chat/completions", post(model))
        .with_state(Arc::clone(&given));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move { axum::serve(listener, router).await });
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hub = format!("http://{}", listener.local_addr().unwrap());
    let scheduler = Scheduler::open(SchedulerConfig::new(Storage::Memory)).unwrap();
    tokio::spawn(async move { scheduler.serve(listener, stop).await });

    let connection = Connection::insecure(&hub, "default").unwrap();
    let client = Client::new(&connection).unwrap();
    let login = log_in::Login {
        countersign: (format!("http://{}", app.address()), key.clone()),
        account,
        site: format!("{here}/login"),
        user: ("build".to_owned(), PASSWORD.to_owned()),
        http: reqwest::Client::new(),
    };
    let script = OpenAiCompatible::new(&format!("{here}/v1"), "script").unwrap();
    let agent = log_in::agent(script, client.clone(), Arc::new(login)).unwrap();
    let worker = Worker::builder(&connection).registry(agent.register(Registry::new()));
    let worker = worker.build().unwrap().spawn();
    for (approved, text) in [
        (false, "The page says: \"refused by a person: not now\""),
        (true, "The page says: \"Build 7 is green.\""),
    ] {
        let request = AgentRequest::new("How is the build?");
        let run = client
            .start(&agent.orchestration(), &request)
            .send()
            .await
            .unwrap();
        let answer = log_in::decide(&client, &run, |call| {
            assert_eq!(call.arguments, json!({ "reason": "to see the builds" }));
            approved
        });
        let answer = answer.await.unwrap();
        assert_eq!(answer.text.as_deref(), Some(text));
        let history = client.export_instance(run.id()).await.unwrap().to_json();
        assert!(history.contains("to see the builds"), "{history}");
        let secrets = given.lock().unwrap().clone();
        for secret in secrets
            .iter()
            .map(String::as_str)
            .chain([key.as_str(), PASSWORD])
        {
            assert!(!history.contains(secret), "a secret is in the history");
        }
    }
    assert_eq!(
        given.lock().unwrap().len(),
        1,
        "only an approved login was tried"
    );
    worker.stop().await.unwrap();
    served.abort();
}

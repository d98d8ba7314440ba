//! The worker is killed with SIGKILL at every step of a run, while the model answers or while a
//! tool runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use durabletask::{ActivityContext, Client, Connection, Registry, Worker};
use durabletask_agent::schemars::JsonSchema;
use durabletask_agent::{Agent, AgentRequest, Message, OpenAiCompatible, Stop, Tool};
use serde::Deserialize;
use serde_json::{Value, json};
use support::{Hub, PATIENCE};

/// Names the addresses of scheduler and model to the process that is the worker.
const ADDRESSES: &str = "AGENT_TEST_ADDRESSES";
const STEPS: usize = 20;

#[derive(Deserialize, JsonSchema)]
struct Note {
    number: usize,
}

/// The agent of both processes; its tools report to the model's server that they ran.
fn agent(connection: &Connection, model: &str) -> Agent {
    let base = format!("http://{model}");
    let tool = |name: &str| {
        let (base, kind) = (base.clone(), name.to_owned());
        Tool::new(name, "", move |_: ActivityContext, note: Note| {
            let address = format!("{base}/{kind}/{}", note.number);
            async move {
                let answer = reqwest::get(address).await?.error_for_status()?;
                Ok(answer.text().await?)
            }
        })
    };
    let model = OpenAiCompatible::new(&base, "script").unwrap();
    Agent::builder("killed", model)
        .tool(tool("again"))
        .tool(tool("once").once_only())
        .client(Client::new(connection).unwrap())
        .build()
        .unwrap()
}

/// The worker that is killed.
#[tokio::test]
#[ignore = "a process of the other test"]
async fn worker_process() {
    let addresses = std::env::var(ADDRESSES).unwrap();
    let (hub, model) = addresses.split_once(' ').unwrap();
    let connection = Connection::insecure(&format!("http://{hub}"), "default").unwrap();
    let registry = agent(&connection, model).register(Registry::new());
    let worker = Worker::builder(&connection).registry(registry);
    worker
        .build()
        .unwrap()
        .run_until(std::future::pending())
        .await
        .unwrap();
}

/// What the model's server has seen, and the worker that it kills.
struct Server {
    addresses: String,
    worker: Mutex<Child>,
    /// How often each step's answer was asked for, and each tool ran.
    answers: Mutex<BTreeMap<usize, u32>>,
    tools: Mutex<BTreeMap<String, u32>>,
}

impl Server {
    fn spawn(addresses: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["worker_process", "--exact", "--ignored"])
            .env(ADDRESSES, addresses)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Kills the worker and starts another one.
    fn kill(&self) {
        let mut worker = self.worker.lock().unwrap();
        worker.kill().unwrap();
        worker.wait().unwrap();
        *worker = Self::spawn(&self.addresses);
    }

    fn count<K: Ord>(counts: &Mutex<BTreeMap<K, u32>>, key: K) -> u32 {
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(key).or_default();
        *count += 1;
        *count
    }
}

/// Which tool a step calls.
fn tool_of(step: usize) -> &'static str {
    if step.is_multiple_of(4) {
        "again"
    } else {
        "once"
    }
}

async fn complete(State(server): State<Arc<Server>>, Json(request): Json<Value>) -> Json<Value> {
    let messages = request["messages"].as_array().unwrap();
    let step = messages
        .iter()
        .filter(|said| said["role"] == "assistant")
        .count();
    let first = Server::count(&server.answers, step) == 1;
    // At even steps while the model answers, at odd ones while the tool runs.
    if first && step.is_multiple_of(2) {
        server.kill();
    }
    let message = match step {
        STEPS => json!({"content": "done"}),
        step => json!({"content": null, "tool_calls": [{
            "id": "call", "type": "function",
            "function": {"name": tool_of(step), "arguments": json!({"number": step}).to_string()},
        }]}),
    };
    Json(json!({
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 1},
    }))
}

async fn ran(
    State(server): State<Arc<Server>>,
    Path((kind, step)): Path<(String, usize)>,
) -> String {
    let first = Server::count(&server.tools, format!("{kind} {step}")) == 1;
    if first && !step.is_multiple_of(2) {
        server.kill();
    }
    format!("noted {step}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_survives_a_kill_at_every_step_and_repeats_only_what_was_interrupted() {
    let hub = Hub::open().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let model = listener.local_addr().unwrap();
    let addresses = format!("{} {model}", hub.address);
    let server = Arc::new(Server {
        worker: Mutex::new(Server::spawn(&addresses)),
        addresses,
        answers: Mutex::default(),
        tools: Mutex::default(),
    });
    let router = Router::new()
        .route("/chat/completions", post(complete))
        .route("/{kind}/{step}", get(ran))
        .with_state(Arc::clone(&server));
    let served = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

    let agent = agent(&hub.connection, &model.to_string());
    let run = hub.ask(&agent, &AgentRequest::new("go")).await;
    let answer = run.result_within(2 * PATIENCE).await;
    server.worker.lock().unwrap().kill().unwrap();
    let answer = answer.unwrap();
    assert_eq!(
        (answer.stop, answer.text.as_deref()),
        (Stop::Answered, Some("done"))
    );
    // Each answer is in the conversation once, and only these were paid for in it.
    assert_eq!(answer.usage.output_tokens, STEPS as u64 + 1);
    for (step, times) in server.answers.lock().unwrap().iter() {
        let most = if step.is_multiple_of(2) { 2 } else { 1 };
        assert!(
            *times <= most,
            "the answer of step {step} was asked for {times} times"
        );
    }
    let tools = server.tools.lock().unwrap();
    for step in 0..STEPS {
        let times = tools
            .get(&format!("{} {step}", tool_of(step)))
            .copied()
            .unwrap_or(0);
        let interrupted = !step.is_multiple_of(2);
        let expected = match (tool_of(step), interrupted) {
            ("again", true) => 2,
            _ => 1,
        };
        assert_eq!(times, expected, "the tool of step {step}");
        let result = &answer.messages[2 * step + 2];
        let Message::Tool { content, .. } = result else {
            panic!("{result:?}")
        };
        match interrupted && tool_of(step) == "once" {
            true => assert!(content.starts_with("error: Interrupted: "), "{content}"),
            false => assert_eq!(*content, format!("noted {step}")),
        }
    }
    served.abort();
}

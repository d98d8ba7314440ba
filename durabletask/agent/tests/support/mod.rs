//! A scheduler in memory, a worker, and a model that answers by a script.
#![allow(dead_code, unreachable_pub)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use durabletask::chrono::Utc;
use durabletask::client::{InstanceHandle, Payloads};
use durabletask::worker::RunningWorker;
use durabletask::{Client, Connection, Failure, Registry, Worker};
use durabletask_agent::{
    Agent, AgentAnswer, AgentRequest, AgentStatus, ChatModel, ChatReply, ChatRequest, ToolCall,
    Usage,
};
use durabletask_scheduler::{ManualClock, Scheduler, SchedulerConfig, Storage};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Long enough for a loaded machine; only a failing test waits it out.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Hub {
    pub clock: Arc<ManualClock>,
    pub connection: Connection,
    pub client: Client,
    pub address: std::net::SocketAddr,
    stop: CancellationToken,
}

impl Hub {
    pub async fn open() -> Self {
        let clock = Arc::new(ManualClock::new(Utc::now()));
        let mut config = SchedulerConfig::new(Storage::Memory);
        config.clock = clock.clone();
        config.drain_timeout = Duration::from_millis(200);
        let scheduler = Scheduler::open(config).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        tokio::spawn(async move { scheduler.serve(listener, stopping).await.unwrap() });
        let connection = Connection::insecure(&format!("http://{address}"), "default").unwrap();
        Self {
            clock,
            client: Client::new(&connection).unwrap(),
            connection,
            address,
            stop,
        }
    }

    pub fn worker(&self, agent: &Agent) -> RunningWorker {
        let worker = Worker::builder(&self.connection).registry(agent.register(Registry::new()));
        worker.build().unwrap().spawn()
    }

    pub async fn ask(&self, agent: &Agent, request: &AgentRequest) -> InstanceHandle<AgentAnswer> {
        let start = self.client.start(&agent.orchestration(), request);
        start.send().await.unwrap()
    }

    /// The answer of a run that is asked now.
    pub async fn answer(&self, agent: &Agent, request: &AgentRequest) -> AgentAnswer {
        let run = self.ask(agent, request).await;
        run.result_within(PATIENCE).await.unwrap()
    }

    /// The status of a run, once it is as wanted.
    pub async fn status(&self, id: &str, is: impl Fn(&AgentStatus) -> bool) -> AgentStatus {
        let look = async {
            loop {
                let state = self.client.get(id, Payloads::Include).await.unwrap();
                let status = state.and_then(|state| state.custom_status::<Option<_>>().unwrap());
                if let Some(status) = status.filter(&is) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Answers in order, and keeps what it was asked.
#[derive(Clone, Default)]
pub struct Script {
    answers: Arc<Mutex<VecDeque<Result<ChatReply, Failure>>>>,
    asked: Arc<Mutex<Vec<ChatRequest>>>,
}

impl Script {
    pub fn of(answers: impl IntoIterator<Item = ChatReply>) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answers.into_iter().map(Ok).collect())),
            asked: Arc::default(),
        }
    }

    pub fn fails_first(self, failure: Failure) -> Self {
        self.answers.lock().unwrap().push_front(Err(failure));
        self
    }

    pub fn asked(&self) -> Vec<ChatRequest> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl ChatModel for Script {
    fn provider(&self) -> &str {
        "script"
    }

    fn model(&self) -> &str {
        "script"
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatReply, Failure> {
        self.asked.lock().unwrap().push(request.clone());
        let next = self.answers.lock().unwrap().pop_front();
        next.unwrap_or_else(|| Err(Failure::new("ScriptOver", "no more answers").permanent()))
    }
}

pub const USED: Usage = Usage {
    input_tokens: 90,
    output_tokens: 10,
};

pub fn says(text: &str) -> ChatReply {
    ChatReply::text(text, USED)
}

pub fn calls(calls: &[(&str, Value)]) -> ChatReply {
    let calls = calls.iter().enumerate().map(|(index, (name, arguments))| {
        call(&format!("call-{index}"), name, &arguments.to_string())
    });
    ChatReply::calls(calls.collect(), USED)
}

pub fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    }
}

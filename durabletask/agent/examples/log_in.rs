//! An agent that logs in to a site with a second factor, once a person has approved.
//!
//! The tool reads the code from Countersign and gives it to the site itself: the model, the
//! task hub and the dashboard see neither the code nor the password nor a key.
//!
//! ```sh
//! export DTS_CONNECTION_STRING="Endpoint=http://127.0.0.1:8080;TaskHub=default;Authentication=None"
//! export MODEL_URL=http://127.0.0.1:11434/v1 MODEL=qwen3
//! export COUNTERSIGN_URL=http://127.0.0.1:7071 COUNTERSIGN_TOKEN=cs_… ACCOUNT=totp-…
//! export SITE_URL=https://site.example/login SITE_USER=build SITE_PASSWORD=…
//! cargo run -p durabletask-agent --example log_in
//! ```
//!
//! The site takes `POST` with `{"user": …, "password": …, "code": …}`.

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use durabletask::client::{InstanceHandle, Payloads};
use durabletask::{ActivityContext, Client, ClientError, Connection, Failure, Registry, Worker};
use durabletask_agent::schemars::JsonSchema;
use durabletask_agent::{
    Agent, AgentAnswer, AgentError, AgentRequest, AgentStatus, ChatModel, Decision,
    OpenAiCompatible, Tool, WaitingCall,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Where codes come from and where they go.
pub(crate) struct Login {
    /// Countersign's address, and a key of a reader.
    pub(crate) countersign: (String, String),
    /// The account's id in Countersign.
    pub(crate) account: String,
    /// The site's address.
    pub(crate) site: String,
    /// Who logs in there.
    pub(crate) user: (String, String),
    /// What makes requests.
    pub(crate) http: reqwest::Client,
}

#[derive(Deserialize, JsonSchema)]
struct Why {
    /// Why a login is needed, for the person who approves it.
    #[expect(dead_code, reason = "it is for the person")]
    reason: String,
}

impl Login {
    /// Logs in with a code that is valid long enough to arrive.
    async fn log_in(&self) -> Result<String, Failure> {
        let (url, key) = &self.countersign;
        let code = self
            .http
            .get(format!(
                "{url}/api/tokens?id={}&minValidity=5",
                self.account
            ))
            .bearer_auth(key)
            .header("countersign-reason", "an agent logs in")
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(without_address)?;
        let code: Value = code.json().await.map_err(without_address)?;
        let (user, password) = &self.user;
        let answer = self
            .http
            .post(&self.site)
            .json(&json!({ "user": user, "password": password, "code": code["token"] }))
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(without_address)?;
        answer.text().await.map_err(without_address)
    }
}

/// An address may have in it what must not be in a history.
fn without_address(error: reqwest::Error) -> Failure {
    Failure::new("LoginFailed", error.without_url().to_string())
}

/// An agent whose only tool logs in: after an approval within a day, and at most once a call.
pub(crate) fn agent(
    model: impl ChatModel,
    client: Client,
    login: Arc<Login>,
) -> Result<Agent, AgentError> {
    let log_in = Tool::new(
        "log_in",
        "Logs in to the site with the team's account and yields its first page",
        move |_: ActivityContext, _: Why| {
            let login = Arc::clone(&login);
            async move { login.log_in().await }
        },
    );
    Agent::builder("log-in", model)
        .instructions("You look things up on a site. Log in before you answer.")
        .tool(
            log_in
                .ask_within(Duration::from_secs(24 * 3600))
                .once_only(),
        )
        .client(client)
        .build()
}

/// Decides on every call that waits until the run has an answer.
pub(crate) async fn decide(
    client: &Client,
    run: &InstanceHandle<AgentAnswer>,
    approves: impl Fn(&WaitingCall) -> bool,
) -> Result<AgentAnswer, ClientError> {
    loop {
        match run.result_within(Duration::from_millis(200)).await {
            Err(ClientError::Timeout { .. }) => {}
            ended => return ended,
        }
        let Some(state) = client.get(run.id(), Payloads::Include).await? else {
            continue;
        };
        let status: Option<AgentStatus> = state.custom_status()?;
        for waiting in status.into_iter().flat_map(|status| status.waiting) {
            let decision = match approves(&waiting) {
                true => Decision::approved(),
                false => Decision::refused("not now"),
            };
            run.raise_event(&Agent::decision(&waiting.id), &decision)
                .await?;
        }
    }
}

#[allow(dead_code, reason = "a test uses the rest")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("set {name}"));
    let connection = Connection::parse(&variable("DTS_CONNECTION_STRING")?)?;
    let client = Client::new(&connection)?;
    let login = Login {
        countersign: (variable("COUNTERSIGN_URL")?, variable("COUNTERSIGN_TOKEN")?),
        account: variable("ACCOUNT")?,
        site: variable("SITE_URL")?,
        user: (variable("SITE_USER")?, variable("SITE_PASSWORD")?),
        http: reqwest::Client::new(),
    };
    let model = OpenAiCompatible::new(&variable("MODEL_URL")?, variable("MODEL")?)?;
    let agent = agent(model, client.clone(), Arc::new(login))?;
    let worker = Worker::builder(&connection)
        .registry(agent.register(Registry::new()))
        .build()?
        .spawn();

    let request = AgentRequest::new("What does the site's first page say today?");
    let run = client
        .start(&agent.orchestration(), &request)
        .send()
        .await?;
    let approves = |call: &WaitingCall| {
        print!(
            "Let the agent {} with {}? [y/N] ",
            call.tool, call.arguments
        );
        let mut answer = String::new();
        let read = std::io::stdout()
            .flush()
            .and_then(|()| std::io::stdin().read_line(&mut answer));
        read.is_ok() && answer.trim().eq_ignore_ascii_case("y")
    };
    let answer = decide(&client, &run, approves).await?;
    println!("{}", answer.text.unwrap_or_default());
    worker.stop().await?;
    Ok(())
}

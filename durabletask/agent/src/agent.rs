//! An agent: its model, its tools and its rules, and what a worker registers of it.

use std::sync::Arc;
use std::time::Duration;

use durabletask::entity::InvalidEntityId;
use durabletask::{
    ActivityContext, Client, Entity, Event, Failure, Feed, Orchestration, OrchestrationContext,
    Registry,
};
use serde_json::Value;
use thiserror::Error;
use tracing::Instrument as _;

use crate::budget::Budget;
use crate::claim::{self, Claims};
use crate::definition::{Definition, Names};
use crate::exchange::{AgentAnswer, AgentRequest};
use crate::model::{ChatModel, ChatReply, ChatRequest};
use crate::run;
use crate::session::{self, Session};
use crate::tool::{Decision, Retry, Tool};
use crate::words::{self, WORDS, Words};

/// How long a session is kept, if the agent does not say.
const TIME_TO_LIVE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many messages a session keeps, if the agent does not say.
const MEMORY: usize = 200;

/// Why an agent cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The name cannot be one.
    #[error("an agent cannot be called '{name}': {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two tools have one name.
    #[error("two tools are called '{0}'")]
    TwoTools(String),
    /// A tool's name is not one that models accept.
    #[error("a tool cannot be called '{0}': use 1 to 64 letters, digits, '-' and '_'")]
    ToolName(String),
    /// A tool that runs at most once has nothing to note that with.
    #[error("the tool '{0}' runs at most once, which needs `AgentBuilder::client`")]
    NoClient(String),
}

impl AgentError {
    fn name(name: &str, reason: InvalidEntityId) -> Self {
        Self::Name {
            name: name.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// A model with tools, whose runs are durable: an orchestration calls the model and the tools
/// as activities, and continues where it was after a crash, without paying for an answer twice.
///
/// See the [crate's documentation](crate) for an example.
#[derive(Clone)]
pub struct Agent {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    model: Arc<dyn ChatModel>,
    client: Option<Client>,
    tools: Vec<Tool>,
    definition: Definition,
    sessions: Entity<Session>,
    claims: Entity<Claims>,
}

/// Builds an [`Agent`].
#[derive(Clone)]
pub struct AgentBuilder {
    name: String,
    model: Arc<dyn ChatModel>,
    client: Option<Client>,
    tools: Vec<Tool>,
    definition: Definition,
}

impl AgentBuilder {
    /// How the model is to behave.
    #[must_use]
    pub fn instructions(mut self, text: impl Into<String>) -> Self {
        self.definition.instructions = Some(text.into());
        self
    }

    /// Adds a tool.
    #[must_use]
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// The most that a run may use.
    #[must_use]
    pub const fn budget(mut self, budget: Budget) -> Self {
        self.definition.budget = budget;
        self
    }

    /// How often a call of the model is tried, and how long after the first failure; the delay
    /// doubles from then on, and is longer where the server asks for it. Eight times, from a
    /// second on, if nothing else is said.
    #[must_use]
    pub fn model_retry(mut self, attempts: u32, first: Duration) -> Self {
        self.definition.model_retry = Retry::of(attempts, first);
        self
    }

    /// How long a session is kept after the last run in it, and the most messages that it
    /// keeps; seven days and 200, if nothing else is said.
    #[must_use]
    pub fn sessions(mut self, time_to_live: Duration, messages: usize) -> Self {
        self.definition.session_seconds = time_to_live.as_secs().max(1);
        self.definition.session_messages = messages;
        self
    }

    /// Publishes the model's words while it speaks, in the feed [`Agent::words`] of each run.
    /// It takes a backend with entities; an hour after a run its feed is deleted.
    #[must_use]
    pub const fn stream_words(mut self) -> Self {
        self.definition.streams_words = true;
        self
    }

    /// A client of the task hub in which the agent runs: what notes that a tool was begun that
    /// runs [at most once](Tool::once_only).
    #[must_use]
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// [`AgentError`] if names are wrong or a client is missing.
    pub fn build(mut self) -> Result<Agent, AgentError> {
        let mut names = std::collections::BTreeSet::new();
        for tool in &self.tools {
            let name = tool.name();
            let is_good = (1..=64).contains(&name.len())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
            if !is_good {
                return Err(AgentError::ToolName(name.to_owned()));
            }
            if !names.insert(name.to_owned()) {
                return Err(AgentError::TwoTools(name.to_owned()));
            }
            if tool.rules.once_only && self.client.is_none() {
                return Err(AgentError::NoClient(name.to_owned()));
            }
        }
        self.definition.tools = self.tools.iter().map(|tool| tool.rules.clone()).collect();
        let wrong = |error| AgentError::name(&self.name, error);
        Entity::<()>::named(self.name.clone()).map_err(wrong)?;
        let sessions = Entity::named(format!("{}-session", self.name)).map_err(wrong)?;
        let claims = Entity::named(format!("{}-claims", self.name)).map_err(wrong)?;
        Ok(Agent {
            inner: Arc::new(Inner {
                name: self.name,
                model: self.model,
                client: self.client,
                tools: self.tools,
                definition: self.definition,
                sessions,
                claims,
            }),
        })
    }
}

impl Agent {
    /// An agent that is called `name`, with this model. The name is that of its orchestration,
    /// and the beginning of its activities' and entities' names.
    #[must_use]
    pub fn builder(name: impl Into<String>, model: impl ChatModel) -> AgentBuilder {
        AgentBuilder {
            name: name.into(),
            model: Arc::new(model),
            client: None,
            tools: Vec::new(),
            definition: Definition {
                instructions: None,
                tools: Vec::new(),
                budget: Budget::new(),
                model_retry: Retry::MODEL,
                session_seconds: TIME_TO_LIVE.as_secs(),
                session_messages: MEMORY,
                streams_words: false,
            },
        }
    }

    /// Its orchestration, for `Client::start`.
    #[must_use]
    pub fn orchestration(&self) -> Orchestration<AgentRequest, AgentAnswer> {
        Orchestration::named(&self.inner.name)
    }

    /// The event that decides on the call `id` of a run, for `Client::raise_event`; the id is
    /// in the run's custom status ([`WaitingCall::id`](crate::WaitingCall::id)).
    #[must_use]
    pub fn decision(id: &str) -> Event<Decision> {
        Decision::event(id)
    }

    /// The feed of a run's words, for `Client::follow`, if the agent
    /// [streams them](AgentBuilder::stream_words).
    #[must_use]
    pub const fn words() -> Feed<Words> {
        WORDS
    }

    /// Adds what a worker needs to run it.
    #[must_use]
    pub fn register(&self, registry: Registry) -> Registry {
        let inner = &self.inner;
        let names = Arc::new(Names::of(&inner.name, &inner.sessions, &inner.claims));
        let (definition, model) = (inner.definition.clone(), Arc::clone(&inner.model));
        let aloud = definition.streams_words;
        let registry = registry
            .orchestration(&self.orchestration(), {
                let names = Arc::clone(&names);
                move |ctx: OrchestrationContext, request| run::run(ctx, Arc::clone(&names), request)
            })
            .activity(&names.define, move |_: ActivityContext, ()| {
                let definition = definition.clone();
                async move { Ok(definition) }
            })
            .activity(&names.model, move |ctx: ActivityContext, request| {
                chat(Arc::clone(&model), aloud.then_some(ctx), request)
            })
            .entity(&inner.sessions, session::handlers())
            .entity(&inner.claims, claim::handlers());
        inner.tools.iter().fold(registry, |registry, tool| {
            let (inner, tool) = (Arc::clone(inner), tool.clone());
            registry.activity(&names.tool(tool.name()), move |ctx, arguments| {
                call(Arc::clone(&inner), tool.clone(), ctx, arguments)
            })
        })
    }
}

/// Calls the model, in a span by OpenTelemetry's conventions for generative AI. No content is
/// in it. With `aloud` its words are published meanwhile.
async fn chat(
    model: Arc<dyn ChatModel>,
    aloud: Option<ActivityContext>,
    request: ChatRequest,
) -> Result<ChatReply, Failure> {
    let span = tracing::info_span!(
        "chat",
        otel.name = format!("chat {}", model.model()),
        otel.kind = "client",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = model.provider(),
        gen_ai.request.model = model.model(),
        gen_ai.request.max_tokens = request.max_output_tokens,
        gen_ai.usage.input_tokens = tracing::field::Empty,
        gen_ai.usage.output_tokens = tracing::field::Empty,
        error.type = tracing::field::Empty,
    );
    let answering = async {
        match &aloud {
            Some(ctx) => words::aloud(&*model, ctx, &request).await,
            None => model.chat(&request).await,
        }
    };
    let reply = answering.instrument(span.clone()).await;
    match &reply {
        Ok(reply) => {
            span.record("gen_ai.usage.input_tokens", reply.usage.input_tokens);
            span.record("gen_ai.usage.output_tokens", reply.usage.output_tokens);
        }
        Err(failure) => {
            span.record("error.type", failure.details().error_type.as_str());
        }
    }
    reply
}

/// Runs a tool.
async fn call(
    agent: Arc<Inner>,
    tool: Tool,
    context: ActivityContext,
    arguments: Value,
) -> Result<Value, Failure> {
    let span = tracing::info_span!(
        "execute_tool",
        otel.name = format!("execute_tool {}", tool.name()),
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = tool.name(),
        gen_ai.tool.call.id = context.idempotency_key(),
        error.type = tracing::field::Empty,
    );
    let result = async {
        if let (true, Some(client)) = (tool.rules.once_only, &agent.client) {
            claim::claim(client, &agent.claims, &context).await?;
        }
        (tool.handler)(context, arguments).await
    }
    .instrument(span.clone())
    .await;
    if let Err(failure) = &result {
        span.record("error.type", failure.details().error_type.as_str());
    }
    result
}

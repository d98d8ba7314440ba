//! The orchestration of a run.
//!
//! All that it decides by is recorded: the agent's rules in its first step, answers and results
//! in the steps after it, decisions in events. So a run keeps to the rules that it began with,
//! and a deployment in the meantime changes nothing that was decided.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use durabletask::chrono::TimeDelta;
use durabletask::{Failure, OrchestrationContext, TaskError, TaskOptions, when_all};
use serde_json::Value;

use crate::budget::Stop;
use crate::claim;
use crate::definition::{Definition, Names};
use crate::exchange::{AgentAnswer, AgentRequest, AgentStatus, WaitingCall};
use crate::message::{Message, ToolCall, Usage};
use crate::model::{ChatReply, ChatRequest, Finish};
use crate::session::{self, Addition};
use crate::tool::{Decision, Policy, ToolRules};
use crate::words::WORDS;

/// The most bytes of a result that a model gets.
const LARGEST_RESULT: usize = 64 * 1024;
/// How long the words of a run that has ended are kept.
const WORDS_ARE_KEPT: TimeDelta = TimeDelta::hours(1);
/// The most calls in one answer.
const MOST_CALLS: usize = 64;

pub(crate) async fn run(
    ctx: OrchestrationContext,
    names: Arc<Names>,
    request: AgentRequest,
) -> Result<AgentAnswer, Failure> {
    let definition: Definition = ctx.call_activity(&names.define, &()).await?;
    let session = request.session.as_ref();
    let session = session.map(|key| names.sessions.id(key));
    // The runs of a session take turns.
    let section = match &session {
        Some(session) => Some(ctx.lock_entities([session]).await?),
        None => None,
    };
    let past = match &session {
        Some(session) => ctx.call_entity(session, &session::READ, &()).await?,
        None => Vec::new(),
    };
    let mut run = Run {
        ctx: &ctx,
        names: &names,
        definition: &definition,
        past,
        messages: vec![Message::user(request.prompt)],
        status: Arc::default(),
    };
    let ended = run.converse().await;
    // Also after a failure: nothing is left of a run that has ended.
    if definition.tools.iter().any(|tool| tool.once_only) {
        let claims = claim::of_run(&names.claims, ctx.instance_id());
        ctx.signal_entity(&claims, &claim::FORGET, &())?;
    }
    if definition.streams_words {
        let at = ctx.current_utc() + WORDS_ARE_KEPT;
        ctx.delete_feed_at(&WORDS, at)?;
    }
    let stop = ended?;
    let Run {
        messages, status, ..
    } = run;
    let status = status
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if let Some(session) = &session {
        let addition = Addition {
            messages: messages.clone(),
            seconds_to_live: definition.session_seconds,
            most_messages: definition.session_messages,
        };
        ctx.call_entity(session, &session::ADD, &addition).await?;
    }
    drop(section);
    let text = messages.iter().rev().find_map(|message| match message {
        Message::Assistant { content, .. } => content.clone(),
        _ => None,
    });
    Ok(AgentAnswer {
        text,
        stop,
        messages,
        usage: status.usage,
        cost: status.cost,
    })
}

struct Run<'a> {
    ctx: &'a OrchestrationContext,
    names: &'a Names,
    definition: &'a Definition,
    /// What the session remembers.
    past: Vec<Message>,
    /// What was said in this run.
    messages: Vec<Message>,
    status: Arc<Mutex<AgentStatus>>,
}

impl Run<'_> {
    /// Asks the model and calls its tools until it has answered or the budget is used up.
    async fn converse(&mut self) -> Result<Stop, Failure> {
        loop {
            let AgentStatus { calls, usage, .. } = self.show(|_| ())?;
            if let Some(stop) = self.definition.budget.reached(calls, usage) {
                return Ok(stop);
            }
            let reply = self.ask(usage).await?;
            let budget = self.definition.budget;
            self.show(|status| {
                status.calls += 1;
                status.usage.add(reply.usage);
                status.cost = budget.cost_of(status.usage);
            })?;
            let finish = reply.finish;
            let tool_calls = reply.tool_calls;
            self.messages.push(Message::Assistant {
                content: reply.content,
                tool_calls: tool_calls.clone(),
            });
            // The calls of an answer that was cut off may be cut off too.
            match finish {
                Finish::Length => return Ok(self.unanswered(&tool_calls, Stop::Length)),
                Finish::Filtered => return Ok(self.unanswered(&tool_calls, Stop::Filtered)),
                Finish::Complete if tool_calls.is_empty() => return Ok(Stop::Answered),
                Finish::Complete => {}
            }
            let results = self.call_all(&tool_calls).await?;
            let results = tool_calls.into_iter().zip(results);
            self.messages
                .extend(results.map(|(call, content)| Message::Tool {
                    tool_call_id: call.id,
                    content,
                }));
        }
    }

    async fn ask(&self, usage: Usage) -> Result<ChatReply, Failure> {
        let instructions = self.definition.instructions.iter();
        let said = self.past.iter().chain(&self.messages).cloned();
        let request = ChatRequest {
            messages: instructions.map(Message::system).chain(said).collect(),
            tools: self
                .definition
                .tools
                .iter()
                .map(|tool| tool.spec.clone())
                .collect(),
            max_output_tokens: self.definition.budget.output_left(usage),
        };
        let options = TaskOptions::new().retry(self.definition.model_retry.policy());
        let asked = self
            .ctx
            .call_activity_with(&self.names.model, &request, options);
        Ok(asked.await?)
    }

    /// Every call needs a result, or the session could not be continued.
    fn unanswered(&mut self, calls: &[ToolCall], stop: Stop) -> Stop {
        self.messages.extend(calls.iter().map(|call| Message::Tool {
            tool_call_id: call.id.clone(),
            content: "error: not called, because the answer was cut off".to_owned(),
        }));
        stop
    }

    /// The results of all calls of an answer, in its order.
    async fn call_all(&self, calls: &[ToolCall]) -> Result<Vec<String>, Failure> {
        let step = self.show(|_| ())?.calls;
        let planned: Vec<Planned<'_>> = calls
            .iter()
            .enumerate()
            .map(|(index, call)| Planned::of(self.definition, call, step, index))
            .collect();
        let waiting: Vec<WaitingCall> = planned.iter().filter_map(Planned::waiting).collect();
        if !waiting.is_empty() {
            self.show(|status| status.waiting = waiting)?;
        }
        when_all(planned.into_iter().map(|call| self.call(call))).await
    }

    /// The result of one call, or why there is none: both for the model to read.
    async fn call(&self, call: Planned<'_>) -> Result<String, Failure> {
        let (tool, arguments, patience) = match &call.plan {
            Plan::Answer(text) => return Ok(text.clone()),
            Plan::Run(tool, arguments) => (*tool, arguments, None),
            Plan::Ask(tool, arguments, patience) => (*tool, arguments, Some(*patience)),
        };
        if let Some(patience) = patience {
            let refusal = self.refusal(&call.id, patience).await;
            self.show(|status| status.waiting.retain(|waiting| waiting.id != call.id))?;
            if let Some(refusal) = refusal {
                return Ok(refusal);
            }
        }
        let activity = self.names.tool(&tool.spec.name);
        let options = TaskOptions::new().retry(tool.retry.policy());
        let called = self.ctx.call_activity_with(&activity, arguments, options);
        Ok(match called.await {
            Ok(result) => text_of(result),
            Err(TaskError::Failed { details, .. }) => {
                let cause = details.root_cause();
                bounded(format!("error: {}: {}", cause.error_type, cause.message))
            }
            Err(other) => return Err(other.into()),
        })
    }

    /// Waits for a decision; none if the call may be made.
    async fn refusal(&self, id: &str, patience: Duration) -> Option<String> {
        let decision = Decision::event(id);
        let decided = self.ctx.wait_for_event_within(&decision, patience).await;
        match decided {
            Ok(Some(decision)) if decision.approved => None,
            Ok(Some(decision)) => Some(match decision.reason {
                Some(reason) => bounded(format!("refused by a person: {reason}")),
                None => "refused by a person".to_owned(),
            }),
            Ok(None) => Some("refused: nobody decided in time".to_owned()),
            // Only what plainly approves lets a tool run.
            Err(_) => Some("refused: the decision could not be read".to_owned()),
        }
    }

    /// Changes the status that clients and the dashboard see, and returns it.
    fn show(&self, change: impl FnOnce(&mut AgentStatus)) -> Result<AgentStatus, Failure> {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut status);
        self.ctx.set_custom_status(&*status)?;
        Ok(status.clone())
    }
}

/// A call and what its tool's rules say of it.
struct Planned<'a> {
    /// Names the call in its run.
    id: String,
    plan: Plan<'a>,
}

enum Plan<'a> {
    /// It is answered without being made.
    Answer(String),
    Run(&'a ToolRules, Value),
    Ask(&'a ToolRules, Value, Duration),
}

impl<'a> Planned<'a> {
    fn of(definition: &'a Definition, call: &ToolCall, step: u32, index: usize) -> Self {
        let plan = match index < MOST_CALLS {
            true => Self::plan(definition, call).unwrap_or_else(Plan::Answer),
            false => Plan::Answer(format!("error: at most {MOST_CALLS} calls in one answer")),
        };
        Self {
            id: format!("{step}-{index}"),
            plan,
        }
    }

    /// What to do, or what to answer instead.
    fn plan(definition: &'a Definition, call: &ToolCall) -> Result<Plan<'a>, String> {
        let tools = &definition.tools;
        let Some(tool) = tools.iter().find(|tool| tool.spec.name == call.name) else {
            let names: Vec<&str> = tools.iter().map(|tool| tool.spec.name.as_str()).collect();
            let names = names.join(", ");
            return Err(format!("error: there is no such tool; there are: {names}"));
        };
        // No arguments are written as an empty text, too.
        let arguments = match call.arguments.trim() {
            "" => Value::Object(serde_json::Map::new()),
            text => serde_json::from_str(text)
                .map_err(|error| format!("error: the arguments are not JSON: {error}"))?,
        };
        Ok(match &tool.policy {
            Policy::Run => Plan::Run(tool, arguments),
            Policy::Ask { patience_seconds } => {
                Plan::Ask(tool, arguments, Duration::from_secs(*patience_seconds))
            }
            Policy::Refuse { reason } => return Err(format!("refused: {reason}")),
        })
    }

    fn waiting(&self) -> Option<WaitingCall> {
        let Plan::Ask(tool, arguments, _) = &self.plan else {
            return None;
        };
        Some(WaitingCall {
            id: self.id.clone(),
            tool: tool.spec.name.clone(),
            arguments: arguments.clone(),
        })
    }
}

/// A result as a model reads it.
fn text_of(result: Value) -> String {
    let text = match result {
        Value::String(text) => text,
        other => other.to_string(),
    };
    if text.len() > LARGEST_RESULT {
        return format!(
            "error: the result has {} bytes, more than {LARGEST_RESULT}; ask for less",
            text.len()
        );
    }
    text
}

/// A text of others, cut where it is too long, which is said.
fn bounded(text: String) -> String {
    const MOST: usize = 2_000;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}… (cut off)", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

//! Asking an orchestration.
//!
//! The protocol has no message for it. An orchestration calls an activity in the client's
//! name; the worker that runs it replays the history of the instance and asks its code.

use std::sync::Arc;
use std::time::Duration;

use durabletask_core::{
    Activity, ActivityContext, Execution, Failure, FailureDetails, InputFor, Orchestration,
    OrchestrationContext, Query, QueryError, Registry, RetryPolicy, TaskOptions, codec,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Client, ClientError, InstanceHandle, Payloads, Recursive};

/// A question, and to whom it goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Question {
    instance_id: String,
    orchestration: String,
    version: Option<String>,
    query: String,
    /// JSON text.
    input: String,
}

/// What became of a question.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Answer {
    /// JSON text.
    Answered(String),
    Unknown(Vec<String>),
    Failed(FailureDetails),
    NotStarted,
    NoHistory(String),
}

/// The orchestration that asks for a client.
const QUERY: Orchestration<Question, Answer> = Orchestration::new("durabletask.query");
/// How often the history is read, if that fails for the moment.
const ATTEMPTS: u32 = 3;
const ATTEMPT_DELAY: Duration = Duration::from_millis(500);

/// The activity that answers for one orchestration, so that workers which differ are asked
/// only for what they have.
fn answering(orchestration: &str) -> Activity<Question, Answer> {
    Activity::named(format!("durabletask.query/{orchestration}"))
}

/// Adds what answers [`Client::query`] to a worker that has orchestrations.
pub(crate) fn register(registry: Registry, client: &Client) -> Registry {
    let names: Vec<String> = registry.orchestration_names().map(str::to_owned).collect();
    if names.is_empty() || registry.has_orchestration(QUERY.name(), "") {
        return registry;
    }
    let code = Arc::new(registry.clone());
    let mut registry = registry.orchestration(&QUERY, ask);
    for name in names {
        let answering = answering(&name);
        let handler = {
            let (code, client) = (Arc::clone(&code), client.clone());
            move |_: ActivityContext, question| answer(Arc::clone(&code), client.clone(), question)
        };
        let versions: Vec<String> = code
            .orchestration_versions(&name)
            .map(str::to_owned)
            .collect();
        if versions.is_empty() {
            registry = registry.activity(&answering, handler);
            continue;
        }
        for version in versions {
            registry = registry.activity_version(&answering, &version, handler.clone());
        }
    }
    registry
}

async fn ask(ctx: OrchestrationContext, question: Question) -> Result<Answer, Failure> {
    let options = TaskOptions::new()
        .version(question.version.clone().unwrap_or_default())
        .retry(RetryPolicy::new(ATTEMPTS, ATTEMPT_DELAY));
    let answering = answering(&question.orchestration);
    let answer = ctx.call_activity_with(&answering, &question, options);
    Ok(answer.await?)
}

async fn answer(
    code: Arc<Registry>,
    client: Client,
    question: Question,
) -> Result<Answer, Failure> {
    let mut history = client.history(&question.instance_id);
    let mut execution = Execution::new(question.instance_id.as_str(), None, code);
    loop {
        match history.next().await {
            Some(Ok(event)) => execution.replay([event]),
            Some(Err(ClientError::Unsupported(reason))) => return Ok(Answer::NoHistory(reason)),
            Some(Err(ClientError::NotFound { .. })) | None => break,
            Some(Err(error)) => return Err(error.into()),
        }
    }
    let answer = execution.query(&question.query, Some(&question.input));
    if execution.started().is_none() {
        return Ok(Answer::NotStarted);
    }
    Ok(match answer {
        Ok(answer) => Answer::Answered(answer),
        Err(QueryError::Unknown { known }) => Answer::Unknown(known),
        Err(QueryError::Failed(details)) => Answer::Failed(details),
        Err(error) => Answer::Failed(FailureDetails::new("QueryFailed", error.to_string())),
    })
}

impl Client {
    /// Asks an orchestration that runs, or has ended, and waits for its answer for at most
    /// `timeout`. The orchestration says what it answers with
    /// [`OrchestrationContext::answer_query`].
    ///
    /// The answer is made by a worker of this crate that has the orchestration's code: it
    /// replays what the history records so far, so nothing is written to the instance. The
    /// protocol has no such message, so a short orchestration carries the question; its
    /// record is removed afterwards. That works with every backend that gives out histories.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use durabletask::{Client, ClientError, Query};
    ///
    /// const COPIED: Query<(), u32> = Query::new("copied");
    ///
    /// async fn copied(client: &Client) -> Result<u32, ClientError> {
    ///     client.query("backup-7", &COPIED, &(), Duration::from_secs(10)).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ClientError::NotFound`] if there is no such instance,
    ///   [`ClientError::InvalidState`] if it has not begun;
    /// - [`ClientError::NoSuchQuery`] if its code does not answer this query;
    /// - [`ClientError::Refused`] if the handler failed, or the code does not fit the history;
    /// - [`ClientError::Unsupported`] if the backend gives out no histories, or no worker
    ///   that took the question has the code;
    /// - [`ClientError::Timeout`] after `timeout`, and others.
    pub fn query<'a, I, O: DeserializeOwned, P: InputFor<I> + ?Sized>(
        &'a self,
        instance_id: &'a str,
        query: &Query<I, O>,
        input: &P,
        timeout: Duration,
    ) -> impl Future<Output = Result<O, ClientError>> + use<'a, I, O, P> {
        let name = query.name().to_owned();
        let input = codec::encode(input).map_err(ClientError::Payload);
        async move {
            let input = input?;
            let state = self.get(instance_id, Payloads::Omit).await?;
            let state = state.ok_or_else(|| not_found(instance_id))?;
            let question = Question {
                instance_id: instance_id.to_owned(),
                orchestration: state.name,
                version: state.version,
                query: name,
                input,
            };
            let mut start = self.start(&QUERY, &question);
            if let Some(version) = &question.version {
                start = start.version(version);
            }
            let asking = start.send().await?;
            let answer = asking.result_within(timeout).await;
            self.forget(&asking, &answer).await;
            match answer.map_err(nobody_has_it)? {
                Answer::Answered(answer) => {
                    codec::decode(Some(&answer)).map_err(ClientError::Payload)
                }
                Answer::Unknown(known) => Err(ClientError::NoSuchQuery {
                    instance_id: question.instance_id,
                    query: question.query,
                    known,
                }),
                Answer::Failed(failure) => Err(ClientError::Refused {
                    instance_id: question.instance_id,
                    failure: Box::new(failure),
                }),
                Answer::NotStarted => Err(ClientError::InvalidState(format!(
                    "'{instance_id}' has not begun to run, so it answers no query yet"
                ))),
                Answer::NoHistory(reason) => Err(ClientError::Unsupported(format!(
                    "a query needs the history of the instance: {reason}"
                ))),
            }
        }
    }

    /// Removes the record of an orchestration that has done something for a client.
    pub(super) async fn forget<O, T>(
        &self,
        helper: &InstanceHandle<O>,
        answer: &Result<T, ClientError>,
    ) {
        if !matches!(answer, Err(ClientError::Timeout { .. }))
            && let Err(error) = self.purge(helper.id(), Recursive::No).await
        {
            tracing::debug!(instance_id = helper.id(), %error, "the record of a call stays");
        }
    }
}

pub(super) fn not_found(instance_id: &str) -> ClientError {
    ClientError::NotFound {
        instance_id: Some(instance_id.to_owned()),
        reason: "the scheduler does not know it".to_owned(),
    }
}

/// What it means that a worker without our code took what was meant for one that has it.
pub(super) fn nobody_has_it(error: ClientError) -> ClientError {
    match error {
        ClientError::Failed { failure, .. }
            if matches!(
                failure.root_cause().error_type.as_str(),
                "OrchestratorTaskNotFound" | "ActivityTaskNotFound"
            ) =>
        {
            ClientError::Unsupported(format!(
                "it takes a worker of the crate `durabletask` that has the orchestration: {}",
                failure.root_cause().message
            ))
        }
        other => other,
    }
}

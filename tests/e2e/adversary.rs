//! An adversary who has the task hub: its token, its client, and a worker of its own. It can
//! start anything, have any activity called with any input, read every history, and answer
//! for orchestrations and activities if it gets to them first.

use durabletask::client::{IdReuse, Payloads, Recursive, Status};
use durabletask::worker::WorkItemFilters;
use durabletask::{
    Activity, Client, Connection, Failure, Orchestration, OrchestrationContext, Registry, Worker,
};
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{App, PATIENCE};

/// An orchestration of the adversary's: it has one activity called.
const CALL: Orchestration<Call, Value> = Orchestration::new("adversary-calls");

/// What is called with what.
#[derive(Clone, Serialize, Deserialize)]
struct Call {
    activity: String,
    input: Value,
}

pub(crate) struct Adversary {
    pub(crate) client: Client,
    stop: CancellationToken,
    worker: JoinHandle<()>,
}

impl Adversary {
    /// One whose worker runs its own orchestration only: activities go to the honest worker.
    pub(crate) fn new(connection: &str) -> Self {
        Self::also(connection, Registry::new())
    }

    /// The same with the token of a server's own task hub.
    pub(crate) fn of(app: &App) -> Self {
        Self::new(&app.hub_connection())
    }

    /// One whose worker runs what is in `registry` too.
    pub(crate) fn also(connection: &str, registry: Registry) -> Self {
        Self::with(connection, registry.orchestration(&CALL, call))
    }

    /// One whose worker runs what is in `registry`.
    pub(crate) fn with(connection: &str, registry: Registry) -> Self {
        let connection = Connection::parse(connection).unwrap();
        // What it has no code for goes to the honest worker, if there is one.
        let worker = Worker::builder(&connection)
            .registry(registry)
            .work_item_filters(WorkItemFilters::Registered)
            .build()
            .unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        Self {
            client: Client::new(&connection).unwrap(),
            stop,
            worker: tokio::spawn(async move {
                worker.run_until(stopped.cancelled_owned()).await.unwrap()
            }),
        }
    }

    /// Calls an activity with any input: its output, or why it failed.
    pub(crate) async fn call(&self, activity: &str, input: &Value) -> Result<Value, String> {
        let call = Call {
            activity: activity.to_owned(),
            input: input.clone(),
        };
        let id = self
            .client
            .start(&CALL, &call)
            .send()
            .await
            .unwrap()
            .into_id();
        self.outcome(&id).await
    }

    /// Starts an orchestration by name with any input: how it ended.
    pub(crate) async fn start(
        &self,
        name: &'static str,
        id: &str,
        input: &Value,
    ) -> Result<Value, String> {
        let orchestration = Orchestration::<Value, Value>::new(name);
        let ended = vec![
            Status::Completed,
            Status::Failed,
            Status::Terminated,
            Status::Canceled,
        ];
        self.client
            .start(&orchestration, input)
            .instance_id(id)
            .reuse(IdReuse::Statuses(ended))
            .send()
            .await
            .unwrap();
        self.outcome(id).await
    }

    /// How an instance ended.
    pub(crate) async fn outcome(&self, id: &str) -> Result<Value, String> {
        let state = self
            .client
            .wait_for_completion(id, Payloads::Include, PATIENCE)
            .await
            .unwrap();
        match state.status {
            Status::Completed => Ok(state.output().unwrap()),
            status => Err(state
                .failure
                .map_or_else(|| format!("{status:?}"), |failure| failure.to_string())),
        }
    }

    /// The input of an instance.
    pub(crate) async fn input(&self, id: &str) -> Value {
        let state = self.client.get(id, Payloads::Include).await.unwrap();
        state.unwrap().input().unwrap()
    }

    /// Every text in an instance's history that `kind` picks by its beginning.
    pub(crate) async fn texts(&self, id: &str, beginning: &str) -> Vec<String> {
        let history = self.client.history(id).try_collect::<Vec<_>>().await;
        let history = serde_json::to_string(&history.unwrap()).unwrap();
        // Payloads are JSON within JSON.
        history
            .split(['"', '\\'])
            .filter(|text| text.starts_with(beginning))
            .map(str::to_owned)
            .collect()
    }

    /// Ends an instance and removes it.
    pub(crate) async fn forget(&self, id: &str) {
        self.client.terminate(id, "", Recursive::No).await.unwrap();
        self.client
            .wait_for_completion(id, Payloads::Omit, PATIENCE)
            .await
            .unwrap();
        self.client.purge(id, Recursive::No).await.unwrap();
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.worker.await.unwrap();
    }
}

async fn call(ctx: OrchestrationContext, call: Call) -> Result<Value, Failure> {
    // One for each activity of the product, as often as it is called.
    let activity: &'static Activity<Value, Value> = Box::leak(Box::new(Activity::new(Box::leak(
        call.activity.into_boxed_str(),
    ))));
    Ok(ctx.call_activity(activity, &call.input).await?)
}

//! Finished instances with their histories, to keep elsewhere.

use std::fmt;

use durabletask_core::HistoryEvent;
use futures_util::TryStreamExt as _;
use serde_json::{Map, Value, json};

use super::{Client, ClientError, InstanceIdQuery, InstanceState, Listing, Payloads};

/// An instance with all that is recorded of it.
///
/// ```no_run
/// use std::io::Write;
///
/// use durabletask::client::InstanceIdQuery;
/// use durabletask::Client;
///
/// /// A line for each instance that has ended, as `testing::replay_json` reads it.
/// async fn export(client: &Client, file: &mut impl Write) -> Result<(), Box<dyn std::error::Error>> {
///     let mut exported = client.export(InstanceIdQuery::new());
///     while let Some(instance) = exported.next().await {
///         writeln!(file, "{}", instance?.to_json())?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportedInstance {
    /// What it is and how it stands or ended, with input and output.
    pub state: InstanceState,
    /// Its history, oldest event first.
    pub history: Vec<HistoryEvent>,
}

impl ExportedInstance {
    /// The instance as JSON text without line breaks: its id, name, version, status
    /// (as the protocol spells it, such as `COMPLETED`), instants, tags, payloads as
    /// JSON text, failure, and `history`, an array in the form of [`HistoryEvent`].
    /// What the instance does not have is left out.
    #[must_use]
    pub fn to_json(&self) -> String {
        let state = &self.state;
        let fields = [
            ("instanceId", json!(state.instance_id)),
            ("name", json!(state.name)),
            ("version", json!(state.version)),
            ("status", json!(state.status.as_text())),
            ("createdAt", json!(state.created_at)),
            ("lastUpdatedAt", json!(state.last_updated_at)),
            ("completedAt", json!(state.completed_at)),
            ("executionId", json!(state.execution_id)),
            ("parentInstanceId", json!(state.parent_instance_id)),
            ("tags", json!(state.tags)),
            ("input", json!(state.input_json)),
            ("output", json!(state.output_json)),
            ("customStatus", json!(state.custom_status_json)),
            ("failure", json!(state.failure)),
            ("history", json!(self.history)),
        ];
        let object: Map<String, Value> = fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Value::Object(object).to_string()
    }
}

// As for the state: payloads are not shown.
impl fmt::Debug for ExportedInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportedInstance")
            .field("state", &self.state)
            .field("events", &self.history.len())
            .finish()
    }
}

impl Client {
    /// All finished instances that match `query`, with their histories, oldest end
    /// first; one at a time is fetched and held. The list ends with the first error.
    ///
    /// To continue later, request what ended at or after the last one's
    /// [`completed_at`](InstanceState::completed_at). An instance that is purged in
    /// the meantime is left out, and so is one that runs again.
    ///
    /// Payloads come along, from their store too if the client has one: what they
    /// hold is in the export in clear.
    pub fn export(&self, query: InstanceIdQuery) -> Listing<ExportedInstance> {
        let client = self.clone();
        let exported = self
            .list_instance_ids(query)
            .and_then(move |id| {
                let client = client.clone();
                async move { client.finished(&id).await }
            })
            .try_filter_map(async |found| Ok(found));
        Listing::new(exported)
    }

    /// The instance with its history, whether it has ended or still runs: what
    /// [`testing::replay_json`](crate::testing::replay_json) checks code against.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`] if there is no such instance, and others.
    ///
    /// ```no_run
    /// use durabletask::{Client, ClientError};
    ///
    /// async fn keep(client: &Client, id: &str) -> Result<String, ClientError> {
    ///     Ok(client.export_instance(id).await?.to_json())
    /// }
    /// ```
    pub async fn export_instance(
        &self,
        instance_id: &str,
    ) -> Result<ExportedInstance, ClientError> {
        let found = self.get(instance_id, Payloads::Include).await?;
        let state = found.ok_or_else(|| ClientError::NotFound {
            instance_id: Some(instance_id.to_owned()),
            reason: "the scheduler does not know it".to_owned(),
        })?;
        let history = self.history(instance_id).collect().await?;
        Ok(ExportedInstance { state, history })
    }

    async fn finished(&self, instance_id: &str) -> Result<Option<ExportedInstance>, ClientError> {
        let Some(state) = self.get(instance_id, Payloads::Include).await? else {
            return Ok(None);
        };
        if !state.status.is_terminal() {
            return Ok(None);
        }
        match self.history(instance_id).collect().await {
            Ok(history) => Ok(Some(ExportedInstance { state, history })),
            Err(ClientError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

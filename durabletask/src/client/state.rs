//! What is known about an instance.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use durabletask_core::{FailureDetails, codec, timestamp_from_wire};
use durabletask_proto as proto;
use serde::de::DeserializeOwned;

use super::ClientError;

/// Whether a read brings inputs and outputs along.
///
/// ```
/// use durabletask::client::Payloads;
/// use durabletask::{Client, Connection};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// let state = client.get("order-1", Payloads::Omit).await?;
/// assert!(state.is_none_or(|state| state.output_json.is_none()));
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payloads {
    /// It does.
    Include,
    /// It does not. Most schedulers leave out the custom status and the failure too.
    Omit,
}

/// Where an instance is in its life.
///
/// ```
/// use durabletask::client::Status;
///
/// assert!(Status::Failed.is_terminal());
/// assert!(!Status::Suspended.is_terminal());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Accepted and not begun.
    Pending,
    /// Under way.
    Running,
    /// Paused.
    Suspended,
    /// About to begin its next execution.
    ContinuedAsNew,
    /// Returned a value.
    Completed,
    /// Could not do its work.
    Failed,
    /// Ended by someone.
    Terminated,
    /// Canceled.
    Canceled,
}

impl Status {
    /// Whether the instance has finished.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Terminated | Self::Canceled
        )
    }

    /// As the protocol spells it, without its prefix: `COMPLETED`.
    pub(super) fn as_text(self) -> &'static str {
        let name = self.as_wire().as_str_name();
        name.strip_prefix("ORCHESTRATION_STATUS_").unwrap_or(name)
    }

    pub(crate) fn to_wire(self) -> i32 {
        self.as_wire() as i32
    }

    fn as_wire(self) -> proto::OrchestrationStatus {
        use proto::OrchestrationStatus as Wire;
        match self {
            Self::Pending => Wire::Pending,
            Self::Running => Wire::Running,
            Self::Suspended => Wire::Suspended,
            Self::ContinuedAsNew => Wire::ContinuedAsNew,
            Self::Completed => Wire::Completed,
            Self::Failed => Wire::Failed,
            Self::Terminated => Wire::Terminated,
            Self::Canceled => Wire::Canceled,
        }
    }

    fn from_wire(wire: proto::OrchestrationStatus) -> Self {
        use proto::OrchestrationStatus as Wire;
        match wire {
            Wire::Pending => Self::Pending,
            Wire::Running => Self::Running,
            Wire::Suspended => Self::Suspended,
            Wire::ContinuedAsNew => Self::ContinuedAsNew,
            Wire::Completed => Self::Completed,
            Wire::Failed => Self::Failed,
            Wire::Terminated => Self::Terminated,
            Wire::Canceled => Self::Canceled,
        }
    }
}

/// An instance's state, as the scheduler reports it. Payloads are JSON text.
///
/// ```
/// use durabletask::client::Payloads;
/// use durabletask::{Client, Connection};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// if let Some(state) = client.get("order-1", Payloads::Include).await? {
///     match &state.failure {
///         Some(failure) => println!("{} failed: {failure}", state.name),
///         None => println!("{} is {:?}", state.name, state.status),
///     }
/// }
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceState {
    /// The instance's id.
    pub instance_id: String,
    /// The orchestration's name.
    pub name: String,
    /// Its version, if it has one.
    pub version: Option<String>,
    /// Where it is in its life.
    pub status: Status,
    /// When it was accepted.
    pub created_at: Option<DateTime<Utc>>,
    /// When it last changed.
    pub last_updated_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it is to start, if that was asked for.
    pub scheduled_start_at: Option<DateTime<Utc>>,
    /// The id of its latest execution.
    pub execution_id: Option<String>,
    /// The instance that started it, if any.
    pub parent_instance_id: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its input, unless payloads were omitted.
    pub input_json: Option<String>,
    /// Its output, unless payloads were omitted.
    pub output_json: Option<String>,
    /// Its custom status.
    pub custom_status_json: Option<String>,
    /// Why it failed.
    pub failure: Option<FailureDetails>,
}

impl InstanceState {
    pub(super) fn from_wire(state: proto::OrchestrationState) -> Self {
        Self {
            status: Status::from_wire(state.orchestration_status()),
            instance_id: state.instance_id,
            name: state.name,
            version: state.version.filter(|version| !version.is_empty()),
            created_at: state.created_timestamp.and_then(timestamp_from_wire),
            last_updated_at: state.last_updated_timestamp.and_then(timestamp_from_wire),
            completed_at: state.completed_timestamp.and_then(timestamp_from_wire),
            scheduled_start_at: state
                .scheduled_start_timestamp
                .and_then(timestamp_from_wire),
            execution_id: state.execution_id,
            parent_instance_id: state.parent_instance_id,
            tags: state.tags.into_iter().collect(),
            input_json: state.input,
            output_json: state.output,
            custom_status_json: state.custom_status.filter(|status| !status.is_empty()),
            failure: state.failure_details.map(Into::into),
        }
    }

    /// The input as `T`; an absent one reads as `null`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Payload`] if it is not a `T`.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        codec::decode(self.input_json.as_deref()).map_err(ClientError::Payload)
    }

    /// The output as `T`; an absent one reads as `null`. Of a terminated instance it is
    /// what it was terminated with.
    ///
    /// # Errors
    ///
    /// [`ClientError::Failed`] with the failure if the instance failed,
    /// [`ClientError::NotFinished`] if it has not ended, [`ClientError::Payload`] if the
    /// output is not a `T`.
    pub fn output<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        if self.status == Status::Failed {
            let unknown = || FailureDetails::new("UnknownFailure", "the scheduler tells no reason");
            return Err(ClientError::Failed {
                instance_id: self.instance_id.clone(),
                failure: Box::new(self.failure.clone().unwrap_or_else(unknown)),
            });
        }
        if !self.status.is_terminal() {
            return Err(ClientError::NotFinished {
                instance_id: self.instance_id.clone(),
                status: self.status,
            });
        }
        codec::decode(self.output_json.as_deref()).map_err(ClientError::Payload)
    }

    /// The output of an instance that has completed; any other end is an error.
    pub(super) fn result<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        if matches!(self.status, Status::Terminated | Status::Canceled) {
            return Err(ClientError::Terminated {
                instance_id: self.instance_id.clone(),
                output_json: self.output_json.clone(),
            });
        }
        self.output()
    }

    /// The custom status as `T`; an absent one reads as `null`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Payload`] if it is not a `T`.
    pub fn custom_status<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        codec::decode(self.custom_status_json.as_deref()).map_err(ClientError::Payload)
    }
}

// Payloads may be large or confidential, so only their sizes are shown.
impl fmt::Debug for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |payload: &Option<String>| payload.as_ref().map(String::len);
        f.debug_struct("InstanceState")
            .field("instance_id", &self.instance_id)
            .field("name", &self.name)
            .field("status", &self.status)
            .field("input_bytes", &size(&self.input_json))
            .field("output_bytes", &size(&self.output_json))
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

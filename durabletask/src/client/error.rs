//! What a client call can end with instead of its result.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status, TimeoutExpired};

use durabletask_core::FailureDetails;

use crate::payloads::PayloadStoreError;

use super::state::Status as InstanceStatus;

/// Why a client call did not succeed.
///
/// ```
/// use durabletask::{Client, ClientError, Connection, Orchestration};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// const SHOP: Orchestration<u32, ()> = Orchestration::new("shop");
/// match client.start(&SHOP, &5).instance_id("order-1").send().await {
///     Ok(order) => println!("{order} is under way"),
///     Err(ClientError::AlreadyExists { instance_id }) => println!("{instance_id} is already"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The id is taken and the reuse policy does not allow replacing its instance.
    #[error(
        "the instance '{instance_id}' exists already; choose another id or another reuse policy"
    )]
    AlreadyExists {
        /// The id.
        instance_id: String,
    },
    /// There is no such instance, or no such task hub.
    #[error("{} was not found: {reason}", instance_id.as_ref().map_or_else(|| "what was asked for".to_owned(), |id| format!("the instance '{id}'")))]
    NotFound {
        /// The id, if the call was about an instance that should exist.
        instance_id: Option<String>,
        /// The scheduler's message; it may be that the whole task hub is unknown.
        reason: String,
    },
    /// The scheduler refused the request itself.
    #[error("the scheduler refused the request: {0}")]
    InvalidArgument(String),
    /// The instance is in a state that does not allow it.
    #[error("the instance's state does not allow that: {0}")]
    InvalidState(String),
    /// The scheduler does not have the feature.
    #[error("the scheduler does not support that: {0}")]
    Unsupported(String),
    /// The instance has failed, so it has no output.
    #[error("the instance '{instance_id}' failed: {failure}")]
    Failed {
        /// The id.
        instance_id: String,
        /// Why it failed.
        #[source]
        failure: Box<FailureDetails>,
    },
    /// The orchestration refused an update, or failed to answer a query.
    #[error("the instance '{instance_id}' refused: {failure}")]
    Refused {
        /// The id.
        instance_id: String,
        /// Why.
        #[source]
        failure: Box<FailureDetails>,
    },
    /// The orchestration does not answer this query.
    #[error("the instance '{instance_id}' does not answer the query '{query}'; it answers: {}", known.join(", "))]
    NoSuchQuery {
        /// The id.
        instance_id: String,
        /// The query's name.
        query: String,
        /// What it answers.
        known: Vec<String>,
    },
    /// The history of the instance has no such event, so there is no fork from it.
    #[error("'{instance_id}' has no event {event} to fork from: {reason}")]
    NoSuchEvent {
        /// The instance whose history was meant.
        instance_id: String,
        /// The place in its history that was asked for.
        event: u32,
        /// The scheduler's message, with the number of events that there are.
        reason: String,
    },
    /// A reader of a feed came too late: what it asked for is no longer kept.
    #[error(
        "the feed '{feed}' of '{instance_id}' no longer has the values from {asked} on; go on from {first}"
    )]
    Gap {
        /// The id.
        instance_id: String,
        /// The feed's name.
        feed: String,
        /// The offset that was asked for.
        asked: u64,
        /// The first offset that is kept.
        first: u64,
    },
    /// The instance was terminated or canceled, so it has no output of its own.
    #[error("the instance '{instance_id}' was terminated or canceled")]
    Terminated {
        /// The id.
        instance_id: String,
        /// The output given when it was ended, JSON text.
        output_json: Option<String>,
    },
    /// The instance still runs, so it has no output yet.
    #[error("the instance '{instance_id}' has no output yet: it is {status:?}")]
    NotFinished {
        /// The id.
        instance_id: String,
        /// Where it is in its life.
        status: InstanceStatus,
    },
    /// The wait ended before the instance got there.
    #[error(
        "the instance '{instance_id}' did not reach that state within {waited:?}; it may still do so"
    )]
    Timeout {
        /// The id.
        instance_id: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The scheduler did not answer in time.
    #[error("the scheduler did not answer in time: {0}")]
    DeadlineExceeded(String),
    /// The call was canceled by the other side.
    #[error("the call was canceled: {0}")]
    Cancelled(String),
    /// The caller is not known or may not do that.
    #[error("the scheduler does not let this caller do that: {0}")]
    Denied(String),
    /// The scheduler cannot be reached, or the connection broke before it answered: what
    /// was asked for may have been done.
    #[error(
        "the scheduler cannot be reached: {0}; is it running at the endpoint of the connection string?"
    )]
    Unavailable(String),
    /// A message is larger than the scheduler takes, or it is overloaded.
    #[error("the scheduler's limits do not allow that: {0}")]
    LimitExceeded(String),
    /// A payload does not have the type that was promised, or cannot be written as JSON.
    #[error("payload: {0}")]
    Payload(String),
    /// A large payload cannot be stored or read.
    #[error(transparent)]
    PayloadStore(#[from] PayloadStoreError),
    /// Anything else.
    #[error("the scheduler answered {code}: {message}")]
    Other {
        /// The gRPC status code's name.
        code: String,
        /// The scheduler's message.
        message: String,
    },
}

impl ClientError {
    /// The one table from gRPC status codes.
    pub(crate) fn from_status(status: &Status, instance_id: Option<&str>) -> Self {
        let message = status.message().to_owned();
        match code_of(status) {
            Code::AlreadyExists => Self::AlreadyExists {
                instance_id: instance_id.unwrap_or_default().to_owned(),
            },
            Code::NotFound => Self::NotFound {
                instance_id: instance_id.map(str::to_owned),
                reason: message,
            },
            Code::InvalidArgument | Code::OutOfRange => Self::InvalidArgument(message),
            Code::FailedPrecondition => Self::InvalidState(message),
            Code::Unimplemented => Self::Unsupported(message),
            Code::DeadlineExceeded => Self::DeadlineExceeded(message),
            Code::Cancelled => Self::Cancelled(message),
            Code::Unauthenticated | Code::PermissionDenied => Self::Denied(message),
            Code::Unavailable => Self::Unavailable(message),
            Code::ResourceExhausted => Self::LimitExceeded(message),
            code => Self::Other {
                code: format!("{code:?}"),
                message,
            },
        }
    }
}

/// The code that a call ended with, as gRPC has it. When a connection breaks under a call,
/// the transport calls that unknown, or canceled where the call was not sent yet; gRPC
/// says that the peer is unavailable then.
pub(crate) fn code_of(status: &Status) -> Code {
    match status.code() {
        Code::Unknown | Code::Cancelled if broke(status) => Code::Unavailable,
        code => code,
    }
}

/// Whether something failed on this side, other than by running out of time.
fn broke(status: &Status) -> bool {
    // An answer has no cause.
    let Some(cause) = status.source() else {
        return false;
    };
    let mut next = Some(cause);
    while let Some(cause) = next {
        if cause.is::<TimeoutExpired>() {
            return false;
        }
        next = cause.source();
    }
    true
}

//! What can go wrong, seen from user code: failures that a handler returns and
//! errors that awaiting a task yields.

use std::any::Any;
use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How many causes of an error are kept. The official SDKs stop there too.
const MAX_CAUSES: usize = 10;

/// What is recorded about a failed task or orchestration
/// (`TaskFailureDetails` on the wire).
///
/// It is stored in the scheduler's history in clear: never put a secret in it.
///
/// ```
/// use durabletask_core::FailureDetails;
///
/// let details = FailureDetails::new("Io", "the disk is full");
/// assert!(!details.non_retriable);
/// assert_eq!(details.to_string(), "Io: the disk is full");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureDetails {
    /// The failure's kind, usually a qualified type name.
    pub error_type: String,
    /// One sentence for people.
    pub message: String,
    /// Where it happened, if known.
    pub stack_trace: Option<String>,
    /// Whether a retry cannot help.
    pub non_retriable: bool,
    /// What caused it.
    pub inner: Option<Box<FailureDetails>>,
}

impl FailureDetails {
    /// A retriable failure without a cause.
    #[must_use]
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            error_type: error_type.into(),
            message: message.into(),
            stack_trace: None,
            non_retriable: false,
            inner: None,
        }
    }
}

impl fmt::Display for FailureDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type, self.message)
    }
}

/// Why a handler (activity or orchestration) could not do its work.
///
/// Any error turns into a retriable failure with `?`; a failure that a retry
/// cannot mend is marked on purpose with [`Failure::permanent`]. The error's text
/// goes into the scheduler's history in clear.
///
/// ```
/// use durabletask_core::Failure;
///
/// fn parse(text: &str) -> Result<u32, Failure> {
///     Ok(text.parse::<u32>()?)
/// }
///
/// let failure = parse("seven").unwrap_err();
/// assert!(!failure.details().non_retriable);
/// assert!(failure.permanent().details().non_retriable);
/// ```
// It does not implement `Error`, because the blanket `From` below would then
// overlap with the reflexive one; `anyhow::Error` makes the same choice.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    details: Box<FailureDetails>,
}

impl Failure {
    /// A retriable failure of the kind `error_type`.
    #[must_use]
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self::from(FailureDetails::new(error_type, message))
    }

    /// The same failure, marked so that no retry policy tries again.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.details.non_retriable = true;
        self
    }

    /// What is recorded about it.
    #[must_use]
    pub fn details(&self) -> &FailureDetails {
        &self.details
    }

    /// Turns it into what is recorded about it.
    #[must_use]
    pub fn into_details(self) -> FailureDetails {
        *self.details
    }
}

impl From<FailureDetails> for Failure {
    fn from(details: FailureDetails) -> Self {
        Self {
            details: Box::new(details),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.details, f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.details, f)
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        // A failed task keeps its structure, so that the cause can be read in
        // the parent's history as well.
        if let Some(task_error) = (&error as &dyn Any).downcast_ref::<TaskError>() {
            return Self::from(task_error.to_details());
        }
        let mut details = FailureDetails::new(std::any::type_name::<E>(), error.to_string());
        details.inner = causes(error.source(), MAX_CAUSES);
        Self::from(details)
    }
}

fn causes(source: Option<&(dyn Error + 'static)>, remaining: usize) -> Option<Box<FailureDetails>> {
    let source = source?;
    if remaining == 0 {
        return None;
    }
    // The concrete type of a source is erased; its text is all there is.
    let mut details = FailureDetails::new("Error", source.to_string());
    details.inner = causes(source.source(), remaining - 1);
    Some(Box::new(details))
}

/// The text of a panic, or `otherwise`.
pub(crate) fn panic_text(panic: &(dyn Any + Send), otherwise: &str) -> String {
    panic
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| otherwise.to_owned())
}

/// What awaiting a task in an orchestration can yield instead of its result.
///
/// ```
/// use durabletask_core::{Activity, Failure, OrchestrationContext};
///
/// const BOOK: Activity<String, u32> = Activity::new("book");
///
/// /// `None` if it is sold out; any other failure ends the orchestration.
/// async fn book(ctx: &OrchestrationContext, item: String) -> Result<Option<u32>, Failure> {
///     match ctx.call_activity(&BOOK, &item).await {
///         Ok(number) => Ok(Some(number)),
///         Err(error) if error.failure().is_some_and(|why| why.error_type == "SoldOut") => Ok(None),
///         Err(error) => Err(error.into()),
///     }
/// }
/// # let _ = book;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskError {
    /// The activity or sub-orchestration failed, after its last attempt.
    Failed {
        /// The name of the activity or orchestration.
        name: String,
        /// The id of the task in its orchestration.
        task_id: i32,
        /// What it recorded about its failure.
        details: Box<FailureDetails>,
    },
    /// A payload could not be turned into the type that the contract promises.
    Payload {
        /// The name of the activity, orchestration or event.
        name: String,
        /// What did not fit. Holds types and positions, never the payload.
        reason: String,
    },
    /// The call was not made, because it is not allowed there.
    NotAllowed {
        /// The name of the orchestration or operation.
        name: String,
        /// The rule that forbids it.
        reason: String,
    },
}

impl TaskError {
    /// The recorded failure, if the task failed.
    #[must_use]
    pub fn failure(&self) -> Option<&FailureDetails> {
        match self {
            Self::Failed { details, .. } => Some(details),
            Self::Payload { .. } | Self::NotAllowed { .. } => None,
        }
    }

    fn to_details(&self) -> FailureDetails {
        match self {
            Self::Failed { details, .. } => FailureDetails {
                error_type: "TaskFailed".to_owned(),
                message: self.to_string(),
                stack_trace: None,
                non_retriable: details.non_retriable,
                inner: Some(details.clone()),
            },
            Self::Payload { .. } => FailureDetails {
                non_retriable: true,
                ..FailureDetails::new("PayloadMismatch", self.to_string())
            },
            Self::NotAllowed { .. } => FailureDetails {
                non_retriable: true,
                ..FailureDetails::new("CallNotAllowed", self.to_string())
            },
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed {
                name,
                task_id,
                details,
            } => write!(
                f,
                "Task '{name}' (#{task_id}) failed with an unhandled exception: {}",
                details.message
            ),
            Self::Payload { name, reason } => write!(
                f,
                "the payload of '{name}' does not have the type that its contract promises: {reason}"
            ),
            Self::NotAllowed { name, reason } => write!(f, "'{name}' was not called: {reason}"),
        }
    }
}

impl Error for TaskError {}

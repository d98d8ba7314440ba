//! What can go wrong, seen from user code: failures that a handler returns and
//! errors that awaiting a task yields.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many causes of an error are kept. The official SDKs stop there too.
const MAX_CAUSES: usize = 10;

/// What is recorded about a failed task or orchestration
/// (`TaskFailureDetails` on the wire).
///
/// It is stored in the scheduler's history in clear: never put a secret in it.
///
/// ```
/// use durabletask::FailureDetails;
///
/// let details = FailureDetails::new("Io", "the disk is full");
/// assert!(!details.non_retriable);
/// assert_eq!(details.to_string(), "Io: the disk is full");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// How long a retry should wait at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
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
            retry_after: None,
        }
    }

    /// The same failure, marked so that no retry policy tries again.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.non_retriable = true;
        self
    }

    /// The innermost cause: this failure itself, if it has none.
    #[must_use]
    pub fn root_cause(&self) -> &Self {
        let mut cause = self;
        while let Some(inner) = &cause.inner {
            cause = inner;
        }
        cause
    }
}

impl fmt::Display for FailureDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type, self.message)
    }
}

impl Error for FailureDetails {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let inner = self.inner.as_deref()?;
        Some(inner)
    }
}

/// Why a handler (activity or orchestration) could not do its work.
///
/// Any error turns into a retriable failure with `?`: what implements `Error`,
/// `anyhow::Error`, `Box<dyn Error + Send + Sync>`, and plain text. A failure that a retry
/// cannot mend is marked on purpose with [`Failure::permanent`]. The error's text goes into
/// the scheduler's history in clear.
///
/// In the other direction, a failure turns into `Box<dyn Error>` with `?`, and into other
/// errors by way of [`Failure::into_details`], which is an `Error`.
///
/// ```
/// use std::error::Error;
///
/// use durabletask::Failure;
///
/// fn load() -> Result<String, Box<dyn Error + Send + Sync>> {
///     Ok("7".to_owned())
/// }
///
/// fn parse() -> Result<u32, Failure> {
///     let text = load()?;
///     Ok(text.parse::<u32>()?)
/// }
///
/// fn main() -> Result<(), Box<dyn Error>> {
///     assert_eq!(parse()?, 7);
///     let failure = Failure::from("the printer is on fire");
///     assert!(!failure.details().non_retriable);
///     assert!(failure.permanent().details().non_retriable);
///     Ok(())
/// }
/// ```
// It does not implement `Error`, because the blanket `From` below would then overlap with
// the reflexive one; `anyhow::Error` makes the same choice.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    details: Box<FailureDetails>,
}

impl Failure {
    /// A retriable failure of the kind `error_type`.
    #[must_use]
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self::from_details(FailureDetails::new(error_type, message))
    }

    fn from_details(details: FailureDetails) -> Self {
        Self {
            details: Box::new(details),
        }
    }

    /// The same failure, marked so that no retry policy tries again.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.details.non_retriable = true;
        self
    }

    /// The same failure, with how long a retry should wait at least: what a server says
    /// with `429 Too Many Requests`. A retry policy waits this long where its own delay
    /// is shorter.
    ///
    /// ```
    /// use std::time::Duration;
    /// use durabletask::Failure;
    ///
    /// let busy = Failure::new("Busy", "too many requests").retry_after(Duration::from_secs(20));
    /// assert_eq!(busy.details().retry_after, Some(Duration::from_secs(20)));
    /// ```
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.details.retry_after = Some(delay);
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

type BoxedError = Box<dyn Error + Send + Sync>;

impl<E: Into<BoxedError>> From<E> for Failure {
    fn from(error: E) -> Self {
        // Plain text has no type of its own.
        let error_type = match std::any::type_name::<E>() {
            "&str" | "alloc::string::String" => "Error",
            name => name,
        };
        let error = match error.into().downcast::<FailureDetails>() {
            Ok(details) => return Self::from_details(*details),
            Err(error) => error,
        };
        // A failed task keeps its structure, so that the cause can be read in
        // the parent's history as well.
        if let Some(task_error) = error.downcast_ref::<TaskError>() {
            return Self::from_details(task_error.to_details());
        }
        let mut details = FailureDetails::new(error_type, error.to_string());
        // What a retry cannot mend does not become mendable by being wrapped.
        details.non_retriable = is_permanent(error.source(), MAX_CAUSES);
        details.inner = causes(error.source(), MAX_CAUSES);
        Self::from_details(details)
    }
}

impl From<Failure> for Box<dyn Error> {
    fn from(failure: Failure) -> Self {
        Box::new(failure.into_details())
    }
}

/// Whether one of the causes is the failure of a task, and permanent.
fn is_permanent(source: Option<&(dyn Error + 'static)>, remaining: usize) -> bool {
    let Some(source) = source.filter(|_| remaining > 0) else {
        return false;
    };
    let own = match (
        source.downcast_ref::<TaskError>(),
        source.downcast_ref::<FailureDetails>(),
    ) {
        (Some(error), _) => error.to_details().non_retriable,
        (_, Some(details)) => details.non_retriable,
        _ => false,
    };
    own || is_permanent(source.source(), remaining - 1)
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
/// use durabletask::{Activity, Failure, OrchestrationContext};
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
#[non_exhaustive]
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

    pub(crate) fn to_details(&self) -> FailureDetails {
        match self {
            Self::Failed { details, .. } => FailureDetails {
                non_retriable: details.non_retriable,
                inner: Some(details.clone()),
                ..FailureDetails::new("TaskFailed", self.to_string())
            },
            Self::Payload { .. } => {
                FailureDetails::new("PayloadMismatch", self.to_string()).permanent()
            }
            Self::NotAllowed { .. } => {
                FailureDetails::new("CallNotAllowed", self.to_string()).permanent()
            }
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

impl Error for TaskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed { details, .. } => Some(details.as_ref()),
            Self::Payload { .. } | Self::NotAllowed { .. } => None,
        }
    }
}

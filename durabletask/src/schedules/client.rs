//! Making, changing and looking at schedules.

use std::time::Duration;

use durabletask_core::{FailureDetails, InputFor, Orchestration, codec};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::client::{
    Client, ClientError, EntityQuery, EntityState, Listing, Payloads, Recursive, Status,
};

use super::entity::{CHANGE_SCHEDULE, Form, OWN, Request, SHARED};
use super::shared::SharedState;
use super::state::{Change, INVALID_OPTIONS, INVALID_STATE, NOT_FOUND, Schedule, ScheduleOptions};

/// How long a change may take by default; see [`Schedules::with_timeout`].
const TIMEOUT: Duration = Duration::from_secs(30);

/// The schedules of a task hub. See the [module](super).
///
/// ```
/// use durabletask::schedules::Schedules;
/// use durabletask::{Client, Connection};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// let schedules = Schedules::new(&client);
/// schedules.pause("sales").await?;
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Debug)]
pub struct Schedules {
    client: Client,
    timeout: Duration,
}

/// Why a schedule was not changed or cannot be read.
///
/// ```no_run
/// use durabletask::schedules::{ScheduleError, Schedules};
///
/// async fn stop(schedules: &Schedules) -> Result<(), ScheduleError> {
///     match schedules.delete("sales").await {
///         Err(ScheduleError::NotFound(_)) => Ok(()),
///         other => other,
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// There is no such schedule.
    #[error("{0}")]
    NotFound(String),
    /// It is paused, or active, already.
    #[error("{0}")]
    InvalidState(String),
    /// What it was to do cannot be.
    #[error("{0}")]
    InvalidOptions(String),
    /// No worker has made the change in time. It may still be made.
    #[error(
        "the schedule '{id}' was not changed within {waited:?}; does a worker of this task hub have `schedules::register` in its registry?"
    )]
    Timeout {
        /// The schedule's id.
        id: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The change failed for another reason.
    #[error("the schedule was not changed: {0}")]
    Failed(FailureDetails),
    /// The scheduler could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Schedules {
    /// The schedules of the client's task hub.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            timeout: TIMEOUT,
        }
    }

    /// Says how long a change may take before it counts as [`ScheduleError::Timeout`];
    /// 30 seconds otherwise.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes the schedule `id`, or puts a new plan in its place. One that is there
    /// keeps its age and stays paused if it is.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::InvalidOptions`], and others.
    pub async fn put<I, O>(
        &self,
        id: &str,
        orchestration: &Orchestration<I, O>,
        input: &(impl InputFor<I> + ?Sized),
        options: ScheduleOptions,
    ) -> Result<(), ScheduleError> {
        let change = Change::Put {
            orchestration: orchestration.name().to_owned(),
            input: Some(codec::encode(input).map_err(ClientError::Payload)?),
            options,
        };
        self.change(id, change).await
    }

    /// Pauses it: nothing starts until it is resumed. Running instances continue.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NotFound`], [`ScheduleError::InvalidState`] if it is paused, and
    /// others.
    pub async fn pause(&self, id: &str) -> Result<(), ScheduleError> {
        self.change(id, Change::Pause).await
    }

    /// Resumes it with the next round.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NotFound`], [`ScheduleError::InvalidState`] if it is active, and
    /// others.
    pub async fn resume(&self, id: &str) -> Result<(), ScheduleError> {
        self.change(id, Change::Resume).await
    }

    /// Deletes it. Running instances continue.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NotFound`], and others.
    pub async fn delete(&self, id: &str) -> Result<(), ScheduleError> {
        self.change(id, Change::Delete).await
    }

    /// The schedule, or `None` if there is none of this id.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Client`].
    pub async fn get(&self, id: &str) -> Result<Option<Schedule>, ScheduleError> {
        Ok(self.find(id).await?.map(|(_, schedule)| schedule))
    }

    /// All schedules of the task hub, those of the SDKs for .NET and Python included, fetched page by
    /// page as they are taken. The list ends with the first error.
    pub fn list(&self) -> Listing<Schedule, ScheduleError> {
        let entities = |name: &str| {
            let query = EntityQuery::new()
                .id_prefix(format!("@{name}@"))
                .include_state();
            self.client.list_entities(query)
        };
        let own = entities(OWN.name())
            .try_filter_map(async |entity: EntityState| entity.state::<Option<Schedule>>());
        let shared = entities(SHARED.name()).try_filter_map(async |entity: EntityState| {
            let state = entity.state::<Option<SharedState>>()?;
            Ok(state.and_then(|state| state.schedule(entity.id.key())))
        });
        Listing::new(shared.chain(own).map_err(ScheduleError::from))
    }

    /// The schedule and which entity it is.
    async fn find(&self, id: &str) -> Result<Option<(Form, Schedule)>, ScheduleError> {
        let shared = self.client.get_entity_state(&SHARED.id(id)).await?;
        if let Some(schedule) = shared.flatten().and_then(|state| state.schedule(id)) {
            return Ok(Some((Form::Shared, schedule)));
        }
        let own = self.client.get_entity_state(&OWN.id(id)).await?;
        Ok(own.flatten().map(|schedule| (Form::Own, schedule)))
    }

    async fn change(&self, id: &str, change: Change) -> Result<(), ScheduleError> {
        let input = Request {
            id: id.to_owned(),
            there: self.find(id).await?.map(|(form, _)| form),
            change,
        };
        let started = self.client.start(&CHANGE_SCHEDULE, &input).send().await?;
        let instance_id = started.into_id();
        let waited = self
            .client
            .wait_for_completion(&instance_id, Payloads::Include, self.timeout)
            .await;
        let ended = match waited {
            Ok(ended) => ended,
            Err(ClientError::Timeout { waited, .. }) => {
                return Err(ScheduleError::Timeout {
                    id: id.to_owned(),
                    waited,
                });
            }
            Err(error) => return Err(error.into()),
        };
        // It has served its purpose. If it cannot be removed, it is harmless.
        if let Err(error) = self.client.purge(&instance_id, Recursive::No).await {
            tracing::debug!(instance_id, %error, "the record of a change of a schedule stays");
        }
        match ended.failure {
            Some(details) => Err(refusal(details)),
            None if ended.status == Status::Completed => Ok(()),
            None => Err(ScheduleError::Failed(FailureDetails::new(
                "Terminated",
                "the change was ended by someone before it was made",
            ))),
        }
    }
}

/// The reason in the chain of causes that a caller can do something about.
fn refusal(details: FailureDetails) -> ScheduleError {
    let mut cause = Some(&details);
    while let Some(at) = cause {
        let message = at.message.clone();
        match at.error_type.as_str() {
            NOT_FOUND => return ScheduleError::NotFound(message),
            INVALID_STATE => return ScheduleError::InvalidState(message),
            // What workers of the SDKs for .NET and Python say.
            other
                if other.ends_with("ScheduleInvalidTransitionException")
                    || other.ends_with("ScheduleInvalidTransitionError") =>
            {
                return ScheduleError::InvalidState(message);
            }
            INVALID_OPTIONS => return ScheduleError::InvalidOptions(message),
            _ => cause = at.inner.as_deref(),
        }
    }
    ScheduleError::Failed(details)
}

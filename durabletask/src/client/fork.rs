//! Forking an instance from an event of its history.

use durabletask_proto as proto;
use tonic::Code;

use super::error::code_of;
use super::{Client, ClientError, InstanceHandle};

/// The event from which [`Client::fork`] forks: its place in the history, from 0, as
/// [`Client::history`] lists it.
///
/// A plain number means the instance's present execution, whichever that is by then.
///
/// ```
/// use durabletask::client::ForkPoint;
///
/// let point = ForkPoint::from(12).of_execution("4f9c");
/// assert_eq!(point, ForkPoint::event(12).of_execution("4f9c"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForkPoint {
    /// The place of the last event that the fork shares.
    pub event: u32,
    /// The execution whose history is meant.
    pub execution_id: Option<String>,
}

impl ForkPoint {
    /// The event at this place of the history, counted from 0.
    #[must_use]
    pub fn event(event: u32) -> Self {
        Self {
            event,
            execution_id: None,
        }
    }

    /// The same place, of this execution only: if the instance has continued as new or was rewound
    /// since its history was read, the fork is refused.
    #[must_use]
    pub fn of_execution(mut self, execution_id: impl Into<String>) -> Self {
        self.execution_id = Some(execution_id.into());
        self
    }
}

impl From<u32> for ForkPoint {
    fn from(event: u32) -> Self {
        Self::event(event)
    }
}

impl Client {
    /// Creates the instance `new_instance_id`, which shares the history of `instance_id` up to an
    /// event and goes on by itself from there, with the code that workers have now. The other
    /// instance stays as it is, running or ended.
    ///
    /// Results that the shared history has are not computed again. Activities that were under way
    /// at the event run again, with other idempotency keys; sub-orchestrations begin again
    /// under ids of their own; timers keep their instants. External events after the event are not
    /// shared: raise again what the fork needs. An event in the middle of a turn's decisions means that the
    /// code decides that turn again.
    ///
    /// The fork has the tags of the other instance, and `durabletask.forkedFrom` with its id.
    ///
    /// ```no_run
    /// use durabletask::{Client, ClientError, Orchestration};
    ///
    /// const SHIP: Orchestration<String, String> = Orchestration::new("ship");
    ///
    /// /// Tries the new code on what happened to an order, up to its last event.
    /// async fn what_if(client: &Client, order: &str) -> Result<String, ClientError> {
    ///     let events = client.history(order).collect().await?.len();
    ///     let last = u32::try_from(events.saturating_sub(1)).unwrap_or(u32::MAX);
    ///     let fork = client.fork(&SHIP, order, last, "what-if-1").await?;
    ///     fork.result().await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ClientError::NotFound`]: there is no such instance.
    /// - [`ClientError::NoSuchEvent`]: its history has no such event.
    /// - [`ClientError::AlreadyExists`]: `new_instance_id` is taken.
    /// - [`ClientError::InvalidState`]: there is no history yet, it is another execution's by now, it was
    ///   rewound after the event, or the orchestration holds locks of entities there.
    /// - [`ClientError::InvalidArgument`]: an id that cannot be one, or an entity's.
    /// - [`ClientError::Unsupported`]: the scheduler has no forks; `durabletask-scheduler` has them.
    pub async fn fork<I, O>(
        &self,
        _orchestration: &durabletask_core::Orchestration<I, O>,
        instance_id: &str,
        point: impl Into<ForkPoint>,
        new_instance_id: &str,
    ) -> Result<InstanceHandle<O>, ClientError> {
        let point = point.into();
        let event = point.event;
        let request = proto::ForkInstanceRequest {
            instance_id: instance_id.to_owned(),
            execution_id: point.execution_id,
            event,
            new_instance_id: new_instance_id.to_owned(),
        };
        let answer = self.forks.clone().fork(request).await;
        let answer = answer.map_err(|status| match code_of(&status) {
            Code::AlreadyExists => ClientError::AlreadyExists {
                instance_id: new_instance_id.to_owned(),
            },
            Code::OutOfRange => ClientError::NoSuchEvent {
                instance_id: instance_id.to_owned(),
                event,
                reason: status.message().to_owned(),
            },
            // The answer of a server that does not know the service has no text.
            Code::Unimplemented => ClientError::Unsupported(
                "it has no forks; durabletask-scheduler has, and the guide's recipes say what to do elsewhere"
                    .to_owned(),
            ),
            _ => ClientError::from_status(&status, Some(instance_id)),
        })?;
        let id = answer.into_inner().instance_id;
        Ok(InstanceHandle::new(self.clone(), id))
    }
}

//! Steering one instance: events, pauses, ends and new beginnings.

use std::future::Future;

use durabletask_core::{Event, InputFor, codec};
use durabletask_proto as proto;
use serde::Serialize;
use tonic::{Response, Status as Answer};

use crate::connection::Service;
use crate::spans::Spanned;

use super::{Client, ClientError};

/// Whether a command also reaches sub-orchestrations.
///
/// ```
/// use durabletask::client::Recursive;
/// use durabletask::{Client, Connection};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// client.terminate("order-1", "not needed any more", Recursive::Yes).await?;
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recursive {
    /// All of them, transitively.
    Yes,
    /// Only the named instance.
    #[default]
    No,
}

/// Under which id [`Client::restart`] restarts the instance.
///
/// ```
/// use durabletask::client::RestartAs;
/// use durabletask::{Client, Connection};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// let id = client.restart("order-1", RestartAs::NewInstance).await?;
/// println!("it runs again as {id}");
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartAs {
    /// Under its own id. The finished instance is replaced, so it must have ended.
    SameInstance,
    /// Under a new id. The original may still run, and stays as it is.
    NewInstance,
}

impl Client {
    /// Raises an external event for the instance. An event that no one waits
    /// for yet is kept until someone does; one for an instance that has finished is lost
    /// without a word.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; schedulers differ about unknown instances.
    pub fn raise_event<'a, T, P: InputFor<T> + ?Sized>(
        &'a self,
        instance_id: &'a str,
        event: &Event<T>,
        payload: &P,
    ) -> impl Future<Output = Result<(), ClientError>> + use<'a, T, P> {
        let name = event.name().to_owned();
        let input = codec::encode(payload).map_err(ClientError::Payload);
        async move {
            let mut request = proto::RaiseEventRequest {
                instance_id: instance_id.to_owned(),
                name: name.clone(),
                input: Some(input?),
            };
            self.store_payloads(instance_id, &mut request).await?;
            let span = Spanned::orchestration_event(&name, instance_id);
            self.command(instance_id, async |mut service: Service| {
                service.raise_event(request).await
            })
            .await
            .inspect_err(|error| span.failed(&error.to_string()))?;
            Ok(())
        }
    }

    /// Pauses the instance; events are kept until it is resumed. Pausing a
    /// paused instance changes nothing.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn suspend(&self, instance_id: &str, reason: &str) -> Result<(), ClientError> {
        let request = proto::SuspendRequest {
            instance_id: instance_id.to_owned(),
            reason: Some(reason.to_owned()),
        };
        self.command(instance_id, async |mut service: Service| {
            service.suspend_instance(request).await
        })
        .await?;
        Ok(())
    }

    /// Resumes a suspended instance. Resuming a running one changes nothing.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn resume(&self, instance_id: &str, reason: &str) -> Result<(), ClientError> {
        let request = proto::ResumeRequest {
            instance_id: instance_id.to_owned(),
            reason: Some(reason.to_owned()),
        };
        self.command(instance_id, async |mut service: Service| {
            service.resume_instance(request).await
        })
        .await?;
        Ok(())
    }

    /// Ends the instance with `output`. Running activities are not stopped by
    /// the scheduler; their results are dropped.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn terminate<T: Serialize + ?Sized>(
        &self,
        instance_id: &str,
        output: &T,
        recursive: Recursive,
    ) -> Result<(), ClientError> {
        let output = codec::encode(output).map_err(ClientError::Payload)?;
        let mut request = proto::TerminateRequest {
            instance_id: instance_id.to_owned(),
            output: Some(output),
            recursive: recursive == Recursive::Yes,
        };
        self.store_payloads(instance_id, &mut request).await?;
        self.command(instance_id, async |mut service: Service| {
            service.terminate_instance(request).await
        })
        .await?;
        Ok(())
    }

    /// Restarts the instance from its beginning, with its name, input,
    /// version and tags. Yields the id under which it runs.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`] if there is no such instance,
    /// [`ClientError::InvalidState`] if it is to keep its id and has not ended.
    ///
    /// ```no_run
    /// use durabletask::client::RestartAs;
    /// use durabletask::{Client, ClientError};
    ///
    /// async fn again(client: &Client, id: &str) -> Result<String, ClientError> {
    ///     client.restart(id, RestartAs::NewInstance).await
    /// }
    /// ```
    pub async fn restart(
        &self,
        instance_id: &str,
        restart_as: RestartAs,
    ) -> Result<String, ClientError> {
        let request = proto::RestartInstanceRequest {
            instance_id: instance_id.to_owned(),
            restart_with_new_instance_id: restart_as == RestartAs::NewInstance,
        };
        let response = self
            .command(instance_id, async |mut service: Service| {
                service.restart_instance(request).await
            })
            .await?;
        Ok(response.instance_id)
    }

    /// Continues a failed instance from its last good point: what succeeded is
    /// kept, the activities and sub-orchestrations that failed run again.
    ///
    /// It returns once the scheduler has accepted the rewind; the instance then
    /// runs. The worker that runs it must support rewinding, as this crate's does.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`] if there is no such instance,
    /// [`ClientError::InvalidState`] if it has not failed,
    /// [`ClientError::Unsupported`] if the scheduler cannot rewind.
    pub async fn rewind(&self, instance_id: &str, reason: &str) -> Result<(), ClientError> {
        let request = proto::RewindInstanceRequest {
            instance_id: instance_id.to_owned(),
            reason: Some(reason.to_owned()),
        };
        self.command(instance_id, async |mut service: Service| {
            service.rewind_instance(request).await
        })
        .await?;
        Ok(())
    }

    /// Calls a mutation once.
    pub(super) async fn command<T, F, Fut>(
        &self,
        instance_id: &str,
        call: F,
    ) -> Result<T, ClientError>
    where
        F: FnOnce(Service) -> Fut,
        Fut: Future<Output = Result<Response<T>, Answer>>,
    {
        call(self.service())
            .await
            .map(Response::into_inner)
            .map_err(|status| ClientError::from_status(&status, Some(instance_id)))
    }
}

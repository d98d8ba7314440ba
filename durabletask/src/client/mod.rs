//! Starting, watching and steering orchestration instances.

mod error;
mod query;
mod start;
mod state;

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use durabletask_core::{Event, Orchestration, codec, timestamp_to_wire};
use durabletask_proto as proto;
use serde::Serialize;
use tokio::time::Instant;
use tonic::{Code, Request, Response};

use crate::connection::{Connection, ConnectionError, Headers, Service};

pub use error::ClientError;
pub use query::{InstancePage, InstanceQuery};
pub use start::{IdReuse, StartRequest};
pub use state::{InstanceState, Payloads, Status};

/// How often a read is tried while the scheduler cannot be reached.
const READ_ATTEMPTS: u32 = 5;
const READ_BACKOFF_MIN: Duration = Duration::from_millis(50);
const READ_BACKOFF_MAX: Duration = Duration::from_millis(250);
/// How long one call of a wait lasts. Shorter than the idle timeouts of usual proxies.
const WAIT_SLICE: Duration = Duration::from_secs(30);

/// A client of one task hub. Cheap to clone; all clones share a connection,
/// which is made when it is first needed.
///
/// Reads are retried while the scheduler is unavailable. Mutations are not: a
/// lost answer may hide a success, and only the caller knows whether a
/// repetition is harmless.
#[derive(Clone, Debug)]
pub struct Client {
    service: Service,
}

/// Whether a command also reaches sub-orchestrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recursive {
    /// All of them, transitively.
    Yes,
    /// Only the named instance.
    No,
}

/// Which finished instances to purge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeFilter {
    /// Created at or after this instant.
    pub created_from: Option<DateTime<Utc>>,
    /// Created before this instant.
    pub created_to: Option<DateTime<Utc>>,
    /// With one of these statuses; empty for any terminal one.
    pub statuses: Vec<Status>,
    /// How long the scheduler may take for one call.
    pub timeout: Option<Duration>,
}

/// What a purge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    /// How many instances are gone.
    pub deleted: u32,
    /// Whether nothing that matches is left; if not, call again.
    pub complete: bool,
}

impl Client {
    /// A client for the task hub that `connection` names. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] if this build cannot speak to such an endpoint, or
    /// if there is no Tokio runtime.
    pub fn new(connection: &Connection) -> Result<Self, ConnectionError> {
        Ok(Self {
            service: connection.service(Headers::for_client(connection))?,
        })
    }

    /// Asks whether the scheduler answers.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unavailable`] if it does not.
    pub async fn hello(&self) -> Result<(), ClientError> {
        self.read(None, async |mut service| service.hello(()).await)
            .await?;
        Ok(())
    }

    /// Prepares the start of an instance; [`StartRequest::send`] starts it.
    pub fn start<I: Serialize, O>(
        &self,
        orchestration: &Orchestration<I, O>,
        input: &I,
    ) -> StartRequest {
        StartRequest::new(self.clone(), orchestration.name(), codec::encode(input))
    }

    /// The instance's state, or `None` if there is no such instance.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the scheduler cannot tell.
    pub async fn get(
        &self,
        instance_id: &str,
        payloads: Payloads,
    ) -> Result<Option<InstanceState>, ClientError> {
        let request = get_request(instance_id, payloads);
        let response = self
            .read(Some(instance_id), async |mut service| {
                service.get_instance(request.clone()).await
            })
            .await?;
        Ok(found(response.into_inner()))
    }

    /// Waits until the instance has begun to run.
    ///
    /// # Errors
    ///
    /// [`ClientError::Timeout`] after `timeout`, [`ClientError::NotFound`] if
    /// there is no such instance.
    pub async fn wait_for_start(
        &self,
        instance_id: &str,
        payloads: Payloads,
        timeout: Duration,
    ) -> Result<InstanceState, ClientError> {
        self.wait(
            instance_id,
            payloads,
            timeout,
            async |mut service: Service, request| service.wait_for_instance_start(request).await,
        )
        .await
    }

    /// Waits until the instance has ended, in whatever way.
    ///
    /// # Errors
    ///
    /// [`ClientError::Timeout`] after `timeout`, [`ClientError::NotFound`] if
    /// there is no such instance.
    pub async fn wait_for_completion(
        &self,
        instance_id: &str,
        payloads: Payloads,
        timeout: Duration,
    ) -> Result<InstanceState, ClientError> {
        self.wait(
            instance_id,
            payloads,
            timeout,
            async |mut service: Service, request| {
                service.wait_for_instance_completion(request).await
            },
        )
        .await
    }

    /// Raises an external event for the instance.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; schedulers differ about unknown instances.
    pub async fn raise_event<T: Serialize>(
        &self,
        instance_id: &str,
        event: &Event<T>,
        payload: &T,
    ) -> Result<(), ClientError> {
        let input = codec::encode(payload).map_err(ClientError::Payload)?;
        let request = proto::RaiseEventRequest {
            instance_id: instance_id.to_owned(),
            name: event.name().to_owned(),
            input: Some(input),
        };
        self.service
            .clone()
            .raise_event(request)
            .await
            .map_err(|status| ClientError::from_status(&status, Some(instance_id)))?;
        Ok(())
    }

    /// Pauses the instance; events are kept until it is resumed.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn suspend(&self, instance_id: &str, reason: &str) -> Result<(), ClientError> {
        let request = proto::SuspendRequest {
            instance_id: instance_id.to_owned(),
            reason: Some(reason.to_owned()),
        };
        self.service
            .clone()
            .suspend_instance(request)
            .await
            .map_err(|status| ClientError::from_status(&status, Some(instance_id)))?;
        Ok(())
    }

    /// Lets a suspended instance go on.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn resume(&self, instance_id: &str, reason: &str) -> Result<(), ClientError> {
        let request = proto::ResumeRequest {
            instance_id: instance_id.to_owned(),
            reason: Some(reason.to_owned()),
        };
        self.service
            .clone()
            .resume_instance(request)
            .await
            .map_err(|status| ClientError::from_status(&status, Some(instance_id)))?;
        Ok(())
    }

    /// Ends the instance with `output`. Running activities are not stopped;
    /// their results are dropped.
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
        let request = proto::TerminateRequest {
            instance_id: instance_id.to_owned(),
            output: Some(output),
            recursive: recursive == Recursive::Yes,
        };
        self.service
            .clone()
            .terminate_instance(request)
            .await
            .map_err(|status| ClientError::from_status(&status, Some(instance_id)))?;
        Ok(())
    }

    /// Deletes a finished instance with its history. A missing or running one
    /// counts as nothing deleted.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn purge(
        &self,
        instance_id: &str,
        recursive: Recursive,
    ) -> Result<Purged, ClientError> {
        self.purge_request(proto::PurgeInstancesRequest {
            request: Some(proto::purge_instances_request::Request::InstanceId(
                instance_id.to_owned(),
            )),
            recursive: recursive == Recursive::Yes,
            is_orchestration: true,
        })
        .await
    }

    /// Deletes finished instances that match `filter`.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn purge_where(&self, filter: &PurgeFilter) -> Result<Purged, ClientError> {
        let filter = proto::PurgeInstanceFilter {
            created_time_from: filter.created_from.map(timestamp_to_wire),
            created_time_to: filter.created_to.map(timestamp_to_wire),
            runtime_status: filter
                .statuses
                .iter()
                .map(|status| status.to_wire())
                .collect(),
            timeout: filter
                .timeout
                .and_then(|timeout| prost_types::Duration::try_from(timeout).ok()),
        };
        self.purge_request(proto::PurgeInstancesRequest {
            request: Some(proto::purge_instances_request::Request::PurgeInstanceFilter(filter)),
            recursive: false,
            is_orchestration: true,
        })
        .await
    }

    async fn purge_request(
        &self,
        request: proto::PurgeInstancesRequest,
    ) -> Result<Purged, ClientError> {
        let response = self
            .service
            .clone()
            .purge_instances(request)
            .await
            .map_err(|status| ClientError::from_status(&status, None))?
            .into_inner();
        Ok(Purged {
            deleted: u32::try_from(response.deleted_instance_count).unwrap_or(0),
            complete: response.is_complete.unwrap_or(true),
        })
    }

    /// One page of the instances that match `query`. Follow
    /// [`InstancePage::continuation`] for the next one.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn query(&self, query: InstanceQuery) -> Result<InstancePage, ClientError> {
        let request = query.into_wire();
        let response = self
            .read(None, async |mut service| {
                service.query_instances(request.clone()).await
            })
            .await?;
        Ok(InstancePage::from_wire(response.into_inner()))
    }

    /// All instances that match `query`, fetched page by page as they are taken.
    /// The stream ends with the first error.
    pub fn query_all(
        &self,
        query: InstanceQuery,
    ) -> impl futures_util::Stream<Item = Result<InstanceState, ClientError>> + Send + 'static {
        query::all(self.clone(), query)
    }

    pub(crate) fn service(&self) -> Service {
        self.service.clone()
    }

    /// Calls a read, again while the scheduler is unavailable.
    async fn read<T, F, Fut>(
        &self,
        instance_id: Option<&str>,
        call: F,
    ) -> Result<Response<T>, ClientError>
    where
        F: Fn(Service) -> Fut,
        Fut: Future<Output = Result<Response<T>, tonic::Status>>,
    {
        let mut backoff = READ_BACKOFF_MIN;
        let mut attempt = 1;
        loop {
            match call(self.service.clone()).await {
                Err(status) if status.code() == Code::Unavailable && attempt < READ_ATTEMPTS => {
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(READ_BACKOFF_MAX);
                    attempt += 1;
                }
                Err(status) => return Err(ClientError::from_status(&status, instance_id)),
                Ok(response) => return Ok(response),
            }
        }
    }

    async fn wait<F, Fut>(
        &self,
        instance_id: &str,
        payloads: Payloads,
        timeout: Duration,
        call: F,
    ) -> Result<InstanceState, ClientError>
    where
        F: Fn(Service, Request<proto::GetInstanceRequest>) -> Fut,
        Fut: Future<Output = Result<Response<proto::GetInstanceResponse>, tonic::Status>>,
    {
        let started = Instant::now();
        let timed_out = || ClientError::Timeout {
            instance_id: instance_id.to_owned(),
            waited: timeout,
        };
        let mut unavailable = 0;
        loop {
            let remaining = timeout.saturating_sub(started.elapsed());
            if remaining.is_zero() {
                return Err(timed_out());
            }
            let slice = remaining.min(WAIT_SLICE);
            let mut request = Request::new(get_request(instance_id, payloads));
            request.set_timeout(slice);
            let result = call(self.service.clone(), request).await;
            match result {
                Ok(response) => {
                    return found(response.into_inner()).ok_or_else(|| ClientError::NotFound {
                        instance_id: Some(instance_id.to_owned()),
                    });
                }
                // The end of a slice: the deadline of this call, told by either side.
                Err(status)
                    if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) =>
                {
                    // A peer that gives up at once must not be asked in a tight loop.
                    if started.elapsed() < timeout {
                        tokio::time::sleep(READ_BACKOFF_MIN.min(remaining)).await;
                    }
                }
                Err(status) if status.code() == Code::Unavailable => {
                    unavailable += 1;
                    if unavailable >= READ_ATTEMPTS {
                        return Err(ClientError::from_status(&status, Some(instance_id)));
                    }
                    tokio::time::sleep(READ_BACKOFF_MAX.min(remaining)).await;
                }
                Err(status) => return Err(ClientError::from_status(&status, Some(instance_id))),
            }
        }
    }
}

fn get_request(instance_id: &str, payloads: Payloads) -> proto::GetInstanceRequest {
    proto::GetInstanceRequest {
        instance_id: instance_id.to_owned(),
        get_inputs_and_outputs: payloads == Payloads::Include,
    }
}

fn found(response: proto::GetInstanceResponse) -> Option<InstanceState> {
    response
        .orchestration_state
        .filter(|_| response.exists)
        .map(InstanceState::from_wire)
}

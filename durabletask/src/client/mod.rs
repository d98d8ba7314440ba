//! Starting, watching and steering orchestration instances.

mod calls;
mod commands;
mod entities;
mod error;
mod export;
mod feeds;
mod fork;
mod handle;
mod history;
mod ids;
mod listing;
mod purge;
mod queries;
mod query;
mod start;
mod state;
mod updates;
mod watch;

use std::future::Future;
use std::time::Duration;

use durabletask_core::{InputFor, Orchestration, Registry, codec, register_feeds};
use durabletask_proto as proto;
use tokio::time::Instant;
use tonic::{Code, Request, Response};

use crate::connection::{self, Connection, ConnectionError, Forks, Headers, Service};
use crate::payloads::{HasPayloads, LargePayloads};

pub use commands::{Recursive, RestartAs};
pub use entities::{EntitiesCleaned, EntityCleaning, EntityQuery, EntityState};
pub use error::ClientError;
use error::code_of;
pub use export::ExportedInstance;
pub use feeds::Published;
pub use fork::ForkPoint;
pub use handle::InstanceHandle;
pub use ids::{InstanceIdPage, InstanceIdQuery};
pub use listing::Listing;
pub use purge::{PurgeFilter, Purged};
pub use query::{InstancePage, InstanceQuery};
pub use start::{IdReuse, StartRequest};
pub use state::{InstanceState, Payloads, Status};

/// Adds what answers for clients to the code of a worker.
pub(crate) fn answer_clients(registry: Registry, client: &Client) -> Registry {
    let mut registry = queries::register(registry, client);
    // What is kept for instances, a worker without orchestrations leaves to others.
    if registry.orchestration_names().next().is_some() {
        registry = register_feeds(registry);
    }
    calls::register(updates::register(registry))
}

/// How often a read is tried while the scheduler cannot be reached.
const READ_ATTEMPTS: u32 = 5;
const READ_BACKOFF_MIN: Duration = Duration::from_millis(50);
const READ_BACKOFF_MAX: Duration = Duration::from_millis(250);
/// How long one call of a wait lasts. Shorter than the idle timeouts of usual proxies.
const WAIT_SLICE: Duration = Duration::from_secs(30);

/// A client of one task hub. Cheap to clone; all clones share a connection,
/// which is created when it is first needed.
///
/// Reads are retried while the scheduler is unavailable. Mutations are not: a
/// lost answer may hide a success, and only the caller knows whether a
/// repetition is harmless.
///
/// ```
/// use durabletask::{Client, Connection, Orchestration};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// const SHOP: Orchestration<u32, String> = Orchestration::new("shop");
/// let order = client.start(&SHOP, &5).send().await?;
/// println!("{}", order.result().await?);
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    service: Service,
    forks: Forks,
    payloads: Option<LargePayloads>,
}

impl Client {
    /// A client for the task hub that `connection` names. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`] if this build cannot speak to such an endpoint, or
    /// if there is no Tokio runtime.
    pub fn new(connection: &Connection) -> Result<Self, ConnectionError> {
        let caller = connection.caller(Headers::for_client(connection))?;
        Ok(Self {
            service: connection::service(caller.clone()),
            forks: Forks::new(caller),
            payloads: None,
        })
    }

    /// The same client, which puts large payloads into a store and reads them from there.
    #[must_use]
    pub fn with_large_payloads(mut self, payloads: LargePayloads) -> Self {
        self.payloads = Some(payloads);
        self
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
    pub fn start<I, O>(
        &self,
        orchestration: &Orchestration<I, O>,
        input: &(impl InputFor<I> + ?Sized),
    ) -> StartRequest<O> {
        StartRequest::new(self.clone(), orchestration.name(), codec::encode(input))
    }

    /// The instance's state, or `None` if there is no such instance.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the scheduler cannot answer.
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
        self.found(response.into_inner()).await
    }

    /// Waits until the instance has begun to run.
    ///
    /// # Errors
    ///
    /// [`ClientError::Timeout`] after `timeout`, which some schedulers also let pass for an
    /// instance that does not exist yet; [`ClientError::NotFound`] if there is none.
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

    /// Waits until the instance has finished, with any status.
    ///
    /// # Errors
    ///
    /// [`ClientError::Timeout`] after `timeout`, which some schedulers also let pass for an
    /// instance that does not exist yet; [`ClientError::NotFound`] if there is none.
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

    pub(crate) fn service(&self) -> Service {
        self.service.clone()
    }

    /// The state in a response, with its payloads.
    async fn found(
        &self,
        response: proto::GetInstanceResponse,
    ) -> Result<Option<InstanceState>, ClientError> {
        match response.orchestration_state.filter(|_| response.exists) {
            Some(mut state) => {
                self.fetch_payloads(&mut state).await?;
                Ok(Some(InstanceState::from_wire(state)))
            }
            None => Ok(None),
        }
    }

    /// Puts what is large in a request into the store, if there is one.
    async fn store_payloads<M: HasPayloads>(
        &self,
        instance_id: &str,
        request: &mut M,
    ) -> Result<(), ClientError> {
        if let Some(payloads) = &self.payloads {
            payloads.store_in(instance_id, request).await?;
        }
        Ok(())
    }

    /// Puts what was stored into its place in a response.
    async fn fetch_payloads<M: HasPayloads>(&self, response: &mut M) -> Result<(), ClientError> {
        if let Some(payloads) = &self.payloads {
            payloads.fetch_into(response).await?;
        }
        Ok(())
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
                Err(status) if code_of(&status) == Code::Unavailable && attempt < READ_ATTEMPTS => {
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
                    let state = self.found(response.into_inner()).await?;
                    return state.ok_or_else(|| ClientError::NotFound {
                        instance_id: Some(instance_id.to_owned()),
                        reason: "the scheduler does not know it".to_owned(),
                    });
                }
                // The end of a slice: the deadline of this call, reported by either side.
                Err(status)
                    if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) =>
                {
                    unavailable = 0;
                    // A peer that gives up at once must not be asked in a tight loop.
                    if started.elapsed() < timeout {
                        tokio::time::sleep(READ_BACKOFF_MIN.min(remaining)).await;
                    }
                }
                Err(status) if code_of(&status) == Code::Unavailable => {
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

//! Starting an instance.

use std::collections::HashMap;
use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use durabletask_core::{Event, InputFor, TraceContext, timestamp_to_wire};
use durabletask_proto as proto;
use tonic::Code;
use uuid::Uuid;

use crate::spans::Spanned;

use super::state::Status;
use super::{Client, ClientError, InstanceHandle};

/// What a start may do if the instance id is taken.
///
/// ```
/// use durabletask::client::IdReuse;
/// use durabletask::{Client, Connection, Orchestration};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// const SHOP: Orchestration<u32, ()> = Orchestration::new("shop");
/// client.start(&SHOP, &5).instance_id("order-1").reuse(IdReuse::Finished).send().await?;
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdReuse {
    /// The scheduler decides. `durabletask-scheduler` and Microsoft's service replace an
    /// instance that has finished and refuse the start while it runs, like
    /// [`Finished`](Self::Finished); other backends may not.
    #[default]
    SchedulerDefault,
    /// An id is used once, whatever happened to its instance.
    Never,
    /// A finished instance is replaced; one that runs is not.
    Finished,
    /// An instance in one of these statuses is replaced.
    Statuses(Vec<Status>),
}

/// A start being prepared; made by [`Client::start`].
///
/// ```
/// use durabletask::{Client, Connection, Orchestration};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// const SHOP: Orchestration<u32, ()> = Orchestration::new("shop");
/// let order = client.start(&SHOP, &5).version("2").tag("team", "blue").send().await?;
/// println!("{order} is under way");
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Debug)]
#[must_use = "nothing is started until `send` is awaited"]
pub struct StartRequest<O> {
    client: Client,
    name: String,
    input: Result<String, String>,
    instance_id: Option<String>,
    reuse: IdReuse,
    version: Option<String>,
    tags: HashMap<String, String>,
    start_at: Option<DateTime<Utc>>,
    trace_context: Option<TraceContext>,
    output: PhantomData<fn() -> O>,
}

impl<O> StartRequest<O> {
    pub(super) fn new(client: Client, name: &str, input: Result<String, String>) -> Self {
        Self {
            client,
            name: name.to_owned(),
            input,
            instance_id: None,
            reuse: IdReuse::default(),
            version: None,
            tags: HashMap::new(),
            start_at: None,
            trace_context: None,
            output: PhantomData,
        }
    }

    /// Sets the instance id: at most 100 characters, not beginning with `@`. A
    /// random one is generated otherwise.
    pub fn instance_id(mut self, instance_id: impl Into<String>) -> Self {
        self.instance_id = Some(instance_id.into());
        self
    }

    /// Says what to do if the id is taken.
    pub fn reuse(mut self, reuse: IdReuse) -> Self {
        self.reuse = reuse;
        self
    }

    /// Adds a tag.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// Sets the instance's version, `Major[.Minor[.Patch]]`.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Starts not before `at`.
    pub fn start_at(mut self, at: DateTime<Utc>) -> Self {
        self.start_at = Some(at);
        self
    }

    /// Sets the W3C trace context that the instance belongs to.
    pub fn trace_context(mut self, context: TraceContext) -> Self {
        self.trace_context = Some(context);
        self
    }

    /// Starts the instance; yields a handle of it. Once it returns, the start is durable.
    ///
    /// # Errors
    ///
    /// [`ClientError::AlreadyExists`] if the id is taken, and others.
    pub async fn send(self) -> Result<InstanceHandle<O>, ClientError> {
        let instance_id = self
            .instance_id
            .unwrap_or_else(|| Uuid::new_v4().simple().to_string());
        if instance_id.starts_with('@') {
            return Err(ClientError::InvalidArgument(
                "an instance id must not begin with '@', which is reserved for entities".to_owned(),
            ));
        }
        let span = Spanned::create_orchestration(
            &self.name,
            self.version.as_deref(),
            &instance_id,
            self.trace_context.as_ref(),
        );
        // The instance belongs under the span of its start, where one is recorded.
        let trace_context = span.context().or(self.trace_context);
        let mut request = proto::CreateInstanceRequest {
            instance_id: instance_id.clone(),
            name: self.name,
            version: self.version,
            input: Some(self.input.map_err(ClientError::Payload)?),
            scheduled_start_timestamp: self.start_at.map(timestamp_to_wire),
            orchestration_id_reuse_policy: reuse_to_wire(&self.reuse),
            execution_id: None,
            tags: self.tags,
            parent_trace_context: trace_context.map(Into::into),
            request_time: Some(timestamp_to_wire(Utc::now())),
        };
        self.client
            .store_payloads(&instance_id, &mut request)
            .await?;
        let response = self
            .client
            .service()
            .start_instance(request)
            .await
            .map_err(|status| {
                span.failed(status.message());
                // What a start cannot find is not the instance.
                let about = (status.code() != Code::NotFound).then_some(instance_id.as_str());
                ClientError::from_status(&status, about)
            })?
            .into_inner();
        Ok(InstanceHandle::new(self.client, response.instance_id))
    }

    /// Starts the instance unless one with this id runs already, and raises an external
    /// event for it: also known as signal-with-start. Set an instance id and leave
    /// [`reuse`](Self::reuse) as it is.
    ///
    /// The two are separate calls, so a caller that is interrupted between them should
    /// repeat both. An instance that ends in the same moment loses the event.
    ///
    /// ```no_run
    /// use durabletask::{Client, ClientError, Event, Orchestration};
    ///
    /// const CART: Orchestration<(), ()> = Orchestration::new("cart");
    /// const ADDED: Event<String> = Event::new("added");
    ///
    /// async fn add(client: &Client, customer: &str, item: &str) -> Result<(), ClientError> {
    ///     let cart = client.start(&CART, &()).instance_id(format!("cart-{customer}"));
    ///     cart.send_with_event(&ADDED, item).await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ClientError`]; if the start succeeded and the event did not, the instance runs.
    pub async fn send_with_event<T>(
        self,
        event: &Event<T>,
        payload: &(impl InputFor<T> + ?Sized),
    ) -> Result<InstanceHandle<O>, ClientError> {
        let client = self.client.clone();
        let handle = match (self.instance_id.clone(), self.send().await) {
            (Some(id), Err(ClientError::AlreadyExists { .. })) => InstanceHandle::new(client, id),
            (_, started) => started?,
        };
        handle.raise_event(event, payload).await?;
        Ok(handle)
    }
}

fn reuse_to_wire(reuse: &IdReuse) -> Option<proto::OrchestrationIdReusePolicy> {
    let replaceable_status = match reuse {
        IdReuse::SchedulerDefault => return None,
        IdReuse::Never => Vec::new(),
        IdReuse::Finished => [
            Status::Completed,
            Status::Failed,
            Status::Terminated,
            Status::Canceled,
        ]
        .iter()
        .map(|status| status.to_wire())
        .collect(),
        IdReuse::Statuses(statuses) => statuses.iter().map(|status| status.to_wire()).collect(),
    };
    Some(proto::OrchestrationIdReusePolicy {
        replaceable_status,
        ..proto::OrchestrationIdReusePolicy::default()
    })
}

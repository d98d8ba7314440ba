//! A handle of one instance: its result, its state, and what can be done with it.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use durabletask_core::{Event, Feed, InputFor, Orchestration, Query, Update};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Client, ClientError, InstanceState, Listing, Payloads, Published, Recursive};

/// One instance of an orchestration whose output is an `O`: what
/// [`StartRequest::send`](super::StartRequest::send) yields, or
/// [`Client::instance`] for an id that is known already.
///
/// ```
/// use durabletask::{Client, Connection, Orchestration};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// const SHOP: Orchestration<u32, String> = Orchestration::new("shop");
/// let order = client.start(&SHOP, &5).send().await?;
/// println!("{} is under way", order.id());
/// // The output, or why there is none: `ClientError::Failed` holds the failure.
/// println!("{}", order.result().await?);
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
pub struct InstanceHandle<O> {
    client: Client,
    id: String,
    output: PhantomData<fn() -> O>,
}

impl<O> InstanceHandle<O> {
    pub(super) fn new(client: Client, id: String) -> Self {
        Self {
            client,
            id,
            output: PhantomData,
        }
    }

    /// The instance's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The instance's id.
    #[must_use]
    pub fn into_id(self) -> String {
        self.id
    }

    /// Waits for the end of the instance, for as long as it takes, and yields its output.
    ///
    /// It keeps waiting while the scheduler is briefly unreachable. To wait for a limited
    /// time, use [`result_within`](Self::result_within).
    ///
    /// # Errors
    ///
    /// [`ClientError::Failed`] with the failure, [`ClientError::Terminated`] if someone
    /// ended it, [`ClientError::Payload`] if its output is no `O`, and others.
    pub async fn result(&self) -> Result<O, ClientError>
    where
        O: DeserializeOwned,
    {
        self.result_within(Duration::MAX).await
    }

    /// Like [`result`](Self::result), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Timeout`] after `timeout`; otherwise like [`result`](Self::result).
    pub async fn result_within(&self, timeout: Duration) -> Result<O, ClientError>
    where
        O: DeserializeOwned,
    {
        let ended = self
            .client
            .wait_for_completion(&self.id, Payloads::Include, timeout);
        ended.await?.result()
    }

    /// The instance's state with its payloads, or `None` if there is no such instance.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the scheduler cannot answer.
    pub async fn state(&self) -> Result<Option<InstanceState>, ClientError> {
        self.client.get(&self.id, Payloads::Include).await
    }

    /// The instance's states as they change; see [`Client::watch`].
    pub fn watch(&self, every: Duration) -> Listing<InstanceState> {
        self.client.watch(&self.id, every)
    }

    /// What the instance publishes in a feed; see [`Client::follow`].
    pub fn follow<T: DeserializeOwned + Send + 'static>(
        &self,
        feed: &Feed<T>,
        from: u64,
        every: Duration,
    ) -> Listing<Published<T>> {
        self.client.follow(&self.id, feed, from, every)
    }

    /// Raises an external event; see [`Client::raise_event`].
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn raise_event<T, P: InputFor<T> + ?Sized>(
        &self,
        event: &Event<T>,
        payload: &P,
    ) -> impl Future<Output = Result<(), ClientError>> + use<'_, O, T, P> {
        self.client.raise_event(&self.id, event, payload)
    }

    /// Asks the orchestration; see [`Client::query`].
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn query<I, A: DeserializeOwned, P: InputFor<I> + ?Sized>(
        &self,
        query: &Query<I, A>,
        input: &P,
        timeout: Duration,
    ) -> impl Future<Output = Result<A, ClientError>> + use<'_, O, I, A, P> {
        self.client.query(&self.id, query, input, timeout)
    }

    /// Asks the orchestration for a change; see [`Client::update`].
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn update<I, A: DeserializeOwned, P: InputFor<I> + ?Sized>(
        &self,
        update: &Update<I, A>,
        input: &P,
        timeout: Duration,
    ) -> impl Future<Output = Result<A, ClientError>> + use<'_, O, I, A, P> {
        self.client.update(&self.id, update, input, timeout)
    }

    /// Pauses the instance; see [`Client::suspend`].
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn suspend(&self, reason: &str) -> Result<(), ClientError> {
        self.client.suspend(&self.id, reason).await
    }

    /// Resumes the instance; see [`Client::resume`].
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn resume(&self, reason: &str) -> Result<(), ClientError> {
        self.client.resume(&self.id, reason).await
    }

    /// Ends the instance; see [`Client::terminate`].
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn terminate<T: Serialize + ?Sized>(
        &self,
        output: &T,
        recursive: Recursive,
    ) -> Result<(), ClientError> {
        self.client.terminate(&self.id, output, recursive).await
    }

    /// Rewinds a failed instance; see [`Client::rewind`].
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn rewind(&self, reason: &str) -> Result<(), ClientError> {
        self.client.rewind(&self.id, reason).await
    }
}

// Written by hand because derives would demand the bounds of the output's type.
impl<O> Clone for InstanceHandle<O> {
    fn clone(&self) -> Self {
        Self::new(self.client.clone(), self.id.clone())
    }
}

impl<O> fmt::Debug for InstanceHandle<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl<O> fmt::Display for InstanceHandle<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl Client {
    /// A handle of the instance with this id, which need not exist. That it is one of
    /// `orchestration`, the caller vouches for. Nothing is sent.
    pub fn instance<I, O>(
        &self,
        _orchestration: &Orchestration<I, O>,
        instance_id: impl Into<String>,
    ) -> InstanceHandle<O> {
        InstanceHandle::new(self.clone(), instance_id.into())
    }
}

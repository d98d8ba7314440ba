//! Changing an orchestration that runs, with an answer.
//!
//! The protocol has no message for it. An orchestration sends the update as an event in the
//! client's name and waits for the event that answers it, so neither is lost in a crash.

use std::time::Duration;

use durabletask_core::{
    Event, HistoryPayload, InputFor, Orchestration, OrchestrationContext, Registry, UPDATE_ANSWER,
    Update, UpdateAnswer, UpdateMessage, codec,
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use uuid::Uuid;

use super::queries::{nobody_has_it, not_found};
use super::{Client, ClientError, IdReuse, InstanceHandle, Payloads};

/// The instance that is to change, the update's name, and its input as JSON text.
type Sending = (String, String, String);

/// The orchestration that sends an update for a client and waits for the answer.
const SEND: Orchestration<Sending, UpdateAnswer> = Orchestration::new("durabletask.update");
const ANSWER: Event<UpdateAnswer> = Event::new(UPDATE_ANSWER);

/// How often an answer that does not come is looked after.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// The namespace of the ids of orchestrations that send updates.
const NAMESPACE: Uuid = Uuid::from_u128(0x5d0f_a6c3_61c9_4b0e_9a53_0d6b_1f0e_7a11);

/// Adds what carries [`Client::update`] to a worker that has orchestrations.
pub(crate) fn register(registry: Registry) -> Registry {
    if registry.orchestration_names().next().is_none()
        || registry.has_orchestration(SEND.name(), "")
    {
        return registry;
    }
    registry.orchestration(
        &SEND,
        async |ctx: OrchestrationContext, (target, update, input): Sending| {
            let event = Event::<UpdateMessage>::named(UpdateMessage::event_name(&update));
            let message = UpdateMessage {
                reply_to: ctx.instance_id().to_owned(),
                input,
            };
            ctx.send_event(&target, &event, &message)?;
            Ok(ctx.wait_for_event(&ANSWER).await?)
        },
    )
}

impl Client {
    /// Asks a running orchestration for a change and waits for its answer, for at most
    /// `timeout`. The orchestration takes it with
    /// [`OrchestrationContext::wait_for_update`], and accepts it with a result or refuses
    /// it.
    ///
    /// The update and its answer are events between instances: durable, and delivered over
    /// restarts of workers and clients. The protocol has no such message, so a short
    /// orchestration carries them; its record is removed afterwards. That works with every
    /// backend on which orchestrations send events, if a worker of this crate runs there.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use durabletask::{Client, ClientError, Update};
    ///
    /// const ADD: Update<u32, u32> = Update::new("add");
    ///
    /// async fn add(client: &Client, count: u32) -> Result<u32, ClientError> {
    ///     client.update("cart-7", &ADD, &count, Duration::from_secs(10)).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ClientError::Refused`] with the reason if the orchestration refused it;
    /// - [`ClientError::NotFound`] if there is no such instance,
    ///   [`ClientError::InvalidState`] if it has ended or ends without an answer;
    /// - [`ClientError::Unsupported`] if no worker of this crate took it;
    /// - [`ClientError::Timeout`] after `timeout`: the update may take place all the same.
    ///   An orchestration that never waits for it ends so; see
    ///   [`update_once`](Self::update_once) for how to ask again.
    pub fn update<'a, I, O: DeserializeOwned, P: InputFor<I> + ?Sized>(
        &'a self,
        instance_id: &'a str,
        update: &Update<I, O>,
        input: &P,
        timeout: Duration,
    ) -> impl Future<Output = Result<O, ClientError>> + use<'a, I, O, P> {
        let name = update.name().to_owned();
        let input = codec::encode(input).map_err(ClientError::Payload);
        async move {
            let sending = (instance_id.to_owned(), name, input?);
            self.check_open(instance_id).await?;
            let sender = self.start(&SEND, &sending).send().await?;
            let answer = self.answer_to(instance_id, &sender, timeout).await;
            self.forget(&sender, &answer).await;
            read(instance_id, answer)
        }
    }

    /// Like [`update`](Self::update), at most once for each `update_id`: a caller that does
    /// not know whether its update arrived repeats the call, and gets the answer to the
    /// first. The record of the update is kept for that.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use durabletask::{Client, ClientError, Update};
    ///
    /// const ADD: Update<u32, u32> = Update::new("add");
    ///
    /// async fn add(client: &Client, request_id: &str, count: u32) -> Result<u32, ClientError> {
    ///     let timeout = Duration::from_secs(10);
    ///     client.update_once("cart-7", request_id, &ADD, &count, timeout).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`update`](Self::update).
    pub fn update_once<'a, I, O: DeserializeOwned, P: InputFor<I> + ?Sized>(
        &'a self,
        instance_id: &'a str,
        update_id: &'a str,
        update: &Update<I, O>,
        input: &P,
        timeout: Duration,
    ) -> impl Future<Output = Result<O, ClientError>> + use<'a, I, O, P> {
        let name = update.name().to_owned();
        let input = codec::encode(input).map_err(ClientError::Payload);
        async move {
            let key = format!("{}/{instance_id}/{update_id}", instance_id.len());
            let id = format!(
                "durabletask.update-{}",
                Uuid::new_v5(&NAMESPACE, key.as_bytes()).simple()
            );
            let sending = (instance_id.to_owned(), name, input?);
            // The answer to a repeated update stands, whatever has become of the instance.
            if self.get(&id, Payloads::Omit).await?.is_none() {
                self.check_open(instance_id).await?;
            }
            let start = self.start(&SEND, &sending).instance_id(&id);
            let sender = match start.reuse(IdReuse::Never).send().await {
                Err(ClientError::AlreadyExists { .. }) => self.instance(&SEND, id),
                sent => sent?,
            };
            read(
                instance_id,
                self.answer_to(instance_id, &sender, timeout).await,
            )
        }
    }

    /// Nobody answers for an instance that is not there or has ended.
    async fn check_open(&self, instance_id: &str) -> Result<(), ClientError> {
        let state = self.get(instance_id, Payloads::Omit).await?;
        let state = state.ok_or_else(|| not_found(instance_id))?;
        if state.status.is_terminal() {
            return Err(ClientError::InvalidState(format!(
                "'{instance_id}' is {:?}, so it takes no update",
                state.status
            )));
        }
        Ok(())
    }

    async fn answer_to(
        &self,
        instance_id: &str,
        sender: &InstanceHandle<UpdateAnswer>,
        timeout: Duration,
    ) -> Result<UpdateAnswer, ClientError> {
        let began = Instant::now();
        loop {
            let left = timeout.saturating_sub(began.elapsed());
            match sender.result_within(left.min(LOOK_AFTER)).await {
                Err(ClientError::Timeout { .. }) if left > LOOK_AFTER => {}
                Err(ClientError::Timeout { .. }) => {
                    return Err(ClientError::Timeout {
                        instance_id: instance_id.to_owned(),
                        waited: timeout,
                    });
                }
                answer => return answer,
            }
            if self.missed(instance_id, sender.id()).await? {
                // Whichever answer comes first stands, so a late one cannot contradict it.
                sender.raise_event(&ANSWER, &UpdateAnswer::Ended).await?;
            }
        }
    }

    /// Whether the instance has ended without having answered `sender`.
    async fn missed(&self, instance_id: &str, sender: &str) -> Result<bool, ClientError> {
        let Some(state) = self.get(instance_id, Payloads::Omit).await? else {
            return Ok(true);
        };
        if !state.status.is_terminal() {
            return Ok(false);
        }
        let mut history = self.history(instance_id);
        while let Some(event) = history.next().await {
            match event {
                Ok(event) => {
                    if let HistoryPayload::EventSent {
                        instance_id, name, ..
                    } = &event.payload
                        && name == UPDATE_ANSWER
                        && instance_id == sender
                    {
                        return Ok(false);
                    }
                }
                // Then there is no telling, and what is on its way has had its time.
                Err(ClientError::Unsupported(_) | ClientError::NotFound { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn read<O: DeserializeOwned>(
    instance_id: &str,
    answer: Result<UpdateAnswer, ClientError>,
) -> Result<O, ClientError> {
    match answer.map_err(nobody_has_it)? {
        UpdateAnswer::Accepted(output) => {
            codec::decode(Some(&output)).map_err(ClientError::Payload)
        }
        UpdateAnswer::Refused(failure) => Err(ClientError::Refused {
            instance_id: instance_id.to_owned(),
            failure: Box::new(failure),
        }),
        UpdateAnswer::Ended => Err(ClientError::InvalidState(format!(
            "'{instance_id}' ended before it answered the update"
        ))),
    }
}

//! What one activity call reaches through its context, as its worker provides it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use durabletask_core::{
    ActivityHost, Event, FEED_APPEND, FailureDetails, FeedAppend, HEARTBEAT_EVENT, HeartbeatError,
    HeartbeatMessage, HistoryPayload, PublishError, codec, feed_entity, heartbeat_timeout,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use uuid::Uuid;

use crate::client::{Client, ClientError, Payloads};

const HEARTBEAT: Event<HeartbeatMessage> = Event::new(HEARTBEAT_EVENT);

/// How large details may be. Each is kept in the history of the orchestration.
const MAX_DETAILS_BYTES: usize = 16 << 10;
/// How long the history may take to show what was sent.
const RECORDED_WITHIN: Duration = Duration::from_secs(30);
/// How often the history is read meanwhile: more and more seldom.
const READ_AGAIN_MIN: Duration = Duration::from_millis(10);
const READ_AGAIN_MAX: Duration = Duration::from_millis(500);

/// The host of one delivered call. Heartbeats go to its orchestration, as events.
#[derive(Debug)]
pub(super) struct Host {
    client: Client,
    instance_id: String,
    /// A heartbeat of this call, without mark and details.
    call: HeartbeatMessage,
    limit: Option<Duration>,
    /// The mark of the first heartbeat, once it was sent.
    first: OnceCell<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Since when the orchestration may count the silence, at the earliest.
    heard: Instant,
    /// What this delivery has reported last, JSON text.
    reported: Option<String>,
    /// Why there are no more heartbeats.
    ended: Option<HeartbeatError>,
}

impl Host {
    pub(super) fn new(
        client: Client,
        instance_id: String,
        call: HeartbeatMessage,
        limit: Option<Duration>,
    ) -> Self {
        Self {
            client,
            instance_id,
            call,
            limit,
            first: OnceCell::new(),
            state: Mutex::new(State {
                heard: Instant::now(),
                reported: None,
                ended: None,
            }),
        }
    }

    /// Runs the activity, and gives it up when it is silent for too long.
    pub(super) async fn watch(
        &self,
        work: BoxFuture<'_, Result<String, FailureDetails>>,
    ) -> Result<String, FailureDetails> {
        let Some(limit) = self.limit else {
            return work.await;
        };
        // Until this arrives, the call may still wait for a worker for all that is known.
        let begun = tokio::time::timeout(limit, self.first_mark().boxed());
        if let Ok(Err(error)) = begun.await {
            let instance_id = self.instance_id.as_str();
            tracing::warn!(instance_id, %error, "could not report the start of an activity");
        }
        tokio::select! {
            biased;
            result = work => result,
            () = self.silence(limit) => Err(heartbeat_timeout(limit)),
        }
    }

    /// The call has been answered, or is about to be.
    pub(super) fn close(&self) {
        let ended = || HeartbeatError::Ended("the activity has returned".to_owned());
        self.lock().ended.get_or_insert_with(ended);
    }

    /// Waits until nothing was heard for `limit`.
    async fn silence(&self, limit: Duration) {
        loop {
            let until = self.lock().heard + limit;
            tokio::time::sleep_until(until).await;
            let mut state = self.lock();
            if state.heard + limit <= Instant::now() {
                state.ended = Some(HeartbeatError::TooLate { limit });
                return;
            }
        }
    }

    /// Whether a heartbeat would still be of use to someone.
    fn check(&self) -> Result<(), HeartbeatError> {
        let mut state = self.lock();
        if let Some(limit) = self.limit
            && state.ended.is_none()
            && state.heard.elapsed() >= limit
        {
            state.ended = Some(HeartbeatError::TooLate { limit });
        }
        state.ended.clone().map_or(Ok(()), Err)
    }

    /// Whether the execution that made the call still runs.
    async fn check_instance(&self) -> Result<(), HeartbeatError> {
        let state = self.client.get(&self.instance_id, Payloads::Omit).await;
        let reason = match state.map_err(not_recorded)? {
            None => "its orchestration is no longer there".to_owned(),
            Some(state) if state.status.is_terminal() => {
                format!("its orchestration is {:?}", state.status)
            }
            Some(state) => match (&state.execution_id, &self.call.execution_id) {
                (Some(now), Some(then)) if !now.is_empty() && now != then => {
                    "its orchestration has started over".to_owned()
                }
                _ => return Ok(()),
            },
        };
        let ended = HeartbeatError::Ended(reason);
        self.lock().ended.get_or_insert_with(|| ended.clone());
        Err(ended)
    }

    async fn send(
        &self,
        mark: Option<String>,
        details: Option<String>,
    ) -> Result<(), HeartbeatError> {
        let message = HeartbeatMessage {
            mark,
            details,
            ..self.call.clone()
        };
        let sent = Instant::now();
        self.client
            .raise_event(&self.instance_id, &HEARTBEAT, &message)
            .await
            .map_err(not_recorded)?;
        self.lock().heard = sent;
        Ok(())
    }

    /// Sends the first heartbeat of this delivery, once; yields its mark.
    async fn first_mark(&self) -> Result<&str, HeartbeatError> {
        let mark = self.first.get_or_try_init(|| async {
            let mark = Uuid::new_v4().simple().to_string();
            self.send(Some(mark.clone()), None).await?;
            Ok(mark)
        });
        Ok(mark.await?)
    }

    /// The last details in the history, if that has `mark` already.
    async fn recorded(&self, mark: &str) -> Result<Option<Option<String>>, HeartbeatError> {
        let mut history = self.client.history(&self.instance_id);
        let mut last = None;
        let mut is_there = false;
        while let Some(event) = history.next().await {
            let payload = match event {
                Ok(event) => event.payload,
                Err(ClientError::Unsupported(reason)) => {
                    return Err(HeartbeatError::Unsupported(format!(
                        "the last heartbeat is in the history of the instance: {reason}"
                    )));
                }
                // Nothing is recorded yet.
                Err(ClientError::NotFound { .. }) => break,
                Err(error) => return Err(not_recorded(error)),
            };
            let HistoryPayload::EventRaised { name, input } = payload else {
                continue;
            };
            if !name.eq_ignore_ascii_case(HEARTBEAT_EVENT) {
                continue;
            }
            let Ok(beat) = codec::decode::<HeartbeatMessage>(input.as_deref()) else {
                continue;
            };
            if beat.key == self.call.key {
                is_there |= beat.mark.as_deref() == Some(mark);
                last = beat.details.or(last);
            }
        }
        Ok(is_there.then_some(last))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a single step, so a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ActivityHost for Host {
    fn beat(&self, details: String) -> BoxFuture<'_, Result<(), HeartbeatError>> {
        async move {
            if details.len() > MAX_DETAILS_BYTES {
                return Err(HeartbeatError::TooLarge {
                    bytes: details.len(),
                    limit: MAX_DETAILS_BYTES,
                });
            }
            self.check()?;
            self.check_instance().await?;
            self.send(None, Some(details.clone())).await?;
            self.lock().reported = Some(details);
            Ok(())
        }
        .boxed()
    }

    fn last(&self) -> BoxFuture<'_, Result<Option<String>, HeartbeatError>> {
        async move {
            self.check()?;
            if let Some(own) = self.lock().reported.clone() {
                return Ok(Some(own));
            }
            let began = Instant::now();
            // Events are recorded in the order in which they arrive: with this one, all that
            // came before it.
            let mark = self.first_mark().await?;
            let mut delay = READ_AGAIN_MIN;
            loop {
                if let Some(last) = self.recorded(mark).await? {
                    return Ok(last);
                }
                self.check_instance().await?;
                if began.elapsed() >= RECORDED_WITHIN {
                    return Err(HeartbeatError::NotRecorded(format!(
                        "its orchestration did not take it within {RECORDED_WITHIN:?}"
                    )));
                }
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(READ_AGAIN_MAX);
            }
        }
        .boxed()
    }

    fn publish(
        &self,
        feed: String,
        number: u64,
        value: String,
    ) -> BoxFuture<'_, Result<(), PublishError>> {
        async move {
            let append = FeedAppend {
                producer: Some(self.call.key.clone()),
                number,
                value,
            };
            self.client
                .signal_entity(
                    &feed_entity(&self.instance_id, &feed),
                    &FEED_APPEND,
                    &append,
                )
                .await
                .map_err(|error| PublishError::NotPublished(error.to_string()))
        }
        .boxed()
    }
}

fn not_recorded(error: ClientError) -> HeartbeatError {
    HeartbeatError::NotRecorded(error.to_string())
}

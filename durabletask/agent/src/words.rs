//! A model's words while it speaks: from the model, in batches, into the run's feed.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use durabletask::{ActivityContext, Failure, Feed};
use serde::{Deserialize, Serialize};

use crate::model::{ChatModel, ChatReply, ChatRequest};
use crate::sink::WordSink;

/// How long words are collected before they are published.
const BATCH: Duration = Duration::from_millis(200);

/// Words of a model, published while it speaks.
///
/// A client shows them as they come and takes the complete text from the run's answer: words of
/// a try that did not succeed are void once a later `attempt` at the same `step` begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Words {
    /// Which call of the model they are from: its step in the run, greater for a later call.
    pub step: i32,
    /// Which try of that call: greater for a later one.
    pub attempt: u64,
    /// The words that follow those before.
    pub text: String,
}

/// The feed of a run's words; see [`AgentBuilder::stream_words`](crate::AgentBuilder::stream_words).
pub(crate) const WORDS: Feed<Words> = Feed::new("words");

/// Calls the model, and publishes its words while it speaks. Words that cannot be published are
/// dropped, which is logged: the answer has all of them.
pub(crate) async fn aloud(
    model: &dyn ChatModel,
    ctx: &ActivityContext,
    request: &ChatRequest,
) -> Result<ChatReply, Failure> {
    let sink = WordSink::default();
    let mut publisher = Publisher::new(ctx);
    let mut chat = pin!(model.chat_aloud(request, &sink));
    let reply = loop {
        match tokio::time::timeout(BATCH, &mut chat).await {
            Ok(reply) => break reply?,
            Err(_) => publisher.publish(&sink).await,
        }
    };
    // Not every model speaks before it has finished.
    if sink.heard_nothing() {
        sink.push(reply.content.as_deref().unwrap_or_default());
    }
    publisher.publish(&sink).await;
    Ok(reply)
}

struct Publisher<'a> {
    ctx: &'a ActivityContext,
    attempt: u64,
    number: u64,
    is_open: bool,
}

impl<'a> Publisher<'a> {
    fn new(ctx: &'a ActivityContext) -> Self {
        // A call that is handed out again after a crash has the number of its attempt, but not
        // its words. The time tells them apart, and is ahead of the numbers of all batches
        // before.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let attempt = now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
        Self {
            ctx,
            attempt,
            number: attempt,
            is_open: true,
        }
    }

    /// Publishes all that waits.
    async fn publish(&mut self, sink: &WordSink) {
        while let Some(text) = sink.take() {
            if !self.is_open {
                continue;
            }
            let words = Words {
                step: self.ctx.task_id(),
                attempt: self.attempt,
                text,
            };
            if let Err(error) = self.ctx.publish(&WORDS, self.number, &words).await {
                tracing::warn!(%error, "the words of an answer are not published any further");
                self.is_open = false;
            }
            self.number = self.number.saturating_add(1);
        }
    }
}

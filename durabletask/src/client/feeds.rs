//! Following what an instance publishes.

use std::collections::VecDeque;
use std::time::Duration;

use durabletask_core::{
    EntityRef, FEED_DELETE, FEED_READ, Feed, FeedLog, FeedPage, codec, feed_entity,
};
use futures_util::stream;
use serde::de::DeserializeOwned;

use super::queries::not_found;
use super::{Client, ClientError, Listing, Payloads};

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(10);
/// How long a worker may take to hand out the rest of the feed of an instance that has ended.
const REST_WITHIN: Duration = Duration::from_secs(60);

/// A value of a feed, with its place in it.
///
/// ```no_run
/// use std::time::Duration;
///
/// use durabletask::client::Published;
/// use durabletask::{Client, ClientError, Feed};
///
/// const WORDS: Feed<String> = Feed::new("words");
///
/// async fn first(client: &Client, id: &str) -> Result<Option<String>, ClientError> {
///     let mut words = client.follow(id, &WORDS, 0, Duration::from_millis(100));
///     let first: Option<Published<String>> = words.next().await.transpose()?;
///     Ok(first.map(|word| word.value))
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published<T> {
    /// Its offset: the first value of a feed has 0, the next 1.
    pub offset: u64,
    /// The value.
    pub value: T,
}

impl Client {
    /// The values that an instance publishes in this feed, from the offset `from` on: those
    /// that are there, then the new ones as they come, until the instance has ended and all is
    /// read. The scheduler is asked `every` so often (at least 10 milliseconds apart).
    ///
    /// Orchestrations publish with
    /// [`OrchestrationContext::publish`](crate::OrchestrationContext::publish), activities with
    /// [`ActivityContext::publish`](crate::ActivityContext::publish). No value is lost or comes
    /// twice when workers, the scheduler or the reader restart: a reader that remembers the
    /// last offset goes on from the next.
    ///
    /// A feed keeps its latest 1,000 values, of at most 256 KiB together. One who comes later
    /// gets [`ClientError::Gap`], which says from where to go on. A feed belongs to its
    /// instance id: it goes on when the instance continues as new or the id is used again, and
    /// [`delete_feed`](Self::delete_feed) removes it.
    ///
    /// Any worker of this crate that has orchestrations keeps the feeds of its task hub, as
    /// entities.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use durabletask::{Client, ClientError, Feed};
    ///
    /// const WORDS: Feed<String> = Feed::new("words");
    ///
    /// async fn print(client: &Client, id: &str) -> Result<(), ClientError> {
    ///     let mut words = client.follow(id, &WORDS, 0, Duration::from_millis(100));
    ///     while let Some(word) = words.next().await {
    ///         print!("{} ", word?.value);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// It ends with [`ClientError::NotFound`] if there is no such instance,
    /// [`ClientError::Gap`], [`ClientError::Payload`] if a value is no `T`,
    /// [`ClientError::Unsupported`] if the backend has no entities, and others.
    pub fn follow<T: DeserializeOwned + Send + 'static>(
        &self,
        instance_id: &str,
        feed: &Feed<T>,
        from: u64,
        every: Duration,
    ) -> Listing<Published<T>> {
        let following = Following {
            client: self.clone(),
            instance_id: instance_id.to_owned(),
            entity: feed_entity(instance_id, feed.name()),
            feed: feed.name().to_owned(),
            next: from,
            every: every.max(SHORTEST),
            ready: VecDeque::new(),
            looked: false,
            ended: false,
        };
        Listing::new(stream::unfold(following, |mut following| async move {
            let item = following.next().await.transpose()?;
            following.ended |= item.is_err();
            Some((item, following))
        }))
    }

    /// Removes what an instance has published in this feed. What it publishes afterwards
    /// begins at 0 again.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn delete_feed<T>(
        &self,
        instance_id: &str,
        feed: &Feed<T>,
    ) -> Result<(), ClientError> {
        self.signal_entity(&feed_entity(instance_id, feed.name()), &FEED_DELETE, &())
            .await
    }
}

struct Following {
    client: Client,
    instance_id: String,
    entity: EntityRef<FeedLog>,
    feed: String,
    next: u64,
    every: Duration,
    ready: VecDeque<String>,
    looked: bool,
    ended: bool,
}

impl Following {
    async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<Published<T>>, ClientError> {
        loop {
            if let Some(text) = self.ready.pop_front() {
                let offset = self.next;
                self.next += 1;
                let value = codec::decode(Some(&text)).map_err(ClientError::Payload)?;
                return Ok(Some(Published { offset, value }));
            }
            if self.ended {
                return Ok(None);
            }
            if std::mem::replace(&mut self.looked, true) {
                tokio::time::sleep(self.every).await;
            }
            let log = self.client.get_entity_state(&self.entity).await?;
            self.take(log.unwrap_or_default().page(self.next))?;
            if self.ready.is_empty() && self.has_ended().await? {
                self.ended = true;
                self.take(self.rest().await?)?;
            }
        }
    }

    fn take(&mut self, page: FeedPage) -> Result<(), ClientError> {
        if page.first > self.next {
            return Err(ClientError::Gap {
                instance_id: self.instance_id.clone(),
                feed: self.feed.clone(),
                asked: self.next,
                first: page.first,
            });
        }
        self.ready = page.values.into();
        Ok(())
    }

    async fn has_ended(&self) -> Result<bool, ClientError> {
        let id = self.instance_id.as_str();
        let state = self.client.get(id, Payloads::Omit).await?;
        Ok(state.ok_or_else(|| not_found(id))?.status.is_terminal())
    }

    /// What is there once everything has arrived that the instance sent before its end: the
    /// call waits behind it.
    async fn rest(&self) -> Result<FeedPage, ClientError> {
        let (entity, from) = (&self.entity, self.next);
        self.client
            .call_entity(entity, &FEED_READ, &from, REST_WITHIN)
            .await
    }
}

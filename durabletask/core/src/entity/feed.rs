//! Feeds: values that an instance publishes and clients follow.
//!
//! A feed is an entity that keeps the latest values under consecutive offsets. Signals to an
//! entity are durable and in order, so neither side loses any when it restarts.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec;
use crate::error::Failure;
use crate::registry::Registry;

use super::contract::{Entity, Operation};
use super::handlers::EntityHandlers;
use super::id::EntityRef;

/// How many values a feed keeps for readers.
const MAX_VALUES: usize = 1_000;
/// How large they may be together, as JSON text; the latest is kept in any case.
const MAX_BYTES: usize = 256 << 10;
/// Of how many producers a feed remembers what they have published.
const MAX_PRODUCERS: usize = 1_000;
/// The longest key of an entity whose id may have 100 characters.
const MAX_KEY: usize = 100 - "@durabletask.feed@".len();
/// The namespace of the keys of feeds whose names are too long.
const NAMESPACE: Uuid = Uuid::from_u128(0x0c6b_7f1e_8f0a_4d0c_a1f9_7b0e_62d5_3a94);

const FEED: Entity<FeedLog> = Entity::new("durabletask.feed");
/// Adds a value, unless its producer has published it before.
pub const FEED_APPEND: Operation<FeedLog, FeedAppend, ()> = Operation::new("append");
/// Removes all values, as every entity's state is removed.
pub const FEED_DELETE: Operation<FeedLog, (), ()> = Operation::new("delete");
/// Yields the values from an offset on.
pub const FEED_READ: Operation<FeedLog, u64, FeedPage> = Operation::new("read");

/// What a feed keeps: the state of its entity.
///
/// ```
/// assert!(durabletask_core::FeedLog::default().page(0).values.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedLog {
    /// The offset of the first value that is kept.
    first: u64,
    /// Each as JSON text.
    values: VecDeque<String>,
    /// The number that each producer publishes next, those not heard of for longest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    producers: Vec<(String, u64)>,
}

/// A value on its way into a feed.
///
/// ```
/// use durabletask_core::FeedAppend;
///
/// let word = FeedAppend { producer: None, number: 0, value: "\"once\"".to_owned() };
/// assert_eq!(word.number, 0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedAppend {
    /// Who may publish it again; `None` for one who never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    /// Which of the producer's values it is.
    pub number: u64,
    /// JSON text.
    pub value: String,
}

/// Consecutive values of a feed.
///
/// ```
/// use durabletask_core::FeedPage;
///
/// let page = FeedPage { first: 7, values: vec!["\"upon\"".to_owned()] };
/// assert_eq!(page.first, 7);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedPage {
    /// The offset of the first of them, or of the next value if there are none yet.
    pub first: u64,
    /// Each as JSON text.
    pub values: Vec<String>,
}

impl FeedLog {
    fn append(&mut self, append: FeedAppend) {
        if let Some(producer) = append.producer {
            let known = self
                .producers
                .iter()
                .position(|(known, _)| *known == producer);
            let next = known.map_or(0, |at| self.producers.remove(at).1);
            let is_new = append.number >= next;
            let next = next.max(append.number.saturating_add(1));
            self.producers.push((producer, next));
            if self.producers.len() > MAX_PRODUCERS {
                self.producers.remove(0);
            }
            if !is_new {
                return;
            }
        }
        self.values.push_back(append.value);
        let mut bytes: usize = self.values.iter().map(String::len).sum();
        while self.values.len() > MAX_VALUES || (bytes > MAX_BYTES && self.values.len() > 1) {
            bytes -= self.values.pop_front().map_or(0, |value| value.len());
            self.first += 1;
        }
    }

    /// The values from `offset` on, or from the first that is kept.
    #[must_use]
    pub fn page(&self, offset: u64) -> FeedPage {
        let first = offset.max(self.first);
        let skipped = usize::try_from(first - self.first).unwrap_or(usize::MAX);
        FeedPage {
            first,
            values: self.values.iter().skip(skipped).cloned().collect(),
        }
    }
}

/// The entity behind an instance's feed.
#[must_use]
pub fn feed_entity(instance_id: &str, feed: &str) -> EntityRef<FeedLog> {
    // The length keeps apart what the separator could not.
    let key = format!("{}/{instance_id}/{feed}", instance_id.len());
    if key.chars().count() <= MAX_KEY {
        return FEED.id(&key);
    }
    let hashed = Uuid::new_v5(&NAMESPACE, key.as_bytes());
    FEED.id(&hashed.simple().to_string())
}

/// Adds what keeps feeds to the code of a worker.
#[must_use]
pub fn register_feeds(registry: Registry) -> Registry {
    if registry.entity_names().any(|name| name == FEED.name()) {
        return registry;
    }
    let handlers = EntityHandlers::new()
        .operation(&FEED_APPEND, |log: &mut FeedLog, _, append| {
            log.append(append);
            Ok(())
        })
        .operation(&FEED_READ, |log, ctx, offset| {
            // Reading makes no feed.
            if *log == FeedLog::default() {
                ctx.delete_state();
            }
            Ok(log.page(offset))
        });
    registry.entity(&FEED, handlers)
}

/// Reads values of a feed.
///
/// # Errors
///
/// If one is no `T`.
pub(crate) fn read_values<T: DeserializeOwned>(values: Vec<String>) -> Result<Vec<T>, Failure> {
    let read = |text: String| {
        codec::decode(Some(&text)).map_err(|reason| Failure::new("PayloadMismatch", reason))
    };
    values.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::host::{MAX_VALUE_BYTES, value_text};
    use proptest::prelude::*;

    fn append(log: &mut FeedLog, producer: &str, number: u64, value: u64) {
        log.append(FeedAppend {
            producer: Some(producer.to_owned()),
            number,
            value: value.to_string(),
        });
    }

    #[test]
    fn keys_fit_and_keep_instances_apart() {
        let short = feed_entity("order-1", "words");
        assert_eq!(short.to_string(), "@durabletask.feed@7/order-1/words");
        let long = "x".repeat(100);
        for instance in [long.as_str(), "ü".repeat(90).as_str(), ""] {
            assert!(feed_entity(instance, "words").check().is_ok());
        }
        assert_ne!(
            feed_entity("a", "b/c").to_string(),
            feed_entity("a/b", "c").to_string()
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut log = FeedLog::default();
        for number in 0..1_500 {
            append(&mut log, &number.to_string(), 0, number);
        }
        assert_eq!((log.first, log.values.len()), (500, MAX_VALUES));
        assert_eq!(log.producers.len(), MAX_PRODUCERS);
        let text = "y".repeat(MAX_VALUE_BYTES);
        for number in 0..9 {
            log.append(FeedAppend {
                producer: None,
                number,
                value: text.clone(),
            });
        }
        assert_eq!(log.values.len(), MAX_BYTES / MAX_VALUE_BYTES);
        assert!(value_text(&"z".repeat(MAX_VALUE_BYTES)).is_err());
        assert!(value_text(&"z".repeat(MAX_VALUE_BYTES - 2)).is_ok());
    }

    /// What producers and a reader do: a producer publishes its next value, or begins again
    /// somewhere before it, and the reader looks.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Publish(usize),
        BeginAgain(usize, u64),
        Read,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0_usize..3).prop_map(Step::Publish),
            1 => (0_usize..3, any::<u64>()).prop_map(|(who, at)| Step::BeginAgain(who, at)),
            2 => Just(Step::Read),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn a_reader_sees_each_value_once_and_in_order(steps in steps()) {
            let mut log = FeedLog::default();
            let mut next = [0_u64; 3];
            let mut published = [0_u64; 3];
            let mut seen: Vec<(usize, u64)> = Vec::new();
            let mut offset = 0;
            for step in steps.into_iter().chain([Step::Read]) {
                match step {
                    Step::Publish(who) => {
                        let value = u64::try_from(who).unwrap() + 10 * next[who];
                        append(&mut log, &who.to_string(), next[who], value);
                        next[who] += 1;
                        published[who] = published[who].max(next[who]);
                    }
                    Step::BeginAgain(who, at) => next[who] = at % (published[who] + 1),
                    Step::Read => {
                        let page = log.page(offset);
                        prop_assert_eq!(page.first, offset);
                        offset += u64::try_from(page.values.len()).unwrap();
                        seen.extend(read_values::<u64>(page.values).unwrap().into_iter().map(
                            |value| (usize::try_from(value % 10).unwrap(), value / 10),
                        ));
                    }
                }
            }
            for (who, count) in published.into_iter().enumerate() {
                let of_one: Vec<u64> = seen.iter().filter(|seen| seen.0 == who).map(|seen| seen.1).collect();
                prop_assert_eq!(of_one, (0..count).collect::<Vec<_>>());
            }
        }
    }
}

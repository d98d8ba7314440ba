//! Where a model's words wait until they are published.

use std::sync::{Mutex, PoisonError};

/// The most bytes of a batch.
const LARGEST_BATCH: usize = 16 * 1024;

/// Takes the words of a model while it speaks.
///
/// ```
/// use durabletask_agent::WordSink;
///
/// let words = WordSink::default();
/// words.push("Order 7 ");
/// words.push("was sent.");
/// ```
#[derive(Debug, Default)]
pub struct WordSink {
    waiting: Mutex<Spoken>,
}

#[derive(Debug, Default)]
struct Spoken {
    text: String,
    any: bool,
}

impl WordSink {
    /// Adds what the model has said now.
    pub fn push(&self, text: &str) {
        let mut spoken = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        spoken.any |= !text.is_empty();
        spoken.text.push_str(text);
    }

    /// What waits to be published, at most a batch of it.
    pub(crate) fn take(&self) -> Option<String> {
        let mut spoken = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let end = spoken.text.floor_char_boundary(LARGEST_BATCH);
        let rest = spoken.text.split_off(end);
        let batch = std::mem::replace(&mut spoken.text, rest);
        (!batch.is_empty()).then_some(batch)
    }

    pub(crate) fn heard_nothing(&self) -> bool {
        !self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .any
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn batches_end_between_characters_and_lose_none() {
        let sink = WordSink::default();
        assert!(sink.heard_nothing());
        assert_eq!(sink.take(), None);
        let text = "€".repeat(LARGEST_BATCH);
        sink.push(&text);
        let mut batches = Vec::new();
        while let Some(batch) = sink.take() {
            assert!(batch.len() <= LARGEST_BATCH);
            batches.push(batch);
        }
        assert_eq!(batches.concat(), text);
        assert!(!sink.heard_nothing());
    }
}

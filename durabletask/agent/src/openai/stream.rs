//! An answer in parts: what OpenAI's chat completions send with `stream` (server-sent events).

use std::collections::BTreeMap;
use std::pin::pin;

use durabletask::Failure;
use futures_util::StreamExt as _;
use reqwest::Response;
use serde::Deserialize;
use serde_json::Value;
use sse_stream::SseStream;
use thiserror::Error;

use super::{
    Called, Choice, Completion, LARGEST_ANSWER, Said, WireUsage, failed_midway, malformed,
    unreachable,
};
use crate::sink::WordSink;

/// The last event of a stream.
const DONE: &str = "[DONE]";

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    choices: Vec<PartChoice>,
    usage: Option<WireUsage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct PartChoice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    tool_calls: Option<Vec<CallPart>>,
}

#[derive(Deserialize)]
struct CallPart {
    #[serde(default)]
    index: u64,
    id: Option<String>,
    function: Option<FunctionPart>,
}

#[derive(Deserialize)]
struct FunctionPart {
    name: Option<String>,
    arguments: Option<String>,
}

/// What has come so far.
#[derive(Default)]
struct Gathered {
    content: String,
    calls: BTreeMap<u64, Called>,
    finish_reason: Option<String>,
    usage: Option<WireUsage>,
}

#[derive(Debug, Error)]
enum BodyError {
    #[error("the body broke off")]
    Cut(#[source] reqwest::Error),
    #[error("the body is too large")]
    TooLarge,
}

/// Reads an answer to its end, and passes its words on as they come.
///
/// # Errors
///
/// A [`Failure`] that is worth another attempt: part of an answer is not an answer.
pub(super) async fn read(response: Response, words: &WordSink) -> Result<Completion, Failure> {
    let mut size = 0_usize;
    let body = response.bytes_stream().map(move |part| {
        let part = part.map_err(BodyError::Cut)?;
        size += part.len();
        match size > LARGEST_ANSWER {
            true => Err(BodyError::TooLarge),
            false => Ok(part),
        }
    });
    let mut events = pin!(SseStream::from_bytes_stream(body));
    let mut gathered = Gathered::default();
    while let Some(event) = events.next().await {
        let Some(data) = event.map_err(unreadable)?.data else {
            continue;
        };
        if data.trim() == DONE {
            break;
        }
        let part: Part = serde_json::from_str(&data)
            .map_err(|error| malformed(&format!("a part of it cannot be read: {error}")))?;
        gathered.add(part, words)?;
    }
    gathered.complete()
}

fn unreadable(error: sse_stream::Error) -> Failure {
    let sse_stream::Error::Body(body) = error else {
        return malformed(&format!("it is not a stream of events: {error}"));
    };
    match body.downcast::<BodyError>().map(|body| *body) {
        Ok(BodyError::Cut(error)) => unreachable(error),
        _ => malformed(&format!("it exceeds {LARGEST_ANSWER} bytes")),
    }
}

impl Gathered {
    fn add(&mut self, part: Part, words: &WordSink) -> Result<(), Failure> {
        if let Some(error) = part.error {
            let message = error.get("message").unwrap_or(&error);
            return Err(failed_midway(message.as_str().unwrap_or_default()));
        }
        self.usage = part.usage.or(self.usage.take());
        // Only one choice is asked for.
        let Some(choice) = part.choices.into_iter().next() else {
            return Ok(());
        };
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        if let Some(text) = choice.delta.content {
            words.push(&text);
            self.content.push_str(&text);
        }
        for part in choice.delta.tool_calls.unwrap_or_default() {
            let call = self.calls.entry(part.index).or_default();
            // Some servers repeat the id and the name with each part.
            if let Some(id) = part.id.filter(|id| !id.is_empty()) {
                call.id = id;
            }
            let Some(function) = part.function else {
                continue;
            };
            if let Some(name) = function.name.filter(|name| !name.is_empty()) {
                call.function.name = name;
            }
            let arguments = function.arguments.unwrap_or_default();
            call.function.arguments.push_str(&arguments);
        }
        Ok(())
    }

    /// The answer, if all of it has come: a server says why it stopped.
    fn complete(self) -> Result<Completion, Failure> {
        if self.finish_reason.is_none() {
            return Err(malformed("it broke off before its end"));
        }
        let calls: Vec<Called> = self.calls.into_values().collect();
        if calls.iter().any(|call| call.function.name.is_empty()) {
            return Err(malformed("it calls a tool without a name"));
        }
        Ok(Completion {
            choices: vec![Choice {
                message: Said {
                    content: Some(self.content),
                    tool_calls: Some(calls),
                },
                finish_reason: self.finish_reason,
            }],
            usage: self.usage,
        })
    }
}

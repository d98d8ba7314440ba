//! Limits on messages, names and other parts.

use std::collections::HashMap;

use durabletask_proto::{TaskFailureDetails, TraceContext};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::invalid;
use crate::Storage;
use crate::limits::MAX_MESSAGE;
use crate::store::{MOST_INDEXED, stored_length};

/// The header by which a client or worker declares the largest message that it accepts.
const MAX_RECEIVE_HEADER: &str = "max-receive-bytes";
/// The smallest such message.
const MIN_RECEIVE: usize = 64 * 1024;
/// The longest name of an orchestration, activity, event or operation, in bytes.
const MAX_NAME: usize = 1024;
/// The longest version, in bytes.
const MAX_VERSION: usize = 256;
/// The longest other id, such as an execution's, in bytes.
const MAX_OTHER_ID: usize = 1024;
/// The largest total size of an instance's tags, in bytes.
const MAX_TAGS: usize = 32 * 1024;
/// The largest total size of the entity ids of one lock request, in bytes.
const MAX_LOCK_SET: usize = 64 * 1024;
/// The largest trace context, in bytes.
const MAX_TRACE: usize = 8 * 1024;

/// The failure for the sender of a payload that is too large.
pub(super) fn too_large(what: &str, size: usize, limit: usize) -> TaskFailureDetails {
    TaskFailureDetails {
        error_type: "PayloadTooLarge".to_owned(),
        error_message: format!(
            "The {what} has {size} bytes, over the scheduler's limit of {limit}; pass a reference to the data instead."
        ),
        is_non_retriable: true,
        ..TaskFailureDetails::default()
    }
}

/// The failure of a work item that its worker cannot receive.
pub(super) fn item_too_large(what: &str, size: usize, limit: usize) -> TaskFailureDetails {
    let advice = match what {
        "history" => "Continue the orchestration as new, or use a worker that streams histories.",
        _ => "Pass a reference to the data instead.",
    };
    TaskFailureDetails {
        error_type: "WorkItemTooLarge".to_owned(),
        error_message: format!(
            "The {what} makes a message of {size} bytes, and no connected worker accepts more \
             than {limit}, the default of gRPC clients. {advice} You can also raise the worker's \
             limit for received messages, and the scheduler's --max-message with it."
        ),
        is_non_retriable: true,
        ..TaskFailureDetails::default()
    }
}

/// The largest message that the caller accepts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Takes {
    /// The limit that it declares.
    said: Option<usize>,
    common: usize,
}

impl Takes {
    pub(super) fn of(headers: &MetadataMap, common: usize) -> Result<Self, Status> {
        let said = match headers.get(MAX_RECEIVE_HEADER) {
            None => None,
            Some(value) => Some(
                value
                    .to_str()
                    .ok()
                    .and_then(|text| text.parse::<usize>().ok())
                    .filter(|bytes| *bytes >= MIN_RECEIVE)
                    .map(|bytes| bytes.min(MAX_MESSAGE))
                    .ok_or_else(|| {
                        invalid(format!(
                            "the {MAX_RECEIVE_HEADER} header must be a number of bytes, {MIN_RECEIVE} at least"
                        ))
                    })?,
            ),
        };
        Ok(Self { said, common })
    }

    /// The largest message that may be sent: the declared limit, otherwise the usual default.
    pub(super) fn bytes(self) -> usize {
        self.said.unwrap_or(self.common)
    }

    /// The most bytes of instances or entities on a page. Less than a message, so that
    /// the framing fits too.
    pub(super) fn page(self) -> usize {
        let most = self.bytes();
        most - most / 64
    }

    /// Refuses an answer that the caller cannot receive. A caller that did not declare its
    /// limit may have raised it, and otherwise gets an error of its own.
    pub(super) fn fits<T: Message>(self, answer: T) -> Result<T, Status> {
        let (size, limit) = (answer.encoded_len(), self.said.unwrap_or(MAX_MESSAGE));
        if size <= limit {
            return Ok(answer);
        }
        Err(Status::new(
            Code::ResourceExhausted,
            format!(
                "the answer has {size} bytes, more than the {limit} that the caller accepts; \
                 query without inputs and outputs, stream the history, which comes in pieces, or \
                 accept larger messages"
            ),
        ))
    }
}

/// A part that is too long, with its name, size and limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    pub(super) what: String,
    pub(super) size: usize,
    pub(super) limit: usize,
    /// A payload, rather than a name or the like.
    payload: bool,
}

impl TooLong {
    /// The failure of an orchestration or operation for it.
    pub(super) fn failure(&self) -> TaskFailureDetails {
        if self.payload {
            return too_large(&self.what, self.size, self.limit);
        }
        TaskFailureDetails {
            error_type: "FieldTooLong".to_owned(),
            error_message: format!(
                "The {} has {} bytes, over the scheduler's limit of {}.",
                self.what, self.size, self.limit
            ),
            is_non_retriable: true,
            ..TaskFailureDetails::default()
        }
    }

    pub(super) fn status(&self) -> Status {
        let advice = match self.payload {
            true => "; pass a reference to the data instead",
            false => "",
        };
        invalid(format!(
            "the {} has {} bytes, over the limit of {}{advice}",
            self.what, self.size, self.limit
        ))
    }
}

/// Checks the parts of a request or an action, and keeps the first that is too long.
#[derive(Debug, Default)]
pub(super) struct Lengths(Option<TooLong>);

impl Lengths {
    fn part(mut self, what: &str, size: usize, limit: usize) -> Self {
        if size > limit && self.0.is_none() {
            self.0 = Some(TooLong {
                what: what.to_owned(),
                size,
                limit,
                payload: false,
            });
        }
        self
    }

    pub(super) fn name(self, what: &str, name: &str) -> Self {
        self.part(what, name.len(), MAX_NAME)
    }

    pub(super) fn version(self, version: Option<&String>) -> Self {
        self.part("version", version.map_or(0, String::len), MAX_VERSION)
    }

    pub(super) fn id(self, what: &str, id: &str) -> Self {
        self.part(what, id.len(), MAX_OTHER_ID)
    }

    pub(super) fn tags(self, tags: &HashMap<String, String>) -> Self {
        let size = tags
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        self.part("tags' keys and values", size, MAX_TAGS)
    }

    /// What PostgreSQL has to index of an instance: its id, its name, and each tag with its value. A
    /// folder sets no such limit.
    pub(super) fn indexed(
        self,
        storage: &Storage,
        id: &str,
        name: &str,
        tags: &HashMap<String, String>,
    ) -> Self {
        if !matches!(storage, Storage::Database(_)) {
            return self;
        }
        let most = MOST_INDEXED;
        let lengths = self.part("instance id", stored_length(id), most).part(
            "orchestration's name",
            stored_length(name),
            most,
        );
        let tags = tags
            .iter()
            .map(|(key, value)| stored_length(key) + stored_length(value));
        let what = "longest tag with its value, which a PostgreSQL database indexes,";
        lengths.part(what, tags.max().unwrap_or(0), most)
    }

    pub(super) fn trace(self, trace: Option<&TraceContext>) -> Self {
        let size = trace.map_or(0, Message::encoded_len);
        self.part("trace context", size, MAX_TRACE)
    }

    pub(super) fn payload(self, what: &str, payload: Option<&String>, limit: usize) -> Self {
        self.bytes(what, payload.map_or(0, String::len), limit)
    }

    /// A payload of several parts.
    pub(super) fn bytes(self, what: &str, size: usize, limit: usize) -> Self {
        let fitted = self.0.is_none();
        let mut checked = self.part(what, size, limit);
        if let Some(long) = checked.0.as_mut().filter(|_| fitted) {
            long.payload = true;
        }
        checked
    }

    pub(super) fn lock_set(self, ids: &[String]) -> Self {
        let size = ids.iter().map(String::len).sum();
        self.part("lock set", size, MAX_LOCK_SET)
    }

    /// The first part that is too long.
    pub(super) fn first(self) -> Option<TooLong> {
        self.0
    }

    /// The error for a client's request.
    pub(super) fn check(self) -> Result<(), Status> {
        match self.0 {
            Some(long) => Err(long.status()),
            None => Ok(()),
        }
    }
}

//! The connected workers, for operators.

use chrono::{DateTime, Utc};

/// The longest text about a worker that is kept, in bytes.
const MAX_TEXT: usize = 200;

/// The header by which a worker announces our extension of the protocol.
const CONTINUATION_HEADER: &str = "history-continuation";

/// How a worker identifies itself in the headers of its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The header `workerid`; some SDKs send none.
    pub(crate) worker_id: Option<String>,
    /// The header `x-user-agent`, else `user-agent`.
    pub(crate) agent: Option<String>,
    /// The header `history-continuation: v1`: it accepts turns without the history,
    /// because it holds the orchestration itself.
    pub(crate) continues: bool,
}

impl Caller {
    pub(crate) fn of(metadata: &tonic::metadata::MetadataMap) -> Self {
        let text = |name| {
            let text = metadata.get(name)?.to_str().ok()?;
            // Header values that are text are ASCII, so any byte ends a character.
            Some(text.get(..MAX_TEXT).unwrap_or(text).to_owned())
        };
        Self {
            worker_id: text("workerid"),
            agent: text("x-user-agent").or_else(|| text("user-agent")),
            continues: text(CONTINUATION_HEADER).as_deref() == Some("v1"),
        }
    }
}

/// One kind of work of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) held: usize,
    pub(crate) window: usize,
    /// The names that the worker accepts; none means all.
    pub(crate) names: Option<Vec<String>>,
}

/// A connected worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerView {
    pub(crate) caller: Caller,
    pub(crate) since: DateTime<Utc>,
    pub(crate) turns: Share,
    pub(crate) activities: Share,
    pub(crate) entities: Share,
}

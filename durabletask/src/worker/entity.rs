//! Running one batch of an entity's operations.

use chrono::Utc;
use durabletask_core::{EntityBatch, Registry, run_batch};
use durabletask_proto as proto;
use prost::Message;

use super::limits::MAX_RESPONSE_BYTES;

/// An entity's work item, in either of its forms.
pub(super) enum Request {
    /// Operations as `OperationRequest`s: the older form.
    V1(proto::EntityBatchRequest),
    /// Operations as history events: what the hosted scheduler sends.
    V2(proto::EntityRequest),
}

impl Request {
    pub(super) fn instance_id(&self) -> &str {
        match self {
            Self::V1(request) => &request.instance_id,
            Self::V2(request) => &request.instance_id,
        }
    }
}

/// Runs the operations that `request` holds and yields the answer to it.
pub(super) async fn run(
    registry: &Registry,
    request: Request,
    completion_token: String,
) -> proto::EntityBatchResult {
    let (batch, with_infos) = match request {
        Request::V1(request) => (EntityBatch::from_batch_request(request), false),
        Request::V2(request) => (EntityBatch::from_request(request), true),
    };
    let batch = match batch {
        Ok(batch) => batch,
        Err(reason) => return failed("InvalidEntityRequest", reason, completion_token),
    };
    let response = run_batch(registry, batch, Utc::now)
        .await
        .into_wire(completion_token.clone(), with_infos);
    let size = response.encoded_len();
    if size > MAX_RESPONSE_BYTES {
        return failed(
            "EntityResponseTooLarge",
            format!(
                "the answer to one batch of operations has {size} bytes, and {MAX_RESPONSE_BYTES} bytes is the limit; keep the state small, or pass references instead of large payloads"
            ),
            completion_token,
        );
    }
    response
}

/// The answer to a batch that failed as a whole; nothing has changed.
fn failed(error_type: &str, message: String, completion_token: String) -> proto::EntityBatchResult {
    proto::EntityBatchResult {
        failure_details: Some(proto::TaskFailureDetails {
            error_type: error_type.to_owned(),
            error_message: message,
            is_non_retriable: true,
            ..proto::TaskFailureDetails::default()
        }),
        completion_token,
        ..proto::EntityBatchResult::default()
    }
}

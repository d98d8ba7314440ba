//! Running one batch of an entity's operations.

use chrono::Utc;
use durabletask_core::{EntityBatch, EntityBatchRun, Registry};
use durabletask_proto as proto;
use prost::Message;

use crate::payloads::{HasPayloads, LargePayloads, PayloadStoreError};
use crate::spans::Spanned;

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

impl HasPayloads for Request {
    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut String)) {
        match self {
            Self::V1(request) => request.visit(visit),
            Self::V2(request) => request.visit(visit),
        }
    }
}

/// Runs the operations that `request` holds, with their payloads from and to the
/// store, and yields the answer to it.
///
/// # Errors
///
/// The text of a transient error of the store.
pub(super) async fn run(
    registry: &Registry,
    payloads: Option<&LargePayloads>,
    mut request: Request,
    completion_token: String,
) -> Result<proto::EntityBatchResult, String> {
    let Some(payloads) = payloads else {
        return Ok(bounded(
            run_inline(registry, request, completion_token).await,
        ));
    };
    let instance_id = request.instance_id().to_owned();
    let token = completion_token.clone();
    let stored = async {
        payloads.fetch_into(&mut request).await?;
        let mut response = run_inline(registry, request, completion_token).await;
        payloads.store_in(&instance_id, &mut response).await?;
        Ok(response)
    };
    match stored.await {
        Ok(response) => Ok(bounded(response)),
        Err(PayloadStoreError::Transient(reason)) => Err(reason),
        Err(error @ PayloadStoreError::Permanent(_)) => {
            Ok(failed("PayloadStoreError", error.to_string(), token))
        }
    }
}

async fn run_inline(
    registry: &Registry,
    request: Request,
    completion_token: String,
) -> proto::EntityBatchResult {
    // Only the newer form names who waits for an answer, and expects it back.
    let (batch, with_callers) = match request {
        Request::V1(request) => (EntityBatch::from_batch_request(request), false),
        Request::V2(request) => (EntityBatch::from_request(request), true),
    };
    let batch = match batch {
        Ok(batch) => batch,
        Err(reason) => return failed("InvalidEntityRequest", reason, completion_token),
    };
    let mut run = EntityBatchRun::new(registry, batch);
    let entity = run.id().clone();
    while let Some(operation) = run.upcoming() {
        let is_signal = with_callers && operation.caller.is_none();
        let span = Spanned::entity_operation(&entity, operation, is_signal);
        let outcome = span.run(run.step(Utc::now)).await;
        if let Some(Err(details)) = outcome.map(|outcome| &outcome.result) {
            span.failed(&details.message);
        }
        span.sends(&entity, run.sent());
    }
    run.finish().into_wire(completion_token, with_callers)
}

/// The response, unless no scheduler would take it.
fn bounded(response: proto::EntityBatchResult) -> proto::EntityBatchResult {
    let size = response.encoded_len();
    if size <= MAX_RESPONSE_BYTES {
        return response;
    }
    failed(
        "EntityResponseTooLarge",
        format!(
            "the answer to one batch of operations has {size} bytes, and {MAX_RESPONSE_BYTES} bytes is the limit; keep the state small, or pass references instead of large payloads"
        ),
        response.completion_token,
    )
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

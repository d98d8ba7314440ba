//! Running one activity.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use durabletask_core::{ActivityContext, Failure, FailureDetails, Registry};
use durabletask_proto as proto;
use futures_util::FutureExt;

/// Runs the activity that `request` names and yields the answer to it.
pub(super) async fn run(
    registry: &Registry,
    request: proto::ActivityRequest,
    completion_token: String,
) -> proto::ActivityResponse {
    let instance = request.orchestration_instance.unwrap_or_default();
    let context = ActivityContext::new(request.name, instance.instance_id.clone(), request.task_id)
        .with_execution_id(instance.execution_id)
        .with_version(request.version)
        .with_tags(request.tags.into_iter().collect())
        .with_trace_context(request.parent_trace_context.map(Into::into));
    let (result, failure_details) = match call(registry, context, request.input).await {
        Ok(result) => (Some(result), None),
        Err(details) => (None, Some(details.into())),
    };
    proto::ActivityResponse {
        instance_id: instance.instance_id,
        task_id: request.task_id,
        result,
        failure_details,
        completion_token,
    }
}

async fn call(
    registry: &Registry,
    context: ActivityContext,
    input: Option<String>,
) -> Result<String, FailureDetails> {
    let future = registry
        .start_activity(context, input)
        .map_err(Failure::into_details)?;
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(result) => result.map_err(Failure::into_details),
        Err(panic) => Err(FailureDetails::new("Panic", panic_message(panic.as_ref()))),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the activity panicked".to_owned())
}

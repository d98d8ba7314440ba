//! Running one activity.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use durabletask_core::{
    ActivityContext, ActivityHost, Cancellation, Failure, FailureDetails, HeartbeatMessage,
    Registry,
};
use durabletask_proto as proto;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prost::Message;

use crate::client::Client;
use crate::spans::Spanned;

use super::host::Host;
use super::limits::MAX_RESPONSE_BYTES;
use super::running::RunningActivities;

/// Runs the activity that `request` names and yields the answer to it.
pub(super) async fn run(
    registry: &Registry,
    running: &RunningActivities,
    client: &Client,
    request: proto::ActivityRequest,
    completion_token: String,
) -> proto::ActivityResponse {
    let span = Spanned::activity(&request);
    let instance = request.orchestration_instance.unwrap_or_default();
    let execution_id = instance.execution_id.clone();
    let cancellation = Cancellation::default();
    let context = ActivityContext::new(request.name, instance.instance_id.clone(), request.task_id)
        .with_execution_id(instance.execution_id)
        .with_version(request.version)
        .with_tags(request.tags.into_iter().collect())
        .with_trace_context(request.parent_trace_context.map(Into::into))
        .with_cancellation(cancellation.clone());
    let limit = context.start_to_close();
    let host = Arc::new(Host::new(
        client.clone(),
        instance.instance_id.clone(),
        HeartbeatMessage {
            task_id: request.task_id,
            execution_id: execution_id.clone(),
            key: context.idempotency_key(),
            mark: None,
            details: None,
        },
        context.heartbeat_timeout(),
    ));
    let context = context.with_host(Arc::clone(&host) as Arc<dyn ActivityHost>);
    let call = running.begin(
        &instance.instance_id,
        execution_id.as_deref(),
        request.task_id,
    );
    // Behind a pointer, since what runs it keeps several places for it: few activities need more
    // than one of them, and every call would have to carry all.
    let work = call_handler(registry, context, request.input).boxed();
    let work = within(limit, host.watch(work).boxed());
    let answer = span
        .run(call.run(work, &cancellation, running.grace()))
        .await
        .unwrap_or_else(|| Err(needless()));
    host.close();
    if let Err(details) = &answer {
        span.failed(&details.message);
    }
    let (result, failure_details) = match answer {
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

/// The response, unless no scheduler would take it.
pub(super) fn bounded(response: proto::ActivityResponse) -> proto::ActivityResponse {
    let size = response.encoded_len();
    if size <= MAX_RESPONSE_BYTES {
        return response;
    }
    let details = FailureDetails::new(
        "ActivityResponseTooLarge",
        format!(
            "the activity's answer has {size} bytes, and {MAX_RESPONSE_BYTES} bytes is the limit; return a reference instead of a large payload, or give the worker a payload store"
        ),
    )
    .permanent();
    proto::ActivityResponse {
        result: None,
        failure_details: Some(details.into()),
        ..response
    }
}

async fn call_handler(
    registry: &Registry,
    context: ActivityContext,
    input: Option<String>,
) -> Result<String, FailureDetails> {
    // Handlers are user code from the call on, not only from the first poll.
    let running = async {
        registry
            .start_activity(context, input)
            .map_err(Failure::into_details)?
            .await
            .map_err(Failure::into_details)
    };
    match AssertUnwindSafe(running).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(FailureDetails::new("Panic", panic_message(panic.as_ref()))),
    }
}

/// Ends `work` after `limit`, as a failure that a retry may mend.
async fn within(
    limit: Option<Duration>,
    work: BoxFuture<'_, Result<String, FailureDetails>>,
) -> Result<String, FailureDetails> {
    let Some(limit) = limit else {
        return work.await;
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(FailureDetails::new(
            "ActivityTimeout",
            format!("the activity did not end within {limit:?} of its start"),
        ))
    })
}

/// The answer for a call whose result is not needed.
fn needless() -> FailureDetails {
    FailureDetails::new(
        "ActivityCancelled",
        "the activity was ended because its result is no longer needed",
    )
    .permanent()
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the activity panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Connection;

    /// Each call's future is moved and cleared as a whole, so its size is paid for each time.
    #[tokio::test]
    async fn a_call_needs_little_memory_of_its_own() {
        let connection = Connection::insecure("http://127.0.0.1:1", "hub").expect("an address");
        let client = Client::new(&connection).expect("a client");
        let running = RunningActivities::new(Duration::ZERO);
        let registry = Registry::new();
        let request = proto::ActivityRequest::default();
        let call = run(&registry, &running, &client, request, String::new());
        assert!(size_of_val(&call) < 4096, "{}", size_of_val(&call));
    }
}

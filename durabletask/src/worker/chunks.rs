//! Answers that are too large for one message.

#![allow(
    deprecated,
    reason = "the protocol marks the fields of chunks so, and has no others"
)]

use durabletask_proto as proto;
use prost::Message;

/// What the worker does with a turn whose decisions do not fit into one message.
///
/// ```
/// use durabletask::{Connection, Worker};
/// use durabletask::worker::OversizedTurns;
///
/// let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
/// let worker = Worker::builder(&connection).oversized_turns(OversizedTurns::Chunk).build()?;
/// # let _ = worker;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OversizedTurns {
    /// It fails the orchestration with `OrchestratorResponseTooLarge`.
    #[default]
    Fail,
    /// It sends them in several messages. The scheduler must support that: the
    /// official .NET and Java SDKs do so, but the service's emulator does not
    /// put the pieces together in every version.
    Chunk,
}

/// Splits an answer into messages of at most `limit` bytes, in the form of the
/// protocol: all but the last are partial, and only the first represents the
/// events of the work item.
///
/// # Errors
///
/// The answer itself, if a single decision is larger than a message may be.
pub(super) fn split(
    mut response: proto::OrchestratorResponse,
    limit: usize,
) -> Result<Vec<proto::OrchestratorResponse>, Box<proto::OrchestratorResponse>> {
    if response.encoded_len() <= limit {
        return Ok(vec![response]);
    }
    let actions = std::mem::take(&mut response.actions);
    let frame = proto::OrchestratorResponse {
        is_partial: true,
        chunk_index: Some(i32::MAX),
        num_events_processed: Some(0),
        ..response.clone()
    }
    .encoded_len();
    // A tag, a length of at most five bytes, and the action itself.
    let size = |action: &proto::OrchestratorAction| action.encoded_len() + 6;
    if actions.iter().any(|action| frame + size(action) > limit) {
        response.actions = actions;
        return Err(Box::new(response));
    }
    let mut groups: Vec<Vec<proto::OrchestratorAction>> = vec![Vec::new()];
    let mut used = frame;
    for action in actions {
        let needed = size(&action);
        if used + needed > limit {
            groups.push(Vec::new());
            used = frame;
        }
        used += needed;
        if let Some(group) = groups.last_mut() {
            group.push(action);
        }
    }
    let last = groups.len() - 1;
    Ok(groups
        .into_iter()
        .enumerate()
        .map(|(index, actions)| proto::OrchestratorResponse {
            actions,
            is_partial: index < last,
            chunk_index: i32::try_from(index).ok(),
            num_events_processed: if index == 0 {
                response.num_events_processed
            } else {
                Some(0)
            },
            orchestration_trace_context: response
                .orchestration_trace_context
                .clone()
                .filter(|_| index == 0),
            ..response.clone()
        })
        .collect())
}

/// The first of several messages as the only one, with other actions.
pub(super) fn alone(
    response: proto::OrchestratorResponse,
    actions: Vec<proto::OrchestratorAction>,
) -> proto::OrchestratorResponse {
    proto::OrchestratorResponse {
        actions,
        is_partial: false,
        chunk_index: None,
        ..response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(sizes: &[usize]) -> proto::OrchestratorResponse {
        proto::OrchestratorResponse {
            instance_id: "abc".into(),
            completion_token: "t1".into(),
            custom_status: Some("\"busy\"".into()),
            orchestration_trace_context: Some(proto::OrchestrationTraceContext::default()),
            actions: sizes
                .iter()
                .zip(0..)
                .map(|(size, id)| proto::OrchestratorAction {
                    id,
                    orchestrator_action_type: Some(
                        proto::orchestrator_action::OrchestratorActionType::ScheduleTask(
                            proto::ScheduleTaskAction {
                                input: Some("x".repeat(*size)),
                                ..Default::default()
                            },
                        ),
                    ),
                })
                .collect(),
            ..Default::default()
        }
    }

    #[test]
    fn a_small_answer_stays_as_it_is() {
        let small = response(&[10, 10]);
        assert_eq!(split(small.clone(), 1_000).unwrap(), [small]);
    }

    #[test]
    fn pieces_fit_and_hold_every_action_once_in_order() {
        for limit in [200, 250, 333, 500, 1_000] {
            let whole = response(&[100; 23]);
            let pieces = split(whole.clone(), limit).unwrap();
            assert!(pieces.len() > 1);
            let mut ids = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                assert!(piece.encoded_len() <= limit, "{}", piece.encoded_len());
                assert_eq!(piece.chunk_index, Some(i32::try_from(index).unwrap()));
                assert_eq!(piece.is_partial, index + 1 < pieces.len());
                assert_eq!(piece.num_events_processed, (index > 0).then_some(0));
                assert_eq!(piece.orchestration_trace_context.is_some(), index == 0);
                assert_eq!(
                    (piece.completion_token.as_str(), &piece.custom_status),
                    ("t1", &whole.custom_status)
                );
                ids.extend(piece.actions.iter().map(|action| action.id));
            }
            assert!(ids.iter().copied().eq(0..23));
        }
    }

    #[test]
    fn a_single_action_above_the_limit_is_refused() {
        let whole = response(&[10, 500, 10]);
        assert_eq!(*split(whole.clone(), 300).unwrap_err(), whole);
    }
}

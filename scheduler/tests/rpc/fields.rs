//! Each field one over its limit: the table in docs/WIRE.md, row by row.

use std::collections::HashMap;

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::send_entity_message_action::EntityMessageType as Message;
use durabletask_proto::*;
use tonic::Code;

use super::support::*;

const PAYLOAD: usize = 4 * 1024 * 1024 - 128 * 1024;
const NAME: usize = 1024;
const VERSION: usize = 256;
const ID: usize = 1024;
const TAGS: usize = 32 * 1024;
const TRACE: usize = 8 * 1024;
const LOCKS: usize = 64 * 1024;

/// Tags of so many bytes in all, none so long that a database could not index it.
fn tags(bytes: usize) -> HashMap<String, String> {
    let most = 2000;
    (0..bytes.div_ceil(most))
        .map(|tag| {
            let key = format!("{tag:02}");
            let length = most.min(bytes - tag * most) - key.len();
            (key, text(length))
        })
        .collect()
}

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// The rows of the table that begins under this heading of the page, without its head:
/// the cells of each, as they stand there.
pub(crate) fn table(heading: &str) -> Vec<Vec<String>> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/WIRE.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once(heading).expect("the heading");
    rest.lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

type Change<T> = (&'static str, usize, fn(&mut T, usize));

const STARTS: &[Change<CreateInstanceRequest>] = &[
    ("name", NAME, |r, n| r.name = text(n)),
    ("version", VERSION, |r, n| r.version = Some(text(n))),
    ("input", PAYLOAD, |r, n| r.input = Some(text(n))),
    ("executionId", ID, |r, n| r.execution_id = Some(text(n))),
    ("tags", TAGS, |r, n| {
        r.tags = tags(n);
    }),
    ("parentTraceContext", TRACE, |r, n| {
        // Two bytes of key and three of length stand before the text.
        r.parent_trace_context = Some(TraceContext {
            trace_parent: text(n - 3),
            ..TraceContext::default()
        });
    }),
];

const ACTIONS: &[Change<Option<Action>>] = &[
    ("scheduleTask.name", NAME, |a, n| {
        *a = Some(Action::ScheduleTask(ScheduleTaskAction {
            name: text(n),
            ..ScheduleTaskAction::default()
        }));
    }),
    ("scheduleTask.version", VERSION, |a, n| {
        *a = Some(Action::ScheduleTask(ScheduleTaskAction {
            version: Some(text(n)),
            ..ScheduleTaskAction::default()
        }));
    }),
    ("scheduleTask.input", PAYLOAD, |a, n| {
        *a = Some(Action::ScheduleTask(ScheduleTaskAction {
            input: Some(text(n)),
            ..ScheduleTaskAction::default()
        }));
    }),
    ("scheduleTask.tags", TAGS, |a, n| {
        *a = Some(Action::ScheduleTask(ScheduleTaskAction {
            tags: [("k".to_owned(), text(n - 1))].into(),
            ..ScheduleTaskAction::default()
        }));
    }),
    ("createSubOrchestration.instanceId", ID, |a, n| {
        *a = Some(Action::CreateSubOrchestration(
            CreateSubOrchestrationAction {
                instance_id: text(n),
                name: "Child".to_owned(),
                ..CreateSubOrchestrationAction::default()
            },
        ));
    }),
    ("createSubOrchestration.name", NAME, |a, n| {
        *a = Some(Action::CreateSubOrchestration(
            CreateSubOrchestrationAction {
                name: text(n),
                ..CreateSubOrchestrationAction::default()
            },
        ));
    }),
    ("createSubOrchestration.input", PAYLOAD, |a, n| {
        *a = Some(Action::CreateSubOrchestration(
            CreateSubOrchestrationAction {
                name: "Child".to_owned(),
                input: Some(text(n)),
                ..CreateSubOrchestrationAction::default()
            },
        ));
    }),
    ("sendEvent.name", NAME, |a, n| {
        *a = Some(Action::SendEvent(SendEventAction {
            name: text(n),
            ..SendEventAction::default()
        }));
    }),
    ("sendEvent.data", PAYLOAD, |a, n| {
        *a = Some(Action::SendEvent(SendEventAction {
            data: Some(text(n)),
            ..SendEventAction::default()
        }));
    }),
    ("sendEvent.instance", ID, |a, n| {
        *a = Some(Action::SendEvent(SendEventAction {
            instance: Some(OrchestrationInstance {
                instance_id: text(n),
                execution_id: None,
            }),
            ..SendEventAction::default()
        }));
    }),
    ("terminateOrchestration.reason", PAYLOAD, |a, n| {
        *a = Some(Action::TerminateOrchestration(
            TerminateOrchestrationAction {
                reason: Some(text(n)),
                ..TerminateOrchestrationAction::default()
            },
        ));
    }),
    (
        "sendEntityMessage.entityOperationCalled.operation",
        NAME,
        |a, n| {
            let call = EntityOperationCalledEvent {
                operation: text(n),
                target_instance_id: Some("@e@k".to_owned()),
                ..EntityOperationCalledEvent::default()
            };
            *a = Some(to_entity(Message::EntityOperationCalled(call)));
        },
    ),
    (
        "sendEntityMessage.entityLockRequested.lockSet",
        LOCKS,
        |a, n| {
            let mut lock_set = vec![format!("@e@{}", "k".repeat(61)); n / 64];
            lock_set.extend((n % 64 > 0).then(|| "x".repeat(n % 64)));
            let request = EntityLockRequestedEvent {
                lock_set,
                ..EntityLockRequestedEvent::default()
            };
            *a = Some(to_entity(Message::EntityLockRequested(request)));
        },
    ),
];

fn to_entity(message: Message) -> Action {
    Action::SendEntityMessage(SendEntityMessageAction {
        entity_message_type: Some(message),
    })
}

/// The rows of one kind of request, as the page has to have them.
fn rows<T>(rpc: &str, changes: &[Change<T>], answer: &str) -> Vec<Vec<String>> {
    changes
        .iter()
        .map(|(field, limit, _)| {
            vec![
                format!("`{rpc}`"),
                format!("`{field}`"),
                limit.to_string(),
                answer.to_owned(),
            ]
        })
        .collect()
}

#[test]
fn the_page_has_each_field_with_its_limit() {
    let mut wanted = rows("StartInstance", STARTS, "`INVALID_ARGUMENT`");
    for (rpc, field, limit) in [
        ("RaiseEvent", "name", NAME),
        ("RaiseEvent", "input", PAYLOAD),
        ("SignalEntity", "name", NAME),
        ("SignalEntity", "input", PAYLOAD),
        ("TerminateInstance", "output", PAYLOAD),
        ("SuspendInstance", "reason", PAYLOAD),
    ] {
        wanted.push(vec![
            format!("`{rpc}`"),
            format!("`{field}`"),
            limit.to_string(),
            "`INVALID_ARGUMENT`".to_owned(),
        ]);
    }
    wanted.extend(rows(
        "CompleteOrchestratorTask",
        ACTIONS,
        "the orchestration fails",
    ));
    assert_eq!(table("## Field limits"), wanted);
}

#[tokio::test]
async fn a_start_is_refused_one_over_the_limit_and_taken_at_it() {
    let hub = Hub::memory().await;
    for (field, limit, change) in STARTS {
        let request = |bytes| {
            let mut request = CreateInstanceRequest {
                name: "Hello".to_owned(),
                ..CreateInstanceRequest::default()
            };
            change(&mut request, bytes);
            request
        };
        assert!(hub.try_start(request(*limit)).await.is_ok(), "{field}");
        assert_eq!(
            hub.try_start(request(limit + 1)).await,
            Err(Code::InvalidArgument),
            "{field}"
        );
    }
}

#[tokio::test]
async fn clients_other_requests_are_refused_one_over_the_limit() {
    let hub = Hub::memory().await;
    let mut client = hub.client.clone();
    hub.start("a").await;
    for (bytes, wanted) in [(0, None), (1, Some(Code::InvalidArgument))] {
        let raise = |name: String, input: String| RaiseEventRequest {
            instance_id: "a".to_owned(),
            name,
            input: Some(input),
        };
        let signal = |name: String, input: String| SignalEntityRequest {
            instance_id: "@e@k".to_owned(),
            name,
            input: Some(input),
            ..SignalEntityRequest::default()
        };
        let mut codes = Vec::new();
        let name = text(NAME + bytes);
        let payload = text(PAYLOAD + bytes);
        let answer = client
            .raise_event(raise(name.clone(), "1".to_owned()))
            .await;
        codes.push(answer.err().map(|error| error.code()));
        let answer = client
            .raise_event(raise("e".to_owned(), payload.clone()))
            .await;
        codes.push(answer.err().map(|error| error.code()));
        let answer = client.signal_entity(signal(name, "1".to_owned())).await;
        codes.push(answer.err().map(|error| error.code()));
        let answer = client
            .signal_entity(signal("o".to_owned(), payload.clone()))
            .await;
        codes.push(answer.err().map(|error| error.code()));
        let suspend = SuspendRequest {
            instance_id: "a".to_owned(),
            reason: Some(payload.clone()),
        };
        let answer = client.suspend_instance(suspend).await;
        codes.push(answer.err().map(|error| error.code()));
        let terminate = TerminateRequest {
            instance_id: "a".to_owned(),
            output: Some(payload),
            recursive: false,
        };
        let answer = client.terminate_instance(terminate).await;
        codes.push(answer.err().map(|error| error.code()));
        assert_eq!(codes, vec![wanted; 6]);
        if bytes == 0 {
            // It has ended; the next round is about one that has not.
            hub.start("b").await;
        }
    }
}

#[tokio::test]
async fn an_action_over_its_limit_fails_the_orchestration() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    for (n, (field, limit, change)) in ACTIONS.iter().enumerate() {
        for (over, failed) in [(0, false), (1, true)] {
            let id = format!("i{n}-{over}");
            hub.start(&id).await;
            let token = turn_of(&mut worker, &id).await;
            let mut action = None;
            change(&mut action, limit + over);
            let actions = vec![(0, action.unwrap()), (1, done("1"))];
            worker.answer(&token, actions).await.unwrap();
            let state = hub.get(&id).await.unwrap();
            let failure = state.failure_details.map(|failure| failure.error_type);
            match failed {
                true => assert!(
                    matches!(failure.as_deref(), Some("FieldTooLong" | "PayloadTooLarge")),
                    "{field}: {failure:?}"
                ),
                false => assert_eq!(failure, None, "{field}"),
            }
        }
    }
}

/// The next turn of an instance. Completes what accepted actions made, which may come before it.
async fn turn_of(worker: &mut Worker, id: &str) -> String {
    loop {
        let item = worker.next().await;
        match item.request.unwrap() {
            work_item::Request::OrchestratorRequest(turn) if turn.instance_id == id => {
                return item.completion_token;
            }
            work_item::Request::OrchestratorRequest(_) => {
                let actions = vec![(0, done("1"))];
                worker
                    .answer(&item.completion_token, actions)
                    .await
                    .unwrap();
            }
            work_item::Request::ActivityRequest(_) => {
                worker.finish(&item.completion_token, "1").await.unwrap();
            }
            _ => {
                let result = EntityBatchResult {
                    completion_token: item.completion_token,
                    results: vec![OperationResult::default()],
                    ..EntityBatchResult::default()
                };
                let mut client = worker.client.clone();
                client.complete_entity_task(result).await.unwrap();
            }
        }
    }
}

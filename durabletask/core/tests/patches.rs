//! Patches: changed code under histories of the code before, over crashes and replays.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;
use std::sync::Arc;

use durabletask_core::testing::{TestHub, epoch, replay_history};
use durabletask_core::{
    ActionKind, Activity, CompletionStatus, Execution, ExecutionStarted, Failure, HistoryEvent,
    HistoryPayload, Orchestration, OrchestrationContext, Registry,
};
use proptest::prelude::*;
use serde_json::json;

const OLD: Activity<u32, u32> = Activity::new("old");
const NEW: Activity<u32, u32> = Activity::new("new");
const STORY: Orchestration<u32, u32> = Orchestration::new("story");

/// The code before: `steps` calls.
fn before() -> Arc<Registry> {
    Arc::new(Registry::new().orchestration(
        &STORY,
        async |ctx: OrchestrationContext, steps: u32| {
            for step in 0..steps {
                ctx.call_activity(&OLD, &step).await?;
            }
            Ok(0)
        },
    ))
}

/// The code after: before step `at` there is another one.
fn after(at: u32) -> Arc<Registry> {
    Arc::new(Registry::new().orchestration(
        &STORY,
        move |ctx: OrchestrationContext, steps: u32| async move {
            let mut inserted = 0;
            for step in 0..steps {
                if step == at && ctx.patched("insert") {
                    ctx.call_activity(&NEW, &step).await?;
                    inserted += 1;
                }
                ctx.call_activity(&OLD, &step).await?;
            }
            Ok::<u32, Failure>(inserted)
        },
    ))
}

/// The code once the old path is gone.
fn deprecated(at: u32) -> Registry {
    Registry::new().orchestration(
        &STORY,
        move |ctx: OrchestrationContext, steps: u32| async move {
            for step in 0..steps {
                if step == at {
                    ctx.deprecate_patch("insert");
                    ctx.call_activity(&NEW, &step).await?;
                }
                ctx.call_activity(&OLD, &step).await?;
            }
            Ok::<u32, Failure>(1)
        },
    )
}

/// An instance whose code may be exchanged between turns.
struct Instance {
    history: Vec<HistoryEvent>,
    due: VecDeque<HistoryPayload>,
    ended: Option<(CompletionStatus, Option<String>)>,
}

impl Instance {
    fn new(steps: u32) -> Self {
        let started = ExecutionStarted {
            name: "story".to_owned(),
            input: Some(steps.to_string()),
            ..ExecutionStarted::default()
        };
        Self {
            history: Vec::new(),
            due: [HistoryPayload::ExecutionStarted(Box::new(started))].into(),
            ended: None,
        }
    }

    /// One turn on a worker that has just started: all of the past is replayed, in pieces.
    fn turn(&mut self, registry: &Arc<Registry>, piece: usize) {
        let event = |payload| HistoryEvent::new(-1, epoch(), payload);
        let new = vec![
            event(HistoryPayload::OrchestratorStarted),
            event(self.due.pop_front().expect("something is due")),
        ];
        let mut execution = Execution::new("abc", Some("exec".to_owned()), Arc::clone(registry));
        for piece in self.history.chunks(piece) {
            execution.replay(piece.iter().cloned());
        }
        let decided = execution.turn(new.clone());
        self.history.extend(new);
        for action in decided.actions {
            let recorded = match action.kind {
                ActionKind::ScheduleTask { name, .. } => {
                    self.due.push_back(HistoryPayload::TaskCompleted {
                        task_id: action.id,
                        result: Some("1".to_owned()),
                    });
                    HistoryPayload::TaskScheduled {
                        name,
                        version: None,
                        input: None,
                    }
                }
                ActionKind::SendEvent {
                    instance_id, name, ..
                } => {
                    assert_eq!(instance_id, "abc");
                    self.due.push_back(HistoryPayload::EventRaised {
                        name: name.clone(),
                        input: None,
                    });
                    HistoryPayload::EventSent {
                        name,
                        instance_id,
                        input: None,
                    }
                }
                ActionKind::Complete { status, result, .. } => {
                    self.ended = Some((status, result));
                    HistoryPayload::ExecutionCompleted {
                        status: 1,
                        result: None,
                        failure: None,
                    }
                }
                other => panic!("unexpected: {other:?}"),
            };
            self.history
                .push(HistoryEvent::new(action.id, epoch(), recorded));
        }
    }
}

proptest! {
    /// Whenever the new code comes, an instance that has passed the place goes on as it
    /// began, one that has not takes the new path, and none diverges.
    #[test]
    fn an_instance_keeps_its_path(
        steps in 1_u32..6,
        at in 0_u32..6,
        deployed in 0_usize..12,
        piece in 1_usize..7,
    ) {
        let at = at.min(steps - 1);
        let (before, after) = (before(), after(at));
        let mut instance = Instance::new(steps);
        let mut turns = 0;
        let mut passed = false;
        while instance.ended.is_none() {
            if turns < deployed {
                instance.turn(&before, piece);
                passed |= u32::try_from(turns).unwrap() >= at;
            } else {
                instance.turn(&after, piece);
            }
            turns += 1;
        }
        let inserted = u32::from(!passed);
        let expected = if turns <= deployed { 0 } else { inserted };
        prop_assert_eq!(
            instance.ended.clone(),
            Some((CompletionStatus::Completed, Some(expected.to_string())))
        );
        let registry = Registry::clone(&after);
        prop_assert_eq!(replay_history(registry, "abc", &instance.history), Ok(()));
        if expected == 1 {
            let later = replay_history(deprecated(at), "abc", &instance.history);
            prop_assert_eq!(later, Ok(()));
        }
    }
}

#[test]
fn the_record_of_a_patch_reaches_neither_the_code_nor_the_next_execution() {
    let run = TestHub::new(Registry::clone(&after(1))).run(&STORY, &3, |_, _| Ok(json!(1)));
    assert_eq!(run.output(), Ok(1));
    let calls: Vec<&str> = run.calls.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(calls, ["old", "new", "old", "old"]);
}

#[test]
fn without_a_record_a_deprecated_patch_takes_no_step() {
    let run = TestHub::new(deprecated(0)).run(&STORY, &1, |_, _| Ok(json!(1)));
    let sent = |event: &HistoryEvent| matches!(event.payload, HistoryPayload::EventSent { .. });
    assert_eq!(run.output(), Ok(1));
    assert!(!run.history.iter().any(sent));
}

//! The operations on both: random ones, and the answers of turns.

use chrono::{DateTime, Utc};
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::{
    CompleteOrchestrationAction, CreateTimerAction, OrchestrationStatus as Status,
    OrchestratorAction, OrchestratorResponse, ScheduleTaskAction,
};
use proptest::prelude::*;

use crate::store::instances::timestamp;

pub(super) const IDS: [&str; 3] = ["a", "b", "c"];

/// A random operation. Instances are numbers into [`IDS`].
#[derive(Clone, Debug)]
pub(super) enum Op {
    Start {
        at: usize,
        delay: u8,
        tag: bool,
    },
    Raise {
        at: usize,
        payload: u8,
    },
    Terminate {
        at: usize,
    },
    Turn {
        at: usize,
        take: usize,
        tasks: u8,
        timer: Option<u8>,
        end: End,
    },
    /// The n-th activity that waits, over all.
    Finish {
        nth: usize,
        result: u8,
    },
    Advance {
        seconds: u8,
    },
    Reschedule {
        at: usize,
        delay: u8,
    },
    Purge {
        at: usize,
    },
    /// Close the file and open it again.
    Reopen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    GoesOn,
    Completes,
    ContinuesAsNew,
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let at = 0..IDS.len();
    let end = prop_oneof![
        6 => Just(End::GoesOn),
        2 => Just(End::Completes),
        1 => Just(End::ContinuesAsNew),
    ];
    let turn = (
        at.clone(),
        1_usize..4,
        0_u8..3,
        proptest::option::of(0_u8..20),
        end,
    )
        .prop_map(|(at, take, tasks, timer, end)| Op::Turn {
            at,
            take,
            tasks,
            timer,
            end,
        });
    prop_oneof![
        3 => (at.clone(), prop_oneof![2 => Just(0_u8), 1 => 1_u8..20], any::<bool>())
            .prop_map(|(at, delay, tag)| Op::Start { at, delay, tag }),
        3 => (at.clone(), any::<u8>()).prop_map(|(at, payload)| Op::Raise { at, payload }),
        1 => at.clone().prop_map(|at| Op::Terminate { at }),
        8 => turn,
        5 => (0_usize..6, any::<u8>()).prop_map(|(nth, result)| Op::Finish { nth, result }),
        3 => (1_u8..10).prop_map(|seconds| Op::Advance { seconds }),
        1 => (at.clone(), 0_u8..20).prop_map(|(at, delay)| Op::Reschedule { at, delay }),
        1 => at.prop_map(|at| Op::Purge { at }),
        1 => Just(Op::Reopen),
    ]
}

/// A turn's result.
pub(super) struct Actions {
    pub(super) tasks: Vec<i32>,
    pub(super) timer: Option<(i32, u8)>,
    pub(super) end: End,
    pub(super) next_id: i32,
}

impl Actions {
    pub(super) fn new(first: i32, tasks: u8, timer: Option<u8>, end: End) -> Self {
        let ids: Vec<i32> = (0..i32::from(tasks)).map(|n| first + n).collect();
        let next = first + i32::from(tasks);
        Self {
            tasks: ids,
            timer: timer.map(|delay| (next, delay)),
            end,
            next_id: next + 1,
        }
    }

    pub(super) fn response(&self, now: DateTime<Utc>) -> OrchestratorResponse {
        let mut actions: Vec<OrchestratorAction> = Vec::new();
        let mut push = |id, action| {
            actions.push(OrchestratorAction {
                id,
                orchestrator_action_type: Some(action),
            });
        };
        for task in &self.tasks {
            let name = "step".to_owned();
            push(
                *task,
                Action::ScheduleTask(ScheduleTaskAction {
                    name,
                    ..Default::default()
                }),
            );
        }
        if let Some((timer, delay)) = self.timer {
            let fire_at = Some(timestamp(now + chrono::TimeDelta::seconds(delay.into())));
            push(timer, Action::CreateTimer(CreateTimerAction { fire_at }));
        }
        let status = match self.end {
            End::GoesOn => None,
            End::Completes => Some(Status::Completed),
            End::ContinuesAsNew => Some(Status::ContinuedAsNew),
        };
        if let Some(status) = status {
            let complete = CompleteOrchestrationAction {
                orchestration_status: status as i32,
                ..Default::default()
            };
            push(self.next_id, Action::CompleteOrchestration(complete));
        }
        OrchestratorResponse {
            actions,
            ..Default::default()
        }
    }
}

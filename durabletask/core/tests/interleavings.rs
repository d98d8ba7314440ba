//! In whichever order results come, and however they are cut into turns, code that
//! waits for all of them decides the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use durabletask_core::testing::HistoryBuilder;
use durabletask_core::{
    ActionKind, Activity, Execution, Failure, Orchestration, OrchestrationContext,
    OrchestratorAction, Registry, join, when_all,
};
use proptest::prelude::*;

const STEP: Activity<(u32, u32), u32> = Activity::new("step");
const CHILD: Orchestration<u32, u32> = Orchestration::new("child");
const STORY: Orchestration<Vec<u32>, Vec<u32>> = Orchestration::new("story");

/// Stage by stage as many calls as the input says, and a child beside them. What
/// comes out of a stage goes into the next.
async fn story(ctx: OrchestrationContext, widths: Vec<u32>) -> Result<Vec<u32>, Failure> {
    let mut passed = vec![1];
    for width in widths {
        let calls = (0..width).map(|n| {
            let before = passed.get(n as usize).copied().unwrap_or(n);
            ctx.call_activity(&STEP, &(n, before))
        });
        let child = ctx.call_sub_orchestration(&CHILD, &width);
        let (called, child) = join(when_all(calls), child).await;
        passed = called?;
        passed.push(child?);
    }
    Ok(passed)
}

/// The results of one stage on their way: their order, after which of them a turn
/// ends, and which of them come twice.
#[derive(Clone, Debug)]
struct Stage {
    order: Vec<usize>,
    ends_turn: Vec<bool>,
    twice: Vec<bool>,
}

fn stages() -> impl Strategy<Value = Vec<Stage>> {
    let stage = (0_usize..8).prop_flat_map(|width| {
        let ids: Vec<usize> = (0..=width).collect();
        let flags = || prop::collection::vec(any::<bool>(), width + 1);
        (Just(ids).prop_shuffle(), flags(), flags()).prop_map(|(order, ends_turn, twice)| Stage {
            order,
            ends_turn,
            twice,
        })
    });
    prop::collection::vec(stage, 1..5)
}

impl Stage {
    /// The same results as the program asks for them, all in one turn.
    fn in_order(&self) -> Self {
        let count = self.order.len();
        Self {
            order: (0..count).collect(),
            ends_turn: vec![false; count],
            twice: vec![false; count],
        }
    }
}

/// Everything that the story decides, in order.
fn decisions(stages: &[Stage]) -> Vec<OrchestratorAction> {
    let registry = Registry::new().orchestration(&STORY, story);
    let mut live = Execution::new("abc", Some("exec".to_owned()), Arc::new(registry));
    let widths: Vec<usize> = stages.iter().map(|stage| stage.order.len() - 1).collect();
    let first = HistoryBuilder::new()
        .orchestrator_started()
        .execution_started("story", &serde_json::to_string(&widths).unwrap());
    let mut open = live.turn(first.build()).actions;
    let mut decided = open.clone();
    for stage in stages {
        assert_eq!(open.len(), stage.order.len());
        let mut next = Vec::new();
        let mut turn = HistoryBuilder::new().orchestrator_started();
        for (place, &which) in stage.order.iter().enumerate() {
            let action = &open[which];
            let result = (action.id * 7 + 1).to_string();
            for _ in 0..=usize::from(stage.twice[place]) {
                turn = match action.kind {
                    ActionKind::ScheduleTask { .. } => turn.task_completed(action.id, &result),
                    _ => turn.sub_orchestration_completed(action.id, &result),
                };
            }
            if stage.ends_turn[place] || place + 1 == stage.order.len() {
                next.extend(live.turn(turn.build()).actions);
                turn = HistoryBuilder::new().orchestrator_started();
            }
        }
        decided.extend(next.iter().cloned());
        open = next;
    }
    decided
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_interleaving_of_results_yields_the_same_decisions(stages in stages()) {
        let in_order: Vec<Stage> = stages.iter().map(Stage::in_order).collect();
        let expected = decisions(&in_order);
        let ends = expected.iter().filter(|action| matches!(action.kind, ActionKind::Complete { .. }));
        prop_assert_eq!(ends.count(), 1);
        prop_assert_eq!(decisions(&stages), expected);
    }
}

//! An execution that lived through its turns and one that replays them decide
//! the same, for random stories, random answers and random splits into turns.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use durabletask_core::testing::{StoredHistoryError, epoch, replay_json};
use durabletask_core::{
    ActionKind, Activity, Either, Event, Execution, ExecutionStarted, Failure, FailureDetails,
    HistoryEvent, HistoryPayload, Orchestration, OrchestrationContext, OrchestratorAction,
    Registry, RetryPolicy, TaskOptions, TurnResult, select, when_all,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

const STEP: Activity<u32, u32> = Activity::new("step");
const GO: Event<u32> = Event::new("go");
const STORY: Orchestration<Vec<Step>, u32> = Orchestration::new("story");

/// One step of a random story.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Step {
    Call,
    Unobserved,
    Retried(u32),
    FanOut(u32),
    Timer(u64),
    Wait,
    WaitOrTimer(u64),
    Race,
    Send,
    Uuid,
}

async fn story(ctx: OrchestrationContext, steps: Vec<Step>) -> Result<u32, Failure> {
    let mut sum: u32 = 0;
    for step in steps {
        sum = sum.wrapping_add(match step {
            Step::Call => ctx.call_activity(&STEP, &sum).await.unwrap_or(1),
            Step::Unobserved => {
                drop(ctx.call_activity(&STEP, &sum));
                2
            }
            Step::Retried(attempts) => {
                let retry = RetryPolicy::new(attempts, Duration::from_secs(5));
                let options = TaskOptions::new().retry(retry);
                ctx.call_activity_with(&STEP, &sum, options)
                    .await
                    .unwrap_or(3)
            }
            Step::FanOut(width) => {
                let calls = (0..width).map(|n| ctx.call_activity(&STEP, &n));
                when_all(calls)
                    .await
                    .map_or(4, |values| values.len() as u32)
            }
            Step::Timer(hours) => {
                ctx.create_timer(Duration::from_secs(hours * 3600)).await;
                5
            }
            Step::Wait => ctx.wait_for_event(&GO).await.unwrap_or(6),
            Step::WaitOrTimer(hours) => {
                let timer = ctx.create_timer(Duration::from_secs(hours * 3600));
                match select(ctx.wait_for_event(&GO), timer).await {
                    Either::Left(event) => event.unwrap_or(7),
                    Either::Right(()) => 8,
                }
            }
            Step::Race => {
                let (one, two) = (ctx.call_activity(&STEP, &1), ctx.call_activity(&STEP, &2));
                match select(one, two).await {
                    Either::Left(value) | Either::Right(value) => value.unwrap_or(9),
                }
            }
            Step::Send => {
                ctx.send_event("other", &GO, &sum)?;
                10
            }
            Step::Uuid => ctx.new_uuid().as_fields().0,
        });
        ctx.set_custom_status(&sum)?;
    }
    Ok(sum)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Call),
        Just(Step::Unobserved),
        (1_u32..4).prop_map(Step::Retried),
        (0_u32..5).prop_map(Step::FanOut),
        (0_u64..200).prop_map(Step::Timer),
        Just(Step::Wait),
        (0_u64..200).prop_map(Step::WaitOrTimer),
        Just(Step::Race),
        Just(Step::Send),
        Just(Step::Uuid),
    ];
    prop::collection::vec(step, 0..10)
}

/// What the world does next; the number picks among what is open.
#[derive(Clone, Debug)]
enum Happening {
    Answer(usize, bool),
    Raise(u32),
    Suspend,
    Resume,
    Noise,
}

fn happenings() -> impl Strategy<Value = Vec<Vec<Happening>>> {
    let happening = prop_oneof![
        8 => (any::<usize>(), prop::bool::weighted(0.7)).prop_map(|(n, ok)| Happening::Answer(n, ok)),
        3 => (0_u32..100).prop_map(Happening::Raise),
        1 => Just(Happening::Suspend),
        2 => Just(Happening::Resume),
        1 => Just(Happening::Noise),
    ];
    prop::collection::vec(prop::collection::vec(happening, 0..4), 0..20)
}

/// A scheduler reduced to what a history needs.
struct World {
    open: Vec<(i32, bool)>,
    now: i64,
}

impl World {
    fn event(&self, id: i32, payload: HistoryPayload) -> HistoryEvent {
        HistoryEvent::new(id, epoch() + TimeDelta::seconds(self.now), payload)
    }

    fn batch(&mut self, happenings: &[Happening]) -> Vec<HistoryEvent> {
        self.now += 40_000;
        let mut batch = vec![self.event(-1, HistoryPayload::OrchestratorStarted)];
        for happening in happenings {
            let payload = match happening {
                Happening::Answer(n, ok) if !self.open.is_empty() => {
                    let (id, is_timer) = self.open.swap_remove(n % self.open.len());
                    match (is_timer, ok) {
                        (true, _) => HistoryPayload::TimerFired { timer_id: id },
                        (false, true) => HistoryPayload::TaskCompleted {
                            task_id: id,
                            result: Some("3".into()),
                        },
                        (false, false) => HistoryPayload::TaskFailed {
                            task_id: id,
                            failure: FailureDetails::new("Io", "broken"),
                        },
                    }
                }
                Happening::Answer(..) | Happening::Noise => HistoryPayload::TaskCompleted {
                    task_id: 9_999,
                    result: None,
                },
                Happening::Raise(n) => HistoryPayload::EventRaised {
                    name: "GO".into(),
                    input: Some(n.to_string()),
                },
                Happening::Suspend => HistoryPayload::ExecutionSuspended { reason: None },
                Happening::Resume => HistoryPayload::ExecutionResumed { reason: None },
            };
            batch.push(self.event(-1, payload));
        }
        batch
    }

    fn commit(&mut self, actions: &[OrchestratorAction]) -> Vec<HistoryEvent> {
        let mut events = Vec::new();
        for action in actions {
            let payload = match &action.kind {
                ActionKind::ScheduleTask { name, .. } => {
                    self.open.push((action.id, false));
                    HistoryPayload::TaskScheduled {
                        name: name.clone(),
                        version: None,
                        input: None,
                    }
                }
                ActionKind::CreateTimer { fire_at } => {
                    self.open.push((action.id, true));
                    HistoryPayload::TimerCreated {
                        fire_at: Some(*fire_at),
                    }
                }
                ActionKind::SendEvent {
                    name, instance_id, ..
                } => HistoryPayload::EventSent {
                    name: name.clone(),
                    instance_id: instance_id.clone(),
                    input: None,
                },
                ActionKind::Complete { .. } => HistoryPayload::ExecutionCompleted {
                    status: 1,
                    result: None,
                    failure: None,
                },
                _ => unreachable!("not in these stories"),
            };
            events.push(self.event(action.id, payload));
        }
        events
    }
}

fn fresh(registry: &Arc<Registry>) -> Execution {
    Execution::new("abc", Some("exec".to_owned()), Arc::clone(registry))
}

/// What an instance went through.
struct Lived {
    history: Vec<HistoryEvent>,
    /// Of each turn: how long the history was before it, its events, its decisions.
    turns: Vec<(usize, Vec<HistoryEvent>, TurnResult)>,
}

/// Lets an execution live through a story in a world.
fn live(registry: &Arc<Registry>, steps: &[Step], world: &[Vec<Happening>]) -> Lived {
    let mut live = fresh(registry);
    let mut scheduler = World {
        open: Vec::new(),
        now: 0,
    };
    let mut lived = Lived {
        history: Vec::new(),
        turns: Vec::new(),
    };
    let started = HistoryPayload::ExecutionStarted(Box::new(ExecutionStarted {
        name: "story".into(),
        input: Some(serde_json::to_string(steps).unwrap()),
        ..ExecutionStarted::default()
    }));
    for (index, happenings) in std::iter::once(&Vec::new()).chain(world).enumerate() {
        let mut batch = scheduler.batch(happenings);
        if index == 0 {
            batch.push(scheduler.event(-1, started.clone()));
        }
        let result = live.turn(batch.clone());
        lived
            .turns
            .push((lived.history.len(), batch.clone(), result.clone()));
        lived.history.extend(batch);
        lived.history.extend(scheduler.commit(&result.actions));
        if result.completed {
            break;
        }
    }
    lived
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn they_decide_the_same(steps in steps(), world in happenings()) {
        let registry = Arc::new(Registry::new().orchestration(&STORY, story));
        let Lived { history, turns } = live(&registry, &steps, &world);
        // Ids never repeat and follow the order of the program.
        let ids: Vec<i32> = turns.iter().flat_map(|(_, _, result)| &result.actions).map(|action| action.id).collect();
        prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", ids);
        // From any turn's past, a fresh execution decides what the live one did,
        // whether it gets the past at once or event by event.
        for (past, batch, result) in &turns {
            let mut at_once = fresh(&registry);
            at_once.replay(history[..*past].iter().cloned());
            prop_assert_eq!(&at_once.turn(batch.clone()), result);
            let mut piecewise = fresh(&registry);
            for event in &history[..*past] {
                piecewise.replay([event.clone()]);
            }
            prop_assert_eq!(&piecewise.turn(batch.clone()), result);
        }
        let mut whole = fresh(&registry);
        whole.replay(history.iter().cloned());
        prop_assert_eq!(whole.turn(Vec::new()).actions, []);
    }

    #[test]
    fn every_prefix_of_a_history_replays(steps in steps(), world in happenings()) {
        let registry = Registry::new().orchestration(&STORY, story);
        let Lived { history, turns } = live(&Arc::new(registry.clone()), &steps, &world);
        let mut whole_turns: Vec<usize> = turns.iter().map(|(past, ..)| *past).skip(1).collect();
        whole_turns.push(history.len());
        for end in 1..=history.len() {
            let stored = serde_json::to_string(&history[..end]).unwrap();
            match replay_json(registry.clone(), "abc", &stored) {
                Ok(()) => {}
                // Cut within a turn, what the turn decided is missing at the end.
                Err(StoredHistoryError::Diverges(divergence)) => {
                    prop_assert_eq!(divergence.event, None, "{}", divergence.details.message);
                    prop_assert!(!whole_turns.contains(&end), "{}", divergence.details.message);
                }
                Err(unreadable) => prop_assert!(false, "{}", unreadable),
            }
        }
    }

    #[test]
    fn a_history_survives_its_stored_form(name in ".{0,12}", input in prop::option::of(".{0,12}"), id in any::<i32>()) {
        let event = HistoryEvent::new(id, epoch(), HistoryPayload::EventRaised { name, input });
        let text = serde_json::to_string(&event).unwrap();
        prop_assert_eq!(serde_json::from_str::<HistoryEvent>(&text).unwrap(), event);
    }
}

//! The entity that a schedule is, and the orchestration by which clients change it.

use chrono::{DateTime, Utc};
use durabletask_core::{
    Entity, EntityContext, EntityHandlers, EntityStartOptions, Failure, Operation, Orchestration,
    OrchestrationContext, Registry,
};

use super::state::{Change, Schedule, apply};

/// One for each schedule; its key is the schedule's id.
pub(super) const SCHEDULE: Entity<Option<Schedule>> = Entity::new("durabletask-schedule");
pub(super) const CHANGE: Operation<Option<Schedule>, Change, ()> = Operation::new("change");
const WAKE: Operation<Option<Schedule>, String, ()> = Operation::new("wake");

/// Makes a change and returns its result, which a signal could not.
pub(super) const CHANGE_SCHEDULE: Orchestration<(String, Change), ()> =
    Orchestration::new("durabletask-change-schedule");

/// Adds to `registry` what a worker needs to keep schedules going. Every hub whose
/// schedules are to run needs at least one such worker, which need not have the
/// orchestrations that are started.
///
/// ```
/// use durabletask::{Registry, schedules};
///
/// let registry = schedules::register(Registry::new());
/// assert!(registry.duplicates().is_empty());
/// assert_eq!(registry.entity_names().collect::<Vec<_>>(), ["durabletask-schedule"]);
/// ```
#[must_use]
pub fn register(registry: Registry) -> Registry {
    registry
        .entity(
            &SCHEDULE,
            EntityHandlers::new()
                .operation(&CHANGE, |schedule, ctx, change| {
                    self::change(schedule, ctx, change, Utc::now())
                })
                .operation(&WAKE, |schedule, ctx, token: String| {
                    wake(schedule, ctx, &token, Utc::now())
                }),
        )
        .orchestration(&CHANGE_SCHEDULE, change_schedule)
}

async fn change_schedule(
    ctx: OrchestrationContext,
    (id, change): (String, Change),
) -> Result<(), Failure> {
    Ok(ctx.call_entity(&SCHEDULE.id(&id), &CHANGE, &change).await?)
}

fn change(
    schedule: &mut Option<Schedule>,
    ctx: &EntityContext,
    change: Change,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let id = ctx.id().key();
    let changed = apply(schedule.take(), change, (id, ctx.request_id()), now)?;
    match changed {
        Some(mut changed) => {
            plan(&mut changed, ctx, now)?;
            *schedule = Some(changed);
        }
        None => ctx.delete_state(),
    }
    Ok(())
}

fn wake(
    schedule: &mut Option<Schedule>,
    ctx: &EntityContext,
    token: &str,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let Some(awake) = schedule else {
        // It was deleted since.
        ctx.delete_state();
        return Ok(());
    };
    if token != awake.token {
        return Ok(());
    }
    if plan(awake, ctx, now)? {
        ctx.delete_state();
    }
    Ok(())
}

/// Starts what is due and schedules the next wake-up; yields whether the schedule has ended.
fn plan(schedule: &mut Schedule, ctx: &EntityContext, now: DateTime<Utc>) -> Result<bool, Failure> {
    let token = schedule.token.clone();
    let round = schedule.round(&token, now)?;
    if let Some(at) = round.start {
        let instance_id = schedule
            .options
            .instance_id
            .clone()
            .unwrap_or_else(|| format!("{}-{}", schedule.id, at.format("%Y%m%dT%H%M%S%.3fZ")));
        let mut options = EntityStartOptions::new().instance_id(instance_id);
        options.version.clone_from(&schedule.options.version);
        let input = schedule.input_json.clone();
        ctx.start_orchestration_json(&schedule.orchestration, input, options);
    }
    if let Some(at) = round.wake_at {
        ctx.signal_entity_at(&SCHEDULE.id(&schedule.id), &WAKE, &token, at)?;
    }
    Ok(round.ended)
}

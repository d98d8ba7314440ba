//! The entities that schedules are, and the orchestrations by which clients change them.
//!
//! A schedule by interval is an entity `schedule`, which the SDKs for .NET and Python share; one with
//! a cron expression or a version, for which they have no form, is an entity of our own.

use chrono::{DateTime, Utc};
use durabletask_core::{
    Entity, EntityContext, EntityHandlers, EntityId, EntityStartOptions, Failure, Operation,
    Orchestration, OrchestrationContext, Registry,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shared::{OperationRequest, SharedOptions, SharedState, fits, not_found};
use super::state::{Change, Schedule, apply, check};

/// One for each schedule of our own form; its key is the schedule's id.
pub(super) const OWN: Entity<Option<Schedule>> = Entity::new("durabletask-schedule");
const CHANGE: Operation<Option<Schedule>, Change, ()> = Operation::new("change");
const WAKE: Operation<Option<Schedule>, String, ()> = Operation::new("wake");
const OWN_TAKE: Operation<Option<Schedule>, (), Option<Schedule>> = Operation::new("take");
const OWN_ADOPT: Operation<Option<Schedule>, (Schedule, Change), ()> = Operation::new("adopt");

/// One for each schedule that .NET and Python can read.
pub(super) const SHARED: Entity<Option<SharedState>> = Entity::new("schedule");
type Shared<I, O> = Operation<Option<SharedState>, I, O>;
/// Their operations, as .NET's SDK spells them and as Python's does.
const CREATE: [Shared<Value, ()>; 2] = spelled("CreateSchedule", "create_schedule");
const UPDATE: [Shared<Value, ()>; 2] = spelled("UpdateSchedule", "update_schedule");
const PAUSE: [Shared<Option<Value>, ()>; 2] = spelled("PauseSchedule", "pause_schedule");
const RESUME: [Shared<Option<Value>, ()>; 2] = spelled("ResumeSchedule", "resume_schedule");
const RUN: [Shared<String, ()>; 2] = spelled("RunSchedule", "run_schedule");
const DELETE: Shared<Option<Value>, ()> = Operation::new("delete");
/// Ours, for a schedule that gets the other form.
const SHARED_TAKE: Shared<(), Option<Schedule>> = Operation::new("durabletask.take");
const SHARED_ADOPT: Shared<(Schedule, Change), ()> = Operation::new("durabletask.adopt");

const fn spelled<S, I, O>(dotnet: &'static str, python: &'static str) -> [Operation<S, I, O>; 2] {
    [Operation::new(dotnet), Operation::new(python)]
}

/// Makes a change and returns its result, which a signal could not.
pub(super) const CHANGE_SCHEDULE: Orchestration<Request, ()> =
    Orchestration::new("durabletask-change-a-schedule");
/// What clients started before schedules were shared.
const CHANGE_OWN: Orchestration<(String, Change), ()> =
    Orchestration::new("durabletask-change-schedule");
/// What the clients of .NET's and Python's SDKs start.
const EXECUTE: [Orchestration<OperationRequest, Value>; 2] = [
    Orchestration::new("ExecuteScheduleOperationOrchestrator"),
    Orchestration::new("execute_schedule_operation_orchestrator"),
];

/// What a client asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) id: String,
    /// In which form the schedule is there.
    pub(super) there: Option<Form>,
    pub(super) change: Change,
}

/// Which of the entities a schedule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Form {
    /// That of the SDKs for .NET and Python.
    Shared,
    Own,
}

/// Adds to `registry` what a worker needs to keep schedules going. Every hub whose
/// schedules are to run needs at least one such worker, which need not have the
/// orchestrations that are started. It also serves the schedule clients of the SDKs for .NET
/// and Python.
///
/// ```
/// use durabletask::{Registry, schedules};
///
/// let registry = schedules::register(Registry::new());
/// assert!(registry.duplicates().is_empty());
/// let entities: Vec<_> = registry.entity_names().collect();
/// assert_eq!(entities, ["durabletask-schedule", "schedule"]);
/// ```
#[must_use]
pub fn register(registry: Registry) -> Registry {
    let [dotnet, python] = &EXECUTE;
    registry
        .entity(&OWN, own_handlers())
        .entity(&SHARED, shared_handlers())
        .orchestration(&CHANGE_SCHEDULE, change_schedule)
        .orchestration(
            &CHANGE_OWN,
            async |ctx: OrchestrationContext, (id, change): (String, Change)| {
                Ok(ctx.call_entity(&OWN.id(&id), &CHANGE, &change).await?)
            },
        )
        .orchestration(dotnet, execute)
        .orchestration(python, execute)
}

fn own_handlers() -> EntityHandlers<Option<Schedule>> {
    EntityHandlers::new()
        .operation(&CHANGE, |schedule, ctx, change| {
            change_own(schedule, ctx, change, Utc::now())
        })
        .operation(&OWN_ADOPT, |schedule, ctx, (before, change)| {
            schedule.get_or_insert(before);
            change_own(schedule, ctx, change, Utc::now())
        })
        .operation(&OWN_TAKE, |schedule, ctx, ()| {
            ctx.delete_state();
            Ok(schedule.take())
        })
        .operation(&WAKE, |schedule, ctx, token: String| {
            wake_own(schedule, ctx, &token, Utc::now())
        })
}

fn shared_handlers() -> EntityHandlers<Option<SharedState>> {
    let mut handlers = EntityHandlers::new()
        .operation(&DELETE, |state, ctx, _| {
            *state = None;
            ctx.delete_state();
            Ok(())
        })
        .operation(&SHARED_ADOPT, |state, ctx, (before, change)| {
            // What was there before may have no place in this form; what it becomes has.
            let before = there(state, ctx).unwrap_or(before);
            put_shared(state, ctx, (Some(before), change), Utc::now())
        })
        .operation(&SHARED_TAKE, |state, ctx, ()| {
            let schedule = there(state, ctx);
            ctx.delete_state();
            Ok(schedule)
        });
    for at in 0..2 {
        handlers = handlers
            .operation(&CREATE[at], |state, ctx, input| {
                let change = options(ctx, input)?.change(None)?;
                change.map_or(Ok(()), |change| {
                    change_shared(state, ctx, change, Utc::now())
                })
            })
            .operation(&UPDATE[at], |state, ctx, input| {
                let before = there(state, ctx).ok_or_else(|| not_found(ctx.id().key()))?;
                let change = options(ctx, input)?.change(Some(&before))?;
                change.map_or(Ok(()), |change| {
                    change_shared(state, ctx, change, Utc::now())
                })
            })
            .operation(&PAUSE[at], |state, ctx, _| {
                change_shared(state, ctx, Change::Pause, Utc::now())
            })
            .operation(&RESUME[at], |state, ctx, _| {
                change_shared(state, ctx, Change::Resume, Utc::now())
            })
            .operation(&RUN[at], |state, ctx, token: String| {
                wake_shared(state, ctx, &token, Utc::now())
            });
    }
    handlers
}

/// The schedule that the entity keeps.
fn there(state: &Option<SharedState>, ctx: &EntityContext) -> Option<Schedule> {
    state.as_ref()?.schedule(ctx.id().key())
}

fn options(ctx: &EntityContext, input: Value) -> Result<SharedOptions, Failure> {
    serde_json::from_value(input).map_err(|error| {
        let message = format!("the input of the operation '{}': {error}", ctx.operation());
        Failure::new("PayloadMismatch", message).permanent()
    })
}

async fn change_schedule(ctx: OrchestrationContext, request: Request) -> Result<(), Failure> {
    let Request { id, there, change } = request;
    let form = match &change {
        Change::Put { options, .. } => {
            // What is refused must not have moved before.
            check(options, ctx.current_utc())?;
            match fits(options) {
                true => Form::Shared,
                false => Form::Own,
            }
        }
        Change::Pause | Change::Resume | Change::Delete => there.unwrap_or(Form::Own),
    };
    let (own, shared) = (OWN.id(&id), SHARED.id(&id));
    match (form, there) {
        (Form::Own, Some(Form::Shared)) => {
            if let Some(before) = ctx.call_entity(&shared, &SHARED_TAKE, &()).await? {
                ctx.call_entity(&own, &OWN_ADOPT, &(before, change)).await?;
                return Ok(());
            }
        }
        (Form::Shared, Some(Form::Own)) => {
            if let Some(before) = ctx.call_entity(&own, &OWN_TAKE, &()).await? {
                ctx.call_entity(&shared, &SHARED_ADOPT, &(before, change))
                    .await?;
                return Ok(());
            }
        }
        _ => {}
    }
    if form == Form::Own {
        return Ok(ctx.call_entity(&own, &CHANGE, &change).await?);
    }
    // In .NET's words, so that a worker of that SDK understands them too.
    match change {
        Change::Put {
            orchestration,
            input,
            options,
        } => {
            let options = SharedOptions::new(&id, orchestration, input, options);
            let input = serde_json::to_value(options)
                .map_err(|error| Failure::new("PayloadMismatch", error.to_string()).permanent())?;
            ctx.call_entity(&shared, &CREATE[0], &input).await?;
        }
        Change::Pause => ctx.call_entity(&shared, &PAUSE[0], &None).await?,
        Change::Resume => ctx.call_entity(&shared, &RESUME[0], &None).await?,
        Change::Delete => ctx.call_entity(&shared, &DELETE, &None).await?,
    }
    Ok(())
}

/// Carries out what a client of .NET's or Python's SDK asks of a schedule.
async fn execute(ctx: OrchestrationContext, request: OperationRequest) -> Result<Value, Failure> {
    let id: EntityId = request.entity_id.parse().map_err(|error| {
        Failure::new("PayloadMismatch", format!("the entity's id: {error}")).permanent()
    })?;
    if id.name() != SHARED.name() {
        let message = format!("'{id}' is not a schedule");
        return Err(Failure::new("PayloadMismatch", message).permanent());
    }
    let operation = Operation::<Option<SharedState>, Value, Value>::named(request.operation_name);
    Ok(ctx
        .call_entity(&SHARED.id(id.key()), &operation, &request.input)
        .await?)
}

fn change_own(
    schedule: &mut Option<Schedule>,
    ctx: &EntityContext,
    change: Change,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let id = ctx.id().key();
    match apply(schedule.take(), change, (id, ctx.request_id()), now)? {
        Some(mut changed) => {
            plan_own(&mut changed, ctx, now)?;
            *schedule = Some(changed);
        }
        None => ctx.delete_state(),
    }
    Ok(())
}

fn change_shared(
    state: &mut Option<SharedState>,
    ctx: &EntityContext,
    change: Change,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let before = there(state, ctx);
    put_shared(state, ctx, (before, change), now)
}

fn put_shared(
    state: &mut Option<SharedState>,
    ctx: &EntityContext,
    (before, change): (Option<Schedule>, Change),
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let id = ctx.id().key();
    match apply(before, change, (id, ctx.request_id()), now)? {
        Some(mut changed) => {
            plan_shared(&mut changed, ctx, now)?;
            state.get_or_insert_default().keep(changed)?;
        }
        None => ctx.delete_state(),
    }
    Ok(())
}

fn wake_own(
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
    if token == awake.token && plan_own(awake, ctx, now)? {
        ctx.delete_state();
    }
    Ok(())
}

fn wake_shared(
    state: &mut Option<SharedState>,
    ctx: &EntityContext,
    token: &str,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let Some(mut awake) = there(state, ctx) else {
        // It was deleted since.
        ctx.delete_state();
        return Ok(());
    };
    if token != awake.token {
        return Ok(());
    }
    if plan_shared(&mut awake, ctx, now)? {
        ctx.delete_state();
        return Ok(());
    }
    state.get_or_insert_default().keep(awake)
}

fn plan_own(
    schedule: &mut Schedule,
    ctx: &EntityContext,
    now: DateTime<Utc>,
) -> Result<bool, Failure> {
    let (wake_at, ended) = plan(schedule, ctx, now)?;
    if let Some(at) = wake_at {
        ctx.signal_entity_at(&OWN.id(&schedule.id), &WAKE, &schedule.token, at)?;
    }
    Ok(ended)
}

fn plan_shared(
    schedule: &mut Schedule,
    ctx: &EntityContext,
    now: DateTime<Utc>,
) -> Result<bool, Failure> {
    let (wake_at, ended) = plan(schedule, ctx, now)?;
    if let Some(at) = wake_at {
        // In the spelling of the worker that keeps this schedule going, which may be another SDK's.
        let spelling = usize::from(ctx.operation().contains('_'));
        ctx.signal_entity_at(
            &SHARED.id(&schedule.id),
            &RUN[spelling],
            &schedule.token,
            at,
        )?;
    }
    Ok(ended)
}

/// Starts what is due; yields when to look again, and whether the schedule has ended.
fn plan(
    schedule: &mut Schedule,
    ctx: &EntityContext,
    now: DateTime<Utc>,
) -> Result<(Option<DateTime<Utc>>, bool), Failure> {
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
    Ok((round.wake_at, round.ended))
}

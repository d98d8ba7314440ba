//! Many accounts at once: read, plan, then one enrollment for each.

use countersign_enrollment::contract::{
    CodesRead, ENROLL, IMPORT, ListSource, PLAN_IMPORT, PlanImport, READ_CODES, ReadCodes,
};
use countersign_enrollment::ids::{EnrollmentId, ImportId};
use countersign_enrollment::import;
use countersign_enrollment::import::job::{
    ImportOutcome, ImportProgress, ImportRequest, ImportResult, ImportSource, ImportedAccount,
    PlannedAccount, PlannedStep, SourceProblem,
};
use countersign_enrollment::outcome::EnrollmentOutcome;
use countersign_enrollment::recovery::WithRecovery;
use countersign_enrollment::request::{EnrollmentRequest, Source};
use countersign_enrollment::sealed::{Kept, OtpauthText};
use durabletask_core::{Failure, OrchestrationContext, SubOrchestrationOptions, Task, TaskError};

use crate::policy;
use crate::policy::retried;

/// Imports accounts: reads the images, plans, and enrolls each account that is new in a
/// sub-orchestration of its own, paced. What is wrong with one account or one image
/// stops no other.
///
/// # Errors
///
/// Only when the system could not read or plan. An enrollment that fails is a result.
pub async fn import(
    ctx: OrchestrationContext,
    request: ImportRequest,
) -> Result<ImportOutcome, Failure> {
    let import: ImportId = ctx
        .instance_id()
        .parse()
        .map_err(|error| Failure::from(error).permanent())?;
    debug_assert_eq!(ctx.name(), IMPORT.name());
    let mandate = request.mandate;

    ctx.set_custom_status(&ImportProgress::Reading)?;
    let mut problems = Vec::new();
    let mut lists = Vec::new();
    let origins = request.origins;
    let of_source = |number: u32, problem| {
        let index = usize::try_from(number)
            .unwrap_or(usize::MAX)
            .wrapping_sub(1);
        let origin = origins.get(index);
        SourceProblem {
            source: Some(origin.map_or(number, |origin| origin.file)),
            name: origin.map(|origin| origin.name.clone()).unwrap_or_default(),
            problem,
        }
    };
    for (number, source) in (1..).zip(request.sources) {
        let image = match source {
            ImportSource::List(list) => {
                lists.push(ListSource::Sent(list));
                continue;
            }
            ImportSource::Image(image) => image,
        };
        let input = ReadCodes {
            mandate: mandate.clone(),
            import: import.clone(),
            image,
        };
        let read = ctx.call_activity_with(&READ_CODES, &input, retried(policy::READ));
        match read.await? {
            CodesRead::Found {
                list,
                problems: unread,
            } => {
                lists.push(ListSource::Read(list));
                problems.extend(unread.into_iter().map(|problem| of_source(number, problem)));
            }
            CodesRead::Invalid { problem, list } => {
                lists.extend(list.map(ListSource::Read));
                problems.push(of_source(number, problem));
            }
        }
    }

    ctx.set_custom_status(&ImportProgress::Planning)?;
    let input = PlanImport {
        mandate: mandate.clone(),
        import,
        lists,
        key: request.key,
    };
    let plan = ctx
        .call_activity_with(&PLAN_IMPORT, &input, retried(policy::STORE))
        .await?;
    let pick = request.pick.as_deref();
    let invalid_positions =
        pick.and_then(|pick| import::invalid_positions(pick, plan.accounts.len()));
    let of_all = plan.problems.into_iter().chain(invalid_positions);
    problems.extend(of_all.map(|problem| SourceProblem {
        source: None,
        name: String::new(),
        problem,
    }));

    let picked = |position: u32| match &request.pick {
        Some(pick) => pick.contains(&position),
        None => true,
    };
    let mut accounts = Vec::new();
    let mut wanted = Vec::new();
    for (position, planned) in (1..).zip(plan.accounts) {
        let (account, new) = settle(position, planned, picked(position));
        if let Some(new) = new.filter(|_| !request.dry_run) {
            wanted.push((accounts.len(), new));
        }
        accounts.push(account);
    }

    let ask = |uri| EnrollmentRequest {
        mandate: mandate.clone(),
        source: Source::Planned(uri),
        approval: request.approval.clone(),
        requested_by: request.requested_by.clone(),
        // What is imported was in use before.
        prove: false,
        received: false,
        // They are in one envelope with the URI.
        recovery: None,
        fingerprint: request.fingerprint.clone(),
    };
    let progress = |started: usize, ended: usize| ImportProgress::Importing {
        total: count(wanted.len()),
        started: count(started),
        ended: count(ended),
    };
    let mut tasks: Vec<(usize, Task<EnrollmentOutcome>)> = Vec::new();
    for burst in wanted.chunks(policy::IMPORT_BURST) {
        if !tasks.is_empty() {
            ctx.create_timer(policy::IMPORT_PAUSE).await;
        }
        for (index, (id, uri)) in burst {
            let options = SubOrchestrationOptions::new()
                .instance_id(id.to_string())
                .tag("requestedBy", request.requested_by.to_string());
            let task = ctx.call_sub_orchestration_with(&ENROLL, &ask(uri.clone()), options);
            tasks.push((*index, task));
        }
        ctx.set_custom_status(&progress(tasks.len(), 0))?;
    }
    let started = tasks.len();
    for (ended, (index, task)) in (1..).zip(tasks) {
        let outcome = task.await;
        ctx.set_custom_status(&progress(started, ended))?;
        if let Some(account) = accounts.get_mut(index) {
            conclude(account, outcome);
        }
    }
    Ok(ImportOutcome {
        dry_run: request.dry_run,
        accounts,
        problems,
    })
}

/// An account to enroll: its id, and its URI with its recovery codes.
type NewAccount = (EnrollmentId, Kept<WithRecovery<OtpauthText>>);

/// What is known of an account before anything is enrolled, and its enrollment if there
/// is to be one.
fn settle(
    position: u32,
    planned: PlannedAccount,
    picked: bool,
) -> (ImportedAccount, Option<NewAccount>) {
    let mut account = ImportedAccount {
        position,
        name: planned.name,
        id: None,
        preview: planned.preview,
        warnings: planned.warnings,
        recovery_codes: planned.recovery_codes,
        result: ImportResult::New,
        repeats: None,
        problem: None,
    };
    match planned.step {
        PlannedStep::Enroll { id, uri } => {
            account.id = Some(id.clone());
            if picked {
                return (account, Some((id, uri)));
            }
            account.result = ImportResult::NotPicked;
        }
        PlannedStep::Left { id } => {
            account.id = Some(id);
            if !picked {
                account.result = ImportResult::NotPicked;
            }
        }
        PlannedStep::AlreadyThere { id } => {
            account.id = Some(id);
            account.result = ImportResult::AlreadyThere;
        }
        PlannedStep::Deleted { id } => {
            account.id = Some(id);
            account.result = ImportResult::Deleted;
        }
        PlannedStep::Repeated { of } => {
            account.result = ImportResult::Repeated;
            account.repeats = Some(of);
        }
        PlannedStep::Invalid { problem } => {
            account.result = ImportResult::Invalid;
            account.problem = Some(problem);
        }
    }
    (account, None)
}

/// How an account's enrollment ended.
fn conclude(account: &mut ImportedAccount, outcome: Result<EnrollmentOutcome, TaskError>) {
    account.result = match outcome {
        Ok(EnrollmentOutcome::Enrolled { .. }) => ImportResult::Enrolled,
        Ok(EnrollmentOutcome::Rejected { .. }) => ImportResult::Rejected,
        Ok(EnrollmentOutcome::Expired { .. }) => ImportResult::Expired,
        Ok(EnrollmentOutcome::Invalid { problem }) => {
            account.problem = Some(problem);
            ImportResult::Invalid
        }
        Err(error) => {
            let exists = error
                .failure()
                .is_some_and(|failure| failure.error_type == policy::STILL_RUNS);
            if exists {
                ImportResult::UnderWay
            } else {
                tracing::warn!(%error, "an account's enrollment failed");
                ImportResult::Failed
            }
        }
    };
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

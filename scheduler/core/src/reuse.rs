//! Whether a start may reuse an instance id.

use durabletask_proto::{OrchestrationIdReusePolicy, OrchestrationStatus};

use crate::is_terminal;

/// What to do with a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// The id is free: create the instance.
    Create,
    /// The existing instance is replaced.
    Replace,
    /// The existing instance stays and the start counts as done.
    Ignore,
    /// The existing instance stays and the start is refused.
    AlreadyExists,
    /// The existing instance is live and would have to be terminated first, which the
    /// policy does not allow.
    Contradiction,
}

/// A policy that cannot be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReuseRefusal {
    /// A live instance can only be replaced by terminating it first. A fault only if
    /// the id belongs to a live instance: SDKs that invert a list of statuses to keep
    /// send such policies for ids that are free.
    // Begins with the hosted service's words, which tests of official SDKs look for.
    #[error(
        "Invalid reusable statuses: cannot exclude 'Terminated' while also allowing reuse of \
         running instances; they are terminated before they are replaced, so list TERMINATED too"
    )]
    LiveWithoutTerminated,
    /// The number is not a status.
    #[error("the id reuse policy lists {0}, which is not an orchestration status")]
    UnknownStatus(i32),
    /// The number is not an action of the older form of the policy.
    #[error("the id reuse policy has the action {0}, which is not 0 to 2")]
    UnknownAction(i32),
}

// The actions of the policy's older form, which Go clients before 1.0 send. Its
// commonest action, to refuse the listed statuses, is the absent 0: byte for byte a
// policy of today that allows exactly those. It is read as one of today.
const LEGACY_IGNORE: i32 = 1;
const LEGACY_TERMINATE: i32 = 2;

/// Checks a policy on its own.
///
/// # Errors
/// When it lists something unknown.
pub fn check_policy(policy: Option<&OrchestrationIdReusePolicy>) -> Result<(), ReuseRefusal> {
    let Some(policy) = policy else { return Ok(()) };
    for &value in &policy.replaceable_status {
        OrchestrationStatus::try_from(value).map_err(|_| ReuseRefusal::UnknownStatus(value))?;
    }
    if !(0..=LEGACY_TERMINATE).contains(&policy.legacy_action) {
        return Err(ReuseRefusal::UnknownAction(policy.legacy_action));
    }
    Ok(())
}

/// Whether a policy would replace live instances although it does not list TERMINATED.
fn contradicts_itself(policy: &OrchestrationIdReusePolicy) -> bool {
    let mut listed = policy
        .replaceable_status
        .iter()
        .filter_map(|&value| OrchestrationStatus::try_from(value).ok());
    policy.legacy_action == 0
        && listed.clone().any(|status| !is_terminal(status))
        && listed.all(|status| status != OrchestrationStatus::Terminated)
}

/// Decides on a start, given the status of the instance that has the id now.
/// Without a policy a live instance stays and an ended one is replaced, as DurableTask.Core
/// does; a policy replaces exactly the statuses it lists.
#[must_use]
pub fn decide(
    existing: Option<OrchestrationStatus>,
    policy: Option<&OrchestrationIdReusePolicy>,
) -> Reuse {
    match (existing, policy) {
        (None, _) => Reuse::Create,
        (Some(status), None) if is_terminal(status) => Reuse::Replace,
        (Some(_), None) => Reuse::AlreadyExists,
        (Some(status), Some(policy)) if !is_terminal(status) && contradicts_itself(policy) => {
            Reuse::Contradiction
        }
        (Some(status), Some(policy)) if policy.replaceable_status.contains(&(status as i32)) => {
            match policy.legacy_action {
                LEGACY_IGNORE => Reuse::Ignore,
                _ => Reuse::Replace,
            }
        }
        (Some(_), Some(_)) => Reuse::AlreadyExists,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use OrchestrationStatus as S;

    fn policy(statuses: &[S]) -> OrchestrationIdReusePolicy {
        OrchestrationIdReusePolicy {
            replaceable_status: statuses.iter().map(|s| *s as i32).collect(),
            legacy_action: 0,
        }
    }

    #[test]
    fn the_older_form_ignores_or_terminates() {
        let legacy = |legacy_action| OrchestrationIdReusePolicy {
            legacy_action,
            ..policy(&[S::Running])
        };
        let running = Some(S::Running);
        assert_eq!(check_policy(Some(&legacy(LEGACY_IGNORE))), Ok(()));
        assert_eq!(decide(running, Some(&legacy(LEGACY_IGNORE))), Reuse::Ignore);
        assert_eq!(check_policy(Some(&legacy(LEGACY_TERMINATE))), Ok(()));
        assert_eq!(
            decide(running, Some(&legacy(LEGACY_TERMINATE))),
            Reuse::Replace
        );
        assert_eq!(
            decide(Some(S::Failed), Some(&legacy(LEGACY_IGNORE))),
            Reuse::AlreadyExists
        );
        assert_eq!(
            check_policy(Some(&legacy(3))),
            Err(ReuseRefusal::UnknownAction(3))
        );
    }

    #[test]
    fn a_policy_replaces_exactly_what_it_lists() {
        assert_eq!(decide(None, None), Reuse::Create);
        assert_eq!(decide(Some(S::Running), None), Reuse::AlreadyExists);
        assert_eq!(decide(Some(S::Completed), None), Reuse::Replace);
        assert_eq!(
            decide(Some(S::Completed), Some(&policy(&[]))),
            Reuse::AlreadyExists
        );
        assert_eq!(
            decide(Some(S::Failed), Some(&policy(&[S::Failed]))),
            Reuse::Replace
        );
        assert_eq!(
            decide(Some(S::Completed), Some(&policy(&[S::Failed]))),
            Reuse::AlreadyExists
        );
    }

    #[test]
    fn live_statuses_need_terminated_where_the_instance_is_live() {
        assert_eq!(check_policy(None), Ok(()));
        let whole = policy(&[S::Running, S::Terminated]);
        assert_eq!(decide(Some(S::Running), Some(&whole)), Reuse::Replace);
        let partial = policy(&[S::Running, S::Completed]);
        assert_eq!(check_policy(Some(&partial)), Ok(()));
        for (existing, wanted) in [
            (None, Reuse::Create),
            (Some(S::Completed), Reuse::Replace),
            (Some(S::Failed), Reuse::AlreadyExists),
            (Some(S::Running), Reuse::Contradiction),
            (Some(S::Pending), Reuse::Contradiction),
        ] {
            assert_eq!(decide(existing, Some(&partial)), wanted, "{existing:?}");
        }
    }
}

//! May a start take an instance id that is in use?

use durabletask_proto::{OrchestrationIdReusePolicy, OrchestrationStatus};

use crate::is_terminal;

/// What to do with a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// The id is free: create the instance.
    Create,
    /// The existing instance gives way.
    Replace,
    /// The existing instance stays and the start is refused.
    AlreadyExists,
}

/// A policy that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReuseRefusal {
    /// A live instance can only be replaced by terminating it first.
    #[error(
        "the id reuse policy lists PENDING, RUNNING or SUSPENDED without TERMINATED; \
         a live instance is terminated before it is replaced, so list TERMINATED too"
    )]
    LiveWithoutTerminated,
    /// The number is not a status.
    #[error("the id reuse policy lists {0}, which is not an orchestration status")]
    UnknownStatus(i32),
}

/// Checks a policy by itself.
///
/// # Errors
/// When it lists a live status without TERMINATED, or an unknown one.
pub fn check_policy(policy: Option<&OrchestrationIdReusePolicy>) -> Result<(), ReuseRefusal> {
    let Some(policy) = policy else { return Ok(()) };
    let mut live = false;
    let mut terminated = false;
    for &value in &policy.replaceable_status {
        let status =
            OrchestrationStatus::try_from(value).map_err(|_| ReuseRefusal::UnknownStatus(value))?;
        live |= !is_terminal(status);
        terminated |= status == OrchestrationStatus::Terminated;
    }
    if live && !terminated {
        Err(ReuseRefusal::LiveWithoutTerminated)
    } else {
        Ok(())
    }
}

/// Decides over a start, given the status of the instance that has the id now.
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
        (Some(status), Some(policy)) if policy.replaceable_status.contains(&(status as i32)) => {
            Reuse::Replace
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
        }
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
    fn live_statuses_need_terminated() {
        assert_eq!(check_policy(None), Ok(()));
        assert_eq!(
            check_policy(Some(&policy(&[S::Running, S::Terminated]))),
            Ok(())
        );
        assert_eq!(
            check_policy(Some(&policy(&[S::Running]))),
            Err(ReuseRefusal::LiveWithoutTerminated)
        );
    }
}

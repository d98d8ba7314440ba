//! One table from errors to gRPC status codes, with the machine-readable
//! reason beside the code (`google.rpc.ErrorInfo`) by which some SDKs distinguish errors.

use durabletask_proto::CompleteTaskResponse;
use durabletask_scheduler_core::ForkRefusal;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::dispatch::Claim;
use crate::nodes::{partly_done, refused};
use crate::store::{StorageProblem, StoreError};

pub(crate) fn status(error: StoreError) -> Status {
    let message = error.to_string();
    match error {
        StoreError::NotFound(_) => because(Code::NotFound, "INSTANCE_NOT_FOUND", message),
        StoreError::NoHub(_) => because(Code::NotFound, "TASK_HUB_NOT_FOUND", message),
        StoreError::WorkItemGone => Status::not_found(message),
        StoreError::AlreadyExists(_) => because(Code::AlreadyExists, "DUPLICATE_INSTANCE", message),
        StoreError::InvalidState(_) => because(Code::FailedPrecondition, "INVALID_STATE", message),
        StoreError::Reuse(_) => invalid(message),
        StoreError::Fork(refusal) => match *refusal {
            ForkRefusal::NoEvent { .. } => because(Code::OutOfRange, "NO_SUCH_EVENT", message),
            _ => because(Code::FailedPrecondition, "INVALID_STATE", message),
        },
        StoreError::TooManyHubs(_) => Status::resource_exhausted(message),
        StoreError::Corrupt(_) => Status::data_loss(message),
        StoreError::Closed => Status::unavailable(message),
        StoreError::Storage(error) => match error.problem() {
            StorageProblem::Full => Status::resource_exhausted(
                "the scheduler's disk is full; nothing was written. Free some space and retry",
            ),
            StorageProblem::Disk => {
                tracing::error!(%error, "the scheduler's disk failed");
                Status::unavailable(
                    "a write or a read failed on the scheduler's disk; nothing was written. It may be read-only or faulty: see the system's messages about it, and retry",
                )
            }
            // Nothing was written, so the node that owns the task hubs can be asked instead.
            StorageProblem::NotOwner => refused(because(Code::Unavailable, "NOT_OWNER", message)),
            StorageProblem::Away => {
                tracing::warn!(%error, "the task hubs' database cannot be used");
                Status::unavailable(
                    "the task hubs' database cannot be reached at the moment; nothing was written. Retry",
                )
            }
            StorageProblem::ReadOnly => Status::unavailable(
                "the scheduler's database is read-only; nothing was written. Check the permissions and retry",
            ),
            _ => {
                tracing::error!(%error, "the scheduler's database failed");
                Status::unavailable(
                    "the scheduler's database failed; nothing was written. See the scheduler's log and retry",
                )
            }
        },
    }
}

/// The error of a call that has done a part of its work before, perhaps.
pub(super) fn status_midway(error: StoreError) -> Status {
    partly_done(status(error))
}

/// The error for an invalid request.
pub(super) fn invalid(message: impl Into<String>) -> Status {
    because(Code::InvalidArgument, "INVALID_ARGUMENT", message)
}

fn because(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, "durabletask.io", []);
    Status::with_error_details(code, message, details)
}

/// The answer to a completion that its caller does not have to apply.
pub(super) fn already<T>(claim: Claim<T>) -> Result<CompleteTaskResponse, Status> {
    match claim {
        Claim::AlreadyApplied => Ok(CompleteTaskResponse {}),
        Claim::InProgress => Err(Status::unavailable(
            "this completion is being applied by another call; retry",
        )),
        Claim::Unknown | Claim::Claimed(_) => Err(status(StoreError::WorkItemGone)),
    }
}

//! One table from store errors to gRPC status codes.

use tonic::Status;

use crate::store::StoreError;

pub(super) fn status(error: StoreError) -> Status {
    let message = error.to_string();
    match error {
        StoreError::NotFound(_) | StoreError::WorkItemGone => Status::not_found(message),
        StoreError::AlreadyExists(_) => Status::already_exists(message),
        StoreError::InvalidState(_) => Status::failed_precondition(message),
        StoreError::Corrupt(_) => Status::data_loss(message),
        StoreError::Closed => Status::unavailable(message),
        StoreError::Sql(error) => match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Status::resource_exhausted(
                "the scheduler's disk is full; nothing was written. Free some space and retry",
            ),
            Some(rusqlite::ErrorCode::ReadOnly) => Status::unavailable(
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

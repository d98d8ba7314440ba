//! Deleting finished instances.

use std::time::Duration;

use chrono::{DateTime, Utc};
use durabletask_core::timestamp_to_wire;
use durabletask_proto as proto;
use proto::purge_instances_request::Request as What;

use super::{Client, ClientError, Recursive, Status};

/// How many ids one call of the protocol may name.
const IDS_PER_CALL: usize = 500;
/// How often a purge is repeated while it keeps deleting.
const MAX_CALLS: usize = 10_000;

/// Which finished instances to purge. All conditions must hold.
///
/// ```
/// use durabletask::client::{PurgeFilter, Recursive, Status};
///
/// let completed = PurgeFilter::new().statuses([Status::Completed]).recursive(Recursive::Yes);
/// assert_eq!(completed.timeout, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeFilter {
    /// Created at or after this instant.
    pub created_from: Option<DateTime<Utc>>,
    /// Created before this instant.
    pub created_to: Option<DateTime<Utc>>,
    /// With one of these statuses; empty for any terminal one.
    pub statuses: Vec<Status>,
    /// How long the scheduler may take for one call.
    pub timeout: Option<Duration>,
    /// Whether the sub-orchestrations of what matches go as well.
    pub recursive: Recursive,
}

impl PurgeFilter {
    /// All finished instances.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only created at or after this instant.
    #[must_use]
    pub fn created_from(mut self, from: DateTime<Utc>) -> Self {
        self.created_from = Some(from);
        self
    }

    /// Only created before this instant.
    #[must_use]
    pub fn created_to(mut self, to: DateTime<Utc>) -> Self {
        self.created_to = Some(to);
        self
    }

    /// Only with one of these statuses.
    #[must_use]
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = Status>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// How long the scheduler may take for one call.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whether the sub-orchestrations of what matches go as well.
    #[must_use]
    pub fn recursive(mut self, recursive: Recursive) -> Self {
        self.recursive = recursive;
        self
    }
}

/// What a purge did.
///
/// ```
/// use durabletask::client::PurgeFilter;
/// use durabletask::{Client, Connection};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// let purged = client.purge_where(&PurgeFilter::default()).await?;
/// println!("{} were purged, and that is all: {}", purged.deleted, purged.complete);
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    /// How many instances were purged.
    pub deleted: u32,
    /// Whether nothing that matches is left; if not, call again.
    pub complete: bool,
}

impl Client {
    /// Deletes a finished instance with its history. A missing or running one
    /// counts as nothing deleted.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn purge(
        &self,
        instance_id: &str,
        recursive: Recursive,
    ) -> Result<Purged, ClientError> {
        self.purge_once(What::InstanceId(instance_id.to_owned()), recursive)
            .await
    }

    /// Deletes those of the named instances that have ended. Any number of ids;
    /// they are sent 500 at a time.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; instances purged before it stay purged.
    pub async fn purge_batch<I, S>(
        &self,
        instance_ids: I,
        recursive: Recursive,
    ) -> Result<Purged, ClientError>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let ids: Vec<String> = instance_ids.into_iter().map(Into::into).collect();
        let mut all = Purged {
            deleted: 0,
            complete: true,
        };
        for batch in ids.chunks(IDS_PER_CALL) {
            let batch = proto::InstanceBatch {
                instance_ids: batch.to_vec(),
            };
            let purged = self
                .purge_once(What::InstanceBatch(batch), recursive)
                .await?;
            all.deleted = all.deleted.saturating_add(purged.deleted);
            all.complete &= purged.complete;
        }
        Ok(all)
    }

    /// Deletes finished instances that match `filter`, in one call of the
    /// scheduler, which may stop early; see [`Purged::complete`].
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn purge_where(&self, filter: &PurgeFilter) -> Result<Purged, ClientError> {
        let wire = proto::PurgeInstanceFilter {
            created_time_from: filter.created_from.map(timestamp_to_wire),
            created_time_to: filter.created_to.map(timestamp_to_wire),
            runtime_status: filter
                .statuses
                .iter()
                .map(|status| status.to_wire())
                .collect(),
            timeout: filter
                .timeout
                .and_then(|timeout| prost_types::Duration::try_from(timeout).ok()),
        };
        self.purge_once(What::PurgeInstanceFilter(wire), filter.recursive)
            .await
    }

    /// Deletes everything that matches `filter`, in as many calls as it takes.
    /// It gives up on a call that deletes nothing and is not complete.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; instances purged before it stay purged.
    pub async fn purge_all_where(&self, filter: &PurgeFilter) -> Result<Purged, ClientError> {
        let mut all = Purged {
            deleted: 0,
            complete: false,
        };
        for _ in 0..MAX_CALLS {
            let purged = self.purge_where(filter).await?;
            all.deleted = all.deleted.saturating_add(purged.deleted);
            all.complete = purged.complete;
            if purged.complete || purged.deleted == 0 {
                break;
            }
        }
        Ok(all)
    }

    async fn purge_once(&self, what: What, recursive: Recursive) -> Result<Purged, ClientError> {
        let request = proto::PurgeInstancesRequest {
            request: Some(what),
            recursive: recursive == Recursive::Yes,
            is_orchestration: true,
        };
        let response = self
            .service()
            .purge_instances(request)
            .await
            .map_err(|status| ClientError::from_status(&status, None))?
            .into_inner();
        Ok(Purged {
            deleted: u32::try_from(response.deleted_instance_count).unwrap_or(0),
            complete: response.is_complete.unwrap_or(true),
        })
    }
}

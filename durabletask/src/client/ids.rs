//! Listing the ids of finished instances, in the order of their ends.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use durabletask_core::timestamp_to_wire;
use durabletask_proto as proto;
use futures_util::stream;

use super::{Client, ClientError, Listing, Status};

/// Which finished instances to list. All conditions must hold.
///
/// ```
/// use durabletask::client::{InstanceIdQuery, Status};
///
/// let failed = InstanceIdQuery::new().statuses([Status::Failed]);
/// assert_eq!(failed.continuation, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceIdQuery {
    /// With one of these terminal statuses; empty for any.
    pub statuses: Vec<Status>,
    /// Ended at or after this instant.
    pub completed_from: Option<DateTime<Utc>>,
    /// Ended before this instant.
    pub completed_to: Option<DateTime<Utc>>,
    /// How many ids a page holds at most; 0 for the scheduler's default.
    pub page_size: u32,
    /// Where the page before ended; `None` for the first page.
    pub continuation: Option<String>,
}

impl InstanceIdQuery {
    /// All finished instances.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only with one of these statuses.
    #[must_use]
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = Status>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// Only ended at or after this instant.
    #[must_use]
    pub fn completed_from(mut self, from: DateTime<Utc>) -> Self {
        self.completed_from = Some(from);
        self
    }

    /// Only ended before this instant.
    #[must_use]
    pub fn completed_to(mut self, to: DateTime<Utc>) -> Self {
        self.completed_to = Some(to);
        self
    }

    /// How many ids a page holds at most.
    #[must_use]
    pub fn page_size(mut self, size: u32) -> Self {
        self.page_size = size;
        self
    }

    /// Where the page before ended.
    #[must_use]
    pub fn continuation(mut self, token: impl Into<String>) -> Self {
        self.continuation = Some(token.into());
        self
    }
}

/// One page of ids.
///
/// ```
/// use durabletask::client::InstanceIdQuery;
/// use durabletask::{Client, Connection};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// let mut query = InstanceIdQuery::default();
/// loop {
///     let page = client.instance_ids_page(&query).await?;
///     println!("{:?}", page.instance_ids);
///     match page.continuation {
///         Some(next) => query.continuation = Some(next),
///         None => break,
///     }
/// }
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceIdPage {
    /// The ids.
    pub instance_ids: Vec<String>,
    /// Where the next page begins; `None` after the last one.
    pub continuation: Option<String>,
}

impl Client {
    /// One page of the ids of finished instances. Follow
    /// [`InstanceIdPage::continuation`] for the next one.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; [`ClientError::Unsupported`] if the scheduler has no such list.
    pub async fn instance_ids_page(
        &self,
        query: &InstanceIdQuery,
    ) -> Result<InstanceIdPage, ClientError> {
        let request = proto::ListInstanceIdsRequest {
            runtime_status: query
                .statuses
                .iter()
                .map(|status| status.to_wire())
                .collect(),
            completed_time_from: query.completed_from.map(timestamp_to_wire),
            completed_time_to: query.completed_to.map(timestamp_to_wire),
            page_size: i32::try_from(query.page_size).unwrap_or(i32::MAX),
            last_instance_key: query.continuation.clone(),
        };
        let response = self
            .read(None, async |mut service| {
                service.list_instance_ids(request.clone()).await
            })
            .await?
            .into_inner();
        Ok(InstanceIdPage {
            instance_ids: response.instance_ids,
            continuation: response.last_instance_key.filter(|key| !key.is_empty()),
        })
    }

    /// The ids of all finished instances that match `query`, oldest end first,
    /// fetched page by page as they are taken. The list ends with the first error.
    ///
    /// ```no_run
    /// use durabletask::client::InstanceIdQuery;
    /// use durabletask::{Client, ClientError};
    ///
    /// async fn finished(client: &Client) -> Result<Vec<String>, ClientError> {
    ///     client.list_instance_ids(InstanceIdQuery::new()).collect().await
    /// }
    /// ```
    pub fn list_instance_ids(&self, query: InstanceIdQuery) -> Listing<String> {
        let pages = Pages {
            client: self.clone(),
            query,
            ready: VecDeque::new(),
            ended: false,
        };
        Listing::new(stream::unfold(pages, |mut pages| async move {
            let next = pages.next().await?;
            Some((next, pages))
        }))
    }
}

struct Pages {
    client: Client,
    query: InstanceIdQuery,
    ready: VecDeque<String>,
    ended: bool,
}

impl Pages {
    async fn next(&mut self) -> Option<Result<String, ClientError>> {
        loop {
            if let Some(id) = self.ready.pop_front() {
                return Some(Ok(id));
            }
            if self.ended {
                return None;
            }
            match self.client.instance_ids_page(&self.query).await {
                Ok(page) => {
                    // A repeated key would make the listing endless.
                    self.ended =
                        page.continuation.is_none() || page.continuation == self.query.continuation;
                    self.query.continuation = page.continuation;
                    self.ready = page.instance_ids.into();
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

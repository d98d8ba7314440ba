//! Listing instances page by page.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};
use durabletask_core::timestamp_to_wire;
use durabletask_proto as proto;
use futures_util::Stream;
use futures_util::stream;

use super::state::{InstanceState, Payloads, Status};
use super::{Client, ClientError, Listing};

/// Which instances to list. All conditions must hold.
///
/// ```
/// use durabletask::client::{InstanceQuery, Payloads, Status};
///
/// let running = InstanceQuery::new().statuses([Status::Running]);
/// assert_eq!(running.payloads, Payloads::Omit);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceQuery {
    /// With one of these statuses; empty for any.
    pub statuses: Vec<Status>,
    /// Created at or after this instant.
    pub created_from: Option<DateTime<Utc>>,
    /// Created before this instant.
    pub created_to: Option<DateTime<Utc>>,
    /// With an id that begins so.
    pub instance_id_prefix: Option<String>,
    /// How many instances a page holds at most; 0 for the scheduler's default.
    pub page_size: u32,
    /// Where the page before ended; `None` for the first page.
    pub continuation: Option<String>,
    /// Whether inputs and outputs come along.
    pub payloads: Payloads,
    /// With this name. The protocol has no such condition, so the client checks it: a page
    /// may hold fewer instances than it could.
    pub name: Option<String>,
    /// With all of these tags, which the client checks too.
    pub tags: BTreeMap<String, String>,
}

impl InstanceQuery {
    /// All instances, without payloads.
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

    /// Only with an id that begins so.
    #[must_use]
    pub fn instance_id_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.instance_id_prefix = Some(prefix.into());
        self
    }

    /// How many instances a page holds at most.
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

    /// Whether inputs and outputs come along.
    #[must_use]
    pub fn payloads(mut self, payloads: Payloads) -> Self {
        self.payloads = payloads;
        self
    }

    /// Only of this orchestration; the client checks it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Only with this tag, and with all others that are asked for; the client checks it.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    fn admits(&self, instance: &InstanceState) -> bool {
        let named = self.name.as_ref().is_none_or(|name| *name == instance.name);
        let mut tags = self.tags.iter();
        named && tags.all(|(key, value)| instance.tags.get(key) == Some(value))
    }
}

impl Default for InstanceQuery {
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            created_from: None,
            created_to: None,
            instance_id_prefix: None,
            page_size: 0,
            continuation: None,
            payloads: Payloads::Omit,
            name: None,
            tags: BTreeMap::new(),
        }
    }
}

/// One page of instances.
///
/// ```
/// use durabletask::client::InstanceQuery;
/// use durabletask::{Client, Connection};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// let page = client.instances_page(&InstanceQuery::new()).await?;
/// for instance in &page.instances {
///     println!("{}: {:?}", instance.instance_id, instance.status);
/// }
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstancePage {
    /// The instances.
    pub instances: Vec<InstanceState>,
    /// Where the next page begins; `None` after the last one.
    pub continuation: Option<String>,
}

impl InstanceQuery {
    fn into_wire(self) -> proto::QueryInstancesRequest {
        proto::QueryInstancesRequest {
            query: Some(proto::InstanceQuery {
                runtime_status: self
                    .statuses
                    .iter()
                    .map(|status| status.to_wire())
                    .collect(),
                created_time_from: self.created_from.map(timestamp_to_wire),
                created_time_to: self.created_to.map(timestamp_to_wire),
                task_hub_names: Vec::new(),
                max_instance_count: i32::try_from(self.page_size).unwrap_or(i32::MAX),
                continuation_token: self.continuation,
                instance_id_prefix: self.instance_id_prefix,
                fetch_inputs_and_outputs: self.payloads == Payloads::Include,
            }),
        }
    }
}

impl InstancePage {
    fn from_wire(response: proto::QueryInstancesResponse) -> Self {
        Self {
            instances: response
                .orchestration_state
                .into_iter()
                .map(InstanceState::from_wire)
                .collect(),
            // Some schedulers end with an empty token, some with "0".
            continuation: response
                .continuation_token
                .filter(|token| !token.is_empty() && token != "0"),
        }
    }
}

impl Client {
    /// One page of the instances that match `query`. Follow
    /// [`InstancePage::continuation`] for the next one.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn instances_page(&self, query: &InstanceQuery) -> Result<InstancePage, ClientError> {
        let request = query.clone().into_wire();
        let mut response = self
            .read(None, async |mut service| {
                service.query_instances(request.clone()).await
            })
            .await?
            .into_inner();
        self.fetch_payloads(&mut response.orchestration_state)
            .await?;
        let mut page = InstancePage::from_wire(response);
        page.instances.retain(|instance| query.admits(instance));
        Ok(page)
    }

    /// All instances that match `query`, fetched page by page as they are taken.
    /// The list ends with the first error.
    ///
    /// ```no_run
    /// use durabletask::client::{InstanceQuery, Status};
    /// use durabletask::{Client, ClientError};
    ///
    /// async fn failed(client: &Client) -> Result<Vec<String>, ClientError> {
    ///     let failed = InstanceQuery::new().statuses([Status::Failed]);
    ///     let failed = client.list_instances(failed).collect().await?;
    ///     Ok(failed.into_iter().map(|instance| instance.instance_id).collect())
    /// }
    /// ```
    pub fn list_instances(&self, query: InstanceQuery) -> Listing<InstanceState> {
        Listing::new(all(self.clone(), query))
    }
}

struct Pages {
    client: Client,
    query: InstanceQuery,
    ready: VecDeque<InstanceState>,
    ended: bool,
}

/// The instances of all pages, as a stream.
fn all(
    client: Client,
    query: InstanceQuery,
) -> impl Stream<Item = Result<InstanceState, ClientError>> + Send + 'static {
    let pages = Pages {
        client,
        query,
        ready: VecDeque::new(),
        ended: false,
    };
    stream::unfold(pages, |mut pages| async move {
        loop {
            if let Some(instance) = pages.ready.pop_front() {
                return Some((Ok(instance), pages));
            }
            if pages.ended {
                return None;
            }
            match pages.client.instances_page(&pages.query).await {
                Ok(page) => {
                    // A repeated token would make the listing endless.
                    pages.ended = page.continuation.is_none()
                        || page.continuation == pages.query.continuation;
                    pages.query.continuation = page.continuation;
                    pages.ready = page.instances.into();
                }
                Err(error) => {
                    pages.ended = true;
                    return Some((Err(error), pages));
                }
            }
        }
    })
}

//! Listing instances page by page.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use durabletask_core::timestamp_to_wire;
use durabletask_proto as proto;
use futures_util::Stream;
use futures_util::stream;

use super::state::{InstanceState, Payloads, Status};
use super::{Client, ClientError};

/// Which instances to list. All conditions must hold.
///
/// ```
/// use durabletask::{InstanceQuery, Payloads, Status};
///
/// let running = InstanceQuery { statuses: vec![Status::Running], ..InstanceQuery::default() };
/// assert_eq!(running.payloads, Payloads::Omit);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
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
        }
    }
}

/// One page of instances.
///
/// ```
/// use durabletask::{Client, Connection, InstanceQuery};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&Connection::insecure("http://127.0.0.1:8080", "default")?)?;
/// let page = client.query(InstanceQuery::default()).await?;
/// for instance in &page.instances {
///     println!("{}: {:?}", instance.instance_id, instance.status);
/// }
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub async fn query(&self, query: InstanceQuery) -> Result<InstancePage, ClientError> {
        let request = query.into_wire();
        let mut response = self
            .read(None, async |mut service| {
                service.query_instances(request.clone()).await
            })
            .await?
            .into_inner();
        self.fetch_payloads(&mut response.orchestration_state)
            .await?;
        Ok(InstancePage::from_wire(response))
    }

    /// All instances that match `query`, fetched page by page as they are taken.
    /// The stream ends with the first error.
    ///
    /// ```no_run
    /// use durabletask::{Client, ClientError, InstanceQuery, Status};
    /// use futures_util::TryStreamExt;
    ///
    /// async fn failed(client: &Client) -> Result<Vec<String>, ClientError> {
    ///     let query = InstanceQuery {
    ///         statuses: vec![Status::Failed],
    ///         ..InstanceQuery::default()
    ///     };
    ///     client
    ///         .query_all(query)
    ///         .map_ok(|instance| instance.instance_id)
    ///         .try_collect()
    ///         .await
    /// }
    /// ```
    pub fn query_all(
        &self,
        query: InstanceQuery,
    ) -> impl Stream<Item = Result<InstanceState, ClientError>> + Send + 'static {
        all(self.clone(), query)
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
            match pages.client.query(pages.query.clone()).await {
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

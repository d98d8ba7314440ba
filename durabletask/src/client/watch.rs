//! Following an instance.

use std::time::Duration;

use futures_util::stream;

use super::{Client, ClientError, InstanceState, Listing, Payloads};

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(10);

impl Client {
    /// The instance's states as they change, with payloads: the present one at once, then
    /// each that differs from the one before, and the final one at last. The scheduler is
    /// asked `every` so often (at least 10 milliseconds apart), so states that last for
    /// less can be missed; the final one never is.
    ///
    /// It ends with [`ClientError::NotFound`] if there is no such instance, or no longer.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use durabletask::{Client, ClientError};
    ///
    /// async fn show(client: &Client, id: &str) -> Result<(), ClientError> {
    ///     let mut states = client.watch(id, Duration::from_millis(500));
    ///     while let Some(state) = states.next().await {
    ///         let state = state?;
    ///         println!("{:?}: {:?}", state.status, state.custom_status_json);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn watch(&self, instance_id: &str, every: Duration) -> Listing<InstanceState> {
        let watching = Watching {
            client: self.clone(),
            instance_id: instance_id.to_owned(),
            every: every.max(SHORTEST),
            seen: None,
            ended: false,
        };
        Listing::new(stream::unfold(watching, |mut watching| async move {
            let item = watching.next().await?;
            Some((item, watching))
        }))
    }
}

struct Watching {
    client: Client,
    instance_id: String,
    every: Duration,
    seen: Option<InstanceState>,
    ended: bool,
}

impl Watching {
    async fn next(&mut self) -> Option<Result<InstanceState, ClientError>> {
        while !self.ended {
            if self.seen.is_some() {
                tokio::time::sleep(self.every).await;
            }
            match self.client.get(&self.instance_id, Payloads::Include).await {
                Ok(Some(state)) => {
                    if self.seen.as_ref().is_some_and(|seen| same(seen, &state)) {
                        continue;
                    }
                    self.ended = state.status.is_terminal();
                    self.seen = Some(state.clone());
                    return Some(Ok(state));
                }
                Ok(None) => {
                    self.ended = true;
                    return Some(Err(ClientError::NotFound {
                        instance_id: Some(self.instance_id.clone()),
                        reason: "the scheduler does not know it".to_owned(),
                    }));
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// Whether nothing has changed that a reader would see.
fn same(a: &InstanceState, b: &InstanceState) -> bool {
    (a.status, &a.execution_id, &a.custom_status_json)
        == (b.status, &b.execution_id, &b.custom_status_json)
}

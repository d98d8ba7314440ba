//! Reading what an instance did.

use std::collections::VecDeque;

use durabletask_core::HistoryEvent;
use durabletask_proto as proto;
use futures_util::stream;
use tonic::Streaming;

use super::{Client, ClientError, Listing};

impl Client {
    /// The events of the instance's present execution, oldest first, streamed
    /// as they are taken. The list ends with the first error.
    ///
    /// Of an instance that does not exist some schedulers stream nothing, some
    /// answer [`ClientError::NotFound`].
    ///
    /// ```no_run
    /// use durabletask::history::HistoryEvent;
    /// use durabletask::{Client, ClientError};
    ///
    /// async fn events(client: &Client, id: &str) -> Result<Vec<HistoryEvent>, ClientError> {
    ///     client.history(id).collect().await
    /// }
    /// ```
    pub fn history(&self, instance_id: &str) -> Listing<HistoryEvent> {
        self.history_of(instance_id, None)
    }

    /// Like [`history`](Self::history), of the execution with the given id. Few
    /// schedulers keep any execution but the latest.
    pub fn history_of_execution(
        &self,
        instance_id: &str,
        execution_id: &str,
    ) -> Listing<HistoryEvent> {
        self.history_of(instance_id, Some(execution_id.to_owned()))
    }

    fn history_of(&self, instance_id: &str, execution_id: Option<String>) -> Listing<HistoryEvent> {
        let reading = Reading {
            client: self.clone(),
            request: proto::StreamInstanceHistoryRequest {
                instance_id: instance_id.to_owned(),
                execution_id,
                for_work_item_processing: false,
            },
            chunks: None,
            ready: VecDeque::new(),
        };
        Listing::new(stream::try_unfold(reading, |mut reading| async move {
            let next = reading.next().await?;
            Ok(next.map(|event| (event, reading)))
        }))
    }
}

struct Reading {
    client: Client,
    request: proto::StreamInstanceHistoryRequest,
    /// Opened when the first event is asked for.
    chunks: Option<Streaming<proto::HistoryChunk>>,
    ready: VecDeque<proto::HistoryEvent>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<HistoryEvent>, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event.into()));
            }
            let chunks = match &mut self.chunks {
                Some(chunks) => chunks,
                closed => {
                    let request = &self.request;
                    let opened = self
                        .client
                        .read(Some(&request.instance_id), async |mut service| {
                            service.stream_instance_history(request.clone()).await
                        })
                        .await?;
                    closed.insert(opened.into_inner())
                }
            };
            match chunks.message().await {
                Ok(Some(mut chunk)) => {
                    self.client.fetch_payloads(&mut chunk.events).await?;
                    self.ready = chunk.events.into();
                }
                Ok(None) => return Ok(None),
                Err(status) => {
                    return Err(ClientError::from_status(
                        &status,
                        Some(&self.request.instance_id),
                    ));
                }
            }
        }
    }
}

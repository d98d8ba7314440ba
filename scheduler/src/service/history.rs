//! StreamInstanceHistory.

use durabletask_proto::{HistoryChunk, HistoryEvent, StreamInstanceHistoryRequest};
use futures_util::{TryStreamExt as _, stream};
use prost::Message as _;
use tonic::{Request, Status};

use super::{Answers, Service, status};
use crate::store::{self, StoreError};

/// The approximate size of one chunk.
const CHUNK_BYTES: usize = 256 * 1024;

impl Service {
    /// The current execution's committed history. For work item processing that is the
    /// past of the outstanding turn. A missing instance has an empty stream, as on the
    /// hosted service, unless it is requested by a worker.
    pub(super) async fn history(
        &self,
        request: Request<StreamInstanceHistoryRequest>,
    ) -> Result<Answers<HistoryChunk>, Status> {
        let hub = self.hub(&request).await?;
        let request = request.into_inner();
        let id = request.instance_id;
        let wanted = request
            .execution_id
            .filter(|execution| !execution.is_empty());
        let key = if request.for_work_item_processing {
            self.dispatch
                .outstanding(hub, &id)
                .filter(|header| {
                    wanted
                        .as_ref()
                        .is_none_or(|execution| *execution == header.execution_id)
                })
                .map(|header| header.key)
                .ok_or_else(|| status(StoreError::WorkItemGone))?
        } else {
            let found = self
                .store
                .read(move |conn| store::state(conn, hub, &id, false))
                .await
                .map_err(status)?;
            match found {
                Some((key, state)) if wanted.is_none() || wanted == state.execution_id => key,
                _ => return Ok(Box::pin(stream::empty())),
            }
        };
        let store = self.store.clone();
        let for_worker = request.for_work_item_processing;
        let chunks = stream::try_unfold(Some(0), move |from: Option<i64>| {
            let store = store.clone();
            async move {
                let Some(from) = from else {
                    return Ok::<_, Status>(None);
                };
                let read = move |conn: &_| store::history_page(conn, key, from, CHUNK_BYTES);
                let page = match for_worker {
                    true => store.read(read).await,
                    false => store.browse(read).await,
                };
                let page = page.map_err(status)?;
                if page.events.is_empty() {
                    return Ok(None);
                }
                Ok(Some((
                    stream::iter(chunked(page.events).map(Ok)),
                    page.next,
                )))
            }
        });
        Ok(Box::pin(chunks.try_flatten()))
    }
}

/// Events in pieces of about [`CHUNK_BYTES`]. A large turn is more than
/// clients accept in one message, but a single event never is.
fn chunked(events: Vec<HistoryEvent>) -> impl Iterator<Item = HistoryChunk> {
    let mut events = events.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut chunk = HistoryChunk {
            events: vec![events.next()?],
        };
        let mut size = chunk.encoded_len();
        while let Some(event) = events.next_if(|event| {
            size += event.encoded_len();
            size <= CHUNK_BYTES
        }) {
            chunk.events.push(event);
        }
        Some(chunk)
    })
}

//! Pages of instances: by creation, with their states, and by completion.

use durabletask_proto::{
    ListInstanceIdsRequest, ListInstanceIdsResponse, QueryInstancesRequest, QueryInstancesResponse,
};
use tonic::{Request, Status};

use super::instances::bare;
use super::sizes::Takes;
use super::{Service, page_size, status, wrong_cursor};
use crate::store::{self, ListCursor, ListFilter, Place, StateFilter, micros};

impl Service {
    pub(super) async fn query(
        &self,
        request: Request<QueryInstancesRequest>,
    ) -> Result<QueryInstancesResponse, Status> {
        let hub = self.hub(&request).await?;
        let takes = Takes::of(request.metadata(), self.config.max_message_bytes)?;
        let query = request.into_inner().query.unwrap_or_default();
        let after = match query.continuation_token.filter(|token| !token.is_empty()) {
            None => None,
            Some(token) => Some(read_place(&token).ok_or_else(wrong_cursor)?),
        };
        let limit = page_size(query.max_instance_count);
        let filter = StateFilter {
            statuses: query.runtime_status,
            created_from_us: query.created_time_from.as_ref().map(micros),
            created_to_us: query.created_time_to.as_ref().map(micros),
            id_prefix: query.instance_id_prefix.filter(|prefix| !prefix.is_empty()),
        };
        let payloads = query.fetch_inputs_and_outputs;
        let page = self
            .store
            .browse(move |conn| {
                store::query(conn, hub, &filter, after, (limit, takes.page()), payloads)
            })
            .await
            .map_err(status)?;
        let mut states = page.states;
        if !payloads {
            states.iter_mut().for_each(bare);
        }
        let answer = QueryInstancesResponse {
            orchestration_state: states,
            continuation_token: page.next.map(write_place),
        };
        takes.fits(answer)
    }

    /// Finished instances in order of their completion.
    pub(super) async fn list(
        &self,
        request: Request<ListInstanceIdsRequest>,
    ) -> Result<ListInstanceIdsResponse, Status> {
        let hub = self.hub(&request).await?;
        let request = request.into_inner();
        // Some clients send an empty cursor for the first page.
        let cursor = request
            .last_instance_key
            .filter(|cursor| !cursor.is_empty());
        let mut filter = ListFilter {
            statuses: request.runtime_status,
            completed_from_us: request.completed_time_from.as_ref().map(micros),
            completed_to_us: request.completed_time_to.as_ref().map(micros),
            after: None,
            limit: page_size(request.page_size),
        };
        let page = self
            .store
            .browse(move |conn| {
                if let Some(cursor) = &cursor {
                    // Clients that want to continue after the last page, which has no
                    // cursor, name the last instance that they received.
                    filter.after = match read_cursor(cursor) {
                        None => store::completion_of(conn, hub, cursor)?,
                        after => after,
                    };
                    if filter.after.is_none() {
                        return Ok(None);
                    }
                }
                store::list(conn, hub, &filter).map(Some)
            })
            .await
            .map_err(status)?;
        let (instance_ids, next) = page.ok_or_else(wrong_cursor)?;
        Ok(ListInstanceIdsResponse {
            instance_ids,
            last_instance_key: next.map(|next| write_cursor(&next)),
        })
    }
}

fn write_place(place: Place) -> String {
    format!("{}|{}", place.created_us, place.key)
}

fn read_place(text: &str) -> Option<Place> {
    let (created_us, key) = text.split_once('|')?;
    Some(Place {
        created_us: created_us.parse().ok()?,
        key: key.parse().ok()?,
    })
}

/// Its prefix is one that no instance id has, so that the two can be distinguished.
fn write_cursor(cursor: &ListCursor) -> String {
    format!("@{}|{}", cursor.completed_us, cursor.id)
}

fn read_cursor(text: &str) -> Option<ListCursor> {
    let (completed_us, id) = text.strip_prefix('@')?.split_once('|')?;
    Some(ListCursor {
        completed_us: completed_us.parse().ok()?,
        id: id.to_owned(),
    })
}

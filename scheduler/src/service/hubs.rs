//! Task hubs: which one a call names, creating and deleting them.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use durabletask_proto::{
    CreateTaskHubRequest, CreateTaskHubResponse, DeleteTaskHubRequest, DeleteTaskHubResponse,
};
use tonic::{Request, Status};

use super::{Service, invalid, status, status_midway};
use crate::limits::MAX_HUB_NAME;
use crate::store::{Slice, StoreError};

/// How many instances of a deleted hub one transaction removes.
const CLEAR_STEP: u32 = 200;

/// How many names are kept; others are looked up each time.
const MOST_KNOWN: usize = 4096;

/// The numbers of the task hubs that were named so far.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// In which they were looked up: another owner may have changed them since.
    term: i64,
    ids: HashMap<String, i64>,
    /// Deleted ones, so that a lookup that raced with the deletion is not kept.
    gone: HashSet<i64>,
}

impl Known {
    fn get(&self, term: i64, name: &str) -> Option<i64> {
        self.ids.get(name).copied().filter(|_| self.term == term)
    }

    fn add(&mut self, term: i64, name: String, hub: i64) {
        if self.term != term {
            *self = Self {
                term,
                ..Self::default()
            };
        }
        // Names differ in case, and there are many ways to write one.
        if !self.gone.contains(&hub) && self.ids.len() < MOST_KNOWN {
            self.ids.insert(name, hub);
        }
    }

    fn forget(&mut self, hub: i64) {
        self.gone.insert(hub);
        self.ids.retain(|_, known| *known != hub);
    }
}

impl Service {
    /// The task hub that the request names in its `taskhub` header, or the default one;
    /// a new one is created if that is allowed.
    pub(super) async fn hub<T>(&self, request: &Request<T>) -> Result<i64, Status> {
        let name = self.hub_name(request)?;
        self.hub_called(name, self.config.dynamic_task_hubs).await
    }

    pub(super) async fn hub_called(&self, name: String, may_make: bool) -> Result<i64, Status> {
        let term = self.store.term().map_err(status)?;
        let known = self
            .hubs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(term, &name);
        if let Some(hub) = known {
            return Ok(hub);
        }
        let wanted = name.clone();
        let most = self.config.max_task_hubs;
        let hub = self
            .store
            .writer
            .write(move |tx| match may_make {
                true => tx.ensure_hub(&wanted, most),
                false => tx
                    .hub_named(&wanted)?
                    .ok_or_else(|| StoreError::NoHub(wanted.clone())),
            })
            .await
            .map_err(status)?;
        self.hubs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .add(term, name, hub);
        Ok(hub)
    }

    /// The name of the task hub that the request is for, as the caller spells it.
    pub(super) fn hub_name<T>(&self, request: &Request<T>) -> Result<String, Status> {
        match request
            .metadata()
            .get("taskhub")
            .map(|value| value.to_str())
        {
            None => Ok(self.config.default_hub.clone()),
            Some(Ok(name)) if (1..=MAX_HUB_NAME).contains(&name.len()) => Ok(name.to_owned()),
            Some(_) => Err(invalid(
                "the taskhub header must be 1 to 100 visible ASCII characters",
            )),
        }
    }

    pub(super) async fn create_hub(
        &self,
        request: Request<CreateTaskHubRequest>,
    ) -> Result<CreateTaskHubResponse, Status> {
        let name = self.hub_name(&request)?;
        if !request.get_ref().recreate_if_exists {
            self.hub_called(name, true).await?;
            return Ok(CreateTaskHubResponse {});
        }
        let most = self.config.max_task_hubs;
        let wanted = name.clone();
        self.replacing(move |tx| tx.recreate_hub(&wanted, most).map(|(_, old)| old))
            .await?;
        tracing::info!(task_hub = name, "task hub recreated");
        Ok(CreateTaskHubResponse {})
    }

    /// Deletes the task hub with everything in it. Its workers' streams end.
    pub(super) async fn delete_hub(
        &self,
        request: Request<DeleteTaskHubRequest>,
    ) -> Result<DeleteTaskHubResponse, Status> {
        let name = self.hub_name(&request)?;
        let wanted = name.clone();
        self.replacing(move |tx| tx.delete_hub(&wanted).map(Some))
            .await?;
        tracing::info!(task_hub = name, "task hub deleted");
        Ok(DeleteTaskHubResponse {})
    }

    /// Runs `work`, which deletes a hub, and removes its content. In a task of its
    /// own: a caller that disconnects does not leave the rest until the next start.
    async fn replacing<F>(&self, work: F) -> Result<(), Status>
    where
        F: FnMut(&mut crate::store::Tx<'_>) -> Result<Option<i64>, StoreError> + Send + 'static,
    {
        let service = self.clone();
        let deleting = tokio::spawn(async move {
            let Some(hub) = service.store.writer.write(work).await? else {
                return Ok(());
            };
            service
                .hubs
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .forget(hub);
            while service
                .store
                .writer
                .write_behind(move |tx| tx.clear_hub(hub, CLEAR_STEP, Slice::begin()))
                .await?
            {}
            Ok::<(), StoreError>(())
        });
        deleting
            .await
            .map_err(|_| Status::internal("the deletion's task ended early; retry"))?
            .map_err(status_midway)
    }
}

//! Our extension: an instance that is forked from an event of another one's history.
//! `docs/WIRE.md` describes it.

use durabletask_proto::fork_service_server::ForkService;
use durabletask_proto::{ForkInstanceRequest, ForkInstanceResponse};
use durabletask_scheduler_core::is_entity_id;
use tonic::{Request, Response, Status};

use super::{Service, check_instance_id, invalid, status};
use crate::store::NewFork;

#[tonic::async_trait]
impl ForkService for Service {
    async fn fork(
        &self,
        request: Request<ForkInstanceRequest>,
    ) -> Result<Response<ForkInstanceResponse>, Status> {
        self.fork_instance(request).await.map(Response::new)
    }
}

impl Service {
    pub(crate) async fn fork_instance(
        &self,
        request: Request<ForkInstanceRequest>,
    ) -> Result<ForkInstanceResponse, Status> {
        let hub = self.hub(&request).await?;
        let task_hub = self.hub_name(&request)?;
        let request = request.into_inner();
        if is_entity_id(&request.instance_id) {
            return Err(invalid(
                "an entity has no history of events, so it cannot be forked; only orchestrations can",
            ));
        }
        check_instance_id(&request.instance_id)?;
        let fresh = || uuid::Uuid::new_v4().simple().to_string();
        let instance_id = match request.new_instance_id.is_empty() {
            true => fresh(),
            false => request.new_instance_id,
        };
        check_instance_id(&instance_id)?;
        let new = NewFork {
            hub,
            source: request.instance_id,
            source_execution: request.execution_id.filter(|id| !id.is_empty()),
            event: usize::try_from(request.event).unwrap_or(usize::MAX),
            instance_id: instance_id.clone(),
            execution_id: fresh(),
        };
        let answer = ForkInstanceResponse {
            instance_id,
            execution_id: new.execution_id.clone(),
        };
        tracing::debug!(source = new.source, event = new.event, "forking");
        self.store
            .writer
            .write(move |tx| tx.fork(&new))
            .await
            .map_err(status)?;
        tracing::info!(
            task_hub,
            instance_id = answer.instance_id,
            "instance forked"
        );
        Ok(answer)
    }
}

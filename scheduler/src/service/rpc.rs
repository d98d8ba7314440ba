//! The generated trait, each method in one line: what is supported and what is refused.

use durabletask_proto::history_event::EventType;
use durabletask_proto::task_hub_sidecar_service_server::TaskHubSidecarService;
use durabletask_proto::*;
use tonic::{Request, Response, Status};

use super::completion_stream::offering;
use super::instances::{has_ended, has_started};
use super::sizes::Lengths;
use super::{Answers, Service};

#[tonic::async_trait]
impl TaskHubSidecarService for Service {
    type GetWorkItemsStream = Answers<WorkItem>;
    type StreamInstanceHistoryStream = Answers<HistoryChunk>;

    async fn hello(&self, request: Request<()>) -> Result<Response<()>, Status> {
        let _ = request;
        Ok(offering(Response::new(())))
    }

    async fn start_instance(
        &self,
        request: Request<CreateInstanceRequest>,
    ) -> Result<Response<CreateInstanceResponse>, Status> {
        self.start(request).await.map(Response::new)
    }

    async fn get_instance(
        &self,
        request: Request<GetInstanceRequest>,
    ) -> Result<Response<GetInstanceResponse>, Status> {
        self.get(request).await.map(Response::new)
    }

    async fn query_instances(
        &self,
        request: Request<QueryInstancesRequest>,
    ) -> Result<Response<QueryInstancesResponse>, Status> {
        self.query(request).await.map(Response::new)
    }

    async fn purge_instances(
        &self,
        request: Request<PurgeInstancesRequest>,
    ) -> Result<Response<PurgeInstancesResponse>, Status> {
        self.purge(request).await.map(Response::new)
    }

    async fn complete_activity_task(
        &self,
        request: Request<ActivityResponse>,
    ) -> Result<Response<CompleteTaskResponse>, Status> {
        self.complete_activity(request).await.map(Response::new)
    }

    async fn complete_orchestrator_task(
        &self,
        request: Request<OrchestratorResponse>,
    ) -> Result<Response<CompleteTaskResponse>, Status> {
        self.complete_turn(request).await.map(Response::new)
    }

    async fn wait_for_instance_start(
        &self,
        request: Request<GetInstanceRequest>,
    ) -> Result<Response<GetInstanceResponse>, Status> {
        self.wait(request, has_started).await.map(Response::new)
    }

    async fn wait_for_instance_completion(
        &self,
        request: Request<GetInstanceRequest>,
    ) -> Result<Response<GetInstanceResponse>, Status> {
        self.wait(request, has_ended).await.map(Response::new)
    }

    async fn get_work_items(
        &self,
        request: Request<GetWorkItemsRequest>,
    ) -> Result<Response<Self::GetWorkItemsStream>, Status> {
        self.work_items(request).await.map(Response::new)
    }

    async fn stream_instance_history(
        &self,
        request: Request<StreamInstanceHistoryRequest>,
    ) -> Result<Response<Self::StreamInstanceHistoryStream>, Status> {
        self.history(request).await.map(Response::new)
    }

    async fn raise_event(
        &self,
        request: Request<RaiseEventRequest>,
    ) -> Result<Response<RaiseEventResponse>, Status> {
        let message = request.get_ref().clone();
        Lengths::default()
            .name("event's name", &message.name)
            .check()?;
        let event = EventType::EventRaised(EventRaisedEvent {
            name: message.name.clone(),
            input: message.input.clone(),
        });
        self.tell(
            &request,
            &message.instance_id,
            message.input.as_ref(),
            event,
        )
        .await?;
        Ok(Response::new(RaiseEventResponse {}))
    }

    async fn terminate_instance(
        &self,
        request: Request<TerminateRequest>,
    ) -> Result<Response<TerminateResponse>, Status> {
        let message = request.get_ref().clone();
        let event = EventType::ExecutionTerminated(ExecutionTerminatedEvent {
            input: message.output.clone(),
            recurse: message.recursive,
        });
        self.tell(
            &request,
            &message.instance_id,
            message.output.as_ref(),
            event,
        )
        .await?;
        Ok(Response::new(TerminateResponse {}))
    }

    async fn suspend_instance(
        &self,
        request: Request<SuspendRequest>,
    ) -> Result<Response<SuspendResponse>, Status> {
        let message = request.get_ref().clone();
        let event = EventType::ExecutionSuspended(ExecutionSuspendedEvent {
            input: message.reason.clone(),
        });
        self.tell(
            &request,
            &message.instance_id,
            message.reason.as_ref(),
            event,
        )
        .await?;
        Ok(Response::new(SuspendResponse {}))
    }

    async fn resume_instance(
        &self,
        request: Request<ResumeRequest>,
    ) -> Result<Response<ResumeResponse>, Status> {
        let message = request.get_ref().clone();
        let event = EventType::ExecutionResumed(ExecutionResumedEvent {
            input: message.reason.clone(),
        });
        self.tell(
            &request,
            &message.instance_id,
            message.reason.as_ref(),
            event,
        )
        .await?;
        Ok(Response::new(ResumeResponse {}))
    }

    async fn abandon_task_activity_work_item(
        &self,
        request: Request<AbandonActivityTaskRequest>,
    ) -> Result<Response<AbandonActivityTaskResponse>, Status> {
        let token = request.get_ref().completion_token.clone();
        self.abandon(&request, &token).await?;
        Ok(Response::new(AbandonActivityTaskResponse {}))
    }

    async fn abandon_task_orchestrator_work_item(
        &self,
        request: Request<AbandonOrchestrationTaskRequest>,
    ) -> Result<Response<AbandonOrchestrationTaskResponse>, Status> {
        let token = request.get_ref().completion_token.clone();
        self.abandon(&request, &token).await?;
        Ok(Response::new(AbandonOrchestrationTaskResponse {}))
    }

    async fn rewind_instance(
        &self,
        request: Request<RewindInstanceRequest>,
    ) -> Result<Response<RewindInstanceResponse>, Status> {
        self.rewind(request).await.map(Response::new)
    }

    async fn restart_instance(
        &self,
        request: Request<RestartInstanceRequest>,
    ) -> Result<Response<RestartInstanceResponse>, Status> {
        self.restart(request).await.map(Response::new)
    }

    async fn list_instance_ids(
        &self,
        request: Request<ListInstanceIdsRequest>,
    ) -> Result<Response<ListInstanceIdsResponse>, Status> {
        self.list(request).await.map(Response::new)
    }

    async fn create_task_hub(
        &self,
        request: Request<CreateTaskHubRequest>,
    ) -> Result<Response<CreateTaskHubResponse>, Status> {
        self.create_hub(request).await.map(Response::new)
    }

    async fn delete_task_hub(
        &self,
        request: Request<DeleteTaskHubRequest>,
    ) -> Result<Response<DeleteTaskHubResponse>, Status> {
        self.delete_hub(request).await.map(Response::new)
    }

    async fn complete_entity_task(
        &self,
        request: Request<EntityBatchResult>,
    ) -> Result<Response<CompleteTaskResponse>, Status> {
        self.complete_batch(request).await.map(Response::new)
    }

    async fn signal_entity(
        &self,
        request: Request<SignalEntityRequest>,
    ) -> Result<Response<SignalEntityResponse>, Status> {
        self.signal(request).await.map(Response::new)
    }

    async fn get_entity(
        &self,
        request: Request<GetEntityRequest>,
    ) -> Result<Response<GetEntityResponse>, Status> {
        self.entity(request).await.map(Response::new)
    }

    async fn query_entities(
        &self,
        request: Request<QueryEntitiesRequest>,
    ) -> Result<Response<QueryEntitiesResponse>, Status> {
        self.entities(request).await.map(Response::new)
    }

    async fn clean_entity_storage(
        &self,
        request: Request<CleanEntityStorageRequest>,
    ) -> Result<Response<CleanEntityStorageResponse>, Status> {
        self.clean_entities(request).await.map(Response::new)
    }

    async fn abandon_task_entity_work_item(
        &self,
        request: Request<AbandonEntityTaskRequest>,
    ) -> Result<Response<AbandonEntityTaskResponse>, Status> {
        let token = request.get_ref().completion_token.clone();
        self.abandon(&request, &token).await?;
        Ok(Response::new(AbandonEntityTaskResponse {}))
    }

    async fn skip_graceful_orchestration_terminations(
        &self,
        request: Request<SkipGracefulOrchestrationTerminationsRequest>,
    ) -> Result<Response<SkipGracefulOrchestrationTerminationsResponse>, Status> {
        self.terminate_now(request).await.map(Response::new)
    }
}

//! A scheduler made of channels: the test says what it sends and sees what it gets.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod items;
mod results;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use durabletask::Connection;
use durabletask_proto as proto;
use proto::completion_stream_service_server::CompletionStreamServiceServer;
use proto::task_hub_sidecar_service_server::{TaskHubSidecarService, TaskHubSidecarServiceServer};
pub(crate) use results::Completions;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// How long a test waits for something that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What the fake got from the worker or client.
#[derive(Debug)]
pub(crate) enum Got {
    /// A stream of work items was opened.
    Stream(WorkItems),
    Orchestration(proto::OrchestratorResponse),
    Activity(proto::ActivityResponse),
    History(proto::StreamInstanceHistoryRequest),
    /// A history that does not end is no longer read.
    HistoryLeft,
    AbandonedOrchestration(String),
    AbandonedActivity(String),
    Started(proto::CreateInstanceRequest),
    Raised(proto::RaiseEventRequest),
    Terminated(proto::TerminateRequest),
    Suspended(proto::SuspendRequest),
    Resumed(proto::ResumeRequest),
    Restarted(proto::RestartInstanceRequest),
    Rewound(proto::RewindInstanceRequest),
    ListedIds(proto::ListInstanceIdsRequest),
    Purged(proto::PurgeInstancesRequest),
    Batch(proto::EntityBatchResult),
    AbandonedEntity(String),
    Signalled(proto::SignalEntityRequest),
    QueriedEntities(proto::QueryEntitiesRequest),
    Cleaned(proto::CleanEntityStorageRequest),
    /// A stream of completions was opened.
    Completions(Completions),
}

/// The sending end of an open stream of work items.
#[derive(Debug)]
pub(crate) struct WorkItems {
    pub(crate) request: proto::GetWorkItemsRequest,
    pub(crate) headers: HashMap<String, String>,
    items: mpsc::Sender<Result<proto::WorkItem, Status>>,
}

impl WorkItems {
    pub(crate) async fn send(&self, token: &str, request: proto::work_item::Request) {
        let item = proto::WorkItem {
            request: Some(request),
            completion_token: token.to_owned(),
        };
        self.items.send(Ok(item)).await.unwrap();
    }

    pub(crate) async fn fail(&self, status: Status) {
        self.items.send(Err(status)).await.unwrap();
    }

    /// Waits until the other side has closed the stream.
    pub(crate) async fn closed(&self) {
        tokio::time::timeout(SOON, self.items.closed())
            .await
            .unwrap();
    }
}

type Answers<T> = Arc<Mutex<Vec<Result<T, Status>>>>;

#[derive(Clone)]
struct Service {
    got: mpsc::UnboundedSender<Got>,
    history: Arc<Mutex<Vec<proto::HistoryEvent>>>,
    endless: Arc<AtomicBool>,
    completions: Answers<()>,
    offers_stream: Arc<AtomicBool>,
    starts: Answers<()>,
    instances: Answers<proto::GetInstanceResponse>,
    pages: Answers<proto::QueryInstancesResponse>,
    id_pages: Answers<proto::ListInstanceIdsResponse>,
    purges: Answers<proto::PurgeInstancesResponse>,
    commands: Answers<()>,
    entities: Answers<proto::GetEntityResponse>,
    entity_pages: Answers<proto::QueryEntitiesResponse>,
    cleanings: Answers<proto::CleanEntityStorageResponse>,
}

/// A running fake.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) got: mpsc::UnboundedReceiver<Got>,
    service: Service,
    gate: Gate,
    tls: Option<Tls>,
    stop: CancellationToken,
}

/// The certificate that a fake serves with.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// What came with every call, and the token that is wanted.
#[derive(Clone, Default)]
struct Gate {
    seen: Arc<Mutex<Vec<HashMap<String, String>>>>,
    wanted: Arc<Mutex<Option<String>>>,
    refusal: Arc<Mutex<Option<Status>>>,
}

impl Gate {
    fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let headers: HashMap<String, String> =
            ["taskhub", "x-user-agent", "workerid", "authorization"]
                .into_iter()
                .filter_map(|name| {
                    let value = request.metadata().get(name)?.to_str().ok()?;
                    Some((name.to_owned(), value.to_owned()))
                })
                .collect();
        let wanted = self.wanted.lock().unwrap().clone();
        let welcome = wanted.is_none_or(|wanted| headers.get("authorization") == Some(&wanted));
        self.seen.lock().unwrap().push(headers);
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        if welcome {
            Ok(request)
        } else {
            Err(Status::unauthenticated("who are you?"))
        }
    }
}

impl Fake {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Serves with TLS, if `tls` is given.
    pub(crate) async fn start_with(tls: Option<Tls>) -> Self {
        let (sender, got) = mpsc::unbounded_channel();
        let service = Service {
            got: sender,
            history: Arc::default(),
            endless: Arc::default(),
            completions: Arc::default(),
            offers_stream: Arc::default(),
            starts: Arc::default(),
            instances: Arc::default(),
            pages: Arc::default(),
            id_pages: Arc::default(),
            purges: Arc::default(),
            commands: Arc::default(),
            entities: Arc::default(),
            entity_pages: Arc::default(),
            cleanings: Arc::default(),
        };
        let mut fake = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            got,
            service,
            gate: Gate::default(),
            tls,
            stop: CancellationToken::new(),
        };
        let listener = TcpListener::bind(fake.address).await.unwrap();
        fake.serve(listener);
        fake
    }

    fn serve(&mut self, listener: TcpListener) {
        self.address = listener.local_addr().unwrap();
        self.stop = CancellationToken::new();
        let stop = self.stop.clone();
        let gate = self.gate.clone();
        let service =
            TaskHubSidecarServiceServer::with_interceptor(self.service.clone(), move |request| {
                gate.check(request)
            });
        let mut builder = tonic::transport::Server::builder();
        if let Some(tls) = &self.tls {
            let identity = tonic::transport::Identity::from_pem(&tls.certificate, &tls.key);
            let config = tonic::transport::ServerTlsConfig::new().identity(identity);
            builder = builder.tls_config(config).unwrap();
        }
        let results = CompletionStreamServiceServer::new(self.service.clone());
        tokio::spawn(async move {
            let server = builder
                .add_service(service)
                .add_service(results)
                .serve_with_incoming(TcpListenerStream::new(listener));
            // Not graceful: connections break as they do when a process dies.
            stop.run_until_cancelled(server).await;
        });
    }

    pub(crate) fn kill(&self) {
        self.stop.cancel();
    }

    /// Waits until nobody listens on the address any more.
    pub(crate) async fn gone(&self) {
        tokio::time::timeout(SOON, async {
            while tokio::net::TcpStream::connect(self.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }

    /// Comes back on the same address.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let address = self.address;
        let listener = tokio::time::timeout(SOON, async {
            loop {
                // The first listener is kept: a second one would drop who has come meanwhile.
                match TcpListener::bind(address).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await
        .unwrap();
        self.serve(listener);
    }

    pub(crate) fn connection(&self) -> Connection {
        Connection::insecure(&format!("http://{}", self.address), "test-hub").unwrap()
    }

    /// What came with every call so far.
    pub(crate) fn seen(&self) -> Vec<HashMap<String, String>> {
        self.gate.seen.lock().unwrap().clone()
    }

    /// Calls without this value of `authorization` are refused from now on.
    pub(crate) fn want(&self, authorization: &str) {
        *self.gate.wanted.lock().unwrap() = Some(authorization.to_owned());
    }

    /// Every call is answered with `refusal` from now on, if there is one.
    pub(crate) fn refuse(&self, refusal: impl Into<Option<Status>>) {
        *self.gate.refusal.lock().unwrap() = refusal.into();
    }

    pub(crate) fn set_history(&self, events: Vec<proto::HistoryEvent>) {
        *self.service.history.lock().unwrap() = events;
    }

    /// Whether histories opened from now on stay open after their events.
    pub(crate) fn keep_histories_open(&self, endless: bool) {
        self.service.endless.store(endless, Ordering::SeqCst);
    }

    /// Offers the stream of completions to workers that greet from now on.
    pub(crate) fn offer_stream(&self) {
        self.service.offers_stream.store(true, Ordering::SeqCst);
    }

    /// What the next completions are answered with, in this order.
    pub(crate) fn answer_completions(&self, answers: Vec<Result<(), Status>>) {
        *self.service.completions.lock().unwrap() = answers;
    }

    pub(crate) fn answer_starts(&self, answers: Vec<Result<(), Status>>) {
        *self.service.starts.lock().unwrap() = answers;
    }

    pub(crate) fn answer_instances(
        &self,
        answers: Vec<Result<proto::GetInstanceResponse, Status>>,
    ) {
        *self.service.instances.lock().unwrap() = answers;
    }

    pub(crate) fn answer_queries(
        &self,
        answers: Vec<Result<proto::QueryInstancesResponse, Status>>,
    ) {
        *self.service.pages.lock().unwrap() = answers;
    }

    pub(crate) fn answer_id_pages(
        &self,
        answers: Vec<Result<proto::ListInstanceIdsResponse, Status>>,
    ) {
        *self.service.id_pages.lock().unwrap() = answers;
    }

    pub(crate) fn answer_purges(
        &self,
        answers: Vec<Result<proto::PurgeInstancesResponse, Status>>,
    ) {
        *self.service.purges.lock().unwrap() = answers;
    }

    pub(crate) fn answer_entities(&self, answers: Vec<Result<proto::GetEntityResponse, Status>>) {
        *self.service.entities.lock().unwrap() = answers;
    }

    pub(crate) fn answer_entity_pages(
        &self,
        answers: Vec<Result<proto::QueryEntitiesResponse, Status>>,
    ) {
        *self.service.entity_pages.lock().unwrap() = answers;
    }

    pub(crate) fn answer_cleanings(
        &self,
        answers: Vec<Result<proto::CleanEntityStorageResponse, Status>>,
    ) {
        *self.service.cleanings.lock().unwrap() = answers;
    }

    /// What the next events, pauses, ends and new beginnings are answered with.
    pub(crate) fn answer_commands(&self, answers: Vec<Result<(), Status>>) {
        *self.service.commands.lock().unwrap() = answers;
    }

    pub(crate) async fn next(&mut self) -> Got {
        tokio::time::timeout(SOON, self.got.recv())
            .await
            .expect("nothing came")
            .unwrap()
    }

    pub(crate) async fn stream(&mut self) -> WorkItems {
        match self.next().await {
            Got::Stream(stream) => stream,
            other => panic!("not a stream: {other:?}"),
        }
    }

    pub(crate) async fn orchestration(&mut self) -> proto::OrchestratorResponse {
        match self.next().await {
            Got::Orchestration(response) => response,
            other => panic!("not a turn: {other:?}"),
        }
    }

    pub(crate) async fn activity(&mut self) -> proto::ActivityResponse {
        match self.next().await {
            Got::Activity(response) => response,
            other => panic!("not an activity: {other:?}"),
        }
    }
}

fn next_answer<T>(answers: &Answers<T>) -> Option<Result<T, Status>> {
    let mut answers = answers.lock().unwrap();
    (!answers.is_empty()).then(|| answers.remove(0))
}

// Written out, because `async_trait` does not look into macros.
macro_rules! unimplemented_calls {
    ($($name:ident($request:ident) -> $response:ident;)*) => {
        $(fn $name<'a, 'f>(
            &'a self,
            _: Request<proto::$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<proto::$response>, Status>> + Send + 'f>>
        where
            'a: 'f,
            Self: 'f,
        {
            Box::pin(async { Err(Status::unimplemented(stringify!($name))) })
        })*
    };
}

#[async_trait::async_trait]
impl TaskHubSidecarService for Service {
    type GetWorkItemsStream = ReceiverStream<Result<proto::WorkItem, Status>>;
    type StreamInstanceHistoryStream = ReceiverStream<Result<proto::HistoryChunk, Status>>;

    async fn hello(&self, _: Request<()>) -> Result<Response<()>, Status> {
        let mut answer = Response::new(());
        if self.offers_stream.load(Ordering::SeqCst) {
            let offer = "v1".parse().unwrap();
            answer.metadata_mut().insert("completion-stream", offer);
        }
        Ok(answer)
    }

    async fn start_instance(
        &self,
        request: Request<proto::CreateInstanceRequest>,
    ) -> Result<Response<proto::CreateInstanceResponse>, Status> {
        next_answer(&self.starts).unwrap_or(Ok(()))?;
        let request = request.into_inner();
        let instance_id = request.instance_id.clone();
        let _ = self.got.send(Got::Started(request));
        Ok(Response::new(proto::CreateInstanceResponse { instance_id }))
    }

    async fn get_instance(
        &self,
        _: Request<proto::GetInstanceRequest>,
    ) -> Result<Response<proto::GetInstanceResponse>, Status> {
        next_answer(&self.instances)
            .unwrap_or_else(|| Ok(proto::GetInstanceResponse::default()))
            .map(Response::new)
    }

    async fn wait_for_instance_completion(
        &self,
        request: Request<proto::GetInstanceRequest>,
    ) -> Result<Response<proto::GetInstanceResponse>, Status> {
        self.get_instance(request).await
    }

    async fn wait_for_instance_start(
        &self,
        request: Request<proto::GetInstanceRequest>,
    ) -> Result<Response<proto::GetInstanceResponse>, Status> {
        self.get_instance(request).await
    }

    async fn query_instances(
        &self,
        _: Request<proto::QueryInstancesRequest>,
    ) -> Result<Response<proto::QueryInstancesResponse>, Status> {
        next_answer(&self.pages)
            .unwrap_or_else(|| Ok(proto::QueryInstancesResponse::default()))
            .map(Response::new)
    }

    async fn get_work_items(
        &self,
        request: Request<proto::GetWorkItemsRequest>,
    ) -> Result<Response<Self::GetWorkItemsStream>, Status> {
        let headers = ["taskhub", "x-user-agent", "workerid"]
            .into_iter()
            .filter_map(|name| {
                let value = request.metadata().get(name)?.to_str().ok()?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect();
        let (items, stream) = mpsc::channel(16);
        let _ = self.got.send(Got::Stream(WorkItems {
            request: request.into_inner(),
            headers,
            items,
        }));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn complete_activity_task(
        &self,
        request: Request<proto::ActivityResponse>,
    ) -> Result<Response<proto::CompleteTaskResponse>, Status> {
        let _ = self.got.send(Got::Activity(request.into_inner()));
        next_answer(&self.completions).unwrap_or(Ok(()))?;
        Ok(Response::new(proto::CompleteTaskResponse {}))
    }

    async fn complete_orchestrator_task(
        &self,
        request: Request<proto::OrchestratorResponse>,
    ) -> Result<Response<proto::CompleteTaskResponse>, Status> {
        let _ = self.got.send(Got::Orchestration(request.into_inner()));
        next_answer(&self.completions).unwrap_or(Ok(()))?;
        Ok(Response::new(proto::CompleteTaskResponse {}))
    }

    async fn stream_instance_history(
        &self,
        request: Request<proto::StreamInstanceHistoryRequest>,
    ) -> Result<Response<Self::StreamInstanceHistoryStream>, Status> {
        let _ = self.got.send(Got::History(request.into_inner()));
        let events = self.history.lock().unwrap().clone();
        let (chunks, stream) = mpsc::channel(64);
        for event in events {
            chunks
                .send(Ok(proto::HistoryChunk {
                    events: vec![event],
                }))
                .await
                .unwrap();
        }
        if self.endless.load(Ordering::SeqCst) {
            let got = self.got.clone();
            tokio::spawn(async move {
                chunks.closed().await;
                let _ = got.send(Got::HistoryLeft);
            });
        }
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn abandon_task_activity_work_item(
        &self,
        request: Request<proto::AbandonActivityTaskRequest>,
    ) -> Result<Response<proto::AbandonActivityTaskResponse>, Status> {
        let token = request.into_inner().completion_token;
        let _ = self.got.send(Got::AbandonedActivity(token));
        Ok(Response::new(proto::AbandonActivityTaskResponse {}))
    }

    async fn abandon_task_orchestrator_work_item(
        &self,
        request: Request<proto::AbandonOrchestrationTaskRequest>,
    ) -> Result<Response<proto::AbandonOrchestrationTaskResponse>, Status> {
        let token = request.into_inner().completion_token;
        let _ = self.got.send(Got::AbandonedOrchestration(token));
        Ok(Response::new(proto::AbandonOrchestrationTaskResponse {}))
    }

    async fn raise_event(
        &self,
        request: Request<proto::RaiseEventRequest>,
    ) -> Result<Response<proto::RaiseEventResponse>, Status> {
        next_answer(&self.commands).unwrap_or(Ok(()))?;
        let request = request.into_inner();
        let response = proto::RaiseEventResponse {};
        let _ = self.got.send(Got::Raised(request));
        Ok(Response::new(response))
    }

    async fn terminate_instance(
        &self,
        request: Request<proto::TerminateRequest>,
    ) -> Result<Response<proto::TerminateResponse>, Status> {
        next_answer(&self.commands).unwrap_or(Ok(()))?;
        let request = request.into_inner();
        let response = proto::TerminateResponse {};
        let _ = self.got.send(Got::Terminated(request));
        Ok(Response::new(response))
    }

    async fn suspend_instance(
        &self,
        request: Request<proto::SuspendRequest>,
    ) -> Result<Response<proto::SuspendResponse>, Status> {
        next_answer(&self.commands).unwrap_or(Ok(()))?;
        let request = request.into_inner();
        let response = proto::SuspendResponse {};
        let _ = self.got.send(Got::Suspended(request));
        Ok(Response::new(response))
    }

    async fn resume_instance(
        &self,
        request: Request<proto::ResumeRequest>,
    ) -> Result<Response<proto::ResumeResponse>, Status> {
        next_answer(&self.commands).unwrap_or(Ok(()))?;
        let request = request.into_inner();
        let response = proto::ResumeResponse {};
        let _ = self.got.send(Got::Resumed(request));
        Ok(Response::new(response))
    }

    async fn rewind_instance(
        &self,
        request: Request<proto::RewindInstanceRequest>,
    ) -> Result<Response<proto::RewindInstanceResponse>, Status> {
        next_answer(&self.commands).unwrap_or(Ok(()))?;
        let request = request.into_inner();
        let response = proto::RewindInstanceResponse {};
        let _ = self.got.send(Got::Rewound(request));
        Ok(Response::new(response))
    }

    async fn restart_instance(
        &self,
        request: Request<proto::RestartInstanceRequest>,
    ) -> Result<Response<proto::RestartInstanceResponse>, Status> {
        next_answer(&self.commands).unwrap_or(Ok(()))?;
        let request = request.into_inner();
        let instance_id = if request.restart_with_new_instance_id {
            "another".to_owned()
        } else {
            request.instance_id.clone()
        };
        let response = proto::RestartInstanceResponse { instance_id };
        let _ = self.got.send(Got::Restarted(request));
        Ok(Response::new(response))
    }

    async fn list_instance_ids(
        &self,
        request: Request<proto::ListInstanceIdsRequest>,
    ) -> Result<Response<proto::ListInstanceIdsResponse>, Status> {
        let _ = self.got.send(Got::ListedIds(request.into_inner()));
        next_answer(&self.id_pages)
            .unwrap_or_else(|| Ok(proto::ListInstanceIdsResponse::default()))
            .map(Response::new)
    }

    async fn purge_instances(
        &self,
        request: Request<proto::PurgeInstancesRequest>,
    ) -> Result<Response<proto::PurgeInstancesResponse>, Status> {
        let _ = self.got.send(Got::Purged(request.into_inner()));
        next_answer(&self.purges)
            .unwrap_or_else(|| Ok(proto::PurgeInstancesResponse::default()))
            .map(Response::new)
    }

    async fn complete_entity_task(
        &self,
        request: Request<proto::EntityBatchResult>,
    ) -> Result<Response<proto::CompleteTaskResponse>, Status> {
        let _ = self.got.send(Got::Batch(request.into_inner()));
        next_answer(&self.completions).unwrap_or(Ok(()))?;
        Ok(Response::new(proto::CompleteTaskResponse {}))
    }

    async fn abandon_task_entity_work_item(
        &self,
        request: Request<proto::AbandonEntityTaskRequest>,
    ) -> Result<Response<proto::AbandonEntityTaskResponse>, Status> {
        let token = request.into_inner().completion_token;
        let _ = self.got.send(Got::AbandonedEntity(token));
        Ok(Response::new(proto::AbandonEntityTaskResponse {}))
    }

    async fn signal_entity(
        &self,
        request: Request<proto::SignalEntityRequest>,
    ) -> Result<Response<proto::SignalEntityResponse>, Status> {
        next_answer(&self.commands).unwrap_or(Ok(()))?;
        let _ = self.got.send(Got::Signalled(request.into_inner()));
        Ok(Response::new(proto::SignalEntityResponse {}))
    }

    async fn get_entity(
        &self,
        _: Request<proto::GetEntityRequest>,
    ) -> Result<Response<proto::GetEntityResponse>, Status> {
        next_answer(&self.entities)
            .unwrap_or_else(|| Ok(proto::GetEntityResponse::default()))
            .map(Response::new)
    }

    async fn query_entities(
        &self,
        request: Request<proto::QueryEntitiesRequest>,
    ) -> Result<Response<proto::QueryEntitiesResponse>, Status> {
        let _ = self.got.send(Got::QueriedEntities(request.into_inner()));
        next_answer(&self.entity_pages)
            .unwrap_or_else(|| Ok(proto::QueryEntitiesResponse::default()))
            .map(Response::new)
    }

    async fn clean_entity_storage(
        &self,
        request: Request<proto::CleanEntityStorageRequest>,
    ) -> Result<Response<proto::CleanEntityStorageResponse>, Status> {
        let _ = self.got.send(Got::Cleaned(request.into_inner()));
        next_answer(&self.cleanings)
            .unwrap_or_else(|| Ok(proto::CleanEntityStorageResponse::default()))
            .map(Response::new)
    }

    unimplemented_calls! {
        create_task_hub(CreateTaskHubRequest) -> CreateTaskHubResponse;
        delete_task_hub(DeleteTaskHubRequest) -> DeleteTaskHubResponse;
        skip_graceful_orchestration_terminations(SkipGracefulOrchestrationTerminationsRequest) -> SkipGracefulOrchestrationTerminationsResponse;
    }
}

//! Our extension: results of work items as messages on one stream, instead of a call each.
//! `docs/WIRE.md` describes it.

use std::pin::pin;
use std::sync::Arc;

use durabletask_proto::completion::Result as Handed;
use durabletask_proto::completion_stream_service_server::CompletionStreamService;
use durabletask_proto::{
    Acknowledgement, AcknowledgementFrame, CompleteTaskResponse, Completion, CompletionFrame,
};
use futures_util::{StreamExt, stream};
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status, Streaming};

use super::completions::{Checked, answered, settled};
use super::work_items::no_longer_good;
use super::{Answers, Service};
use crate::access::Pass;

/// The header in the answer to `Hello` by which the stream is offered.
const OFFER: &str = "completion-stream";
/// How much may be unacknowledged before no more is read, in units of about a kibibyte.
const UNITS: u32 = 65_536;
/// What each completion costs besides its size, so that there are at most 4,096.
const UNITS_EACH: u32 = 16;
/// The most acknowledgements of one frame.
const FRAME: usize = 1024;

/// An acknowledgement on its way out. It makes room for the next completion once it is sent.
type Acknowledged = (Acknowledgement, OwnedSemaphorePermit);

/// Tells a worker that there is this stream.
pub(super) fn offering<T>(mut response: Response<T>) -> Response<T> {
    let version = MetadataValue::from_static("v1");
    response.metadata_mut().insert(OFFER, version);
    response
}

#[tonic::async_trait]
impl CompletionStreamService for Service {
    type CompleteStream = Answers<AcknowledgementFrame>;

    async fn complete(
        &self,
        request: Request<Streaming<CompletionFrame>>,
    ) -> Result<Response<Self::CompleteStream>, Status> {
        self.completions(request).await.map(Response::new)
    }
}

impl Service {
    async fn completions(
        &self,
        request: Request<Streaming<CompletionFrame>>,
    ) -> Result<Answers<AcknowledgementFrame>, Status> {
        let hub = self.hub_name(&request)?;
        // An unknown one is refused before anything is read.
        self.hub(&request).await?;
        let access = self.config.access.clone();
        let pass = request.extensions().get::<Pass>().copied();
        // As many as there are slots: that bounds this channel.
        let (acknowledge, acknowledged) = mpsc::unbounded_channel();
        let reader = Reader {
            service: self.clone(),
            hub,
            slots: Arc::new(Semaphore::new(UNITS as usize)),
            acknowledge,
        };
        // It ends with the stream, whichever side ends that.
        let reading = tokio::spawn(reader.run(request.into_inner()));
        let frames = stream::unfold(acknowledged, |mut acknowledged| async move {
            let frame = next_frame(&mut acknowledged).await?;
            Some((Ok(frame), acknowledged))
        });
        let revoked = CancellationToken::new();
        let shut_out = revoked.clone();
        let last = stream::once(async move {
            if shut_out.is_cancelled() {
                let reason = "the token that opened this stream is no longer accepted; reopen it with a current one";
                return Some(Err(Status::unauthenticated(reason)));
            }
            reading.await.ok().flatten().map(Err)
        })
        .filter_map(std::future::ready);
        let answers = frames
            .take_until(async move {
                no_longer_good(&access, pass).await;
                revoked.cancel();
            })
            .chain(last);
        Ok(Box::pin(answers))
    }
}

/// All acknowledgements that are there, at least one; none once there will be no more.
async fn next_frame(
    acknowledged: &mut mpsc::UnboundedReceiver<Acknowledged>,
) -> Option<AcknowledgementFrame> {
    let mut taken = Vec::new();
    if acknowledged.recv_many(&mut taken, FRAME).await == 0 {
        return None;
    }
    let acknowledgements = taken.into_iter().map(|(each, _)| each).collect();
    Some(AcknowledgementFrame { acknowledgements })
}

/// What reads a stream.
struct Reader {
    service: Service,
    /// The name of the task hub. Its number may change while the stream is open.
    hub: String,
    slots: Arc<Semaphore>,
    acknowledge: mpsc::UnboundedSender<Acknowledged>,
}

impl Reader {
    /// Reads until the worker or the scheduler ends it. Yields what was wrong with the stream.
    async fn run(self, mut incoming: Streaming<CompletionFrame>) -> Option<Status> {
        let ending = self.service.ending.clone();
        let gone = self.acknowledge.clone();
        let mut over = pin!(async {
            tokio::select! {
                () = ending.cancelled() => {}
                () = gone.closed() => {}
            }
        });
        loop {
            let frame = tokio::select! {
                biased;
                () = &mut over => return None,
                frame = incoming.message() => frame,
            };
            let frame = match frame {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(status) => return Some(status),
            };
            // A call names its task hub each time, too.
            let dynamic = self.service.config.dynamic_task_hubs;
            let hub = self.service.hub_called(self.hub.clone(), dynamic).await;
            for completion in frame.completions {
                let slot = tokio::select! {
                    biased;
                    () = &mut over => return None,
                    slot = Arc::clone(&self.slots).acquire_many_owned(units(&completion)) => slot,
                };
                // It is never closed, so this always yields one.
                let Ok(slot) = slot else { return None };
                let Completion { number, result } = completion;
                let checked = match (&hub, result) {
                    (Ok(hub), Some(result)) => self.check(*hub, result),
                    (Ok(_), None) => Checked::Answered(Err(Status::unimplemented(
                        "this kind of result is unknown here; hand it in with its call",
                    ))),
                    (Err(status), _) => Checked::Answered(Err(status.clone())),
                };
                self.write(number, checked, slot).await;
            }
        }
    }

    fn check(&self, hub: i64, result: Handed) -> Checked {
        match result {
            Handed::Orchestrator(response) => self.service.check_turn(hub, response),
            Handed::Activity(response) => self.service.check_activity(hub, response),
            Handed::Entity(result) => self.service.check_batch(hub, result),
        }
    }

    /// Queues what is to be written. It is acknowledged once it is on disk.
    async fn write(&self, number: u64, checked: Checked, slot: OwnedSemaphorePermit) {
        let acknowledge = self.acknowledge.clone();
        let (lease, work) = match checked {
            Checked::Answered(answer) => {
                // A worker that is gone hands it in once more.
                let _ = acknowledge.send((acknowledgement(number, answer), slot));
                return;
            }
            Checked::Write { lease, work } => (lease, work),
        };
        let dispatch = Arc::clone(&self.service.dispatch);
        let done = move |outcome| {
            dispatch.settle(lease, settled(&outcome));
            let _ = acknowledge.send((acknowledgement(number, answered(outcome)), slot));
        };
        self.service.store.writer.submit(work, done).await;
    }
}

fn acknowledgement(number: u64, answer: Result<CompleteTaskResponse, Status>) -> Acknowledgement {
    let (code, message) = match answer {
        Ok(CompleteTaskResponse {}) => (Code::Ok, String::new()),
        Err(status) => (status.code(), status.message().to_owned()),
    };
    Acknowledgement {
        number,
        code: code.into(),
        message,
    }
}

/// What a completion needs of the room for those that are not acknowledged.
fn units(completion: &Completion) -> u32 {
    let kibibytes = u32::try_from(completion.encoded_len() / 1024).unwrap_or(UNITS);
    kibibytes.saturating_add(UNITS_EACH).min(UNITS)
}

//! How a worker of the load hands its results in: by calls, or on the stream for them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use durabletask_proto::completion::Result as Handed;
use durabletask_proto::completion_stream_service_client::CompletionStreamServiceClient;
use durabletask_proto::*;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

use super::support::*;

/// Clones share the way.
#[derive(Clone)]
pub(crate) enum Results {
    Calls(Client),
    Stream(Arc<Stream>),
}

pub(crate) struct Stream {
    frames: mpsc::Sender<CompletionFrame>,
    numbers: AtomicU64,
    /// Those that are not acknowledged; none once the stream has ended.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Code>>>>,
}

impl Results {
    /// A stream of one of the processes that run now.
    pub(crate) async fn on_stream(channel: Channel) -> Result<Self, tonic::Status> {
        let (frames, queue) = mpsc::channel(64);
        let mut answers = CompletionStreamServiceClient::new(channel)
            .complete(to_hub("default", ReceiverStream::new(queue)))
            .await?
            .into_inner();
        let stream = Arc::new(Stream {
            frames,
            numbers: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
        });
        let following = Arc::downgrade(&stream);
        tokio::spawn(async move {
            while let Ok(Some(frame)) = answers.message().await {
                let Some(stream) = following.upgrade() else {
                    return;
                };
                let mut waiting = stream.waiting.lock().unwrap();
                for each in frame.acknowledgements {
                    let waits = waiting.as_mut().unwrap().remove(&each.number);
                    let _ = waits.expect("it is answered once").send(each.code.into());
                }
            }
            if let Some(stream) = following.upgrade() {
                stream.waiting.lock().unwrap().take();
            }
        });
        Ok(Self::Stream(stream))
    }

    /// How the result was answered; as unavailable if it was not.
    pub(crate) async fn hand_in(&self, result: Handed) -> Code {
        let code =
            |answer: Result<_, tonic::Status>| answer.map_or_else(|s| s.code(), |_| Code::Ok);
        match (self, result) {
            (Self::Stream(stream), result) => stream.hand_in(result).await,
            (Self::Calls(client), Handed::Orchestrator(response)) => {
                let request = to_hub("default", response);
                let mut client = client.clone();
                code(client.complete_orchestrator_task(request).await)
            }
            (Self::Calls(client), Handed::Activity(response)) => {
                let request = to_hub("default", response);
                code(client.clone().complete_activity_task(request).await)
            }
            (Self::Calls(client), Handed::Entity(result)) => {
                let request = to_hub("default", result);
                code(client.clone().complete_entity_task(request).await)
            }
        }
    }
}

impl Stream {
    async fn hand_in(&self, result: Handed) -> Code {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (waits, answer) = oneshot::channel();
        match self.waiting.lock().unwrap().as_mut() {
            Some(waiting) => waiting.insert(number, waits),
            None => return Code::Unavailable,
        };
        let completion = Completion {
            number,
            result: Some(result),
        };
        let frame = CompletionFrame {
            completions: vec![completion],
        };
        match self.frames.send(frame).await {
            Ok(()) => answer.await.unwrap_or(Code::Unavailable),
            Err(_) => Code::Unavailable,
        }
    }
}

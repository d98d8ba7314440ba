//! The stream of completions, as the test answers it.

use durabletask_proto as proto;
use proto::completion_stream_service_server::CompletionStreamService;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Got, SOON, Service};

/// The scheduler's end of a stream of completions, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Completions {
    frames: Streaming<proto::CompletionFrame>,
    answers: mpsc::Sender<Result<proto::AcknowledgementFrame, Status>>,
}

impl Completions {
    /// The completions of the next frame.
    pub(crate) async fn next(&mut self) -> Vec<proto::Completion> {
        let frame = tokio::time::timeout(SOON, self.frames.message()).await;
        let frame = frame.expect("nothing came").unwrap();
        frame.expect("an open stream").completions
    }

    pub(crate) async fn answer(&self, number: u64, status: Result<(), Status>) {
        let status = status.err().unwrap_or_else(|| Status::ok(""));
        let acknowledgement = proto::Acknowledgement {
            number,
            code: status.code().into(),
            message: status.message().to_owned(),
        };
        let frame = proto::AcknowledgementFrame {
            acknowledgements: vec![acknowledgement],
        };
        self.answers.send(Ok(frame)).await.unwrap();
    }
}

#[async_trait::async_trait]
impl CompletionStreamService for Service {
    type CompleteStream = ReceiverStream<Result<proto::AcknowledgementFrame, Status>>;

    async fn complete(
        &self,
        request: Request<Streaming<proto::CompletionFrame>>,
    ) -> Result<Response<Self::CompleteStream>, Status> {
        let (answers, stream) = mpsc::channel(16);
        let _ = self.got.send(Got::Completions(Completions {
            frames: request.into_inner(),
            answers,
        }));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

//! From what somebody uploaded to what may enter the system: checked at once,
//! scaled down to fit one message.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use countersign_activities::picture::{self, PictureProblem};
use countersign_enrollment::otpauth;
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::sealed;
use thiserror::Error;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// The largest body that is read, in bytes.
pub(crate) const MAX_BODY: usize = 10 * 1024 * 1024;
/// How many pictures are worked on at once: decoded, each can take tens of megabytes.
const PICTURES_AT_ONCE: usize = 4;
/// How long an upload waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// What somebody uploaded, unchecked and in clear. Wiped when dropped.
pub(crate) enum Upload {
    /// A text that should be an otpauth URI.
    Uri(Zeroizing<String>),
    /// Bytes that should be a picture.
    Image(Zeroizing<Vec<u8>>),
}

impl Upload {
    pub(crate) fn uri(text: &str) -> Self {
        Self::Uri(Zeroizing::new(text.to_owned()))
    }

    pub(crate) fn image(bytes: &[u8]) -> Self {
        Self::Image(Zeroizing::new(bytes.to_vec()))
    }
}

/// An upload that passed the door: worth an enrollment, and small enough for one message.
pub(crate) enum Accepted {
    /// An otpauth URI that parses.
    Uri(Zeroizing<String>),
    /// A picture of a known kind.
    Image {
        /// What is sealed and sent: the picture or a smaller one of the same.
        bytes: Zeroizing<Vec<u8>>,
        /// What was uploaded, for telling a repeated request from another one.
        original: Zeroizing<Vec<u8>>,
    },
}

/// Why an upload is refused at the door.
#[derive(Debug, Error)]
pub(crate) enum IntakeError {
    /// It cannot be enrolled.
    #[error("input refused: {}", .0.code())]
    Problem(InputProblem),
    /// It is a picture of a kind that is not read, or no picture.
    #[error("a picture of an unsupported kind")]
    UnsupportedPicture(InputProblem),
    /// It is a picture with too many pixels.
    #[error("a picture that is too large")]
    PictureTooLarge(InputProblem),
    /// Too many pictures are being worked on.
    #[error("too many pictures at once")]
    Busy,
    /// The server failed.
    #[error("the picture could not be worked on")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

/// Checks uploads, a bounded number of pictures at a time.
pub(crate) struct Intake {
    pictures: Arc<Semaphore>,
}

impl Intake {
    pub(crate) fn new() -> Self {
        Self {
            pictures: Arc::new(Semaphore::new(PICTURES_AT_ONCE)),
        }
    }

    /// Refuses what can be seen at once to be of no use, and makes the rest fit.
    pub(crate) async fn accept(&self, upload: Upload) -> Result<Accepted, IntakeError> {
        match upload {
            Upload::Uri(text) => {
                otpauth::parse(&text).map_err(IntakeError::Problem)?;
                Ok(Accepted::Uri(text))
            }
            Upload::Image(original) => self.accept_picture(original).await,
        }
    }

    async fn accept_picture(&self, original: Zeroizing<Vec<u8>>) -> Result<Accepted, IntakeError> {
        picture::inspect(&original).map_err(|problem| refuse(&problem))?;
        let cap = sealed::max_plaintext_for_cap();
        if original.len() <= cap {
            return Ok(Accepted::Image {
                bytes: original.clone(),
                original,
            });
        }
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.pictures).acquire_owned());
        let Ok(Ok(permit)) = turn.await else {
            return Err(IntakeError::Busy);
        };
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let shrunk = picture::shrink_to_fit(&original, cap);
            (shrunk, original)
        });
        let (shrunk, original) = work.await.map_err(|e| IntakeError::Internal(Box::new(e)))?;
        let bytes = shrunk.map_err(|problem| refuse(&problem))?;
        Ok(Accepted::Image {
            bytes: Zeroizing::new(bytes),
            original,
        })
    }
}

fn refuse(problem: &PictureProblem) -> IntakeError {
    match *problem {
        PictureProblem::Empty => IntakeError::Problem(InputProblem::ImageEmpty),
        PictureProblem::Unsupported { format } => {
            IntakeError::UnsupportedPicture(InputProblem::ImageUnsupported {
                format: format.to_owned(),
            })
        }
        PictureProblem::Unreadable => IntakeError::Problem(InputProblem::ImageUnreadable),
        PictureProblem::TooSmall { width, height } => {
            IntakeError::Problem(InputProblem::ImageTooSmall { width, height })
        }
        PictureProblem::TooLarge { width, height } => {
            IntakeError::PictureTooLarge(InputProblem::ImageTooLarge { width, height })
        }
        PictureProblem::TooManyBytes { limit, .. } => {
            IntakeError::PictureTooLarge(InputProblem::ImageTooManyBytes {
                limit: limit as u64,
            })
        }
    }
}

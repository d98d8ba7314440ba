//! `decode-qr`: a sealed picture becomes a sealed URI.

use countersign_enrollment::contract::{DecodeQr, DecodedQr};
use countersign_enrollment::foreign::ForeignKind;
use countersign_enrollment::google_export;
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::sealed::OtpauthText;
use durabletask_core::Failure;

use crate::Activities;
use crate::picture::{PictureProblem, ReadLimits};
use crate::qr::{self, Payload};

impl Activities {
    /// Finds the one otpauth URI in a picture.
    ///
    /// # Errors
    ///
    /// Permanent when the envelope does not open; retriable when the decoder could not run.
    pub(crate) async fn decode_qr(&self, input: DecodeQr) -> Result<DecodedQr, Failure> {
        let image = self
            .keys
            .open(&input.enrollment, &input.image)
            .map_err(|error| Failure::from(error).permanent())?;
        let permit = self.decodes.clone().acquire_owned().await?;
        let read = tokio::task::spawn_blocking(move || {
            // Held by the thread that works: a dropped future does not free its place.
            let _permit = permit;
            qr::read_codes(image.expose(), &ReadLimits::default())
        })
        .await?;
        let payloads = match read {
            Ok(payloads) => payloads,
            Err(problem) => {
                return Ok(DecodedQr::Invalid {
                    problem: of_picture(problem),
                });
            }
        };
        match choose(payloads) {
            Err(problem) => Ok(DecodedQr::Invalid { problem }),
            Ok(payload) => Ok(DecodedQr::Found {
                uri: self
                    .keys
                    .seal_key()
                    .seal(&input.enrollment, &OtpauthText::new(payload.into_text()))?,
            }),
        }
    }
}

/// The only account among the codes of a picture.
fn choose(payloads: Vec<Payload>) -> Result<Payload, InputProblem> {
    let Some(first) = payloads.first() else {
        return Err(InputProblem::QrNotFound);
    };
    let kind = ForeignKind::of(first.expose());
    let mut accounts: Vec<Payload> = payloads.into_iter().filter(Payload::is_otpauth).collect();
    if accounts
        .iter()
        .any(|it| google_export::is_export(it.expose()))
    {
        return Err(InputProblem::GoogleExport);
    }
    match (accounts.pop(), accounts.len()) {
        (None, _) => Err(InputProblem::QrNotOtpauth { kind }),
        (Some(account), 0) => Ok(account),
        (Some(_), others) => Err(InputProblem::SeveralAccounts {
            count: u32::try_from(others + 1).unwrap_or(u32::MAX),
        }),
    }
}

fn of_picture(problem: PictureProblem) -> InputProblem {
    match problem {
        PictureProblem::Empty => InputProblem::ImageEmpty,
        PictureProblem::Unsupported { format } => InputProblem::ImageUnsupported {
            format: format.to_owned(),
        },
        PictureProblem::Unreadable => InputProblem::ImageUnreadable,
        PictureProblem::TooLarge { width, height } => InputProblem::ImageTooLarge { width, height },
        PictureProblem::TooSmall { width, height } => InputProblem::ImageTooSmall { width, height },
        PictureProblem::TooManyBytes { limit, .. } => InputProblem::ImageTooManyBytes {
            limit: u64::try_from(limit).unwrap_or(u64::MAX),
        },
    }
}

//! `decode-qr`: a sealed picture becomes a sealed URI; `read-codes`: or all of them.

use countersign_enrollment::contract::{CodesRead, DecodeQr, DecodedQr, ReadCodes};
use countersign_enrollment::foreign::ForeignKind;
use countersign_enrollment::google_export;
use countersign_enrollment::import::{ImportEntry, ImportList};
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::sealed::{ImageBytes, OtpauthText};
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
        let payloads = match self.read(image).await? {
            Ok(payloads) => payloads,
            Err(problem) => return Ok(DecodedQr::Invalid { problem }),
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

    /// Finds every account and export among the codes of a picture.
    ///
    /// # Errors
    ///
    /// As [`Activities::decode_qr`].
    pub(crate) async fn read_codes(&self, input: ReadCodes) -> Result<CodesRead, Failure> {
        let image = self
            .keys
            .open(&input.import, &input.image)
            .map_err(|error| Failure::from(error).permanent())?;
        let payloads = match self.read(image).await? {
            Ok(payloads) => payloads,
            Err(problem) => return Ok(CodesRead::Invalid { problem }),
        };
        let Some(kind) = payloads
            .first()
            .map(|first| ForeignKind::of(first.expose()))
        else {
            return Ok(CodesRead::Invalid {
                problem: InputProblem::QrNotFound,
            });
        };
        let entries: Vec<ImportEntry> = payloads
            .iter()
            .filter(|payload| payload.is_otpauth())
            .map(|payload| ImportEntry::text(payload.expose()))
            .collect();
        if entries.is_empty() {
            return Ok(CodesRead::Invalid {
                problem: InputProblem::QrNotOtpauth { kind },
            });
        }
        Ok(CodesRead::Found {
            list: self
                .keys
                .seal_key()
                .seal(&input.import, &ImportList { entries })?,
        })
    }

    /// Reads a picture on a blocking thread, a bounded number of them at a time.
    async fn read(&self, image: ImageBytes) -> Result<Result<Vec<Payload>, InputProblem>, Failure> {
        let permit = self.decodes.clone().acquire_owned().await?;
        let read = tokio::task::spawn_blocking(move || {
            // Held by the thread that works: a dropped future does not free its place.
            let _permit = permit;
            qr::read_codes(image.expose(), &ReadLimits::default())
        })
        .await?;
        Ok(read.map_err(of_picture))
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

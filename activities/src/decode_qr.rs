//! `decode-qr`: a sealed image becomes a sealed URI; `read-codes`: or all of them.

use countersign_enrollment::contract::{CodesRead, DecodeQr, DecodedQr, ReadCodes};
use countersign_enrollment::foreign::{self, ForeignKind};
use countersign_enrollment::import::{ImportEntry, ImportList};
use countersign_enrollment::mandate::Digest;
use countersign_enrollment::otpauth;
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::sealed::{ImageBytes, OtpauthText};
use durabletask_core::Failure;

use crate::Activities;
use crate::images::{ImageProblem, ReadLimits};
use crate::qr::{self, Payload, ScanResult};

impl Activities {
    /// Finds the one otpauth URI in an image.
    ///
    /// # Errors
    ///
    /// Permanent when it is not permitted or the envelope does not open; retriable when the
    /// decoder could not run.
    pub(crate) async fn decode_qr(&self, input: DecodeQr) -> Result<DecodedQr, Failure> {
        let mandate = input.mandate.digest();
        let permit = self
            .permit_open(
                &input.mandate,
                input.enrollment.as_str(),
                Some(input.image.digest()),
            )
            .await?;
        let image = self
            .keys
            .open(&permit, &input.enrollment, &input.image)
            .map_err(|error| Failure::from(error).permanent())?;
        let reading = match self.read(image).await? {
            Ok(reading) => reading,
            Err(problem) => return Ok(DecodedQr::Invalid { problem }),
        };
        match choose(reading) {
            Err(problem) => Ok(DecodedQr::Invalid { problem }),
            Ok(payload) => Ok(DecodedQr::Found {
                uri: self.keys.keep(
                    &mandate,
                    &input.enrollment,
                    &OtpauthText::new(payload.into_text()).into(),
                )?,
            }),
        }
    }

    /// Finds every account and export among the codes of an image.
    ///
    /// # Errors
    ///
    /// As [`Activities::decode_qr`].
    pub(crate) async fn read_codes(&self, input: ReadCodes) -> Result<CodesRead, Failure> {
        // Bound to the image too: lists cannot be swapped or left out in the plan.
        let place = place_of(&input.mandate.digest(), &input.image.digest());
        let list = |list: ImportList| self.keys.keep(&place, &input.import, &list);
        let permit = self
            .permit_open(
                &input.mandate,
                input.import.as_str(),
                Some(input.image.digest()),
            )
            .await?;
        let image = self
            .keys
            .open(&permit, &input.import, &input.image)
            .map_err(|error| Failure::from(error).permanent())?;
        let reading = match self.read(image).await? {
            Ok(reading) => reading,
            Err(problem) => {
                let list = Some(list(ImportList::default())?);
                return Ok(CodesRead::Invalid { problem, list });
            }
        };
        // What is joined here is joined again when the import is planned, with the parts that
        // are in other images.
        let entries: Vec<ImportEntry> = reading
            .payloads
            .iter()
            .filter(|payload| is_account(payload) && !payload.is_joined())
            .map(|payload| ImportEntry::text(payload.expose()))
            .collect();
        if entries.is_empty() && reading.parts.is_empty() {
            return Ok(CodesRead::Invalid {
                problem: without_account(reading),
                list: Some(list(ImportList::default())?),
            });
        }
        let mut problems = missed(&reading);
        problems.extend(foreign_account(&reading));
        let parts = reading.parts;
        Ok(CodesRead::Found {
            list: list(ImportList { entries, parts })?,
            problems,
        })
    }

    /// Reads an image on a blocking thread, a bounded number of them at a time.
    async fn read(&self, image: ImageBytes) -> Result<Result<ScanResult, InputProblem>, Failure> {
        let permit = self.decodes.clone().acquire_owned().await?;
        let read = tokio::task::spawn_blocking(move || {
            // Held by the thread that works: a dropped future does not free its place.
            let _permit = permit;
            qr::examine(image.expose(), &ReadLimits::default())
        })
        .await?;
        Ok(read.map_err(of_image))
    }
}

/// What the list of one image is kept under: the mandate, and which of its sources it is.
pub(crate) fn place_of(mandate: &Digest, source: &Digest) -> Digest {
    Digest::of_parts([mandate.as_str().as_bytes(), source.as_str().as_bytes()])
}

/// Whether a code is an account or an export, however it is wrapped or escaped.
fn is_account(payload: &Payload) -> bool {
    payload.is_otpauth() || otpauth::is_meant(payload.expose())
}

/// The only account among the codes of an image. It is not taken while there is another code
/// that was not read, or a part of one: that may be the one that is meant.
fn choose(mut reading: ScanResult) -> Result<Payload, InputProblem> {
    let accounts = || reading.payloads.iter().filter(|it| is_account(it));
    if accounts().any(|it| foreign::is_google_export(it.expose())) {
        return Err(InputProblem::GoogleExport);
    }
    if !reading.split.is_empty() {
        return Err(reading.split.swap_remove(0));
    }
    let (first, others) = (accounts().next(), accounts().count().saturating_sub(1));
    match first {
        None => Err(without_account(reading)),
        Some(account) if others == 0 => match missed(&reading).into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(account.clone()),
        },
        Some(_) => Err(InputProblem::SeveralAccounts {
            count: u32::try_from(others + 1).unwrap_or(u32::MAX),
            regions: accounts().filter_map(Payload::region).collect(),
        }),
    }
}

/// That an image in which something was read has more.
fn missed(reading: &ScanResult) -> Vec<InputProblem> {
    let mut missed = Vec::new();
    let unread = reading.unread.len() + reading.unread_elsewhere;
    if unread > 0 {
        missed.push(InputProblem::CodesUnread {
            count: u32::try_from(unread).unwrap_or(u32::MAX),
            regions: reading.unread.clone(),
        });
    }
    missed.extend(not_searched(reading));
    if missed.is_empty() && reading.cut_short {
        missed.push(InputProblem::ImageTimeLimit);
    }
    missed
}

/// That there are frames or pages that were not searched.
fn not_searched(reading: &ScanResult) -> Option<InputProblem> {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let pages = &reading.pages;
    if pages.is_damaged {
        return Some(InputProblem::ImageUnreadable);
    }
    (pages.seen < pages.count).then(|| InputProblem::PagesNotSearched {
        pages: count(pages.count),
        searched: count(pages.seen),
    })
}

/// That a code beside accounts is one, too, which only another app reads, or a secret alone.
fn foreign_account(reading: &ScanResult) -> Option<InputProblem> {
    let kinds = [
        ForeignKind::MicrosoftAuthenticator,
        ForeignKind::VendorAuthenticator,
        ForeignKind::BareSecret,
    ];
    let of_kind = |payload: &&Payload| kinds.contains(&ForeignKind::of(payload.expose()));
    let foreign: Vec<&Payload> = reading.payloads.iter().filter(of_kind).collect();
    Some(InputProblem::QrNotOtpauth {
        kind: ForeignKind::of(foreign.first()?.expose()),
        regions: foreign.iter().filter_map(|it| it.region()).collect(),
    })
}

/// Why there is no account in an image.
fn without_account(reading: ScanResult) -> InputProblem {
    let has_unread = !reading.unread.is_empty() || reading.unread_elsewhere > 0;
    if (!reading.payloads.is_empty() && has_unread) || not_searched(&reading).is_some() {
        let first = missed(&reading).into_iter().next();
        return first.unwrap_or(InputProblem::ImageTimeLimit);
    }
    match reading.payloads.first() {
        Some(first) => InputProblem::QrNotOtpauth {
            kind: ForeignKind::of(first.expose()),
            regions: reading
                .payloads
                .iter()
                .filter_map(Payload::region)
                .collect(),
        },
        None if reading.out_of_time => InputProblem::ImageTimeLimit,
        None => InputProblem::QrNotFound {
            tried: reading.tried.iter().map(ToString::to_string).collect(),
            regions: reading.unread,
        },
    }
}

fn of_image(problem: ImageProblem) -> InputProblem {
    match problem {
        ImageProblem::Empty => InputProblem::ImageEmpty,
        ImageProblem::Unsupported { format } => InputProblem::ImageUnsupported {
            format: format.to_owned(),
        },
        ImageProblem::Unreadable => InputProblem::ImageUnreadable,
        ImageProblem::TooLarge { width, height } => InputProblem::ImageTooLarge { width, height },
        ImageProblem::TooSmall { width, height } => InputProblem::ImageTooSmall { width, height },
        ImageProblem::TooManyBytes { limit, .. } => InputProblem::ImageTooManyBytes {
            limit: u64::try_from(limit).unwrap_or(u64::MAX),
        },
    }
}

//! QR codes: the bytes of a picture become the payloads of the codes in it.
//!
//! No single decoder reads what people send, so a cascade of cheap attempts runs, ordered by how
//! much each reads. Every attempt is bounded, because the bytes come from anybody: the number of
//! finder patterns, the sets tried, the pixels scaled up, and one deadline for the whole job.
//! Everything here is synchronous and pure computation; callers give it a blocking thread.

mod bits;
mod cascade;
mod fallback;
pub mod single;
mod symbols;

use std::fmt;
use std::time::Instant;

use countersign_enrollment::region::Region;
use zeroize::Zeroizing;

use crate::picture::{self, Picture, PictureProblem, ReadLimits};

pub use cascade::Step;

/// What one code says, and the step that read it. The text may hold a secret: it is wiped when
/// dropped, and no formatting shows it.
#[derive(Clone)]
pub struct Payload {
    text: Zeroizing<String>,
    step: Step,
    region: Option<Region>,
}

impl Payload {
    /// The text, exactly as encoded.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The text, to own.
    #[must_use]
    pub fn into_text(self) -> Zeroizing<String> {
        self.text
    }

    /// The step of the cascade that read it.
    #[must_use]
    pub fn step(&self) -> Step {
        self.step
    }

    /// Where the code is in the picture, as it is to be seen.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        self.region
    }

    /// Whether this is an account, or an export of several, for an authenticator: the scheme is
    /// `otpauth` or `otpauth-migration`.
    #[must_use]
    pub fn is_otpauth(&self) -> bool {
        let text = self.text.trim_start();
        ["otpauth:", "otpauth-migration:"].iter().any(|scheme| {
            text.get(..scheme.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(scheme))
        })
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("text", &"[redacted]")
            .field("step", &self.step)
            .finish()
    }
}

/// What was seen in a picture.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Each payload once, in the order in which people read: rows from top to bottom, each
    /// from left to right.
    pub payloads: Vec<Payload>,
    /// The attempts that were made, in their order.
    pub tried: Vec<Step>,
    /// What looks like a code and could not be read; a few at most, and none where
    /// something was read.
    pub candidates: Vec<Region>,
    /// Whether the deadline ended the search before every attempt was made.
    pub out_of_time: bool,
}

/// Reads every QR code of a picture.
///
/// The search ends after the first step that yields an authenticator code, so a picture may list
/// other codes beside it; a picture without one lists everything that was read. A readable picture
/// in which nothing is found gives an empty list. Light codes on dark and mirrored codes are read
/// too; Micro QR is not.
///
/// # Errors
///
/// Every [`PictureProblem`]: the bytes are no picture within the limits.
pub fn examine(bytes: &[u8], limits: &ReadLimits) -> Result<Reading, PictureProblem> {
    let deadline = Instant::now() + limits.deadline;
    let picture = picture::open(bytes, limits)?;
    Ok(cascade::read(&picture, deadline))
}

/// The payloads of [`examine`].
///
/// # Errors
///
/// As [`examine`].
pub fn read_codes(bytes: &[u8], limits: &ReadLimits) -> Result<Vec<Payload>, PictureProblem> {
    examine(bytes, limits).map(|reading| reading.payloads)
}

/// Reads every QR code of a decoded picture, as [`read_codes`] does, until the deadline.
#[must_use]
pub fn read_picture(picture: &Picture, deadline: Instant) -> Vec<Payload> {
    cascade::read(picture, deadline).payloads
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(text: &str) -> Payload {
        Payload {
            text: Zeroizing::new(text.to_owned()),
            step: Step::Native,
            region: None,
        }
    }

    #[test]
    fn schemes_compare_without_case_and_need_their_colon() {
        for text in [
            "otpauth://totp/x",
            " OTPAUTH://totp/x",
            "otpauth-migration://offline",
        ] {
            assert!(payload(text).is_otpauth(), "{text}");
        }
        for text in [
            "otpauthx://a",
            "https://otpauth:",
            "otpauth",
            "",
            "\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert!(!payload(text).is_otpauth(), "{text}");
        }
    }

    #[test]
    fn formatting_never_shows_the_text() {
        let shown = format!("{:?}", payload("otpauth://totp/x?secret=ABCDEFGH"));
        assert!(
            !shown.contains("ABCDEFGH") && !shown.contains("otpauth"),
            "{shown}"
        );
    }
}

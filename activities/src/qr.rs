//! QR codes: the bytes of an image become the payloads of the codes in it.
//!
//! No single decoder reads what people send, so a cascade of cheap attempts runs, ordered by how
//! much each reads. Every attempt is bounded, because the bytes come from anyone: the number of
//! finder patterns, the sets tried, the pixels scaled up, and one deadline for the whole job.
//! Everything here is synchronous and pure computation; callers give it a blocking thread.

mod area;
mod bend;
mod bits;
mod cascade;
mod fallback;
mod frames;
mod grid;
mod guard;
mod headers;
mod marks;
mod patch;
mod refine;
mod rest;
pub mod single;
mod symbols;
mod texture;
mod unread;

use std::fmt;
use std::time::Instant;

use countersign_enrollment::code_parts::CodePart;
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::region::Region;
use zeroize::Zeroizing;

use crate::images::{self, DecodedImage, ImageProblem, Pages, ReadLimits};

pub use cascade::Step;

/// What one code says, or several over which one text is split, and the step that read it. The
/// text may hold a secret: it is wiped when dropped, and no formatting shows it.
#[derive(Clone)]
pub struct Payload {
    text: Zeroizing<String>,
    step: Step,
    region: Option<Region>,
    is_joined: bool,
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

    /// Where the code is in the image, as it is to be seen; the first of several.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        self.region
    }

    /// Whether it was split over several codes, which are among [`ScanResult::parts`].
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.is_joined
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

/// What was seen in an image.
#[derive(Clone, Debug)]
pub struct ScanResult {
    /// Each payload once, in the order in which people read: rows from top to bottom, each
    /// from left to right. None is a part of a text that is split over several codes; such a
    /// text is one payload if all of its parts are there.
    pub payloads: Vec<Payload>,
    /// Every code that is a part of a text that is split, in the same order; others of the
    /// same text may be in other images.
    pub parts: Vec<CodePart>,
    /// Why parts are not joined.
    pub split: Vec<InputProblem>,
    /// The attempts that were made, in their order.
    pub tried: Vec<Step>,
    /// Where there are codes that could not be read, in the same order.
    pub unread: Vec<Region>,
    /// How many more there are in further frames or on further pages.
    pub unread_elsewhere: usize,
    /// What became of the frames or pages.
    pub pages: Pages,
    /// Whether the search ended at a bound or at the deadline while there was more to look at.
    pub cut_short: bool,
    /// Whether the deadline ended the search before every attempt was made.
    pub out_of_time: bool,
}

/// Reads every QR code of an image, in every frame of an animation and on every page of a TIFF.
///
/// The search ends after the first step that yields an authenticator code, so an image may list
/// other codes beside it; an image without one lists everything that was read. A readable image
/// in which nothing is found gives an empty list. Light codes on dark and mirrored codes are read
/// too; Micro QR is not.
///
/// # Errors
///
/// Every [`ImageProblem`]: the bytes are not an image within the limits.
pub fn examine(bytes: &[u8], limits: &ReadLimits) -> Result<ScanResult, ImageProblem> {
    let deadline = Instant::now() + limits.deadline;
    let picture = images::open(bytes, limits)?;
    let found = cascade::read(&picture, deadline);
    Ok(frames::add_further(bytes, picture, limits, found, deadline))
}

/// The payloads of [`examine`].
///
/// # Errors
///
/// As [`examine`].
pub fn read_codes(bytes: &[u8], limits: &ReadLimits) -> Result<Vec<Payload>, ImageProblem> {
    examine(bytes, limits).map(|reading| reading.payloads)
}

/// Reads every QR code of a decoded image, as [`examine`] does, until the deadline.
#[must_use]
pub fn read_image(picture: &DecodedImage, deadline: Instant) -> ScanResult {
    cascade::read(picture, deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(text: &str) -> Payload {
        Payload {
            text: Zeroizing::new(text.to_owned()),
            step: Step::Native,
            region: None,
            is_joined: false,
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

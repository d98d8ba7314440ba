//! The steps, their order, and when to stop.

use std::fmt;
use std::time::{Duration, Instant};

use countersign_enrollment::region;
use zeroize::Zeroizing;

use super::symbols::{self, Symbol, Symbols};
use super::{Payload, Reading, bits, fallback};
use crate::picture::{Picture, Plane};

/// One attempt of the cascade, named for error reports and measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Full size, local thresholds.
    Native,
    /// Full size, one threshold for the whole picture: pale codes.
    Otsu,
    /// Laid over black: light codes on a transparent page.
    OnBlack,
    /// Half size: noise, moiré, very large modules.
    Half,
    /// Blurred: codes drawn with dots.
    Blurred,
    /// Double size: very small modules.
    Double,
    /// Single colour channels: two colours of equal brightness.
    Channels,
    /// Sharpened: soft pictures.
    Sharpened,
    /// A second decoder that finds patterns by flood filling.
    Quircs,
    /// A third decoder.
    Rqrr,
}

impl Step {
    const ORDER: [Self; 10] = [
        Self::Native,
        Self::Otsu,
        Self::OnBlack,
        Self::Half,
        Self::Blurred,
        Self::Double,
        Self::Channels,
        Self::Sharpened,
        Self::Quircs,
        Self::Rqrr,
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Otsu => "otsu",
            Self::OnBlack => "on-black",
            Self::Half => "half",
            Self::Blurred => "blurred",
            Self::Double => "double",
            Self::Channels => "channels",
            Self::Sharpened => "sharpened",
            Self::Quircs => "quircs",
            Self::Rqrr => "rqrr",
        })
    }
}

/// Larger pictures are halved until they fit: their codes have pixels to spare, and no single
/// attempt may take longer than the deadline.
const MAX_SCAN_PIXELS: usize = 16_000_000;

/// Filters that cost several passes run below this size only.
const MAX_FILTER_PIXELS: usize = 5_000_000;

/// Only pictures below this size are doubled.
const MAX_DOUBLE_PIXELS: usize = 4_000_000;

/// Doubling a long strip makes sides that no camera has.
const MAX_DOUBLE_SIDE: u32 = 6_000;

/// Once an authenticator code is read and three more finder patterns are in the picture, later
/// steps get this long to read the code that they may belong to.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// After this step a picture is done in which other codes were read and no finder pattern is left
/// over: the steps up to here show codes of other contrast and size.
const LAST_FOR_OTHERS: Step = Step::Half;

/// Runs the steps in order until an authenticator code is read, nothing is left to look for, or the
/// deadline is over.
pub(super) fn read(picture: &Picture, deadline: Instant) -> Reading {
    let halved = fitted(&picture.on_white);
    let scan = Scan {
        picture,
        plane: halved.as_ref().unwrap_or(&picture.on_white),
        deadline,
    };
    let mut payloads: Vec<Payload> = Vec::new();
    let mut seen = Symbols::default();
    let mut tried = Vec::new();
    let mut end = deadline;
    let mut out_of_time = false;
    for step in Step::ORDER {
        if Instant::now() >= end {
            out_of_time = end == deadline;
            break;
        }
        tried.push(step);
        let symbols = scan.attempt(step, &seen);
        let hit = !symbols.read.is_empty();
        let settled = symbols.unread < 3;
        let read = seen.note(symbols);
        for Symbol { text, region } in read {
            if !text.is_empty() && !payloads.iter().any(|known| *known.text == *text) {
                payloads.push(Payload { text, step, region });
            }
        }
        if payloads.iter().any(Payload::is_otpauth) {
            if hit && settled {
                break;
            }
            end = end.min(Instant::now() + SECOND_LOOK);
        } else if !payloads.is_empty() && seen.unread < 3 && step >= LAST_FOR_OTHERS {
            break;
        }
    }
    region::reading_order(&mut payloads, Payload::region);
    Reading {
        candidates: if payloads.is_empty() {
            seen.candidates
        } else {
            Vec::new()
        },
        payloads,
        tried,
        out_of_time,
    }
}

fn fitted(plane: &Plane) -> Option<Plane> {
    let mut fitted: Option<Plane> = None;
    while fitted.as_ref().unwrap_or(plane).pixels().len() > MAX_SCAN_PIXELS {
        fitted = Some(fitted.as_ref().unwrap_or(plane).halved());
    }
    fitted
}

/// One picture on its way through the steps.
struct Scan<'a> {
    picture: &'a Picture,
    plane: &'a Plane,
    deadline: Instant,
}

impl Scan<'_> {
    /// Makes one attempt. `seen` is what the earlier ones have seen.
    fn attempt(&self, step: Step, seen: &Symbols) -> Symbols {
        match step {
            Step::Native => self.native(),
            Step::Otsu => self.symbols(bits::otsu(self.plane)),
            Step::OnBlack => self.on_black(),
            Step::Half => self.local(&self.plane.halved()),
            Step::Blurred => self.filtered(Plane::blurred),
            Step::Double => self.double(),
            Step::Channels => self.channels(),
            Step::Sharpened => self.filtered(Plane::sharpened),
            Step::Quircs => fallback::quircs(self.plane, self.deadline),
            Step::Rqrr => fallback::rqrr(self.plane, seen, self.deadline),
        }
    }

    fn native(&self) -> Symbols {
        let mut found = self.local(self.plane);
        if found.read.is_empty() && Instant::now() < self.deadline {
            let symbol = fallback::classic(self.plane, &found);
            found.read.extend(symbol);
        }
        found
    }

    fn on_black(&self) -> Symbols {
        let Some(plane) = &self.picture.on_black else {
            return Symbols::default();
        };
        let halved = fitted(plane);
        let plane = halved.as_ref().unwrap_or(plane);
        let mut found = self.local(plane);
        if found.read.is_empty() {
            found.absorb(self.symbols(bits::otsu(plane)));
        }
        found
    }

    fn double(&self) -> Symbols {
        let longest = self.plane.width().max(self.plane.height());
        if self.plane.pixels().len() > MAX_DOUBLE_PIXELS || 2 * longest > MAX_DOUBLE_SIDE {
            return Symbols::default();
        }
        self.local(&self.plane.doubled())
    }

    fn channels(&self) -> Symbols {
        let Some(colour) = &self.picture.colour else {
            return Symbols::default();
        };
        let mut found = self.symbols(bits::otsu(&colour.spread));
        if found.read.is_empty() {
            found.absorb(self.local(&colour.red));
        }
        if found.read.is_empty() {
            found.absorb(self.symbols(bits::otsu(&colour.red)));
        }
        found
    }

    fn filtered(&self, filter: impl Fn(&Plane) -> Plane) -> Symbols {
        if self.plane.pixels().len() > MAX_FILTER_PIXELS {
            return Symbols::default();
        }
        self.local(&filter(self.plane))
    }

    fn local(&self, plane: &Plane) -> Symbols {
        self.symbols(bits::local(plane))
    }

    fn symbols(&self, bits: Option<rxing::common::BitMatrix>) -> Symbols {
        bits.map_or_else(Symbols::default, |bits| symbols::read(bits, self.deadline))
    }
}

/// A text that will be wiped.
pub(super) type Text = Zeroizing<String>;

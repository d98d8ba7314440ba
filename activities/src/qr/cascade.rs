//! The steps, their order, and when to stop.

use std::fmt;
use std::time::{Duration, Instant};

use countersign_enrollment::code_parts::{self, CodePart};
use countersign_enrollment::region::{self, Region};

use super::area::{Area, SAME};
use super::symbols::{self, Symbol, SymbolContent, Symbols};
use super::{Payload, ScanResult, bits, fallback, refine, rest};
use crate::images::{DecodedImage, ImageInfo, Pages, Plane};

/// One attempt of the cascade, named for error reports and measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Full size, local thresholds.
    Native,
    /// Full size, one threshold for the whole image: pale codes.
    Otsu,
    /// Laid over black: light codes on a transparent page.
    OnBlack,
    /// Half size: noise, moiré, very large modules.
    Half,
    /// Blurred: codes drawn with dots; then more so, at half size: printed in a raster.
    Blurred,
    /// Double size, and thrice: very small modules.
    Double,
    /// Full size, thresholds by the nearest modules: glare and reflections.
    Narrow,
    /// Single color channels: two colors of equal brightness.
    Channels,
    /// Sharpened: soft images.
    Sharpened,
    /// One code at a time, on a grid that bends with it, and with its blur taken back.
    Refined,
    /// A second decoder that finds patterns by flood filling.
    Quircs,
    /// A third decoder.
    Rqrr,
}

impl Step {
    const ORDER: [Self; 12] = [
        Self::Native,
        Self::Otsu,
        Self::OnBlack,
        Self::Half,
        Self::Refined,
        Self::Blurred,
        Self::Double,
        Self::Narrow,
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
            Self::Narrow => "narrow",
            Self::Channels => "channels",
            Self::Sharpened => "sharpened",
            Self::Refined => "refined",
            Self::Quircs => "quircs",
            Self::Rqrr => "rqrr",
        })
    }
}

/// Larger images are halved until they fit: their codes have pixels to spare, and no single
/// attempt may take longer than the deadline.
const MAX_SCAN_PIXELS: usize = 16_000_000;

/// Filters that cost several passes run below this size only.
const MAX_FILTER_PIXELS: usize = 5_000_000;

/// Only images below this size are doubled.
const MAX_DOUBLE_PIXELS: usize = 4_000_000;

/// Only images below this size are enlarged thrice.
const MAX_TRIPLE_PIXELS: usize = 700_000;

/// Doubling a long strip makes sides that no camera has.
const MAX_DOUBLE_SIDE: u32 = 6_000;

/// Once an authenticator code is read and three more finder patterns are in the image, later
/// steps get this long to read the code that they may belong to.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// Codes that are looked at more closely, at most.
const MAX_REFINED: usize = 8;

/// The part of the time left that this may take: one in so many.
const REFINING: u32 = 4;

/// After this step an image is done in which other codes were read and no finder pattern is left
/// over: the steps up to here show codes of other contrast and size.
const LAST_FOR_OTHERS: Step = Step::Half;

/// How long one part that remains beside the codes that were read is looked at.
const LOOK_AT_ONE: Duration = Duration::from_millis(100);

/// Runs the steps in order until an authenticator code is read, nothing is left to look for, or the
/// deadline has passed; then looks at what remains beside the codes that were read.
pub(super) fn read(picture: &DecodedImage, deadline: Instant) -> ScanResult {
    let halved = fitted(&picture.on_white);
    let scan = Scan {
        picture,
        plane: halved.as_ref().unwrap_or(&picture.on_white),
        deadline,
    };
    let mut search = Search::default();
    search.run(&scan);
    search.look_at_rest(&scan);
    search.conclude()
}

/// What was tried and found so far.
#[derive(Default)]
struct Search {
    known: Known,
    seen: Symbols,
    tried: Vec<Step>,
    out_of_time: bool,
    /// What stands by itself, is a code and was not read.
    alone: Vec<Region>,
}

impl Search {
    fn run(&mut self, scan: &Scan<'_>) {
        let Self {
            known, seen, tried, ..
        } = self;
        let mut end = scan.deadline;
        for step in Step::ORDER {
            if Instant::now() >= end {
                self.out_of_time = end == scan.deadline;
                break;
            }
            tried.push(step);
            let symbols = scan.attempt(step, seen);
            let hit = !symbols.read.is_empty();
            let left = symbols.unread;
            let cut_short = symbols.cut_short;
            known.add(seen.note(symbols), step);
            seen.candidates.retain(|it| known.is_unread(it));
            seen.located.retain(|it| known.is_unread(&it.region()));
            // What is too much at full size may be looked at whole at half of it.
            seen.cut_short = cut_short;
            let settled = left < 3 && seen.candidates.is_empty() && known.is_whole();
            if known.has_account() {
                if hit && settled {
                    break;
                }
                end = end.min(Instant::now() + SECOND_LOOK);
            } else if known.has_any() && seen.unread < 3 && settled && step >= LAST_FOR_OTHERS {
                break;
            }
        }
    }

    /// Reads what stands by itself beside the codes that were read as if it were alone, and notes
    /// what is a code and cannot be read.
    fn look_at_rest(&mut self, scan: &Scan<'_>) {
        if self.known.regions.is_empty() {
            return;
        }
        let end = scan.deadline;
        let color = scan.picture.color.as_ref();
        let planes = [
            Some((scan.plane, false)),
            scan.picture.on_black.as_ref().map(|it| (it, false)),
            color.map(|it| (&it.spread, true)),
            color.map(|it| (&it.red, true)),
        ];
        for (plane, is_tint) in planes.into_iter().flatten() {
            let rest = rest::of(plane, is_tint, &self.known.regions, end);
            self.seen.cut_short |= rest.cut_short;
            for spot in &rest.spots {
                let is_noted = |it: &Region| it.overlap(&spot.region) > SAME;
                if self.alone.iter().any(is_noted) || !self.known.is_unread(&spot.region) {
                    continue;
                }
                // With the page around it, then without: on a card of its own that is too bright.
                let around = spot.area.width().max(spot.area.height()) / 8;
                let areas = [around, 0].map(|by| spot.area.grown(by, &rest.plane));
                if areas
                    .iter()
                    .any(|area| self.read_alone(scan, &rest.plane, area, end))
                {
                    self.known.regions.push(spot.region);
                } else {
                    self.alone.push(spot.region);
                }
            }
        }
        let known = &self.known;
        self.alone.retain(|it| known.is_unread(it));
        self.seen.candidates.retain(|it| known.is_unread(it));
    }

    /// Whether a part of the image could be read as if it were all of it.
    fn read_alone(&mut self, scan: &Scan<'_>, plane: &Plane, area: &Area, end: Instant) -> bool {
        let on_white = area.cut_from(plane).stretched();
        let info = ImageInfo {
            width: on_white.width(),
            height: on_white.height(),
            ..scan.picture.info
        };
        let picture = DecodedImage {
            info,
            on_white,
            on_black: None,
            color: None,
        };
        let mut alone = Self::default();
        alone.run(&Scan {
            picture: &picture,
            plane: &picture.on_white,
            deadline: end.min(Instant::now() + LOOK_AT_ONE),
        });
        let is_read = alone.known.has_any();
        self.known
            .take(alone.known, |region| area.in_whole(&region, plane));
        is_read
    }

    fn conclude(self) -> ScanResult {
        let Self {
            known,
            seen,
            tried,
            out_of_time,
            alone,
        } = self;
        let Known {
            mut payloads,
            mut parts,
            regions: _,
        } = known;
        let mut unread = seen.candidates;
        unread.extend(alone);
        merge(&mut unread);
        region::reading_order(&mut unread, |region| Some(*region));
        region::reading_order(&mut parts, |(part, _)| part.region);
        let gathered = code_parts::gather(parts.iter().map(|(part, _)| part));
        let step = parts.iter().map(|(_, step)| *step).max();
        for joined in gathered.joined {
            // A text can be there as a whole, too, or be split in two ways.
            if !payloads.iter().any(|known| *known.text == *joined.text) {
                payloads.push(Payload {
                    text: joined.text,
                    step: step.unwrap_or(Step::Native),
                    region: joined.region,
                    is_joined: true,
                });
            }
        }
        region::reading_order(&mut payloads, Payload::region);
        ScanResult {
            payloads,
            parts: parts.into_iter().map(|(part, _)| part).collect(),
            split: gathered.problems,
            tried,
            unread,
            unread_elsewhere: 0,
            pages: Pages {
                count: 1,
                seen: 1,
                is_damaged: false,
            },
            cut_short: seen.cut_short,
            out_of_time,
        }
    }
}

/// What was read so far.
#[derive(Default)]
struct Known {
    payloads: Vec<Payload>,
    parts: Vec<(CodePart, Step)>,
    /// Where all of it is, what is said twice too.
    regions: Vec<Region>,
}

impl Known {
    fn add(&mut self, read: Vec<Symbol>, step: Step) {
        for Symbol { said, region } in read {
            self.regions.extend(region);
            match said {
                SymbolContent::Whole(text) => self.add_payload(Payload {
                    text,
                    step,
                    region,
                    is_joined: false,
                }),
                SymbolContent::Part(part) => self.add_part(CodePart { region, ..part }, step),
            }
        }
    }

    /// Takes over what was read in a part of the image.
    fn take(&mut self, other: Self, in_whole: impl Fn(Region) -> Region) {
        self.regions
            .extend(other.regions.into_iter().map(&in_whole));
        for mut payload in other.payloads {
            payload.region = payload.region.map(&in_whole);
            self.add_payload(payload);
        }
        for (part, step) in other.parts {
            let region = part.region.map(&in_whole);
            self.add_part(CodePart { region, ..part }, step);
        }
    }

    fn add_payload(&mut self, payload: Payload) {
        let is_known = self
            .payloads
            .iter()
            .any(|known| *known.text == *payload.text);
        if !payload.text.is_empty() && !is_known {
            self.payloads.push(payload);
        }
    }

    fn add_part(&mut self, part: CodePart, step: Step) {
        if !self.parts.iter().any(|(known, _)| known.is_same(&part)) {
            self.parts.push((part, step));
        }
    }

    fn has_any(&self) -> bool {
        !self.payloads.is_empty() || !self.parts.is_empty()
    }

    fn has_account(&self) -> bool {
        !self.parts.is_empty() || self.payloads.iter().any(Payload::is_otpauth)
    }

    /// Whether no part is missing of a text that is split.
    fn is_whole(&self) -> bool {
        self.parts.is_empty()
            || code_parts::gather(self.parts.iter().map(|(part, _)| part))
                .problems
                .is_empty()
    }

    fn is_unread(&self, region: &Region) -> bool {
        is_unread(&self.regions, region)
    }
}

/// Whether nothing was read at a place.
fn is_unread(read: &[Region], region: &Region) -> bool {
    // About where the finder pattern is that it begins with: one of a code that was read begins
    // no other, wherever modules seem to follow.
    let [start, _, end, _] = region.corners;
    let begin = [0, 1].map(|axis| {
        let (start, end) = (i32::from(start[axis]), i32::from(end[axis]));
        start + (end - start) / 10
    });
    !read.iter().any(|read| {
        let [low, high] = read.bounds();
        let is_in =
            |axis: usize| (i32::from(low[axis])..=i32::from(high[axis])).contains(&begin[axis]);
        read.overlap(region) > SAME || (is_in(0) && is_in(1))
    })
}

/// Makes one of places that overlap: they are of the same code.
fn merge(regions: &mut Vec<Region>) {
    let mut merged: Vec<Region> = Vec::new();
    for mut region in regions.drain(..) {
        while let Some(index) = merged.iter().position(|it| it.overlap(&region) > SAME) {
            region = region.joined(&merged.swap_remove(index));
        }
        merged.push(region);
    }
    *regions = merged;
}

fn fitted(plane: &Plane) -> Option<Plane> {
    let mut fitted: Option<Plane> = None;
    while fitted.as_ref().unwrap_or(plane).pixels().len() > MAX_SCAN_PIXELS {
        fitted = Some(fitted.as_ref().unwrap_or(plane).halved());
    }
    fitted
}

/// One image on its way through the steps.
struct Scan<'a> {
    picture: &'a DecodedImage,
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
            Step::Refined => self.refined(seen),
            Step::Blurred => self.blurred(),
            Step::Double => self.double(),
            Step::Narrow => self.narrow(),
            Step::Channels => self.channels(),
            Step::Sharpened => self.filtered(Plane::sharpened),
            Step::Quircs => fallback::quircs(self.plane, self.deadline),
            Step::Rqrr => fallback::rqrr(self.plane, seen, self.deadline),
        }
    }

    /// Looks at what earlier attempts have located and not read.
    fn refined(&self, seen: &Symbols) -> Symbols {
        let mut found = Symbols::default();
        let mut done: Vec<Region> = Vec::new();
        let now = Instant::now();
        let end = now + self.deadline.saturating_duration_since(now) / REFINING;
        for located in &seen.located {
            if Instant::now() >= end || done.len() >= MAX_REFINED {
                break;
            }
            let region = located.region();
            if found
                .read
                .iter()
                .any(|it: &Symbol| it.region.is_some_and(|it| it.overlap(&region) > SAME))
            {
                continue;
            }
            if let Some(said) = refine::read(self.plane, located, end) {
                found.read.push(Symbol {
                    said,
                    region: Some(region),
                });
            }
            done.push(region);
        }
        found
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
        let mut found = self.local(&self.plane.doubled());
        if found.read.is_empty()
            && self.plane.pixels().len() <= MAX_TRIPLE_PIXELS
            && Instant::now() < self.deadline
        {
            found.absorb(self.local(&self.plane.tripled()));
        }
        found
    }

    fn blurred(&self) -> Symbols {
        if self.plane.pixels().len() > MAX_FILTER_PIXELS {
            return Symbols::default();
        }
        let blurred = self.plane.blurred();
        let mut found = self.local(&blurred);
        if found.read.is_empty() && Instant::now() < self.deadline {
            found.absorb(self.local(&blurred.halved().blurred()));
        }
        found
    }

    fn narrow(&self) -> Symbols {
        if self.plane.pixels().len() > MAX_FILTER_PIXELS {
            return Symbols::default();
        }
        self.symbols(bits::narrow(self.plane))
    }

    fn channels(&self) -> Symbols {
        let Some(color) = &self.picture.color else {
            return Symbols::default();
        };
        let mut found = self.symbols(bits::otsu(&color.spread));
        if found.read.is_empty() {
            found.absorb(self.local(&color.red));
        }
        if found.read.is_empty() {
            found.absorb(self.symbols(bits::otsu(&color.red)));
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

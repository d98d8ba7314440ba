//! The main decoder: rxing's port of zxing-cpp, driven by hand so that every loop has a bound.

use std::cmp::Reverse;
use std::time::Instant;

use countersign_enrollment::code_parts::CodePart;
use countersign_enrollment::region::Region;
use rxing::common::cpp_essentials::ConcentricPattern;
use rxing::common::{BitMatrix, DetectorRXingResult};
use rxing::qrcode::cpp_port::decoder::Decode;
use rxing::qrcode::cpp_port::detector::{FindFinderPatterns, GenerateFinderPatternSets, SampleQR};
use zeroize::Zeroizing;

use super::grid::Located;
use super::guard::guarded;
use super::{bend, headers, unread};

/// A text that will be wiped.
pub(super) type Text = Zeroizing<String>;

/// The largest patterns are kept: enough for a sheet of 400 codes.
const MAX_PATTERNS: usize = 1_200;

/// Sets of three patterns tried, the most plausible first: so many, and more for each pattern.
const MAX_SETS: usize = 400;
const SETS_OF_A_PATTERN: usize = 30;

/// Runs of black and white that look like a finder pattern, above which an image is noise. The search for
/// patterns compares each with all others, so its time grows with the square.
const MAX_PATTERN_RUNS: usize = 20_000;

/// Finder patterns that are left over and looked at one by one, at most.
const MAX_LEFT_OVER: usize = 120;

/// Codes that are looked at more closely after one attempt, at most.
const MAX_LOCATED: usize = 4;

/// Sets of three patterns between which paper may bend, at most, and among how many.
const MAX_BENT: usize = 3;
const MAX_BENT_PATTERNS: usize = 60;

/// What the modules of one code say.
pub(super) enum SymbolContent {
    /// All of it.
    Whole(Text),
    /// A part of a text that is split over several codes.
    Part(CodePart),
}

impl SymbolContent {
    pub(super) fn text(self) -> Text {
        match self {
            Self::Whole(text) => text,
            Self::Part(part) => part.text,
        }
    }
}

/// What one code says, and where it is.
pub(super) struct Symbol {
    pub(super) said: SymbolContent,
    pub(super) region: Option<Region>,
}

/// What one attempt has found.
#[derive(Default)]
pub(super) struct Symbols {
    /// The codes that were read.
    pub(super) read: Vec<Symbol>,
    /// Where there are others.
    pub(super) candidates: Vec<Region>,
    /// Those of them that may be read by looking more closely.
    pub(super) located: Vec<Located>,
    /// Finder patterns seen, before any bound; `usize::MAX` if there were too many to look for.
    pub(super) patterns: usize,
    /// Runs of black and white that look like a finder pattern.
    pub(super) runs: usize,
    /// Finder patterns that belong to no code that was read.
    pub(super) unread: usize,
    /// Whether a bound or the deadline ended the attempt before all was looked at.
    pub(super) cut_short: bool,
}

impl Symbols {
    /// Codes read by a decoder that tells nothing else.
    pub(super) fn of(read: Vec<Symbol>) -> Self {
        Self {
            read,
            ..Self::default()
        }
    }

    /// Takes over everything but the codes, and gives those back.
    pub(super) fn note(&mut self, mut other: Self) -> Vec<Symbol> {
        let read = std::mem::take(&mut other.read);
        self.absorb(other);
        read
    }

    pub(super) fn absorb(&mut self, other: Self) {
        self.read.extend(other.read);
        self.candidates.extend(other.candidates);
        self.located.extend(other.located);
        self.patterns = self.patterns.max(other.patterns);
        self.runs = self.runs.max(other.runs);
        self.unread = self.unread.max(other.unread);
        self.cut_short = other.cut_short;
    }
}

/// Reads every code, dark on light and then light on dark, until the deadline.
pub(super) fn read(mut bits: BitMatrix, deadline: Instant) -> Symbols {
    let mut found = read_polarity(&bits, deadline);
    if Instant::now() < deadline {
        bits.flip_self();
        let mut flipped = read_polarity(&bits, deadline);
        flipped.located.iter_mut().for_each(|it| it.is_light = true);
        // One of them has no codes, and may be all noise.
        let cut_short = found.cut_short && flipped.cut_short;
        found.absorb(flipped);
        found.cut_short = cut_short;
    }
    found
}

fn read_polarity(bits: &BitMatrix, deadline: Instant) -> Symbols {
    let runs = pattern_runs(bits);
    if runs > MAX_PATTERN_RUNS {
        return Symbols {
            patterns: usize::MAX,
            runs,
            cut_short: true,
            ..Symbols::default()
        };
    }
    let mut patterns = guarded(|| Some(FindFinderPatterns(bits, true, 0))).unwrap_or_default();
    let mut search = Search {
        bits,
        deadline,
        used: Vec::new(),
        failed: Vec::new(),
        located: Vec::new(),
        bent: Vec::new(),
        found: Symbols {
            patterns: patterns.len(),
            runs,
            cut_short: patterns.len() > MAX_PATTERNS,
            ..Symbols::default()
        },
    };
    patterns.sort_by_key(|pattern| Reverse(pattern.size));
    patterns.truncate(MAX_PATTERNS);
    // Sets are made of near neighbors. On a sheet of codes those that were read stand between
    // others that belong together, so what is left over is looked at again.
    while search.sets(&mut patterns) {
        patterns.retain(|pattern| !search.used.contains(pattern));
    }
    search.conclude(&patterns)
}

/// The search in one image of black and white.
struct Search<'a> {
    bits: &'a BitMatrix,
    deadline: Instant,
    /// The finder patterns of the codes that were read.
    used: Vec<ConcentricPattern>,
    /// What looks like a code and could not be read, with its finder patterns.
    failed: Vec<([ConcentricPattern; 3], Region)>,
    /// What has the finder patterns of a code, with them.
    located: Vec<([ConcentricPattern; 3], Located)>,
    /// What may be a code on bent paper, with its finder patterns.
    bent: Vec<([ConcentricPattern; 3], Located)>,
    found: Symbols,
}

impl Search<'_> {
    /// Tries every plausible set of three patterns; whether there is a reason to do it again.
    fn sets(&mut self, patterns: &mut Vec<ConcentricPattern>) -> bool {
        let sets = guarded(|| Some(GenerateFinderPatternSets(patterns))).unwrap_or_default();
        let bound = MAX_SETS + SETS_OF_A_PATTERN * patterns.len();
        let (before, is_more) = (self.found.read.len(), sets.len() > bound);
        for set in sets.into_iter().take(bound) {
            if Instant::now() >= self.deadline {
                self.found.cut_short = true;
                return false;
            }
            let corners = [set.bl, set.tl, set.tr];
            if corners.iter().any(|corner| self.used.contains(corner)) {
                continue;
            }
            let sampled = guarded(|| SampleQR(self.bits, &set).ok());
            let Some(sampled) = sampled else {
                self.note_bent(corners, patterns.len());
                continue;
            };
            let region = region_of(self.bits, sampled.getPoints());
            if let Some(said) = guarded(|| said_by(sampled.getBits())) {
                self.used.extend(corners);
                self.found.read.push(Symbol { said, region });
                continue;
            }
            if let Some(located) = located(self.bits, sampled.getPoints(), sampled.getBits())
                && self.located.len() < MAX_LEFT_OVER
            {
                self.located.push((corners, located));
            }
            self.note_bent(corners, patterns.len());
            if let Some(region) = region
                && self.failed.len() < MAX_LEFT_OVER
                && unread::is_code(sampled.getBits())
            {
                self.failed.push((corners, region));
            }
        }
        let progress = self.found.read.len() > before;
        self.found.cut_short |= is_more && !progress;
        progress && patterns.len() > 3
    }

    /// Keeps a set for a closer look: the paper may bend between its patterns.
    fn note_bent(&mut self, corners: [ConcentricPattern; 3], patterns: usize) {
        if self.bent.len() >= MAX_BENT || patterns > MAX_BENT_PATTERNS {
            return;
        }
        if let Some(located) = bend::located(self.bits, corners) {
            self.bent.push((corners, located));
        }
    }

    fn conclude(mut self, patterns: &[ConcentricPattern]) -> Symbols {
        let left = |pattern: &&ConcentricPattern| !self.used.contains(pattern);
        let failed = self.failed.iter();
        let whole = failed.filter(|(corners, _)| corners.iter().all(|it| left(&it)));
        let mut candidates: Vec<Region> = whole.map(|(_, region)| *region).collect();
        let near = self.located.iter();
        let near = near.filter(|(corners, _)| corners.iter().all(|it| left(&it)));
        let bent = self.bent.iter();
        let bent = bent.filter(|(corners, _)| corners.iter().all(|it| left(&it)));
        self.found.located = near
            .take(MAX_LOCATED)
            .chain(bent)
            .map(|(_, located)| located.clone())
            .collect();
        let single = patterns.iter().filter(left).take(MAX_LEFT_OVER);
        candidates
            .extend(single.filter_map(|pattern| guarded(|| unread::beside(self.bits, *pattern))));
        self.found.candidates = candidates;
        self.found.unread = self.found.patterns.saturating_sub(self.used.len());
        self.found
    }
}

/// What the sampler makes of a set, if it has three finder patterns.
fn located(bits: &BitMatrix, corners: &[rxing::Point], modules: &BitMatrix) -> Option<Located> {
    let (width, height) = (bits.width() as f32, bits.height() as f32);
    let [tl, tr, bl, br]: [rxing::Point; 4] = corners.try_into().ok()?;
    unread::has_finders(modules).then(|| Located {
        corners: [tl, tr, br, bl].map(|corner| [corner.x / width, corner.y / height]),
        side: modules.width(),
        is_light: false,
        finders: None,
    })
}

/// Where a code is whose corners the sampler tells: top left, top right, bottom left, bottom right.
fn region_of(bits: &BitMatrix, corners: &[rxing::Point]) -> Option<Region> {
    let (width, height) = (bits.width() as f32, bits.height() as f32);
    let [tl, tr, bl, br]: [rxing::Point; 4] = corners.try_into().ok()?;
    let fractions = [tl, tr, br, bl].map(|corner| [corner.x / width, corner.y / height]);
    Some(Region::from_fractions(fractions))
}

/// Reads the modules of one code: error correction, then the text.
pub(super) fn said_by(modules: &BitMatrix) -> Option<SymbolContent> {
    let decoded = Decode(modules).ok().filter(|decoded| decoded.isValid())?;
    let text = Zeroizing::new(decoded.text());
    let split = decoded.structuredAppend();
    if split.count < 0 {
        return Some(SymbolContent::Whole(text));
    }
    // What contradicts itself fits nowhere.
    let is_clear = headers::count(modules).unwrap_or(1) == 1;
    let of = u8::try_from(split.count).ok().filter(|_| is_clear);
    Some(SymbolContent::Part(CodePart {
        index: u8::try_from(split.index).ok()?,
        of: of.unwrap_or(0),
        parity: split.id.parse().ok()?,
        bytes: Zeroizing::new(decoded.content().bytes().to_vec()),
        text,
        region: None,
    }))
}

/// Counts the runs of about 1:1:3:1:1 in every third row, in time linear in the pixels.
fn pattern_runs(bits: &BitMatrix) -> usize {
    let mut count = 0;
    for y in (2..bits.height()).step_by(3) {
        let (mut runs, mut length, mut black) = ([0_u32; 5], 0_u32, false);
        for x in 0..bits.width() {
            if bits.get(x, y) == black {
                length += 1;
                continue;
            }
            runs.rotate_left(1);
            runs[4] = length;
            (length, black) = (1, !black);
            // The run that just ended was black if a white one begins.
            count += usize::from(!black && looks_like_finder(runs));
        }
    }
    count
}

fn looks_like_finder([a, b, centre, d, e]: [u32; 5]) -> bool {
    a > 0 && centre >= 3 && centre >= 2 * a.max(e) && centre >= b.max(d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn noise_is_not_searched_for_patterns() {
        let mut bits = BitMatrix::new(3000, 3000).unwrap();
        for y in 0..3000 {
            for x in (0..3000).filter(|x| [0, 2, 3, 4, 6].contains(&(x % 8))) {
                bits.set(x, y);
            }
        }
        let found = read(bits, Instant::now() + Duration::from_secs(60));
        assert_eq!(found.patterns, usize::MAX);
        assert!(found.read.is_empty());
    }
}

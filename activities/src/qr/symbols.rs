//! The main decoder: rxing's port of zxing-cpp, driven by hand so that every loop has a bound.

use std::cmp::Reverse;
use std::time::Instant;

use countersign_enrollment::region::Region;
use rxing::common::cpp_essentials::ConcentricPattern;
use rxing::common::{BitMatrix, DetectorRXingResult};
use rxing::qrcode::cpp_port::decoder::Decode;
use rxing::qrcode::cpp_port::detector::{FindFinderPatterns, GenerateFinderPatternSets, SampleQR};
use zeroize::Zeroizing;

use super::cascade::Text;
use super::fallback::guarded;

/// The largest patterns are kept: sets are combinations of three, and a picture full of patterns
/// would make millions of sets.
const MAX_PATTERNS: usize = 160;

/// Sets tried, the most plausible first.
const MAX_SETS: usize = 400;

/// Runs of black and white that look like a finder pattern, above which a picture is noise. The search for
/// patterns compares each with all others, so its time grows with the square.
const MAX_PATTERN_RUNS: usize = 20_000;

/// What looks like a code and could not be read is told for so many places at most.
const MAX_CANDIDATES: usize = 8;

/// What one code says, and where it is.
pub(super) struct Symbol {
    pub(super) text: Text,
    pub(super) region: Option<Region>,
}

/// What one attempt has found.
#[derive(Default)]
pub(super) struct Symbols {
    /// The codes that were read.
    pub(super) read: Vec<Symbol>,
    /// Where there seem to be others.
    pub(super) candidates: Vec<Region>,
    /// Finder patterns seen, before any bound; `usize::MAX` if there were too many to look for.
    pub(super) patterns: usize,
    /// Runs of black and white that look like a finder pattern.
    pub(super) runs: usize,
    /// Finder patterns that belong to no code that was read.
    pub(super) unread: usize,
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
        if self.candidates.is_empty() {
            self.candidates = other.candidates;
        }
        self.patterns = self.patterns.max(other.patterns);
        self.runs = self.runs.max(other.runs);
        self.unread = self.unread.max(other.unread);
    }
}

/// Reads every code, dark on light and then light on dark, until the deadline.
pub(super) fn read(mut bits: BitMatrix, deadline: Instant) -> Symbols {
    let mut found = read_polarity(&bits, deadline);
    if Instant::now() < deadline {
        bits.flip_self();
        found.absorb(read_polarity(&bits, deadline));
    }
    found
}

fn read_polarity(bits: &BitMatrix, deadline: Instant) -> Symbols {
    let runs = pattern_runs(bits);
    if runs > MAX_PATTERN_RUNS {
        return Symbols {
            patterns: usize::MAX,
            runs,
            ..Symbols::default()
        };
    }
    let mut patterns = guarded(|| Some(FindFinderPatterns(bits, true, 0))).unwrap_or_default();
    let mut found = Symbols {
        patterns: patterns.len(),
        runs,
        ..Symbols::default()
    };
    patterns.sort_by_key(|pattern| Reverse(pattern.size));
    patterns.truncate(MAX_PATTERNS);
    let sets = guarded(|| Some(GenerateFinderPatternSets(&mut patterns))).unwrap_or_default();
    let mut used: Vec<ConcentricPattern> = Vec::new();
    for set in sets.into_iter().take(MAX_SETS) {
        if Instant::now() >= deadline {
            break;
        }
        let corners = [set.bl, set.tl, set.tr];
        if corners.iter().any(|corner| used.contains(corner)) {
            continue;
        }
        let sampled = guarded(|| SampleQR(bits, &set).ok());
        let Some(sampled) = sampled else {
            continue;
        };
        let region = region_of(bits, sampled.getPoints());
        match guarded(|| text_of(sampled.getBits())) {
            Some(text) => {
                used.extend(corners);
                found.read.push(Symbol { text, region });
            }
            None if found.candidates.len() < MAX_CANDIDATES => {
                found.candidates.extend(region);
            }
            None => {}
        }
    }
    found.unread = found.patterns.saturating_sub(used.len());
    found
}

/// Where a code is whose corners the sampler tells: top left, top right, bottom left, bottom right.
fn region_of(bits: &BitMatrix, corners: &[rxing::Point]) -> Option<Region> {
    let (width, height) = (bits.width() as f32, bits.height() as f32);
    let [tl, tr, bl, br]: [rxing::Point; 4] = corners.try_into().ok()?;
    let fractions = [tl, tr, br, bl].map(|corner| [corner.x / width, corner.y / height]);
    Some(Region::from_fractions(fractions))
}

/// Reads the modules of one code: error correction, then the text.
pub(super) fn text_of(modules: &BitMatrix) -> Option<Text> {
    let decoded = Decode(modules).ok()?;
    decoded.isValid().then(|| Zeroizing::new(decoded.text()))
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

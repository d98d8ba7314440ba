//! A text that is split over several QR codes: structured append (ISO/IEC 18004, section 8).
//!
//! Each code of a set says which one it is, how many there are, and the parity of the whole
//! text, which is all that tells one set from another. A part is never taken for the whole:
//! parts are joined only if they are all there and fit together.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use crate::problem::InputProblem;
use crate::region::Region;

/// The most codes that a set can have.
pub const MAX_PARTS: u8 = 16;

/// What one code of a set says. Holds a part of what may be a secret: wiped when dropped,
/// silent in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct CodePart {
    /// Which code of the set it is, counted from 0.
    pub index: u8,
    /// How many codes the set has.
    pub of: u8,
    /// All bytes of the whole text, combined by exclusive or.
    pub parity: u8,
    /// Its bytes as they are encoded. A character can be split between two codes.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Its bytes as the code's own encoding reads them.
    pub text: Zeroizing<String>,
    /// Where it is in its image.
    pub region: Option<Region>,
}

impl CodePart {
    /// Whether both say the same, wherever they are.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.index, self.of, self.parity) == (other.index, other.of, other.parity)
            && self.bytes == other.bytes
    }
}

impl fmt::Debug for CodePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodePart")
            .field("index", &self.index)
            .field("of", &self.of)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// A set of codes whose parts are all there.
pub struct Joined {
    /// The whole text.
    pub text: Zeroizing<String>,
    /// Where its first code is.
    pub region: Option<Region>,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// What became of parts.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The sets that are complete, in the order in which their first part came.
    pub joined: Vec<Joined>,
    /// What is wrong with the others, one problem each.
    pub problems: Vec<InputProblem>,
}

/// Puts parts together, in whatever order they came; a part that came twice counts once.
#[must_use]
pub fn gather<'a>(parts: impl IntoIterator<Item = &'a CodePart>) -> Gathered {
    let mut sets: Vec<Set<'a>> = Vec::new();
    for part in parts {
        let same = |set: &&mut Set<'_>| set.of == part.of && set.parity == part.parity;
        match sets.iter_mut().find(same) {
            Some(set) => set.add(part),
            None => {
                let mut set = Set {
                    of: part.of,
                    parity: part.parity,
                    places: BTreeMap::new(),
                };
                set.add(part);
                sets.push(set);
            }
        }
    }
    let mut gathered = Gathered::default();
    for set in &sets {
        match set.join() {
            Ok(joined) => gathered.joined.push(joined),
            Err(problem) => gathered.problems.push(problem),
        }
    }
    gathered
}

struct Set<'a> {
    of: u8,
    parity: u8,
    /// At each place, the parts that differ.
    places: BTreeMap<u8, Vec<&'a CodePart>>,
}

impl<'a> Set<'a> {
    fn add(&mut self, part: &'a CodePart) {
        let place = self.places.entry(part.index).or_default();
        if !place.iter().any(|known| known.bytes == part.bytes) {
            place.push(part);
        }
    }

    fn join(&self) -> Result<Joined, InputProblem> {
        let regions = || {
            let parts = self.places.values().flatten();
            parts.filter_map(|part| part.region).collect()
        };
        let of = u32::from(self.of);
        let mixed = || InputProblem::CodePartsMixed {
            of,
            regions: regions(),
        };
        let known = 1..=MAX_PARTS;
        if !known.contains(&self.of) || self.places.keys().any(|index| *index >= self.of) {
            return Err(mixed());
        }
        // Two sets of one parity: which of the parts belong together nothing says.
        if self.places.values().any(|place| place.len() > 1) {
            return Err(mixed());
        }
        let numbers = |wanted: bool| -> Vec<u32> {
            let all = 0..self.of;
            let chosen = all.filter(|index| self.places.contains_key(index) == wanted);
            chosen.map(|index| u32::from(index) + 1).collect()
        };
        let missing = numbers(false);
        if !missing.is_empty() {
            return Err(InputProblem::CodePartsMissing {
                of,
                there: numbers(true),
                missing,
                regions: regions(),
            });
        }
        let parts: Vec<&CodePart> = self.places.values().flatten().copied().collect();
        let text = whole(&parts, self.parity).ok_or_else(mixed)?;
        let region = parts.first().and_then(|part| part.region);
        Ok(Joined { text, region })
    }
}

/// The whole text, if its parity is what every part says. Writers make the parity of the
/// bytes that they encode, or of the text in the first of the usual encodings that has all of
/// its characters.
fn whole(parts: &[&CodePart], parity: u8) -> Option<Zeroizing<String>> {
    let size = parts.iter().map(|part| part.bytes.len()).sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size));
    for part in parts {
        bytes.extend_from_slice(&part.bytes);
    }
    let text = match str::from_utf8(&bytes) {
        Ok(text) => Zeroizing::new(text.to_owned()),
        Err(_) => {
            let size = parts.iter().map(|part| part.text.len()).sum();
            let mut text = Zeroizing::new(String::with_capacity(size));
            for part in parts {
                text.push_str(&part.text);
            }
            text
        }
    };
    let of = |bytes: &mut dyn Iterator<Item = u8>| bytes.fold(0, |sum, byte| sum ^ byte);
    let fits = of(&mut bytes.iter().copied()) == parity || of(&mut text.bytes()) == parity || {
        let latin: Option<Zeroizing<Vec<u8>>> = text
            .chars()
            .map(|character| u8::try_from(u32::from(character)).ok())
            .collect::<Option<Vec<u8>>>()
            .map(Zeroizing::new);
        latin.is_some_and(|latin| of(&mut latin.iter().copied()) == parity)
    };
    fits.then_some(text)
}

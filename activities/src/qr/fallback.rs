//! Other decoders, for what the main one misses, and the guard around all of them.

use std::time::Instant;

use ::quircs::Quirc;
use ::rqrr::{BitGrid, PreparedImage};
use countersign_enrollment::region::Region;
use rxing::DecodeHints;
use rxing::common::{BitMatrix, DetectorRXingResult};
use rxing::qrcode::detector::Detector;
use zeroize::Zeroize;

use super::bits;
use super::guard::guarded;
use super::symbols::{self, Symbol, SymbolContent, Symbols};
use crate::images::Plane;

/// Above this many finder patterns the older decoders, which try all combinations, are left out.
const MAX_UNBOUNDED_PATTERNS: usize = 40;

/// Images above this size are halved or left out by the later decoders.
const MAX_FALLBACK_PIXELS: usize = 5_000_000;

/// Runs of black and white that look like a finder pattern, above which rqrr is left out: it
/// compares all it finds with each other, and noise keeps it busy for seconds.
const MAX_RQRR_RUNS: usize = 300;

/// ZXing's original detector, once, as ported to Rust.
pub(super) fn classic(plane: &Plane, seen: &Symbols) -> Option<Symbol> {
    if seen.patterns > MAX_UNBOUNDED_PATTERNS || plane.pixels().len() > MAX_FALLBACK_PIXELS {
        return None;
    }
    let bits = bits::local(plane)?;
    guarded(|| {
        let sampled = Detector::new(&bits)
            .detect_with_hints(&DecodeHints::default())
            .ok()?;
        let said = symbols::said_by(sampled.getBits())?;
        // The middles of the finder patterns: bottom left, top left, top right. They are three and
        // a half modules inside of the corners.
        let side = sampled.getBits().width() as f32;
        let region = match sampled.getPoints() {
            [bl, tl, tr, ..] => {
                let middle = [(tr.x + bl.x) / 2.0, (tr.y + bl.y) / 2.0];
                let out = side / (side - 7.0);
                let corners = [
                    [tl.x, tl.y],
                    [tr.x, tr.y],
                    [tr.x + bl.x - tl.x, tr.y + bl.y - tl.y],
                    [bl.x, bl.y],
                ];
                let place = |corner: [f32; 2], axis: usize| {
                    middle[axis] + (corner[axis] - middle[axis]) * out
                };
                Some(corners.map(|corner| [0, 1].map(|axis| place(corner, axis))))
            }
            _ => None,
        };
        let region = region.map(|corners| region_in(plane, corners));
        Some(Symbol { said, region })
    })
}

/// Where corners are that a decoder tells in pixels of a plane.
fn region_in(plane: &Plane, corners: [[f32; 2]; 4]) -> Region {
    let (width, height) = (plane.width() as f32, plane.height() as f32);
    Region::from_fractions(corners.map(|[x, y]| [x / width, y / height]))
}

/// quircs on the plane, half and double size, a local threshold and a median, until one reads.
///
/// It only finds the modules. Its own reading of them stops silently at modes that it does not
/// know, so a part of the text could pass for the whole.
pub(super) fn quircs(plane: &Plane, deadline: Instant) -> Symbols {
    let small = plane.pixels().len() <= MAX_FALLBACK_PIXELS;
    let tiny = plane.pixels().len() * 4 <= MAX_FALLBACK_PIXELS;
    let variants: [&dyn Fn() -> Option<Vec<Symbol>>; 5] = [
        &|| small.then(|| find_with_quircs(plane, deadline)),
        &|| Some(find_with_quircs(&plane.halved(), deadline)),
        &|| tiny.then(|| find_with_quircs(&plane.doubled(), deadline)),
        &|| small.then(|| find_with_quircs(&bits::locally_thresholded(plane), deadline)),
        &|| small.then(|| find_with_quircs(&plane.median(), deadline)),
    ];
    for variant in variants {
        if Instant::now() >= deadline {
            break;
        }
        let read = variant().unwrap_or_default();
        if !read.is_empty() {
            return Symbols::of(read);
        }
    }
    Symbols::default()
}

pub(super) fn find_with_quircs(plane: &Plane, deadline: Instant) -> Vec<Symbol> {
    guarded(|| {
        let mut decoder = Quirc::new();
        let (width, height) = (plane.width() as usize, plane.height() as usize);
        let codes = decoder.identify(width, height, plane.pixels());
        let in_time = codes.take_while(|_| Instant::now() < deadline);
        let read = in_time.filter_map(|code| {
            let mut code = code.ok()?;
            let size = usize::try_from(code.size).ok()?;
            let said = read_modules(size, |x, y| {
                let index = y * size + x;
                code.cell_bitmap
                    .get(index / 8)
                    .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
            });
            code.cell_bitmap.zeroize();
            let corners = code
                .corners
                .map(|corner| [corner.x as f32, corner.y as f32]);
            said.map(|said| Symbol {
                said,
                region: Some(region_in(plane, corners)),
            })
        });
        Some(read.collect())
    })
    .unwrap_or_default()
}

/// rqrr, which also only finds the modules. `seen` is what the main decoder made of the image:
/// rqrr has no bounds of its own, so it gets only what was proved to hold few patterns.
pub(super) fn rqrr(plane: &Plane, seen: &Symbols, deadline: Instant) -> Symbols {
    if seen.patterns > MAX_UNBOUNDED_PATTERNS
        || seen.runs > MAX_RQRR_RUNS
        || plane.pixels().len() > MAX_FALLBACK_PIXELS
        || Instant::now() >= deadline
    {
        return Symbols::default();
    }
    Symbols::of(find_with_rqrr(plane))
}

pub(super) fn find_with_rqrr(plane: &Plane) -> Vec<Symbol> {
    let (width, height) = (plane.width() as usize, plane.height() as usize);
    guarded(|| {
        let mut prepared = PreparedImage::prepare_from_greyscale(width, height, |x, y| {
            plane.pixels()[y * width + x]
        });
        let grids = prepared.detect_grids();
        let read = grids.iter().filter_map(|grid| {
            let said = read_modules(grid.grid.size(), |x, y| grid.grid.bit(y, x))?;
            let corners = grid.bounds.map(|corner| [corner.x as f32, corner.y as f32]);
            let region = Some(region_in(plane, corners));
            Some(Symbol { said, region })
        });
        Some(read.collect())
    })
    .unwrap_or_default()
}

/// Reads modules that another decoder has found; `dark` tells a column and a row.
fn read_modules(size: usize, dark: impl Fn(usize, usize) -> bool) -> Option<SymbolContent> {
    let side = u32::try_from(size)
        .ok()
        .filter(|side| (21..=177).contains(side))?;
    let mut bits = BitMatrix::with_single_dimension(side).ok()?;
    for y in 0..side {
        for x in 0..side {
            if dark(x as usize, y as usize) {
                bits.set(x, y);
            }
        }
    }
    symbols::said_by(&bits)
}

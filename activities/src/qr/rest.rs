//! What remains of an image when the codes that were read are taken out, and whether it is a code.
//!
//! Beside a crisp code, a pale, noisy, blurred or scratched one is easily passed over: thresholds
//! follow the crisp one, and a decoder that has read something is done. So all that stands by
//! itself is looked at again, each with the contrast that it has. It is a code if three of its
//! corners are like finder patterns, or its edges stand on a lattice, or it is of nothing but
//! modules.

use std::cmp::Reverse;
use std::time::Instant;

use countersign_enrollment::region::Region;

use super::area::{self, Area, Cells};
use super::marks::Marks;
use super::patch::Patch;
use super::texture::{self, Texture};
use crate::images::Plane;

/// What differs by more than this is something, and what is no more cells apart is one thing: pale
/// on a clean page, then on a noisy one; then on a card, and what is left of something.
const DIFFERENCES: [(u8, usize); 5] = [(3, 1), (8, 1), (24, 1), (8, 0), (24, 4)];

/// Pixels of a side below which nothing can be said, and how many times smaller than the smallest
/// code that was read another one may be.
const MIN_SIDE: usize = 32;
const SMALLER: f32 = 6.0;

/// Areas that are two tries at the same thing have more than this in common.
const SAME: f32 = 0.85;

/// Things that are looked at, at most.
const MAX_THINGS: usize = 64;

/// How much longer one side of a code may look than the other.
const MAX_STRETCH: f32 = 1.7;

/// The same where it is about square, and of what is left of a code that was cut or covered.
const MAX_STRETCH_OF_SQUARE: f32 = 1.3;
const MAX_STRETCH_OF_PART: f32 = 3.0;

/// How much three corners are like finder patterns, by how blurred these are: enough by itself, and
/// enough where the rest is like a code.
const MARKED: [f32; 4] = [0.66, 0.68, 0.75, 0.77];
const SLIGHTLY_MARKED: [f32; 4] = [0.58, 0.60, 0.68, 0.72];

/// How much less the fourth is like one: it has none.
const UNMARKED: f32 = 0.12;

/// What differs less from the page than this has to be sharp.
const FAINT: f32 = 12.0;

/// From here on it may be told by its edges alone, and from there on whatever made the image.
const CLEAR: f32 = 24.0;
const STRONG: f32 = 80.0;

/// By how much the sides of two codes differ that are as large.
const ALIKE: f32 = 0.15;

/// How much more than a code its sides are taken out, and where its page is.
const TAKEN_OUT: f32 = 1.05;
const BESIDE: f32 = 1.1;

/// Something that is a code and was not read.
pub(super) struct Spot {
    pub(super) area: Area,
    pub(super) region: Region,
}

/// All that is left.
pub(super) struct Rest {
    /// The image without the codes that were read.
    pub(super) plane: Plane,
    pub(super) spots: Vec<Spot>,
    /// Whether a bound or the time ended the search.
    pub(super) cut_short: bool,
}

/// Looks at all that stands by itself beside the codes that were read, until the time has come. In
/// a tint, what is not sharp says nothing.
pub(super) fn of(plane: &Plane, is_tint: bool, read: &[Region], end: Instant) -> Rest {
    let mut found = Rest {
        plane: without(plane, read),
        spots: Vec::new(),
        cut_short: false,
    };
    let sides: Vec<f32> = read.iter().map(|region| side_of(plane, region)).collect();
    let cells = 2.0 * Cells::side_in(plane) as f32;
    let mut left = MAX_THINGS;
    for area in things(&found.plane, &sides) {
        if Instant::now() >= end {
            found.cut_short = true;
            break;
        }
        // What is around a code that was read, the page that it is on for one, is no other.
        let region = area.region(&found.plane);
        if read.iter().any(|it| it.overlap(&region) > area::SAME) {
            continue;
        }
        // A thing is at least as stretched as the upright rectangle around it, but for the cells at
        // its ends.
        let (width, height) = (area.width() as f32, area.height() as f32);
        if width.max(height) - cells > width.min(height) * MAX_STRETCH_OF_PART {
            continue;
        }
        let patch = Patch::of(&found.plane, &area);
        let Some(patch) = patch.filter(|it| it.stretch() <= MAX_STRETCH_OF_PART) else {
            continue;
        };
        if left == 0 {
            found.cut_short = true;
            break;
        }
        left -= 1;
        if is_code(&found.plane, &patch, is_tint, &sides) {
            found.spots.push(Spot {
                area,
                region: area::region_of(&found.plane, patch.corners),
            });
        }
    }
    found
}

/// The side of a code, in pixels.
fn side_of(plane: &Plane, region: &Region) -> f32 {
    let [start, end] = area::bounds(&area::pixels_of(plane, region));
    (end[0] - start[0]).min(end[1] - start[1])
}

/// What stands by itself, the largest first.
fn things(plane: &Plane, sides: &[f32]) -> Vec<Area> {
    let smallest = sides.iter().copied().reduce(f32::min).unwrap_or(0.0);
    let least = MIN_SIDE.max((smallest / SMALLER) as usize);
    let cells = Cells::of(plane);
    let mut things: Vec<Area> = Vec::new();
    for (difference, apart) in DIFFERENCES {
        for area in cells.areas(difference, apart) {
            let is_large = area.width().min(area.height()) >= least;
            if is_large && !things.iter().any(|it| it.likeness(&area) > SAME) {
                things.push(area);
            }
        }
    }
    things.sort_by_key(|area| Reverse(area.width() * area.height()));
    things
}

/// What takes least time is looked at first.
fn is_code(plane: &Plane, patch: &Patch, is_tint: bool, sides: &[f32]) -> bool {
    let is_whole = patch.stretch() <= MAX_STRETCH;
    let is_weak = is_tint || patch.contrast < FAINT;
    if is_weak && !is_whole {
        return false;
    }
    let Some(texture) = Texture::of(patch) else {
        return false;
    };
    if is_weak {
        return marked(patch, &texture).is_some_and(|marks| !marks.are_soft());
    }
    let is_as_large = sides.iter().any(|side| patch.is_as_large_as(*side, ALIKE));
    let is_square = patch.stretch() < MAX_STRETCH_OF_SQUARE;
    is_as_large && texture.is_of_specks()
        || is_square && (texture.is_of_modules() || texture.is_out_of_focus(patch))
        // What is sharp has no blurred corners.
        || is_whole
            && marked(patch, &texture).is_some_and(|marks| !marks.are_soft() || texture.is_soft())
        || patch.contrast >= CLEAR
            && texture.may_be_on(is_square)
            && texture::lattice(plane, patch).is_some_and(|lattice| {
                // What is faint and eight pixels long is of a JPEG.
                let is_own = patch.contrast >= STRONG || !lattice[0].is_about(8.0);
                is_own && (texture.is_on(&lattice) || is_square && texture.is_on_one_of(&lattice))
            })
}

/// The corners, if three of them are like finder patterns.
fn marked(patch: &Patch, texture: &Texture) -> Option<Marks> {
    if texture.is_of_rows() && !texture.is_even() {
        return None;
    }
    let marks = Marks::of(patch);
    let has_three = marks.likeness[3] <= marks.likeness[2] - UNMARKED;
    let is_marked = marks.are(MARKED) && (has_three || marks.are_soft()) && !texture.is_of_rows()
        || marks.are(SLIGHTLY_MARKED) && (has_three || !marks.are_soft()) && texture.is_even();
    is_marked.then_some(marks)
}

/// The image with its codes painted over as the page is beside each.
fn without(plane: &Plane, read: &[Region]) -> Plane {
    let mut pixels = plane.pixels().to_vec();
    let (width, height) = (plane.width() as usize, plane.height() as usize);
    for region in read {
        let corners = area::pixels_of(plane, region);
        let page = page_beside(plane, corners);
        let corners = grown(corners, TAKEN_OUT);
        let [start, end] = area::bounds(&corners);
        let reach = |axis: usize, length: usize| {
            let end = (end[axis].max(0.0) as usize + 1).min(length);
            (start[axis].max(0.0) as usize).min(end)..end
        };
        for y in reach(1, height) {
            for x in reach(0, width) {
                if is_in(corners, [x as f32 + 0.5, y as f32 + 0.5]) {
                    pixels[y * width + x] = page;
                }
            }
        }
    }
    Plane::new(plane.width(), plane.height(), pixels)
}

/// So many times as large, around its middle.
fn grown(corners: [[f32; 2]; 4], times: f32) -> [[f32; 2]; 4] {
    let middle = [0, 1].map(|axis| corners.iter().map(|corner| corner[axis]).sum::<f32>() / 4.0);
    corners.map(|corner| [0, 1].map(|axis| middle[axis] + (corner[axis] - middle[axis]) * times))
}

fn is_in(corners: [[f32; 2]; 4], [x, y]: [f32; 2]) -> bool {
    let sides = (0..4).map(|index| {
        let ([ax, ay], [bx, by]) = (corners[index], corners[(index + 1) % 4]);
        (bx - ax) * (y - ay) - (by - ay) * (x - ax)
    });
    let (mut right, mut left) = (true, true);
    for side in sides {
        right &= side >= 0.0;
        left &= side <= 0.0;
    }
    right || left
}

/// The brightness that most places beside a code have.
fn page_beside(plane: &Plane, corners: [[f32; 2]; 4]) -> u8 {
    const PLACES: usize = 16;
    let corners = grown(corners, BESIDE);
    let (width, height) = (plane.width() as f32, plane.height() as f32);
    let mut beside: Vec<u8> = Vec::new();
    for index in 0..4 {
        let (from, to) = (corners[index], corners[(index + 1) % 4]);
        for place in 0..PLACES {
            let along = place as f32 / PLACES as f32;
            let [x, y] = [0, 1].map(|axis| from[axis] + (to[axis] - from[axis]) * along);
            if x >= 0.0 && y >= 0.0 && x < width && y < height {
                let index = y as usize * plane.width() as usize + x as usize;
                beside.extend(plane.pixels().get(index));
            }
        }
    }
    beside.sort_unstable();
    beside.get(beside.len() / 2).copied().unwrap_or(u8::MAX)
}

//! Where a code is, and what every code of its side has in common.

use countersign_enrollment::region::Region;

use crate::images::Plane;

/// The middles of a finder pattern's corner modules, in fractions of the image; clockwise from
/// the one that its code has at the top left.
pub(super) type Finder = [[f32; 2]; 4];

/// A code whose finder patterns stand where they should, in fractions of the image.
#[derive(Clone)]
pub(super) struct Located {
    /// Clockwise from its own top left.
    pub(super) corners: [[f32; 2]; 4],
    /// Its modules of a side.
    pub(super) side: u32,
    /// Whether it is light on dark.
    pub(super) is_light: bool,
    /// Its finder patterns at the top left, the top right and the bottom left, where only they
    /// are certain.
    pub(super) finders: Option<[Finder; 3]>,
}

impl Located {
    pub(super) fn region(&self) -> Region {
        Region::from_fractions(self.corners)
    }
}

/// The share of the modules of the timing patterns that are dark and light in turns.
pub(super) fn timed(grey: &[f32], side: usize) -> f32 {
    let far = side.saturating_sub(8);
    let places = (8..far).flat_map(|along| [(along, 6), (6, along)]);
    let right = places.filter(|(x, y)| {
        let is_dark = grey[y * side + x] < between(grey, side, *x, *y, 3);
        known(side, *x, *y) == Some(is_dark)
    });
    right.count() as f32 / (2 * far.saturating_sub(8)).max(1) as f32
}

/// Half way between the darkest and the lightest around a module.
pub(super) fn between(grey: &[f32], side: usize, x: usize, y: usize, reach: usize) -> f32 {
    let (mut low, mut high) = (f32::MAX, f32::MIN);
    for row in y.saturating_sub(reach)..(y + reach + 1).min(side) {
        let start = row * side;
        for value in &grey[start + x.saturating_sub(reach)..start + (x + reach + 1).min(side)] {
            low = low.min(*value);
            high = high.max(*value);
        }
    }
    (low + high) / 2.0
}

/// Whether a module is dark in every code of this side; nothing if that differs.
pub(super) fn known(side: usize, x: usize, y: usize) -> Option<bool> {
    let far = side - 8;
    if (x < 8 && (y < 8 || y >= far)) || (x >= far && y < 8) {
        // Places in the finder pattern; its light border is one before and one after it.
        let place = |at: usize| {
            if at < 8 {
                at as i32
            } else {
                at as i32 - far as i32 - 1
            }
        };
        let ring = (place(x) - 3).abs().max((place(y) - 3).abs());
        return Some(ring == 3 || ring <= 1);
    }
    // The last alignment pattern, which all but the smallest have.
    let ring = x.abs_diff(side - 7).max(y.abs_diff(side - 7));
    if side > 21 && ring <= 2 {
        return Some(ring != 1);
    }
    match (x, y) {
        (6, along) | (along, 6) => Some(along % 2 == 0),
        _ => None,
    }
}

/// Brightness between pixels; the edge continues outside.
pub(super) fn sample(plane: &Plane, x: f32, y: f32) -> f32 {
    let (width, height) = (plane.width() as usize, plane.height() as usize);
    let x = x.clamp(0.0, (width - 1) as f32);
    let y = y.clamp(0.0, (height - 1) as f32);
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let (dx, dy) = (x - left as f32, y - top as f32);
    let pixels = plane.pixels();
    let at = |x: usize, y: usize| f32::from(pixels[y * width + x]);
    let upper = at(left, top) * (1.0 - dx) + at(right, top) * dx;
    let lower = at(left, bottom) * (1.0 - dx) + at(right, bottom) * dx;
    upper * (1.0 - dy) + lower * dy
}

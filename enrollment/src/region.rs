//! Where something is in an image.

use serde::{Deserialize, Serialize};

/// Parts of an image's side: coordinates are in ten-thousandths of it, so that they hold
/// for the image in every size.
pub const UNITS: u16 = 10_000;

/// A four-cornered part of an image, such as a QR code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Region {
    /// Horizontal and vertical place of each corner, from the image's top left in
    /// [`UNITS`] of its width and height as it is to be seen; clockwise, beginning with
    /// the corner that is the top left one of the code. Those of a mirrored code run the
    /// other way.
    pub corners: [[u16; 2]; 4],
}

impl Region {
    /// The region with these corners, in fractions of the image's width and height.
    /// What lies outside is moved to the edge.
    #[must_use]
    pub fn from_fractions(corners: [[f32; 2]; 4]) -> Self {
        let units = |fraction: f32| (fraction.clamp(0.0, 1.0) * f32::from(UNITS)).round() as u16;
        Self {
            corners: corners.map(|corner| corner.map(units)),
        }
    }

    /// The middle, in the same units.
    #[must_use]
    pub fn centre(&self) -> [u16; 2] {
        let mean = |axis: usize| {
            let sum: u32 = self
                .corners
                .iter()
                .map(|corner| u32::from(corner[axis]))
                .sum();
            u16::try_from(sum / 4).unwrap_or(UNITS)
        };
        [mean(0), mean(1)]
    }

    /// How far it reaches from top to bottom, in the same units.
    #[must_use]
    pub fn height(&self) -> u16 {
        let [[_, top], [_, bottom]] = self.bounds();
        bottom - top
    }

    /// The top left and the bottom right corner of the upright rectangle around it, in the
    /// same units.
    #[must_use]
    pub fn bounds(&self) -> [[u16; 2]; 2] {
        let axis = |axis: usize| {
            let places = self.corners.map(|corner| corner[axis]);
            let [first, ..] = places;
            places.into_iter().fold((first, first), |(low, high), it| {
                (low.min(it), high.max(it))
            })
        };
        let ((left, right), (top, bottom)) = (axis(0), axis(1));
        [[left, top], [right, bottom]]
    }

    /// The upright rectangle around both.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        let ([one, end], [other, other_end]) = (self.bounds(), other.bounds());
        let [left, top] = [0, 1].map(|axis| one[axis].min(other[axis]));
        let [right, bottom] = [0, 1].map(|axis| end[axis].max(other_end[axis]));
        Self {
            corners: [[left, top], [right, top], [right, bottom], [left, bottom]],
        }
    }

    /// How much of the smaller one both have, from 0 to 1, going by the upright rectangles
    /// around them.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> f32 {
        let area = |[start, end]: [[u16; 2]; 2]| {
            [0, 1]
                .map(|axis| f32::from(end[axis].saturating_sub(start[axis])))
                .iter()
                .product::<f32>()
        };
        let ([one, end], [two, other_end]) = (self.bounds(), other.bounds());
        let common = [
            [0, 1].map(|axis| one[axis].max(two[axis])),
            [0, 1].map(|axis| end[axis].min(other_end[axis])),
        ];
        let smaller = area(self.bounds()).min(area(other.bounds()));
        if smaller > 0.0 {
            area(common) / smaller
        } else {
            0.0
        }
    }
}

/// Puts what has a place in the order in which people read: rows from top to bottom, each
/// from left to right. What has no place comes last, as it came.
pub fn reading_order<T>(items: &mut Vec<T>, place: impl Fn(&T) -> Option<Region>) {
    let mut placed: Vec<(Region, T)> = Vec::new();
    let mut others = Vec::new();
    for item in items.drain(..) {
        match place(&item) {
            Some(region) => placed.push((region, item)),
            None => others.push(item),
        }
    }
    placed.sort_by_key(|(region, _)| region.centre()[1]);
    // A row ends where the next middle is more than half a height below its first.
    let mut row = 0_usize;
    let mut first: Option<Region> = None;
    let mut keyed: Vec<((usize, u16), T)> = Vec::new();
    for (region, item) in placed {
        let below = first.is_some_and(|first| {
            region.centre()[1] > first.centre()[1].saturating_add(first.height() / 2)
        });
        if below {
            row += 1;
        }
        if below || first.is_none() {
            first = Some(region);
        }
        keyed.push(((row, region.centre()[0]), item));
    }
    keyed.sort_by_key(|(key, _)| *key);
    items.extend(keyed.into_iter().map(|(_, item)| item));
    items.extend(others);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f32, y: f32) -> Option<Region> {
        let (right, bottom) = (x + 0.2, y + 0.2);
        Some(Region::from_fractions([
            [x, y],
            [right, y],
            [right, bottom],
            [x, bottom],
        ]))
    }

    #[test]
    fn rows_then_columns_then_the_rest() {
        let mut items = vec![
            ("none", None),
            ("d", square(0.6, 0.52)),
            ("b", square(0.5, 0.1)),
            ("c", square(0.1, 0.5)),
            ("a", square(0.0, 0.15)),
        ];
        reading_order(&mut items, |(_, region)| *region);
        let names: Vec<&str> = items.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["a", "b", "c", "d", "none"]);
    }

    #[test]
    fn regions_overlap_by_the_smaller_one_and_join() {
        let region = |x, y| square(x, y).unwrap();
        let (one, other) = (region(0.1, 0.1), region(0.2, 0.1));
        assert!((one.overlap(&other) - 0.5).abs() < 0.01);
        assert!(one.overlap(&region(0.4, 0.1)) < 0.01);
        assert!((one.overlap(&one) - 1.0).abs() < 0.01);
        assert_eq!(
            one.joined(&other).bounds(),
            [[1_000, 1_000], [4_000, 3_000]]
        );
        let point = Region {
            corners: [[0, 0]; 4],
        };
        assert!(point.overlap(&one) < 0.01);
    }

    #[test]
    fn a_region_stays_in_its_image() {
        let region = Region::from_fractions([[-0.5, 0.0], [1.5, 0.0], [1.0, 1.0], [0.0, f32::NAN]]);
        assert_eq!(
            region.corners,
            [[0, 0], [10_000, 0], [10_000, 10_000], [0, 0]]
        );
        assert_eq!(region.centre(), [5_000, 2_500]);
        assert_eq!(region.height(), 10_000);
    }
}

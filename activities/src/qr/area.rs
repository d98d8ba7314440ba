//! Rectangles of an image in which there is something, apart from everything else.

use countersign_enrollment::region::{Region, UNITS};

use crate::images::Plane;

/// Places that have more of the smaller one than this in common are those of one code.
pub(super) const SAME: f32 = 0.3;

/// A rectangle of pixels or of cells; the end is outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) right: usize,
    pub(super) bottom: usize,
}

impl Area {
    pub(super) fn width(&self) -> usize {
        self.right.saturating_sub(self.left)
    }

    pub(super) fn height(&self) -> usize {
        self.bottom.saturating_sub(self.top)
    }

    /// With so much more on each side, within the plane.
    pub(super) fn grown(&self, by: usize, plane: &Plane) -> Self {
        Self {
            left: self.left.saturating_sub(by),
            top: self.top.saturating_sub(by),
            right: (self.right + by).min(plane.width() as usize),
            bottom: (self.bottom + by).min(plane.height() as usize),
        }
    }

    /// Where it is.
    pub(super) fn region(&self, plane: &Plane) -> Region {
        let corners = [
            [self.left, self.top],
            [self.right, self.top],
            [self.right, self.bottom],
            [self.left, self.bottom],
        ];
        region_of(plane, corners.map(|corner| corner.map(|it| it as f32)))
    }

    pub(super) fn cut_from(&self, plane: &Plane) -> Plane {
        let [left, top, width, height] =
            [self.left, self.top, self.width(), self.height()].map(|it| it as u32);
        plane.cropped(left, top, width, height)
    }

    /// Where something is in all of the plane that is there in this part of it.
    pub(super) fn in_whole(&self, region: &Region, plane: &Plane) -> Region {
        let place = |units: u16, start: usize, length: usize, whole: u32| {
            let pixels = start as f32 + f32::from(units) / f32::from(UNITS) * length as f32;
            pixels / whole as f32
        };
        Region::from_fractions(region.corners.map(|[x, y]| {
            [
                place(x, self.left, self.width(), plane.width()),
                place(y, self.top, self.height(), plane.height()),
            ]
        }))
    }

    /// The share of the larger one that is in both.
    pub(super) fn likeness(&self, other: &Self) -> f32 {
        let common = |start: [usize; 2], end: [usize; 2]| {
            end[0].min(end[1]).saturating_sub(start[0].max(start[1]))
        };
        let width = common([self.left, other.left], [self.right, other.right]);
        let height = common([self.top, other.top], [self.bottom, other.bottom]);
        let size = |area: &Self| area.width() * area.height();
        (width * height) as f32 / size(self).max(size(other)).max(1) as f32
    }
}

/// Where corners are that are counted in pixels.
pub(super) fn region_of(plane: &Plane, corners: [[f32; 2]; 4]) -> Region {
    let (width, height) = (plane.width() as f32, plane.height() as f32);
    Region::from_fractions(corners.map(|[x, y]| [x / width, y / height]))
}

/// The corners of a region in pixels.
pub(super) fn pixels_of(plane: &Plane, region: &Region) -> [[f32; 2]; 4] {
    let pixel = |units: u16, length: u32| f32::from(units) * length as f32 / f32::from(UNITS);
    region
        .corners
        .map(|[x, y]| [pixel(x, plane.width()), pixel(y, plane.height())])
}

/// The top left and the bottom right corner of the upright rectangle around corners.
pub(super) fn bounds(corners: &[[f32; 2]; 4]) -> [[f32; 2]; 2] {
    let most = |which: fn(f32, f32) -> f32| {
        [0, 1].map(|axis| {
            let places = corners.map(|corner| corner[axis]);
            places.into_iter().fold(places[0], which)
        })
    };
    [most(f32::min), most(f32::max)]
}

/// The cells of an image, and by how much the brightness differs in each.
pub(super) struct Cells {
    side: usize,
    width: usize,
    height: usize,
    ranges: Vec<u8>,
}

impl Cells {
    /// Pixels of a cell's side, and how many of them the longest image has in a row.
    const SIDE: usize = 8;
    const MOST: usize = 320;

    /// Pixels of the side of each cell of an image.
    pub(super) fn side_in(plane: &Plane) -> usize {
        let longest = plane.width().max(plane.height()) as usize;
        Self::SIDE.max(longest.div_ceil(Self::MOST))
    }

    pub(super) fn of(plane: &Plane) -> Self {
        let stride = plane.width() as usize;
        let side = Self::side_in(plane);
        let (width, height) = (stride / side, plane.height() as usize / side);
        let mut ranges = Vec::with_capacity(width * height);
        // Down the lines first, each pixel by itself, which is many at once.
        let (mut lows, mut highs) = (vec![0; stride], vec![0; stride]);
        for lines in plane.pixels().chunks_exact(stride.max(1) * side) {
            lows.fill(u8::MAX);
            highs.fill(u8::MIN);
            for line in lines.chunks_exact(stride) {
                for ((low, high), pixel) in lows.iter_mut().zip(&mut highs).zip(line) {
                    *low = (*low).min(*pixel);
                    *high = (*high).max(*pixel);
                }
            }
            let cells = lows.chunks_exact(side).zip(highs.chunks_exact(side));
            ranges.extend(cells.map(|(lows, highs)| {
                let low = lows.iter().copied().min().unwrap_or(u8::MAX);
                let high = highs.iter().copied().max().unwrap_or(u8::MIN);
                high.saturating_sub(low)
            }));
        }
        Self {
            side,
            width,
            height: height.min(ranges.len() / width.max(1)),
            ranges,
        }
    }

    /// The rectangles around cells that differ by more than so much and are no more than twice so
    /// many cells apart, in pixels.
    pub(super) fn areas(&self, more_than: u8, apart: usize) -> Vec<Area> {
        let is_busy = |x: usize, y: usize| self.ranges[y * self.width + x] > more_than;
        let busy: Vec<bool> = self.ranges.iter().map(|range| *range > more_than).collect();
        let near = (0..apart).fold(busy, |busy, _| self.grown(&busy));
        let mut seen = vec![false; self.width * self.height];
        let mut areas = Vec::new();
        let mut open = Vec::new();
        for start in 0..seen.len() {
            let (x, y) = (start % self.width, start / self.width);
            if seen[start] || !is_busy(x, y) {
                continue;
            }
            let mut area = Area {
                left: x,
                top: y,
                right: x + 1,
                bottom: y + 1,
            };
            seen[start] = true;
            open.push((x, y));
            while let Some((x, y)) = open.pop() {
                if is_busy(x, y) {
                    area.left = area.left.min(x);
                    area.top = area.top.min(y);
                    area.right = area.right.max(x + 1);
                    area.bottom = area.bottom.max(y + 1);
                }
                let beside = [
                    (x.wrapping_sub(1), y),
                    (x + 1, y),
                    (x, y.wrapping_sub(1)),
                    (x, y + 1),
                ];
                for (x, y) in beside {
                    if x < self.width && y < self.height && near[y * self.width + x] {
                        let index = y * self.width + x;
                        if !seen[index] {
                            seen[index] = true;
                            open.push((x, y));
                        }
                    }
                }
            }
            areas.push(Area {
                left: area.left * self.side,
                top: area.top * self.side,
                right: area.right * self.side,
                bottom: area.bottom * self.side,
            });
        }
        areas
    }

    /// With the cells beside them.
    fn grown(&self, cells: &[bool]) -> Vec<bool> {
        let at = |x: usize, y: usize| x < self.width && cells[y * self.width + x];
        let grown = (0..cells.len()).map(|index| {
            let (x, y) = (index % self.width, index / self.width);
            cells[index]
                || at(x.wrapping_sub(1), y)
                || at(x + 1, y)
                || y > 0 && at(x, y - 1)
                || y + 1 < self.height && at(x, y + 1)
        });
        grown.collect()
    }
}

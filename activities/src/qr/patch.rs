//! A part of an image, turned upright and brought to one size, to be compared with what codes
//! look like.

use super::area::Area;
use super::grid::sample;
use crate::images::Plane;

/// Samples on the side of what is in the area, on each side of it, and on the whole side.
pub(super) const SIDE: usize = 192;
pub(super) const MARGIN: usize = 12;
pub(super) const WHOLE: usize = SIDE + 2 * MARGIN;

/// Degrees by which it is turned from one try to the next.
const TURN: usize = 3;

/// Pixels that are looked at to find out how it is turned, about.
const POINTS: usize = 12_000;

/// Points in each direction over which one sample is averaged, at most.
const MAX_POINTS: usize = 3;

/// The share of the rim that has to have the brightness of the page.
const CLEAR: f32 = 0.7;

pub(super) struct Patch {
    /// How much darker each sample is than the page, or lighter where the whole is.
    pub(super) darkness: Vec<f32>,
    /// The corners of what is in the area, in pixels, clockwise.
    pub(super) corners: [[f32; 2]; 4],
    /// How much darker the darkest of it is than the page.
    pub(super) contrast: f32,
    width: f32,
    height: f32,
    /// Whether its sides are those of the image.
    pub(super) is_upright: bool,
}

impl Patch {
    /// What is in the area; nothing if it does not stand out from what is around it.
    pub(super) fn of(plane: &Plane, area: &Area) -> Option<Self> {
        let page = Page::around(plane, area)?;
        let points = page.points(plane, area)?;
        let frame = Frame::around(&points);
        let (width, height) = (frame.end[0] - frame.start[0], frame.end[1] - frame.start[1]);
        if width < 1.0 || height < 1.0 {
            return None;
        }
        let count = ((width.max(height) / SIDE as f32).round() as usize).clamp(1, MAX_POINTS);
        let mut darkness = frame.samples(plane, count);
        darkness
            .iter_mut()
            .for_each(|it| *it = page.brightness - *it);
        if darkness.iter().sum::<f32>() < 0.0 {
            darkness.iter_mut().for_each(|it| *it = -*it);
        }
        let [start, end] = [frame.start, frame.end];
        Some(Self {
            darkness,
            corners: [
                frame.place(start[0], start[1]),
                frame.place(end[0], start[1]),
                frame.place(end[0], end[1]),
                frame.place(start[0], end[1]),
            ],
            contrast: page.contrast,
            width,
            height,
            is_upright: frame.turn == 0.0,
        })
    }

    /// How many times longer one side is than the other.
    pub(super) fn stretch(&self) -> f32 {
        self.width.max(self.height) / self.width.min(self.height)
    }

    /// Whether both sides are so long, but for a share of it.
    pub(super) fn is_as_large_as(&self, side: f32, but_for: f32) -> bool {
        [self.width, self.height]
            .iter()
            .all(|it| (it / side - 1.0).abs() <= but_for)
    }

    /// A square part of the samples, row by row, without so many on each side.
    pub(super) fn within(&self, without: usize) -> Vec<f32> {
        let inner = without..WHOLE - without;
        self.darkness
            .chunks_exact(WHOLE)
            .skip(without)
            .take(inner.len())
            .flat_map(|row| row[inner.clone()].iter().copied())
            .collect()
    }
}

/// What is around an area.
struct Page {
    brightness: f32,
    contrast: f32,
    /// How much a pixel differs from it that belongs to what is in the area.
    clearly: f32,
    /// Looked at is one pixel in so many, in each direction.
    step: usize,
}

impl Page {
    fn around(plane: &Plane, area: &Area) -> Option<Self> {
        let stride = plane.width() as usize;
        let outer = area.grown(4, plane);
        let mut rim = [0_usize; 256];
        let rows = plane.pixels().chunks_exact(stride).enumerate();
        for (y, row) in rows.take(outer.bottom).skip(outer.top) {
            if (area.top..area.bottom).contains(&y) {
                let sides = [outer.left..area.left, area.right..outer.right];
                for pixel in sides.into_iter().flat_map(|side| &row[side]) {
                    rim[usize::from(*pixel)] += 1;
                }
            } else {
                for pixel in &row[outer.left..outer.right] {
                    rim[usize::from(*pixel)] += 1;
                }
            }
        }
        let brightness = percentile(&rim, 50)? as f32;
        let step = (area.width() * area.height() / POINTS).isqrt().max(1);
        let mut differences = [0_usize; 256];
        for (_, _, value) in pixels(plane, area, step) {
            differences[(f32::from(value) - brightness).abs() as usize] += 1;
        }
        let contrast = percentile(&differences, 95)? as f32;
        let near =
            (0..256).filter(|at| (*at as f32 - brightness).abs() <= (0.3 * contrast).max(8.0));
        let clear: usize = near.map(|at| rim[at]).sum();
        let all: usize = rim.iter().sum();
        (contrast >= 3.0 && clear as f32 >= CLEAR * all as f32).then_some(Self {
            brightness,
            contrast,
            clearly: (0.25 * contrast).max(2.5),
            step,
        })
    }

    /// The places of the pixels that differ.
    fn points(&self, plane: &Plane, area: &Area) -> Option<Vec<[f32; 2]>> {
        let points: Vec<[f32; 2]> = pixels(plane, area, self.step)
            .filter(|(_, _, value)| (f32::from(*value) - self.brightness).abs() > self.clearly)
            .map(|(x, y, _)| [x as f32 + 0.5, y as f32 + 0.5])
            .collect();
        (points.len() >= 50).then_some(points)
    }
}

fn pixels(plane: &Plane, area: &Area, step: usize) -> impl Iterator<Item = (usize, usize, u8)> {
    let stride = plane.width() as usize;
    let area = *area;
    (area.top..area.bottom).step_by(step).flat_map(move |y| {
        (area.left..area.right)
            .step_by(step)
            .filter_map(move |x| Some((x, y, *plane.pixels().get(y * stride + x)?)))
    })
}

/// The value that so many of a hundred do not exceed.
fn percentile(counts: &[usize; 256], share: usize) -> Option<usize> {
    let all: usize = counts.iter().sum();
    let mut sum = 0;
    counts.iter().position(|count| {
        sum += count;
        sum > 0 && sum * 100 >= all * share
    })
}

/// The points that can be the last in any direction but for a few: those that have no more than
/// so many others both farther to one side and farther up or down.
fn outermost(points: &[[f32; 2]], few: usize) -> Vec<[f32; 2]> {
    /// Parts of a side.
    const PARTS: usize = 64;
    const STRIDE: usize = PARTS + 2;
    let mut low = [f32::MAX; 2];
    let mut high = [f32::MIN; 2];
    for point in points {
        for axis in 0..2 {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    let scale = [0, 1].map(|axis| PARTS as f32 / (high[axis] - low[axis] + 1.0));
    // With an empty part on each side.
    let part = |[x, y]: [f32; 2]| {
        let at = |value: f32, axis: usize| {
            (((value - low[axis]) * scale[axis]) as usize).min(PARTS - 1) + 1
        };
        at(y, 1) * STRIDE + at(x, 0)
    };
    let mut counts = vec![0_usize; STRIDE * STRIDE];
    for point in points {
        counts[part(*point)] += 1;
    }
    let mut is_outer = vec![false; STRIDE * STRIDE];
    for (is_left, is_up) in [(true, true), (true, false), (false, true), (false, false)] {
        // How many points there are in a part and beyond it.
        let mut beyond = vec![0_usize; STRIDE * STRIDE];
        let next = |at: usize, back: bool| if back { at - 1 } else { at + 1 };
        for row in 1..=PARTS {
            let row = if is_up { row } else { PARTS + 1 - row };
            let before = next(row, is_up);
            for column in 1..=PARTS {
                let column = if is_left { column } else { PARTS + 1 - column };
                let beside = next(column, is_left);
                let at = row * STRIDE + column;
                beyond[at] =
                    counts[at] + beyond[before * STRIDE + column] + beyond[row * STRIDE + beside]
                        - beyond[before * STRIDE + beside];
                is_outer[at] |= beyond[before * STRIDE + beside] <= few;
            }
        }
    }
    let outer = points.iter().filter(|point| is_outer[part(**point)]);
    outer.copied().collect()
}

/// The smallest rectangle around points, turned as it may be.
struct Frame {
    turn: f32,
    /// The sine and the cosine of it.
    direction: (f32, f32),
    start: [f32; 2],
    end: [f32; 2],
}

impl Frame {
    fn around(points: &[[f32; 2]]) -> Self {
        // A few that lie off by themselves are not of it.
        let few = points.len() / 500;
        let points = outermost(points, few);
        let mut along: Vec<f32> = Vec::with_capacity(points.len());
        let mut extent = |sin: f32, cos: f32| {
            along.clear();
            along.extend(points.iter().map(|[x, y]| x * cos + y * sin));
            let last = along.len() - 1 - few;
            let start = *along.select_nth_unstable_by(few, f32::total_cmp).1;
            let end = *along.select_nth_unstable_by(last, f32::total_cmp).1;
            (start - 0.5, end + 0.5)
        };
        let mut best: Option<(f32, Self)> = None;
        for degrees in (0..90).step_by(TURN) {
            let turn = (degrees as f32).to_radians();
            let (sin, cos) = turn.sin_cos();
            let (left, right) = extent(sin, cos);
            let (top, bottom) = extent(cos, -sin);
            // Most things are upright.
            let size = (right - left) * (bottom - top) * if degrees == 0 { 0.97 } else { 1.0 };
            if best.as_ref().is_none_or(|(least, _)| size < *least) {
                let frame = Self {
                    turn,
                    direction: (sin, cos),
                    start: [left, top],
                    end: [right, bottom],
                };
                best = Some((size, frame));
            }
        }
        best.map_or(
            Self {
                turn: 0.0,
                direction: (0.0, 1.0),
                start: [0.0; 2],
                end: [0.0; 2],
            },
            |(_, frame)| frame,
        )
    }

    /// The brightness of each sample, averaged over so many points in each direction.
    fn samples(&self, plane: &Plane, count: usize) -> Vec<f32> {
        let place = |at: usize, axis: usize| {
            let within = (at as f32 + 0.5) / count as f32 - MARGIN as f32;
            self.start[axis] + within / SIDE as f32 * (self.end[axis] - self.start[axis])
        };
        let points = WHOLE * count;
        let [across, down] = [0, 1].map(|axis| {
            let places = (0..points).map(|at| place(at, axis));
            places.collect::<Vec<f32>>()
        });
        let mut samples = Vec::with_capacity(WHOLE * WHOLE);
        let mut sums = vec![0.0; WHOLE];
        for (row, v) in (1..).zip(down) {
            for (sum, places) in sums.iter_mut().zip(across.chunks_exact(count)) {
                for u in places {
                    let [x, y] = self.place(*u, v);
                    *sum += sample(plane, x - 0.5, y - 0.5);
                }
            }
            if row % count == 0 {
                samples.extend(sums.iter().map(|sum| sum / (count * count) as f32));
                sums.fill(0.0);
            }
        }
        samples
    }

    fn place(&self, along: f32, across: f32) -> [f32; 2] {
        let (sin, cos) = self.direction;
        [along * cos - across * sin, along * sin + across * cos]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points that chance has put into a rectangle which is turned, most of them near its middle.
    fn points(turn: f32, count: usize) -> Vec<[f32; 2]> {
        let mut state = 12_345_u32;
        let mut chance = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let (sin, cos) = turn.to_radians().sin_cos();
        let place = |x: f32, y: f32| [200.0 + x * cos - y * sin, 200.0 + x * sin + y * cos];
        let points = (0..count).map(|at| {
            let far = if at % 3 == 0 { 300.0 } else { 180.0 };
            place(far * chance(), 0.7 * far * chance())
        });
        points.collect()
    }

    #[test]
    fn the_outermost_points_are_enough_to_find_the_last_but_a_few() {
        for turn in [0.0, 10.0, 45.0, 80.0] {
            for count in [60, 900, 12_000] {
                let all = points(turn, count);
                let few = count / 500;
                let outer = outermost(&all, few);
                assert!(outer.len() <= all.len() && (count < 2_000 || outer.len() * 2 < count));
                for degrees in (0..360).step_by(7) {
                    let (sin, cos) = (degrees as f32).to_radians().sin_cos();
                    let last = |points: &[[f32; 2]]| {
                        let mut along: Vec<f32> =
                            points.iter().map(|[x, y]| x * cos + y * sin).collect();
                        along.sort_by(|one, other| other.total_cmp(one));
                        along[few]
                    };
                    assert_eq!(last(&outer), last(&all), "{turn} {count} {degrees}");
                }
            }
        }
    }
}

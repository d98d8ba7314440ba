//! Codes that show no finder pattern, beside others that were read.
//!
//! Out of focus, a code is a square of middling grey whose shades change everywhere and nowhere
//! sharply. With its finder patterns covered, it is a square of dark and light in steps of one
//! length. On its own that says little; next to a code that was read, and of about its size, it is
//! a code.

use countersign_enrollment::region::{Region, UNITS};

use crate::images::Plane;

/// Cells on the side of a code that was read.
const CELLS: f32 = 12.0;

/// Samples taken on the side of a cell.
const SAMPLES: usize = 8;

/// How dark a cell is at least that is not light, and from where it is dark.
const LIGHT: f32 = 0.15;
const DARK: f32 = 0.9;

/// Above this many cells the codes that were read are too small a part of the image.
const MAX_CELLS: usize = 250_000;

/// Where there are such codes.
pub(super) fn beside(plane: &Plane, read: &[Region]) -> Vec<Region> {
    let Some(tone) = Tone::of(plane, read) else {
        return Vec::new();
    };
    let Some(map) = Map::of(plane, read, &tone) else {
        return Vec::new();
    };
    let soft = map.areas(|darkness| (LIGHT..DARK).contains(&darkness), 6);
    let soft = soft.into_iter().filter(|area| {
        let pixels = map.pixels_of(area);
        map.is_even(area) && (is_soft(plane, &pixels, &tone) || is_shaken(plane, &pixels))
    });
    let grainy = map.areas(|darkness| darkness >= LIGHT, 4);
    let grainy = grainy
        .into_iter()
        .filter(|area| is_grainy(plane, &map.pixels_of(area)));
    soft.chain(grainy)
        .map(|area| region_of(plane, &map.pixels_of(&area)))
        .collect()
}

/// A rectangle of pixels or cells; the end is outside.
#[derive(Clone, Copy)]
struct Area {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Area {
    fn width(&self) -> usize {
        self.right.saturating_sub(self.left)
    }

    fn height(&self) -> usize {
        self.bottom.saturating_sub(self.top)
    }

    fn shrunk(&self, by: usize) -> Self {
        Self {
            left: self.left + by,
            top: self.top + by,
            right: self.right.saturating_sub(by),
            bottom: self.bottom.saturating_sub(by),
        }
    }

    fn has(&self, x: usize, y: usize) -> bool {
        (self.left..self.right).contains(&x) && (self.top..self.bottom).contains(&y)
    }
}

/// The rectangle of pixels that a region is in.
fn area_of(plane: &Plane, region: &Region) -> Area {
    let pixel = |units: u16, length: u32| usize::from(units) * length as usize / usize::from(UNITS);
    let [[left, top], [right, bottom]] = region.bounds();
    Area {
        left: pixel(left, plane.width()),
        top: pixel(top, plane.height()),
        right: pixel(right, plane.width()),
        bottom: pixel(bottom, plane.height()),
    }
}

fn region_of(plane: &Plane, area: &Area) -> Region {
    let (width, height) = (plane.width() as f32, plane.height() as f32);
    let corners = [
        [area.left, area.top],
        [area.right, area.top],
        [area.right, area.bottom],
        [area.left, area.bottom],
    ];
    Region::from_fractions(corners.map(|[x, y]| [x as f32 / width, y as f32 / height]))
}

/// What the codes that were read look like.
struct Tone {
    /// Their brightness where they are dark and where they are light, however those are
    /// printed: of a light code on dark the first is the greater.
    dark: f32,
    light: f32,
    /// How sharp they are: see [`Sharpness`].
    steepest: f32,
    /// Their side, in pixels.
    side: f32,
}

impl Tone {
    fn of(plane: &Plane, read: &[Region]) -> Option<Self> {
        let mut areas: Vec<Area> = read.iter().map(|region| area_of(plane, region)).collect();
        areas.sort_by_key(Area::width);
        let middle = *areas.get(areas.len() / 2)?;
        let side = middle.width().min(middle.height()) as f32;
        let sharpness = Sharpness::of(plane, &middle)?;
        let (low, high) = (sharpness.low, sharpness.high);
        let margin = (side / CELLS) as usize;
        let rim = [
            middle
                .top
                .checked_sub(margin)
                .map(|y| (middle.left + middle.width() / 2, y)),
            middle
                .left
                .checked_sub(margin)
                .map(|x| (x, middle.top + middle.height() / 2)),
        ];
        let width = plane.width() as usize;
        let at = |(x, y): (usize, usize)| plane.pixels().get(y * width + x).copied();
        let rim: Vec<f32> = rim
            .into_iter()
            .flatten()
            .filter_map(at)
            .map(f32::from)
            .collect();
        let dark_rim = !rim.is_empty() && rim.iter().all(|it| *it < (low + high) / 2.0);
        let (dark, light) = if dark_rim { (high, low) } else { (low, high) };
        (side >= 20.0 && high - low >= 40.0).then_some(Self {
            dark,
            light,
            steepest: sharpness.steepest,
            side,
        })
    }

    /// How dark a brightness is, from 0 to 1.
    fn darkness(&self, brightness: f32) -> f32 {
        (self.light - brightness) / (self.light - self.dark)
    }
}

/// How brightness changes in an area.
struct Sharpness {
    low: f32,
    high: f32,
    /// The change from one pixel to the next that only one in a hundred exceeds.
    steepest: f32,
    across: f32,
    down: f32,
    deviation: f32,
}

impl Sharpness {
    fn of(plane: &Plane, area: &Area) -> Option<Self> {
        let width = plane.width() as usize;
        let step = (area.width().max(area.height()) / 72).max(1);
        let (mut values, mut changes) = (Vec::new(), Vec::new());
        let (mut across, mut down) = (0.0, 0.0);
        for (row, y) in (area.top..area.bottom).step_by(step).enumerate() {
            // Each row begins elsewhere, so that no regular pattern falls between the samples.
            for x in (area.left + row % step..area.right).step_by(step) {
                let at =
                    |x: usize, y: usize| plane.pixels().get(y * width + x).copied().map(f32::from);
                let (Some(here), Some(right), Some(below)) = (at(x, y), at(x + 1, y), at(x, y + 1))
                else {
                    continue;
                };
                values.push(here);
                let (by_x, by_y) = ((right - here).abs(), (below - here).abs());
                across += by_x;
                down += by_y;
                changes.push(by_x.max(by_y));
            }
        }
        let of_hundred = |values: &mut Vec<f32>, share: usize| {
            let index = values.len() * share / 100;
            let (_, value, _) = values.select_nth_unstable_by(index, f32::total_cmp);
            *value
        };
        if values.len() < 100 {
            return None;
        }
        let count = values.len() as f32;
        let mean = values.iter().sum::<f32>() / count;
        let deviation = (values.iter().map(|it| (it - mean).powi(2)).sum::<f32>() / count).sqrt();
        Some(Self {
            low: of_hundred(&mut values, 10),
            high: of_hundred(&mut values, 90),
            steepest: of_hundred(&mut changes, 99),
            across,
            down,
            deviation,
        })
    }
}

/// Whether an area changes as much in all directions, and nowhere sharply.
fn is_soft(plane: &Plane, area: &Area, tone: &Tone) -> bool {
    let inner = area.shrunk(area.width().min(area.height()) / 10);
    let Some(sharpness) = Sharpness::of(plane, &inner) else {
        return false;
    };
    let contrast = (tone.light - tone.dark).abs();
    let even = sharpness.across.max(1.0) / sharpness.down.max(1.0);
    sharpness.steepest <= 0.4 * tone.steepest
        && sharpness.deviation >= 0.035 * contrast
        && (0.6..1.7).contains(&even)
}

/// Runs of one color that are needed to find out what their lengths are multiples of.
const MIN_LENGTHS: usize = 100;

/// Whether dark and light take turns in an area as modules do, across and down it.
fn is_grainy(plane: &Plane, area: &Area) -> bool {
    turns(plane, area).is_some_and(|[across, down]| is_of_modules(&across) && is_of_modules(&down))
}

/// Whether an area was moved along its rows or columns while the image was taken: modules take
/// turns in the other direction only, but nowhere in straight lines, as bars do.
fn is_shaken(plane: &Plane, area: &Area) -> bool {
    let inner = area.shrunk(area.width().min(area.height()) / 10);
    let (Some(sharpness), Some([across, down])) =
        (Sharpness::of(plane, &inner), turns(plane, area))
    else {
        return false;
    };
    let even = sharpness.across / sharpness.down.max(0.1);
    ((0.12..0.7).contains(&even) && is_of_modules(&down))
        || ((1.4..8.0).contains(&even) && is_of_modules(&across))
}

/// The lengths of dark and light along rows and along columns.
fn turns(plane: &Plane, area: &Area) -> Option<[Vec<usize>; 2]> {
    let inner = area.shrunk(area.width().min(area.height()) / 16);
    let sharpness = Sharpness::of(plane, &inner)?;
    if sharpness.high - sharpness.low < 30.0 {
        return None;
    }
    let level = (sharpness.low + sharpness.high) / 2.0;
    let stride = plane.width() as usize;
    let is_dark = |x: usize, y: usize| {
        let pixel = plane.pixels().get(y * stride + x).copied();
        f32::from(pixel.unwrap_or_default()) < level
    };
    let (columns, rows) = (inner.left..inner.right, inner.top..inner.bottom);
    let step = (inner.width().min(inner.height()) / 60).max(1);
    let across = lengths(rows.clone().step_by(step), columns.clone(), |y, x| {
        is_dark(x, y)
    });
    let down = lengths(columns.step_by(step), rows, is_dark);
    Some([across, down])
}

/// The lengths of one color along lines, but for those at their ends.
fn lengths(
    lines: impl Iterator<Item = usize>,
    along: std::ops::Range<usize>,
    is_dark: impl Fn(usize, usize) -> bool,
) -> Vec<usize> {
    let mut lengths = Vec::new();
    for line in lines {
        let mut start = None;
        let mut last = is_dark(line, along.start);
        for place in along.clone() {
            let dark = is_dark(line, place);
            if dark != last {
                lengths.extend(start.map(|start| place - start));
                (start, last) = (Some(place), dark);
            }
        }
    }
    lengths
}

/// Whether lengths are multiples of one, half of them once it and a quarter twice; longer ones are
/// what covers a code.
fn is_of_modules(lengths: &[usize]) -> bool {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    // Half of them are one module long, so the one at a fifth is.
    let Some(module) = sorted.get(sorted.len() / 5).copied().filter(|it| *it >= 2) else {
        return false;
    };
    sorted.retain(|length| *length <= 7 * module);
    if sorted.len() < MIN_LENGTHS {
        return false;
    }
    let slack = 1.min(module / 3) + module / 6;
    let of = |times: usize| {
        let length = times * module;
        let near = sorted.iter().filter(|it| it.abs_diff(length) <= slack);
        near.count() * 100 / sorted.len()
    };
    let (once, twice, thrice) = (of(1), of(2), of(3));
    (35..=70).contains(&once)
        && (12..=36).contains(&twice)
        && (4..=22).contains(&thrice)
        && once + twice + thrice >= 72
}

/// How dark each cell of the image is.
struct Map {
    cell: usize,
    width: usize,
    height: usize,
    darkness: Vec<f32>,
}

impl Map {
    fn of(plane: &Plane, read: &[Region], tone: &Tone) -> Option<Self> {
        let cell = ((tone.side / CELLS) as usize).max(2);
        let (width, height) = (
            plane.width() as usize / cell,
            plane.height() as usize / cell,
        );
        if width * height > MAX_CELLS {
            return None;
        }
        let areas: Vec<Area> = read.iter().map(|region| area_of(plane, region)).collect();
        let step = (cell / SAMPLES).max(1);
        let pixels = plane.pixels();
        let stride = plane.width() as usize;
        let mut darkness = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let (mut sum, mut count) = (0_u32, 0_u32);
                for row in (y * cell..(y + 1) * cell).step_by(step) {
                    let line = pixels.get(row * stride + x * cell..row * stride + (x + 1) * cell);
                    for pixel in line.unwrap_or_default().iter().step_by(step) {
                        sum += u32::from(*pixel);
                        count += 1;
                    }
                }
                let middle = (x * cell + cell / 2, y * cell + cell / 2);
                let is_read = areas.iter().any(|area| area.has(middle.0, middle.1));
                let mean = sum as f32 / count.max(1) as f32;
                darkness.push(if is_read { 0.0 } else { tone.darkness(mean) });
            }
        }
        Some(Self {
            cell,
            width,
            height,
            darkness,
        })
    }

    fn at(&self, x: usize, y: usize) -> f32 {
        self.darkness
            .get(y * self.width + x)
            .copied()
            .unwrap_or_default()
    }

    /// The rectangles around cells of such darkness that touch each other, if they are about as
    /// large as a code, so many tenths of them are such cells, and all around is light.
    fn areas(&self, is_such: impl Fn(f32) -> bool, tenths: usize) -> Vec<Area> {
        let mut seen = vec![false; self.width * self.height];
        let mut areas = Vec::new();
        for start in 0..seen.len() {
            let (x, y) = (start % self.width, start / self.width);
            if seen[start] || !is_such(self.at(x, y)) {
                continue;
            }
            let mut area = Area {
                left: x,
                top: y,
                right: x + 1,
                bottom: y + 1,
            };
            let (mut count, mut open) = (0, vec![(x, y)]);
            seen[start] = true;
            while let Some((x, y)) = open.pop() {
                count += 1;
                area.left = area.left.min(x);
                area.top = area.top.min(y);
                area.right = area.right.max(x + 1);
                area.bottom = area.bottom.max(y + 1);
                let near = [
                    (x.wrapping_sub(1), y),
                    (x + 1, y),
                    (x, y.wrapping_sub(1)),
                    (x, y + 1),
                ];
                for (x, y) in near {
                    if x < self.width && y < self.height {
                        let index = y * self.width + x;
                        if !seen[index] && is_such(self.at(x, y)) {
                            seen[index] = true;
                            open.push((x, y));
                        }
                    }
                }
            }
            if count * 10 >= area.width() * area.height() * tenths && self.is_square(&area) {
                areas.push(area);
            }
        }
        areas
    }

    /// Whether an area is about as large as a code, with light around it.
    fn is_square(&self, area: &Area) -> bool {
        let (width, height) = (area.width(), area.height());
        if width.min(height) < 5
            || width.max(height) > 30
            || width.max(height) * 5 > width.min(height) * 7
        {
            return false;
        }
        let (mut light, mut around) = (0, 0);
        for y in area.top.saturating_sub(1)..(area.bottom + 1).min(self.height) {
            for x in area.left.saturating_sub(1)..(area.right + 1).min(self.width) {
                if !area.has(x, y) {
                    around += 1;
                    light += usize::from(self.at(x, y) < LIGHT);
                }
            }
        }
        around >= width.min(height) && light * 20 >= around * 17
    }

    /// Whether an area is as dark as a code, all over.
    fn is_even(&self, area: &Area) -> bool {
        let inner = area.shrunk(1);
        let cells: Vec<f32> = (inner.top..inner.bottom)
            .flat_map(|y| (inner.left..inner.right).map(move |x| (x, y)))
            .map(|(x, y)| self.at(x, y))
            .collect();
        let count = cells.len() as f32;
        let mean = cells.iter().sum::<f32>() / count;
        let deviation = (cells.iter().map(|it| (it - mean).powi(2)).sum::<f32>() / count).sqrt();
        (0.3..0.68).contains(&mean) && deviation <= 0.17
    }

    fn pixels_of(&self, area: &Area) -> Area {
        Area {
            left: area.left * self.cell,
            top: area.top * self.cell,
            right: area.right * self.cell,
            bottom: area.bottom * self.cell,
        }
    }
}

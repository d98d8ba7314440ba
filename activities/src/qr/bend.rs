//! A grid that grows over bent paper.
//!
//! Around a bottle, on a folded letter or in a crumpled receipt no flat grid fits a code, and a
//! flat grid that is bent finds only places less than a module away: one module further
//! everything looks as well. Only the finder patterns are certain. From them the grid grows, each
//! place following from those beside it and corrected by the modules that are seen there.

use std::time::Instant;

use rxing::Point;
use rxing::common::BitMatrix;
use rxing::common::cpp_essentials::{ConcentricPattern, FindConcentricPatternCorners};

use super::grid::{self, Finder, Located};
use super::guard::guarded;
use crate::images::Plane;

/// Modules between the middle of a finder pattern and the edge of its code.
const TO_EDGE: f32 = 3.5;

/// Modules between places of the grid, about.
const STEP: f32 = 3.0;

/// Modules looked at around a place, to each side.
const REACH: i32 = 3;

/// Other numbers of modules that are tried: bent paper shows its middle larger than its edges.
const OTHER_SIDES: [i32; 5] = [0, -4, 4, -8, 8];

/// Modules of a side that are grown over, at most.
const MAX_SIDE: usize = 81;

/// The share of the timing patterns that has to be right, and above which no other number of
/// modules fits.
const TIMED: f32 = 0.75;
const CERTAIN: f32 = 0.93;

/// Pixels of a module that are enough to see where it is.
const PIXELS: f32 = 5.0;

/// What three finder patterns span, wherever paper bends between them.
pub(super) fn located(bits: &BitMatrix, [bl, tl, tr]: [ConcentricPattern; 3]) -> Option<Located> {
    let axes = [vector(tl.p, tr.p), vector(tl.p, bl.p)];
    let finder = |pattern: ConcentricPattern| {
        let found = || FindConcentricPatternCorners(bits, pattern.p, pattern.size, 2);
        let corners = guarded(found)?.0.map(|corner| [corner.x, corner.y]);
        ordered(corners, axes)
    };
    let [tl, tr, bl] = [finder(tl)?, finder(tr)?, finder(bl)?];
    let modules = |one: &Finder, other: &Finder, edge: fn(&Finder) -> f32| {
        let module = (edge(one) + edge(other)) / 2.0;
        length(between(middle(one), middle(other))) / module + 2.0 * TO_EDGE
    };
    let across = |finder: &Finder| length(mean_edge(finder, [0, 1], [3, 2]));
    let down = |finder: &Finder| length(mean_edge(finder, [0, 3], [1, 2]));
    let (top, left) = (modules(&tl, &tr, across), modules(&tl, &bl, down));
    let side = usual_side((top + left) / 2.0)?;
    if (top - left).abs() > 0.4 * top.max(left) {
        return None;
    }
    let size = [bits.width() as f32, bits.height() as f32];
    let fraction = |place: [f32; 2]| [place[0] / size[0], place[1] / size[1]];
    let corner = |finder: &Finder, right: f32, below: f32| {
        let knot = Knot::of(finder);
        fraction(knot.beside(right * TO_EDGE, below * TO_EDGE))
    };
    let [first, second, last] = [
        corner(&tl, -1.0, -1.0),
        corner(&tr, 1.0, -1.0),
        corner(&bl, -1.0, 1.0),
    ];
    let opposite = [0, 1].map(|axis| second[axis] + last[axis] - first[axis]);
    let corners = [first, second, opposite, last];
    Some(Located {
        corners,
        side: u32::try_from(side).ok()?,
        is_light: false,
        finders: Some([tl, tr, bl].map(|finder| finder.map(fraction))),
    })
}

/// How dark the modules are of what spans three finder patterns, for the numbers of modules of a
/// side that fit, until this time; the one whose timing patterns are clearest is the first.
pub(super) fn greys(plane: &Plane, located: &Located, end: Instant) -> Vec<(usize, Vec<f32>)> {
    let Some(view) = View::of(plane, located) else {
        return Vec::new();
    };
    let mut grown: Vec<(f32, usize, Vec<f32>)> = Vec::new();
    for more in OTHER_SIDES {
        let side = located.side as i32 + more;
        let Some(side) = usize::try_from(side)
            .ok()
            .filter(|side| (21..=MAX_SIDE).contains(side))
        else {
            continue;
        };
        if Instant::now() >= end {
            break;
        }
        let mut grid = Grid::new(&view, side);
        grid.grow();
        grid.settle();
        let greys = grid.greys();
        let timed = grid::timed(&greys, side);
        if timed >= TIMED {
            grown.push((timed, side, greys));
        }
        if timed >= CERTAIN {
            break;
        }
    }
    grown.sort_by(|one, other| other.0.total_cmp(&one.0));
    grown
        .into_iter()
        .map(|(_, side, greys)| (side, greys))
        .collect()
}

/// What a code may cover of an image, with as few pixels as show its modules.
struct View {
    sharp: Plane,
    /// Each pixel the mean of those around it, where a module has several.
    soft: Plane,
    finders: [Finder; 3],
    is_light: bool,
}

impl View {
    fn of(plane: &Plane, located: &Located) -> Option<Self> {
        let size = [plane.width() as f32, plane.height() as f32];
        let finders = located.finders?;
        let finders =
            finders.map(|finder| finder.map(|place| [place[0] * size[0], place[1] * size[1]]));
        let corners = located
            .corners
            .map(|place| [place[0] * size[0], place[1] * size[1]]);
        let reach = |axis: usize| {
            let values = corners.map(|corner| corner[axis]);
            let low = values.into_iter().fold(f32::MAX, f32::min);
            let high = values.into_iter().fold(f32::MIN, f32::max);
            let more = (high - low) * 0.3;
            let low = (low - more).clamp(0.0, size[axis] - 1.0) as u32;
            let high = (high + more).clamp(0.0, size[axis]) as u32;
            (low, high.saturating_sub(low))
        };
        let ((left, width), (top, height)) = (reach(0), reach(1));
        let module = finders
            .iter()
            .map(Knot::of)
            .map(|knot| length(knot.right).min(length(knot.down)))
            .fold(f32::MAX, f32::min);
        let scale = (PIXELS / module).min(1.0);
        let scaled = |length: u32| (length as f32 * scale).ceil() as u32;
        let sharp = plane.cropped(left, top, width, height);
        let sharp = if scale < 0.8 {
            sharp.resized(scaled(width), scaled(height))
        } else {
            sharp
        };
        let scale = [
            sharp.width() as f32 / width as f32,
            sharp.height() as f32 / height as f32,
        ];
        if sharp.pixels().is_empty() {
            return None;
        }
        let start = [left as f32, top as f32];
        let moved = |place: [f32; 2]| [0, 1].map(|axis| (place[axis] - start[axis]) * scale[axis]);
        Some(Self {
            soft: sharp.blurred(),
            sharp,
            finders: finders.map(|finder| finder.map(moved)),
            is_light: located.is_light,
        })
    }

    /// The brightness at a place; dark modules are always the lower ones.
    fn dark(&self, plane: &Plane, [x, y]: [f32; 2]) -> f32 {
        let value = grid::sample(plane, x - 0.5, y - 0.5);
        if self.is_light { 255.0 - value } else { value }
    }
}

/// The number of modules that a code can have next to this.
fn usual_side(modules: f32) -> Option<i32> {
    let side = ((modules - 17.0) / 4.0).round() as i32 * 4 + 17;
    (21..=MAX_SIDE as i32 + 8).contains(&side).then_some(side)
}

fn vector(from: Point, to: Point) -> [f32; 2] {
    [to.x - from.x, to.y - from.y]
}

fn between(from: [f32; 2], to: [f32; 2]) -> [f32; 2] {
    [to[0] - from[0], to[1] - from[1]]
}

fn length(vector: [f32; 2]) -> f32 {
    vector[0].hypot(vector[1])
}

fn middle(finder: &Finder) -> [f32; 2] {
    [0, 1].map(|axis| finder.iter().map(|corner| corner[axis]).sum::<f32>() / 4.0)
}

/// A module along two opposite edges of a finder pattern, six modules from corner to corner.
fn mean_edge(finder: &Finder, one: [usize; 2], other: [usize; 2]) -> [f32; 2] {
    let edge = |[from, to]: [usize; 2]| between(finder[from], finder[to]);
    let (one, other) = (edge(one), edge(other));
    [0, 1].map(|axis| (one[axis] + other[axis]) / 12.0)
}

/// Corners in the order that the axes of their code tell.
fn ordered(corners: [[f32; 2]; 4], [right, down]: [[f32; 2]; 2]) -> Option<Finder> {
    let whole = right[0] * down[1] - right[1] * down[0];
    if whole.abs() < 1.0 {
        return None;
    }
    let center = middle(&corners);
    let mut finder: [Option<[f32; 2]>; 4] = [None; 4];
    for corner in corners {
        let away = between(center, corner);
        let along = (away[0] * down[1] - away[1] * down[0]) / whole;
        let below = (right[0] * away[1] - right[1] * away[0]) / whole;
        let index = match (along > 0.0, below > 0.0) {
            (false, false) => 0,
            (true, false) => 1,
            (true, true) => 2,
            (false, true) => 3,
        };
        finder[index] = Some(corner);
    }
    let [Some(first), Some(second), Some(third), Some(last)] = finder else {
        return None;
    };
    Some([first, second, third, last])
}

/// A place of the grid, and where the modules beside it are.
#[derive(Clone, Copy)]
struct Knot {
    place: [f32; 2],
    right: [f32; 2],
    down: [f32; 2],
}

impl Knot {
    /// The middle of a finder pattern.
    fn of(finder: &Finder) -> Self {
        Self {
            place: middle(finder),
            right: mean_edge(finder, [0, 1], [3, 2]),
            down: mean_edge(finder, [0, 3], [1, 2]),
        }
    }

    /// The place so many modules from it.
    fn beside(&self, right: f32, down: f32) -> [f32; 2] {
        [0, 1].map(|axis| self.place[axis] + right * self.right[axis] + down * self.down[axis])
    }
}

/// The grid over one code, as far as it is grown.
struct Grid<'a> {
    view: &'a View,
    side: usize,
    /// Places on each side.
    count: usize,
    /// Modules between them.
    step: f32,
    knots: Vec<Option<Knot>>,
}

impl<'a> Grid<'a> {
    /// The grid that only has the finder patterns.
    fn new(view: &'a View, side: usize) -> Self {
        let all = side as f32 - 2.0 * TO_EDGE;
        let steps = (all / STEP).round().max(1.0);
        let count = steps as usize + 1;
        let mut knots = vec![None; count * count];
        let [tl, tr, bl] = view.finders.each_ref().map(|finder| Some(Knot::of(finder)));
        knots[0] = tl;
        knots[count - 1] = tr;
        knots[(count - 1) * count] = bl;
        Self {
            view,
            side,
            count,
            step: all / steps,
            knots,
        }
    }

    fn knot(&self, column: isize, row: isize) -> Option<&Knot> {
        let is_in = |index: isize| (0..self.count as isize).contains(&index);
        if !is_in(column) || !is_in(row) {
            return None;
        }
        self.knots[row as usize * self.count + column as usize].as_ref()
    }

    /// Adds one place after another, first those where the modules are clearest.
    fn grow(&mut self) {
        let mut next: Vec<Option<(f32, Knot)>> = (0..self.knots.len())
            .map(|index| self.candidate(index))
            .collect();
        loop {
            let clearest = next
                .iter()
                .enumerate()
                .filter_map(|(index, candidate)| Some((index, (*candidate)?)))
                .max_by(|(_, one), (_, other)| one.0.total_cmp(&other.0));
            let Some((index, (_, knot))) = clearest else {
                return;
            };
            self.knots[index] = Some(knot);
            self.reframe(index);
            next[index] = None;
            let (column, row) = self.at(index);
            let is_in = |place: isize| (0..self.count as isize).contains(&place);
            for (x, y) in around() {
                let (x, y) = (column + x, row + y);
                if is_in(x) && is_in(y) {
                    let beside = y as usize * self.count + x as usize;
                    next[beside] = self.candidate(beside);
                }
            }
        }
    }

    /// A place that is not known yet, if one straight beside it is, and how sure it is, from 0 to
    /// about 1.
    fn candidate(&self, index: usize) -> Option<(f32, Knot)> {
        if self.knots[index].is_some() {
            return None;
        }
        let (expected, beside) = self.expected(index)?;
        let found = self.corrected(index, expected, [0.25, 0.1]);
        let clear = self.share(index, &found);
        Some((clear + 0.1 * beside, found))
    }

    /// How clear the modules around a place are, of what they could be.
    fn share(&self, index: usize, knot: &Knot) -> f32 {
        let Some([low, high]) = self.levels(index, knot) else {
            return 0.0;
        };
        let level = Some((low + high) / 2.0);
        let (mut most, half) = (0.0, (high - low) / 2.0);
        for (x, y, _) in self.modules(index) {
            let weight = grid::known(self.side, x, y).map_or(1.0, |_| 2.0);
            most += weight * half;
        }
        self.clearness(index, knot, knot.place, level) / most
    }

    /// Looks at each place again, now that all around it are known.
    fn settle(&mut self) {
        for step in [[0.3, 0.15], [0.2, 0.1]] {
            for index in 0..self.knots.len() {
                self.reframe(index);
                let Some(here) = self.knots[index] else {
                    return;
                };
                let mut found = self.corrected(index, here, step);
                if let Some(smooth) = self.smooth(index) {
                    let expected = Knot {
                        place: smooth,
                        ..here
                    };
                    let other = self.corrected(index, expected, step);
                    if self.clearness(index, &other, other.place, None)
                        > self.clearness(index, &found, found.place, None)
                    {
                        found = other;
                    }
                }
                self.knots[index] = Some(found);
            }
        }
    }

    /// The modules around a place: their column and row, and how far they are from it.
    fn modules(&self, index: usize) -> impl Iterator<Item = (usize, usize, [f32; 2])> + use<> {
        let at = |knot: usize| TO_EDGE + knot as f32 * self.step;
        let (x, y) = (at(index % self.count), at(index / self.count));
        let side = self.side as i32;
        let around =
            (-REACH..=REACH).flat_map(|row| (-REACH..=REACH).map(move |column| (column, row)));
        around.filter_map(move |(column, row)| {
            let (column, row) = (x as i32 + column, y as i32 + row);
            let is_in = (0..side).contains(&column) && (0..side).contains(&row);
            let away = [column as f32 + 0.5 - x, row as f32 + 0.5 - y];
            is_in.then_some((column as usize, row as usize, away))
        })
    }

    fn at(&self, index: usize) -> (isize, isize) {
        ((index % self.count) as isize, (index / self.count) as isize)
    }

    /// Where a place is by those straight beside it, and how many those are.
    fn expected(&self, index: usize) -> Option<(Knot, f32)> {
        let (column, row) = self.at(index);
        let (mut sum, mut count) = ([[0.0; 2]; 3], 0.0);
        for (x, y) in around().filter(|(x, y)| *x == 0 || *y == 0) {
            let Some(knot) = self.knot(column + x, row + y) else {
                continue;
            };
            let place = knot.beside(-x as f32 * self.step, -y as f32 * self.step);
            for (sum, value) in sum.iter_mut().zip([place, knot.right, knot.down]) {
                (0..2).for_each(|axis| sum[axis] += value[axis]);
            }
            count += 1.0;
        }
        let [place, right, down] = sum.map(|it| it.map(|value| value / count));
        (count > 0.0).then_some((Knot { place, right, down }, count))
    }

    /// Half way between those on both sides of a place.
    fn smooth(&self, index: usize) -> Option<[f32; 2]> {
        let (column, row) = self.at(index);
        let pairs = [(1, 0), (0, 1)].into_iter().filter_map(|(x, y)| {
            let one = self.knot(column + x, row + y)?.place;
            let other = self.knot(column - x, row - y)?.place;
            Some([0, 1].map(|axis| (one[axis] + other[axis]) / 2.0))
        });
        let places: Vec<[f32; 2]> = pairs.collect();
        let count = places.len() as f32;
        let mean = [0, 1].map(|axis| places.iter().map(|it| it[axis]).sum::<f32>() / count);
        (!places.is_empty()).then_some(mean)
    }

    /// Where the modules beside a place are, by the places around it.
    fn reframe(&mut self, index: usize) {
        let (column, row) = self.at(index);
        let Some(mut knot) = self.knots[index] else {
            return;
        };
        let axis = |x: isize, y: isize, old: [f32; 2]| {
            let (mut sum, mut count) = (old, 1.0);
            for sign in [-1, 1] {
                if let Some(other) = self.knot(column + sign * x, row + sign * y) {
                    let away = between(knot.place, other.place);
                    (0..2).for_each(|axis| sum[axis] += away[axis] / self.step * sign as f32);
                    count += 1.0;
                }
            }
            sum.map(|value| value / count)
        };
        let (right, down) = (axis(1, 0, knot.right), axis(0, 1, knot.down));
        (knot.right, knot.down) = (right, down);
        self.knots[index] = Some(knot);
    }

    /// The place near the expected one where the modules are clearest.
    fn corrected(&self, index: usize, expected: Knot, steps: [f32; 2]) -> Knot {
        let level = self.level(index, &expected);
        let mut best = expected;
        let mut clearest = self.clearness(index, &best, best.place, level);
        for step in steps {
            let start = best;
            for down in -2..=2 {
                for right in -2..=2 {
                    let place = start.beside(right as f32 * step, down as f32 * step);
                    // Of two as clear the nearer one.
                    let clear = self.clearness(index, &expected, place, level)
                        * (1.0 - 0.01 * (right * right + down * down) as f32);
                    if clear > clearest {
                        clearest = clear;
                        best.place = place;
                    }
                }
            }
        }
        best
    }

    /// Half way between dark and light around a place; nothing if all looks the same.
    fn level(&self, index: usize, knot: &Knot) -> Option<f32> {
        let [low, high] = self.levels(index, knot)?;
        Some((low + high) / 2.0)
    }

    fn levels(&self, index: usize, knot: &Knot) -> Option<[f32; 2]> {
        let (mut low, mut high) = (f32::MAX, f32::MIN);
        for (_, _, [x, y]) in self.modules(index) {
            let value = self.view.dark(&self.view.soft, knot.beside(x, y));
            low = low.min(value);
            high = high.max(value);
        }
        (high - low > 10.0).then_some([low, high])
    }

    /// How clearly the modules around a place are dark or light all over; those of patterns that
    /// every code has, as they have to be.
    fn clearness(&self, index: usize, knot: &Knot, place: [f32; 2], level: Option<f32>) -> f32 {
        let knot = Knot { place, ..*knot };
        let Some(level) = level.or_else(|| self.level(index, &knot)) else {
            return 0.0;
        };
        let mut sum = 0.0;
        for (column, row, [x, y]) in self.modules(index) {
            let mean = self.view.dark(&self.view.soft, knot.beside(x, y)) - level;
            sum += match grid::known(self.side, column, row) {
                Some(true) => -2.0 * mean,
                Some(false) => 2.0 * mean,
                None => mean.abs(),
            };
        }
        sum
    }

    /// The brightness of every module.
    fn greys(&self) -> Vec<f32> {
        let all = (0..self.side).flat_map(|y| (0..self.side).map(move |x| (x, y)));
        all.map(|(x, y)| self.grey(x, y).unwrap_or_default())
            .collect()
    }

    fn grey(&self, x: usize, y: usize) -> Option<f32> {
        let part = |module: usize| {
            let along = (module as f32 + 0.5 - TO_EDGE) / self.step;
            let cell = (along.floor().max(0.0) as usize).min(self.count - 2);
            (cell as isize, along - cell as f32)
        };
        let ((column, dx), (row, dy)) = (part(x), part(y));
        let at = |right: isize, down: isize| self.knot(column + right, row + down);
        let (one, two, three, four) = (at(0, 0)?, at(1, 0)?, at(0, 1)?, at(1, 1)?);
        let mixed = |value: fn(&Knot) -> [f32; 2]| {
            let (one, two, three, four) = (value(one), value(two), value(three), value(four));
            [0, 1].map(|axis| {
                (one[axis] * (1.0 - dx) + two[axis] * dx) * (1.0 - dy)
                    + (three[axis] * (1.0 - dx) + four[axis] * dx) * dy
            })
        };
        let knot = Knot {
            place: mixed(|knot| knot.place),
            right: mixed(|knot| knot.right),
            down: mixed(|knot| knot.down),
        };
        // Five points of a module.
        let points = [
            (0.0, 0.0),
            (-0.2, -0.2),
            (0.2, -0.2),
            (-0.2, 0.2),
            (0.2, 0.2),
        ];
        let seen = points.map(|(x, y)| self.view.dark(&self.view.sharp, knot.beside(x, y)));
        Some(seen.iter().sum::<f32>() / points.len() as f32)
    }
}

/// The places around one, straight and across.
fn around() -> impl Iterator<Item = (isize, isize)> {
    (-1..=1)
        .flat_map(|y| (-1..=1).map(move |x| (x, y)))
        .filter(|place| *place != (0, 0))
}

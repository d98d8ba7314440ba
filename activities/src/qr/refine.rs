//! A code that was found and could not be read, looked at again more closely.
//!
//! The main decoder lays one flat grid over a code and takes each module for dark or light by the
//! pixel in its middle. Here the grid bends with the paper until its modules are as clear as they
//! can be, each is judged by those around it, and the blur of a lens is taken back.

use std::time::Instant;

use rxing::common::BitMatrix;

use super::bend;
use super::grid::{Located, between, known, sample};
use super::guard::guarded;
use super::symbols::{self, SymbolContent};
use crate::images::Plane;

/// Places on each side of the grid that are moved; a module's place follows from the four around
/// it.
const KNOTS: usize = 6;

/// How far a place is moved, in modules, in one round after the other.
const MOVES: [f32; 5] = [0.8, 0.5, 0.5, 0.25, 0.25];

/// How far a lens spreads a point, in modules, as is tried.
const BLURS: [f32; 3] = [0.45, 0.65, 0.85];

/// Rounds in which the blur is taken back.
const ROUNDS: usize = 12;

/// Codes of more modules are not bent: there are alignment patterns all over them.
const MAX_SIDE: u32 = 101;

/// Reads it, if it can be until this time.
pub(super) fn read(plane: &Plane, located: &Located, end: Instant) -> Option<SymbolContent> {
    if located.finders.is_some() {
        let grown = bend::greys(plane, located, end);
        return grown.iter().find_map(|(side, grey)| said(grey, *side));
    }
    if !(21..=MAX_SIDE).contains(&located.side) {
        return None;
    }
    let flat = Mesh::flat(plane, located)?;
    let mut bent = flat.clone();
    for step in MOVES {
        bent.settle(plane, located, step);
    }
    [&bent, &flat]
        .into_iter()
        .find_map(|mesh| said(&mesh.greys(plane, located), located.side as usize))
}

/// Reads the brightness of modules, as it is and with the blur of a lens taken back.
fn said(grey: &[f32], side: usize) -> Option<SymbolContent> {
    decoded(grey, side).or_else(|| {
        let sharp = BLURS.iter().map(|blur| unblurred(grey, side, *blur));
        sharp.into_iter().find_map(|sharp| decoded(&sharp, side))
    })
}

/// Reads modules, each dark if it is darker than what is around it.
fn decoded(grey: &[f32], side: usize) -> Option<SymbolContent> {
    [3, 6].into_iter().find_map(|reach| {
        let mut bits = BitMatrix::with_single_dimension(u32::try_from(side).ok()?).ok()?;
        for y in 0..side {
            for x in 0..side {
                if grey[y * side + x] < between(grey, side, x, y, reach) {
                    bits.set(x as u32, y as u32);
                }
            }
        }
        guarded(|| symbols::said_by(&bits))
    })
}

/// Takes the blur of a lens back (Van Cittert 1931): what the image blurred again lacks is
/// added, over and over, within what is possible.
fn unblurred(grey: &[f32], side: usize, blur: f32) -> Vec<f32> {
    let near = (-1.0 / (2.0 * blur * blur)).exp();
    let far = (-4.0 / (2.0 * blur * blur)).exp();
    let whole = 1.0 + 2.0 * near + 2.0 * far;
    let kernel = [
        far / whole,
        near / whole,
        1.0 / whole,
        near / whole,
        far / whole,
    ];
    let low = grey.iter().copied().fold(f32::MAX, f32::min);
    let high = grey.iter().copied().fold(f32::MIN, f32::max);
    let spread = (high - low) * 0.15;
    let mut sharp = grey.to_vec();
    for _ in 0..ROUNDS {
        let soft = convolved(&sharp, side, kernel, high);
        for ((sharp, soft), grey) in sharp.iter_mut().zip(soft).zip(grey) {
            *sharp = (*sharp + grey - soft).clamp(low - spread, high + spread);
        }
    }
    sharp
}

/// Along rows, then along columns; around the code is its light border.
fn convolved(values: &[f32], side: usize, kernel: [f32; 5], border: f32) -> Vec<f32> {
    let pass = |values: &[f32], down: bool| -> Vec<f32> {
        let at = |along: isize, other: usize| {
            let is_in = (0..side as isize).contains(&along);
            let (x, y) = if down {
                (other, along as usize)
            } else {
                (along as usize, other)
            };
            if is_in { values[y * side + x] } else { border }
        };
        (0..side * side)
            .map(|index| {
                let (x, y) = (index % side, index / side);
                let (along, other) = if down { (y, x) } else { (x, y) };
                let taps = kernel.iter().zip(-2..);
                taps.map(|(weight, by)| weight * at(along as isize + by, other))
                    .sum()
            })
            .collect()
    };
    pass(&pass(values, false), true)
}

/// A grid that bends: the places of its knots in pixels.
#[derive(Clone)]
struct Mesh {
    side: usize,
    knots: [[[f32; 2]; KNOTS]; KNOTS],
}

impl Mesh {
    /// The grid that a flat code has.
    fn flat(plane: &Plane, located: &Located) -> Option<Self> {
        let size = [plane.width() as f32, plane.height() as f32];
        let corners = located
            .corners
            .map(|corner| [corner[0] * size[0], corner[1] * size[1]]);
        let place = perspective(corners)?;
        let mut knots = [[[0.0; 2]; KNOTS]; KNOTS];
        for (row, line) in knots.iter_mut().enumerate() {
            for (column, knot) in line.iter_mut().enumerate() {
                let part = |index: usize| index as f32 / (KNOTS - 1) as f32;
                *knot = place(part(column), part(row));
            }
        }
        Some(Self {
            side: located.side as usize,
            knots,
        })
    }

    /// Where the middle of a module is.
    fn place(&self, x: usize, y: usize) -> [f32; 2] {
        let part = |index: usize| {
            let along = (index as f32 + 0.5) / self.side as f32 * (KNOTS - 1) as f32;
            let knot = (along as usize).min(KNOTS - 2);
            (knot, along - knot as f32)
        };
        let ((column, dx), (row, dy)) = (part(x), part(y));
        [0, 1].map(|axis| {
            let at = |row: usize, column: usize| self.knots[row][column][axis];
            let upper = at(row, column) * (1.0 - dx) + at(row, column + 1) * dx;
            let lower = at(row + 1, column) * (1.0 - dx) + at(row + 1, column + 1) * dx;
            upper * (1.0 - dy) + lower * dy
        })
    }

    fn grey(&self, plane: &Plane, located: &Located, x: usize, y: usize) -> f32 {
        let [px, py] = self.place(x, y);
        let value = sample(plane, px - 0.5, py - 0.5);
        if located.is_light {
            255.0 - value
        } else {
            value
        }
    }

    /// The brightness in the middle of each module; light ones are bright.
    fn greys(&self, plane: &Plane, located: &Located) -> Vec<f32> {
        let all = (0..self.side).flat_map(|y| (0..self.side).map(move |x| (x, y)));
        all.map(|(x, y)| self.grey(plane, located, x, y)).collect()
    }

    /// Moves each knot to where the modules around it are clearest.
    fn settle(&mut self, plane: &Plane, located: &Located, step: f32) {
        let greys = self.greys(plane, located);
        let levels: Vec<f32> = (0..self.side * self.side)
            .map(|index| between(&greys, self.side, index % self.side, index / self.side, 4))
            .collect();
        let module = |mesh: &Self, row: usize, column: usize, by: [usize; 2]| {
            let other = mesh.knots[(row + by[1]).min(KNOTS - 1)][(column + by[0]).min(KNOTS - 1)];
            let here = mesh.knots[row][column];
            let modules = mesh.side as f32 / (KNOTS - 1) as f32;
            [0, 1].map(|axis| (other[axis] - here[axis]) / modules * step)
        };
        for row in 0..KNOTS {
            for column in 0..KNOTS {
                let (from_row, from_column) = (row.min(KNOTS - 2), column.min(KNOTS - 2));
                let right = module(self, from_row, from_column, [1, 0]);
                let down = module(self, from_row, from_column, [0, 1]);
                let here = self.knots[row][column];
                let mut best = (self.clearness(plane, located, &levels, row, column), here);
                for (along, across) in [
                    (1, 0),
                    (-1, 0),
                    (0, 1),
                    (0, -1),
                    (1, 1),
                    (-1, -1),
                    (1, -1),
                    (-1, 1),
                ] {
                    let (along, across) = (along as f32, across as f32);
                    self.knots[row][column] =
                        [0, 1].map(|axis| here[axis] + along * right[axis] + across * down[axis]);
                    let clear = self.clearness(plane, located, &levels, row, column);
                    if clear > best.0 {
                        best = (clear, self.knots[row][column]);
                    }
                }
                self.knots[row][column] = best.1;
            }
        }
    }

    /// How far the modules around a knot are from half way between dark and light; those of the
    /// patterns that every code has, towards the side on which they have to be.
    fn clearness(
        &self,
        plane: &Plane,
        located: &Located,
        levels: &[f32],
        row: usize,
        column: usize,
    ) -> f32 {
        let modules = |knot: usize| {
            let patch = self.side as f32 / (KNOTS - 1) as f32;
            let start = (knot.saturating_sub(1) as f32 * patch) as usize;
            let end = ((knot + 1) as f32 * patch).ceil() as usize;
            start..end.min(self.side)
        };
        let mut sum = 0.0;
        for y in modules(row) {
            for x in modules(column) {
                let away = self.grey(plane, located, x, y) - levels[y * self.side + x];
                sum += match known(self.side, x, y) {
                    Some(true) => -2.0 * away,
                    Some(false) => 2.0 * away,
                    None => away.abs(),
                };
            }
        }
        sum
    }
}

/// From places in the unit square to those in a quadrilateral (Heckbert 1989).
fn perspective(corners: [[f32; 2]; 4]) -> Option<impl Fn(f32, f32) -> [f32; 2]> {
    let [[x0, y0], [x1, y1], [x2, y2], [x3, y3]] = corners;
    let (dx1, dx2, dx3) = (x1 - x2, x3 - x2, x0 - x1 + x2 - x3);
    let (dy1, dy2, dy3) = (y1 - y2, y3 - y2, y0 - y1 + y2 - y3);
    let whole = dx1 * dy2 - dx2 * dy1;
    if whole.abs() < 1.0 {
        return None;
    }
    let g = (dx3 * dy2 - dx2 * dy3) / whole;
    let h = (dx1 * dy3 - dx3 * dy1) / whole;
    let row = |first: f32, second: f32, last: f32| {
        [second - first + g * second, last - first + h * last, first]
    };
    let (across, along) = (row(x0, x1, x3), row(y0, y1, y3));
    Some(move |u: f32, v: f32| {
        let depth = g * u + h * v + 1.0;
        [across, along].map(|[a, b, c]| (a * u + b * v + c) / depth)
    })
}

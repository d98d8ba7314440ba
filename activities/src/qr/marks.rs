//! Finder patterns in the corners of something, however pale, noisy, blurred or shaken.

use super::patch::{MARGIN, Patch, SIDE, WHOLE};

/// How many modules its side may have, each about a tenth more than the last.
const SIDES: [f32; 11] = [
    21.0, 23.5, 26.0, 29.0, 32.0, 35.5, 39.0, 43.0, 48.0, 53.0, 59.0,
];

/// Modules of a finder pattern's side, with the light ones around it.
const MODULES: usize = 9;

/// How far the patterns may be blurred, in modules, as is tried.
const BLURS: [f32; 4] = [0.0, 0.5, 0.8, 1.1];

/// What the most blurred are worth less: there is less in them to be alike.
const LESS: f32 = 0.12;

/// What the corners of something are like.
pub(super) struct Marks {
    /// How much the corners are like finder patterns, the likest first: 1 is exactly so.
    pub(super) likeness: [f32; 4],
    /// Which of [`BLURS`] they are like.
    pub(super) blur: usize,
}

impl Marks {
    pub(super) fn of(patch: &Patch) -> Self {
        let sums = Sums::of(patch);
        let inner = patch.within(MARGIN);
        // What differs less than this is flat.
        let least = 0.35 * MODULES as f32 * deviation(&inner);
        let patterns = BLURS.map(pattern);
        let mut best: Option<(f32, Self)> = None;
        for side in SIDES {
            let windows = Windows::of(&sums, side, least);
            for (blur, pattern) in patterns.iter().enumerate() {
                for corners in windows.likeness(pattern) {
                    let mut likeness = corners;
                    likeness.sort_by(|one, other| other.total_cmp(one));
                    let worth = likeness[..3].iter().sum::<f32>() - LESS * blur as f32;
                    if best.as_ref().is_none_or(|(known, _)| worth > *known) {
                        best = Some((worth, Self { likeness, blur }));
                    }
                }
            }
        }
        best.map_or(
            Self {
                likeness: [0.0; 4],
                blur: 0,
            },
            |(_, marks)| marks,
        )
    }

    /// Whether they are blurred by a good part of a module.
    pub(super) fn are_soft(&self) -> bool {
        self.blur >= 2
    }

    /// Whether three corners are at least so much like finder patterns, by how blurred those are.
    pub(super) fn are(&self, least: [f32; 4]) -> bool {
        self.likeness[2] >= least[self.blur]
    }
}

fn deviation(values: &[f32]) -> f32 {
    let count = values.len().max(1) as f32;
    let mean = values.iter().sum::<f32>() / count;
    (values.iter().map(|it| (it - mean).powi(2)).sum::<f32>() / count).sqrt()
}

/// A finder pattern out of focus, with a mean of 0 and a length of 1.
fn pattern(blur: f32) -> [f32; MODULES * MODULES] {
    let dark = |at: usize| {
        let ring = (at as i32 / 9 - 4).abs().max((at as i32 % 9 - 4).abs());
        f32::from(u8::from(ring == 3 || ring <= 1))
    };
    let sharp: Vec<f32> = (0..MODULES * MODULES).map(dark).collect();
    let weight = |far: i32| {
        if blur == 0.0 {
            f32::from(u8::from(far == 0))
        } else {
            (-(far * far) as f32 / (2.0 * blur * blur)).exp()
        }
    };
    let whole: f32 = (-3..=3).map(weight).sum();
    let pass = |values: &[f32], down: bool| -> Vec<f32> {
        let at = |x: i32, y: i32| {
            let is_in = (0..9).contains(&x) && (0..9).contains(&y);
            if is_in {
                values[(y * 9 + x) as usize]
            } else {
                0.0
            }
        };
        let blurred = (0..81).map(|index| {
            let (x, y) = (index % 9, index / 9);
            let taps = (-3..=3).map(|far| {
                let value = if down { at(x, y + far) } else { at(x + far, y) };
                value * weight(far)
            });
            taps.sum::<f32>() / whole
        });
        blurred.collect()
    };
    let blurred = pass(&pass(&sharp, false), true);
    let mean = blurred.iter().sum::<f32>() / blurred.len() as f32;
    let length = deviation(&blurred) * MODULES as f32;
    std::array::from_fn(|index| (blurred[index] - mean) / length)
}

/// Sums over all that is above and to the left.
struct Sums(Vec<f32>);

impl Sums {
    fn of(patch: &Patch) -> Self {
        let stride = WHOLE + 1;
        let mut sums = vec![0.0; stride * stride];
        for y in 0..WHOLE {
            let mut row = 0.0;
            for x in 0..WHOLE {
                row += patch.darkness[y * WHOLE + x];
                sums[(y + 1) * stride + x + 1] = sums[y * stride + x + 1] + row;
            }
        }
        Self(sums)
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (
            x.clamp(0.0, WHOLE as f32 - 0.001),
            y.clamp(0.0, WHOLE as f32 - 0.001),
        );
        let (left, top) = (x as usize, y as usize);
        let (dx, dy) = (x - left as f32, y - top as f32);
        let value = |x: usize, y: usize| self.0[y * (WHOLE + 1) + x];
        let upper = value(left, top) * (1.0 - dx) + value(left + 1, top) * dx;
        let lower = value(left, top + 1) * (1.0 - dx) + value(left + 1, top + 1) * dx;
        upper * (1.0 - dy) + lower * dy
    }
}

/// Half modules from one corner of a pattern to the other.
const REACH: usize = 2 * (MODULES - 1);
/// Half modules by which the corner may be off.
const SLACK: usize = 14;
/// Half modules of a corner that are looked at.
const CORNER: usize = REACH + SLACK;

/// The four corners of what would have so many modules of a side, at every half of a module.
struct Windows([Window; 4]);

/// The means of modules in a corner, row by row, and what each place of a pattern in it is divided
/// by.
struct Window {
    means: [[f32; CORNER]; CORNER],
    slack: usize,
    lengths: [[f32; SLACK]; SLACK],
}

impl Windows {
    /// What differs by less than `least` is flat.
    fn of(sums: &Sums, side: f32, least: f32) -> Self {
        let module = SIDE as f32 / side;
        let count = (2.0 * WHOLE as f32 / module) as usize;
        let places = count - REACH;
        let slack = SLACK.min(places * 10 / 26);
        Self([0, 1, 2, 3].map(|corner| {
            let start = |is_far: bool| if is_far { places - slack } else { 0 };
            let start = [start(corner % 2 == 1), start(corner / 2 == 1)];
            Window::of(sums, module, start, slack, least)
        }))
    }

    /// How much the four corners are like a pattern: dark on light, and light on dark.
    fn likeness(&self, pattern: &[f32; MODULES * MODULES]) -> [[f32; 4]; 2] {
        let corners = self.0.each_ref().map(|window| window.likeness(pattern));
        [0, 1].map(|sign| corners.map(|corner| corner[sign]))
    }
}

impl Window {
    fn of(sums: &Sums, module: f32, start: [usize; 2], slack: usize, least: f32) -> Self {
        // Modules overlap by half, so that each corner of one is that of others.
        let place = |start: usize, at: usize| ((start + at) as f32 - 0.5) * module / 2.0;
        let used = REACH + slack;
        let mut nodes = [[0.0; CORNER + 2]; CORNER + 2];
        for (row, nodes) in nodes.iter_mut().enumerate().take(used + 2) {
            let y = place(start[1], row);
            for (column, node) in nodes.iter_mut().enumerate().take(used + 2) {
                *node = sums.at(place(start[0], column), y);
            }
        }
        let mut means = [[0.0; CORNER]; CORNER];
        for row in 0..used {
            for column in 0..used {
                let sum = nodes[row + 2][column + 2] + nodes[row][column]
                    - nodes[row + 2][column]
                    - nodes[row][column + 2];
                means[row][column] = sum / (module * module);
            }
        }
        let mut window = Self {
            means,
            slack,
            lengths: [[1.0; SLACK]; SLACK],
        };
        let count = (MODULES * MODULES) as f32;
        for top in 0..slack {
            let (mut sums, mut squares) = ([0.0; SLACK], [0.0; SLACK]);
            window.each_module(top, |_, values| {
                for at in 0..SLACK {
                    sums[at] += values[at];
                    squares[at] += values[at] * values[at];
                }
            });
            for at in 0..SLACK {
                let length = (squares[at] - sums[at] * sums[at] / count).max(0.0).sqrt();
                window.lengths[top][at] = length.max(least).max(1e-3);
            }
        }
        window
    }

    /// How much the best place is like the pattern, and how much like its opposite.
    fn likeness(&self, pattern: &[f32; MODULES * MODULES]) -> [f32; 2] {
        let mut best = [f32::MIN; 2];
        for top in 0..self.slack {
            let mut common = [0.0; SLACK];
            self.each_module(top, |module, values| {
                for at in 0..SLACK {
                    common[at] += values[at] * pattern[module];
                }
            });
            for (common, length) in common.iter().zip(&self.lengths[top]).take(self.slack) {
                let alike = common / length;
                best[0] = best[0].max(alike);
                best[1] = best[1].max(-alike);
            }
        }
        best
    }

    /// Calls with each module of a pattern and its values, where the pattern begins in this row and
    /// in each of the first columns, all of them at once.
    fn each_module(&self, top: usize, mut with: impl FnMut(usize, &[f32; SLACK])) {
        for row in 0..MODULES {
            let line = &self.means[top + 2 * row];
            for column in 0..MODULES {
                if let Some(values) = line[2 * column..].first_chunk() {
                    with(row * MODULES + column, values);
                }
            }
        }
    }
}

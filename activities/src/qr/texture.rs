//! What the modules of a code look like all together: the same everywhere, in no order, and on a
//! lattice where they are sharp.
//!
//! The bounds lie between what the spoiled codes of `tests/drawn/beside.rs` show, and what
//! photographs, text, tables and drawings show there.

use super::patch::{MARGIN, Patch, SIDE, WHOLE};
use crate::images::Plane;

/// Samples of the patch that are not looked at, on each side.
const WITHOUT: usize = MARGIN + SIDE / 16;
const INNER: usize = WHOLE - 2 * WITHOUT;

/// Where two samples have less than this in common, they are of different modules.
const APART: f32 = 0.3;

/// Parts of a side whose means and deviations are compared.
const PARTS: usize = 3;

pub(super) struct Texture {
    /// How many patches of one brightness there would be in a row.
    pub(super) grains: f32,
    /// How far they reach, across and down.
    pub(super) reach: [f32; 2],
    /// How regular it is: what samples far apart have in common, across and down.
    pub(super) order: [f32; 2],
    /// How much its parts differ in brightness; 1 is what chance makes of it.
    pub(super) unevenness: f32,
    /// How little and how much parts of it vary, compared with the one in the middle.
    pub(super) least: f32,
    pub(super) most: f32,
    /// How much of it is neither dark nor light, nor painted over with one grey.
    pub(super) middling: f32,
    /// How dark it is, from 0 to 1.
    pub(super) darkness: f32,
}

impl Texture {
    pub(super) fn of(patch: &Patch) -> Option<Self> {
        let values = patch.within(WITHOUT);
        let rest = without_shade(&values);
        let variance = rest.iter().map(|it| it * it).sum::<f32>() / rest.len() as f32;
        if variance < 0.5 {
            return None;
        }
        let [across, down] = [false, true].map(|is_down| Alike::along(&rest, variance, is_down));
        let mut parts: Vec<(f32, f32)> = (0..PARTS * PARTS).map(|it| part(&values, it)).collect();
        let means = || parts.iter().map(|(mean, _)| *mean);
        let mean = means().sum::<f32>() / parts.len() as f32;
        let spread =
            (means().map(|it| (it - mean).powi(2)).sum::<f32>() / parts.len() as f32).sqrt();
        let reach = (across.reach * down.reach).sqrt();
        let chance = variance.sqrt() * reach * PARTS as f32 / INNER as f32;
        parts.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        let deviation = |index: usize| parts[index].1 / parts[PARTS * PARTS / 2].1.max(1e-6);
        let mut sorted = patch.within(MARGIN);
        sorted.sort_by(f32::total_cmp);
        let of_hundred = |share: usize| sorted[(sorted.len() - 1) * share / 100];
        let darkness = sorted.iter().sum::<f32>() / sorted.len() as f32 / of_hundred(97).max(1.0);
        let mut sorted = values;
        sorted.sort_by(f32::total_cmp);
        let of_hundred = |share: usize| sorted[(sorted.len() - 1) * share / 100];
        let (low, high) = (of_hundred(5), of_hundred(95));
        let middle = low + 0.3 * (high - low)..low + 0.7 * (high - low);
        let middling: Vec<f32> = sorted
            .iter()
            .copied()
            .filter(|it| middle.contains(it))
            .collect();
        let painted = most_within(&middling, 0.05 * (high - low));
        Some(Self {
            grains: INNER as f32 / reach,
            reach: [across.reach, down.reach],
            order: [across.order, down.order],
            unevenness: spread / chance.max(1e-6),
            least: deviation(0),
            most: deviation(PARTS * PARTS - 1),
            middling: (middling.len() - painted) as f32 / sorted.len() as f32,
            darkness,
        })
    }

    fn most_order(&self) -> f32 {
        self.order[0].max(self.order[1])
    }

    /// Whether it is the same all over and in no order, as codes are and few photographs.
    pub(super) fn is_even(&self) -> bool {
        self.unevenness <= 2.4
            && self.least >= 0.55
            && self.most <= 2.0
            && self.most_order() <= 0.3
            && self.grains >= 9.0
    }

    /// Whether it is of things in rows, with more space than things.
    pub(super) fn is_of_rows(&self) -> bool {
        self.most_order() >= 0.7 && self.darkness < 0.35
    }

    /// Whether it is nothing but dark and light, about as much of both, in grains of one size.
    pub(super) fn is_of_modules(&self) -> bool {
        let [across, down] = self.reach;
        self.middling < 0.1
            && (0.35..0.65).contains(&self.darkness)
            && self.least > 0.8
            && self.most < 1.25
            && self.most_order() < 0.2
            && self.unevenness < 1.9
            && (20.0..70.0).contains(&self.grains)
            && (0.5..2.0).contains(&(across / down))
    }

    /// Whether it is of one color but for specks all over: what is left of modules where light was
    /// far too much or too little.
    pub(super) fn is_of_specks(&self) -> bool {
        !(0.12..0.9).contains(&self.darkness)
            && self.middling < 0.02
            && self.least >= 0.15
            && self.most_order() < 0.2
            && self.unevenness < 2.0
            && (12.0..75.0).contains(&self.grains)
    }

    /// Whether there are edges in it, in no order in at least one direction.
    pub(super) fn is_sharp(&self) -> bool {
        self.middling < 0.15 && self.order[0].min(self.order[1]) < 0.5
    }

    /// Whether it is out of focus, or moved.
    pub(super) fn is_soft(&self) -> bool {
        self.middling >= 0.2
    }

    /// Whether it is what a lens out of focus makes of modules: its borders are as soft as it is
    /// within. Photographs have sharp ones.
    pub(super) fn is_out_of_focus(&self, patch: &Patch) -> bool {
        let [across, down] = self.reach;
        let reach = (across * down).sqrt();
        let borders = borders(patch).map(|it| it / reach);
        self.middling >= 0.2
            && self.unevenness <= 2.4
            && (7.0..45.0).contains(&reach)
            && borders[0] >= 0.4
            && borders[1] <= 1.5
    }

    /// Whether modules may stand on a lattice, as far as that can be said without looking at it.
    pub(super) fn may_be_on(&self, is_square: bool) -> bool {
        self.may_be_on_both() || is_square && (self.may_be_striped() || self.may_be_shaken())
    }

    fn may_be_on_both(&self) -> bool {
        self.is_sharp() && self.most_order() < 0.3 && (12.0..75.0).contains(&self.grains)
    }

    fn may_be_striped(&self) -> bool {
        self.is_sharp() && self.least >= 0.5
    }

    fn may_be_shaken(&self) -> bool {
        self.is_soft() && self.most_order() <= 0.3 && self.unevenness <= 3.0
    }

    /// Whether modules stand on a lattice in both directions.
    pub(super) fn is_on(&self, [across, down]: &[Lattice; 2]) -> bool {
        // Single dots on one color are not what is blurred or drawn.
        let is_sparse = !(0.1..0.9).contains(&self.darkness);
        self.may_be_on_both()
            && (!is_sparse || self.middling < 0.03)
            && across.strength.min(down.strength) >= 0.22
            && across.modules.max(down.modules) >= FEWEST
            && across.is_about(down.length)
    }

    /// Whether modules stand on a lattice in one direction while something else is in the other:
    /// stripes, or the way along which the image was shaken.
    pub(super) fn is_on_one_of(&self, lattice: &[Lattice; 2]) -> bool {
        let is_striped = |axis: usize| {
            let (along, across) = (&lattice[axis], &lattice[1 - axis]);
            // Strokes of letters are shorter than what they stand on.
            along.is_clear(0.38)
                && along.edges >= 0.2 * across.edges
                && self.reach[axis] >= 0.75 * SIDE as f32 / along.modules
        };
        let is_shaken = |axis: usize| {
            lattice[axis].is_clear(0.3) && self.reach[1 - axis] >= 2.0 * self.reach[axis]
        };
        let any = |is_one: &dyn Fn(usize) -> bool| is_one(0) || is_one(1);
        self.may_be_striped() && any(&is_striped) || self.may_be_shaken() && any(&is_shaken)
    }
}

/// How many values are within such a width of each other, at most; they are sorted.
fn most_within(sorted: &[f32], width: f32) -> usize {
    let mut start = 0;
    let counts = sorted.iter().enumerate().map(|(index, value)| {
        while value - sorted[start] > width {
            start += 1;
        }
        index + 1 - start
    });
    counts.max().unwrap_or(0)
}

/// How many samples it takes from the page into what is in the middle, on each side; the
/// shortest first.
fn borders(patch: &Patch) -> [f32; 4] {
    /// Samples of a side over which each is averaged, and how far in they are looked at.
    const ALONG: usize = SIDE / 4;
    const DEEP: usize = MARGIN + SIDE * 3 / 8;
    let middle = patch.within(WHOLE / 4);
    let whole = middle.iter().sum::<f32>() / middle.len() as f32;
    let at = |side: usize, along: usize, deep: usize| {
        let (along, deep) = match side {
            0 => (along, deep),
            1 => (WHOLE - 1 - deep, along),
            2 => (along, WHOLE - 1 - deep),
            _ => (deep, along),
        };
        patch.darkness[deep * WHOLE + along]
    };
    let mut borders = [0, 1, 2, 3].map(|side| {
        let start = (WHOLE - ALONG) / 2;
        let share = |deep: usize| {
            let sum: f32 = (start..start + ALONG)
                .map(|along| at(side, along, deep))
                .sum();
            sum / ALONG as f32 / whole.max(1e-3)
        };
        let begin = (0..DEEP).find(|deep| share(*deep) >= 0.3).unwrap_or(0);
        let end = (begin..DEEP)
            .find(|deep| share(*deep) >= 0.85)
            .unwrap_or(DEEP);
        (end - begin) as f32
    });
    borders.sort_by(f32::total_cmp);
    borders
}

/// What is left when slow changes are taken out: each sample less the mean around it.
fn without_shade(values: &[f32]) -> Vec<f32> {
    let reach = INNER / 5;
    let stride = INNER + 1;
    let mut sums = vec![0.0_f64; stride * stride];
    for y in 0..INNER {
        let mut row = 0.0;
        for x in 0..INNER {
            row += f64::from(values[y * INNER + x]);
            sums[(y + 1) * stride + x + 1] = sums[y * stride + x + 1] + row;
        }
    }
    let range = |at: usize| (at.saturating_sub(reach), (at + reach + 1).min(INNER));
    let rest = (0..INNER * INNER).map(|index| {
        let ((left, right), (top, bottom)) = (range(index % INNER), range(index / INNER));
        let sum = sums[bottom * stride + right] + sums[top * stride + left]
            - sums[top * stride + right]
            - sums[bottom * stride + left];
        values[index] - (sum / ((right - left) * (bottom - top)) as f64) as f32
    });
    rest.collect()
}

/// The mean and the deviation of one part.
fn part(values: &[f32], index: usize) -> (f32, f32) {
    let range = |at: usize| at * INNER / PARTS..(at + 1) * INNER / PARTS;
    let (columns, rows) = (range(index % PARTS), range(index / PARTS));
    let count = (columns.len() * rows.len()) as f32;
    let all = || {
        rows.clone()
            .flat_map(|y| &values[y * INNER..][columns.clone()])
    };
    let mean = all().sum::<f32>() / count;
    let variance = all().map(|it| (it - mean).powi(2)).sum::<f32>() / count;
    (mean, variance.sqrt())
}

/// The sum of the products of values, as far as there are two; many at once.
fn product(one: &[f32], other: &[f32]) -> f32 {
    const AT_ONCE: usize = 16;
    let mut sums = [0.0_f32; AT_ONCE];
    let (one, one_rest) = one[..one.len().min(other.len())].as_chunks::<AT_ONCE>();
    let (other, other_rest) = other.as_chunks::<AT_ONCE>();
    for (one, other) in one.iter().zip(other) {
        for at in 0..AT_ONCE {
            sums[at] += one[at] * other[at];
        }
    }
    let rest = one_rest
        .iter()
        .zip(other_rest)
        .map(|(one, other)| one * other);
    sums.iter().sum::<f32>() + rest.sum::<f32>()
}

/// What samples have in common along rows or columns.
struct Alike {
    reach: f32,
    order: f32,
}

impl Alike {
    fn along(values: &[f32], variance: f32, is_down: bool) -> Self {
        let common = |lag: usize| {
            let rows = || values.chunks_exact(INNER);
            let sum: f32 = match is_down {
                true => rows()
                    .zip(rows().skip(lag))
                    .map(|(one, other)| product(one, other))
                    .sum(),
                false => rows().map(|row| product(row, &row[lag..])).sum(),
            };
            sum / ((INNER - lag) * INNER) as f32 / variance
        };
        let common: Vec<f32> = (0..INNER / 2).map(common).collect();
        // Noise is in no two samples, so what there would be without it follows from the next ones.
        let whole = (2.0 * common[1] - common[2])
            .max(common[1])
            .clamp(1e-3, 1.0);
        let common: Vec<f32> = common.iter().map(|it| it / whole).collect();
        let end = (1..common.len()).find(|lag| common[*lag] < APART);
        let Some(end) = end else {
            return Self {
                reach: common.len() as f32,
                order: 1.0,
            };
        };
        let last = common[end - 1];
        let reach = end as f32 - 1.0 + (last - APART) / (last - common[end]).max(1e-6);
        let far = common.iter().skip((2.2 * end as f32) as usize);
        Self {
            reach: reach.max(0.5),
            order: far.map(|it| it.abs()).reduce(f32::max).unwrap_or(1.0),
        }
    }
}

/// Modules of a side that are tried, from fewer than any code has.
const TRIED: std::ops::Range<f32> = 8.0..72.0;

/// Fewer modules no code has in a row.
const FEWEST: f32 = 20.5;

/// How edges stand along one side.
pub(super) struct Lattice {
    /// How strongly they stand at multiples of one length: 1 if there are no others.
    strength: f32,
    /// How often that length is in the side, and how many pixels it is.
    modules: f32,
    length: f32,
    /// How much brightness changes along the side.
    edges: f32,
}

/// How edges stand across and down, in what is upright.
pub(super) fn lattice(plane: &Plane, patch: &Patch) -> Option<[Lattice; 2]> {
    if !patch.is_upright {
        return None;
    }
    let [start, _, end, _] = patch.corners;
    let pixel = |value: f32, length: u32| (value.round().max(0.0) as usize).min(length as usize);
    let columns = pixel(start[0], plane.width())..pixel(end[0], plane.width());
    let rows = pixel(start[1], plane.height())..pixel(end[1], plane.height());
    if columns.len() < 30 || rows.len() < 30 {
        return None;
    }
    let stride = plane.width() as usize;
    let at = |x: usize, y: usize| i32::from(plane.pixels()[y * stride + x]);
    let mut edges = [vec![0.0; columns.len() - 1], vec![0.0; rows.len() - 1]];
    let mut counts = [0_usize; 256];
    let across = |x: usize, y: usize| at(x, y).abs_diff(at(x + 1, y));
    let down = |x: usize, y: usize| at(x, y).abs_diff(at(x, y + 1));
    let inner = || (rows.start..rows.end - 1).flat_map(|y| columns.clone().map(move |x| (x, y)));
    for (x, y) in inner() {
        counts[down(x, y) as usize] += 1;
    }
    // A few that are far stronger say nothing about the others.
    let mut left = counts[1..].iter().sum::<usize>() / 10;
    let most = (1..256).rev().find(|value| {
        let count = counts[*value];
        let is_it = count > left;
        left = left.saturating_sub(count);
        is_it
    })?;
    for y in rows.clone() {
        for x in columns.clone() {
            if x + 1 < columns.end {
                edges[0][x - columns.start] += across(x, y).min(most as u32) as f32;
            }
            if y + 1 < rows.end {
                edges[1][y - rows.start] += down(x, y).min(most as u32) as f32;
            }
        }
    }
    Some(edges.map(|edges| Lattice::of(&edges)))
}

impl Lattice {
    fn is_clear(&self, least: f32) -> bool {
        self.strength >= least && self.modules >= FEWEST
    }

    /// Whether its modules are about so many pixels long.
    pub(super) fn is_about(&self, length: f32) -> bool {
        (self.length / length - 1.0).abs() < 0.05
    }

    fn of(edges: &[f32]) -> Self {
        let relative = relative(edges);
        let modules = |step: usize| TRIED.start + step as f32 / 2.0;
        let tried = strengths(&relative).into_iter().enumerate();
        let tried = tried.map(|(step, strength)| (strength, modules(step)));
        let tried: Vec<(f32, f32)> = tried.collect();
        let best = tried
            .iter()
            .map(|(strength, _)| *strength)
            .fold(0.0, f32::max);
        // Every multiple of the number of modules is as strong.
        let first = tried.iter().find(|(strength, _)| *strength >= 0.75 * best);
        let modules = first.map_or(TRIED.start, |(_, modules)| *modules);
        Self {
            strength: best,
            modules,
            length: (edges.len() + 1) as f32 / modules,
            edges: edges.iter().sum::<f32>() / edges.len() as f32,
        }
    }
}

/// Each edge compared with those around it.
fn relative(edges: &[f32]) -> Vec<f32> {
    let reach = (edges.len() * 7 / 100).max(2);
    let around = |at: usize| {
        let range = at.saturating_sub(reach)..(at + reach + 1).min(edges.len());
        let count = range.len() as f32;
        edges[range].iter().sum::<f32>() / count
    };
    let means: Vec<f32> = (0..edges.len()).map(around).collect();
    let most = means.iter().copied().fold(0.0, f32::max);
    let least = 0.05 * most + 1e-6;
    let pairs = edges.iter().zip(&means);
    pairs
        .map(|(edge, mean)| (edge - mean) / mean.max(least))
        .collect()
}

/// How many numbers of modules are tried, half of one apart.
const STEPS: usize = ((TRIED.end - TRIED.start) * 2.0) as usize;

/// How strongly edges stand at multiples of the side divided by each number of modules that is
/// tried.
fn strengths(edges: &[f32]) -> [f32; STEPS] {
    let turn = |step: usize| {
        let modules = f64::from(TRIED.start) + step as f64 / 2.0;
        (std::f64::consts::TAU * modules / (edges.len() + 1) as f64).sin_cos()
    };
    // A wheel for each, which turns from one edge to the next; all of them at once.
    let mut turn_sine = [0.0; STEPS];
    let mut turn_cosine = [0.0; STEPS];
    for step in 0..STEPS {
        (turn_sine[step], turn_cosine[step]) = turn(step);
    }
    let (mut sine, mut cosine) = ([0.0_f64; STEPS], [1.0_f64; STEPS]);
    let (mut sines, mut cosines) = ([0.0_f64; STEPS], [0.0_f64; STEPS]);
    for edge in edges {
        let edge = f64::from(*edge);
        for step in 0..STEPS {
            sines[step] += edge * sine[step];
            cosines[step] += edge * cosine[step];
            let (sin, cos) = (sine[step], cosine[step]);
            sine[step] = sin * turn_cosine[step] + cos * turn_sine[step];
            cosine[step] = cos * turn_cosine[step] - sin * turn_sine[step];
        }
    }
    let squares: f32 = edges.iter().map(|edge| edge * edge).sum();
    let whole = (squares * edges.len() as f32).sqrt().max(1e-6);
    std::array::from_fn(|step| (sines[step].hypot(cosines[step])) as f32 / whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lattice_is_as_strong_as_each_number_of_modules_by_itself() {
        for (modules, count) in [(25, 250), (29, 464), (41, 410)] {
            let edges: Vec<f32> = (1..count)
                .map(|at| {
                    if at % (count / modules) == 0 {
                        9.0
                    } else {
                        0.5
                    }
                })
                .collect();
            let relative = relative(&edges);
            for (step, strength) in strengths(&relative).into_iter().enumerate() {
                let turn = std::f64::consts::TAU * (8.0 + step as f64 / 2.0) / count as f64;
                let (mut sine, mut cosine, mut squares) = (0.0, 0.0, 0.0);
                for (at, edge) in relative.iter().enumerate() {
                    let (sin, cos) = (turn * at as f64).sin_cos();
                    sine += f64::from(*edge) * sin;
                    cosine += f64::from(*edge) * cos;
                    squares += f64::from(*edge).powi(2);
                }
                let whole = (squares * relative.len() as f64).sqrt();
                let expected = sine.hypot(cosine) / whole;
                assert!((f64::from(strength) - expected).abs() < 1e-4, "{step}");
            }
        }
    }
}

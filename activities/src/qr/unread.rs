//! What is there and was not read.
//!
//! A code that no attempt reads still shows what makes it a code: finder patterns, the timing
//! patterns between them, and modules on the grid that those span. Only what shows enough of them
//! is reported, since photographs and screens are full of squares.

use countersign_enrollment::region::Region;
use rxing::common::BitMatrix;
use rxing::common::cpp_essentials::{ConcentricPattern, FindConcentricPatternCorners};

/// Modules of a finder pattern, of a side.
const FINDER: u32 = 7;

/// Modules looked at beyond a finder pattern and its separator: all that the smallest code has
/// before the next separator.
const BEYOND: [i32; 5] = [8, 9, 10, 11, 12];

/// The most modules of a side that a code has.
const MAX_MODULES: i32 = 177;

/// Whether sampled modules are those of a code: three finder patterns, and timing patterns
/// between them or, where those are covered, content that is neither dark nor light.
pub(super) fn is_code(modules: &BitMatrix) -> bool {
    let side = modules.width();
    if side < 21 || modules.height() != side {
        return false;
    }
    let far = side - FINDER;
    let finders =
        [(0, 0), (far, 0), (0, far)].map(|(left, top)| finder_modules(modules, left, top));
    let worst = finders.into_iter().min().unwrap_or_default();
    let timing = |module: &dyn Fn(u32) -> bool| {
        let right = (8..side - 8).filter(|place| module(*place) == place.is_multiple_of(2));
        right.count() * 4 >= (side as usize - 16) * 3
    };
    let is_timed = timing(&|place| modules.get(place, 6)) || timing(&|place| modules.get(6, place));
    if worst >= 43 && is_timed {
        return true;
    }
    let inner = || (8..side - 8).flat_map(|y| (8..side - 8).map(move |x| (x, y)));
    let dark = inner().filter(|(x, y)| modules.get(*x, *y)).count();
    let all = inner().count();
    worst >= 47 && dark * 4 >= all && dark * 4 <= all * 3
}

/// Whether sampled modules have something like three finder patterns in their corners.
pub(super) fn has_finders(modules: &BitMatrix) -> bool {
    let side = modules.width();
    let Some(far) = side.checked_sub(FINDER).filter(|far| *far >= 14) else {
        return false;
    };
    let corners = [(0, 0), (far, 0), (0, far)];
    corners
        .iter()
        .all(|(left, top)| finder_modules(modules, *left, *top) >= 38)
}

/// How many of the 49 modules are those of a finder pattern.
fn finder_modules(modules: &BitMatrix, left: u32, top: u32) -> usize {
    let places = (0..FINDER).flat_map(|y| (0..FINDER).map(move |x| (x, y)));
    let right = places
        .filter(|(x, y)| modules.get(left + x, top + y) == is_dark_in_finder(*x as i32, *y as i32));
    right.count()
}

/// The finder pattern: a ring and a square.
fn is_dark_in_finder(x: i32, y: i32) -> bool {
    let ring = (x - 3).abs().max((y - 3).abs());
    ring == 3 || ring <= 1
}

/// The code that one finder pattern belongs to, where no other pattern of it can be seen: the
/// pattern is whole, and modules on its grid follow to two sides of it.
pub(super) fn beside(bits: &BitMatrix, pattern: ConcentricPattern) -> Option<Region> {
    let corners = FindConcentricPatternCorners(bits, pattern.p, pattern.size, 2)?.0;
    let grid = Grid::of(bits, corners.map(|corner| [corner.x, corner.y]));
    if !grid.is_finder() {
        return None;
    }
    grid.turned()
        .into_iter()
        .filter(Grid::is_followed)
        .map(|grid| grid.extent())
        .next()
}

/// The modules around a finder pattern, counted from its outer corner: its own are 0 to 6, those
/// of its code follow to the right and below.
struct Grid<'a> {
    bits: &'a BitMatrix,
    /// The middle of the module in the corner.
    origin: [f32; 2],
    right: [f32; 2],
    down: [f32; 2],
}

impl<'a> Grid<'a> {
    /// The grid of a finder pattern whose corner modules have their middles here.
    fn of(bits: &'a BitMatrix, [tl, tr, br, bl]: [[f32; 2]; 4]) -> Self {
        let axis = |index: usize| {
            let right = (tr[index] - tl[index] + br[index] - bl[index]) / 12.0;
            let down = (bl[index] - tl[index] + br[index] - tr[index]) / 12.0;
            let middle = (tl[index] + tr[index] + br[index] + bl[index]) / 4.0;
            (right, down, middle - 3.0 * right - 3.0 * down)
        };
        let ((right_x, down_x, x), (right_y, down_y, y)) = (axis(0), axis(1));
        Self {
            bits,
            origin: [x, y],
            right: [right_x, right_y],
            down: [down_x, down_y],
        }
    }

    /// The same from each of the four corners of the pattern.
    fn turned(&self) -> [Self; 4] {
        [(false, false), (true, false), (false, true), (true, true)].map(|(left, up)| {
            let turned = |axis: [f32; 2], turn: bool| axis.map(|it| if turn { -it } else { it });
            let start = |index: usize| {
                self.origin[index]
                    + if left { 6.0 * self.right[index] } else { 0.0 }
                    + if up { 6.0 * self.down[index] } else { 0.0 }
            };
            Self {
                bits: self.bits,
                origin: [start(0), start(1)],
                right: turned(self.right, left),
                down: turned(self.down, up),
            }
        })
    }

    fn place(&self, column: f32, row: f32) -> [f32; 2] {
        [0, 1].map(|axis| self.origin[axis] + column * self.right[axis] + row * self.down[axis])
    }

    /// Whether a module is dark; nothing outside the image.
    fn dark(&self, column: f32, row: f32) -> Option<bool> {
        let [x, y] = self.place(column, row);
        let is_in = |value: f32, end: u32| value >= 0.0 && value < end as f32;
        (is_in(x, self.bits.width()) && is_in(y, self.bits.height()))
            .then(|| self.bits.get(x as u32, y as u32))
    }

    /// Whether the pattern is one, with light around it.
    fn is_finder(&self) -> bool {
        let (mut right, mut light, mut around) = (0, 0, 0);
        for row in -1..=7_i32 {
            for column in -1..=7_i32 {
                let dark = self.dark(column as f32, row as f32);
                if (0..7).contains(&row) && (0..7).contains(&column) {
                    right += usize::from(dark == Some(is_dark_in_finder(column, row)));
                } else if let Some(dark) = dark {
                    around += 1;
                    light += usize::from(!dark);
                }
            }
        }
        right >= 45 && around >= 14 && light * 20 >= around * 17
    }

    /// Whether the modules of a code follow to the right and below.
    fn is_followed(&self) -> bool {
        let timed = |module: &dyn Fn(f32) -> Option<bool>| {
            let mut all = BEYOND.iter();
            all.all(|place| module(*place as f32) == Some(place % 2 == 0))
        };
        let is_timed =
            timed(&|place| self.dark(place, 6.0)) || timed(&|place| self.dark(6.0, place));
        let beyond = || BEYOND.iter().copied();
        let textures = [
            self.is_textured(beyond(), 0..6),
            self.is_textured(0..6, beyond()),
            self.is_textured(beyond(), beyond()),
        ];
        let textured = textures.into_iter().filter(|it| *it).count();
        textured == 3 || (is_timed && textured >= 1)
    }

    /// Whether modules are dark and light in turns and stand on the grid.
    fn is_textured(
        &self,
        columns: impl Iterator<Item = i32> + Clone,
        rows: impl Iterator<Item = i32>,
    ) -> bool {
        let (mut dark, mut all, mut whole, mut turns, mut pairs) = (0, 0, 0, 0, 0);
        let mut above: Vec<Option<bool>> = Vec::new();
        for row in rows {
            let mut left = None;
            let mut line = Vec::new();
            for column in columns.clone() {
                let (x, y) = (column as f32, row as f32);
                let module = self.dark(x, y);
                line.push(module);
                let Some(module) = module else {
                    left = None;
                    continue;
                };
                all += 1;
                dark += usize::from(module);
                let near = [(-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)];
                whole += near
                    .iter()
                    .filter(|(dx, dy)| self.dark(x + dx, y + dy) == Some(module))
                    .count();
                let upper = above.get(line.len() - 1).copied().flatten();
                for neighbor in [left, upper].into_iter().flatten() {
                    pairs += 1;
                    turns += usize::from(neighbor != module);
                }
                left = Some(module);
            }
            above = line;
        }
        all >= 15
            && (all * 3..=all * 7).contains(&(dark * 10))
            && (pairs * 3..=pairs * 7).contains(&(turns * 10))
            && whole * 10 >= all * 4 * 8
    }

    /// How far the code reaches, as far as that can be seen: until nothing follows.
    fn extent(&self) -> Region {
        let reach = |module: &dyn Fn(f32, f32) -> Option<bool>| {
            let mut end = 13;
            while end < MAX_MODULES {
                let next = (end..end + 4).flat_map(|far| (0..7).map(move |side| (far, side)));
                let seen = next.filter_map(|(far, side)| module(far as f32, side as f32));
                let (dark, all) =
                    seen.fold((0, 0), |(dark, all), it| (dark + usize::from(it), all + 1));
                if all < 8 || dark * 10 < all {
                    break;
                }
                end += 4;
            }
            end
        };
        let side =
            reach(&|far, side| self.dark(far, side)).max(reach(&|far, side| self.dark(side, far)));
        let end = side.max(21) as f32 - 0.5;
        let (width, height) = (self.bits.width() as f32, self.bits.height() as f32);
        let corners = [(-0.5, -0.5), (end, -0.5), (end, end), (-0.5, end)];
        Region::from_fractions(corners.map(|(column, row)| {
            let [x, y] = self.place(column, row);
            [x / width, y / height]
        }))
    }
}

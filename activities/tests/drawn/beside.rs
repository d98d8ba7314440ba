//! What stands beside a crisp code: another one, spoiled in many ways, or something that is none.

#![allow(clippy::many_single_char_names)]

use std::f32::consts::PI;

use image::{GrayImage, Luma, Rgb, RgbImage, imageops};

use super::photo::{Dice, noisy, shaken};
use super::{blurred, code_of};

/// Steps of each kind, from mild to severe.
pub(crate) const STEPS: usize = 4;

/// Pixels of a module's side here, and of the border.
const MODULE: u32 = 6;
const BORDER: u32 = 4 * MODULE;

pub(crate) fn uri(number: usize) -> String {
    let letter = char::from(b'A' + (number % 26) as u8);
    format!(
        "otpauth://totp/Service-{letter}:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJ{letter}&issuer=Service-{letter}"
    )
}

pub(crate) fn account(number: usize) -> RgbImage {
    colored(&code_of(&uri(number), MODULE), [0; 3], [255; 3])
}

/// In rows of so many on white.
pub(crate) fn page(things: &[RgbImage], columns: usize) -> RgbImage {
    let cell = things.iter().map(RgbImage::width).max().unwrap_or(1) + 20;
    let rows = things.len().div_ceil(columns) as u32;
    let mut page = RgbImage::from_pixel(cell * columns as u32, cell * rows, Rgb([255; 3]));
    for (index, thing) in things.iter().enumerate() {
        let place = |count: usize| i64::from(cell) * count as i64 + 10;
        imageops::replace(
            &mut page,
            thing,
            place(index % columns),
            place(index / columns),
        );
    }
    page
}

fn colored(code: &GrayImage, dark: [u8; 3], light: [u8; 3]) -> RgbImage {
    RgbImage::from_fn(code.width(), code.height(), |x, y| {
        let share = f32::from(code.get_pixel(x, y)[0]) / 255.0;
        let mixed = |index: usize| {
            let (dark, light) = (f32::from(dark[index]), f32::from(light[index]));
            (dark + (light - dark) * share) as u8
        };
        Rgb([mixed(0), mixed(1), mixed(2)])
    })
}

fn grey(picture: &GrayImage) -> RgbImage {
    colored(picture, [0; 3], [255; 3])
}

/// A way to spoil a code; how badly goes from 0 to 1.
type Spoil = fn(&GrayImage, f32, &mut Dice) -> RgbImage;

/// Those that are read, and those that are read or reported.
pub(crate) const READ: [(&str, Spoil); 3] = [("pale", pale), ("colors", colors), ("dim", dim)];

pub(crate) const SPOILED: [(&str, Spoil); 17] = [
    ("noisy", noise),
    ("shaken", |code, bad, _| {
        grey(&shaken(code, 12.0 + 20.0 * bad, 0.0))
    }),
    ("shaken downwards", |code, bad, _| {
        grey(&shaken(code, 12.0 + 20.0 * bad, PI / 2.0))
    }),
    ("blurred", |code, bad, _| {
        grey(&blurred(code, 4.0 + 8.0 * bad))
    }),
    ("turned and blurred", |code, bad, _| {
        let turned = turned(code, if bad < 0.5 { 20.0 } else { 33.0 });
        grey(&blurred(&turned, 4.0 + 4.0 * bad))
    }),
    ("light on dark and blurred", |code, bad, _| {
        let mut code = blurred(code, 4.0 + 3.0 * bad);
        imageops::invert(&mut code);
        grey(&code)
    }),
    ("in glare", glare),
    ("scratched", scratched),
    ("small and blurred", |code, bad, _| {
        let side = 100 - (20.0 * bad) as u32;
        let small = imageops::resize(code, side, side, imageops::FilterType::CatmullRom);
        grey(&blurred(&small, 1.5 + 0.5 * bad))
    }),
    ("crumpled", crumpled),
    ("covered from the left", |code, bad, _| {
        let end = code.width() as f32 * (0.25 + 0.35 * bad);
        grey(&painted(code, 255, |x, _| x < end))
    }),
    ("covered from the top", |code, bad, _| {
        let end = code.width() as f32 * (0.25 + 0.35 * bad);
        grey(&painted(code, 255, |_, y| y < end))
    }),
    ("overexposed", |code, bad, _| {
        grey(&spread(code, 1 + bad.round() as u32, u8::max))
    }),
    ("underexposed", |code, bad, _| {
        grey(&spread(code, 2 + (2.0 * bad) as u32, u8::min))
    }),
    ("striped with black", |code, bad, dice| {
        striped(code, bad, 0, dice)
    }),
    ("striped with white", |code, bad, dice| {
        striped(code, bad, 255, dice)
    }),
    ("blotted", blotted),
];

fn pale(code: &GrayImage, bad: f32, _: &mut Dice) -> RgbImage {
    let dark = (255.0 * (0.8 + 0.13 * bad)) as u8;
    colored(code, [dark; 3], [255; 3])
}

fn colors(code: &GrayImage, bad: f32, _: &mut Dice) -> RgbImage {
    const COLORS: [[u8; 3]; STEPS] = [
        [255, 215, 0],
        [173, 216, 230],
        [255, 192, 203],
        [255, 255, 0],
    ];
    let index = (bad * (STEPS - 1) as f32).round() as usize;
    colored(code, COLORS[index], [255; 3])
}

/// On a grey card that is darker and darker.
fn dim(code: &GrayImage, bad: f32, _: &mut Dice) -> RgbImage {
    let light = 170 - (100.0 * bad) as u8;
    colored(code, [light / 3; 3], [light; 3])
}

fn noise(code: &GrayImage, bad: f32, dice: &mut Dice) -> RgbImage {
    let share = 0.5 + 0.25 * bad;
    let mut noisy = code.clone();
    for pixel in noisy.pixels_mut() {
        let noise = (128.0 + 200.0 * dice.normal()).clamp(0.0, 255.0);
        pixel[0] = (f32::from(pixel[0]) * (1.0 - share) + noise * share) as u8;
    }
    grey(&noisy)
}

fn painted(code: &GrayImage, with: u8, is_there: impl Fn(f32, f32) -> bool) -> GrayImage {
    let mut painted = code.clone();
    for (x, y, pixel) in painted.enumerate_pixels_mut() {
        if is_there(x as f32, y as f32) {
            pixel[0] = with;
        }
    }
    painted
}

/// On white of the same size, turned around its middle.
fn turned(code: &GrayImage, degrees: f32) -> GrayImage {
    let middle = code.width() as f32 / 2.0;
    let (sin, cos) = degrees.to_radians().sin_cos();
    GrayImage::from_fn(code.width(), code.height(), |x, y| {
        let (x, y) = (x as f32 - middle, y as f32 - middle);
        let (u, v) = (x * cos - y * sin + middle, x * sin + y * cos + middle);
        let is_in = |value: f32| value >= 0.0 && value < code.width() as f32;
        if is_in(u) && is_in(v) {
            *code.get_pixel(u as u32, v as u32)
        } else {
            Luma([255])
        }
    })
}

/// A lamp over the middle, with a soft edge; the corners stay.
fn glare(code: &GrayImage, bad: f32, _: &mut Dice) -> RgbImage {
    let side = code.width() as f32;
    let size = 0.2 + 0.2 * bad;
    let mut glare = code.clone();
    for (x, y, pixel) in glare.enumerate_pixels_mut() {
        let away = (x as f32 / side - 0.5).hypot(y as f32 / side - 0.5);
        let share = 1.0 / (1.0 + ((away - size) / 0.02).exp());
        pixel[0] = (f32::from(pixel[0]) * (1.0 - share) + 255.0 * share) as u8;
    }
    grey(&glare)
}

fn scratched(code: &GrayImage, bad: f32, dice: &mut Dice) -> RgbImage {
    let side = code.width() as f32;
    let lines: Vec<[f32; 3]> = (0..20 + (20.0 * bad) as usize)
        .map(|_| {
            let turn = dice.between(0.0, PI);
            let (x, y) = (dice.between(0.0, side), dice.between(0.0, side));
            [turn.sin(), turn.cos(), x * turn.sin() + y * turn.cos()]
        })
        .collect();
    grey(&painted(code, 255, |x, y| {
        lines
            .iter()
            .any(|[a, b, c]| (a * x + b * y - c).abs() < 3.0)
    }))
}

/// Folded into strips that lean to and fro.
fn crumpled(code: &GrayImage, bad: f32, _: &mut Dice) -> RgbImage {
    let strip = code.width() / 6;
    let lean = 8.0 + 17.0 * bad;
    grey(&GrayImage::from_fn(code.width(), code.height(), |x, y| {
        let along = (x % strip) as f32 / strip as f32 * 2.0 - 1.0;
        let up = if (x / strip).is_multiple_of(2) {
            lean
        } else {
            -lean
        };
        let v = y as f32 + along * up;
        if v >= 0.0 && v < code.height() as f32 {
            *code.get_pixel(x, v as u32)
        } else {
            Luma([255])
        }
    }))
}

/// What is light or dark spreads by so many pixels.
fn spread(code: &GrayImage, by: u32, which: fn(u8, u8) -> u8) -> GrayImage {
    let pass = |code: &GrayImage, (dx, dy): (u32, u32)| {
        GrayImage::from_fn(code.width(), code.height(), |x, y| {
            let near = (0..=2 * by).map(|at| {
                let place = |place: u32, step: u32, end: u32| {
                    (place + step * at).saturating_sub(step * by).min(end - 1)
                };
                code.get_pixel(place(x, dx, code.width()), place(y, dy, code.height()))[0]
            });
            Luma([near.reduce(which).unwrap_or(255)])
        })
    };
    pass(&pass(code, (1, 0)), (0, 1))
}

/// Painted over in stripes, across, down or aslant.
fn striped(code: &GrayImage, bad: f32, with: u8, dice: &mut Dice) -> RgbImage {
    let turn = [0.0, PI / 2.0, PI / 4.0][(dice.roll() * 2.99) as usize];
    let (sin, cos) = turn.sin_cos();
    let (width, every) = (8.0 + 8.0 * bad, 22.0 + 6.0 * bad);
    let (border, end) = (BORDER as f32, (code.width() - BORDER) as f32);
    grey(&painted(code, with, |x, y| {
        let is_in = |value: f32| value >= border && value < end;
        is_in(x) && is_in(y) && (x * sin + y * cos).rem_euclid(every) < width
    }))
}

fn blotted(code: &GrayImage, bad: f32, dice: &mut Dice) -> RgbImage {
    let (start, end) = (BORDER as f32, (code.width() - BORDER) as f32);
    let blots: Vec<[f32; 3]> = (0..30 + (50.0 * bad) as usize)
        .map(|_| {
            [
                dice.between(start, end),
                dice.between(start, end),
                dice.between(6.0, 14.0),
            ]
        })
        .collect();
    let ink = [0, 128, 255][(dice.roll() * 2.99) as usize];
    grey(&painted(code, ink, |x, y| {
        blots
            .iter()
            .any(|[u, v, size]| (x - u).hypot(y - v) < *size)
    }))
}

/// Something that is no code, by the number of a step.
type Draw = fn(usize, &mut Dice) -> RgbImage;

/// The side of each, in pixels: about that of a code.
const SIDE: u32 = 230;

pub(crate) const OTHERS: [(&str, Draw); 20] = [
    ("photograph", |_, dice| photograph(dice)),
    ("round photograph", |_, dice| rounded(&photograph(dice))),
    ("blurred photograph", |step, dice| {
        imageops::blur(&photograph(dice), 2.0 + step as f32)
    }),
    ("pale photograph", |_, dice| {
        let mut photograph = photograph(dice);
        photograph.pixels_mut().for_each(|pixel| {
            pixel.0 = pixel.0.map(|value| 204 + value / 5);
        });
        photograph
    }),
    ("pixelated photograph", |step, dice| {
        let side = [9, 12, 16, 20][step];
        let small = imageops::thumbnail(&photograph(dice), side, side);
        imageops::resize(&small, SIDE, SIDE, imageops::FilterType::Nearest)
    }),
    ("dithered photograph", |_, dice| {
        let photograph = photograph(dice);
        each(|x, y| {
            let light = photograph.get_pixel(x as u32, y as u32)[1];
            ink(f32::from(light) < 255.0 * dice.roll())
        })
    }),
    ("foliage", |step, dice| {
        let waves = waves(dice, 40, 0.05 + 0.04 * step as f32, 1.0);
        each(|x, y| tone(128.0 + 60.0 * height(&waves, x, y)))
    }),
    ("grain", |step, dice| {
        let unit = (step + 1) as u32;
        let side = SIDE / unit + 1;
        let small = GrayImage::from_fn(side, side, |_, _| Luma([(255.0 * dice.roll()) as u8]));
        grey(&imageops::resize(
            &small,
            SIDE,
            SIDE,
            imageops::FilterType::CatmullRom,
        ))
    }),
    ("halftone", |step, dice| {
        let (dot, turn) = (4.0 + step as f32, dice.between(0.0, 0.8));
        let (sin, cos) = turn.sin_cos();
        each(|x, y| {
            let (u, v) = (x * cos - y * sin, x * sin + y * cos);
            let threshold = (u * 2.0 * PI / dot).cos() + (v * 2.0 * PI / dot).cos();
            ink(threshold / 4.0 + 0.5 < 0.2 + 0.6 * x / SIDE as f32)
        })
    }),
    ("text", |step, dice| text([10, 14, 20, 30][step], 1.5, dice)),
    ("dense text", |step, dice| {
        text([8, 12, 16, 24][step], 1.15, dice)
    }),
    ("blurred text", |step, dice| {
        imageops::blur(&text([10, 14, 20, 30][step], 1.3, dice), 2.0)
    }),
    ("text on dark", |step, dice| {
        let mut text = text([10, 14, 20, 30][step], 1.4, dice);
        imageops::invert(&mut text);
        text
    }),
    ("table", |step, dice| {
        let lines = [6, 9, 12, 15][step] as f32;
        let cell = SIDE as f32 / lines;
        let filled: Vec<bool> = (0..400).map(|_| dice.roll() < 0.2).collect();
        each(|x, y| {
            let is_line = x % cell < 1.5 || y % cell < 1.5;
            let index = (x / cell) as usize + 20 * (y / cell) as usize;
            if is_line {
                Rgb([0; 3])
            } else if filled[index] {
                Rgb([190, 200, 230])
            } else {
                Rgb([255; 3])
            }
        })
    }),
    ("symmetrical blocks", |step, dice| {
        let count = [5, 7, 9, 11][step];
        let cell = SIDE as f32 / count as f32;
        let filled: Vec<bool> = (0..count * count).map(|_| dice.roll() < 0.5).collect();
        each(|x, y| {
            let (x, y) = ((x / cell) as usize, (y / cell) as usize);
            let is_dark = filled[y * count + x.min(count - 1 - x)];
            if is_dark {
                Rgb([50, 90, 160])
            } else {
                Rgb([255; 3])
            }
        })
    }),
    ("crossword", |step, dice| {
        let count = [7, 9, 12, 15][step];
        let cell = SIDE as f32 / count as f32;
        let filled: Vec<bool> = (0..count * count).map(|_| dice.roll() < 0.4).collect();
        each(|x, y| ink(filled[(y / cell) as usize * count + (x / cell) as usize]))
    }),
    ("icons", icons),
    ("keys", |step, _| {
        let cell = [24, 30, 38, 46][step] as f32;
        each(|x, y| {
            let (x, y) = (x % cell - cell / 2.0, y % cell - cell / 2.0);
            let away = x.abs().max(y.abs()) / cell;
            let is_letter = x.hypot(y) < cell * 0.16 && (x + y).abs() > 1.5;
            tone(if is_letter {
                40.0
            } else if away < 0.38 {
                250.0
            } else {
                215.0
            })
        })
    }),
    ("bars", |step, dice| {
        let mut bars = Vec::new();
        while bars.len() < SIDE as usize {
            let is_dark = bars.len() % 2 == 0;
            let width = (1 + (dice.roll() * 4.0) as usize) * (step + 1);
            bars.extend(vec![is_dark; width | 1]);
        }
        each(|x, _| ink(bars[x as usize]))
    }),
    ("gradient", |step, _| {
        each(|x, y| {
            let middle = SIDE as f32 / 2.0;
            tone(match step {
                0 => x,
                1 => 255.0 - y,
                2 => (x - middle).hypot(y - middle) * 1.5,
                _ => (x + y) % 64.0 * 4.0,
            })
        })
    }),
];

fn each(mut value: impl FnMut(f32, f32) -> Rgb<u8>) -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| value(x as f32, y as f32))
}

fn ink(is_dark: bool) -> Rgb<u8> {
    Rgb([if is_dark { 0 } else { 255 }; 3])
}

fn tone(value: f32) -> Rgb<u8> {
    Rgb([value.clamp(0.0, 255.0) as u8; 3])
}

/// Waves in all directions: their lengths along both axes, their phase and their height.
fn waves(dice: &mut Dice, count: usize, shortest: f32, falling: f32) -> Vec<[f32; 4]> {
    (1..=count)
        .map(|number| {
            let turn = dice.between(0.0, 2.0 * PI);
            let along = shortest * number as f32 / 8.0;
            let high = (number as f32).powf(-falling) * 2.0;
            [
                along * turn.cos(),
                along * turn.sin(),
                dice.between(0.0, 6.3),
                high,
            ]
        })
        .collect()
}

fn height(waves: &[[f32; 4]], x: f32, y: f32) -> f32 {
    let heights = waves
        .iter()
        .map(|[a, b, phase, high]| (a * x + b * y + phase).sin() * high);
    heights.sum()
}

/// A few things in front of others, with shades and grain, as in a photograph.
fn photograph(dice: &mut Dice) -> RgbImage {
    let (shade, tint) = (waves(dice, 24, 0.1, 1.0), waves(dice, 12, 0.06, 1.0));
    let things: Vec<[f32; 5]> = (0..6)
        .map(|_| {
            [
                dice.between(0.0, SIDE as f32),
                dice.between(0.0, SIDE as f32),
                dice.between(15.0, 70.0),
                dice.between(-90.0, 90.0),
                dice.between(0.5, 1.6),
            ]
        })
        .collect();
    let mut picture = each(|x, y| {
        let mut value = 125.0 + 45.0 * height(&shade, x, y);
        for [u, v, size, light, long] in &things {
            if ((x - u) * long).hypot(y - v) < *size {
                value = 125.0 + light + 20.0 * height(&shade, y, x);
            }
        }
        let tint = 25.0 * height(&tint, x, y);
        let channel = |by: f32| (value + by).clamp(0.0, 255.0) as u8;
        Rgb([channel(tint), channel(0.0), channel(-tint)])
    });
    let mut grain = GrayImage::from_pixel(SIDE, SIDE, Luma([128]));
    noisy(&mut grain, 4.0, dice);
    for (pixel, grain) in picture.pixels_mut().zip(grain.pixels()) {
        pixel.0 = pixel
            .0
            .map(|value| value.saturating_add(grain[0]).saturating_sub(128));
    }
    picture
}

fn rounded(picture: &RgbImage) -> RgbImage {
    let middle = SIDE as f32 / 2.0;
    each(|x, y| {
        if (x + 0.5 - middle).hypot(y + 0.5 - middle) < middle {
            *picture.get_pixel(x as u32, y as u32)
        } else {
            Rgb([255; 3])
        }
    })
}

/// Lines of words of strokes, drawn thrice as large and made smaller, as fonts are.
fn text(size: u32, leading: f32, dice: &mut Dice) -> RgbImage {
    let mut large = GrayImage::from_pixel(3 * SIDE, 3 * SIDE, Luma([255]));
    let (glyph, stroke) = (3 * size, (3 * size / 9).max(2));
    let mut y = 0;
    while y + glyph < 3 * SIDE {
        let mut x = 0;
        while x + glyph / 2 < 3 * SIDE {
            let wide = glyph * 2 / 5;
            let shape = (dice.roll() * 64.0) as u32;
            for row in 0..glyph {
                for column in 0..wide {
                    let near = |at: u32, place: u32| (place..place + stroke).contains(&at);
                    let is_dark = shape & 1 != 0 && near(column, 0)
                        || shape & 2 != 0 && near(column, wide - stroke)
                        || shape & 4 != 0 && near(row, glyph / 4)
                        || shape & 8 != 0 && near(row, glyph - stroke)
                        || shape & 16 != 0 && near(row, glyph * 5 / 8)
                        || shape & 32 != 0 && near(column * 2, row.saturating_sub(glyph / 4));
                    if is_dark && row > glyph / 4 {
                        large.put_pixel(x + column, y + row, Luma([20]));
                    }
                }
            }
            x += glyph / 2 + if dice.roll() < 0.2 { glyph / 3 } else { 0 };
        }
        y += (glyph as f32 * leading) as u32;
    }
    grey(&imageops::resize(
        &large,
        SIDE,
        SIDE,
        imageops::FilterType::Triangle,
    ))
}

fn icons(step: usize, dice: &mut Dice) -> RgbImage {
    let size = [14.0, 22.0, 32.0, 44.0][step];
    let every = size * 1.5;
    let shapes: Vec<usize> = (0..400).map(|_| (dice.roll() * 4.99) as usize).collect();
    each(|x, y| {
        let index = (x / every) as usize + 20 * (y / every) as usize;
        let (u, v) = (x % every - every / 2.0, y % every - every / 2.0);
        let half = size / 2.0;
        let is_in = u.abs() < half && v.abs() < half;
        let is_dark = match shapes[index] {
            0 => u.hypot(v) < half,
            1 => is_in,
            2 => is_in && v > 2.0 * u.abs() - half,
            3 => (half - 3.0..half).contains(&u.hypot(v)),
            _ => is_in && (u + v).abs() < 4.0,
        };
        if is_dark {
            Rgb([40, 90, 60 + 40 * shapes[index] as u8])
        } else {
            Rgb([255; 3])
        }
    })
}

//! What cameras, screens, paper and light do to a code.

#![allow(clippy::many_single_char_names)]

use std::f32::consts::PI;

use image::{GrayImage, Luma, imageops};

use super::code_of;

/// Numbers that look random and are the same every time.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 to 1.
    pub(crate) fn roll(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u64 << 24) as f32
    }

    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.roll()
    }

    /// Around 0, with a deviation of 1.
    pub(super) fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.roll()).sum::<f32>() - 6.0
    }
}

/// Brightness between the pixels; white beyond the edge.
fn sample(picture: &GrayImage, x: f32, y: f32) -> Option<f32> {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    if !(x >= 0.0 && y >= 0.0 && x < width - 1.0 && y < height - 1.0) {
        return None;
    }
    let (left, top) = (x as u32, y as u32);
    let (dx, dy) = (x.fract(), y.fract());
    let at = |x: u32, y: u32| f32::from(picture.get_pixel(x, y)[0]);
    let upper = at(left, top) * (1.0 - dx) + at(left + 1, top) * dx;
    let lower = at(left, top + 1) * (1.0 - dx) + at(left + 1, top + 1) * dx;
    Some(upper * (1.0 - dy) + lower * dy)
}

/// An image of another: each pixel comes from where `map` says, or is the table's.
fn taken(
    source: &GrayImage,
    (width, height): (u32, u32),
    map: impl Fn(f32, f32) -> (f32, f32),
) -> GrayImage {
    let mut dice = Dice::new(11);
    let grain: Vec<f32> = (0..4096).map(|_| dice.between(90.0, 125.0)).collect();
    GrayImage::from_fn(width, height, |x, y| {
        let mut sum = 0.0;
        // Large images have pixels enough.
        let all = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)];
        let places = if width > 2_000 { &all[..1] } else { &all[..] };
        for (dx, dy) in places {
            let (u, v) = map(x as f32 + dx, y as f32 + dy);
            let table = grain[((x / 3 + y / 2 * 61) % 4096) as usize];
            sum += sample(source, u, v).unwrap_or(table);
        }
        Luma([(sum / places.len() as f32) as u8])
    })
}

/// From places in a quadrilateral to those in a square of this side.
pub(super) fn flattened(corners: [[f32; 2]; 4], side: f32) -> impl Fn(f32, f32) -> (f32, f32) {
    // The unit square to the quadrilateral (Heckbert 1989), and back.
    let [[x0, y0], [x1, y1], [x2, y2], [x3, y3]] = corners;
    let (dx1, dx2, dx3) = (x1 - x2, x3 - x2, x0 - x1 + x2 - x3);
    let (dy1, dy2, dy3) = (y1 - y2, y3 - y2, y0 - y1 + y2 - y3);
    let whole = dx1 * dy2 - dx2 * dy1;
    let (g, h) = (
        (dx3 * dy2 - dx2 * dy3) / whole,
        (dx1 * dy3 - dx3 * dy1) / whole,
    );
    let (a, b, c) = (x1 - x0 + g * x1, x3 - x0 + h * x3, x0);
    let (d, e, f) = (y1 - y0 + g * y1, y3 - y0 + h * y3, y0);
    let back = [
        [e - f * h, c * h - b, b * f - c * e],
        [f * g - d, a - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ];
    move |x, y| {
        let [u, v, w] = back.map(|row| row[0] * x + row[1] * y + row[2]);
        (u / w * side, v / w * side)
    }
}

/// Each pixel changed by its place.
fn lit(picture: &mut GrayImage, change: impl Fn(f32, f32, f32) -> f32) {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let value = change(x as f32 / width, y as f32 / height, f32::from(pixel[0]));
        pixel[0] = value.clamp(0.0, 255.0) as u8;
    }
}

pub(super) fn noisy(picture: &mut GrayImage, deviation: f32, dice: &mut Dice) {
    for pixel in picture.pixels_mut() {
        pixel[0] = (f32::from(pixel[0]) + deviation * dice.normal()).clamp(0.0, 255.0) as u8;
    }
}

/// Moved by so many pixels while the shutter was open.
pub(super) fn shaken(picture: &GrayImage, length: f32, angle: f32) -> GrayImage {
    let steps = (length * 2.0).ceil().max(1.0) as i32;
    GrayImage::from_fn(picture.width(), picture.height(), |x, y| {
        let sum: f32 = (0..=steps)
            .map(|step| {
                let along = (step as f32 / steps as f32 - 0.5) * length;
                let (x, y) = (
                    x as f32 + along * angle.cos(),
                    y as f32 + along * angle.sin(),
                );
                sample(picture, x, y).unwrap_or(255.0)
            })
            .sum();
        Luma([(sum / (steps + 1) as f32) as u8])
    })
}

/// On a larger image of one brightness.
fn on_page(code: &GrayImage, side: u32, grey: u8) -> GrayImage {
    let mut page = GrayImage::from_pixel(side, side, Luma([grey]));
    let place = i64::from(side.saturating_sub(code.width()) / 2);
    imageops::replace(&mut page, code, place, place);
    page
}

/// An image of how bad, from 0 to 1.
pub(super) type Taken = fn(&str, f32, &mut Dice) -> GrayImage;

/// Each spoiled in one way.
pub(super) const KINDS: [(&str, Taken); 16] = [
    ("perspective", perspective),
    ("screen-moire", screen),
    ("glare", glare),
    ("curved", curved),
    ("defocus", defocus),
    ("motion", motion),
    ("noise", noise),
    ("dark-theme", dark),
    ("tiny", tiny),
    ("huge", huge),
    ("low-contrast", pale),
    ("uneven-light", shadow),
    ("crumpled", crumpled),
    ("halftone", halftone),
    ("cut", cut),
    ("covered", hidden),
];

/// Paper that lies on a table, seen from the side.
fn perspective(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let source = code_of(text, 8);
    let side = source.width() as f32;
    let (turn, far) = (dice.between(-0.5, 0.5), 1.0 - 0.55 * bad);
    let corners = [
        [-far, -1.0 + 0.9 * bad],
        [far, -1.0 + 0.9 * bad],
        [1.0, 1.0],
        [-1.0, 1.0],
    ]
    .map(|[x, y]| {
        let (x, y) = (x * 210.0, y * 210.0);
        let (sin, cos) = turn.sin_cos();
        [320.0 + x * cos - y * sin, 260.0 + x * sin + y * cos]
    });
    let mut picture = taken(&source, (640, 520), flattened(corners, side));
    noisy(&mut picture, 4.0, dice);
    imageops::blur(&picture, 0.6 + 0.5 * bad)
}

/// A screen's pixels, seen by those of a camera.
fn screen(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let mut source = code_of(text, 9);
    let deep = 0.25 + 0.6 * bad;
    for (x, y, pixel) in source.enumerate_pixels_mut() {
        let gap = if x % 3 == 0 || y % 3 == 0 {
            1.0 - deep
        } else {
            1.0
        };
        pixel[0] = (f32::from(pixel[0]).max(20.0) * gap) as u8;
    }
    let (scale, turn) = (dice.between(1.15, 1.9), dice.between(-0.12, 0.12));
    let (sin, cos) = (turn.sin() * scale, turn.cos() * scale);
    let middle = source.width() as f32 / 2.0;
    let mut picture = taken(&source, (420, 420), |x, y| {
        let (x, y) = (x - 210.0, y - 210.0);
        (middle + x * cos - y * sin, middle + x * sin + y * cos)
    });
    noisy(&mut picture, 5.0, dice);
    picture
}

/// A lamp on glossy paper.
fn glare(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let mut picture = on_page(&code_of(text, 6), 420, 235);
    let (x, y) = (dice.between(0.3, 0.7), dice.between(0.3, 0.7));
    let size = 0.05 + 0.12 * bad;
    lit(&mut picture, |u, v, value| {
        let away = ((u - x).powi(2) + (v - y).powi(2)) / (2.0 * size * size);
        30.0 + value * 0.7 + 320.0 * (-away).exp()
    });
    noisy(&mut picture, 4.0, dice);
    imageops::blur(&picture, 0.8)
}

/// On a bottle.
fn curved(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let source = code_of(text, 8);
    let side = source.width() as f32;
    let bend = 0.3 + 0.95 * bad;
    let lean = dice.between(-0.05, 0.05);
    let mut picture = taken(&source, (460, 460), |x, y| {
        let across = ((x - 230.0 + lean * (y - 230.0)) / 215.0 * bend.sin())
            .clamp(-1.0, 1.0)
            .asin()
            / bend;
        let sag = (1.0 - (across * bend).cos()) * 25.0;
        (
            side / 2.0 + across * side / 2.0,
            (y - sag - 15.0) / 430.0 * side,
        )
    });
    lit(&mut picture, |u, _, value| {
        value * (1.0 - 0.5 * bad * (2.0 * u - 1.0).powi(2))
    });
    noisy(&mut picture, 4.0, dice);
    picture
}

fn defocus(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let mut picture = imageops::blur(
        &on_page(&code_of(text, 8), 500, 240),
        8.0 * (0.3 + 0.45 * bad),
    );
    noisy(&mut picture, 3.0, dice);
    picture
}

fn motion(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let angle = dice.between(0.0, PI);
    let mut picture = shaken(
        &on_page(&code_of(text, 8), 500, 240),
        8.0 * (0.5 + 1.1 * bad),
        angle,
    );
    noisy(&mut picture, 3.0, dice);
    picture
}

fn noise(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let mut picture = on_page(&code_of(text, 5), 360, 230);
    lit(&mut picture, |_, _, value| 50.0 + value * 0.6);
    noisy(&mut picture, 15.0 + 55.0 * bad, dice);
    picture
}

/// A light code on a dark page, with less and less border and contrast.
fn dark(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let mut code = code_of(text, 5);
    let border = 4 * 5 - (bad * 18.0) as u32;
    let inner = code.width() - 2 * (20 - border);
    code = imageops::crop_imm(&code, 20 - border, 20 - border, inner, inner).to_image();
    imageops::invert(&mut code);
    let (low, high) = (18.0 + 20.0 * bad, 240.0 - 110.0 * bad);
    lit(&mut code, |_, _, value| low + value / 255.0 * (high - low));
    let mut page = on_page(&code, 420, low as u8);
    noisy(&mut page, 2.0, dice);
    page
}

/// Scaled down until a module has little more than a pixel.
fn tiny(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let source = on_page(&code_of(text, 8), 480, 255);
    let module = 2.4 - 1.25 * bad;
    let side = (480.0 * module / 8.0 + dice.roll()) as u32;
    imageops::resize(&source, side, side, imageops::FilterType::Triangle)
}

/// Many pixels: all of the image, or a small part of it.
fn huge(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let large = bad < 0.5;
    let source = code_of(text, if large { 40 } else { 6 });
    let side = source.width() as f32;
    let (x, y) = if large {
        (300.0, 150.0)
    } else {
        (dice.between(200.0, 2400.0), dice.between(200.0, 1500.0))
    };
    let (sin, cos) = dice.between(-0.3, 0.3).sin_cos();
    let mut picture = taken(&source, (3000, 2200), |u, v| {
        let (u, v) = (u - x - side / 2.0, v - y - side / 2.0);
        (
            side / 2.0 + u * cos - v * sin,
            side / 2.0 + u * sin + v * cos,
        )
    });
    lit(&mut picture, |u, v, value| value * (0.95 - 0.4 * u * v));
    picture
}

fn pale(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let mut picture = on_page(&code_of(text, 5), 400, 255);
    let (base, contrast) = (dice.between(60.0, 180.0), 50.0 - 40.0 * bad);
    lit(&mut picture, |u, _, value| {
        base + 20.0 * u * bad + value / 255.0 * contrast
    });
    noisy(&mut picture, 1.0, dice);
    picture
}

/// A sharp shadow across it, and the rest in the light of one side.
fn shadow(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let mut picture = on_page(&code_of(text, 6), 420, 235);
    let (turn, place) = (dice.between(0.0, PI), dice.between(-0.15, 0.15));
    lit(&mut picture, |u, v, value| {
        let across = (u - 0.5) * turn.cos() + (v - 0.5) * turn.sin();
        let shade = if across > place {
            1.0 - 0.85 * bad
        } else {
            1.0
        };
        value * shade * (1.0 - 0.5 * bad * v) + 6.0
    });
    noisy(&mut picture, 2.0, dice);
    imageops::blur(&picture, 0.7)
}

fn crumpled(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let source = code_of(text, 8);
    let side = source.width() as f32;
    let waves: Vec<[f32; 4]> = (0..4)
        .map(|_| {
            [
                dice.between(0.008, 0.022),
                dice.between(0.008, 0.022),
                dice.between(0.0, 6.0),
                dice.between(0.4, 1.0),
            ]
        })
        .collect();
    let deep = 2.0 + 7.0 * bad;
    let height = |x: f32, y: f32| -> f32 {
        waves
            .iter()
            .map(|[a, b, p, s]| s * (a * x + b * y + p).sin())
            .sum()
    };
    let mut picture = taken(&source, (440, 440), |x, y| {
        let (dx, dy) = (height(x, y), height(y + 50.0, x));
        (
            (x - 20.0 + dx * deep) / 400.0 * side,
            (y - 20.0 + dy * deep) / 400.0 * side,
        )
    });
    lit(&mut picture, |u, v, value| {
        value * (0.8 + 0.08 * bad * height(u * 440.0 + 4.0, v * 440.0))
    });
    noisy(&mut picture, 4.0, dice);
    picture
}

/// Printed in a newspaper, and scanned.
fn halftone(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let source = imageops::blur(&on_page(&code_of(text, 8), 480, 250), 1.2);
    let (dot, turn) = (2.0 + 3.0 * bad, dice.between(0.2, 1.2));
    let (sin, cos) = turn.sin_cos();
    let mut picture = GrayImage::from_fn(480, 480, |x, y| {
        let (x, y) = (x as f32, y as f32);
        let (u, v) = (
            (x * cos - y * sin) / dot * PI,
            (x * sin + y * cos) / dot * PI,
        );
        let threshold = 128.0 + 60.0 * (u.cos() + v.cos());
        let value = f32::from(source.get_pixel(x as u32, y as u32)[0]) * 0.75 + 35.0;
        Luma([if value > threshold { 235 } else { 35 }])
    });
    noisy(&mut picture, 6.0, dice);
    imageops::blur(&picture, 0.8)
}

/// The image ends before the code does.
fn cut(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let code = code_of(text, 6);
    // Of the border and then of the code, to the right and below.
    let off = 12 + (30.0 * bad) as u32;
    let side = code.width() - off;
    let mut picture = imageops::crop_imm(
        &code,
        if bad < 0.5 { 18 } else { 24 },
        20,
        side - 24,
        side - 20,
    )
    .to_image();
    noisy(&mut picture, 5.0, dice);
    picture
}

/// A sticker or a finger on it.
fn hidden(text: &str, bad: f32, dice: &mut Dice) -> GrayImage {
    let mut picture = on_page(&code_of(text, 6), 420, 255);
    let (x, y, size) = (
        dice.between(0.45, 0.6),
        dice.between(0.45, 0.6),
        0.05 + 0.075 * bad,
    );
    let grey = dice.between(0.0, 255.0);
    lit(&mut picture, |u, v, value| {
        if (u - x).hypot(v - y) < size {
            grey
        } else {
            value
        }
    });
    noisy(&mut picture, 4.0, dice);
    picture
}

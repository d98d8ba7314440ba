//! What people send: taken with a phone, scanned, styled, or passed on by an app.

#![allow(clippy::many_single_char_names)]

use std::f32::consts::PI;

use image::{GrayImage, Luma, Rgb, RgbImage, imageops};
use qrcode::{Color, EcLevel, QrCode};

use super::camera::{Light, Scene, inked, jpeg, sample};
use super::photo::{Dice, flattened};
use super::{code_of, drawn, sheet};

/// What the codes of an image are.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// One account.
    One,
    /// So many accounts.
    Several,
    /// An export of ever more accounts: a code of many modules.
    Export,
}

impl Content {
    pub(super) fn texts(self, account: impl Fn(usize) -> String, bad: f32) -> Vec<String> {
        match self {
            Self::One => vec![account(0)],
            Self::Several => (0..4 + (bad * 5.0) as usize).map(account).collect(),
            Self::Export => {
                let length = 150 + (bad * 750.0) as usize;
                let data: String = account(0)
                    .chars()
                    .filter(char::is_ascii_alphanumeric)
                    .collect();
                let data: String = data.chars().cycle().take(length).collect();
                vec![format!("otpauth-migration://offline?data={data}")]
            }
        }
    }
}

/// The file of an image of how bad, from 0 to 1.
type Taken = fn(&[String], f32, &mut Dice) -> Vec<u8>;

pub(super) const KINDS: [(&str, Content, Taken); 20] = [
    ("screen-photo", Content::One, screen_photo),
    ("paper-photo", Content::One, paper_photo),
    ("low-light", Content::One, low_light),
    ("colours", Content::One, colors),
    ("jpeg", Content::One, squeezed),
    ("logo", Content::One, logo),
    ("rounded", Content::One, rounded),
    ("turned", Content::One, turned),
    ("mirrored", Content::One, mirrored),
    ("several", Content::Several, several),
    ("dense", Content::Export, dense),
    ("folded", Content::One, folded),
    ("no-border", Content::One, no_border),
    ("reflection", Content::One, reflection),
    ("flicker", Content::One, flicker),
    ("overexposed", Content::One, overexposed),
    ("fax", Content::One, fax),
    ("resent", Content::One, resent),
    ("far-away", Content::One, far_away),
    ("bottle", Content::One, bottle),
];

const BLACK: [u8; 3] = [20, 20, 24];
const WHITE: [u8; 3] = [250, 250, 248];

fn times(light: Light, by: Light) -> Light {
    [light[0] * by[0], light[1] * by[1], light[2] * by[2]]
}

/// The grain of a wooden table.
fn wood(x: f32, y: f32) -> Light {
    let ring =
        (x * 0.011 + (y * 0.004).sin() * 3.0).sin() * 0.5 + (x * 0.31 + y * 0.013).sin() * 0.2;
    let bright = 0.16 + 0.06 * ring;
    [bright * 1.6, bright, bright * 0.5]
}

/// The corners of a square that is turned and tilted away, around a place.
fn tilted(middle: [f32; 2], half: f32, turn: f32, tilt: f32, towards: f32) -> [[f32; 2]; 4] {
    [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]].map(|[x, y]: [f32; 2]| {
        let (sin, cos) = turn.sin_cos();
        let (x, y) = (x * cos - y * sin, x * sin + y * cos);
        // Turned around an axis in the plane; the eye is three sides away.
        let (sin, cos) = towards.sin_cos();
        let (along, across) = (x * cos + y * sin, -x * sin + y * cos);
        let (across, depth) = (across * tilt.cos(), across * tilt.sin());
        let near = 3.0 / (3.0 + depth * 0.8);
        let (x, y) = (along * cos - across * sin, along * sin + across * cos);
        [middle[0] + x * near * half, middle[1] + y * near * half]
    })
}

/// A code on a table or a page, seen through a lens that bends.
fn table(print: &RgbImage, size: (usize, usize), corners: [[f32; 2]; 4], barrel: f32) -> Scene {
    let side = print.width() as f32;
    let flat = flattened(corners, side);
    let (width, height) = (size.0 as f32, size.1 as f32);
    Scene::seen(size, |x, y| {
        let (u, v) = ((x - width / 2.0) / width, (y - height / 2.0) / width);
        let out = 1.0 + barrel * (u * u + v * v);
        let (x, y) = (
            width / 2.0 + u * out * width,
            height / 2.0 + v * out * width,
        );
        let (u, v) = flat(x, y);
        sample(print, u, v).unwrap_or_else(|| wood(x, y))
    })
}

/// The stripes of a screen, its colors and its tilt, seen by the pixels of a phone.
fn screen_photo(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let code = inked(&code_of(&texts[0], 6), BLACK, WHITE);
    let side = code.width() as f32;
    let half = side / dice.between(1.1, 2.1);
    let turn = dice.between(-0.2, 0.2);
    let corners = tilted(
        [260.0, 250.0],
        half.max(150.0),
        turn,
        0.15 + 0.6 * bad,
        dice.between(0.0, PI),
    );
    let flat = flattened(corners, side);
    let gap = 0.02 + 0.08 * bad;
    let mut scene = Scene::seen((520, 500), |x, y| {
        let (u, v) = flat(x, y);
        let shown = sample(&code, u.floor() + 0.01, v.floor() + 0.01).unwrap_or([0.6, 0.62, 0.65]);
        let (across, down) = (u.rem_euclid(1.0), v.rem_euclid(1.0));
        [0, 1, 2].map(|index| {
            let stripe = (index as f32 + 0.5) / 3.0;
            let is_lit = (across - stripe).abs() < 1.0 / 6.0 - gap && down > 2.0 * gap;
            shown[index] * if is_lit { 3.0 } else { 0.05 }
        })
    });
    scene.change(|u, v, light| times(light, [0.75 - 0.2 * u, 0.8, 0.95 - 0.1 * v]));
    let mut scene = scene.blurred(0.4 + 0.5 * bad);
    scene.counted(400.0, dice);
    scene.jpeg(80 - (30.0 * bad) as u8)
}

/// Paper on a table in a room: tilt, lens, shade and noise together.
fn paper_photo(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let print = inked(&code_of(&texts[0], 8), BLACK, WHITE);
    let corners = tilted(
        [dice.between(380.0, 520.0), dice.between(280.0, 380.0)],
        190.0 - 90.0 * bad,
        dice.between(-PI, PI),
        0.3 + 0.6 * bad,
        dice.between(0.0, PI),
    );
    let mut scene = table(&print, (900, 680), corners, 0.1 + 0.25 * bad);
    let place = dice.between(0.35, 0.65);
    scene.change(|u, v, light| {
        let far = (u - 0.5).hypot(v - 0.5);
        let shade = if u + 0.3 * v > place {
            1.0 - 0.55 * bad
        } else {
            1.0
        };
        times(
            light,
            [0.85, 0.78, 0.66].map(|it| it * shade * (1.0 - 0.7 * far)),
        )
    });
    let mut scene = scene.blurred(0.6 + 0.5 * bad);
    scene.counted(600.0 - 450.0 * bad, dice);
    scene.jpeg(75)
}

/// Few photons under a warm lamp, and a hand that moves.
fn low_light(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let print = inked(&code_of(&texts[0], 6), BLACK, WHITE);
    let corners = tilted(
        [230.0, 220.0],
        150.0,
        dice.between(-0.4, 0.4),
        0.3,
        dice.between(0.0, PI),
    );
    let mut scene = table(&print, (460, 440), corners, 0.1);
    scene.change(|u, _, light| times(light, [0.9, 0.6 - 0.1 * u, 0.3]));
    let mut scene = scene.shaken(1.0 + 2.5 * bad, dice.between(0.0, PI));
    scene.counted(90.0 * (1.0 - bad) + 3.0, dice);
    scene.blurred(0.7).jpeg(70)
}

/// Two colors that differ less and less in brightness.
fn colors(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    const PAIRS: [([u8; 3], [u8; 3]); 6] = [
        ([0, 110, 90], [230, 80, 70]),
        ([255, 225, 0], [255, 255, 255]),
        ([90, 60, 190], [40, 120, 60]),
        ([120, 220, 235], [255, 255, 255]),
        ([200, 30, 60], [20, 100, 200]),
        ([255, 150, 170], [190, 190, 190]),
    ];
    let (dark, light) = PAIRS[(dice.roll() * 5.99) as usize];
    let towards = |from: u8, to: u8| (f32::from(from) * bad + f32::from(to) * (1.0 - bad)) as u8;
    let dark = dark.map(|it| towards(it, it / 3));
    let mut page = RgbImage::from_pixel(380, 380, Rgb(light));
    let code = inked(&code_of(&texts[0], 5), dark, light);
    imageops::replace(&mut page, &code, 40, 50);
    let mut scene = Scene::of(&page).blurred(0.5);
    scene.counted(900.0, dice);
    scene.jpeg(85)
}

/// Squeezed harder and harder.
fn squeezed(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let code = inked(
        &code_of(&texts[0], if bad < 0.5 { 4 } else { 5 }),
        BLACK,
        WHITE,
    );
    let mut page = RgbImage::from_pixel(420, 360, Rgb([235, 238, 245]));
    let place = (
        dice.between(5.0, 60.0) as i64,
        dice.between(5.0, 40.0) as i64,
    );
    imageops::replace(&mut page, &code, place.0, place.1);
    jpeg(&page, (32.0 * (1.0 - bad)) as u8 + 1)
}

/// A code of the level of error correction that styled codes have.
fn robust(text: &str) -> (Vec<Color>, usize) {
    let code = QrCode::with_error_correction_level(text, EcLevel::H).unwrap();
    let side = code.width();
    (code.into_colors(), side)
}

/// A badge in the middle that grows.
fn logo(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let (modules, _) = robust(&texts[0]);
    let mut picture = inked(&drawn(&modules, 6), [30, 30, 90], WHITE);
    let middle = picture.width() as f32 / 2.0;
    let size = middle * (0.18 + 0.3 * bad);
    let round = dice.roll() < 0.5;
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let (u, v) = (x as f32 - middle, y as f32 - middle);
        let away = if round {
            u.hypot(v)
        } else {
            u.abs().max(v.abs())
        };
        if away < size {
            let ring = (away / size * 4.0) as u8;
            *pixel = [[220, 60, 40], [250, 200, 60], [40, 90, 200], WHITE].map(Rgb)
                [usize::from(ring.min(3))];
        }
    }
    Scene::of(&picture).blurred(0.6).jpeg(80)
}

/// Dots instead of squares, ever smaller, and round finder patterns.
fn rounded(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let (modules, side) = robust(&texts[0]);
    let (module, radius) = (9.0, 0.52 - 0.26 * bad);
    let edge = side as f32;
    let whole = ((side + 8) as f32 * module) as u32;
    let ink = if dice.roll() < 0.5 {
        [20, 60, 120]
    } else {
        [120, 20, 70]
    };
    let picture = RgbImage::from_fn(whole, whole, |x, y| {
        let (u, v) = (x as f32 / module - 4.0, y as f32 / module - 4.0);
        let finder = [(3.5, 3.5), (edge - 3.5, 3.5), (3.5, edge - 3.5)].into_iter();
        let near = finder.map(|(a, b)| {
            // Between a square and a circle.
            let (u, v) = ((u - a).abs(), (v - b).abs());
            let power = 6.0 - 4.0 * bad;
            (u.powf(power) + v.powf(power)).powf(1.0 / power)
        });
        let away = near.fold(f32::MAX, f32::min);
        let in_finder = [(3.5, 3.5), (edge - 3.5, 3.5), (3.5, edge - 3.5)]
            .into_iter()
            .any(|(a, b)| (u - a).abs().max((v - b).abs()) < 4.0);
        let is_dark = if in_finder {
            away <= 1.5 || (2.5..=3.5).contains(&away)
        } else if u >= 0.0 && v >= 0.0 && u < edge && v < edge {
            let dark = modules[v as usize * side + u as usize] == Color::Dark;
            dark && (u.fract() - 0.5).hypot(v.fract() - 0.5) < radius
        } else {
            false
        };
        Rgb(if is_dark { ink } else { WHITE })
    });
    Scene::of(&picture).blurred(0.5).jpeg(85)
}

/// Turned by any angle, with few pixels to a module.
fn turned(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let print = inked(&code_of(&texts[0], 8), BLACK, WHITE);
    let module = 3.6 - 1.9 * bad;
    let half = print.width() as f32 / 8.0 * module / 2.0;
    let turn = (7.0 + 76.0 * dice.roll()) / 180.0 * PI;
    let corners = tilted([180.0, 180.0], half, turn, 0.0, 0.0);
    let mut scene = table(&print, (360, 360), corners, 0.0);
    scene.counted(1_500.0, dice);
    scene.jpeg(80)
}

/// Seen in a mirror, and tilted.
fn mirrored(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let mut print = inked(&code_of(&texts[0], 7), BLACK, WHITE);
    imageops::flip_horizontal_in_place(&mut print);
    let corners = tilted(
        [240.0, 230.0],
        190.0 - 80.0 * bad,
        dice.between(-PI, PI),
        0.8 * bad,
        dice.between(0.0, PI),
    );
    let mut scene = table(&print, (480, 460), corners, 0.15).blurred(0.5 + 0.6 * bad);
    scene.counted(700.0, dice);
    scene.jpeg(75)
}

/// A page with four to nine accounts; all of them count.
fn several(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let codes: Vec<GrayImage> = texts.iter().map(|text| code_of(text, 6)).collect();
    let columns = if codes.len() > 4 { 3 } else { 2 };
    let page = sheet(&codes, columns);
    let side = page.width().max(page.height());
    let mut square = GrayImage::from_pixel(side, side, Luma([255]));
    imageops::replace(&mut square, &page, 0, 0);
    let print = inked(&square, BLACK, WHITE);
    let corners = tilted(
        [480.0, 470.0],
        330.0,
        dice.between(-0.4, 0.4),
        0.1 + 0.6 * bad,
        dice.between(0.0, PI),
    );
    let mut scene = table(&print, (960, 940), corners, 0.1).blurred(0.5 + 0.4 * bad);
    scene.change(|u, v, light| times(light, [0.9 - 0.5 * bad * u * v; 3]));
    scene.counted(500.0, dice);
    scene.jpeg(80)
}

/// A code of many modules on a screen.
fn dense(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let code = code_of(&texts[0], 6);
    let print = inked(&code, BLACK, WHITE);
    let module = 4.0 - 1.6 * bad;
    let half = print.width() as f32 / 6.0 * module / 2.0;
    let side = (half * 2.3) as usize;
    let middle = side as f32 / 2.0;
    let corners = tilted(
        [middle, middle],
        half,
        dice.between(-0.15, 0.15),
        0.1 + 0.25 * bad,
        dice.between(0.0, PI),
    );
    let mut scene = table(&print, (side, side), corners, 0.05 + 0.1 * bad).blurred(0.5 + 0.3 * bad);
    scene.counted(500.0, dice);
    scene.jpeg(80)
}

/// A letter that was folded twice lies on a table, its parts at angles.
fn folded(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let print = inked(&code_of(&texts[0], 8), BLACK, WHITE);
    let side = print.width() as f32;
    let (crease, across) = (dice.between(0.35, 0.65), dice.between(0.35, 0.65));
    let slopes =
        [dice.between(0.5, 1.0), dice.between(0.4, 0.9)].map(|it| it * (0.15 + 0.85 * bad));
    let turn = dice.between(-0.3, 0.3);
    // The paper rises to the crease and falls behind it; its height moves it towards the edge.
    let unfold = move |place: f32, crease: f32, slope: f32| {
        let (rise, fall) = (slope.cos(), (slope * 0.8).cos());
        let at = crease * rise;
        if place < at {
            (place / rise, place / rise * slope.sin())
        } else {
            let beyond = (place - at) / fall;
            (
                crease + beyond,
                crease * slope.sin() - beyond * (slope * 0.8).sin(),
            )
        }
    };
    let mut scene = Scene::seen((480, 480), |x, y| {
        let (u, v) = ((x - 240.0) / 420.0, (y - 240.0) / 420.0);
        let (sin, cos) = turn.sin_cos();
        let (u, v) = (u * cos - v * sin + 0.5, u * sin + v * cos + 0.5);
        let (_, first) = unfold(u, crease, slopes[0]);
        let (_, second) = unfold(v, across, slopes[1]);
        let near = 1.0 - 0.25 * (first + second);
        let (u, v) = ((u - 0.5) * near + 0.5, (v - 0.5) * near + 0.5);
        let (s, first) = unfold(u, crease, slopes[0]);
        let (t, second) = unfold(v, across, slopes[1]);
        let shade = 0.85 - 0.3 * bad * (u32::from(s > crease) + u32::from(t > across)) as f32 / 2.0
            + 0.1 * (first - second).abs();
        match sample(&print, s * side, t * side) {
            Some(light) => light.map(|it| it * shade),
            None => wood(x, y),
        }
    })
    .blurred(0.6);
    scene.counted(500.0, dice);
    scene.jpeg(80)
}

/// A card whose border shrinks until dark and busy things begin where the code ends.
fn no_border(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let module = 6;
    let whole = code_of(&texts[0], module);
    let off = ((4.0 * bad) * module as f32) as u32;
    let side = whole.width() - 2 * off;
    let code = imageops::crop_imm(&whole, off, off, side, side).to_image();
    let mut page = RgbImage::from_fn(420, 420, |x, y| {
        let (x, y) = (x as f32, y as f32);
        let wave = (x * 0.13).sin() * (y * 0.09).cos() + (x * 0.04 + y * 0.06).sin();
        let bright = 50.0 + 22.0 * wave;
        Rgb([bright as u8, (bright * 0.8) as u8, (bright * 0.6) as u8])
    });
    let place = (
        dice.between(60.0, 110.0) as i64,
        dice.between(60.0, 110.0) as i64,
    );
    imageops::replace(&mut page, &inked(&code, BLACK, WHITE), place.0, place.1);
    let mut scene = Scene::of(&page).blurred(0.8);
    scene.counted(400.0, dice);
    scene.jpeg(75)
}

/// A window in the glass of a screen.
fn reflection(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let mut page = RgbImage::from_pixel(440, 440, Rgb(WHITE));
    imageops::replace(
        &mut page,
        &inked(&code_of(&texts[0], 6), BLACK, WHITE),
        60,
        50,
    );
    let mut scene = Scene::of(&page);
    let (left, top) = (dice.between(0.1, 0.35), dice.between(0.05, 0.35));
    let (size, lean) = (dice.between(0.15, 0.22), dice.between(-0.2, 0.2));
    scene.change(|u, v, light| {
        let (x, y) = ((u - left + lean * v) / size, (v - top) / size / 1.3);
        let in_pane = |it: f32| (0.0..2.1).contains(&it) && !(0.97..1.13).contains(&it);
        let window = if in_pane(x) && in_pane(y) {
            0.1 + 1.1 * bad
        } else {
            0.02
        };
        let tint = [0.9, 1.0, 1.1];
        [0, 1, 2].map(|index| light[index] * 0.55 + window * tint[index])
    });
    let mut scene = scene.blurred(0.9);
    scene.counted(400.0, dice);
    scene.jpeg(80)
}

/// Bands of a lamp or a screen that flickers while the rows are read out.
fn flicker(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let print = inked(&code_of(&texts[0], 7), BLACK, WHITE);
    let corners = tilted(
        [230.0, 230.0],
        180.0,
        dice.between(-0.5, 0.5),
        0.3,
        dice.between(0.0, PI),
    );
    let mut scene = table(&print, (460, 460), corners, 0.1);
    let (bands, phase) = (dice.between(3.0, 9.0), dice.between(0.0, 6.0));
    scene.change(|_, v, light| {
        let wave = 0.5 + 0.5 * (v * bands * 2.0 * PI + phase).sin();
        let dark = 1.0 - (0.4 + 0.58 * bad) * wave * wave;
        times(light, [0.9 * dark, 0.85 * dark, 0.8 * dark.powf(1.1)])
    });
    let mut scene = scene.blurred(0.6);
    scene.counted(350.0, dice);
    scene.jpeg(75)
}

/// A bright screen in a dark room: light runs over the dark modules.
fn overexposed(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let mut page = RgbImage::from_pixel(440, 440, Rgb([8, 8, 10]));
    imageops::replace(
        &mut page,
        &inked(&code_of(&texts[0], 6), [30, 30, 36], [255, 255, 255]),
        60,
        60,
    );
    let scene = Scene::of(&page);
    let mut seen = scene.blurred(0.8 + 1.2 * bad);
    seen.with(&scene.blurred(12.0), 0.15 + 0.3 * bad);
    let gain = 1.3 + 3.2 * bad;
    seen.change(|_, _, light| light.map(|it| it * gain));
    seen.counted(500.0, dice);
    seen.jpeg(80)
}

/// Black or white, in coarse steps, with dirt.
fn fax(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let print = inked(&code_of(&texts[0], 8), BLACK, WHITE);
    let module = 4.0 - 2.2 * bad;
    let half = print.width() as f32 / 8.0 * module / 2.0;
    let side = (half * 2.6) as usize;
    let middle = side as f32 / 2.0;
    let flat = flattened(
        tilted([middle, middle], half, dice.between(-0.03, 0.03), 0.0, 0.0),
        print.width() as f32,
    );
    let mut scene = Scene::seen((side, side), |x, y| {
        let (u, v) = flat(x, y);
        sample(&print, u, v).unwrap_or([1.0; 3])
    })
    .blurred(0.35);
    scene.counted(120.0, dice);
    let mut dirt = Dice::new(91);
    let mut picture = scene.picture();
    for pixel in picture.pixels_mut() {
        let is_dirt = dirt.roll() < 0.002 + 0.02 * bad;
        let is_light = (pixel[1] > 165) != is_dirt;
        *pixel = Rgb([if is_light { 255 } else { 0 }; 3]);
    }
    Scene::of(&picture).png()
}

/// Made small by one app and large again by another.
fn resent(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let mut page = RgbImage::from_pixel(520, 700, Rgb([240, 240, 244]));
    imageops::replace(
        &mut page,
        &inked(&code_of(&texts[0], 8), BLACK, WHITE),
        60,
        120,
    );
    let module = 2.6 - 1.3 * bad;
    let scaled = |length: f32| (length * module / 8.0).ceil() as u32;
    let small = imageops::resize(
        &page,
        scaled(520.0),
        scaled(700.0),
        imageops::FilterType::Triangle,
    );
    let once = image::load_from_memory(&jpeg(&small, 60))
        .unwrap()
        .to_rgb8();
    let large = imageops::resize(
        &once,
        once.width() * 3,
        once.height() * 3,
        imageops::FilterType::CatmullRom,
    );
    let mut scene = Scene::of(&large);
    scene.counted(5_000.0, dice);
    scene.jpeg(60)
}

/// A small code on a large desktop full of text.
fn far_away(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let module = 3.4 - 2.0 * bad;
    let source = code_of(&texts[0], 8);
    let side = (source.width() as f32 / 8.0 * module) as u32;
    let code = inked(
        &imageops::resize(&source, side, side, imageops::FilterType::Triangle),
        BLACK,
        [255; 3],
    );
    let mut page = RgbImage::from_pixel(2_560, 1_440, Rgb([246, 247, 249]));
    for line in 0..52 {
        let mut x = 30.0;
        while x < 2_500.0 {
            let (word, height) = (dice.between(12.0, 70.0), dice.between(7.0, 13.0));
            for row in 0..height as u32 {
                for column in 0..word as u32 {
                    let ink = (column * 7 + row * 13 + line) % 5;
                    if ink < 2 {
                        let (x, y) = (x as u32 + column, 20 + line * 27 + row);
                        if x < 2_560 && y < 1_440 {
                            page.put_pixel(x, y, Rgb([60, 62, 70]));
                        }
                    }
                }
            }
            x += word + 8.0;
        }
    }
    let place = (
        dice.between(200.0, 2_200.0) as i64,
        dice.between(200.0, 1_200.0) as i64,
    );
    imageops::replace(&mut page, &code, place.0, place.1);
    jpeg(&page, 88)
}

/// Around a bottle of any direction, with a streak of light along it.
fn bottle(texts: &[String], bad: f32, dice: &mut Dice) -> Vec<u8> {
    let print = inked(&code_of(&texts[0], 8), BLACK, WHITE);
    let side = print.width() as f32;
    let (turn, axis) = (dice.between(-0.3, 0.3), dice.between(0.0, PI));
    // How far around it the code reaches from its middle to its edge.
    let reach = 0.25 + 0.85 * bad;
    let streak = dice.between(-0.5, 0.5);
    let mut scene = Scene::seen((500, 500), |x, y| {
        let (x, y) = ((x - 250.0) / 200.0, (y - 250.0) / 200.0);
        let (sin, cos) = axis.sin_cos();
        let (across, along) = (x * cos + y * sin, -x * sin + y * cos);
        let radius = 1.0 / reach;
        // The eye is six halves of the code away.
        let depth = radius - (radius * radius - across * across).max(0.0).sqrt();
        let near = 1.0 + depth / 6.0;
        let (across, along) = (across * near, along * near);
        if across.abs() >= radius {
            return wood(x * 200.0, y * 200.0);
        }
        let around = (across / radius).asin() * radius;
        let (u, v) = (around * cos - along * sin, around * sin + along * cos);
        let (sin, cos) = turn.sin_cos();
        let (u, v) = (u * cos - v * sin, u * sin + v * cos);
        let facing = (around / radius).cos();
        let shine = 0.5 * bad * (-((around - streak) / 0.12).powi(2)).exp();
        let light = sample(&print, (u + 1.0) / 2.0 * side, (v + 1.0) / 2.0 * side)
            .unwrap_or([0.7, 0.72, 0.7]);
        light.map(|it| it * (0.2 + 0.65 * facing) + shine)
    })
    .blurred(0.6 + 0.3 * bad);
    scene.counted(500.0, dice);
    scene.jpeg(80)
}

//! QR codes drawn for tests: bit by bit where a usual writer would refuse to, on pages, and
//! spoiled in the ways in which images are.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod beside;
pub(crate) mod camera;
pub(crate) mod hard;
pub(crate) mod photo;
pub(crate) mod scenes;

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat, Luma};
use qrcode::bits::Bits;
use qrcode::canvas::Canvas;
use qrcode::{Color, EcLevel, QrCode, Version};

/// Pixels of a module's side, and modules of the white border.
pub(crate) const MODULE: u32 = 4;
pub(crate) const QUIET: u32 = 4;

/// The bits of one code, as ISO/IEC 18004 section 7.4 has them.
#[derive(Clone, Default)]
pub(crate) struct BitText(Vec<bool>);

impl BitText {
    pub(crate) fn number(mut self, value: usize, bits: usize) -> Self {
        self.0
            .extend((0..bits).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    /// That this is a code of a set, the first being 0.
    pub(crate) fn part(self, index: usize, of: usize, parity: u8) -> Self {
        self.number(3, 4)
            .number(index, 4)
            .number(of - 1, 4)
            .number(usize::from(parity), 8)
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let begun = self.number(4, 4).number(bytes.len(), 8);
        let all = bytes.iter();
        all.fold(begun, |text, byte| text.number(usize::from(*byte), 8))
    }

    pub(crate) fn eci(self, designator: usize) -> Self {
        self.number(7, 4).number(designator, 8)
    }

    /// The code's modules, with the border.
    pub(crate) fn draw(mut self, module: u32) -> GrayImage {
        let level = EcLevel::M;
        let version = (1..=9)
            .map(Version::Normal)
            .find(|version| Bits::new(*version).max_len(level).unwrap() >= self.0.len());
        let version = version.expect("it is short");
        let room = Bits::new(version).max_len(level).unwrap();
        let end = (self.0.len() + 4).min(room);
        self.0.resize(end, false);
        self.0.resize(self.0.len().next_multiple_of(8), false);
        let mut bytes: Vec<u8> = self
            .0
            .chunks(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
            .collect();
        let mut padding = [0xec, 0x11].into_iter().cycle();
        bytes.resize_with(room / 8, || padding.next().unwrap());
        let (data, correction) = qrcode::ec::construct_codewords(&bytes, version, level).unwrap();
        let mut canvas = Canvas::new(version, level);
        canvas.draw_all_functional_patterns();
        canvas.draw_data(&data, &correction);
        let colors = canvas.apply_best_mask().into_colors();
        drawn(&colors, module)
    }
}

fn drawn(colors: &[Color], module: u32) -> GrayImage {
    let side = colors.len().isqrt() as u32;
    let whole = (side + 2 * QUIET) * module;
    GrayImage::from_fn(whole, whole, |x, y| {
        let (x, y) = (
            (x / module).wrapping_sub(QUIET),
            (y / module).wrapping_sub(QUIET),
        );
        let is_dark = x < side && y < side && colors[(y * side + x) as usize] == Color::Dark;
        Luma([if is_dark { 0 } else { 255 }])
    })
}

/// All bytes, combined by exclusive or.
pub(crate) fn parity(text: &[u8]) -> u8 {
    text.iter().fold(0, |sum, byte| sum ^ byte)
}

/// A text split over so many codes, as nearly equal as can be.
pub(crate) fn split(text: &[u8], of: usize) -> Vec<BitText> {
    let parity = parity(text);
    let place = |index: usize| index * text.len() / of;
    (0..of)
        .map(|index| {
            let bytes = &text[place(index)..place(index + 1)];
            BitText::default().part(index, of, parity).bytes(bytes)
        })
        .collect()
}

/// A whole code, with the border.
pub(crate) fn code(text: &str) -> GrayImage {
    code_of(text, MODULE)
}

pub(crate) fn code_of(text: &str, module: u32) -> GrayImage {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).unwrap();
    drawn(&code.into_colors(), module)
}

/// Codes in rows of so many on a white page, with some space between them.
pub(crate) fn sheet(codes: &[GrayImage], columns: usize) -> GrayImage {
    let cell = codes.iter().map(GrayImage::width).max().unwrap_or(1) + 12;
    let rows = codes.len().div_ceil(columns) as u32;
    let mut page = GrayImage::from_pixel(cell * columns as u32, cell * rows, Luma([255]));
    for (index, code) in codes.iter().enumerate() {
        let (column, row) = (index % columns, index / columns);
        let place = |count: usize| i64::from(cell) * count as i64 + 6;
        image::imageops::replace(&mut page, code, place(column), place(row));
    }
    page
}

pub(crate) fn png(picture: &GrayImage) -> Vec<u8> {
    encoded(&DynamicImage::ImageLuma8(picture.clone()), ImageFormat::Png)
}

pub(crate) fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Out of focus.
pub(crate) fn blurred(picture: &GrayImage, sigma: f32) -> GrayImage {
    image::imageops::blur(picture, sigma)
}

/// Painted over with one grey.
pub(crate) fn covered(
    picture: &GrayImage,
    place: (u32, u32),
    size: (u32, u32),
    grey: u8,
) -> GrayImage {
    let mut covered = picture.clone();
    for (x, y, pixel) in covered.enumerate_pixels_mut() {
        let in_it = |value: u32, start: u32, length: u32| (start..start + length).contains(&value);
        if in_it(x, place.0, size.0) && in_it(y, place.1, size.1) {
            *pixel = Luma([grey]);
        }
    }
    covered
}

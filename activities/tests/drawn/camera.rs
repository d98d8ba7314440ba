//! A camera: light and color from a scene fall through a lens on a sensor and become a file.

#![allow(clippy::many_single_char_names)]

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};

use super::encoded;
use super::photo::Dice;

/// Red, green and blue; 1 is white in good light.
pub(crate) type Light = [f32; 3];

/// Light as it falls on the sensor, before it is counted.
pub(crate) struct Scene {
    pub(crate) width: usize,
    pub(crate) height: usize,
    light: Vec<Light>,
}

/// From what a file says to light, and back (sRGB, nearly).
fn lit(value: u8) -> f32 {
    (f32::from(value) / 255.0).powf(2.2)
}

fn said(light: f32) -> u8 {
    (light.clamp(0.0, 1.0).powf(1.0 / 2.2) * 255.0 + 0.5) as u8
}

/// Printed in two colors, or shown on a screen so.
pub(crate) fn inked(code: &GrayImage, dark: [u8; 3], light: [u8; 3]) -> RgbImage {
    RgbImage::from_fn(code.width(), code.height(), |x, y| {
        let share = f32::from(code.get_pixel(x, y)[0]) / 255.0;
        let mixed = |index: usize| {
            let (dark, light) = (f32::from(dark[index]), f32::from(light[index]));
            (dark + (light - dark) * share) as u8
        };
        Rgb([mixed(0), mixed(1), mixed(2)])
    })
}

/// The light of a print or a screen between its pixels; nothing beyond its edge.
pub(crate) fn sample(print: &RgbImage, x: f32, y: f32) -> Option<Light> {
    let (width, height) = (print.width() as f32, print.height() as f32);
    if !(x >= 0.0 && y >= 0.0 && x < width - 1.0 && y < height - 1.0) {
        return None;
    }
    let (left, top) = (x as u32, y as u32);
    let (dx, dy) = (x.fract(), y.fract());
    let at = |x: u32, y: u32, index: usize| f32::from(print.get_pixel(x, y)[index]);
    Some([0, 1, 2].map(|index| {
        let upper = at(left, top, index) * (1.0 - dx) + at(left + 1, top, index) * dx;
        let lower = at(left, top + 1, index) * (1.0 - dx) + at(left + 1, top + 1, index) * dx;
        lit((upper * (1.0 - dy) + lower * dy) as u8)
    }))
}

impl Scene {
    /// What is seen at each place of the sensor, the mean of four points in each pixel.
    pub(crate) fn seen(
        (width, height): (usize, usize),
        mut look: impl FnMut(f32, f32) -> Light,
    ) -> Self {
        let points = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)];
        // Large images have pixels enough.
        let points = if width > 2_000 {
            &points[..1]
        } else {
            &points[..]
        };
        let mut light = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let mut sum = [0.0; 3];
                for (dx, dy) in points {
                    let seen = look(x as f32 + dx, y as f32 + dy);
                    (0..3).for_each(|index| sum[index] += seen[index]);
                }
                light.push(sum.map(|it| it / points.len() as f32));
            }
        }
        Self {
            width,
            height,
            light,
        }
    }

    /// What is on a page of this print, pixel by pixel.
    pub(crate) fn of(print: &RgbImage) -> Self {
        Self {
            width: print.width() as usize,
            height: print.height() as usize,
            light: print.pixels().map(|pixel| pixel.0.map(lit)).collect(),
        }
    }

    /// Changed by its place; both go from 0 to 1.
    pub(crate) fn change(&mut self, change: impl Fn(f32, f32, Light) -> Light) {
        let (width, height) = (self.width as f32, self.height as f32);
        for (index, light) in self.light.iter_mut().enumerate() {
            let (x, y) = (index % self.width, index / self.width);
            *light = change(x as f32 / width, y as f32 / height, *light);
        }
    }

    /// Each point spread along a line: out of focus along rows and columns, moved along one.
    fn spread(&self, weights: &[f32], (dx, dy): (f32, f32)) -> Self {
        let middle = (weights.len() / 2) as f32;
        let whole: f32 = weights.iter().sum();
        let mut light = Vec::with_capacity(self.light.len());
        for y in 0..self.height {
            for x in 0..self.width {
                let mut sum = [0.0; 3];
                for (at, weight) in weights.iter().enumerate() {
                    let along = at as f32 - middle;
                    let place = |from: usize, by: f32, end: usize| {
                        (from as f32 + along * by)
                            .round()
                            .clamp(0.0, (end - 1) as f32) as usize
                    };
                    let (x, y) = (place(x, dx, self.width), place(y, dy, self.height));
                    let seen = self.light[y * self.width + x];
                    (0..3).for_each(|index| sum[index] += seen[index] * weight / whole);
                }
                light.push(sum);
            }
        }
        Self { light, ..*self }
    }

    /// Out of focus by so many pixels.
    pub(crate) fn blurred(&self, sigma: f32) -> Self {
        let reach = (sigma * 3.0).ceil().max(1.0) as i32;
        let weights: Vec<f32> = (-reach..=reach)
            .map(|at| (-(at as f32 / sigma).powi(2) / 2.0).exp())
            .collect();
        self.spread(&weights, (1.0, 0.0))
            .spread(&weights, (0.0, 1.0))
    }

    /// Moved by so many pixels while the shutter was open.
    pub(crate) fn shaken(&self, length: f32, angle: f32) -> Self {
        let taps = (2.0 * length).ceil().max(1.0) as usize | 1;
        let step = length / taps as f32;
        self.spread(&vec![1.0; taps], (step * angle.cos(), step * angle.sin()))
    }

    /// With the light of another added to it.
    pub(crate) fn with(&mut self, other: &Self, share: f32) {
        for (light, more) in self.light.iter_mut().zip(&other.light) {
            (0..3).for_each(|index| light[index] += more[index] * share);
        }
    }

    /// Counted by a sensor that holds so many electrons in each pixel: the fewer, the noisier.
    pub(crate) fn counted(&mut self, electrons: f32, dice: &mut Dice) {
        for light in &mut self.light {
            *light = light.map(|it| {
                let deviation = (it.max(0.0) / electrons).sqrt() + 2.0 / electrons;
                it + deviation * dice.normal()
            });
        }
    }

    pub(crate) fn picture(&self) -> RgbImage {
        RgbImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            Rgb(self.light[y as usize * self.width + x as usize].map(said))
        })
    }

    pub(crate) fn png(&self) -> Vec<u8> {
        encoded(&DynamicImage::ImageRgb8(self.picture()), ImageFormat::Png)
    }

    /// A JPEG of this quality, of 100.
    pub(crate) fn jpeg(&self, quality: u8) -> Vec<u8> {
        jpeg(&self.picture(), quality)
    }
}

pub(crate) fn jpeg(picture: &RgbImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    encoder.encode_image(picture).unwrap();
    bytes
}

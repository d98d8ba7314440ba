//! Grey to black and white.

use rxing::common::{BitMatrix, HybridBinarizer};
use rxing::{Binarizer, Luma8Source};

use crate::images::{Plane, ReadLimits};

/// Thresholds by neighborhood (ZXing's hybrid binarizer). It takes an area whose brightness varies
/// by less than 24 of 255 for white.
pub(super) fn local(plane: &Plane) -> Option<BitMatrix> {
    if plane.width().min(plane.height()) < ReadLimits::MIN_SIDE {
        return None;
    }
    super::guard::guarded(|| {
        let source = Luma8Source::new_with_slice(plane.pixels(), plane.width(), plane.height());
        let binarizer = HybridBinarizer::new(source.ok()?);
        binarizer.get_black_matrix().ok().cloned()
    })
}

/// One threshold for the whole plane (Otsu 1979): the one that separates dark from light best.
pub(super) fn otsu(plane: &Plane) -> Option<BitMatrix> {
    if plane.width().min(plane.height()) < ReadLimits::MIN_SIDE {
        return None;
    }
    let threshold = otsu_threshold(plane.pixels());
    let mut bits = BitMatrix::new(plane.width(), plane.height()).ok()?;
    let rows = plane.pixels().chunks_exact(plane.width() as usize);
    for (y, row) in (0..).zip(rows) {
        for (x, &pixel) in (0..).zip(row) {
            if pixel <= threshold {
                bits.set(x, y);
            }
        }
    }
    Some(bits)
}

/// How far [`narrow`] looks to each side, in pixels, and how much darker is clearly darker.
const NARROW: usize = 12;
const CLEARLY: f32 = 3.0;

/// A copy in which each pixel is black or white, by the mean of the square around it; the square
/// reaches an eighth of the longer side to each side. For decoders that take grey and know only one
/// threshold.
pub(super) fn locally_thresholded(plane: &Plane) -> Plane {
    let (width, height) = (plane.width() as usize, plane.height() as usize);
    let reach = (width.max(height) / 8).max(4);
    let mut out = Vec::with_capacity(width * height);
    each_darkness(plane, reach, |darker| {
        out.push(if darker > 0.0 { 0 } else { 255 })
    });
    Plane::new(plane.width(), plane.height(), out)
}

/// Dark is what is clearly darker than the mean of a few modules around it: codes half under glare
/// or in the reflection of a window, where brightness changes faster than [`local`] follows.
pub(super) fn narrow(plane: &Plane) -> Option<BitMatrix> {
    if plane.width().min(plane.height()) < ReadLimits::MIN_SIDE {
        return None;
    }
    let mut bits = BitMatrix::new(plane.width(), plane.height()).ok()?;
    let (mut x, mut y) = (0, 0);
    each_darkness(plane, NARROW, |darker| {
        if darker > CLEARLY {
            bits.set(x, y);
        }
        x += 1;
        if x == plane.width() {
            (x, y) = (0, y + 1);
        }
    });
    Some(bits)
}

/// Calls with each pixel, row by row: how much darker it is than the mean of the square that
/// reaches so far to each side.
fn each_darkness(plane: &Plane, reach: usize, mut with: impl FnMut(f32)) {
    let (width, height) = (plane.width() as usize, plane.height() as usize);
    let stride = width + 1;
    let mut sums = vec![0_u64; stride * (height + 1)];
    for y in 0..height {
        let mut row_sum = 0;
        for x in 0..width {
            row_sum += u64::from(plane.pixels()[y * width + x]);
            sums[(y + 1) * stride + x + 1] = sums[y * stride + x + 1] + row_sum;
        }
    }
    for y in 0..height {
        let (top, bottom) = (y.saturating_sub(reach), (y + reach + 1).min(height));
        for x in 0..width {
            let (left, right) = (x.saturating_sub(reach), (x + reach + 1).min(width));
            let sum = sums[bottom * stride + right] + sums[top * stride + left]
                - sums[top * stride + right]
                - sums[bottom * stride + left];
            let area = ((bottom - top) * (right - left)) as u64;
            let mean = sum as f32 / area as f32;
            with(mean - f32::from(plane.pixels()[y * width + x]));
        }
    }
}

fn otsu_threshold(pixels: &[u8]) -> u8 {
    let mut histogram = [0_u64; 256];
    for &pixel in pixels {
        histogram[usize::from(pixel)] += 1;
    }
    let total = pixels.len() as f64;
    let sum: f64 = (0..)
        .zip(&histogram)
        .map(|(v, &n)| f64::from(v) * n as f64)
        .sum();
    let (mut dark, mut dark_sum, mut best, mut threshold) = (0.0, 0.0, -1.0, 127);
    for (value, &count) in (0_u8..=255).zip(&histogram) {
        dark += count as f64;
        dark_sum += f64::from(value) * count as f64;
        let light = total - dark;
        if dark == 0.0 || light == 0.0 {
            continue;
        }
        let distance = dark_sum / dark - (sum - dark_sum) / light;
        let variance = dark * light * distance * distance;
        if variance > best {
            best = variance;
            threshold = value;
        }
    }
    threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn otsu_separates_two_close_greys() {
        let pixels: Vec<u8> = (0..900)
            .map(|i| if i % 3 == 0 { 118 } else { 130 })
            .collect();
        let bits = otsu(&Plane::new(30, 30, pixels.clone())).unwrap();
        for (i, &pixel) in pixels.iter().enumerate() {
            assert_eq!(bits.get(i as u32 % 30, i as u32 / 30), pixel == 118);
        }
    }

    #[test]
    fn local_threshold_follows_a_shadow() {
        // A ramp from 40 to 240 with every other column darker by 30.
        let pixel = |x: u32| (40 + x * 2 - if x.is_multiple_of(2) { 30 } else { 0 }) as u8;
        let pixels: Vec<u8> = (0..100 * 100).map(|i| pixel(i % 100)).collect();
        let out = locally_thresholded(&Plane::new(100, 100, pixels));
        let row = &out.pixels()[5000..5100];
        assert!((20..80).all(|x| (row[x] == 0) == (x % 2 == 0)));
    }
}

//! A grey plane and the few filters that make codes readable.

use std::fmt;

use image::imageops::FilterType;
use zeroize::Zeroizing;

/// Grey pixels, one byte each, row by row from the top left; 0 is black. Wiped when dropped.
pub struct Plane {
    width: u32,
    height: u32,
    pixels: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plane({} x {}, [redacted])", self.width, self.height)
    }
}

impl Plane {
    /// Takes `width` times `height` pixels. A buffer of another length makes an empty plane, in
    /// which nothing is found.
    #[must_use]
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Self {
        Self::from_wiped(width, height, Zeroizing::new(pixels))
    }

    pub(crate) fn from_wiped(width: u32, height: u32, pixels: Zeroizing<Vec<u8>>) -> Self {
        if width as usize * height as usize == pixels.len() {
            return Self {
                width,
                height,
                pixels,
            };
        }
        Self {
            width: 0,
            height: 0,
            pixels: Zeroizing::default(),
        }
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels, row by row.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// A part of it, as far as it is inside.
    pub(crate) fn cropped(&self, left: u32, top: u32, width: u32, height: u32) -> Self {
        let (left, top) = (left.min(self.width), top.min(self.height));
        let (width, height) = (width.min(self.width - left), height.min(self.height - top));
        let mut out = Vec::with_capacity(width as usize * height as usize);
        let rows = self.pixels.chunks_exact(self.width.max(1) as usize);
        for row in rows.skip(top as usize).take(height as usize) {
            let row = row.get(left as usize..(left + width) as usize);
            out.extend_from_slice(row.unwrap_or_default());
        }
        Self::new(width, height, out)
    }

    /// Half the size; each pixel is the mean of four. An odd last row or column is dropped.
    pub(crate) fn halved(&self) -> Self {
        let (width, height) = (self.width / 2, self.height / 2);
        let stride = self.width as usize;
        let mut out = Vec::with_capacity(width as usize * height as usize);
        for pair in self.pixels.chunks_exact(2 * stride.max(1)) {
            let (upper, lower) = pair.split_at(stride);
            for (a, b) in upper.chunks_exact(2).zip(lower.chunks_exact(2)) {
                let sum = u16::from(a[0]) + u16::from(a[1]) + u16::from(b[0]) + u16::from(b[1]);
                out.push(((sum + 2) / 4) as u8);
            }
        }
        Self::new(width, height, out)
    }

    /// Twice the size, linearly interpolated.
    pub(crate) fn doubled(&self) -> Self {
        self.resized(self.width * 2, self.height * 2)
    }

    /// Thrice the size, interpolated by cubic curves, which keep the edges of small modules.
    pub(crate) fn tripled(&self) -> Self {
        self.scaled(self.width * 3, self.height * 3, FilterType::CatmullRom)
    }

    /// Another size: interpolated when it grows, averaged over areas when it shrinks.
    pub(crate) fn resized(&self, width: u32, height: u32) -> Self {
        self.scaled(width, height, FilterType::Triangle)
    }

    fn scaled(&self, width: u32, height: u32, filter: FilterType) -> Self {
        let source: Option<image::ImageBuffer<image::Luma<u8>, &[u8]>> =
            image::ImageBuffer::from_raw(self.width, self.height, self.pixels());
        let Some(source) = source.filter(|_| width > 0 && height > 0 && !self.pixels.is_empty())
        else {
            return Self::new(0, 0, Vec::new());
        };
        let resized = image::imageops::resize(&source, width, height, filter);
        Self::new(width, height, resized.into_raw())
    }

    /// With its own contrast: the darkest of its pixels black, the lightest white, but for a few.
    pub(crate) fn stretched(&self) -> Self {
        let mut counts = [0_usize; 256];
        for pixel in self.pixels.iter() {
            counts[usize::from(*pixel)] += 1;
        }
        let few = self.pixels.len() / 200;
        let (mut low, mut high, mut below, mut above) = (0, 255, counts[0], counts[255]);
        while below <= few && low < high {
            low += 1;
            below += counts[low];
        }
        while above <= few && low < high {
            high -= 1;
            above += counts[high];
        }
        if low >= high {
            return self.resized(self.width, self.height);
        }
        let stretched = self.pixels.iter().map(|pixel| {
            let above = usize::from(*pixel).clamp(low, high) - low;
            (above * 255 / (high - low)) as u8
        });
        Self::new(self.width, self.height, stretched.collect())
    }

    /// A Gaussian blur of about one pixel's standard deviation, which closes gaps between dots and
    /// takes noise and moiré out.
    pub(crate) fn blurred(&self) -> Self {
        let kernel = |p: [u8; 5]| {
            let [a, b, c, d, e] = p.map(u16::from);
            ((a + e + 4 * (b + d) + 6 * c + 8) / 16) as u8
        };
        self.filtered(kernel)
    }

    /// The plane with its difference from a blurred copy added twice, which brings back the edges
    /// of a soft image.
    pub(crate) fn sharpened(&self) -> Self {
        let soft = self.blurred().blurred();
        let pixels = self.pixels.iter().zip(soft.pixels.iter());
        let out = pixels.map(|(&sharp, &soft)| {
            let value = i32::from(sharp) + 2 * (i32::from(sharp) - i32::from(soft));
            value.clamp(0, 255) as u8
        });
        Self::new(self.width, self.height, out.collect())
    }

    /// The median of each pixel's 3 x 3 neighborhood, by medians of rows and columns: takes single
    /// wrong pixels out.
    pub(crate) fn median(&self) -> Self {
        self.filtered(|[_, a, b, c, _]| a.min(b).max(a.max(b).min(c)))
    }

    /// Applies one five-tap filter along rows, then along columns; edges repeat.
    fn filtered(&self, tap: impl Fn([u8; 5]) -> u8) -> Self {
        let (width, height) = (self.width as usize, self.height as usize);
        if self.pixels.is_empty() {
            return Self::new(0, 0, Vec::new());
        }
        let mut rows = Zeroizing::new(Vec::with_capacity(self.pixels.len()));
        for row in self.pixels.chunks_exact(width) {
            let at = |x: isize| row[x.clamp(0, width as isize - 1) as usize];
            for x in 0..width {
                let taps = if x >= 2 && x + 2 < width {
                    [row[x - 2], row[x - 1], row[x], row[x + 1], row[x + 2]]
                } else {
                    let x = x as isize;
                    [at(x - 2), at(x - 1), at(x), at(x + 1), at(x + 2)]
                };
                rows.push(tap(taps));
            }
        }
        let row_at = |y: isize| {
            let y = y.clamp(0, height as isize - 1) as usize;
            &rows[y * width..(y + 1) * width]
        };
        let mut out = Vec::with_capacity(self.pixels.len());
        for y in 0..height as isize {
            let near = [
                row_at(y - 2),
                row_at(y - 1),
                row_at(y),
                row_at(y + 1),
                row_at(y + 2),
            ];
            out.extend((0..width).map(|x| tap(near.map(|row| row[x]))));
        }
        Self::new(self.width, self.height, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_keep_a_flat_plane_and_its_size() {
        let flat = Plane::new(23, 31, vec![90; 23 * 31]);
        for plane in [flat.blurred(), flat.sharpened(), flat.median()] {
            assert_eq!((plane.width(), plane.height()), (23, 31));
            assert!(plane.pixels().iter().all(|&pixel| pixel == 90));
        }
        assert_eq!((flat.halved().width(), flat.halved().height()), (11, 15));
        assert_eq!((flat.doubled().width(), flat.doubled().height()), (46, 62));
        assert!(flat.halved().pixels().iter().all(|&pixel| pixel == 90));
    }

    #[test]
    fn median_takes_out_a_single_pixel_and_keeps_an_edge() {
        let mut pixels = vec![255; 9 * 9];
        pixels[4 * 9 + 4] = 0;
        assert!(
            Plane::new(9, 9, pixels)
                .median()
                .pixels()
                .iter()
                .all(|&p| p == 255)
        );
        let edge: Vec<u8> = (0..81).map(|i| if i % 9 < 4 { 0 } else { 255 }).collect();
        assert_eq!(Plane::new(9, 9, edge.clone()).median().pixels(), edge);
    }

    #[test]
    fn a_wrong_length_makes_an_empty_plane_and_debug_shows_no_pixel() {
        let plane = Plane::new(5, 5, vec![1; 24]);
        assert_eq!((plane.width(), plane.pixels().len()), (0, 0));
        assert_eq!(plane.blurred().pixels().len(), 0);
        let shown = format!("{:?}", Plane::new(1, 2, vec![7, 7]));
        assert_eq!(shown, "Plane(1 x 2, [redacted])");
    }
}

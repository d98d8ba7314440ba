//! Images: uploaded bytes become bounded grey pixels, or a problem that says what to send instead.
//!
//! The bytes come from anyone. The format is judged by content, the size from the header before
//! anything is decoded, and decoding itself runs under a memory limit. Nothing here looks for codes;
//! that is [`crate::qr`].

mod count;
mod format;
mod frames;
mod plane;

use std::io::Cursor;
use std::ops::ControlFlow;
use std::time::Duration;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader};
use thiserror::Error;
use zeroize::Zeroizing;

pub use format::UploadFormat;
pub use frames::Pages;
pub use plane::Plane;

/// Bounds of reading one image. The defaults fit a phone's photograph and keep a hostile file
/// from taking more than a few seconds or a few hundred megabytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Largest upload in bytes; 10 MiB unless told.
    pub max_bytes: usize,
    /// Largest width and largest height in pixels; 12,000 unless told.
    pub max_side: u32,
    /// Largest number of pixels, width times height; 50 million unless told.
    pub max_pixels: u64,
    /// Bytes that the image decoder may allocate; 256 MB unless told.
    pub max_alloc: u64,
    /// Time for the whole job, from the first byte to the last attempt; 1.2 seconds unless told.
    /// It is looked at between attempts, so a job may end a little after it.
    pub deadline: Duration,
}

impl ReadLimits {
    /// Smallest width and height in pixels: version 1, the smallest QR code, has 21 modules a side
    /// (ISO/IEC 18004 section 5.3.1).
    pub const MIN_SIDE: u32 = 21;
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            max_bytes: 10 * 1024 * 1024,
            max_side: 12_000,
            max_pixels: 50_000_000,
            max_alloc: 256_000_000,
            deadline: Duration::from_millis(1_200),
        }
    }
}

/// Why an image was refused. The text is fit for the person who sent it and repeats nothing of
/// the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ImageProblem {
    /// There were no bytes.
    #[error("the image is empty; send a PNG or JPEG image of the QR code")]
    Empty,
    /// The bytes are something other than an image that is read here.
    #[error("{format} is not supported; send a PNG or JPEG image of the QR code")]
    Unsupported {
        /// What the bytes look like, for example "HEIC" or "PDF".
        format: &'static str,
    },
    /// The bytes begin like an image, and can't be decoded.
    #[error("the image is damaged or incomplete; send it again, or as a PNG or JPEG")]
    Unreadable,
    /// The image has too many pixels, or would need too much memory.
    #[error(
        "the image is too large ({width} x {height} pixels); crop it to the QR code, or scale it down"
    )]
    TooLarge {
        /// Width in pixels, as the header claims.
        width: u32,
        /// Height in pixels, as the header claims.
        height: u32,
    },
    /// The upload has more bytes than allowed, or can't be made small enough without losing its code.
    #[error(
        "the image has {bytes} bytes, but {limit} are allowed; crop it to the QR code, or scale it down"
    )]
    TooManyBytes {
        /// Size of the upload in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The image is too small to hold any QR code.
    #[error(
        "the image is too small ({width} x {height} pixels) to hold a QR code; send it at its full size"
    )]
    TooSmall {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// What an image's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageInfo {
    /// The format, judged by content.
    pub format: UploadFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A decoded image: grey pixels, and what else may hold a code.
#[derive(Debug)]
pub struct DecodedImage {
    /// Format and size.
    pub info: ImageInfo,
    /// Brightness on a white page.
    pub on_white: Plane,
    /// Brightness on a black page, where any pixel is translucent: a light code made for dark pages
    /// is invisible on white.
    pub on_black: Option<Plane>,
    /// Single channels, where the image is colorful: two colors may be equally bright.
    pub color: Option<ColorPlanes>,
}

/// Channels in which colors of equal brightness differ.
#[derive(Debug)]
pub struct ColorPlanes {
    /// The largest minus the smallest of red, green and blue.
    pub spread: Plane,
    /// Red.
    pub red: Plane,
}

/// Reads the header of an image and judges it by the default limits, without decoding pixels.
///
/// # Errors
///
/// Every [`ImageProblem`]; [`ImageProblem::Unreadable`] where even the header can't be read.
pub fn inspect(bytes: &[u8]) -> Result<ImageInfo, ImageProblem> {
    inspect_within(bytes, &ReadLimits::default())
}

/// Decodes further frames of an animation, or further pages of a TIFF, one at a time, and calls
/// `look` with each until it breaks off. Other images have none.
pub fn further(
    bytes: &[u8],
    info: ImageInfo,
    limits: &ReadLimits,
    look: &mut dyn FnMut(DecodedImage) -> ControlFlow<()>,
) -> Pages {
    frames::each(bytes, info, limits, look)
}

/// Decodes an image under the given limits: the first frame of an animation, or the first page; see
/// [`further`].
///
/// It is turned as its orientation tag says, so that places in it are those that people see, unless
/// there is no room for a turned copy: QR codes read the same in every orientation. The planes are
/// wiped when they are dropped; the image decoder's own buffers are freed as they are.
///
/// # Errors
///
/// Every [`ImageProblem`].
pub fn open(bytes: &[u8], limits: &ReadLimits) -> Result<DecodedImage, ImageProblem> {
    let info = inspect_within(bytes, limits)?;
    let mut decoder = reader(bytes, info.format, limits)
        .into_decoder()
        .map_err(|error| problem(&error, info))?;
    let mut allowed = allocation_limits(limits);
    allowed
        .reserve(decoder.total_bytes())
        .and_then(|()| decoder.set_limits(allowed.clone()))
        .map_err(|error| problem(&error, info))?;
    // A tag that cannot be read is none.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let copied = decoder.total_bytes();
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| problem(&error, info))?;
    if in_place(orientation) || allowed.reserve(copied).is_ok() {
        image.apply_orientation(orientation);
    }
    let info = ImageInfo {
        width: image.width(),
        height: image.height(),
        ..info
    };
    let picture = flatten(image, info);
    if picture.on_white.pixels().is_empty() {
        return Err(ImageProblem::Unreadable);
    }
    Ok(picture)
}

/// Whether an image is turned so without a copy of it.
fn in_place(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::NoTransforms
            | Orientation::Rotate180
            | Orientation::FlipHorizontal
            | Orientation::FlipVertical
    )
}

fn inspect_within(bytes: &[u8], limits: &ReadLimits) -> Result<ImageInfo, ImageProblem> {
    let format = UploadFormat::of(bytes)?;
    if bytes.len() > limits.max_bytes {
        return Err(ImageProblem::TooManyBytes {
            bytes: bytes.len(),
            limit: limits.max_bytes,
        });
    }
    let (width, height) = reader(bytes, format, limits)
        .into_dimensions()
        .map_err(|_| ImageProblem::Unreadable)?;
    let pixels = u64::from(width) * u64::from(height);
    if width > limits.max_side || height > limits.max_side || pixels > limits.max_pixels {
        return Err(ImageProblem::TooLarge { width, height });
    }
    if width < ReadLimits::MIN_SIDE || height < ReadLimits::MIN_SIDE {
        return Err(ImageProblem::TooSmall { width, height });
    }
    Ok(ImageInfo {
        format,
        width,
        height,
    })
}

/// A reader whose limits cover memory only: sides are judged here, so that a refusal can name them.
fn reader<'a>(
    bytes: &'a [u8],
    format: UploadFormat,
    limits: &ReadLimits,
) -> ImageReader<Cursor<&'a [u8]>> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.decoder());
    reader.limits(allocation_limits(limits));
    reader
}

fn allocation_limits(limits: &ReadLimits) -> image::Limits {
    let mut allowed = image::Limits::default();
    allowed.max_image_width = None;
    allowed.max_image_height = None;
    allowed.max_alloc = Some(limits.max_alloc);
    allowed
}

fn problem(error: &ImageError, info: ImageInfo) -> ImageProblem {
    match error {
        ImageError::Limits(_) => ImageProblem::TooLarge {
            width: info.width,
            height: info.height,
        },
        _ => ImageProblem::Unreadable,
    }
}

/// Planes above this size keep no color: the steps that use it run on smaller images only.
const MAX_COLOR_PIXELS: usize = 5_000_000;

/// A pixel counts as colorful from this distance between its largest and smallest channel on.
const COLORFUL: u8 = 48;

fn flatten(image: DynamicImage, info: ImageInfo) -> DecodedImage {
    let high = |value: u16| (value >> 8) as u8;
    match image {
        DynamicImage::ImageLuma8(grey) => DecodedImage {
            info,
            on_white: Plane::new(info.width, info.height, grey.into_raw()),
            on_black: None,
            color: None,
        },
        DynamicImage::ImageLumaA8(grey) => {
            flatten_pixels(info, grey.pixels().map(|p| [p[0], p[0], p[0], p[1]]))
        }
        DynamicImage::ImageRgb8(rgb) => {
            flatten_pixels(info, rgb.pixels().map(|p| [p[0], p[1], p[2], 255]))
        }
        DynamicImage::ImageRgba8(rgba) => flatten_pixels(info, rgba.pixels().map(|p| p.0)),
        DynamicImage::ImageLuma16(grey) => flatten_pixels(
            info,
            grey.pixels().map(|p| {
                let value = high(p[0]);
                [value, value, value, 255]
            }),
        ),
        DynamicImage::ImageLumaA16(grey) => flatten_pixels(
            info,
            grey.pixels().map(|p| {
                let value = high(p[0]);
                [value, value, value, high(p[1])]
            }),
        ),
        DynamicImage::ImageRgb16(rgb) => flatten_pixels(
            info,
            rgb.pixels()
                .map(|p| [high(p[0]), high(p[1]), high(p[2]), 255]),
        ),
        DynamicImage::ImageRgba16(rgba) => {
            flatten_pixels(info, rgba.pixels().map(|p| p.0.map(high)))
        }
        other => flatten_pixels(info, other.to_rgba8().pixels().map(|p| p.0)),
    }
}

fn flatten_pixels(info: ImageInfo, pixels: impl Iterator<Item = [u8; 4]> + Clone) -> DecodedImage {
    let count = info.width as usize * info.height as usize;
    let mut white = Zeroizing::new(Vec::with_capacity(count));
    let (mut translucent, mut colorful) = (false, 0_usize);
    for pixel in pixels.clone() {
        translucent |= pixel[3] < 255;
        colorful += usize::from(spread_of(pixel) >= COLORFUL);
        white.push(over(brightness(pixel), pixel[3], 255));
    }
    let plane = |value: fn([u8; 4]) -> u8| {
        let values: Vec<u8> = pixels.clone().map(value).collect();
        Plane::new(info.width, info.height, values)
    };
    DecodedImage {
        info,
        on_black: translucent.then(|| plane(|pixel| over(brightness(pixel), pixel[3], 0))),
        color: (colorful * 200 >= count.max(1) && count <= MAX_COLOR_PIXELS).then(|| ColorPlanes {
            spread: plane(|pixel| over(spread_of(pixel), pixel[3], 0)),
            red: plane(|pixel| over(pixel[0], pixel[3], 255)),
        }),
        on_white: Plane::from_wiped(info.width, info.height, white),
    }
}

/// Brightness by ITU-R BT.601, which decoders of QR codes commonly use.
fn brightness([red, green, blue, _]: [u8; 4]) -> u8 {
    let sum = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    ((sum + 500) / 1000) as u8
}

fn spread_of([red, green, blue, _]: [u8; 4]) -> u8 {
    red.max(green).max(blue) - red.min(green).min(blue)
}

/// A value with an opacity of `alpha` / 255 laid over a page of one brightness.
fn over(value: u8, alpha: u8, page: u8) -> u8 {
    if alpha == 255 {
        return value;
    }
    let alpha = u32::from(alpha);
    ((u32::from(value) * alpha + u32::from(page) * (255 - alpha) + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, RgbaImage};

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn black_on_transparent_black_is_visible_on_white_and_the_reverse_on_black() {
        let mut image = RgbaImage::new(24, 24);
        image.put_pixel(3, 4, image::Rgba([0, 0, 0, 255]));
        image.put_pixel(5, 6, image::Rgba([255, 255, 255, 255]));
        let bytes = encoded(&DynamicImage::ImageRgba8(image), ImageFormat::Png);
        let picture = open(&bytes, &ReadLimits::default()).unwrap();
        let at = |plane: &Plane, x: usize, y: usize| plane.pixels()[y * 24 + x];
        assert_eq!(at(&picture.on_white, 3, 4), 0);
        assert_eq!(at(&picture.on_white, 0, 0), 255);
        let on_black = picture.on_black.unwrap();
        assert_eq!(at(&on_black, 5, 6), 255);
        assert_eq!(at(&on_black, 0, 0), 0);
    }

    #[test]
    fn every_limit_has_its_own_refusal() {
        let small = encoded(&DynamicImage::new_luma8(20, 40), ImageFormat::Png);
        assert_eq!(
            inspect(&small),
            Err(ImageProblem::TooSmall {
                width: 20,
                height: 40
            })
        );
        let bytes = encoded(&DynamicImage::new_luma8(100, 80), ImageFormat::Png);
        let refusal = |limits: ReadLimits| open(&bytes, &limits).err();
        let limits = ReadLimits::default();
        let too_large = Some(ImageProblem::TooLarge {
            width: 100,
            height: 80,
        });
        assert_eq!(
            refusal(ReadLimits {
                max_side: 99,
                ..limits
            }),
            too_large
        );
        assert_eq!(
            refusal(ReadLimits {
                max_pixels: 7999,
                ..limits
            }),
            too_large
        );
        assert_eq!(
            refusal(ReadLimits {
                max_alloc: 4000,
                ..limits
            }),
            too_large
        );
        assert_eq!(
            refusal(ReadLimits {
                max_bytes: 10,
                ..limits
            }),
            Some(ImageProblem::TooManyBytes {
                bytes: bytes.len(),
                limit: 10
            })
        );
        assert_eq!(refusal(limits), None);
    }
}

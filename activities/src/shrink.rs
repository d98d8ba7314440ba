//! Making an upload fit one message without losing its codes.

use std::time::Instant;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::images::{self, DecodedImage, ImageProblem, Plane, ReadLimits, UploadFormat};
use crate::qr::{self, Payload, ScanResult, Step};
use countersign_enrollment::code_parts::CodePart;

/// Longest sides tried, in pixels, after the image's own.
const SIDES: [u32; 9] = [2400, 2000, 1600, 1280, 1024, 800, 640, 480, 320];

/// JPEG qualities tried at each size, of 100.
const QUALITIES: [u8; 3] = [90, 80, 70];

/// Makes an image no larger than `max_bytes`, so that it fits one message.
///
/// Bytes that fit are returned as they are, whatever they are. Others are decoded under the default
/// [`ReadLimits`] and encoded again in grey, as PNG where that fits and as JPEG of falling quality
/// otherwise, at the largest size at which the result fits and every code that can be read in the
/// original can be read in it too, and every one that cannot still be seen. A code that was read in a color channel, or on a black page, is
/// kept by encoding what it was read from. Where the original shows no readable code, the largest
/// result that fits is returned.
///
/// Of an animation or a TIFF the first frame or page is kept, so that one is refused whose others
/// have further codes. The check takes as long as reading does. Once twice the reading deadline has passed, an image
/// whose code was read is refused: better that its sender crops it than that the code is lost.
///
/// # Errors
///
/// The problems of [`images::open`], and [`ImageProblem::TooManyBytes`] where nothing that fits
/// keeps the codes.
pub fn shrink_to_fit(bytes: &[u8], max_bytes: usize) -> Result<Vec<u8>, ImageProblem> {
    shrink_within(bytes, max_bytes, &ReadLimits::default())
}

/// Does what [`shrink_to_fit`] does, under the given limits.
///
/// # Errors
///
/// Those of [`shrink_to_fit`].
pub fn shrink_within(
    bytes: &[u8],
    max_bytes: usize,
    limits: &ReadLimits,
) -> Result<Vec<u8>, ImageProblem> {
    if bytes.len() <= max_bytes {
        return Ok(bytes.to_vec());
    }
    let start = Instant::now();
    let picture = images::open(bytes, limits)?;
    // With what other frames and pages say, which no result has.
    let wanted = qr::examine(bytes, limits)?;
    let fit = Fit {
        max_bytes,
        wanted: &wanted,
        lossless: picture.info.format != UploadFormat::Jpeg,
        limits: ReadLimits {
            // What takes longer to read is too hard to rely on.
            deadline: limits.deadline / 4,
            ..*limits
        },
        give_up: start + 2 * limits.deadline,
    };
    telling_planes(&picture, &wanted.payloads)
        .into_iter()
        .find_map(|plane| fit.at_any_size(plane))
        .ok_or(ImageProblem::TooManyBytes {
            bytes: bytes.len(),
            limit: max_bytes,
        })
}

/// What a result has to meet.
struct Fit<'a> {
    max_bytes: usize,
    wanted: &'a ScanResult,
    lossless: bool,
    limits: ReadLimits,
    give_up: Instant,
}

impl Fit<'_> {
    /// The best encoding of this plane at the largest size that fits and keeps the codes.
    fn at_any_size(&self, plane: &Plane) -> Option<Vec<u8>> {
        let longest = plane.width().max(plane.height());
        self.at_size(plane).or_else(|| {
            let sides = SIDES.into_iter().filter(|side| *side < longest);
            sides
                .map(|side| {
                    let scaled = |length: u32| {
                        let scaled = u64::from(length) * u64::from(side) / u64::from(longest);
                        (scaled as u32).max(ReadLimits::MIN_SIDE)
                    };
                    plane.resized(scaled(plane.width()), scaled(plane.height()))
                })
                .find_map(|smaller| self.at_size(&smaller))
        })
    }

    /// The best encoding of this plane that fits and keeps the codes.
    fn at_size(&self, plane: &Plane) -> Option<Vec<u8>> {
        if self.lossless
            && let Some(png) = encoded_png(plane)
            && self.accepts(&png)
        {
            return Some(png);
        }
        for quality in QUALITIES {
            if Instant::now() >= self.give_up {
                return None;
            }
            let jpeg = encoded_jpeg(plane, quality)?;
            // Lower quality saves about half; a smaller size is the better way from here.
            if jpeg.len() / 3 > self.max_bytes {
                return None;
            }
            if self.accepts(&jpeg) {
                return Some(jpeg);
            }
        }
        None
    }

    fn accepts(&self, candidate: &[u8]) -> bool {
        if candidate.len() > self.max_bytes {
            return false;
        }
        if self.wanted.payloads.is_empty() && self.wanted.parts.is_empty() {
            return true;
        }
        let left = self.give_up.saturating_duration_since(Instant::now());
        let limits = ReadLimits {
            deadline: left.min(self.limits.deadline),
            ..self.limits
        };
        let Ok(found) = qr::examine(candidate, &limits) else {
            return false;
        };
        let has_text = |wanted: &Payload| {
            let mut payloads = found.payloads.iter();
            payloads.any(|payload| payload.expose() == wanted.expose())
        };
        let has_part = |wanted: &CodePart| {
            let mut parts = found.parts.iter();
            parts.any(|part| (part.index, &part.bytes) == (wanted.index, &wanted.bytes))
        };
        self.wanted.payloads.iter().all(has_text)
            && self.wanted.parts.iter().all(has_part)
            // What could not be read has to stay in sight, or nobody would be told.
            && found.unread.len() >= self.wanted.unread.len()
    }
}

/// The planes in which the codes may have been read, to be tried in this order.
fn telling_planes<'a>(picture: &'a DecodedImage, wanted: &[Payload]) -> Vec<&'a Plane> {
    let step = wanted
        .iter()
        .find(|payload| payload.is_otpauth())
        .or_else(|| wanted.first())
        .map(Payload::step);
    match (step, &picture.on_black, &picture.color) {
        (Some(Step::OnBlack), Some(on_black), _) => vec![on_black],
        (Some(Step::Channels), _, Some(color)) => vec![&color.spread, &color.red],
        _ => vec![&picture.on_white],
    }
}

fn encoded_png(plane: &Plane) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
        .write_image(
            plane.pixels(),
            plane.width(),
            plane.height(),
            ExtendedColorType::L8,
        )
        .ok()?;
    Some(bytes)
}

fn encoded_jpeg(plane: &Plane, quality: u8) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .write_image(
            plane.pixels(),
            plane.width(),
            plane.height(),
            ExtendedColorType::L8,
        )
        .ok()?;
    Some(bytes)
}

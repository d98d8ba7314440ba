//! What else is in an image file: further frames of an animation (GIF, PNG, WebP), further pages of
//! a TIFF.

use std::io::Cursor;
use std::ops::ControlFlow;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, DynamicImage, Frames, ImageDecoder as _};

use super::{DecodedImage, ImageInfo, ImageProblem, ReadLimits, UploadFormat};

/// Frames and pages that are decoded, at most, with the first.
const MAX_FRAMES: usize = 64;

/// Directories of a TIFF that are followed to count its pages.
const MAX_PAGES: usize = 1_000;

/// Calls `look` for each frame or page after the first, until it breaks off. Whether all were
/// there: neither `look` nor a bound ended it, and none was damaged.
pub(super) fn each(
    bytes: &[u8],
    info: ImageInfo,
    limits: &ReadLimits,
    look: &mut dyn FnMut(DecodedImage) -> ControlFlow<()>,
) -> bool {
    match info.format {
        UploadFormat::Tiff => pages(bytes, limits, look),
        UploadFormat::Gif | UploadFormat::Png | UploadFormat::WebP => {
            match animation(bytes, info.format, limits) {
                Some(frames) => frames_of(frames, info, look),
                None => true,
            }
        }
        UploadFormat::Jpeg | UploadFormat::Bmp | UploadFormat::Pnm => true,
    }
}

/// The frames of an animation; nothing if the image is a single one.
fn animation<'a>(bytes: &'a [u8], format: UploadFormat, limits: &ReadLimits) -> Option<Frames<'a>> {
    let bytes = Cursor::new(bytes);
    let allowed = || super::allocation_limits(limits);
    match format {
        UploadFormat::Gif => {
            let mut decoder = GifDecoder::new(bytes).ok()?;
            decoder.set_limits(allowed()).ok()?;
            Some(decoder.into_frames())
        }
        UploadFormat::Png => {
            let decoder = PngDecoder::with_limits(bytes, allowed()).ok()?;
            decoder.is_apng().ok().filter(|is_one| *is_one)?;
            Some(decoder.apng().ok()?.into_frames())
        }
        _ => {
            let mut decoder = WebPDecoder::new(bytes).ok()?;
            decoder.set_limits(allowed()).ok()?;
            decoder.has_animation().then(|| decoder.into_frames())
        }
    }
}

fn frames_of(
    frames: Frames<'_>,
    info: ImageInfo,
    look: &mut dyn FnMut(DecodedImage) -> ControlFlow<()>,
) -> bool {
    for (number, frame) in frames.enumerate() {
        if number == 0 {
            continue;
        }
        let Ok(frame) = frame else { return false };
        if number >= MAX_FRAMES {
            return false;
        }
        let image = DynamicImage::ImageRgba8(frame.into_buffer());
        let info = ImageInfo {
            width: image.width(),
            height: image.height(),
            ..info
        };
        if look(super::flatten(image, info)).is_break() {
            return false;
        }
    }
    true
}

/// A TIFF's pages are in directories that form a chain. With the place of another one in its
/// header, that page is the first.
fn pages(
    bytes: &[u8],
    limits: &ReadLimits,
    look: &mut dyn FnMut(DecodedImage) -> ControlFlow<()>,
) -> bool {
    let places = directories(bytes);
    for (number, place) in places.iter().enumerate().skip(1) {
        if number >= MAX_FRAMES {
            return false;
        }
        let mut page = bytes.to_vec();
        page[4..8].copy_from_slice(place);
        match super::open(&page, limits) {
            Ok(picture) => {
                if look(picture).is_break() {
                    return false;
                }
            }
            // A preview is none.
            Err(ImageProblem::TooSmall { .. }) => {}
            Err(_) => return false,
        }
    }
    true
}

/// Where the directories of a TIFF are, as their places are written there.
fn directories(bytes: &[u8]) -> Vec<[u8; 4]> {
    let is_little = bytes.starts_with(b"II");
    let field = |at: usize| bytes.get(at..)?.first_chunk::<4>().copied();
    let number = |field: [u8; 4]| {
        let value = if is_little {
            u32::from_le_bytes(field)
        } else {
            u32::from_be_bytes(field)
        };
        usize::try_from(value).unwrap_or(usize::MAX)
    };
    let entries = |at: usize| {
        let field = bytes.get(at..)?.first_chunk::<2>().copied()?;
        Some(usize::from(if is_little {
            u16::from_le_bytes(field)
        } else {
            u16::from_be_bytes(field)
        }))
    };
    let mut places: Vec<[u8; 4]> = Vec::new();
    let mut next = field(4);
    while let Some(place) = next {
        let at = number(place);
        if at == 0 || places.contains(&place) || places.len() >= MAX_PAGES {
            break;
        }
        let Some(count) = entries(at) else { break };
        places.push(place);
        // Twelve bytes an entry, after their number.
        next = at.checked_add(2 + 12 * count).and_then(field);
    }
    places
}

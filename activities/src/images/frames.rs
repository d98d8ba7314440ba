//! What else is in an image file: further frames of an animation (GIF, PNG, WebP), further pages of
//! a TIFF.

use std::io::Cursor;
use std::ops::ControlFlow;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, DynamicImage, Frames, ImageDecoder as _};

use super::{DecodedImage, ImageInfo, ImageProblem, ReadLimits, UploadFormat, count};

/// Frames and pages that are decoded, at most, with the first.
const MAX_FRAMES: usize = 64;

/// What became of the frames or pages of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// How many there are, with the first.
    pub count: usize,
    /// How many of them were looked at, from the first on, before a bound or the search ended it.
    pub seen: usize,
    /// Whether one was damaged, which ended it, too.
    pub is_damaged: bool,
}

/// Calls `look` for each frame or page after the first, until it breaks off.
pub(super) fn each(
    bytes: &[u8],
    info: ImageInfo,
    limits: &ReadLimits,
    look: &mut dyn FnMut(DecodedImage) -> ControlFlow<()>,
) -> Pages {
    let mut pages = Pages {
        count: count::frames(bytes, info.format),
        seen: 1,
        is_damaged: false,
    };
    match info.format {
        UploadFormat::Tiff => tiff_pages(bytes, limits, &mut pages, look),
        UploadFormat::Gif | UploadFormat::Png | UploadFormat::WebP => {
            if let Some(frames) = animation(bytes, info.format, limits) {
                frames_of(frames, info, &mut pages, look);
            }
            // A file may have more frames than it says.
            pages.count = pages.count.max(pages.seen);
        }
        UploadFormat::Jpeg | UploadFormat::Bmp | UploadFormat::Pnm => {}
    }
    pages
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
    pages: &mut Pages,
    look: &mut dyn FnMut(DecodedImage) -> ControlFlow<()>,
) {
    for frame in frames.skip(1) {
        let Ok(frame) = frame else {
            pages.is_damaged = true;
            return;
        };
        if pages.seen >= MAX_FRAMES {
            return;
        }
        let image = DynamicImage::ImageRgba8(frame.into_buffer());
        let info = ImageInfo {
            width: image.width(),
            height: image.height(),
            ..info
        };
        if look(super::flatten(image, info)).is_break() {
            return;
        }
        pages.seen += 1;
    }
    // What is cut off may end without an error.
    pages.is_damaged = pages.seen < pages.count;
}

/// A TIFF's pages are in directories that form a chain. With the place of another one in its
/// header, that page is the first.
fn tiff_pages(
    bytes: &[u8],
    limits: &ReadLimits,
    pages: &mut Pages,
    look: &mut dyn FnMut(DecodedImage) -> ControlFlow<()>,
) {
    for place in count::directories(bytes).iter().skip(1) {
        if pages.seen >= MAX_FRAMES {
            return;
        }
        let mut page = bytes.to_vec();
        page[4..8].copy_from_slice(place);
        match super::open(&page, limits) {
            Ok(picture) => {
                if look(picture).is_break() {
                    return;
                }
            }
            // A preview is none.
            Err(ImageProblem::TooSmall { .. }) => {}
            Err(_) => {
                pages.is_damaged = true;
                return;
            }
        }
        pages.seen += 1;
    }
}

//! Images made to hurt, and images that have to shrink.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Cursor;
use std::time::{Duration, Instant};

use countersign_activities::images::{self, ImageProblem, ReadLimits, UploadFormat};
use countersign_activities::qr;
use countersign_activities::shrink::{shrink_to_fit, shrink_within};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use proptest::prelude::*;
use qrcode::QrCode;

const URI: &str = "otpauth://totp/Example:alice?secret=JBSWY3DPEHPK3PXP&issuer=Example";

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A code with modules of `scale` pixels and the quiet zone of four modules.
fn code(text: &str, scale: u32) -> GrayImage {
    QrCode::new(text)
        .unwrap()
        .render::<Luma<u8>>()
        .module_dimensions(scale, scale)
        .build()
}

/// A noisy color image of the given size with a code pasted into it.
fn photograph(width: u32, height: u32, code: &GrayImage) -> DynamicImage {
    let mut state = 0x2545_f491_u32;
    let mut image = RgbImage::from_fn(width, height, |x, y| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let shade = ((x * 90 / width + y * 60 / height) + 60 + state % 24) as u8;
        Rgb([shade, shade.wrapping_add(20), shade])
    });
    for (x, y, pixel) in code.enumerate_pixels() {
        image.put_pixel(x + width / 3, y + height / 3, Rgb([pixel[0]; 3]));
    }
    DynamicImage::ImageRgb8(image)
}

/// Unoptimized builds are slow, and these tests are not about time.
fn patient() -> ReadLimits {
    ReadLimits {
        deadline: Duration::from_secs(30),
        ..ReadLimits::default()
    }
}

fn texts(bytes: &[u8]) -> Vec<String> {
    let payloads = qr::read_codes(bytes, &patient()).unwrap();
    payloads.iter().map(|p| p.expose().to_owned()).collect()
}

#[test]
fn an_image_of_a_hundred_megapixels_is_refused_before_it_is_decoded() {
    let bomb = encoded(&DynamicImage::new_luma8(10_000, 10_000), ImageFormat::Png);
    assert!(bomb.len() < 1_000_000);
    // Whoever decoded it would find that most of it is missing.
    let bomb = &bomb[..200];
    let refusal = ImageProblem::TooLarge {
        width: 10_000,
        height: 10_000,
    };
    assert_eq!(images::inspect(bomb), Err(refusal));
    assert_eq!(
        qr::read_codes(bomb, &ReadLimits::default()).err(),
        Some(refusal)
    );
}

#[test]
fn strips_truncated_and_other_files_are_refused_by_kind() {
    let strip = encoded(&DynamicImage::new_luma8(1, 5000), ImageFormat::Png);
    let check = |bytes: &[u8], expected: ImageProblem| {
        let result = qr::read_codes(bytes, &ReadLimits::default());
        assert_eq!(result.err(), Some(expected));
    };
    check(
        &strip,
        ImageProblem::TooSmall {
            width: 1,
            height: 5000,
        },
    );
    let whole = encoded(&DynamicImage::ImageLuma8(code(URI, 4)), ImageFormat::Png);
    assert_eq!(texts(&whole), [URI]);
    check(&whole[..whole.len() / 2], ImageProblem::Unreadable);
    check(b"", ImageProblem::Empty);
    check(URI.as_bytes(), ImageProblem::Unsupported { format: "text" });
    check(
        &vec![0x01; 11 * 1024 * 1024],
        ImageProblem::Unsupported {
            format: "a file of an unknown kind",
        },
    );
    let mut padded = whole;
    padded.resize(11 * 1024 * 1024, 0);
    check(
        &padded,
        ImageProblem::TooManyBytes {
            bytes: 11 * 1024 * 1024,
            limit: 10 * 1024 * 1024,
        },
    );
}

#[test]
fn two_accounts_and_a_web_address_are_all_read_once() {
    let other = URI.replace("alice", "bob");
    let address = "https://example.com/get-the-app";
    let codes = [URI, &other, address, URI].map(|text| code(text, 3));
    let mut sheet = GrayImage::from_pixel(900, 300, Luma([255]));
    for (x, code) in (10..).step_by(220).zip(&codes) {
        image::imageops::replace(&mut sheet, code, x, 20);
    }
    let mut found = texts(&encoded(&DynamicImage::ImageLuma8(sheet), ImageFormat::Png));
    found.sort_unstable();
    let mut expected = [URI.to_owned(), other, address.to_owned()];
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn bytes_that_fit_are_returned_unchanged() {
    assert_eq!(shrink_to_fit(b"anything", 8).unwrap(), b"anything");
    let refusal = shrink_to_fit(b"anything", 7);
    assert_eq!(refusal, Err(ImageProblem::Unsupported { format: "text" }));
}

#[test]
fn a_large_photograph_shrinks_and_keeps_its_code() {
    let photograph = photograph(1600, 1200, &code(URI, 6));
    for format in [ImageFormat::Jpeg, ImageFormat::Png] {
        let original = encoded(&photograph, format);
        let limit = 150_000;
        assert!(original.len() > limit, "{format:?}");
        let small = shrink_within(&original, limit, &patient()).unwrap();
        assert!(small.len() <= limit);
        assert_eq!(texts(&small), [URI]);
    }
}

#[test]
fn a_code_that_only_color_shows_survives_shrinking() {
    let mut image = RgbImage::from_pixel(500, 500, Rgb([0, 140, 0]));
    for (x, y, pixel) in code(URI, 5).enumerate_pixels() {
        // This red and this green are equally bright.
        if pixel[0] == 0 {
            image.put_pixel(x + 40, y + 40, Rgb([255, 10, 0]));
        }
    }
    let mut original = encoded(&DynamicImage::ImageRgb8(image), ImageFormat::Bmp);
    assert_eq!(texts(&original), [URI]);
    original.push(0);
    let small = shrink_within(&original, 60_000, &patient()).unwrap();
    assert!(small.len() <= 60_000);
    assert_eq!(texts(&small), [URI]);
}

#[test]
fn what_cannot_shrink_without_losing_its_code_is_refused() {
    let photograph = photograph(1200, 900, &code(&URI.repeat(6), 3));
    let original = encoded(&photograph, ImageFormat::Jpeg);
    let result = shrink_within(&original, 2_000, &patient());
    assert_eq!(
        result,
        Err(ImageProblem::TooManyBytes {
            bytes: original.len(),
            limit: 2_000
        })
    );
}

#[test]
fn formats_are_recognized_by_content() {
    let image = DynamicImage::ImageLuma8(code(URI, 2));
    for (format, expected) in [
        (ImageFormat::Png, UploadFormat::Png),
        (ImageFormat::Gif, UploadFormat::Gif),
        (ImageFormat::Bmp, UploadFormat::Bmp),
        (ImageFormat::Tiff, UploadFormat::Tiff),
        (ImageFormat::Pnm, UploadFormat::Pnm),
    ] {
        let bytes = encoded(&DynamicImage::ImageRgb8(image.to_rgb8()), format);
        assert_eq!(images::inspect(&bytes).unwrap().format, expected);
        assert_eq!(texts(&bytes), [URI], "{format:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Damage anywhere in a file ends in an error, nothing, or the right payload.
    #[test]
    fn damaged_files_never_panic_or_misread(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        jpeg in any::<bool>(),
    ) {
        let image = DynamicImage::ImageLuma8(code(URI, 3));
        let format = if jpeg { ImageFormat::Jpeg } else { ImageFormat::Bmp };
        let mut bytes = encoded(&image, format);
        for (index, value) in hits {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        bytes.truncate(cut.index(bytes.len()).max(bytes.len() / 2));
        for payload in qr::read_codes(&bytes, &ReadLimits::default()).unwrap_or_default() {
            prop_assert_eq!(payload.expose(), URI);
        }
    }
}

/// Images that keep decoders busy, by kind.
fn busy(kind: u8, side: u32, scale: u32) -> GrayImage {
    let mut state = side ^ scale << 16 | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let noise: Vec<u32> = (0..8_192).map(|_| random()).collect();
    GrayImage::from_fn(side, side, |x, y| {
        let (u, v) = (x / scale, y / scale);
        let ring = |pitch: u32| {
            let away = |at: u32| (at % pitch).abs_diff(3);
            let ring = away(u).max(away(v));
            ring == 3 || ring <= 1
        };
        let dark = match kind {
            // Finder patterns and nothing else.
            0 => ring(8),
            // With noise between them.
            1 => {
                ring(23)
                    || (u % 23 > 7 && noise[(u * 31 + v * 97) as usize % 8_192].is_multiple_of(2))
            }
            2 => noise[(u * 131 + v * 8_191) as usize % 8_192].is_multiple_of(2),
            3 => u % 2 == 0,
            4 => (u + v) % 2 == 0,
            // Runs of 1:1:3:1:1 in every row.
            5 => [0, 2, 3, 4, 6].contains(&(u % 8)),
            6 => (u * u + v * v) / 64 % 2 == 0,
            _ => [0, 2, 3, 4, 6].contains(&(u % 8)) ^ [0, 2, 3, 4, 6].contains(&(v % 8)),
        };
        Luma([if dark { 0 } else { 255 }])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is in an image, the search ends soon after its deadline, and says so.
    #[test]
    fn busy_images_end_in_time(kind in 0..8_u8, side in 64..2_400_u32, scale in 1..6_u32) {
        let bytes = encoded(&DynamicImage::ImageLuma8(busy(kind, side, scale)), ImageFormat::Png);
        let limits = ReadLimits {
            deadline: Duration::from_millis(300),
            ..ReadLimits::default()
        };
        let begun = Instant::now();
        let reading = qr::examine(&bytes, &limits).unwrap();
        // One attempt may continue a little; busy machines take longer.
        prop_assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        prop_assert!(reading.payloads.is_empty() && reading.parts.is_empty());
        prop_assert!(reading.unread.len() < 2_000);
    }
}

//! Animations and files of several pages: no frame and no page is passed over in silence.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod drawn;

use std::time::Duration;

use countersign_activities::images::{ImageProblem, Pages, ReadLimits};
use countersign_activities::qr::{self, Payload, ScanResult};
use countersign_activities::shrink::shrink_within;
use drawn::{blurred, code, covered, encoded, png, split};
use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, GrayImage, ImageFormat, Luma, imageops};

const URI: &str = "otpauth://totp/GitHub:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn uri(number: u8) -> String {
    URI.replace("alice", &format!("alice-{}", char::from(b'a' + number)))
}

/// A page of one size with a code on it.
fn page(code: &GrayImage) -> GrayImage {
    let mut page = GrayImage::from_pixel(320, 300, Luma([255]));
    imageops::replace(&mut page, code, 20, 20);
    page
}

fn gif(pages: &[GrayImage]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    for page in pages {
        let page = DynamicImage::ImageLuma8(page.clone()).to_rgba8();
        encoder.encode_frame(Frame::new(page)).unwrap();
    }
    drop(encoder);
    bytes
}

/// Single pages, one behind the other, each directory pointing to the next.
fn tiff(pages: &[GrayImage]) -> Vec<u8> {
    let mut whole: Vec<u8> = Vec::new();
    let mut link = 4;
    for page in pages {
        let single = encoded(&DynamicImage::ImageLuma8(page.clone()), ImageFormat::Tiff);
        assert!(single.starts_with(b"II*\0"));
        let number = |bytes: &[u8], at: usize| {
            u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
        };
        if whole.is_empty() {
            let directory = number(&single, 4);
            whole = single;
            let count = u16::from_le_bytes([whole[directory], whole[directory + 1]]);
            link = directory + 2 + 12 * usize::from(count);
            continue;
        }
        // The same file again, with everything in it moved.
        let shift = whole.len();
        let directory = number(&single, 4);
        let count = usize::from(u16::from_le_bytes([
            single[directory],
            single[directory + 1],
        ]));
        let mut moved = single.clone();
        for entry in (0..count).map(|entry| directory + 2 + 12 * entry) {
            let tag = u16::from_le_bytes([single[entry], single[entry + 1]]);
            let kind = u16::from_le_bytes([single[entry + 2], single[entry + 3]]);
            let size = [0, 1, 1, 2, 4, 8][usize::from(kind.min(5))];
            let length = size * number(&single, entry + 4);
            // A place stands in the entry where its value does not fit, or for the strips.
            if length > 4 || tag == 273 {
                let place = number(&single, entry + 8) + shift;
                moved[entry + 8..entry + 12].copy_from_slice(&(place as u32).to_le_bytes());
                if tag == 273 && length > 4 {
                    let list = number(&single, entry + 8);
                    for at in (list..list + length).step_by(4) {
                        let strip = number(&single, at) + shift;
                        moved[at..at + 4].copy_from_slice(&(strip as u32).to_le_bytes());
                    }
                }
            }
        }
        whole[link..link + 4].copy_from_slice(&((directory + shift) as u32).to_le_bytes());
        link = shift + directory + 2 + 12 * count;
        whole.extend(moved);
    }
    whole
}

fn examine(bytes: &[u8]) -> ScanResult {
    let limits = ReadLimits {
        deadline: Duration::from_secs(60),
        ..ReadLimits::default()
    };
    qr::examine(bytes, &limits).unwrap()
}

fn texts(found: &ScanResult) -> Vec<&str> {
    found.payloads.iter().map(Payload::expose).collect()
}

#[test]
fn every_frame_and_every_page_is_read() {
    let (one, two, three) = (uri(0), uri(1), uri(2));
    let [first, second, third] = [&one, &two, &three].map(|uri| page(&code(uri)));
    let parts: Vec<GrayImage> = split(URI.as_bytes(), 2)
        .into_iter()
        .map(|part| page(&part.draw(4)))
        .collect();
    let blank = GrayImage::from_pixel(320, 300, Luma([255]));
    // As a pointer does it.
    let touched = covered(&first, (300, 280), (5, 5), 0);
    let soft = page(&blurred(&code(&one), 12.0));
    let hidden = page(&covered(&code(&two), (40, 60), (90, 60), 255));
    let frames: Vec<(&str, Vec<&GrayImage>, Vec<&str>, bool)> = vec![
        ("one", vec![&first], vec![&one], false),
        ("two", vec![&first, &second], vec![&one, &two], false),
        (
            "a blank one first",
            vec![&blank, &second],
            vec![&two],
            false,
        ),
        (
            "three and again",
            vec![&first, &second, &third, &first],
            vec![&one, &two, &three],
            false,
        ),
        ("the same all along", vec![&first; 100], vec![&one], true),
        (
            "a pointer",
            vec![&first, &touched, &first],
            vec![&one],
            false,
        ),
        ("parts", vec![&parts[0], &parts[1]], vec![URI], false),
    ];
    for (name, pages, expected, is_too_long) in frames {
        let pages: Vec<GrayImage> = pages.into_iter().cloned().collect();
        for (kind, bytes) in [("GIF", gif(&pages)), ("TIFF", tiff(&pages))] {
            let found = examine(&bytes);
            assert_eq!(texts(&found), expected, "{kind}: {name}");
            assert!(!found.cut_short, "{kind}: {name}");
            let seen = if is_too_long { 64 } else { pages.len() };
            let expected = Pages {
                count: pages.len(),
                seen,
                is_damaged: false,
            };
            assert_eq!(found.pages, expected, "{kind}: {name}");
            assert!(
                found.unread.is_empty() && found.split.is_empty(),
                "{kind}: {name}"
            );
        }
    }
    // Out of focus first: the animation shows it well later, on paper it is another code.
    let pages = [soft.clone(), first.clone()];
    let found = examine(&gif(&pages));
    assert!(!found.cut_short && found.unread.is_empty());
    assert_eq!(texts(&found), [&one]);
    let found = examine(&tiff(&[first.clone(), hidden]));
    assert_eq!(texts(&found), [&one]);
    assert_eq!((found.unread.len(), found.unread_elsewhere), (0, 1));
    let parts = examine(&gif(&parts[..1]));
    assert!(parts.payloads.is_empty() && parts.split.len() == 1);
}

#[test]
fn frames_are_counted_as_they_are_decoded() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/qr/gen");
    for name in [
        "gif-animated-first.gif",
        "apng-first.png",
        "webp-animated-first.webp",
    ] {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let pages = examine(&bytes).pages;
        assert!(pages.count > 1 && !pages.is_damaged, "{name}: {pages:?}");
        assert_eq!(pages.seen, pages.count, "{name}");
    }
}

#[test]
fn too_many_frames_and_damaged_files_are_reported() {
    let many: Vec<GrayImage> = (0..20).map(|number| page(&code(&uri(number)))).collect();
    for bytes in [gif(&many), tiff(&many)] {
        let found = examine(&bytes);
        assert_eq!(found.payloads.len(), 16);
        let expected = Pages {
            count: 20,
            seen: 16,
            is_damaged: false,
        };
        assert_eq!(found.pages, expected);
    }
    let mut cut = tiff(&many[..2]);
    cut.truncate(cut.len() - 40);
    let found = examine(&cut);
    assert_eq!(texts(&found), [uri(0)]);
    let expected = Pages {
        count: 2,
        seen: 1,
        is_damaged: true,
    };
    assert_eq!(found.pages, expected);
    // A directory that points to itself.
    let mut circle = tiff(&many[..1]);
    let directory = u32::from_le_bytes(circle[4..8].try_into().unwrap());
    let at = directory as usize;
    let count = usize::from(u16::from_le_bytes([circle[at], circle[at + 1]]));
    circle[at + 2 + 12 * count..at + 6 + 12 * count].copy_from_slice(&directory.to_le_bytes());
    let refused = qr::examine(&circle, &ReadLimits::default());
    assert_eq!(refused.err(), Some(ImageProblem::Unreadable));
    // A result that fits has one frame only.
    let limits = ReadLimits {
        deadline: Duration::from_secs(60),
        ..ReadLimits::default()
    };
    let bytes = tiff(&many[..2]);
    let refused = shrink_within(&bytes, bytes.len() - 1, &limits);
    assert!(matches!(refused, Err(ImageProblem::TooManyBytes { .. })));
    let single = png(&many[0]);
    assert!(shrink_within(&single, single.len(), &limits).is_ok());
}

#[test]
fn a_text_that_is_there_whole_and_in_parts_is_returned_once() {
    let mut page = GrayImage::from_pixel(600, 500, Luma([255]));
    imageops::replace(&mut page, &code(URI), 10, 10);
    for (number, part) in (0..).zip(split(URI.as_bytes(), 2)) {
        imageops::replace(&mut page, &part.draw(4), 10 + 250 * number, 250);
    }
    let found = examine(&png(&page));
    assert_eq!(texts(&found), [URI]);
    assert!(found.split.is_empty());
}

//! Where codes are in an image, in which order they are told, and what is told of a
//! image without any.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Cursor;
use std::time::Duration;

use countersign_activities::images::{self, ReadLimits};
use countersign_activities::qr::{self, ScanResult, Step};
use image::{DynamicImage, GrayImage, ImageFormat, Luma};
use qrcode::QrCode;

fn patient() -> ReadLimits {
    ReadLimits {
        deadline: Duration::from_secs(30),
        ..ReadLimits::default()
    }
}

fn code(text: &str) -> GrayImage {
    QrCode::new(text)
        .unwrap()
        .render::<Luma<u8>>()
        .module_dimensions(4, 4)
        .build()
}

/// A white page with codes at places.
fn page(width: u32, height: u32, codes: &[(&str, i64, i64)]) -> GrayImage {
    let mut page = GrayImage::from_pixel(width, height, Luma([255]));
    for (text, x, y) in codes {
        image::imageops::overlay(&mut page, &code(text), *x, *y);
    }
    page
}

fn encoded(image: GrayImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageLuma8(image)
        .write_to(&mut bytes, format)
        .unwrap();
    bytes.into_inner()
}

fn texts(reading: &ScanResult) -> Vec<&str> {
    reading.payloads.iter().map(qr::Payload::expose).collect()
}

const A: &str = "otpauth://totp/a?secret=GEZDGNBV";
const B: &str = "otpauth://totp/b?secret=GEZDGNBV";
const C: &str = "otpauth://totp/c?secret=GEZDGNBV";
const D: &str = "otpauth://totp/d?secret=GEZDGNBV";

#[test]
fn all_codes_are_reported_once_in_reading_order_with_their_places() {
    let picture = page(
        700,
        1000,
        &[
            (C, 20, 350),
            (B, 400, 12),
            (D, 380, 340),
            (A, 30, 30),
            (A, 200, 720),
        ],
    );
    let reading = qr::examine(&encoded(picture, ImageFormat::Png), &patient()).unwrap();
    let mut told = texts(&reading);
    // The repeated one stands where it was read first, in either place.
    told.dedup();
    assert_eq!(told.iter().filter(|text| **text == A).count(), 1);
    let rest: Vec<&str> = told.into_iter().filter(|text| *text != A).collect();
    assert_eq!(rest, [B, C, D]);
    let b = reading.payloads.iter().find(|it| it.expose() == B).unwrap();
    let [x, y] = b.region().unwrap().centre();
    let [tl, tr, br, bl] = b.region().unwrap().corners;
    assert!(
        tl[0] < tr[0] && tr[1] < br[1] && br[0] > bl[0] && bl[1] > tl[1],
        "clockwise"
    );
    let side = f64::from(code(B).width()) / 2.0;
    let near = |units: u16, pixels: f64, whole: f64| {
        (f64::from(units) / 10_000.0 * whole - pixels).abs() < 12.0
    };
    assert!(near(x, 400.0 + side, 700.0), "{x}");
    assert!(near(y, 12.0 + side, 1000.0), "{y}");
}

/// A JPEG with an Exif tag that says how to turn it (Exif 2.3, tag 0x0112).
fn jpeg_with_orientation(image: GrayImage, orientation: u8) -> Vec<u8> {
    let jpeg = encoded(image, ImageFormat::Jpeg);
    let mut tiff = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    tiff.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend([0xff, 0xe1]);
    bytes.extend((tiff.len() as u16 + 2).to_be_bytes());
    bytes.extend(tiff);
    bytes.extend(&jpeg[2..]);
    bytes
}

#[test]
fn places_are_those_of_the_image_as_it_is_seen() {
    let stored = || page(600, 400, &[(A, 20, 20)]);
    for (orientation, corner, size) in [
        (1, [0, 0], [600, 400]),
        (2, [1, 0], [600, 400]),
        (3, [1, 1], [600, 400]),
        (4, [0, 1], [600, 400]),
        (5, [0, 0], [400, 600]),
        (6, [1, 0], [400, 600]),
        (7, [1, 1], [400, 600]),
        (8, [0, 1], [400, 600]),
    ] {
        let bytes = jpeg_with_orientation(stored(), orientation);
        let opened = images::open(&bytes, &patient()).unwrap();
        assert_eq!(
            [opened.info.width, opened.info.height],
            size,
            "{orientation}"
        );
        let reading = qr::examine(&bytes, &patient()).unwrap();
        assert_eq!(texts(&reading), [A], "{orientation}");
        let centre = reading.payloads[0].region().unwrap().centre();
        let half = centre.map(|units| u32::from(units > 5_000));
        assert_eq!(half, corner, "{orientation}: {centre:?}");
    }
}

#[test]
fn an_image_without_a_code_reports_what_was_tried_and_seen() {
    let blank = encoded(
        GrayImage::from_pixel(200, 200, Luma([255])),
        ImageFormat::Png,
    );
    let reading = qr::examine(&blank, &patient()).unwrap();
    assert!(reading.payloads.is_empty() && reading.unread.is_empty());
    assert!(!reading.out_of_time);
    assert_eq!(reading.tried.first(), Some(&Step::Native));
    assert!(reading.tried.contains(&Step::Quircs));

    // A code whose middle is painted over is seen and not read.
    let mut broken = page(500, 500, &[(A, 100, 150)]);
    let side = code(A).width();
    for y in 0..side - 70 {
        for x in 0..side - 70 {
            let grey = if (x / 8 + y / 8) % 2 == 0 { 0 } else { 255 };
            broken.put_pixel(135 + x, 185 + y, Luma([grey]));
        }
    }
    // Its finder patterns stay.
    let whole = code(A);
    for (corner_x, corner_y) in [(0, 0), (side - 48, 0), (0, side - 48)] {
        for y in 0..48 {
            for x in 0..48 {
                let pixel = whole.get_pixel(corner_x + x, corner_y + y);
                broken.put_pixel(100 + corner_x + x, 150 + corner_y + y, *pixel);
            }
        }
    }
    let reading = qr::examine(&encoded(broken, ImageFormat::Png), &patient()).unwrap();
    assert!(reading.payloads.is_empty(), "{:?}", reading.payloads);
    let region = reading.unread.first().expect("it is seen");
    let [x, y] = region.centre();
    assert!(
        (2_000..4_500).contains(&x) && (3_000..5_500).contains(&y),
        "{region:?}"
    );
}

#[test]
fn a_search_that_the_deadline_ends_says_so() {
    let blank = encoded(
        GrayImage::from_pixel(200, 200, Luma([255])),
        ImageFormat::Png,
    );
    let hurried = ReadLimits {
        deadline: Duration::ZERO,
        ..ReadLimits::default()
    };
    let reading = qr::examine(&blank, &hurried).unwrap();
    assert!(reading.out_of_time && reading.tried.is_empty());
}

//! What is there and was not read is told with its place; what is not there is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod drawn;

use std::time::Duration;

use countersign_activities::images::ReadLimits;
use countersign_activities::qr::{self, ScanResult};
use drawn::{blurred, code, code_of, covered, png, sheet};
use image::{GrayImage, Luma, imageops};

fn examine(picture: &GrayImage) -> ScanResult {
    let limits = ReadLimits {
        deadline: Duration::from_secs(30),
        ..ReadLimits::default()
    };
    qr::examine(&png(picture), &limits).unwrap()
}

fn uri(number: usize) -> String {
    let letter = char::from(b'A' + number as u8);
    format!(
        "otpauth://totp/Service-{letter}:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJ{letter}&issuer=Service-{letter}"
    )
}

/// A code with its border.
fn account(number: usize) -> GrayImage {
    code(&uri(number))
}

/// A spoiled code, by name.
type Spoiled = (&'static str, fn(&GrayImage) -> GrayImage);

const SPOILED: [Spoiled; 24] = [
    ("blurred by a module", |it| blurred(it, 4.0)),
    ("blurred by one and a half", |it| blurred(it, 6.0)),
    ("blurred by two", |it| blurred(it, 8.0)),
    ("blurred by three", |it| blurred(it, 12.0)),
    ("covered in the middle", |it| {
        let side = it.width();
        covered(it, (side / 4, side / 4), (side / 2, side / 2), 255)
    }),
    ("covered with black", |it| {
        let side = it.width();
        covered(it, (side / 4, side / 4), (side / 2, side / 2), 0)
    }),
    ("covered with grey", |it| {
        let side = it.width();
        covered(it, (side / 3, side / 5), (side / 2, side / 2), 128)
    }),
    ("without its first finder pattern", |it| {
        covered(it, (0, 0), (50, 50), 255)
    }),
    ("without its second finder pattern", |it| {
        covered(it, (it.width() - 50, 0), (50, 50), 255)
    }),
    ("without its third finder pattern", |it| {
        covered(it, (0, it.height() - 50), (50, 50), 255)
    }),
    ("its left half covered", |it| {
        covered(it, (0, 0), (it.width() / 2, it.height()), 255)
    }),
    ("its right half covered", |it| {
        covered(it, (it.width() / 2, 0), (it.width() / 2, it.height()), 255)
    }),
    ("its upper half covered", |it| {
        covered(it, (0, 0), (it.width(), it.height() / 2), 255)
    }),
    ("its lower half covered with black", |it| {
        covered(it, (0, it.height() / 2), (it.width(), it.height() / 2), 0)
    }),
    ("a stripe across it", |it| {
        covered(it, (0, it.height() / 2 - 20), (it.width(), 40), 255)
    }),
    ("a stripe down it", |it| {
        covered(it, (it.width() / 2 - 20, 0), (40, it.height()), 0)
    }),
    ("noise in it", |it| {
        let mut state = 7_u32;
        let mut noisy = it.clone();
        for pixel in noisy.pixels_mut() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 24 < 100 {
                *pixel = Luma([255 - pixel[0]]);
            }
        }
        // The finder patterns stay, as they do under dirt that is not all over.
        for (x, y) in [(0, 0), (it.width() - 48, 0), (0, it.height() - 48)] {
            let finder = imageops::crop_imm(it, x, y, 48, 48).to_image();
            imageops::replace(&mut noisy, &finder, i64::from(x), i64::from(y));
        }
        noisy
    }),
    ("turned and covered", |it| {
        let side = it.width();
        imageops::rotate90(&covered(
            it,
            (side / 4, side / 4),
            (side / 2, side / 2),
            255,
        ))
    }),
    ("turned, without a finder pattern", |it| {
        imageops::rotate180(&covered(it, (0, 0), (50, 50), 255))
    }),
    ("mirrored and covered", |it| {
        let side = it.width();
        imageops::flip_horizontal(&covered(
            it,
            (side / 4, side / 4),
            (side / 2, side / 2),
            255,
        ))
    }),
    ("pale and covered", |it| {
        let side = it.width();
        let mut pale = covered(it, (side / 4, side / 4), (side / 2, side / 2), 255);
        pale.pixels_mut()
            .for_each(|pixel| *pixel = Luma([150 + pixel[0] / 3]));
        pale
    }),
    ("smaller and blurred", |it| {
        let small = imageops::thumbnail(it, it.width() * 2 / 3, it.height() * 2 / 3);
        blurred(&small, 5.0)
    }),
    ("larger and blurred", |it| {
        let large = imageops::resize(
            it,
            it.width() * 3 / 2,
            it.height() * 3 / 2,
            imageops::FilterType::Triangle,
        );
        blurred(&large, 9.0)
    }),
    ("its format hidden", |it| {
        let mut hidden = covered(it, (16, 48), (80, 6), 255);
        hidden = covered(&hidden, (48, 16), (6, 80), 255);
        covered(&hidden, (60, 60), (60, 60), 255)
    }),
];

/// A page whose codes are accounts, of which one is spoiled and does not say anything.
fn page(count: usize, columns: usize, at: usize, spoil: fn(&GrayImage) -> GrayImage) -> GrayImage {
    let codes: Vec<GrayImage> = (0..count)
        .map(|number| {
            let code = account(number);
            if number == at { spoil(&code) } else { code }
        })
        .collect();
    sheet(&codes, columns)
}

#[test]
fn the_one_that_was_not_read_is_reported_with_its_place() {
    let mut missed = Vec::new();
    for (name, spoil) in SPOILED {
        for (count, columns, at) in [(2, 2, 0), (2, 1, 1), (6, 3, 4), (6, 2, 0)] {
            let page = page(count, columns, at, spoil);
            let reading = examine(&page);
            if reading.payloads.len() != count - 1 {
                missed.push(format!(
                    "{name}, {at} of {count}: {} read",
                    reading.payloads.len()
                ));
                continue;
            }
            let rows = count.div_ceil(columns);
            let middle = [(at % columns, columns), (at / columns, rows)]
                .map(|(place, places)| (2 * place + 1) as f64 / (2 * places) as f64 * 10_000.0);
            let is_there = |region: &countersign_enrollment::region::Region| {
                let [start, end] = region.bounds();
                (0..2).all(|axis| {
                    let (start, end) = (f64::from(start[axis]), f64::from(end[axis]));
                    let slack = 0.15 * 10_000.0 / if axis == 0 { columns } else { rows } as f64;
                    start - slack <= middle[axis] && middle[axis] <= end + slack
                })
            };
            if reading.unread.len() != 1 || !reading.unread.iter().all(is_there) {
                missed.push(format!("{name}, {at} of {count}: {:?}", reading.unread));
            }
        }
    }
    assert!(
        missed.is_empty(),
        "{} of 96:\n{}",
        missed.len(),
        missed.join("\n")
    );
}

#[test]
fn a_code_that_the_edge_cuts_is_reported() {
    let side = i64::from(account(1).width());
    let mut missed = Vec::new();
    for cut in [25, 35, 45, 55, 65] {
        let out = side * cut / 100;
        for (edge, x, y) in [
            ("left", -out, 40),
            ("right", 600 - side + out, 40),
            ("top", 300, -out),
            ("bottom", 300, 400 - side + out),
        ] {
            let mut page = GrayImage::from_pixel(600, 400, Luma([255]));
            let (whole_x, whole_y) = match edge {
                "left" => (350, 100),
                "right" => (40, 100),
                _ => (30, 110),
            };
            imageops::replace(&mut page, &account(0), whole_x, whole_y);
            imageops::replace(&mut page, &account(1), x, y);
            let reading = examine(&page);
            assert_eq!(reading.payloads.len(), 1, "{edge} {cut}");
            if reading.unread.len() != 1 {
                missed.push(format!("{edge} {cut} %: {:?}", reading.unread));
            }
        }
    }
    assert!(
        missed.is_empty(),
        "{}:\n{}",
        missed.len(),
        missed.join("\n")
    );
}

#[test]
fn sheets_of_many_codes_are_read_whole() {
    for (count, columns) in [
        (1, 1),
        (53, 6),
        (54, 6),
        (55, 5),
        (60, 10),
        (96, 8),
        (130, 10),
        (200, 20),
    ] {
        let codes: Vec<GrayImage> = (0..count)
            .map(|number| {
                // Numbers in letters, so that no two are alike.
                let letter = |value: usize| char::from(b'A' + (value % 26) as u8);
                let name: String = [number / 26, number].map(letter).iter().collect();
                code_of(
                    &format!("otpauth://totp/Sheet:{name}?secret=GEZDGNBVGY3TQOJQ{name}CDEF"),
                    3,
                )
            })
            .collect();
        let reading = examine(&sheet(&codes, columns));
        assert_eq!(reading.payloads.len(), count);
        assert!(reading.unread.is_empty() && !reading.cut_short, "{count}");
    }
}

/// Lines of what looks like text, at any size.
fn text_like(page: &mut GrayImage, left: u32, top: u32, width: u32, height: u32, size: u32) {
    let mut state = left ^ top << 8 ^ size << 16 | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    for line in (top..top + height).step_by(2 * size as usize) {
        let mut x = left;
        while x + size < left + width {
            let glyph = random();
            for row in 0..5 {
                for column in 0..3 {
                    if glyph >> (row * 3 + column) & 1 == 1 {
                        let unit = size / 5;
                        for y in 0..unit {
                            for dx in 0..unit {
                                let (x, y) = (x + column * unit + dx, line + row * unit + y);
                                if x < page.width() && y < page.height() {
                                    page.put_pixel(x, y, Luma([30]));
                                }
                            }
                        }
                    }
                }
            }
            x += size * 4 / 5 + if glyph >> 28 == 0 { size } else { 0 };
        }
    }
}

/// Rings and squares in each other, as buttons and logos are.
fn target(page: &mut GrayImage, x: u32, y: u32, size: u32, round: bool) {
    for row in 0..size {
        for column in 0..size {
            let away =
                |value: u32| (value as f32 + 0.5 - size as f32 / 2.0).abs() / size as f32 * 7.0;
            let distance = if round {
                away(row).hypot(away(column))
            } else {
                away(row).max(away(column))
            };
            let is_dark = distance <= 1.5 || (2.5..3.5).contains(&distance);
            page.put_pixel(x + column, y + row, Luma([if is_dark { 0 } else { 255 }]));
        }
    }
}

#[test]
fn what_is_no_code_is_not_reported() {
    let page = || GrayImage::from_pixel(900, 700, Luma([250]));
    let with_code = |mut page: GrayImage| {
        imageops::replace(&mut page, &account(3), 40, 40);
        page
    };
    let mut pages: Vec<(String, GrayImage)> = Vec::new();
    for size in [5, 10, 15, 20, 30, 40] {
        let mut text = page();
        text_like(&mut text, 300, 20, 580, 660, size);
        text_like(&mut text, 20, 300, 260, 380, size);
        pages.push((format!("text of {size}"), with_code(text)));
    }
    for (round, size) in [
        (true, 21),
        (true, 28),
        (true, 49),
        (false, 21),
        (false, 35),
        (false, 63),
    ] {
        let mut targets = page();
        for (x, y) in [(320, 60), (560, 60), (320, 300)] {
            target(&mut targets, x, y, size, round);
            text_like(&mut targets, x + size + 8, y, 140, size, size.min(20));
        }
        pages.push((format!("targets of {size}, {round}"), with_code(targets)));
    }
    for grey in [60, 128, 190] {
        let side = account(3).width();
        pages.push((
            format!("a square of {grey}"),
            covered(&with_code(page()), (400, 60), (side, side), grey),
        ));
    }
    for period in [2, 4, 7, 12, 20] {
        let mut lines = page();
        for (x, y, pixel) in lines.enumerate_pixels_mut() {
            let is_in = (400..600).contains(&x) && (60..260).contains(&y);
            let is_board = (420..620).contains(&x) && (400..600).contains(&y);
            let dark =
                is_in && x / period % 2 == 0 || is_board && (x / period + y / period) % 2 == 0;
            if dark {
                *pixel = Luma([20]);
            }
        }
        pages.push((format!("stripes and squares of {period}"), with_code(lines)));
    }
    let mut smooth = page();
    for (x, y, pixel) in smooth.enumerate_pixels_mut() {
        if (400..580).contains(&x) && (60..240).contains(&y) {
            let wave = (x as f32 / 23.0).sin() * (y as f32 / 31.0).cos();
            *pixel = Luma([(128.0 + 100.0 * wave) as u8]);
        }
    }
    pages.push(("a soft photograph".to_owned(), with_code(smooth)));
    assert!(pages.len() >= 20);
    let mut phantoms = Vec::new();
    for (name, page) in pages {
        let reading = examine(&page);
        assert_eq!(reading.payloads.len(), 1, "{name}");
        assert!(!reading.cut_short, "{name}");
        if !reading.unread.is_empty() {
            phantoms.push(format!("{name}: {:?}", reading.unread));
        }
    }
    assert!(phantoms.is_empty(), "{}", phantoms.join("\n"));
}

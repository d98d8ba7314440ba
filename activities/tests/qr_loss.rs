//! Nothing that can be seen is lost in silence: damage of many kinds to one code among others is
//! reported, and no part of a text that is split passes for the whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod drawn;

use std::time::Duration;

use countersign_activities::images::ReadLimits;
use countersign_activities::qr::{self, ScanResult};
use countersign_enrollment::problem::InputProblem;
use drawn::photo::Dice;
use drawn::{BitText, MODULE, code, covered, png, sheet, split};
use image::{GrayImage, Luma, imageops};

fn examine(picture: &GrayImage) -> ScanResult {
    let limits = ReadLimits {
        deadline: Duration::from_secs(30),
        ..ReadLimits::default()
    };
    qr::examine(&png(picture), &limits).unwrap()
}

fn account(number: usize) -> GrayImage {
    let letter = |value: usize| char::from(b'A' + (value % 26) as u8);
    let name: String = [number / 26, number].map(letter).iter().collect();
    code(&format!(
        "otpauth://totp/Service-{name}:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3T{name}&issuer=Service-{name}"
    ))
}

/// Each pixel changed by its place; both go from 0 to 1.
fn changed(code: &GrayImage, change: impl Fn(f32, f32, f32) -> f32) -> GrayImage {
    let side = code.width() as f32;
    let mut changed = code.clone();
    for (x, y, pixel) in changed.enumerate_pixels_mut() {
        let value = change(x as f32 / side, y as f32 / side, f32::from(pixel[0]));
        pixel[0] = value.clamp(0.0, 255.0) as u8;
    }
    changed
}

/// A lamp in glossy paper: everything in it is white.
fn glare(code: &GrayImage, x: f32, y: f32, size: f32) -> GrayImage {
    changed(code, |u, v, value| {
        let away = (u - x).hypot(v - y) / size;
        value + 600.0 * (-away * away).exp()
    })
}

/// The finder patterns with these numbers covered, from the top left clockwise.
fn without(code: &GrayImage, finders: &[usize], grey: u8) -> GrayImage {
    let far = code.width() - 13 * MODULE;
    let places = [
        (2 * MODULE, 2 * MODULE),
        (far + 2 * MODULE, 2 * MODULE),
        (2 * MODULE, far + 2 * MODULE),
    ];
    finders.iter().fold(code.clone(), |code, index| {
        let (x, y) = places[*index];
        covered(&code, (x, y), (9 * MODULE, 9 * MODULE), grey)
    })
}

/// On a larger white square, turned around its middle.
fn turned(code: &GrayImage, degrees: f32) -> GrayImage {
    let side = code.width() as f32;
    let whole = (side * 1.42) as u32;
    let (sin, cos) = degrees.to_radians().sin_cos();
    GrayImage::from_fn(whole, whole, |x, y| {
        let middle = whole as f32 / 2.0;
        let (x, y) = (x as f32 - middle, y as f32 - middle);
        let (u, v) = (
            x * cos - y * sin + side / 2.0,
            x * sin + y * cos + side / 2.0,
        );
        let is_in = u >= 0.0 && v >= 0.0 && u < side && v < side;
        if is_in {
            *code.get_pixel(u as u32, v as u32)
        } else {
            Luma([255])
        }
    })
}

fn moved(code: &GrayImage, modules: u32) -> GrayImage {
    let length = modules * MODULE;
    GrayImage::from_fn(code.width(), code.height(), |x, y| {
        let sum: u32 = (0..length)
            .map(|by| u32::from(code.get_pixel((x + by).min(code.width() - 1), y)[0]))
            .sum();
        Luma([(sum / length) as u8])
    })
}

type Spoiled = (&'static str, fn(&GrayImage) -> GrayImage);

const SPOILED: [Spoiled; 24] = [
    ("a weak glare in the middle", |it| glare(it, 0.5, 0.5, 0.14)),
    ("a glare in the middle", |it| glare(it, 0.5, 0.5, 0.2)),
    ("a strong glare in the middle", |it| {
        glare(it, 0.5, 0.5, 0.26)
    }),
    ("a glare on a corner", |it| glare(it, 0.2, 0.2, 0.2)),
    ("a glare on the last corner", |it| {
        glare(it, 0.75, 0.75, 0.24)
    }),
    ("a glare on an edge", |it| glare(it, 0.5, 0.1, 0.26)),
    ("a glare over half of it", |it| glare(it, 0.1, 0.5, 0.4)),
    ("the upper finders covered", |it| without(it, &[0, 1], 255)),
    ("the left finders covered", |it| without(it, &[0, 2], 255)),
    ("two finders covered across", |it| without(it, &[1, 2], 255)),
    ("all finders covered", |it| without(it, &[0, 1, 2], 255)),
    ("all finders covered with black", |it| {
        without(it, &[0, 1, 2], 0)
    }),
    ("all finders covered with grey", |it| {
        without(it, &[0, 1, 2], 140)
    }),
    ("two finders covered with black", |it| {
        without(it, &[0, 1], 0)
    }),
    ("shaken by two modules", |it| moved(it, 2)),
    ("shaken by three modules", |it| moved(it, 3)),
    ("half of it torn off across", |it| {
        changed(it, |u, v, value| if u + v > 1.0 { 255.0 } else { value })
    }),
    ("the other half torn off", |it| {
        changed(it, |u, v, value| if u + v < 1.0 { 255.0 } else { value })
    }),
    ("half of it black across", |it| {
        changed(it, |u, v, value| if u > v { 0.0 } else { value })
    }),
    ("turned by 30 degrees and covered", |it| {
        let side = it.width();
        turned(
            &covered(it, (side / 4, side / 4), (side / 2, side / 2), 255),
            30.0,
        )
    }),
    ("turned by 45 degrees, without a finder", |it| {
        turned(&without(it, &[0], 255), 45.0)
    }),
    ("light on dark and covered", |it| {
        let side = it.width();
        let mut code = covered(it, (side / 4, side / 4), (side / 2, side / 2), 255);
        imageops::invert(&mut code);
        code
    }),
    ("crossed out", |it| {
        changed(it, |u, v, value| {
            let crossed = (u - v).abs() < 0.06 || (u + v - 1.0).abs() < 0.06;
            if crossed { 0.0 } else { value }
        })
    }),
    ("in deep shade and covered", |it| {
        let side = it.width();
        let code = covered(it, (side / 4, side / 4), (side / 2, side / 2), 255);
        changed(&code, |_, _, value| 20.0 + value * 0.3)
    }),
];

#[test]
fn damage_to_one_code_of_several_is_reported() {
    let mut missed = Vec::new();
    for (name, spoil) in SPOILED {
        for (count, columns, at) in [(2, 2, 1), (6, 3, 1)] {
            let codes: Vec<GrayImage> = (0..count)
                .map(|number| {
                    let code = account(number);
                    if number == at { spoil(&code) } else { code }
                })
                .collect();
            let reading = examine(&sheet(&codes, columns));
            let (read, unread) = (reading.payloads.len(), reading.unread.len());
            // What is left of some is enough to read them.
            if read + unread != count || unread > 1 {
                missed.push(format!(
                    "{name}, one of {count}: {read} read, {unread} unread"
                ));
            }
        }
    }
    assert!(
        missed.is_empty(),
        "{} of 48:\n{}",
        missed.len(),
        missed.join("\n")
    );
}

#[test]
fn one_of_a_sheet_of_many_is_reported() {
    for (count, columns, at) in [(54, 6, 0), (54, 6, 53), (60, 10, 31), (96, 8, 50)] {
        let codes: Vec<GrayImage> = (0..count)
            .map(|number| {
                let code = account(number);
                let side = code.width();
                if number == at {
                    covered(&code, (side / 4, side / 4), (side / 2, side / 2), 255)
                } else {
                    code
                }
            })
            .collect();
        let reading = examine(&sheet(&codes, columns));
        assert_eq!(reading.payloads.len(), count - 1, "{count}");
        assert_eq!(reading.unread.len(), 1, "{at} of {count}");
    }
}

#[test]
fn a_code_that_an_edge_cuts_a_little_is_read_or_reported() {
    let side = i64::from(account(1).width());
    let mut missed = Vec::new();
    for cut in [10, 15, 20] {
        let out = side * cut / 100;
        let places = [
            ("left", -out, 60),
            ("right", 700 - side + out, 60),
            ("top", 300, -out),
            ("bottom", 300, 400 - side + out),
        ];
        for (edge, x, y) in places {
            let mut page = GrayImage::from_pixel(700, 400, Luma([255]));
            let whole = match edge {
                "left" => (450, 100),
                "right" => (40, 100),
                _ => (30, 110),
            };
            imageops::replace(&mut page, &account(0), whole.0, whole.1);
            imageops::replace(&mut page, &account(1), x, y);
            let reading = examine(&page);
            let (read, unread) = (reading.payloads.len(), reading.unread.len());
            // What lost only its border and a little of itself may still be read.
            if read + unread != 2 {
                missed.push(format!("{edge} {cut} %: {read} read, {unread} unread"));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

const URI: &[u8] = b"otpauth://totp/Example:alice@example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Example";

fn drawn_parts(parts: Vec<BitText>) -> Vec<GrayImage> {
    parts.into_iter().map(|part| part.draw(MODULE)).collect()
}

#[test]
fn a_text_of_any_number_of_parts_is_joined_in_any_order_and_never_without_one() {
    let mut dice = Dice::new(15);
    for of in 2..=16 {
        let mut parts = drawn_parts(split(URI, of));
        for index in (1..parts.len()).rev() {
            parts.swap(index, (dice.roll() * index as f32) as usize);
        }
        // One of them is there twice.
        parts.push(parts[0].clone());
        let reading = examine(&sheet(&parts, 4));
        let texts: Vec<&str> = reading.payloads.iter().map(qr::Payload::expose).collect();
        assert_eq!(texts, [str::from_utf8(URI).unwrap()], "{of} parts");
        assert!(
            reading.split.is_empty() && reading.unread.is_empty(),
            "{of} parts"
        );

        let missing = (dice.roll() * of as f32) as usize;
        let mut parts = drawn_parts(split(URI, of));
        parts.remove(missing);
        let reading = examine(&sheet(&parts, 4));
        assert!(reading.payloads.is_empty(), "{of} parts");
        let told = format!("{:?}", reading.split);
        assert!(
            matches!(reading.split[..], [InputProblem::CodePartsMissing { .. }]),
            "{of} parts: {told}"
        );
    }
}

#[test]
fn a_covered_part_is_one_that_is_missing() {
    for (of, at) in [(2, 0), (2, 1), (4, 2), (9, 8), (16, 7)] {
        let mut parts = drawn_parts(split(URI, of));
        let side = parts[at].width();
        parts[at] = covered(&parts[at], (side / 3, side / 3), (side / 2, side / 2), 255);
        parts.push(account(0));
        let reading = examine(&sheet(&parts, 4));
        assert_eq!(reading.payloads.len(), 1, "{at} of {of}");
        assert!(!reading.split.is_empty(), "{at} of {of}");
    }
}

#[test]
fn parts_of_two_texts_and_of_a_wrong_one_do_not_mix() {
    let other = String::from_utf8_lossy(URI).replace("alice", "clara");
    let mut parts = drawn_parts(split(URI, 3));
    parts.extend(drawn_parts(split(other.as_bytes(), 4)));
    parts.push(account(7));
    parts.rotate_left(2);
    let reading = examine(&sheet(&parts, 4));
    let mut texts: Vec<&str> = reading.payloads.iter().map(qr::Payload::expose).collect();
    texts.sort_unstable();
    assert_eq!(texts.len(), 3);
    assert!(texts.contains(&other.as_str()) && reading.split.is_empty());

    // The parity that one part tells is another's.
    let mut parts = split(URI, 3);
    let place = 2 * URI.len() / 3;
    let wrong = drawn::parity(URI) ^ 0x5a;
    parts[2] = BitText::default().part(2, 3, wrong).bytes(&URI[place..]);
    let reading = examine(&sheet(&drawn_parts(parts), 2));
    assert!(reading.payloads.is_empty() && !reading.split.is_empty());

    // All of them agree on a parity that the text does not have.
    let parts = (0..3).map(|index| {
        let bytes = &URI[index * URI.len() / 3..(index + 1) * URI.len() / 3];
        BitText::default().part(index, 3, wrong).bytes(bytes)
    });
    let reading = examine(&sheet(&drawn_parts(parts.collect()), 2));
    assert!(reading.payloads.is_empty() && !reading.split.is_empty());
}

/// What stands beside codes on real pages and is none.
#[test]
fn bars_boards_grids_and_grain_are_not_reported() {
    let place = |x: u32, y: u32| (320..500).contains(&x) && (60..240).contains(&y);
    let mut dice = Dice::new(77);
    let mut grain: Vec<f32> = (0..180 * 180).map(|_| dice.roll()).collect();
    grain.rotate_left(3);
    let widths: Vec<u32> = (0..200).map(|_| 1 + (dice.roll() * 4.0) as u32).collect();
    let bar = move |unit: u32, at: u32| {
        let mut end = 0;
        widths.iter().position(|width| {
            end += width * unit;
            at < end
        })
    };
    let mut pages: Vec<(String, GrayImage)> = Vec::new();
    let mut add = |name: String, dark: &dyn Fn(u32, u32) -> u8| {
        let mut page = GrayImage::from_fn(620, 320, |x, y| {
            Luma([if place(x, y) {
                dark(x - 320, y - 60)
            } else {
                255
            }])
        });
        imageops::replace(&mut page, &account(3), 30, 40);
        pages.push((name, page));
    };
    let ink = |dark: bool| if dark { 0 } else { 255 };
    for unit in [2, 3, 4, 6] {
        add(format!("bars of {unit}"), &|x, _| {
            ink(bar(unit, x).is_some_and(|it| it % 2 == 0))
        });
        add(format!("bars across of {unit}"), &|_, y| {
            ink(bar(unit, y).is_some_and(|it| it % 2 == 0))
        });
        add(format!("a board of {unit}"), &|x, y| {
            ink((x / unit + y / unit) % 2 == 0)
        });
        add(format!("a grid of {unit}"), &|x, y| {
            ink(x % (4 * unit) < unit || y % (4 * unit) < unit)
        });
        add(format!("dots of {unit}"), &|x, y| {
            ink(x % (2 * unit) < unit && y % (2 * unit) < unit)
        });
    }
    add("grain".to_owned(), &|x, y| {
        (grain[(y * 180 + x) as usize] * 255.0) as u8
    });
    for seed in 0..4 {
        // As in nature: the wider a shape, the more it differs.
        let mut dice = Dice::new(300 + seed);
        let waves: Vec<[f32; 3]> = (1..24)
            .map(|number| {
                let turn = dice.roll() * 6.3;
                let along = 0.012 * number as f32;
                [along * turn.cos(), along * turn.sin(), dice.roll() * 6.3]
            })
            .collect();
        add(format!("photograph {seed}"), &|x, y| {
            let (x, y) = (x as f32, y as f32);
            let all = (1..).zip(&waves);
            let sum: f32 = all
                .map(|(number, [a, b, c])| (a * x + b * y + c).sin() / number as f32)
                .sum();
            (128.0 + 90.0 * sum).clamp(0.0, 255.0) as u8
        });
    }
    add("leaves".to_owned(), &|x, y| {
        let (x, y) = (x as f32, y as f32);
        let wave = (x * 0.41).sin() * (y * 0.37).cos() + (x * 0.83 + y * 0.51).sin();
        ink(wave > 0.1)
    });
    add("hair".to_owned(), &|x, y| {
        let (x, y) = (x as f32, y as f32);
        (128.0 + 90.0 * (x * 0.9 + (y * 0.06).sin() * 5.0).sin()) as u8
    });
    add("an icon".to_owned(), &|x, y| {
        let away = (x as f32 - 90.0).hypot(y as f32 - 90.0);
        ink(((away / 14.0) as u32).is_multiple_of(3))
    });
    let mut phantoms = Vec::new();
    for (name, page) in pages {
        let reading = examine(&page);
        assert_eq!(reading.payloads.len(), 1, "{name}");
        if !reading.unread.is_empty() {
            phantoms.push(name);
        }
    }
    assert!(phantoms.is_empty(), "{phantoms:?}");
}

//! Beside a crisp code, another one is read or reported, however it is spoiled, and nothing else is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod drawn;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use countersign_activities::images::ReadLimits;
use countersign_activities::qr::{self, ScanResult};
use drawn::beside::{OTHERS, READ, SPOILED, STEPS, account, page, uri};
use drawn::photo::Dice;
use drawn::{code_of, encoded};
use image::{DynamicImage, ImageFormat, RgbImage};

/// Whatever else the machine does.
fn patient() -> ReadLimits {
    ReadLimits {
        deadline: Duration::from_secs(30),
        ..ReadLimits::default()
    }
}

fn examine(picture: &RgbImage, limits: &ReadLimits) -> ScanResult {
    let picture = DynamicImage::ImageRgb8(picture.clone());
    qr::examine(&encoded(&picture, ImageFormat::Png), limits).unwrap()
}

/// What is to become of one image.
struct Case {
    name: String,
    picture: RgbImage,
    codes: usize,
    /// How many of them are read at least.
    least: usize,
}

/// Pages of so many codes of which one is spoiled, every so many of them.
fn spoiled(count: usize, columns: usize, every: usize) -> impl Iterator<Item = Case> {
    let read = READ.into_iter().map(|(name, spoil)| (name, spoil, true));
    let others = SPOILED
        .into_iter()
        .map(|(name, spoil)| (name, spoil, false));
    let kinds = read.chain(others).enumerate();
    kinds.flat_map(move |(kind, (name, spoil, is_read))| {
        let steps = (0..STEPS).filter(move |step| (step + kind).is_multiple_of(every));
        steps.map(move |step| {
            let mut dice = Dice::new((9_000 + 10 * kind + step) as u64);
            let bad = step as f32 / (STEPS - 1) as f32;
            let at = count / 2;
            let codes: Vec<RgbImage> = (0..count)
                .map(|number| {
                    if number == at {
                        spoil(&code_of(&uri(number), 6), bad, &mut dice)
                    } else {
                        account(number)
                    }
                })
                .collect();
            Case {
                name: format!("{name} {step}, one of {count}"),
                picture: page(&codes, columns),
                codes: count,
                least: if is_read { count } else { count - 1 },
            }
        })
    })
}

/// Pages of a code and something else, every so many of them.
fn others(every: usize) -> impl Iterator<Item = Case> {
    OTHERS
        .into_iter()
        .enumerate()
        .flat_map(move |(kind, (name, draw))| {
            let steps = (0..STEPS).filter(move |step| (step + kind).is_multiple_of(every));
            steps.map(move |step| {
                let mut dice = Dice::new((7_000 + 10 * kind + step) as u64);
                Case {
                    name: format!("{name} {step}"),
                    picture: page(&[account(kind), draw(step, &mut dice)], 2),
                    codes: 1,
                    least: 1,
                }
            })
        })
}

/// What is wrong, if anything is, and how long it took.
fn judged(case: &Case, limits: &ReadLimits) -> (Option<String>, Duration) {
    let start = Instant::now();
    let reading = examine(&case.picture, limits);
    let took = start.elapsed();
    let (read, unread) = (reading.payloads.len(), reading.unread.len());
    let is_right = read >= case.least && read + unread == case.codes && !reading.cut_short;
    let name = &case.name;
    let wrong = (!is_right).then(|| format!("{name}: {read} read, {unread} unread"));
    (wrong, took)
}

#[test]
fn every_fourth_spoiled_code_beside_a_crisp_one_is_read_or_reported() {
    let wrong: Vec<String> = spoiled(2, 2, 4)
        .filter_map(|case| judged(&case, &patient()).0)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_fourth_thing_that_is_no_code_is_not_reported() {
    let wrong: Vec<String> = others(4)
        .filter_map(|case| judged(&case, &patient()).0)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All of them, one of two and one of six, under the limits that an upload has.
#[test]
#[ignore = "long: .ci/long pictures"]
fn all_codes_beside_crisp_ones_are_read_or_reported_in_time_and_nothing_else_is() {
    let folder = std::env::var_os("PICTURES_DIR").map(PathBuf::from);
    let cases = spoiled(2, 2, 1).chain(spoiled(6, 3, 1)).chain(others(1));
    let (mut count, mut longest, mut wrong) = (0, Duration::ZERO, Vec::new());
    for case in cases {
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder).unwrap();
            let name = format!("beside, {}: {} codes.png", case.name, case.codes);
            case.picture.save(folder.join(name)).unwrap();
        }
        let (problem, took) = judged(&case, &ReadLimits::default());
        count += 1;
        longest = longest.max(took);
        wrong.extend(problem);
    }
    println!(
        "beside       {} of {count}, longest {longest:.0?}",
        count - wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(longest < Duration::from_millis(1_500), "{longest:?}");
}

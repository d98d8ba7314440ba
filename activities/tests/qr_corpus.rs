//! Real and generated images: each says what its manifest tells, and no image says anything else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use countersign_activities::images::{ImageProblem, ReadLimits};
use countersign_activities::qr;
use serde::Deserialize;

#[derive(Deserialize)]
struct Manifest {
    images: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    file: String,
    payloads: Vec<String>,
    #[serde(rename = "match")]
    rule: Rule,
    expect: Option<Expect>,
}

/// How the payloads count.
#[derive(Deserialize, PartialEq, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Rule {
    All,
    Any,
    None,
}

/// What has to happen to a hostile file; `Either` is anything but a wrong payload.
#[derive(Deserialize, PartialEq, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Payload,
    Reject,
    Either,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/qr")
}

fn entries(kinds: &[&str]) -> Vec<Entry> {
    let manifest = std::fs::read(folder().join("manifest.json")).unwrap();
    let manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
    let wanted = |entry: &Entry| kinds.iter().any(|kind| entry.file.starts_with(kind));
    let entries: Vec<Entry> = manifest.images.into_iter().filter(wanted).collect();
    assert!(entries.len() >= 8);
    entries
}

/// Unoptimized builds and busy machines take longer; what is measured is that nothing hangs.
fn allowed(limits: &ReadLimits) -> Duration {
    let grace = if cfg!(debug_assertions) { 8 } else { 1 };
    limits.deadline + Duration::from_secs(grace)
}

fn check(entry: &Entry, limits: &ReadLimits) {
    let file = &entry.file;
    let bytes = std::fs::read(folder().join(file)).unwrap();
    let start = Instant::now();
    let result = qr::read_codes(&bytes, limits);
    let took = start.elapsed();
    assert!(took < allowed(limits), "{file} took {took:?}");
    let found: Vec<String> = result
        .iter()
        .flatten()
        .map(|payload| plain(payload.expose()))
        .collect();
    let expected: Vec<String> = entry.payloads.iter().map(|text| plain(text)).collect();
    for text in &found {
        assert!(expected.contains(text), "{file} says something else");
    }
    let is_found = |text: &String| found.contains(text);
    match (entry.expect, entry.rule) {
        (Some(Expect::Reject), _) => assert!(result.is_err(), "{file} was not refused"),
        (Some(Expect::Either), _) | (_, Rule::None) => {}
        (_, Rule::All) => assert!(expected.iter().all(is_found), "{file} was not read"),
        (_, Rule::Any) => assert!(expected.iter().any(is_found), "{file} was not read"),
    }
}

/// Line ends and surrounding white space don't count.
fn plain(text: &str) -> String {
    text.replace("\r\n", "\n").trim().to_owned()
}

#[test]
fn photographs_and_generated_images_are_read() {
    // The slowest image decides the time of an unoptimized build, so there is no hurry here.
    let limits = ReadLimits {
        deadline: Duration::from_secs(20),
        ..ReadLimits::default()
    };
    for entry in entries(&["photos/", "gen/"]) {
        check(&entry, &limits);
    }
}

#[test]
fn hostile_files_end_in_time_and_without_a_wrong_payload() {
    for entry in entries(&["hostile/"]) {
        check(&entry, &ReadLimits::default());
    }
}

#[test]
fn a_deadline_in_the_past_reads_nothing_and_is_no_error() {
    let bytes = std::fs::read(folder().join("gen/png-1bit.png")).unwrap();
    let limits = ReadLimits {
        deadline: Duration::ZERO,
        ..ReadLimits::default()
    };
    assert!(qr::read_codes(&bytes, &limits).unwrap().is_empty());
}

#[test]
fn problems_name_the_format_and_repeat_no_content() {
    let check = |bytes: &[u8], expected: &str| {
        let problem = qr::read_codes(bytes, &ReadLimits::default()).unwrap_err();
        assert!(problem.to_string().contains(expected), "{problem}");
    };
    check(b"", "empty");
    check(b"otpauth://totp/x?secret=JBSWY3DP", "text is not supported");
    check(b"%PDF-1.4", "PDF is not supported");
    check(b"\x89PNG\r\n\x1a\n", "damaged or incomplete");
    for (file, name) in [
        ("gen/avif.avif", "AVIF"),
        ("gen/heic.heic", "HEIC"),
        ("hostile/doc.pdf", "PDF"),
        ("hostile/laughs.svg", "SVG"),
    ] {
        check(&std::fs::read(folder().join(file)).unwrap(), name);
    }
    let text = b"otpauth://totp/x?secret=JBSWY3DP";
    let problem = qr::read_codes(text, &ReadLimits::default()).unwrap_err();
    assert!(matches!(problem, ImageProblem::Unsupported { .. }));
    assert!(!format!("{problem} {problem:?}").contains("JBSWY3DP"));
}

//! What the targets of single readers share: a file of the app with parts of it replaced, so that
//! the reader is reached, and what has to hold whatever comes out.

use std::time::{Duration, Instant};

use countersign_enrollment::import::{Budget, ImportFile, MAX_ENTRIES, MAX_IMAGES, expand};
use countersign_enrollment::otpauth;
use serde_json::Value;

/// The password of the fixtures.
const PASSWORD: &str = "correct horse";
/// How the secrets of the fixtures begin.
const SECRET: &str = "GEZDGNBV";
/// How long one file may take: the work of a whole budget, under a sanitizer.
const LONGEST: Duration = Duration::from_secs(60);

/// Reads a file as an upload is read.
pub fn check(file: &[u8]) {
    let begun = Instant::now();
    match ImportFile::read_all(file, Some(PASSWORD), &Budget::new()) {
        Ok(read) => {
            assert!(read.list.entries.len() <= MAX_ENTRIES);
            assert!(read.images.len() <= MAX_IMAGES);
            assert!(!read.list.entries.is_empty() || !read.images.is_empty());
            assert!(!format!("{read:?}").contains(SECRET), "a secret is shown");
            let (found, _) = expand(&read.list.entries);
            for parsed in found.into_iter().filter_map(|found| found.parsed.ok()) {
                let again = otpauth::parse(&parsed.account.to_uri());
                assert!(again.is_ok_and(|again| again.account == parsed.account));
            }
        }
        Err(problem) => {
            let shown = format!("{problem:?} {} {}", problem.detail(), problem.next_step());
            let is_silent = !shown.contains(SECRET) && !shown.contains(PASSWORD);
            assert!(is_silent, "a secret is shown");
        }
    }
    assert!(begun.elapsed() < LONGEST, "it takes too long");
}

/// Reads one of some JSON documents with values replaced: the first byte says which document and
/// how, and the rest has a place and a value for each.
pub fn document(fixtures: &[&[u8]], input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else {
        return;
    };
    if *choice == 0 {
        return check(rest);
    }
    let fixture = fixtures[usize::from(*choice) % fixtures.len()];
    let mut document: Value = serde_json::from_slice(fixture).expect("a fixture is JSON");
    let replaced = |part: &[u8]| {
        let text = String::from_utf8_lossy(part);
        serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.into_owned()))
    };
    for part in rest.split(|byte| *byte == 0) {
        let Some((place, value)) = part.split_first() else {
            continue;
        };
        let mut place = usize::from(*place);
        replace(&mut document, &mut place, &replaced(value));
    }
    check(document.to_string().as_bytes());
}

/// Replaces the value at a place, counted over the whole document.
fn replace(value: &mut Value, place: &mut usize, with: &Value) -> bool {
    let inner: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(object) => object.values_mut().collect(),
        _ => Vec::new(),
    };
    for value in inner {
        if replace(value, place, with) {
            return true;
        }
    }
    if *place == 0 {
        *value = with.clone();
        return true;
    }
    *place -= 1;
    false
}

/// Reads one of some files with bytes replaced: the first byte says which file, two where, one how
/// many are taken out, and the rest is put in there.
pub fn bytes(fixtures: &[&[u8]], input: &[u8]) {
    let [choice, high, low, taken, rest @ ..] = input else {
        return;
    };
    if *choice == 0 {
        return check(rest);
    }
    let fixture = fixtures[usize::from(*choice) % fixtures.len()];
    let at = usize::from(u16::from_be_bytes([*high, *low])) % (fixture.len() + 1);
    let end = (at + usize::from(*taken)).min(fixture.len());
    let file = [&fixture[..at], rest, &fixture[end..]].concat();
    check(&file);
}

/// A target for the reader of some documents in JSON.
#[macro_export]
macro_rules! json_reader {
    ($($file:literal),+ $(,)?) => {
        $crate::reader!(document, $($file),+);
    };
}

/// A target for the reader of some files that are no JSON.
#[macro_export]
macro_rules! file_reader {
    ($($file:literal),+ $(,)?) => {
        $crate::reader!(bytes, $($file),+);
    };
}

/// What both are made of.
#[macro_export]
macro_rules! reader {
    ($read:ident, $($file:literal),+) => {
        libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            const FIXTURES: &[&[u8]] = &[$(include_bytes!(concat!(
                "../../../enrollment/tests/data/import/",
                $file
            ))),+];
            $crate::$read(FIXTURES, input);
        });
    };
}

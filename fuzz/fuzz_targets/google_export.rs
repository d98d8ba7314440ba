//! Parts of Google Authenticator's export, one a line, in any order and number.

#![no_main]

use countersign_enrollment::google_export::{self, ExportPart};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let parts: Vec<ExportPart> = text
        .lines()
        .filter_map(|line| ExportPart::parse(line).ok())
        .collect();
    let many = parts.len();
    assert!(google_export::gather(parts).len() <= many);
});

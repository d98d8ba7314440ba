#![no_main]
//! Files of every kind that is imported, with a password: archives, tables, XML, web pages
//! and encrypted exports are read or refused, within the bounds of one request.

use countersign_enrollment::import::{Budget, ImportFile, MAX_ENTRIES, MAX_IMAGES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let begun = std::time::Instant::now();
    let budget = Budget::new();
    if let Ok(file) = ImportFile::read_all(bytes, Some("correct horse"), &budget) {
        assert!(file.list.entries.len() <= MAX_ENTRIES);
        assert!(file.images.len() <= MAX_IMAGES);
        assert!(!file.list.entries.is_empty() || !file.images.is_empty());
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(60));
});

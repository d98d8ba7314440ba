//! Files of other programs: every entry is an account or says why it is none.

#![no_main]

use countersign_enrollment::import::{ImportFile, MAX_ACCOUNTS, MAX_IMAGES, expand};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = ImportFile::read(bytes, None) else {
        return;
    };
    let (entries, images) = (file.list.entries.len(), file.images.len());
    assert!((1..=MAX_ACCOUNTS + MAX_IMAGES).contains(&(entries + images)));
    assert!(entries <= MAX_ACCOUNTS && images <= MAX_IMAGES);
    // Lists of URIs are checked later; nothing here may panic.
    let (found, problems) = expand(&file.list.entries);
    assert!(entries == 0 || !found.is_empty() || !problems.is_empty());
});

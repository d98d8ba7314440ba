//! Files of other programs: every entry is an account or says why it is none.

#![no_main]

use countersign_enrollment::import::{ImportFile, MAX_ACCOUNTS, MAX_PICTURES, expand};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = ImportFile::read(bytes, None) else {
        return;
    };
    let (entries, pictures) = (file.list.entries.len(), file.pictures.len());
    assert!((1..=MAX_ACCOUNTS + MAX_PICTURES).contains(&(entries + pictures)));
    assert!(entries <= MAX_ACCOUNTS && pictures <= MAX_PICTURES);
    // Lists of URIs are checked later; nothing here may panic.
    let (found, problems) = expand(&file.list.entries);
    assert!(entries == 0 || !found.is_empty() || !problems.is_empty());
});

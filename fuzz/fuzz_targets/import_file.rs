//! Files of other programs: every entry is an account or says why it is none.

#![no_main]

use countersign_enrollment::import::{ImportFile, MAX_ACCOUNTS};
use countersign_enrollment::{google_export, otpauth};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = ImportFile::read(bytes, None) else {
        return;
    };
    assert!((1..=MAX_ACCOUNTS).contains(&file.list.entries.len()));
    for entry in file.list.entries {
        if let Ok(text) = entry.content
            && !google_export::is_export(&text)
        {
            // Lists of URIs are checked later; nothing here may panic.
            let _ = otpauth::parse(&text);
        }
    }
});

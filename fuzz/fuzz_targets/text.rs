#![no_main]
//! Bytes of any encoding become a text without a byte order mark, or are named.

use countersign_enrollment::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match text::decode(bytes) {
        Ok(text) => assert!(text.len() <= bytes.len() * 2 + 3),
        Err(unknown) => assert!(!unknown.looks_like.is_empty()),
    }
    let _ = text::password(bytes);
});

//! A URI that is accepted means the same account when it is written and read again.

#![no_main]

use countersign_enrollment::otpauth;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(parsed) = otpauth::parse(text) else {
        return;
    };
    let uri = parsed.account.to_uri();
    let again = otpauth::parse(&uri).expect("what we write can be read");
    assert!(again.account == parsed.account, "it means something else");
    assert!(!format!("{parsed:?}").contains(&*uri));
});

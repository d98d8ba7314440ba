//! FreeOTP+.

#![no_main]

countersign_fuzz::json_reader!(
    "freeotp-plus.json",
);

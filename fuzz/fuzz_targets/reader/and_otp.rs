//! andOTP, plain.

#![no_main]

countersign_fuzz::json_reader!(
    "andotp.json",
);

//! andOTP, encrypted.

#![no_main]

countersign_fuzz::file_reader!(
    "andotp-encrypted.json.aes",
    "andotp-earlier.json.aes",
);

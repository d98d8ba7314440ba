//! Raivo OTP.

#![no_main]

countersign_fuzz::json_reader!(
    "raivo.json",
);

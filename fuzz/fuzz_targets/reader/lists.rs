//! Lists of URIs.

#![no_main]

countersign_fuzz::file_reader!(
    "ente.txt",
    "pass-otp.txt",
    "pass-otp-entry.txt",
    "otpclient-freeotpplus.txt",
);

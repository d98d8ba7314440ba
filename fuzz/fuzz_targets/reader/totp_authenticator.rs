//! TOTP Authenticator.

#![no_main]

countersign_fuzz::file_reader!(
    "totp-authenticator.encrypt",
    "totp-authenticator.xml",
);

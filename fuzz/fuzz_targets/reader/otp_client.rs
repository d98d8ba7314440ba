//! OTPClient's list.

#![no_main]

countersign_fuzz::json_reader!(
    "otpclient.json",
);

//! OTPClient's database.

#![no_main]

countersign_fuzz::file_reader!(
    "otpclient-database.enc",
    "otpclient-database-2.enc",
    "otpclient-database-1.enc",
);

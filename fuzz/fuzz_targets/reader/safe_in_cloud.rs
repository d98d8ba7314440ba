//! SafeInCloud.

#![no_main]

countersign_fuzz::file_reader!(
    "safe-in-cloud.xml",
);

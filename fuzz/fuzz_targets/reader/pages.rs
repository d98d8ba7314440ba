//! Web pages.

#![no_main]

countersign_fuzz::file_reader!(
    "page.html",
    "page-pictures.html",
);

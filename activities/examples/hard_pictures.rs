//! Writes the hard images of the tests and their manifest into a folder, for `decode_report`.
//!
//! `cargo run -p countersign-activities --example hard_pictures -- FOLDER`

#![allow(clippy::print_stderr)]

#[path = "../tests/drawn/mod.rs"]
mod drawn;

use std::error::Error;
use std::path::PathBuf;

use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or("usage: hard_pictures FOLDER")?;
    let mut images = Vec::new();
    for hard in drawn::photo::hard() {
        let ending = if hard.is_jpeg { "jpg" } else { "png" };
        let file = format!("{}/{:02}.{ending}", hard.kind, hard.number);
        std::fs::create_dir_all(folder.join(hard.kind))?;
        std::fs::write(folder.join(&file), &hard.bytes)?;
        images.push(json!({"file": file, "payloads": [hard.text], "match": "all"}));
    }
    std::fs::write(
        folder.join("manifest.json"),
        json!({"images": images}).to_string(),
    )?;
    Ok(())
}

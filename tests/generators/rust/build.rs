//! Generates the client from the description that `DESCRIPTION` names.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::{env, fs};

use progenitor::{GenerationSettings, Generator, InterfaceStyle};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=DESCRIPTION");
    let description = env::var("DESCRIPTION")?;
    println!("cargo::rerun-if-changed={description}");
    let description = serde_json::from_reader(File::open(description)?)?;
    let mut settings = GenerationSettings::default();
    settings.with_interface(InterfaceStyle::Builder);
    let generated = Generator::new(&settings).generate_tokens(&description)?;
    let file = Path::new(&env::var("OUT_DIR")?).join("api.rs");
    fs::write(file, prettyplease::unparse(&syn::parse2(generated)?))?;
    Ok(())
}

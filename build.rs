//! Says which commit the program is built from, and of which day that is.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=COUNTERSIGN_COMMIT");
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let built = std::env::var("COUNTERSIGN_COMMIT").ok();
    let built = built
        .filter(|commit| !commit.trim().is_empty())
        .or_else(|| git(&["log", "-1", "--format=%h %cs"]));
    let version = match built {
        Some(built) => format!("{version} ({})", built.trim()),
        // From an archive, where nobody knows.
        None => version.to_owned(),
    };
    println!("cargo:rustc-env=BUILT_VERSION={version}");
}

/// What git says, if it is there and this is a working copy of it.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

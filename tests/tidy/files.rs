//! Finding the files of this repository.

use std::path::{Path, PathBuf};

/// The folder of this repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files with this extension that belong to the repository, by their paths in it.
///
/// What is built, downloaded or hidden does not belong to it.
pub(crate) fn all(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    gather(root(), extension, &mut found);
    found.sort();
    assert!(!found.is_empty(), "no file has the extension {extension}");
    found
}

fn gather(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || ["target", "node_modules", "venv"].contains(&name.as_ref()) {
            continue;
        }
        if path.is_dir() {
            gather(&path, extension, found);
        } else if path.extension().is_some_and(|kind| kind == extension) {
            let inside = path.strip_prefix(root()).expect("it is below the root");
            found.push(inside.to_owned());
        }
    }
}

/// The text of a file of the repository.
pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

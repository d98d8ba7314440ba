//! Files stay short enough to be read in one sitting.

use std::path::Path;

use crate::files;

/// The most lines of a file.
const MOST: usize = 700;

/// Files that were longer when this check was made, and the lines that they may have at most.
/// The list only shrinks.
const LONGER: [(&str, usize); 4] = [
    ("durabletask/core/tests/entities.rs", 845),
    ("durabletask/core/tests/replay.rs", 1017),
    ("durabletask/tests/worker_settings.rs", 741),
    ("scheduler/tests/entities.rs", 816),
];

#[test]
fn no_file_is_too_long() {
    for path in files::all("rs") {
        // Nobody reads or edits what was generated from the protocol's definition.
        if path.starts_with("durabletask/proto/src/generated") {
            continue;
        }
        let lines = files::read(&path).lines().count();
        let listed = LONGER.iter().find(|(long, _)| path == Path::new(long));
        let most = listed.map_or(MOST, |(_, most)| *most);
        assert!(
            lines <= most,
            "{} has {lines} lines, more than {most}: split it by what it is about",
            path.display()
        );
        assert!(
            listed.is_none() || lines > MOST,
            "{} is short enough: take it off the list of longer ones",
            path.display()
        );
    }
    for (path, _) in LONGER {
        let there = files::root().join(path).exists();
        assert!(
            there,
            "{path} is gone: take it off the list of longer files"
        );
    }
}

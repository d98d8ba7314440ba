//! How much memory the system can still give, by which the costliest key derivations are bounded.

use std::fs;
use std::path::Path;

/// What stays free for everything else, in bytes.
const RESERVE: u64 = 256 * 1024 * 1024;

/// How many bytes one piece of work may take, so that neither the system nor the limit of a
/// container ends this process for it. Without a bound where the system does not say.
pub(crate) fn to_spare() -> u64 {
    let free = free_in(Path::new("/"));
    free.map_or(u64::MAX, |free| free.saturating_sub(RESERVE))
}

/// What is free by the files of Linux under `root`: in the machine, and in every control group
/// that this process is in. Nothing if there are no such files.
fn free_in(root: &Path) -> Option<u64> {
    let system = fs::read_to_string(root.join("proc/meminfo")).ok();
    let system = system.and_then(|text| field(&text, "MemAvailable:"));
    let system = system.map(|kib| kib.saturating_mul(1024));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let mounted = root.join("sys/fs/cgroup");
    let group = mounted.join(group.unwrap_or_default());
    let of_groups = group
        .ancestors()
        .take_while(|group| group.starts_with(&mounted))
        .filter_map(free_in_group);
    of_groups.chain(system).min()
}

/// What is left of the limit of one control group; nothing if it has none.
fn free_in_group(group: &Path) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(group.join(name)).ok()?;
        text.trim().parse().ok()
    };
    let limit = number("memory.max")?;
    let used = number("memory.current")?;
    // Pages of files that the system drops before it ends a process.
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let dropped = field(&stat, "inactive_file").unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(dropped)))
}

/// The number that follows a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.split_whitespace().next()?.parse().ok()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_tightest_limit_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(free_in(root), None);
        write(
            root,
            "proc/meminfo",
            "MemTotal: 9 kB\nMemAvailable:    4000 kB\n",
        );
        assert_eq!(free_in(root), Some(4_096_000));
        write(root, "proc/self/cgroup", "0::/a.slice/b.service\n");
        assert_eq!(free_in(root), Some(4_096_000));
        let of = |name: &str| format!("sys/fs/cgroup/a.slice/{name}");
        write(root, &of("b.service/memory.max"), "max\n");
        write(root, &of("b.service/memory.current"), "5\n");
        assert_eq!(free_in(root), Some(4_096_000), "a group without a limit");
        write(root, &of("memory.max"), "1000\n");
        write(root, &of("memory.current"), "900\n");
        assert_eq!(free_in(root), Some(100), "the limit of a group around it");
        write(root, &of("memory.stat"), "anon 400\ninactive_file 300\n");
        assert_eq!(free_in(root), Some(400));
        write(root, &of("memory.current"), "5000\n");
        assert_eq!(free_in(root), Some(0));
    }
}

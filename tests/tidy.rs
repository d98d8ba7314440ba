//! Structure: the dependencies that must be absent are absent.

#![allow(clippy::expect_used, clippy::panic)]

#[path = "tidy/files.rs"]
mod files;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/sizes.rs"]
mod sizes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which packages a package of this workspace uses, by name: directly and in all.
struct Graph {
    direct: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Reads the resolved graph of normal dependencies (no test or build ones).
    fn load() -> Self {
        // Only what is built here has been downloaded.
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--offline"])
            .args(["--filter-platform", &host()])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
        let names: BTreeMap<&str, &str> = array(&metadata["packages"])
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let direct = array(&metadata["resolve"]["nodes"])
            .map(|node| {
                let uses = array(&node["deps"])
                    .filter(|dep| array(&dep["dep_kinds"]).any(|kind| kind["kind"].is_null()))
                    .map(|dep| names[text(&dep["pkg"])].to_owned())
                    .collect();
                (names[text(&node["id"])].to_owned(), uses)
            })
            .collect();
        Self { direct }
    }

    fn direct(&self, package: &str) -> &BTreeSet<String> {
        self.direct
            .get(package)
            .unwrap_or_else(|| panic!("{package} is a package of this workspace"))
    }

    /// All that a package uses, directly or not, without what only `gate` brings in.
    ///
    /// `cargo metadata` unifies features over the workspace, so the wire types seem to
    /// need the gRPC stubs' dependencies; in a build of a core alone the stubs are off.
    fn all_but_through(&self, package: &str, gate: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut open = vec![package.to_owned()];
        while let Some(package) = open.pop() {
            for used in self.direct(&package) {
                if seen.insert(used.clone()) && used != gate {
                    open.push(used.clone());
                }
            }
        }
        seen
    }
}

/// The platform that this test was built on.
fn host() -> String {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .expect("rustc runs");
    let text = String::from_utf8(output.stdout).expect("rustc prints text");
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.expect("rustc names its host").to_owned()
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("an array").iter()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// Every package of ours that `package` names must be in `allowed`.
fn assert_uses_only(graph: &Graph, package: &str, allowed: &[&str]) {
    let ours = graph
        .direct(package)
        .iter()
        .filter(|used| used.starts_with("countersign") || used.starts_with("durabletask"));
    for used in ours {
        assert!(
            allowed.contains(&used.as_str()),
            "{package} must not depend on {used}; it may use {allowed:?}"
        );
    }
}

#[test]
fn packages_use_only_the_packages_below_them() {
    let graph = Graph::load();
    let rules: [(&str, &[&str]); 16] = [
        ("durabletask-sqlite", &[]),
        ("durabletask-sdk-proto", &[]),
        ("durabletask-core", &["durabletask-sdk-proto"]),
        ("durabletask-macros", &[]),
        ("durabletask-agent", &["durabletask-sdk"]),
        (
            "durabletask-sdk",
            &[
                "durabletask-core",
                "durabletask-macros",
                "durabletask-sdk-proto",
            ],
        ),
        ("durabletask-scheduler-core", &["durabletask-sdk-proto"]),
        (
            "durabletask-scheduler",
            &[
                "countersign-database",
                "durabletask-sdk-proto",
                "durabletask-scheduler-core",
                "durabletask-sqlite",
            ],
        ),
        ("durabletask-scheduler-cli", &["durabletask-scheduler"]),
        ("countersign-enrollment", &["durabletask-core"]),
        ("countersign-database", &[]),
        (
            "countersign-orchestrations",
            &["countersign-enrollment", "durabletask-core"],
        ),
        (
            "countersign-activities",
            &[
                "countersign-authority",
                "countersign-database",
                "countersign-enrollment",
                "countersign-ledger",
                "durabletask-core",
                "durabletask-sqlite",
            ],
        ),
        ("countersign-authority", &["countersign-enrollment"]),
        (
            "countersign-ledger",
            &[
                "countersign-authority",
                "countersign-database",
                "countersign-enrollment",
                "durabletask-sqlite",
            ],
        ),
        (
            "countersign-azure",
            &[
                "countersign-activities",
                "countersign-database",
                "countersign-enrollment",
                "durabletask-sdk",
            ],
        ),
    ];
    for (package, allowed) in rules {
        assert_uses_only(&graph, package, allowed);
    }
}

#[test]
fn the_pure_cores_have_no_runtime_network_or_database() {
    let graph = Graph::load();
    for package in [
        "durabletask-core",
        "durabletask-scheduler-core",
        "countersign-authority",
        "countersign-orchestrations",
    ] {
        let reached = graph.all_but_through(package, "durabletask-sdk-proto");
        for banned in [
            "tokio",
            "tonic",
            "rusqlite",
            "tokio-postgres",
            "hyper",
            "reqwest",
            "axum",
        ] {
            assert!(
                !reached.contains(banned),
                "{package} must not reach {banned}"
            );
        }
    }
}

#[test]
fn every_test_that_the_table_of_faults_names_exists() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("durabletask");
    let table = std::fs::read_to_string(sdk.join("docs/FAULTS.md")).expect("the table is there");
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .skip_while(|row| !row.starts_with("-----"))
        .skip(1);
    let mut named = 0;
    for row in rows {
        let test = row
            .trim_end_matches(" |")
            .rsplit_once("| `")
            .and_then(|(_, test)| test.strip_suffix('`'));
        let (file, name) = test
            .and_then(|test| test.split_once(": "))
            .unwrap_or_else(|| panic!("a row names no test: {row}"));
        let code = std::fs::read_to_string(sdk.join(file))
            .unwrap_or_else(|error| panic!("{file} cannot be read: {error}"));
        assert!(
            code.contains(&format!("fn {name}(")),
            "{file} has no test {name}"
        );
        named += 1;
    }
    assert!(named > 20, "only {named} rows were found");
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document =
        std::fs::read_to_string(root.join("docs/THREAT-MODEL.md")).expect("the document is there");
    let mut lines = document.lines();
    let mut named = 0;
    // One table for each adversary.
    while lines.any(|line| line == "| Claim | Test |") {
        let rows = lines.by_ref().skip(1);
        for row in rows.take_while(|line| line.starts_with('|')) {
            let (file, name) = row
                .trim_end_matches(" |")
                .rsplit_once("| `")
                .and_then(|(_, test)| test.strip_suffix('`')?.split_once(": "))
                .unwrap_or_else(|| panic!("a row names no test: {row}"));
            let code = std::fs::read_to_string(root.join(file))
                .unwrap_or_else(|error| panic!("{file} cannot be read: {error}"));
            let keyword = if file.ends_with(".py") { "def" } else { "fn" };
            // A promise of several implementations is generic.
            let there = ["(", "<"].map(|next| code.contains(&format!("{keyword} {name}{next}")));
            assert!(there.contains(&true), "{file} has no test {name}");
            named += 1;
        }
    }
    assert!(named > 100, "only {named} rows were found");
}

#[test]
fn orchestrations_here_obey_the_bans_that_the_sdk_advises() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bans = |file: &str| {
        let text = std::fs::read_to_string(root.join(file)).expect("the file is there");
        let bans: toml::Table = text.parse().expect("the file is TOML");
        ["disallowed-methods", "disallowed-macros"].map(|kind| bans[kind].clone())
    };
    let advised = bans("durabletask/docs/clippy.toml");
    assert!(advised[0].as_array().is_some_and(|list| list.len() > 20));
    assert_eq!(bans("orchestrations/clippy.toml"), advised);
}

#[test]
fn every_public_type_of_the_sdk_has_an_example() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("durabletask");
    let mut without = Vec::new();
    let mut seen = 0;
    for file in [sdk.join("src"), sdk.join("core/src")]
        .iter()
        .flat_map(|folder| sources(folder))
    {
        let code = std::fs::read_to_string(&file).expect("a source file can be read");
        let lines: Vec<&str> = code.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let is_type = ["pub struct ", "pub enum ", "pub trait "]
                .iter()
                .any(|start| line.starts_with(start));
            if !is_type {
                continue;
            }
            seen += 1;
            // Attributes and plain comments may stand between a type and its documentation.
            let has_example = lines[..at]
                .iter()
                .rev()
                .skip_while(|line| !line.starts_with("///") && !line.is_empty())
                .take_while(|line| line.starts_with("///"))
                .any(|line| line.starts_with("/// ```"));
            if !has_example {
                without.push(format!("{}: {line}", file.display()));
            }
        }
    }
    assert!(seen > 90, "only {seen} types were found");
    assert!(
        without.is_empty(),
        "without an example:\n{}",
        without.join("\n")
    );
}

/// All files of Rust below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a source folder can be read") {
        let path = entry.expect("a source folder can be read").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn nothing_depends_on_the_front_door() {
    let graph = Graph::load();
    for (package, uses) in &graph.direct {
        assert!(
            !uses.contains("countersign"),
            "{package} must not depend on the binary's package"
        );
    }
}

#[test]
fn the_sdk_has_no_azure_dependencies_by_default() {
    // The metadata unifies features over the workspace; the tree is that of one package.
    let tree = |features: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--offline", "--edges", "normal"])
            .args(["--prefix", "none", "--package", "durabletask-sdk"])
            .args(features)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        let problem = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "cargo tree failed: {problem}");
        String::from_utf8(output.stdout).expect("cargo prints text")
    };
    let plain = tree(&[]);
    assert!(plain.contains("durabletask-sdk-proto v"), "{plain}");
    let of_azure = plain.lines().find(|line| line.starts_with("azure"));
    assert_eq!(of_azure, None);
    for (feature, brings) in [
        ("azure", "azure_identity v"),
        ("azure-blob", "azure_storage_blob v"),
    ] {
        assert!(
            tree(&["--features", feature]).contains(brings),
            "{feature} must bring {brings}"
        );
    }
}

/// `deploy/supply/inventory licenses` writes the file, with the texts too; this needs no sources.
#[test]
fn the_licenses_name_every_package_of_others_at_its_version() {
    let listed = include_str!("../licenses/THIRD-PARTY.txt");
    let lock = include_str!("../Cargo.lock");
    let stale = "licenses/THIRD-PARTY.txt is stale: run `deploy/supply/inventory licenses`";
    let named: BTreeSet<(&str, &str)> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(')')?.split_once(" ("))
        .filter_map(|(package, _)| package.split_once(' '))
        .filter(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    for (name, version) in &named {
        let locked = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(lock.contains(&locked), "{name} {version} is gone: {stale}");
    }
    let names: BTreeSet<&str> = named.iter().map(|(name, _)| *name).collect();
    let ours = |name: &str| name.starts_with("countersign") || name.starts_with("durabletask");
    for package in Graph::load().all_but_through("countersign", "") {
        assert!(
            ours(&package) || names.contains(package.as_str()),
            "{package} is missing: {stale}"
        );
    }
}

//! What came out: feature by backend.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

/// How one feature went.
#[derive(Clone)]
pub enum Verdict {
    Passed,
    Failed(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("ok"),
            Self::Failed(reason) => write!(f, "FAILED: {reason}"),
        }
    }
}

/// How the reason of an exclusion begins that is not always needed.
const SOMETIMES: &str = "sometimes ";

/// The name in `exclusions.tsv` of a reason that holds for all features of a backend.
const EVERY_FEATURE: &str = "*";

/// The verdicts so far, and what is excluded.
pub struct Report {
    exclusions: BTreeMap<(String, String), String>,
    backends: Vec<&'static str>,
    features: Vec<&'static str>,
    verdicts: BTreeMap<(&'static str, &'static str), Verdict>,
}

impl Report {
    /// An empty report with the exclusions of `exclusions.tsv`.
    pub fn read() -> Self {
        let exclusions = include_str!("exclusions.tsv")
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
                [backend, feature, reason] => {
                    ((backend.to_owned(), feature.to_owned()), reason.to_owned())
                }
                _ => panic!("exclusions.tsv: not three columns: {line}"),
            })
            .collect();
        Self {
            exclusions,
            backends: Vec::new(),
            features: Vec::new(),
            verdicts: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, backend: &'static str, feature: &'static str, verdict: Verdict) {
        if !self.backends.contains(&backend) {
            self.backends.push(backend);
        }
        if !self.features.contains(&feature) {
            self.features.push(feature);
        }
        self.verdicts.insert((backend, feature), verdict);
    }

    /// Why the feature is expected to fail, if it is.
    pub fn excluded(&self, backend: &str, feature: &str) -> Option<&str> {
        let key = (backend.to_owned(), feature.to_owned());
        self.exclusions.get(&key).map(String::as_str)
    }

    /// Why a feature that fails on this backend is tried once more, if it is.
    pub fn tried_again(&self, backend: &str) -> Option<&str> {
        self.excluded(backend, EVERY_FEATURE)
    }

    fn cell(&self, backend: &'static str, feature: &'static str) -> &'static str {
        let reason = self.excluded(backend, feature);
        let sometimes = reason.is_some_and(|reason| reason.starts_with(SOMETIMES));
        match (self.verdicts.get(&(backend, feature)), reason.is_some()) {
            (Some(Verdict::Passed), true) if sometimes => "-",
            (Some(Verdict::Passed), false) => "yes",
            (Some(Verdict::Passed), true) => "PASSES, EXCLUDED",
            (Some(Verdict::Failed(_)), true) => "-",
            (Some(Verdict::Failed(_)), false) => "FAILS",
            (None, _) => "NOT RUN",
        }
    }

    fn count(&self, cells: &[&str]) -> usize {
        let all = self.backends.iter().flat_map(|backend| {
            self.features
                .iter()
                .map(move |feature| self.cell(backend, feature))
        });
        all.filter(|cell| cells.contains(cell)).count()
    }

    fn wrong(&self) -> usize {
        self.count(&["FAILS", "PASSES, EXCLUDED", "NOT RUN"])
    }

    /// The table, the reasons for what is left out, and the closing line.
    pub fn print(&self) {
        print!("\n{:<24}", "feature");
        for backend in &self.backends {
            print!("  {backend:<16}");
        }
        println!();
        for feature in &self.features {
            print!("{feature:<24}");
            for backend in &self.backends {
                print!("  {:<16}", self.cell(backend, feature));
            }
            println!();
        }
        println!();
        for ((backend, feature), verdict) in &self.verdicts {
            match (self.excluded(backend, feature), verdict) {
                (Some(reason), Verdict::Failed(_)) => {
                    println!("- {backend}, {feature}: left out, {reason}");
                }
                (Some(reason), Verdict::Passed) if reason.starts_with(SOMETIMES) => {
                    println!("- {backend}, {feature}: left out, {reason}");
                }
                (Some(_), Verdict::Passed) => {
                    println!("- {backend}, {feature}: PASSES; take it out of exclusions.tsv");
                }
                (None, Verdict::Failed(reason)) => println!("- {backend}, {feature}: {reason}"),
                (None, Verdict::Passed) => {}
            }
        }
        println!(
            "\n{} passed, {} failed, {} skipped",
            self.count(&["yes"]),
            self.wrong(),
            self.count(&["-"])
        );
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::from(self.wrong() > 0 || self.verdicts.is_empty()))
    }
}

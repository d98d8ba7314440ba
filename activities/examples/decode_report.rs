//! Reads every picture of a QR corpus and prints how many were read, by which step and how fast.
//!
//! `cargo run --release -p countersign-activities --example decode_report -- CORPUS`
//!
//! `CORPUS` is a folder with a `manifest.json` that lists pictures and what they say. The exit code
//! is 1 if any payload is wrong, or a picture takes longer than its deadline and one second.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use countersign_activities::picture::ReadLimits;
use countersign_activities::qr::{self, Payload};
use serde::Deserialize;

#[derive(Deserialize)]
struct Manifest {
    images: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    file: String,
    #[serde(default = "scored")]
    scored: bool,
    payloads: Vec<String>,
    #[serde(rename = "match")]
    rule: String,
    #[serde(default)]
    reads: BTreeMap<String, bool>,
}

/// Nobody knows what the few unscored pictures say.
fn scored() -> bool {
    true
}

#[derive(Default)]
struct Tally {
    pictures: usize,
    with_code: usize,
    read: usize,
    wrong: usize,
    times: Vec<Duration>,
    steps: BTreeMap<String, Vec<Duration>>,
}

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: decode_report CORPUS");
        return ExitCode::from(2);
    };
    match report(Path::new(&folder)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("can't read the corpus: {error}");
            ExitCode::from(2)
        }
    }
}

fn report(folder: &Path) -> Result<bool, Box<dyn std::error::Error>> {
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(folder.join("manifest.json"))?)?;
    let limits = ReadLimits::default();
    let slowest_allowed = limits.deadline + Duration::from_secs(1);
    let mut kinds: BTreeMap<String, Tally> = BTreeMap::new();
    let (mut missing, mut slow) = (Vec::new(), Vec::new());
    for entry in manifest.images.iter().filter(|entry| entry.scored) {
        let bytes = std::fs::read(folder.join(&entry.file))?;
        let start = Instant::now();
        let result = qr::read_codes(&bytes, &limits);
        let time = start.elapsed();
        let payloads = result.as_deref().unwrap_or_default();
        let kind = entry.file.split('/').next().unwrap_or_default();
        let tally = kinds.entry(kind.to_owned()).or_default();
        tally.pictures += 1;
        tally.with_code += usize::from(!entry.payloads.is_empty());
        tally.times.push(time);
        if time > slowest_allowed {
            slow.push(format!("{} took {} ms", entry.file, time.as_millis()));
        }
        let wrong = payloads.iter().filter(|p| !entry.says(p)).count();
        if wrong > 0 {
            println!("WRONG    {}", entry.file);
        }
        tally.wrong += wrong;
        if entry.is_read(payloads) {
            tally.read += 1;
            let step = payloads.iter().map(Payload::step).max();
            let step = step.map(|step| step.to_string()).unwrap_or_default();
            tally.steps.entry(step).or_default().push(time);
        } else if !entry.payloads.is_empty() {
            let expected = ["reference", "jsqr_on_white"]
                .iter()
                .any(|reader| entry.reads.get(*reader) == Some(&true));
            let why = result.as_ref().err().map(ToString::to_string);
            missing.push(format!(
                "{} {} ({} ms{}{})",
                if expected { "MISSING " } else { "not read" },
                entry.file,
                time.as_millis(),
                if why.is_some() { ": " } else { "" },
                why.unwrap_or_default(),
            ));
        }
    }
    for line in missing.iter().chain(&slow) {
        println!("{line}");
    }
    for (kind, tally) in &mut kinds {
        tally.print(kind);
    }
    Ok(slow.is_empty() && kinds.values().all(|tally| tally.wrong == 0))
}

impl Entry {
    fn says(&self, payload: &Payload) -> bool {
        self.payloads
            .iter()
            .any(|expected| same(expected, payload.expose()))
    }

    fn is_read(&self, payloads: &[Payload]) -> bool {
        let found = |expected: &String| payloads.iter().any(|p| same(expected, p.expose()));
        match self.rule.as_str() {
            "all" => !self.payloads.is_empty() && self.payloads.iter().all(found),
            _ => self.payloads.iter().any(found),
        }
    }
}

/// Line ends and surrounding white space don't count.
fn same(expected: &str, actual: &str) -> bool {
    let plain = |text: &str| text.replace("\r\n", "\n").trim().to_owned();
    plain(expected) == plain(actual)
}

impl Tally {
    fn print(&mut self, kind: &str) {
        println!(
            "\n{kind}: {} of {} with a code read, {} wrong, {} pictures, {}",
            self.read,
            self.with_code,
            self.wrong,
            self.pictures,
            spread(&mut self.times)
        );
        for (step, times) in &mut self.steps {
            println!("  {step:<10} {:>4}  {}", times.len(), spread(times));
        }
    }
}

fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: usize| {
        let index = (times.len() * share / 100).min(times.len().saturating_sub(1));
        times
            .get(index)
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    format!(
        "median {:.1} ms, p95 {:.1} ms, max {:.1} ms",
        at(50),
        at(95),
        at(100)
    )
}

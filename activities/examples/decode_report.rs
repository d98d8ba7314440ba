//! Reads every image of a QR corpus and prints how many were read, by which decoder and step, and
//! how fast.
//!
//! `cargo run --release -p countersign-activities --example decode_report -- CORPUS`
//!
//! Any second argument leaves out the comparison with single decoders. `CORPUS` is a folder with a `manifest.json` that lists images and what they say. The exit code
//! is 1 if any payload of the cascade is wrong, an image takes longer than its deadline and one
//! second, or one is not read that the manifest says others read.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use countersign_activities::images::{self, ReadLimits};
use countersign_activities::qr::single::Single;
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
    #[serde(default)]
    tags: Vec<String>,
}

/// Nobody knows what the few unscored images say.
fn scored() -> bool {
    true
}

#[derive(Default)]
struct Tally {
    pictures: usize,
    with_code: usize,
    read: usize,
    wrong: usize,
    /// Read by this one and not by rxing.
    gained: usize,
    times: Vec<Duration>,
    steps: BTreeMap<String, Vec<Duration>>,
}

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: decode_report CORPUS");
        return ExitCode::from(2);
    };
    match report(Path::new(&folder), std::env::args_os().nth(2).is_none()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("can't read the corpus: {error}");
            ExitCode::from(2)
        }
    }
}

fn report(folder: &Path, compares: bool) -> Result<bool, Box<dyn std::error::Error>> {
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(folder.join("manifest.json"))?)?;
    let limits = ReadLimits::default();
    let slowest_allowed = limits.deadline + Duration::from_secs(1);
    let mut kinds: BTreeMap<String, Tally> = BTreeMap::new();
    let (mut missing, mut slow) = (Vec::new(), Vec::new());
    let mut singles: BTreeMap<Single, Tally> = BTreeMap::new();
    let mut cascade = Tally::default();
    let mut expected_and_missing = 0;
    for entry in manifest.images.iter().filter(|entry| entry.scored) {
        let bytes = std::fs::read(folder.join(&entry.file))?;
        let start = Instant::now();
        let result = qr::examine(&bytes, &limits);
        let time = start.elapsed();
        let payloads = result.as_ref().map_or(&[][..], |it| &it.payloads);
        if let Ok(reading) = &result
            && (!reading.unread.is_empty() || reading.cut_short)
        {
            let what = if reading.cut_short { ", cut short" } else { "" };
            let (read, left) = (payloads.len(), &reading.unread);
            println!("UNREAD   {} beside {read} read{what}: {left:?}", entry.file);
        }
        let kind = entry.file.split('/').next().unwrap_or_default();
        let tally = kinds.entry(kind.to_owned()).or_default();
        tally.pictures += 1;
        tally.with_code += usize::from(!entry.payloads.is_empty());
        tally.times.push(time);
        if kind != "hostile" && compares {
            cascade.count(entry, payloads.iter().map(Payload::expose), time, None);
            compare(entry, &bytes, &limits, &mut singles);
        }
        if time > slowest_allowed {
            slow.push(format!("{} took {} ms", entry.file, time.as_millis()));
        }
        let wrong = payloads.iter().filter(|p| !entry.says(p.expose())).count();
        if wrong > 0 {
            println!("WRONG    {}", entry.file);
        }
        tally.wrong += wrong;
        let texts: Vec<&str> = payloads.iter().map(Payload::expose).collect();
        if entry.is_read(&texts) {
            tally.read += 1;
            let step = payloads.iter().map(Payload::step).max();
            let step = step.map(|step| step.to_string()).unwrap_or_default();
            tally.steps.entry(step).or_default().push(time);
        } else if !entry.payloads.is_empty() {
            let expected = entry.is_expected();
            expected_and_missing += usize::from(expected);
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
    println!("\nphotographs and generated images");
    println!(
        "{:<10} {:>5} {:>8} {:>6} {:>10} {:>8} {:>8}",
        "decoder", "read", "of", "wrong", "not rxing", "median", "p95 ms"
    );
    for (name, tally) in singles
        .iter_mut()
        .map(|(single, tally)| (single.to_string(), tally))
    {
        tally.print_row(&name);
    }
    cascade.print_row("cascade");
    Ok(
        slow.is_empty()
            && expected_and_missing == 0
            && kinds.values().all(|tally| tally.wrong == 0),
    )
}

/// Runs each decoder on its own, once.
fn compare(
    entry: &Entry,
    bytes: &[u8],
    limits: &ReadLimits,
    singles: &mut BTreeMap<Single, Tally>,
) {
    let Ok(picture) = images::open(bytes, limits) else {
        return;
    };
    let mut by_rxing = None;
    for single in Single::ALL {
        let start = Instant::now();
        let texts = single.read(&picture, start + limits.deadline);
        let time = start.elapsed();
        let tally = singles.entry(single).or_default();
        let read = tally.count(
            entry,
            texts.iter().map(|text| text.as_str()),
            time,
            by_rxing,
        );
        if single == Single::Rxing {
            by_rxing = Some(read);
        }
    }
}

impl Entry {
    /// Whether others read it, and it is of no format that may be refused.
    fn is_expected(&self) -> bool {
        let optional = self.tags.iter().any(|tag| tag == "optional");
        let read_by = |reader: &&str| self.reads.get(*reader) == Some(&true);
        !optional && ["reference", "jsqr_on_white"].iter().any(read_by)
    }

    fn says(&self, text: &str) -> bool {
        self.payloads.iter().any(|expected| same(expected, text))
    }

    fn is_read(&self, texts: &[&str]) -> bool {
        let found = |expected: &String| texts.iter().any(|text| same(expected, text));
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
    /// Counts one image; whether it was read.
    fn count<'a>(
        &mut self,
        entry: &Entry,
        texts: impl Iterator<Item = &'a str>,
        time: Duration,
        by_rxing: Option<bool>,
    ) -> bool {
        let texts: Vec<&str> = texts.collect();
        let read = entry.is_read(&texts);
        self.pictures += 1;
        self.with_code += usize::from(!entry.payloads.is_empty());
        self.read += usize::from(read);
        self.wrong += texts.iter().filter(|text| !entry.says(text)).count();
        self.gained += usize::from(read && by_rxing == Some(false));
        self.times.push(time);
        read
    }

    fn print_row(&mut self, name: &str) {
        self.times.sort_unstable();
        println!(
            "{name:<10} {:>5} {:>8} {:>6} {:>10} {:>8.1} {:>8.1}",
            self.read,
            self.with_code,
            self.wrong,
            self.gained,
            quantile(&self.times, 50),
            quantile(&self.times, 95)
        );
    }

    fn print(&mut self, kind: &str) {
        println!(
            "\n{kind}: {} of {} with a code read, {} wrong, {} images, {}",
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
    format!(
        "median {:.1} ms, p95 {:.1} ms, max {:.1} ms",
        quantile(times, 50),
        quantile(times, 95),
        quantile(times, 100)
    )
}

/// In milliseconds; the times are sorted.
fn quantile(times: &[Duration], share: usize) -> f64 {
    let index = (times.len() * share / 100).min(times.len().saturating_sub(1));
    times
        .get(index)
        .map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

//! Files of every app, damaged at random: each reader answers, within its bounds, and says
//! nothing of what was in them. The targets in `fuzz/` do the same for hours.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use countersign_enrollment::import::{Budget, ImportFile, MAX_ENTRIES, MAX_IMAGES};
use countersign_enrollment::otpauth;

/// How long all of it lasts, unless `MUTATED_SECONDS` says more.
const FOR: Duration = Duration::from_secs(3);
/// Where the numbers begin, unless `MUTATED_SEED` says so.
const SEED: u64 = 0x0007_0707_1234_5678;
/// How long one file may take where it asks for no derivation of a key, on a busy machine.
const ONE: Duration = Duration::from_secs(20);

/// Numbers that look random and are the same each time (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/import");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(file).unwrap())
        })
        .collect()
}

/// One damage: bytes are changed, cut, doubled, made a number that is too large, or taken from
/// another file.
fn damage(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes.truncate(at),
        1 => {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = u8::try_from(random.next() & 0xff).unwrap();
                }
            }
        }
        2 => {
            let end = (at + random.below(64)).min(bytes.len());
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        // Hostile parameters of a derivation, lengths and counts.
        3 => {
            let digits = |byte: &u8| byte.is_ascii_digit();
            if let Some(first) = bytes[at..].iter().position(digits) {
                let first = at + first;
                let last = bytes[first..].iter().position(|byte| !digits(byte));
                let last = last.map_or(bytes.len(), |last| first + last);
                let number = ["999999999999999999999", "-1", "0", "4294967296", "1e400"];
                let number = number[random.below(5)].bytes();
                bytes.splice(first..last, number);
            }
        }
        4 => {
            let from = random.below(other.len());
            let to = (from + random.below(200)).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        _ => {
            let end = (at + 1 + random.below(32)).min(bytes.len());
            bytes.drain(at..end);
        }
    }
}

#[test]
fn every_reader_answers_whatever_is_damaged() {
    let fixtures = fixtures();
    assert!(fixtures.len() > 40, "{}", fixtures.len());
    let said = |name: &str| {
        let value = std::env::var(name).ok();
        value.and_then(|value| value.parse::<u64>().ok())
    };
    let lasting = said("MUTATED_SECONDS").map_or(FOR, Duration::from_secs);
    let mut random = Random(said("MUTATED_SEED").unwrap_or(SEED).max(1));
    let begun = Instant::now();
    let mut read = 0_u32;
    let mut round = 0;
    while begun.elapsed() < lasting {
        let (name, whole) = &fixtures[round % fixtures.len()];
        round += 1;
        let mut bytes = whole.clone();
        for _ in 0..=random.below(3) {
            if !bytes.is_empty() {
                let other = &fixtures[random.below(fixtures.len())].1;
                damage(&mut random, &mut bytes, other);
            }
        }
        let budget = Budget::new();
        let one = Instant::now();
        // Without a password derivations do not begin; hostile ones have a test of their own.
        match ImportFile::read_all(&bytes, None, &budget) {
            Ok(file) => {
                read += 1;
                assert!(file.list.entries.len() <= MAX_ENTRIES, "{name}");
                assert!(file.images.len() <= MAX_IMAGES, "{name}");
                for entry in &file.list.entries {
                    if let Ok(text) = &entry.content {
                        let _ = otpauth::parse(text);
                    }
                }
            }
            Err(problem) => assert!(!problem.detail().is_empty(), "{name}"),
        }
        assert!(one.elapsed() < ONE, "{name}: {:?}", one.elapsed());
    }
    assert!(read > 0 && round > fixtures.len(), "{read} of {round}");
    println!("{read} of {round} damaged files were read");
}

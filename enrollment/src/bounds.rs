//! How much work one import may cause.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) const MIB: u64 = 1024 * 1024;
/// The most memory that one derivation may take wherever it runs. Aegis takes 32 MiB, Stratum and
/// Bitwarden 64 MiB, OTPClient 128 MiB.
pub(crate) const MEMORY: u64 = 256 * MIB;
/// The most memory that one derivation may take where there is as much to spare, one at a time.
/// Ente takes it, or less if a phone has not as much.
pub(crate) const MOST_MEMORY: u64 = 1024 * MIB;
/// The most work of a whole request, in bytes of memory that are gone over. One export of
/// Ente (1 GiB, 4 times) and, with it, 8 slots of Aegis (32 MiB, twice) fit; so do 75 such
/// slots without Ente's. A few seconds of one processor.
pub(crate) const WORK: u64 = 4_864 * MIB;
/// How long a whole request may be worked on: the work above on a slow machine, or some
/// dozens of photographs.
pub(crate) const TIME: Duration = Duration::from_secs(30);

/// What there was too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exceeded {
    /// The memory of one derivation.
    Memory,
    /// The work of all derivations together.
    Work,
    /// The time for everything together.
    Time,
}

impl Exceeded {
    /// As a member of a sentence, with the bound.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Memory => format!(
                "more memory than one key derivation may take, which is {} MiB, or {} MiB where the system has as much to spare",
                MEMORY / MIB,
                MOST_MEMORY / MIB
            ),
            Self::Work => format!(
                "more key derivation than one import may cause, {} MiB of memory in all",
                WORK / MIB
            ),
            Self::Time => format!(
                "more time than the {} seconds that one import may take",
                TIME.as_secs()
            ),
        }
    }
}

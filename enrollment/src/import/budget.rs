//! How much work one request may cause while its files are read.
//!
//! A file says itself how costly it is to open: its header names the memory and the rounds
//! of the derivation that makes a key of the password. All files of a request, all slots of
//! a file and every format spend from one budget, and work ends with the request.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::bounds::{Exceeded, MEMORY, MOST_MEMORY, TIME, WORK};
use crate::problem::InputProblem;

/// The longest salt that is taken, in bytes. Programs take 16 to 64; some derivations go over
/// the salt once for every 32 bytes that they make.
pub(super) const MAX_SALT: usize = 1024;
/// What one round of HMAC costs, next to going over memory: both measured.
const BYTES_A_ROUND: u64 = 512;

/// What a derivation takes, as the header of a file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    memory: u64,
    work: u64,
}

impl Cost {
    /// scrypt's parameters. It makes `p` blocks by PBKDF2, and for each of them fills its
    /// memory and goes over it once more.
    #[must_use]
    pub const fn scrypt(n: u64, r: u32, p: u32) -> Self {
        let block = 128 * r as u64;
        let (filled, blocks) = (block.saturating_mul(n), block.saturating_mul(p as u64));
        // PBKDF2 makes 32 bytes a round.
        let made = (blocks / 32).saturating_mul(BYTES_A_ROUND);
        let mixed = filled.saturating_mul(2).saturating_mul(p as u64);
        Self {
            memory: filled.saturating_add(blocks),
            work: mixed.saturating_add(made),
        }
    }

    /// Argon2's memory in KiB and how often it goes over it.
    #[must_use]
    pub const fn argon2(kib: u64, passes: u32) -> Self {
        let memory = kib.saturating_mul(1024);
        let work = memory.saturating_mul(passes as u64);
        Self { memory, work }
    }

    /// PBKDF2's rounds, for a key of `blocks` outputs of its hash function.
    #[must_use]
    pub const fn pbkdf2(rounds: u64, blocks: u32) -> Self {
        let work = rounds
            .saturating_mul(blocks as u64)
            .saturating_mul(BYTES_A_ROUND);
        Self { memory: 0, work }
    }

    /// Bytes that are gone over once, such as those that come out of an archive.
    #[must_use]
    pub const fn bytes(count: u64) -> Self {
        Self {
            memory: 0,
            work: count,
        }
    }
}

/// Held by a derivation that takes more memory than any may.
static LARGE: Mutex<()> = Mutex::new(());

/// What is left for one request. Shared by everything that reads its files.
#[derive(Debug)]
pub struct Budget {
    work: AtomicU64,
    /// The most memory of one derivation.
    memory: u64,
    until: Instant,
    cancelled: Arc<AtomicBool>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

impl Budget {
    /// The budget of one request. Its time begins now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            work: AtomicU64::new(WORK),
            memory: MEMORY,
            until: Instant::now() + TIME,
            cancelled: Arc::default(),
        }
    }

    /// The same with derivations that take up to as much memory as there is to spare, in bytes,
    /// within the bound for all. Those that take more than any may run one at a time.
    #[must_use]
    pub fn with_spare_memory(mut self, bytes: u64) -> Self {
        self.memory = bytes.clamp(MEMORY, MOST_MEMORY);
        self
    }

    /// Ends the work when it is dropped by the caller that waits for its end.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.cancelled))
    }

    /// Whether there is time left. To be asked wherever work can be given up.
    ///
    /// # Errors
    ///
    /// The time has passed. Work that was canceled gets the same error, since nobody waits to
    /// read it.
    pub fn check(&self) -> Result<(), InputProblem> {
        if self.cancelled.load(Ordering::Relaxed) || Instant::now() >= self.until {
            return Err(exceeded(Exceeded::Time));
        }
        Ok(())
    }

    /// Takes the cost of a derivation, before it is begun.
    ///
    /// # Errors
    ///
    /// It is more than is left, or there is no time left.
    pub fn spend(&self, cost: Cost) -> Result<(), InputProblem> {
        self.check()?;
        if cost.memory > self.memory {
            return Err(exceeded(Exceeded::Memory));
        }
        let take = |left: u64| left.checked_sub(cost.work);
        let order = Ordering::Relaxed;
        match self.work.fetch_update(order, order, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(exceeded(Exceeded::Work)),
        }
    }

    /// Whether a derivation leaves at least half of the work for others: for what is tried with
    /// every file that could be one.
    pub(super) fn has_to_spare(&self, cost: Cost) -> bool {
        let left = self.work.load(Ordering::Relaxed);
        left.checked_sub(cost.work)
            .is_some_and(|left| left >= WORK / 2)
    }

    /// A place for a derivation that was paid for, where there is one for all large ones together.
    ///
    /// # Errors
    ///
    /// The time has passed when it is free.
    pub(super) fn place(
        &self,
        cost: Cost,
    ) -> Result<Option<MutexGuard<'static, ()>>, InputProblem> {
        if cost.memory <= MEMORY {
            return Ok(None);
        }
        // It guards nothing that could be left half done.
        let place = LARGE.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        Ok(Some(place))
    }

    /// How much time is left.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

const fn exceeded(exceeded: Exceeded) -> InputProblem {
    InputProblem::ImportTooCostly { exceeded }
}

/// Cancels the work of a [`Budget`] when it is dropped.
#[derive(Debug)]
pub struct Canceller(Arc<AtomicBool>);

impl Drop for Canceller {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which bound a budget refuses by, if it does.
    fn refused(answer: Result<(), InputProblem>) -> Option<Exceeded> {
        match answer {
            Err(InputProblem::ImportTooCostly { exceeded }) => Some(exceeded),
            _ => None,
        }
    }

    #[test]
    fn what_programs_write_fits_together() {
        let budget = Budget::new();
        for cost in [
            Cost::argon2(256 * 1024, 16),
            Cost::argon2(64 * 1024, 3),
            Cost::pbkdf2(600_000, 1),
        ] {
            assert_eq!(refused(Budget::new().spend(cost)), None, "{cost:?}");
        }
        assert_eq!(budget.spend(Cost::argon2(256 * 1024, 16)), Ok(()));
        for _ in 0..8 {
            assert_eq!(budget.spend(Cost::scrypt(1 << 15, 8, 1)), Ok(()));
        }
    }

    #[test]
    fn more_memory_is_taken_where_it_is_to_spare() {
        let of_ente = Cost::argon2(1024 * 1024, 4);
        for (spare, refusal) in [
            (0, Some(Exceeded::Memory)),
            (MOST_MEMORY - 1, Some(Exceeded::Memory)),
            (MOST_MEMORY, None),
            (u64::MAX, None),
        ] {
            let budget = Budget::new().with_spare_memory(spare);
            assert_eq!(refused(budget.spend(of_ente)), refusal, "{spare}");
            assert_eq!(
                refused(budget.spend(Cost::argon2(2 << 20, 1))),
                Some(Exceeded::Memory)
            );
            let place = budget.place(Cost::argon2(256 * 1024, 1));
            assert!(place.is_ok_and(|place| place.is_none()));
        }
        let place = Budget::new().place(of_ente);
        assert!(place.is_ok_and(|place| place.is_some()));
    }

    #[test]
    fn every_bound_is_named_and_holds_for_all_together() {
        let budget = Budget::new();
        let huge = [
            Cost::scrypt(1 << 30, 8, 1),
            Cost::scrypt(u64::MAX, u32::MAX, u32::MAX),
            Cost::scrypt(2, 1, 1 << 22),
            Cost::argon2(u64::MAX, 1),
        ];
        for cost in huge {
            let answer = refused(budget.spend(cost));
            assert_eq!(answer, Some(Exceeded::Memory), "{cost:?}");
        }
        assert_eq!(
            refused(budget.spend(Cost::pbkdf2(u64::MAX, 2))),
            Some(Exceeded::Work)
        );
        let slot = Cost::scrypt(1 << 15, 8, 1);
        let spent = (0..1_000).take_while(|_| budget.spend(slot).is_ok());
        assert_eq!(spent.count(), 75);
        assert_eq!(refused(budget.spend(slot)), Some(Exceeded::Work));
    }

    #[test]
    fn work_without_a_waiting_caller_is_dropped() {
        let budget = Budget::new();
        let canceller = budget.canceller();
        assert_eq!(budget.check(), Ok(()));
        drop(canceller);
        assert_eq!(refused(budget.check()), Some(Exceeded::Time));
        assert_eq!(refused(budget.spend(Cost::bytes(1))), Some(Exceeded::Time));
    }
}

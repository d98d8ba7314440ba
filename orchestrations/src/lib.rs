//! The enrollment story: deterministic code only.

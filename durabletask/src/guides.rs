//! The guides that come with this crate. Their code is compiled and run as its tests are.

#[doc = include_str!("../docs/CHANGING_CODE.md")]
pub mod changing_code {}

#[doc = include_str!("../docs/COMING_FROM.md")]
pub mod coming_from {}

#[doc = include_str!("../docs/DETERMINISM.md")]
pub mod determinism {}

#[doc = include_str!("../docs/FAULTS.md")]
pub mod faults {}

#[doc = include_str!("../docs/FEATURES.md")]
pub mod features {}

#[doc = include_str!("../docs/RECIPES.md")]
pub mod recipes {}

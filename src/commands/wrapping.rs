//! What wraps the vault's key, for commands whose settings come from the environment.

use std::path::Path;
use std::sync::Arc;

use countersign_activities::vault::KeyWrapping;

use super::{Fault, load};
use crate::config::Settings;
use crate::keys;

/// Where the settings of the servers are said to commands.
const SAID: [&str; 2] = ["COUNTERSIGN_VAULT_KEY_WRAPPED_BY", "COUNTERSIGN_CONFIG"];

/// What wraps the vault's key in the folder, as the environment or the file that it names says.
pub(super) fn named(folder: Option<&Path>) -> Result<Option<Arc<dyn KeyWrapping>>, Fault> {
    let is_said = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !SAID.iter().any(is_said) {
        return Ok(None);
    }
    let settings = Settings {
        data_dir: folder.map(|folder| folder.display().to_string()),
        ..Settings::default()
    };
    Ok(keys::vault_key_wrapping(&load(&settings)?.azure))
}

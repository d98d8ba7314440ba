//! The data folder that a command works on.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Exit, Fault};
use crate::config::{ClientEnvironment, Config, DEFAULT_DATA_DIR};
use crate::data_dir::{DataDir, DataDirError};

/// The data folder from the flag, the environment or the default.
pub(super) fn data_dir(flag: Option<&str>, environment: &ClientEnvironment) -> PathBuf {
    flag.map(PathBuf::from)
        .or_else(|| environment.data_dir.clone())
        .unwrap_or_else(|| Path::new(DEFAULT_DATA_DIR).to_owned())
}

/// The data folder that a command works on; it is not created.
pub(super) fn existing_folder(flag: Option<&str>) -> Result<DataDir, Fault> {
    open_folder(&data_dir(flag, &ClientEnvironment::read()))
}

/// The data folder at `folder`, which is not created.
pub(super) fn open_folder(folder: &Path) -> Result<DataDir, Fault> {
    folder_if_there(folder)?.ok_or_else(|| {
        let shown = folder.display();
        let message = format!("there is no data folder {shown}: name the server's with --data-dir");
        Fault::new(Exit::NoFolder, message)
    })
}

/// The data folder for a command on the installation's keys: without one, they may be in Key Vault.
pub(super) fn folder_of_keys(config: &Config) -> Result<DataDir, Fault> {
    let folder = &config.data_dir;
    match config.azure.key_vault {
        Some(_) => Ok(folder_if_there(folder)?.unwrap_or_else(|| DataDir::at(folder))),
        None => open_folder(folder),
    }
}

fn folder_if_there(folder: &Path) -> Result<Option<DataDir>, Fault> {
    let there = folder.try_exists();
    match there.map_err(|error| not_readable(folder, &error))? {
        true => DataDir::open(folder).map(Some).map_err(folder_fault),
        false => Ok(None),
    }
}

pub(super) fn folder_fault(error: DataDirError) -> Fault {
    let exit = match &error {
        DataDirError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            Exit::NoPermission
        }
        DataDirError::Foreign { .. } => Exit::NoPermission,
        DataDirError::NoFolder(_) => Exit::NoFolder,
        DataDirError::Io { source, .. } if source.kind() == ErrorKind::NotADirectory => {
            Exit::NoFolder
        }
        _ => Exit::Failed,
    };
    Fault::new(exit, error.to_string())
}

pub(super) fn not_readable(folder: &Path, error: &std::io::Error) -> Fault {
    let exit = match error.kind() {
        ErrorKind::PermissionDenied => Exit::NoPermission,
        _ => Exit::Failed,
    };
    Fault::new(exit, format!("cannot read {}: {error}", folder.display()))
}

//! Why a key of the installation cannot be opened.

use std::path::PathBuf;
use std::time::Duration;

use countersign_activities::vault::VaultError;
use countersign_authority::KeyProblem;
use countersign_enrollment::sealed;
use thiserror::Error;

use crate::causes::in_one_line;
use crate::data_dir::DataDirError;

/// Why a key of the installation cannot be opened, and what to do.
#[derive(Debug, Error)]
pub enum KeyMaterialError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// Key Vault did not answer, or not as asked.
    #[error("{place} cannot be used: {}", in_one_line(source))]
    KeyVault {
        /// The secret.
        place: String,
        /// The vault's error.
        source: VaultError,
    },
    /// It is not the text of a sealing key.
    #[error("{place} cannot be used: {source}")]
    Seal {
        /// The file or the secret.
        place: String,
        /// What is wrong with it.
        source: sealed::KeyError,
    },
    /// It is not the text of mandate keys.
    #[error("{place} cannot be used: {problem}")]
    Mandate {
        /// The file or the secret.
        place: String,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// The key that mandates would be signed with is retired.
    #[error(
        "the key {id} in {place} is retired, so nothing that it signs would be valid: run \
         `countersign mandate-key rotate`"
    )]
    SignsRetired {
        /// The file or the secret.
        place: String,
        /// The key's id.
        id: String,
    },
    /// No front door has created mandate keys yet.
    #[error("{0} does not exist: a front door creates it at its first start")]
    NoMandateKey(String),
    /// The key that signs cannot be retired.
    #[error("{0} is the signing key: run `countersign mandate-key rotate` first")]
    SignsStill(String),
    /// No worker has created a seal key yet.
    #[error("{0} does not exist: a worker creates it at its first start")]
    NoSealKey(String),
    /// There is no mandate key with this id.
    #[error("there is no mandate key {0}; see `countersign mandate-key list`")]
    NoSuchMandateKey(String),
    /// The system has no random numbers to give.
    #[error("the system's random number source failed")]
    Random,
    /// It is not 32 bytes in hexadecimal.
    #[error("{0} cannot be used: expected 64 hexadecimal digits")]
    NotHexadecimal(String),
    /// It is not the text of server keys.
    #[error(
        "{0} cannot be used: expected 64 hexadecimal digits, or lines that begin with derives, \
         current, next or earlier; copy it again from another machine or a backup"
    )]
    NotServerKeys(String),
    /// The file was replaced by one of another installation.
    #[error("{0} has the keys of another installation: put the previous file back")]
    OtherServerKey(String),
    /// No front door has created a server key yet.
    #[error("{0} does not exist: a front door creates it at its first start")]
    NoServerKey(String),
    /// No worker has created what a front door needs.
    #[error(
        "{missing} does not exist, even after waiting for {waited:?}. A worker creates it when \
         it starts: start `countersign worker` with the same data folder or Key Vault first, or \
         let the front door wait longer with --worker-wait"
    )]
    NoWorker {
        /// The file or the secret.
        missing: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The public half of the seal key exists without the private one.
    #[error(
        "{public} exists, but {private} does not. Restore it from a backup: nothing else opens \
         what was sealed for it. To give that up and start with a new key, remove {public}"
    )]
    PrivateHalfMissing {
        /// The private half.
        private: String,
        /// The public half.
        public: String,
    },
    /// The key is in the accounts' vault, and not yet in the one for keys.
    #[error(
        "{missing} does not exist, but {found} does. Copy its value to the vault for keys and \
         delete it in the accounts' vault; a new key would make what the old one protects useless"
    )]
    LeftBehind {
        /// The secret in the vault for keys.
        missing: String,
        /// The secret in the accounts' vault.
        found: String,
    },
    /// The vault in the data folder belongs to another folder.
    #[error(
        "the vault in {folder} belongs to the data folder with the id {id}. A front door with \
         another folder would not have its rules, grants and keys, and would answer what they \
         forbid: start it with that folder, and run only one front door. If this folder is to \
         replace it, write that id to {file}"
    )]
    ForeignVault {
        /// The folder.
        folder: String,
        /// The file with the folder's id.
        file: String,
        /// The id of the folder that the vault belongs to.
        id: String,
    },
    /// The folder's id is a link.
    #[error("{} is a link to another file: a data folder has an id of its own; remove the link", .0.display())]
    Linked(PathBuf),
    /// The embedded vault does not answer.
    #[error("{}", in_one_line(source))]
    Vault {
        /// The vault's error.
        source: VaultError,
    },
    /// The data folder is not the one of the installation whose keys are in the vault.
    #[error(
        "{folder} is not the data folder of this installation, according to {secret}. A front \
         door with another folder would not have its rules, grants and keys, and would answer \
         what they forbid. Mount the installation's folder, and run only one front door. If that \
         folder is lost, set the secret {name} to the text \"new\": the next folder that a front \
         door starts with replaces it"
    )]
    OtherFolder {
        /// The folder.
        folder: String,
        /// The secret with the installation's id, and its vault.
        secret: String,
        /// The name of the secret.
        name: &'static str,
    },
    /// Key Vault has the keys of another installation than the database.
    #[error(
        "{secret} names another installation than the database: set --database-url to the \
         database that the other front doors use. If that one is lost, or this installation kept \
         everything in a data folder until now, set the secret {name} to the text \"new\": the \
         database that a front door starts with next replaces it"
    )]
    OtherDatabase {
        /// The secret with the installation's id, and its vault.
        secret: String,
        /// The name of the secret.
        name: &'static str,
    },
    /// Other processes that share the database have keys that this one lacks.
    #[error(
        "the data folder {folder} lacks {files}, which other processes that use this database \
         have already: copy these files from one of their data folders"
    )]
    NotCopied {
        /// The folder.
        folder: String,
        /// The names of the files.
        files: String,
    },
    /// Other processes that share the database have another key.
    #[error(
        "{0} is not the key that the other processes that use this database have: replace it \
         with a copy of theirs"
    )]
    OtherKey(String),
    /// The shared database cannot be used.
    #[error(transparent)]
    Database(#[from] countersign_database::DatabaseError),
    /// The process ends while it waits for the file system.
    #[error("a key file could not be read or written: the process is ending")]
    Ending,
}

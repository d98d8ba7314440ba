//! The file beside the database that notes the audit log's end a second time.
//!
//! A truncated chain is valid, only shorter. So after each commit the last
//! entry's place and hash are noted in a file of its own, under a key derived from the
//! server's. The log may be ahead of that note, by what was committed after the note was
//! last written; a log that is behind it has lost entries.
//!
//! One kind of loss is not an attack. Commits are not flushed to the disk one by one, so when the
//! machine loses power, the last moment's entries may be lost while the note stays. The note
//! therefore also says which entry was flushed and in which boot of the machine
//! (`boot_id`): after a restart of the machine the log may end between that entry and the
//! noted one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use crate::access::ServerKeys;
use crate::access::secret;
use crate::private_file;

/// The file's name, beside the database.
pub const AUDIT_HEAD: &str = "audit-head";
const LABEL: &[u8] = b"countersign audit head v1";
/// How the file's line begins.
const MAGIC: &str = "countersign-audit-head-1";
/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 1024;
/// Stands for the boot of a machine that has no boot id.
const NO_BOOT: &str = "-";

/// A place in the audit log, and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The entry's place; 0 before the first.
    pub sequence: u64,
    /// The chain's hash up to there.
    pub hash: [u8; 32],
}

impl Head {
    /// A head as `audit verify` prints it and `--head` takes it: `SEQUENCE:HASH`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (sequence, hash) = text.trim().split_once(':')?;
        Some(Self {
            sequence: sequence.parse().ok()?,
            hash: HEXLOWER.decode(hash.as_bytes()).ok()?.try_into().ok()?,
        })
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.sequence, HEXLOWER.encode(&self.hash))
    }
}

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// The last entry.
    pub(super) head: Head,
    /// How many losses were accepted.
    pub(super) losses: u64,
    /// The last entry that is known to be on the disk.
    pub(super) durable: u64,
    /// The boot of the machine in which this was noted.
    pub(super) boot: String,
}

impl Note {
    /// Whether this was written after `other`.
    pub(super) fn is_newer(&self, other: &Self) -> bool {
        (self.losses, self.head.sequence) > (other.losses, other.head.sequence)
    }

    /// Whether an audit log that ends at `ends`, before the noted place, may have lost the rest
    /// in a restart of the machine.
    pub(super) fn lost_at_restart(&self, ends: u64, boot: &str) -> bool {
        ends >= self.durable && self.boot != boot && self.boot != NO_BOOT && boot != NO_BOOT
    }

    fn line(&self, key: &[u8; 32]) -> String {
        format!(
            "{MAGIC} {} {} {} {} {} {}\n",
            self.head.sequence,
            HEXLOWER.encode(&self.head.hash),
            self.losses,
            self.durable,
            self.boot,
            HEXLOWER.encode(&self.mac(key)),
        )
    }

    fn mac(&self, key: &[u8; 32]) -> [u8; 32] {
        let number = u64::to_be_bytes;
        secret::mac(
            key,
            &[
                &number(self.head.sequence),
                &self.head.hash,
                &number(self.losses),
                &number(self.durable),
                self.boot.as_bytes(),
            ],
        )
    }

    fn parse(text: &str, keys: &[Zeroizing<[u8; 32]>]) -> Option<Self> {
        let mut words = text.lines().next()?.split(' ');
        let mut next = || words.next();
        if next()? != MAGIC {
            return None;
        }
        let bytes = |text: &str| HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok();
        let note = Self {
            head: Head {
                sequence: next()?.parse().ok()?,
                hash: bytes(next()?)?,
            },
            losses: next()?.parse().ok()?,
            durable: next()?.parse().ok()?,
            boot: next()?.to_owned(),
        };
        let mac: [u8; 32] = bytes(next()?)?;
        let proves = |key: &Zeroizing<_>| secret::same(&mac, &note.mac(key));
        (next().is_none() && keys.iter().any(proves)).then_some(note)
    }
}

/// What was found at the file's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No file.
    Nothing,
    /// Content that was not written by this installation or with this key.
    Garbage,
    /// A note.
    Note(Note),
}

/// The file.
#[derive(Clone)]
pub(super) struct HeadFile {
    path: PathBuf,
    keys: ServerKeys,
    boot: String,
}

impl HeadFile {
    /// The file beside the database at `database`.
    pub(super) fn beside(database: &Path, keys: &ServerKeys) -> Self {
        Self {
            path: database.with_file_name(AUDIT_HEAD),
            keys: keys.clone(),
            boot: boot_id(),
        }
    }

    /// The key in use, then all others: another process may have written with one of them.
    fn keys(&self) -> Vec<Zeroizing<[u8; 32]>> {
        let ring = self.keys.ring();
        let earlier = ring.earlier.iter().map(|(key, _)| key);
        let all = [&ring.current].into_iter().chain(&ring.next).chain(earlier);
        all.map(|key| key.derive(LABEL)).collect()
    }

    fn key(&self) -> Zeroizing<[u8; 32]> {
        self.keys.ring().current.derive(LABEL)
    }

    /// The same in another boot of the machine.
    #[cfg(test)]
    pub(super) fn in_boot(mut self, boot: &str) -> Self {
        boot.clone_into(&mut self.boot);
        self
    }

    /// The current boot of the machine.
    pub(super) fn boot(&self) -> &str {
        &self.boot
    }

    /// Reads the file.
    pub(super) fn read(&self) -> io::Result<Found> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        file.lock_shared()?;
        self.content(&file)
    }

    fn content(&self, file: &File) -> io::Result<Found> {
        let mut bytes = Vec::new();
        file.take(MAX_LINE).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(Note::parse(&text, &self.keys()).map_or(Found::Garbage, Found::Note))
    }

    /// Notes `head` after `losses` accepted losses, unless a newer one is noted. The
    /// note survives this process; [`HeadFile::flush`] makes it survive the machine.
    pub(super) fn write(&self, head: &Head, losses: u64) -> io::Result<Note> {
        self.update(|found| {
            let durable = match found {
                Found::Note(there) => there.durable.min(head.sequence),
                _ => 0,
            };
            let new = Note {
                head: head.clone(),
                losses,
                durable,
                boot: self.boot.clone(),
            };
            match found {
                Found::Note(there) if !new.is_newer(there) => None,
                _ => Some(new),
            }
        })
    }

    /// Notes that entries up to `durable` are on the disk, and writes the note there too.
    pub(super) fn flush(&self, durable: u64) -> io::Result<()> {
        self.update(|found| match found {
            Found::Note(there) => Some(Note {
                durable: there.durable.max(durable).min(there.head.sequence),
                boot: self.boot.clone(),
                ..there.clone()
            }),
            _ => None,
        })?;
        File::open(&self.path)?.sync_all()
    }

    /// Changes the file under a lock. Its path never holds
    /// half a note: it is created under another name, and a line is shorter than what a disk
    /// writes at once.
    fn update(&self, change: impl FnOnce(&Found) -> Option<Note>) -> io::Result<Note> {
        let mut file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let note = change(&Found::Nothing).ok_or(io::ErrorKind::NotFound)?;
                self.make(&note)?;
                return Ok(note);
            }
            Err(error) => return Err(error),
        };
        file.lock()?;
        let found = self.content(&file)?;
        match (change(&found), found) {
            (Some(note), _) => {
                file.rewind()?;
                // The rest of a longer line comes after this one's end.
                file.write_all(note.line(&self.key()).as_bytes())?;
                Ok(note)
            }
            (None, Found::Note(there)) => Ok(there),
            (None, _) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn make(&self, note: &Note) -> io::Result<()> {
        let tag = secret::random_hex().map_err(io::Error::other)?;
        let temporary = format!(".{AUDIT_HEAD}.{}.tmp", &tag[..16]);
        let temporary = self.path.with_file_name(temporary);
        let mut file = private_file::create(&temporary)?;
        file.write_all(note.line(&self.key()).as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)
    }
}

/// Identifies the current boot of this machine.
fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let text = text.trim();
    let known = !text.is_empty() && text.len() <= 64 && !text.contains(char::is_whitespace);
    if known { text } else { NO_BOOT }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(sequence: u64) -> Head {
        Head {
            sequence,
            hash: [u8::try_from(sequence).unwrap(); 32],
        }
    }

    fn file() -> (tempfile::TempDir, HeadFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = HeadFile::beside(&folder.path().join("audit.sqlite3"), &(&[7; 32]).into());
        (folder, file)
    }

    #[test]
    fn the_newest_head_is_kept_and_nobody_without_the_key_can_write_one() {
        let (folder, file) = file();
        assert_eq!(file.read().unwrap(), Found::Nothing);
        file.write(&head(3), 0).unwrap();
        // A process with an older head writes late.
        let kept = file.write(&head(2), 0).unwrap();
        assert_eq!(kept.head, head(3));
        assert_eq!(file.read().unwrap(), Found::Note(kept));
        // Accepting a loss is newer than every place before it.
        let kept = file.write(&head(1), 1).unwrap();
        assert_eq!((kept.head, kept.losses), (head(1), 1));

        let path = folder.path().join(AUDIT_HEAD);
        let line = fs::read_to_string(&path).unwrap();
        for forged in [
            line.replacen(" 1 ", " 0 ", 1),
            line.replacen(MAGIC, "another", 1),
            format!("{} more", line.trim_end()),
            String::new(),
        ] {
            fs::write(&path, &forged).unwrap();
            assert_eq!(file.read().unwrap(), Found::Garbage, "{forged}");
        }
        fs::write(&path, &line).unwrap();
        let other = HeadFile::beside(&path, &(&[8; 32]).into());
        assert_eq!(other.read().unwrap(), Found::Garbage);
    }

    #[test]
    fn only_what_was_not_flushed_may_go_and_only_with_the_machine() {
        let (_folder, file) = file();
        file.write(&head(3), 0).unwrap();
        file.flush(3).unwrap();
        let note = file.write(&head(5), 0).unwrap();
        assert_eq!(note.durable, 3);
        for (ends, boot, excused) in [
            (4, "another", true),
            (3, "another", true),
            (2, "another", false),
            (4, file.boot(), false),
            (4, NO_BOOT, false),
        ] {
            let note = Note {
                boot: file.boot().to_owned(),
                ..note.clone()
            };
            // A machine without boot ids excuses nothing.
            let tells = file.boot() != NO_BOOT;
            assert_eq!(
                note.lost_at_restart(ends, boot),
                excused && tells,
                "{ends} {boot}"
            );
        }
    }

    #[test]
    fn a_head_is_read_as_it_is_shown() {
        let shown = head(9).to_string();
        assert_eq!(Head::parse(&shown), Some(head(9)));
        for wrong in ["", "9", "x:00", "9:00", &shown.replace(':', " ")] {
            assert_eq!(Head::parse(wrong), None, "{wrong}");
        }
    }
}

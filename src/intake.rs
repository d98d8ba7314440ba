//! Checks uploads before they enter the system: immediately,
//! and scaled down to fit one message.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_activities::images::{self, ImageProblem, ReadLimits};
use countersign_activities::shrink;
use countersign_enrollment::foreign::ForeignKind;
use countersign_enrollment::import::job::Origin;
use countersign_enrollment::import::{self, Budget, ImportEntry, ImportFile, ImportList};
use countersign_enrollment::otpauth;
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::sealed::{self, Sealable as _};
use countersign_enrollment::text;
use thiserror::Error;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use crate::memory;

/// The largest body that is read, in bytes.
pub(crate) const MAX_BODY: usize = 10 * 1024 * 1024;
/// How many images are processed at once: decoded, each can take tens of megabytes.
const PICTURES_AT_ONCE: usize = 4;
/// How many of them may be one caller's.
const PICTURES_OF_ONE_CALLER: usize = 2;
/// The number of callers from which idle ones are removed.
const REMEMBERED_CALLERS: usize = 1_000;
/// How long making an image fit may take, in the reading deadlines of [`ReadLimits`]: it is
/// read again for every size that is tried.
const SHRINKING: u32 = 5;
/// How long an upload waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// An upload, unchecked and in plaintext. Wiped when dropped.
pub(crate) enum Upload {
    /// A text that should be an otpauth URI.
    Uri(Zeroizing<String>),
    /// Bytes that should be an image.
    Image(Zeroizing<Vec<u8>>),
    /// Bytes of an undeclared type: an image, or a text.
    Bytes(Zeroizing<Vec<u8>>),
}

impl Upload {
    pub(crate) fn uri(text: &str) -> Self {
        Self::Uri(Zeroizing::new(text.to_owned()))
    }

    pub(crate) fn image(bytes: &[u8]) -> Self {
        Self::Image(Zeroizing::new(bytes.to_vec()))
    }

    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        Self::Bytes(Zeroizing::new(bytes.to_vec()))
    }

    /// The same, as a text if bytes of an undeclared type clearly are one, otherwise as an image.
    fn sorted(self) -> Self {
        let Self::Bytes(bytes) = self else {
            return self;
        };
        let unsupported = matches!(
            images::inspect(&bytes),
            Err(ImageProblem::Unsupported { .. })
        );
        if !unsupported {
            return Self::Image(bytes);
        }
        match text::decode(&bytes) {
            Ok(text) if is_for_enrolling(&text) => Self::Uri(text),
            _ => Self::Image(bytes),
        }
    }

    /// The same account with Steam codes, whatever its URI says; a bare secret is
    /// accepted too. An image is unchanged: it has yet to be read.
    ///
    /// # Errors
    ///
    /// It cannot be enrolled, or is of another kind.
    pub(crate) fn into_steam(self) -> Result<Self, IntakeError> {
        let given = match self.sorted() {
            Self::Uri(given) => given,
            picture => return Ok(picture),
        };
        let bare = matches!(ForeignKind::of(&given), ForeignKind::BareSecret);
        let parsed = if bare {
            otpauth::parse(&Zeroizing::new(format!("steam://{}", given.as_str())))
        } else {
            otpauth::parse(&given)
        };
        let steam = parsed
            .and_then(otpauth::Parsed::into_steam)
            .map_err(IntakeError::Problem)?;
        Ok(Self::Uri(steam.account.to_uri()))
    }
}

/// Whether a text can be enrolled, or was meant to be.
fn is_for_enrolling(text: &str) -> bool {
    otpauth::is_meant(text) || matches!(ForeignKind::of(text), ForeignKind::BareSecret)
}

/// Files to import, unchecked and in plaintext. Wiped when dropped.
#[derive(Default)]
pub(crate) struct ImportUpload {
    pub(crate) files: Vec<Zeroizing<Vec<u8>>>,
    /// The password of an encrypted one.
    pub(crate) password: Option<Zeroizing<String>>,
}

/// An accepted file to import, small enough to fit one message with the others.
pub(crate) enum ImportMaterial {
    /// An image of a known kind.
    Image {
        bytes: Zeroizing<Vec<u8>>,
        original: Zeroizing<Vec<u8>>,
        origin: Origin,
    },
    /// A file's accounts.
    List {
        list: ImportList,
        original: Zeroizing<Vec<u8>>,
        origin: Origin,
    },
}

impl ImportMaterial {
    /// What was uploaded.
    pub(crate) fn original(&self) -> &[u8] {
        match self {
            Self::Image { original, .. } | Self::List { original, .. } => original,
        }
    }

    /// Which file it was in.
    pub(crate) fn origin(&self) -> &Origin {
        match self {
            Self::Image { origin, .. } | Self::List { origin, .. } => origin,
        }
    }
}

/// Refuses to pick positions without an account, where that is known: what is in an
/// image is known only to a worker.
fn check_pick(material: &[ImportMaterial], pick: &[u32]) -> Result<(), IntakeError> {
    let lists: Option<Vec<&ImportList>> = material
        .iter()
        .map(|material| match material {
            ImportMaterial::List { list, .. } => Some(list),
            ImportMaterial::Image { .. } => None,
        })
        .collect();
    let count = |lists: Vec<&ImportList>| {
        let entries = lists.into_iter().flat_map(|list| &list.entries);
        import::expand(entries).0.len()
    };
    match lists.and_then(|lists| import::invalid_positions(pick, count(lists))) {
        Some(problem) => Err(IntakeError::Problem(problem)),
        None => Ok(()),
    }
}

/// An accepted upload: worth an enrollment, and small enough for one message.
pub(crate) enum AcceptedUpload {
    /// An otpauth URI that parses.
    Uri(Zeroizing<String>),
    /// An image of a known kind.
    Image {
        /// The image to seal and send, perhaps scaled down.
        bytes: Zeroizing<Vec<u8>>,
        /// The original upload, for recognizing repeated requests.
        original: Zeroizing<Vec<u8>>,
    },
}

/// Why an upload is refused.
#[derive(Debug, Error)]
pub(crate) enum IntakeError {
    /// It cannot be enrolled.
    #[error("input refused: {}", .0.code())]
    Problem(InputProblem),
    /// It is an image in an unsupported format, or not an image.
    #[error("unsupported image format")]
    UnsupportedPicture(InputProblem),
    /// It is an image with too many pixels.
    #[error("image too large")]
    PictureTooLarge(InputProblem),
    /// Too many images are being processed.
    #[error("too many images at once")]
    Busy,
    /// The server failed.
    #[error("the image could not be processed")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

/// Checks uploads, a bounded number of images at a time.
pub(crate) struct Intake {
    images: Arc<Semaphore>,
    callers: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// One place of an [`Intake`], until it is dropped.
struct WorkPlace {
    _of_caller: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Intake {
    pub(crate) fn new() -> Self {
        Self {
            images: Arc::new(Semaphore::new(PICTURES_AT_ONCE)),
            callers: Mutex::default(),
        }
    }

    /// Refuses what is clearly unusable, and makes the rest fit.
    pub(crate) async fn accept(
        &self,
        caller: &str,
        upload: Upload,
    ) -> Result<AcceptedUpload, IntakeError> {
        match upload.sorted() {
            Upload::Uri(text) => {
                otpauth::parse(&text).map_err(IntakeError::Problem)?;
                Ok(AcceptedUpload::Uri(text))
            }
            Upload::Image(original) | Upload::Bytes(original) => {
                self.accept_picture(caller, original).await
            }
        }
    }

    /// Reads files and makes images fit, all of them into one message together. Refuses a
    /// `pick` of what is not in them. The work is canceled if nobody waits for it.
    pub(crate) async fn accept_import(
        &self,
        caller: &str,
        upload: ImportUpload,
        pick: Option<Vec<u32>>,
    ) -> Result<Vec<ImportMaterial>, IntakeError> {
        let turn = self.turn(caller).await?;
        let budget = Budget::new().with_spare_memory(memory::to_spare());
        let _canceller = budget.canceller();
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let password = upload.password.as_ref().map(|text| text.as_str());
            let mut files = Vec::new();
            let mut failures = Failures::default();
            let alone = upload.files.len() == 1;
            for (number, file) in (1..).zip(upload.files) {
                let original = (!alone).then(|| file.clone());
                match (sort(number, file, password, &budget), original) {
                    (Ok(material), _) => files.extend(material),
                    (Err(error), None) => return Err(error),
                    (Err(error), Some(original)) => {
                        let name = String::new();
                        let origin = Origin { file: number, name };
                        files.push(failures.keep(error, original, origin)?);
                    }
                }
            }
            let material = fit(files, &mut failures, &budget)?;
            failures.refuse_all(material.len())?;
            if let Some(pick) = pick {
                check_pick(&material, &pick)?;
            }
            Ok(material)
        });
        work.await.map_err(|e| IntakeError::Internal(Box::new(e)))?
    }

    /// A place to work, first among the caller's own and then among all, so that no caller that
    /// sends a lot keeps others waiting.
    async fn turn(&self, caller: &str) -> Result<WorkPlace, IntakeError> {
        let of_caller = self.of_caller(caller).acquire_owned();
        let of_all = Arc::clone(&self.images).acquire_owned();
        let both = async { Ok::<_, AcquireError>((of_caller.await?, of_all.await?)) };
        match tokio::time::timeout(TURN, both).await {
            Ok(Ok((of_caller, of_all))) => Ok(WorkPlace {
                _of_caller: of_caller,
                _of_all: of_all,
            }),
            _ => Err(IntakeError::Busy),
        }
    }

    fn of_caller(&self, caller: &str) -> Arc<Semaphore> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= REMEMBERED_CALLERS {
            // Permits and waiters keep their semaphore alive.
            callers.retain(|_, places| Arc::strong_count(places) > 1);
        }
        let places = callers.entry(caller.to_owned());
        Arc::clone(places.or_insert_with(|| Arc::new(Semaphore::new(PICTURES_OF_ONE_CALLER))))
    }

    async fn accept_picture(
        &self,
        caller: &str,
        original: Zeroizing<Vec<u8>>,
    ) -> Result<AcceptedUpload, IntakeError> {
        images::inspect(&original).map_err(|problem| refuse(&problem))?;
        let cap = sealed::max_plaintext_for_cap();
        if original.len() <= cap {
            return Ok(AcceptedUpload::Image {
                bytes: original.clone(),
                original,
            });
        }
        let turn = self.turn(caller).await?;
        let budget = Budget::new();
        let _canceller = budget.canceller();
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let shrunk = shrink(&original, cap, &budget);
            (shrunk, original)
        });
        let (shrunk, original) = work.await.map_err(|e| IntakeError::Internal(Box::new(e)))?;
        let bytes = shrunk?;
        Ok(AcceptedUpload::Image {
            bytes: Zeroizing::new(bytes),
            original,
        })
    }
}

/// Makes an image no larger than `cap` bytes.
fn shrink(original: &[u8], cap: usize, budget: &Budget) -> Result<Vec<u8>, IntakeError> {
    budget.check().map_err(IntakeError::Problem)?;
    let limits = ReadLimits::default();
    let patient = ReadLimits {
        deadline: (limits.deadline * SHRINKING).min(budget.time_left()),
        ..limits
    };
    shrink::shrink_within(original, cap, &patient).map_err(|problem| {
        // Running out of time is not the image's fault.
        match budget.check() {
            Ok(()) => refuse(&problem),
            Err(over) => IntakeError::Problem(over),
        }
    })
}

/// The kind of one file of an import: an image by its first bytes, otherwise a text or an
/// archive, which can hold images.
fn sort(
    number: u32,
    original: Zeroizing<Vec<u8>>,
    password: Option<&str>,
    budget: &Budget,
) -> Result<Vec<ImportMaterial>, IntakeError> {
    let origin = |name: String| Origin { file: number, name };
    let image = |bytes: Zeroizing<Vec<u8>>, name: String| ImportMaterial::Image {
        bytes: bytes.clone(),
        original: bytes,
        origin: origin(name),
    };
    let problem = match images::inspect(&original) {
        Ok(_) => return Ok(vec![image(original, String::new())]),
        Err(problem) => problem,
    };
    if !matches!(problem, ImageProblem::Unsupported { .. }) {
        return Err(refuse(&problem));
    }
    let file = match ImportFile::read_within(&original, password, budget) {
        Ok(file) => file,
        // A file that is not text is more likely meant as an image.
        Err(InputProblem::TextUndecodable { .. }) if !is_nearly_text(&original) => {
            return Err(refuse(&problem));
        }
        Err(problem @ InputProblem::ImageUnsupported { .. }) => {
            return Err(IntakeError::UnsupportedPicture(problem));
        }
        Err(problem) => return Err(IntakeError::Problem(problem)),
    };
    let mut material: Vec<ImportMaterial> = file
        .images
        .into_iter()
        .map(|picture| image(picture.bytes, picture.name))
        .collect();
    if !file.list.entries.is_empty() {
        let list = file.list;
        let list = ImportMaterial::List {
            list,
            original,
            origin: origin(String::new()),
        };
        material.insert(0, list);
    }
    Ok(material)
}

/// Files and images of an import that cannot be read: each is named in the report, and does not
/// affect the others.
#[derive(Default)]
struct Failures {
    count: usize,
    first: Option<IntakeError>,
}

impl Failures {
    /// The file's entry in the import. A problem of the import as a whole is returned.
    fn keep(
        &mut self,
        error: IntakeError,
        original: Zeroizing<Vec<u8>>,
        origin: Origin,
    ) -> Result<ImportMaterial, IntakeError> {
        let problem = match &error {
            IntakeError::Problem(problem)
            | IntakeError::UnsupportedPicture(problem)
            | IntakeError::PictureTooLarge(problem)
                if !problem.ends_import() =>
            {
                problem.clone()
            }
            _ => return Err(error),
        };
        self.count += 1;
        self.first.get_or_insert(error);
        let name = match origin.name.as_str() {
            "" => format!("file {}", origin.file),
            name => name.to_owned(),
        };
        let entry = ImportEntry::new(&name, Err(problem));
        Ok(ImportMaterial::List {
            list: ImportList {
                entries: vec![entry],
                ..ImportList::default()
            },
            original,
            origin,
        })
    }

    /// Refuses the import for the first reason if none of its parts can be read.
    fn refuse_all(self, parts: usize) -> Result<(), IntakeError> {
        match self.first {
            Some(error) if self.count == parts => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether bytes are a text in an older encoding: few of them are not ASCII, and they do not begin like
/// a known kind of file.
fn is_nearly_text(bytes: &[u8]) -> bool {
    let control = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    !bytes.iter().any(control) && !bytes.starts_with(b"%PDF")
}

/// Makes everything small enough to fit one message together: lists stay as they are, and
/// images share what is left.
fn fit(
    files: Vec<ImportMaterial>,
    failures: &mut Failures,
    budget: &Budget,
) -> Result<Vec<ImportMaterial>, IntakeError> {
    let too_many = || IntakeError::Problem(import::too_many());
    let mut left = sealed::max_plaintext_for_cap();
    let mut images = 0;
    for file in &files {
        match file {
            ImportMaterial::Image { .. } => images += 1,
            ImportMaterial::List { list, .. } => {
                let size = list.to_plaintext().len();
                left = left.checked_sub(size).ok_or_else(too_many)?;
            }
        }
    }
    let share = left / images.max(1);
    let fitted = files.into_iter().map(|file| match file {
        ImportMaterial::Image {
            original, origin, ..
        } => match shrink(&original, share, budget) {
            Ok(bytes) => Ok(ImportMaterial::Image {
                bytes: Zeroizing::new(bytes),
                original,
                origin,
            }),
            Err(error) => failures.keep(error, original, origin),
        },
        list @ ImportMaterial::List { .. } => Ok(list),
    });
    fitted.collect()
}

fn refuse(problem: &ImageProblem) -> IntakeError {
    match *problem {
        ImageProblem::Empty => IntakeError::Problem(InputProblem::ImageEmpty),
        ImageProblem::Unsupported { format } => {
            IntakeError::UnsupportedPicture(InputProblem::ImageUnsupported {
                format: format.to_owned(),
            })
        }
        ImageProblem::Unreadable => IntakeError::Problem(InputProblem::ImageUnreadable),
        ImageProblem::TooSmall { width, height } => {
            IntakeError::Problem(InputProblem::ImageTooSmall { width, height })
        }
        ImageProblem::TooLarge { width, height } => {
            IntakeError::PictureTooLarge(InputProblem::ImageTooLarge { width, height })
        }
        ImageProblem::TooManyBytes { limit, .. } => {
            IntakeError::PictureTooLarge(InputProblem::ImageTooManyBytes {
                limit: limit as u64,
            })
        }
    }
}

//! `countersign export`: writes what a request released to a private file or to
//! standard output, and nowhere else.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::client::{Api, path_of};
use super::find::Wanted;
use super::import::RECOVERY_CODES;
use super::output::{self, text};
use super::receive::Package;
use super::request::{kind, stage};
use super::stages::exit;
use super::{Exit, Fault, Outcome};
use crate::cli::{ExportArgs, ExportFormat};
use crate::{hardening, private_file};

pub(super) async fn run(args: ExportArgs) -> Outcome {
    // A secret passes through this process.
    hardening::harden();
    let is_account = args.id.starts_with("totp-");
    if is_account {
        return Err(Fault::new(
            Exit::Usage,
            "an account can be exported only with a request: make one with `countersign request \
             export ID`, and give its id here",
        ));
    }
    let api = Api::find(&args.server)?;
    let id = api.matter(&args.id, Wanted::Request).await?;
    let request = api.get(&path_of(&id)).await?;
    let stage = stage(&request);
    match (kind(&request), stage.as_str()) {
        ("export", "Granted") => hand_out(&api, &args, &request).await,
        ("transfer", "Done") => hand_over(&args, &request),
        ("export" | "transfer", _) => Err(Fault::new(
            exit(&stage).unwrap_or(Exit::Failed),
            format!("the request is {stage}: there is nothing to export"),
        )),
        (kind, _) => Err(Fault::new(
            Exit::Usage,
            format!("a request of the kind {kind} releases nothing that could be exported"),
        )),
    }
}

/// What a request of the kind `export` gives, once.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handed {
    uri: Zeroizing<String>,
    qr_svg: Zeroizing<String>,
    /// The recovery codes that were left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recovery_codes: Vec<Zeroizing<String>>,
    /// The account's id and labels, for --json.
    #[serde(flatten)]
    more: Map<String, Value>,
}

async fn hand_out(api: &Api, args: &ExportArgs, request: &Value) -> Outcome {
    let format = args.format.unwrap_or(ExportFormat::Uri);
    // It is given only once, so the file is created first.
    let beside = args.output.as_deref().map(beside);
    if let Some(taken) = beside.as_deref().filter(|path| path.exists()) {
        return Err(in_the_way(taken));
    }
    let target = Target::open(args.output.as_deref())?;
    let path = format!("{}/export", path_of(&text(request, "id")));
    let handed: Handed = match api.send_as(api.request(Method::POST, &path)?).await {
        Ok(handed) => handed,
        Err(fault) => {
            target.discard();
            return Err(fault);
        }
    };
    let as_json = args.server.json && matches!(target, Target::Screen);
    let document = match format {
        _ if as_json => {
            Zeroizing::new(serde_json::to_string_pretty(&handed).map_err(Fault::failed)?)
        }
        ExportFormat::Uri => handed.uri,
        ExportFormat::Svg => handed.qr_svg,
        ExportFormat::Qr => drawn(&handed.uri)?,
    };
    let written = target.write(&document);
    // They are given out once, like the account: written even where that was not.
    let codes = match as_json {
        true => Ok(()),
        false => write_codes(beside.as_deref(), format, &handed.recovery_codes),
    };
    written.and(codes).map_err(|error| {
        Fault::new(
            Exit::Failed,
            format!(
                "cannot write the export, which is given out only once: {error}. Make a new request"
            ),
        )
    })?;
    tell(args, request)
}

/// Where an account's recovery codes are written beside it.
fn beside(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(RECOVERY_CODES);
    PathBuf::from(name)
}

fn in_the_way(path: &Path) -> Fault {
    let message = format!(
        "--output: {} exists already: name a new file",
        path.display()
    );
    Fault::new(Exit::Usage, message)
}

/// Writes recovery codes, one a line: into a file beside the account's, or to standard output,
/// which they would spoil where it is an image.
fn write_codes(
    beside: Option<&Path>,
    format: ExportFormat,
    codes: &[Zeroizing<String>],
) -> io::Result<()> {
    if codes.is_empty() {
        return Ok(());
    }
    let size = codes.iter().map(|code| code.len() + 1).sum();
    let mut lines = Zeroizing::new(String::with_capacity(size));
    for code in codes {
        lines.push_str(code);
        lines.push('\n');
    }
    match beside {
        Some(path) => {
            let mut file = private_file::create(path)?;
            file.write_all(lines.as_bytes())?;
            file.sync_all()
        }
        None if format == ExportFormat::Svg => io::stderr().lock().write_all(lines.as_bytes()),
        None => io::stdout().lock().write_all(lines.as_bytes()),
    }
}

fn hand_over(args: &ExportArgs, request: &Value) -> Outcome {
    if args.format.is_some() {
        return Err(Fault::new(
            Exit::Usage,
            "--format: a transfer's package has one format only",
        ));
    }
    let package = Package {
        id: text(&request["account"], "id"),
        package: text(request, "package"),
    };
    let document = serde_json::to_string_pretty(&package).map_err(Fault::failed)?;
    Target::open(args.output.as_deref())?
        .write(&document)
        .map_err(|error| Fault::new(Exit::Failed, format!("cannot write the package: {error}")))?;
    tell(args, request)
}

/// Says what is in the file; a note if the export itself is on standard output.
fn tell(args: &ExportArgs, request: &Value) -> Outcome {
    let Some(file) = &args.output else {
        return Ok(());
    };
    let account = text(&request["account"], "id");
    let file = file.display().to_string();
    if args.server.json {
        return output::document(
            &json!({"id": text(request, "id"), "account": account, "file": file}),
        );
    }
    output::line(&format!("{account}  written to {file}"));
    Ok(())
}

/// The URI as a QR code of characters: light on dark, as on most terminals.
fn drawn(uri: &str) -> Result<Zeroizing<String>, Fault> {
    let code = QrCode::new(uri).map_err(Fault::failed)?;
    let picture = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    Ok(Zeroizing::new(picture))
}

/// Where it is written.
enum Target<'a> {
    Screen,
    New { file: File, path: &'a Path },
}

impl<'a> Target<'a> {
    fn open(output: Option<&'a Path>) -> Result<Self, Fault> {
        let Some(path) = output else {
            return Ok(Self::Screen);
        };
        match private_file::create(path) {
            Ok(file) => Ok(Self::New { file, path }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(in_the_way(path)),
            Err(error) => Err(Fault::new(
                Exit::Failed,
                format!("cannot create {}: {error}", path.display()),
            )),
        }
    }

    fn write(self, text: &str) -> io::Result<()> {
        match self {
            Self::Screen => {
                let mut out = io::stdout().lock();
                writeln!(out, "{text}")?;
                out.flush()
            }
            Self::New { mut file, .. } => {
                writeln!(file, "{text}")?;
                file.sync_all()
            }
        }
    }

    /// Removes an empty file.
    fn discard(self) {
        if let Self::New { path, .. } = self {
            // It is empty: leaving it is harmless.
            let _ = fs::remove_file(path);
        }
    }
}

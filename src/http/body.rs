//! What somebody uploaded, from any of the accepted kinds of body.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use countersign_enrollment::recovery::{RecoveryCodes, RecoveryCodesError};
use countersign_enrollment::text::{self, UnknownEncoding};
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::FrontDoor;
use super::arrival::{self, Arrival};
use super::error::ApiError;
use crate::intake::{ImportUpload, MAX_BODY, Upload};

/// The most fields of a form.
const MAX_FIELDS: usize = 64;

/// What the body of a request has to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// A small JSON document.
    Json,
    /// A URI or a picture to enroll.
    Upload,
    /// Files to import.
    Files,
}

impl Expected {
    /// The most bytes.
    pub(super) const fn most(self) -> usize {
        match self {
            Self::Json => MAX_JSON,
            Self::Upload | Self::Files => MAX_BODY,
        }
    }

    /// What to send, for whoever has sent nothing.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Json => "Send a JSON document; /docs tells its members.",
            Self::Upload => {
                "Send JSON {\"uri\": \"otpauth://...\"}, or a picture as the body or as the form \
                 field `image`."
            }
            Self::Files => "Send a file as the body, or files as the form fields `file`.",
        }
    }

    /// Which types it may have.
    pub(super) const fn types(self) -> &'static str {
        match self {
            Self::Json => "Send application/json.",
            Self::Upload => {
                "Send application/json, an image/* type, application/octet-stream or \
                 multipart/form-data."
            }
            Self::Files => "Send a file with a type of its own, or multipart/form-data.",
        }
    }

    /// How much is too much, and what to do instead.
    pub(super) fn bound(self) -> String {
        let kib = self.most() / 1024;
        match self {
            Self::Json => format!("A body has at most {kib} KiB here."),
            Self::Upload => format!(
                "A body has at most {} MiB. Crop the picture to the code, or save it smaller.",
                kib / 1024
            ),
            Self::Files => format!(
                "Files have at most {} MiB together. Import them one after the other.",
                kib / 1024
            ),
        }
    }
}

/// An upload in a request's body: JSON `{uri}` or `{image}`, a picture, or a form
/// with one of the fields `image`, `file` and `uri`.
pub(super) struct UploadBody(pub(super) Upload, pub(super) RecoveryCodes);

/// Files to import: one as the body, or several as the form fields `file`, with the form
/// field `password` for an encrypted one.
pub(super) struct ImportBody(pub(super) ImportUpload);

/// A JSON body of at most [`MAX_JSON`] bytes.
pub(super) struct JsonBody<T>(pub(super) T);

/// The same, whatever type it is said to have: Vault's clients, and curl as Vault's
/// documents use it, say something else or nothing.
pub(super) struct UntypedJsonBody<T>(pub(super) T);

/// The largest JSON body where no picture is expected.
const MAX_JSON: usize = 64 * 1024;

/// Text that is wiped when it is no longer needed.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Wiped(String);

impl Wiped {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// What to enroll: exactly one of the first two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1, max_properties = 2)]
pub(super) struct JsonUpload {
    /// An `otpauth://` URI.
    #[schema(value_type = String, required = false, example = "otpauth://totp/Example:alice?secret=JBSWY3DPEHPK3PXP&issuer=Example")]
    uri: Option<Wiped>,
    /// A picture of a QR code, in base64 or as a `data:` URL.
    #[schema(value_type = String, required = false)]
    image: Option<Wiped>,
    /// The recovery codes that the service gave out with it, to be kept beside the account.
    #[serde(rename = "recoveryCodes")]
    #[schema(value_type = Vec<String>, max_items = 64, required = false)]
    recovery_codes: Option<Vec<Wiped>>,
}

/// What to enroll: exactly one of these.
#[derive(ToSchema)]
#[expect(dead_code, reason = "forms are read field by field")]
pub(super) struct UploadForm {
    /// A picture of a QR code.
    #[schema(value_type = Option<String>, format = Binary)]
    image: Option<Vec<u8>>,
    /// The same.
    #[schema(value_type = Option<String>, format = Binary)]
    file: Option<Vec<u8>>,
    /// An `otpauth://` URI.
    uri: Option<String>,
    /// The account's recovery codes, one a line.
    #[schema(rename = "recoveryCodes")]
    recovery_codes: Option<String>,
}

/// Files to import.
#[derive(ToSchema)]
#[expect(dead_code, reason = "forms are read field by field")]
pub(super) struct ImportForm {
    /// Exports of other programs, lists of URIs, pictures of QR codes.
    #[schema(value_type = Vec<String>, format = Binary)]
    file: Vec<Vec<u8>>,
    /// For an encrypted export.
    password: Option<String>,
}

impl FromRequest<Arc<FrontDoor>> for UploadBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, door: &Arc<FrontDoor>) -> Result<Self, ApiError> {
        let arrival = Arrival::of(request.extensions());
        let kind = media_type(&request);
        let mut recovery = RecoveryCodes::default();
        let upload = match kind.as_deref() {
            Some("multipart/form-data") => {
                let (upload, codes) = from_form(request, door).await?;
                recovery = codes;
                upload
            }
            Some("application/json") => {
                let (upload, codes) = from_json(&read(request, Expected::Upload).await?)?;
                recovery = codes;
                upload
            }
            // curl --data says this unless told otherwise.
            Some("application/x-www-form-urlencoded") => {
                return Err(ApiError::UnsupportedMediaType(Expected::Upload));
            }
            Some(kind) if kind.starts_with("image/") => {
                Upload::image(&read(request, Expected::Upload).await?)
            }
            Some("application/octet-stream") => {
                Upload::bytes(&read(request, Expected::Upload).await?)
            }
            Some("text/plain") => from_text(&read(request, Expected::Upload).await?)?,
            None => {
                let bytes = read(request, Expected::Upload).await?;
                match text::decode(&bytes) {
                    Ok(text) if text.trim_start().starts_with('{') => {
                        let (upload, codes) = from_json(&bytes)?;
                        recovery = codes;
                        upload
                    }
                    _ => Upload::bytes(&bytes),
                }
            }
            Some(_) => {
                // An empty body of any type is told so: that is the likelier mistake.
                read(request, Expected::Upload).await?;
                return Err(ApiError::UnsupportedMediaType(Expected::Upload));
            }
        };
        arrival::again(arrival.as_ref()).await?;
        Ok(Self(upload, recovery))
    }
}

impl FromRequest<Arc<FrontDoor>> for ImportBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, door: &Arc<FrontDoor>) -> Result<Self, ApiError> {
        let arrival = Arrival::of(request.extensions());
        let upload = match media_type(&request).as_deref() {
            Some("multipart/form-data") => files_from_form(request, door).await?,
            // curl --data says this unless told otherwise.
            Some("application/x-www-form-urlencoded") => {
                return Err(ApiError::UnsupportedMediaType(Expected::Files));
            }
            // What a file is shows its content.
            _ => ImportUpload {
                files: vec![read(request, Expected::Files).await?],
                password: None,
            },
        };
        arrival::again(arrival.as_ref()).await?;
        Ok(Self(upload))
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<FrontDoor>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<FrontDoor>) -> Result<Self, ApiError> {
        match media_type(&request).as_deref() {
            None | Some("application/json") => {}
            Some(_) => return Err(ApiError::UnsupportedMediaType(Expected::Json)),
        }
        json(request).await.map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<FrontDoor>> for UntypedJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<FrontDoor>) -> Result<Self, ApiError> {
        json(request).await.map(Self)
    }
}

async fn json<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    let arrival = Arrival::of(request.extensions());
    let bytes = read(request, Expected::Json).await?;
    arrival::again(arrival.as_ref()).await?;
    parse(&bytes)
}

fn media_type(request: &Request) -> Option<String> {
    type_of(request.headers())
}

/// Whether a body is said to be JSON, a problem included.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    type_of(headers)
        .is_some_and(|kind| kind == "application/json" || kind == "application/problem+json")
}

fn type_of(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let text = value.to_str().ok()?;
    let kind = text.split(';').next().unwrap_or(text).trim();
    Some(kind.to_ascii_lowercase())
}

/// The whole body, refused before it is read if its length is known to be too much.
async fn read(request: Request, expected: Expected) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    refuse_too_long(&request, expected)?;
    let limited = axum::body::to_bytes(request.into_body(), expected.most()).await;
    let bytes: Bytes = limited.map_err(|error| {
        if is_length_limit(&error) {
            ApiError::BodyTooLarge(expected)
        } else {
            ApiError::UnreadableBody
        }
    })?;
    if bytes.is_empty() {
        return Err(ApiError::EmptyBody(expected));
    }
    Ok(wiped(bytes))
}

/// Copies into memory that is wiped, and wipes the source where nobody else holds it.
fn wiped(bytes: Bytes) -> Zeroizing<Vec<u8>> {
    let copy = Zeroizing::new(bytes.to_vec());
    if let Ok(mut source) = bytes.try_into_mut() {
        zeroize::Zeroize::zeroize(source.as_mut());
    }
    copy
}

fn refuse_too_long(request: &Request, expected: Expected) -> Result<(), ApiError> {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    match announced {
        Some(length) if length > expected.most() as u64 => Err(ApiError::BodyTooLarge(expected)),
        _ => Ok(()),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        next = cause.source();
    }
    false
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let text = text::decode(bytes).map_err(|unknown| ApiError::InvalidJson {
        detail: format!(
            "It is not text in UTF-8 or UTF-16 but {}.",
            unknown.looks_like
        ),
    })?;
    serde_json::from_str(&text).map_err(|error| {
        use serde_json::error::Category;
        let what = match error.classify() {
            Category::Syntax => "It is not valid JSON".to_owned(),
            Category::Eof => "It ends too early".to_owned(),
            Category::Data => unfit(&error.to_string()),
            Category::Io => "It could not be read".to_owned(),
        };
        ApiError::InvalidJson {
            detail: format!(
                "{what}, at line {} column {}.",
                error.line(),
                error.column()
            ),
        }
    })
}

/// What of an error about a member can be told. Its text can quote the body, which may
/// hold a secret; what was expected comes last in it and from the server alone.
fn unfit(error: &str) -> String {
    let text = error
        .rsplit_once(" at line ")
        .map_or(error, |(text, _)| text);
    let missing = text.strip_prefix("missing field ");
    match (missing, text.rsplit_once(", expected ")) {
        (Some(name), _) => format!("The member {name} is missing"),
        (None, Some((what, names))) if what.starts_with("unknown field ") => {
            format!("There is a member that is not taken here; it may be {names}")
        }
        (None, Some((_, expected))) => {
            format!("A member has a value that is not taken; it has to be {expected}")
        }
        (None, None) => "A member is missing, unknown or of the wrong type".to_owned(),
    }
}

fn from_json(bytes: &[u8]) -> Result<(Upload, RecoveryCodes), ApiError> {
    let body: JsonUpload = parse(bytes)?;
    let codes = body.recovery_codes.iter().flatten().map(Wiped::as_str);
    let recovery = RecoveryCodes::new(codes).map_err(|error| unfit_codes(&error))?;
    match (&body.uri, &body.image) {
        (Some(uri), None) => Ok((Upload::uri(&uri.0), recovery)),
        (None, Some(image)) => Ok((Upload::image(&base64(&image.0)?), recovery)),
        _ => Err(ApiError::InvalidJson {
            detail: "Send exactly one of the members `uri` and `image`.".to_owned(),
        }),
    }
}

fn from_text(bytes: &[u8]) -> Result<Upload, ApiError> {
    Ok(Upload::uri(text::trim(&text_of(bytes)?)))
}

/// The bytes of a base64 text in any of its alphabets, or of a `data:` URL.
fn base64(text: &str) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let text = match text.strip_prefix("data:") {
        Some(url) => url.split_once(";base64,").map_or("", |(_, data)| data),
        None => text,
    };
    let compact = Zeroizing::new(
        text.bytes()
            .filter(|b| !b.is_ascii_whitespace())
            .collect::<Vec<u8>>(),
    );
    [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD]
        .iter()
        .find_map(|alphabet| alphabet.decode(&compact).ok())
        .map(Zeroizing::new)
        .ok_or_else(|| ApiError::InvalidJson {
            detail: "The member `image` is neither base64 nor a base64 data: URL.".to_owned(),
        })
}

/// The fields of a form within the limit of a body, one after the other.
struct Form {
    fields: Multipart,
    expected: Expected,
    read: usize,
}

impl Form {
    async fn open(
        request: Request,
        door: &Arc<FrontDoor>,
        expected: Expected,
    ) -> Result<Self, ApiError> {
        refuse_too_long(&request, expected)?;
        // axum's default limit is smaller than ours; its own extension raises it.
        let (parts, body) = request.into_parts();
        let body = Body::new(http_body_util::Limited::new(body, expected.most()));
        let mut request = Request::from_parts(parts, body);
        axum::extract::DefaultBodyLimit::max(expected.most()).apply(&mut request);
        let fields = Multipart::from_request(request, door)
            .await
            .map_err(|_| ApiError::UnreadableBody)?;
        Ok(Self {
            fields,
            expected,
            read: 0,
        })
    }

    /// The next field's name and content.
    async fn next(&mut self) -> Result<Option<(String, Zeroizing<Vec<u8>>)>, ApiError> {
        let expected = self.expected;
        let unreadable = |error: MultipartError| {
            if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::BodyTooLarge(expected)
            } else {
                ApiError::UnreadableBody
            }
        };
        let Some(field) = self.fields.next_field().await.map_err(unreadable)? else {
            return Ok(None);
        };
        self.read += 1;
        if self.read > MAX_FIELDS {
            return Err(unfit_form(format!(
                "at most {MAX_FIELDS} fields; send the others after these"
            )));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let content = wiped(field.bytes().await.map_err(unreadable)?);
        Ok(Some((name, content)))
    }
}

/// A form that is not taken: doing only what is understood of it could be less than was
/// meant, or more.
const fn unfit_form(detail: String) -> ApiError {
    ApiError::InvalidParameter {
        name: "form",
        detail,
    }
}

async fn files_from_form(
    request: Request,
    door: &Arc<FrontDoor>,
) -> Result<ImportUpload, ApiError> {
    let mut form = Form::open(request, door, Expected::Files).await?;
    let mut upload = ImportUpload::default();
    while let Some((name, content)) = form.next().await? {
        match name.as_str() {
            "file" | "image" | "uri" if content.is_empty() => {}
            "file" | "image" | "uri" => upload.files.push(content),
            "password" => {
                let text = text::password(&content).map_err(undecodable)?;
                upload.password = Some(text).filter(|text| !text.is_empty());
            }
            _ => {
                return Err(unfit_form(
                    "its fields are `file` and `password`; how to import goes into the address, \
                     such as ?dryRun=true"
                        .to_owned(),
                ));
            }
        }
    }
    if upload.files.is_empty() {
        return Err(ApiError::EmptyBody(Expected::Files));
    }
    Ok(upload)
}

async fn from_form(
    request: Request,
    door: &Arc<FrontDoor>,
) -> Result<(Upload, RecoveryCodes), ApiError> {
    let mut form = Form::open(request, door, Expected::Upload).await?;
    let mut found = None;
    let mut recovery = RecoveryCodes::default();
    while let Some((name, content)) = form.next().await? {
        let upload = match name.as_str() {
            "recoveryCodes" if recovery.is_empty() => {
                recovery = RecoveryCodes::of_lines(&text_of(&content)?)
                    .map_err(|error| unfit_codes(&error))?;
                continue;
            }
            "image" | "file" if content.is_empty() => continue,
            "image" | "file" => Upload::bytes(&content),
            "uri" => match text::trim(&text_of(&content)?) {
                "" => continue,
                text => Upload::uri(text),
            },
            _ => {
                return Err(unfit_form(
                    "its field is `image`, `file` or `uri`, and once `recoveryCodes`; how to enroll \
                     goes into the address, such as ?approval=required"
                        .to_owned(),
                ));
            }
        };
        if found.replace(upload).is_some() {
            return Err(unfit_form(
                "one account is enrolled at a time; send several to /api/imports".to_owned(),
            ));
        }
    }
    let upload = found.ok_or(ApiError::EmptyBody(Expected::Upload))?;
    Ok((upload, recovery))
}

fn unfit_codes(error: &RecoveryCodesError) -> ApiError {
    ApiError::InvalidParameter {
        name: "recoveryCodes",
        detail: error.to_string(),
    }
}

fn text_of(content: &[u8]) -> Result<Zeroizing<String>, ApiError> {
    text::decode(content).map_err(undecodable)
}

fn undecodable(unknown: UnknownEncoding) -> ApiError {
    ApiError::Input(unknown.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_in_every_usual_spelling() {
        for text in [
            "+/8=",
            "+/8",
            "-_8=",
            "-_8",
            "data:image/png;base64,+/8=",
            "+/\n8=",
        ] {
            assert_eq!(*base64(text).unwrap(), [0xfb, 0xff], "{text}");
        }
        assert!(base64("data:image/png,raw").is_ok_and(|b| b.is_empty()));
        assert!(base64("not base64!").is_err());
    }

    #[test]
    fn an_error_does_not_quote_the_body() {
        let error = from_json(br#"{"uri": 1, "secret": "JBSWY3DPEHPK3PXP"}"#).err();
        let Some(ApiError::InvalidJson { detail }) = error else {
            panic!("accepted");
        };
        assert!(!detail.contains("JBSW"), "{detail}");
    }

    #[test]
    fn what_a_member_has_to_be_is_told_and_never_what_it_is() {
        let table = [
            (r#"{}"#, "The member `token` is missing"),
            (
                r#"{"token": "1", "JBSWY3DP, expected x": 1}"#,
                "There is a member that is not taken here; it may be `token` or `kind`",
            ),
            (
                r#"{"token": ["JBSWY3DP"], "kind": "first"}"#,
                "A member has a value that is not taken; it has to be a string",
            ),
            (
                r#"{"token": "1", "kind": "JBSWY3DP, expected JBSWY3DP"}"#,
                "A member has a value that is not taken; it has to be `first` or `second`",
            ),
        ];
        for (body, told) in table {
            let error = parse::<Sample>(body.as_bytes()).err();
            let Some(ApiError::InvalidJson { detail }) = error else {
                panic!("accepted: {body}");
            };
            assert!(detail.starts_with(told), "{body}: {detail}");
            assert!(!detail.contains("JBSW"), "{body}: {detail}");
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read is of interest")]
    struct Sample {
        token: String,
        kind: Kind,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        First,
        Second,
    }
}

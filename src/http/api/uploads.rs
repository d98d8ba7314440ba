//! Uploads to enroll or import, from any of the accepted kinds of body.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use countersign_enrollment::recovery::{RecoveryCodes, RecoveryCodesError};
use countersign_enrollment::text;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use serde::Deserialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::http::FrontDoor;
use crate::http::edge::arrival::{self, Arrival};
use crate::http::edge::body::{Expected, Wiped, media_type, parse, read, text_of, undecodable};
use crate::http::edge::error::ApiError;
use crate::http::edge::form::{Form, unfit_form};
use crate::intake::{ImportUpload, Upload};

/// An upload in a request's body: JSON `{uri}` or `{image}`, an image, or a form
/// with one of the fields `image`, `file` and `uri`.
pub(super) struct UploadBody(pub(super) Upload, pub(super) RecoveryCodes);

/// Files to import: one as the body, or several as the form fields `file`, with the form
/// field `password` for an encrypted one.
pub(super) struct ImportBody(pub(super) ImportUpload);

/// What to enroll: exactly one of the first two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1, max_properties = 2)]
pub(super) struct JsonUpload {
    /// An `otpauth://` URI.
    #[schema(value_type = String, required = false, example = "otpauth://totp/Example:alice?secret=JBSWY3DPEHPK3PXP&issuer=Example")]
    uri: Option<Wiped>,
    /// An image of a QR code, in base64 or as a `data:` URL.
    #[schema(value_type = String, required = false)]
    image: Option<Wiped>,
    /// The recovery codes that the service issued with it, to be stored with the account.
    #[serde(rename = "recoveryCodes")]
    #[schema(value_type = Vec<String>, max_items = 64, required = false)]
    recovery_codes: Option<Vec<Wiped>>,
}

/// What to enroll: exactly one of these.
#[derive(ToSchema)]
#[expect(dead_code, reason = "forms are read field by field")]
pub(super) struct UploadForm {
    /// An image of a QR code.
    #[schema(value_type = Option<String>, format = Binary)]
    image: Option<Vec<u8>>,
    /// The same as `image`.
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
    /// Exports of other programs, lists of URIs, images of QR codes.
    #[schema(value_type = Vec<String>, format = Binary)]
    file: Vec<Vec<u8>>,
    /// The password of an encrypted export.
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
            // curl --data sends this type by default.
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
                // An empty body is reported as such, whatever its type: that is the likelier mistake.
                read(request, Expected::Upload).await?;
                return Err(ApiError::UnsupportedMediaType(Expected::Upload));
            }
        };
        arrival::reauthenticate(arrival.as_ref()).await?;
        Ok(Self(upload, recovery))
    }
}

impl FromRequest<Arc<FrontDoor>> for ImportBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, door: &Arc<FrontDoor>) -> Result<Self, ApiError> {
        let arrival = Arrival::of(request.extensions());
        let upload = match media_type(&request).as_deref() {
            Some("multipart/form-data") => files_from_form(request, door).await?,
            // curl --data sends this type by default.
            Some("application/x-www-form-urlencoded") => {
                return Err(ApiError::UnsupportedMediaType(Expected::Files));
            }
            // A file's kind is recognized by its content.
            _ => ImportUpload {
                files: vec![read(request, Expected::Files).await?],
                password: None,
            },
        };
        arrival::reauthenticate(arrival.as_ref()).await?;
        Ok(Self(upload))
    }
}

fn from_json(bytes: &[u8]) -> Result<(Upload, RecoveryCodes), ApiError> {
    let body: JsonUpload = parse(bytes)?;
    let codes = body.recovery_codes.iter().flatten().map(Wiped::as_str);
    let recovery = RecoveryCodes::new(codes).map_err(|error| unfit_codes(&error))?;
    match (&body.uri, &body.image) {
        (Some(uri), None) => Ok((Upload::uri(uri.as_str()), recovery)),
        (None, Some(image)) => Ok((Upload::image(&base64(image.as_str())?), recovery)),
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
                    "its fields are `file` and `password`; options go into the address, such as \
                     ?dryRun=true"
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
                    "its field is `image`, `file` or `uri`, and once `recoveryCodes`; options go \
                     into the address, such as ?approval=required"
                        .to_owned(),
                ));
            }
        };
        if found.replace(upload).is_some() {
            return Err(unfit_form(
                "only one account can be enrolled at a time; send several to /api/imports"
                    .to_owned(),
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
}

//! `countersign enroll`: uploads a picture or a URI and follows it to the end.

use reqwest::Method;
use serde_json::json;
use zeroize::Zeroizing;

use super::client::Api;
use super::{Exit, Fault, Outcome, input, output, status};
use crate::cli::{ApprovalArg, EnrollArgs};
use crate::intake::MAX_BODY;

pub(super) async fn run(args: EnrollArgs) -> Outcome {
    if args.source == "-" && args.server.token_file.as_deref() == Some("-") {
        return Err(Fault::new(
            Exit::Usage,
            "standard input cannot be both the picture or URI and the token",
        ));
    }
    let api = Api::find(&args.server)?;
    let source = read_source(&args.source)?;
    let path = match args.approval {
        Some(ApprovalArg::Required) => "/api/enrollments?approval=required",
        None => "/api/enrollments",
    };
    let mut request = api.request(Method::POST, path)?;
    if let Some(key) = &args.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let request = match source {
        Input::Uri(text) => request.json(&json!({"uri": text.as_str()})),
        Input::Picture(bytes) => request
            .header("content-type", "application/octet-stream")
            .body(bytes.to_vec()),
    };
    let started = match api.try_send(request).await? {
        Ok(started) => started,
        // What cannot be enrolled is an invalid enrollment, seen at the door.
        Err(refusal) if matches!(refusal.status.as_u16(), 413 | 415 | 422) => {
            if args.server.json {
                output::document(&refusal.problem)?;
                return Err(Fault::quiet(Exit::NotEnrolled));
            }
            return Err(Fault::new(Exit::NotEnrolled, refusal.sentence()));
        }
        Err(refusal) => return Err(refusal.into_fault()),
    };
    let id = started["id"].as_str().unwrap_or_default().to_owned();
    if args.no_wait && !status::has_ended(&started) {
        return status::started(&started, args.server.json);
    }
    let ended = status::wait(&api, &id, started, false).await?;
    status::report(&ended, args.server.json)
}

enum Input {
    Uri(Zeroizing<String>),
    Picture(Zeroizing<Vec<u8>>),
}

fn read_source(source: &str) -> Result<Input, Fault> {
    if looks_like_uri(source.as_bytes()) {
        output::exposed(
            "a URI with its secret",
            "-, which reads it from standard input,",
        );
        return Ok(Input::Uri(Zeroizing::new(source.to_owned())));
    }
    let bytes = input::read(source, MAX_BODY as u64 + 1)?;
    if bytes.len() > MAX_BODY {
        return Err(Fault::new(
            Exit::NotEnrolled,
            format!(
                "the picture has more than {} MiB: crop it to the code, or save it smaller",
                MAX_BODY / (1024 * 1024)
            ),
        ));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) if looks_like_uri(text.trim().as_bytes()) => {
            Ok(Input::Uri(Zeroizing::new(text.trim().to_owned())))
        }
        _ => Ok(Input::Picture(bytes)),
    }
}

fn looks_like_uri(bytes: &[u8]) -> bool {
    bytes.len() > 8 && bytes[..7].eq_ignore_ascii_case(b"otpauth") && bytes.contains(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_told_from_a_file() {
        for uri in [
            "otpauth://totp/a?secret=MY",
            "OTPAUTH-MIGRATION://offline?data=x",
        ] {
            assert!(looks_like_uri(uri.as_bytes()), "{uri}");
        }
        for file in ["otpauth.png", "./otpauth", "-", "photo.jpg"] {
            assert!(!looks_like_uri(file.as_bytes()), "{file}");
        }
    }
}

//! `countersign enroll`: uploads an image or a URI and waits for the result.

use countersign_enrollment::foreign::ForeignKind;
use countersign_enrollment::otpauth;
use countersign_enrollment::text;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::json;
use zeroize::Zeroizing;

use super::client::Api;
use super::{Exit, Fault, Outcome, input, output, recovery, stages, status};
use crate::cli::{ApprovalArg, DuplicatesArg, EnrollArgs, KindArg};
use crate::intake::MAX_BODY;

pub(super) async fn run(args: EnrollArgs) -> Outcome {
    if args.source == ["-"] && args.server.at.token_file.as_deref() == Some("-") {
        return Err(Fault::new(
            Exit::Usage,
            "standard input cannot be both the image or URI and the token",
        ));
    }
    let api = Api::find(&args.server)?;
    let source = read_source(&args.source)?;
    let mut query = Vec::new();
    if args.approval == Some(ApprovalArg::Required) {
        query.push("approval=required");
    }
    if args.proof {
        query.push("proof=required");
    }
    if args.kind == Some(KindArg::Steam) {
        query.push("kind=steam");
    }
    if args.duplicates == Some(DuplicatesArg::Refuse) {
        query.push("duplicates=refuse");
    }
    let path = format!("/api/enrollments?{}", query.join("&"));
    let path = path.trim_end_matches('?');
    let mut request = api.request(Method::POST, path)?;
    if let Some(key) = &args.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let codes = args.recovery_codes.as_deref().map(recovery::read);
    let codes = codes.transpose()?.unwrap_or_default();
    let request = match source {
        Input::Uri(text) => {
            let codes: Vec<&str> = codes.expose().collect();
            request.json(&json!({"uri": text.as_str(), "recoveryCodes": codes}))
        }
        Input::Picture(bytes) if codes.is_empty() => request
            .header("content-type", "application/octet-stream")
            .body(bytes.to_vec()),
        Input::Picture(bytes) => {
            let lines: Vec<&str> = codes.expose().collect();
            let form = Form::new().part("file", Part::bytes(bytes.to_vec()).file_name("file"));
            request.multipart(form.text("recoveryCodes", lines.join("\n")))
        }
    };
    let started = match api.try_send(request).await? {
        Ok(started) => started,
        // An upload that the server refuses is an invalid enrollment.
        Err(refusal) if matches!(refusal.status.as_u16(), 413 | 415 | 422) => {
            if args.server.json {
                output::document(&refusal.problem)?;
                return Err(Fault::quiet(Exit::NotEnrolled));
            }
            return Err(Fault::new(Exit::NotEnrolled, refusal.sentence()));
        }
        Err(refusal) => return Err(refusal.into_fault()),
    };
    api.needed(&started, "stage")?;
    let id = api.needed(&started, "id")?.to_owned();
    if args.no_wait && !stages::has_ended(&started) {
        return status::started(&started, args.server.json);
    }
    let ended = status::wait(&api, &id, started, false).await?;
    status::report(&ended, args.server.json)
}

enum Input {
    Uri(Zeroizing<String>),
    Picture(Zeroizing<Vec<u8>>),
}

fn read_source(words: &[String]) -> Result<Input, Fault> {
    input::refuse_secret(words).or_else(|fault| match words {
        // A URI counts as a secret too.
        [source] if otpauth::is_meant(source) => Ok(()),
        _ => Err(fault),
    })?;
    let [source] = words else {
        return Err(Fault::new(
            Exit::Usage,
            "enroll takes one account: quote a URI or a name with spaces, or send several with \
             `countersign import`",
        ));
    };
    if otpauth::is_meant(source) {
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
                "the image has more than {} MiB: crop it to the QR code, or scale it down",
                MAX_BODY / (1024 * 1024)
            ),
        ));
    }
    // The server says what a text is if it is not a URI.
    match text::decode(&bytes) {
        Ok(text) if otpauth::is_meant(&text) || is_bare_secret(&text) => {
            Ok(Input::Uri(Zeroizing::new(text::trim(&text).to_owned())))
        }
        _ => Ok(Input::Picture(bytes)),
    }
}

fn is_bare_secret(text: &str) -> bool {
    matches!(ForeignKind::of(text), ForeignKind::BareSecret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(words: &[&str]) -> Result<Input, Fault> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        read_source(&words)
    }

    #[test]
    fn a_uri_is_distinguished_from_a_file() {
        for uri in [
            "otpauth://totp/a?secret=MY",
            "OTPAUTH-MIGRATION://offline?data=x",
            "steam://GEZDGNBVGY3TQOJQ",
            "\"otpauth://totp/a?secret=MY\"",
            "otpauth%3A%2F%2Ftotp%2Fa%3Fsecret%3DMY",
        ] {
            assert!(matches!(source(&[uri]), Ok(Input::Uri(_))), "{uri}");
        }
        for file in ["otpauth.png", "./otpauth", "photo.jpg"] {
            let fault = source(&[file]).err().map(|fault| fault.exit);
            assert_eq!(fault, Some(Exit::Failed), "{file}");
        }
    }

    #[test]
    fn a_secret_is_named_and_not_repeated() {
        for words in [
            &["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"][..],
            &["gezdgnbvgy3tqojq"],
            &["GEZD GNBV GY3T QOJQ"],
            &["gezd", "gnbv", "gy3t", "qojq"],
            &["GEZD-GNBV-GY3T-QOJQ"],
        ] {
            let message = source(words).err().and_then(|fault| fault.message);
            let message = message.unwrap_or_default();
            assert!(
                message.contains("looks like a secret"),
                "{words:?}: {message}"
            );
            for word in words {
                assert!(!message.contains(word), "{words:?}: {message}");
            }
        }
    }
}

//! `countersign token` and `countersign verify`: an account's code, and whether one is valid.

use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::{Api, is_request, with_reason};
use super::find::{Among, Wanted};
use super::output::{self, text};
use super::{Exit, Fault, Outcome, account, input, request};
use crate::cli::{TokenArgs, VerifyArgs};

/// The longest code that is read from standard input, in bytes.
const MAX_CODE: u64 = 256;
/// The clipboard programs of desktops, each with the variable that
/// shows that such a desktop runs.
const CLIPBOARDS: [(&str, &str, &[&str]); 4] = [
    ("WAYLAND_DISPLAY", "wl-copy", &[]),
    ("DISPLAY", "xclip", &["-selection", "clipboard"]),
    ("DISPLAY", "xsel", &["--clipboard", "--input"]),
    ("__CFBundleIdentifier", "pbcopy", &[]),
];

pub(super) async fn run(args: TokenArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let reason = args.reason.as_deref();
    let code = if is_request(&args.id) {
        if args.min_validity.is_some() || args.next {
            return Err(Fault::new(
                Exit::Usage,
                "a request grants the current code: omit --min-validity and --next",
            ));
        }
        let id = api.matter(&args.id, Wanted::Request).await?;
        request::granted(&api, &id, "code", reason).await?
    } else {
        let id = api.account(&args.id, Among::InUse).await?;
        let query = match args.min_validity {
            Some(seconds) => format!("?minValidity={seconds}"),
            None => String::new(),
        };
        let asked = api.request(Method::GET, &format!("{}/token{query}", account::path(&id)))?;
        api.send(with_reason(asked, reason)).await?
    };
    if args.next && code["nextToken"].as_str().is_none() {
        return Err(Fault::new(
            Exit::NotAllowed,
            "this key cannot read the next code, since its reads are counted",
        ));
    }
    api.needed(&code, "token")?;
    if args.server.json {
        return output::document(&code);
    }
    let (digits, time) = if args.next {
        let from = text(&code, "validUntil");
        (text(&code, "nextToken"), format!("valid from {from}"))
    } else {
        let seconds = &code["timeRemaining"];
        (text(&code, "token"), format!("valid for {seconds} seconds"))
    };
    if args.copy {
        copy(&digits)?;
        output::note(&format!("Copied; {time}"));
        return Ok(());
    }
    output::line(&digits);
    if std::io::stderr().is_terminal() {
        output::note(&time);
    }
    Ok(())
}

/// Copies a code to the desktop's clipboard, or to the terminal's if there is no desktop.
fn copy(code: &str) -> Outcome {
    let there = |variable: &str| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    for (variable, program, arguments) in CLIPBOARDS {
        if there(variable) && piped(program, arguments, code) {
            return Ok(());
        }
    }
    if std::io::stderr().is_terminal() {
        // OSC 52, which terminals pass on over SSH too.
        let mut out = std::io::stderr().lock();
        let sequence = format!("\x1b]52;c;{}\x07", BASE64.encode(code.as_bytes()));
        if out
            .write_all(sequence.as_bytes())
            .and_then(|()| out.flush())
            .is_ok()
        {
            return Ok(());
        }
    }
    Err(Fault::new(
        Exit::Failed,
        "--copy: no clipboard program was found: install wl-copy, xclip or xsel, or omit --copy",
    ))
}

/// Whether a program accepted the code on its standard input.
fn piped(program: &str, arguments: &[&str], code: &str) -> bool {
    let started = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = started else { return false };
    let given = child
        .stdin
        .take()
        .is_some_and(|mut pipe| pipe.write_all(code.as_bytes()).is_ok());
    given && child.wait().is_ok_and(|ended| ended.success())
}

pub(super) async fn verify(args: VerifyArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let code = match args.code.as_str() {
        "-" => {
            let bytes = input::read("-", MAX_CODE)?;
            String::from_utf8_lossy(&bytes).trim().to_owned()
        }
        code => code.to_owned(),
    };
    let id = api.account(&args.id, Among::InUse).await?;
    let request = api
        .request(Method::POST, &format!("{}/verify", account::path(&id)))?
        .json(&json!({ "token": code }));
    let verdict = api.send(request).await?;
    let valid = verdict["valid"].as_bool();
    let valid = valid.ok_or_else(|| api.is_another(StatusCode::OK))?;
    if args.server.json {
        output::document(&verdict)?;
    } else {
        output::line(&said(&verdict, valid));
    }
    match valid {
        true => Ok(()),
        false => Err(Fault::quiet(Exit::NotValid)),
    }
}

fn said(verdict: &Value, valid: bool) -> String {
    match (valid, verdict["reason"].as_str()) {
        (true, _) => match verdict["drift"].as_i64() {
            Some(0) | None => "valid".to_owned(),
            Some(steps) => format!("valid, {} time step {}", steps.abs(), {
                if steps < 0 { "late" } else { "early" }
            }),
        },
        (false, Some("already-used")) => {
            "not valid: this code, or a later one, was used before".to_owned()
        }
        (false, _) => "not valid".to_owned(),
    }
}

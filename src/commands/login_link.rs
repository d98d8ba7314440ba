//! `countersign login-link`: a link that logs a browser in, once.

use reqwest::Url;
use serde_json::json;

use super::client::Api;
use super::output::{self, clean, text};
use super::{Fault, Outcome};
use crate::cli::ServerArgs;

pub(super) async fn run(args: ServerArgs) -> Outcome {
    let api = Api::find(&args)?;
    let made = api.post("/api/login-links").await?;
    let path = made["link"]
        .as_str()
        .filter(|path| path.starts_with("/login#"));
    let path = path.ok_or_else(|| {
        Fault::failed("unexpected answer from the server: is it countersign, of this version?")
    })?;
    // Browsers use the address that people know, if the server knows it.
    let public = made["url"].as_str().and_then(|url| Url::parse(url).ok());
    let public = public.filter(|url| matches!(url.scheme(), "http" | "https"));
    let link = match public {
        Some(link) => link,
        None => api.address(path)?,
    };
    if args.json {
        return output::document(&json!({
            "link": link.as_str(),
            "validUntil": made["validUntil"],
        }));
    }
    output::line(&clean(link.as_str()));
    output::note(&format!(
        "Open it in a browser: it works once, until {}.",
        text(&made, "validUntil")
    ));
    Ok(())
}

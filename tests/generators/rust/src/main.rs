//! Calls of each kind by the client that progenitor has generated, each decoded.

use std::env;
use std::error::Error;

use api::types::{
    BatchItem, EnrollmentView, EnsureAccountResponse, EnsureBody, JsonUpload, Problem, ProblemCode,
    ReadCodesResponse, Stage, StartEnrollmentResponse,
};
use futures_util::TryStreamExt as _;
use progenitor_client::Error as CallError;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

#[allow(dead_code, unused_imports, clippy::all)]
mod api {
    include!(concat!(env!("OUT_DIR"), "/api.rs"));
}

const UNKNOWN: &str = "totp-00000000-0000-4000-8000-000000000000";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let uri = env::var("ACCOUNT_URI")?;
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {}", env::var("COUNTERSIGN_TOKEN")?);
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&bearer)?);
    let http = reqwest::Client::builder()
        .default_headers(headers)
        .build()?;
    let client = api::Client::new_with_client(&env::var("COUNTERSIGN_SERVER")?, http);

    let ensure = client
        .ensure_account()
        .body(EnsureBody { uri: uri.clone() });
    let EnsureAccountResponse::EnsuredView(ensured) = ensure.send().await?.into_inner() else {
        return Err("it is not there".into());
    };
    let page = client.list_accounts().search("Shop").send().await?;
    let listed = page
        .accounts
        .iter()
        .find(|account| account.id == ensured.id);
    let id = &listed.ok_or("it is not listed")?.id;
    let account = client.get_account().id(id).send().await?;
    assert_eq!(account.issuer.as_deref(), Some("Shop"));
    assert_eq!(account.account_name, "ann");

    let both = vec![id.clone(), UNKNOWN.to_owned()];
    let codes = client.read_codes().id(both).send().await?.into_inner();
    let ReadCodesResponse::Batch(batch) = codes else {
        return Err(format!("no batch: {codes:?}").into());
    };
    let [
        BatchItem::Variant0 { token, .. },
        BatchItem::Variant1 { problem, .. },
    ] = batch.tokens.as_slice()
    else {
        return Err(format!("another batch: {batch:?}").into());
    };
    assert_eq!((token.len(), problem.as_str()), (6, "account-unknown"));

    let upload = JsonUpload {
        uri: Some(uri.replace("ann", "rust")),
        image: None,
        recovery_codes: Vec::new(),
    };
    let started = client.start_enrollment().body(upload).send().await?;
    let started = match started.into_inner() {
        StartEnrollmentResponse::StartedView(started) => started.id,
        StartEnrollmentResponse::EnrollmentView(ended) => ended.id,
    };
    let ended: EnrollmentView = loop {
        let seen = client.get_enrollment().id(&started).wait(30).send().await?;
        let seen = seen.into_inner();
        if !matches!(
            seen.stage,
            Stage::Pending | Stage::Decoding | Stage::Validating | Stage::Storing
        ) {
            break seen;
        }
    };
    assert_eq!(ended.stage, Stage::Enrolled);

    let requests = client.list_requests().send().await?;
    assert!(requests.requests.is_empty());

    let refused = client.get_account().id(UNKNOWN).send().await;
    let Err(CallError::ErrorResponse(refused)) = refused else {
        return Err(format!("not refused: {refused:?}").into());
    };
    let body: Vec<bytes::Bytes> = refused.into_inner().into_inner().try_collect().await?;
    let problem: Problem = serde_json::from_slice(&body.concat())?;
    assert_eq!(problem.code, ProblemCode::AccountUnknown);
    assert_eq!(problem.status, 404);
    Ok(())
}

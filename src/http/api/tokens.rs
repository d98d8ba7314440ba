//! `/api/tokens` and `…/token`: codes, one or many.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::ids::AccountPath;
use super::permit::{READS_AT_ONCE, ReadPermit};
use super::views::{Batch, BatchItem, TokenView};
use crate::audit::{Action, Outcome};
use crate::codes::CurrentCode;
use crate::http::FrontDoor;
use crate::http::edge::auth::{Caller, Permission as _, Read};
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::{Exception, Facts, caught};
use crate::http::edge::parameters::ids;
use crate::http::edge::path::Path;
use crate::http::edge::problem_code::ProblemCode;
use crate::http::edge::reply::no_store;

/// How many codes are given at a time.
const MAX_BATCH: usize = 500;
/// The longest validity that a request can ask for, in seconds.
const MAX_VALIDITY: i64 = 60;

/// The parameters of a code.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "parsed by hand, since ids may repeat")]
struct CodeParameters {
    /// How many seconds the code must stay valid.
    #[param(rename = "minValidity", maximum = 60, default = 0)]
    min_validity: Option<u32>,
    /// If the current code is not valid for that long: `wait` for one that is, or return
    /// the `next` one at once, which becomes valid at `validFrom`.
    #[param(rename = "whenShort", inline)]
    when_short: Option<WhenShort>,
    /// Whether reading again in the same time step uses no further read of a lease, as long
    /// as it has one left: the code is the same.
    #[param(rename = "oncePerStep", default = false)]
    once_per_step: Option<bool>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase", default = "wait")]
#[expect(dead_code, reason = "named in a parameter")]
enum WhenShort {
    Wait,
    Next,
}

/// The problems of reading a code.
const READ: [ProblemCode; 8] = [
    ProblemCode::AccountPending,
    ProblemCode::AccountUnknown,
    ProblemCode::ApprovalNeeded,
    ProblemCode::AuditUnavailable,
    ProblemCode::GrantExpired,
    ProblemCode::GrantUsedUp,
    ProblemCode::InvalidParameter,
    ProblemCode::VaultUnavailable,
];

/// Reads an account's code
#[utoipa::path(
    get, path = "/api/accounts/{id}/token", tag = "codes", operation_id = "readCode",
    params(AccountPath, CodeParameters, IfNoneMatch),
    responses(
        (
            status = OK, description = "The code, with detail", body = TokenView,
            headers(("etag" = String, description = "Names the code's time step")),
        ),
        (
            status = NOT_MODIFIED, description = "It is the code that `If-None-Match` names",
            headers(("etag" = String, description = "Names the code's time step")),
        ),
    ),
    extensions(
        ("x-audit" = json!(Action::ReadCode)),
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!(READ)),
    ),
)]
pub(super) async fn token(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let mut wanted = WantedCode::read(query.as_deref().unwrap_or_default())?;
        wanted.detailed = true;
        code(&door, &caller, &id, &wanted, &headers, &mut facts).await
    })
    .await;
    facts.on(answer)
}

/// The header `If-None-Match`.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "parsed by hand, since it may repeat")]
struct IfNoneMatch {
    /// An earlier answer's `ETag`: the code is not returned while it is the same.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
}

/// Reads codes by a query
///
/// With one id the code itself, with several a list: each a code or the problem with it.
#[utoipa::path(
    get, path = "/api/tokens", tag = "codes", operation_id = "readCodes",
    params(
        ("id" = Vec<String>, Query, description = "An account's id, at most 500 times", min_items = 1, max_items = 500),
        ("detail" = Option<bool>, Query, description = "Whether to return more than `token` and `timeRemaining`"),
        CodeParameters,
        IfNoneMatch,
    ),
    responses(
        (
            status = OK, description = "The code, or the codes", body = inline(Codes),
            headers(("etag" = Option<String>, description = "Names a single code's time step")),
        ),
        (
            status = NOT_MODIFIED, description = "It is the code that `If-None-Match` names",
            headers(("etag" = String, description = "Names the code's time step")),
        ),
    ),
    extensions(
        ("x-audit" = json!(Action::ReadCode)),
        ("x-roles" = json!(Read::ROLES)),
        ("x-problems" = json!(READ)),
    ),
)]
pub(super) async fn token_by_query(
    State(door): State<Arc<FrontDoor>>,
    caller: Caller<Read>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let mut facts = Facts::default();
    let answer = caught(async {
        let query = query.unwrap_or_default();
        let wanted = WantedCode::read(&query)?;
        let asked: Vec<String> = ids(&query).take(MAX_BATCH + 1).collect();
        match asked.as_slice() {
            [] => Err(ApiError::InvalidParameter {
                name: "id",
                detail: "name the account: ?id=totp-...".to_owned(),
            }),
            [id] => code(&door, &caller, id, &wanted, &headers, &mut facts).await,
            _ if asked.len() > MAX_BATCH => Err(ApiError::InvalidParameter {
                name: "id",
                detail: format!("at most {MAX_BATCH} at a time"),
            }),
            _ => Ok(batch(&door, &caller, asked, &wanted, &mut facts).await),
        }
    })
    .await;
    facts.on(answer)
}

/// One code or several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only describes the alternatives")]
enum Codes {
    One(TokenView),
    Several(Batch),
}

/// The requested kind of code.
struct WantedCode {
    detailed: bool,
    /// How long it must stay valid.
    validity: TimeDelta,
    /// Whether to wait for such a code instead of returning one that is not valid yet.
    wait: bool,
    /// Whether reading the same code again uses no further read.
    once: bool,
}

impl WantedCode {
    /// Parameters of which a second value would contradict the first.
    const ONCE: [&str; 4] = ["detail", "minValidity", "whenShort", "oncePerStep"];

    fn read(query: &str) -> Result<Self, ApiError> {
        let mut wanted = Self {
            detailed: false,
            validity: TimeDelta::zero(),
            wait: true,
            once: false,
        };
        let mut seen = [false; Self::ONCE.len()];
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            for (once, seen) in Self::ONCE.into_iter().zip(&mut seen) {
                if name == once && std::mem::replace(seen, true) {
                    return Err(ApiError::InvalidParameter {
                        name: once,
                        detail: "only once".to_owned(),
                    });
                }
            }
            match (name.as_ref(), value.as_ref()) {
                ("detail", "true" | "1") => wanted.detailed = true,
                ("detail", "false" | "0" | "") => wanted.detailed = false,
                ("detail", _) => {
                    return Err(ApiError::InvalidParameter {
                        name: "detail",
                        detail: "`true` or `false`".to_owned(),
                    });
                }
                ("oncePerStep", "true" | "1") => wanted.once = true,
                ("oncePerStep", "false" | "0" | "") => wanted.once = false,
                ("oncePerStep", _) => {
                    return Err(ApiError::InvalidParameter {
                        name: "oncePerStep",
                        detail: "`true` or `false`".to_owned(),
                    });
                }
                ("minValidity", "") => wanted.validity = TimeDelta::zero(),
                ("minValidity", value) => {
                    let seconds = value
                        .parse()
                        .ok()
                        .filter(|seconds| (0..=MAX_VALIDITY).contains(seconds))
                        .ok_or_else(|| ApiError::InvalidParameter {
                            name: "minValidity",
                            detail: format!("whole seconds from 0 to {MAX_VALIDITY}"),
                        })?;
                    wanted.validity = TimeDelta::seconds(seconds);
                }
                ("whenShort", "wait" | "") => wanted.wait = true,
                ("whenShort", "next") => wanted.wait = false,
                ("whenShort", _) => {
                    return Err(ApiError::InvalidParameter {
                        name: "whenShort",
                        detail: "wait or next".to_owned(),
                    });
                }
                _ => {}
            }
        }
        Ok(wanted)
    }
}

async fn code(
    door: &FrontDoor,
    caller: &Caller<Read>,
    id: &str,
    wanted: &WantedCode,
    headers: &HeaderMap,
    facts: &mut Facts,
) -> Result<Response, ApiError> {
    let permit = ReadPermit::of(door, caller, id).await?;
    let id = permit.account();
    let mut code = door.codes.lasting(id, wanted.validity).await?;
    fits(wanted.validity, &code)?;
    let ahead = code.valid_from - code.server_time;
    if let (true, Ok(ahead)) = (wanted.wait, ahead.to_std()) {
        tokio::select! {
            () = tokio::time::sleep(ahead) => code = door.codes.lasting(id, TimeDelta::zero()).await?,
            // A server that is stopping answers at once, with the next code.
            () = door.stop.cancelled() => {}
        }
        caller.reauthenticate().await?;
        permit.check_guard().await?;
    }
    let tag = format!("\"{}\"", code.valid_from.timestamp());
    // Weakly compared, and `*` is any (RFC 9110, section 13.1.2).
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|value| value == "*" || value.strip_prefix("W/").unwrap_or(value) == tag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let alone = match wanted.once {
            true => permit.repeat_code(&code, facts).await?,
            false => permit.take_code(&code, facts).await?,
        };
        let detailed = wanted.detailed || !wanted.wait;
        Json(TokenView::new(code, detailed, alone)).into_response()
    };
    if let Ok(tag) = HeaderValue::from_str(&format!("W/{tag}")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(no_store(response))
}

/// Refuses a validity that no code of the account has.
fn fits(validity: TimeDelta, code: &CurrentCode) -> Result<(), ApiError> {
    if validity > TimeDelta::seconds(i64::from(code.period)) {
        return Err(ApiError::InvalidParameter {
            name: "minValidity",
            detail: format!(
                "each code of this account is valid for {0} seconds, so at most {0} can be \
                 requested; only a code that has just changed is valid that long",
                code.period
            ),
        });
    }
    Ok(())
}

/// The codes of several accounts: each a code or the problem with it.
async fn batch(
    door: &FrontDoor,
    caller: &Caller<Read>,
    ids: Vec<String>,
    wanted: &WantedCode,
    facts: &mut Facts,
) -> Response {
    let answered: Vec<(BatchItem, Facts)> = stream::iter(ids)
        .map(async |text| {
            let mut facts = Facts::default();
            let code = async {
                let permit = ReadPermit::of(door, caller, &text).await?;
                let code = door
                    .codes
                    .lasting(permit.account(), wanted.validity)
                    .await?;
                fits(wanted.validity, &code)?;
                let alone = permit.take_code(&code, &mut facts).await?;
                Ok::<_, ApiError>((code, alone))
            }
            .await;
            let item = match code {
                Ok((code, alone)) => BatchItem::code(text, code, alone),
                Err(error) => {
                    facts.exceptions.push(Exception {
                        subject: text.clone(),
                        problem: error.code(),
                        outcome: match error.is_ours() {
                            true => Outcome::Failed,
                            false => Outcome::Refused,
                        },
                    });
                    BatchItem::problem(text, &error)
                }
            };
            (item, facts)
        })
        .buffered(READS_AT_ONCE)
        .collect()
        .await;
    let mut tokens = Vec::with_capacity(answered.len());
    for (item, one) in answered {
        tokens.push(item);
        facts.also(one);
    }
    no_store(Json(Batch { tokens }).into_response())
}

//! The public JSON of requests.

use chrono::{DateTime, Utc};
use countersign_authority::{Permit, Release};
use countersign_enrollment::account::{AccountPreview, Algorithm, TotpAccount};
use countersign_enrollment::account_request::RequestKind;
use countersign_enrollment::decision::ApprovalDecision;
use countersign_enrollment::ids::CallerId;
use countersign_enrollment::package::Package;
use qrcode::QrCode;
use qrcode::render::svg;
use qrcode::types::QrError;
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::views::{maybe_moment, moment};
use crate::hub::{Mandated, RequestSnapshot, RequestStage};

/// A request.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestView {
    id: String,
    stage: RequestStage,
    #[serde(flatten)]
    act: RequestKind,
    account: AccountPart,
    requested_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(serialize_with = "moment")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "moment")]
    last_updated_at: DateTime<Utc>,
    approval: ApprovalPart,
    /// Until when what was granted can be used.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    until: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reads_left: Option<u32>,
    /// When the account is destroyed.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    removal_at: Option<DateTime<Utc>>,
    /// The account, sealed for the installation that it is transferred to.
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<String>,
    status_query_get_uri: String,
    approval_post_uri: String,
    /// The path for using what was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    use_post_uri: Option<String>,
}

/// The account; its names and the parameters of its codes are present once they were
/// looked up.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AccountPart {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label_issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<Algorithm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digits: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u32>,
}

impl AccountPart {
    fn new(id: String, preview: Option<&AccountPreview>) -> Self {
        Self {
            id,
            issuer: preview.and_then(|it| it.issuer.clone()),
            account_name: preview.map(|it| it.account_name.clone()),
            label_issuer: preview.and_then(|it| it.label_issuer.clone()),
            algorithm: preview.map(|it| it.algorithm),
            digits: preview.map(|it| it.digits),
            period: preview.map(|it| it.period),
        }
    }
}

/// Whether and by whom it must be approved.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RequestApproval)]
struct ApprovalPart {
    required: bool,
    /// How many people must approve.
    needed: u8,
    /// The groups whose members must approve; absent if any approver may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    from: Vec<String>,
    #[schema(value_type = Vec<String>)]
    approved_by: Vec<CallerId>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_moment"
    )]
    deadline: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<ApprovalDecision>,
}

impl RequestView {
    pub(super) fn new(snapshot: &RequestSnapshot) -> Self {
        let path = Self::path(snapshot);
        let granted = snapshot.stage == RequestStage::Granted;
        let action = match snapshot.act {
            RequestKind::Read { .. } if granted => Some("code"),
            RequestKind::Export { .. } if granted => Some("export"),
            _ => None,
        };
        Self {
            id: snapshot.id.to_string(),
            stage: snapshot.stage,
            act: snapshot.act.clone(),
            account: AccountPart::new(
                snapshot.account.to_string(),
                snapshot.asked.as_ref().map(|asked| &asked.preview),
            ),
            requested_by: snapshot.requested_by.clone(),
            reason: snapshot.reason.clone(),
            created_at: snapshot.created_at,
            last_updated_at: snapshot.last_updated_at,
            approval: ApprovalPart {
                required: snapshot.approvals_needed > 0,
                needed: snapshot.approvals_needed,
                from: snapshot.approvers.clone(),
                approved_by: snapshot.approved_by.clone(),
                deadline: snapshot.deadline,
                decision: snapshot.decision.clone(),
            },
            until: snapshot.until,
            reads_left: snapshot.reads_left(),
            removal_at: snapshot.removal_at,
            package: snapshot.package.as_ref().map(Package::to_text),
            use_post_uri: action.map(|action| format!("{path}/{action}")),
            approval_post_uri: format!("{path}/approval"),
            status_query_get_uri: path,
        }
    }

    /// The path of a request's status.
    pub(super) fn path(snapshot: &RequestSnapshot) -> String {
        format!("/api/requests/{}", snapshot.id)
    }
}

/// A page of requests.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestPage {
    pub(super) requests: Vec<RequestView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// An exported account, with its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExportView {
    id: String,
    #[serde(flatten)]
    preview: AccountPreview,
    /// Its `otpauth://` URI.
    #[schema(value_type = String)]
    uri: Zeroizing<String>,
    /// The same as a QR code, an SVG image.
    #[schema(value_type = String)]
    qr_svg: Zeroizing<String>,
    /// The recovery codes that were left, which are not given out again.
    #[schema(value_type = Vec<String>, required = false)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovery_codes: Vec<Zeroizing<String>>,
}

impl ExportView {
    /// The account that a permit releases.
    pub(super) fn new(
        _permit: &Permit<Release>,
        request: &Mandated,
        account: &TotpAccount,
        recovery: &[&str],
    ) -> Result<Self, QrError> {
        let uri = account.to_uri();
        let code = QrCode::new(uri.as_bytes())?;
        let picture = code
            .render::<svg::Color<'_>>()
            .min_dimensions(240, 240)
            .build();
        Ok(Self {
            id: request.account.to_string(),
            preview: account.preview(),
            qr_svg: Zeroizing::new(picture),
            uri,
            recovery_codes: recovery
                .iter()
                .map(|code| Zeroizing::new((*code).to_owned()))
                .collect(),
        })
    }
}

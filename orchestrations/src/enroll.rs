//! One enrollment, from upload to stored secret.

use chrono::{DateTime, Utc};
use countersign_enrollment::account::{AccountPreview, TotpAccount};
use countersign_enrollment::contract::{
    DECODE_QR, DecodeQr, DecodedQr, STORE_SECRET, StoreSecret, VALIDATE_URI, VERIFY_DECISION,
    ValidateUri, ValidatedUri, VerifiedDecision, VerifyDecision,
};
use countersign_enrollment::decision::{ApprovalDecision, RaisedDecision};
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::otpauth::Warning;
use countersign_enrollment::outcome::EnrollmentOutcome;
use countersign_enrollment::progress::Progress;
use countersign_enrollment::request::{EnrollmentRequest, Source};
use countersign_enrollment::sealed::Sealed;
use durabletask_core::{Failure, OrchestrationContext, RetryPolicy, TaskOptions};
use serde::Serialize;

use crate::approval::{Decision, Question, Terms, await_decision};
use crate::notify::Told;
use crate::policy;

/// Enrolls one account: decode the picture (if it is one), check the URI, wait for an
/// approval (if one is asked for), store the secret.
///
/// # Errors
///
/// Only when the system could not do its work. What is wrong with the upload, a refusal
/// and a missed deadline are outcomes.
pub async fn enroll(
    ctx: OrchestrationContext,
    request: EnrollmentRequest,
) -> Result<EnrollmentOutcome, Failure> {
    // The instance id is the enrollment id, and an instance started under any other
    // kind of name is nobody's enrollment.
    let enrollment: EnrollmentId = ctx
        .instance_id()
        .parse()
        .map_err(|error| Failure::from(error).permanent())?;

    let uri = match request.source {
        Source::Uri(uri) => uri,
        Source::Image(image) => {
            ctx.set_custom_status(&Progress::Decoding)?;
            let input = DecodeQr {
                enrollment: enrollment.clone(),
                image,
            };
            let decoded = ctx.call_activity_with(&DECODE_QR, &input, retried(policy::READ));
            match decoded.await? {
                DecodedQr::Found { uri } => uri,
                DecodedQr::Invalid { problem } => {
                    return Ok(EnrollmentOutcome::Invalid { problem });
                }
            }
        }
    };

    ctx.set_custom_status(&Progress::Validating)?;
    let input = ValidateUri {
        enrollment: enrollment.clone(),
        uri,
        received: request.received,
    };
    let validated = ctx.call_activity_with(&VALIDATE_URI, &input, retried(policy::READ));
    let (preview, warnings, account, fingerprint) = match validated.await? {
        ValidatedUri::Valid {
            preview,
            warnings,
            account,
            fingerprint,
        } => (preview, warnings, account, fingerprint),
        ValidatedUri::Invalid { problem } => return Ok(EnrollmentOutcome::Invalid { problem }),
    };

    let mut approvals = match Terms::of(request.approval) {
        None => Vec::new(),
        Some(terms) => {
            let asked = Asked {
                enrollment: enrollment.clone(),
                preview: preview.clone(),
                warnings: warnings.clone(),
                account: account.clone(),
                fingerprint,
                requested_by: request.requested_by.clone(),
            };
            match await_decision(&ctx, &asked, &terms).await? {
                Decision::Approved(decisions) => decisions,
                Decision::Rejected(decision) => {
                    return Ok(EnrollmentOutcome::Rejected { preview, decision });
                }
                Decision::Expired(deadline) => {
                    return Ok(EnrollmentOutcome::Expired { preview, deadline });
                }
            }
        }
    };

    ctx.set_custom_status(&Progress::Storing)?;
    let input = StoreSecret {
        enrollment,
        account,
        pending_for: request.prove.then_some(request.requested_by),
    };
    let stored = ctx
        .call_activity_with(&STORE_SECRET, &input, retried(policy::STORE))
        .await?;
    Ok(EnrollmentOutcome::Enrolled {
        id: stored.id,
        preview,
        warnings,
        approval: approvals.pop(),
        earlier_approvals: approvals,
    })
}

/// What is decided on.
struct Asked {
    enrollment: EnrollmentId,
    preview: AccountPreview,
    warnings: Vec<Warning>,
    account: Sealed<TotpAccount>,
    fingerprint: String,
    requested_by: CallerId,
}

impl Question for Asked {
    fn requested_by(&self) -> &CallerId {
        &self.requested_by
    }

    fn can_be_taken_back(&self) -> bool {
        false
    }

    fn status(&self, deadline: DateTime<Utc>, agreed: &[ApprovalDecision]) -> impl Serialize {
        Progress::AwaitingApproval {
            preview: self.preview.clone(),
            warnings: self.warnings.clone(),
            requested_by: self.requested_by.clone(),
            deadline,
            fingerprint: self.fingerprint.clone(),
            approved_by: agreed.iter().map(|decision| decision.by.clone()).collect(),
        }
    }

    fn told(&self) -> Told<'_> {
        Told {
            kind: "enroll",
            preview: &self.preview,
            requested_by: &self.requested_by,
            reason: None,
        }
    }

    async fn is_signed(
        &self,
        ctx: &OrchestrationContext,
        raised: &RaisedDecision,
    ) -> Result<bool, Failure> {
        let input = VerifyDecision {
            enrollment: self.enrollment.clone(),
            account: self.account.clone(),
            decision: raised.clone(),
        };
        let verified = ctx.call_activity_with(&VERIFY_DECISION, &input, retried(policy::READ));
        Ok(verified.await? == VerifiedDecision::Authentic)
    }
}

pub(crate) fn retried(retry: RetryPolicy) -> TaskOptions {
    TaskOptions {
        retry: Some(retry),
        ..TaskOptions::default()
    }
}

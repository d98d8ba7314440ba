//! One enrollment, from upload to stored secret.

use chrono::{DateTime, Utc};
use countersign_enrollment::account::{AccountPreview, TotpAccount};
use countersign_enrollment::contract::{
    DECODE_QR, DecodeQr, DecodedQr, STORE_SECRET, StoreSecret, UriSource, VALIDATE_URI,
    VERIFY_DECISION, ValidateUri, ValidatedUri, VerifiedDecision, VerifyDecision,
};
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::mandate::SignedMandate;
use countersign_enrollment::otpauth::Warning;
use countersign_enrollment::outcome::EnrollmentOutcome;
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::progress::Progress;
use countersign_enrollment::recovery::WithRecovery;
use countersign_enrollment::request::{EnrollmentRequest, RecoverySource, Source};
use countersign_enrollment::sealed::Kept;
use durabletask_core::{Activity, Failure, OrchestrationContext};
use serde::Serialize;

use crate::approval::{Decision, await_decision};
use crate::policy::{self, retried};
use crate::question::{Counted, Question, Terms, said, signed};

/// Enrolls one account: decode the image (if it is one), check the URI, wait for an
/// approval (if one is requested), store the secret.
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

    let mandate = request.mandate;
    let recovery = request.recovery;

    let uri = match request.source {
        Source::Uri(uri) => UriSource::Sent(uri),
        Source::Packed(account) => UriSource::Packed(account),
        Source::Planned(uri) => UriSource::Read(uri),
        Source::Image(image) => {
            ctx.set_custom_status(&Progress::Decoding)?;
            let input = DecodeQr {
                mandate: mandate.clone(),
                enrollment: enrollment.clone(),
                image,
            };
            let decoded = ctx.call_activity_with(&DECODE_QR, &input, retried(policy::READ));
            match decoded.await? {
                DecodedQr::Found { uri } => UriSource::Read(uri),
                DecodedQr::Invalid { problem } => {
                    return Ok(EnrollmentOutcome::Invalid { problem });
                }
            }
        }
    };

    ctx.set_custom_status(&Progress::Validating)?;
    let input = ValidateUri {
        mandate: mandate.clone(),
        enrollment: enrollment.clone(),
        uri,
        moved: match &recovery {
            Some(RecoverySource::Moved(codes)) => Some(codes.clone()),
            Some(RecoverySource::Sent(_)) | None => None,
        },
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

    let approvals = match Terms::of(request.approval) {
        None => Vec::new(),
        Some(terms) => {
            let asked = EnrollmentQuestion {
                mandate: mandate.clone(),
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
        mandate,
        enrollment,
        account,
        recovery,
        decisions: signed(&approvals),
    };
    let stored = ctx
        .call_activity_with(&STORE_SECRET, &input, retried(policy::STORE))
        .await?;
    if !stored.there.is_empty() {
        let accounts = stored.there;
        let problem = InputProblem::AccountThere { accounts };
        return Ok(EnrollmentOutcome::Invalid { problem });
    }
    let mut warnings = warnings;
    let is_duplicate = |warning: &Warning| matches!(warning, Warning::Duplicate { .. });
    if !stored.same.is_empty() && !warnings.iter().any(is_duplicate) {
        let accounts = stored.same;
        warnings.push(Warning::Duplicate { accounts });
    }
    let mut approvals = said(&approvals);
    Ok(EnrollmentOutcome::Enrolled {
        id: stored.id,
        preview,
        warnings,
        approval: approvals.pop(),
        earlier_approvals: approvals,
    })
}

/// What is decided on.
struct EnrollmentQuestion {
    mandate: SignedMandate,
    preview: AccountPreview,
    warnings: Vec<Warning>,
    account: Kept<WithRecovery<TotpAccount>>,
    fingerprint: String,
    requested_by: CallerId,
}

impl Question for EnrollmentQuestion {
    fn requested_by(&self) -> &CallerId {
        &self.requested_by
    }

    fn can_be_taken_back(&self) -> bool {
        false
    }

    fn status(&self, deadline: DateTime<Utc>, agreed: &[Counted]) -> impl Serialize {
        Progress::AwaitingApproval {
            preview: self.preview.clone(),
            warnings: self.warnings.clone(),
            requested_by: self.requested_by.clone(),
            deadline,
            fingerprint: self.fingerprint.clone(),
            approved_by: agreed.iter().map(|it| it.decision.by.clone()).collect(),
        }
    }

    fn mandate(&self) -> &SignedMandate {
        &self.mandate
    }

    fn verification(&self) -> Activity<VerifyDecision, VerifiedDecision> {
        VERIFY_DECISION
    }

    fn account(&self) -> Option<&Kept<WithRecovery<TotpAccount>>> {
        Some(&self.account)
    }
}

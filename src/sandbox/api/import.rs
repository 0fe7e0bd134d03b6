//! `POST /v3/session/import-shared/`.
//!
//! Decided here, since Didit leaves it open: the checks go key, privilege, body, token (signature, age, audience),
//! credit, source, workflow, duplicate; an expired token of an imported session is thus "expired", not "already". An archived
//! workflow, or one of the other kind, is answered like an unknown one. Without `vendor_data` the source's is kept.

use axum::http::StatusCode;
use jiff::Timestamp;

use super::super::decision::Renderer;
use super::super::jwt::Grant;
use super::super::model::{Privilege, Session};
use super::super::shared::Shared;
use super::super::state::{ImportOrder, Refusal};
use super::body::{Fields, NOT_BOOLEAN, NOT_TEXT, NOT_UUID, text, uuid};
use super::{Answer, Call, authorise};

/// The longest `vendor_data`, in bytes.
const VENDOR_DATA_BYTES: usize = 2000;

pub(super) fn import(shared: &Shared, call: &Call) -> Result<Answer, Answer> {
    let receiver = authorise(shared, call, Privilege::WriteSessions)?;
    let mut fields = Fields::read(call)?;
    let token = fields.required("share_token", NOT_TEXT, text);
    let trust_review = fields.required("trust_review", NOT_BOOLEAN, serde_json::Value::as_bool);
    let workflow = fields.required("workflow_id", NOT_UUID, uuid);
    let vendor_data = fields.optional("vendor_data", NOT_TEXT, text);
    if vendor_data.as_ref().is_some_and(|text| text.len() > VENDOR_DATA_BYTES) {
        fields.complain("vendor_data", "Ensure this field has no more than 2000 bytes.");
    }
    fields.finish()?;
    let (Some(token), Some(trust_review), Some(workflow)) = (token, trust_review, workflow) else {
        return Err(Answer::empty(StatusCode::BAD_REQUEST));
    };
    let refused = |refusal| Answer::refused(shared.config.dialect, refusal);
    let now = Timestamp::now();
    let grant = check_token(shared, &token, receiver, now).map_err(refused)?;
    let order = ImportOrder { receiver, grant, workflow, trust_review, vendor_data, now };
    let session = shared.state().import(order).map_err(refused)?;
    Ok(created(shared, &session, now))
}

fn check_token(shared: &Shared, token: &str, receiver: uuid::Uuid, now: Timestamp) -> Result<Grant, Refusal> {
    let grant = shared.signer.verify(token).ok_or(Refusal::TokenInvalid)?;
    if grant.expires_at <= now.as_second() {
        return Err(Refusal::TokenExpired);
    }
    if grant.for_application == receiver { Ok(grant) } else { Err(Refusal::WrongAudience) }
}

fn created(shared: &Shared, session: &Session, now: Timestamp) -> Answer {
    let renderer = Renderer { seed: shared.seed, fetch: shared.next_fetch(), now, show_source: true };
    let body = if shared.is_seed_dialect() { renderer.singular(session) } else { renderer.plural(session) };
    Answer::json(StatusCode::CREATED, &body)
}

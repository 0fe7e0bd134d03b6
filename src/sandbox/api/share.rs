//! `POST /v3/session/{id}/share/`.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::jwt::Grant;
use super::super::model::{Privilege, Session};
use super::super::shared::Shared;
use super::body::{Fields, NOT_NUMBER, NOT_UUID, uuid};
use super::{Answer, Call, authorise};

const DEFAULT_TTL: i64 = 3600;
const SHORTEST_TTL: i64 = 60;
const LONGEST_TTL: i64 = 86_400;

pub(super) fn share(shared: &Shared, call: &Call, id: Uuid) -> Result<Answer, Answer> {
    let application = authorise(shared, call, Privilege::WriteSessions)?;
    let session = shared.state().session(id).cloned().filter(|session| session.application == application);
    let session = session.ok_or_else(Answer::not_found)?;
    let mut fields = Fields::read(call)?;
    let target = fields.required("for_application_id", NOT_UUID, uuid);
    let ttl = fields.optional("ttl_in_seconds", NOT_NUMBER, Value::as_i64).unwrap_or(DEFAULT_TTL);
    if ttl < SHORTEST_TTL {
        fields.complain("ttl_in_seconds", "Ensure this value is greater than or equal to 60.");
    } else if ttl > LONGEST_TTL {
        fields.complain("ttl_in_seconds", "Ensure this value is less than or equal to 86400.");
    }
    fields.finish()?;
    let target = target.ok_or_else(|| Answer::empty(StatusCode::BAD_REQUEST))?;
    check(shared, &session, target)?;
    let now = Timestamp::now().as_second();
    let grant = Grant {
        session: id,
        kind: session.kind,
        from_application: application,
        for_application: target,
        issued_at: now,
        expires_at: now + ttl,
    };
    let mut body = json!({
        "share_token": shared.signer.sign(&grant, shared.is_seed_dialect()),
        "for_application_id": target,
    });
    if !shared.is_seed_dialect() {
        body["session_kind"] = json!(session.kind);
    }
    Ok(Answer::json(StatusCode::OK, &body))
}

fn check(shared: &Shared, session: &Session, target: Uuid) -> Result<(), Answer> {
    if target == session.application {
        return Err(Answer::field("for_application_id", "Cannot share a session with the same application."));
    }
    if shared.state().application(target).is_none() {
        return Err(Answer::field("for_application_id", "Target application does not exist."));
    }
    if !session.status.is_shareable() {
        let text = "Only finished sessions (\"Approved\", \"Declined\", \"In Review\") can be shared.";
        return Err(Answer::field("detail", text));
    }
    Ok(())
}

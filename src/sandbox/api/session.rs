//! One session: its decision, its deletion, its review.
//!
//! For decision and delete the documentation says that existence is checked before authentication: an unknown id is
//! 404 with any key. A session of another application is 404 after it.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::decision::Renderer;
use super::super::model::{Privilege, Review, Session, Status};
use super::super::shared::Shared;
use super::body::{Fields, NOT_BOOLEAN, NOT_TEXT, text};
use super::{Answer, Call, authorise};

pub(super) fn decision(shared: &Shared, call: &Call, id: Uuid) -> Result<Answer, Answer> {
    let session = find_own(shared, call, id, Privilege::ReadSessions)?;
    let renderer = Renderer {
        seed: shared.seed,
        fetch: shared.next_fetch(),
        now: Timestamp::now(),
        show_source: shared.config.reads_show_source,
    };
    let body = if shared.is_seed_dialect() { renderer.singular(&session) } else { renderer.plural(&session) };
    Ok(Answer::json(StatusCode::OK, &body))
}

pub(super) fn delete(shared: &Shared, call: &Call, id: Uuid) -> Result<Answer, Answer> {
    find_own(shared, call, id, Privilege::DeleteSessions)?;
    let deleted = shared.state().delete(id, shared.config.delete_frees_source);
    let session = deleted.ok_or_else(Answer::not_found)?;
    if shared.is_seed_dialect() {
        return Ok(Answer::empty(StatusCode::NO_CONTENT));
    }
    let body = json!({
        "session_id": session.id,
        "session_number": session.number,
        "face_retention_outcome": "none",
        "biometric_template_uuid": null,
    });
    Ok(Answer::json(StatusCode::OK, &body))
}

fn find_own(shared: &Shared, call: &Call, id: Uuid, privilege: Privilege) -> Result<Session, Answer> {
    let session = shared.state().session(id).cloned().ok_or_else(Answer::not_found)?;
    let application = authorise(shared, call, privilege)?;
    if session.application == application { Ok(session) } else { Err(Answer::not_found()) }
}

pub(super) fn update_status(shared: &Shared, call: &Call, id: Uuid) -> Result<Answer, Answer> {
    let application = authorise(shared, call, Privilege::WriteSessions)?;
    let session = shared.state().session(id).cloned().filter(|session| session.application == application);
    let session = session.ok_or_else(Answer::not_found)?;
    if !session.status.is_updatable() {
        let text = format!(
            "Only sessions with status Approved, Declined, In Review, Kyc Expired, Abandoned, Resubmitted can be \
             updated. Current status: {}",
            session.status
        );
        return Err(Answer::detail(StatusCode::BAD_REQUEST, &text));
    }
    let (status, comment) = read_update(call)?;
    if status == session.status {
        let body = json!(["The new status is the same as the current status."]);
        return Err(Answer::json(StatusCode::BAD_REQUEST, &body));
    }
    shared.state().review(id, Review { user: "API Client", status, comment, at: Timestamp::now() });
    Ok(Answer::json(StatusCode::OK, &json!({ "session_id": id })))
}

fn read_update(call: &Call) -> Result<(Status, Option<String>), Answer> {
    let target = |value: &Value| {
        let status = Status::parse(value.as_str()?)?;
        matches!(status, Status::Approved | Status::Declined | Status::Resubmitted).then_some(status)
    };
    let wrong = "You can only update the status to 'Approved', 'Declined', or 'Resubmitted'.";
    let mut fields = Fields::read(call)?;
    let status = fields.required("new_status", wrong, target);
    let comment = fields.optional("comment", NOT_TEXT, text);
    let send_email = fields.optional("send_email", NOT_BOOLEAN, Value::as_bool).unwrap_or(false);
    if send_email && fields.optional("email_address", NOT_TEXT, text).is_none() {
        fields.complain("email_address", "Email address is required when send_email is true.");
    }
    fields.finish()?;
    Ok((status.ok_or_else(|| Answer::empty(StatusCode::BAD_REQUEST))?, comment))
}

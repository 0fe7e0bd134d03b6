//! `GET /v3/workflows/` and `GET /v3/workflows/{id}/`.

use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::token::SessionKind;

use super::super::model::{Privilege, Workflow};
use super::super::shared::Shared;
use super::list::{Page, page_of};
use super::{Answer, Call, authorise};

pub(super) fn list(shared: &Shared, call: &Call) -> Result<Answer, Answer> {
    let application = authorise(shared, call, Privilege::ReadWorkflows)?;
    let rows = all(shared, application);
    if shared.is_seed_dialect() {
        return Ok(Answer::json(StatusCode::OK, &Value::Array(rows)));
    }
    let page = Page::read(call);
    let count = rows.len();
    let rows: Vec<Value> = rows.into_iter().skip(page.offset).take(page.limit).collect();
    Ok(Answer::json(StatusCode::OK, &page_of(shared, call, page, count, count, &rows)))
}

pub(super) fn one(shared: &Shared, call: &Call, id: Uuid) -> Result<Answer, Answer> {
    let application = authorise(shared, call, Privilege::ReadWorkflows)?;
    let id = id.to_string();
    let row = all(shared, application).into_iter().find(|row| row["workflow_id"] == id.as_str());
    row.map(|row| Answer::json(StatusCode::OK, &row)).ok_or_else(Answer::not_found)
}

fn all(shared: &Shared, application: Uuid) -> Vec<Value> {
    let state = shared.state();
    let workflows = state.application(application).map_or(&[][..], |application| &application.workflows);
    workflows.iter().map(|workflow| row(workflow, shared.is_seed_dialect())).collect()
}

fn row(workflow: &Workflow, older: bool) -> Value {
    let (kind, features) = match workflow.kind {
        SessionKind::User => ("kyc", ["OCR", "LIVENESS", "FACE_MATCH", "AML"]),
        SessionKind::Business => ("kyb", ["KYB_REGISTRY", "KYB_DOCUMENTS", "KYB_KEY_PEOPLE", "AML"]),
    };
    json!({
        "uuid": workflow.id,
        "workflow_id": workflow.id,
        "workflow_label": workflow.label,
        "workflow_type": kind,
        "status": "published",
        "version": 1,
        "is_default": workflow.default,
        "is_archived": workflow.archived,
        "has_draft": false,
        "features": if older { json!(features) } else { json!(features.join(" + ")) },
        "total_price": if older { json!("0.00") } else { json!(0.0) },
        "session_expiration_time": if older { 1440 } else { 604_800 },
        "workflow_url": format!("https://verify.didit.me/verify/{}", workflow.id),
        "created_by": "sandbox@example.com",
        "updated_at": "2026-01-15T09:00:00Z",
    })
}

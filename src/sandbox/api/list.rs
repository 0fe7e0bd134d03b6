//! `GET /v3/sessions/`: newest first, by limit and offset.
//!
//! The filters `vendor_data`, `status`, `workflow_id`, `search` (session id, number prefix, else part of `vendor_data`),
//! `date_from` and `date_to` work; the others of the documentation are ignored. Without filters, and with
//! `vendor_data`, only an index is read, so a poll does not depend on how many sessions there are.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use url::Url;
use url::form_urlencoded;
use uuid::Uuid;

use crate::token::SessionKind;

use super::super::decision::row_features;
use super::super::model::{Privilege, Session, Status};
use super::super::persona::Persona;
use super::super::shared::Shared;
use super::super::state::{Application, State};
use super::{Answer, Call, authorise};

/// The count of companies never says more than this.
const BUSINESS_COUNT_CAP: usize = 100;

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) limit: usize,
    pub(super) offset: usize,
}

impl Page {
    /// `limit` (default 50, at least 1) and `offset` (default 0); what cannot be read is the default.
    pub(super) fn read(call: &Call) -> Self {
        let number = |name: &str| parameter(call, name).and_then(|text| text.parse::<usize>().ok());
        Self { limit: number("limit").filter(|limit| *limit > 0).unwrap_or(50), offset: number("offset").unwrap_or(0) }
    }
}

/// A query parameter, the last one of its name; an empty one counts as absent.
pub(super) fn parameter(call: &Call, name: &str) -> Option<String> {
    let query = call.query.as_deref().unwrap_or_default();
    let found = form_urlencoded::parse(query.as_bytes()).filter(|pair| pair.0 == name).last();
    found.map(|pair| pair.1.into_owned()).filter(|value| !value.is_empty())
}

/// `{count, next, previous, results}`; `matching` is the true number behind a capped `count`.
pub(super) fn page_of(
    shared: &Shared,
    call: &Call,
    page: Page,
    count: usize,
    matching: usize,
    rows: &[Value],
) -> Value {
    let Page { limit, offset } = page;
    let next = (offset + limit < matching).then(|| link(shared, call, limit, offset + limit));
    let previous = (offset > 0).then(|| link(shared, call, limit, offset.saturating_sub(limit)));
    json!({ "count": count, "next": next, "previous": previous, "results": rows })
}

/// The same request at another offset.
fn link(shared: &Shared, call: &Call, limit: usize, offset: usize) -> Option<String> {
    let mut url = Url::parse(&format!("{}{}", shared.base_url, call.path)).ok()?;
    let query = call.query.as_deref().unwrap_or_default();
    let kept = form_urlencoded::parse(query.as_bytes()).filter(|pair| pair.0 != "limit" && pair.0 != "offset");
    let mut pairs = url.query_pairs_mut();
    pairs.extend_pairs(kept).append_pair("limit", &limit.to_string());
    if offset > 0 {
        pairs.append_pair("offset", &offset.to_string());
    }
    drop(pairs);
    Some(url.into())
}

pub(super) fn list(shared: &Shared, call: &Call) -> Result<Answer, Answer> {
    let application = authorise(shared, call, Privilege::ReadSessions)?;
    let (kinds, filters) = (kinds(call)?, Filters::read(call)?);
    let page = Page::read(call);
    let state = shared.state();
    let (mut count, mut leading) = (0, 0);
    let mut found: Vec<Session> = Vec::new();
    for (place, kind) in kinds.iter().enumerate() {
        let part = state.application(application).map(|owner| filters.find(&state, owner, *kind, page));
        let (matching, sessions) = part.unwrap_or_default();
        count += if *kind == SessionKind::Business { matching.min(BUSINESS_COUNT_CAP) } else { matching };
        // Of `all`, the links follow the persons.
        leading = if place == 0 { matching } else { leading };
        found.extend(sessions);
    }
    drop(state);
    let rows: Vec<Value> = found.iter().map(|session| row(shared, session)).collect();
    Ok(Answer::json(StatusCode::OK, &page_of(shared, call, page, count, leading, &rows)))
}

fn kinds(call: &Call) -> Result<Vec<SessionKind>, Answer> {
    let text = parameter(call, "session_kind").unwrap_or_else(|| "user".to_owned());
    if text.eq_ignore_ascii_case("all") {
        return Ok(vec![SessionKind::User, SessionKind::Business]);
    }
    let kind = SessionKind::parse(&text).ok_or_else(|| {
        let body = json!({ "session_kind": "Must be \"user\", \"business\", or \"all\"." });
        Answer::json(StatusCode::BAD_REQUEST, &body)
    })?;
    Ok(vec![kind])
}

/// What a session must be like to be listed.
#[derive(Debug)]
struct Filters {
    vendor_data: Option<String>,
    /// An unknown name matches nothing, so it stays as an empty list.
    statuses: Option<Vec<Status>>,
    workflows: Option<Vec<Uuid>>,
    search: Option<String>,
    from: Option<Date>,
    to: Option<Date>,
}

impl Filters {
    fn read(call: &Call) -> Result<Self, Answer> {
        let date = |name: &str| match parameter(call, name) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| Answer::field(name, "Enter a valid date.")),
        };
        let names = |name: &str| parameter(call, name);
        let workflows =
            names("workflow_id").map(|ids| ids.split(',').filter_map(|id| id.trim().parse().ok()).collect());
        Ok(Self {
            vendor_data: names("vendor_data"),
            statuses: names("status")
                .map(|list| list.split(',').filter_map(|name| Status::parse(name.trim())).collect()),
            workflows: workflows.filter(|ids: &Vec<Uuid>| !ids.is_empty()),
            search: names("search"),
            from: date("date_from")?,
            to: date("date_to")?,
        })
    }

    fn only_by_index(&self) -> bool {
        self.statuses.is_none()
            && self.workflows.is_none()
            && self.search.is_none()
            && self.from.is_none()
            && self.to.is_none()
    }

    /// How many sessions match, and those of the page, newest first.
    fn find(&self, state: &State, application: &Application, kind: SessionKind, page: Page) -> (usize, Vec<Session>) {
        let index = application.shelf(kind);
        let nobody = BTreeSet::new();
        let ids: Box<dyn Iterator<Item = Uuid>> = match &self.vendor_data {
            Some(vendor_data) => {
                let numbers = index.by_vendor_data.get(vendor_data).unwrap_or(&nobody);
                Box::new(numbers.iter().rev().filter_map(|number| index.by_number.get(number).copied()))
            }
            None if self.only_by_index() => {
                let ids = index.by_number.values().rev().skip(page.offset).take(page.limit);
                let sessions = ids.filter_map(|id| state.session(*id)).cloned().collect();
                return (index.by_number.len(), sessions);
            }
            None => Box::new(index.by_number.values().rev().copied()),
        };
        let matching: Vec<&Session> =
            ids.filter_map(|id| state.session(id)).filter(|session| self.match_one(session)).collect();
        let part = matching.iter().skip(page.offset).take(page.limit).map(|session| (*session).clone()).collect();
        (matching.len(), part)
    }

    fn match_one(&self, session: &Session) -> bool {
        let day = session.created_at.to_zoned(TimeZone::UTC).date();
        let in_time = match (session.kind, self.to) {
            (_, None) => true,
            (SessionKind::User, Some(to)) => day <= to,
            // For companies the range stops at the midnight that begins its last day.
            (SessionKind::Business, Some(to)) => day < to,
        };
        in_time
            && self.from.is_none_or(|from| day >= from)
            && self.statuses.as_ref().is_none_or(|statuses| statuses.contains(&session.status))
            && self.workflows.as_ref().is_none_or(|workflows| workflows.contains(&session.workflow))
            && self.search.as_ref().is_none_or(|text| searched(session, text))
    }
}

fn searched(session: &Session, text: &str) -> bool {
    if let Ok(id) = text.parse::<Uuid>() {
        return session.id == id;
    }
    let in_vendor_data = session.vendor_data.as_ref().is_some_and(|vendor_data| vendor_data.contains(text));
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    in_vendor_data || digits && session.number.to_string().starts_with(text)
}

/// A row. Neither kind says where the session came from, and that of a person not under which workflow.
fn row(shared: &Shared, session: &Session) -> Value {
    let persona = Persona::new(shared.seed, session.persona);
    match session.kind {
        SessionKind::User => json!({
            "session_id": session.id,
            "session_kind": "user",
            "session_number": session.number,
            "session_url": null,
            "portrait_image": null,
            "document_type": "Identity Card",
            "full_name": session.edits.get("full_name").cloned().unwrap_or_else(|| persona.full_name().into()),
            "country": persona.state().0,
            "status": session.status.as_str(),
            "vendor_data": session.vendor_data,
            "didit_internal_id": persona.uuid("internal"),
            "created_at": session.created_at,
            "features": row_features(session),
            "phone_number": null,
            "email_address": null,
            "additional_details": null,
        }),
        SessionKind::Business => json!({
            "session_id": session.id,
            "session_kind": "business",
            "session_number": session.number,
            "status": session.status.as_str(),
            "vendor_data": session.vendor_data,
            "created_at": session.created_at,
            "workflow_id": session.workflow,
            "workflow_type": "kyb",
            "workflow_label": "KYB",
            "company_name": session.edits.get("company_name").cloned().unwrap_or_else(|| persona.company().0.into()),
            "registration_number": persona.registration_number(),
            "country": persona.company().1,
        }),
    }
}

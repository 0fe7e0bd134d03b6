//! Decisions: what a session's checks found, in the plural V3 shape and in the singular V2 shape.
//!
//! Everything follows from the session's persona, which a clone shares with its source, so both tell the same story.
//! Media links look presigned and are signed anew at every fetch, as the API's are.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::token::SessionKind;

use super::model::{Review, Session, Status};
use super::persona::Persona;
use super::seed::Seed;

/// Renders decisions for one fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renderer {
    pub(super) seed: Seed,
    /// The number of this fetch.
    pub(super) fetch: u64,
    pub(super) now: Timestamp,
    pub(super) show_source: bool,
}

impl Renderer {
    /// The plural V3 shape.
    pub(super) fn plural(self, session: &Session) -> Value {
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| body.insert(key.to_owned(), value);
        put("session_id", json!(session.id));
        put("session_kind", json!(session.kind));
        if let (true, Some(source)) = (self.show_source, session.shown_source) {
            put("shared_from_session", json!(source));
        }
        put("session_number", json!(session.number));
        put("session_url", Value::Null);
        put("status", json!(session.status.as_str()));
        put("workflow_id", json!(session.workflow));
        let blocks = self.blocks(session);
        put("features", blocks.iter().filter_map(Block::feature).collect());
        put("vendor_data", json!(session.vendor_data));
        for key in ["metadata", "expected_details", "contact_details", "callback"] {
            put(key, Value::Null);
        }
        if session.kind == SessionKind::User {
            put("nfc_skip_reason", Value::Null);
        }
        for block in blocks {
            put(block.plural, block.content.map_or(Value::Null, |content| json!([content])));
        }
        put("reviews", reviews(session));
        put("created_at", json!(session.created_at));
        put("expires_at", json!(session.created_at + jiff::SignedDuration::from_hours(7 * 24)));
        put("environment", json!(&*session.environment));
        body.extend(session.field_edits.clone());
        Value::Object(body)
    }

    /// The singular V2 shape of the older page: no kind, no source, no expiry, features by name, a session link.
    /// Company checks, which that shape never had, keep their plural names.
    pub(super) fn singular(self, session: &Session) -> Value {
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| body.insert(key.to_owned(), value);
        put("session_id", json!(session.id));
        put("session_number", json!(session.number));
        put("session_url", json!(format!("https://verify.didit.me/session/{}", session.id)));
        put("status", json!(session.status.as_str()));
        put("workflow_id", json!(session.workflow));
        let blocks = self.blocks(session);
        put("features", blocks.iter().filter(|block| block.content.is_some()).map(|block| block.name).collect());
        put("vendor_data", json!(session.vendor_data));
        for key in ["metadata", "expected_details", "contact_details", "callback"] {
            put(key, Value::Null);
        }
        for mut block in blocks {
            if let Some(content) = block.content.as_mut().and_then(Value::as_object_mut) {
                content.shift_remove("node_id");
            }
            match block.singular {
                Some(key) => put(key, block.content.unwrap_or(Value::Null)),
                None if session.kind == SessionKind::Business => put(block.plural, json!([block.content])),
                None => None,
            };
        }
        put("reviews", reviews(session));
        put("created_at", json!(session.created_at));
        body.extend(session.field_edits.clone());
        Value::Object(body)
    }

    fn blocks(self, session: &Session) -> Vec<Block> {
        let persona = Persona::new(self.seed, session.persona);
        let mut blocks = match session.kind {
            SessionKind::User => self.user_blocks(session, persona),
            SessionKind::Business => self.business_blocks(session, persona),
        };
        for ((name, field), value) in &session.check_edits {
            if let Some(block) = blocks.iter_mut().find(|block| block.plural == name) {
                block.content.get_or_insert_with(|| json!({}))[field] = value.clone();
            }
        }
        blocks
    }

    fn user_blocks(self, session: &Session, persona: Persona) -> Vec<Block> {
        let (document, face) = feature_statuses(session.verdict);
        let none = |name, plural, singular| Block { name, plural, singular, content: None };
        let some = |name, plural, singular, content| Block { name, plural, singular, content: Some(content) };
        vec![
            some(
                "ID_VERIFICATION",
                "id_verifications",
                Some("id_verification"),
                self.document(session, persona, document),
            ),
            none("NFC", "nfc_verifications", Some("nfc")),
            some("LIVENESS", "liveness_checks", Some("liveness"), self.liveness(persona)),
            some("FACE_MATCH", "face_matches", Some("face_match"), self.face_match(persona, face)),
            none("PHONE", "phone_verifications", Some("phone")),
            none("EMAIL_VERIFICATION", "email_verifications", None),
            none("POA", "poa_verifications", Some("poa")),
            none("DOCUMENT_AI", "document_ai_documents", None),
            none("QUESTIONNAIRE", "questionnaire_responses", None),
            some("AML", "aml_screenings", Some("aml"), aml(persona, &persona.full_name())),
            some("IP_ANALYSIS", "ip_analyses", Some("ip_analysis"), ip_analysis(persona)),
            none("DATABASE_VALIDATION", "database_validations", None),
        ]
    }

    fn business_blocks(self, session: &Session, persona: Persona) -> Vec<Block> {
        let (registry, people) = feature_statuses(session.verdict);
        let none = |name, plural| Block { name, plural, singular: None, content: None };
        let some = |name, plural, content| Block { name, plural, singular: None, content: Some(content) };
        vec![
            some("KYB_REGISTRY", "registry_checks", registry_check(session, persona, registry)),
            some("KYB_DOCUMENTS", "document_verifications", self.company_document(persona)),
            some("KYB_KEY_PEOPLE", "key_people_checks", key_people(persona, people)),
            some("AML", "aml_screenings", aml(persona, &persona.company().0)),
            none("PHONE", "phone_verifications"),
            none("EMAIL_VERIFICATION", "email_verifications"),
            none("IP_ANALYSIS", "ip_analyses"),
            none("QUESTIONNAIRE", "questionnaire_responses"),
        ]
    }

    fn document(self, session: &Session, persona: Persona, status: Status) -> Value {
        let (state, state_name, city) = persona.state();
        let year = persona.birth_year();
        let (month, day) = persona.day("birthday");
        let issued = persona.between("issued", 2022, 4);
        let address = format!("Calle Mayor {}, {city}", persona.between("house", 1, 120));
        let media = |name| self.media(persona, name);
        let mut content = json!({
            "node_id": "feature_ocr_1",
            "status": status.as_str(),
            "document_type": "Identity Card",
            "document_number": persona.document_number(),
            "personal_number": persona.personal_number(),
            "portrait_image": media("portrait.jpg"),
            "front_image": media("front.jpg"),
            "front_video": media("front.mp4"),
            "back_image": media("back.jpg"),
            "back_video": media("back.mp4"),
            "full_front_image": media("full_front.jpg"),
            "full_back_image": media("full_back.jpg"),
            "date_of_birth": format!("{year}-{month:02}-{day:02}"),
            "age": 2026 - year,
            "expiration_date": format!("{}-06-02", issued + 10),
            "date_of_issue": format!("{issued}-06-02"),
            "issuing_state": state,
            "issuing_state_name": state_name,
            "first_name": persona.first_name(),
            "last_name": persona.last_name(),
            "full_name": persona.full_name(),
            "gender": persona.gender(),
            "address": address,
            "formatted_address": format!("{address}, {state_name}"),
            "place_of_birth": city,
            "marital_status": "Single",
            "nationality": state,
            "extra_fields": {},
            "parsed_address": null,
            "extra_files": [],
            "warnings": [],
        });
        edit(&mut content, session);
        content
    }

    fn liveness(self, persona: Persona) -> Value {
        json!({
            "node_id": "feature_liveness_1",
            "status": "Approved",
            "method": "ACTIVE_3D",
            "score": persona.score("liveness", 82.0, 17.5),
            "reference_image": self.media(persona, "reference.jpg"),
            "video_url": self.media(persona, "video.mp4"),
            "age_estimation": persona.score("age", 20.0, 40.0),
            "warnings": [],
        })
    }

    fn face_match(self, persona: Persona, status: Status) -> Value {
        let score = match status {
            Status::Declined => persona.score("face", 10.0, 20.0),
            Status::InReview => persona.score("face", 60.0, 9.0),
            _ => persona.score("face", 85.0, 14.0),
        };
        let low = json!([{
            "feature": "FACE_MATCH",
            "risk": "LOW_FACE_MATCH_SIMILARITY",
            "additional_data": null,
            "log_type": if status == Status::Declined { "error" } else { "warning" },
            "short_description": "Low face match similarity",
            "long_description": "The facial features of the provided image don't closely match the reference image, \
                suggesting a potential identity mismatch.",
            "node_id": "feature_face_match_1",
        }]);
        json!({
            "node_id": "feature_face_match_1",
            "status": status.as_str(),
            "score": score,
            "source_image": self.media(persona, "source-image.jpg"),
            "target_image": self.media(persona, "target-image.jpg"),
            "warnings": if status == Status::Approved { json!([]) } else { low },
        })
    }

    fn company_document(self, persona: Persona) -> Value {
        json!({
            "node_id": "feature_kyb_documents_1",
            "status": "Approved",
            "document_type": "Certificate of Incorporation",
            "file": self.media(persona, "incorporation.pdf"),
            "warnings": [],
        })
    }

    /// A link that looks presigned, valid for an hour, with another signature at every fetch.
    fn media(self, persona: Persona, name: &str) -> String {
        let folder = persona.uuid("media");
        let signature = self.seed.bytes("signature", &[folder.as_bytes(), name.as_bytes(), &self.fetch.to_be_bytes()]);
        let hex = hex(&signature);
        let date = self.now.strftime("%Y%m%dT%H%M%SZ");
        format!(
            "https://media.sandbox.invalid/{folder}/{name}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={date}\
             &X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature={hex}"
        )
    }
}

/// One feature of a decision, under its names in both shapes.
struct Block {
    name: &'static str,
    plural: &'static str,
    singular: Option<&'static str>,
    content: Option<Value>,
}

impl Block {
    fn feature(&self) -> Option<Value> {
        let content = self.content.as_ref()?;
        Some(json!({ "feature": self.name, "status": content["status"], "node_id": content["node_id"] }))
    }
}

/// The features of a session as a list row shows them.
pub(super) fn row_features(session: &Session) -> Value {
    let (document, face) = feature_statuses(session.verdict);
    json!([
        { "feature": "ID_VERIFICATION", "status": document.as_str() },
        { "feature": "LIVENESS", "status": "Approved" },
        { "feature": "FACE_MATCH", "status": face.as_str() },
        { "feature": "AML", "status": "Approved" },
        { "feature": "IP_ANALYSIS", "status": "Approved" },
    ])
}

/// The statuses of the first check and of the one that a doubtful session stumbled over.
fn feature_statuses(verdict: Status) -> (Status, Status) {
    match verdict {
        Status::Declined => (Status::Approved, Status::Declined),
        Status::InReview => (Status::Approved, Status::InReview),
        _ => (Status::Approved, Status::Approved),
    }
}

fn edit(content: &mut Value, session: &Session) {
    if let Some(fields) = content.as_object_mut() {
        fields.extend(session.edits.clone());
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn aml(persona: Persona, name: &str) -> Value {
    json!({
        "node_id": "feature_aml_1",
        "status": "Approved",
        "total_hits": 0,
        "score": persona.score("aml", 0.0, 12.0),
        "hits": [],
        "screened_data": { "full_name": name },
        "warnings": [],
    })
}

fn ip_analysis(persona: Persona) -> Value {
    let (state, state_name, city) = persona.state();
    json!({
        "node_id": "feature_ip_analysis_1",
        "status": "Approved",
        "ip_address": format!("192.0.2.{}", persona.between("ip", 1, 254)),
        "ip_country": state_name,
        "ip_country_code": state,
        "ip_city": city,
        "is_vpn_or_tor": false,
        "is_data_center": false,
        "warnings": [],
    })
}

fn registry_check(session: &Session, persona: Persona, status: Status) -> Value {
    let (name, code, country) = persona.company();
    let (month, day) = persona.day("founded");
    let mut content = json!({
        "node_id": "feature_kyb_registry_1",
        "status": status.as_str(),
        "company_name": name,
        "registration_number": persona.registration_number(),
        "country": code,
        "country_name": country,
        "incorporation_date": format!("{}-{month:02}-{day:02}", persona.between("founded_in", 1985, 38)),
        "company_status": "active",
        "warnings": [],
    });
    edit(&mut content, session);
    content
}

fn key_people(persona: Persona, status: Status) -> Value {
    json!({
        "node_id": "feature_kyb_key_people_1",
        "status": status.as_str(),
        "people": [{
            "first_name": persona.first_name(),
            "last_name": persona.last_name(),
            "role": "director",
            "ownership_percentage": persona.between("share", 26, 70),
            "status": status.as_str(),
        }],
        "warnings": [],
    })
}

fn reviews(session: &Session) -> Value {
    let one = |review: &Review| {
        json!({
            "user": review.user,
            "new_status": review.status.as_str(),
            "comment": review.comment,
            "created_at": review.at,
        })
    };
    session.reviews.iter().map(one).collect()
}

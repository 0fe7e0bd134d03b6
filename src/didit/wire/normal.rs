//! The older singular shape of a decision, read as the plural one (`didit-api.md` sections 2 and 5). Pure.
//!
//! Each block that used to be one object or null becomes a list of it or null; what is not there stays away. A block
//! that stands in both shapes is taken from the plural one. Statuses get their canonical spelling, and features that
//! were bare names become objects with the status that their checks have.

use super::Status;
use crate::didit::{Fields, Json};

/// Older name, newer name.
const BLOCKS: [(&str, &str); 15] = [
    ("id_verification", "id_verifications"),
    ("nfc", "nfc_verifications"),
    ("liveness", "liveness_checks"),
    ("face_match", "face_matches"),
    ("phone", "phone_verifications"),
    ("email", "email_verifications"),
    ("poa", "poa_verifications"),
    ("document_ai", "document_ai_documents"),
    ("questionnaire", "questionnaire_responses"),
    ("aml", "aml_screenings"),
    ("ip_analysis", "ip_analyses"),
    ("database_validation", "database_validations"),
    ("registry_check", "registry_checks"),
    ("document_verification", "document_verifications"),
    ("key_people", "key_people_checks"),
];

/// Feature, the block of its checks. The first name of a block is the one used for features that are not listed.
const FEATURES: [(&str, &str); 15] = [
    ("ID_VERIFICATION", "id_verifications"),
    ("NFC", "nfc_verifications"),
    ("LIVENESS", "liveness_checks"),
    ("FACE_MATCH", "face_matches"),
    ("PHONE", "phone_verifications"),
    ("EMAIL_VERIFICATION", "email_verifications"),
    ("EMAIL", "email_verifications"),
    ("POA", "poa_verifications"),
    ("QUESTIONNAIRE", "questionnaire_responses"),
    ("AML", "aml_screenings"),
    ("IP_ANALYSIS", "ip_analyses"),
    ("DATABASE_VALIDATION", "database_validations"),
    ("KYB_REGISTRY", "registry_checks"),
    ("KYB_DOCUMENTS", "document_verifications"),
    ("KYB_KEY_PEOPLE", "key_people_checks"),
];

/// A decision in the plural shape.
pub(super) fn normalise(mut fields: Fields) -> Fields {
    for (old, new) in BLOCKS {
        pluralise(&mut fields, old, new);
    }
    canonical_status(&mut fields, "status");
    for (_, block) in BLOCKS {
        canonical_items(&mut fields, block, "status");
    }
    canonical_items(&mut fields, "reviews", "new_status");
    if let Some(features) = features(&fields) {
        fields.insert("features", Json::Array(features));
    }
    canonical_items(&mut fields, "features", "status");
    fields
}

fn pluralise(fields: &mut Fields, old: &str, new: &str) {
    let plural_stands = fields.get(new).is_some_and(|value| !value.is_null());
    let block = match fields.get(old) {
        Some(Json::Object(_)) => fields.remove(old).map(|block| Json::Array(vec![block])),
        Some(Json::Array(_) | Json::Null) => fields.remove(old),
        // Anything else is another thing of the same name, such as a text `phone`.
        _ => None,
    };
    if let Some(block) = block.filter(|_| !plural_stands) {
        fields.insert(new, block);
    }
}

fn canonical_status(fields: &mut Fields, key: &str) {
    let Some(value) = fields.get_mut(key) else { return };
    // An unknown status stays as it is: the user's own rules may name it.
    match value.as_str().and_then(Status::parse) {
        None | Some(Status::Unknown(_)) => {}
        Some(status) if value.as_str() == Some(status.as_str()) => {}
        Some(status) => *value = Json::from(status.as_str()),
    }
}

fn canonical_items(fields: &mut Fields, block: &str, key: &str) {
    let items = fields.get_mut(block).and_then(Json::as_array_mut).into_iter().flatten();
    items.filter_map(Json::as_object_mut).for_each(|item| canonical_status(item, key));
}

/// The features as objects with statuses; `None` where there is nothing to say, or they are that already. A decision
/// without a list of features has those whose checks ran.
fn features(fields: &Fields) -> Option<Vec<Json>> {
    if let Some(listed) = fields.get("features").and_then(Json::as_array) {
        let lacks_status = |feature: &Json| feature.get("status").is_none_or(Json::is_null);
        return listed
            .iter()
            .any(lacks_status)
            .then(|| listed.iter().map(|feature| with_status(fields, feature)).collect());
    }
    let mut seen = Vec::new();
    let mut ran = Vec::new();
    for (name, block) in FEATURES {
        let status = checked_status(fields, block);
        if !status.is_null() && !seen.contains(&block) {
            seen.push(block);
            ran.push(named(name, status));
        }
    }
    (!ran.is_empty()).then_some(ran)
}

fn named(name: &str, status: Json) -> Json {
    Json::Object(Fields::from([("feature", Json::from(name)), ("status", status)]))
}

fn with_status(fields: &Fields, feature: &Json) -> Json {
    let status_of = |name: &str| {
        let block = FEATURES.iter().find(|(feature, _)| feature.eq_ignore_ascii_case(name)).map(|(_, block)| *block);
        block.map_or(Json::Null, |block| checked_status(fields, block))
    };
    match feature {
        Json::String(name) => named(name, status_of(name)),
        Json::Object(object) if object.get("status").is_none_or(Json::is_null) => {
            let status = object.get("feature").and_then(Json::as_str).map_or(Json::Null, status_of);
            let mut object = object.clone();
            object.insert("status", status);
            Json::Object(object)
        }
        other => other.clone(),
    }
}

/// The status of a block: `Declined` if any check is, else that of the last check; null where none has one.
fn checked_status(fields: &Fields, block: &str) -> Json {
    let items = fields.get(block).and_then(Json::as_array).into_iter().flatten();
    let statuses: Vec<&str> = items.filter_map(|item| item.get("status")?.as_str()).collect();
    let declined = statuses.iter().find(|text| Status::parse(text) == Some(Status::Declined));
    declined.or(statuses.last()).map_or(Json::Null, |text| Json::from(*text))
}

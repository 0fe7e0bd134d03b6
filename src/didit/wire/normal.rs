//! The older singular shape of a decision, read as the plural one (`didit-api.md` sections 2 and 5). Pure.
//!
//! Each block that used to be one object or null becomes a list of it or null; what is not there stays away. A block
//! that stands in both shapes is taken from the plural one. Statuses get their canonical spelling, and features that
//! were bare names become objects with the status that their checks have.

use serde_json::{Map, Value, json};

use super::Status;

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
pub(super) fn normalise(mut fields: Map<String, Value>) -> Map<String, Value> {
    for (old, new) in BLOCKS {
        pluralise(&mut fields, old, new);
    }
    canonical_status(&mut fields, "status");
    for (_, block) in BLOCKS {
        canonical_items(&mut fields, block, "status");
    }
    canonical_items(&mut fields, "reviews", "new_status");
    if let Some(features) = features(&fields) {
        fields.insert("features".to_owned(), Value::Array(features));
    }
    canonical_items(&mut fields, "features", "status");
    fields
}

fn pluralise(fields: &mut Map<String, Value>, old: &str, new: &str) {
    let plural_stands = fields.get(new).is_some_and(|value| !value.is_null());
    let block = match fields.get(old) {
        Some(Value::Object(_)) => fields.shift_remove(old).map(|block| json!([block])),
        Some(Value::Array(_) | Value::Null) => fields.shift_remove(old),
        // Anything else is another thing of the same name, such as a text `phone`.
        _ => None,
    };
    if let Some(block) = block.filter(|_| !plural_stands) {
        fields.insert(new.to_owned(), block);
    }
}

fn canonical_status(fields: &mut Map<String, Value>, key: &str) {
    let Some(value) = fields.get_mut(key) else { return };
    // An unknown status stays as it is: the user's own rules may name it.
    match value.as_str().and_then(Status::parse) {
        None | Some(Status::Unknown(_)) => {}
        Some(status) if *value == status.as_str() => {}
        Some(status) => *value = Value::from(status.as_str()),
    }
}

fn canonical_items(fields: &mut Map<String, Value>, block: &str, key: &str) {
    let items = fields.get_mut(block).and_then(Value::as_array_mut).into_iter().flatten();
    items.filter_map(Value::as_object_mut).for_each(|item| canonical_status(item, key));
}

/// The features as objects with statuses; `None` where there is nothing to say, or they are that already. A decision
/// without a list of features has those whose checks ran.
fn features(fields: &Map<String, Value>) -> Option<Vec<Value>> {
    if let Some(listed) = fields.get("features").and_then(Value::as_array) {
        let lacks_status = |feature: &Value| feature.get("status").is_none_or(Value::is_null);
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
            ran.push(json!({"feature": name, "status": status}));
        }
    }
    (!ran.is_empty()).then_some(ran)
}

fn with_status(fields: &Map<String, Value>, feature: &Value) -> Value {
    let status_of = |name: &str| {
        let block = FEATURES.iter().find(|(feature, _)| feature.eq_ignore_ascii_case(name)).map(|(_, block)| *block);
        block.map_or(Value::Null, |block| checked_status(fields, block))
    };
    match feature {
        Value::String(name) => json!({"feature": name, "status": status_of(name)}),
        Value::Object(object) if object.get("status").is_none_or(Value::is_null) => {
            let status = object.get("feature").and_then(Value::as_str).map_or(Value::Null, status_of);
            let mut object = object.clone();
            object.insert("status".to_owned(), status);
            Value::Object(object)
        }
        other => other.clone(),
    }
}

/// The status of a block: `Declined` if any check is, else that of the last check; null where none has one.
fn checked_status(fields: &Map<String, Value>, block: &str) -> Value {
    let items = fields.get(block).and_then(Value::as_array).into_iter().flatten();
    let statuses: Vec<&str> = items.filter_map(|item| item.get("status")?.as_str()).collect();
    let declined = statuses.iter().find(|text| Status::parse(text) == Some(Status::Declined));
    declined.or(statuses.last()).map_or(Value::Null, |text| Value::from(*text))
}

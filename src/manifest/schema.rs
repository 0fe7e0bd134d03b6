//! The JSON Schema of manifest version 1 (draft 2020-12), for editors.
//!
//! Built by hand, since the decoder is no serde type; a test holds its keys against the decoder's. It describes the
//! whole version.

use serde_json::{Value, json};

use crate::verify::{MAX_RULE, MAX_RULES};

/// The schema of a manifest.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "didit-sync manifest",
        "description": "Which sessions partners shared, and how each is to be imported.",
        "type": "object",
        "additionalProperties": false,
        "required": ["version", "name"],
        "properties": {
            "version": {"const": 1, "description": "The version of the manifest's format."},
            "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$", "description": "The manifest's name, unique over all manifests of a command.", "examples": ["acme-2026q4"]},
            "application": {"$ref": "#/$defs/application"},
            "defaults": {"$ref": "#/$defs/defaults"},
            "limits": {"$ref": "#/$defs/limits"},
            "imports": {"type": ["array", "null"], "items": {"$ref": "#/$defs/entry"}, "description": "Entries one by one."},
            "sources": {"type": ["array", "null"], "items": {"$ref": "#/$defs/source"}, "description": "Entries in bulk, from files beside the manifest."},
            "tokens": {"type": ["array", "null"], "items": {"$ref": "#/$defs/tokens"}, "description": "Tokens delivered apart from the roster: each goes to the entry whose session its claims name."},
            "partners": {
                "type": ["object", "null"],
                "additionalProperties": {"$ref": "#/$defs/partner"},
                "propertyNames": {"pattern": "^[A-Za-z0-9._-]{1,63}$"},
                "description": "Source applications of the same group, in which tokens are minted; `mint` names them."
            }
        },
        "$defs": {
            "application": application(),
            "defaults": object("Settings of every entry that does not say otherwise.", &[], settings(json!({}))),
            "limits": limits(),
            "entry": entry(),
            "source": source(),
            "tokens": object("A file, or files, of tokens.", &["file"], json!({
                "file": {"type": "string", "description": "A path or pattern, relative to the manifest: .txt with one token a line, or a format of `sources` with the column share_token.", "examples": ["inbox/*.csv"]},
                "columns": object("Names in the file, where they differ.", &[], json!({"share_token": {"type": "string", "description": "The column that holds tokens."}})),
                "on_duplicate": on_duplicate(),
                "on_invalid": on_invalid(),
            })),
            "partner": object("A source application.", &["api_key"], json!({
                "api_key": {"$ref": "#/$defs/reference", "description": "Where the source application's API key is to be had; it needs write:sessions."},
                "writes_per_minute": {"type": "integer", "minimum": 1, "maximum": 1_000_000, "default": 300, "description": "Tokens minted with this key in any 60 seconds."},
            })),
            "reference": reference(),
            "workflow": workflow(),
            "uuid": {"type": "string", "format": "uuid", "pattern": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"},
            "expect": {
                "type": "array",
                "maxItems": MAX_RULES,
                "description": "Rules of your own over the decision. A list here replaces those further out; [] is none.",
                "items": object("A rule.", &["name", "rule"], json!({
                    "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$", "description": "The rule's name, unique in its list: findings have it as expect:NAME."},
                    "rule": {"type": "string", "minLength": 1, "maxLength": MAX_RULE, "description": "A CEL expression over the decision, `session`, that is true of a good session.", "examples": ["session.status == 'Approved'"]},
                    "severity": {"enum": ["error", "warning", "info"], "default": "error", "description": "How grave it is where the rule is not true; an error ends audit and apply with 4."},
                })),
            },
        }
    })
}

fn object(description: &str, required: &[&str], properties: Value) -> Value {
    let mut schema = json!({"type": "object", "description": description, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema["properties"] = properties;
    schema
}

/// The settings that defaults, sources and entries share, besides `more`.
fn settings(mut more: Value) -> Value {
    more["workflow_id"] = json!({"$ref": "#/$defs/workflow"});
    more["trust_review"] = json!({"type": "boolean", "description": "true: the partner's decision stands. false: the imported session is In Review. Required for each entry, here or further out."});
    more["vendor_data"] = json!({"type": "string", "minLength": 1, "description": "Your reference, at most 2000 bytes. {source_session_id} and {id} are filled in; {{ and }} are braces.", "examples": ["acme-{source_session_id}"]});
    more["expect"] = json!({"$ref": "#/$defs/expect"});
    more
}

fn application() -> Value {
    object(
        "The receiving Didit application.",
        &[],
        json!({
            "id": {"$ref": "#/$defs/uuid", "description": "When given, tokens minted for another application are refused locally. Required where tokens are minted."},
            "base_url": {"type": "string", "format": "uri", "default": "https://verification.didit.me", "description": "https only; http for loopback addresses."},
            "api_key": {"$ref": "#/$defs/reference", "default": {"env": "DIDIT_API_KEY"}, "description": "Where the API key is to be had; never the key itself."},
        }),
    )
}

fn limits() -> Value {
    object(
        "How fast, and how far.",
        &[],
        json!({
            "writes_per_minute": {"type": "integer", "minimum": 1, "maximum": 1_000_000, "default": 300, "description": "Imports in any 60 seconds."},
            "reads_per_minute": {"type": "integer", "minimum": 1, "maximum": 1_000_000, "default": 600, "description": "Reads in any 60 seconds."},
            "concurrency": {"type": "integer", "minimum": 1, "maximum": 1024, "default": 32, "description": "Requests in flight."},
            "timeout": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$", "default": "30s", "description": "Of one request, 1s to 10m."},
            "max_failures": {"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+(\\.[0-9]+)?%?$", "default": "5%", "description": "A number of refusals, or a share of the entries to be sent, past which the run stops sending."},
            "max_trusted": {"type": "integer", "minimum": 0, "description": "More new imports with trust_review true than this in one run: nothing is sent. No limit by default.", "examples": [100]},
        }),
    )
}

fn entry() -> Value {
    let mut entry = object(
        "One shared session.",
        &[],
        settings(json!({
            "share_token": {
                "description": "The share token, or where it is to be had.",
                "oneOf": [{"type": "string", "pattern": "^\\s*eyJ[A-Za-z0-9_=-]*\\.[A-Za-z0-9_=-]+\\.[A-Za-z0-9_=-]+\\s*$"}, {"$ref": "#/$defs/reference"}],
            },
            "source_session_id": {"$ref": "#/$defs/uuid", "description": "The shared session in the source application. Without a token here, the token comes from `tokens`."},
            "id": {"type": "string", "minLength": 1, "maxLength": 255, "description": "A label in outputs, unique. Default: the source session id.", "examples": ["carmen"]},
            "mint": mint(&["partner", "session_id"], json!({
                "session_id": {"$ref": "#/$defs/uuid", "description": "The session to share; it is the entry's source session."},
            })),
        })),
    );
    entry["anyOf"] =
        json!([{"required": ["share_token"]}, {"required": ["source_session_id"]}, {"required": ["mint"]}]);
    entry["not"] = json!({"required": ["share_token", "mint"]});
    entry
}

/// `mint`, with `more` properties.
fn mint(required: &[&str], mut more: Value) -> Value {
    more["partner"] = json!({"type": "string", "description": "A key of `partners`.", "examples": ["bank"]});
    more["ttl"] = json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$", "default": "15m", "description": "How long the token lives, 60s to 24h."});
    object("Mint the token just before the import, in place of share_token.", required, more)
}

fn source() -> Value {
    let column = |what: &str| json!({"type": "string", "minLength": 1, "description": what});
    object(
        "A file, or files, of entries.",
        &["file"],
        settings(json!({
            "file": {"type": "string", "description": "A path or pattern, relative to the manifest: .csv .tsv .ndjson .jsonl .json .yaml, each also as .gz or .zst.", "examples": ["people/*.csv"]},
            "columns": object("Names in the file, where they differ.", &[], json!({
                "share_token": column("The column that holds tokens."),
                "source_session_id": column("The column that holds source sessions."),
                "id": column("The column that holds labels."),
                "workflow_id": column("The column that holds workflows."),
                "trust_review": column("The column that holds true or false."),
                "vendor_data": column("The column that holds your reference."),
                "session_id": column("With `mint`: the column that holds the sessions to share."),
            })),
            "on_duplicate": on_duplicate(),
            "on_invalid": on_invalid(),
            "mint": mint(&["partner"], json!({})),
        })),
    )
}

fn on_duplicate() -> Value {
    json!({"enum": ["error", "latest"], "default": "error", "description": "latest: of several tokens for one session, take the one that expires last."})
}

fn on_invalid() -> Value {
    json!({"enum": ["error", "skip"], "default": "error", "description": "skip: report a bad row or unreadable file, and go on with the rest."})
}

fn reference() -> Value {
    let mut reference = object(
        "Where a secret is to be had.",
        &[],
        json!({
            "env": {"type": "string", "minLength": 1, "description": "An environment variable.", "examples": ["DIDIT_API_KEY"]},
            "file": {"type": "string", "minLength": 1, "description": "A file in the manifest's folder or under a --root.", "examples": ["secrets/token.jwt"]},
            "exec": {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "A program and its arguments; runs only with --allow-exec, without a shell.", "examples": [["vault", "read", "-field=key", "secret/didit"]]},
        }),
    );
    reference["minProperties"] = json!(1);
    reference["maxProperties"] = json!(1);
    reference
}

fn workflow() -> Value {
    let mut by_kind = object(
        "By kind of session.",
        &[],
        json!({
            "user": {"$ref": "#/$defs/uuid", "description": "For persons."},
            "business": {"$ref": "#/$defs/uuid", "description": "For companies."},
        }),
    );
    by_kind["minProperties"] = json!(1);
    json!({
        "description": "The workflow of the receiving application. Required for each entry, here or further out.",
        "examples": ["9f9b1234-aaaa-bbbb-cccc-1234567890ab", {"user": "9f9b1234-aaaa-bbbb-cccc-1234567890ab"}],
        "oneOf": [{"$ref": "#/$defs/uuid"}, by_kind],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::keys;

    #[test]
    fn the_schema_has_the_decoders_keys() {
        let schema = schema();
        let keys_at = |pointer: &str| -> Vec<String> {
            let map = schema.pointer(pointer).and_then(Value::as_object).unwrap_or_else(|| panic!("{pointer}"));
            let mut keys: Vec<String> = map.keys().cloned().collect();
            keys.sort();
            keys
        };
        for (pointer, known) in [
            ("/properties", keys::MANIFEST),
            ("/$defs/application/properties", keys::APPLICATION),
            ("/$defs/defaults/properties", keys::DEFAULTS),
            ("/$defs/limits/properties", keys::LIMITS),
            ("/$defs/entry/properties", keys::ENTRY),
            ("/$defs/source/properties", keys::SOURCE),
            ("/$defs/source/properties/columns/properties", keys::COLUMNS),
            ("/$defs/tokens/properties", keys::TOKENS),
            ("/$defs/tokens/properties/columns/properties", keys::TOKEN_COLUMNS),
            ("/$defs/partner/properties", keys::PARTNER),
            ("/$defs/entry/properties/mint/properties", keys::MINT),
            ("/$defs/source/properties/mint/properties", keys::SOURCE_MINT),
            ("/$defs/reference/properties", keys::REFERENCE),
            ("/$defs/expect/items/properties", keys::RULE),
            ("/$defs/workflow/oneOf/1/properties", keys::WORKFLOW),
        ] {
            let mut known: Vec<String> = known.iter().map(|key| (*key).to_owned()).collect();
            known.sort();
            assert_eq!(keys_at(pointer), known, "{pointer}");
        }
    }

    #[test]
    fn every_property_is_described() {
        fn walk(value: &Value, path: &str) {
            let Some(map) = value.as_object() else { return };
            if let Some(properties) = map.get("properties").and_then(Value::as_object) {
                for (key, property) in properties {
                    assert!(property.get("description").is_some() || property.get("$ref").is_some(), "{path}/{key}");
                }
            }
            map.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}")));
        }
        walk(&schema(), "");
    }
}

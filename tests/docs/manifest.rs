//! The reference of the manifest's keys, from the JSON Schema.

use std::fmt::Write as _;

use serde_json::Value;

use super::cli::cell;

/// Where an object of the schema stands, and what the page calls it.
const OBJECTS: [(&str, &str); 15] = [
    ("", "The manifest"),
    ("/$defs/application", "application"),
    ("/$defs/defaults", "defaults"),
    ("/$defs/limits", "limits"),
    ("/$defs/entry", "imports"),
    ("/$defs/entry/properties/mint", "mint, in an entry"),
    ("/$defs/source", "sources"),
    ("/$defs/source/properties/columns", "columns, in a source"),
    ("/$defs/source/properties/mint", "mint, in a source"),
    ("/$defs/tokens", "tokens"),
    ("/$defs/tokens/properties/columns", "columns, in tokens"),
    ("/$defs/partner", "partners"),
    ("/$defs/reference", "A reference to a secret"),
    ("/$defs/workflow/oneOf/1", "workflow_id, by kind"),
    ("/$defs/expect/items", "expect"),
];

/// Every object with its keys.
pub fn keys() -> String {
    let schema = didit_sync::manifest::schema();
    let mut out = String::new();
    for (pointer, title) in OBJECTS {
        let object = schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
        let _ = write!(out, "### {title}\n\n{}\n\n", object["description"].as_str().unwrap());
        out.push_str("| key | value | default | what it is |\n| --- | --- | --- | --- |\n");
        let required: Vec<&str> =
            object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (key, property) in object["properties"].as_object().unwrap() {
            let default = if required.contains(&key.as_str()) { "required".to_owned() } else { default(property) };
            let _ = writeln!(
                out,
                "| `{key}` | {} | {default} | {} |",
                cell(&value(&schema, property)),
                cell(&about(&schema, property))
            );
        }
        out.push('\n');
    }
    out
}

/// The definition that a property refers to.
fn referred<'s>(schema: &'s Value, property: &'s Value) -> Option<(&'s str, &'s Value)> {
    let name = property["$ref"].as_str()?.strip_prefix("#/$defs/")?;
    Some((name, &schema["$defs"][name]))
}

fn about(schema: &Value, property: &Value) -> String {
    let own = property["description"].as_str();
    let text = own.or_else(|| referred(schema, property)?.1["description"].as_str()).unwrap_or_default();
    let examples = property["examples"].as_array().into_iter().flatten().map(|it| format!("`{}`", short(it)));
    let examples = examples.collect::<Vec<_>>().join(", ");
    if examples.is_empty() { text.to_owned() } else { format!("{text} For example {examples}.") }
}

fn default(property: &Value) -> String {
    property.get("default").map(|value| format!("`{}`", short(value))).unwrap_or_default()
}

/// A value as it stands in YAML.
fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{key}: {}", short(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// What kind of value it is, with links to the objects.
fn value(schema: &Value, property: &Value) -> String {
    if let Some((name, definition)) = referred(schema, property) {
        return of_definition(name).unwrap_or_else(|| value(schema, definition));
    }
    if let Some(constant) = property.get("const") {
        return format!("`{constant}`");
    }
    if let Some(values) = property["enum"].as_array() {
        return values.iter().map(|value| format!("`{}`", short(value))).collect::<Vec<_>>().join(", ");
    }
    if let Some(kinds) = property["oneOf"].as_array() {
        return kinds.iter().map(|kind| value(schema, kind)).collect::<Vec<_>>().join(", or ");
    }
    if let Some(items) = property.get("items") {
        return format!("list of {}", value(schema, items));
    }
    if let Some(values) = property.get("additionalProperties").filter(|it| it.is_object()) {
        return format!("names, each with {}", value(schema, values));
    }
    plain(property)
}

fn of_definition(name: &str) -> Option<String> {
    let text = match name {
        "uuid" => "UUID",
        "application" => "[application](#application)",
        "defaults" => "[settings](#defaults)",
        "limits" => "[limits](#limits)",
        "entry" => "[entry](#imports)",
        "source" => "[source](#sources)",
        "tokens" => "[tokens](#tokens)",
        "partner" => "[partner](#partners)",
        "reference" => "[reference](#a-reference-to-a-secret)",
        "workflow" => "UUID, or [by kind](#workflow_id-by-kind)",
        "expect" => "list of [rules](#expect)",
        _ => return None,
    };
    Some(text.to_owned())
}

/// A type with its bounds.
fn plain(property: &Value) -> String {
    let kinds = match &property["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    };
    let kinds = kinds.replace("boolean", "`true`, `false`").replace("string", "text").replace("object", "keys");
    match (property.get("minimum"), property.get("maximum")) {
        (Some(least), Some(most)) => format!("{kinds}, {least} to {most}"),
        (Some(least), None) => format!("{kinds}, from {least}"),
        _ => kinds,
    }
}

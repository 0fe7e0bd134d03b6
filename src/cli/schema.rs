//! `schema`: the JSON Schema of the manifest, or of what `--json` prints.

use serde_json::Value;

use super::args::SchemaArgs;
use super::explain::ExplainDocument;
use super::ledger::{BackupDocument, CheckDocument};
use super::moving::MoveDocument;
use crate::console::Console;
use crate::exit::Exit;
use crate::manifest;
use crate::report::doctor::DoctorDocument;
use crate::report::schema::Output;
use crate::report::{
    ApplyDocument, AuditDocument, ErrorDocument, PeriodDocument, PlanDocument, RunsDocument, StatusDocument,
    ValidateDocument,
};

pub(super) fn run(args: &SchemaArgs, console: &Console) -> Exit {
    match args.output {
        None => console.json(&manifest::schema()),
        Some(output) => console.json(&of(output)),
    }
    Exit::ok()
}

/// The schema of a document.
#[must_use]
pub fn of(output: Output) -> Value {
    match output {
        Output::Plan => output.schema::<PlanDocument<'_>>(),
        Output::Apply => output.schema::<ApplyDocument<'_>>(),
        Output::Audit => output.schema::<AuditDocument<'_>>(),
        Output::Status => output.schema::<StatusDocument<'_, '_>>(),
        Output::Error => output.schema::<ErrorDocument<'_>>(),
        Output::Validate => output.schema::<ValidateDocument<'_>>(),
        Output::Runs => output.schema::<RunsDocument<'_>>(),
        Output::Period => output.schema::<PeriodDocument<'_>>(),
        Output::Doctor => output.schema::<DoctorDocument<'_>>(),
        Output::Explain => output.schema::<ExplainDocument<'_>>(),
        Output::Check => output.schema::<CheckDocument<'_>>(),
        Output::Backup => output.schema::<BackupDocument<'_>>(),
        Output::Move => output.schema::<MoveDocument<'_>>(),
    }
    .to_value()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    /// Every schema in it that has properties, with its path.
    fn objects(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(map) => {
                if map.get("properties").is_some_and(Value::is_object) {
                    found.push((path.to_owned(), value.clone()));
                }
                map.iter().for_each(|(key, value)| objects(value, &format!("{path}/{key}"), found));
            }
            Value::Array(list) => list.iter().for_each(|value| objects(value, path, found)),
            _ => {}
        }
    }

    #[test]
    fn every_document_has_its_format_its_exit_and_no_optional_key() {
        for output in Output::value_variants() {
            let schema = of(*output);
            assert!(jsonschema::draft202012::meta::is_valid(&schema), "{output:?}");
            assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
            assert_eq!(schema["properties"]["format"]["const"], output.format());
            assert_eq!(schema["properties"]["exit"]["$ref"], "#/$defs/Exit");
            let mut found = Vec::new();
            objects(&schema, "", &mut found);
            for (path, object) in found {
                assert_eq!(object["additionalProperties"], false, "{output:?}{path}");
                let required: Vec<&str> =
                    object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let keys = object["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str());
                // Only a plan in a file names its ledger.
                let optional: Vec<&str> = keys.filter(|key| !required.contains(key)).collect();
                let allowed: &[&str] = if *output == Output::Plan && path.is_empty() { &["ledger"] } else { &[] };
                assert_eq!(optional, allowed, "{output:?}{path}");
            }
        }
    }

    #[test]
    fn formats_and_names_of_documents_agree() {
        for output in Output::value_variants() {
            let name = output.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            assert_eq!(output.format(), format!("didit-sync/{name}.v1"));
        }
    }
}

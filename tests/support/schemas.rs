//! Every document that a test reads is held against the schema that the program publishes of it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use clap::ValueEnum as _;
use didit_sync::cli::schema;
use didit_sync::report::schema::Output;
use jsonschema::Validator;
use serde_json::Value;

/// A validator by `format`.
fn validators() -> &'static BTreeMap<&'static str, Validator> {
    static VALIDATORS: OnceLock<BTreeMap<&'static str, Validator>> = OnceLock::new();
    VALIDATORS.get_or_init(|| {
        let all = Output::value_variants().iter();
        all.map(|output| (output.format(), validator(&schema::of(*output)))).collect()
    })
}

/// A validator that holds formats such as `uuid` and `date-time` to their word, too.
pub fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(schema).unwrap()
}

/// Asserts that a text, if it is a document, has a schema and is as it says.
#[track_caller]
pub fn check(text: &str) {
    if let Ok(document) = serde_json::from_str::<Value>(text)
        && let Some(format) = document["format"].as_str()
    {
        assert_valid(format, &document);
    }
}

#[track_caller]
fn assert_valid(format: &str, document: &Value) {
    let validator = validators().get(format).unwrap_or_else(|| panic!("no schema of `{format}`: {document:#}"));
    let wrong: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{}\n{document:#}", wrong.join("\n"));
}

//! The schema against manifests: it takes the examples, as the program does, and refuses what it can tell to be wrong,
//! which the program always refuses.

use serde_json::Value;

use super::*;
use crate::manifest::schema;

fn as_json(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema()).unwrap()
}

#[test]
fn it_is_a_schema_and_takes_every_example() {
    assert!(jsonschema::draft202012::meta::is_valid(&schema()));
    let validator = validator();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let mut examples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let document = as_json(&std::fs::read_to_string(&path).unwrap());
            let wrong: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{}: {wrong:?}", path.display());
            examples += 1;
        }
    }
    assert!(examples >= 5);
    let starter = crate::manifest::starter("acme");
    assert!(validator.is_valid(&as_json(&starter)), "{starter}");
}

/// Every schema in a schema.
fn each<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => {
            found.push(value);
            map.iter()
                .filter(|(key, _)| !["default", "examples"].contains(&key.as_str()))
                .for_each(|(_, it)| each(it, found));
        }
        Value::Array(list) => list.iter().for_each(|it| each(it, found)),
        _ => {}
    }
}

#[test]
fn examples_and_defaults_in_it_are_as_it_says() {
    let whole = schema();
    let mut found = Vec::new();
    each(&whole, &mut found);
    let mut tried = 0;
    for part in found {
        let samples = part.get("examples").and_then(Value::as_array).into_iter().flatten().chain(part.get("default"));
        for sample in samples.filter(|_| part.get("description").is_some()) {
            let mut alone = part.clone();
            alone["$defs"] = whole["$defs"].clone();
            assert!(jsonschema::draft202012::new(&alone).unwrap().is_valid(sample), "{sample} in {part:#}");
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn what_is_wrong_by_its_form_is_refused_by_both() {
    let validator = validator();
    let entry = |more: &str| format!("{}imports:\n  - {{source_session_id: {}{more}}}\n", head(), session(1));
    let right = entry("");
    assert!(validator.is_valid(&as_json(&right)) && Folder::new(&[("m.yaml", &right)]).load(&["m.yaml"]).is_ok());
    for text in [
        "version: 2\nname: acme\n".to_owned(),
        "name: acme\n".to_owned(),
        "version: 1\n".to_owned(),
        "version: 1\nname: Acme Corp\n".to_owned(),
        "- a\n".to_owned(),
        entry(", share_tokn: x"),
        entry(", trust_review: 'yes'"),
        entry(", workflow_id: 7"),
        entry(", workflow_id: {}"),
        entry(", workflow_id: {usr: 9f9b1234-aaaa-bbbb-cccc-1234567890ab}"),
        entry(", workflow_id: 9f9b1234-aaaa-bbbb-cccc-1234567890a"),
        entry(", vendor_data: 42"),
        entry(", share_token: no-token"),
        entry(", share_token: {env: A, file: b}"),
        entry(", share_token: {exec: sh}"),
        entry(", expect: [{name: A, rule: 'true'}]"),
        entry(", expect: [{name: a, rule: 'true', severity: grave}]"),
        format!("{}imports: [{{id: nobody}}]\n", head()),
        format!("{}imports: {{}}\n", head()),
        format!("{}limits: {{writes_per_minute: 0}}\n", head()),
        format!("{}limits: {{concurrency: many}}\n", head()),
        format!("{}limits: {{timeout: 30}}\n", head()),
        format!("{}limits: {{max_failures: some}}\n", head()),
        format!("{}limits: {{max_trusted: -1}}\n", head()),
        format!("{}sources: [{{trust_review: true}}]\n", head()),
        format!("{}sources: [{{file: p.csv, on_duplicate: newest}}]\n", head()),
        format!("{}sources: [{{file: p.csv, columns: {{share_tokn: x}}}}]\n", head()),
        format!("{}tokens: [{{file: p.csv, trust_review: true}}]\n", head()),
        format!("{}partners: {{bank: {{}}}}\n", head()),
        format!("{}partners: {{'a bank': {{api_key: {{env: A}}}}}}\n", head()),
    ] {
        assert!(!validator.is_valid(&as_json(&text)), "the schema takes\n{text}");
        assert!(Folder::new(&[("m.yaml", &text)]).load(&["m.yaml"]).is_err(), "the program takes\n{text}");
    }
}

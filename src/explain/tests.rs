//! Every code is explained, and every example of a manifest is what it says.

use std::collections::HashSet;

use super::*;
use crate::manifest::{Diagnostic, Environment, LoadOptions, load};
use crate::token::ShareToken;

fn topic(code: &str) -> Topic {
    let mut found = find(code);
    assert_eq!(found.len(), 1, "{code}: {found:?}");
    found.remove(0)
}

#[test]
fn every_code_has_a_meaning_and_says_what_to_do() {
    for topic in topics() {
        assert!(topic.meaning.ends_with('.') && !topic.help.is_empty(), "{topic:?}");
        assert_eq!(topic.wrong.is_some(), topic.kind == Kind::Manifest, "{topic:?}");
        assert_eq!(topic.wrong.is_some(), topic.right.is_some(), "{topic:?}");
    }
}

#[test]
fn no_text_is_of_a_code_that_does_not_exist() {
    for kind in Kind::ALL {
        let codes: HashSet<String> = kind.codes().into_iter().map(|named| named.code).collect();
        let texts: Vec<&str> = sections(kind.texts()).map(|text| text.code).collect();
        assert!(texts.iter().all(|code| codes.contains(*code)), "{kind:?}: {texts:?}");
        assert_eq!(texts.len(), codes.len(), "{kind:?}");
    }
}

#[test]
fn codes_are_found_by_name_number_and_in_either_spelling() {
    assert_eq!(topic("6"), topic("unknown-outcome"));
    assert_eq!(topic("TOKEN-EXPIRED"), topic("token_expired"));
    assert_eq!(topic("expect:approved").code, "expect:NAME");
    assert_eq!(find("interrupted").len(), 2);
    let kinds = |code| find(code).into_iter().map(|topic| topic.kind).collect::<Vec<_>>();
    assert_eq!(kinds("credentials"), [Kind::Exit, Kind::Refusal]);
    assert_eq!(kinds("needs_token"), [Kind::Action, Kind::Outcome]);
    assert_eq!(kinds("nonsense"), []);
    assert_eq!(near("unknwon-key"), ["unknown-key"]);
    assert_eq!(near("token"), near("TOKEN"));
    assert!(near("token").contains(&"token_expired".to_owned()));
    assert!(near("zzzzzzzz").is_empty());
}

/// What the examples leave out of a manifest.
const REST: [(&str, &str); 3] = [
    ("version", "version: 1\n"),
    ("name", "name: acme\n"),
    (
        "defaults",
        "defaults: {workflow_id: 9f9b1234-aaaa-bbbb-cccc-1234567890ab, trust_review: false, vendor_data: \"acme-{source_session_id}\"}\n",
    ),
];
const APPLICATION: &str = "a5f3bca2-46e2-411e-90ef-a580900a57ee";

/// A folder with the files of an example.
struct Example {
    code: Code,
    folder: tempfile::TempDir,
    paths: Vec<String>,
}

impl Example {
    fn new(code: Code, lines: &str) -> Self {
        let mut example = Self { code, folder: tempfile::tempdir().unwrap(), paths: Vec::new() };
        if let Some(name) = lines.strip_prefix("didit-sync validate ") {
            let path = example.folder.path().join(name);
            match name {
                "nothing.yaml" => {}
                "empty" => std::fs::create_dir(&path).unwrap(),
                // A hole on the disk.
                "large.yaml" => std::fs::File::create(&path).unwrap().set_len((1 << 30) + 1).unwrap(),
                _ => std::fs::write(&path, "version: 1\nname: acme\n").unwrap(),
            }
            example.paths.push(path.to_str().unwrap().to_owned());
            return example;
        }
        let (mut name, mut text) = ("m.yaml", String::new());
        for line in lines.lines() {
            match line.strip_prefix("# ").filter(|file| file.contains('.') && !file.contains(' ')) {
                Some(next) => {
                    example.write(name, &std::mem::take(&mut text));
                    name = next;
                }
                None => text += &format!("{line}\n"),
            }
        }
        example.write(name, &text);
        example
    }

    fn write(&mut self, name: &str, text: &str) {
        let mut text = text.replace("LONG", &"x".repeat(2001));
        for n in 1..=2 {
            text = text.replace(&format!("eyJ...{n}"), &token(n));
        }
        if name == "m.yaml" && self.code != Code::EmptyManifest {
            let is_there = |key: &str, text: &str| text.lines().any(|line| line.starts_with(&format!("{key}:")));
            for (key, rest) in REST {
                if !is_there(key, &text) {
                    text = format!("{rest}{text}");
                }
            }
            if !is_there("application", &text) {
                text = format!("application: {{id: {APPLICATION}}}\n{text}");
            }
        }
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes: Vec<u8> = match text.split_once("\\xe9") {
            Some((before, after)) => [before.as_bytes(), &[0xe9], after.as_bytes()].concat(),
            None => text.into_bytes(),
        };
        std::fs::write(&path, bytes).unwrap();
        if matches!(name, "m.yaml" | "n.yaml") {
            self.paths.push(path.to_str().unwrap().to_owned());
        }
    }

    /// All that is wrong, warnings too.
    fn found(&self) -> Vec<Diagnostic> {
        let allow_exec = self.code != Code::ExecNotAllowed;
        let options = LoadOptions { sending: true, allow_exec, env: Environment::empty(), ..LoadOptions::default() };
        load(&self.paths, &options).map_or_else(|wrong| wrong.0, |loaded| loaded.warnings)
    }

    /// The codes of all that is wrong.
    fn codes(&self) -> Vec<Code> {
        let mut codes: Vec<Code> = self.found().into_iter().map(|diagnostic| diagnostic.code).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}

/// A token of the n-th session.
fn token(n: u32) -> String {
    use base64::Engine as _;
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let claims = serde_json::json!({
        "session_id": format!("20bb3c3b-6146-439f-84a4-{n:012}"), "for_application_id": APPLICATION, "exp": 4_000_000_000_u64,
    });
    let text = format!("{}.{}.c2ln", part(r#"{"alg":"HS256"}"#), part(&claims.to_string()));
    assert!(ShareToken::parse(&text).is_ok());
    text
}

#[test]
fn every_wrong_example_of_a_manifest_has_its_code_alone_and_every_right_one_lacks_it() {
    let mut failed = Vec::new();
    for code in Code::ALL {
        let topic = topics().into_iter().find(|it| it.kind == Kind::Manifest && it.code == code.as_str()).unwrap();
        let (wrong, right) = (topic.wrong.unwrap(), topic.right.unwrap());
        let found = Example::new(*code, wrong).codes();
        if found != [*code] {
            failed.push(format!("{code}: the wrong example has {found:?}"));
        }
        let found = Example::new(*code, right).codes();
        if !found.is_empty() {
            failed.push(format!("{code}: the right example has {found:?}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn explanations_as_people_read_them() {
    insta::assert_snapshot!("a_manifest_code", text(&find("unknown-key")));
    insta::assert_snapshot!("two_kinds", text(&find("credentials")));
    insta::assert_snapshot!("a_rule", text(&find("expect:approved")));
}

#[test]
fn every_code_as_people_see_it_in_a_manifest() {
    let mut shown = String::new();
    for code in Code::ALL {
        let topic = topics().into_iter().find(|it| it.kind == Kind::Manifest && it.code == code.as_str()).unwrap();
        let example = Example::new(*code, topic.wrong.unwrap());
        let folder = format!("{}/", example.folder.path().display());
        for diagnostic in example.found() {
            shown += &diagnostic.render(false).replace(&folder, "").replace(folder.trim_end_matches('/'), "FOLDER");
        }
        shown += "\n";
    }
    insta::assert_snapshot!("every_manifest_code", shown);
}

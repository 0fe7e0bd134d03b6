//! `expect`: the user's own rules.

use super::*;

/// A manifest with one entry, and these lists of rules.
fn with(defaults: &str, entry: &str) -> String {
    let mut text = head();
    if !defaults.is_empty() {
        text = text.replace("defaults: {", &format!("defaults: {{expect: {defaults}, "));
    }
    let own = if entry.is_empty() { String::new() } else { format!("\n    expect: {entry}") };
    format!("{text}imports:\n  - source_session_id: {}{own}\n", session(1))
}

fn names(entry: &crate::manifest::Entry) -> String {
    entry.expect().to_json().as_array().unwrap().iter().map(|rule| rule["name"].as_str().unwrap()).collect()
}

const OF_DEFAULTS: &str = "[{name: d, rule: \"session.status == 'Approved'\"}]";

#[test]
fn the_nearest_list_replaces_those_further_out() {
    let of = |text: &str| names(&Folder::new(&[("m.yaml", text)]).manifest().entries[0]);
    assert_eq!(of(&with("", "")), "");
    assert_eq!(of(&with(OF_DEFAULTS, "")), "d");
    assert_eq!(of(&with(OF_DEFAULTS, "[{name: e, rule: \"true\"}, {name: f, rule: \"true\", severity: info}]")), "ef");
    assert_eq!(of(&with(OF_DEFAULTS, "[]")), "");
    let rows = format!("id,source_session_id\na,{}\n", session(2));
    for (own, names_of) in [("", "d"), (", expect: [{name: s, rule: \"true\"}]", "s")] {
        let text = with(OF_DEFAULTS, "") + &format!("sources: [{{file: p.csv{own}}}]\n");
        let manifest = Folder::new(&[("m.yaml", &text), ("p.csv", &rows)]).manifest();
        assert_eq!(manifest.entries.iter().map(names).collect::<String>(), format!("d{names_of}"));
        assert_eq!(manifest.expect.to_json()[0]["severity"], "error", "by default");
    }
}

#[test]
fn what_a_rule_may_not_be() {
    for (list, code, column, word) in [
        ("[{name: a, rule: \"session.status = 'x'\"}]", "bad-rule", 30, "not CEL"),
        ("[{name: a, rule: \"sesion.status == 'x'\"}]", "bad-rule", 30, "`sesion`"),
        ("[{name: a, rule: \"session.status.lower() == 'x'\"}]", "bad-rule", 30, "`lower`"),
        ("[{name: a, rule: \"session.status.matches('(')\"}]", "bad-rule", 30, "unclosed group"),
        ("[{name: a, rule: \"\"}]", "bad-rule", 30, "empty"),
        ("[{name: a, rule: true}]", "wrong-type", 30, "quote it"),
        ("[{rule: \"true\"}]", "missing-key", 14, "no `name`"),
        ("[{name: a}]", "missing-key", 14, "no `rule`"),
        ("[{name: A, rule: \"true\"}]", "bad-name", 21, "`A`"),
        ("[{name: -a, rule: \"true\"}]", "bad-name", 21, "`-a`"),
        ("[{name: a, rule: \"true\"}, {name: a, rule: \"false\"}]", "duplicate-rule", 46, "`a`"),
        ("[{name: a, rule: \"true\", severity: fatal}]", "bad-value", 48, "`fatal`"),
        ("[{name: a, rule: \"true\", sevrity: info}]", "unknown-key", 38, "`severity`"),
        ("{name: a, rule: \"true\"}", "wrong-type", 13, "a list"),
        ("~", "wrong-type", 13, "nothing"),
        ("[a]", "wrong-type", 14, "a map"),
    ] {
        let folder = Folder::new(&[("m.yaml", &with("", list))]);
        assert_eq!(folder.codes(), [format!("{code} m.yaml:7:{column}")], "{list}");
        let told = folder.wrong();
        assert!(told.contains(word) && told.contains("help: "), "{list}\n{told}");
    }
    let many = format!("[{}]", vec!["{name: a, rule: \"true\"}"; 65].join(", "));
    assert_eq!(Folder::new(&[("m.yaml", &with("", &many))]).codes(), ["out-of-range m.yaml:7:13"]);
    let long = format!("[{{name: a, rule: \"session.status == '{}'\"}}]", "x".repeat(2000));
    assert_eq!(Folder::new(&[("m.yaml", &with("", &long))]).codes(), ["bad-rule m.yaml:7:30"]);
    let secret = format!("[{{name: a, rule: \"session.status == '{}'\"}}]", token(1, 1));
    assert_eq!(Folder::new(&[("m.yaml", &with("", &secret))]).codes(), ["secret-misplaced m.yaml:7:30"]);
}

#[test]
fn all_errors_of_a_list_are_told_at_once() {
    let list = "[{name: A, rule: \"x\", severity: y}, {name: b, rule: \"session.\"}]";
    assert_eq!(
        Folder::new(&[("m.yaml", &with("", list))]).codes(),
        ["bad-name m.yaml:7:21", "bad-rule m.yaml:7:30", "bad-value m.yaml:7:45", "bad-rule m.yaml:7:65"]
    );
}

#[test]
fn the_digest_covers_the_rules() {
    let digest = |text: &str| Folder::new(&[("m.yaml", text)]).manifest().digest().to_owned();
    let [none, some] = [digest(&with("", "")), digest(&with(OF_DEFAULTS, ""))];
    assert_ne!(none, some);
    assert_eq!(digest(&with("[]", "[]")), none);
    assert_ne!(digest(&with("", OF_DEFAULTS)), none);
    assert_ne!(digest(&with(&OF_DEFAULTS.replace("}]", ", severity: info}]"), "")), some);
    assert_eq!(digest(&with(&OF_DEFAULTS.replace("}]", ", severity: error}]"), "")), some);
}

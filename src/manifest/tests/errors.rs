//! Every error of a manifest, as people see it.

use super::*;

fn wrong(text: &str) -> String {
    Folder::new(&[("m.yaml", text)]).wrong()
}

#[test]
fn keys_and_types() {
    let text = format!(
        "version: 1\nname: acme\nnmae: x\nsurprise: 1\ndefaults:\n  trust_revew: true\n  workflow_id: {WORKFLOW}\n  trust_review: yes\nimports:\n  - source_session_id: {}\n    vendor_data: 42\n    id: true\n  - text\nsources: {{}}\nexpect: []\npartners: []\n",
        session(1)
    );
    insta::assert_snapshot!(wrong(&text));
}

#[test]
fn head_and_application() {
    let text = format!(
        "version: 2\nname: Acme Corp\napplication:\n  id: {}\n  base_url: http://verification.didit.me/v3\n  api_key: sk_live_{CANARY}\nlimits:\n  writes_per_minute: 0\n  concurrency: many\n  timeout: 30\n  max_failures: 5 percent\n  max_trusted: -1\n",
        &OURS[..35]
    );
    insta::assert_snapshot!(wrong(&text));
}

#[test]
fn entries() {
    let text = format!(
        "version: 1\nname: acme\nimports:\n  - source_session_id: {}\n  - share_token: {}\n    source_session_id: {}\n    workflow_id: {{user: {WORKFLOW}, busines: x}}\n    trust_review: false\n  - id: nobody\n    workflow_id: {WORKFLOW}\n    trust_review: true\n  - share_token: not-a-token-{CANARY}\n    workflow_id: {WORKFLOW}\n    trust_review: true\n    vendor_data: \"acme-{{user}}\"\n  - share_token: {}\n    source_session_id: {}\n    workflow_id: {WORKFLOW}\n    trust_review: true\n    vendor_data: \"{}\"\n",
        session(1),
        token(2, 1),
        session(2),
        token(3, 1),
        session(4),
        "x".repeat(2001),
    );
    insta::assert_snapshot!(wrong(&text));
}

#[test]
fn duplicates() {
    let one = format!(
        "{}imports:\n  - {{source_session_id: {}, id: carmen}}\n  - {{source_session_id: {}, id: carmen}}\n  - share_token: {}\n",
        head(),
        session(1),
        session(2),
        token(1, 1)
    );
    let two = format!("{}imports:\n  - {{source_session_id: {}}}\n", head(), session(2));
    let folder = Folder::new(&[("m.yaml", &one), ("n.yaml", &two)]);
    insta::assert_snapshot!(folder.wrong_with(&["m.yaml", "n.yaml"]));
}

#[test]
fn syntax() {
    let mut all = String::new();
    for text in [
        "",
        "# nothing\n",
        "- a\n",
        "version: 1\nname: \"acme\nimports: []\n",
        "version: 1\nimports:\n  - {share_token: abc, id: x\n  - {id: y}\n",
        "version: 1\nname: [acme\nimports: []\n",
        "version: 1\n\tname: acme\n",
        "version: 1\nname: a: b\n",
        "version: 1\nversion: 1\n",
        "version: 1\nname: acme\n---\nversion: 1\n",
        "a: &a x\nb: *a\n",
        "version: 1\nname: !env acme\n",
    ] {
        all.push_str(&wrong(text));
        all.push_str("--\n");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn files_that_are_no_manifests() {
    let folder = Folder::new(&[("empty/readme.md", "x")]);
    folder.write("latin.yaml", b"version: 1\nname: caf\xe9\n");
    insta::assert_snapshot!(folder.wrong_with(&["none.yaml", "empty", "latin.yaml"]));
}

#[test]
fn sources_and_tokens() {
    let text = format!(
        "{}sources:\n  - file: people.xlsx\n  - trust_review: true\n  - file: ../out.csv\n    expect: []\n  - file: p/*.csv\n    columns: {{share_tokn: x, vendor_data: a, id: a}}\n    on_duplicate: newest\n    on_invalid: 1\ntokens:\n  - file: t.txt\n",
        head()
    );
    let folder = Folder::new(&[("m.yaml", &text), ("t.txt", &format!("secret {CANARY}\n"))]);
    insta::assert_snapshot!(folder.wrong());
}

#[test]
fn rows() {
    let text = format!("{}sources: [{{file: p.csv}}, {{file: q.ndjson}}]\n", head());
    let folder = Folder::new(&[
        ("m.yaml", &text),
        (
            "p.csv",
            &format!(
                "id,share_token,trust_review\ncarmen,abc{CANARY},true\ndora,{},ja\n\"x\ty\u{202e}z\",,\n",
                token(1, 1)
            ),
        ),
        ("q.ndjson", &format!("{{\"share_token\": \"abc{CANARY}\", \"id\": \"a\"}}\n{{\"id\": oops}}\n[1]\n")),
    ]);
    insta::assert_snapshot!(folder.wrong());
}

#[test]
fn directories_are_read_sorted_and_files_once() {
    let folder =
        Folder::new(&[("d/b.yml", "version: 1\nname: b\n"), ("d/a.yaml", "version: 1\nname: a\n"), ("d/c.txt", "x")]);
    let loaded = folder.load(&["d", "d/b.yml"]).unwrap();
    assert_eq!(loaded.manifests.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn what_is_nearly_right_is_told_what_it_is_meant_to_be() {
    let text = format!(
        "version: 1\nname: acme\nlimits: {{timeout: 30}}\ndefaults: {{workflow_id: {{usr: {WORKFLOW}}}, vendor_data: a, trust_review: yes}}\n\
         imports:\n  - {{source_session_id: {}, trust_review: \"false\"}}\n  - {{source_session_id: {}, workflow_id: {}}}\n\
         sources:\n  - {{file: p.csv, on_duplicate: lastest, expect: [{{name: a, rule: 'true', severity: warn}}]}}\n",
        &session(1)[..35],
        session(2).replace('-', ""),
        WORKFLOW.replace('9', "g"),
    );
    let rows = format!("source_session_id,trust_review\n{},nO\n{}0,maybe\n", session(3), session(4));
    insta::assert_snapshot!(Folder::new(&[("m.yaml", &text), ("p.csv", &rows)]).wrong());
}

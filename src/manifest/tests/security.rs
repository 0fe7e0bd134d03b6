//! A manifest is data: what it may not do by itself.

use super::*;
use crate::manifest::{SecretRef, Severity};

#[test]
fn variables_and_files_are_read_and_programs_are_not() {
    let text = format!(
        "{}imports:\n  - {{share_token: {{env: TOKEN}}, id: a}}\n  - {{share_token: {{file: keys/b}}, id: b}}\n  - {{share_token: {{exec: [touch, ran]}}, source_session_id: {}, id: c}}\n",
        head(),
        session(3)
    );
    let folder = Folder::new(&[("m.yaml", &text), ("keys/b", &format!("{}\n", token(2, 5)))])
        .env(|name| (name == "TOKEN").then(|| token(1, 5)));
    let manifest = folder.manifest();
    let tokens: Vec<_> = manifest.entries.iter().map(|entry| entry.has_token()).collect();
    assert_eq!(tokens, [true, true, false]);
    assert_eq!(folder.warnings(), [Code::ExecNotAllowed]);
    assert!(!folder.path("ran").exists());
}

#[test]
fn unreadable_references_are_told_at_the_entry() {
    let text = format!(
        "{}imports:\n  - id: a\n    share_token: {{env: NONE}}\n  - id: b\n    share_token: {{file: keys/none}}\n  - id: c\n    share_token: {{file: ../out}}\n  - id: d\n    share_token: {{exec: [vault]}}\n  - id: e\n    share_token: {{env: ODD}}\n",
        head()
    );
    let folder = Folder::new(&[("m.yaml", &text)]).env(|name| (name == "ODD").then(|| format!("odd-{CANARY}")));
    assert_eq!(
        folder.codes(),
        [
            "unreadable-secret m.yaml:6:5",
            "unreadable-secret m.yaml:8:5",
            "outside-folder m.yaml:11:25",
            "exec-needs-session m.yaml:12:5",
            "exec-not-allowed m.yaml:13:18",
            "malformed-token m.yaml:14:5"
        ]
    );
    folder.wrong();
}

#[test]
fn programs_and_foreign_hosts_stop_a_command_that_sends() {
    let text = format!(
        "version: 1\nname: acme\napplication:\n  base_url: https://evil.example\n  api_key: {{exec: [vault, read, {CANARY}]}}\nimports: []\n"
    );
    let mut folder = Folder::new(&[("m.yaml", &text)]);
    assert_eq!(folder.warnings(), [Code::HostNotAllowed, Code::ExecNotAllowed]);
    folder.options.sending = true;
    assert_eq!(folder.codes(), ["host-not-allowed m.yaml:4:13", "exec-not-allowed m.yaml:5:12"]);
    assert!(folder.load(&["m.yaml"]).unwrap_err().0.iter().all(|d| d.severity == Severity::Error));
    folder.wrong();
    folder.options.allow_exec = true;
    folder.options.allow_hosts = vec!["Evil.example".to_owned()];
    assert!(folder.warnings().is_empty());
}

#[test]
fn didit_and_loopback_are_allowed_and_lookalikes_are_not() {
    for (url, allowed) in [
        ("https://verification.didit.me", true),
        ("https://didit.me", true),
        ("http://127.0.0.1:8787", true),
        ("https://notdidit.me", false),
        ("https://didit.me.evil.example", false),
        ("https://didit.me.", false),
    ] {
        let text = format!("version: 1\nname: acme\napplication: {{base_url: \"{url}\"}}\n");
        let mut folder = Folder::new(&[("m.yaml", &text)]);
        folder.options.sending = true;
        assert_eq!(folder.load(&["m.yaml"]).is_ok(), allowed, "{url}");
    }
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_refused_unless_a_root_allows_them() {
    let mut folder = Folder::new(&[
        ("in/m.yaml", &format!("{}imports:\n  - share_token: {{file: link}}\nsources:\n  - file: p/*.csv\n", head())),
        ("out/token", &token(1, 1)),
        ("out/p.csv", &format!("source_session_id\n{}\n", session(2))),
    ]);
    std::fs::create_dir(folder.path("in/p")).unwrap();
    std::os::unix::fs::symlink(folder.path("out/token"), folder.path("in/link")).unwrap();
    std::os::unix::fs::symlink(folder.path("out/p.csv"), folder.path("in/p/p.csv")).unwrap();
    let wrong = folder.load(&["in/m.yaml"]).unwrap_err();
    assert_eq!(wrong.0.iter().map(|d| d.code).collect::<Vec<_>>(), [Code::OutsideFolder, Code::OutsideFolder]);
    folder.options.roots = vec![folder.path("out")];
    assert_eq!(folder.load(&["in/m.yaml"]).unwrap().manifests[0].entries.len(), 2);
}

#[test]
fn the_key_is_never_read_while_loading() {
    let text = "version: 1\nname: acme\napplication: {api_key: {file: keys/none}}\n";
    let folder = Folder::new(&[("m.yaml", text)]);
    assert!(matches!(folder.manifest().application.api_key, SecretRef::File { .. }));
}

#[cfg(unix)]
#[test]
fn an_absurdly_large_manifest_is_refused_unread() {
    let folder = Folder::new(&[("m.yaml", "")]);
    std::fs::File::options().write(true).open(folder.path("m.yaml")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(folder.codes(), ["too-large m.yaml:1:1"]);
}

#[test]
fn without_tokens_no_reference_to_one_is_read_and_the_rest_is_judged() {
    let text = format!(
        "{}imports:\n  - {{id: a, share_token: {{env: NONE}}, source_session_id: {}}}\n  - {{id: b, share_token: {{file: keys/none}}}}\n  - {{id: c, share_token: {{exec: [vault]}}}}\n  - {{id: d, share_token: {}}}\ntokens:\n  - file: inbox/*.csv\n  - file: inbox/none.txt\n",
        head(),
        session(1),
        token(4, 5)
    );
    let mut folder = Folder::new(&[("m.yaml", &text), ("inbox/bad.csv", "\"no token column\nodd")]);
    folder.options.sending = true;
    folder.wrong();
    folder.options.tokens = false;
    let manifest = folder.manifest();
    let sessions: Vec<_> =
        manifest.entries.iter().map(|entry| entry.source_session_id.map(|id| id.to_string())).collect();
    assert_eq!(sessions, [Some(session(1)), None, None, Some(session(4))]);
    assert!(folder.warnings().is_empty());
    // A key is needed all the same, and what is not a token's is an error all the same.
    let key = text.replace("application: {", "application: {api_key: {exec: [vault]}, ");
    folder.write("m.yaml", key.replace("id: d,", "id: d, nmae: x,").as_bytes());
    let codes: Vec<_> = folder.codes().into_iter().map(|code| code.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(codes, ["exec-not-allowed", "unknown-key"]);
}

#[test]
#[cfg(unix)]
fn what_the_ledger_keeps_of_a_reference_works_from_another_folder() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("m/keys")).unwrap();
    std::os::unix::fs::symlink(at("m"), at("link")).unwrap();
    let real = at("m").canonicalize().unwrap();
    let reference = |key: &str| {
        std::fs::write(
            at("m/m.yaml"),
            format!("version: 1\nname: acme\napplication: {{api_key: {key}}}\nimports: []\n"),
        )
        .unwrap();
        let path = at("link/m.yaml").to_str().unwrap().to_owned();
        load(&[path], &LoadOptions::default()).unwrap().manifests.remove(0).application.api_key.to_json()
    };
    assert_eq!(reference("{file: keys/k}")["path"], real.join("keys/k").to_str().unwrap());
    assert_eq!(reference("{exec: [./key]}")["folder"], real.to_str().unwrap());
}

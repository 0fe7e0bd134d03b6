//! The manifest that `init` writes.

/// A commented starter manifest of this name, which loads as it stands. `name` should match
/// `[a-z0-9][a-z0-9-]{0,62}`; another is brought into that form.
#[must_use]
pub fn starter(name: &str) -> String {
    TEXT.replace("NAME", &tidy(name))
}

/// The nearest valid name.
fn tidy(name: &str) -> String {
    let mut tidy = String::new();
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            tidy.push(c);
        } else if !tidy.is_empty() && !tidy.ends_with('-') {
            tidy.push('-');
        }
    }
    tidy.truncate(63);
    let tidy = tidy.trim_end_matches('-');
    if tidy.is_empty() { "imports".to_owned() } else { tidy.to_owned() }
}

const TEXT: &str = r#"# yaml-language-server: $schema=didit-sync.schema.json
# `didit-sync schema > didit-sync.schema.json`, run in this folder, writes the schema that editors check this file by.
#
# This manifest says which shared Didit sessions are imported, and how. Try it without sending anything:
#   didit-sync validate THIS_FILE
#   didit-sync plan THIS_FILE
version: 1
name: NAME

# The receiving Didit application. The key is read from the environment, never from this file.
application:
  # id: a5f3bca2-46e2-411e-90ef-a580900a57ee   # refuse tokens minted for another application
  base_url: https://verification.didit.me
  api_key: {env: DIDIT_API_KEY}

# What every entry gets that does not say otherwise.
defaults:
  # workflow_id: 9f9b1234-aaaa-bbbb-cccc-1234567890ab   # of the receiving application; or {user: UUID, business: UUID}
  trust_review: false                      # true: the partner's decision stands; false: the session is In Review
  vendor_data: "NAME-{source_session_id}"  # your reference; {source_session_id} and {id} are filled in
  # expect:                                # rules of your own over the decision, in CEL; an entry's own list replaces these
  #   - {name: approved, rule: "session.status == 'Approved'"}
  #   - {name: live, rule: "session.liveness_checks.all(c, c.score >= 80)", severity: warning}

# The values shown are the defaults.
# limits:
#   writes_per_minute: 300
#   reads_per_minute: 600
#   concurrency: 32
#   timeout: 30s
#   max_failures: 5%
#   max_trusted: 100     # no default: more imports with trust_review true than this in one run stop it

# Where both applications belong to one group, tokens can be minted just before each import; that needs application.id.
# partners:
#   bank: {api_key: {env: BANK_DIDIT_API_KEY}}   # of the source application, with the privilege write:sessions

# Entries one by one.
imports: []
#  - share_token: {env: CARMEN_SHARE_TOKEN}   # or the token itself (eyJ...), {file: PATH}, {exec: [PROGRAM, ARG...]}
#    id: carmen                               # a label for outputs
#    trust_review: true
#  - source_session_id: 20bb3c3b-6146-439f-84a4-bd30d00ac6a2   # its token comes from `tokens`
#  - mint: {partner: bank, session_id: 20bb3c3b-6146-439f-84a4-bd30d00ac6a2, ttl: 15m}   # its token is minted

# Entries in bulk, from files beside this one: .csv .tsv .ndjson .jsonl .json .yaml, each also as .gz or .zst.
# sources:
#   - file: people/*.csv
#     columns: {share_token: token, vendor_data: user_ref}   # names in the file, where they differ
#     on_duplicate: latest    # of several tokens for one session, take the one that expires last
#     on_invalid: skip        # report bad rows and go on with the rest
#   - file: bank/*.csv        # with a column session_id
#     mint: {partner: bank}

# Tokens delivered apart from the roster above: each goes to the entry whose session it names.
# tokens:
#   - file: inbox/*.csv
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_brought_into_form() {
        assert_eq!(tidy("Acme 2026/Q4_"), "acme-2026-q4");
        assert_eq!((tidy("--"), tidy("é")), ("imports".into(), "imports".into()));
        assert_eq!(tidy(&"a".repeat(99)).len(), 63);
    }

    #[test]
    fn the_starter_points_editors_at_the_schema_and_loads() {
        let text = starter("acme-2026q4");
        assert!(text.starts_with("# yaml-language-server: $schema=didit-sync.schema.json\n"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acme.yaml");
        std::fs::write(&path, text).unwrap();
        let loaded =
            crate::manifest::load(&[path.to_str().unwrap().to_owned()], &crate::manifest::LoadOptions::default())
                .unwrap();
        assert_eq!((loaded.manifests[0].name.as_str(), loaded.warnings.len()), ("acme-2026q4", 0));
    }
}

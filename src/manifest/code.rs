//! The stable codes of diagnostics, each with what it means: the one list that messages, JSON and `explain` share.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($variant:ident $name:literal $meaning:literal),+ $(,)?) => {
        /// The stable code of a diagnostic; shown and serialized in kebab-case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $variant),+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name, such as `unknown-key`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it means, in one line.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

codes! {
    UnreadableManifest "unreadable-manifest" "The manifest can't be opened or read.",
    EmptyDirectory "empty-directory" "A directory given in place of a manifest holds no `*.yaml` or `*.yml`.",
    NotUtf8 "not-utf8" "The file is not UTF-8 text.",
    TooLarge "too-large" "The file is larger than any sensible manifest or source.",
    Syntax "syntax" "The text is not valid YAML.",
    Unclosed "unclosed" "A bracket, brace or quote is opened and never closed.",
    TooDeep "too-deep" "Lists and maps are nested deeper than a manifest needs.",
    Alias "alias" "YAML aliases are not supported: the value has to be written out.",
    UnsupportedTag "unsupported-tag" "YAML tags other than those of the core types are not supported.",
    MultipleDocuments "multiple-documents" "A file holds more than one YAML document.",
    EmptyManifest "empty-manifest" "The file holds no manifest.",
    UnknownKey "unknown-key" "A key that this version does not know.",
    DuplicateKey "duplicate-key" "A key stands twice in one map.",
    WrongType "wrong-type" "A value of another type than the key takes.",
    MissingKey "missing-key" "A required key is absent.",
    BadVersion "bad-version" "`version` is not 1.",
    BadName "bad-name" "A `name` of a manifest or rule does not match `[a-z0-9][a-z0-9-]{0,62}`, or a partner's is no plain word.",
    BadUuid "bad-uuid" "A text that is not a UUID where one is wanted.",
    BadUrl "bad-url" "`base_url` is not an https address the API can be reached under.",
    BadDuration "bad-duration" "A duration that is not a number with `ms`, `s`, `m` or `h`.",
    OutOfRange "out-of-range" "A number outside the range its key takes.",
    BadValue "bad-value" "A value its key does not take.",
    LiteralKey "literal-key" "An API key stands in the manifest itself.",
    SecretMisplaced "secret-misplaced" "A share token or API key stands where it would be kept and shown.",
    MalformedToken "malformed-token" "A text that does not have the form of a share token.",
    TokenNotLiteral "token-not-literal" "A row of a source refers to a token in place of holding it.",
    UnknownPlaceholder "unknown-placeholder" "A placeholder other than `{source_session_id}` and `{id}`.",
    VendorDataTooLong "vendor-data-too-long" "`vendor_data` is over 2000 bytes once filled in.",
    MissingWorkflow "missing-workflow" "An entry has no workflow, nor have its source and the defaults.",
    MissingTrustReview "missing-trust-review" "An entry has no `trust_review`, nor have its source and the defaults.",
    MissingToken "missing-token" "An entry has neither a token nor a source session.",
    TokenAndMint "token-and-mint" "An entry has a token and is to have one minted as well.",
    UnknownPartner "unknown-partner" "`mint` names a partner that stands not in `partners`.",
    UnusedPartner "unused-partner" "A partner for which nothing is minted.",
    MissingApplicationId "missing-application-id" "`mint` needs `application.id`, for which tokens are minted.",
    SelfPartner "self-partner" "A partner's key is that of the receiving application.",
    OutsideFolder "outside-folder" "A path leads out of the manifest's folder and is under no `--root`.",
    BadGlob "bad-glob" "A pattern of file names that can't be read, or files of an unknown format.",
    UnreadableSource "unreadable-source" "A source or tokens file can't be opened, read or unpacked.",
    BadFormat "bad-format" "The contents of a source or tokens file do not have its format.",
    MissingColumn "missing-column" "A source file lacks a column that is needed or was named.",
    BadRow "bad-row" "A row of a source can't be read.",
    ContradictsSource "contradicts-source" "A row sets otherwise what its source sets itself.",
    UnreadableSecret "unreadable-secret" "A referenced token can't be had from its variable or file.",
    ExecNeedsSession "exec-needs-session" "A token had by `exec` needs the entry's `source_session_id`.",
    ExecNotAllowed "exec-not-allowed" "A program would have to run, which only `--allow-exec` permits.",
    HostNotAllowed "host-not-allowed" "The key would go to a host that is neither Didit's, loopback nor allowed.",
    SessionMismatch "session-mismatch" "An entry's token names another session than the entry.",
    DuplicateName "duplicate-name" "Two manifests have one name.",
    DuplicateId "duplicate-id" "Two entries have one id.",
    DuplicateSession "duplicate-session" "Two entries, or two tokens, are for one source session.",
    RowsDiffer "rows-differ" "Two rows for one session differ in more than the token.",
    BadRule "bad-rule" "A rule of `expect` that is empty, too long, or no CEL expression over `session`.",
    DuplicateRule "duplicate-rule" "Two rules of one `expect` have one name.",
    EmptyGlob "empty-glob" "A pattern of file names matches no file.",
    NoVendorData "no-vendor-data" "Entries have no `vendor_data` of their own, so a lost answer is harder to trace.",
    SkippedTokens "skipped-tokens" "Malformed tokens were left out, as `on_invalid: skip` asks.",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl JsonSchema for Code {
    fn schema_name() -> Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let each = Self::ALL.iter().map(|code| json_schema!({"const": code.as_str(), "description": code.meaning()}));
        json_schema!({"description": "The stable code of a diagnostic.", "oneOf": each.collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_kebab_case() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'8')));
        assert!(Code::ALL.iter().all(|code| code.meaning().ends_with('.')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}

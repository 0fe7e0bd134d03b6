//! Tests of the whole way from files to entries.

mod beside;
mod chunks;
mod errors;
mod expect;
mod fuzz;
mod mint;
mod pieces;
mod properties;
mod rows;
mod schema;
mod security;

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Code, Diagnostics, Environment, LoadOptions, Manifest, Manifests, load};

pub(super) const WORKFLOW: &str = "9f9b1234-aaaa-bbbb-cccc-1234567890ab";
pub(super) const OURS: &str = "a5f3bca2-46e2-411e-90ef-a580900a57ee";
pub(super) const THEIRS: &str = "b5f3bca2-46e2-411e-90ef-a580900a57ee";
/// What stands in the signature of every token, and so may never be seen.
pub(super) const CANARY: &str = "c2VjcmV0Y2FuYXJ5";

/// The n-th session.
pub(super) fn session(n: u32) -> String {
    format!("20bb3c3b-6146-439f-84a4-{n:012}")
}

/// A token with these claims.
pub(super) fn token_of(claims: &serde_json::Value) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{CANARY}", part(r#"{"alg":"HS256"}"#), part(&claims.to_string()))
}

/// A token for the n-th session that expires at `exp`.
pub(super) fn token(n: u32, exp: i64) -> String {
    token_of(&serde_json::json!({"session_id": session(n), "for_application_id": OURS, "exp": exp}))
}

/// A folder with files.
pub(super) struct Folder {
    pub(super) dir: tempfile::TempDir,
    pub(super) options: LoadOptions,
}

impl Folder {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self { dir: tempfile::tempdir().unwrap(), options: LoadOptions::default() };
        for (name, text) in files {
            folder.write(name, text.as_bytes());
        }
        folder
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(super) fn env(mut self, lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.options.env = Environment::new(lookup);
        self
    }

    pub(super) fn load(&self, names: &[&str]) -> Result<Manifests, Diagnostics> {
        let paths: Vec<String> = names.iter().map(|name| self.path(name).to_str().unwrap().to_owned()).collect();
        load(&paths, &self.options)
    }

    /// The one manifest `m.yaml`.
    pub(super) fn manifest(&self) -> Manifest {
        match self.load(&["m.yaml"]) {
            Ok(mut loaded) => loaded.manifests.remove(0),
            Err(wrong) => panic!("{}", self.shown(&wrong)),
        }
    }

    /// What is wrong with `m.yaml`, paths cut to names.
    pub(super) fn wrong(&self) -> String {
        self.wrong_with(&["m.yaml"])
    }

    pub(super) fn wrong_with(&self, names: &[&str]) -> String {
        let wrong = self.load(names).expect_err("something is wrong");
        let shown = self.shown(&wrong);
        assert!(!shown.contains(CANARY) && !shown.contains("eyJ"), "a token is shown:\n{shown}");
        let json = serde_json::to_string(&wrong).unwrap();
        assert!(!json.contains(CANARY) && !json.contains("eyJ"), "a token is shown:\n{json}");
        shown
    }

    pub(super) fn shown(&self, wrong: &Diagnostics) -> String {
        wrong.render(false).replace(&format!("{}/", self.dir.path().display()), "")
    }

    /// `code file:line:column` of all that is wrong.
    pub(super) fn codes(&self) -> Vec<String> {
        let wrong = self.load(&["m.yaml"]).expect_err("something is wrong");
        wrong
            .0
            .iter()
            .map(|d| {
                let file = d.file.rsplit('/').next().unwrap_or_default();
                format!("{} {file}:{}:{}", d.code, d.line, d.column)
            })
            .collect()
    }

    /// The codes of warnings of a manifest that loads.
    pub(super) fn warnings(&self) -> Vec<Code> {
        self.load(&["m.yaml"]).unwrap().warnings.iter().map(|warning| warning.code).collect()
    }
}

/// A head that is right, to put entries after.
pub(super) fn head() -> String {
    format!(
        "version: 1\nname: acme\napplication: {{id: {OURS}}}\ndefaults: {{workflow_id: {WORKFLOW}, trust_review: false, vendor_data: \"acme-{{source_session_id}}\"}}\n"
    )
}

//! What may stand nowhere.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::program::{Folder, Output};

/// Texts that no output and no file may hold.
pub struct Canaries(Vec<String>);

impl Canaries {
    /// Tokens whole, in their parts and with their claims decoded; keys with and without their prefix.
    pub fn new(tokens: &[String], keys: &[&str]) -> Self {
        let mut texts = Vec::new();
        for token in tokens {
            let parts: Vec<&str> = token.split('.').collect();
            let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
            texts.push(String::from_utf8(claims).unwrap());
            // However it is cut.
            texts.push(parts[1][..12].to_owned());
            texts.extend(parts.into_iter().map(str::to_owned));
        }
        for key in keys {
            let bare = key.trim_start_matches("sk_live_").trim_start_matches("sk_test_");
            texts.push(bare.to_owned());
        }
        texts.sort();
        texts.dedup();
        Self(texts)
    }

    /// Other texts.
    pub fn of(texts: &[&str]) -> Self {
        Self(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[track_caller]
    pub fn assert_not_in(&self, what: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for canary in &self.0 {
            assert!(!text.contains(canary), "{what} holds {canary}: {text:.3000}");
        }
    }

    #[track_caller]
    pub fn assert_untold(&self, what: &str, output: &Output) {
        self.assert_not_in(&format!("stdout of {what}"), output.stdout.as_bytes());
        self.assert_not_in(&format!("stderr of {what}"), output.stderr.as_bytes());
    }

    /// Asserts that no file of the folder holds any of them, but those of these names, which were given.
    #[track_caller]
    pub fn assert_unwritten(&self, folder: &Folder, given: &[&str]) {
        for (path, bytes) in folder.bytes_under("") {
            if !given.iter().any(|name| path == folder.path(name)) {
                self.assert_not_in(&path.display().to_string(), &bytes);
            }
        }
    }
}

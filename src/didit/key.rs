//! API keys: values that cannot leak when printed.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::token::{Fingerprint, FingerprintKey};

/// The longest key that is taken, in bytes. Didit's have about 51.
const MAX_BYTES: usize = 512;

/// Whether an application, its keys and its sessions are real.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Real people, real checks.
    Live,
    /// Didit's sandbox mode: simulated checks.
    Sandbox,
}

impl Environment {
    /// The API's name: `live` or `sandbox`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Sandbox => "sandbox",
        }
    }

    /// Reads the API's name, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Live, Self::Sandbox].into_iter().find(|one| one.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An API key of an application. Masked in `Debug` and `Display`, wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ApiKey(String);

/// Why a text can't be an API key. Carries nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedKey {
    /// Nothing but white space.
    #[error("the API key is empty")]
    Empty,
    /// More than 512 bytes.
    #[error("the API key is longer than 512 bytes: is it another file?")]
    TooLong,
    /// White space, control characters, or characters outside ASCII.
    #[error("the API key contains white space, control or non-ASCII characters")]
    Characters,
}

impl ApiKey {
    /// Takes a key as read from its place. Surrounding white space (the end of a file's line) is dropped.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        let text = text.trim();
        match text {
            "" => Err(MalformedKey::Empty),
            _ if text.len() > MAX_BYTES => Err(MalformedKey::TooLong),
            _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => Err(MalformedKey::Characters),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The key itself, for the header of a request.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// The key's fingerprint under a ledger's key.
    #[must_use]
    pub fn fingerprint(&self, key: &FingerprintKey) -> Fingerprint {
        key.fingerprint(self.0.as_bytes())
    }

    /// What the prefix `sk_live_` or `sk_test_` says; older keys have none (`didit-api.md` section 10).
    #[must_use]
    pub fn environment(&self) -> Option<Environment> {
        if self.0.starts_with("sk_live_") {
            Some(Environment::Live)
        } else if self.0.starts_with("sk_test_") {
            Some(Environment::Sandbox)
        } else {
            None
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(masked)")
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(API key)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_5_a_key_never_prints_itself() {
        let key = ApiKey::parse("sk_live_canary").unwrap();
        assert!(!format!("{key} {key:?} {key:#?}").contains("canary"));
    }

    #[test]
    fn what_cannot_be_a_key_is_refused() {
        for (text, why) in [
            ("", MalformedKey::Empty),
            (" \n", MalformedKey::Empty),
            ("a b", MalformedKey::Characters),
            ("a\nb", MalformedKey::Characters),
            ("a\u{7f}b", MalformedKey::Characters),
            ("schlüssel", MalformedKey::Characters),
        ] {
            assert_eq!(ApiKey::parse(text), Err(why), "{text:?}");
        }
        assert_eq!(ApiKey::parse(&"k".repeat(513)), Err(MalformedKey::TooLong));
        assert!(ApiKey::parse(&"k".repeat(512)).is_ok());
        assert_eq!(ApiKey::parse(" key\r\n").unwrap().expose(), "key");
    }

    #[test]
    fn the_prefix_names_the_environment() {
        let environment = |text| ApiKey::parse(text).unwrap().environment();
        assert_eq!(environment("sk_live_x"), Some(Environment::Live));
        assert_eq!(environment("sk_test_x"), Some(Environment::Sandbox));
        assert_eq!(environment("older"), None);
    }

    #[test]
    fn fingerprints_agree_for_one_key() {
        let ledger = FingerprintKey::from_bytes([7; 32]);
        let print = |text| ApiKey::parse(text).unwrap().fingerprint(&ledger);
        assert_eq!(print("one"), print("one\n"));
        assert_ne!(print("one"), print("two"));
    }
}

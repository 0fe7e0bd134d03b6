//! Everything random that must come out the same again: a pure function of the seed and a name.
//!
//! SHA-256 over the seed, a label and the parts, so that a value depends on what it is for and not on how many
//! values were drawn before it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The seed of a sandbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(pub(super) u64);

impl Seed {
    /// 32 bytes for this label and these parts.
    pub(super) fn bytes(self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.0.to_be_bytes());
        for part in std::iter::once(label.as_bytes()).chain(parts.iter().copied()) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// A UUID of version 4.
    pub(super) fn uuid(self, label: &str, parts: &[&[u8]]) -> Uuid {
        let bytes = self.bytes(label, parts);
        let mut half = [0; 16];
        half.copy_from_slice(&bytes[..16]);
        uuid::Builder::from_random_bytes(half).into_uuid()
    }

    /// A number.
    pub(super) fn number(self, label: &str, parts: &[&[u8]]) -> u64 {
        let bytes = self.bytes(label, parts);
        bytes[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// A fraction in `0.0..1.0`.
    pub(super) fn fraction(self, label: &str, parts: &[&[u8]]) -> f64 {
        (self.number(label, parts) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// An API key in the form of Didit's: `sk_test_` and 43 URL-safe characters.
    pub(super) fn key(self, label: &str, parts: &[&[u8]]) -> String {
        format!("sk_test_{}", URL_SAFE_NO_PAD.encode(self.bytes(label, parts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_from_seed_label_and_parts_alone() {
        let one = Seed(1);
        assert_eq!(one.uuid("a", &[b"x"]), Seed(1).uuid("a", &[b"x"]));
        assert_ne!(one.uuid("a", &[b"x"]), Seed(2).uuid("a", &[b"x"]));
        assert_ne!(one.uuid("a", &[b"x"]), one.uuid("ax", &[]));
        assert_eq!(one.key("k", &[]).len(), "sk_test_".len() + 43);
        assert!((0.0..1.0).contains(&one.fraction("f", &[])));
    }
}

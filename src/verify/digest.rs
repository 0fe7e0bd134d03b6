//! The digest of a block, as it is kept: 16 bytes, in text as 32 digits, and as none where the block holds nothing.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::token::PreparedKey;

/// Bytes of a digest: enough that no two are equal by chance.
const BYTES: usize = 16;

/// What a block is known again by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(Option<[u8; BYTES]>);

impl Digest {
    /// That of a block that holds nothing.
    pub const NOTHING: Self = Self(None);

    pub(super) fn of(key: &PreparedKey, bytes: &[u8]) -> Self {
        Self(key.fingerprint(bytes).as_bytes().first_chunk().copied())
    }

    /// Its text, which has the form of a UUID without hyphens; `None` for that of nothing.
    fn with_text<R>(self, f: impl FnOnce(Option<&str>) -> R) -> R {
        match self.0 {
            Some(bytes) => f(Some(Uuid::from_bytes(bytes).simple().encode_lower(&mut [0; 2 * BYTES]))),
            None => f(None),
        }
    }
}

/// As people are told it: the first digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text.and_then(|text| text.get(..8)).unwrap_or("empty")))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text.unwrap_or_default()))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Reader)
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 hexadecimal digits, or none")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Digest, E> {
        if text.is_empty() {
            return Ok(Digest::NOTHING);
        }
        let bytes = Some(text).filter(|text| text.len() == 2 * BYTES).and_then(|text| Uuid::try_parse(text).ok());
        bytes
            .map(|bytes| Digest(Some(bytes.into_bytes())))
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str("other text"), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::FingerprintKey;

    #[test]
    fn a_digest_is_read_back_and_told_by_its_first_digits() {
        let digest = Digest::of(&FingerprintKey::from_bytes([7; 32]).prepared(), b"block");
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(text.len(), 34);
        assert_eq!(digest.to_string(), text[1..9]);
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        assert_eq!(serde_json::to_string(&Digest::NOTHING).unwrap(), "\"\"");
        assert_eq!(serde_json::from_str::<Digest>("\"\"").unwrap(), Digest::NOTHING);
        assert_eq!(Digest::NOTHING.to_string(), "empty");
        for other in ["\"12\"", "\"g0000000000000000000000000000000\"", "7"] {
            assert!(serde_json::from_str::<Digest>(other).is_err(), "{other}");
        }
    }
}

//! Share tokens: values that cannot leak when printed, and what their claims say.
//!
//! A share token grants a copy of somebody's verification, so it is a secret: [`ShareToken`] masks itself in
//! `Debug` and `Display` and wipes its memory when dropped. The only way to its text is [`ShareToken::expose`],
//! which is called where a request body is written and nowhere else.
//!
//! The token is a JWT signed with a secret that only the API holds, so its claims can be read but never verified.
//! They are advice: good enough to order, match and refuse locally, never to decide what happened.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Whether a session verifies a person or a company.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// A person (KYC).
    User,
    /// A company (KYB).
    Business,
}

impl SessionKind {
    /// The API's name of the kind: `user` or `business`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Business => "business",
        }
    }

    /// Reads the API's name of a kind, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::User, Self::Business].into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for SessionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A share token: a secret in the form of a JWT.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ShareToken(String);

/// The text does not have the form of a JWT. Carries nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a share token: a token is three base64url parts joined by dots and begins with `eyJ`")]
pub struct MalformedToken;

impl ShareToken {
    /// Takes a text that has the form of a JWT: `eyJ...`, three non-empty base64url parts. Surrounding white space
    /// is dropped. Whether the claims can be read is another question, see [`ShareToken::unverified_claims`].
    pub fn parse(text: &str) -> Result<Self, MalformedToken> {
        let text = text.trim();
        if has_jwt_form(text) { Ok(Self(text.to_owned())) } else { Err(MalformedToken) }
    }

    /// The token itself, for the body of a request.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the token says of itself, unverified. `None` where the payload is no JSON object.
    #[must_use]
    pub fn unverified_claims(&self) -> Option<Claims> {
        unverified_claims(&self.0)
    }

    /// The token's fingerprint under a ledger's key.
    #[must_use]
    pub fn fingerprint(&self, key: &FingerprintKey) -> Fingerprint {
        key.fingerprint(self.0.as_bytes())
    }
}

impl fmt::Debug for ShareToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareToken(masked)")
    }
}

impl fmt::Display for ShareToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(share token)")
    }
}

/// Whether `text` has the form of a JWT, as everything must that is masked in diagnostics.
#[must_use]
pub fn has_jwt_form(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_whole = |part: &[u8]| !part.is_empty() && part.iter().fold(0, |wrong, b| wrong | is_foreign(*b)) == 0;
    let mut dots = memchr::memchr_iter(b'.', bytes);
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else { return false };
    bytes.starts_with(b"eyJ")
        && [&bytes[..first], &bytes[first + 1..second], &bytes[second + 1..]].into_iter().all(is_whole)
}

/// 1 where a byte stands in no part of a token: a number, so that many bytes are looked at in one step.
fn is_foreign(b: u8) -> u8 {
    let is_letter = (b | 0x20).wrapping_sub(b'a') < 26;
    let is_digit = b.wrapping_sub(b'0') < 10;
    let is_sign = u8::from(b == b'-') | u8::from(b == b'_') | u8::from(b == b'=');
    1 - (u8::from(is_letter) | u8::from(is_digit) | is_sign)
}

/// The claims of a share token, each read for itself: a claim that is missing or of another type is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The shared session in the source application.
    pub session_id: Option<Uuid>,
    /// Its kind: `user` where the claim is absent (tokens from before business sharing), `None` where it is unknown.
    pub session_kind: Option<SessionKind>,
    /// The application that shares.
    pub from_application_id: Option<Uuid>,
    /// The application that may import.
    pub for_application_id: Option<Uuid>,
    /// When the token was minted.
    pub issued_at: Option<Timestamp>,
    /// When the token dies.
    pub expires_at: Option<Timestamp>,
}

/// What a token says of itself, unverified. `None` where the payload is no JSON object.
#[must_use]
pub fn unverified_claims(token: &str) -> Option<Claims> {
    thread_local! {
        static PAYLOAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let payload = token.split('.').nth(1)?;
    PAYLOAD.with_borrow_mut(|bytes| {
        bytes.clear();
        URL_SAFE_NO_PAD.decode_vec(payload, bytes).ok()?;
        serde_json::from_slice(bytes).ok()
    })
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ClaimsVisitor)
    }
}

/// Reads the claims as they come; of one that stands twice, the last counts.
struct ClaimsVisitor;

impl<'de> Visitor<'de> for ClaimsVisitor {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
        let mut claims = Claims {
            session_id: None,
            session_kind: Some(SessionKind::User),
            from_application_id: None,
            for_application_id: None,
            issued_at: None,
            expires_at: None,
        };
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            let value: Claim<'_> = map.next_value()?;
            match key.as_ref() {
                "session_id" => claims.session_id = value.uuid(),
                "session_kind" => claims.session_kind = value.kind(),
                "from_application_id" => claims.from_application_id = value.uuid(),
                "for_application_id" => claims.for_application_id = value.uuid(),
                "iat" => claims.issued_at = value.time(),
                "exp" => claims.expires_at = value.time(),
                _ => {}
            }
        }
        Ok(claims)
    }
}

struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Claim::deserialize(deserializer)? {
            Claim::Text(text) => Ok(Self(text)),
            _ => Err(D::Error::custom("a key has to be text")),
        }
    }
}

/// The value of a claim. Whatever it is, all of it is read, so that what is no JSON is noticed.
enum Claim<'a> {
    Null,
    Text(Cow<'a, str>),
    Whole(i64),
    Other,
}

impl Claim<'_> {
    fn uuid(&self) -> Option<Uuid> {
        match self {
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn kind(&self) -> Option<SessionKind> {
        match self {
            Self::Null => Some(SessionKind::User),
            Self::Text(text) => SessionKind::parse(text),
            _ => None,
        }
    }

    fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Whole(seconds) => Timestamp::from_second(*seconds).ok(),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Claim<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ClaimVisitor)
    }
}

struct ClaimVisitor;

impl<'de> Visitor<'de> for ClaimVisitor {
    type Value = Claim<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claim")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Claim<'de>, E> {
        Ok(Claim::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Claim<'de>, E> {
        Ok(Claim::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Claim<'de>, E> {
        Ok(Claim::Other)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Claim<'de>, E> {
        Ok(Claim::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Claim<'de>, E> {
        Ok(Claim::Whole(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Claim<'de>, E> {
        Ok(Claim::Whole(value as i64))
    }

    fn visit_unit<E>(self) -> Result<Claim<'de>, E> {
        Ok(Claim::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Claim<'de>, A::Error> {
        while seq.next_element::<Claim<'de>>()?.is_some() {}
        Ok(Claim::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claim<'de>, A::Error> {
        while map.next_entry::<Key<'de>, Claim<'de>>()?.is_some() {}
        Ok(Claim::Other)
    }
}

/// The secret under which a ledger takes fingerprints and digests. Made once, with the ledger.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct FingerprintKey([u8; 32]);

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(masked)")
    }
}

impl FingerprintKey {
    /// A fresh random key.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The key as stored in a ledger.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// HMAC-SHA-256 of `bytes` under this key.
    #[must_use]
    pub fn fingerprint(&self, bytes: &[u8]) -> Fingerprint {
        self.prepared().fingerprint(bytes)
    }

    /// This key made ready for many fingerprints.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    #[must_use]
    pub fn prepared(&self) -> PreparedKey {
        PreparedKey(Hmac::new_from_slice(&self.0).expect("HMAC takes keys of any length"))
    }
}

/// A [`FingerprintKey`] that has begun: half the work for something short.
#[derive(Clone)]
pub struct PreparedKey(Hmac<Sha256>);

impl PreparedKey {
    /// As [`FingerprintKey::fingerprint`].
    #[must_use]
    pub fn fingerprint(&self, bytes: &[u8]) -> Fingerprint {
        Fingerprint(self.0.clone().chain_update(bytes).finalize().into_bytes().into())
    }
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreparedKey(masked)")
    }
}

/// HMAC-SHA-256 of a secret under a ledger's key; shown as its first 8 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The whole value, as stored for exact matching.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A stored value; `None` where the length is wrong.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> ShareToken {
        let payload = URL_SAFE_NO_PAD.encode(payload);
        ShareToken::parse(&format!("eyJhbGciOiJIUzI1NiJ9.{payload}.c2ln")).unwrap()
    }

    #[test]
    fn promise_5_a_token_never_prints_itself() {
        let token = token(r#"{"session_id":"20bb3c3b-6146-439f-84a4-bd30d00ac6a2"}"#);
        let printed = format!("{token:?} {token} {token:#?}");
        assert!(!printed.contains("eyJ"), "{printed}");
    }

    #[test]
    fn a_legacy_token_is_of_a_user() {
        let claims = token(r#"{"session_id":"20bb3c3b-6146-439f-84a4-bd30d00ac6a2","exp":1753634266}"#)
            .unverified_claims()
            .unwrap();
        assert_eq!(claims.session_kind, Some(SessionKind::User));
        assert_eq!(claims.expires_at, Some(Timestamp::from_second(1_753_634_266).unwrap()));
        assert_eq!(claims.for_application_id, None);
    }

    #[test]
    fn claims_that_cannot_be_read_are_none_and_the_token_stands() {
        assert_eq!(token("not json").unverified_claims(), None);
        let odd = token(r#"{"session_id":7,"session_kind":"galaxy"}"#).unverified_claims().unwrap();
        assert_eq!((odd.session_id, odd.session_kind), (None, None));
        for payload in ["7", "[]", "{} {}", r#"{"x": 1e999}"#, r#"{"x": ["\ud800"]}"#, r#"{"x": {"y": }}"#] {
            let strict = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(payload).ok();
            assert_eq!(token(payload).unverified_claims().is_some(), strict.is_some(), "{payload}");
        }
        let claims = |payload: &str| token(payload).unverified_claims().unwrap();
        assert_eq!(claims(r#"{"exp": 7, "exp": 9.5, "x": [1, {"exp": 1}]}"#).expires_at.unwrap().as_second(), 9);
        for exp in ["\"7\"", "null", "true", "18446744073709551615", "1e300", "[7]"] {
            assert_eq!(claims(&format!(r#"{{"exp": {exp}}}"#)).expires_at, None, "{exp}");
        }
        assert_eq!(claims(r#"{"session_kind": "busines\u0073"}"#).session_kind, Some(SessionKind::Business));
    }

    #[test]
    fn only_the_form_of_a_jwt_is_taken() {
        for text in ["", "abc", "eyJ.b", "eyJa.b.c.d", "eyJa..c", "eyJa.b!.c", "a.b.c", "https://a.b.c"] {
            assert_eq!(ShareToken::parse(text), Err(MalformedToken), "{text}");
        }
        assert!(ShareToken::parse("  eyJh.eyJz.c2ln\n").is_ok());
    }

    #[test]
    fn promise_5_a_fingerprint_depends_on_the_key_and_shows_eight_digits() {
        let token = token("{}");
        let one = token.fingerprint(&FingerprintKey::from_bytes([1; 32]));
        let two = token.fingerprint(&FingerprintKey::from_bytes([2; 32]));
        assert_ne!(one, two);
        assert_eq!(one.to_string().len(), 8);
    }
}

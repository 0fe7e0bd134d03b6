//! Share tokens: HS256, under a secret that follows from the seed, so that they outlive a restart.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use uuid::Uuid;

use crate::token::SessionKind;

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) session: Uuid,
    pub(super) kind: SessionKind,
    pub(super) from_application: Uuid,
    pub(super) for_application: Uuid,
    /// Seconds since 1970.
    pub(super) issued_at: i64,
    /// Seconds since 1970.
    pub(super) expires_at: i64,
}

/// The secret that tokens are signed with.
#[derive(Clone)]
pub(super) struct Signer([u8; 32]);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(masked)")
    }
}

impl Signer {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// A token for this grant; `legacy` leaves `session_kind` out, as tokens from before business sharing do.
    pub(super) fn sign(&self, grant: &Grant, legacy: bool) -> String {
        let mut claims = Map::new();
        claims.insert("session_id".to_owned(), json!(grant.session));
        if !legacy {
            claims.insert("session_kind".to_owned(), json!(grant.kind));
        }
        claims.insert("from_application_id".to_owned(), json!(grant.from_application));
        claims.insert("for_application_id".to_owned(), json!(grant.for_application));
        claims.insert("iat".to_owned(), json!(grant.issued_at));
        claims.insert("exp".to_owned(), json!(grant.expires_at));
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let payload = URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string());
        let signed = format!("{head}.{payload}");
        let signature = URL_SAFE_NO_PAD.encode(self.mac(&signed).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    /// What a token grants, where it was signed here. Says nothing about its age.
    pub(super) fn verify(&self, token: &str) -> Option<Grant> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.mac(signed).verify_slice(&signature).ok()?;
        let (_, payload) = signed.split_once('.')?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let id = |name: &str| claims.get(name)?.as_str()?.parse().ok();
        Some(Grant {
            session: id("session_id")?,
            kind: match claims.get("session_kind") {
                None => SessionKind::User,
                Some(kind) => SessionKind::parse(kind.as_str()?)?,
            },
            from_application: id("from_application_id")?,
            for_application: id("for_application_id")?,
            issued_at: claims.get("iat")?.as_i64()?,
            expires_at: claims.get("exp")?.as_i64()?,
        })
    }

    fn mac(&self, signed: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(signed.as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::ShareToken;

    #[test]
    fn a_token_reads_back_and_only_when_untouched() {
        let signer = Signer::new([7; 32]);
        let grant = Grant {
            session: Uuid::from_u128(1),
            kind: SessionKind::Business,
            from_application: Uuid::from_u128(2),
            for_application: Uuid::from_u128(3),
            issued_at: 1_753_630_666,
            expires_at: 1_753_634_266,
        };
        let token = signer.sign(&grant, false);
        assert_eq!(signer.verify(&token), Some(grant));
        assert_eq!(Signer::new([8; 32]).verify(&token), None);
        assert_eq!(signer.verify(&token.replacen("eyJ", "eyK", 1)), None);
        assert_eq!(signer.verify("eyJ.eyJ.c2ln"), None);
        let claims = ShareToken::parse(&token).unwrap().unverified_claims().unwrap();
        assert_eq!(claims.session_kind, Some(SessionKind::Business));
        assert_eq!(claims.for_application_id, Some(Uuid::from_u128(3)));
        let legacy = signer.verify(&signer.sign(&grant, true)).unwrap();
        assert_eq!(legacy.kind, SessionKind::User);
    }
}

//! Share tokens made by hand, for servers that don't check them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

/// What a token says.
#[derive(Clone, Debug)]
pub struct Token {
    pub session: Uuid,
    pub kind: Option<&'static str>,
    pub receiver: Uuid,
    /// Seconds from now.
    pub ttl: i64,
}

impl Token {
    pub fn new(session: Uuid) -> Self {
        Self { session, kind: Some("user"), receiver: super::fake::APPLICATION, ttl: 3600 }
    }

    pub fn text(&self) -> String {
        let now = Timestamp::now().as_second();
        let mut claims = json!({
            "session_id": self.session,
            "from_application_id": Uuid::from_u128(0xF0),
            "for_application_id": self.receiver,
            "iat": now - 60,
            "exp": now + self.ttl,
        });
        if let Some(kind) = self.kind {
            claims["session_kind"] = json!(kind);
        }
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let head = part(r#"{"alg":"HS256","typ":"JWT"}"#);
        format!("{head}.{}.{}", part(&claims.to_string()), part("not a real signature at all!"))
    }
}

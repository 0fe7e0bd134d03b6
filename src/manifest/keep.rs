//! What the ledger keeps of a manifest, so that an audit needs no manifest: references and limits as JSON.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Limits, SecretRef};

impl SecretRef {
    /// The reference, never the value.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Env(name) => json!({"env": name}),
            Self::File { written, path, roots } => json!({"file": written, "path": path, "roots": roots}),
            Self::Exec { command, folder } => json!({"exec": command, "folder": folder}),
        }
    }

    /// Reads [`SecretRef::to_json`] back.
    #[must_use]
    pub fn from_json(json: &Value) -> Option<Self> {
        let text = |key: &str| Some(json.get(key)?.as_str()?.to_owned());
        let texts = |key: &str| -> Option<Vec<String>> {
            json.get(key)?.as_array()?.iter().map(|item| Some(item.as_str()?.to_owned())).collect()
        };
        if let Some(name) = text("env") {
            return Some(Self::Env(name));
        }
        if let Some(written) = text("file") {
            let roots = texts("roots")?.into_iter().map(PathBuf::from).collect();
            return Some(Self::File { written, path: text("path")?.into(), roots });
        }
        Some(Self::Exec { command: texts("exec")?, folder: text("folder")?.into() })
    }
}

impl Limits {
    /// What pacing needs of the limits.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "writes_per_minute": self.writes_per_minute,
            "reads_per_minute": self.reads_per_minute,
            "concurrency": self.concurrency,
            "timeout_ms": self.timeout.as_millis() as u64,
        })
    }

    /// Reads [`Limits::to_json`] back; what is missing has its default.
    #[must_use]
    pub fn from_json(json: &Value) -> Self {
        let number = |key: &str| json.get(key).and_then(Value::as_u64);
        let small = |key: &str, default: u32| number(key).and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
        let default = Self::default();
        Self {
            writes_per_minute: small("writes_per_minute", default.writes_per_minute),
            reads_per_minute: small("reads_per_minute", default.reads_per_minute),
            concurrency: small("concurrency", default.concurrency),
            timeout: number("timeout_ms").map_or(default.timeout, Duration::from_millis),
            ..default
        }
    }

    /// The narrower of both, for manifests that share a key.
    #[must_use]
    pub fn narrowest(&self, other: &Self) -> Self {
        Self {
            writes_per_minute: self.writes_per_minute.min(other.writes_per_minute),
            reads_per_minute: self.reads_per_minute.min(other.reads_per_minute),
            concurrency: self.concurrency.min(other.concurrency),
            timeout: self.timeout.max(other.timeout),
            max_failures: self.max_failures,
            max_trusted: self.max_trusted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_limits_are_read_back() {
        let references = [
            SecretRef::Env("KEY".to_owned()),
            SecretRef::File { written: "k".to_owned(), path: "/a/k".into(), roots: vec!["/a".into()] },
            SecretRef::Exec { command: vec!["pass".to_owned(), "show".to_owned()], folder: "/a".into() },
        ];
        for reference in references {
            assert_eq!(SecretRef::from_json(&reference.to_json()), Some(reference));
        }
        let limits = Limits { writes_per_minute: 7, concurrency: 3, ..Limits::default() };
        assert_eq!(Limits::from_json(&limits.to_json()), limits);
        assert_eq!(Limits::from_json(&Value::Null), Limits::default());
    }
}

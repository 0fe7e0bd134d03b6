//! `application` and `limits`.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use url::{Host, Url};

use super::{Decoder, truncated};
use crate::manifest::code::Code;
use crate::manifest::draft::RawApplication;
use crate::manifest::keys;
use crate::manifest::model::{Application, Limits, SecretRef};
use crate::manifest::yaml::{Node, Value};
use crate::mask::{holds_secret, quoted};

impl Decoder<'_> {
    pub(super) fn application(&mut self, node: Option<&Node<'_>>) -> RawApplication {
        let Application { id, base_url, api_key } = Application::default();
        let mut application =
            RawApplication { id, id_at: None, base_url, base_url_at: None, api_key, api_key_at: None };
        let Some(node) = node.filter(|node| !matches!(node.value, Value::Null)) else { return application };
        let Some(fields) = self.map(node, "`application`", keys::APPLICATION) else { return application };
        if let Some(node) = fields.get("id") {
            application.id_at = Some(self.at(node));
            application.id = self.uuid(node, "id").good().copied();
        }
        if let Some(node) = fields.get("base_url") {
            application.base_url_at = Some(self.at(node));
            if let Some(url) = self.base_url(node) {
                application.base_url = url;
            }
        }
        if let Some(node) = fields.get("api_key") {
            application.api_key_at = Some(self.at(node));
            if let Some(reference) = self.api_key(node) {
                application.api_key = reference;
            }
        }
        application
    }

    pub(super) fn api_key(&mut self, node: &Node<'_>) -> Option<SecretRef> {
        match &node.value {
            Value::Text(_) | Value::Number(_) | Value::Bool(_) => {
                let message = "an API key may not stand in the manifest";
                let help = "write `api_key: {env: NAME}`, `{file: PATH}` or `{exec: [PROGRAM, ARG...]}`, and replace the key: it was written down";
                self.error(Code::LiteralKey, node.mark, message, help);
                None
            }
            _ => self.reference(node, "api_key"),
        }
    }

    fn base_url(&mut self, node: &Node<'_>) -> Option<Url> {
        let text = self.text(node, "base_url")?;
        match check_base_url(text) {
            Ok(url) => Some(url),
            Err((message, help)) => {
                self.error(Code::BadUrl, node.mark, message, help);
                None
            }
        }
    }

    pub(super) fn limits(&mut self, node: &Node<'_>) -> Limits {
        let mut limits = Limits::default();
        if matches!(node.value, Value::Null) {
            return limits;
        }
        let Some(fields) = self.map(node, "`limits`", keys::LIMITS) else { return limits };
        let mut small = |key: &str, most: u64, to: &mut u32| {
            if let Some(number) = fields.get(key).and_then(|node| self.number(node, key, 1, most)) {
                *to = number as u32;
            }
        };
        small("writes_per_minute", 1_000_000, &mut limits.writes_per_minute);
        small("reads_per_minute", 1_000_000, &mut limits.reads_per_minute);
        small("concurrency", 1024, &mut limits.concurrency);
        if let Some(node) = fields.get("timeout") {
            let range = (Duration::from_secs(1), Duration::from_mins(10));
            limits.timeout = self.duration(node, "timeout", range.0, range.1).unwrap_or(limits.timeout);
        }
        if let Some(node) = fields.get("max_failures") {
            limits.max_failures = self.max_failures(node).unwrap_or(limits.max_failures);
        }
        if let Some(node) = fields.get("max_trusted") {
            limits.max_trusted = self.number(node, "max_trusted", 0, u64::MAX);
        }
        limits
    }

    /// `{env: NAME}`, `{file: PATH}` or `{exec: [PROGRAM, ARG...]}`.
    pub(super) fn reference(&mut self, node: &Node<'_>, key: &str) -> Option<SecretRef> {
        let fields = self.map(node, &format!("`{key}`"), keys::REFERENCE)?;
        if fields.pairs.len() != 1 {
            if fields.pairs.iter().all(|pair| keys::REFERENCE.contains(&pair.key.as_ref())) {
                let help = format!("write `{key}: {{env: NAME}}`, `{{file: PATH}}` or `{{exec: [PROGRAM, ARG...]}}`");
                self.error(
                    Code::BadValue,
                    node.mark,
                    format!("`{key}` takes exactly one of `env`, `file` and `exec`"),
                    help,
                );
            }
            return None;
        }
        let value = &fields.pairs[0].value;
        match fields.pairs[0].key.as_ref() {
            "env" => self.env_reference(value),
            "file" => self.file_reference(value),
            "exec" => self.exec_reference(value),
            _ => None,
        }
    }

    fn env_reference(&mut self, node: &Node<'_>) -> Option<SecretRef> {
        let name = self.text(node, "env")?;
        if name.is_empty() || name.contains(['=', '\0']) {
            self.error(
                Code::BadValue,
                node.mark,
                "this is not the name of an environment variable",
                "write `{env: NAME}`",
            );
            return None;
        }
        if matches!(quoted(name), Cow::Owned(_)) {
            self.misplaced(node, "the name of a variable");
            return None;
        }
        Some(SecretRef::Env(name.to_owned()))
    }

    fn file_reference(&mut self, node: &Node<'_>) -> Option<SecretRef> {
        let written = self.text(node, "file")?;
        if holds_secret(written) {
            self.misplaced(node, "the path of a file");
            return None;
        }
        self.inside(node, written)?;
        // Under the folder's own name, since the ledger keeps it for audits that start elsewhere. The file itself may
        // be a link that changes.
        let path = self.bounds.home().join(written);
        Some(SecretRef::File { written: written.to_owned(), path, roots: self.bounds.roots.clone() })
    }

    fn exec_reference(&mut self, node: &Node<'_>) -> Option<SecretRef> {
        let help = "write `{exec: [PROGRAM, ARG...]}`";
        let Value::List(nodes) = &node.value else {
            self.wrong_type(node, "exec", "a list of program and arguments", help);
            return None;
        };
        let words: Vec<Option<&str>> = nodes.iter().map(|node| self.text(node, "exec")).collect();
        let command: Vec<String> = words.into_iter().map(|word| word.map(str::to_owned)).collect::<Option<_>>()?;
        if command.first().is_none_or(String::is_empty) || command.iter().any(|word| word.contains('\0')) {
            self.error(Code::BadValue, node.mark, "`exec` names no program", help);
            return None;
        }
        if command.iter().any(|word| holds_secret(word)) {
            self.misplaced(node, "a program and its arguments");
            return None;
        }
        Some(SecretRef::Exec { command, folder: self.bounds.home().to_owned() })
    }

    /// A secret in place of what it is to be had from. A reference is kept in the ledger and shown.
    fn misplaced(&mut self, node: &Node<'_>, wanted: &str) {
        let message = format!("a share token or an API key stands where {wanted} is wanted");
        let help = "have the program or file hold it, and replace it: it was written down";
        self.error(Code::SecretMisplaced, node.mark, message, help);
    }

    /// The path to open, if it stays inside the allowed folders.
    pub(super) fn inside(&mut self, node: &Node<'_>, written: &str) -> Option<std::path::PathBuf> {
        let joined = self.bounds.join(written).ok();
        if joined.is_none() {
            let message = format!("`{}` leads out of the manifest's folder", truncated(written));
            self.error(Code::OutsideFolder, node.mark, message, OUTSIDE_HELP);
        }
        joined
    }
}

pub(in crate::manifest) const OUTSIDE_HELP: &str =
    "keep files beside the manifest, without `..` or links out, or allow a folder with `--root DIR`";

/// Whether a URL's host is this machine.
pub(in crate::manifest) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

fn check_base_url(text: &str) -> Result<Url, (String, &'static str)> {
    let usual = "write `base_url: https://verification.didit.me`";
    // A URL with user and password is not repeated.
    let shown = if text.contains('@') { "this".to_owned() } else { format!("`{}`", truncated(text)) };
    let url = Url::parse(text).map_err(|error| (format!("{shown} is not a URL: {error}"), usual))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => {
            return Err((
                format!("{shown} is not https: the key would travel in the clear"),
                "write `https://`; http is for loopback addresses only",
            ));
        }
        _ => return Err((format!("{shown} is not an https address"), usual)),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(("the address holds a user or password".to_owned(), "drop what stands before the `@`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err((format!("{shown} has a query or fragment"), "drop the `?...` or `#...`"));
    }
    if holds_secret(text) {
        return Err(("the address holds a share token or an API key".to_owned(), usual));
    }
    let path = url.path().trim_end_matches('/');
    if path.ends_with("/v3") {
        return Err((format!("{shown} names the version of the API"), "drop the `/v3`: it is added to each request"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_are_taken() {
        for good in [
            "https://verification.didit.me",
            "https://proxy.example/didit/",
            "http://127.0.0.1:8787",
            "http://localhost:8787",
            "http://[::1]:8787",
        ] {
            assert!(check_base_url(good).is_ok(), "{good}");
        }
        for bad in [
            "verification.didit.me",
            "http://verification.didit.me",
            "http://127.0.0.1.evil.example",
            "ftp://localhost",
            "https://user:secret@didit.me",
            "https://didit.me?x=1",
            "https://didit.me#x",
            "https://verification.didit.me/v3",
            "https://verification.didit.me/v3/",
            "file:///etc/passwd",
        ] {
            let (message, _) = check_base_url(bad).unwrap_err();
            assert!(!message.contains("secret"), "{message}");
        }
    }
}

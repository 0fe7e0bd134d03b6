//! `vendor_data` with its placeholders: `{source_session_id}` and `{id}`; `{{` and `}}` are braces.

use compact_str::CompactString;
use uuid::Uuid;

use super::entry::Label;

/// A parsed `vendor_data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Parts);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Parts {
    /// Nothing is filled in.
    Plain(CompactString),
    Mixed(Vec<Part>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Session,
    Id,
}

/// Why a text is no template, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadTemplate {
    pub(super) message: String,
    pub(super) help: String,
}

impl Template {
    /// Reads a template.
    pub(super) fn parse(text: &str) -> Result<Self, BadTemplate> {
        if !text.contains(['{', '}']) {
            return Ok(Self(Parts::Plain(text.into())));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let (part, after) = placeholder(brace, rest)?;
            parts.push(Part::Text(std::mem::take(&mut literal)));
            parts.push(part);
            rest = after;
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal));
        Ok(Self(Parts::Mixed(parts)))
    }

    /// Puts the text for an entry at the end of `out`; false, and nothing put, where it asks for a source session that is
    /// not known.
    pub(super) fn fill_into(&self, session: Option<Uuid>, label: Label<'_>, out: &mut String) -> bool {
        let parts = match &self.0 {
            Parts::Plain(text) => {
                out.push_str(text);
                return true;
            }
            Parts::Mixed(parts) => parts,
        };
        if session.is_none() && parts.contains(&Part::Session) {
            return false;
        }
        for part in parts {
            match (part, session) {
                (Part::Text(text), _) => out.push_str(text),
                (Part::Session, Some(session)) => Label::Session(session).with(|text| out.push_str(text)),
                (Part::Session, None) => {}
                (Part::Id, _) => label.with(|text| out.push_str(text)),
            }
        }
        true
    }

    /// Whether the text for an entry is certainly there, within `limit` bytes and without a secret, as can be said
    /// without making it. A label that is a source session or a place is as harmless as those.
    pub(super) fn is_harmless(&self, session: Option<Uuid>, has_own_id: bool, limit: usize) -> bool {
        let Parts::Mixed(parts) = &self.0 else { return false };
        let Some(_) = session.filter(|_| !has_own_id) else { return false };
        // No hex digit ends or begins what tells a secret by its form.
        let is_plain = |text: &str| !text.contains("yJ") && !text.contains("sk_");
        let length = |part: &Part| match part {
            Part::Text(text) => is_plain(text).then_some(text.len()),
            Part::Session | Part::Id => Some(36),
        };
        parts.iter().try_fold(0, |sum, part| Some(sum + length(part)?)).is_some_and(|sum| sum <= limit)
    }

    /// The text for an entry; `None` where it asks for a source session that is not known.
    pub(super) fn fill(&self, session: Option<Uuid>, label: Label<'_>) -> Option<String> {
        let mut out = String::new();
        self.fill_into(session, label, &mut out).then_some(out)
    }
}

fn placeholder<'t>(brace: &str, rest: &'t str) -> Result<(Part, &'t str), BadTemplate> {
    let help = "`{source_session_id}` and `{id}` are filled in; write `{{` and `}}` for braces".to_owned();
    let bad = |message: String| BadTemplate { message, help: help.clone() };
    if brace == "}" {
        return Err(bad("a `}` without a `{`".to_owned()));
    }
    let Some(end) = rest.find('}') else { return Err(bad("a `{` without a `}`".to_owned())) };
    let part = match &rest[..end] {
        "source_session_id" => Part::Session,
        "id" => Part::Id,
        name => {
            let shown: String = name.chars().take(40).collect();
            return Err(bad(format!("unknown placeholder `{{{shown}}}`")));
        }
    };
    Ok((part, &rest[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_and_braces() {
        let session: Uuid = "20bb3c3b-6146-439f-84a4-bd30d00ac6a2".parse().unwrap();
        let fill = |text: &str| Template::parse(text).unwrap().fill(Some(session), Label::Text("carmen")).unwrap();
        assert_eq!(fill("acme-{source_session_id}-{id}"), format!("acme-{session}-carmen"));
        assert_eq!(fill("{{id}} {{{id}}}"), "{id} {carmen}");
        assert_eq!(Template::parse("{source_session_id}").unwrap().fill(None, Label::Text("x")), None);
        for bad in ["{", "}", "{user}", "a{id", "{{id}", "{}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}

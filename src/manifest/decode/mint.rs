//! `partners` and `mint`.

use std::time::Duration;

use super::{Decoder, Field, Fields, truncated};
use crate::manifest::code::Code;
use crate::manifest::draft::{Columns, MintSpec, RawPartner};
use crate::manifest::keys;
use crate::manifest::model::Limits;
use crate::manifest::sources::{MINTED, TOKEN};
use crate::manifest::yaml::{Node, Pair, Value};

/// How long a minted token lives where nothing is said: long enough for a pause, short enough for a secret.
const TTL: Duration = Duration::from_mins(15);
/// What the API takes (`didit-api.md` section 3).
const TTLS: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24));

impl Decoder<'_> {
    /// The source applications, sorted by name.
    pub(super) fn partners(&mut self, node: Option<&Node<'_>>) -> Vec<RawPartner> {
        let pairs = match node.map(|node| (&node.value, node)) {
            None | Some((Value::Null | Value::Broken, _)) => return Vec::new(),
            Some((Value::Map(pairs), _)) => pairs,
            Some((_, node)) => {
                self.wrong_type(node, "partners", "a map", "write `bank: {api_key: {env: NAME}}` under it");
                return Vec::new();
            }
        };
        let mut partners: Vec<RawPartner> = pairs.iter().map(|pair| self.partner(pair)).collect();
        partners.sort_by(|a, b| a.name.cmp(&b.name));
        partners
    }

    fn partner(&mut self, pair: &Pair<'_>) -> RawPartner {
        let mut partner = RawPartner {
            name: pair.key.clone().into_owned(),
            at: pair.mark.of(self.file),
            api_key: Field::Bad,
            writes_per_minute: Limits::default().writes_per_minute,
        };
        if !is_partner_name(&partner.name) {
            let message = format!("`{}` is not a name of a partner", truncated(&partner.name));
            let help = "write a name such as `bank`: letters, digits, `-`, `_` and `.`, at most 63";
            self.error(Code::BadName, pair.mark, message, help);
        }
        let Some(fields) = self.map(&pair.value, "a partner", keys::PARTNER) else { return partner };
        if let Some(node) = fields.get("api_key") {
            partner.api_key = Field::from(self.api_key(node), self.at(node));
        } else {
            let message = format!("the partner `{}` has no `api_key`", truncated(&partner.name));
            let help = "write `api_key: {env: NAME}`, `{file: PATH}` or `{exec: [PROGRAM, ARG...]}`: the key of the source application";
            self.error(Code::MissingKey, pair.mark, message, help);
        }
        if let Some(node) = fields.get("writes_per_minute")
            && let Some(number) = self.number(node, "writes_per_minute", 1, 1_000_000)
        {
            partner.writes_per_minute = number as u32;
        }
        partner
    }

    /// `{partner: NAME, session_id: UUID, ttl: 15m}`; of a source without the session.
    pub(super) fn mint(&mut self, node: &Node<'_>, known: &[&str]) -> Field<MintSpec> {
        let Some(fields) = self.map(node, "`mint`", known) else { return Field::Bad };
        let partner = self.partner_name(fields);
        let session = match fields.get("session_id") {
            Some(node) => self.uuid(node, "session_id"),
            None if known.contains(&"session_id") => {
                let help = "write `session_id: UUID`: the session in the source application";
                self.error(Code::MissingKey, fields.mark, "`mint` has no `session_id`", help);
                Field::Bad
            }
            None => Field::Absent,
        };
        let ttl = match fields.get("ttl") {
            Some(node) => Field::from(self.duration(node, "ttl", TTLS.0, TTLS.1), self.at(node)),
            None => Field::Good(TTL, self.at(node)),
        };
        Field::Good(MintSpec { partner, session, ttl }, self.at(node))
    }

    fn partner_name(&mut self, fields: Fields<'_, '_>) -> Field<String> {
        let Some(node) = fields.get("partner") else {
            let help = "write `partner: NAME`, a key of `partners`";
            self.error(Code::MissingKey, fields.mark, "`mint` has no `partner`", help);
            return Field::Bad;
        };
        let name = self.text(node, "partner").map(str::to_owned);
        Field::from(name, self.at(node))
    }

    /// A source that mints has its sessions in `session_id` and no tokens; another has no such column.
    pub(super) fn check_minting_columns(&mut self, columns: &mut Columns, mints: bool) {
        let (slot, code, message, help) = if mints {
            let help = "drop it, or drop `mint`";
            (TOKEN, Code::TokenAndMint, "the source mints its tokens, and names a column of tokens as well", help)
        } else {
            let help = "write `source_session_id`, or let the source mint: `mint: {partner: NAME}`";
            (MINTED, Code::BadValue, "`session_id` is the column of a source that mints", help)
        };
        if let Some(at) = columns.0[slot].named.take() {
            self.sink.error(code, at, message, help);
        }
        if !mints {
            columns.forget(MINTED);
        }
    }
}

fn is_partner_name(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=63).contains(&name.len()) && name.bytes().all(is_inner)
}

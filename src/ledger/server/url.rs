//! The URL, taken apart as libpq does it: no value is judged here, and none is quoted in an error, since a password with
//! characters that should be encoded may end up in any part.

use zeroize::Zeroizing;

use super::ServerError;
use super::parameters::{KNOWN, Setting, Values};

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// What follows the scheme; `None` where `text` names no server. Schemes are taken in any case: a URL that passed for a
/// file's name would be shown, with its password.
pub(super) fn after_scheme(text: &str) -> Option<&str> {
    SCHEMES.into_iter().find_map(|scheme| {
        let start = text.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
    })
}

/// The parameters that the URL gives. Empty ones count as not given.
pub(super) fn read(text: &str) -> Result<Values, ServerError> {
    let rest = after_scheme(text).ok_or(ServerError::NoServer)?;
    let mut values = Values::default();
    let rest = match rest.find(['@', '/']) {
        Some(end) if rest[end..].starts_with('@') => {
            let (user, password) = rest[..end].split_once(':').unwrap_or((&rest[..end], ""));
            values.set(Setting::url("user"), decoded(user)?);
            values.set(Setting::url("password"), decoded(password)?);
            &rest[end + 1..]
        }
        _ => rest,
    };
    // libpq takes one in names and parameters. Here it is the sign that a password isn't encoded, so that what follows would
    // take parts of it for a host or a database, which are shown.
    if rest.contains('@') {
        return Err(ServerError::StrayAt);
    }
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (servers, database) = address.split_once('/').unwrap_or((address, ""));
    read_servers(servers, &mut values)?;
    values.set(Setting::url("dbname"), decoded(database)?);
    read_query(query, &mut values)?;
    Ok(values)
}

/// `host[:port],...`: as two lists, which is how they are given as parameters, too.
fn read_servers(servers: &str, values: &mut Values) -> Result<(), ServerError> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for server in servers.split(',') {
        let (host, port) = match server.strip_prefix('[') {
            None => server.split_once(':').unwrap_or((server, "")),
            Some(server) => {
                let (host, port) = server.split_once(']').ok_or(ServerError::Brackets)?;
                let port = if port.is_empty() { Some("") } else { port.strip_prefix(':') };
                (host, port.filter(|_| !host.is_empty()).ok_or(ServerError::Brackets)?)
            }
        };
        hosts.push(host);
        ports.push(port);
    }
    for (name, list) in [("host", hosts), ("port", ports)] {
        if list.iter().any(|one| !one.is_empty()) {
            values.set(Setting::url(name), decoded(&list.join(","))?);
        }
    }
    Ok(())
}

fn read_query(query: &str, values: &mut Values) -> Result<(), ServerError> {
    for (nth, pair) in query.split_terminator('&').enumerate() {
        let malformed = || ServerError::Malformed { nth: nth + 1 };
        let (name, value) = pair.split_once('=').ok_or_else(malformed)?;
        if value.contains('=') {
            return Err(malformed());
        }
        let (name, value) = (decoded(name)?, decoded(value)?);
        let name = std::str::from_utf8(&name).map_err(|_| malformed())?;
        match (KNOWN.iter().find(|known| known.name == name), name) {
            (Some(known), _) => values.set(Setting::url(known.name), value),
            // As JDBC has it.
            (None, "ssl") if value.as_slice() == b"true" => {
                values.set(Setting::url("sslmode"), Zeroizing::new(b"require".to_vec()));
            }
            (None, _) => return Err(ServerError::Unknown { nth: nth + 1, meant: meant(name) }),
        }
    }
    Ok(())
}

/// The parameter whose name is nearly this.
fn meant(name: &str) -> Option<&'static str> {
    let distance = |known: &str| strsim::damerau_levenshtein(&name.to_ascii_lowercase(), known);
    let near = KNOWN.iter().map(|known| (distance(known.name), known.name)).min()?;
    (near.0 <= 2).then_some(near.1)
}

/// The bytes that `text` stands for.
fn decoded(text: &str) -> Result<Zeroizing<Vec<u8>>, ServerError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or(ServerError::Escape);
        match (digit()? * 16 + digit()?) as u8 {
            0 => return Err(ServerError::Escape),
            byte => bytes.push(byte),
        }
    }
    Ok(bytes)
}

/// `text` as a part of a URL: what has a meaning there, or none that can be read, is encoded.
pub(super) fn encoded(text: &[u8]) -> String {
    text.iter().fold(String::with_capacity(text.len()), |mut url, &byte| {
        match byte {
            b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => url.push(char::from(byte)),
            byte => url.push_str(&format!("%{byte:02X}")),
        }
        url
    })
}

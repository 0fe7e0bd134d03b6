//! Loading: paths to manifests, every error of every file told at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use url::Url;

use super::bounds::Bounds;
use super::check;
use super::code::Code;
use super::diagnostic::{Diagnostics, Severity};
use super::digest::Digest;
use super::draft::{Field, Raw, RawPartner};
use super::gather::Gather;
use super::imports::Written;
use super::inputs::Contents;
use super::model::{Application, Manifest, Manifests, Partner, SecretRef};
use super::pieces;
use super::read::{self, MANIFEST_LIMIT};
use super::secrets::Environment;
use super::sink::{At, FileId, FileInfo, Mark, Shape, Sink};
use crate::verify::Compiler;

/// How many bytes of manifests are loaded side by side, if there is more than one.
const AT_ONCE: u64 = 128 << 20;

/// What loading may do, by options and environment; never by a manifest.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// `--root`: further folders that files may be read from.
    pub roots: Vec<PathBuf>,
    /// `--allow-exec`: programs may run (they never do while loading).
    pub allow_exec: bool,
    /// `--allow-host`: further hosts that the key may be sent to.
    pub allow_hosts: Vec<String>,
    /// Whether the command is about to send: then a program or host that is not allowed is an error, else a warning.
    pub sending: bool,
    /// Whether the command needs tokens. Without, references to tokens and the files of `tokens` are not read, and
    /// whatever is wrong with them is no matter; an entry's session is then what the entry itself or a literal says.
    pub tokens: bool,
    /// Where `{env: NAME}` tokens are looked up.
    pub env: Environment,
    /// How many bytes of a source are read at once. Nothing that comes out depends on it.
    pub chunk: usize,
    /// Where it is noted what the files held, if anybody wants to know.
    pub contents: Option<Arc<Contents>>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            allow_exec: false,
            allow_hosts: Vec::new(),
            sending: false,
            tokens: true,
            env: Environment::empty(),
            chunk: super::sources::CHUNK,
            contents: None,
        }
    }
}

/// Loads manifests, and all in directories. Blocks on files, and on nothing else.
///
/// On failure, every error and warning of all files, sorted; on success the warnings stand in [`Manifests::warnings`].
pub fn load(paths: &[String], options: &LoadOptions) -> Result<Manifests, Diagnostics> {
    load_in_pieces(paths, options, pieces::SIZE)
}

/// As [`load`], where manifests of more than two pieces of this size are cut.
pub(super) fn load_in_pieces(paths: &[String], options: &LoadOptions, size: usize) -> Result<Manifests, Diagnostics> {
    let mut sink = Sink::default();
    let mut loaded = Vec::new();
    let compiler = Compiler::default();
    let paths = find(paths, &mut sink);
    let each = |path: &String| {
        let mut sink = Sink::default();
        (manifest(path, options, size, &mut compiler.clone(), &mut sink), sink)
    };
    for batch in batches(&paths) {
        let done: Vec<_> = match batch {
            [path] => vec![each(path)],
            paths => paths.par_iter().map(each).collect(),
        };
        for (manifest, apart) in done {
            let by = sink.append(apart);
            loaded.extend(manifest.map(|manifest| manifest.move_files(by)));
        }
    }
    check::unique(&loaded, &mut sink);
    let diagnostics = sink.finish();
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(Diagnostics(diagnostics));
    }
    let manifests = loaded.into_iter().map(Loaded::into_manifest).collect();
    Ok(Manifests { manifests, warnings: diagnostics })
}

/// A manifest with what only the last checks need. Its places are those of `items` and of `raw`'s name.
pub(super) struct Loaded {
    pub(super) path: String,
    pub(super) raw: Raw,
    pub(super) items: Vec<super::finish::Item>,
    pub(super) unused_tokens: u64,
    pub(super) patterns: Vec<String>,
}

impl Loaded {
    /// Takes over that files have moved by so many.
    fn move_files(mut self, by: u32) -> Self {
        if by > 0 {
            self.items.par_iter_mut().for_each(|item| item.move_files(by));
            let at = self.raw.name_at().moved(by);
            self.raw.file = at.file;
            if let Field::Good(_, place) = &mut self.raw.name {
                *place = at;
            }
        }
        self
    }

    fn into_manifest(self) -> Manifest {
        let name = self.raw.name.good().cloned().unwrap_or_default();
        let application = self.raw.application;
        let partners = self.raw.partners.into_iter().filter_map(|partner| {
            let RawPartner { name, api_key, writes_per_minute, .. } = partner;
            Some(Partner { name, api_key: api_key.good()?.clone(), writes_per_minute })
        });
        Manifest {
            path: self.path,
            name,
            digest: Digest::default(),
            application: Application {
                id: application.id,
                base_url: application.base_url,
                api_key: application.api_key,
            },
            limits: self.raw.limits,
            expect: self.raw.defaults.expect.good().cloned().unwrap_or_default(),
            partners: partners.collect(),
            entries: self.items.into_iter().map(|item| item.entry).collect(),
            unused_tokens: self.unused_tokens,
            patterns: self.patterns,
        }
    }
}

/// The files meant: those given, and `*.yaml` and `*.yml` of directories, sorted; each once.
pub(super) fn find(paths: &[String], sink: &mut Sink) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for path in paths {
        if !Path::new(path).is_dir() {
            found.push(path.clone());
            continue;
        }
        let names = std::fs::read_dir(path).map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| is_yaml(path) && !path.is_dir())
                .collect::<Vec<_>>()
        });
        match names {
            Ok(mut names) if !names.is_empty() => {
                names.sort();
                found.extend(names.into_iter().map(|path| path.to_string_lossy().into_owned()));
            }
            Ok(_) => {
                let message = "the directory holds no manifest";
                let help = "give a directory with *.yaml or *.yml files, or write one with `didit-sync init`";
                sink_file(path, sink, Shape::Opaque, |sink, at| sink.error(Code::EmptyDirectory, at, message, help));
            }
            Err(error) => unreadable(path, &error, sink),
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found
}

/// The manifests that are loaded at once: as many as there are threads, unless they are large.
fn batches(mut paths: &[String]) -> impl Iterator<Item = &[String]> {
    let size = |path: &String| std::fs::metadata(path).map_or(0, |file| file.len());
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |path: &&String| {
            bytes += size(path);
            bytes <= AT_ONCE
        };
        let count = paths.iter().take(rayon::current_num_threads()).take_while(fits).count().max(1);
        let (batch, rest) = paths.split_at_checked(count)?;
        paths = rest;
        Some(batch)
    })
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
}

fn sink_file(path: &str, sink: &mut Sink, shape: Shape, then: impl FnOnce(&mut Sink, At)) -> FileId {
    let token_key = "share_token".to_owned();
    let file = sink.file(FileInfo { shown: path.to_owned(), path: PathBuf::from(path), shape, token_key });
    then(sink, Mark::START.of(file));
    file
}

fn unreadable(path: &str, error: &std::io::Error, sink: &mut Sink) {
    let code = if error.kind() == std::io::ErrorKind::FileTooLarge { Code::TooLarge } else { Code::UnreadableManifest };
    let message = format!("the manifest can't be read: {}", read::reason(error));
    let help = if code == Code::TooLarge {
        "move the entries into source files: see `sources`"
    } else {
        "give the path of a manifest; `didit-sync init` writes one"
    };
    sink_file(path, sink, Shape::Opaque, |sink, at| sink.error(code, at, message, help));
}

/// One manifest; `None` where too little can be read of it to go on.
fn manifest(
    path: &str,
    options: &LoadOptions,
    size: usize,
    compiler: &mut Compiler,
    sink: &mut Sink,
) -> Option<Loaded> {
    let bytes = match read::bytes(Path::new(path), MANIFEST_LIMIT, options.contents.as_ref()) {
        Ok(bytes) => bytes,
        Err(error) => {
            unreadable(path, &error, sink);
            return None;
        }
    };
    let file = sink_file(path, sink, Shape::Yaml, |_, _| {});
    let bare = read::without_bom(&bytes);
    let text = match std::str::from_utf8(bare) {
        Ok(text) => text,
        Err(error) => {
            let (line, column) = read::position(bare, error.valid_up_to());
            let at = Mark::new(line, column, 1).of(file);
            sink.error(Code::NotUtf8, at, "the manifest is not UTF-8 from here on", "save it as UTF-8");
            return None;
        }
    };
    let bounds = Bounds::of(Path::new(path), &options.roots);
    let text = Written { text, file, bounds: &bounds, options, size };
    let (raw, imports) = text.decode(compiler, sink)?;
    drop(bytes);
    security(&raw, options, sink);
    check::partners(&raw, sink);
    let mut gather = Gather::new(sink, &raw, &bounds, options);
    gather.all(imports);
    let (items, unused_tokens) = (std::mem::take(&mut gather.items), gather.unused_tokens);
    let patterns = std::mem::take(&mut gather.patterns);
    if options.tokens {
        check::vendor_data(&raw, &items, sink);
    }
    Some(Loaded { path: sink.shown(file).to_owned(), raw, items, unused_tokens, patterns })
}

/// Whether a key may be sent to this base URL: to didit.me and its subdomains, to loopback, and to the hosts that
/// the user allowed (with or without a port).
#[must_use]
pub fn may_receive_key(base_url: &Url, allow_hosts: &[String]) -> bool {
    let host = base_url.host_str().unwrap_or("");
    let didit = host == "didit.me" || host.ends_with(".didit.me");
    let with_port = base_url.port().map(|port| format!("{host}:{port}"));
    let is = |allowed: &String, name: &str| allowed.eq_ignore_ascii_case(name);
    let named =
        allow_hosts.iter().any(|allowed| is(allowed, host) || with_port.as_ref().is_some_and(|name| is(allowed, name)));
    didit || named || super::decode::is_loopback(base_url)
}

/// What a manifest may not do by itself: run a program for the key, or send the key to a new place.
fn security(raw: &Raw, options: &LoadOptions, sink: &mut Sink) {
    let application = &raw.application;
    if let (SecretRef::Exec { command, .. }, Some(at)) = (&application.api_key, application.api_key_at) {
        super::finish::exec_allowed(sink, options, at, command);
    }
    for partner in raw.partners.iter().filter(|_| options.tokens) {
        if let Field::Good(SecretRef::Exec { command, .. }, at) = &partner.api_key {
            super::finish::exec_allowed(sink, options, *at, command);
        }
    }
    let Some(at) = application.base_url_at else { return };
    if may_receive_key(&application.base_url, &options.allow_hosts) {
        return;
    }
    let host = application.base_url.host_str().unwrap_or("");
    let message = format!("the key would be sent to `{host}`, which is not Didit's");
    let help = format!("correct the host, or allow it with `--allow-host {host}`, if you trust it");
    if options.sending {
        sink.error(Code::HostNotAllowed, at, message, help);
    } else {
        sink.warning(Code::HostNotAllowed, at, message, help);
    }
}

impl Raw {
    /// Where the manifest's name stands.
    pub(super) fn name_at(&self) -> At {
        match &self.name {
            Field::Good(_, at) => *at,
            _ => Mark::START.of(self.file),
        }
    }
}

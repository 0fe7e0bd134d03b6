//! From a manifest's text to its settings and the entries that stand in it: a large list in pieces, each on the core
//! that has time, else the whole text as one tree. Both give the same entries and findings.

use super::bounds::Bounds;
use super::code::Code;
use super::decode::Decoder;
use super::draft::{Field, MintSpec, Raw};
use super::entry::FileName;
use super::finish::{Finisher, Item};
use super::load::LoadOptions;
use super::pieces;
use super::sink::{At, FileId, Mark, Sink};
use super::yaml::{self, Node, Value};
use crate::verify::Compiler;

/// The key of the entries.
pub(super) const IMPORTS: &str = "imports";

/// A manifest to be decoded.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) text: &'a str,
    pub(super) file: FileId,
    pub(super) bounds: &'a Bounds,
    pub(super) options: &'a LoadOptions,
    /// How large a piece is.
    pub(super) size: usize,
}

/// The entries of some items, and what those that mint say of it.
struct Made {
    items: Vec<Item>,
    mints: Vec<(At, Field<MintSpec>)>,
}

impl Written<'_> {
    /// The settings and the entries of `imports`, in parts; `None` where too little can be read.
    pub(super) fn decode(&self, compiler: &mut Compiler, sink: &mut Sink) -> Option<(Raw, Vec<Vec<Item>>)> {
        let before = sink.len();
        if let Some(made) = self.in_pieces(compiler, sink) {
            return Some(made);
        }
        sink.take_from(before);
        let root = self.root(sink)?;
        let mut raw = self.decoder(compiler, sink).manifest(&root)?;
        let nodes = self.decoder(compiler, sink).imports(&root);
        let name = sink.name(self.file);
        let made = self.entries(nodes, &raw, name, compiler, sink);
        raw.mints = made.mints;
        Some((raw, vec![made.items]))
    }

    /// As above, where the entries are many and nothing is wrong with the YAML.
    fn in_pieces(&self, compiler: &mut Compiler, sink: &mut Sink) -> Option<(Raw, Vec<Vec<Item>>)> {
        let rest = pieces::rest(self.text, IMPORTS, self.size)?;
        let parted = rest.parse(IMPORTS)?;
        let mut raw = self.decoder(compiler, sink).manifest(&parted.root)?;
        let (known, shared) = (sink.apart(), compiler.clone());
        let parts = pieces::map(self.text, &parted.pieces, |nodes| {
            let (mut compiler, mut sink) = (shared.clone(), known.apart());
            let name = sink.name(self.file).apart();
            let made = self.entries(&nodes, &raw, name, &mut compiler, &mut sink);
            (made, sink)
        })?;
        let mut items = Vec::with_capacity(parts.len());
        for (made, found) in parts {
            items.push(made.items);
            raw.mints.extend(made.mints);
            sink.absorb(found);
        }
        Some((raw, items))
    }

    fn entries(&self, nodes: &[Node<'_>], raw: &Raw, name: FileName, compiler: &mut Compiler, sink: &mut Sink) -> Made {
        let mut finisher = Finisher::new(&raw.defaults, None, self.options, name);
        let mut made = Made { items: Vec::with_capacity(nodes.len()), mints: Vec::new() };
        for node in nodes {
            let Some(draft) = self.decoder(compiler, sink).entry(node) else { continue };
            if !draft.mint.is_absent() {
                made.mints.push((draft.at, draft.mint.clone()));
            }
            made.items.extend(finisher.finish(draft, sink));
        }
        made
    }

    fn decoder<'s>(&'s self, compiler: &'s mut Compiler, sink: &'s mut Sink) -> Decoder<'s> {
        Decoder { sink, file: self.file, bounds: self.bounds, compiler }
    }

    /// The tree of the whole.
    fn root(&self, sink: &mut Sink) -> Option<Node<'_>> {
        let tree = yaml::parse(self.text);
        let whole = tree.problems.is_empty();
        for problem in tree.problems {
            sink.error(problem.code, problem.mark.of(self.file), problem.message, problem.help);
        }
        let root = tree.root.filter(|root| !matches!(root.value, Value::Null));
        if root.is_none() && whole {
            let help = "write one with `didit-sync init`, or begin with `version: 1`";
            sink.error(Code::EmptyManifest, Mark::START.of(self.file), "the file holds no manifest", help);
        }
        root
    }
}

//! The pages for people: what is generated in them is what the program says today, every link leads somewhere, and every
//! command does what the page shows.
//!
//! - Between `<!-- generated: NAME -->` and `<!-- end generated -->` stands what the program says of itself.
//!   `UPDATE_DOCS=1 cargo test --test main docs::` writes it anew; without that variable, a stale page fails.
//! - A fenced block `console` is run, those of a page one after the other against one sandbox, in a folder with the
//!   examples. What a page shows of the output has to be there; `...` stands for lines left out.
//! - `<!-- file: NAME -->` before a block has the block's text written to that file.
//! - Of a block `sh`, the program's own commands have to be understood.

mod cli;
mod codes;
mod facts;
mod generated;
mod links;
mod manifest;
mod page;
mod sessions;

//! `demo`.
use super::Failure;
use super::args::{DemoArgs, Global};
use crate::console::Console;
use crate::exit::Exit;
pub(super) async fn run(_args: &DemoArgs, _global: &Global, _console: &Console) -> Result<Exit, Failure> {
    Ok(Exit::ok())
}

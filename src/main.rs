//! The program: arguments in, exit code out. Everything else is the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(didit_sync::cli::main(std::env::args_os()))
}

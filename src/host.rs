//! The machine and the person that run the program, for the record.

/// The host's name.
#[must_use]
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

//! The sandbox: a local stand-in for the Didit API.

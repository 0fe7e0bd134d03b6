//! The demo and the examples over real loopback HTTP.

//! Placeholder until the pages are embedded.

fn main() {}

//! The pangea binary.
fn main() {}

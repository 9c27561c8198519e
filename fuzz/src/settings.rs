//! The target for the configuration file, which people write.

use std::path::Path;

use pangea_node::config::Layer;

/// Any file: read, or refused in words.
pub fn toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(error) = Layer::from_toml(Path::new("pangea.toml"), text) {
        assert!(!error.to_string().is_empty(), "it says what is wrong");
    }
}

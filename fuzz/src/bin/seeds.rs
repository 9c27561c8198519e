//! Writes the kept inputs below `fuzz/seeds`; leaves files there that it did not make.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (target, name, bytes) in pangea_fuzz::seeds::all() {
        let target = dir.join(target);
        std::fs::create_dir_all(&target)?;
        std::fs::write(target.join(name), bytes)?;
    }
    Ok(())
}

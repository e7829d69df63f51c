//! Links the unwinder into the program, as its shared library asks the processor what it can do at every start of a
//! program: in a virtual machine, where each such question goes to the host, that takes a seventh of our shortest runs.

use std::env;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    // Elsewhere no libgcc is linked, or it is linked in already.
    if env::var("CARGO_CFG_TARGET_ENV")? != "gnu" {
        return Ok(());
    }
    // The standard library asks for -lgcc_s by name. What the linker finds first by that name is this script, which
    // names the archive that comes with every gcc.
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("libgcc_s.so"), "INPUT(-lgcc_eh)\n")?;
    println!("cargo::rustc-link-search=native={out}");
    Ok(())
}

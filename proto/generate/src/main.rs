//! Generates `src/protocol/fivetran/generated.rs` from `proto/*.proto`; needs no `protoc`.
//! Run it after changing a .proto file, and commit the result.

use std::fs;
use std::path::Path;

use anyhow::Context;

const FILES: [&str; 2] = ["common.proto", "connector_sdk.proto"];

fn main() -> anyhow::Result<()> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let out = proto.join("../src/protocol/fivetran/generated.rs");
    let generated = tempdir()?;
    let files = protox::compile(FILES.map(|file| proto.join(file)), [&proto]).context("the .proto files")?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        // Sorted maps, so that equal rows have equal bytes.
        .btree_map(".")
        .out_dir(&generated)
        .compile_fds(files)
        .context("generating the Rust code")?;
    let code =
        fs::read_to_string(generated.join("fivetran_sdk.v2.rs")).context("reading the generated code")?;
    let mut source = Vec::new();
    for file in FILES {
        source.extend(fs::read(proto.join(file))?);
    }
    let header = format!(
        "// Made by proto/generate from proto/*.proto (FNV-1a {:016x}): change those, not this.\n",
        fnv1a(&source)
    );
    fs::write(&out, header + &code).with_context(|| format!("writing {}", out.display()))?;
    fs::remove_dir_all(&generated)?;
    Ok(())
}

fn tempdir() -> anyhow::Result<std::path::PathBuf> {
    let path = std::env::temp_dir().join(format!("generate-{}", std::process::id()));
    fs::create_dir_all(&path)?;
    Ok(path)
}

/// A checksum that detects changed files. tests/it/proto.rs has the same function.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

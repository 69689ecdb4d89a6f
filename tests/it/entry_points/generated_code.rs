//! The generated code matches the .proto files.

use std::path::PathBuf;

/// As in proto/generate.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// After a change of a .proto file, run the generator and commit its output.
#[test]
fn the_generated_code_is_up_to_date() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let file = |name: &str| std::fs::read(root.join("proto").join(name)).unwrap();
    let hash = fnv1a(&[file("common.proto"), file("connector_sdk.proto")].concat());
    let code = std::fs::read_to_string(root.join("src/protocol/fivetran/generated.rs")).unwrap();
    let want = format!("(FNV-1a {hash:016x})");
    assert!(
        code.lines().next().unwrap().contains(&want),
        "run `cargo run --manifest-path proto/generate/Cargo.toml` and commit what it changes"
    );
}

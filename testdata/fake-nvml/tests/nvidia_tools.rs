//! NVIDIA's own tools on the fake: runs `check-with-nvidia-tools.sh`. Ignored by default, as it builds Go modules from the network:
//! `cargo test -p fake-nvml --test nvidia_tools -- --ignored`.

use std::process::Command;

#[test]
#[ignore = "builds NVIDIA's tools with Go, from the network"]
fn nvidias_tools_agree() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/check-with-nvidia-tools.sh");
    let status = Command::new(script).status().expect("bash is installed");
    match status.code() {
        Some(77) => eprintln!("skipped; the script says above what is missing"),
        code => assert_eq!(code, Some(0)),
    }
}

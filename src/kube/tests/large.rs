//! A cluster of 10,000 GPUs and 50,000 pods, streamed.

use std::io::{BufReader, Read};

use serde_json::json;

use super::*;

const NODES: usize = 1_250;
const PODS: usize = 50_000;
const RUNNING: usize = 42_000;

/// Writes the export while it is read, so that only the reader's memory is measured.
struct Export {
    next: usize,
    chunk: Vec<u8>,
    read: usize,
}

impl Export {
    /// The item at a position; everything that the reader does not need makes pods as heavy as real ones.
    fn item(position: usize) -> Value {
        if position < NODES {
            return node(&format!("gpu-{position:04}"), 8);
        }
        let number = position - NODES;
        let name = format!("pod-{number:05}");
        let mut pod =
            if number < RUNNING { running(&name, &format!("gpu-{:04}", number % NODES)) } else { waiting(&name) };
        pod["metadata"]["managedFields"] = json!([{"time": "2026-01-01T00:00:00Z", "fieldsV1": "f".repeat(5_000)}]);
        pod["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": "c".repeat(1_500)});
        pod["metadata"]["labels"] = json!({"app": format!("app-{}", number % 500), "pod-template-hash": "abc"});
        pod["spec"]["containers"][0]["resources"]["requests"] = json!({"cpu": format!("{}m", 1 + number), MIG_1G: "1"});
        pod["spec"]["tolerations"] = json!([{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]);
        pod
    }
}

impl Read for Export {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.read == self.chunk.len() {
            self.read = 0;
            self.chunk = match self.next {
                position if position < NODES + PODS => {
                    let separator = if position == 0 { r#"{"apiVersion":"v1","items":["# } else { "," };
                    format!("{separator}{}", Self::item(position)).into_bytes()
                }
                position if position == NODES + PODS => br#"],"kind":"List"}"#.to_vec(),
                _ => Vec::new(),
            };
            self.next += 1;
        }
        let size = buffer.len().min(self.chunk.len() - self.read);
        buffer[..size].copy_from_slice(&self.chunk[self.read..self.read + size]);
        self.read += size;
        Ok(size)
    }
}

/// Most memory that the process ever had, in KiB.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

#[test]
#[ignore = "takes a minute without optimisation; run it alone, because it measures the memory of the process"]
fn fifty_thousand_pods_stay_within_a_gigabyte() {
    let mut reader = BufReader::with_capacity(1 << 16, Export { next: 0, chunk: Vec::new(), read: 0 });
    let input = read(Source::Reader("export", &mut reader), &ReadOptions::default()).expect("an export");
    assert_eq!((input.nodes().len(), input.gpus().len()), (NODES, 8 * NODES));
    assert_eq!((input.running().len(), input.pending().len()), (RUNNING, PODS - RUNNING));
    if let Some(peak) = peak_memory() {
        assert!(peak < 1024 * 1024, "{peak} KiB");
    }
}

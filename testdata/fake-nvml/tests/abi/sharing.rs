//! One node, many processes: each sees what the others did, and none that is killed leaves anything half done.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use fake_nvml::{Config, Fault, Kill, Node, Store};
use tempfile::TempDir;

use crate::support::{INSUFFICIENT_RESOURCES, inside, isolated, itself};

fn shared(config: Config) -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder for the node");
    let store = Store::create(folder.path().join("node.json"), config).expect("a possible node");
    (folder, store)
}

fn state(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("node.json")
}

/// A client that fills the board with 1g at any place, as far as the others let it.
#[test]
fn fill() {
    isolated("sharing::fill", Config::of(&["A100-40GB"]), |client| {
        let device = client.gpu(0);
        loop {
            match client.create_anywhere(device, 19) {
                Ok(gpu) => drop(client.create_compute(gpu, 0).expect("empty")),
                Err(code) => break assert_eq!(code, INSUFFICIENT_RESOURCES),
            }
        }
    });
}

#[test]
fn processes_share_one_board() {
    let (folder, store) = shared(Config::of(&["A100-40GB"]));
    let clients: Vec<_> =
        (0..3).map(|_| itself("sharing::fill", &state(&folder)).spawn().expect("the test runs itself")).collect();
    for mut client in clients {
        assert!(client.wait().expect("it ends").success());
    }
    let board = &store.read().expect("whole").boards[0];
    let starts: Vec<u32> = board.mig_devices().map(|(gpu, _)| gpu.span.start).collect();
    assert_eq!(starts, [0, 1, 2, 3, 4, 5, 6], "every place was given to one client");
}

/// A client that creates and destroys until it is killed.
#[test]
fn churn() {
    if !inside() {
        return;
    }
    isolated("sharing::churn", Config::default(), |client| {
        let device = client.gpu(0);
        loop {
            let gpu = client.create(device, 9, 4, 4).expect("nobody else is here");
            let compute = client.create_compute(gpu, 2).expect("empty");
            client.destroy_compute(compute).expect("idle");
            client.destroy(gpu).expect("empty");
        }
    });
}

#[test]
fn a_killed_process_leaves_a_whole_node_and_no_lock() {
    let (folder, store) = shared(Config { latency: 0.02, ..Config::of(&["A100-40GB"]) });
    for round in 0..12 {
        let mut client = itself("sharing::churn", &state(&folder)).spawn().expect("the test runs itself");
        std::thread::sleep(Duration::from_millis(120 + 7 * round));
        client.kill().expect("it does not end by itself");
        assert_eq!(client.wait().expect("it has ended").signal(), Some(9));
        let emptied = store.change(|node| {
            let board = &mut node.boards[0];
            let left = (board.instances.len(), board.mig_devices().count());
            assert!(matches!(left, (0 | 1, 0) | (1, 1)), "{left:?}");
            board.instances.clear();
        });
        emptied.expect("whole, and the lock is free");
    }
}

#[test]
fn a_script_kills_before_or_after_the_work() {
    for (when, left) in [(Kill::Before, 0), (Kill::After, 1)] {
        let mut config = Config::of(&["A100-40GB"]);
        config.faults = vec![Fault::kill("nvmlDeviceCreateGpuInstanceWithPlacement", when)];
        let (folder, store) = shared(config);
        let status = itself("sharing::churn", &state(&folder)).status().expect("the test runs itself");
        assert_eq!(status.signal(), Some(9));
        let node: Node = store.read().expect("whole");
        assert_eq!((node.boards[0].instances.len(), node.faults.len()), (left, 0), "{when:?}");
    }
}

#[test]
fn a_hanging_call_holds_nobody_else_up() {
    let mut config = Config::of(&["A100-40GB"]);
    let hang = Fault { hang: true, applied: true, ..Fault::default() };
    config.faults = vec![Fault { call: "nvmlGpuInstanceDestroy".to_owned(), ..hang }];
    let (folder, store) = shared(config);
    let mut hanging = itself("sharing::churn", &state(&folder)).spawn().expect("the test runs itself");
    while !store.read().expect("whole").faults.is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let others = itself("sharing::fill", &state(&folder)).status().expect("the test runs itself");
    assert!(others.success());
    assert!(hanging.try_wait().expect("it can be asked").is_none(), "still hanging");
    hanging.kill().expect("it does not end by itself");
    hanging.wait().expect("it has ended");
}

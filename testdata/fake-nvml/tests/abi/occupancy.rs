//! Who holds what: refusals to destroy, process lists.

use fake_nvml::Config;
use fake_nvml::node::Client as Holder;
use nvml_wrapper::enums::device::UsedGpuMemory;

use crate::support::{IN_USE, INSUFFICIENT_SIZE, call, isolated, node};

#[test]
fn what_is_held_is_not_destroyed() {
    isolated("occupancy::what_is_held_is_not_destroyed", Config::of(&["A100-40GB"]), |client| {
        let (device, node) = (client.gpu(0), node());
        let busy = client.create(device, 9, 0, 4).expect("an empty board");
        let idle = client.create(device, 9, 4, 4).expect("the other half");
        let [busy_ci, idle_ci] = [busy, idle].map(|gpu| client.create_compute(gpu, 2).expect("empty"));
        node.change(|node| node.attach(0, Holder::process(42, 1, 0, 1024))).expect("the file").expect("the instance");
        assert_eq!(client.destroy_compute(busy_ci), Err(IN_USE));
        assert_eq!(client.destroy(busy), Err(IN_USE));
        client.destroy_compute(idle_ci).expect("its neighbour is not in the way");
        client.destroy(idle).expect("empty");

        let board = client.nvml.device_by_index(0).expect("the board");
        let shown = board.running_compute_processes().expect("a list");
        assert_eq!(shown.len(), 1);
        assert_eq!((shown[0].pid, shown[0].gpu_instance_id, shown[0].compute_instance_id), (42, Some(1), Some(0)));
        assert!(matches!(shown[0].used_gpu_memory, UsedGpuMemory::Used(bytes) if bytes == 1024 << 20));
        let mut none = 0;
        let ask = call!(client, nvmlDeviceGetComputeRunningProcesses_v3(device, &raw mut none, std::ptr::null_mut()));
        assert_eq!((ask, none), (Err(INSUFFICIENT_SIZE), 1));

        node.change(|node| node.detach(42)).expect("the file");
        client.destroy_compute(busy_ci).expect("the process has ended");
        client.destroy(busy).expect("empty");
    });
}

#[test]
fn a_monitor_blocks_and_is_not_shown() {
    isolated("occupancy::a_monitor_blocks_and_is_not_shown", Config::of(&["A100-40GB"]), |client| {
        let (device, node) = (client.gpu(0), node());
        let gpu = client.create(device, 19, 0, 1).expect("an empty board");
        let compute = client.create_compute(gpu, 0).expect("empty");
        node.change(|node| node.attach(0, Holder::monitor(7, 7))).expect("the file").expect("the instance");
        assert_eq!(client.destroy_compute(compute), Err(IN_USE));
        let board = client.nvml.device_by_index(0).expect("the board");
        assert_eq!(board.running_compute_processes().map(|list| list.len()).ok(), Some(0));
        node.change(|node| node.detach(7)).expect("the file");
        client.destroy_compute(compute).expect("let go");
    });
}

#[test]
fn the_first_instance_wants_an_empty_board() {
    isolated("occupancy::the_first_instance_wants_an_empty_board", Config::of(&["A100-40GB"]), |client| {
        let (device, node) = (client.gpu(0), node());
        node.change(|node| node.attach(0, Holder::on_board(9, 100))).expect("the file").expect("the board");
        assert_eq!(client.create(device, 19, 0, 1), Err(IN_USE));
        node.change(|node| node.detach(9)).expect("the file");
        client.create(device, 19, 0, 1).expect("now empty");
        node.change(|node| node.attach(0, Holder::on_board(9, 100))).expect("the file").expect("the board");
        client.create(device, 19, 1, 1).expect("only the first is checked so");
    });
}

#[test]
fn a_gpu_instance_settles_after_its_compute_instance() {
    let config = Config { busy_after_ci_destroy: 2, ..Config::of(&["A100-40GB"]) };
    isolated("occupancy::a_gpu_instance_settles_after_its_compute_instance", config, |client| {
        let gpu = client.create(client.gpu(0), 19, 0, 1).expect("an empty board");
        let compute = client.create_compute(gpu, 0).expect("empty");
        client.destroy_compute(compute).expect("idle");
        assert_eq!([(); 3].map(|()| client.destroy(gpu)), [Err(IN_USE), Err(IN_USE), Ok(())]);
    });
}

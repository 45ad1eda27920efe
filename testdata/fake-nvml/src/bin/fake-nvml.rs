//! Does to a fake node what no NVML client can: makes it, shows it, reboots it, occupies it, scripts faults.
//!
//! The node is the one that `FAKE_NVML_STATE` names.

#![allow(clippy::disallowed_methods, reason = "the node is named by the environment, as for the library")]

use std::path::Path;
use std::process::ExitCode;

use fake_nvml::node::Client;
use fake_nvml::session::config_from_environment;
use fake_nvml::{Fault, Node, Store, host};

const USAGE: &str = "\
usage: FAKE_NVML_STATE=<file> fake-nvml <command>
  create                    make the node of FAKE_NVML_CONFIG or FAKE_NVML_BOARDS; replaces the one in the file
  show                      print boards and instances
  json                      print the node as it is kept
  library                   print the path of the library
  reboot [--rotate]         reboot the node; --rotate moves the indices by one
  reload                    load the kernel module anew
  reset [<board>]           reset one board or all, counted from 0
  lose <board>              let a board fall off the bus until the next reset or reboot
  hold <board> <pid> [<gpu instance> [<compute instance>]]
                            let a process hold the board or an instance; without a compute instance a monitor, not shown
  release <pid>             end a process
  fault <json>              add a fault to the script
  host <folder>             write what the driver shows in /proc and /sys into <folder>/proc and <folder>/sys";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fake-nvml: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<String, Failure> {
    if words == ["library"] {
        let path = fake_nvml::library_path().ok_or("the library is not beside this program")?;
        return Ok(format!("{}\n", path.display()));
    }
    if words.is_empty() || words == ["--help"] {
        return Ok(format!("{USAGE}\n"));
    }
    let path = std::env::var_os("FAKE_NVML_STATE").ok_or("FAKE_NVML_STATE names no file")?;
    if words == ["create"] {
        Store::create(path, config_from_environment()?)?;
        return Ok(String::new());
    }
    let store = Store::open(path, config_from_environment)?;
    match words {
        ["show"] => return Ok(show(&store.read()?)),
        ["json"] => return Ok(serde_json::to_string_pretty(&store.read()?)? + "\n"),
        ["reboot"] => store.change(|node| node.reboot(false))?,
        ["reboot", "--rotate"] => store.change(|node| node.reboot(true))?,
        ["reload"] => store.change(Node::reload)?,
        ["reset"] => store.change(|node| (0..node.boards.len()).try_for_each(|place| node.reset(place)))??,
        ["reset", board] => {
            let board = board.parse()?;
            store.change(|node| node.reset(board))??;
        }
        ["lose", board] => {
            let board: usize = board.parse()?;
            let lost = |node: &mut Node| node.boards.get_mut(board).map(|board| board.lost = true);
            store.change(lost)?.ok_or("no such board")?;
        }
        ["hold", board, pid, instances @ ..] if instances.len() <= 2 => {
            let (board, pid) = (board.parse()?, pid.parse()?);
            let ids = instances.iter().map(|id| id.parse()).collect::<Result<Vec<u32>, _>>()?;
            let client = match ids[..] {
                [gpu, compute, ..] => Client::process(pid, gpu, compute, 512),
                [gpu] => Client::monitor(pid, gpu),
                [] => Client::on_board(pid, 512),
            };
            store.change(|node| node.attach(board, client))??;
        }
        ["release", pid] => {
            let pid = pid.parse()?;
            store.change(|node| node.detach(pid))?;
        }
        ["fault", json] => {
            let fault: Fault = serde_json::from_str(json)?;
            store.change(|node| node.faults.push(fault))?;
        }
        ["host", folder] => {
            let node = store.read()?;
            host::write_proc(&node, &Path::new(folder).join("proc"))?;
            host::write_sys(&node, &Path::new(folder).join("sys"))?;
        }
        _ => return Err(format!("{}: not understood\n{USAGE}", words.join(" ")).into()),
    }
    Ok(String::new())
}

fn show(node: &Node) -> String {
    let mut lines = vec![format!("boot {}, driver {}", node.boot, node.config.driver_version)];
    for (index, &place) in node.order.iter().enumerate() {
        let board = &node.boards[place];
        let mode = match (board.mig, board.mig_pending) {
            (true, true) => "MIG",
            (false, false) => "no MIG",
            (true, false) => "MIG, off after a reset",
            (false, true) => "no MIG, on after a reset",
        };
        lines.push(format!("GPU {index}: {} ({}), {mode}", board.config.board, board.uuid));
        for gpu in &board.instances {
            let name = board.table().profile(gpu.profile).map_or("?", |profile| &profile.name);
            let placed = format!("{name}@{}:{}", gpu.span.start, gpu.span.size);
            lines.push(format!("  GPU instance {}: {placed}", gpu.id));
            for compute in &gpu.compute {
                lines.push(format!(
                    "    compute instance {}: {} slices ({})",
                    compute.id, compute.span.size, compute.uuid
                ));
            }
        }
        for client in &board.clients {
            lines.push(format!("  held by {client:?}"));
        }
    }
    if !node.faults.is_empty() {
        lines.push(format!("{} faults to come", node.faults.len()));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use fake_nvml::{Code, Fault};

    #[test]
    fn faults_are_read_as_documented() {
        let fault: Fault =
            serde_json::from_str(r#"{"call": "nvmlGpuInstanceDestroy", "answer": "IN_USE", "times": 2}"#)
                .expect("the documented form");
        assert_eq!((fault.answer, fault.times), (Some(Code::InUse), 2));
    }
}

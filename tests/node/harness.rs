//! A node per test, and a process per test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fake_nvml::{Config, Node, Store};
use retile::exec::IdleProof;
use retile::nvml::{Board, Driver, DriverError};
use retile::plan::Place;

/// Long enough for a call of the fake on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(20);

/// The library that stands in for the driver's.
pub(crate) fn library() -> PathBuf {
    fake_nvml::library_path().expect("cargo builds the library with the tests")
}

/// A test's node.
pub(crate) struct Machine {
    /// What the fake keeps.
    pub(crate) store: Store,
    /// The calls made so far, one line each.
    log: PathBuf,
}

impl Machine {
    /// Runs the body of the test `name`, in a process whose driver shows a node of this configuration.
    pub(crate) fn run(name: &str, config: Config, body: impl FnOnce(&Self)) {
        Self::run_with(name, config, &[], body);
    }

    /// The same with more in the environment.
    pub(crate) fn run_with(name: &str, config: Config, more: &[(&str, &str)], body: impl FnOnce(&Self)) {
        if let Some(state) = std::env::var_os("FAKE_NVML_STATE") {
            let log = std::env::var_os("FAKE_NVML_LOG").expect("given beside it").into();
            body(&Self { store: Store::File(state.into()), log });
            return;
        }
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let state = folder.path().join("node.json");
        Store::create(&state, config).expect("a possible node");
        let log = folder.path().join("calls");
        let test = Command::new(std::env::current_exe().expect("this program"))
            .args([name, "--exact", "--nocapture"])
            .env("FAKE_NVML_STATE", &state)
            .env("FAKE_NVML_LOG", &log)
            .envs(more.iter().copied())
            .output()
            .expect("this program starts");
        let text = String::from_utf8_lossy(&test.stdout).into_owned() + &String::from_utf8_lossy(&test.stderr);
        assert!(test.status.success(), "{text}");
        assert!(text.contains("1 passed"), "the test has another name than {name}: {text}");
    }

    /// The adapter.
    #[allow(clippy::unused_self, reason = "the driver is that of this machine's process")]
    pub(crate) fn driver(&self) -> Driver {
        Self::driver_within(LIMIT)
    }

    /// The adapter, with another limit for a call.
    pub(crate) fn driver_within(limit: Duration) -> Driver {
        Driver::start(&library(), limit).expect("the fake is loaded and initialised")
    }

    /// The node behind the library.
    pub(crate) fn node(&self) -> Node {
        self.store.read().expect("the node is in its file")
    }

    /// Changes the node behind the library.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Node)) {
        self.store.change(change).expect("the node is in its file");
    }

    /// How often a function was called.
    pub(crate) fn calls(&self, function: &str) -> usize {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter(|line| function.is_empty() || line.ends_with(&format!(" {function}"))).count()
    }
}

/// A place.
pub(crate) fn place(profile: &str, start: u8, size: u8) -> Place {
    Place { start, size, profile: profile.into() }
}

/// Creates GPU instances with their compute instances; returns the MIG devices' UUIDs.
pub(crate) fn create(driver: &Driver, gpu: &str, places: &[Place]) -> Vec<String> {
    let made = places.iter().map(|place| {
        driver.create_gpu_instance(gpu, place).expect("there is room");
        driver.create_compute_instance(gpu, place).expect("a GPU instance without compute instance")
    });
    made.collect()
}

/// The only board.
pub(crate) fn only(driver: &Driver) -> Board {
    let mut boards = driver.boards().expect("the board can be read");
    assert_eq!(boards.len(), 1);
    boards.remove(0)
}

/// A proof that nobody holds an instance, by sources that know of nobody.
pub(crate) fn idle(board: &Board, place: &Place) -> IdleProof {
    IdleProof::establish(&board.state(), place, &[], &[], &[]).expect("it is there")
}

/// Destroys an instance as an agent does: compute instance, a new look, GPU instance.
pub(crate) fn destroy(driver: &Driver, place: &Place) -> Result<(), DriverError> {
    driver.destroy_compute_instance(idle(&only(driver), place))?;
    driver.destroy_gpu_instance(idle(&only(driver), place))
}

/// `profile@start:size UUID` of every instance of a board.
pub(crate) fn shown(board: &Board) -> Vec<String> {
    let line = |instance: &retile::nvml::GpuInstanceOnBoard| {
        let Place { start, size, profile } = &instance.place;
        format!("{profile}@{start}:{size} {}", instance.name().unwrap_or("-"))
    };
    board.instances.iter().map(line).collect()
}

/// Path of a file in the tree.
pub(crate) fn in_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

//! A client: nvml-wrapper's loader and the raw calls on top of it, each as a safe function with a plain answer.

#![allow(clippy::disallowed_methods, reason = "a client of NVML is configured by its environment")]

use std::ffi::CStr;
use std::path::PathBuf;
use std::process::Command;
use std::ptr::null_mut;

use fake_nvml::{Config, Store};
use nvml_wrapper::Nvml;
use nvml_wrapper_sys::bindings::{
    nvmlComputeInstance_t, nvmlComputeInstanceInfo_t, nvmlDevice_t, nvmlGpuInstance_t, nvmlGpuInstanceInfo_t,
    nvmlGpuInstancePlacement_t, nvmlGpuInstanceProfileInfo_t,
};

/// What a call answers: a value, or NVML's number.
pub(crate) type Answer<T> = Result<T, u32>;

pub(crate) const INVALID_ARGUMENT: u32 = 2;
pub(crate) const NOT_SUPPORTED: u32 = 3;
pub(crate) const NO_PERMISSION: u32 = 4;
pub(crate) const NOT_FOUND: u32 = 6;
pub(crate) const INSUFFICIENT_SIZE: u32 = 7;
pub(crate) const IN_USE: u32 = 19;
pub(crate) const INSUFFICIENT_RESOURCES: u32 = 23;
pub(crate) const VERSION_MISMATCH: u32 = 25;
pub(crate) const UNKNOWN: u32 = 999;

const INSIDE: &str = "FAKE_NVML_TEST_INSIDE";

/// Whether this process is one that [`itself`] has started.
pub(crate) fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the body of a test in a process of its own, as a client of a node made from `config`.
pub(crate) fn isolated(test: &str, config: Config, body: impl FnOnce(&Client)) {
    isolated_with(test, config, &[], body);
}

/// As [`isolated`], with more environment for the client.
pub(crate) fn isolated_with(test: &str, config: Config, environment: &[(&str, &str)], body: impl FnOnce(&Client)) {
    if inside() {
        body(&Client::load());
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the node");
    let state = folder.path().join("node.json");
    Store::create(&state, config).expect("a possible node");
    let output = itself(test, &state).envs(environment.iter().copied()).output().expect("the test runs itself");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "no test is called {test}: {said}");
}

/// The command that runs a test of this program as a client of a node.
pub(crate) fn itself(test: &str, state: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args([test, "--exact", "--nocapture"]).env("FAKE_NVML_STATE", state).env(INSIDE, "1");
    command
}

/// The library that cargo has built with this test.
pub(crate) fn library() -> PathBuf {
    fake_nvml::library_path().expect("cargo builds the library with its tests")
}

/// A process that has initialised NVML.
pub(crate) struct Client {
    pub(crate) nvml: Nvml,
}

/// Calls a symbol and turns its number into an answer.
macro_rules! call {
    ($client:expr, $symbol:ident($($argument:expr),*)) => {{
        // SAFETY: the library is loaded and the arguments are what the symbol takes; pointers come from live values.
        let code = unsafe { $client.nvml.lib().$symbol($($argument),*) };
        if code == 0 { Ok(()) } else { Err(code) }
    }};
}
pub(crate) use call;

impl Client {
    fn load() -> Self {
        Self { nvml: Nvml::builder().lib_path(library().as_os_str()).init().expect("the library loads") }
    }

    pub(crate) fn gpu(&self, index: u32) -> nvmlDevice_t {
        let mut device = null_mut();
        call!(self, nvmlDeviceGetHandleByIndex_v2(index, &raw mut device)).expect("the node has the GPU");
        device
    }

    pub(crate) fn profile(&self, device: nvmlDevice_t, value: u32) -> Answer<nvmlGpuInstanceProfileInfo_t> {
        let mut info = zeroed();
        call!(self, nvmlDeviceGetGpuInstanceProfileInfo(device, value, &raw mut info)).map(|()| info)
    }

    /// Profiles by enumeration: upwards until `INVALID_ARGUMENT`, `NOT_SUPPORTED` skips.
    pub(crate) fn profiles(&self, device: nvmlDevice_t) -> Vec<nvmlGpuInstanceProfileInfo_t> {
        let answers = (0..)
            .map(|value| self.profile(device, value))
            .take_while(|it| it.as_ref().err() != Some(&INVALID_ARGUMENT));
        answers.flatten().collect()
    }

    pub(crate) fn placements(&self, device: nvmlDevice_t, id: u32) -> Answer<Vec<(u32, u32)>> {
        let mut count = 0;
        call!(self, nvmlDeviceGetGpuInstancePossiblePlacements_v2(device, id, null_mut(), &raw mut count))?;
        let mut list = vec![nvmlGpuInstancePlacement_t { start: 0, size: 0 }; count as usize];
        call!(self, nvmlDeviceGetGpuInstancePossiblePlacements_v2(device, id, list.as_mut_ptr(), &raw mut count))?;
        Ok(list.iter().map(|placement| (placement.start, placement.size)).collect())
    }

    pub(crate) fn capacity(&self, device: nvmlDevice_t, id: u32) -> Answer<u32> {
        let mut count = 0;
        call!(self, nvmlDeviceGetGpuInstanceRemainingCapacity(device, id, &raw mut count)).map(|()| count)
    }

    pub(crate) fn create(&self, device: nvmlDevice_t, id: u32, start: u32, size: u32) -> Answer<nvmlGpuInstance_t> {
        let (mut instance, at) = (null_mut(), nvmlGpuInstancePlacement_t { start, size });
        call!(self, nvmlDeviceCreateGpuInstanceWithPlacement(device, id, &raw const at, &raw mut instance))?;
        Ok(instance)
    }

    pub(crate) fn create_anywhere(&self, device: nvmlDevice_t, id: u32) -> Answer<nvmlGpuInstance_t> {
        let mut instance = null_mut();
        call!(self, nvmlDeviceCreateGpuInstance(device, id, &raw mut instance)).map(|()| instance)
    }

    pub(crate) fn destroy(&self, instance: nvmlGpuInstance_t) -> Answer<()> {
        call!(self, nvmlGpuInstanceDestroy(instance))
    }

    pub(crate) fn instance(&self, instance: nvmlGpuInstance_t) -> Answer<nvmlGpuInstanceInfo_t> {
        let mut info = zeroed();
        call!(self, nvmlGpuInstanceGetInfo(instance, &raw mut info)).map(|()| info)
    }

    /// GPU instances of all profiles.
    pub(crate) fn instances(&self, device: nvmlDevice_t) -> Vec<nvmlGpuInstance_t> {
        let mut all = Vec::new();
        for profile in self.profiles(device) {
            let mut list = vec![null_mut(); profile.instanceCount as usize];
            let mut count = profile.instanceCount;
            call!(self, nvmlDeviceGetGpuInstances(device, profile.id, list.as_mut_ptr(), &raw mut count))
                .expect("MIG is on");
            all.extend(list.into_iter().take(count as usize));
        }
        all
    }

    pub(crate) fn create_compute(&self, instance: nvmlGpuInstance_t, id: u32) -> Answer<nvmlComputeInstance_t> {
        let mut compute = null_mut();
        call!(self, nvmlGpuInstanceCreateComputeInstance(instance, id, &raw mut compute)).map(|()| compute)
    }

    pub(crate) fn destroy_compute(&self, compute: nvmlComputeInstance_t) -> Answer<()> {
        call!(self, nvmlComputeInstanceDestroy(compute))
    }

    pub(crate) fn compute(&self, compute: nvmlComputeInstance_t) -> Answer<nvmlComputeInstanceInfo_t> {
        let mut info = zeroed();
        call!(self, nvmlComputeInstanceGetInfo_v2(compute, &raw mut info)).map(|()| info)
    }

    pub(crate) fn mig_device(&self, device: nvmlDevice_t, index: u32) -> Answer<nvmlDevice_t> {
        let mut mig = null_mut();
        call!(self, nvmlDeviceGetMigDeviceHandleByIndex(device, index, &raw mut mig)).map(|()| mig)
    }

    pub(crate) fn uuid(&self, device: nvmlDevice_t) -> Answer<String> {
        let mut text = [0; 96];
        call!(self, nvmlDeviceGetUUID(device, text.as_mut_ptr(), text.len() as u32))?;
        // SAFETY: the call answered with success, so the buffer holds a zero-terminated text.
        Ok(unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
    }

    pub(crate) fn mode(&self, device: nvmlDevice_t) -> Answer<(u32, u32)> {
        let (mut current, mut pending) = (9, 9);
        call!(self, nvmlDeviceGetMigMode(device, &raw mut current, &raw mut pending)).map(|()| (current, pending))
    }
}

/// The node from outside, as the tests' hand behind the driver.
pub(crate) fn node() -> Store {
    let path = std::env::var_os("FAKE_NVML_STATE").expect("set for every client");
    Store::open(path, || Ok(Config::default())).expect("made before the client")
}

/// A struct for a call to fill.
pub(crate) fn zeroed<T>() -> T {
    // SAFETY: only used for NVML's plain structs of numbers, characters and nullable pointers, which may be all zero.
    unsafe { std::mem::zeroed() }
}

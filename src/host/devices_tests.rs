use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A root folder with programs that write down how they were called.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder for temporary files") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, more: &str) -> PathBuf {
        let path = self.path(name);
        let log = self.path("log");
        let text = format!("#!/bin/sh\necho \"{name} $* [$LD_PRELOAD]\" >> {}\n{more}\n", log.display());
        fs::write(&path, text).expect("room");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        path
    }

    fn settings(&self) -> DeviceSettings {
        DeviceSettings {
            smi: self.path("nvidia-smi"),
            ctk: self.path("nvidia-ctk"),
            cdi_spec: self.path("spec.yaml"),
            ..DeviceSettings::default()
        }
    }

    fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn run(steps: &Steps) -> Result<(), DevicesError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(steps.run())
}

#[test]
fn nothing_is_run_where_nothing_is() {
    let machine = Machine::new();
    let steps = Steps::plan(machine.settings()).expect("all on auto");
    assert!(steps.plans().iter().all(|plan| plan.command.is_empty() && plan.left_out.is_some()), "{steps:?}");
    assert_eq!(run(&steps), Ok(()));
}

#[test]
fn what_is_there_is_run_in_order_and_cdi_only_where_it_is_used() {
    let machine = Machine::new();
    machine.program("nvidia-smi", "");
    machine.program("nvidia-ctk", "");
    run(&Steps::plan(machine.settings()).expect("all on auto")).expect("programs that succeed");
    assert_eq!(machine.log(), ["nvidia-smi -L []", "nvidia-ctk system create-device-nodes --control-devices []"]);
    fs::write(machine.path("spec.yaml"), "").expect("room");
    let more = DeviceSettings { cdi_arguments: vec!["--dev-root=/".into()], ..machine.settings() };
    run(&Steps::plan(more).expect("all on auto")).expect("programs that succeed");
    let generated = format!(
        "nvidia-ctk cdi generate --mode=management --vendor=management.nvidia.com --class=gpu --dev-root=/ --output={} []",
        machine.path("spec.yaml").display()
    );
    assert_eq!(machine.log().last(), Some(&generated));
}

#[test]
fn a_failure_is_told_in_the_program_s_words_and_does_not_keep_the_rest_back() {
    let machine = Machine::new();
    machine.program("nvidia-smi", "echo 'no devices were found' >&2; exit 6");
    machine.program("nvidia-ctk", "");
    let error = run(&Steps::plan(machine.settings()).expect("all on auto")).expect_err("it fails");
    let text = error.to_string();
    assert!(text.contains("capability nodes") && text.contains("no devices were found"), "{text}");
    assert_eq!(machine.log().len(), 2);
}

#[test]
fn a_program_that_does_not_end_is_ended() {
    let machine = Machine::new();
    machine.program("nvidia-smi", "exec sleep 600");
    let steps = Steps { limit: Duration::from_millis(50), ..Steps::plan(machine.settings()).expect("all on auto") };
    let error = run(&steps).expect_err("it does not end");
    assert!(error.to_string().contains("not finished"), "{error}");
}

#[test]
fn a_step_that_is_switched_on_must_have_its_program() {
    let machine = Machine::new();
    let settings = DeviceSettings { capabilities: Switch::On, ..machine.settings() };
    assert!(matches!(Steps::plan(settings), Err(DevicesError::Missing { step: "capability nodes", .. })));
    machine.program("nvidia-smi", "");
    let off = DeviceSettings { capabilities: Switch::Off, ..machine.settings() };
    assert_eq!(Steps::plan(off).expect("off").plans()[0].left_out.as_deref(), Some("switched off"));
}

#[test]
fn programs_of_another_root_are_run_there() {
    let machine = Machine::new();
    let smi = machine.program("nvidia-smi", "");
    let settings = DeviceSettings {
        root: machine.folder.path().to_owned(),
        smi: "/nvidia-smi".into(),
        ctk: "/nvidia-ctk".into(),
        cdi_spec: "/spec.yaml".into(),
        ..machine.settings()
    };
    let steps = Steps::plan(settings).expect("all on auto");
    let expected = [CHROOT, &machine.folder.path().display().to_string(), "/nvidia-smi", "-L"];
    assert_eq!(steps.plans()[0].command, expected, "{}", smi.display());
}

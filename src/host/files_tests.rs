use super::*;
use crate::exec::OperationId;

fn intent() -> Intent {
    Intent {
        id: OperationId("op-1".into()),
        epoch: 3,
        node_uid: "node-1".into(),
        boot_id: "boot-1".into(),
        gpus: Vec::new(),
        neighbours: vec!["MIG-a-1".into()],
    }
}

struct Disk {
    _folder: tempfile::TempDir,
    state: PathBuf,
    files: Files,
}

fn disk() -> Disk {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let (state, boot) = (folder.path().join("state"), folder.path().join("boot_id"));
    fs::write(&boot, "boot-1\n").expect("a folder for temporary files");
    let files = Files::open(&state, &boot).expect("a folder for temporary files");
    Disk { _folder: folder, state, files }
}

#[test]
fn what_was_written_is_read_by_the_next_process() {
    let disk = disk();
    let empty = disk.files.read().expect("nothing yet");
    assert_eq!(empty, Store { boot_id: "boot-1".into(), ..Store::default() });
    disk.files.write_intent(&intent()).expect("room");
    let next = Files::open(&disk.state, &disk.files.boot_id).expect("it is there");
    assert_eq!(next.read().expect("readable").intent, Some(intent()));
    let mode = |name: &str| fs::metadata(disk.state.join(name)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode("."), mode(INTENT)), (0o700, 0o600));
    assert!(!disk.state.join(DRAFT).exists());
}

#[test]
fn clearing_records_the_layout_or_leaves_it() {
    let disk = disk();
    disk.files.write_intent(&intent()).expect("room");
    let applied = BTreeMap::from([("GPU-a".to_owned(), vec![Place { start: 4, size: 4, profile: "3g.40gb".into() }])]);
    disk.files.clear_intent(Some(&applied)).expect("room");
    let read = disk.files.read().expect("readable");
    assert_eq!((read.intent, read.applied), (None, Some(applied.clone())));
    disk.files.clear_intent(None).expect("nothing to remove");
    assert_eq!(disk.files.read().expect("readable").applied, Some(applied));
}

#[test]
fn an_unreadable_intent_is_flagged_and_kept_for_people() {
    let disk = disk();
    fs::write(disk.state.join(INTENT), b"{\"id\":").expect("room");
    for _ in 0..2 {
        let read = disk.files.read().expect("the rest is readable");
        assert_eq!((read.intent, read.intent_unreadable), (None, true));
    }
    assert_eq!(fs::read(disk.state.join(UNREADABLE)).expect("kept"), b"{\"id\":");
    disk.files.write_intent(&intent()).expect("room");
    let read = disk.files.read().expect("readable");
    assert_eq!((read.intent, read.intent_unreadable), (Some(intent()), false));
}

#[test]
fn a_draft_that_a_crash_has_left_means_nothing() {
    let disk = disk();
    disk.files.write_intent(&intent()).expect("room");
    fs::write(disk.state.join(DRAFT), b"{\"id\": \"op-2\"").expect("room");
    assert_eq!(disk.files.read().expect("readable").intent, Some(intent()));
}

#[test]
fn what_cannot_be_written_is_said_with_its_file() {
    let disk = disk();
    fs::create_dir(disk.state.join(DRAFT)).expect("room");
    let error = disk.files.write_intent(&intent()).expect_err("a folder is in the way");
    assert!(error.to_string().contains(&disk.state.join(DRAFT).display().to_string()), "{error}");
    assert_eq!(disk.files.read().expect("readable").intent, None);
}

#[test]
fn without_boot_id_nothing_is_known() {
    let disk = disk();
    fs::remove_file(&disk.files.boot_id).expect("there");
    assert!(matches!(disk.files.read(), Err(NodeError::Local(_))));
}

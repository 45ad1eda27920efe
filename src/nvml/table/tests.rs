//! What a device tells, settled into a table and compared with the catalogue.

use super::*;

fn read_from(board: &Geometry, change: impl Fn(&mut Read)) -> Vec<Read> {
    let reads = board.profiles().iter().map(|profile| {
        let spans = profile.starts.iter().map(|&start| Span {
            start: start.into(),
            size: profile.size.expect("a board whose placements are known").into(),
        });
        let mut read = Read {
            number: profile.nvml_enum,
            profile: GpuProfile {
                id: profile.profile_id.expect("known"),
                slices: profile.compute_slices.into(),
                count: profile.max_count.into(),
                multiprocessors: profile.multiprocessors.expect("known"),
                memory_mib: profile.memory_mib.expect("known").into(),
                name: Some(format!("MIG {}", profile.name)),
            },
            spans: Some(spans.collect()),
        };
        change(&mut read);
        read
    });
    reads.collect()
}

fn a100() -> &'static Geometry {
    Catalogue::embedded().find_by_key("A100-80GB").expect("in the catalogue")
}

const A100: Identity<'_> = Identity { product: "NVIDIA A100-SXM4-80GB", pci_device: "20B2", memory: 80 << 30 };

#[test]
fn a_board_that_is_as_the_catalogue_has_it_differs_in_nothing() {
    let table = settle(&read_from(a100(), |_| {}), A100).expect("a sound table");
    assert_eq!(table.differences, []);
    assert_eq!(table.geometry.profiles(), a100().profiles());
    assert_eq!((table.geometry.axis(), table.catalogue.as_deref(), table.complete), (8, Some("A100-80GB"), true));
}

#[test]
fn the_device_wins_and_every_difference_is_told() {
    let reads = read_from(a100(), |read| {
        if read.number == 2 {
            read.profile.name = Some("3g.39gb".into());
            read.profile.memory_mib = 40000;
            read.spans = Some(vec![Span { start: 4, size: 4 }]);
        }
    });
    let table = settle(&reads, A100).expect("a sound table");
    let told: Vec<String> = table.differences.iter().map(Difference::to_string).collect();
    assert_eq!(
        told,
        [
            "3g.40gb: name: the device says 3g.39gb, the catalogue 3g.40gb",
            "3g.40gb: memory in MiB: the device says 40000, the catalogue 40192",
            "3g.40gb: placements: the device says {4}:4, the catalogue {0,4}:4",
        ]
    );
    let id = table.geometry.find("3g.39gb").expect("the catalogue's alias");
    let profile = table.geometry.profile(id);
    assert_eq!((profile.name.as_str(), profile.starts.as_slice(), profile.max_count), ("3g.40gb", &[4][..], 1));
}

#[test]
fn a_board_of_no_catalogue_is_planned_with_all_the_same() {
    let who = Identity { product: "NVIDIA X900", pci_device: "FFFF", memory: 80 << 30 };
    let reads = read_from(a100(), |read| read.profile.name = None);
    let table = settle(&reads, who).expect("a sound table");
    assert_eq!(table.catalogue, None);
    let names: Vec<&str> = table.geometry.profiles().iter().map(|profile| profile.name.as_str()).collect();
    let expected: Vec<&str> = a100().profiles().iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, expected, "computed as NVIDIA's tools do");
    assert_eq!(table.differences.len(), 1);
    assert_eq!(table.differences[0].fact, Fact::Board);
}

#[test]
fn profiles_that_only_one_side_knows_are_told() {
    let mut reads = read_from(a100(), |_| {});
    let mut odd = reads.remove(0);
    (odd.number, odd.profile.id, odd.profile.name) = (99, 77, Some("1g.10gb+new".into()));
    reads.push(odd);
    let table = settle(&reads, A100).expect("a sound table");
    let told: Vec<String> = table.differences.iter().map(Difference::to_string).collect();
    assert_eq!(
        told,
        [
            "1g.10gb+new: profile: the device says number 99, the catalogue nothing",
            "1g.10gb: profile: the device says nothing, the catalogue number 0",
        ]
    );
}

#[test]
fn placements_that_may_not_be_read_are_the_catalogues() {
    let table = settle(&read_from(a100(), |read| read.spans = None), A100).expect("a sound table");
    assert!(!table.complete);
    assert_eq!(table.geometry.profiles(), a100().profiles());
    assert!(table.differences.iter().all(|difference| difference.fact == Fact::Placements));
    assert_eq!(table.differences.len(), a100().profiles().len());
}

#[test]
fn a_wrong_number_of_instances_does_not_limit_what_fits() {
    let board = Catalogue::embedded().find_by_key("A30").expect("in the catalogue");
    let who = Identity { product: "NVIDIA A30", pci_device: "20B7", memory: 24 << 30 };
    let reads = read_from(board, |read| read.profile.count = 1);
    let table = settle(&reads, who).expect("a sound table");
    assert_eq!(table.geometry.profiles(), board.profiles());
    let counts = table.differences.iter().filter(|difference| difference.fact == Fact::Count).count();
    assert_eq!(counts, board.profiles().iter().filter(|profile| profile.max_count != 1).count());
}

#[test]
fn what_cannot_be_is_refused() {
    let reads = read_from(a100(), |read| {
        if let Some(span) = read.spans.as_mut().and_then(|spans| spans.last_mut()) {
            span.size += 1;
        }
    });
    let error = settle(&reads, A100).expect_err("two sizes of one profile");
    assert!(matches!(&error, DriverError::Nonsense(_)), "{error}");
    assert!(error.to_string().contains("different sizes"), "{error}");
}

use super::*;
use crate::model::Catalogue;

const EXCERPT: &str = include_str!("../../../../testdata/traces/openb-excerpt.csv");
const ALL: Window = Window { skip: 0, length: None, residence: Residence::FromScheduling, patience: None };

fn a100() -> &'static Geometry {
    Catalogue::embedded().find_by_key("a100-80gb").expect("a board of the catalogue")
}

fn excerpt() -> Openb {
    read(EXCERPT).expect("the excerpt is of the right form")
}

/// Work by profile and number of instances.
fn asked(mapping: Mapping) -> BTreeMap<(String, u32), usize> {
    let mut asked = BTreeMap::new();
    for arrival in excerpt().map(a100(), mapping, &ALL).workload.arrivals {
        assert_eq!(arrival.instances.len(), 1);
        *asked.entry(arrival.instances.into_iter().next().expect("one profile")).or_default() += 1;
    }
    asked
}

fn expected(counts: &[(&str, u32, usize)]) -> BTreeMap<(String, u32), usize> {
    counts.iter().map(|&(profile, instances, pods)| ((profile.to_owned(), instances), pods)).collect()
}

#[test]
fn what_did_not_run_on_a_gpu_is_left_out_and_counted() {
    let openb = excerpt();
    assert_eq!((openb.pods.len(), openb.without_gpu, openb.never_scheduled), (117, 5, 6));
    assert!(recognises(EXCERPT) && !recognises("{\"format\":\"retile-trace\",\"version\":1}"));
}

#[test]
fn each_mapping_gives_the_profiles_computed_by_hand() {
    let whole = [("7g.80gb", 2, 2), ("7g.80gb", 4, 2), ("7g.80gb", 8, 2)];
    let small = [("1g.10gb", 1, 3), ("2g.20gb", 1, 14), ("3g.40gb", 1, 5)];
    let with = |more: &[(&'static str, u32, usize)]| expected(&[&small[..], &whole[..], more].concat());
    assert_eq!(asked(Mapping::Compute), with(&[("4g.40gb", 1, 32), ("7g.80gb", 1, 57)]));
    assert_eq!(asked(Mapping::Both), with(&[("4g.40gb", 1, 29), ("7g.80gb", 1, 60)]));
    let several = |profile| [2, 4, 8].map(|instances| (profile, instances, 2));
    let donor16 = [&several("2g.20gb")[..], &[("1g.10gb", 1, 55), ("2g.20gb", 1, 56)]].concat();
    assert_eq!(asked(Mapping::Donor16), expected(&donor16));
    let donor32 = [&several("3g.40gb")[..], &[("1g.10gb", 1, 17), ("2g.20gb", 1, 38), ("3g.40gb", 1, 56)]].concat();
    assert_eq!(asked(Mapping::Donor32), expected(&donor32));
}

#[test]
fn nothing_is_rounded_down() {
    let board = a100();
    for milli in 1..=1000 {
        let of = |mapping: Mapping| board.profile(mapping.profile(board, milli).expect("a whole GPU is enough"));
        let [m1, m2, m3, m4] = Mapping::ALL.map(of);
        let (compute, memory) =
            (|it: &Profile| f64::from(it.compute_slices), |it: &Profile| f64::from(it.size.unwrap_or(0)));
        let gib = |it: &Profile| f64::from(it.memory_mib.unwrap_or(0)) / 1024.0;
        let fraction = f64::from(milli) / 1000.0;
        assert!(compute(m1) / 7.0 >= fraction && compute(m2) / 7.0 >= fraction && memory(m2) / 8.0 >= fraction);
        assert!(gib(m3) >= fraction * 16.0 && gib(m4) >= fraction * 32.0);
    }
}

#[test]
fn a_board_without_a_large_enough_profile_leaves_pods_out() {
    let a30 = Catalogue::embedded().find_by_key("a30").expect("a board of the catalogue");
    assert_eq!(Mapping::Donor32.profile(a30, 1000), None, "32 GiB on a board of 24 GB");
    let mapped = excerpt().map(a30, Mapping::Donor32, &ALL);
    assert!(mapped.too_large > 0);
    assert_eq!(mapped.too_large + mapped.workload.arrivals.len(), 117);
}

#[test]
fn residence_can_be_told_either_way() {
    let sum = |residence| -> u64 {
        let window = Window { residence, ..ALL };
        excerpt().map(a100(), Mapping::Compute, &window).workload.arrivals.iter().map(|it| it.runs).sum()
    };
    assert_eq!(sum(Residence::FromScheduling), 137_545_678_000);
    assert_eq!(sum(Residence::FromCreation), 137_558_635_000);
}

#[test]
fn a_window_begins_at_its_own_zero() {
    let window = Window { skip: 427_061_000, length: Some(1_558_381_000 - 427_061_000), ..ALL };
    let mapped = excerpt().map(a100(), Mapping::Donor32, &window);
    let [arrival] = mapped.workload.arrivals.as_slice() else { panic!("one pod arrives in the window: {mapped:?}") };
    assert_eq!((arrival.at, arrival.name.as_str(), arrival.runs), (0, "openb-pod-0001", 12_475_899_000));
    assert_eq!((arrival.kind, arrival.priority), (Kind::Service, LATENCY_SENSITIVE));
    assert_eq!(mapped.outside, 116);
}

#[test]
fn a_row_that_makes_no_sense_is_refused_with_its_place() {
    let with = |row: &str| read(&format!("{}\n{row}\n", COLUMNS.join(",")));
    for (row, field) in [
        ("p,1,1,one,500,,LS,Running,0,1,0", "num_gpu"),
        ("p,1,1,1,1500,,LS,Running,0,1,0", "gpu_milli"),
        ("p,1,1,1,0,,LS,Running,0,1,0", "gpu_milli"),
        ("p,1,1,1,500,,LS,Running,x,1,0", "creation_time"),
        ("p,1,1,1,500,,LS,Running,5,4,5", "deletion_time"),
        ("p,1,1,1,500,,LS,Running,5,9,4", "deletion_time"),
    ] {
        let error = with(row).expect_err(row);
        assert_eq!((error.line, error.field.as_deref()), (2, Some(field)), "{row}: {error:?}");
        assert!(!error.help.is_empty());
    }
    assert_eq!(with("p,1,1").expect_err("too short").line, 2);
    assert_eq!(read("name,cpu_milli\n").expect_err("other columns").line, 1);
    assert_eq!(with("p,1,1,1,500,,LS,Running,0.0,1.0,0.0").map(|openb| openb.pods.len()), Ok(1));
}

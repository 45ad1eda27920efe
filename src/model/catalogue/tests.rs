//! The embedded files, and every way of naming a board.

use super::*;

fn key_of(found: Result<&Arc<Geometry>, LookupError>) -> &str {
    found.map_or_else(|error| panic!("{error}"), |geometry| geometry.board().key.as_str())
}

#[test]
fn every_embedded_file_is_read_and_named_after_its_key() {
    for (file, text) in FILES {
        let geometry = read_board(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(file, format!("{}.json", geometry.board().key.to_lowercase()));
    }
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/geometry");
    let on_disk = std::fs::read_dir(dir).expect("the folder of board files").count();
    assert_eq!(on_disk, FILES.len(), "a board file is not embedded");
    assert_eq!(Catalogue::embedded().boards().len(), 19);
}

#[test]
fn files_are_written_as_the_types_write_them() {
    for (file, text) in FILES {
        let parsed: BoardFile = serde_json::from_str(text).expect("a board file");
        let written = serde_json::to_value(&parsed).expect("board files can be written");
        let original: serde_json::Value = serde_json::from_str(text).expect("a board file");
        assert_eq!(written, original, "{file}");
    }
}

#[test]
fn keys_and_pci_ids_are_unique() {
    let boards = Catalogue::embedded().boards();
    let all = |of: fn(&Geometry) -> Vec<String>| boards.iter().flat_map(|it| of(it)).collect::<Vec<_>>();
    for mut list in [all(|it| vec![normal(&it.board().key)]), all(|it| it.board().pci_device_ids.clone())] {
        let count = list.len();
        list.sort();
        list.dedup();
        assert_eq!(list.len(), count);
    }
}

#[test]
fn placements_fit_the_axis_and_the_counts() {
    for geometry in Catalogue::embedded().boards() {
        let key = &geometry.board().key;
        let reach = geometry.placements().map(crate::model::Placement::end).max().unwrap_or(0);
        assert_eq!(reach, geometry.axis(), "{key}: the axis ends where the last placement ends");
        for profile in geometry.profiles() {
            let starts = profile.starts.len();
            assert!(starts == 0 || usize::from(profile.max_count) <= starts, "{key}: {}", profile.name);
            assert!(profile.starts.is_sorted(), "{key}: {}", profile.name);
            assert_eq!(profile.placeable(), geometry.axis() > 0, "{key}: {}", profile.name);
        }
    }
}

#[test]
fn media_engines_follow_from_the_suffix_and_the_nvml_enum() {
    use crate::model::MediaEngines::{All, Extended, Graphics, None, Standard};
    for geometry in Catalogue::embedded().boards() {
        for profile in geometry.profiles() {
            let by_enum = match profile.nvml_enum {
                0..=6 | 9 => Standard,
                7 | 8 => Extended,
                10..=12 | 17 => Graphics,
                13 | 14 => None,
                15 | 16 => All,
                other => panic!("{}: NVML profile {other}", profile.name),
            };
            let suffix = profile.name.trim_start_matches(|c: char| c != 'b').trim_start_matches('b');
            let by_name = match suffix {
                "" => Standard,
                "+me" => Extended,
                "+me.all" => All,
                "-me" => None,
                "+gfx" => Graphics,
                other => panic!("{}: suffix {other}", profile.name),
            };
            assert_eq!((profile.media, profile.media), (by_enum, by_name), "{}", profile.name);
        }
    }
}

#[test]
fn names_of_other_drivers_resolve() {
    for (board, alias, name) in [
        ("a100-80gb", "3g.39gb", "3g.40gb"),
        ("a100-80gb", "4g.39gb", "4g.40gb"),
        ("gb200", "1g.24gb", "1g.23gb"),
        ("gb200", "1g.24gb+me", "1g.23gb+me"),
        ("gb200", "3g.95gb", "3g.93gb"),
        ("gb200", "4g.95gb", "4g.93gb"),
        ("gb200", "7g.189gb", "7g.186gb"),
    ] {
        let geometry = Catalogue::embedded().find_by_key(board).expect("a board");
        assert_eq!(geometry.find(alias), geometry.find(name), "{alias}");
        assert!(geometry.find(name).is_some(), "{name}");
    }
}

#[test]
fn keys_are_found_in_any_case_and_by_their_parts() {
    for (asked, key) in [
        ("A100-80GB", "A100-80GB"),
        ("a100-80gb", "A100-80GB"),
        ("a100 80gb", "A100-80GB"),
        ("h100-80gb", "H100-80GB-SXM5"),
        ("h100-pcie", "H100-80GB-PCIe"),
        ("h100-nvl", "H100-94GB-NVL"),
        ("a30", "A30-24GB"),
        ("h200", "H200-141GB"),
        ("b200", "B200-180GB"),
        ("gb200", "GB200-186GB"),
        ("rtx-pro-6000", "RTX-PRO-6000-96GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("a100-sxm4-40gb", "A100-40GB"),
    ] {
        assert_eq!(key_of(Catalogue::embedded().find_by_key(asked)), key, "{asked}");
    }
}

#[test]
fn a_key_that_fits_different_boards_is_refused_with_their_names() {
    let error = Catalogue::embedded().find_by_key("a100").expect_err("two boards with different profiles");
    assert_eq!(
        error.to_string(),
        "\"a100\" stands for several boards with different tables; write one of A100-40GB, A100-80GB"
    );
    let error = Catalogue::embedded().find_by_key("h100").expect_err("boards with different profiles").to_string();
    assert!(error.contains("H100-80GB-SXM5, H100-80GB-PCIe, H100-94GB-NVL"), "{error}");
}

#[test]
fn an_unknown_key_is_refused_with_near_misses_and_all_keys() {
    let error = Catalogue::embedded().find_by_key("a100-80").expect_err("no such board").to_string();
    assert!(error.starts_with("no board is called \"a100-80\"; did you mean A100-80GB or A100-40GB?"), "{error}");
    assert!(error.contains("B300-269GB"), "{error}");
    let error = Catalogue::embedded().find_by_key("").expect_err("no name").to_string();
    assert!(error.starts_with("no board is called \"\"; the boards are A30-24GB"), "{error}");
}

#[test]
fn product_names_are_found_as_drivers_and_node_labels_write_them() {
    for (name, key) in [
        ("NVIDIA A30", "A30-24GB"),
        ("A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA-A100-PCIE-40GB", "A100-40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA-A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", "A100-80GB"),
        ("NVIDIA-A100-SXM4-80GB-MIG-INVALID", "A100-80GB"),
        ("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb-SHARED", "A100-80GB"),
        ("NVIDIA-A100-SXM4-80GB-SHARED", "A100-80GB"),
        ("NVIDIA-A100-80GB-PCIe", "A100-80GB"),
        ("NVIDIA-A800-SXM4-80GB", "A100-80GB"),
        ("NVIDIA-H100-80GB-HBM3", "H100-80GB-SXM5"),
        ("NVIDIA-H100-PCIe", "H100-80GB-PCIe"),
        ("NVIDIA-H100-NVL", "H100-94GB-NVL"),
        ("NVIDIA-GH200-480GB", "H100-96GB-GH200-96GB"),
        ("NVIDIA-GH200-144G-HBM3e", "GH200-144GB"),
        ("NVIDIA-H20", "H20-96GB"),
        ("NVIDIA-H200", "H200-141GB"),
        ("NVIDIA-B200", "B200-180GB"),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "RTX-PRO-6000-96GB"),
    ] {
        assert_eq!(key_of(Catalogue::embedded().find_by_product(name, None)), key, "{name}");
    }
    for geometry in Catalogue::embedded().boards() {
        for name in geometry.board().product_names.iter().filter(|name| *name != "NVIDIA H100") {
            let label = name.replace(' ', "-");
            assert_eq!(key_of(Catalogue::embedded().find_by_product(&label, None)), geometry.board().key);
        }
    }
}

#[test]
fn a_shared_product_name_is_decided_by_memory_or_profile() {
    let find = |name, memory| Catalogue::embedded().find_by_product(name, memory);
    for (memory, key) in [
        (65_247, "H100-64GB-SXM5"),
        (81_559, "H100-80GB-SXM5"),
        (95_830, "H100-94GB-NVL"),
        (97_871, "H100-96GB-GH200-96GB"),
    ] {
        assert_eq!(key_of(find("NVIDIA-H100", Some(memory))), key);
    }
    // The memory label of a `single` node is that of an instance; the profile in the name decides.
    assert_eq!(key_of(find("NVIDIA-H100-MIG-3g.47gb", Some(47_488))), "H100-94GB-NVL");
    assert!(matches!(find("NVIDIA-H100", None), Err(LookupError::Ambiguous { .. })));
}

#[test]
fn an_unknown_product_is_refused_with_near_misses() {
    let error = Catalogue::embedded().find_by_product("NVIDIA-A100-SXM4-81GB", None).expect_err("no such board");
    assert_eq!(
        error.to_string(),
        "no board of the catalogue has the product name \"NVIDIA-A100-SXM4-81GB\"; \
         did you mean NVIDIA A100-SXM4-80GB or NVIDIA A100-SXM4-40GB or NVIDIA A800-SXM4-80GB?"
    );
    let error = Catalogue::embedded().find_by_product("Tesla-V100", None).expect_err("no MIG there").to_string();
    assert_eq!(error, "no board of the catalogue has the product name \"Tesla-V100\"");
}

#[test]
fn pci_ids_are_found_as_listed_and_as_nvml_packs_them() {
    for (id, key) in
        [("20B2", "A100-80GB"), ("0x2330", "H100-80GB-SXM5"), ("0x20B710DE", "A30-24GB"), ("2bb5", "RTX-PRO-6000-96GB")]
    {
        assert_eq!(key_of(Catalogue::embedded().find_by_pci_id(id)), key, "{id}");
    }
    for id in ["", "10DE", "FFFF", "20B2FFFF"] {
        let error = Catalogue::embedded().find_by_pci_id(id).expect_err("no such id");
        assert_eq!(error, LookupError::UnknownPciId(id.into()));
    }
}

#[test]
fn a_file_with_an_unknown_field_or_a_contradiction_is_refused() {
    let (_, text) = FILES[0];
    let misspelt = text.replace("\"max_count\": 4", "\"max_cuont\": 4");
    assert!(matches!(read_board(&misspelt), Err(BoardFileError::Form(_))));
    let short = text.replace("\"axis\": 4", "\"axis\": 3");
    assert!(matches!(read_board(&short), Err(BoardFileError::Table(GeometryError::BeyondAxis { .. }))));
    let twice = text.replace("\"name\": \"2g.12gb+me\"", "\"name\": \"1g.6gb\"");
    assert!(matches!(read_board(&twice), Err(BoardFileError::Table(GeometryError::DuplicateName { .. }))));
}

//! The definitions are those in `deploy/crds`, and records survive the way through an object.

use std::path::Path;

use super::*;

#[test]
fn the_definitions_in_the_tree_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/crds");
    for Definition { file, yaml } in definitions().expect("definitions") {
        let path = folder.join(&file);
        #[allow(clippy::disallowed_methods, reason = "how a person asks for the files to be written anew")]
        if std::env::var_os("RETILE_BLESS").is_some() {
            std::fs::create_dir_all(&folder).expect("the folder can be made");
            std::fs::write(&path, &yaml).expect("the file can be written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(kept, yaml, "{file} differs; write it anew with RETILE_BLESS=1 and review the difference");
    }
}

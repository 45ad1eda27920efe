//! Resource names: what is read is written back letter by letter.

#![no_main]

use libfuzzer_sys::fuzz_target;
use retile::kube::resource_name::{parse_profile, parse_resource};

fuzz_target!(|text: &str| {
    if let Some(Ok(name)) = parse_resource(text) {
        assert_eq!(name.resource(), text);
        assert_eq!(parse_profile(&name.profile).as_ref(), Some(&name.profile));
    }
});

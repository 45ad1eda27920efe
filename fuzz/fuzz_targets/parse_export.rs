//! Exports: any bytes give a planning input or an error, never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use retile::kube::export::{ReadOptions, Source, read};

fuzz_target!(|bytes: &[u8]| {
    let mut reader = bytes;
    let _ = read(Source::Reader("fuzz", &mut reader), &ReadOptions::default());
});

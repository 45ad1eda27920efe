//! Quantities: never a panic, and sums keep their order.

#![no_main]

use libfuzzer_sys::fuzz_target;
use retile::kube::quantity::Quantity;

fuzz_target!(|text: &str| {
    if let Ok(quantity) = Quantity::parse(text) {
        let twice = quantity.plus(quantity);
        assert_eq!(twice >= quantity, !quantity.is_negative());
        assert_eq!(quantity.is_zero(), quantity.units() == 0 && quantity.millis() == 0 && !quantity.is_negative());
    }
});

//! Policies: any text gives a policy within its ranges or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use retile::kube::policy::parse_policy;

fuzz_target!(|text: &str| {
    if let Ok(policy) = parse_policy(text) {
        assert!(policy.gain_factor.thousandths() <= 1_000_999);
    }
});

//! Names under which the device plugin advertises instances.
//!
//! Source: the naming rule of NVIDIA's device plugin (mixed strategy): `mig-` and the profile with `+` turned into `.`.

/// Prefix of MIG resources.
pub const MIG_PREFIX: &str = "nvidia.com/mig-";

/// Label by which feature discovery tells the device plugin's strategy.
pub const STRATEGY_LABEL: &str = "nvidia.com/mig.strategy";
/// Label by which it tells a node's product; under the strategy `single` it names the instances, and pods select it.
pub const PRODUCT_LABEL: &str = "nvidia.com/gpu.product";
/// Label by which it tells how often each GPU is offered.
pub const REPLICAS_LABEL: &str = "nvidia.com/gpu.replicas";
/// Whole GPUs; where the device plugin's strategy is `single`, instances.
pub const GPU_RESOURCE: &str = "nvidia.com/gpu";

/// The resource that instances of a profile are advertised as: `1g.10gb+me` gives `nvidia.com/mig-1g.10gb.me`.
pub fn mig_resource(profile: &str) -> String {
    format!("{MIG_PREFIX}{}", profile_in_names(profile))
}

/// A profile as names of resources and products spell it: `1g.10gb+me` gives `1g.10gb.me`.
pub fn profile_in_names(profile: &str) -> String {
    profile.replace('+', ".")
}

#[cfg(test)]
mod tests {
    use super::mig_resource;

    #[test]
    fn a_plus_becomes_a_dot_and_a_minus_stays() {
        assert_eq!(mig_resource("1g.10gb"), "nvidia.com/mig-1g.10gb");
        assert_eq!(mig_resource("1g.24gb+me.all"), "nvidia.com/mig-1g.24gb.me.all");
        assert_eq!(mig_resource("1g.24gb-me"), "nvidia.com/mig-1g.24gb-me");
    }
}

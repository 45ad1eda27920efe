//! Messages of the kubelet's pod-resources API, `v1` (`k8s.io/kubelet/pkg/apis/podresources/v1/api.proto`).
//!
//! Written by hand: they are few, fields that retile does not read are left out (protobuf skips them), and neither a build script nor a
//! protobuf compiler is needed. Field numbers are the API's and never change.

/// Asks for the devices of all pods.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct ListPodResourcesRequest {}

/// Devices of all pods.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct ListPodResourcesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) pod_resources: Vec<PodResources>,
}

/// Devices of a pod.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct PodResources {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) namespace: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) containers: Vec<ContainerResources>,
}

/// Devices of a container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct ContainerResources {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) devices: Vec<ContainerDevices>,
    #[prost(message, repeated, tag = "5")]
    pub(super) dynamic_resources: Vec<DynamicResource>,
}

/// Devices of one resource name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct ContainerDevices {
    #[prost(string, tag = "1")]
    pub(super) resource_name: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) device_ids: Vec<String>,
}

/// What a claim of dynamic resource allocation gave a container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct DynamicResource {
    #[prost(message, repeated, tag = "4")]
    pub(super) claim_resources: Vec<ClaimResource>,
}

/// A device of a claim.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct ClaimResource {
    #[prost(string, tag = "2")]
    pub(super) driver_name: String,
    #[prost(string, tag = "4")]
    pub(super) device_name: String,
}

/// Asks for everything that the kubelet could give away.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct AllocatableResourcesRequest {}

/// Everything that the kubelet could give away.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct AllocatableResourcesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) devices: Vec<ContainerDevices>,
}
